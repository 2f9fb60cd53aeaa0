/* Happy path: once a second a job checks the next bytes of the present segment; at its end the next segment, at the end
 * of a partition the next group by id, then from the start. Between two jobs nothing is held, so a segment or a group
 * that is gone is passed over.
 * Failure: a bad batch in a segment that is still the partition's is damage. A segment that was trimmed, or a log that
 * another one took the place of while the job ran, is not. */
#include "replication/scrub.h"

#include "base/assert.h"
#include "base/crc32c.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/trace.h"
#include "proto/record_batch.h"
#include "replication/log_internal.h"
#include "replication/partition.h"
#include "replication/segment_check.h"

#include <inttypes.h>
#include <string.h>

#define STEP_US (INT64_C(1000) * 1000)
#define BLOCK_SIZE MIB(1)

struct scrub {
    struct env *env;
    struct replicas *replicas;
    int64_t bytes_per_second;
    struct timer timer;
    struct work work;
    uint64_t group;  /* at work; 0: none */
    struct log *log; /* while the job runs: pinned */
    char *dir;
    struct segment_check check; /* of the present segment; size 0: none */
    enum err err;
    struct errmsg msg;
    bool is_running;
    bool is_closing;
    void *owner;
    void (*cb)(void *owner);
};

/* ---- What is next ---- */

struct next_group {
    uint64_t after;
    uint64_t found; /* 0: none */
};

static void consider(void *context, uint64_t group, struct replica_machine *machine)
{
    struct next_group *next = context;
    if (machine != NULL && partition_is_machine(machine) && group > next->after &&
        (next->found == 0 || group < next->found)) {
        next->found = group;
    }
}

static bool set_segment(struct scrub *scrub, const struct log_state *state, size_t number)
{
    if (number + 1 >= state->segment_count) {
        return false; /* the last one takes appends */
    }
    scrub->check.base_offset = state->segments[number].base_offset;
    scrub->check.version = state->segments[number].version;
    scrub->check.end_offset = state->segments[number + 1].base_offset;
    scrub->check.size = state->segments[number].size;
    scrub->check.position = 0;
    scrub->check.next_offset = scrub->check.base_offset;
    return true;
}

/* The segment at work goes on, or the one behind it begins. */
static bool find_segment(struct scrub *scrub, const struct log_state *state)
{
    size_t number = 0;
    bool is_at_work = scrub->check.size > 0 && scrub->check.position < scrub->check.size;
    while (number < state->segment_count && scrub->check.size > 0 &&
           state->segments[number].base_offset < scrub->check.base_offset) {
        number++;
    }
    bool is_there = number + 1 < state->segment_count && scrub->check.size > 0 &&
                    state->segments[number].base_offset == scrub->check.base_offset;
    if (is_there && is_at_work && state->segments[number].size == scrub->check.size &&
        state->segments[number].version == scrub->check.version) {
        return true;
    }
    return set_segment(scrub, state, is_there ? number + 1 : number);
}

static struct partition *partition_at(const struct scrub *scrub)
{
    struct replica_machine *machine = replicas_machine(scrub->replicas, scrub->group);
    if (machine == NULL || !partition_is_machine(machine)) {
        return NULL;
    }
    struct partition *partition = partition_of_machine(machine);
    return partition_log(partition) != NULL ? partition : NULL;
}

/* ---- The job ---- */

static void scrub_on_run(struct work *work)
{
    struct scrub *scrub = container_of(work, struct scrub, work);
    char path[SEGMENT_PATH_SIZE];
    struct segment_id id = {scrub->check.base_offset, scrub->check.version};
    segment_path(scrub->dir, id, SEGMENT_LOG, path);
    scrub->check.disk = scrub->env->disk;
    scrub->check.dir = scrub->dir;
    scrub->check.size_max = (size_t)scrub->bytes_per_second;
    scrub->err = scrub->env->disk->open(scrub->env->disk, path, DISK_READ_ONLY, &scrub->check.file, &scrub->msg);
    if (scrub->err != OK) {
        return;
    }
    scrub->err = segment_check(&scrub->check, &scrub->msg);
    scrub->env->disk->close(scrub->env->disk, scrub->check.file);
}

static void scrub_end(struct scrub *scrub)
{
    void (*cb)(void *owner) = scrub->cb;
    void *owner = scrub->owner;
    mem_free(scrub);
    cb(owner);
}

/* Only what is certain: the log that was read is still the partition's, and has the segment. */
static void take_damage(struct scrub *scrub)
{
    struct partition *partition = partition_at(scrub);
    bool is_damage = scrub->err == ERR_DAMAGED || scrub->err == ERR_NOT_FOUND;
    const struct segment *segment = partition != NULL && partition_log(partition) == scrub->log
                                        ? log_segment_at(scrub->log, scrub->check.base_offset)
                                        : NULL;
    if (is_damage && segment != NULL && segment->version == scrub->check.version) {
        trace(ERROR, LOG, "scrub found damage", KV("group", (int64_t)scrub->group),
              KV("cause", (const char *)scrub->msg.text));
        struct replica_machine *machine = replicas_machine(scrub->replicas, scrub->group);
        if (machine->replica != NULL) {
            replica_damaged(machine->replica, scrub->msg.text);
        }
    }
    scrub->check.size = 0; /* the next group */
}

static void scrub_on_done(struct work *work)
{
    struct scrub *scrub = container_of(work, struct scrub, work);
    scrub->is_running = false;
    if (scrub->err != OK && !scrub->is_closing) {
        take_damage(scrub);
    }
    log_unpin(scrub->log);
    scrub->log = NULL;
    mem_free(scrub->dir);
    scrub->dir = NULL;
    if (scrub->is_closing) {
        scrub_end(scrub);
        return;
    }
    env_timer(scrub->env, &scrub->timer, STEP_US);
}

static bool scrub_step(struct scrub *scrub)
{
    struct partition *partition = partition_at(scrub);
    struct log_state state;
    if (partition == NULL) {
        return false;
    }
    if (log_pin(partition_log(partition), &state) != OK) {
        return false;
    }
    bool is_found = find_segment(scrub, &state);
    log_state_deinit(&state);
    if (!is_found) {
        log_unpin(partition_log(partition));
        return false;
    }
    scrub->log = partition_log(partition);
    scrub->dir = mem_strdup(log_dir(scrub->log));
    scrub->is_running = true;
    scrub->work = (struct work){.run = scrub_on_run, .done = scrub_on_done};
    scrub->env->workers->submit(scrub->env->workers, &scrub->work);
    return true;
}

static void scrub_on_timer(struct timer *timer)
{
    struct scrub *scrub = container_of(timer, struct scrub, timer);
    if (scrub->group != 0 && scrub_step(scrub)) {
        return;
    }
    struct next_group next = {.after = scrub->group};
    replicas_each(scrub->replicas, &next, consider);
    scrub->group = next.found;
    scrub->check.size = 0;
    env_timer(scrub->env, &scrub->timer, STEP_US);
}

struct scrub *scrub_open(struct env *env, struct replicas *replicas, int64_t bytes_per_second)
{
    struct scrub *scrub = mem_alloc(sizeof(*scrub));
    scrub->env = env;
    scrub->replicas = replicas;
    scrub->bytes_per_second = bytes_per_second;
    timer_init(&scrub->timer, scrub_on_timer);
    if (bytes_per_second > 0) {
        env_timer(env, &scrub->timer, STEP_US);
    }
    return scrub;
}

void scrub_close(struct scrub *scrub, void *owner, void (*cb)(void *owner))
{
    scrub->is_closing = true;
    scrub->owner = owner;
    scrub->cb = cb;
    env_timer_cancel(scrub->env, &scrub->timer);
    if (!scrub->is_running) {
        scrub_end(scrub);
    }
}

/* ---- Digests ---- */

static enum err digest_segment(struct digest *digest, size_t number)
{
    const struct log_segment_state *segment = &digest->state.segments[number];
    bool is_last = number + 1 == digest->state.segment_count;
    struct log_file file;
    struct disk *disk = digest->env->disk;
    char path[SEGMENT_PATH_SIZE];
    segment_path(digest->dir, (struct segment_id){segment->base_offset, segment->version}, SEGMENT_LOG, path);
    enum err err = disk->open(disk, path, DISK_READ_ONLY, &file.file, &digest->msg);
    if (err != OK) {
        return err;
    }
    struct segment_view view = {
        .disk = disk,
        .dir = digest->dir,
        .base_offset = segment->base_offset,
        .version = segment->version,
        .end_offset = is_last ? digest->state.end_offset : digest->state.segments[number + 1].base_offset,
        .size = (uint32_t)segment->size,
        .files = {&file},
    };
    struct segment_read read = {
        .offset = segment->base_offset, .size_max = BLOCK_SIZE, .is_first_whole = true, .is_exact = true};
    while (err == OK && read.position < view.size && read.offset < digest->end_offset) {
        err = segment_read(&view, &read, &digest->msg);
        struct bytes rest = read.slice.bytes;
        struct record_batch batch;
        while (err == OK && rest.size > 0 && record_batch_view(rest, &batch) == OK) {
            int64_t end = batch.base_offset + batch.last_offset_delta + 1;
            if (end > digest->state.start_offset && batch.base_offset < digest->end_offset) {
                digest->start_offset = digest->size == 0 ? batch.base_offset : digest->start_offset;
                digest->crc = crc32c(digest->crc, batch.bytes);
                digest->size += batch.bytes.size;
            }
            rest = (struct bytes){rest.data + batch.bytes.size, rest.size - batch.bytes.size};
        }
        slice_release(&read.slice);
        read.offset = read.next_offset;
    }
    disk->close(disk, file.file);
    return err;
}

static void digest_on_run(struct work *work)
{
    struct digest *digest = container_of(work, struct digest, work);
    for (size_t i = 0; i < digest->state.segment_count && digest->err == OK; i++) {
        if (digest->state.segments[i].base_offset < digest->end_offset) {
            digest->err = digest_segment(digest, i);
        }
    }
}

static void digest_on_done(struct work *work)
{
    struct digest *digest = container_of(work, struct digest, work);
    if (digest->log != NULL) {
        log_unpin(digest->log);
    }
    log_state_deinit(&digest->state);
    mem_free(digest->dir);
    digest->cb(digest, digest->err);
}

void digest_start(struct env *env, struct digest *digest)
{
    assert(partition_log(digest->partition) != NULL);
    digest->env = env;
    digest->log = partition_log(digest->partition);
    digest->err = log_pin(digest->log, &digest->state);
    if (digest->err != OK) {
        digest->log = NULL;
        digest->state = (struct log_state){0};
    }
    digest->dir = mem_strdup(log_dir(partition_log(digest->partition)));
    if (digest->end_offset < 0 || digest->end_offset > digest->state.end_offset) {
        digest->end_offset = digest->state.end_offset;
    }
    digest->start_offset = digest->state.start_offset;
    digest->size = 0;
    digest->crc = 0;
    digest->work = (struct work){.run = digest_on_run, .done = digest_on_done};
    env->workers->submit(env->workers, &digest->work);
}
