/* min.insync.replicas above the majority. Raft commits what a majority has; who asks with acks=all for more waits,
 * after the apply, until so many voters have the entry durably.
 *
 * Happy path: applied -> on the list -> the leader hears of a member's log -> matched() answers from the front.
 * Too few:    after INSYNC_TIMEOUT_MS those who wait are answered NOT_ENOUGH_REPLICAS_AFTER_APPEND, as their
 *             records are committed; from then on batches are refused before they are appended, until as many members
 *             as asked for have caught up with the entry that was missed.
 * Leadership lost: NOT_LEADER_OR_FOLLOWER like all others; a repetition finds its offset by its sequence number. */

#include "base/assert.h"
#include "base/limits.h"
#include "base/mem.h"
#include "replication/partition_internal.h"

static void insync_on_timer(struct timer *timer);

void partition_insync_init(struct partition *partition)
{
    list_init(&partition->insync);
    timer_init(&partition->insync_timer, insync_on_timer);
}

/* How many members are asked for beyond what a commit gives; 0: none. `voters`: how many there are. */
static unsigned wanted(const struct partition *partition, const struct replica_status *status, unsigned *voters)
{
    *voters = membership_voter_count(&status->membership);
    unsigned majority = *voters / 2 + 1;
    unsigned min = partition->config.min_insync > 0 ? (unsigned)partition->config.min_insync : 0;
    return min > majority ? min : 0;
}

static unsigned count_matches(const struct partition *partition, const struct replica_status *status, uint64_t index)
{
    unsigned count = 0;
    for (unsigned i = 0; i < status->membership.count; i++) {
        const struct replica_server *server = &status->membership.servers[i];
        count += server->is_voter && replica_match_index(partition->machine.replica, server->id) >= index;
    }
    return count;
}

enum kafka_error partition_insync_check(struct partition *partition, struct partition_produce *req)
{
    struct replica_status status;
    unsigned voters;
    if (!req->is_acks_all || partition->config.min_insync <= 1 || partition->machine.replica == NULL) {
        return KAFKA_NONE;
    }
    replica_status(partition->machine.replica, &status);
    unsigned min = wanted(partition, &status, &voters);
    if (min == 0) {
        partition->insync_lost_index = 0;
        return KAFKA_NONE;
    }
    if (min > voters) {
        req->error_text = "there are fewer replicas than min.insync.replicas";
        return KAFKA_NOT_ENOUGH_REPLICAS;
    }
    uint64_t lost = partition->insync_lost_index;
    if (lost > 0 && count_matches(partition, &status, lost) < min) {
        req->error_text = "fewer replicas than min.insync.replicas have what was written before";
        return KAFKA_NOT_ENOUGH_REPLICAS;
    }
    partition->insync_lost_index = 0;
    return KAFKA_NONE;
}

/* ---- Waiting ---- */

static struct partition_produce *insync_first(const struct partition *partition)
{
    return list_is_empty(&partition->insync) ? NULL
                                             : container_of(partition->insync.next, struct partition_produce, link);
}

/* The timer runs for the one that has waited longest. */
static void insync_rearm(struct partition *partition)
{
    const struct partition_produce *first = insync_first(partition);
    partition->machine.wants_matches = first != NULL;
    if (first == NULL) {
        env_timer_cancel(partition->env, &partition->insync_timer);
        return;
    }
    int64_t left_us = first->applied_us + (int64_t)INSYNC_TIMEOUT_MS * 1000 - env_now_us(partition->env);
    env_timer(partition->env, &partition->insync_timer, left_us > 0 ? left_us : 0);
}

void partition_insync_end(struct partition *partition, struct partition_produce *req, uint64_t index)
{
    struct replica_status status;
    unsigned voters;
    if (!req->is_acks_all || partition->config.min_insync <= 1 || partition->machine.replica == NULL) {
        partition_produce_end(partition, req, KAFKA_NONE);
        return;
    }
    replica_status(partition->machine.replica, &status);
    unsigned min = wanted(partition, &status, &voters);
    if (count_matches(partition, &status, index) >= min && list_is_empty(&partition->insync)) {
        partition_produce_end(partition, req, KAFKA_NONE);
        return;
    }
    bool is_first = list_is_empty(&partition->insync);
    req->state = PRODUCE_INSYNC;
    req->proposal = NULL;
    req->entry_index = index;
    req->applied_us = env_now_us(partition->env);
    list_push(&partition->insync, &req->link);
    if (is_first) {
        insync_rearm(partition);
    }
}

void partition_insync_matched(struct replica_machine *machine)
{
    struct partition *partition = container_of(machine, struct partition, machine);
    struct replica_status status;
    struct partition_produce *first;
    unsigned voters;
    replica_status(machine->replica, &status);
    unsigned min = wanted(partition, &status, &voters);
    bool is_any = false;
    while ((first = insync_first(partition)) != NULL && count_matches(partition, &status, first->entry_index) >= min) {
        partition_produce_end(partition, first, KAFKA_NONE);
        is_any = true;
    }
    if (is_any) {
        insync_rearm(partition);
    }
}

static void insync_miss(struct partition *partition, struct partition_produce *req)
{
    if (req->entry_index > partition->insync_lost_index) {
        partition->insync_lost_index = req->entry_index;
    }
    partition_produce_end(partition, req, KAFKA_NOT_ENOUGH_REPLICAS_AFTER_APPEND);
}

static void insync_on_timer(struct timer *timer)
{
    struct partition *partition = container_of(timer, struct partition, insync_timer);
    int64_t now_us = env_now_us(partition->env);
    struct partition_produce *first;
    while ((first = insync_first(partition)) != NULL &&
           now_us - first->applied_us >= (int64_t)INSYNC_TIMEOUT_MS * 1000) {
        insync_miss(partition, first);
    }
    insync_rearm(partition);
}

void partition_insync_expire(struct partition *partition, struct partition_produce *req)
{
    insync_miss(partition, req);
    insync_rearm(partition);
}

void partition_insync_fail(struct partition *partition, enum kafka_error error)
{
    struct partition_produce *first;
    while ((first = insync_first(partition)) != NULL) {
        partition_produce_end(partition, first, error);
    }
    partition->insync_lost_index = 0;
    insync_rearm(partition);
}
