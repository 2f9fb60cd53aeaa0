/* A log under test: batches with known contents, an env whose work jobs run when the test says so and whose disk can
 * pretend that nothing is cached, and a plain array that says what the log must hold. */
#ifndef TESTS_LIB_LOG_FIXTURE_H
#define TESTS_LIB_LOG_FIXTURE_H

#include "base/uv_env.h"
#include "replication/log.h"

/* ---- The env ---- */

#define FIXTURE_RANGE_COUNT 256

struct log_fixture {
    struct env env;              /* the real disk, wrapped */
    struct uv_env *uv;
    struct disk disk;
    struct workers workers;
    struct list jobs;            /* submitted, not run */
    bool is_cold;                /* pread_nowait finds nothing cached */
    bool is_cache_limited;       /* ... or only what is below cache_size of each file */
    uint64_t cache_size;
    unsigned open_failures;      /* so many open() calls from now on fail with ERR_IO */
    enum err write_failure;      /* every pwritev() and write_out() fails with this, unless OK */
    bool is_full;                /* pwritev() and what would make a file fail with ERR_NO_SPACE */
    unsigned pread_count;        /* preads of both kinds so far */
    unsigned sync_count;
    unsigned sync_dir_count;
    unsigned open_count;
    struct disk_range written_out[FIXTURE_RANGE_COUNT]; /* in the order that jobs asked for them */
    unsigned written_out_count;
    char *dir;                   /* scratch directory */
    struct log_files *files;
};

void log_fixture_init(struct log_fixture *fixture, unsigned files_count_max);
/* The caller has closed its logs. */
void log_fixture_deinit(struct log_fixture *fixture);
/* Runs all submitted jobs, and those they submit, each to its end. */
void log_fixture_run_jobs(struct log_fixture *fixture);
/* Only the part off the loop of the jobs submitted so far; their ends come with log_fixture_run_jobs(). */
void log_fixture_run_jobs_half(struct log_fixture *fixture);

/* The process that does this ends as process_stop() ends one. Done in a child, whose stderr is not seen. */
void log_fixture_check_stop(void (*life)(void));

/* ---- Random numbers ---- */

uint64_t test_random(uint64_t *state);
/* Uniform in [low, high]. */
int64_t test_random_between(uint64_t *state, int64_t low, int64_t high);

/* ---- Batches ---- */

struct model_batch {
    int64_t base_offset;
    int32_t leader_epoch;
    int32_t count;               /* of records */
    int64_t max_timestamp;       /* in the header */
    int64_t append_ms;
    bool is_log_append_time;
    int64_t *timestamps;         /* of the records */
    struct bytes bytes;          /* as they must lie in the segment; owned */
};

struct model_batch_spec {
    int32_t count;
    size_t value_size;
    int codec;                   /* enum record_codec */
    int64_t base_timestamp;
    int64_t step_min;            /* each timestamp is the one before plus a step in [step_min, step_max] */
    int64_t step_max;
    bool is_max_wrong;           /* the header's highest timestamp is the first one, as some clients send it */
    bool is_log_append_time;     /* ... or the append time */
};

/* What a log must hold: batches in order; those below start_offset may be gone. */
struct log_model {
    struct model_batch *batches;
    size_t count;
    size_t capacity;
    int64_t start_offset;
    int64_t end_offset;
};

void log_model_deinit(struct log_model *model);
/* Makes a batch at the end of the model. Returns it as log_append() takes it, with garbage in its first 16 bytes; the
 * bytes are the caller's (mem_free). */
struct log_batch log_model_add(struct log_model *model, const struct model_batch_spec *spec, int32_t leader_epoch,
                               int64_t append_ms, uint64_t *random);
/* Takes batches off the end until `count` are left. */
void log_model_cut(struct log_model *model, size_t count);
/* Number of the batch that holds `offset` < end_offset. */
size_t log_model_find(const struct log_model *model, int64_t offset);

/* Adds a batch to both. */
void log_model_append(struct log_model *model, struct log *log, const struct model_batch_spec *spec,
                      int32_t leader_epoch, int64_t append_ms, uint64_t *random);
/* Appends again what the model has at and behind the log's end. */
void log_model_replay(const struct log_model *model, struct log *log);

/* Reads at `offset`, from the cache or in a job, and checks the answer against the model. Returns bytes got. */
size_t log_model_check_read(struct log_fixture *fixture, const struct log_model *model, struct log *log,
                            int64_t offset, size_t size_max, bool is_first_whole);
/* Reads all of it, in sequence. */
void log_model_check(struct log_fixture *fixture, const struct log_model *model, struct log *log);

/* ---- Logs of the fixture ---- */

/* Opens the log in the fixture's directory; a failure ends the test. */
struct log *log_fixture_open(struct log_fixture *fixture, const struct log_config *config,
                             const struct log_state *state);
/* Reads from the cache, or else in a job, which is run at once. */
enum err log_fixture_read(struct log_fixture *fixture, struct log *log, struct log_read *req);
/* Capture, sync and done in one. */
void log_fixture_capture(struct log *log, struct log_state *state, bool is_ok);
/* Path of the log's directory, and of one of its files. */
#define FIXTURE_PATH_SIZE 512
void log_fixture_dir(const struct log_fixture *fixture, char path[FIXTURE_PATH_SIZE]);
void log_fixture_path(const struct log_fixture *fixture, int64_t base_offset, const char *suffix,
                      char path[FIXTURE_PATH_SIZE]);

/* Whole files, behind the log's back. The bytes are the caller's: test_bytes_free(). Empty when there is no such
 * file. */
struct bytes test_file_read(const char *path);
void test_file_write(const char *path, struct bytes bytes);
void test_bytes_free(struct bytes bytes);

/* Random batches: mixed sizes, timestamps near *now_ms, which moves on. */
void log_model_append_random(struct log_model *model, struct log *log, unsigned count, int64_t *now_ms,
                             uint64_t *random);
/* Small batches whose timestamps go back and forth, of all codecs and both kinds of timestamps. */
void log_model_append_times(struct log_model *model, struct log *log, unsigned count, int64_t *now_ms,
                            uint64_t *random);
/* Compares a lookup by time with a scan of the model. */
void log_model_check_time(const struct log_model *model, struct log *log, int64_t timestamp);
void log_model_check_max_time(const struct log_model *model, struct log *log);

#endif
