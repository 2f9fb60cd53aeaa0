/* Happy path: the timer fires, every replica of the shard is looked at once, the picture is swapped in under a lock
 * that readers hold for one copy.
 *
 * Rows of partitions are bounded for the whole broker: each shard has its share. */
#include "broker/health.h"
#include "base/assert.h"
#include "base/mem.h"
#include "broker/broker.h"
#include "broker/cluster.h"
#include "broker/reconciler.h"
#include "replication/log.h"

#include <pthread.h>
#include <string.h>

struct seen {        /* of one replica, at the picture before */
    uint64_t target; /* what it should have applied by now */
    uint64_t round;  /* of the picture: what is older is of a replica that is gone */
};

struct health_board {
    struct shard *shard;
    struct timer timer;
    struct map seen; /* group -> struct seen */
    uint64_t round;
    struct health next; /* in the making */
    struct health_partition *next_partitions;
    size_t capacity;
    pthread_mutex_t mutex;
    struct health health; /* under the mutex, as are its rows */
    struct health_partition *partitions;
};

/* ---- One replica ---- */

static uint64_t seen_target(struct health_board *board, uint64_t group, uint64_t target)
{
    struct seen *seen = map_get(&board->seen, group);
    bool is_new = seen == NULL;
    if (is_new) {
        seen = mem_alloc(sizeof(*seen));
        map_put(&board->seen, group, seen);
    }
    uint64_t before = is_new ? target : seen->target;
    *seen = (struct seen){.target = target, .round = board->round};
    return before;
}

/* A member is behind that lacks what was committed a round ago, or has no vote yet; one that is not heard of is,
 * whatever it has. Standbys of the metadata are meant to have none. */
static bool has_member_behind(const struct shard *shard, uint64_t group, const struct replica *replica,
                              const struct replica_status *status, uint64_t target)
{
    for (unsigned i = 0; i < status->membership.count; i++) {
        const struct replica_server *server = &status->membership.servers[i];
        bool is_self = server->id == shard->broker->server_id;
        if (!is_self && (replica_match_index(replica, server->id) < target ||
                         !cluster_is_alive(shard, replica_server_node(server->id)) ||
                         (!server->is_voter && group != METADATA_GROUP))) {
            return true;
        }
    }
    return false;
}

/* Whether `self` is still to get its vote: until then the others are one loss short. The server that this broker was
 * before its disk was lost counts as a vote and will not come back. An even number of voters of the metadata is one on
 * the way to an odd one (metadata_members.h); else a standby stays one. */
bool health_is_joining(const struct membership *now, uint64_t group, uint64_t self)
{
    const struct replica_server *here = membership_find(now, self);
    for (unsigned i = 0; i < now->count; i++) {
        uint64_t id = now->servers[i].id;
        if (id != self && replica_server_node(id) == replica_server_node(self)) {
            return true;
        }
    }
    if (here != NULL && here->is_voter) {
        return false;
    }
    return group == METADATA_GROUP ? membership_voter_count(now) % 2 == 0 : here != NULL;
}

static void look_at_replica(struct health_board *board, uint64_t group, const struct replica *replica)
{
    const struct shard *shard = board->shard;
    struct health *health = &board->next;
    struct replica_status status;
    replica_status(replica, &status);
    uint64_t known = status.heard_index > status.commit_index ? status.heard_index : status.commit_index;
    uint64_t target = seen_target(board, group, known);
    health->leaderless += status.leader == 0;
    if (status.role == REPLICA_LEADER) {
        health->led += status.is_ready;
        health->behind += !status.is_ready;
        health->under_replicated += has_member_behind(shard, group, replica, &status, target);
    } else {
        bool is_joining = health_is_joining(&status.membership, group, shard->broker->server_id);
        health->behind += status.leader != 0 && (is_joining || status.applied_index < target);
    }
}

static void look_at_partition(struct health_board *board, struct partition *partition, bool is_led)
{
    struct health *health = &board->next;
    struct partition_name name;
    if (health->partition_count == board->capacity) {
        health->partitions_left_out++;
        return;
    }
    struct health_partition *row = &board->next_partitions[health->partition_count++];
    const struct log *log = partition_log(partition);
    partition_name(partition, &name);
    size_t size = name.topic.size < TOPIC_NAME_SIZE_MAX ? name.topic.size : TOPIC_NAME_SIZE_MAX;
    memcpy(row->topic, name.topic.data, size);
    row->topic[size] = '\0';
    row->index = name.index;
    row->is_led = is_led;
    row->log_start_offset = log != NULL ? log_start_offset(log) : 0;
    row->high_watermark = log != NULL ? log_end_offset(log) : 0; /* segments hold what is committed, nothing else */
    row->size = log != NULL ? log_size(log) : 0;
}

static void look_at(void *context, uint64_t group, struct replica_machine *machine)
{
    struct health_board *board = context;
    board->next.replicas++;
    if (machine == NULL) {
        board->next.damaged++;
        return;
    }
    if (machine->replica == NULL) {
        board->next.behind++; /* it is being made */
        return;
    }
    look_at_replica(board, group, machine->replica);
    if (group != METADATA_GROUP) {
        look_at_partition(board, partition_of_machine(machine), replica_is_ready_leader(machine->replica));
    }
}

/* ---- The picture ---- */

static void forget_gone(struct health_board *board)
{
    size_t cursor = 0;
    uint64_t group;
    struct seen *seen;
    while ((seen = map_next(&board->seen, &cursor, &group)) != NULL) {
        if (seen->round != board->round) {
            (void)map_remove(&board->seen, group);
            mem_free(seen);
        }
    }
}

static void publish(struct health_board *board)
{
    (void)pthread_mutex_lock(&board->mutex);
    struct health_partition *rows = board->partitions;
    board->partitions = board->next_partitions;
    board->next_partitions = rows;
    board->health = board->next;
    (void)pthread_mutex_unlock(&board->mutex);
}

static void health_on_timer(struct timer *timer)
{
    struct health_board *board = container_of(timer, struct health_board, timer);
    struct shard *shard = board->shard;
    const struct broker *broker = shard->broker;
    board->round++;
    board->next = (struct health){
        .taken_us = env_now_us(shard->env),
        .is_serving = shard->number != 0 || (broker->is_serving && !broker->is_stopping),
        .is_space_low = shard->is_space_low,
        .is_settled = reconciler_is_settled(shard->reconciler),
    };
    replicas_each(shard->replicas, board, look_at);
    forget_gone(board);
    publish(board);
    env_timer(shard->env, &board->timer, HEALTH_INTERVAL_US);
}

struct health_board *health_open(unsigned shard_count)
{
    struct health_board *board = mem_alloc(sizeof(*board));
    board->capacity = HEALTH_PARTITIONS_MAX / shard_count;
    board->partitions = mem_alloc(board->capacity * sizeof(*board->partitions));
    board->next_partitions = mem_alloc(board->capacity * sizeof(*board->partitions));
    map_init(&board->seen);
    timer_init(&board->timer, health_on_timer);
    (void)pthread_mutex_init(&board->mutex, NULL);
    return board;
}

void health_start(struct health_board *board, struct shard *shard)
{
    board->shard = shard;
    env_timer(board->shard->env, &board->timer, 0);
}

void health_stop(struct health_board *board)
{
    env_timer_cancel(board->shard->env, &board->timer);
    board->next = (struct health){.taken_us = env_now_us(board->shard->env)};
    publish(board);
}

void health_close(struct health_board *board)
{
    size_t cursor = 0;
    uint64_t group;
    struct seen *seen;
    while ((seen = map_next(&board->seen, &cursor, &group)) != NULL) {
        mem_free(seen);
    }
    map_deinit(&board->seen);
    (void)pthread_mutex_destroy(&board->mutex);
    mem_free(board->partitions);
    mem_free(board->next_partitions);
    mem_free(board);
}

void health_read(struct health_board *board, struct health *health, struct health_partition *partitions,
                 size_t capacity)
{
    (void)pthread_mutex_lock(&board->mutex);
    *health = board->health;
    if (health->partition_count > capacity) {
        health->partitions_left_out += health->partition_count - capacity;
        health->partition_count = capacity;
    }
    if (health->partition_count > 0) {
        memcpy(partitions, board->partitions, health->partition_count * sizeof(*partitions));
    }
    (void)pthread_mutex_unlock(&board->mutex);
}

/* ---- Verdicts ---- */

bool health_is_live(const struct health *shards, size_t count, int64_t now_us, const char **reason)
{
    for (size_t i = 0; i < count; i++) {
        if (shards[i].taken_us != 0 && now_us - shards[i].taken_us > HEALTH_STALE_US) {
            *reason = "a shard's loop stands still";
            return false;
        }
    }
    *reason = "live";
    return true;
}

static const char *missing(const struct health *health)
{
    if (health->taken_us == 0) {
        return "logs are being opened";
    }
    if (!health->is_serving) {
        return "not serving: the broker joins the cluster, or stops";
    }
    if (!health->is_settled) {
        return "a replica that is to be here is not made yet";
    }
    if (health->damaged > 0) {
        return "a replica is damaged and not rebuilt yet";
    }
    if (health->leaderless > 0) {
        return "a replica here has no leader";
    }
    return health->behind > 0 ? "a replica here is behind its leader, or has no vote yet" : NULL;
}

bool health_is_ready(const struct health *shards, size_t count, int64_t now_us, const char **reason)
{
    bool is_ready = health_is_live(shards, count, now_us, reason);
    for (size_t i = 0; i < count && is_ready; i++) {
        const char *text = missing(&shards[i]);
        *reason = text != NULL ? text : "ready";
        is_ready = text == NULL;
    }
    return is_ready;
}
