/* Joining: until its own copy of the metadata has it as it should be, a broker asks the metadata leader to register it,
 * or registers itself if it leads. Registering twice does nothing, so a lost answer is simply asked for again.
 *
 * The other side, on the leader: a broker may take over its node id from an earlier self (a wiped directory), but not
 * from another process that is alive. */

#include "base/assert.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/trace.h"
#include "broker/broker.h"
#include "broker/cluster_internal.h"
#include "broker/peer_method.h"
#include <stdio.h>
#include <string.h>

#define ENDPOINT_COUNT_MAX 64 /* of one broker */

/* ---- This broker ---- */

static void self_fill(const struct cluster *cluster, struct cluster_self *self)
{
    const struct shard *shard = cluster->shard;
    const struct options *options = shard->options;
    struct store_broker *broker = &self->broker;
    *broker = (struct store_broker){
        .id = options->node_id,
        .server_id = shard->broker->server_id,
        .rack = bytes_from_text(options->rack),
        .endpoints = self->endpoints,
        .endpoint_count = options->listener_count,
    };
    memcpy(broker->incarnation, shard->broker->incarnation, sizeof(broker->incarnation));
    for (unsigned i = 0; i < options->listener_count; i++) {
        const struct option_listener *listener = &options->listeners[i];
        self->endpoints[i] = (struct store_endpoint){
            .listener = bytes_from_text(listener->name),
            .host = bytes_from_text(listener->advertised_host),
            .port = listener->advertised_port != 0 ? listener->advertised_port : listener->port,
        };
    }
    if (shard->peers != NULL) {
        broker->peer = (struct store_endpoint){
            .listener = bytes_from_text(options->peer_listener.name),
            .host = bytes_from_text(shard->peer_self.host),
            .port = shard->peer_self.port,
        };
    }
}

bool cluster_is_joined(struct cluster *cluster)
{
    struct cluster_self self;
    self_fill(cluster, &self);
    return controller_is_registered(cluster->shard->reader, &self.broker);
}

/* ---- Registering ---- */

struct registering {
    struct controller_register request;
    struct cluster *cluster;
    struct peer_request *asked; /* by another broker; NULL: by this one */
    struct cluster_self self;
    struct arena arena;
};

static void reply_join(struct peer_request *request, Balsa__Peer__JoinReply__Result result, const char *cause,
                       uint64_t index)
{
    Balsa__Peer__JoinReply reply = BALSA__PEER__JOIN_REPLY__INIT;
    reply.result = result;
    reply.index = index;
    reply.cause = (char *)(uintptr_t)cause; /* packed only */
    cluster_reply(request, &reply.base);
}

static void on_registered(struct controller_register *req, enum kafka_error error)
{
    struct registering *registering = container_of(req, struct registering, request);
    struct cluster *cluster = registering->cluster;
    cluster->registrations--;
    if (registering->asked != NULL) {
        reply_join(registering->asked,
                   error == KAFKA_NONE ? BALSA__PEER__JOIN_REPLY__RESULT__JOINED
                                       : BALSA__PEER__JOIN_REPLY__RESULT__LATER,
                   "", 0);
    } else {
        cluster->registering = NULL;
        if (error == KAFKA_NONE) { /* else the timer comes here again */
            env_task(cluster->shard->env, &cluster->role_task);
        }
    }
    arena_deinit(&registering->arena);
    mem_free(registering);
}

static void register_go(struct registering *registering)
{
    struct cluster *cluster = registering->cluster;
    cluster->registrations++;
    registering->request.cluster_id = cluster->identity.id[0] != '\0' ? cluster->identity.id : NULL;
    registering->request.cb = on_registered;
    controller_register_broker(cluster->shard->controller, &registering->request);
}

static void register_self(struct cluster *cluster)
{
    if (cluster->registering != NULL || cluster->shard->controller == NULL) {
        return;
    }
    struct registering *registering = mem_alloc(sizeof(*registering));
    registering->cluster = cluster;
    arena_init(&registering->arena, KIB(4));
    self_fill(cluster, &registering->self);
    registering->request.broker = &registering->self.broker;
    cluster->registering = &registering->request;
    register_go(registering);
}

/* ---- Asking to be registered ---- */

static void join_later(struct cluster *cluster)
{
    cluster->controller = -1;
    metrics_add(cluster->shard->metrics, METRIC_JOIN_RETRIES, 1);
}

static void join_on_reply(struct peer_call *call)
{
    struct cluster *cluster = container_of(call, struct cluster, join_call);
    Balsa__Peer__JoinReply *reply = NULL;
    cluster->is_joining = false;
    shared_release(cluster->join_block);
    cluster->join_block = NULL;
    if (call->err != OK) {
        join_later(cluster);
        return;
    }
    reply = balsa__peer__join_reply__unpack(NULL, call->reply.bytes.size, call->reply.bytes.data);
    if (reply != NULL && reply->result == BALSA__PEER__JOIN_REPLY__RESULT__REFUSED &&
        strcmp(cluster->refusal, reply->cause) != 0) {
        (void)snprintf(cluster->refusal, sizeof(cluster->refusal), "%s", reply->cause);
        trace(ERROR, CONTROLLER, "the cluster refuses this broker", KV("cause", (const char *)cluster->refusal));
    }
    if (reply != NULL && reply->result == BALSA__PEER__JOIN_REPLY__RESULT__JOINED) {
        cluster->is_known = true;
        cluster->known_index = reply->index;
    } else {
        join_later(cluster);
    }
    if (reply != NULL) {
        balsa__peer__join_reply__free_unpacked(reply, NULL);
    }
}

static void endpoint_record(struct arena *arena, const struct store_endpoint *endpoint, Balsa__Record__Endpoint *record)
{
    balsa__record__endpoint__init(record);
    record->listener = arena_text(arena, endpoint->listener);
    record->host = arena_text(arena, endpoint->host);
    record->port = endpoint->port;
}

static void join_send(struct cluster *cluster, int32_t controller)
{
    Balsa__Peer__JoinRequest request = BALSA__PEER__JOIN_REQUEST__INIT;
    Balsa__Record__BrokerRegistered record = BALSA__RECORD__BROKER_REGISTERED__INIT;
    Balsa__Record__Endpoint endpoints[OPTION_LISTENERS_MAX];
    Balsa__Record__Endpoint *list[OPTION_LISTENERS_MAX];
    Balsa__Record__Endpoint peer;
    struct cluster_self self;
    struct arena arena;
    arena_init(&arena, KIB(64));
    self_fill(cluster, &self);
    for (size_t i = 0; i < self.broker.endpoint_count; i++) {
        endpoint_record(&arena, &self.endpoints[i], &endpoints[i]);
        list[i] = &endpoints[i];
    }
    endpoint_record(&arena, &self.broker.peer, &peer);
    record.id = self.broker.id;
    record.server_id = self.broker.server_id;
    record.incarnation = (ProtobufCBinaryData){sizeof(self.broker.incarnation), self.broker.incarnation};
    record.rack = arena_text(&arena, self.broker.rack);
    record.endpoints = list;
    record.n_endpoints = self.broker.endpoint_count;
    record.peer = &peer;
    request.broker = &record;
    struct bytes payload = cluster_pack(&request.base, &cluster->join_block);
    arena_deinit(&arena);
    cluster->is_joining = true;
    cluster->join_call = (struct peer_call){.node = controller,
                                            .method = PEER_JOIN,
                                            .payload = {cluster->join_block, payload},
                                            .timeout_ms = CLUSTER_CALL_TIMEOUT_MS,
                                            .cb = join_on_reply};
    peers_call(cluster->shard->peers, &cluster->join_call);
}

/* The leader's copy is the newest there is. Any other has what the leader's had when it was asked in this process's
 * life: a client that created a topic while this broker was away finds it here. */
static bool is_current(struct cluster *cluster)
{
    return cluster_is_leader(cluster) ||
           (cluster->is_known && store_applied_index(cluster->shard->reader) >= cluster->known_index);
}

static void ask_to_join(struct cluster *cluster)
{
    int32_t controller = cluster_controller(cluster);
    if (cluster->shard->peers == NULL || cluster->is_joining) {
        return;
    }
    if (controller >= 0 && controller != cluster->shard->options->node_id &&
        peers_is_up(cluster->shard->peers, controller)) {
        join_send(cluster, controller);
    } else {
        cluster_ask_all(cluster);
    }
}

/* To whoever reads the log of a start that takes long. */
static void say_what_is_missing(struct cluster *cluster)
{
    struct errmsg msg;
    struct leader leader = leaders_get(cluster->shard->leaders, METADATA_GROUP);
    if (cluster->shard->broker->is_serving) {
        return;
    }
    if (leader.broker < 0) {
        (void)fail(&msg, ERR_NOT_READY,
                   "the metadata has no leader that this broker knows: a majority of its voters must run");
    } else {
        (void)fail(&msg, ERR_NOT_READY, "broker %d, who leads the metadata, has not registered this one yet",
                   leader.broker);
    }
    cluster_say(cluster, false, msg.text);
}

/* Somebody has removed this broker from the cluster while it runs: it does not come back by itself. */
static bool is_removed(struct cluster *cluster)
{
    struct store_broker broker;
    struct arena arena;
    arena_init(&arena, KIB(64));
    bool is_gone = cluster->was_registered && store_broker(cluster->shard->reader, &arena,
                                                           cluster->shard->options->node_id, &broker) == ERR_NOT_FOUND;
    arena_deinit(&arena);
    if (is_gone && !cluster->is_removal_told) {
        cluster->is_removal_told = true;
        trace(WARN, CONTROLLER, "this broker was removed from the cluster: stop it, or start it again to join anew");
    }
    return is_gone;
}

void cluster_join_tick(struct cluster *cluster)
{
    store_reader_refresh(cluster->shard->reader);
    bool is_joined = cluster_is_joined(cluster);
    if (is_joined) {
        cluster->refusal[0] = '\0';
        cluster->was_registered = true;
    } else if (is_removed(cluster)) {
        return;
    }
    if (is_joined && (cluster->shard->broker->is_serving || is_current(cluster))) {
        broker_metadata_ready(cluster->shard->broker);
    } else if (!is_joined && cluster_is_leader(cluster)) {
        register_self(cluster);
    } else if (!is_joined || !cluster->is_known) {
        ask_to_join(cluster);
        say_what_is_missing(cluster);
    }
}

/* ---- Being asked, on the leader ---- */

/* The registered broker of that id, under another incarnation, is a process that runs. */
static bool is_in_use(struct cluster *cluster, const struct store_broker *asking, struct errmsg *msg)
{
    struct store_broker stored;
    struct peer_identity identity;
    struct arena arena;
    bool is_used = false;
    arena_init(&arena, KIB(64));
    if (asking->id == cluster->shard->options->node_id) {
        (void)fail(msg, ERR_EXISTS,
                   "node.id=%d is this broker's, the metadata leader's: give each broker one of its own", asking->id);
        is_used = true;
    } else if (store_broker(cluster->shard->reader, &arena, asking->id, &stored) == OK &&
               stored.server_id != asking->server_id && peers_is_up(cluster->shard->peers, asking->id) &&
               peers_identity(cluster->shard->peers, asking->id, &identity) && identity.server_id == stored.server_id) {
        (void)fail(msg, ERR_EXISTS,
                   "node.id=%d is that of a broker that is alive at %s:%u: give each broker one of its own", asking->id,
                   identity.host, identity.port);
        is_used = true;
    }
    arena_deinit(&arena);
    return is_used;
}

struct count {
    int32_t node;
    unsigned others;
};

static bool count_broker(void *context, const struct store_broker *broker)
{
    struct count *count = context;
    count->others += broker->id != count->node;
    return true;
}

static bool is_full(struct cluster *cluster, int32_t node, struct errmsg *msg)
{
    struct count count = {.node = node};
    struct arena arena;
    arena_init(&arena, MIB(4));
    enum err err = store_brokers_each(cluster->shard->reader, &arena, &count, count_broker);
    arena_deinit(&arena);
    if (err == OK && count.others < REPLICA_SERVER_COUNT_MAX) {
        return false;
    }
    (void)fail(msg, ERR_TOO_LARGE, "the cluster has %u brokers already, and %d is the most", count.others,
               REPLICA_SERVER_COUNT_MAX);
    return true;
}

static struct store_endpoint endpoint_of(struct arena *arena, const Balsa__Record__Endpoint *record)
{
    return (struct store_endpoint){arena_copy(arena, bytes_from_text(record->listener)),
                                   arena_copy(arena, bytes_from_text(record->host)), (uint16_t)record->port};
}

/* Texts move into the arena. False: no broker could have sent it. */
static bool registering_read(struct registering *registering, const struct peer_request *request,
                             const Balsa__Peer__JoinRequest *message)
{
    const Balsa__Record__BrokerRegistered *record = message->broker;
    struct store_broker *broker = &registering->self.broker;
    bool is_sound = record != NULL && record->id == request->node && record->server_id == request->server_id &&
                    record->incarnation.len == sizeof(broker->incarnation) &&
                    record->n_endpoints <= ENDPOINT_COUNT_MAX && record->peer != NULL && record->peer->port > 0 &&
                    record->peer->port <= UINT16_MAX && strlen(record->rack) < 256;
    for (size_t i = 0; is_sound && i < record->n_endpoints; i++) {
        is_sound = record->endpoints[i]->port <= UINT16_MAX;
    }
    if (!is_sound) {
        return false;
    }
    broker->id = record->id;
    broker->server_id = record->server_id;
    memcpy(broker->incarnation, record->incarnation.data, sizeof(broker->incarnation));
    broker->rack = arena_copy(&registering->arena, bytes_from_text(record->rack));
    broker->peer = endpoint_of(&registering->arena, record->peer);
    broker->endpoints = arena_alloc(&registering->arena, (record->n_endpoints + 1) * sizeof(*broker->endpoints));
    broker->endpoint_count = broker->endpoints != NULL ? record->n_endpoints : 0;
    for (size_t i = 0; i < broker->endpoint_count; i++) {
        broker->endpoints[i] = endpoint_of(&registering->arena, record->endpoints[i]);
    }
    return broker->endpoints != NULL;
}

void cluster_join(struct cluster *cluster, struct peer_request *request)
{
    struct errmsg msg = {""};
    if (!cluster_is_leader(cluster) || cluster->shard->controller == NULL || cluster->state != CLUSTER_MEMBER) {
        reply_join(request, BALSA__PEER__JOIN_REPLY__RESULT__LATER, "", 0);
        return;
    }
    struct registering *registering = mem_alloc(sizeof(*registering));
    registering->cluster = cluster;
    registering->asked = request;
    arena_init(&registering->arena, KIB(256));
    Balsa__Peer__JoinRequest *message =
        balsa__peer__join_request__unpack(NULL, request->payload.bytes.size, request->payload.bytes.data);
    bool is_sound = message != NULL && registering_read(registering, request, message);
    if (message != NULL) {
        balsa__peer__join_request__free_unpacked(message, NULL);
    }
    if (!is_sound) {
        (void)fail(&msg, ERR_CORRUPT, "the request to join is malformed: are both brokers of one version?");
    } else if (!is_in_use(cluster, &registering->self.broker, &msg)) {
        (void)is_full(cluster, registering->self.broker.id, &msg);
    }
    if (msg.text[0] != '\0') {
        metrics_add(cluster->shard->metrics, METRIC_JOINS_REFUSED, 1);
        trace(WARN, CONTROLLER, "a broker is refused", KV("node", request->node), KV("cause", (const char *)msg.text));
        reply_join(request, BALSA__PEER__JOIN_REPLY__RESULT__REFUSED, msg.text, 0);
        arena_deinit(&registering->arena);
        mem_free(registering);
        return;
    }
    registering->request.broker = &registering->self.broker;
    register_go(registering);
}
