/* Happy path: blocks of whole batches one after the other, each checked by segment_read(), then the leader epochs. */
#include "replication/segment_check.h"

#include "base/assert.h"
#include "base/limits.h"
#include "proto/record_batch.h"
#include "replication/segment_view.h"

#define BLOCK_SIZE MIB(1)

static enum err check_epochs(const struct segment_check *check, const struct segment_view *view, struct bytes block,
                             uint64_t *good, struct errmsg *msg)
{
    *good = 0;
    while (*good < block.size) {
        struct record_batch batch;
        struct bytes rest = {block.data + *good, block.size - *good};
        enum err err = record_batch_view(rest, &batch);
        assert(err == OK); /* segment_read() looked at it */
        int32_t epoch = epochs_at(check->epochs, batch.base_offset);
        if (epoch != -1 && batch.leader_epoch != epoch) {
            return segment_damaged(view, check->position + *good, msg, "the leader epoch of the batch is wrong");
        }
        *good += batch.bytes.size;
    }
    return OK;
}

enum err segment_check(struct segment_check *check, struct errmsg *msg)
{
    struct log_file file = {.file = check->file};
    struct segment_view view = {
        .disk = check->disk,
        .dir = check->dir,
        .base_offset = check->base_offset,
        .version = check->version,
        .end_offset = check->end_offset,
        .size = (uint32_t)check->size,
        .files = {&file},
    };
    uint64_t start = check->position;
    assert(check->size <= SEGMENT_SIZE_MAX);
    while (check->position < check->size && (check->size_max == 0 || check->position - start < check->size_max)) {
        struct segment_read read = {
            .offset = check->next_offset,
            .size_max = check->size_max > 0 && check->size_max < BLOCK_SIZE ? check->size_max : BLOCK_SIZE,
            .is_first_whole = true,
            .is_exact = true,
            .position = (uint32_t)check->position,
        };
        uint64_t good = 0;
        enum err err = segment_read(&view, &read, msg);
        if (err == OK && check->epochs != NULL) {
            err = check_epochs(check, &view, read.slice.bytes, &good, msg);
        }
        slice_release(&read.slice);
        if (err != OK) {
            return err;
        }
        check->position = read.position;
        check->next_offset = read.next_offset;
    }
    return OK;
}
