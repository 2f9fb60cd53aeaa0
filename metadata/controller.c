/* Happy path: a wish is checked against the store as of this turn, placement decides, one record is proposed; apply
 * checks again and decides; the answer goes to the caller from the metadata machine's answers.
 * Refusals: answered from a task at the end of the turn, so callbacks never fire inside; what depends on the state is
 * confirmed by the log first, all of a turn by one record. */

#include "base/assert.h"
#include "base/limits.h"
#include "base/mem.h"
#include "metadata/controller_internal.h"
#include "metadata/topic_name.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct controller *controller_open(const struct controller_params *params)
{
    struct controller *controller = mem_alloc(sizeof(*controller));
    controller->params = *params;
    controller->placement_seed = env_random(params->env);
    controller_plan_init(controller);
    controller_configs_init(controller);
    return controller;
}

void controller_set_metadata(struct controller *controller, struct metadata *metadata)
{
    controller->params.metadata = metadata;
}

void controller_close(struct controller *controller)
{
    controller_configs_deinit(controller);
    controller_plan_deinit(controller);
    mem_free(controller);
}

void controller_refuse(struct controller_result *result, enum kafka_error error, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    (void)vsnprintf(result->text, sizeof(result->text), format, args);
    va_end(args);
    result->error = error;
}

static void item_finish(struct item *item)
{
    size_t *pending = item->pending;
    void *request = item->request;
    void (*finish)(void *) = item->finish;
    mem_free(item);
    assert(*pending > 0);
    if (--*pending == 0) {
        finish(request);
    }
}

static void item_on_task(struct task *task)
{
    item_finish(container_of(task, struct item, task));
}

static void item_on_proposed(struct metadata_propose *propose)
{
    struct item *item = container_of(propose, struct item, propose);
    if (propose->error != KAFKA_NONE) {
        controller_refuse(item->result, propose->error, "%s", propose->error_text);
    }
    item_finish(item);
}

struct item *controller_item(struct controller *controller, struct controller_result *result, size_t *pending,
                             void *request, void (*finish)(void *))
{
    struct item *item = mem_alloc(sizeof(*item));
    item->controller = controller;
    item->result = result;
    item->pending = pending;
    item->request = request;
    item->finish = finish;
    item->propose.cb = item_on_proposed;
    task_init(&item->task, item_on_task);
    return item;
}

static void item_on_confirmed(struct offsets_commit *confirm)
{
    struct item *item = container_of(confirm, struct item, confirm);
    if (confirm->error == KAFKA_NOT_COORDINATOR) {
        controller_refuse(item->result, KAFKA_NOT_CONTROLLER, "This broker is not the controller any more.");
    } else if (confirm->error != KAFKA_NONE) {
        controller_refuse(item->result, KAFKA_REQUEST_TIMED_OUT, "The metadata's brokers did not agree in time.");
    }
    item_finish(item);
}

static bool is_about_existence(enum kafka_error error)
{
    return error == KAFKA_TOPIC_ALREADY_EXISTS || error == KAFKA_UNKNOWN_TOPIC_OR_PARTITION;
}

void controller_go(struct item *item, const Balsa__Record__Record *record)
{
    struct offsets *offsets = item->controller->params.offsets;
    if (offsets != NULL && is_about_existence(item->result->error)) {
        item->confirm.cb = item_on_confirmed;
        offsets_commit(offsets, &item->confirm);
        return;
    }
    if (record == NULL || item->result->error != KAFKA_NONE) {
        env_task(item->controller->params.env, &item->task);
        return;
    }
    metadata_propose(item->controller->params.metadata, record, &item->propose);
}

/* ---- Choosing replicas ---- */

static bool collect_broker(void *context, const struct store_broker *broker)
{
    struct broker_list *list = context;
    const struct controller_params *params = &list->controller->params;
    if (list->known_count == array_count(list->known)) {
        return false;
    }
    struct known_broker *known = &list->known[list->known_count++];
    *known = (struct known_broker){.id = broker->id, .server = broker->server_id, .is_draining = broker->is_draining};
    bool is_alive = params->is_alive == NULL || params->is_alive(params->owner, broker->id);
    if (is_alive && !broker->is_draining) {
        list->usable[list->usable_count++] = (struct placement_broker){.id = broker->id, .rack = broker->rack};
    }
    return true;
}

struct broker_list *controller_brokers(struct controller *controller, struct arena *arena)
{
    struct broker_list *brokers = arena_alloc(arena, sizeof(*brokers));
    if (brokers != NULL) {
        brokers->controller = controller;
        brokers->known_count = 0;
        brokers->usable_count = 0;
    }
    bool is_read =
        brokers != NULL && store_brokers_each(controller->params.reader, arena, brokers, collect_broker) == OK;
    return is_read ? brokers : NULL;
}

const struct known_broker *controller_broker(const struct broker_list *list, int32_t id)
{
    for (size_t i = 0; i < list->known_count; i++) {
        if (list->known[i].id == id) {
            return &list->known[i];
        }
    }
    return NULL;
}

static bool assignment_is_valid(const struct broker_list *brokers, const int32_t *replicas, size_t count,
                                struct controller_result *result)
{
    if (count == 0 || count > REPLICA_SERVER_COUNT_MAX) {
        controller_refuse(result, KAFKA_INVALID_REPLICA_ASSIGNMENT, "A partition has 1 to %d replicas, not %zu.",
                          REPLICA_SERVER_COUNT_MAX, count);
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        if (controller_broker(brokers, replicas[i]) == NULL) {
            controller_refuse(result, KAFKA_INVALID_REPLICA_ASSIGNMENT, "Broker %d of the assignment does not exist.",
                              replicas[i]);
            return false;
        }
        for (size_t j = 0; j < i; j++) {
            if (replicas[j] == replicas[i]) {
                controller_refuse(result, KAFKA_INVALID_REPLICA_ASSIGNMENT, "Broker %d stands twice in one assignment.",
                                  replicas[i]);
                return false;
            }
        }
    }
    return true;
}

/* The Raft servers of these brokers, all of them registered. */
static uint64_t *servers_of(const struct broker_list *brokers, struct arena *arena, const int32_t *replicas,
                            size_t count)
{
    uint64_t *servers = arena_alloc(arena, count * sizeof(*servers));
    for (size_t i = 0; servers != NULL && i < count; i++) {
        servers[i] = controller_broker(brokers, replicas[i])->server;
    }
    return servers;
}

/* Builds `count` assignments in the arena: the ones given (arrays may be NULL: placement decides). NULL on refusal. */
static Balsa__Record__Assignment **assignments_build(struct controller *controller, struct arena *arena, int32_t first,
                                                     int32_t count, int16_t factor, const int32_t *const *given,
                                                     const size_t *given_sizes, struct controller_result *result)
{
    struct broker_list *brokers = controller_brokers(controller, arena);
    Balsa__Record__Assignment **list = arena_alloc(arena, (size_t)count * sizeof(*list));
    Balsa__Record__Assignment *items = arena_alloc(arena, (size_t)count * sizeof(*items));
    int32_t *placed = NULL;
    if (brokers == NULL || list == NULL || items == NULL) {
        controller_refuse(result, KAFKA_UNKNOWN_SERVER_ERROR, "The request is too large to be planned.");
        return NULL;
    }
    if (given == NULL) {
        placed = factor > 0 ? arena_alloc(arena, (size_t)count * (size_t)factor * sizeof(*placed)) : NULL;
        if (placed == NULL || placement_assign(brokers->usable, brokers->usable_count, controller->placement_seed,
                                               first, count, factor, placed) != OK) {
            controller_refuse(
                result, KAFKA_INVALID_REPLICATION_FACTOR,
                "Unable to replicate the partition %d time(s): The target replication factor of %d cannot be reached "
                "because only %zu of %zu registered broker(s) are alive and not being drained.",
                factor, factor, brokers->usable_count, brokers->known_count);
            return NULL;
        }
    }
    for (int32_t i = 0; i < count; i++) {
        balsa__record__assignment__init(&items[i]);
        items[i].n_replicas = given != NULL ? given_sizes[i] : (size_t)factor;
        const int32_t *replicas = given != NULL ? given[i] : &placed[(size_t)i * (size_t)factor];
        if (!assignment_is_valid(brokers, replicas, items[i].n_replicas, result)) {
            return NULL;
        }
        items[i].replicas = (int32_t *)(uintptr_t)replicas; /* packed only */
        items[i].n_servers = items[i].n_replicas;
        items[i].servers = servers_of(brokers, arena, replicas, items[i].n_servers);
        if (items[i].servers == NULL) {
            controller_refuse(result, KAFKA_UNKNOWN_SERVER_ERROR, "The request is too large to be planned.");
            return NULL;
        }
        list[i] = &items[i];
    }
    return list;
}

/* ---- CreateTopics ---- */

static void create_finish(void *request)
{
    struct controller_create *req = request;
    req->cb(req);
}

static Balsa__Record__Config **configs_build(struct arena *arena, const struct controller_topic *topic,
                                             struct controller_result *result)
{
    Balsa__Record__Config **list = arena_alloc(arena, (topic->config_count + 1) * sizeof(*list));
    Balsa__Record__Config *items = arena_alloc(arena, (topic->config_count + 1) * sizeof(*items));
    char text[160];
    for (size_t i = 0; list != NULL && items != NULL && i < topic->config_count; i++) {
        const struct store_config *config = &topic->configs[i];
        enum kafka_error error = topic_config_check(config->name, config->value, text, sizeof(text));
        if (error != KAFKA_NONE) {
            controller_refuse(result, error, "%s", text);
            return NULL;
        }
        balsa__record__config__init(&items[i]);
        items[i].name = arena_text(arena, config->name);
        items[i].value = arena_text(arena, config->value);
        list[i] = &items[i];
        if (items[i].name == NULL || items[i].value == NULL) {
            return NULL;
        }
    }
    return items != NULL ? list : NULL;
}

/* Counts after defaults; false with the refusal in `result`. */
static bool create_resolve(struct controller *controller, const struct controller_topic *topic, int32_t *count,
                           int16_t *factor, struct controller_result *result)
{
    struct uuid existing;
    struct bytes other;
    const char *cause = topic_name_fault(topic->name);
    *count = topic->partition_count == -1 ? controller->params.partitions_default : topic->partition_count;
    *factor =
        topic->replication_factor == -1 ? controller->params.replication_factor_default : topic->replication_factor;
    if (cause != NULL) {
        controller_refuse(result, KAFKA_INVALID_TOPIC_EXCEPTION, "Topic name is invalid: %s", cause);
    } else if (store_topic_id(controller->params.reader, topic->name, &existing) == OK) {
        controller_refuse(result, KAFKA_TOPIC_ALREADY_EXISTS, "Topic '%.*s' already exists.",
                          (int)(topic->name.size < 120 ? topic->name.size : 120), (const char *)topic->name.data);
    } else if (store_topic_colliding(controller->params.reader, topic->name, &other) == OK) {
        controller_refuse(result, KAFKA_INVALID_TOPIC_EXCEPTION, "Topic '%.*s' collides with existing topic: %.*s",
                          (int)(topic->name.size < 70 ? topic->name.size : 70), (const char *)topic->name.data,
                          (int)(other.size < 70 ? other.size : 70), (const char *)other.data);
    } else if (*count < 1 || *count > TOPIC_PARTITION_COUNT_MAX) {
        controller_refuse(result, KAFKA_INVALID_PARTITIONS, "Number of partitions was set to %d, it must be 1 to %d.",
                          *count, TOPIC_PARTITION_COUNT_MAX);
    } else if (topic->assignments == NULL && (*factor < 1 || *factor > REPLICA_SERVER_COUNT_MAX)) {
        controller_refuse(result, KAFKA_INVALID_REPLICATION_FACTOR,
                          "Replication factor was set to %d, it must be 1 to %d.", *factor, REPLICA_SERVER_COUNT_MAX);
    }
    return result->error == KAFKA_NONE;
}

static void create_topic(struct controller *controller, struct controller_create *req, size_t i, struct arena *arena)
{
    const struct controller_topic *topic = &req->topics[i];
    struct controller_result *result = &req->results[i];
    struct item *item = controller_item(controller, result, &req->pending, req, create_finish);
    Balsa__Record__Record record = BALSA__RECORD__RECORD__INIT;
    Balsa__Record__TopicCreated created = BALSA__RECORD__TOPIC_CREATED__INIT;
    int32_t count;
    int16_t factor;

    if (!create_resolve(controller, topic, &count, &factor, result)) {
        controller_go(item, NULL);
        return;
    }
    for (size_t n = 0; n < sizeof(result->id.bytes); n += 8) {
        be64_put(result->id.bytes + n, env_random(controller->params.env));
    }
    created.name = arena_text(arena, topic->name);
    created.id = (ProtobufCBinaryData){sizeof(result->id.bytes), result->id.bytes};
    created.assignments =
        assignments_build(controller, arena, 0, count, factor, topic->assignments, topic->assignment_sizes, result);
    created.n_assignments = (size_t)count;
    created.configs = result->error == KAFKA_NONE ? configs_build(arena, topic, result) : NULL;
    created.n_configs = topic->config_count;
    if (result->error == KAFKA_NONE && (created.name == NULL || created.configs == NULL)) {
        controller_refuse(result, KAFKA_INVALID_REQUEST, "The request is too large.");
    }
    if (result->error == KAFKA_NONE) {
        result->partition_count = count;
        result->replication_factor = (int16_t)created.assignments[0]->n_replicas;
        controller->placement_seed += (uint64_t)count;
    }
    record.kind_case = BALSA__RECORD__RECORD__KIND_TOPIC_CREATED;
    record.topic_created = &created;
    controller_go(item, req->is_validate_only ? NULL : &record);
}

void controller_create_topics(struct controller *controller, struct controller_create *req)
{
    assert(req->count > 0);
    req->pending = req->count;
    for (size_t i = 0; i < req->count; i++) {
        struct arena arena;
        arena_init(&arena, CONTROLLER_ARENA_SIZE_MAX);
        req->results[i] = (struct controller_result){.error = KAFKA_NONE};
        create_topic(controller, req, i, &arena);
        arena_deinit(&arena);
    }
}

/* ---- DeleteTopics ---- */

static void delete_finish(void *request)
{
    struct controller_delete *req = request;
    req->cb(req);
}

/* Highest term that a partition of the topic is known to have had; later topics start above it. */
static uint64_t topic_term(struct controller *controller, const struct uuid *id)
{
    uint64_t term = 0;
    for (int32_t index = 0; index < TOPIC_PARTITION_COUNT_MAX; index++) {
        uint64_t group;
        if (store_partition_group(controller->params.reader, id, index, &group) != OK) {
            break;
        }
        uint64_t known = controller->params.group_term(controller->params.owner, group);
        term = known > term ? known : term;
    }
    return term;
}

void controller_delete_topics(struct controller *controller, struct controller_delete *req)
{
    assert(req->count > 0);
    req->pending = req->count;
    for (size_t i = 0; i < req->count; i++) {
        Balsa__Record__Record record = BALSA__RECORD__RECORD__INIT;
        Balsa__Record__TopicDeleted deleted = BALSA__RECORD__TOPIC_DELETED__INIT;
        req->results[i] = (struct controller_result){.error = KAFKA_NONE, .id = req->ids[i]};
        struct item *item = controller_item(controller, &req->results[i], &req->pending, req, delete_finish);
        if (uuid_is_zero(&req->ids[i])) {
            controller_refuse(&req->results[i], KAFKA_UNKNOWN_TOPIC_OR_PARTITION, "This topic does not exist.");
            controller_go(item, NULL);
            continue;
        }
        deleted.id = (ProtobufCBinaryData){sizeof(req->ids[i].bytes), req->results[i].id.bytes};
        deleted.term_floor = topic_term(controller, &req->ids[i]);
        record.kind_case = BALSA__RECORD__RECORD__KIND_TOPIC_DELETED;
        record.topic_deleted = &deleted;
        controller_go(item, &record);
    }
}

/* ---- CreatePartitions ---- */

static void add_finish(void *request)
{
    struct controller_add_partitions *req = request;
    req->cb(req);
}

static bool add_is_valid(const struct controller_add_partitions *req, const struct store_topic *topic,
                         struct controller_result *result)
{
    int32_t added = req->partition_count - topic->partition_count;
    if (added <= 0) {
        controller_refuse(result, KAFKA_INVALID_PARTITIONS,
                          "Topic currently has %d partitions, which is %s the requested %d.", topic->partition_count,
                          added == 0 ? "the same as" : "higher than", req->partition_count);
    } else if (req->partition_count > TOPIC_PARTITION_COUNT_MAX) {
        controller_refuse(result, KAFKA_INVALID_PARTITIONS, "A topic has at most %d partitions.",
                          TOPIC_PARTITION_COUNT_MAX);
    } else if (req->assignments != NULL && req->assignment_count != (size_t)added) {
        controller_refuse(result, KAFKA_INVALID_REPLICA_ASSIGNMENT,
                          "%d partitions are added, but %zu assignments were given.", added, req->assignment_count);
    }
    return result->error == KAFKA_NONE;
}

static void add_partitions(struct controller *controller, struct controller_add_partitions *req, struct item *item,
                           struct arena *arena)
{
    struct controller_result *result = &req->result;
    Balsa__Record__Record record = BALSA__RECORD__RECORD__INIT;
    Balsa__Record__PartitionsAdded added = BALSA__RECORD__PARTITIONS_ADDED__INIT;
    struct store_topic topic;
    struct store_partition first;
    enum err err = store_topic_by_name(controller->params.reader, arena, req->name, &topic);
    err = err == OK ? store_partition(controller->params.reader, arena, &topic.id, 0, &first) : err;
    if (err != OK) {
        controller_refuse(result, err == ERR_NOT_FOUND ? KAFKA_UNKNOWN_TOPIC_OR_PARTITION : KAFKA_UNKNOWN_SERVER_ERROR,
                          err == ERR_NOT_FOUND ? "This topic does not exist." : "The topic cannot be read.");
        controller_go(item, NULL);
        return;
    }
    result->id = topic.id;
    if (!add_is_valid(req, &topic, result)) {
        controller_go(item, NULL);
        return;
    }
    int32_t count = req->partition_count - topic.partition_count;
    added.id = (ProtobufCBinaryData){sizeof(topic.id.bytes), topic.id.bytes};
    added.old_count = (uint32_t)topic.partition_count;
    added.assignments = assignments_build(controller, arena, topic.partition_count, count, (int16_t)first.replica_count,
                                          req->assignments, req->assignment_sizes, result);
    added.n_assignments = (size_t)count;
    result->partition_count = req->partition_count;
    result->replication_factor = (int16_t)first.replica_count;
    record.kind_case = BALSA__RECORD__RECORD__KIND_PARTITIONS_ADDED;
    record.partitions_added = &added;
    controller_go(item, req->is_validate_only ? NULL : &record);
}

void controller_create_partitions(struct controller *controller, struct controller_add_partitions *req)
{
    struct arena arena;
    req->result = (struct controller_result){.error = KAFKA_NONE};
    req->pending = 1;
    struct item *item = controller_item(controller, &req->result, &req->pending, req, add_finish);
    arena_init(&arena, CONTROLLER_ARENA_SIZE_MAX);
    add_partitions(controller, req, item, &arena);
    arena_deinit(&arena);
}

/* ---- Producer ids ---- */

static void producer_ids_on_proposed(struct metadata_propose *propose)
{
    struct controller_producer_ids *req = container_of(propose, struct controller_producer_ids, propose);
    req->error = propose->error;
    req->first = propose->result;
    req->cb(req);
}

void controller_allocate_producer_ids(struct controller *controller, struct controller_producer_ids *req)
{
    Balsa__Record__Record record = BALSA__RECORD__RECORD__INIT;
    Balsa__Record__ProducerIdsAllocated allocated = BALSA__RECORD__PRODUCER_IDS_ALLOCATED__INIT;
    allocated.broker = req->broker;
    allocated.count = req->count;
    record.kind_case = BALSA__RECORD__RECORD__KIND_PRODUCER_IDS_ALLOCATED;
    record.producer_ids_allocated = &allocated;
    req->propose.cb = producer_ids_on_proposed;
    metadata_propose(controller->params.metadata, &record, &req->propose);
}

/* ---- Registration ---- */

static void register_on_proposed(struct metadata_propose *propose)
{
    struct controller_register *req = container_of(propose, struct controller_register, propose);
    req->cb(req, propose->error);
}

static bool endpoint_equal(const struct store_endpoint *a, const struct store_endpoint *b)
{
    return bytes_equal(a->listener, b->listener) && bytes_equal(a->host, b->host) && a->port == b->port;
}

bool controller_is_registered(struct store_reader *reader, const struct store_broker *broker)
{
    struct store_broker stored;
    struct arena arena;
    arena_init(&arena, MIB(1));
    bool is_equal = store_broker(reader, &arena, broker->id, &stored) == OK && stored.server_id == broker->server_id &&
                    memcmp(stored.incarnation, broker->incarnation, sizeof(stored.incarnation)) == 0 &&
                    bytes_equal(stored.rack, broker->rack) && endpoint_equal(&stored.peer, &broker->peer) &&
                    stored.endpoint_count == broker->endpoint_count;
    for (size_t i = 0; is_equal && i < broker->endpoint_count; i++) {
        is_equal = endpoint_equal(&stored.endpoints[i], &broker->endpoints[i]);
    }
    arena_deinit(&arena);
    return is_equal;
}

static void endpoint_to_record(struct arena *arena, const struct store_endpoint *endpoint,
                               Balsa__Record__Endpoint *record)
{
    balsa__record__endpoint__init(record);
    record->listener = arena_text(arena, endpoint->listener);
    record->host = arena_text(arena, endpoint->host);
    record->port = endpoint->port;
}

static void register_on_task(struct task *task)
{
    struct controller_register *req = container_of(task, struct controller_register, task);
    req->cb(req, KAFKA_NONE);
}

static void register_broker(struct controller *controller, struct controller_register *req)
{
    const struct store_broker *broker = req->broker;
    Balsa__Record__Record record = BALSA__RECORD__RECORD__INIT;
    Balsa__Record__BrokerRegistered registered = BALSA__RECORD__BROKER_REGISTERED__INIT;
    Balsa__Record__Endpoint peer;
    struct arena arena;
    arena_init(&arena, MIB(1));
    Balsa__Record__Endpoint *endpoints = arena_alloc(&arena, (broker->endpoint_count + 1) * sizeof(*endpoints));
    registered.endpoints = arena_alloc(&arena, (broker->endpoint_count + 1) * sizeof(*registered.endpoints));
    registered.n_endpoints = broker->endpoint_count;
    for (size_t i = 0; i < broker->endpoint_count; i++) {
        endpoint_to_record(&arena, &broker->endpoints[i], &endpoints[i]);
        registered.endpoints[i] = &endpoints[i];
    }
    if (broker->peer.port != 0) {
        endpoint_to_record(&arena, &broker->peer, &peer);
        registered.peer = &peer;
    }
    registered.id = broker->id;
    registered.server_id = broker->server_id;
    registered.incarnation =
        (ProtobufCBinaryData){sizeof(broker->incarnation), (uint8_t *)(uintptr_t)broker->incarnation};
    registered.rack = arena_text(&arena, broker->rack);
    record.kind_case = BALSA__RECORD__RECORD__KIND_BROKER_REGISTERED;
    record.broker_registered = &registered;
    req->propose.cb = register_on_proposed;
    metadata_propose(controller->params.metadata, &record, &req->propose);
    arena_deinit(&arena);
}

static void cluster_on_proposed(struct metadata_propose *propose)
{
    struct controller_register *req = container_of(propose, struct controller_register, propose_cluster);
    if (propose->error != KAFKA_NONE) {
        req->cb(req, propose->error);
        return;
    }
    register_broker(req->controller, req);
}

static void propose_cluster(struct controller *controller, struct controller_register *req)
{
    Balsa__Record__Record record = BALSA__RECORD__RECORD__INIT;
    Balsa__Record__ClusterCreated created = BALSA__RECORD__CLUSTER_CREATED__INIT;
    struct uuid id;
    char text[CLUSTER_ID_SIZE + 1];
    if (req->cluster_id != NULL) {
        (void)snprintf(text, sizeof(text), "%s", req->cluster_id);
    } else {
        for (size_t n = 0; n < sizeof(id.bytes); n += 8) {
            be64_put(id.bytes + n, env_random(controller->params.env));
        }
        uuid_to_text(&id, text);
    }
    created.cluster_id = text;
    record.kind_case = BALSA__RECORD__RECORD__KIND_CLUSTER_CREATED;
    record.cluster_created = &created;
    req->propose_cluster.cb = cluster_on_proposed;
    metadata_propose(controller->params.metadata, &record, &req->propose_cluster);
}

void controller_register_broker(struct controller *controller, struct controller_register *req)
{
    char id[CLUSTER_ID_SIZE + 1];
    req->controller = controller;
    if (store_cluster_id(controller->params.reader, id) != OK) {
        propose_cluster(controller, req);
    } else if (!controller_is_registered(controller->params.reader, req->broker)) {
        register_broker(controller, req);
    } else {
        task_init(&req->task, register_on_task);
        env_task(controller->params.env, &req->task);
    }
}
