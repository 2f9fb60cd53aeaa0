/* From a client's batch to an entry, and from the outcome to the client.
 *
 * Happy path: partition_produce() checks and queues; the task at the end of the loop turn gathers the queue into
 *             entries and submits them; apply fills in the outcome, applied() calls back.
 * Busy:       replica_submit() says ERR_BUSY; the queue, which is bounded, waits until something was applied, or for a
 *             timer, as the cause may lie with other groups (a stalled WAL) while nothing of this one is in flight.
 * Failure:    leadership is lost: all who wait are answered NOT_LEADER_OR_FOLLOWER; those whose entries are in the log
 *             are in doubt, and their producers' sequence numbers settle it when they come again. */
#include "base/assert.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/metrics.h"
#include "base/shared.h"
#include "replication/partition_command.h"
#include "replication/partition_internal.h"
#include <string.h>

enum {
    PROPOSAL_KEPT_COUNT = 8, /* requests of a proposal that is kept for the next entry */
    SLICES_ON_STACK = 17,    /* of an entry */
    RETRY_US = 5000,         /* between attempts while the group takes no proposals */
    COPY_BELOW_SHARE =
        4, /* a batch below a quarter of its block is copied: an entry must not pin many times its size */
};

/* ---- Answers ---- */

static void answer_soon(struct partition *partition)
{
    if (!partition->is_applying) {
        env_task(partition->env, &partition->task);
    }
}

void partition_produce_end(struct partition *partition, struct partition_produce *req, enum kafka_error error)
{
    assert(req->state != PRODUCE_ANSWERED);
    req->state = PRODUCE_ANSWERED;
    req->proposal = NULL;
    req->error = error;
    req->log_start_offset = partition_start_offset(partition);
    list_remove(&req->link);
    list_push(&partition->produce_answers, &req->link);
    answer_soon(partition);
}

void partition_trim_end(struct partition *partition, struct partition_trim *req, enum kafka_error error)
{
    req->proposal = NULL;
    req->error = error;
    req->log_start_offset = partition_start_offset(partition);
    list_push(&partition->trim_answers, &req->link);
    answer_soon(partition);
}

/* Only those known now: a callback may well submit the next request. */
void partition_answer(struct partition *partition, int64_t now_us)
{
    struct list produces;
    struct list trims;
    struct list woken;
    list_init(&produces);
    list_init(&trims);
    list_init(&woken);
    list_move_all(&produces, &partition->produce_answers);
    list_move_all(&trims, &partition->trim_answers);
    list_move_all(&woken, &partition->woken);
    struct list *link;
    while ((link = list_pop(&produces)) != NULL) {
        struct partition_produce *req = container_of(link, struct partition_produce, link);
        req->ended_us = now_us;
        req->cb(req);
    }
    while ((link = list_pop(&trims)) != NULL) {
        struct partition_trim *req = container_of(link, struct partition_trim, link);
        req->cb(req);
    }
    while ((link = list_pop(&woken)) != NULL) {
        struct partition_watch *watch = container_of(link, struct partition_watch, link);
        watch->cb(watch);
    }
}

void partition_refused(struct partition *partition, struct bytes bytes, enum kafka_error error)
{
    struct record_batch batch;
    if (kafka_error_is_retriable(error) && record_batch_view(bytes, &batch) == OK) {
        refusals_note(&partition->refusals, &batch, error);
    }
}

/* An end before the batch is in the log, or without knowing whether it stays there. */
static void produce_refuse(struct partition *partition, struct partition_produce *req, enum kafka_error error)
{
    partition_refused(partition, req->batch.bytes, error);
    partition_produce_end(partition, req, error);
}

/* ---- Proposals ---- */

/* Most groups have one entry on its way at a time: its proposal serves the next one, too. */
static struct partition_proposal *proposal_new(struct partition *partition, struct entry *entry, unsigned count)
{
    struct partition_proposal *proposal = partition->spare_proposal;
    partition->spare_proposal = NULL;
    if (proposal == NULL || proposal->capacity < count) {
        unsigned capacity = count > PROPOSAL_KEPT_COUNT ? count : PROPOSAL_KEPT_COUNT;
        mem_free(proposal);
        proposal = mem_alloc_raw(sizeof(*proposal) + capacity * sizeof(proposal->requests[0]));
        proposal->capacity = capacity;
    }
    list_init(&proposal->link);
    proposal->entry = entry;
    proposal->proposed_us = env_now_us(partition->env);
    proposal->trim = NULL;
    proposal->is_retention = false;
    proposal->count = count;
    return proposal;
}

void partition_proposal_free(struct partition *partition, struct partition_proposal *proposal)
{
    if (proposal == NULL) {
        return;
    }
    assert(list_is_empty(&proposal->link));
    entry_release(proposal->entry);
    if (partition->spare_proposal == NULL && proposal->capacity == PROPOSAL_KEPT_COUNT) {
        partition->spare_proposal = proposal;
    } else {
        mem_free(proposal);
    }
}

struct partition_proposal *partition_proposal_take(struct partition *partition, const struct entry *entry)
{
    if (list_is_empty(&partition->proposals)) {
        return NULL;
    }
    struct partition_proposal *first = container_of(partition->proposals.next, struct partition_proposal, link);
    if (first->entry->index != entry->index || first->entry->term != entry->term) {
        assert(first->entry->index == 0 || first->entry->index > entry->index);
        return NULL; /* of a leader before */
    }
    list_remove(&first->link);
    return first;
}

static void proposal_fail(struct partition *partition, struct partition_proposal *proposal, enum kafka_error error)
{
    for (unsigned i = 0; i < proposal->count; i++) {
        if (proposal->requests[i] != NULL) {
            produce_refuse(partition, proposal->requests[i], error);
        }
    }
    if (proposal->trim != NULL) {
        partition_trim_end(partition, proposal->trim, error);
    }
    partition_proposal_free(partition, proposal);
}

static struct partition_produce *queue_first(const struct partition *partition)
{
    return list_is_empty(&partition->queue) ? NULL
                                            : container_of(partition->queue.next, struct partition_produce, link);
}

static void queue_remove(struct partition *partition, struct partition_produce *req)
{
    assert(req->state == PRODUCE_QUEUED);
    assert(partition->queue_count > 0 && partition->queue_size >= req->batch.bytes.size);
    list_remove(&req->link);
    partition->queue_count--;
    partition->queue_size -= req->batch.bytes.size;
}

static void queue_fail(struct partition *partition, enum kafka_error error)
{
    struct partition_produce *req;
    while ((req = queue_first(partition)) != NULL) {
        queue_remove(partition, req);
        produce_refuse(partition, req, error);
    }
    partition->is_blocked = false;
    env_timer_cancel(partition->env, &partition->retry_timer);
}

/* In the order of the log, then the queue: the order they came in. */
void partition_fail_all(struct partition *partition, enum kafka_error error)
{
    struct list *link;
    partition_insync_fail(partition, error);
    while ((link = list_pop(&partition->proposals)) != NULL) {
        metrics_add(partition->env->metrics, METRIC_PROPOSALS_IN_DOUBT, 1);
        proposal_fail(partition, container_of(link, struct partition_proposal, link), error);
    }
    partition->is_retention_proposed = false;
    partition->is_compaction_proposed = false;
    queue_fail(partition, error);
}

/* ---- Gathering ---- */

struct gathering { /* The front of the queue, as one entry. */
    unsigned count;
    size_t size;
    size_t copied_size;
};

static bool is_copied(const struct partition_produce *req)
{
    return req->batch.bytes.size < req->batch.block->size / COPY_BELOW_SHARE;
}

static void gather_measure(const struct partition *partition, struct gathering *gathering)
{
    *gathering = (struct gathering){.size = PARTITION_COMMAND_HEADER_SIZE};
    for (struct list *link = partition->queue.next; link != &partition->queue; link = link->next) {
        const struct partition_produce *req = container_of(link, struct partition_produce, link);
        size_t size = req->batch.bytes.size;
        bool is_full = gathering->size >= ENTRY_GATHER_SIZE || size > ENTRY_GATHER_SIZE - gathering->size;
        if (gathering->count == ENTRY_BATCH_COUNT_MAX || (gathering->count > 0 && is_full)) {
            break;
        }
        gathering->count++;
        gathering->size += size;
        gathering->copied_size += is_copied(req) ? size : 0;
    }
    assert(gathering->size <= ENTRY_SIZE_MAX);
}

/* Adds bytes of `block` to the slices: to the last one where they follow it. The slice keeps a reference. */
static void slices_add(struct slice *slices, unsigned *count, struct shared *block, const uint8_t *data, size_t size)
{
    if (*count > 0) {
        struct slice *last = &slices[*count - 1];
        if (last->block == block && last->bytes.data + last->bytes.size == data) {
            last->bytes.size += size;
            return;
        }
    }
    slices[*count] = slice_of(block, (size_t)(data - block->data), size);
    (*count)++;
}

int64_t partition_next_append_ms(struct partition *partition, int64_t now_ms)
{
    now_ms = now_ms < partition->append_ms ? partition->append_ms : now_ms;
    now_ms = now_ms < partition->proposed_ms ? partition->proposed_ms : now_ms;
    partition->proposed_ms = now_ms < 0 ? 0 : now_ms;
    return partition->proposed_ms;
}

/* One entry of the first `gathering->count` requests of the queue. */
static struct entry *gather_entry(struct partition *partition, const struct gathering *gathering)
{
    int64_t expiration_ms = partition->config.producer_expiration_ms;
    struct partition_command command = {
        .type = PARTITION_COMMAND_BATCHES,
        .batch_count = (uint16_t)gathering->count,
        .append_ms = partition_next_append_ms(partition, partition->checked_ms),
        .argument = expiration_ms > 0 ? expiration_ms : 0,
    };
    struct shared *block = shared_new(PARTITION_COMMAND_HEADER_SIZE + gathering->copied_size);
    partition_command_encode(&command, block->data);
    struct slice few[SLICES_ON_STACK];
    bool is_few = gathering->count < SLICES_ON_STACK;
    struct slice *slices = is_few ? few : mem_alloc_raw((gathering->count + 1) * sizeof(*slices));
    unsigned slice_count = 0;
    slices_add(slices, &slice_count, block, block->data, PARTITION_COMMAND_HEADER_SIZE);
    uint8_t *copy = block->data + PARTITION_COMMAND_HEADER_SIZE;
    struct list *link = partition->queue.next;
    for (unsigned i = 0; i < gathering->count; i++, link = link->next) {
        const struct partition_produce *req = container_of(link, struct partition_produce, link);
        struct bytes bytes = req->batch.bytes;
        if (is_copied(req)) {
            memcpy(copy, bytes.data, bytes.size);
            record_batch_set_offset(copy, 0, partition_epoch_of_term(partition->term));
            slices_add(slices, &slice_count, block, copy, bytes.size);
            copy += bytes.size;
        } else {
            uint8_t *batch = req->batch.block->data + (bytes.data - req->batch.block->data);
            record_batch_set_offset(batch, 0, partition_epoch_of_term(partition->term));
            slices_add(slices, &slice_count, req->batch.block, bytes.data, bytes.size);
        }
    }
    struct entry *entry = entry_new(ENTRY_COMMAND, 0, partition->term, slices, slice_count);
    if (!is_few) {
        mem_free(slices);
    }
    shared_release(block);
    return entry;
}

/* Submits an entry and keeps a second reference in the proposal, to know it by when it is applied. */
static enum err submit(struct partition *partition, struct entry *entry, unsigned count,
                       struct partition_proposal **proposal)
{
    enum err err = ERR_NOT_LEADER;
    if (partition->machine.replica != NULL && partition->is_leader && !partition->is_damaged) {
        err = replica_submit(partition->machine.replica, entry);
    }
    if (err != OK) {
        entry_release(entry);
        return err;
    }
    *proposal = proposal_new(partition, entry_acquire(entry), count);
    list_push(&partition->proposals, &(*proposal)->link);
    return OK;
}

enum err partition_submit(struct partition *partition, struct bytes payload, struct partition_proposal **proposal)
{
    return submit(partition, entry_new_copy(ENTRY_COMMAND, 0, partition->term, payload), 0, proposal);
}

static enum kafka_error error_of_submit(enum err err)
{
    return err == ERR_BUSY ? KAFKA_NOT_ENOUGH_REPLICAS : KAFKA_NOT_LEADER_OR_FOLLOWER;
}

void partition_flush(struct partition *partition)
{
    while (partition->queue_count > 0 && !partition->is_blocked) {
        struct gathering gathering;
        gather_measure(partition, &gathering);
        struct partition_proposal *proposal = NULL;
        enum err err = submit(partition, gather_entry(partition, &gathering), gathering.count, &proposal);
        if (err == ERR_BUSY) {
            partition->is_blocked = true;
            metrics_add(partition->env->metrics, METRIC_PROPOSALS_WAITED, 1);
            env_timer(partition->env, &partition->retry_timer, RETRY_US);
        } else if (err != OK) {
            queue_fail(partition, error_of_submit(err));
        }
        for (unsigned i = 0; err == OK && i < gathering.count; i++) {
            struct partition_produce *req = queue_first(partition);
            queue_remove(partition, req);
            req->state = PRODUCE_PROPOSED;
            req->proposal = proposal;
            req->proposed_us = proposal->proposed_us;
            req->ordinal = i;
            proposal->requests[i] = req;
        }
    }
    if (partition->queue_count == 0) {
        env_timer_cancel(partition->env, &partition->retry_timer);
    }
}

/* ---- Produce ---- */

static enum kafka_error check_batch(struct partition *partition, struct partition_produce *req,
                                    struct record_batch *batch)
{
    const struct partition_config *config = &partition->config;
    partition->checked_ms = env_wall_ms(partition->env);
    struct record_batch_rules rules = {
        .size_max =
            config->max_message_bytes < MESSAGE_MAX_BYTES_LIMIT ? config->max_message_bytes : MESSAGE_MAX_BYTES_LIMIT,
        .now_ms = partition->checked_ms,
        .timestamp_before_max_ms = config->timestamp_before_max_ms,
        .timestamp_after_max_ms = config->timestamp_after_max_ms,
        .is_log_append_time = config->is_log_append_time,
        .is_compacted = config->is_compacted,
        .is_zstd_allowed = req->is_zstd_allowed,
    };
    struct record_batch_fault fault;
    enum kafka_error error = record_batch_check(req->batch.bytes, &rules, batch, &fault);
    if (error == KAFKA_NONE && (batch->attributes & BATCH_TRANSACTIONAL) != 0) {
        error = KAFKA_INVALID_TXN_STATE;
        fault.text = "the partition was not added to a transaction";
    }
    if (error != KAFKA_NONE) {
        req->error_text = fault.text;
        req->error_record = fault.record_index;
        return error;
    }
    if (config->is_log_append_time) {
        batch->max_timestamp = rules.now_ms;
    }
    return KAFKA_NONE;
}

/* Writes what the broker has to say about timestamps into the batch, if that differs from what is there. */
static void patch_timestamps(const struct partition *partition, const struct partition_produce *req,
                             const struct record_batch *batch)
{
    assert(req->batch.block != NULL);
    struct record_batch stored;
    enum err err = record_batch_view(req->batch.bytes, &stored);
    assert(err == OK);
    if (partition->config.is_log_append_time || stored.max_timestamp != batch->max_timestamp) {
        uint8_t *data = req->batch.block->data + (req->batch.bytes.data - req->batch.block->data);
        record_batch_set_max_timestamp(data, req->batch.bytes.size, batch->max_timestamp,
                                       partition->config.is_log_append_time);
    }
}

static bool is_queue_full(const struct partition *partition, size_t size)
{
    return partition->queue_count >= PARTITION_QUEUE_COUNT_MAX ||
           (partition->queue_count > 0 && size > PARTITION_QUEUE_SIZE_MAX - partition->queue_size);
}

enum kafka_error partition_role_error(const struct partition *partition)
{
    if (partition->is_damaged) {
        return KAFKA_KAFKA_STORAGE_ERROR;
    }
    return partition->is_leader && partition->is_ready && !partition->is_closing ? KAFKA_NONE
                                                                                 : KAFKA_NOT_LEADER_OR_FOLLOWER;
}

void partition_produce(struct partition *partition, struct partition_produce *req)
{
    list_init(&req->link);
    req->proposal = NULL;
    req->state = PRODUCE_NEW;
    req->error_text = NULL;
    req->error_record = -1;
    req->base_offset = -1;
    req->log_append_time_ms = -1;
    req->is_duplicate = false;
    req->record_count = 0;
    struct record_batch batch;
    enum kafka_error error = partition_role_error(partition);
    if (error == KAFKA_NONE) {
        error = check_batch(partition, req, &batch);
    }
    if (error == KAFKA_NONE) {
        error = refusals_check(&partition->refusals, &partition->producers, &batch);
        req->error_text = error == KAFKA_NONE ? NULL : "an earlier batch of this producer was refused";
    }
    if (error == KAFKA_NONE) {
        error = partition_insync_check(partition, req);
    }
    if (error == KAFKA_NONE && is_queue_full(partition, req->batch.bytes.size)) {
        partition_flush(partition); /* all of this came in one turn; else it is blocked and stays full */
        if (is_queue_full(partition, req->batch.bytes.size)) {
            metrics_add(partition->env->metrics, METRIC_PROPOSALS_REFUSED, 1);
            error = KAFKA_NOT_ENOUGH_REPLICAS;
            req->error_text = "the partition takes no more batches until those before are committed";
        }
    }
    if (error != KAFKA_NONE) {
        produce_refuse(partition, req, error);
        return;
    }
    patch_timestamps(partition, req, &batch);
    req->state = PRODUCE_QUEUED;
    list_push(&partition->queue, &req->link);
    partition->queue_count++;
    partition->queue_size += req->batch.bytes.size;
    env_task(partition->env, &partition->task);
}

void partition_produce_expire(struct partition *partition, struct partition_produce *req)
{
    switch ((enum partition_produce_state)req->state) {
    case PRODUCE_QUEUED:
        queue_remove(partition, req);
        break;
    case PRODUCE_PROPOSED:
        assert(req->proposal->requests[req->ordinal] == req);
        req->proposal->requests[req->ordinal] = NULL;
        break;
    case PRODUCE_INSYNC:
        partition_insync_expire(partition, req);
        return;
    case PRODUCE_NEW:
    case PRODUCE_ANSWERED:
        return;
    }
    produce_refuse(partition, req, KAFKA_REQUEST_TIMED_OUT);
}

/* ---- Trim ---- */

static enum err submit_trim(struct partition *partition, int64_t offset, struct partition_proposal **proposal)
{
    struct partition_command command = {
        .type = PARTITION_COMMAND_TRIM,
        .append_ms = partition_next_append_ms(partition, env_wall_ms(partition->env)),
        .argument = offset,
    };
    uint8_t data[PARTITION_COMMAND_HEADER_SIZE];
    partition_command_encode(&command, data);
    return partition_submit(partition, (struct bytes){data, sizeof(data)}, proposal);
}

void partition_trim(struct partition *partition, struct partition_trim *req)
{
    list_init(&req->link);
    req->proposal = NULL;
    enum kafka_error error = partition_role_error(partition);
    if (error == KAFKA_NONE && !replica_is_leading(partition->machine.replica)) {
        error = KAFKA_NOT_LEADER_OR_FOLLOWER; /* a successor may know of more: what is compared here would be old */
    }
    if (error == KAFKA_NONE && !partition->config.is_deleted_by_retention) {
        error = KAFKA_POLICY_VIOLATION;
    }
    if (error == KAFKA_NONE && (req->offset < -1 || req->offset > log_end_offset(partition->log))) {
        error = KAFKA_OFFSET_OUT_OF_RANGE;
    }
    if (error != KAFKA_NONE) {
        partition_trim_end(partition, req, error);
        return;
    }
    int64_t offset = req->offset == -1 ? log_end_offset(partition->log) : req->offset;
    if (offset <= log_start_offset(partition->log)) {
        partition_trim_end(partition, req, KAFKA_NONE);
        return;
    }
    struct partition_proposal *proposal = NULL;
    enum err err = submit_trim(partition, offset, &proposal);
    if (err != OK) {
        partition_trim_end(partition, req, error_of_submit(err));
        return;
    }
    proposal->trim = req;
    req->proposal = proposal;
}

void partition_trim_expire(struct partition *partition, struct partition_trim *req)
{
    if (req->proposal != NULL) {
        assert(req->proposal->trim == req);
        req->proposal->trim = NULL;
        partition_trim_end(partition, req, KAFKA_REQUEST_TIMED_OUT);
    }
}

void partition_retention(struct partition *partition)
{
    const struct partition_config *config = &partition->config;
    if (partition_role_error(partition) != KAFKA_NONE || !config->is_deleted_by_retention ||
        partition->is_retention_proposed) {
        return;
    }
    int64_t offset = log_retention_offset(partition->log, env_wall_ms(partition->env), config->retention_ms,
                                          config->retention_bytes);
    struct partition_proposal *proposal = NULL;
    /* A group that takes no proposals now is asked again at the next round. */
    if (offset > log_start_offset(partition->log) && submit_trim(partition, offset, &proposal) == OK) {
        proposal->is_retention = true;
        partition->is_retention_proposed = true;
    }
}
