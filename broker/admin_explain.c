/* Why something does not work, from what is recorded: the metadata, who is alive, and what brokers say of themselves
 * when they are asked. Each finding names its cause and what to do; none is guessed from a symptom that has another
 * explanation among them.
 *
 *   partition: its replicas' brokers are asked, then find_partition()
 *   group:     DescribeGroups, then find_group()
 *   cluster:   all partitions are looked over, all brokers asked, then find_cluster() */

#include "base/limits.h"
#include "base/mem.h"
#include "broker/admin_internal.h"
#include "broker/admin_round.h"
#include "broker/admin_scan.h"
#include "broker/cluster.h"
#include "metadata/config_value.h"
#include "proto/codec.h"
#include "proto/kafka_api.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define FINDING_COUNT_MAX 64
#define FAR_BEHIND 1000 /* entries: less is a moment's */

struct explain {
    struct grpc_call *call;
    Balsa__Admin__V1__ExplainResponse response;
    Balsa__Admin__V1__Finding *findings[FINDING_COUNT_MAX];
    struct admin_round round;
    struct admin_scan scan;
    struct store_topic topic;
    struct store_partition partition;
    int32_t index;
    int32_t nodes[CLUSTER_BROKER_COUNT_MAX];
    bool is_draining[CLUSTER_BROKER_COUNT_MAX];
    size_t node_count;
    uint64_t leaderless, moving;
    struct {
        int32_t node;
        const char *name;
        bool is_open; /* its broker takes new replicas */
    } racks[CLUSTER_BROKER_COUNT_MAX];
    size_t rack_count;
};

static void find(struct explain *explain, const char *code, const char *mend, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

static void find(struct explain *explain, const char *code, const char *mend, const char *format, ...)
{
    Balsa__Admin__V1__Finding *finding = admin_message(explain->call, &balsa__admin__v1__finding__descriptor);
    char text[400];
    va_list args;
    if (finding == NULL || explain->response.n_findings == FINDING_COUNT_MAX) {
        return;
    }
    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    finding->code = (char *)(uintptr_t)code;
    finding->cause = admin_text(explain->call, bytes_from_text(text));
    finding->mend = admin_text(explain->call, bytes_from_text(mend));
    explain->response.findings[explain->response.n_findings++] = finding;
}

static void explain_answer(struct explain *explain)
{
    admin_round_deinit(&explain->round);
    grpc_answer(explain->call, &explain->response.base);
}

/* ---- Brokers ---- */

static void find_broker(struct explain *explain, int32_t node)
{
    const struct shard *shard = admin_of(explain->call)->shard;
    const Balsa__Peer__StatusReply *reply = admin_round_reply(&explain->round, node);
    if (!cluster_is_alive(shard, node)) {
        find(explain, "BROKER_DOWN", "start it; if it does not come back, decommission it",
             "broker %d is not alive: nothing was heard of it for broker.session.timeout.ms", node);
    } else if (reply == NULL) {
        find(explain, "BROKER_UNREACHABLE", "look at the network between them, and at its listener for brokers",
             "broker %d is alive, but does not answer broker %d", node, shard->options->node_id);
    } else if (reply->is_space_low) {
        find(explain, "DISK_FULL", "free space, or shorten retention; produce goes on by itself above the reserve",
             "the disk of broker %d has %llu bytes left, less than balsa.disk.reserve.bytes: it refuses produce", node,
             (unsigned long long)reply->free_bytes);
    }
}

/* ---- A partition ---- */

static const Balsa__Peer__ReplicaStatus *replica_of(const struct explain *explain, int32_t node)
{
    return admin_round_replica(&explain->round, node, explain->partition.group);
}

/* Votes of the membership that any replica tells, and how many of those are here. */
static void count_votes(struct explain *explain, unsigned *voters, unsigned *here)
{
    const Balsa__Peer__ReplicaStatus *known = NULL;
    *voters = *here = 0;
    for (size_t i = 0; i < explain->node_count; i++) {
        const Balsa__Peer__ReplicaStatus *one = replica_of(explain, explain->nodes[i]);
        if (one != NULL && one->n_members > 0 && (known == NULL || one->last_index > known->last_index)) {
            known = one;
        }
    }
    for (size_t i = 0; known != NULL && i < known->n_members; i++) {
        if (i >= known->n_is_voter || !known->is_voter[i]) {
            continue;
        }
        const Balsa__Peer__ReplicaStatus *one = replica_of(explain, replica_server_node(known->members[i]));
        (*voters)++;
        *here += one != NULL && one->state == BALSA__PEER__REPLICA_STATUS__STATE__OPEN;
    }
}

static void find_leader(struct explain *explain, const Balsa__Peer__ReplicaStatus *leader)
{
    unsigned voters;
    unsigned here;
    count_votes(explain, &voters, &here);
    if (voters > 0 && here <= voters / 2) {
        find(explain, "NO_QUORUM", "bring back brokers that have a replica: no other way loses nothing",
             "%u of %u replicas that vote are up, and it takes %u: there is no leader, and nothing is committed", here,
             voters, voters / 2 + 1);
    } else if (voters == 0) {
        find(explain, "NO_REPLICAS", "bring back brokers that have a replica",
             "no broker that answers has a replica of the partition");
    } else if (leader == NULL) {
        find(explain, "ELECTION", "", "a majority is up and elects a leader: ask again in a moment");
    }
}

static void find_replica(struct explain *explain, int32_t node, const Balsa__Peer__ReplicaStatus *leader)
{
    const Balsa__Peer__ReplicaStatus *one = replica_of(explain, node);
    if (one == NULL) {
        return; /* its broker is told of */
    }
    if (one->state == BALSA__PEER__REPLICA_STATUS__STATE__DAMAGED) {
        find(explain, "REPLICA_DAMAGED", "look at that disk; it is made anew from the others while a majority is whole",
             "the replica on broker %d is damaged and out of service", node);
    } else if (one->state == BALSA__PEER__REPLICA_STATUS__STATE__ABSENT) {
        find(explain, "REPLICA_ABSENT", "", "broker %d has no replica yet, or none any more", node);
    } else if (one->catchup_total > 0) {
        find(explain, "CATCHING_UP", "", "the replica on broker %d takes a state: %llu of %llu bytes are there", node,
             (unsigned long long)one->catchup_done, (unsigned long long)one->catchup_total);
    }
    for (size_t i = 0; leader != NULL && one != leader && i < leader->n_members && i < leader->n_matches; i++) {
        if (replica_server_node(leader->members[i]) == node && leader->last_index > leader->matches[i] + FAR_BEHIND) {
            find(explain, "REPLICA_BEHIND", "look at that broker's disk and network, or wait",
                 "the replica on broker %d lacks %llu entries of the leader's log", node,
                 (unsigned long long)(leader->last_index - leader->matches[i]));
        }
    }
}

/* acks=all is refused while fewer replicas are up than min.insync.replicas asks for. */
static void find_insync(struct explain *explain)
{
    int64_t wanted = 0;
    size_t alive = 0;
    for (size_t i = 0; i < explain->topic.config_count; i++) {
        if (bytes_equal_text(explain->topic.configs[i].name, "min.insync.replicas") &&
            !config_parse_long(explain->topic.configs[i].value, &wanted)) {
            wanted = 0;
        }
    }
    for (size_t i = 0; i < explain->partition.replica_count; i++) {
        const Balsa__Peer__ReplicaStatus *one = replica_of(explain, explain->partition.replicas[i]);
        alive += one != NULL && one->state == BALSA__PEER__REPLICA_STATUS__STATE__OPEN;
    }
    if ((int64_t)alive < wanted) {
        find(explain, "NOT_ENOUGH_REPLICAS", "bring back a replica, or lower min.insync.replicas",
             "%zu replicas are up and min.insync.replicas is %lld: produce with acks=all is refused", alive,
             (long long)wanted);
    }
}

/* Racks of brokers that have one; SIZE_MAX: none. */
static size_t rack_of(const struct explain *explain, int32_t node)
{
    for (size_t i = 0; i < explain->rack_count; i++) {
        if (explain->racks[i].node == node) {
            return i;
        }
    }
    return SIZE_MAX;
}

static bool is_rack_among(const struct explain *explain, const size_t *seen, size_t count, size_t rack)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(explain->racks[seen[i]].name, explain->racks[rack].name) == 0) {
            return true;
        }
    }
    return false;
}

/* Placement spreads replicas over racks; a move by hand, or racks that were named later, may have put them together. */
static void find_racks(struct explain *explain)
{
    const struct store_partition *partition = &explain->partition;
    size_t used[CLUSTER_BROKER_COUNT_MAX];
    size_t there[CLUSTER_BROKER_COUNT_MAX];
    size_t used_count = 0;
    size_t there_count = 0;
    for (size_t i = 0; i < partition->replica_count; i++) {
        size_t rack = rack_of(explain, partition->replicas[i]);
        if (rack == SIZE_MAX || partition->target_count > 0) {
            return; /* nobody knows, or it is about to change */
        }
        if (used_count < array_count(used) && !is_rack_among(explain, used, used_count, rack)) {
            used[used_count++] = rack;
        }
    }
    for (size_t i = 0; i < explain->rack_count; i++) {
        if (explain->racks[i].is_open && !is_rack_among(explain, there, there_count, i)) {
            there[there_count++] = i;
        }
    }
    size_t wanted = partition->replica_count < there_count ? partition->replica_count : there_count;
    if (used_count < wanted) {
        find(explain, "RACKS_SHARED", "move it to brokers of different racks",
             "its %zu replicas are in %zu racks, and there are brokers in %zu: the loss of one rack takes several",
             partition->replica_count, used_count, there_count);
    }
}

static void find_move(struct explain *explain)
{
    const struct store_partition *partition = &explain->partition;
    if (partition->target_count == 0 && partition->leaving_count == 0) {
        return;
    }
    find(explain, "MOVING", "", "the partition moves to other replicas%s",
         partition->target_count == 0 ? ": those of a cancelled move leave" : "");
}

static void find_partition(struct admin_round *round)
{
    struct explain *explain = container_of(round, struct explain, round);
    const Balsa__Peer__ReplicaStatus *leader = NULL;
    for (size_t i = 0; i < explain->node_count; i++) {
        const Balsa__Peer__ReplicaStatus *one = replica_of(explain, explain->nodes[i]);
        leader = one != NULL && one->is_leader ? one : leader;
    }
    find_leader(explain, leader);
    for (size_t i = 0; i < explain->node_count; i++) {
        find_broker(explain, explain->nodes[i]);
    }
    for (size_t i = 0; i < explain->node_count; i++) {
        find_replica(explain, explain->nodes[i], leader);
    }
    find_insync(explain);
    find_racks(explain);
    find_move(explain);
    explain_answer(explain);
}

static void add_nodes(struct explain *explain, const int32_t *nodes, size_t count)
{
    for (size_t i = 0; i < count && explain->node_count < CLUSTER_BROKER_COUNT_MAX; i++) {
        bool is_new = true;
        for (size_t n = 0; n < explain->node_count; n++) {
            is_new = is_new && explain->nodes[n] != nodes[i];
        }
        if (is_new) {
            explain->nodes[explain->node_count++] = nodes[i];
        }
    }
}

static void start_round(struct explain *explain, uint64_t group, void (*done)(struct admin_round *round))
{
    struct shard *shard = admin_of(explain->call)->shard;
    int32_t timeout_ms = admin_timeout_ms(explain->call) / 2; /* some may never answer: others are told of then */
    admin_round_init(&explain->round, shard, timeout_ms > 2000 ? 2000 : timeout_ms + 1);
    explain->round.done = done;
    admin_round_add(&explain->round, shard->options->node_id, 0);
    for (size_t i = 0; i < explain->node_count; i++) {
        admin_round_add(&explain->round, explain->nodes[i], group);
    }
    admin_round_go(&explain->round);
}

static bool on_rack(void *context, const struct store_broker *broker)
{
    struct explain *explain = context;
    if (broker->rack.size > 0 && explain->rack_count < CLUSTER_BROKER_COUNT_MAX) {
        bool is_open = !broker->is_draining && cluster_is_alive(admin_of(explain->call)->shard, broker->id);
        explain->racks[explain->rack_count].node = broker->id;
        explain->racks[explain->rack_count].name = admin_text(explain->call, broker->rack);
        explain->racks[explain->rack_count++].is_open = is_open;
    }
    return true;
}

static void explain_partition(struct explain *explain, const Balsa__Admin__V1__ExplainRequest *request)
{
    if (!admin_partition(explain->call, request->topic, request->partition, &explain->topic, &explain->partition)) {
        return;
    }
    struct store_reader *reader = admin_of(explain->call)->shard->reader;
    if (store_brokers_each(reader, &explain->call->arena, explain, on_rack) != OK) {
        admin_too_large(explain->call);
        return;
    }
    explain->index = request->partition;
    add_nodes(explain, explain->partition.replicas, explain->partition.replica_count);
    add_nodes(explain, explain->partition.target, explain->partition.target_count);
    start_round(explain, explain->partition.group, find_partition);
}

/* ---- A group ---- */

static void find_group(struct grpc_call *call, const void *response)
{
    const struct kafka_describe_groups_response *kafka = response;
    struct explain *explain = call->context;
    const struct kafka_describe_groups_response_group *group = kafka->groups_count == 1 ? &kafka->groups[0] : NULL;
    bool is_gone = group != NULL &&
                   (group->error_code == KAFKA_GROUP_ID_NOT_FOUND || bytes_equal_text(group->group_state, "Dead"));
    if (group == NULL || (group->error_code != KAFKA_NONE && !is_gone)) {
        admin_fail(call, group != NULL ? (enum kafka_error)group->error_code : KAFKA_UNKNOWN_SERVER_ERROR, BYTES_NONE);
        return;
    }
    if (is_gone) {
        find(explain, "NO_GROUP", "look at group.id of the consumers, and whether they reach the cluster",
             "the coordinator knows no such group: no member has joined, nothing was committed");
    } else if (bytes_equal_text(group->group_state, "Empty")) {
        find(explain, "NO_MEMBERS", "start consumers; their log says why they left",
             "the group has offsets, and no members: nobody reads");
    } else if (bytes_equal_text(group->group_state, "PreparingRebalance")) {
        find(explain, "REBALANCING", "find the member that does not come back: it has until its rebalance time-out",
             "a rebalance waits for members to join again; %d are known", group->members_count);
    } else if (bytes_equal_text(group->group_state, "CompletingRebalance")) {
        find(explain, "WAITING_FOR_LEADER", "look at the log of the first member: it makes the assignment",
             "all %d members have joined, and wait for the assignment of the one that leads", group->members_count);
    }
    explain_answer(explain);
}

static void explain_group(struct explain *explain, const char *id)
{
    struct kafka_describe_groups_request kafka;
    struct bytes name = bytes_from_text(id);
    codec_init_defaults(&kafka_describe_groups_request_schema, &kafka);
    kafka.groups = &name;
    kafka.groups_count = 1;
    explain->call->context = explain;
    admin_ask(explain->call, KAFKA_API_DESCRIBE_GROUPS, &kafka, find_group);
}

/* ---- The cluster ---- */

static void find_cluster(struct admin_round *round)
{
    struct explain *explain = container_of(round, struct explain, round);
    const struct shard *shard = admin_of(explain->call)->shard;
    struct leader controller = leaders_get(shard->leaders, METADATA_GROUP);
    if (controller.broker < 0 || !cluster_is_alive(shard, controller.broker)) {
        find(explain, "NO_CONTROLLER", "bring back brokers whose metadata replicas vote",
             "the metadata has no leader: topics cannot be changed, groups cannot rebalance or commit");
    }
    if (explain->leaderless > 0) {
        find(explain, "PARTITIONS_WITHOUT_LEADER", "explain one of them: it says which brokers are missing",
             "%llu partitions have no leader: clients can neither write nor read them",
             (unsigned long long)explain->leaderless);
    }
    for (size_t i = 0; i < explain->node_count; i++) {
        find_broker(explain, explain->nodes[i]);
        if (explain->is_draining[i]) {
            find(explain, "DECOMMISSIONING", "", "broker %d is being decommissioned: its replicas move to others",
                 explain->nodes[i]);
        }
    }
    if (explain->moving > 0) {
        find(explain, "MOVING", "", "%llu partitions are moving", (unsigned long long)explain->moving);
    }
    explain_answer(explain);
}

static void on_scanned(struct admin_scan *scan)
{
    start_round(container_of(scan, struct explain, scan), 0, find_cluster);
}

static bool on_partition(struct admin_scan *scan, const struct uuid *topic, int32_t index,
                         const struct store_partition *partition)
{
    struct explain *explain = container_of(scan, struct explain, scan);
    struct leader leader = leaders_get(admin_of(explain->call)->shard->leaders, partition->group);
    (void)topic;
    (void)index;
    explain->leaderless += leader.broker < 0;
    explain->moving += partition->target_count > 0 || partition->leaving_count > 0;
    return true;
}

static bool on_broker(void *context, const struct store_broker *broker)
{
    struct explain *explain = context;
    if (explain->node_count < CLUSTER_BROKER_COUNT_MAX) {
        explain->is_draining[explain->node_count] = broker->is_draining;
        explain->nodes[explain->node_count++] = broker->id;
    }
    return true;
}

void admin_explain(struct grpc_call *call, const ProtobufCMessage *message)
{
    const Balsa__Admin__V1__ExplainRequest *request = (const void *)message;
    struct shard *shard = admin_of(call)->shard;
    struct explain *explain = arena_alloc(&call->arena, sizeof(*explain));
    if (explain == NULL) {
        admin_too_large(call);
        return;
    }
    balsa__admin__v1__explain_response__init(&explain->response);
    explain->response.findings = explain->findings;
    explain->call = call;
    if (request->topic[0] != '\0') {
        explain_partition(explain, request);
        return;
    }
    if (request->group[0] != '\0') {
        explain_group(explain, request->group);
        return;
    }
    store_reader_refresh(shard->reader);
    if (store_brokers_each(shard->reader, &call->arena, explain, on_broker) != OK) {
        admin_too_large(call);
        return;
    }
    explain->scan.each = on_partition;
    explain->scan.done = on_scanned;
    admin_scan_start(&explain->scan, shard, NULL);
}
