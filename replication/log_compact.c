/* What a compaction asks of the log: that its inputs stay as they are, that its outputs take their place, and whether
 * it is worth while.
 *
 * The exchange is one step on the shard's thread: views and jobs that read the old files have them open, and a place in
 * them that is remembered is forgotten. Old files stay until a checkpoint that names the new ones is durable: a start
 * before that has the old ones and the order, and carries it out once more. */
#include "base/assert.h"
#include "base/mem.h"
#include "base/trace.h"
#include "replication/log_internal.h"
#include <string.h>

void log_hold(struct log *log, int64_t start, int64_t end)
{
    assert(end == 0 || (start >= 0 && start < end));
    log->hold_start = start;
    log->hold_end = end;
    log_drop_segments(log);
}

/* Puts them where the inputs were. */
static void exchange(struct log *log, size_t input_count, const struct log_segment_state *segments, size_t count)
{
    size_t rest = log->segment_count - input_count;
    if (count + rest > log->segment_capacity) {
        log->segment_capacity = count + rest;
        log->segments = mem_resize(log->segments, log->segment_capacity * sizeof(struct segment *));
    }
    memmove(log->segments + count, log->segments + input_count, rest * sizeof(struct segment *));
    for (size_t i = 0; i < count; i++) {
        log->segments[i] = segment_restore(&segments[i]);
        log->segments[i]->is_index_poor = true;
        log->size += segments[i].size;
    }
    log->segment_count = count + rest;
}

void log_replace(struct log *log, size_t input_count, const struct log_segment_state *segments, size_t count)
{
    assert(!log->is_closed);
    assert(count > 0 && input_count > 0 && input_count <= log->segment_count);
    assert(segments[0].base_offset >= log->segments[0]->base_offset);
    assert(segments[0].base_offset <= log->start_offset);
    for (size_t i = 0; i < input_count; i++) {
        struct segment_id id = segment_id(log->segments[i]);
        log_trimmed_add(log, &id, 1);
        log->size -= log->segments[i]->size;
        segment_close(&log->place, log->segments[i]);
    }
    exchange(log, input_count, segments, count);
    log->is_dir_dirty = true;
    log_hint_forget(log);
    trace(DEBUG, LOG, "compacted", KV("dir", log->place.dir), KV("segments", input_count), KV("into", count));
}

static bool is_cleanable(const struct log *log, size_t number, int64_t now_ms, int64_t roll_ms, int64_t min_lag_ms)
{
    const struct segment *segment = log->segments[number];
    bool is_last = number + 1 == log->segment_count;
    int64_t age_ms = now_ms > segment->first_append_ms ? now_ms - segment->first_append_ms : 0;
    if (is_last && segment->version == 0 && age_ms < roll_ms) {
        return false;
    }
    return min_lag_ms == 0 || (segment->max_timestamp < now_ms && now_ms - segment->max_timestamp >= min_lag_ms);
}

void log_dirt(const struct log *log, int64_t now_ms, int64_t first_dirty, int64_t roll_ms, int64_t min_lag_ms,
              struct log_dirt *dirt)
{
    *dirt = (struct log_dirt){.end_offset = first_dirty, .oldest_ms = INT64_MAX};
    for (size_t i = 0; i < log->segment_count; i++) {
        const struct segment *segment = log->segments[i];
        int64_t end = log_segment_end(log, i);
        if (end <= first_dirty) {
            dirt->clean_size += segment->size;
        } else if (!is_cleanable(log, i, now_ms, roll_ms, min_lag_ms)) {
            return;
        } else {
            dirt->oldest_ms = segment->first_append_ms < dirt->oldest_ms ? segment->first_append_ms : dirt->oldest_ms;
            dirt->dirty_size += segment->size;
            dirt->end_offset = end;
        }
    }
}
