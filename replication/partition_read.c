/* What readers ask of a partition: offsets, lookups by time, ends of epochs.
 *
 * Happy path: a ready leader answers from its log up to the end, which is the high watermark, as only committed data is
 *             ever in it. A new leader is not ready before it has applied all that was committed before its term, and
 *             an old one that may have a successor tells nothing (replica_is_leading), so no answer ever goes back.
 * Failure:    not the leader, or not ready: a code that clients retry. Damage that a lookup finds: partition_damaged().
 */
#include "replication/partition_internal.h"

static enum kafka_error read_error(const struct partition *partition)
{
    if (partition->is_damaged) {
        return KAFKA_KAFKA_STORAGE_ERROR;
    }
    if (!partition->is_leader || partition->is_closing) {
        return KAFKA_NOT_LEADER_OR_FOLLOWER;
    }
    if (!partition->is_ready) {
        return KAFKA_OFFSET_NOT_AVAILABLE;
    }
    return replica_is_leading(partition->machine.replica) ? KAFKA_NONE : KAFKA_NOT_LEADER_OR_FOLLOWER;
}

static void fill_offsets(const struct partition *partition, struct partition_offsets *offsets)
{
    int64_t end = log_end_offset(partition->log);
    *offsets = (struct partition_offsets){
        .log_start_offset = log_start_offset(partition->log),
        .last_stable_offset = end,
        .high_watermark = end,
        .log_end_offset = end,
        .leader_epoch = partition_epoch_of_term(partition->term),
    };
}

enum kafka_error partition_offsets(const struct partition *partition, struct partition_offsets *offsets)
{
    enum kafka_error error = read_error(partition);
    if (error == KAFKA_NONE) {
        fill_offsets(partition, offsets);
    }
    return error;
}

enum kafka_error partition_follower_offsets(const struct partition *partition, struct partition_offsets *offsets)
{
    if (partition->is_damaged) {
        return KAFKA_KAFKA_STORAGE_ERROR;
    }
    if (!partition->has_leader || partition->is_closing) {
        return KAFKA_NOT_LEADER_OR_FOLLOWER;
    }
    fill_offsets(partition, offsets);
    return KAFKA_NONE;
}

uint64_t partition_recent_index(const struct partition *partition)
{
    const struct partition_mark *marks = partition->applied;
    int64_t limit_us = env_now_us(partition->env) - PARTITION_MARK_US;
    if (marks[0].index > 0 && marks[0].us > limit_us) {
        return marks[1].us <= limit_us ? marks[1].index : marks[2].index;
    }
    struct replica_status status;
    replica_status(partition->machine.replica, &status);
    return status.applied_index;
}

enum kafka_error partition_check_epoch(const struct partition *partition, int32_t current_leader_epoch)
{
    int32_t epoch = partition_epoch_of_term(partition->term);
    if (current_leader_epoch == -1 || current_leader_epoch == epoch) {
        return KAFKA_NONE;
    }
    return current_leader_epoch < epoch ? KAFKA_FENCED_LEADER_EPOCH : KAFKA_UNKNOWN_LEADER_EPOCH;
}

/* Answers of the log's lookups: nothing found is an answer, not an error. */
static enum kafka_error lookup_end(struct partition *partition, enum err err, const struct errmsg *msg, int64_t *offset,
                                   int64_t *timestamp)
{
    if (err == OK) {
        return KAFKA_NONE;
    }
    *offset = -1;
    *timestamp = -1;
    if (err == ERR_NOT_FOUND) {
        return KAFKA_NONE;
    }
    if (err == ERR_DAMAGED) {
        partition_damaged(partition, err, msg->text);
    }
    return KAFKA_KAFKA_STORAGE_ERROR;
}

enum kafka_error partition_list_offset(struct partition *partition, int64_t timestamp, int64_t *offset,
                                       int64_t *found_timestamp, int32_t *leader_epoch)
{
    enum {
        LATEST = -1,
        EARLIEST = -2,
        MAX_TIMESTAMP = -3,
        EARLIEST_LOCAL = -4,
        LATEST_TIERED = -5
    };
    *offset = -1;
    *found_timestamp = -1;
    *leader_epoch = -1;
    enum kafka_error error = read_error(partition);
    if (error != KAFKA_NONE) {
        return error;
    }
    struct errmsg msg;
    if (timestamp == LATEST) {
        *offset = log_end_offset(partition->log);
        *leader_epoch = partition_epoch_of_term(partition->term);
        return KAFKA_NONE;
    }
    if (timestamp == EARLIEST || timestamp == EARLIEST_LOCAL) {
        *offset = log_start_offset(partition->log);
    } else if (timestamp == MAX_TIMESTAMP) {
        enum err err = log_find_max_time(partition->log, offset, found_timestamp, &msg);
        error = lookup_end(partition, err, &msg, offset, found_timestamp);
    } else if (timestamp >= 0) {
        enum err err = log_find_time(partition->log, timestamp, offset, found_timestamp, &msg);
        error = lookup_end(partition, err, &msg, offset, found_timestamp);
    } else if (timestamp != LATEST_TIERED) {
        error = KAFKA_INVALID_REQUEST;
    }
    if (*offset >= 0) {
        *leader_epoch = epochs_at(&partition->epochs, *offset);
    }
    return error;
}

/* A term that has no record yet is the last one all the same: its entry in the list comes with its first record. */
enum kafka_error partition_epoch_end(const struct partition *partition, int32_t epoch, int32_t *found_epoch,
                                     int64_t *end_offset)
{
    *found_epoch = -1;
    *end_offset = -1;
    enum kafka_error error = read_error(partition);
    int32_t current = partition_epoch_of_term(partition->term);
    if (error != KAFKA_NONE || epoch < 0 || epoch > current) {
        return error;
    }
    int64_t end = log_end_offset(partition->log);
    if (epoch == current || partition->epochs.count == 0) {
        *found_epoch = epoch;
        *end_offset = end;
        return KAFKA_NONE;
    }
    epochs_end(&partition->epochs, epoch, log_start_offset(partition->log), end, found_epoch, end_offset);
    return KAFKA_NONE;
}

struct producers_look {
    int64_t oldest_ms;
    void *context;
    void (*cb)(void *context, const struct producer *producer);
};

/* Expired ones stay in the table until the next entry is applied: time is the entries', so that replicas agree. */
static void producers_look_at(void *context, const struct producer *producer)
{
    const struct producers_look *look = context;
    if (producer->append_ms >= look->oldest_ms) {
        look->cb(look->context, producer);
    }
}

enum kafka_error partition_producers_each(const struct partition *partition, void *context,
                                          void (*cb)(void *context, const struct producer *producer))
{
    enum kafka_error error = read_error(partition);
    if (error == KAFKA_NONE) {
        struct producers_look look = {env_wall_ms(partition->env) - partition->config.producer_expiration_ms, context,
                                      cb};
        producers_each(&partition->producers, &look, producers_look_at);
    }
    return error;
}
