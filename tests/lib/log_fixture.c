/* The wrapped disk passes everything on to the env's own, counting; jobs wait on a list until the test runs them. */
#include "tests/lib/log_fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/mem.h"
#include "proto/records.h"
#include "tests/lib/test.h"

/* ---- The env ---- */

static struct log_fixture *fixture_of_disk(struct disk *disk)
{
    return container_of(disk, struct log_fixture, disk);
}

static struct disk *inner(struct disk *disk)
{
    return uv_env_env(fixture_of_disk(disk)->uv)->disk;
}

static enum err fixture_open(struct disk *disk, const char *path, unsigned flags, int *file, struct errmsg *msg)
{
    fixture_of_disk(disk)->open_count++;
    if (fixture_of_disk(disk)->open_failures > 0) {
        fixture_of_disk(disk)->open_failures--;
        return fail(msg, ERR_IO, "open %s: too many open files", path);
    }
    if (fixture_of_disk(disk)->is_full && (flags & DISK_CREATE) != 0 && access(path, F_OK) != 0) {
        return fail(msg, ERR_NO_SPACE, "open %s: the disk is full", path);
    }
    return inner(disk)->open(inner(disk), path, flags, file, msg);
}

static void fixture_close(struct disk *disk, int file)
{
    inner(disk)->close(inner(disk), file);
}

static enum err fixture_size(struct disk *disk, int file, uint64_t *size)
{
    return inner(disk)->size(inner(disk), file, size);
}

static enum err fixture_truncate(struct disk *disk, int file, uint64_t size)
{
    return inner(disk)->truncate(inner(disk), file, size);
}

static enum err fixture_allocate(struct disk *disk, int file, uint64_t size)
{
    return inner(disk)->allocate(inner(disk), file, size);
}

static enum err fixture_pwritev(struct disk *disk, int file, uint64_t position, const struct iovec *iov, int count)
{
    if (fixture_of_disk(disk)->write_failure != OK) {
        return fixture_of_disk(disk)->write_failure;
    }
    if (fixture_of_disk(disk)->is_full) {
        return ERR_NO_SPACE;
    }
    return inner(disk)->pwritev(inner(disk), file, position, iov, count);
}

static enum err fixture_pread(struct disk *disk, int file, uint64_t position, void *data, size_t size, size_t *got)
{
    fixture_of_disk(disk)->pread_count++;
    return inner(disk)->pread(inner(disk), file, position, data, size, got);
}

static enum err fixture_pread_nowait(struct disk *disk, int file, uint64_t position, void *data, size_t size,
                                     size_t *got)
{
    struct log_fixture *fixture = fixture_of_disk(disk);
    fixture->pread_count++;
    if (fixture->is_cold || (fixture->is_cache_limited && position >= fixture->cache_size)) {
        *got = 0;
        return ERR_WOULD_BLOCK;
    }
    if (fixture->is_cache_limited && size > fixture->cache_size - position) {
        size = (size_t)(fixture->cache_size - position);
    }
    return inner(disk)->pread(inner(disk), file, position, data, size, got);
}

static enum err fixture_sync(struct disk *disk, int file)
{
    fixture_of_disk(disk)->sync_count++;
    return inner(disk)->sync(inner(disk), file);
}

static enum err fixture_write_out(struct disk *disk, const struct disk_range *ranges, unsigned count)
{
    struct log_fixture *fixture = container_of(disk, struct log_fixture, disk);
    for (unsigned i = 0; i < count; i++) {
        ck_assert_uint_lt(fixture->written_out_count, FIXTURE_RANGE_COUNT);
        fixture->written_out[fixture->written_out_count++] = ranges[i];
    }
    return fixture->write_failure != OK ? fixture->write_failure : inner(disk)->write_out(inner(disk), ranges, count);
}

static enum err fixture_rename(struct disk *disk, const char *source, const char *target)
{
    return inner(disk)->rename(inner(disk), source, target);
}

static enum err fixture_link(struct disk *disk, const char *source, const char *target)
{
    return inner(disk)->link(inner(disk), source, target);
}

static enum err fixture_unlink(struct disk *disk, const char *path)
{
    return inner(disk)->unlink(inner(disk), path);
}

static enum err fixture_mkdir(struct disk *disk, const char *path)
{
    return inner(disk)->mkdir(inner(disk), path);
}

static enum err fixture_sync_dir(struct disk *disk, const char *path)
{
    fixture_of_disk(disk)->sync_dir_count++;
    return inner(disk)->sync_dir(inner(disk), path);
}

static enum err fixture_list(struct disk *disk, const char *path, disk_list_cb cb, void *context)
{
    return inner(disk)->list(inner(disk), path, cb, context);
}

struct fixture_job {
    struct list link;
    struct work *work;
    bool is_run;
};

static void fixture_submit(struct workers *workers, struct work *work)
{
    struct log_fixture *fixture = container_of(workers, struct log_fixture, workers);
    struct fixture_job *job = mem_alloc(sizeof(*job));
    job->work = work;
    list_push(&fixture->jobs, &job->link);
}

void log_fixture_run_jobs_half(struct log_fixture *fixture)
{
    for (struct list *link = fixture->jobs.next; link != &fixture->jobs; link = link->next) {
        struct fixture_job *job = container_of(link, struct fixture_job, link);
        if (!job->is_run) {
            job->work->run(job->work);
            job->is_run = true;
        }
    }
}

void log_fixture_run_jobs(struct log_fixture *fixture)
{
    struct list *link;
    while ((link = list_pop(&fixture->jobs)) != NULL) {
        struct fixture_job *job = container_of(link, struct fixture_job, link);
        struct work *work = job->work;
        if (!job->is_run) {
            work->run(work);
        }
        mem_free(job);
        work->done(work);
    }
}

void log_fixture_check_stop(void (*life)(void))
{
    pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
        if (freopen("/dev/null", "w", stderr) == NULL) {
            _exit(1);
        }
        life();
        _exit(0);
    }
    int status = 0;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert(WIFEXITED(status));
    ck_assert_int_eq(WEXITSTATUS(status), 70);
}

void log_fixture_init(struct log_fixture *fixture, unsigned files_count_max)
{
    memset(fixture, 0, sizeof(*fixture));
    struct errmsg msg;
    enum err err = uv_env_open(0, metrics_open(), &fixture->uv, &msg);
    ck_assert_msg(err == OK, "%s", msg.text);
    list_init(&fixture->jobs);
    fixture->disk = (struct disk){
        .open = fixture_open,
        .close = fixture_close,
        .size = fixture_size,
        .truncate = fixture_truncate,
        .allocate = fixture_allocate,
        .pwritev = fixture_pwritev,
        .pread = fixture_pread,
        .pread_nowait = fixture_pread_nowait,
        .sync = fixture_sync,
        .write_out = fixture_write_out,
        .rename = fixture_rename,
        .link = fixture_link,
        .unlink = fixture_unlink,
        .mkdir = fixture_mkdir,
        .sync_dir = fixture_sync_dir,
        .list = fixture_list,
    };
    fixture->workers.submit = fixture_submit;
    fixture->env = *uv_env_env(fixture->uv);
    fixture->env.disk = &fixture->disk;
    fixture->env.workers = &fixture->workers;
    fixture->dir = test_dir_make();
    fixture->files = log_files_open(&fixture->env, files_count_max);
}

void log_fixture_deinit(struct log_fixture *fixture)
{
    log_fixture_run_jobs(fixture);
    log_files_close(fixture->files);
    struct metrics *metrics = fixture->env.metrics;
    uv_env_close(fixture->uv);
    metrics_close(metrics);
    test_dir_remove(fixture->dir);
}

/* ---- Random numbers ---- */

/* splitmix64. */
uint64_t test_random(uint64_t *state)
{
    *state += 0x9E3779B97F4A7C15u;
    uint64_t z = *state;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

int64_t test_random_between(uint64_t *state, int64_t low, int64_t high)
{
    return low + (int64_t)(test_random(state) % (uint64_t)(high - low + 1));
}

/* ---- The model ---- */

static void model_batch_deinit(struct model_batch *batch)
{
    mem_free((void *)(uintptr_t)batch->bytes.data);
    mem_free(batch->timestamps);
}

void log_model_deinit(struct log_model *model)
{
    log_model_cut(model, 0);
    mem_free(model->batches);
}

void log_model_cut(struct log_model *model, size_t count)
{
    while (model->count > count) {
        model->count--;
        model->end_offset = model->batches[model->count].base_offset;
        model_batch_deinit(&model->batches[model->count]);
    }
}

size_t log_model_find(const struct log_model *model, int64_t offset)
{
    size_t low = 0;
    size_t high = model->count;
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (model->batches[middle].base_offset <= offset) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return low;
}

static struct shared *batch_make(const struct model_batch_spec *spec, struct model_batch *batch, uint64_t *random)
{
    struct record_builder *builder = record_builder_open((enum record_codec)spec->codec, spec->base_timestamp);
    uint8_t *value = mem_alloc(spec->value_size + 1);
    int64_t timestamp = spec->base_timestamp;
    batch->max_timestamp = timestamp;
    for (int32_t i = 0; i < spec->count; i++) {
        timestamp += i == 0 ? 0 : test_random_between(random, spec->step_min, spec->step_max);
        batch->timestamps[i] = timestamp;
        batch->max_timestamp = timestamp > batch->max_timestamp ? timestamp : batch->max_timestamp;
        for (size_t j = 0; j < spec->value_size; j++) {
            value[j] = (uint8_t)(test_random(random) >> 60);
        }
        struct bytes bytes = {value, spec->value_size};
        record_builder_add(builder, timestamp, NULL, &bytes, NULL, 0);
    }
    mem_free(value);
    return record_builder_finish(builder);
}

struct log_batch log_model_add(struct log_model *model, const struct model_batch_spec *spec, int32_t leader_epoch,
                               int64_t append_ms, uint64_t *random)
{
    if (model->count == model->capacity) {
        model->capacity = model->capacity == 0 ? 64 : 2 * model->capacity;
        model->batches = mem_resize(model->batches, model->capacity * sizeof(struct model_batch));
    }
    struct model_batch *batch = &model->batches[model->count++];
    *batch = (struct model_batch){
        .base_offset = model->end_offset,
        .leader_epoch = leader_epoch,
        .count = spec->count,
        .append_ms = append_ms,
        .is_log_append_time = spec->is_log_append_time,
        .timestamps = mem_alloc((size_t)spec->count * sizeof(int64_t)),
    };
    struct shared *made = batch_make(spec, batch, random);
    if (spec->is_log_append_time) {
        batch->max_timestamp = append_ms;
        record_batch_set_max_timestamp(made->data, made->size, append_ms, true);
    } else if (spec->is_max_wrong) {
        batch->max_timestamp = spec->base_timestamp;
        record_batch_set_max_timestamp(made->data, made->size, spec->base_timestamp, false);
    }
    uint8_t *stored = mem_alloc(made->size);
    memcpy(stored, made->data, made->size);
    record_batch_set_offset(stored, batch->base_offset, leader_epoch);
    batch->bytes = (struct bytes){stored, made->size};
    model->end_offset += spec->count;

    uint8_t *given = mem_alloc(made->size);
    memcpy(given, made->data, made->size);
    memset(given, 0xEE, 16);
    shared_release(made);
    return (struct log_batch){
        .bytes = {given, batch->bytes.size},
        .base_offset = batch->base_offset,
        .leader_epoch = leader_epoch,
        .last_offset_delta = spec->count - 1,
        .max_timestamp = batch->max_timestamp,
    };
}

void log_model_append(struct log_model *model, struct log *log, const struct model_batch_spec *spec,
                      int32_t leader_epoch, int64_t append_ms, uint64_t *random)
{
    struct log_batch batch = log_model_add(model, spec, leader_epoch, append_ms, random);
    log_append(log, append_ms, &batch, 1);
    mem_free((void *)(uintptr_t)batch.bytes.data);
}

void log_model_replay(const struct log_model *model, struct log *log)
{
    for (size_t i = 0; i < model->count; i++) {
        const struct model_batch *batch = &model->batches[i];
        if (batch->base_offset < log_end_offset(log)) {
            continue;
        }
        struct log_batch again = {
            .bytes = batch->bytes,
            .base_offset = batch->base_offset,
            .leader_epoch = batch->leader_epoch,
            .last_offset_delta = batch->count - 1,
            .max_timestamp = batch->max_timestamp,
        };
        log_append(log, batch->append_ms, &again, 1);
    }
}

/* ---- Reading ---- */

struct fixture_read {
    struct log_read req;
    bool is_done;
    enum err err;
};

static void fixture_on_read(struct log_read *req, enum err err)
{
    struct fixture_read *read = container_of(req, struct fixture_read, req);
    read->is_done = true;
    read->err = err;
}

enum err log_fixture_read(struct log_fixture *fixture, struct log *log, struct log_read *req)
{
    enum err err = log_read_now(log, req);
    if (err != ERR_WOULD_BLOCK) {
        return err;
    }
    struct fixture_read read = {.req = *req};
    read.req.cb = fixture_on_read;
    log_read_async(log, &read.req);
    ck_assert_msg(!read.is_done, "answered inside of the call");
    log_fixture_run_jobs(fixture);
    ck_assert_msg(read.is_done, "not answered");
    *req = read.req;
    return read.err;
}

size_t log_model_check_read(struct log_fixture *fixture, const struct log_model *model, struct log *log, int64_t offset,
                            size_t size_max, bool is_first_whole)
{
    struct log_read req = {.offset = offset, .size_max = size_max, .is_first_whole = is_first_whole};
    enum err err = log_fixture_read(fixture, log, &req);
    ck_assert_msg(err == OK, "read at %lld: %s %s", (long long)offset, err_name(err), req.msg.text);
    struct bytes got = req.slice.bytes;
    if (offset == model->end_offset) {
        ck_assert_uint_eq(got.size, 0);
        return 0;
    }
    size_t first = log_model_find(model, offset);
    size_t size = 0;
    for (size_t i = first; i < model->count && size < got.size; i++) {
        const struct model_batch *batch = &model->batches[i];
        ck_assert_msg(batch->bytes.size <= got.size - size, "a batch is not whole");
        ck_assert_msg(memcmp(got.data + size, batch->bytes.data, batch->bytes.size) == 0, "batch %zu differs", i);
        size += batch->bytes.size;
    }
    ck_assert_uint_eq(size, got.size);
    size_t first_size = model->batches[first].bytes.size;
    if (first_size <= size_max) {
        ck_assert_msg(size >= first_size, "nothing at %lld", (long long)offset);
        ck_assert_msg(size <= size_max, "%zu bytes, at most %zu wanted", size, size_max);
    } else {
        ck_assert_uint_eq(size, is_first_whole ? first_size : 0);
    }
    slice_release(&req.slice);
    return size;
}

void log_model_check(struct log_fixture *fixture, const struct log_model *model, struct log *log)
{
    ck_assert_int_eq(log_end_offset(log), model->end_offset);
    ck_assert_int_eq(log_start_offset(log), model->start_offset);
    int64_t offset = model->start_offset;
    while (offset < model->end_offset) {
        size_t size = log_model_check_read(fixture, model, log, offset, 3000, true);
        for (size_t i = log_model_find(model, offset); size > 0; i++) {
            size -= model->batches[i].bytes.size;
            offset = model->batches[i].base_offset + model->batches[i].count;
        }
    }
    (void)log_model_check_read(fixture, model, log, offset, 3000, true);
}

/* ---- Logs of the fixture ---- */

void log_fixture_dir(const struct log_fixture *fixture, char path[FIXTURE_PATH_SIZE])
{
    (void)snprintf(path, FIXTURE_PATH_SIZE, "%s/t-0.7", fixture->dir);
}

struct log *log_fixture_open(struct log_fixture *fixture, const struct log_config *config,
                             const struct log_state *state)
{
    struct log *log;
    struct errmsg msg;
    char dir[FIXTURE_PATH_SIZE];
    log_fixture_dir(fixture, dir);
    enum err err = log_open(&fixture->env, fixture->files, dir, config, state, &log, &msg);
    ck_assert_msg(err == OK, "%s", msg.text);
    return log;
}

void log_fixture_capture(struct log *log, struct log_state *state, bool is_ok)
{
    struct errmsg msg;
    struct log_capture *taken = log_capture(log, state);
    enum err err = log_capture_sync(taken, &msg);
    ck_assert_msg(err == OK, "%s", msg.text);
    log_capture_done(taken, is_ok);
}

void log_fixture_path(const struct log_fixture *fixture, int64_t base_offset, const char *suffix,
                      char path[FIXTURE_PATH_SIZE])
{
    (void)snprintf(path, FIXTURE_PATH_SIZE, "%s/t-0.7/%020lld%s", fixture->dir, (long long)base_offset, suffix);
}

struct bytes test_file_read(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        return BYTES_NONE;
    }
    (void)fseek(file, 0, SEEK_END);
    size_t size = (size_t)ftell(file);
    rewind(file);
    uint8_t *data = mem_alloc(size + 1);
    ck_assert_uint_eq(fread(data, 1, size, file), size);
    (void)fclose(file);
    return (struct bytes){data, size};
}

void test_file_write(const char *path, struct bytes bytes)
{
    FILE *file = fopen(path, "wb");
    ck_assert_ptr_nonnull(file);
    ck_assert_uint_eq(fwrite(bytes.data, 1, bytes.size, file), bytes.size);
    (void)fclose(file);
}

void test_bytes_free(struct bytes bytes)
{
    mem_free((void *)(uintptr_t)bytes.data);
}

/* ---- Appending at random ---- */

void log_model_append_random(struct log_model *model, struct log *log, unsigned count, int64_t *now_ms,
                             uint64_t *random)
{
    for (unsigned i = 0; i < count; i++) {
        *now_ms += test_random_between(random, 0, 5);
        struct model_batch_spec spec = {
            .count = (int32_t)test_random_between(random, 1, 6),
            .value_size = (size_t)test_random_between(random, 0, test_random(random) % 10 == 0 ? 4000 : 200),
            .codec = 0,
            .base_timestamp = *now_ms,
            .step_min = 0,
            .step_max = 3,
        };
        log_model_append(model, log, &spec, (int32_t)(*now_ms / 100), *now_ms, random);
    }
}

void log_model_append_times(struct log_model *model, struct log *log, unsigned count, int64_t *now_ms, uint64_t *random)
{
    for (unsigned i = 0; i < count; i++) {
        *now_ms += test_random_between(random, 0, 5);
        struct model_batch_spec spec = {
            .count = (int32_t)test_random_between(random, 1, 6),
            .value_size = (size_t)test_random_between(random, 0, 100),
            .codec = (int)test_random_between(random, 0, 4),
            .base_timestamp = *now_ms + test_random_between(random, -300, 300),
            .step_min = -20,
            .step_max = 30,
            .is_log_append_time = test_random(random) % 8 == 0,
        };
        log_model_append(model, log, &spec, 1, *now_ms, random);
    }
}

/* ---- Lookups by time ---- */

static int64_t model_timestamp(const struct model_batch *batch, int64_t offset)
{
    return batch->is_log_append_time ? batch->append_ms : batch->timestamps[offset - batch->base_offset];
}

void log_model_check_time(const struct log_model *model, struct log *log, int64_t timestamp)
{
    int64_t wanted = -1;
    int64_t wanted_timestamp = -1;
    for (int64_t offset = model->start_offset; offset < model->end_offset && wanted < 0; offset++) {
        int64_t found = model_timestamp(&model->batches[log_model_find(model, offset)], offset);
        if (found >= timestamp) {
            wanted = offset;
            wanted_timestamp = found;
        }
    }
    int64_t offset = -1;
    int64_t found = -1;
    struct errmsg msg;
    enum err err = log_find_time(log, timestamp, &offset, &found, &msg);
    ck_assert_msg(err == OK || err == ERR_NOT_FOUND, "%s", msg.text);
    ck_assert_int_eq(err == OK ? offset : -1, wanted);
    ck_assert_int_eq(err == OK ? found : -1, wanted_timestamp);
}

void log_model_check_max_time(const struct log_model *model, struct log *log)
{
    int64_t wanted = -1;
    int64_t wanted_timestamp = -1;
    for (int64_t offset = model->start_offset; offset < model->end_offset; offset++) {
        int64_t found = model_timestamp(&model->batches[log_model_find(model, offset)], offset);
        if (found > wanted_timestamp) {
            wanted = offset;
            wanted_timestamp = found;
        }
    }
    int64_t offset = -1;
    int64_t found = -1;
    enum err err = log_find_max_time(log, &offset, &found, NULL);
    ck_assert_int_eq(err, wanted < 0 ? ERR_NOT_FOUND : OK);
    ck_assert_int_eq(err == OK ? offset : -1, wanted);
    ck_assert_int_eq(err == OK ? found : -1, wanted_timestamp);
}
