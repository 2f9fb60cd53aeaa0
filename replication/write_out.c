/* Happy path: note() puts a segment on a list and starts the job if something is due; the job writes its ranges and
 *             waits for them; done() lets go of the files and takes the next ranges.
 * Close:      the cache of files may be closed while the job runs: its pins keep it, and no other job follows. */
#include "replication/write_out.h"

#include "base/assert.h"
#include "base/limits.h"
#include "base/mem.h"
#include "replication/segment.h"

#include <string.h>

static void on_run(struct work *work);
static void on_done(struct work *work);

void write_out_init(struct write_out *write_out, struct env *env, struct log_files *files)
{
    write_out->env = env;
    write_out->files = files;
    write_out->work.run = on_run;
    write_out->work.done = on_done;
    list_init(&write_out->due);
    list_init(&write_out->waiting);
}

void write_out_forget(struct write_out *write_out, struct segment *segment)
{
    assert(write_out->lag >= segment->lag_size);
    write_out->lag -= segment->lag_size;
    segment->lag_size = 0;
    list_remove(&segment->lag_link);
}

/* The next range: of a segment that is due, or of the one that waits longest when all of them have too much. */
static bool take(struct write_out *write_out)
{
    struct list *from = !list_is_empty(&write_out->due)      ? &write_out->due
                        : write_out->lag > WRITE_OUT_LAG_MAX ? &write_out->waiting
                                                             : NULL;
    if (from == NULL) {
        return false;
    }
    struct segment *segment = container_of(from->next, struct segment, lag_link);
    struct log_file *file = segment->files[SEGMENT_LOG];
    assert(segment->is_dirty);
    log_files_pin(file);
    write_out->pinned[write_out->count] = file;
    write_out->ranges[write_out->count++] = (struct disk_range){
        .file = file->file,
        .position = segment->lag_position,
        .size = segment->lag_size,
    };
    write_out_forget(write_out, segment);
    return true;
}

static void start(struct write_out *write_out)
{
    size_t size = 0;
    if (write_out->is_running) {
        return;
    }
    while (write_out->count < WRITE_OUT_RANGE_COUNT && size < WRITE_OUT_PIECE_SIZE && take(write_out)) {
        size += write_out->ranges[write_out->count - 1].size;
    }
    if (write_out->count > 0) {
        write_out->is_running = true;
        write_out->env->workers->submit(write_out->env->workers, &write_out->work);
    }
}

void write_out_note(struct write_out *write_out, struct segment *segment, uint32_t position, size_t size)
{
    segment->lag_position = segment->lag_size == 0 ? position : segment->lag_position;
    write_out->lag += size;
    segment->lag_size += (uint32_t)size;
    if (segment->lag_size >= WRITE_OUT_PIECE_SIZE) {
        list_remove(&segment->lag_link);
        list_push(&write_out->due, &segment->lag_link);
    } else if (list_is_empty(&segment->lag_link)) {
        list_push(&write_out->waiting, &segment->lag_link);
    }
    start(write_out);
}

static void on_run(struct work *work)
{
    struct write_out *write_out = container_of(work, struct write_out, work);
    struct disk *disk = write_out->env->disk;
    write_out->err = disk->write_out(disk, write_out->ranges, write_out->count);
}

static void on_done(struct work *work)
{
    struct write_out *write_out = container_of(work, struct write_out, work);
    struct log_files *files = write_out->files;
    struct log_file *pinned[WRITE_OUT_RANGE_COUNT];
    unsigned count = write_out->count;
    if (write_out->err != OK) {
        process_stop("write out segments: %s", err_text(write_out->err));
    }
    memcpy(pinned, write_out->pinned, sizeof(pinned));
    write_out->count = 0;
    write_out->is_running = false;
    start(write_out); /* after a close nothing is left on the lists */
    for (unsigned i = 0; i < count; i++) {
        log_files_release(files, pinned[i]); /* the last one may free the cache, and this with it */
    }
}
