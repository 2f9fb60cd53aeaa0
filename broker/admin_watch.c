/* Watch: the metadata's changes as they are applied here, and brokers that come and go, one message each. A watcher
 * that falls behind is ended with its reason: it reads the state anew and watches again. */

#include "base/limits.h"
#include "base/mem.h"
#include "broker/admin_internal.h"
#include "broker/cluster.h"

#define LOOK_US (500 * 1000) /* at who is alive */

struct watcher {
    struct grpc_call *call;
    struct list link;
};

typedef Balsa__Admin__V1__Event event;

static void watcher_end(struct watcher *watcher, enum grpc_status status, const char *text)
{
    struct grpc_call *call = watcher->call;
    list_remove(&watcher->link);
    mem_free(watcher);
    grpc_finish(call, status, "%s", text);
}

static void tell(struct admin *admin, const event *told)
{
    struct list *link = admin->watchers.next;
    while (link != &admin->watchers) {
        struct watcher *watcher = container_of(link, struct watcher, link);
        link = link->next;
        if (!grpc_reply(watcher->call, &told->base)) {
            watcher_end(watcher, GRPC_RESOURCE_EXHAUSTED,
                        "the client does not read fast enough: read the state anew and watch again");
        }
    }
}

static void event_init(struct admin *admin, event *told, Balsa__Admin__V1__Event__Kind kind)
{
    balsa__admin__v1__event__init(told);
    told->kind = kind;
    told->partition = told->broker = -1;
    told->metadata_index = store_applied_index(admin->shard->reader);
}

static Balsa__Admin__V1__Event__Kind kind_of(const struct metadata_change *change)
{
    switch (change->kind) {
    case METADATA_TOPIC_CREATED:
        return BALSA__ADMIN__V1__EVENT__KIND__TOPIC_CREATED;
    case METADATA_TOPIC_DELETED:
        return BALSA__ADMIN__V1__EVENT__KIND__TOPIC_DELETED;
    case METADATA_PARTITIONS_ADDED:
        return BALSA__ADMIN__V1__EVENT__KIND__PARTITIONS_ADDED;
    case METADATA_PARTITIONS_CHANGED:
        return BALSA__ADMIN__V1__EVENT__KIND__PARTITION_MOVES;
    case METADATA_CONFIGS_CHANGED:
        return BALSA__ADMIN__V1__EVENT__KIND__CONFIGS_CHANGED;
    case METADATA_BROKER_CONFIGS_CHANGED:
        return BALSA__ADMIN__V1__EVENT__KIND__BROKER_CONFIGS_CHANGED;
    case METADATA_BROKER_CHANGED:
        return BALSA__ADMIN__V1__EVENT__KIND__BROKER_CHANGED;
    case METADATA_CLUSTER_CREATED:
    case METADATA_REPLACED:
        break;
    }
    return BALSA__ADMIN__V1__EVENT__KIND__ALL_CHANGED;
}

void admin_metadata_changed(struct admin *admin, const struct metadata_change *change)
{
    struct arena arena;
    struct bytes name;
    char id[UUID_TEXT_SIZE] = "";
    event told;
    if (list_is_empty(&admin->watchers)) {
        return;
    }
    arena_init(&arena, KIB(16));
    event_init(admin, &told, kind_of(change));
    bool is_topic = !uuid_is_zero(&change->topic);
    if (is_topic) {
        uuid_to_text(&change->topic, id);
        told.topic_id = id;
        if (store_topic_name(admin->shard->reader, &arena, &change->topic, &name) == OK) {
            char *text = arena_text(&arena, name);
            told.topic = text != NULL ? text : told.topic;
        }
    }
    if (change->kind == METADATA_PARTITIONS_CHANGED) {
        told.partition = change->partition;
    }
    if (change->kind == METADATA_BROKER_CHANGED || change->kind == METADATA_BROKER_CONFIGS_CHANGED) {
        told.broker = change->broker;
    }
    tell(admin, &told);
    arena_deinit(&arena);
}

/* ---- Who is alive ---- */

static bool has(const int32_t *list, size_t count, int32_t id)
{
    for (size_t i = 0; i < count; i++) {
        if (list[i] == id) {
            return true;
        }
    }
    return false;
}

static void tell_missing(struct admin *admin, const int32_t *list, size_t count, const int32_t *in, size_t in_count,
                         Balsa__Admin__V1__Event__Kind kind)
{
    for (size_t i = 0; i < count; i++) {
        if (!has(in, in_count, list[i])) {
            event told;
            event_init(admin, &told, kind);
            told.broker = list[i];
            tell(admin, &told);
        }
    }
}

static void keep_alive(struct admin *admin)
{
    const struct shard *shard = admin->shard;
    admin->alive_count = shard->alive_count < CLUSTER_BROKER_COUNT_MAX ? shard->alive_count : CLUSTER_BROKER_COUNT_MAX;
    admin->alive = mem_resize(admin->alive, (admin->alive_count + 1) * sizeof(*admin->alive));
    for (size_t i = 0; i < admin->alive_count; i++) {
        admin->alive[i] = shard->alive[i];
    }
}

static void on_look(struct timer *timer)
{
    struct admin *admin = container_of(timer, struct admin, look);
    const struct shard *shard = admin->shard;
    if (list_is_empty(&admin->watchers)) {
        return;
    }
    tell_missing(admin, shard->alive, shard->alive_count, admin->alive, admin->alive_count,
                 BALSA__ADMIN__V1__EVENT__KIND__BROKER_ALIVE);
    tell_missing(admin, admin->alive, admin->alive_count, shard->alive, shard->alive_count,
                 BALSA__ADMIN__V1__EVENT__KIND__BROKER_DEAD);
    keep_alive(admin);
    env_timer(shard->env, &admin->look, LOOK_US);
}

/* ---- The method ---- */

void admin_watch_open(struct admin *admin)
{
    list_init(&admin->watchers);
    timer_init(&admin->look, on_look);
}

void admin_watch_close(struct admin *admin)
{
    env_timer_cancel(admin->shard->env, &admin->look);
    mem_free(admin->alive);
}

void admin_watch_canceled(struct grpc_call *call)
{
    watcher_end(call->context, GRPC_CANCELLED, "");
}

void admin_watch(struct grpc_call *call, const ProtobufCMessage *message)
{
    struct admin *admin = admin_of(call);
    struct watcher *watcher = mem_alloc(sizeof(*watcher));
    event told;
    (void)message;
    watcher->call = call;
    call->context = watcher;
    if (list_is_empty(&admin->watchers)) {
        keep_alive(admin);
        env_timer(admin->shard->env, &admin->look, LOOK_US);
    }
    list_push(&admin->watchers, &watcher->link);
    store_reader_refresh(admin->shard->reader);
    event_init(admin, &told, BALSA__ADMIN__V1__EVENT__KIND__BEGUN);
    (void)grpc_reply(call, &told.base); /* the first one always fits */
}
