/* Happy path: acquire() opens or finds the handle and takes it off the idle list; release() of the last pin puts it
 *             at the
 * young end of that list and closes the oldest idle files while there are too many.
 * Close: log_files_close() may come while reads in flight still pin handles; the last release then frees the cache. */
#include "replication/log_files.h"

#include "base/assert.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/pool.h"
#include "base/trace.h"
#include "replication/segment.h"
#include "replication/write_out.h"

enum {
    RETRY_CLOSE_COUNT = 8,
    SPARE_BUFFER_COUNT = 4, /* while others are in use: the next one begins where the last was written from */
};

#define BUFFER_BLOCK_SIZE (sizeof(struct segment_buffer) + SEGMENT_BUFFER_SIZE)

struct log_files {
    struct env *env;
    unsigned count_max;
    unsigned count;   /* open files, idle and pinned */
    struct list idle; /* log_file.link, least recently used first */
    bool is_closing;
    struct list buffers; /* segment_buffer.link */
    size_t buffered_size;
    struct pool pool;   /* of buffers of the usual size */
    struct timer flush; /* set while there are buffers */
    bool is_held;       /* some of them found no space */
    void *full_owner;
    void (*full_cb)(void *owner);
    struct write_out write_out;
};

static void files_on_flush(struct timer *timer);

struct log_files *log_files_open(struct env *env, unsigned count_max)
{
    assert(count_max > 0);
    struct log_files *files = mem_alloc(sizeof(*files));
    files->env = env;
    files->count_max = count_max;
    list_init(&files->idle);
    list_init(&files->buffers);
    pool_init(&files->pool, BUFFER_BLOCK_SIZE, SPARE_BUFFER_COUNT * BUFFER_BLOCK_SIZE);
    timer_init(&files->flush, files_on_flush);
    write_out_init(&files->write_out, env, files);
    return files;
}

void log_files_on_full(struct log_files *files, void *owner, void (*cb)(void *owner))
{
    files->full_owner = owner;
    files->full_cb = cb;
}

void log_files_hold(struct log_files *files)
{
    env_timer(files->env, &files->flush, SEGMENT_RETRY_US);
    metrics_add(files->env->metrics, METRIC_SEGMENT_RETRIES, 1);
    if (files->is_held) {
        return;
    }
    files->is_held = true;
    trace(WARN, LOG, "disk full, what is committed waits in memory");
    if (files->full_cb != NULL) {
        files->full_cb(files->full_owner);
    }
}

bool log_files_are_held(const struct log_files *files)
{
    return files->is_held;
}

static void log_file_close(struct log_files *files, struct log_file *file)
{
    assert(file->pin_count == 0);
    assert(files->count > 0);
    list_remove(&file->link);
    if (file->slot != NULL) {
        *file->slot = NULL;
    }
    files->env->disk->close(files->env->disk, file->file);
    files->count--;
    mem_free(file);
}

void log_files_close(struct log_files *files)
{
    assert(!files->is_closing);
    assert(list_is_empty(&files->buffers));
    struct list *link;
    while ((link = list_pop(&files->idle)) != NULL) {
        log_file_close(files, container_of(link, struct log_file, link));
    }
    files->is_closing = true;
    if (files->count == 0) {
        mem_free(files);
    }
}

/* Opens a file; when that fails, perhaps because the process has no descriptor left, it is tried again without some of
 * the idle files: others' descriptors (connections) may have taken what the bound counts on. */
static enum err file_open(struct log_files *files, const char *path, unsigned flags, int *number, struct errmsg *msg)
{
    struct disk *disk = files->env->disk;
    enum err err = disk->open(disk, path, flags, number, msg);
    if (err != ERR_IO || list_is_empty(&files->idle)) {
        return err;
    }
    metrics_add(files->env->metrics, METRIC_OPEN_RETRIES, 1);
    for (unsigned i = 0; i < RETRY_CLOSE_COUNT && !list_is_empty(&files->idle); i++) {
        log_file_close(files, container_of(files->idle.next, struct log_file, link));
    }
    return disk->open(disk, path, flags, number, msg);
}

enum err log_files_acquire(struct log_files *files, struct log_file **slot, const char *path, unsigned flags,
                           struct errmsg *msg)
{
    assert(!files->is_closing);
    struct log_file *file = *slot;
    if (file == NULL) {
        int number;
        enum err err = file_open(files, path, flags, &number, msg);
        if (err != OK) {
            return err;
        }
        file = mem_alloc(sizeof(*file));
        file->file = number;
        file->slot = slot;
        list_init(&file->link);
        files->count++;
        *slot = file;
    }
    assert(file->slot == slot);
    log_files_pin(file);
    return OK;
}

void log_files_pin(struct log_file *file)
{
    list_remove(&file->link);
    file->pin_count++;
}

void log_files_release(struct log_files *files, struct log_file *file)
{
    assert(file->pin_count > 0);
    file->pin_count--;
    if (file->pin_count > 0) {
        return;
    }
    if (file->slot == NULL) {
        log_file_close(files, file);
    } else {
        list_push(&files->idle, &file->link);
    }
    while (files->count > files->count_max && !list_is_empty(&files->idle)) {
        log_file_close(files, container_of(files->idle.next, struct log_file, link));
    }
    if (files->is_closing && files->count == 0) {
        mem_free(files);
    }
}

void log_files_forget(struct log_files *files, struct log_file **slot)
{
    struct log_file *file = *slot;
    if (file == NULL) {
        return;
    }
    *slot = NULL;
    file->slot = NULL;
    if (file->pin_count == 0) {
        log_file_close(files, file);
    }
}

unsigned log_files_count(const struct log_files *files)
{
    return files->count;
}

struct write_out *log_files_write_out(struct log_files *files)
{
    return &files->write_out;
}

/* ---- Appends gathered in memory ---- */

struct segment_buffer *log_files_buffer_new(struct log_files *files, struct segment_place *place,
                                            struct segment *segment, int64_t base_offset, size_t capacity)
{
    struct segment_buffer *buffer =
        capacity == SEGMENT_BUFFER_SIZE ? pool_take(&files->pool) : mem_alloc_raw(sizeof(*buffer) + capacity);
    *buffer =
        (struct segment_buffer){.place = place, .segment = segment, .base_offset = base_offset, .capacity = capacity};
    list_init(&buffer->link);
    if (list_is_empty(&files->buffers)) {
        env_timer(files->env, &files->flush, SEGMENT_BUFFER_US);
    }
    list_push(&files->buffers, &buffer->link);
    return buffer;
}

/* Writing a buffer frees it, and so takes it off the list. False: there is no space. */
static bool write_first(struct log_files *files)
{
    struct segment_buffer *first = container_of(files->buffers.next, struct segment_buffer, link);
    return segment_flush(first->place, first->segment);
}

void log_files_buffer_grown(struct log_files *files, struct segment_buffer *buffer, size_t size)
{
    buffer->size += size;
    files->buffered_size += size;
    while (files->buffered_size > SEGMENT_BUFFERS_SIZE_MAX && files->buffers.next != &buffer->link &&
           write_first(files)) {
    }
}

void log_files_buffer_free(struct log_files *files, struct segment_buffer *buffer)
{
    assert(buffer->size <= files->buffered_size);
    files->buffered_size -= buffer->size;
    list_remove(&buffer->link);
    if (buffer->capacity == SEGMENT_BUFFER_SIZE) {
        pool_give(&files->pool, buffer);
    } else {
        mem_free(buffer);
    }
    if (list_is_empty(&files->buffers)) {
        pool_deinit(&files->pool);
        env_timer_cancel(files->env, &files->flush);
        if (files->is_held) {
            trace(WARN, LOG, "disk no longer full, all that is applied is in its files");
        }
        files->is_held = false;
    }
}

static void files_on_flush(struct timer *timer)
{
    struct log_files *files = container_of(timer, struct log_files, flush);
    while (!list_is_empty(&files->buffers) && write_first(files)) {
    }
}
