/* Records about partitions that move. A partition's brokers are those in any of three lists:
 *   replicas   the assignment, what Kafka calls the replicas while nothing moves
 *   target     what the assignment is to become; empty: the partition does not move
 *   leaving    in neither, but the leader may have made them members for a target that was cancelled or replaced
 * and a broker that is in none of them has no replica: PartitionsMoved, which empties the lists, is proposed only when
 * the Raft members are those that stay. The epoch tells late reports of an earlier wish from those of the present one.
 *
 *              moving                  moving (another target)
 *   settled ----------> moving <-----+
 *    ^  ^                |  |  |-----+
 *    |  |   moved        |  | cancel, target = replicas
 *    |  +----------------+  v
 *    |      moved        leaving   (settled at once when nobody can have become a member) */

#include "base/assert.h"
#include "base/mem.h"
#include "metadata/apply_internal.h"
#include "metadata/broker_list.h"
#include <string.h>

static enum err get_partition(struct kv_txn *txn, const ProtobufCBinaryData *topic, int32_t index, struct uuid *id,
                              struct partition_value *partition)
{
    struct bytes value;
    if (!apply_uuid(topic, id) || index < 0) {
        return ERR_NOT_FOUND;
    }
    enum err err = apply_get(txn, key_partition(id, index), &value);
    return err == OK ? partition_value_decode(value, partition) : err;
}

static bool is_unsettled(const struct partition_value *partition)
{
    return partition->target_count > 0 || partition->leaving_count > 0;
}

static enum err put_moving(struct kv_txn *txn, const struct uuid *id, int32_t index,
                           const struct partition_value *partition)
{
    enum err err = apply_put_partition(txn, id, index, partition);
    if (err == OK) {
        err = is_unsettled(partition) ? apply_put(txn, key_moving(id, index), BYTES_NONE)
                                      : apply_erase_if_there(txn, key_moving(id, index));
    }
    return err;
}

/* Whoever was in the old lists and is neither in the assignment nor in the new target is leaving. */
static void collect_leaving(struct partition_value *partition, const struct partition_value *old)
{
    const int32_t *lists[2] = {old->target, old->leaving};
    const size_t counts[2] = {old->target_count, old->leaving_count};
    partition->leaving_count = 0;
    for (size_t n = 0; n < array_count(lists); n++) {
        for (size_t i = 0; i < counts[n]; i++) {
            int32_t id = lists[n][i];
            bool is_kept = brokers_contain(partition->replicas, partition->replica_count, id) ||
                           brokers_contain(partition->target, partition->target_count, id) ||
                           brokers_contain(partition->leaving, partition->leaving_count, id);
            if (!is_kept) {
                assert(partition->leaving_count < REPLICA_SERVER_COUNT_MAX); /* partition_move_fault() */
                partition->leaving[partition->leaving_count++] = id;
            }
        }
    }
}

/* How many different brokers the partition would have in work with this target. */
static size_t count_brokers(const struct partition_value *partition, const int32_t *target, size_t count)
{
    const int32_t *lists[4] = {partition->replicas, partition->target, partition->leaving, target};
    const size_t counts[4] = {partition->replica_count, partition->target_count, partition->leaving_count, count};
    int32_t all[4 * REPLICA_SERVER_COUNT_MAX];
    size_t sum = 0;
    for (size_t n = 0; n < array_count(lists); n++) {
        for (size_t i = 0; i < counts[n]; i++) {
            if (!brokers_contain(all, sum, lists[n][i])) {
                all[sum++] = lists[n][i];
            }
        }
    }
    return sum;
}

bool partition_move_is_possible(const struct partition_value *partition, const int32_t *target, size_t count)
{
    return count <= REPLICA_SERVER_COUNT_MAX && count_brokers(partition, target, count) <= REPLICA_SERVER_COUNT_MAX;
}

void partition_move(struct partition_value *partition, const int32_t *target, size_t count)
{
    const struct partition_value old = *partition;
    bool is_same = brokers_same(target, count, old.replicas, old.replica_count);
    assert(partition_move_is_possible(partition, target, count));
    partition->move_epoch++;
    partition->target_count = 0;
    if (is_same) {
        memcpy(partition->replicas, target, count * sizeof(*target)); /* another order is no move: who leads first */
    } else if (count > 0) {
        memcpy(partition->target, target, count * sizeof(*target));
        partition->target_count = (uint8_t)count;
    }
    collect_leaving(partition, &old);
}

/* The target's brokers exist, each stands there once. */
static enum err check_target(struct kv_txn *txn, const Balsa__Record__PartitionsMoving__Move *move,
                             struct apply_result *result)
{
    int32_t repeated = move->n_target <= REPLICA_SERVER_COUNT_MAX ? brokers_repeated(move->target, move->n_target) : -1;
    if (move->n_target > REPLICA_SERVER_COUNT_MAX || repeated != -1) {
        apply_refuse(result, KAFKA_INVALID_REPLICA_ASSIGNMENT,
                     "A partition has 1 to %d replicas, each on another broker.", REPLICA_SERVER_COUNT_MAX);
        return OK;
    }
    for (size_t i = 0; i < move->n_target; i++) {
        struct bytes value;
        enum err err = apply_get(txn, key_broker(move->target[i]), &value);
        if (err == ERR_NOT_FOUND) {
            apply_refuse(result, KAFKA_INVALID_REPLICA_ASSIGNMENT, "Broker %d is not registered.", move->target[i]);
            return OK;
        }
        if (err != OK) {
            return err;
        }
    }
    return OK;
}

static enum err apply_moving(struct kv_txn *txn, const Balsa__Record__PartitionsMoving__Move *move,
                             struct apply_changes *changes, struct apply_result *result)
{
    struct partition_value partition;
    struct uuid id;
    enum err err = get_partition(txn, &move->id, move->partition, &id, &partition);
    if (err == ERR_NOT_FOUND) {
        apply_refuse(result, KAFKA_UNKNOWN_TOPIC_OR_PARTITION, "This partition does not exist (any more).");
        return OK;
    }
    err = err == OK ? check_target(txn, move, result) : err;
    if (err != OK || result->error != KAFKA_NONE) {
        return err;
    }
    if (move->n_target == 0 && partition.target_count == 0) {
        apply_refuse(result, KAFKA_NO_REASSIGNMENT_IN_PROGRESS, "No reassignment is in progress.");
        return OK;
    }
    if (!partition_move_is_possible(&partition, move->target, move->n_target)) {
        apply_refuse(result, KAFKA_INVALID_REPLICA_ASSIGNMENT,
                     "Old and new replicas are on more than %d brokers together: move in steps.",
                     REPLICA_SERVER_COUNT_MAX);
        return OK;
    }
    partition_move(&partition, move->target, move->n_target);
    apply_changes_add(changes, (struct metadata_change){
                                   .kind = METADATA_PARTITIONS_CHANGED, .topic = id, .partition = move->partition});
    return put_moving(txn, &id, move->partition, &partition);
}

enum err apply_partitions_moving(struct kv_txn *txn, const Balsa__Record__PartitionsMoving *record,
                                 struct apply_changes *changes, struct apply_result *result)
{
    enum err err = OK;
    for (size_t i = 0; err == OK && i < record->n_moves; i++) {
        struct apply_result one = {.error = KAFKA_NONE};
        err = apply_moving(txn, record->moves[i], changes, &one);
        if (one.error != KAFKA_NONE && result->error == KAFKA_NONE) {
            *result = one;
        }
    }
    return err;
}

bool partition_moved(struct partition_value *partition, const int32_t *replicas, size_t count, uint32_t epoch)
{
    if (partition->move_epoch != epoch || !is_unsettled(partition)) {
        return false;
    }
    bool is_moving = partition->target_count > 0;
    const int32_t *wanted = is_moving ? partition->target : partition->replicas;
    size_t wanted_count = is_moving ? partition->target_count : partition->replica_count;
    if (!brokers_equal(replicas, count, wanted, wanted_count)) {
        return false;
    }
    if (is_moving) {
        memcpy(partition->replicas, replicas, count * sizeof(*replicas));
        partition->replica_count = (uint8_t)count;
        partition->server_count = 0; /* the group is no longer what it was made as */
    }
    partition->target_count = 0;
    partition->leaving_count = 0;
    return true;
}

enum err apply_partitions_moved(struct kv_txn *txn, const Balsa__Record__PartitionsMoved *record,
                                struct apply_changes *changes)
{
    for (size_t i = 0; i < record->n_moves; i++) {
        const Balsa__Record__PartitionsMoved__Move *move = record->moves[i];
        struct partition_value partition;
        struct uuid id;
        enum err err = get_partition(txn, &move->id, move->partition, &id, &partition);
        if (err == ERR_NOT_FOUND ||
            (err == OK && !partition_moved(&partition, move->replicas, move->n_replicas, move->epoch))) {
            continue; /* late news */
        }
        err = err == OK ? put_moving(txn, &id, move->partition, &partition) : err;
        if (err != OK) {
            return err;
        }
        apply_changes_add(changes, (struct metadata_change){
                                       .kind = METADATA_PARTITIONS_CHANGED, .topic = id, .partition = move->partition});
    }
    return OK;
}
