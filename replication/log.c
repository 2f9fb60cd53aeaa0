/* Happy path of an append: batches are gathered until the segment is full, one write per gathered group; a full
 * segment is finished and a new one created. Nothing is synced: until a capture is, the write-ahead log has the same
 * records.
 * Trim: segments wholly below the new start leave the list at once; their files stay until a checkpoint without them
 *       is durable.
 * Close: reads in flight are answered, their jobs run to the end with what they pinned; the last of them frees the
 *        log. */
#include "replication/log.h"

#include "base/assert.h"
#include "base/crc32c.h"
#include "base/mem.h"
#include "base/trace.h"
#include "replication/log_internal.h"
#include <string.h>

static_assert(sizeof(struct log) + sizeof(struct segment) + 2 * sizeof(struct segment *) < 700,
              "an idle log with one segment and its path costs less than 1 KiB");

/* ---- Segments ---- */

int64_t log_segment_end(const struct log *log, size_t index)
{
    assert(index < log->segment_count);
    return index + 1 < log->segment_count ? log->segments[index + 1]->base_offset : log->end_offset;
}

size_t log_segment_find(const struct log *log, int64_t offset)
{
    assert(log->segment_count > 0);
    assert(offset >= log->segments[0]->base_offset);
    size_t low = 0;
    size_t high = log->segment_count;
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (log->segments[middle]->base_offset <= offset) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return low;
}

void log_segments_push(struct log *log, struct segment *segment)
{
    if (log->segment_count == log->segment_capacity) {
        log->segment_capacity = log->segment_capacity == 0 ? 1 : 2 * log->segment_capacity;
        log->segments = mem_resize(log->segments, log->segment_capacity * sizeof(struct segment *));
    }
    log->segments[log->segment_count++] = segment;
}

struct segment *log_segment_at(const struct log *log, int64_t base_offset)
{
    if (log->segment_count == 0 || base_offset < log->segments[0]->base_offset) {
        return NULL;
    }
    struct segment *segment = log->segments[log_segment_find(log, base_offset)];
    return segment->base_offset == base_offset ? segment : NULL;
}

static struct segment *segment_last(const struct log *log)
{
    return log->segment_count == 0 ? NULL : log->segments[log->segment_count - 1];
}

/* ---- Life ---- */

void log_acquire(struct log *log)
{
    log->references++;
}

void log_release(struct log *log)
{
    assert(log->references > 0);
    log->references--;
    if (log->references > 0) {
        return;
    }
    assert(log->is_closed);
    assert(list_is_empty(&log->jobs));
    mem_free(log->place.dir);
    mem_free(log);
}

void log_set_config(struct log *log, const struct log_config *config)
{
    log->config = *config;
}

void log_set_epochs(struct log *log, int32_t (*epoch_at)(void *owner, int64_t offset), void *owner)
{
    log->epoch_at = epoch_at;
    log->epoch_owner = owner;
}

int64_t log_start_offset(const struct log *log)
{
    return log->start_offset;
}

int64_t log_end_offset(const struct log *log)
{
    return log->end_offset;
}

uint64_t log_size(const struct log *log)
{
    return log->size;
}

const char *log_dir(const struct log *log)
{
    return log->place.dir;
}

void log_damaged(struct log *log, const struct errmsg *msg)
{
    metrics_add(log->place.env->metrics, METRIC_READ_DAMAGED, 1);
    uint32_t told = crc32c(0, bytes_from_text(msg->text));
    if (told != log->damage_told) {
        log->damage_told = told; /* clients try again and again */
        trace(ERROR, LOG, "damaged", KV("cause", msg->text));
    }
}

void log_hint_forget(struct log *log)
{
    for (unsigned i = 0; i < LOG_HINT_COUNT; i++) {
        log->hints[i].segment = -1;
    }
}

/* ---- Appending ---- */

static struct segment *log_roll(struct log *log, int64_t append_ms)
{
    struct segment *last = segment_last(log);
    if (last != NULL) {
        assert(last->size > 0);
        (void)segment_flush(&log->place, last);
        segment_finish(&log->place, last);
    }
    struct segment *segment;
    struct errmsg msg;
    enum err err = segment_create(&log->place, log->end_offset, append_ms, &segment, &msg);
    if (err != OK) {
        process_stop("new segment: %s", msg.text);
    }
    log->is_dir_dirty = true;
    log_segments_push(log, segment);
    trace(DEBUG, LOG, "segment created", KV("dir", log->place.dir), KV("base_offset", segment->base_offset));
    return segment;
}

/* How many of the batches one write to the segment takes. */
static size_t gather_count(const struct log *log, const struct segment *segment, int64_t append_ms,
                           const struct log_batch *batches, size_t count, size_t *size)
{
    size_t taken = 0;
    *size = 0;
    int64_t next_offset = log->end_offset;
    while (taken < count && taken < SEGMENT_APPEND_COUNT_MAX) {
        const struct log_batch *batch = &batches[taken];
        assert(batch->base_offset == next_offset);
        if (!segment_takes(segment, *size, &log->config, append_ms, batch)) {
            break;
        }
        next_offset += (int64_t)batch->last_offset_delta + 1;
        *size += batch->bytes.size;
        taken++;
    }
    return taken;
}

void log_append(struct log *log, int64_t append_ms, const struct log_batch *batches, size_t count)
{
    assert(!log->is_closed);
    while (count > 0) {
        struct segment *segment = segment_last(log);
        size_t size = 0;
        bool is_open = segment != NULL && segment->version == 0 && segment->base_offset >= log->hold_end;
        size_t taken = !is_open ? 0 : gather_count(log, segment, append_ms, batches, count, &size);
        if (taken == 0) {
            segment = log_roll(log, append_ms);
            taken = gather_count(log, segment, append_ms, batches, count, &size);
        }
        assert(taken > 0);
        segment_append(&log->place, segment, log->config.index_interval, batches, taken);
        const struct log_batch *last = &batches[taken - 1];
        log->end_offset = last->base_offset + last->last_offset_delta + 1;
        log->size += size;
        metrics_add(log->place.env->metrics, METRIC_SEGMENT_BYTES, (int64_t)size);
        batches += taken;
        count -= taken;
    }
}

bool log_is_held(const struct log *log)
{
    return log_files_are_held(log->place.files);
}

bool log_flush(struct log *log)
{
    for (size_t i = log->segment_count; i > 0; i--) {
        struct segment *segment = log->segments[i - 1];
        if (segment->buffer != NULL && !segment_flush(&log->place, segment)) {
            return false;
        }
    }
    return true;
}

/* ---- Trimming ---- */

void log_trim(struct log *log, int64_t offset)
{
    assert(offset <= log->end_offset);
    if (offset <= log->start_offset) {
        return;
    }
    log->start_offset = offset;
    log_drop_segments(log);
}

void log_drop_segments(struct log *log)
{
    size_t count = 0;
    bool is_held = log->hold_end > 0 && log->hold_start < log->start_offset;
    int64_t start_offset = is_held ? log->hold_start : log->start_offset;
    while (count < log->segment_count && log->segments[count]->size > 0 &&
           log_segment_end(log, count) <= start_offset) {
        struct segment *segment = log->segments[count];
        struct segment_id id = segment_id(segment);
        log_trimmed_add(log, &id, 1);
        log->size -= segment->size;
        segment_close(&log->place, segment);
        count++;
    }
    if (count == 0) {
        return;
    }
    metrics_add(log->place.env->metrics, METRIC_SEGMENTS_DROPPED, (int64_t)count);
    log->segment_count -= count;
    memmove(log->segments, log->segments + count, log->segment_count * sizeof(struct segment *));
    trace(DEBUG, LOG, "trimmed", KV("dir", log->place.dir), KV("start_offset", log->start_offset),
          KV("segments", count));
}

int64_t log_retention_offset(const struct log *log, int64_t now_ms, int64_t retention_ms, int64_t retention_bytes)
{
    int64_t offset = log->start_offset;
    uint64_t left = log->size; /* bytes of this segment and those behind it */
    bool is_old = retention_ms >= 0;
    bool is_large = retention_bytes >= 0;
    for (size_t i = 0; i < log->segment_count && (is_old || is_large); i++) {
        const struct segment *segment = log->segments[i];
        int64_t newest_ms = segment->max_timestamp >= 0 ? segment->max_timestamp : segment->first_append_ms;
        is_old = is_old && newest_ms < now_ms && (uint64_t)now_ms - (uint64_t)newest_ms > (uint64_t)retention_ms;
        left -= segment->size;
        /* The last segment is not too much by size: retention.bytes would delete what has just been written. */
        is_large = is_large && left >= (uint64_t)retention_bytes && i + 1 < log->segment_count;
        if (is_old || is_large) {
            offset = log_segment_end(log, i);
        }
    }
    return offset > log->start_offset ? offset : log->start_offset;
}
