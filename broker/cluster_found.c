/* Founding: the driver of founding_decide(). Asks whom it has links to, decides after each answer, records, creates.
 *
 * What makes it safe beyond the decision itself: an answer counts only while the link that it came over stands; a
 * question that comes in while the record is being written waits for it, so nobody is told "in no cluster" by a broker
 * that has decided. */

#include "base/limits.h"
#include "base/mem.h"
#include "base/trace.h"
#include "broker/broker.h"
#include "broker/cluster_internal.h"
#include "broker/peer_method.h"
#include <stdio.h>
#include <string.h>

#define FIRST_TERM 1
/* A founder of its own, with no other seed to ask: brokers of its cluster, if it had one before it lost its disk,
 * connect within a second. */
#define ALONE_US (1500 * 1000)

static struct founding_self founding_self(const struct cluster *cluster)
{
    const struct options *options = cluster->shard->options;
    const struct option_listener *own = &options->peer_listener;
    struct founding_self self = {.server_id = cluster->shard->broker->server_id, .address_count = options->seed_count};
    if (options->seed_count == 0) {
        self.is_seed = true;
        self.address_count = 1;
    }
    for (unsigned i = 0; i < options->seed_count; i++) {
        const struct option_seed *seed = &options->seeds[i];
        self.is_seed =
            self.is_seed || (seed->port == own->advertised_port && strcmp(seed->host, own->advertised_host) == 0);
    }
    /* Another name of the same address: all others have found this broker among their seeds. */
    unsigned found_by = 0;
    for (size_t i = 0; i < CLUSTER_ASK_COUNT_MAX; i++) {
        const struct cluster_ask *ask = &cluster->asks[i];
        for (unsigned n = 0; ask->has_answer && n < ask->answer.seeds.count; n++) {
            found_by += ask->answer.seeds.ids[n] == self.server_id;
        }
    }
    self.is_seed = self.is_seed || (found_by > 0 && found_by + 1 == options->seed_count);
    return self;
}

static size_t founding_answers(const struct cluster *cluster, struct founding_answer *answers)
{
    size_t count = 0;
    for (size_t i = 0; i < CLUSTER_ASK_COUNT_MAX; i++) {
        if (cluster->asks[i].has_answer) {
            answers[count++] = cluster->asks[i].answer;
        }
    }
    return count;
}

/* ---- Recording ---- */

static void record_on_run(struct work *work)
{
    struct cluster *cluster = container_of(work, struct cluster, record_work);
    cluster->record_err =
        identity_put_cluster(cluster->shard->broker->local, &cluster->recording, &cluster->record_msg);
}

static void record_on_done(struct work *work)
{
    struct cluster *cluster = container_of(work, struct cluster, record_work);
    if (cluster->record_err != OK) {
        process_stop("the cluster cannot be recorded: %s", cluster->record_msg.text);
    }
    cluster->identity = cluster->recording;
    cluster->is_recording = false;
    bool is_founder = identity_is_founder(&cluster->identity, cluster->shard->broker->server_id);
    trace(INFO, CONTROLLER, is_founder ? "founder of a cluster" : "joins a cluster",
          KV("cluster", (const char *)cluster->identity.id));
    if (cluster->is_stopping) {
        if (cluster->idle_cb != NULL) {
            cluster->idle_cb(cluster->idle_owner);
        }
        return;
    }
    cluster_tell_identity(cluster);
    if (cluster->state == CLUSTER_RECORDING) {
        cluster_create(cluster);
    }
    cluster_release_held(cluster);
}

static void record(struct cluster *cluster, const struct identity_cluster *identity)
{
    cluster->recording = *identity;
    cluster->is_recording = true;
    cluster->record_msg.text[0] = '\0';
    cluster->record_work.run = record_on_run;
    cluster->record_work.done = record_on_done;
    cluster->shard->env->workers->submit(cluster->shard->env->workers, &cluster->record_work);
}

/* The broker was one of its own until now: its cluster id is in the metadata, its founders are who votes. */
void cluster_record_store(struct cluster *cluster)
{
    struct replica_status status;
    char id[CLUSTER_ID_SIZE + 1];
    struct replica *replica = cluster_replica(cluster);
    bool is_wanted = cluster->shard->peers != NULL && cluster->state == CLUSTER_MEMBER &&
                     cluster->identity.id[0] == '\0' && cluster->recording.id[0] == '\0';
    if (!is_wanted || replica == NULL || store_cluster_id(cluster->shard->reader, id) != OK) {
        return;
    }
    struct identity_cluster identity = {.founder_count = 0};
    (void)snprintf(identity.id, sizeof(identity.id), "%s", id);
    replica_status(replica, &status);
    for (unsigned i = 0; i < status.membership.count; i++) {
        if (status.membership.servers[i].is_voter && identity.founder_count < IDENTITY_FOUNDER_COUNT_MAX) {
            identity.founders[identity.founder_count++] = status.membership.servers[i].id;
        }
    }
    record(cluster, &identity);
}

/* ---- Creating ---- */

static void create_on_done(struct replica_create *req, enum err err)
{
    struct cluster *cluster = container_of(req, struct cluster, create);
    if (err == ERR_CANCELED) {
        return;
    }
    if (err != OK) {
        process_stop("metadata group: %s: %s", err_text(err), req->msg.text);
    }
    cluster->state = CLUSTER_MEMBER;
}

void cluster_create(struct cluster *cluster)
{
    struct shard *shard = cluster->shard;
    struct replica_create *req = &cluster->create;
    *req = (struct replica_create){.type = GROUP_METADATA, .group = METADATA_GROUP, .cb = create_on_done};
    cluster->state = CLUSTER_CREATING;
    if (cluster->identity.id[0] == '\0') {
        req->term = FIRST_TERM;
        req->membership.count = 1;
        req->membership.servers[0] = (struct replica_server){shard->broker->server_id, true};
    } else if (identity_is_founder(&cluster->identity, shard->broker->server_id)) {
        req->term = FIRST_TERM;
        req->membership.count = cluster->identity.founder_count;
        for (unsigned i = 0; i < cluster->identity.founder_count; i++) {
            req->membership.servers[i] = (struct replica_server){cluster->identity.founders[i], true};
        }
    }
    replicas_create(shard->replicas, req);
}

/* ---- Deciding ---- */

/* Seeds that nobody answers at, for the reader of the log. */
static void name_missing(const struct cluster *cluster, struct errmsg *msg)
{
    const struct options *options = cluster->shard->options;
    size_t size = strlen(msg->text);
    for (unsigned i = 0; i < options->seed_count; i++) {
        const struct option_seed *seed = &options->seeds[i];
        bool is_here = seed->port == options->peer_listener.advertised_port &&
                       strcmp(seed->host, options->peer_listener.advertised_host) == 0;
        for (size_t n = 0; n < CLUSTER_ASK_COUNT_MAX && !is_here; n++) {
            struct peer_identity identity;
            is_here = cluster->asks[n].has_answer &&
                      peers_identity(cluster->shard->peers, cluster->asks[n].node, &identity) &&
                      identity.port == seed->port && strcmp(identity.host, seed->host) == 0;
        }
        if (!is_here && size < sizeof(msg->text)) {
            size += (size_t)snprintf(msg->text + size, sizeof(msg->text) - size, ", not %s:%u", seed->host, seed->port);
        }
    }
}

static void make_cluster_id(struct cluster *cluster, char *text)
{
    struct uuid id;
    for (size_t n = 0; n < sizeof(id.bytes); n += 8) {
        be64_put(id.bytes + n, env_random(cluster->shard->env));
    }
    uuid_to_text(&id, text);
}

static void decide(struct cluster *cluster)
{
    struct founding_answer answers[CLUSTER_ASK_COUNT_MAX];
    struct founding_self self = founding_self(cluster);
    struct identity_cluster identity;
    struct errmsg msg = {""};
    size_t count = founding_answers(cluster, answers);
    if (cluster->state != CLUSTER_FOUNDING || cluster->is_stopping) {
        return;
    }
    enum founding_step step = founding_decide(&self, answers, count, &identity, &msg);
    bool is_early = env_now_us(cluster->shard->env) - cluster->started_us < ALONE_US;
    if (step == FOUNDING_MAKE && (self.address_count > 1 || !is_early)) {
        make_cluster_id(cluster, identity.id);
    } else if (step != FOUNDING_FOLLOW) {
        if (step == FOUNDING_WAIT) {
            name_missing(cluster, &msg);
        }
        cluster_say(cluster, step == FOUNDING_STUCK, msg.text);
        return;
    }
    cluster->state = CLUSTER_RECORDING;
    record(cluster, &identity);
}

/* ---- Asking ---- */

static void read_answer(struct cluster_ask *ask, const Balsa__Peer__WhoReply *reply)
{
    struct founding_answer *answer = &ask->answer;
    uint64_t server_id = answer->server_id;
    *answer = (struct founding_answer){.server_id = server_id};
    if (strlen(reply->cluster_id) == CLUSTER_ID_SIZE && reply->n_founders <= IDENTITY_FOUNDER_COUNT_MAX) {
        memcpy(answer->cluster.id, reply->cluster_id, CLUSTER_ID_SIZE + 1);
        answer->cluster.founder_count = (unsigned)reply->n_founders;
        for (size_t i = 0; i < reply->n_founders; i++) {
            answer->cluster.founders[i] = reply->founders[i];
        }
    } else if (reply->cluster_id[0] != '\0' || reply->n_seeds > OPTION_SEEDS_MAX) {
        trace(WARN, PEER, "answer of a broker does not decode", KV("node", ask->node));
        return;
    }
    answer->seeds.address_count = reply->seed_addresses;
    answer->seeds.count = (unsigned)(reply->n_seeds <= OPTION_SEEDS_MAX ? reply->n_seeds : 0);
    for (size_t i = 0; i < answer->seeds.count; i++) {
        answer->seeds.ids[i] = reply->seeds[i];
    }
    ask->has_answer = true;
}

static void read_controller(struct cluster *cluster, const Balsa__Peer__WhoReply *reply)
{
    const Balsa__Peer__Member *controller = reply->controller;
    bool is_ours = strcmp(reply->cluster_id, cluster->identity.id) == 0;
    if (!is_ours || controller == NULL || controller->port == 0 || controller->port > UINT16_MAX ||
        controller->node < 0) {
        return;
    }
    cluster->controller = controller->node;
    if (!peers_is_up(cluster->shard->peers, controller->node)) {
        peers_set(cluster->shard->peers, controller->node, controller->host, (uint16_t)controller->port);
    }
}

static void ask_on_reply(struct peer_call *call)
{
    struct cluster_ask *ask = container_of(call, struct cluster_ask, call);
    struct cluster *cluster = ask->cluster;
    Balsa__Peer__WhoReply *reply = NULL;
    ask->is_asking = false;
    if (call->err == OK && !cluster->is_stopping) {
        reply = balsa__peer__who_reply__unpack(NULL, call->reply.bytes.size, call->reply.bytes.data);
    }
    if (ask->is_gone) {
        ask->is_used = false;
    } else if (reply != NULL) {
        read_answer(ask, reply);
        read_controller(cluster, reply);
    }
    if (reply != NULL) {
        balsa__peer__who_reply__free_unpacked(reply, NULL);
    }
    decide(cluster);
}

static struct cluster_ask *ask_of(struct cluster *cluster, int32_t node)
{
    struct cluster_ask *unused = NULL;
    for (size_t i = 0; i < CLUSTER_ASK_COUNT_MAX; i++) {
        struct cluster_ask *ask = &cluster->asks[i];
        if (ask->is_used && !ask->is_gone && ask->node == node) {
            return ask;
        }
        unused = ask->is_used ? unused : ask;
    }
    return unused;
}

static void ask_peer(void *context, const struct peer_identity *peer, bool is_up)
{
    struct cluster *cluster = context;
    struct cluster_ask *ask = is_up ? ask_of(cluster, peer->node) : NULL;
    if (ask == NULL || ask->is_asking) {
        return;
    }
    if (!ask->is_used) {
        *ask = (struct cluster_ask){.cluster = cluster, .is_used = true, .node = peer->node};
    }
    if (ask->answer.server_id != peer->server_id) {
        ask->has_answer = false;
        ask->answer.server_id = peer->server_id;
    }
    ask->is_asking = true;
    ask->call = (struct peer_call){
        .node = peer->node, .method = PEER_WHO, .timeout_ms = CLUSTER_CALL_TIMEOUT_MS, .cb = ask_on_reply};
    peers_call(cluster->shard->peers, &ask->call);
}

void cluster_ask_all(struct cluster *cluster)
{
    peers_each(cluster->shard->peers, cluster, ask_peer);
}

void cluster_found_tick(struct cluster *cluster)
{
    cluster_ask_all(cluster);
    decide(cluster);
}

void cluster_found_start(struct cluster *cluster)
{
    cluster->state = CLUSTER_FOUNDING;
}

void cluster_found_down(struct cluster *cluster, int32_t node)
{
    for (size_t i = 0; i < CLUSTER_ASK_COUNT_MAX; i++) {
        struct cluster_ask *ask = &cluster->asks[i];
        if (ask->is_used && !ask->is_gone && ask->node == node) {
            ask->has_answer = false;
            ask->is_gone = ask->is_asking;
            ask->is_used = ask->is_asking;
        }
    }
}

void cluster_heard_of(struct cluster *cluster, int32_t node)
{
    struct peer_identity identity;
    if (cluster->state == CLUSTER_FOUNDING && peers_identity(cluster->shard->peers, node, &identity) &&
        identity.cluster_id[0] != '\0' && identity.host[0] != '\0' && identity.port != 0) {
        peers_set(cluster->shard->peers, node, identity.host, identity.port);
    }
}

/* ---- Answering ---- */

static void fill_controller(const struct cluster *cluster, struct arena *arena, Balsa__Peer__WhoReply *reply,
                            Balsa__Peer__Member *member)
{
    struct store_broker broker;
    int32_t node = cluster_controller(cluster);
    if (node < 0 || store_broker(cluster->shard->reader, arena, node, &broker) != OK || broker.peer.port == 0) {
        return;
    }
    balsa__peer__member__init(member);
    member->node = node;
    member->server_id = broker.server_id;
    member->host = arena_text(arena, broker.peer.host);
    member->port = broker.peer.port;
    reply->controller = member;
}

void cluster_who(struct cluster *cluster, struct peer_request *request)
{
    Balsa__Peer__WhoReply reply = BALSA__PEER__WHO_REPLY__INIT;
    struct founding_answer answers[CLUSTER_ASK_COUNT_MAX];
    struct founding_self self = founding_self(cluster);
    struct founding_seeds seeds;
    Balsa__Peer__Member controller;
    struct arena arena;
    bool is_own_without_id = cluster->state == CLUSTER_MEMBER && cluster->identity.id[0] == '\0';
    if (cluster->state == CLUSTER_STARTING || cluster->state == CLUSTER_RECORDING || is_own_without_id) {
        cluster_hold(cluster, request);
        return;
    }
    arena_init(&arena, KIB(64));
    founding_seeds(&self, answers, founding_answers(cluster, answers), &seeds);
    reply.cluster_id = cluster->identity.id;
    reply.n_founders = cluster->identity.founder_count;
    reply.founders = cluster->identity.founders;
    reply.seed_addresses = seeds.address_count;
    reply.n_seeds = seeds.count;
    reply.seeds = seeds.ids;
    if (cluster->state == CLUSTER_MEMBER) {
        fill_controller(cluster, &arena, &reply, &controller);
    }
    cluster_reply(request, &reply.base);
    arena_deinit(&arena);
}
