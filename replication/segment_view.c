/* Happy path of segment_read(): the place is known exactly (the reader comes in sequence), one read fills a block
 * that is as large as asked for or as there is, whole batches at its front are checked and returned as a slice of it.
 * Otherwise the offset index gives a place at or before the batch, a walk over headers finds the batch.
 * Failure modes: an index that leads astray is ignored, the walk starts at the segment's begin; a damaged batch ends
 *                the slice
 * before it, or is the answer when it is the first. */
#include "replication/segment_view.h"

#include "base/assert.h"
#include "base/limits.h"
#include "base/mem.h"
#include "proto/record_batch.h"
#include <inttypes.h>
#include <string.h>

enum {
    READ_SIZE_MIN = 4096,        /* small enough to cost nothing, large enough for most first batches */
    NOWAIT_WALK_COUNT_MAX = 256, /* headers looked at on the shard's thread before the walk moves to a job */
    SHRINK_SIZE_MIN = 65536,     /* blocks are cut when more than half of more than this is not served */
    MAGIC = 2,
};

/* ---- Views ---- */

static enum err view_open(struct segment_view *view, struct segment_place *place, struct segment *segment,
                          enum segment_kind kind, struct errmsg *msg)
{
    char path[SEGMENT_PATH_SIZE];
    segment_path(place->dir, segment_id(segment), kind, path);
    struct log_file **slot = &segment->files[kind];
    enum err err = log_files_acquire(place->files, slot, path, 0, msg);
    if (err == OK) {
        view->files[kind] = *slot;
    }
    return err;
}

enum err segment_view_init(struct segment_view *view, struct segment_place *place, struct segment *segment,
                           int64_t end_offset, bool is_indexed, struct errmsg *msg)
{
    /* The files are read. What is held in memory because the disk is full is not there yet. */
    bool is_whole = segment_flush(place, segment);
    if (!is_whole && segment_written_size(segment) == 0) {
        return fail(msg, ERR_BUSY, "the disk is full, offset %" PRId64 " is not in a file yet", segment->base_offset);
    }
    if (is_indexed) {
        segment_flush_indexes(place, segment);
    }
    *view = (struct segment_view){
        .disk = place->env->disk,
        .dir = place->dir,
        .base_offset = segment->base_offset,
        .version = segment->version,
        .end_offset = is_whole ? end_offset : segment->buffer->base_offset,
        .size = segment_written_size(segment),
        .index_count = segment->index_count,
        .time_index_count = segment->time_index_count,
        .time_index_crc = segment->time_index_crc,
    };
    enum err err = view_open(view, place, segment, SEGMENT_LOG, msg);
    if (err != OK) {
        return err == ERR_NOT_FOUND ? segment_damaged(view, 0, msg, "the file is missing") : err;
    }
    /* An index that cannot be opened is an index that has nothing to say. */
    struct errmsg ignored;
    if (is_indexed && view->index_count > 0 && view_open(view, place, segment, SEGMENT_INDEX, &ignored) != OK) {
        view->index_count = 0;
    }
    if (is_indexed && view->time_index_count > 0 &&
        view_open(view, place, segment, SEGMENT_TIME_INDEX, &ignored) != OK) {
        view->time_index_count = 0;
    }
    return OK;
}

void segment_view_deinit(struct segment_view *view, struct log_files *files)
{
    for (unsigned i = 0; i < SEGMENT_KIND_COUNT; i++) {
        if (view->files[i] != NULL) {
            log_files_release(files, view->files[i]);
            view->files[i] = NULL;
        }
    }
}

enum err segment_damaged(const struct segment_view *view, uint64_t position, struct errmsg *msg, const char *what)
{
    char path[SEGMENT_PATH_SIZE];
    segment_path(view->dir, (struct segment_id){view->base_offset, view->version}, SEGMENT_LOG, path);
    return fail(msg, ERR_DAMAGED, "file %s position %" PRIu64 ": %s", path, position, what);
}

/* Reads [position, position + size) of the .log file, which must be there: fewer bytes are damage, or, without
 * waiting, what is cached. */
static enum err view_pread(const struct segment_view *view, uint32_t position, void *data, size_t size, size_t *got,
                           struct errmsg *msg)
{
    assert(size <= view->size - position);
    int file = view->files[SEGMENT_LOG]->file;
    struct disk *disk = view->disk;
    enum err err = view->is_nowait ? disk->pread_nowait(disk, file, position, data, size, got)
                                   : disk->pread(disk, file, position, data, size, got);
    if (err == ERR_WOULD_BLOCK) {
        return err;
    }
    if (err != OK) {
        return segment_damaged(view, position, msg, "the file cannot be read");
    }
    if (*got == size || view->is_nowait) {
        return OK;
    }
    return segment_damaged(view, position + *got, msg, "the file ends too early");
}

/* ---- Walking over headers ---- */

void segment_walk_init(struct segment_walk *walk, const struct segment_view *view, uint32_t position,
                       int64_t next_offset)
{
    walk->view = view;
    walk->position = position;
    walk->next_offset = next_offset;
    walk->left = NOWAIT_WALK_COUNT_MAX;
    walk->window_position = 0;
    walk->window_size = 0;
}

static void head_decode(const uint8_t *data, struct batch_head *head, uint32_t *length, int8_t *magic)
{
    struct reader reader;
    reader_init(&reader, (struct bytes){data, RECORD_BATCH_HEADER_SIZE});
    head->base_offset = read_i64(&reader);
    *length = read_u32(&reader);
    read_skip(&reader, 4); /* leader epoch */
    *magic = read_i8(&reader);
    read_skip(&reader, 4); /* CRC */
    head->attributes = read_i16(&reader);
    head->last_offset_delta = read_i32(&reader);
    head->base_timestamp = read_i64(&reader);
    head->max_timestamp = read_i64(&reader);
    read_skip(&reader, 14); /* producer id, epoch, sequence */
    head->count = read_i32(&reader);
    assert(reader.err == OK);
    assert(reader.left == 0);
}

/* The header's bytes, from the window or after filling it. */
static enum err walk_fill(struct segment_walk *walk, const uint8_t **data, struct errmsg *msg)
{
    uint32_t left = walk->view->size - walk->position;
    bool is_inside = walk->position >= walk->window_position &&
                     walk->position - walk->window_position < walk->window_size &&
                     walk->window_size - (walk->position - walk->window_position) >= RECORD_BATCH_HEADER_SIZE;
    if (!is_inside) {
        size_t size = left < sizeof(walk->window) ? left : sizeof(walk->window);
        size_t got = 0;
        walk->window_size = 0;
        enum err err = view_pread(walk->view, walk->position, walk->window, size, &got, msg);
        if (err != OK) {
            return err;
        }
        if (got < RECORD_BATCH_HEADER_SIZE) {
            assert(walk->view->is_nowait);
            return ERR_WOULD_BLOCK;
        }
        walk->window_position = walk->position;
        walk->window_size = (uint32_t)got;
    }
    *data = walk->window + (walk->position - walk->window_position);
    return OK;
}

enum err segment_walk_head(struct segment_walk *walk, struct batch_head *head, struct errmsg *msg)
{
    const struct segment_view *view = walk->view;
    assert(walk->position <= view->size);
    uint32_t left = view->size - walk->position;
    if (left == 0) {
        return ERR_NOT_FOUND;
    }
    if (left < RECORD_BATCH_HEADER_SIZE) {
        return segment_damaged(view, walk->position, msg, "the segment ends inside a batch header");
    }
    if (view->is_nowait && walk->left-- == 0) {
        walk->left = 0;
        return ERR_WOULD_BLOCK;
    }
    const uint8_t *data;
    enum err err = walk_fill(walk, &data, msg);
    if (err != OK) {
        return err;
    }

    uint32_t length;
    int8_t magic;
    head_decode(data, head, &length, &magic);
    if (length < RECORD_BATCH_HEADER_SIZE - RECORD_BATCH_OVERHEAD || length > left - RECORD_BATCH_OVERHEAD) {
        return segment_damaged(view, walk->position, msg, "the length of the batch is wrong");
    }
    head->size = length + RECORD_BATCH_OVERHEAD;
    if (magic != MAGIC) {
        return segment_damaged(view, walk->position, msg, "the magic of the batch is not 2");
    }
    bool is_placed = head->last_offset_delta >= 0 && head->base_offset >= view->base_offset &&
                     head->base_offset < view->end_offset &&
                     head->last_offset_delta < view->end_offset - head->base_offset &&
                     (walk->next_offset < 0 || head->base_offset == walk->next_offset);
    if (!is_placed) {
        return segment_damaged(view, walk->position, msg, "the offsets of the batch do not belong here");
    }
    return OK;
}

void segment_walk_step(struct segment_walk *walk, const struct batch_head *head)
{
    assert(head->size <= walk->view->size - walk->position);
    walk->position += head->size;
    walk->next_offset = batch_head_end(head);
}

/* ---- Finding an offset ---- */

/* Walks on until the batch that holds `offset`. */
static enum err walk_to(struct segment_walk *walk, int64_t offset, struct batch_head *head, struct errmsg *msg)
{
    for (;;) {
        enum err err = segment_walk_head(walk, head, msg);
        if (err == ERR_NOT_FOUND) {
            return segment_damaged(walk->view, walk->position, msg, "the segment ends before its last offset");
        }
        if (err != OK || offset < batch_head_end(head)) {
            return err;
        }
        segment_walk_step(walk, head);
    }
}

/* Starts a walk at the last index entry at or before `offset`, if there is one that tells the truth: the batch at its
 * position must look like one and end at its offset. ERR_NOT_FOUND: there is no entry; ERR_CORRUPT and others: it is
 * wrong. */
static enum err walk_from_index(const struct segment_view *view, int64_t offset, struct segment_walk *walk,
                                struct batch_head *head)
{
    if (view->files[SEGMENT_INDEX] == NULL) {
        return ERR_NOT_FOUND;
    }
    struct index_file index = {
        .disk = view->disk,
        .file = view->files[SEGMENT_INDEX]->file,
        .count = view->index_count,
        .is_nowait = view->is_nowait,
    };
    struct index_entry entry;
    enum err err = index_find(&index, (int32_t)(offset - view->base_offset), &entry);
    if (err != OK) {
        return err;
    }
    if (entry.offset < 0 || entry.position >= view->size) {
        return ERR_CORRUPT;
    }
    segment_walk_init(walk, view, entry.position, -1);
    err = segment_walk_head(walk, head, NULL);
    if (err != OK) {
        return err;
    }
    bool is_true = batch_head_end(head) - 1 - view->base_offset == entry.offset && head->base_offset <= offset;
    return is_true ? OK : ERR_CORRUPT;
}

enum err segment_find(struct segment_view *view, int64_t offset, struct segment_walk *walk, struct batch_head *head,
                      struct errmsg *msg)
{
    assert(offset >= view->base_offset);
    assert(offset < view->end_offset);
    enum err err = walk_from_index(view, offset, walk, head);
    if (err == OK) {
        walk->next_offset = head->base_offset;
        err = walk_to(walk, offset, head, msg);
        if (err == OK) {
            return OK;
        }
    }
    if (err == ERR_WOULD_BLOCK) {
        return err;
    }
    view->is_index_wrong = err != ERR_NOT_FOUND;
    segment_walk_init(walk, view, 0, view->base_offset);
    return walk_to(walk, offset, head, msg);
}

/* ---- Reading ---- */

/* Why a batch may not be served, or NULL. Its size was checked. */
static const char *batch_fault(const struct segment_view *view, struct bytes bytes, int64_t base_offset, bool is_last,
                               struct record_batch *batch)
{
    if (record_batch_view(bytes, batch) != OK) {
        return "the header of the batch is wrong";
    }
    if (!record_batch_crc_ok(batch)) {
        return "the CRC of the batch is wrong";
    }
    if (batch->base_offset != base_offset || batch->last_offset_delta >= view->end_offset - base_offset) {
        return "the offsets of the batch do not belong here";
    }
    if (is_last && batch->last_offset_delta != view->end_offset - base_offset - 1) {
        return "the segment ends before its last offset";
    }
    return NULL;
}

/* Makes the first batch whole in the block, which holds `*got` bytes of it. *size is 0 when it does not fit in
 * size_max. */
static enum err first_complete(const struct segment_view *view, const struct segment_read *read, struct shared **block,
                               size_t *got, size_t *size, struct errmsg *msg)
{
    uint32_t left = view->size - read->position;
    enum err err = record_batch_size((struct bytes){(*block)->data, *got}, size);
    if (err == ERR_SHORT && view->is_nowait) {
        return ERR_WOULD_BLOCK;
    }
    if (err != OK || *size > left) {
        return segment_damaged(view, read->position, msg, "the length of the batch is wrong");
    }
    if (*size > read->size_max && !read->is_first_whole) {
        *size = 0;
        return OK;
    }
    if (*size <= *got) {
        return OK;
    }
    if ((*block)->size < *size) {
        *block = shared_resize(*block, *size);
    }
    size_t more = 0;
    uint32_t position = read->position + (uint32_t)*got;
    err = view_pread(view, position, (*block)->data + *got, *size - *got, &more, msg);
    if (err != OK) {
        return err;
    }
    *got += more;
    return *got < *size ? ERR_WOULD_BLOCK : OK;
}

/* How many bytes of whole, good batches lie at the front of the block: the first of `size` bytes, then as many as
 * fit. */
static enum err front_check(const struct segment_view *view, struct segment_read *read, struct bytes block, size_t size,
                            size_t *total, struct errmsg *msg)
{
    *total = 0;
    uint32_t left = view->size - read->position;
    while (size > 0 && size <= block.size - *total) {
        struct bytes bytes = {block.data + *total, size};
        struct record_batch batch;
        const char *fault = batch_fault(view, bytes, read->next_offset, size == left - *total, &batch);
        if (fault != NULL && *total == 0) {
            return segment_damaged(view, read->position, msg, fault);
        }
        if (fault != NULL) {
            return OK; /* what is before it is good; the next read finds it first */
        }
        read->next_offset += (int64_t)batch.last_offset_delta + 1;
        *total += size;
        struct bytes rest = {block.data + *total, block.size - *total};
        if (record_batch_size(rest, &size) != OK || *total >= read->size_max || size > read->size_max - *total) {
            return OK;
        }
    }
    return OK;
}

static enum err block_read(const struct segment_view *view, struct segment_read *read, struct errmsg *msg)
{
    uint32_t left = view->size - read->position;
    if (left < RECORD_BATCH_HEADER_SIZE) {
        return segment_damaged(view, read->position, msg, "the segment ends before its last offset");
    }
    size_t wanted = read->size_max > READ_SIZE_MIN ? read->size_max : READ_SIZE_MIN;
    wanted = wanted < left ? wanted : left;
    struct shared *block = shared_new(wanted);
    size_t got = 0;
    size_t size = 0;
    size_t total = 0;
    enum err err = view_pread(view, read->position, block->data, wanted, &got, msg);
    if (err == OK) {
        err = first_complete(view, read, &block, &got, &size, msg);
    }
    if (err == OK) {
        err = front_check(view, read, (struct bytes){block->data, got}, size, &total, msg);
    }
    if (err != OK || total == 0) {
        shared_release(block);
        return err;
    }
    if (block->size >= SHRINK_SIZE_MIN && total < block->size / 2) {
        block = shared_resize(block, total);
    }
    read->slice = (struct slice){.block = block, .bytes = {block->data, total}};
    read->position += (uint32_t)total;
    return OK;
}

enum err segment_read(struct segment_view *view, struct segment_read *read, struct errmsg *msg)
{
    read->slice = (struct slice){0};
    read->next_offset = read->offset;
    if (!read->is_exact) {
        struct segment_walk walk;
        struct batch_head head;
        enum err err = segment_find(view, read->offset, &walk, &head, msg);
        if (err != OK) {
            return err;
        }
        read->position = walk.position;
        read->next_offset = head.base_offset;
    }
    assert(read->position < view->size);
    enum err err = block_read(view, read, msg);
    if (err == OK && read->slice.block == NULL) {
        read->next_offset = read->offset;
    }
    return err;
}
