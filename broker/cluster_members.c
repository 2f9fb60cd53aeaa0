/* On the metadata leader: what there is put before members_next(), and its step proposed; twice a second, since each
 * step waits for the one before to be committed. */

#include "base/limits.h"
#include "base/mem.h"
#include "base/trace.h"
#include "broker/broker.h"
#include "broker/cluster_internal.h"

#define SERVER_COUNT_MAX (3 * REPLICA_SERVER_COUNT_MAX)

struct gathering {
    struct cluster *cluster;
    const struct replica *replica;
    const struct replica_status *status;
    struct members_server servers[SERVER_COUNT_MAX];
    size_t count;
};

static bool is_up(struct cluster *cluster, uint64_t server_id)
{
    struct peer_identity identity;
    int32_t node = replica_server_node(server_id);
    return peers_identity(cluster->shard->peers, node, &identity) && identity.server_id == server_id &&
           cluster_is_alive_now(cluster, node);
}

/* Not since this broker leads: what the leader before heard is not known. */
static bool is_lost(struct cluster *cluster, uint64_t server_id)
{
    int64_t timeout_us = cluster->shard->options->voter_timeout_ms * 1000;
    bool has_waited = env_now_us(cluster->shard->env) - cluster->leader_since_us > timeout_us;
    return has_waited && !cluster_was_heard(cluster, replica_server_node(server_id), timeout_us);
}

static struct members_server *gather(struct gathering *gathering, uint64_t server_id)
{
    struct cluster *cluster = gathering->cluster;
    struct members_server *server = &gathering->servers[gathering->count++];
    bool is_self = server_id == cluster->shard->broker->server_id;
    *server = (struct members_server){
        .id = server_id,
        .is_alive = is_self || is_up(cluster, server_id),
        .is_lost = !is_self && is_lost(cluster, server_id),
        .is_caught_up =
            is_self || replica_match_index(gathering->replica, server_id) >= gathering->status->commit_index,
    };
    return server;
}

static bool gather_broker(void *context, const struct store_broker *broker)
{
    struct gathering *gathering = context;
    if (gathering->count == SERVER_COUNT_MAX) {
        return false;
    }
    struct members_server *server = gather(gathering, broker->server_id);
    server->is_registered = true;
    if (broker->is_draining) { /* votes no more as soon as another can */
        server->is_lost = true;
        server->is_caught_up = false;
    }
    return true;
}

/* A member that is not registered: an earlier self of a broker, one that was removed, or a founder that is late. A
 * founder that does not vote any more is not late. */
static void gather_member(struct gathering *gathering, const struct replica_server *member)
{
    bool is_replaced = false;
    for (size_t i = 0; i < gathering->count; i++) {
        if (gathering->servers[i].id == member->id) {
            return;
        }
        is_replaced = is_replaced || replica_server_node(gathering->servers[i].id) == replica_server_node(member->id);
    }
    bool is_founder = identity_is_founder(&gathering->cluster->identity, member->id) && member->is_voter;
    if (gathering->count < SERVER_COUNT_MAX) {
        gather(gathering, member->id)->is_stale = is_replaced || !is_founder;
    }
}

static void trace_change(const struct membership *now, const struct membership *next)
{
    for (unsigned i = 0; i < next->count; i++) {
        const struct replica_server *before = membership_find(now, next->servers[i].id);
        const char *event = before == NULL                                  ? "metadata: standby added"
                            : before->is_voter == next->servers[i].is_voter ? NULL
                            : next->servers[i].is_voter                     ? "metadata: standby votes"
                                                                            : "metadata: voter made standby";
        if (event != NULL) {
            trace(INFO, CONTROLLER, event, KV("node", replica_server_node(next->servers[i].id)));
        }
    }
    for (unsigned i = 0; i < now->count; i++) {
        if (membership_find(next, now->servers[i].id) == NULL) {
            trace(INFO, CONTROLLER, "metadata: member removed", KV("node", replica_server_node(now->servers[i].id)));
        }
    }
}

void cluster_members_tick(struct cluster *cluster)
{
    struct replica *replica = cluster_replica(cluster);
    struct replica_status status;
    struct membership next;
    struct arena arena;
    if (!cluster_is_leader(cluster) || replica == NULL || cluster->is_stopping) {
        return;
    }
    replica_status(replica, &status);
    struct gathering gathering = {.cluster = cluster, .replica = replica, .status = &status};
    arena_init(&arena, MIB(4));
    enum err err = store_brokers_each(cluster->shard->reader, &arena, &gathering, gather_broker);
    arena_deinit(&arena);
    if (err != OK || !status.is_membership_committed) {
        return;
    }
    for (unsigned i = 0; i < status.membership.count; i++) {
        gather_member(&gathering, &status.membership.servers[i]);
    }
    struct members_view view = {.now = status.membership,
                                .self = cluster->shard->broker->server_id,
                                .servers = gathering.servers,
                                .server_count = gathering.count,
                                .founder_count = cluster->identity.founder_count};
    if (members_next(&view, &next) && replica_change(replica, &next) == OK) {
        trace_change(&status.membership, &next);
    }
}
