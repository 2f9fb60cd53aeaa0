/* Happy path: MAP reads what is dirty and notes the last offset of each key; WRITE reads everything and writes what
 *             stays; REST copies what lies behind the end in the last segment read; SYNC makes files and names durable.
 *
 *   start          first dirty           end            order's end
 *     |--- each key once ---|--- dirty -----|- too many keys -|
 *     [==== segments of the new version ====][ rest, as it was ]
 *
 * Files are written under names that nothing else has (their version), so nothing that is in use is touched, and a
 * start removes what no checkpoint names.
 * Failure:    an error ends it; the caller discards and may begin again. */
#include "replication/compaction.h"

#include "base/assert.h"
#include "base/limits.h"
#include "base/mem.h"
#include "replication/compact_batch.h"
#include "replication/segment_view.h"
#include <inttypes.h>
#include <string.h>

#define BLOCK_SIZE MIB(1)
#define SYNC_SIZE MIB(16) /* unsynced bytes of a file at most: a sync at its end would hold up the log's */

enum compaction_phase {
    COMPACTION_MAP,
    COMPACTION_WRITE,
    COMPACTION_REST,
    COMPACTION_SYNC,
    COMPACTION_DONE
};

struct input { /* Reading the log's segments one after the other. */
    size_t number;
    uint32_t position;
    int64_t next_offset;
    bool is_exact; /* a batch starts at `position` */
    struct log_file file;
    bool is_open;
};

struct output { /* The segment being written: the last one of the result. */
    struct log_file file;
    bool is_open;
    uint64_t planned_size; /* the same on all replicas: packed records may come out in other sizes */
    uint64_t synced_size;
    struct dynbuf buf; /* not written yet */
};

struct gap { /* Batches that are gone, not written yet. */
    int64_t base_offset, end_offset;
    int32_t leader_epoch;
};

struct compaction {
    struct disk *disk;
    struct log *log;
    char *dir;
    struct compaction_order order;
    int64_t first_dirty;
    struct log_state state; /* a copy */
    const char *reserve_path;
    uint64_t reserve;
    enum compaction_phase phase;
    struct key_map map;
    struct input input;
    struct output output;
    struct gap gap;
    struct dynbuf written, scratch;
    struct compaction_result result;
    size_t result_capacity;
};

/* ---- Orders ---- */

bool compaction_order_is_sane(const struct compaction_order *order)
{
    return order->delete_retention_ms >= 0 && order->segment_size > 0 && order->key_count_max > 0 &&
           order->key_count_max <= COMPACTION_KEY_COUNT_MAX;
}

void compaction_order_write(struct writer *writer, const struct compaction_order *order)
{
    write_u64(writer, order->index);
    write_i64(writer, order->start_offset);
    write_i64(writer, order->end_offset);
    write_i64(writer, order->now_ms);
    write_i64(writer, order->delete_retention_ms);
    write_i64(writer, order->segment_size);
    write_u32(writer, order->key_count_max);
    write_bytes(writer, (struct bytes){order->seed, KEY_MAP_SEED_SIZE});
}

void compaction_order_read(struct reader *reader, struct compaction_order *order)
{
    *order = (struct compaction_order){.index = read_u64(reader)};
    order->start_offset = read_i64(reader);
    order->end_offset = read_i64(reader);
    order->now_ms = read_i64(reader);
    order->delete_retention_ms = read_i64(reader);
    order->segment_size = read_i64(reader);
    order->key_count_max = read_u32(reader);
    struct bytes seed = read_bytes(reader, KEY_MAP_SEED_SIZE);
    if (reader->err == OK) {
        memcpy(order->seed, seed.data, KEY_MAP_SEED_SIZE);
    }
}

/* ---- Reading ---- */

static int64_t input_end(const struct compaction *c, size_t number)
{
    return number + 1 < c->state.segment_count ? c->state.segments[number + 1].base_offset : c->state.end_offset;
}

static void input_close(struct compaction *c)
{
    if (c->input.is_open) {
        c->disk->close(c->disk, c->input.file.file);
        c->input.is_open = false;
    }
}

/* The next read begins with the batch that holds `offset`. */
static void input_seek(struct compaction *c, int64_t offset)
{
    input_close(c);
    c->input = (struct input){.next_offset = offset};
    while (c->input.number + 1 < c->state.segment_count && input_end(c, c->input.number) <= offset) {
        c->input.number++;
    }
    c->input.is_exact = c->state.segments[c->input.number].base_offset == offset;
}

static enum err input_open(struct compaction *c, struct errmsg *msg)
{
    const struct log_segment_state *segment = &c->state.segments[c->input.number];
    char path[SEGMENT_PATH_SIZE];
    if (c->input.is_open) {
        return OK;
    }
    segment_path(c->dir, (struct segment_id){segment->base_offset, segment->version}, SEGMENT_LOG, path);
    enum err err = c->disk->open(c->disk, path, DISK_READ_ONLY, &c->input.file.file, msg);
    c->input.is_open = err == OK;
    return err;
}

/* The next block of whole, checked batches; the caller gives it back. */
static enum err input_read(struct compaction *c, struct slice *slice, struct errmsg *msg)
{
    struct input *input = &c->input;
    if (input->is_exact && input->position == c->state.segments[input->number].size) {
        input_seek(c, input->next_offset);
    }
    const struct log_segment_state *segment = &c->state.segments[input->number];
    enum err err = input_open(c, msg);
    if (err != OK) {
        return err;
    }
    struct segment_view view = {
        .disk = c->disk,
        .dir = c->dir,
        .base_offset = segment->base_offset,
        .version = segment->version,
        .end_offset = input_end(c, input->number),
        .size = (uint32_t)segment->size,
        .files = {&input->file},
    };
    struct segment_read read = {
        .offset = input->next_offset,
        .size_max = BLOCK_SIZE,
        .is_first_whole = true,
        .is_exact = input->is_exact,
        .position = input->position,
    };
    err = segment_read(&view, &read, msg);
    if (err != OK) {
        return err;
    }
    *slice = read.slice;
    input->is_exact = true;
    input->position = read.position;
    input->next_offset = read.next_offset;
    c->result.bytes_read += slice->bytes.size;
    return OK;
}

/* ---- Writing ---- */

static struct log_segment_state *output_segment(struct compaction *c)
{
    return &c->result.segments[c->result.segment_count - 1];
}

static void segment_path_of(const struct compaction *c, const struct log_segment_state *segment,
                            char path[SEGMENT_PATH_SIZE])
{
    segment_path(c->dir, (struct segment_id){segment->base_offset, segment->version}, SEGMENT_LOG, path);
}

static enum err output_flush(struct compaction *c, struct errmsg *msg)
{
    struct log_segment_state *segment = output_segment(c);
    struct dynbuf *buf = &c->output.buf;
    struct iovec iov = {.iov_base = buf->data, .iov_len = buf->size};
    uint64_t position = segment->size - buf->size;
    char path[SEGMENT_PATH_SIZE];
    enum err err = buf->size > 0 ? c->disk->pwritev(c->disk, c->output.file.file, position, &iov, 1) : OK;
    if (err == OK && segment->size - c->output.synced_size >= SYNC_SIZE) {
        err = c->disk->sync(c->disk, c->output.file.file);
        c->output.synced_size = segment->size;
    }
    c->result.bytes_written += buf->size;
    dynbuf_reset(buf);
    segment_path_of(c, segment, path);
    return err == OK ? OK : fail(msg, err, "compaction: write %s: %s", path, err_text(err));
}

static enum err output_close(struct compaction *c, struct errmsg *msg)
{
    if (!c->output.is_open) {
        return OK;
    }
    enum err err = output_flush(c, msg);
    if (err == OK) {
        err = c->disk->sync(c->disk, c->output.file.file);
        err = err == OK ? OK : fail(msg, err, "compaction: sync in %s: %s", c->dir, err_text(err));
    }
    c->disk->close(c->disk, c->output.file.file);
    c->output.is_open = false;
    return err;
}

static enum err output_open(struct compaction *c, int64_t base_offset, uint64_t version, int64_t first_append_ms,
                            struct errmsg *msg)
{
    struct compaction_result *result = &c->result;
    if (result->segment_count == c->result_capacity) {
        c->result_capacity = 2 * c->result_capacity + 4;
        result->segments = mem_resize(result->segments, c->result_capacity * sizeof(*result->segments));
    }
    struct log_segment_state segment = {
        .base_offset = base_offset, .max_timestamp = -1, .first_append_ms = first_append_ms, .version = version};
    char path[SEGMENT_PATH_SIZE];
    segment_path_of(c, &segment, path);
    enum err err = c->disk->unlink(c->disk, path); /* of an attempt that was cut off */
    if (err != OK && err != ERR_NOT_FOUND) {
        return fail(msg, err, "compaction: %s: %s", path, err_text(err));
    }
    err = c->disk->open(c->disk, path, DISK_CREATE, &c->output.file.file, msg);
    if (err != OK) {
        return err;
    }
    result->segments[result->segment_count++] = segment;
    c->output.is_open = true;
    c->output.planned_size = 0;
    c->output.synced_size = 0;
    return OK;
}

static enum err output_put(struct compaction *c, struct bytes bytes, int64_t max_timestamp, struct errmsg *msg)
{
    struct log_segment_state *segment = output_segment(c);
    enum err err = dynbuf_put(&c->output.buf, bytes);
    assert(err == OK); /* it is emptied in time */
    segment->size += bytes.size;
    segment->max_timestamp = max_timestamp > segment->max_timestamp ? max_timestamp : segment->max_timestamp;
    return c->output.buf.size >= BLOCK_SIZE ? output_flush(c, msg) : OK;
}

/* Room for what covers [base_offset, end_offset): in the present segment, or a new one begins. */
static enum err output_room(struct compaction *c, int64_t base_offset, int64_t end_offset, size_t size,
                            uint64_t planned_size, struct errmsg *msg)
{
    const struct log_segment_state *segment = c->output.is_open ? output_segment(c) : NULL;
    uint64_t size_max = (uint64_t)c->order.segment_size;
    bool is_full = segment != NULL && segment->size > 0 &&
                   (c->output.planned_size + planned_size > size_max || segment->size + size > SEGMENT_SIZE_MAX ||
                    end_offset - segment->base_offset - 1 > INT32_MAX);
    enum err err = OK;
    if (is_full) {
        err = output_close(c, msg);
    }
    if (err == OK && !c->output.is_open) {
        err = output_open(c, base_offset, c->order.index, 0, msg);
    }
    c->output.planned_size += planned_size;
    return err;
}

static enum err gap_flush(struct compaction *c, struct errmsg *msg)
{
    uint8_t data[RECORD_BATCH_HEADER_SIZE];
    struct gap gap = c->gap;
    if (gap.end_offset == gap.base_offset) {
        return OK;
    }
    c->gap = (struct gap){0};
    compact_gap(data, gap.base_offset, gap.end_offset, gap.leader_epoch);
    enum err err = output_room(c, gap.base_offset, gap.end_offset, sizeof(data), sizeof(data), msg);
    return err == OK ? output_put(c, (struct bytes){data, sizeof(data)}, -1, msg) : err;
}

static enum err gap_add(struct compaction *c, const struct record_batch *batch, struct errmsg *msg)
{
    struct gap *gap = &c->gap;
    int64_t end_offset = batch->base_offset + batch->last_offset_delta + 1;
    bool is_more = gap->end_offset > gap->base_offset && gap->end_offset == batch->base_offset &&
                   gap->leader_epoch == batch->leader_epoch && end_offset - gap->base_offset - 1 <= INT32_MAX;
    enum err err = OK;
    if (!is_more) {
        err = gap_flush(c, msg);
        int64_t start = c->order.start_offset;
        int64_t base_offset = batch->base_offset > start ? batch->base_offset : start;
        *gap = (struct gap){base_offset, base_offset, batch->leader_epoch};
    }
    gap->end_offset = end_offset;
    return err;
}

/* ---- The phases ---- */

static bool is_before_end(const struct record_batch *batch, int64_t end_offset)
{
    return batch->base_offset < end_offset;
}

/* The batches of a slice up to `end_offset`; *is_end: that was reached. */
typedef enum err (*batch_fn)(struct compaction *c, const struct record_batch *batch, bool *is_end, struct errmsg *msg);

static enum err each_batch(struct compaction *c, struct bytes rest, int64_t end_offset, batch_fn fn, bool *is_end,
                           struct errmsg *msg)
{
    enum err err = OK;
    while (err == OK && rest.size > 0 && !*is_end) {
        struct record_batch batch;
        err = record_batch_view(rest, &batch);
        assert(err == OK); /* segment_read() looked at it */
        if (!is_before_end(&batch, end_offset)) {
            *is_end = true;
        } else if (batch.base_offset + batch.last_offset_delta >= end_offset) {
            err =
                fail(msg, ERR_DAMAGED, "compaction in %s: its end %" PRId64 " lies inside a batch", c->dir, end_offset);
        } else {
            err = fn(c, &batch, is_end, msg);
        }
        rest = (struct bytes){rest.data + batch.bytes.size, rest.size - batch.bytes.size};
    }
    return err;
}

static enum err map_batch(struct compaction *c, const struct record_batch *batch, bool *is_end, struct errmsg *msg)
{
    (void)msg;
    if (c->map.count > 0 && c->map.count + (size_t)batch->count > c->order.key_count_max) {
        c->result.end_offset = batch->base_offset;
        *is_end = true;
        return OK;
    }
    compact_note_keys(batch, &c->map);
    return OK;
}

static enum err write_batch(struct compaction *c, const struct record_batch *batch, bool *is_end, struct errmsg *msg)
{
    (void)is_end;
    struct compact_rules rules = {&c->map, c->order.start_offset, c->order.now_ms, c->order.delete_retention_ms};
    struct compact_counts counts = {0};
    enum compact_outcome outcome =
        batch->count > 0 ? compact_batch(batch, &rules, &c->written, &c->scratch, &counts) : COMPACT_NOTHING;
    c->result.records_kept += counts.kept;
    c->result.records_removed += counts.removed;
    if (outcome == COMPACT_NOTHING) {
        return gap_add(c, batch, msg);
    }
    struct bytes bytes = outcome == COMPACT_SAME ? batch->bytes : dynbuf_bytes(&c->written);
    struct record_batch stored;
    enum err err = record_batch_view(bytes, &stored);
    assert(err == OK);
    bool is_packed = (batch->attributes & BATCH_CODEC_MASK) != 0;
    uint64_t planned_size = is_packed ? batch->bytes.size : bytes.size;
    int64_t end_offset = batch->base_offset + batch->last_offset_delta + 1;
    err = gap_flush(c, msg);
    err = err == OK ? output_room(c, batch->base_offset, end_offset, bytes.size, planned_size, msg) : err;
    return err == OK ? output_put(c, bytes, stored.max_timestamp, msg) : err;
}

static enum err rest_batch(struct compaction *c, const struct record_batch *batch, bool *is_end, struct errmsg *msg)
{
    (void)is_end;
    return output_put(c, batch->bytes, batch->max_timestamp, msg);
}

/* One block of the present phase. */
static enum err phase_block(struct compaction *c, int64_t end_offset, batch_fn fn, bool *is_end, struct errmsg *msg)
{
    struct slice slice = {0};
    *is_end = c->input.next_offset >= end_offset;
    if (*is_end) {
        return OK;
    }
    enum err err = input_read(c, &slice, msg);
    err = err == OK ? each_batch(c, slice.bytes, end_offset, fn, is_end, msg) : err;
    slice_release(&slice);
    return err;
}

/* What is read has been written up to result.end_offset: the inputs end there, or the last of them goes on. */
static enum err begin_rest(struct compaction *c, struct errmsg *msg)
{
    enum err err = gap_flush(c, msg);
    err = err == OK ? output_close(c, msg) : err;
    size_t last = 0;
    while (last + 1 < c->state.segment_count && c->state.segments[last + 1].base_offset < c->result.end_offset) {
        last++;
    }
    c->result.input_count = last + 1;
    if (err != OK || input_end(c, last) == c->result.end_offset) {
        c->phase = COMPACTION_SYNC;
        return err;
    }
    input_seek(c, c->result.end_offset);
    c->phase = COMPACTION_REST;
    return output_open(c, c->result.end_offset, 0, c->state.segments[last].first_append_ms, msg);
}

static enum err finish(struct compaction *c, struct errmsg *msg)
{
    enum err err = output_close(c, msg);
    if (err == OK) {
        err = c->disk->sync_dir(c->disk, c->dir);
        err = err == OK ? OK : fail(msg, err, "compaction: sync directory %s: %s", c->dir, err_text(err));
    }
    c->phase = COMPACTION_DONE;
    input_close(c);
    key_map_deinit(&c->map);
    return err;
}

static enum err phase_step(struct compaction *c, struct errmsg *msg)
{
    bool is_end = false;
    enum err err = OK;
    switch (c->phase) {
    case COMPACTION_MAP:
        err = phase_block(c, c->order.end_offset, map_batch, &is_end, msg);
        if (err == OK && is_end) {
            c->phase = COMPACTION_WRITE;
            input_seek(c, c->order.start_offset);
        }
        return err;
    case COMPACTION_WRITE:
        err = phase_block(c, c->result.end_offset, write_batch, &is_end, msg);
        return err == OK && is_end ? begin_rest(c, msg) : err;
    case COMPACTION_REST:
        err = phase_block(c, input_end(c, c->result.input_count - 1), rest_batch, &is_end, msg);
        c->phase = is_end ? COMPACTION_SYNC : c->phase;
        return err;
    case COMPACTION_SYNC:
        return finish(c, msg);
    case COMPACTION_DONE:
        return OK;
    }
    return OK;
}

enum err compaction_step(struct compaction *c, size_t size, bool *is_done, struct errmsg *msg)
{
    uint64_t start = c->result.bytes_read;
    uint64_t free_size = 0;
    *is_done = false;
    enum err err = c->reserve > 0 ? c->disk->free_space(c->disk, c->reserve_path, &free_size) : OK;
    if (err == OK && c->reserve > 0 && free_size < c->reserve + size) {
        return fail(msg, ERR_NO_SPACE, "compaction in %s waits: %" PRIu64 " bytes are free", c->dir, free_size);
    }
    while (err == OK && c->phase != COMPACTION_DONE && c->result.bytes_read - start < size) {
        err = phase_step(c, msg);
    }
    *is_done = err == OK && c->phase == COMPACTION_DONE;
    return err;
}

/* ---- Life ---- */

struct compaction *compaction_open(struct env *env, struct log *log, const struct compaction_order *order,
                                   int64_t first_dirty, const struct log_state *state, const char *reserve_path,
                                   uint64_t reserve)
{
    assert(order->start_offset < order->end_offset && order->end_offset <= state->end_offset);
    assert(state->segment_count > 0 && order->start_offset >= state->segments[0].base_offset);
    struct compaction *c = mem_alloc(sizeof(*c));
    c->disk = env->disk;
    c->log = log;
    c->dir = mem_strdup(log_dir(log));
    c->order = *order;
    c->first_dirty = first_dirty > order->start_offset ? first_dirty : order->start_offset;
    c->state = *state;
    c->state.segments = mem_alloc(state->segment_count * sizeof(*state->segments));
    memcpy(c->state.segments, state->segments, state->segment_count * sizeof(*state->segments));
    c->reserve_path = reserve_path;
    c->reserve = reserve;
    key_map_init(&c->map, order->seed);
    dynbuf_init(&c->output.buf, BLOCK_SIZE + MESSAGE_MAX_BYTES_LIMIT);
    dynbuf_init(&c->written, 2 * RECORDS_PLAIN_SIZE_MAX);
    dynbuf_init(&c->scratch, RECORDS_PLAIN_SIZE_MAX);
    c->result.end_offset = order->end_offset;
    input_seek(c, c->first_dirty < order->end_offset ? c->first_dirty : order->start_offset);
    c->phase = c->first_dirty < order->end_offset ? COMPACTION_MAP : COMPACTION_WRITE;
    return c;
}

struct log *compaction_log(const struct compaction *c)
{
    return c->log;
}

const struct compaction_order *compaction_order(const struct compaction *c)
{
    return &c->order;
}

void compaction_discard(struct compaction *c)
{
    input_close(c);
    if (c->output.is_open) {
        c->disk->close(c->disk, c->output.file.file);
        c->output.is_open = false;
    }
    for (size_t i = 0; i < c->result.segment_count; i++) {
        char path[SEGMENT_PATH_SIZE];
        segment_path_of(c, &c->result.segments[i], path);
        enum err err = c->disk->unlink(c->disk, path);
        (void)err; /* what stays behind is removed by the next start, and before the next attempt */
    }
    c->result.segment_count = 0;
}

const struct compaction_result *compaction_result(const struct compaction *c)
{
    assert(c->phase == COMPACTION_DONE);
    return &c->result;
}

void compaction_close(struct compaction *c)
{
    assert(!c->input.is_open && !c->output.is_open);
    key_map_deinit(&c->map);
    dynbuf_deinit(&c->output.buf);
    dynbuf_deinit(&c->written);
    dynbuf_deinit(&c->scratch);
    log_state_deinit(&c->state);
    mem_free(c->result.segments);
    mem_free(c->dir);
    mem_free(c);
}
