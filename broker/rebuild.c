#include "broker/rebuild.h"

#include "base/assert.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/trace.h"
#include "broker/broker.h"
#include "broker/mover.h"
#include "broker/peer_method.h"
#include "broker/reconciler.h"
#include <string.h>

#define ASK_US (INT64_C(1000) * 1000)
#define ASK_TIMEOUT_MS 5000
#define ASK_COUNT_MAX 16 /* at once: damage of a whole disk is many groups, and none of them is in a hurry */

enum lost_status {
    LOST_GONE = 0,
    LOST_LATER = 1
};

struct rebuild {
    struct shard *shard;
    struct map asks; /* group -> struct ask */
    struct timer timer;
    bool is_stopped;
};

struct ask {
    struct peer_call call;
    struct rebuild *rebuild;
    uint64_t group;
    struct shared *payload;
};

/* ---- The damaged side ---- */

static void on_reply(struct peer_call *call)
{
    struct ask *ask = container_of(call, struct ask, call);
    struct rebuild *rebuild = ask->rebuild;
    struct shard *shard = rebuild->shard;
    uint64_t group = ask->group;
    bool is_gone = call->err == OK && call->reply.bytes.size == 1 && call->reply.bytes.data[0] == LOST_GONE;
    (void)map_remove(&rebuild->asks, group);
    shared_release(ask->payload);
    mem_free(ask);
    if (is_gone && !shard->is_stopping && !rebuild->is_stopped && shard_is_damaged(shard, group)) {
        trace(INFO, REPLICA, "damaged replica is rebuilt from its peers", KV("group", (int64_t)group));
        reconciler_rebuild(shard->reconciler, group);
    }
}

static void ask_leader(void *context, uint64_t group, struct replica_machine *machine)
{
    struct rebuild *rebuild = context;
    struct shard *shard = rebuild->shard;
    int32_t leader = leaders_get(shard->leaders, group).broker;
    if (machine != NULL || group == METADATA_GROUP || leader < 0 || leader == shard->options->node_id ||
        rebuild->asks.count >= ASK_COUNT_MAX || map_get(&rebuild->asks, group) != NULL) {
        return;
    }
    struct ask *ask = mem_alloc(sizeof(*ask));
    ask->rebuild = rebuild;
    ask->group = group;
    ask->payload = shared_new(8);
    be64_put(ask->payload->data, group);
    ask->call = (struct peer_call){
        .node = leader,
        .method = PEER_LOST,
        .payload = {ask->payload, {ask->payload->data, 8}},
        .timeout_ms = ASK_TIMEOUT_MS,
        .cb = on_reply,
    };
    map_put(&rebuild->asks, group, ask);
    peers_call(shard->peers, &ask->call);
}

static void on_timer(struct timer *timer)
{
    struct rebuild *rebuild = container_of(timer, struct rebuild, timer);
    struct shard *shard = rebuild->shard;
    if (shard->peers != NULL && shard->replicas != NULL && replicas_damaged_count(shard->replicas) > 0) {
        replicas_each(shard->replicas, rebuild, ask_leader);
    }
    env_timer(shard->env, &rebuild->timer, ASK_US);
}

/* ---- The leader's side ---- */

static void answer(struct peer_request *request, enum lost_status status)
{
    struct shared *block = shared_new(1);
    block->data[0] = (uint8_t)status;
    peers_reply(request, (struct slice){block, {block->data, 1}}, false);
    shared_release(block);
}

/* Without the server. False: it is no member. */
static bool membership_without(const struct membership *now, uint64_t server, struct membership *next)
{
    *next = (struct membership){0};
    for (unsigned i = 0; i < now->count; i++) {
        if (now->servers[i].id != server) {
            next->servers[next->count++] = now->servers[i];
        }
    }
    return next->count < now->count;
}

/* A standby that holds nothing, as far as this leader knows, has been added anew: what it acknowledged as a standby
 * before was never counted. */
static enum lost_status lose(struct replica *replica, uint64_t server)
{
    struct replica_status status;
    struct membership next;
    replica_status(replica, &status);
    const struct replica_server *member = membership_find(&status.membership, server);
    if (!status.is_ready || !status.is_membership_committed) {
        return LOST_LATER;
    }
    if (member == NULL || (!member->is_voter && replica_match_index(replica, server) == 0)) {
        return LOST_GONE;
    }
    if (membership_without(&status.membership, server, &next) && next.count > 0) {
        enum err err = replica_change(replica, &next);
        trace(INFO, REPLICA, "a damaged member is removed", KV("group", (int64_t)replica_group(replica)),
              KV("server", (int64_t)server), KV("result", err_name(err)));
    }
    return LOST_LATER; /* when it is committed */
}

void rebuild_request(struct rebuild *rebuild, struct peer_request *request)
{
    struct shard *shard = rebuild->shard;
    struct bytes payload = request->payload.bytes;
    struct replica *replica =
        payload.size == 8 && shard->replicas != NULL ? replicas_find(shard->replicas, be64_get(payload.data)) : NULL;
    if (replica == NULL || be64_get(payload.data) == METADATA_GROUP || !replica_is_ready_leader(replica)) {
        answer(request, LOST_LATER);
        return;
    }
    enum lost_status status = lose(replica, request->server_id);
    if (status == LOST_GONE) {
        mover_group(shard->mover, replica_group(replica)); /* it is missed now */
    }
    answer(request, status);
}

/* ---- Life ---- */

struct rebuild *rebuild_open(struct shard *shard)
{
    struct rebuild *rebuild = mem_alloc(sizeof(*rebuild));
    rebuild->shard = shard;
    map_init(&rebuild->asks);
    timer_init(&rebuild->timer, on_timer);
    env_timer(shard->env, &rebuild->timer, ASK_US);
    return rebuild;
}

void rebuild_stop(struct rebuild *rebuild)
{
    rebuild->is_stopped = true;
    env_timer_cancel(rebuild->shard->env, &rebuild->timer);
}

void rebuild_close(struct rebuild *rebuild)
{
    assert(rebuild->asks.count == 0);
    map_deinit(&rebuild->asks);
    mem_free(rebuild);
}
