/* Happy path: wal_append() copies frames into the unit that gathers; at the end of the loop turn, or when the write in
 *             flight is done, that unit is written; its completion moves durable_lsn and writes the next.
 * No room:    a unit that does not fit in the active file goes to the next one: first a unit that names that file (so
 *             that its loss would be seen), then the switch, then the unit. Without a next file the log is stalled:
 *             units wait until the background job has one. If that needs a released file to be recycled, the release
 *             must be told durably first: each file keeps a block free for that.
 * Failure:    a failed write ends the process.
 * Close:      write all that is gathered and WAL_STOP, wait for the write and the job in flight, free, one callback. A
 *             log that is stalled for good is closed as it is: what waits was never called durable.
 *
 * LSNs: a unit of frames takes as many as it has bytes on disk; the log's own units (kept, next) take none, so that
 * they can be put before units that are gathered already. */
#include "replication/wal.h"

#include "base/assert.h"
#include "base/crc32c.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/trace.h"
#include "replication/wal_files.h"
#include "replication/wal_format.h"
#include "replication/wal_recover.h"
#include "replication/wal_unit.h"

#include <string.h>

enum {
    /* Blocks at the end of a file that units of frames leave free: one to tell a release, one to name the next file. */
    RESERVE_FRAMES = 2 * WAL_BLOCK_SIZE,
    RESERVE_KEPT = WAL_BLOCK_SIZE,
    FILE_BLOCKS_MIN = 16,
    FILE_COUNT_MIN = 2,
};

struct wal {
    struct env *env;
    char *dir;
    void *owner;
    struct wal_handlers handlers;
    struct wal_options options;
    size_t unit_size_soft;

    struct wal_files files;
    struct wal_unit *gathering; /* NULL: nothing appended since the last was sealed */
    struct list queue;          /* sealed units that wait to be written */
    struct wal_unit_pool pool;

    struct disk_write write;
    bool is_writing;
    enum wal_unit_kind write_kind;
    struct wal_unit *write_unit; /* of WAL_UNIT_FRAMES */
    uint64_t write_kept_lsn;
    int64_t write_start_us;
    uint8_t *mark; /* one block, for the log's own units */

    uint64_t sequence;   /* of the next unit to be submitted */
    uint64_t submit_lsn; /* of the next unit of frames to be submitted */
    uint64_t gather_lsn; /* of the next unit to gather */
    uint64_t durable_lsn;
    uint64_t reported_lsn; /* the last on_durable */
    uint64_t release_lsn;
    uint64_t kept_lsn; /* the release that a durable unit tells */

    bool is_stalled;
    bool is_pressed;  /* on_pressure fired and nothing was released since */
    bool is_stop_due; /* something was written since the last WAL_STOP */
    bool is_closing;
    wal_close_cb close_cb;
    struct task task;
};

static void wal_tick(struct wal *wal);

static void wal_invariants(const struct wal *wal)
{
    assert(wal->durable_lsn <= wal->submit_lsn);
    assert(wal->submit_lsn <= wal->gather_lsn);
    assert(wal->kept_lsn <= wal->release_lsn);
    assert(wal->release_lsn <= wal_end_lsn(wal));
    assert(wal->files.position <= wal->files.active->size);
    assert(wal->files.position % WAL_BLOCK_SIZE == 0);
}

/* ---- Gathering -------------------------------------------------------------------------------------------------- */

static void gathering_seal(struct wal *wal)
{
    struct wal_unit *unit = wal->gathering;
    assert(unit != NULL);
    assert(unit->frame_count > 0);
    wal->gathering = NULL;
    wal->gather_lsn = unit->lsn + wal_unit_disk_size(unit);
    list_push(&wal->queue, &unit->link);
}

static uint64_t frame_gather(struct wal *wal, const struct wal_frame *frame)
{
    size_t payload_size = wal_frame_payload_size(frame);
    size_t size = WAL_FRAME_HEADER_SIZE + payload_size;
    assert(wal_unit_size(size) <= wal->options.file_size - WAL_BLOCK_SIZE - RESERVE_FRAMES);
    if (wal->gathering != NULL && size > wal->unit_size_soft - wal->gathering->size) {
        gathering_seal(wal);
    }
    if (wal->gathering == NULL) {
        wal->gathering = wal_unit_acquire(&wal->pool, wal->gather_lsn);
    }
    uint64_t lsn = wal_unit_put(wal->gathering, frame, payload_size);
    if (wal->gathering->size >= wal->unit_size_soft) {
        gathering_seal(wal);
    }
    return lsn;
}

/* ---- Writing ---------------------------------------------------------------------------------------------------- */

static void write_on_done(struct disk_write *req, enum err err)
{
    struct wal *wal = container_of(req, struct wal, write);
    assert(wal->is_writing);
    if (err != OK) {
        process_stop("write-ahead log %s: write of %zu bytes to file %llu at position %llu: %s", wal->dir,
                     req->bytes.size, (unsigned long long)wal->files.active->sequence,
                     (unsigned long long)req->position, err_text(err));
    }
    wal->is_writing = false;
    wal->files.has_durable_unit = true;
    wal->kept_lsn = wal->write_kept_lsn;
    metrics_add(wal->env->metrics, METRIC_WAL_SYNCS, 1);
    metrics_add(wal->env->metrics, METRIC_WAL_BYTES, (int64_t)req->bytes.size);
    metrics_observe(wal->env->metrics, METRIC_WAL_SYNC_US, env_now_us(wal->env) - wal->write_start_us);
    trace(DEBUG, WAL, "unit durable", KV("shard", wal->env->shard), KV("unit", wal->sequence - 1),
          KV("lsn", wal->submit_lsn));
    if (wal->write_kind == WAL_UNIT_FRAMES) {
        wal_unit_release(&wal->pool, wal->write_unit);
        wal->write_unit = NULL;
        wal->durable_lsn = wal->submit_lsn;
    } else if (wal->write_kind == WAL_UNIT_NEXT) {
        wal_files_advance(&wal->files, wal->submit_lsn);
    }
    wal_tick(wal);
}

/* Completes the header of the unit in `data` (payload behind it, room for whole blocks) and submits it. */
static void unit_submit(struct wal *wal, uint8_t *data, const struct wal_unit *unit, enum wal_unit_kind kind,
                        size_t payload_size)
{
    uint64_t lsn = wal->submit_lsn;
    size_t size = wal_unit_size(payload_size);
    assert(size <= wal_files_room(&wal->files, 0));
    const struct wal_unit_header header = {
        .kind = kind,
        .generation = wal->files.active->generation,
        .sequence = wal->sequence,
        .lsn = lsn,
        .kept_lsn = wal->release_lsn < lsn ? wal->release_lsn : lsn,
        .payload_size = payload_size,
        .payload_crc = unit != NULL ? unit->crc : crc32c(0, (struct bytes){data + WAL_UNIT_HEADER_SIZE, payload_size}),
        .frame_count = unit != NULL ? unit->frame_count : 0,
    };
    wal_unit_header_encode(&header, data);
    memset(data + WAL_UNIT_HEADER_SIZE + payload_size, 0, size - WAL_UNIT_HEADER_SIZE - payload_size);
    trace(DEBUG, WAL, "unit submitted", KV("shard", wal->env->shard), KV("unit", header.sequence), KV("lsn", lsn),
          KV("size", size), KV("file", wal->files.active->sequence), KV("position", wal->files.position));
    wal->is_writing = true;
    wal->write_kind = kind;
    wal->write_kept_lsn = header.kept_lsn;
    wal->write_start_us = env_now_us(wal->env);
    wal->write = (struct disk_write){
        .file = wal->files.active->fd,
        .position = wal->files.position,
        .bytes = {data, size},
        .cb = write_on_done,
    };
    wal->sequence++;
    wal->files.position += size;
    wal->submit_lsn += kind == WAL_UNIT_FRAMES ? size : 0;
    wal->env->disk->write(wal->env->disk, &wal->write);
}

static void next_submit(struct wal *wal, const struct wal_file *next)
{
    wal_next_encode(next->sequence, next->generation, wal->mark + WAL_UNIT_HEADER_SIZE);
    unit_submit(wal, wal->mark, NULL, WAL_UNIT_NEXT, WAL_NEXT_SIZE);
}

/* No file for the unit that is due. */
static void wal_stall(struct wal *wal)
{
    if (!wal->is_stalled) {
        wal->is_stalled = true;
        metrics_add(wal->env->metrics, METRIC_WAL_STALLS, 1);
        trace(INFO, WAL, "stalled: no file is ready", KV("shard", wal->env->shard), KV("files", wal->files.count),
              KV("live", wal->submit_lsn - wal->release_lsn));
    }
    uint64_t kept_lsn = wal->release_lsn < wal->submit_lsn ? wal->release_lsn : wal->submit_lsn;
    if (wal_files_can_free(&wal->files, kept_lsn) && !wal_files_can_free(&wal->files, wal->kept_lsn) &&
        wal_files_room(&wal->files, RESERVE_KEPT) >= WAL_BLOCK_SIZE) {
        unit_submit(wal, wal->mark, NULL, WAL_UNIT_KEPT, 0);
    }
}

/* Writes the unit that is due, if there is one and nothing is in flight. */
static void wal_pump(struct wal *wal)
{
    if (wal->is_writing) {
        return;
    }
    if (list_is_empty(&wal->queue) && wal->gathering != NULL && wal->gathering->is_awaited) {
        gathering_seal(wal);
    }
    if (list_is_empty(&wal->queue)) {
        return;
    }
    struct wal_unit *unit = container_of(wal->queue.next, struct wal_unit, link);
    if (wal_unit_disk_size(unit) <= wal_files_room(&wal->files, RESERVE_FRAMES)) {
        assert(unit->lsn == wal->submit_lsn);
        if (wal->is_stalled) {
            wal->is_stalled = false;
            trace(INFO, WAL, "no longer stalled", KV("shard", wal->env->shard));
        }
        list_remove(&unit->link);
        wal->write_unit = unit;
        unit_submit(wal, unit->data, unit, WAL_UNIT_FRAMES, wal_unit_payload_size(unit));
        return;
    }
    const struct wal_file *next = wal_files_next(&wal->files);
    if (next != NULL) {
        next_submit(wal, next);
    } else {
        wal_stall(wal);
    }
}

/* ---- One turn --------------------------------------------------------------------------------------------------- */

/* Live data is over its size, or only a release can end a stall. */
static bool is_over_pressure(const struct wal *wal)
{
    bool is_stuck = wal->is_stalled && !wal->is_writing && !wal->files.is_job_running;
    return is_stuck || wal->submit_lsn - wal->release_lsn > wal->options.checkpoint_size;
}

static bool wal_close_is_done(struct wal *wal)
{
    if (wal->is_writing) {
        return false;
    }
    bool is_stuck = wal->is_stalled && !wal->files.is_job_running;
    if (!list_is_empty(&wal->queue) && !is_stuck) {
        return false;
    }
    wal_files_stop(&wal->files);
    return !wal->files.is_job_running;
}

static void wal_free(struct wal *wal)
{
    wal->env->tasks->cancel(wal->env->tasks, &wal->task);
    wal_files_close(&wal->files);
    for (struct list *link = list_pop(&wal->queue); link != NULL; link = list_pop(&wal->queue)) {
        wal_unit_release(&wal->pool, container_of(link, struct wal_unit, link));
    }
    wal_unit_pool_deinit(&wal->pool);
    mem_free(wal->mark);
    mem_free(wal->dir);
    mem_free(wal);
}

/* Everything that is to be done now; `wal` may be gone afterwards. */
static void wal_tick(struct wal *wal)
{
    uint64_t durable_lsn = wal->durable_lsn;
    wal_pump(wal);
    wal_files_tick(&wal->files, wal->kept_lsn, wal->is_stalled, !list_is_empty(&wal->queue));
    wal_invariants(wal);
    if (durable_lsn > wal->reported_lsn) {
        wal->reported_lsn = durable_lsn;
        wal->handlers.on_durable(wal->owner, durable_lsn);
    }
    if (!wal->is_pressed && is_over_pressure(wal) && !wal->is_closing) {
        wal->is_pressed = true;
        wal->handlers.on_pressure(wal->owner);
    }
    if (wal->is_closing && wal_close_is_done(wal)) {
        wal_close_cb cb = wal->close_cb;
        void *owner = wal->owner;
        wal_free(wal);
        cb(owner);
    }
}

static void on_task(struct task *task)
{
    wal_tick(container_of(task, struct wal, task));
}

static void files_on_change(struct wal_files *files)
{
    wal_tick(container_of(files, struct wal, files));
}

/* ---- Open ------------------------------------------------------------------------------------------------------- */

static enum err options_check(struct wal_options *options, struct errmsg *msg)
{
    if (options->file_size == 0) {
        options->file_size = WAL_FILE_SIZE;
    }
    if (options->file_size_first == 0) {
        options->file_size_first = options->file_size < WAL_FILE_SIZE_FIRST ? options->file_size : WAL_FILE_SIZE_FIRST;
    }
    if (options->file_count_max == 0) {
        options->file_count_max = WAL_FILE_COUNT_MAX;
    }
    if (options->checkpoint_size == 0) {
        options->checkpoint_size = 4 * (uint64_t)options->file_size;
    }
    if (options->file_size % WAL_BLOCK_SIZE != 0 || options->file_size_first % WAL_BLOCK_SIZE != 0) {
        return fail(msg, ERR_INVALID, "size of a file of the write-ahead log: not a multiple of %zu", WAL_BLOCK_SIZE);
    }
    if (options->file_size / WAL_BLOCK_SIZE < FILE_BLOCKS_MIN ||
        options->file_size_first / WAL_BLOCK_SIZE < FILE_BLOCKS_MIN) {
        return fail(msg, ERR_INVALID, "size of a file of the write-ahead log: at least %zu",
                    FILE_BLOCKS_MIN * WAL_BLOCK_SIZE);
    }
    if (options->file_count_max < FILE_COUNT_MIN) {
        return fail(msg, ERR_INVALID, "number of files of the write-ahead log: at least %d", FILE_COUNT_MIN);
    }
    return OK;
}

static struct wal *wal_new(struct env *env, const char *dir, const struct wal_options *options, void *owner,
                           const struct wal_handlers *handlers)
{
    struct wal *wal = mem_alloc(sizeof *wal);
    wal->env = env;
    wal->dir = mem_strdup(dir);
    wal->owner = owner;
    wal->handlers = *handlers;
    wal->options = *options;
    size_t quarter = options->file_size / 4;
    wal->unit_size_soft = quarter < WAL_UNIT_SIZE_SOFT ? quarter : WAL_UNIT_SIZE_SOFT;
    list_init(&wal->queue);
    wal_unit_pool_init(&wal->pool);
    task_init(&wal->task, on_task);
    wal->mark = mem_aligned(WAL_BLOCK_SIZE, WAL_BLOCK_SIZE);
    return wal;
}

enum err wal_open(struct env *env, const char *dir, const struct wal_options *options, void *owner,
                  const struct wal_handlers *handlers, wal_replay_cb replay, struct wal **opened, struct errmsg *msg)
{
    struct wal_options checked = *options;
    enum err err = options_check(&checked, msg);
    if (err != OK) {
        return err;
    }
    err = env->disk->mkdir(env->disk, dir);
    if (err != OK) {
        return fail(msg, err, "%s: create: %s", dir, err_text(err));
    }
    int64_t start_us = env_now_us(env);
    struct wal_recovered recovered;
    err = wal_recover(env, dir, owner, replay, &recovered, msg);
    if (err != OK) {
        return err;
    }
    struct wal *wal = wal_new(env, dir, &checked, owner, handlers);
    err = wal_files_open(&wal->files, env, wal->dir, &checked, &recovered, msg);
    if (err != OK) {
        mem_free(wal->mark);
        mem_free(wal->dir);
        mem_free(wal);
        return err;
    }
    wal->files.on_change = files_on_change;
    wal->sequence = recovered.sequence;
    wal->submit_lsn = wal->gather_lsn = wal->durable_lsn = wal->reported_lsn = recovered.lsn;
    wal->kept_lsn = wal->release_lsn = recovered.kept_lsn;
    wal->is_stop_due = recovered.lsn > WAL_LSN_FIRST && !recovered.is_stopped;
    trace(INFO, WAL, "opened", KV("shard", env->shard), KV("dir", dir), KV("start", wal_start_lsn(wal)),
          KV("end", recovered.lsn), KV("files", wal->files.count), KV("clean", recovered.is_stopped ? "yes" : "no"),
          KV("us", env_now_us(env) - start_us));
    env_task(env, &wal->task);
    *opened = wal;
    return OK;
}

enum err wal_scan(struct env *env, const char *dir, void *owner, wal_replay_cb replay, struct errmsg *msg)
{
    struct wal_recovered recovered;
    enum err err = wal_recover(env, dir, owner, replay, &recovered, msg);
    if (err == OK) {
        wal_files_free(&recovered.files);
        wal_files_free(&recovered.leftovers);
    }
    return err;
}

/* ---- Use -------------------------------------------------------------------------------------------------------- */

uint64_t wal_append(struct wal *wal, const struct wal_frame *frame)
{
    assert(!wal->is_closing);
    assert(frame->kind != WAL_STOP);
    wal->is_stop_due = true;
    uint64_t lsn = frame_gather(wal, frame);
    bool is_due = !list_is_empty(&wal->queue) || (wal->gathering != NULL && wal->gathering->is_awaited);
    if (!wal->is_writing && is_due) {
        env_task(wal->env, &wal->task);
    }
    return lsn;
}

uint64_t wal_durable_lsn(const struct wal *wal)
{
    return wal->durable_lsn;
}

uint64_t wal_end_lsn(const struct wal *wal)
{
    /* Commit marks alone start no write: whoever waits for the end must not wait for them. */
    bool is_awaited = wal->gathering != NULL && wal->gathering->is_awaited;
    return is_awaited ? wal->gathering->lsn + wal->gathering->size : wal->gather_lsn;
}

uint64_t wal_start_lsn(const struct wal *wal)
{
    return wal_files_start_lsn(&wal->files);
}

void wal_release(struct wal *wal, uint64_t lsn)
{
    assert(lsn <= wal_end_lsn(wal));
    if (lsn > wal->release_lsn) {
        wal->release_lsn = lsn;
        wal->is_pressed = false;
        env_task(wal->env, &wal->task);
    }
}

bool wal_is_stalled(const struct wal *wal)
{
    return wal->is_stalled;
}

void wal_close(struct wal *wal, wal_close_cb cb)
{
    assert(!wal->is_closing);
    if (wal->gathering != NULL) {
        gathering_seal(wal);
    }
    if (wal->is_stop_due) {
        /* In a unit of its own: damage to the last unit before it is then not the end of the log. */
        (void)frame_gather(wal, &(struct wal_frame){.kind = WAL_STOP});
        gathering_seal(wal);
    }
    wal->is_closing = true;
    wal->close_cb = cb;
    env_task(wal->env, &wal->task);
}
