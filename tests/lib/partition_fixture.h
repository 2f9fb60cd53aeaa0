/* A partition under test: a clock, timers and tasks that the test moves by hand, over the log fixture's disk;
 * requests that remember their answers; batches of known contents. */
#ifndef TESTS_LIB_PARTITION_FIXTURE_H
#define TESTS_LIB_PARTITION_FIXTURE_H

#include "replication/partition.h"
#include "tests/lib/log_fixture.h"

struct partition_fixture {
    struct log_fixture log;        /* log.env is the env of all */
    struct clock clock;
    struct timers timers;
    struct tasks tasks;
    int64_t wall_ms;
    int64_t monotonic_us;
    struct list task_list;
    struct timer *timer_set[8];    /* set ones, in no order */
    int64_t timer_due_us[8];
};

void partition_fixture_init(struct partition_fixture *fixture);
void partition_fixture_deinit(struct partition_fixture *fixture);
/* Runs the tasks queued, and those they queue: the end of a loop turn. */
void partition_fixture_turn(struct partition_fixture *fixture);
/* Moves both clocks and fires what is due. */
void partition_fixture_pass(struct partition_fixture *fixture, int64_t ms);
unsigned partition_fixture_timer_count(const struct partition_fixture *fixture);

/* A config under which everything is accepted. */
struct partition_config partition_fixture_config(void);

/* ---- Batches ---- */

struct batch_spec {
    int count;                     /* records; 0 means 1 */
    size_t value_size;
    enum record_codec codec;
    bool has_producer;
    int64_t producer_id;
    int16_t producer_epoch;
    int32_t sequence;
    int64_t timestamp;
};
/* A batch as a client sends it, alone in its block. */
struct shared *batch_new(const struct batch_spec *spec);

/* ---- Requests ---- */

struct test_produce {
    struct partition_produce req;
    unsigned answers;              /* times that it was called back */
    unsigned number;               /* of the answer among all answers of the process */
};
extern unsigned test_answers;      /* given so far */

/* Takes over the block. The request goes to the partition at once. */
void test_produce(struct partition *partition, struct test_produce *produce, struct shared *block);
void test_produce_acks(struct partition *partition, struct test_produce *produce, struct shared *block, bool is_all);
void test_produce_spec(struct partition *partition, struct test_produce *produce, const struct batch_spec *spec);
void test_produce_deinit(struct test_produce *produce);

struct test_trim {
    struct partition_trim req;
    unsigned answers;
};
void test_trim(struct partition *partition, struct test_trim *trim, int64_t offset);

struct test_watch {
    struct partition_watch watch;
    unsigned wakes;
};
void test_watch(struct partition *partition, struct test_watch *watch, int64_t bytes);

/* All bytes of all segment files of a directory, .log only, in order of names; mem_free() the data. */
struct bytes segments_read(const char *dir);

#endif
