/* What a committed entry does: a function of the entry and the state before it. No clock, no configuration, no chance.
 *
 * Happy path: the command is read to its end; each batch is asked of the producers' table; what is new gets the next
 *             offsets and goes to the log in one call; whoever waits for it gets the outcome.
 * Failure:    a command that cannot be read was written by another release, or is damage that all check sums missed.
 *             Applying the ones behind it would make this replica differ from the others, so it takes itself out of
 *             service. */
#include "base/assert.h"
#include "base/canary.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/trace.h"
#include "replication/partition_command.h"
#include "replication/partition_internal.h"

/* ---- Batches ---- */

enum {
    BATCHES_ON_STACK = 16, /* most entries have no more */
};

/* Reads all of the command's batches before the first one is applied. */
static enum err read_batches(struct partition_command_reader *reader, const struct partition_command *command,
                             struct record_batch *batches)
{
    size_t count = 0;
    enum err err = OK;
    while (err == OK && count < command->batch_count) {
        err = partition_command_next(reader, &batches[count]);
        count += err == OK;
    }
    struct record_batch extra;
    return err == OK && partition_command_next(reader, &extra) == ERR_NOT_FOUND ? OK : ERR_CORRUPT;
}

/* Decides one batch. Fills the waiting request, if any. True: it is new and gets `offset`. */
static bool apply_batch(struct partition *partition, const struct record_batch *batch, int64_t offset, uint64_t index,
                        struct partition_produce *req)
{
    const struct producer_batch *duplicate = NULL;
    enum kafka_error error = KAFKA_NONE;
    if (batch->producer_id >= 0) {
        error = producers_check(&partition->producers, batch, &duplicate);
        duplicate = canary_is(CANARY_DUPLICATE_APPENDED) ? NULL : duplicate;
    }
    if (req != NULL) {
        if (error == KAFKA_OUT_OF_ORDER_SEQUENCE_NUMBER) {
            error = refusals_gap(&partition->refusals, &partition->producers, batch);
            req->error_text = error == KAFKA_OUT_OF_ORDER_SEQUENCE_NUMBER
                                  ? NULL
                                  : "a batch of this producer that comes before it has not come yet";
        }
        bool is_log_append_time = (batch->attributes & BATCH_LOG_APPEND_TIME) != 0;
        int64_t timestamp = duplicate != NULL ? duplicate->timestamp : batch->max_timestamp;
        req->base_offset = error != KAFKA_NONE ? -1 : duplicate != NULL ? duplicate->base_offset : offset;
        req->log_append_time_ms = error == KAFKA_NONE && is_log_append_time ? timestamp : -1;
        req->is_duplicate = duplicate != NULL;
        req->record_count = batch->count;
        if (error == KAFKA_NONE) {
            partition_insync_end(partition, req, index);
        } else {
            partition_produce_end(partition, req, error);
        }
    }
    if (error != KAFKA_NONE || duplicate != NULL) {
        return false;
    }
    if (batch->producer_id >= 0) {
        producers_add(&partition->producers, batch, offset, partition->append_ms);
    }
    return true;
}

static void apply_batches(struct partition *partition, const struct entry *entry,
                          const struct partition_command *command, const struct partition_proposal *proposal,
                          const struct record_batch *batches)
{
    struct log_batch few[BATCHES_ON_STACK];
    bool is_few = command->batch_count <= BATCHES_ON_STACK;
    struct log_batch *appends = is_few ? few : mem_alloc_raw(command->batch_count * sizeof(*appends));
    assert(proposal == NULL || proposal->count == command->batch_count);
    producers_expire(&partition->producers, partition->append_ms, command->argument);
    int32_t epoch = partition_epoch_of_term(entry->term);
    int64_t offset = log_end_offset(partition->log);
    size_t count = 0;
    for (unsigned i = 0; i < command->batch_count; i++) {
        const struct record_batch *batch = &batches[i];
        if (!apply_batch(partition, batch, offset, entry->index, proposal == NULL ? NULL : proposal->requests[i])) {
            continue;
        }
        appends[count++] = (struct log_batch){
            .bytes = batch->bytes,
            .base_offset = offset,
            .leader_epoch = epoch,
            .last_offset_delta = batch->last_offset_delta,
            .max_timestamp = batch->max_timestamp,
        };
        offset += (int64_t)batch->last_offset_delta + 1;
        partition->appended_size += (int64_t)batch->bytes.size;
    }
    if (count > 0) {
        epochs_assign(&partition->epochs, epoch, log_end_offset(partition->log));
        log_append(partition->log, partition->append_ms, appends, count);
    }
    assert(log_end_offset(partition->log) == offset);
    if (!is_few) {
        mem_free(appends);
    }
}

/* ---- Trim ---- */

static void apply_trim(struct partition *partition, const struct partition_command *command,
                       const struct partition_proposal *proposal)
{
    int64_t end = log_end_offset(partition->log);
    log_trim(partition->log, command->argument < end ? command->argument : end);
    epochs_trim(&partition->epochs, log_start_offset(partition->log));
    partition_compact_trimmed(partition);
    if (proposal != NULL && proposal->is_retention) {
        partition->is_retention_proposed = false;
    }
    if (proposal != NULL && proposal->trim != NULL) {
        partition_trim_end(partition, proposal->trim, KAFKA_NONE);
    }
}

/* ---- Entries ---- */

/* Who waits for the entry, if it was proposed here; the entry is known to be in order. */
static struct partition_proposal *begin_entry(struct partition *partition, const struct entry *entry,
                                              const struct partition_command *command)
{
    if (command->append_ms > partition->append_ms) {
        partition->append_ms = command->append_ms; /* another leader's clock may be behind */
    }
    return partition_proposal_take(partition, entry);
}

static enum err apply_batches_entry(struct partition *partition, const struct entry *entry,
                                    struct partition_command_reader *reader, const struct partition_command *command)
{
    struct record_batch few[BATCHES_ON_STACK];
    bool is_few = command->batch_count <= BATCHES_ON_STACK;
    struct record_batch *batches = is_few ? few : mem_alloc_raw(command->batch_count * sizeof(*batches));
    enum err err = read_batches(reader, command, batches);
    if (err == OK) {
        struct partition_proposal *proposal = begin_entry(partition, entry, command);
        if (proposal != NULL) {
            metrics_observe(partition->env->metrics, METRIC_COMMIT_US,
                            partition->applied[0].us - proposal->proposed_us);
        }
        apply_batches(partition, entry, command, proposal, batches);
        partition_proposal_free(partition, proposal);
    }
    if (!is_few) {
        mem_free(batches);
    }
    return err;
}

static enum err apply_command(struct partition *partition, const struct entry *entry,
                              struct partition_command_reader *reader, const struct partition_command *command)
{
    if (command->type == PARTITION_COMMAND_BATCHES) {
        return apply_batches_entry(partition, entry, reader, command);
    }
    struct compaction_order order = {.index = entry->index};
    enum err err = command->batch_count == 0 ? OK : ERR_CORRUPT;
    if (err == OK && command->type == PARTITION_COMMAND_COMPACT) {
        err = partition_command_compact(reader, command, &order);
    }
    if (err != OK) {
        return err;
    }
    struct partition_proposal *proposal = begin_entry(partition, entry, command);
    if (command->type == PARTITION_COMMAND_TRIM) {
        apply_trim(partition, command, proposal);
    } else {
        order.now_ms = partition->append_ms;
        partition->is_compaction_proposed = proposal == NULL && partition->is_compaction_proposed;
        partition_compact_apply(partition, &order);
    }
    partition_proposal_free(partition, proposal);
    return OK;
}

void partition_apply(struct replica_machine *machine, const struct entry *entry)
{
    struct partition *partition = container_of(machine, struct partition, machine);
    assert(entry->kind == ENTRY_COMMAND);
    partition->applied[0].index = entry->index;
    partition->applied[0].us = env_now_us(partition->env);
    if (partition->is_damaged) {
        return;
    }
    struct partition_command_reader reader;
    struct partition_command command;
    int64_t start_us = partition->applied[0].us;
    partition->is_applying = true;
    enum err err = partition_command_open(&reader, entry, &command);
    if (err == OK) {
        err = apply_command(partition, entry, &reader, &command);
    }
    partition_command_deinit(&reader);
    partition->is_applying = false;
    partition->applied[0].us = env_now_us(partition->env);
    metrics_observe(partition->env->metrics, METRIC_APPLY_US, partition->applied[0].us - start_us);
    if (err != OK) {
        trace(ERROR, PARTITION, "entry cannot be applied", KV("group", (int64_t)partition->group),
              KV("index", (int64_t)entry->index), KV("error", err_text(err)));
        partition_damaged(partition, err,
                          err == ERR_UNSUPPORTED ? "an entry holds a command that this release does not know"
                                                 : "an entry holds a command that cannot be read");
    }
}

static void note_applied(struct partition *partition)
{
    struct partition_mark *marks = partition->applied;
    if (marks[1].index == 0) {
        marks[1] = marks[0]; /* the first since the start */
    }
    if (marks[0].us - marks[1].us >= PARTITION_MARK_US || marks[2].index == 0) {
        marks[2] = marks[1];
        marks[1] = marks[0];
    }
}

/* Watches that have what they want leave the list first: one that is set in a callback below waits for what comes
 * after. */
static void count_down(struct partition *partition)
{
    struct list *link = partition->watches.next;
    while (link != &partition->watches && partition->appended_size > 0) {
        struct partition_watch *watch = container_of(link, struct partition_watch, link);
        link = link->next;
        watch->bytes -= partition->appended_size;
        if (watch->bytes <= 0) {
            list_remove(&watch->link);
            list_push(&partition->woken, &watch->link);
        }
    }
    partition->appended_size = 0;
}

void partition_applied(struct replica_machine *machine)
{
    struct partition *partition = container_of(machine, struct partition, machine);
    note_applied(partition);
    count_down(partition);
    partition_answer(partition, partition->applied[0].us);
    if (partition->is_blocked) {
        partition->is_blocked = false;
        env_task(partition->env, &partition->task);
    }
}
