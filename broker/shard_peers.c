/* Happy path: a Raft message goes to its replica, or in a message to the shard of its group; a request goes to the
 * handler of its method, on the shard that the method, or the group that it names, belongs to.
 *
 * A request that is handed over stays here as an origin; its twin is replied to on the other shard, which sends the
 * reply back; an origin that is gone by then (the links were closed) is not found any more.
 * Close: links first, on all shards, and only then are shards stopped, so that nothing is handed to one that is gone.
 * */
#include "broker/shard_peers.h"
#include "base/assert.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/trace.h"
#include "broker/broker.h"
#include "broker/cluster.h"
#include "broker/forward.h"
#include "broker/leader_news.h"
#include "broker/leadership.h"
#include "broker/moved.h"
#include "broker/peer_method.h"
#include "broker/rebuild.h"
#include "broker/shard_catchups.h"
#include "broker/status.h"
#include "replication/catchup.h"
#include "replication/raft_wire.h"
#include "replication/replica_shard.h"
#include <stdio.h>
#include <string.h>

struct shard_peers {
    struct shard *shard;
    struct map origins; /* id -> struct peer_request that another shard works on */
    uint64_t last_origin;
    bool is_closed;
    void (*close_cb)(struct shard *shard);
};

static const struct slice NO_PAYLOAD = {NULL, {NULL, 0}};

/* ---- Raft messages ---- */

static void receive_here(struct shard *shard, uint64_t group, const struct replica_message *message)
{
    struct replica *replica =
        shard->replicas != NULL && !shard->is_stopping ? replicas_find(shard->replicas, group) : NULL;
    if (replica != NULL && message->kind == REPLICA_INSTALL) {
        catchup_signal(shard->catchups, group, message);
    } else if (replica != NULL) {
        replica_receive(replica, message);
    } else {
        metrics_add(shard->metrics, METRIC_RAFT_REFUSED, 1);
    }
    raft_wire_release(message);
}

struct raft_passed {
    struct message message;
    struct shard *target;
    uint64_t group;
    struct replica_message raft;
};

static void on_raft_passed(struct message *message)
{
    struct raft_passed *passed = container_of(message, struct raft_passed, message);
    receive_here(passed->target, passed->group, &passed->raft);
    mem_free(passed);
}

static void on_receive(void *owner, uint64_t group, const struct replica_message *message)
{
    struct shard *shard = owner;
    unsigned number = replicas_shard(group, shard_count(shard));
    if (number == shard->number) {
        receive_here(shard, group, message);
        return;
    }
    struct raft_passed *passed = mem_alloc_raw(sizeof(*passed));
    passed->message.cb = on_raft_passed;
    passed->target = &shard->broker->shards[number];
    passed->group = group;
    passed->raft = *message;
    shard_send(shard, number, &passed->message);
}

void shard_peers_send(void *owner, uint64_t group, const struct replica_message *message)
{
    struct shard *shard = owner;
    if (shard->peers != NULL) {
        peers_send(shard->peers, group, message);
    }
}

/* ---- Requests handed to another shard ---- */

struct request_passed { /* the twin of an origin */
    struct message message;
    struct shard *target;
    struct shard *home;
    uint64_t origin;
    struct peer_request request;
    struct slice reply;
    bool is_bulk;
};

static void handle_here(struct shard *shard, struct peer_request *request);

static void on_request_passed(struct message *message)
{
    struct request_passed *passed = container_of(message, struct request_passed, message);
    handle_here(passed->target, &passed->request);
}

static void on_request_replied(struct message *message)
{
    struct request_passed *passed = container_of(message, struct request_passed, message);
    struct shard_peers *links = passed->home->links;
    struct peer_request *origin = map_remove(&links->origins, passed->origin);
    if (origin != NULL) {
        peers_reply(origin, passed->reply, passed->is_bulk);
    }
    slice_release(&passed->reply);
    mem_free(passed);
}

/* peers_reply() of the twin, on the shard that worked on it. */
static void on_twin_reply(struct peer_request *request, struct slice payload, bool is_bulk)
{
    struct request_passed *passed = container_of(request, struct request_passed, request);
    slice_release(&passed->request.payload);
    if (passed->target->links->is_closed) {
        mem_free(passed); /* home may be gone, and has forgotten it in any case */
        return;
    }
    passed->reply = payload.block != NULL || payload.bytes.size == 0 ? slice_acquire(payload) : NO_PAYLOAD;
    passed->is_bulk = is_bulk;
    passed->message.cb = on_request_replied;
    shard_send(passed->target, passed->home->number, &passed->message);
}

static void pass_request(struct shard *shard, unsigned number, struct peer_request *request)
{
    struct request_passed *passed = mem_alloc(sizeof(*passed));
    passed->message.cb = on_request_passed;
    passed->target = &shard->broker->shards[number];
    passed->home = shard;
    passed->origin = ++shard->links->last_origin;
    passed->request = (struct peer_request){
        .node = request->node,
        .server_id = request->server_id,
        .method = request->method,
        .payload = slice_acquire(request->payload),
        .is_told = request->is_told,
        .reply = on_twin_reply,
    };
    map_put(&shard->links->origins, passed->origin, request);
    shard_send(shard, number, &passed->message);
}

static void forget_origins(struct shard_peers *links)
{
    size_t cursor = 0;
    uint64_t id;
    struct peer_request *request;
    while ((request = map_next(&links->origins, &cursor, &id)) != NULL) {
        map_remove(&links->origins, id);
        peers_reply(request, NO_PAYLOAD, false);
    }
}

/* ---- Requests ---- */

/* Where a request is handled: the shard that it came to, unless the method says otherwise. */
static unsigned shard_of_request(const struct shard *shard, const struct peer_request *request)
{
    switch (request->method) {
    case PEER_LOST:
    case PEER_CATCHUP: {
        struct reader reader;
        reader_init(&reader, request->payload.bytes);
        uint64_t group = read_u64(&reader);
        return reader.err == OK && group > 0 ? replicas_shard(group, shard_count(shard)) : shard->number;
    }
    case PEER_LEADERS:
    case PEER_TRANSFER:
        return shard->number;
    default:
        return 0;
    }
}

static void handle_here(struct shard *shard, struct peer_request *request)
{
    if (shard->is_stopping) {
        peers_reply(request, NO_PAYLOAD, false);
        return;
    }
    switch (request->method) {
    case PEER_WHO:
    case PEER_JOIN:
        cluster_request(shard->cluster, request);
        break;
    case PEER_LEADERS:
        leader_news_arrived(shard->leader_news, request);
        break;
    case PEER_CATCHUP:
        shard_catchups_request(shard, request);
        break;
    case PEER_LOST:
        rebuild_request(shard->rebuild, request);
        break;
    case PEER_FORWARD:
        forward_request_arrived(shard, request);
        break;
    case PEER_TRANSFER:
        leadership_request_arrived(shard, request);
        break;
    case PEER_MOVED:
        moved_request_arrived(shard, request);
        break;
    case PEER_STATUS:
        status_request_arrived(shard, request);
        break;
    default:
        trace(DEBUG, PEER, "request of an unknown method", KV("node", request->node), KV("method", request->method));
        peers_reply(request, NO_PAYLOAD, false);
        break;
    }
}

static void on_request(void *owner, struct peer_request *request)
{
    struct shard *shard = owner;
    unsigned number = shard_of_request(shard, request);
    if (shard->cluster != NULL) {
        cluster_heard_of(shard->cluster, request->node);
    }
    if (number == shard->number) {
        handle_here(shard, request);
    } else {
        pass_request(shard, number, request);
    }
}

/* ---- Links that come and go ---- */

static void on_up(void *owner, const struct peer_identity *identity)
{
    struct shard *shard = owner;
    replicas_peer_up(shard->replicas, identity->server_id);
    leaders_show(shard->leaders, identity->node, LEADERS_ENDED);
    leader_news_peer_up(shard->leader_news, identity->node);
    if (shard->cluster != NULL) {
        cluster_peer_up(shard->cluster, identity);
    }
}

static void on_down(void *owner, int32_t node, uint64_t server_id, bool is_reset)
{
    struct shard *shard = owner;
    replicas_peer_down(shard->replicas, server_id);
    if (is_reset) {
        leaders_hide(shard->leaders, node, LEADERS_ENDED);
    }
    if (shard->cluster != NULL) {
        cluster_peer_down(shard->cluster, node, server_id, is_reset);
    }
}

static void on_ended(void *owner, int32_t node, uint64_t server_id)
{
    struct shard *shard = owner;
    (void)node;
    replicas_peer_ended(shard->replicas, server_id);
}

static void on_refused(void *owner, const char *host, uint16_t port, const char *cause)
{
    (void)owner; /* it is in the trace: somebody must mend the configuration */
    (void)host;
    (void)port;
    (void)cause;
}

/* ---- Incoming connections ---- */

struct adopted {
    struct message message;
    struct shard *shard;
    int token;
    struct peer_hello hello;
};

static void on_adopted(struct message *message)
{
    struct adopted *adopted = container_of(message, struct adopted, message);
    struct shard *shard = adopted->shard;
    if (shard->peers != NULL) {
        peers_adopt(shard->peers, adopted->token, &adopted->hello);
    } else {
        shard->env->net->refuse(shard->env->net, adopted->token);
    }
    mem_free(adopted);
}

static void hand_over(void *owner, unsigned number, int token, const struct peer_hello *hello)
{
    struct shard *shard = owner;
    struct adopted *adopted = mem_alloc(sizeof(*adopted));
    adopted->message.cb = on_adopted;
    adopted->shard = &shard->broker->shards[number];
    adopted->token = token;
    adopted->hello = *hello;
    shard_send(shard, number, &adopted->message);
}

void shard_peers_accept(struct shard *shard, int token)
{
    assert(shard->number == 0);
    if (shard->peers != NULL) {
        peers_accept(shard->peers, token, hand_over);
    } else {
        shard->env->net->refuse(shard->env->net, token);
    }
}

/* ---- Life ---- */

static void fill_self(struct shard *shard)
{
    const struct broker *broker = shard->broker;
    const struct option_listener *listener = &shard->options->peer_listener;
    struct peer_identity *self = &shard->peer_self;
    self->node = shard->options->node_id;
    self->server_id = broker->server_id;
    memcpy(self->incarnation, broker->incarnation, sizeof(self->incarnation));
    (void)snprintf(self->host, sizeof(self->host), "%s", listener->advertised_host);
    self->port = listener->advertised_port != 0 ? listener->advertised_port : listener->port;
}

void shard_peers_open(struct shard *shard)
{
    struct peers_params params = {
        .env = shard->env,
        .shard = shard->number,
        .shard_count = shard_count(shard),
        .self = &shard->peer_self,
        .owner = shard,
        .receive = on_receive,
        .request = on_request,
        .up = on_up,
        .down = on_down,
        .ended = on_ended,
        .refused = on_refused,
    };
    shard->links = mem_alloc(sizeof(*shard->links));
    shard->links->shard = shard;
    map_init(&shard->links->origins);
    if (shard->options->has_peer_listener) {
        fill_self(shard);
        shard->peers = peers_open(&params);
    }
}

static void on_closed(void *owner)
{
    struct shard *shard = owner;
    forget_origins(shard->links);
    shard->links->close_cb(shard);
}

void shard_peers_close(struct shard *shard, void (*cb)(struct shard *shard))
{
    struct peers *peers = shard->peers;
    shard->links->is_closed = true;
    shard->links->close_cb = cb;
    shard->peers = NULL;
    if (peers == NULL) {
        cb(shard);
        return;
    }
    peers_close(peers, shard, on_closed);
}

void shard_peers_free(struct shard *shard)
{
    assert(shard->links->origins.count == 0);
    map_deinit(&shard->links->origins);
    mem_free(shard->links);
}
