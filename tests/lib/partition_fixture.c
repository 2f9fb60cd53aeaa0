/* Timers fire only in partition_fixture_pass(), tasks only in partition_fixture_turn(). */
#include "tests/lib/partition_fixture.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "proto/records.h"
#include "tests/lib/test.h"

unsigned test_answers;

/* ---- The env ---- */

static int64_t fixture_monotonic_us(struct clock *clock)
{
    return container_of(clock, struct partition_fixture, clock)->monotonic_us;
}

static int64_t fixture_wall_ms(struct clock *clock)
{
    return container_of(clock, struct partition_fixture, clock)->wall_ms;
}

static void fixture_timer_cancel(struct timers *timers, struct timer *timer)
{
    struct partition_fixture *fixture = container_of(timers, struct partition_fixture, timers);
    for (size_t i = 0; i < array_count(fixture->timer_set); i++) {
        if (fixture->timer_set[i] == timer) {
            fixture->timer_set[i] = NULL;
        }
    }
}

static void fixture_timer_set(struct timers *timers, struct timer *timer, int64_t delay_us)
{
    struct partition_fixture *fixture = container_of(timers, struct partition_fixture, timers);
    fixture_timer_cancel(timers, timer);
    for (size_t i = 0; i < array_count(fixture->timer_set); i++) {
        if (fixture->timer_set[i] == NULL) {
            fixture->timer_set[i] = timer;
            fixture->timer_due_us[i] = fixture->monotonic_us + delay_us;
            return;
        }
    }
    ck_abort_msg("too many timers");
}

static void fixture_task_queue(struct tasks *tasks, struct task *task)
{
    struct partition_fixture *fixture = container_of(tasks, struct partition_fixture, tasks);
    if (list_is_empty(&task->link)) {
        list_push(&fixture->task_list, &task->link);
    }
}

static void fixture_task_cancel(struct tasks *tasks, struct task *task)
{
    (void)tasks;
    list_remove(&task->link);
}

void partition_fixture_init(struct partition_fixture *fixture)
{
    memset(fixture, 0, sizeof(*fixture));
    log_fixture_init(&fixture->log, 64);
    list_init(&fixture->task_list);
    fixture->clock = (struct clock){fixture_monotonic_us, fixture_wall_ms};
    fixture->timers = (struct timers){fixture_timer_set, fixture_timer_cancel};
    fixture->tasks = (struct tasks){fixture_task_queue, fixture_task_cancel};
    fixture->wall_ms = 1700000000000;
    fixture->log.env.clock = &fixture->clock;
    fixture->log.env.timers = &fixture->timers;
    fixture->log.env.tasks = &fixture->tasks;
}

void partition_fixture_deinit(struct partition_fixture *fixture)
{
    ck_assert(list_is_empty(&fixture->task_list));
    ck_assert_uint_eq(partition_fixture_timer_count(fixture), 0);
    log_fixture_deinit(&fixture->log);
}

void partition_fixture_turn(struct partition_fixture *fixture)
{
    struct list *link;
    unsigned count = 0;
    while ((link = list_pop(&fixture->task_list)) != NULL) {
        struct task *task = container_of(link, struct task, link);
        task->cb(task);
        ck_assert_msg(++count < 10000, "tasks queue tasks for ever");
    }
}

void partition_fixture_pass(struct partition_fixture *fixture, int64_t ms)
{
    fixture->wall_ms += ms;
    fixture->monotonic_us += 1000 * ms;
    for (size_t i = 0; i < array_count(fixture->timer_set); i++) {
        struct timer *timer = fixture->timer_set[i];
        if (timer != NULL && fixture->timer_due_us[i] <= fixture->monotonic_us) {
            fixture->timer_set[i] = NULL;
            timer->cb(timer);
        }
    }
    partition_fixture_turn(fixture);
}

unsigned partition_fixture_timer_count(const struct partition_fixture *fixture)
{
    unsigned count = 0;
    for (size_t i = 0; i < array_count(fixture->timer_set); i++) {
        count += fixture->timer_set[i] != NULL;
    }
    return count;
}

struct partition_config partition_fixture_config(void)
{
    return (struct partition_config){
        .log = {.segment_size_max = 1 << 20, .segment_ms = INT64_MAX, .index_interval = 4096},
        .max_message_bytes = 1 << 20,
        .timestamp_before_max_ms = INT64_MAX,
        .timestamp_after_max_ms = INT64_MAX,
        .retention_ms = -1,
        .retention_bytes = -1,
        .is_deleted_by_retention = true,
        .producer_expiration_ms = 86400000,
    };
}

/* ---- Batches and requests ---- */

struct shared *batch_new(const struct batch_spec *spec)
{
    struct record_builder *builder = record_builder_open(spec->codec, spec->timestamp);
    if (spec->has_producer) {
        record_builder_producer(builder, spec->producer_id, spec->producer_epoch, spec->sequence);
    }
    uint8_t *data = mem_alloc(spec->value_size + 1);
    memset(data, 'v', spec->value_size);
    struct bytes value = {data, spec->value_size};
    for (int i = 0; i < (spec->count > 0 ? spec->count : 1); i++) {
        record_builder_add(builder, spec->timestamp + i, NULL, &value, NULL, 0);
    }
    mem_free(data);
    return record_builder_finish(builder);
}

static void produce_on_answer(struct partition_produce *req)
{
    struct test_produce *produce = container_of(req, struct test_produce, req);
    produce->answers++;
    produce->number = ++test_answers;
}

void test_produce(struct partition *partition, struct test_produce *produce, struct shared *block)
{
    test_produce_acks(partition, produce, block, true);
}

void test_produce_acks(struct partition *partition, struct test_produce *produce, struct shared *block, bool is_all)
{
    *produce = (struct test_produce){0};
    produce->req.is_acks_all = is_all;
    produce->req.batch = slice_of(block, 0, block->size);
    produce->req.is_zstd_allowed = true;
    produce->req.cb = produce_on_answer;
    shared_release(block);
    partition_produce(partition, &produce->req);
    ck_assert_msg(produce->answers == 0, "answered inside the call");
}

void test_produce_spec(struct partition *partition, struct test_produce *produce, const struct batch_spec *spec)
{
    test_produce(partition, produce, batch_new(spec));
}

void test_produce_deinit(struct test_produce *produce)
{
    slice_release(&produce->req.batch);
}

static void trim_on_answer(struct partition_trim *req)
{
    container_of(req, struct test_trim, req)->answers++;
}

void test_trim(struct partition *partition, struct test_trim *trim, int64_t offset)
{
    *trim = (struct test_trim){.req = {.offset = offset, .cb = trim_on_answer}};
    partition_trim(partition, &trim->req);
    ck_assert_msg(trim->answers == 0, "answered inside the call");
}

static void watch_on_wake(struct partition_watch *watch)
{
    container_of(watch, struct test_watch, watch)->wakes++;
}

void test_watch(struct partition *partition, struct test_watch *watch, int64_t bytes)
{
    *watch = (struct test_watch){.watch = {.cb = watch_on_wake, .bytes = bytes}};
    partition_watch(partition, &watch->watch);
    ck_assert_msg(watch->wakes == 0, "woken inside the call");
}

/* ---- Files ---- */

static int is_segment(const struct dirent *entry)
{
    size_t size = strlen(entry->d_name);
    return size > 4 && strcmp(entry->d_name + size - 4, ".log") == 0;
}

struct bytes segments_read(const char *dir)
{
    struct dirent **names = NULL;
    int count = scandir(dir, &names, is_segment, alphasort);
    ck_assert_int_ge(count, 0);
    uint8_t *data = NULL;
    size_t size = 0;
    for (int i = 0; i < count; i++) {
        char path[1024];
        (void)snprintf(path, sizeof(path), "%s/%s", dir, names[i]->d_name);
        FILE *file = fopen(path, "rb");
        ck_assert_ptr_nonnull(file);
        size_t room = 1 << 22;
        data = mem_resize(data, size + room);
        size_t got = fread(data + size, 1, room, file);
        ck_assert_uint_lt(got, room);
        size += got;
        (void)fclose(file);
        free(names[i]);
    }
    free(names);
    return (struct bytes){data, size};
}
