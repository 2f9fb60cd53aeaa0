/* The mailbox over real loops: also the test that ThreadSanitizer watches. */
#include <pthread.h>

#include "base/limits.h"
#include "base/mailbox.h"
#include "base/mem.h"
#include "base/uv_env.h"
#include "tests/lib/test.h"

enum {
    SHARD_COUNT = 4,
    SENT_COUNT = 2000
};

struct shard {
    pthread_t thread;
    unsigned number;
    struct uv_env *uv;
    struct mailbox *mailbox;
    struct task send;
    uint64_t sent;                  /* to each shard */
    uint64_t received[SHARD_COUNT]; /* from each shard */
    uint64_t received_count;
};

struct ball {
    struct message message;
    struct shard *target;
    unsigned from;
    uint64_t sequence;
};

static struct shard shards[SHARD_COUNT];
static pthread_barrier_t all_open;
static pthread_barrier_t all_done;

static void ball_on_delivered(struct message *message)
{
    struct ball *ball = container_of(message, struct ball, message);
    struct shard *shard = ball->target;
    ck_assert_int_ne(pthread_equal(pthread_self(), shard->thread), 0);
    ck_assert_uint_eq(ball->sequence, shard->received[ball->from]);
    shard->received[ball->from]++;
    shard->received_count++;
    mem_free(ball);
    if (shard->received_count == (uint64_t)SHARD_COUNT * SENT_COUNT) {
        uv_env_stop(shard->uv);
    }
}

static struct timer again[SHARD_COUNT];

/* `together`: a list for each shard, to be sent later; NULL: each message at once. */
static void shard_send(struct shard *shard, struct list *together)
{
    for (unsigned i = 0; i < SHARD_COUNT; i++) {
        struct ball *ball = mem_alloc(sizeof(*ball));
        ball->message.cb = ball_on_delivered;
        ball->target = &shards[i];
        ball->from = shard->number;
        ball->sequence = shard->sent;
        if (together != NULL) {
            list_push(&together[i], &ball->message.link);
            continue;
        }
        uint64_t before = shard->received_count;
        mailbox_send(shards[i].mailbox, &ball->message);
        ck_assert_uint_eq(before, shard->received_count); /* never inside the call */
    }
    shard->sent++;
}

/* Bursts with the loop's waits between them, so that both an empty and a non-empty box are met. */
static void shard_on_timer(struct timer *timer)
{
    struct shard *shard = &shards[timer - again];
    struct list together[SHARD_COUNT];
    bool is_together = env_random(uv_env_env(shard->uv)) % 2 == 0;
    for (unsigned i = 0; i < SHARD_COUNT; i++) {
        list_init(&together[i]);
    }
    for (int i = 0; i < 50 && shard->sent < SENT_COUNT; i++) {
        shard_send(shard, is_together ? together : NULL);
    }
    for (unsigned i = 0; i < SHARD_COUNT; i++) {
        mailbox_send_all(shards[i].mailbox, &together[i]);
        ck_assert(list_is_empty(&together[i]));
    }
    if (shard->sent < SENT_COUNT) {
        env_timer(uv_env_env(shard->uv), timer, (int64_t)(env_random(uv_env_env(shard->uv)) % 300));
    }
}

static void *shard_main(void *context)
{
    struct shard *shard = context;
    ck_assert_int_eq(uv_env_open(shard->number, NULL, &shard->uv, NULL), OK);
    struct env *env = uv_env_env(shard->uv);
    shard->thread = pthread_self();
    shard->mailbox = mailbox_open(env);
    pthread_barrier_wait(&all_open);
    timer_init(&again[shard->number], shard_on_timer);
    env_timer(env, &again[shard->number], 0);
    uv_env_run(shard->uv);
    pthread_barrier_wait(&all_done);
    mailbox_close(shard->mailbox);
    uv_env_close(shard->uv);
    return NULL;
}

/* Goal: between any two shards every message arrives once, in order, on the receiver's thread, never inside the
 * sending call. Method: four loops, each sends numbered messages to all, itself included, one by one or as
 * lists. */
START_TEST(messages_arrive_once_in_order_on_the_receivers_thread)
{
    pthread_t threads[SHARD_COUNT];
    pthread_barrier_init(&all_open, NULL, SHARD_COUNT);
    pthread_barrier_init(&all_done, NULL, SHARD_COUNT);
    for (unsigned i = 0; i < SHARD_COUNT; i++) {
        shards[i] = (struct shard){.number = i};
        ck_assert_int_eq(pthread_create(&threads[i], NULL, shard_main, &shards[i]), 0);
    }
    for (unsigned i = 0; i < SHARD_COUNT; i++) {
        pthread_join(threads[i], NULL);
    }
    for (unsigned i = 0; i < SHARD_COUNT; i++) {
        for (unsigned from = 0; from < SHARD_COUNT; from++) {
            ck_assert_uint_eq(shards[i].received[from], SENT_COUNT);
        }
    }
    pthread_barrier_destroy(&all_open);
    pthread_barrier_destroy(&all_done);
}
END_TEST

static Suite *mailbox_suite(void)
{
    Suite *suite = suite_create("mailbox");
    TCase *tcase = tcase_create("threads");
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, messages_arrive_once_in_order_on_the_receivers_thread);
    suite_add_tcase(suite, tcase);
    return suite;
}

TEST_MAIN(mailbox_suite)
