/* Happy path: each group of batches is one gathered write: 16 bytes of patched head from the stack, then the rest of
 *             each
 * batch from the caller's memory. Every index_interval bytes an entry for both indexes is kept in a small buffer,
 * which is written when it is full, when the segment is finished, and before anybody looks something up.
 * Failure: an index file that cannot be written loses entries; its count stays, so later entries overwrite what was
 *          torn. */
#include "replication/segment.h"

#include "base/assert.h"
#include "base/crc32c.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/trace.h"
#include "proto/record_batch.h"
#include "replication/write_out.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum {
    OFFSET_DIGIT_COUNT = 20,
    BATCH_HEAD_SIZE = 16, /* base offset, length, leader epoch: all that is ours in a batch */
    PENDING_COUNT = 32,
};

struct segment_pending {
    unsigned index_count;
    unsigned time_index_count;
    uint8_t index[PENDING_COUNT * INDEX_ENTRY_SIZE];
    uint8_t time_index[PENDING_COUNT * TIME_INDEX_ENTRY_SIZE];
};

/* ---- Names ---- */

static const char *const suffixes[SEGMENT_KIND_COUNT] = {".log", ".index", ".timeindex"};

void segment_path(const char *dir, struct segment_id id, enum segment_kind kind, char path[SEGMENT_PATH_SIZE])
{
    int size = id.version == 0
                   ? snprintf(path, SEGMENT_PATH_SIZE, "%s/%020" PRId64 "%s", dir, id.base_offset, suffixes[kind])
                   : snprintf(path, SEGMENT_PATH_SIZE, "%s/%020" PRId64 ".%" PRIu64 "%s", dir, id.base_offset,
                              id.version, suffixes[kind]);
    assert(size > 0 && size < SEGMENT_PATH_SIZE);
}

/* ".<version>", decimal without leading zeros; without it the version is 0. False: neither. */
static bool version_parse(const char **at, uint64_t *version)
{
    const char *digit = *at + 1;
    *version = 0;
    if ((*at)[0] != '.' || digit[0] < '1' || digit[0] > '9') {
        return (*at)[0] == '.';
    }
    for (; *digit >= '0' && *digit <= '9'; digit++) {
        unsigned value = (unsigned)(*digit - '0');
        if (*version > (UINT64_MAX - value) / 10) {
            return false;
        }
        *version = *version * 10 + value;
    }
    *at = digit;
    return true;
}

bool segment_name_parse(const char *name, struct segment_id *id, enum segment_kind *kind)
{
    int64_t offset = 0;
    for (unsigned i = 0; i < OFFSET_DIGIT_COUNT; i++) {
        if (name[i] < '0' || name[i] > '9' || offset > (INT64_MAX - (name[i] - '0')) / 10) {
            return false;
        }
        offset = offset * 10 + (name[i] - '0');
    }
    const char *rest = name + OFFSET_DIGIT_COUNT;
    uint64_t version;
    if (!version_parse(&rest, &version)) {
        return false;
    }
    for (unsigned i = 0; i < SEGMENT_KIND_COUNT; i++) {
        if (strcmp(rest, suffixes[i]) == 0) {
            *id = (struct segment_id){offset, version};
            *kind = (enum segment_kind)i;
            return true;
        }
    }
    return false;
}

/* ---- Life ---- */

static struct segment *segment_new(int64_t base_offset)
{
    assert(base_offset >= 0);
    struct segment *segment = mem_alloc(sizeof(*segment));
    segment->base_offset = base_offset;
    segment->max_timestamp = -1;
    segment->is_time_index_checked = true;
    list_init(&segment->lag_link);
    return segment;
}

enum err segment_create(struct segment_place *place, int64_t base_offset, int64_t append_ms, struct segment **segment,
                        struct errmsg *msg)
{
    struct disk *disk = place->env->disk;
    struct segment *created = segment_new(base_offset);
    created->first_append_ms = append_ms;

    char path[SEGMENT_PATH_SIZE];
    segment_path(place->dir, segment_id(created), SEGMENT_LOG, path);
    struct log_file **slot = &created->files[SEGMENT_LOG];
    enum err err = log_files_acquire(place->files, slot, path, DISK_CREATE, msg);
    if (err == ERR_NO_SPACE) {
        *segment = created; /* the first write makes it, or finds no space either */
        return OK;
    }
    if (err != OK) {
        goto err_after_new;
    }
    uint64_t size = 0;
    err = disk->size(disk, (*slot)->file, &size);
    if (err == OK && size != 0) {
        err = disk->truncate(disk, (*slot)->file, 0);
    }
    if (err != OK) {
        err = fail(msg, err, "empty %s: %s", path, err_text(err));
        goto err_after_acquire;
    }
    log_files_release(place->files, *slot);
    *segment = created;
    return OK;

err_after_acquire:
    log_files_release(place->files, *slot);
err_after_new:
    segment_close(place, created);
    return err;
}

struct segment *segment_restore(const struct log_segment_state *state)
{
    assert(state->size <= SEGMENT_SIZE_MAX);
    struct segment *segment = segment_new(state->base_offset);
    segment->version = state->version;
    segment->max_timestamp = state->max_timestamp;
    segment->first_append_ms = state->first_append_ms;
    segment->size = (uint32_t)state->size;
    segment->index_count = state->index_count;
    segment->time_index_count = state->time_index_count;
    segment->time_index_crc = state->time_index_crc;
    segment->is_time_index_checked = state->time_index_count == 0;
    return segment;
}

void segment_state(const struct segment *segment, struct log_segment_state *state)
{
    *state = (struct log_segment_state){
        .base_offset = segment->base_offset,
        .size = segment->size,
        .max_timestamp = segment->max_timestamp,
        .first_append_ms = segment->first_append_ms,
        .index_count = segment->index_count,
        .time_index_count = segment->time_index_count,
        .time_index_crc = segment->time_index_crc,
        .version = segment->version,
    };
}

void segment_close(struct segment_place *place, struct segment *segment)
{
    struct log_file *dirty = segment->is_dirty ? segment->files[SEGMENT_LOG] : NULL;
    for (unsigned i = 0; i < SEGMENT_KIND_COUNT; i++) {
        log_files_forget(place->files, &segment->files[i]);
    }
    write_out_forget(log_files_write_out(place->files), segment);
    if (dirty != NULL) {
        log_files_release(place->files, dirty);
    }
    if (segment->buffer != NULL) {
        log_files_buffer_free(place->files, segment->buffer);
    }
    mem_free(segment->pending);
    mem_free(segment);
}

/* ---- Indexes ---- */

static void index_write(struct segment_place *place, struct segment *segment, enum segment_kind kind, uint64_t position,
                        struct bytes bytes, bool *is_written)
{
    struct disk *disk = place->env->disk;
    char path[SEGMENT_PATH_SIZE];
    struct errmsg msg;
    segment_path(place->dir, segment_id(segment), kind, path);
    struct log_file **slot = &segment->files[kind];
    enum err err = log_files_acquire(place->files, slot, path, DISK_CREATE, &msg);
    if (err == OK) {
        struct iovec iov = {.iov_base = (void *)(uintptr_t)bytes.data, .iov_len = bytes.size};
        err = disk->pwritev(disk, (*slot)->file, position, &iov, 1);
        log_files_release(place->files, *slot);
    }
    *is_written = err == OK;
    if (err != OK) {
        trace(WARN, LOG, "index entries lost", KV("path", path), KV("cause", err_text(err)));
    }
}

void segment_flush_indexes(struct segment_place *place, struct segment *segment)
{
    struct segment_pending *pending = segment->pending;
    if (pending == NULL) {
        return;
    }
    bool is_written;
    if (pending->index_count > 0) {
        struct bytes bytes = {pending->index, pending->index_count * INDEX_ENTRY_SIZE};
        uint64_t position = (uint64_t)segment->index_count * INDEX_ENTRY_SIZE;
        index_write(place, segment, SEGMENT_INDEX, position, bytes, &is_written);
        segment->index_count += is_written ? pending->index_count : 0;
    }
    if (pending->time_index_count > 0) {
        struct bytes bytes = {pending->time_index, pending->time_index_count * TIME_INDEX_ENTRY_SIZE};
        uint64_t position = (uint64_t)segment->time_index_count * TIME_INDEX_ENTRY_SIZE;
        index_write(place, segment, SEGMENT_TIME_INDEX, position, bytes, &is_written);
        if (is_written) {
            segment->time_index_count += pending->time_index_count;
            segment->time_index_crc = crc32c(segment->time_index_crc, bytes);
        }
    }
    segment->pending = NULL;
    mem_free(pending);
}

static struct segment_pending *pending_room(struct segment_place *place, struct segment *segment)
{
    if (segment->pending != NULL &&
        (segment->pending->index_count == PENDING_COUNT || segment->pending->time_index_count == PENDING_COUNT)) {
        segment_flush_indexes(place, segment);
    }
    if (segment->pending == NULL) {
        segment->pending = mem_alloc(sizeof(*segment->pending));
    }
    return segment->pending;
}

static void time_index_add(struct segment_place *place, struct segment *segment)
{
    if (!segment->is_time_due) {
        return;
    }
    struct segment_pending *pending = pending_room(place, segment);
    struct time_index_entry entry = {
        .timestamp = segment->max_timestamp,
        .offset = (int32_t)(segment->max_timestamp_offset - segment->base_offset),
    };
    time_index_entry_encode(pending->time_index + pending->time_index_count * TIME_INDEX_ENTRY_SIZE, entry);
    pending->time_index_count++;
    segment->is_time_due = false;
}

/* Notes one appended batch, which starts at the segment's size so far. Kafka's rule: an entry for the batch that
 * comes after more than `index_interval` bytes without one. */
static void index_note(struct segment_place *place, struct segment *segment, uint32_t index_interval,
                       const struct log_batch *batch)
{
    int64_t last_offset = batch->base_offset + batch->last_offset_delta;
    if (batch->max_timestamp > segment->max_timestamp) {
        segment->max_timestamp = batch->max_timestamp;
        segment->max_timestamp_offset = last_offset;
        segment->is_time_due = true;
    }
    if (segment->unindexed_size > index_interval) {
        struct segment_pending *pending = pending_room(place, segment);
        struct index_entry entry = {
            .offset = (int32_t)(last_offset - segment->base_offset),
            .position = segment->size,
        };
        index_entry_encode(pending->index + pending->index_count * INDEX_ENTRY_SIZE, entry);
        pending->index_count++;
        time_index_add(place, segment);
        segment->unindexed_size = 0;
    }
    segment->unindexed_size += (uint32_t)batch->bytes.size;
}

void segment_finish(struct segment_place *place, struct segment *segment)
{
    time_index_add(place, segment);
    segment_flush_indexes(place, segment);
}

static enum err index_empty(struct segment_place *place, struct segment *segment, enum segment_kind kind)
{
    char path[SEGMENT_PATH_SIZE];
    struct errmsg msg;
    segment_path(place->dir, segment_id(segment), kind, path);
    struct log_file **slot = &segment->files[kind];
    enum err err = log_files_acquire(place->files, slot, path, DISK_CREATE, &msg);
    if (err == OK) {
        err = place->env->disk->truncate(place->env->disk, (*slot)->file, 0);
        log_files_release(place->files, *slot);
    }
    return err;
}

void segment_replace_indexes(struct segment_place *place, struct segment *segment, struct bytes index,
                             struct bytes time_index)
{
    assert(segment->pending == NULL);
    segment->index_count = 0;
    segment->time_index_count = 0;
    segment->time_index_crc = 0;
    segment->is_time_index_checked = true;
    bool is_written = index_empty(place, segment, SEGMENT_INDEX) == OK;
    if (is_written && index.size > 0) {
        index_write(place, segment, SEGMENT_INDEX, 0, index, &is_written);
        segment->index_count = is_written ? (uint32_t)(index.size / INDEX_ENTRY_SIZE) : 0;
    }
    is_written = index_empty(place, segment, SEGMENT_TIME_INDEX) == OK;
    if (is_written && time_index.size > 0) {
        index_write(place, segment, SEGMENT_TIME_INDEX, 0, time_index, &is_written);
        if (is_written) {
            segment->time_index_count = (uint32_t)(time_index.size / TIME_INDEX_ENTRY_SIZE);
            segment->time_index_crc = crc32c(0, time_index);
        }
    }
}

void segment_drop_time_index(struct segment_place *place, struct segment *segment)
{
    segment_flush_indexes(place, segment);
    segment->time_index_count = 0;
    segment->time_index_crc = 0;
    segment->is_time_index_checked = true;
    segment->is_index_poor = true;
    enum err err = index_empty(place, segment, SEGMENT_TIME_INDEX);
    trace(WARN, LOG, "time index dropped: its CRC is wrong", KV("dir", place->dir),
          KV("base_offset", segment->base_offset), KV("result", err_text(err)));
}

/* ---- Appending ---- */

bool segment_takes(const struct segment *segment, size_t gathered_size, const struct log_config *config,
                   int64_t append_ms, const struct log_batch *batch)
{
    uint64_t size = segment->size + (uint64_t)gathered_size;
    if (size == 0) {
        return true;
    }
    uint64_t size_max = config->segment_size_max < SEGMENT_SIZE_MAX ? config->segment_size_max : SEGMENT_SIZE_MAX;
    if (size > size_max || batch->bytes.size > size_max - size) {
        return false;
    }
    if (batch->base_offset - segment->base_offset > INT32_MAX - batch->last_offset_delta) {
        return false;
    }
    /* Unsigned: the difference of any two times fits. */
    uint64_t age_ms = (uint64_t)append_ms - (uint64_t)segment->first_append_ms;
    return append_ms <= segment->first_append_ms || age_ms < (uint64_t)config->segment_ms;
}

static void batch_head_encode(uint8_t head[BATCH_HEAD_SIZE], const struct log_batch *batch)
{
    be64_put(head, (uint64_t)batch->base_offset);
    be32_put(head + 8, (uint32_t)(batch->bytes.size - RECORD_BATCH_OVERHEAD));
    be32_put(head + 12, (uint32_t)batch->leader_epoch);
}

/* ERR_NO_SPACE: the file could not be created. */
static enum err segment_make_dirty(struct segment_place *place, struct segment *segment)
{
    if (segment->is_dirty) {
        return OK;
    }
    char path[SEGMENT_PATH_SIZE];
    struct errmsg msg;
    segment_path(place->dir, segment_id(segment), SEGMENT_LOG, path);
    unsigned flags = segment_written_size(segment) == 0 ? DISK_CREATE : 0;
    enum err err = log_files_acquire(place->files, &segment->files[SEGMENT_LOG], path, flags, &msg);
    if (err != OK && err != ERR_NO_SPACE) {
        process_stop("append to the log: %s", msg.text);
    }
    segment->is_dirty = err == OK;
    return err;
}

/* What lies in the buffer, then `iov`, by one write. iov[0] is free for the buffer. False: there is no space, all is as
 * it was: what has reached the file is written again. */
static bool segment_write(struct segment_place *place, struct segment *segment, struct iovec *iov, int count)
{
    struct disk *disk = place->env->disk;
    struct segment_buffer *buffer = segment->buffer;
    iov[0] =
        (struct iovec){.iov_base = buffer != NULL ? buffer->data : NULL, .iov_len = buffer != NULL ? buffer->size : 0};
    bool has_bytes = buffer != NULL;
    uint32_t position = segment_written_size(segment);
    const struct iovec *from = has_bytes ? iov : iov + 1;
    count = has_bytes ? count : count - 1;
    enum err err = segment_make_dirty(place, segment);
    if (err == OK) {
        int file = segment->files[SEGMENT_LOG]->file;
        err = disk->pwritev(disk, file, position, from, count);
    }
    if (err == ERR_NO_SPACE) {
        return false;
    }
    if (err != OK) {
        char path[SEGMENT_PATH_SIZE];
        segment_path(place->dir, segment_id(segment), SEGMENT_LOG, path);
        process_stop("append to %s at position %" PRIu32 ": %s", path, position, err_text(err));
    }
    if (buffer != NULL) {
        segment->buffer = NULL;
        log_files_buffer_free(place->files, buffer);
    }
    size_t size = 0;
    for (int i = 0; i < count; i++) {
        size += from[i].iov_len;
    }
    write_out_note(log_files_write_out(place->files), segment, position, size);
    return true;
}

bool segment_flush(struct segment_place *place, struct segment *segment)
{
    struct iovec iov[1];
    bool is_written = segment->buffer == NULL || segment_write(place, segment, iov, 1);
    if (!is_written) {
        log_files_hold(place->files);
    }
    return is_written;
}

/* All of `iov`, where the buffer's bytes come first, into a buffer that is as large. */
static void segment_hold(struct segment_place *place, struct segment *segment, int64_t base_offset,
                         const struct iovec *iov, int count)
{
    size_t size = 0;
    for (int i = 0; i < count; i++) {
        size += iov[i].iov_len;
    }
    struct segment_buffer *old = segment->buffer;
    struct segment_buffer *buffer =
        log_files_buffer_new(place->files, place, segment, old != NULL ? old->base_offset : base_offset, size);
    size_t at = 0;
    for (int i = 0; i < count; i++) {
        if (iov[i].iov_len > 0) {
            memcpy(buffer->data + at, iov[i].iov_base, iov[i].iov_len);
        }
        at += iov[i].iov_len;
    }
    segment->buffer = buffer;
    if (old != NULL) {
        log_files_buffer_free(place->files, old);
    }
    log_files_hold(place->files);
    log_files_buffer_grown(place->files, buffer, size);
}

static void segment_append_to_file(struct segment_place *place, struct segment *segment,
                                   const struct log_batch *batches, size_t count)
{
    struct iovec iov[1 + 2 * SEGMENT_APPEND_COUNT_MAX];
    uint8_t heads[SEGMENT_APPEND_COUNT_MAX][BATCH_HEAD_SIZE];
    for (size_t i = 0; i < count; i++) {
        const struct log_batch *batch = &batches[i];
        batch_head_encode(heads[i], batch);
        uint8_t *rest = (uint8_t *)(uintptr_t)batch->bytes.data + BATCH_HEAD_SIZE;
        iov[1 + 2 * i] = (struct iovec){.iov_base = heads[i], .iov_len = BATCH_HEAD_SIZE};
        iov[2 + 2 * i] = (struct iovec){.iov_base = rest, .iov_len = batch->bytes.size - BATCH_HEAD_SIZE};
    }
    if (!segment_write(place, segment, iov, (int)(1 + 2 * count))) {
        segment_hold(place, segment, batches[0].base_offset, iov, (int)(1 + 2 * count));
    }
}

static void segment_append_to_buffer(struct segment_place *place, struct segment *segment,
                                     const struct log_batch *batches, size_t count, size_t size)
{
    if (segment->buffer == NULL) {
        segment->buffer =
            log_files_buffer_new(place->files, place, segment, batches[0].base_offset, SEGMENT_BUFFER_SIZE);
    }
    struct segment_buffer *buffer = segment->buffer;
    uint8_t *at = buffer->data + buffer->size;
    for (size_t i = 0; i < count; i++) {
        struct bytes bytes = batches[i].bytes;
        batch_head_encode(at, &batches[i]);
        memcpy(at + BATCH_HEAD_SIZE, bytes.data + BATCH_HEAD_SIZE, bytes.size - BATCH_HEAD_SIZE);
        at += bytes.size;
    }
    log_files_buffer_grown(place->files, buffer, size);
}

void segment_append(struct segment_place *place, struct segment *segment, uint32_t index_interval,
                    const struct log_batch *batches, size_t count)
{
    size_t size = 0;
    assert(count > 0);
    assert(count <= SEGMENT_APPEND_COUNT_MAX);
    for (size_t i = 0; i < count; i++) {
        assert(batches[i].bytes.size >= RECORD_BATCH_HEADER_SIZE);
        assert(batches[i].last_offset_delta >= 0);
        size += batches[i].bytes.size;
    }
    size_t room = segment->buffer != NULL ? segment->buffer->capacity - segment->buffer->size : SEGMENT_BUFFER_SIZE;
    if (size <= SEGMENT_BUFFER_TAKES && size <= room) {
        segment_append_to_buffer(place, segment, batches, count, size);
    } else {
        segment_append_to_file(place, segment, batches, count);
    }
    for (size_t i = 0; i < count; i++) {
        index_note(place, segment, index_interval, &batches[i]);
        assert(batches[i].bytes.size <= SEGMENT_SIZE_MAX - segment->size);
        segment->size += (uint32_t)batches[i].bytes.size;
    }
}
