/* Frames lie in one array; what is durable is a prefix of it. */
#include "tests/lib/fake_log.h"

#include "base/assert.h"
#include "base/mem.h"

#include <string.h>

void fake_log_init(struct fake_log *log)
{
    *log = (struct fake_log){.next_lsn = 4096, .durable_lsn = 4096};
}

static void frames_drop(struct fake_log *log, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++) {
        mem_free(log->frames[i].payload);
    }
    memmove(log->frames + from, log->frames + to, (log->count - to) * sizeof *log->frames);
    log->count -= to - from;
}

void fake_log_deinit(struct fake_log *log)
{
    if (log->count > 0) {
        frames_drop(log, 0, log->count);
    }
    mem_free(log->frames);
}

static uint64_t log_append(struct wal *wal, const struct wal_frame *frame)
{
    struct fake_log *log = (struct fake_log *)(void *)wal;
    if (log->on_append != NULL) {
        log->on_append(log->owner, frame);
    }
    if (log->count == log->capacity) {
        log->capacity = log->capacity == 0 ? 256 : log->capacity * 2;
        log->frames = mem_resize(log->frames, log->capacity * sizeof *log->frames);
    }
    struct fake_frame *kept = &log->frames[log->count++];
    *kept = (struct fake_frame){
        .lsn = log->next_lsn,
        .group = frame->group,
        .kind = frame->kind,
        .index = frame->index,
        .term = frame->term,
        .value = frame->value,
    };
    for (unsigned i = 0; i < frame->slice_count; i++) {
        kept->size += frame->slices[i].bytes.size;
    }
    if (kept->size == 0) {
        log->next_lsn += 48;
        return kept->lsn;
    }
    kept->payload = mem_alloc_raw(kept->size);
    size_t at = 0;
    for (unsigned i = 0; i < frame->slice_count; i++) {
        if (frame->slices[i].bytes.size > 0) {
            memcpy(kept->payload + at, frame->slices[i].bytes.data, frame->slices[i].bytes.size);
            at += frame->slices[i].bytes.size;
        }
    }
    log->next_lsn += 48 + kept->size;
    return kept->lsn;
}

static uint64_t log_end_lsn(const struct wal *wal)
{
    return ((const struct fake_log *)(const void *)wal)->next_lsn;
}

static bool log_is_stalled(const struct wal *wal)
{
    return ((const struct fake_log *)(const void *)wal)->is_stalled;
}

struct replica_wal fake_log_wal(struct fake_log *log)
{
    return (struct replica_wal){
        .wal = (struct wal *)(void *)log,
        .append = log_append,
        .end_lsn = log_end_lsn,
        .is_stalled = log_is_stalled,
    };
}

bool fake_log_submit(struct fake_log *log)
{
    if (log->flight_count > log->durable_count) {
        return false;
    }
    for (size_t i = log->durable_count; i < log->count; i++) {
        if (log->frames[i].kind != WAL_COMMIT) { /* marks alone start no write */
            log->flight_count = log->count;
            return true;
        }
    }
    return false;
}

void fake_log_complete(struct fake_log *log)
{
    assert(log->flight_count > log->durable_count);
    for (size_t i = log->durable_count; i < log->flight_count; i++) {
        if (log->frames[i].kind == WAL_HARD_STATE && log->frames[i].term >= log->hard_term) {
            log->hard_term = log->frames[i].term;
            log->hard_vote = log->frames[i].value;
        }
    }
    log->durable_count = log->flight_count;
    const struct fake_frame *last = &log->frames[log->durable_count - 1];
    log->durable_lsn = last->lsn + 48 + last->size;
}

void fake_log_sync(struct fake_log *log)
{
    if (log->flight_count > log->durable_count) {
        fake_log_complete(log);
    }
    if (fake_log_submit(log)) {
        fake_log_complete(log);
    }
}

void fake_log_crash(struct fake_log *log, bool is_flight_kept)
{
    if (is_flight_kept && log->flight_count > log->durable_count) {
        fake_log_complete(log);
    }
    if (log->count > log->durable_count) {
        frames_drop(log, log->durable_count, log->count);
    }
    log->flight_count = log->durable_count;
    log->next_lsn = log->durable_lsn;
}

void fake_log_release(struct fake_log *log, uint64_t lsn)
{
    size_t gone = 0;
    while (gone < log->durable_count && log->frames[gone].lsn < lsn) {
        gone++;
    }
    if (gone > 0) {
        frames_drop(log, 0, gone);
        log->durable_count -= gone;
        log->flight_count -= gone;
    }
}

/* ---- Replay ----------------------------------------------------------------------------------------------------- */

void fake_recovery_push(struct fake_recovery *recovery, struct entry *entry, uint64_t lsn)
{
    if (recovery->tail_count == recovery->tail_capacity) {
        recovery->tail_capacity = recovery->tail_capacity == 0 ? 64 : recovery->tail_capacity * 2;
        recovery->tail = mem_resize(recovery->tail, recovery->tail_capacity * sizeof *recovery->tail);
    }
    recovery->tail[recovery->tail_count++] = (struct replica_tail_entry){.entry = entry, .lsn = lsn};
}

static void tail_keep(struct fake_recovery *recovery, size_t count)
{
    while (recovery->tail_count > count) {
        entry_release(recovery->tail[--recovery->tail_count].entry);
    }
}

void fake_recovery_deinit(struct fake_recovery *recovery)
{
    tail_keep(recovery, 0);
    mem_free(recovery->tail);
}

static void replay_entry(struct fake_recovery *recovery, const struct fake_frame *frame)
{
    uint64_t first = recovery->applied_index + 1;
    uint64_t end = first + recovery->tail_count;
    bool is_copy = (frame->value & REPLICA_ENTRY_COPY) != 0;
    enum entry_kind kind = (enum entry_kind)(frame->value & 0xff);
    if (frame->index > end || (is_copy && frame->index < first)) {
        return;
    }
    if (frame->index < first) {
        tail_keep(recovery, 0);
        return;
    }
    struct entry *entry = entry_new_copy(kind, frame->index, frame->term, (struct bytes){frame->payload, frame->size});
    if (is_copy && frame->index < end) {
        struct replica_tail_entry *slot = &recovery->tail[frame->index - first];
        assert(slot->entry->term == frame->term);
        entry_release(slot->entry);
        *slot = (struct replica_tail_entry){.entry = entry, .lsn = frame->lsn};
        return;
    }
    tail_keep(recovery, frame->index - first);
    fake_recovery_push(recovery, entry, frame->lsn);
}

static void replay_commit(struct fake_recovery *recovery, uint64_t index)
{
    size_t count = 0;
    while (count < recovery->tail_count && recovery->tail[count].entry->index <= index) {
        struct entry *entry = recovery->tail[count++].entry;
        recovery->applied_index = entry->index;
        recovery->applied_term = entry->term;
        if (entry->kind == ENTRY_CHANGE) {
            enum err err = membership_decode(entry->slices[0].bytes, &recovery->membership);
            assert(err == OK);
            recovery->membership_index = entry->index;
        }
        recovery->apply(recovery->owner, entry);
        entry_release(entry);
    }
    if (count > 0) {
        recovery->tail_count -= count;
        memmove(recovery->tail, recovery->tail + count, recovery->tail_count * sizeof *recovery->tail);
    }
}

static void replay_install(struct fake_recovery *recovery, const struct fake_frame *frame)
{
    tail_keep(recovery, 0); /* also if the checkpoint is newer: what came before is not what the log was */
    if (frame->index <= recovery->applied_index) {
        return;
    }
    recovery->applied_index = frame->index;
    recovery->applied_term = frame->term;
    recovery->membership_index = frame->value;
    enum err err = membership_decode((struct bytes){frame->payload, frame->size}, &recovery->membership);
    assert(err == OK);
    recovery->install(recovery->owner, frame);
}

void fake_log_recover(const struct fake_log *log, uint64_t group, struct fake_recovery *recovery)
{
    for (size_t i = 0; i < log->durable_count; i++) {
        const struct fake_frame *frame = &log->frames[i];
        if (frame->group != group) {
            continue;
        }
        switch (frame->kind) {
        case WAL_HARD_STATE:
            if (frame->term >= recovery->term) {
                recovery->term = frame->term;
                recovery->vote = frame->value;
            }
            break;
        case WAL_ENTRY:
            replay_entry(recovery, frame);
            break;
        case WAL_COMMIT:
            replay_commit(recovery, frame->index);
            break;
        case WAL_INSTALL:
            replay_install(recovery, frame);
            break;
        case WAL_STOP:
            break;
        }
    }
}
