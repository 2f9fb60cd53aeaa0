/* Alterations of configurations. Each becomes one record that says which keys are set to what and which are unset: a
 * list that grows or shrinks is worked out here, from the store, and checked; so the next alteration of the same topic
 * or broker waits until this one is applied.
 *
 *   to_alter ── nobody of the same name in `altering` ──> altering ── proposed, applied ──> answered; to_alter again
 *                                                            └── refused, or only validated ──^ (a task) */

#include "base/assert.h"
#include "base/dynbuf.h"
#include "base/mem.h"
#include "metadata/controller_internal.h"
#include <stdio.h>
#include <string.h>

#define ALTER_ARENA_SIZE_MAX MIB(16) /* a request's own configs, and those that there are */

struct alter_item {
    struct list link; /* to_alter or altering */
    struct metadata_propose propose;
    struct task task;
    struct controller *controller;
    struct controller_alter *req;
    size_t at;
};

#define LIST_SIZE_MAX ((size_t)CONFIG_VALUE_SIZE_MAX)

/* One alteration being worked out. */
struct alteration {
    struct controller *controller;
    const struct controller_alter_one *wish;
    struct controller_result *result;
    struct arena arena;
    struct store_topic topic;     /* unless is_broker */
    struct store_configs present; /* set on it now */
    struct topic_config_defaults defaults;
    Balsa__Record__Config *set, **set_list;
    char **unset;
    size_t set_count, unset_count;
};

void controller_configs_init(struct controller *controller)
{
    list_init(&controller->altering);
    list_init(&controller->to_alter);
}

void controller_configs_deinit(struct controller *controller)
{
    assert(list_is_empty(&controller->altering) && list_is_empty(&controller->to_alter));
    (void)controller;
}

/* ---- What is there ---- */

static void refuse_large(struct alteration *a)
{
    controller_refuse(a->result, KAFKA_INVALID_REQUEST, "The request is too large.");
}

static void load_topic(struct alteration *a)
{
    enum err err = store_topic_by_name(a->controller->params.reader, &a->arena, a->wish->name, &a->topic);
    if (err == ERR_NOT_FOUND) {
        controller_refuse(a->result, KAFKA_UNKNOWN_TOPIC_OR_PARTITION, "The topic '%s' does not exist.",
                          config_show(a->wish->name).text);
    } else if (err != OK) {
        refuse_large(a);
    }
    a->present = (struct store_configs){a->topic.configs, a->topic.config_count};
}

static void load_broker(struct alteration *a)
{
    struct store_broker broker;
    struct store_reader *reader = a->controller->params.reader;
    if (a->wish->broker != -1 && store_broker(reader, &a->arena, a->wish->broker, &broker) != OK) {
        controller_refuse(a->result, KAFKA_BROKER_ID_NOT_REGISTERED, "No broker with id %d found.", a->wish->broker);
    } else if (store_broker_configs(reader, &a->arena, a->wish->broker, &a->present) != OK) {
        refuse_large(a);
    }
}

/* ---- Lists ---- */

static bool find_present(const struct alteration *a, struct bytes name, struct bytes *value)
{
    for (size_t i = 0; i < a->present.count; i++) {
        if (bytes_equal(a->present.items[i].name, name)) {
            *value = a->present.items[i].value;
            return true;
        }
    }
    return false;
}

/* The list that counts now, which a topic may inherit; what one broker inherits of its own options is not known here,
 * those of the controller's broker stand for them. */
static struct bytes list_now(const struct alteration *a, const struct topic_config_key *key, struct bytes name)
{
    struct bytes value = BYTES_NONE;
    bool is_found = find_present(a, name, &value);
    for (int source = CONFIG_OF_CLUSTER_ALTERED; !is_found && source <= CONFIG_OF_TABLE; source++) {
        is_found = topic_config_at(key, NULL, &a->defaults, (enum config_source)source, &value);
    }
    return value;
}

static bool list_has(struct bytes list, struct bytes element)
{
    struct bytes item;
    while (config_list_next(&list, &item)) {
        if (bytes_equal(item, element)) {
            return true;
        }
    }
    return false;
}

static void list_add(struct dynbuf *list, struct bytes element)
{
    enum err err = dynbuf_bytes(list).size > 0 ? dynbuf_put(list, bytes_from_text(",")) : OK;
    err = err == OK ? dynbuf_put(list, element) : err;
    assert(err == OK); /* both lists fit, by their sizes */
}

/* The list without, or with, the elements of another one. In the arena; no data: it is full. */
static struct bytes list_change(struct arena *arena, struct bytes list, struct bytes elements, bool is_append)
{
    struct dynbuf changed;
    struct bytes left = list;
    struct bytes element;
    assert(list.size <= LIST_SIZE_MAX && elements.size <= LIST_SIZE_MAX);
    dynbuf_init(&changed, 2 * LIST_SIZE_MAX + 1);
    while (config_list_next(&left, &element)) {
        if (is_append || !list_has(elements, element)) {
            list_add(&changed, element);
        }
    }
    while (is_append && config_list_next(&elements, &element)) {
        if (!list_has(dynbuf_bytes(&changed), element)) {
            list_add(&changed, element);
        }
    }
    struct bytes copy = arena_copy(arena, changed.size > 0 ? dynbuf_bytes(&changed) : bytes_from_text(""));
    dynbuf_deinit(&changed);
    return copy;
}

/* ---- Changes ---- */

static void add_set(struct alteration *a, struct bytes name, struct bytes value)
{
    char text[180];
    enum kafka_error error = a->wish->is_broker ? topic_config_check_inherited(name, value, text, sizeof(text))
                                                : topic_config_check(name, value, text, sizeof(text));
    if (error != KAFKA_NONE) {
        controller_refuse(a->result, error, "%s", text);
        return;
    }
    Balsa__Record__Config *config = &a->set[a->set_count];
    balsa__record__config__init(config);
    config->name = arena_text(&a->arena, name);
    config->value = arena_text(&a->arena, value);
    a->set_list[a->set_count++] = config;
    if (config->name == NULL || config->value == NULL) {
        refuse_large(a);
    }
}

/* Unsetting what is not set, known or not, changes nothing and is no error, as in Kafka. */
static void add_unset(struct alteration *a, struct bytes name)
{
    struct bytes value;
    if (find_present(a, name, &value)) {
        a->unset[a->unset_count] = arena_text(&a->arena, name);
        if (a->unset[a->unset_count++] == NULL) {
            refuse_large(a);
        }
    }
}

static void add_list_change(struct alteration *a, const struct controller_config_change *change)
{
    bool is_append = change->operation == CONTROLLER_APPEND;
    const struct topic_config_key *key =
        a->wish->is_broker ? topic_config_find_inherited(change->name) : topic_config_find(change->name);
    if (key != NULL && key->type != CONFIG_LIST) {
        controller_refuse(a->result, KAFKA_INVALID_CONFIG, "Can't %s to key %s because its type is not LIST.",
                          is_append ? "APPEND" : "SUBTRACT", config_show(change->name).text);
        return;
    }
    struct bytes list = key != NULL ? list_now(a, key, change->name) : BYTES_NONE; /* unknown: add_set() refuses it */
    if (list.size > LIST_SIZE_MAX || change->value.size > LIST_SIZE_MAX) {
        controller_refuse(a->result, KAFKA_INVALID_CONFIG, "Invalid value for configuration %s: longer than %zu bytes",
                          config_show(change->name).text, LIST_SIZE_MAX);
        return;
    }
    struct bytes changed = list_change(&a->arena, list, change->value, is_append);
    if (changed.data == NULL) {
        refuse_large(a);
        return;
    }
    add_set(a, change->name, changed);
}

static void add_change(struct alteration *a, const struct controller_config_change *change)
{
    if (change->value.data == NULL && change->operation != CONTROLLER_DELETE) {
        controller_refuse(a->result, KAFKA_INVALID_REQUEST, "Null value not supported for: %s",
                          config_show(change->name).text);
        return;
    }
    switch (change->operation) {
    case CONTROLLER_SET:
        add_set(a, change->name, change->value);
        break;
    case CONTROLLER_DELETE:
        add_unset(a, change->name);
        break;
    case CONTROLLER_APPEND:
    case CONTROLLER_SUBTRACT:
        add_list_change(a, change);
        break;
    default:
        controller_refuse(a->result, KAFKA_INVALID_REQUEST, "Unknown operation %d on %s", change->operation,
                          config_show(change->name).text);
        break;
    }
}

static bool is_named(const struct controller_alter_one *wish, struct bytes name)
{
    for (size_t i = 0; i < wish->count; i++) {
        if (bytes_equal(wish->changes[i].name, name)) {
            return true;
        }
    }
    return false;
}

static void work_out(struct alteration *a)
{
    size_t room = a->wish->count + a->present.count + 1;
    a->set = arena_alloc(&a->arena, room * sizeof(*a->set));
    a->set_list = arena_alloc(&a->arena, room * sizeof(*a->set_list));
    a->unset = arena_alloc(&a->arena, room * sizeof(*a->unset));
    a->defaults = a->controller->params.defaults;
    if (a->set == NULL || a->set_list == NULL || a->unset == NULL ||
        store_broker_configs(a->controller->params.reader, &a->arena, -1, &a->defaults.cluster) != OK) {
        refuse_large(a);
    }
    for (size_t i = 0; i < a->wish->count && a->result->error == KAFKA_NONE; i++) {
        add_change(a, &a->wish->changes[i]);
    }
    for (size_t i = 0; i < a->present.count && a->wish->is_replaced && a->result->error == KAFKA_NONE; i++) {
        if (!is_named(a->wish, a->present.items[i].name)) {
            add_unset(a, a->present.items[i].name);
        }
    }
}

/* ---- Proposing ---- */

static void propose_topic(struct alteration *a, struct alter_item *item)
{
    Balsa__Record__Record record = BALSA__RECORD__RECORD__INIT;
    Balsa__Record__TopicConfigsChanged changed = BALSA__RECORD__TOPIC_CONFIGS_CHANGED__INIT;
    changed.id = (ProtobufCBinaryData){sizeof(a->topic.id.bytes), a->topic.id.bytes};
    changed.set = a->set_list;
    changed.n_set = a->set_count;
    changed.unset = a->unset;
    changed.n_unset = a->unset_count;
    record.kind_case = BALSA__RECORD__RECORD__KIND_TOPIC_CONFIGS_CHANGED;
    record.topic_configs_changed = &changed;
    metadata_propose(a->controller->params.metadata, &record, &item->propose);
}

static void propose_broker(struct alteration *a, struct alter_item *item)
{
    Balsa__Record__Record record = BALSA__RECORD__RECORD__INIT;
    Balsa__Record__BrokerConfigsChanged changed = BALSA__RECORD__BROKER_CONFIGS_CHANGED__INIT;
    changed.broker = a->wish->broker;
    changed.set = a->set_list;
    changed.n_set = a->set_count;
    changed.unset = a->unset;
    changed.n_unset = a->unset_count;
    record.kind_case = BALSA__RECORD__RECORD__KIND_BROKER_CONFIGS_CHANGED;
    record.broker_configs_changed = &changed;
    metadata_propose(a->controller->params.metadata, &record, &item->propose);
}

static void item_start(struct alter_item *item)
{
    struct controller *controller = item->controller;
    struct alteration a = {
        .controller = controller, .wish = &item->req->alters[item->at], .result = &item->req->results[item->at]};
    arena_init(&a.arena, ALTER_ARENA_SIZE_MAX);
    if (controller->params.metadata == NULL) {
        controller_refuse(a.result, KAFKA_NOT_CONTROLLER, "The controller is elsewhere.");
    } else if (a.wish->is_broker) {
        load_broker(&a);
    } else {
        load_topic(&a);
    }
    if (a.result->error == KAFKA_NONE) {
        work_out(&a);
    }
    if (a.result->error != KAFKA_NONE || item->req->is_validate_only || a.set_count + a.unset_count == 0) {
        env_task(controller->params.env, &item->task);
    } else if (a.wish->is_broker) {
        propose_broker(&a, item);
    } else {
        propose_topic(&a, item);
    }
    arena_deinit(&a.arena);
}

static bool is_same(const struct alter_item *x, const struct alter_item *y)
{
    const struct controller_alter_one *a = &x->req->alters[x->at];
    const struct controller_alter_one *b = &y->req->alters[y->at];
    return a->is_broker == b->is_broker && (a->is_broker ? a->broker == b->broker : bytes_equal(a->name, b->name));
}

static bool has_same(const struct list *items, const struct alter_item *item)
{
    for (const struct list *link = items->next; link != items; link = link->next) {
        if (is_same(container_of(link, struct alter_item, link), item)) {
            return true;
        }
    }
    return false;
}

/* Whoever waits for nobody any more, in the order of coming. */
static void start_waiting(struct controller *controller)
{
    struct list pending;
    struct list *link;
    list_init(&pending);
    list_move_all(&pending, &controller->to_alter);
    while ((link = list_pop(&pending)) != NULL) {
        struct alter_item *item = container_of(link, struct alter_item, link);
        if (has_same(&controller->altering, item) || has_same(&controller->to_alter, item)) {
            list_push(&controller->to_alter, link);
        } else {
            list_push(&controller->altering, link);
            item_start(item);
        }
    }
}

static void item_finish(struct alter_item *item)
{
    struct controller *controller = item->controller;
    struct controller_alter *req = item->req;
    list_remove(&item->link);
    mem_free(item);
    store_reader_refresh(controller->params.reader); /* the next one is worked out from what this one has left */
    start_waiting(controller);
    assert(req->pending > 0);
    if (--req->pending == 0) {
        req->cb(req);
    }
}

static void item_on_task(struct task *task)
{
    item_finish(container_of(task, struct alter_item, task));
}

static void item_on_proposed(struct metadata_propose *propose)
{
    struct alter_item *item = container_of(propose, struct alter_item, propose);
    if (propose->error != KAFKA_NONE) {
        controller_refuse(&item->req->results[item->at], propose->error, "%s", propose->error_text);
    }
    item_finish(item);
}

void controller_alter_configs(struct controller *controller, struct controller_alter *req)
{
    assert(req->count > 0 && req->count <= ALTER_RESOURCE_COUNT_MAX);
    req->pending = req->count;
    for (size_t i = 0; i < req->count; i++) {
        struct alter_item *item = mem_alloc(sizeof(*item));
        req->results[i] = (struct controller_result){.error = KAFKA_NONE};
        item->controller = controller;
        item->req = req;
        item->at = i;
        item->propose.cb = item_on_proposed;
        task_init(&item->task, item_on_task);
        list_push(&controller->to_alter, &item->link);
    }
    start_waiting(controller);
}
