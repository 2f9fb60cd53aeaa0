/* The timer heap against a model. */
#include "base/mem.h"
#include "base/timers.h"
#include "tests/lib/test.h"

enum {
    TIMER_COUNT = 200,
    STEP_COUNT = 20000
};

static void on_fire(struct timer *timer)
{
    (void)timer;
}

/* splitmix64 */
static uint64_t random_next(uint64_t *state)
{
    uint64_t z = (*state += 0x9E3779B97F4A7C15u);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

/* Goal: equal times fire in the order of setting. Method: a set timer is moved to the same time again. */
START_TEST(equal_times_fire_in_order_of_setting)
{
    struct timer_heap heap;
    struct timer timers[3];
    timer_heap_init(&heap);
    for (size_t i = 0; i < 3; i++) {
        timer_init(&timers[i], on_fire);
        timer_heap_set(&heap, &timers[i], 5);
    }
    timer_heap_set(&heap, &timers[0], 5);
    ck_assert_int_eq(timer_heap_due_us(&heap), 5);
    ck_assert_ptr_null(timer_heap_pop(&heap, 4, UINT64_MAX));
    ck_assert_ptr_eq(timer_heap_pop(&heap, 5, UINT64_MAX), &timers[1]);
    ck_assert_ptr_eq(timer_heap_pop(&heap, 5, UINT64_MAX), &timers[2]);
    ck_assert_ptr_eq(timer_heap_pop(&heap, 5, UINT64_MAX), &timers[0]);
    ck_assert_ptr_null(timer_heap_pop(&heap, 5, UINT64_MAX));
    ck_assert_int_eq(timer_heap_due_us(&heap), INT64_MAX);
    timer_heap_deinit(&heap);
}
END_TEST

/* Goal: a callback that sets a timer of no delay cannot hold the loop. Method: the bound by sequence. */
START_TEST(timers_set_during_a_run_wait_for_the_next)
{
    struct timer_heap heap;
    struct timer first;
    struct timer second;
    timer_heap_init(&heap);
    timer_init(&first, on_fire);
    timer_init(&second, on_fire);
    timer_heap_set(&heap, &first, 1);
    uint64_t end = heap.sequence;
    ck_assert_ptr_eq(timer_heap_pop(&heap, 1, end), &first);
    timer_heap_set(&heap, &second, 1);
    ck_assert_ptr_null(timer_heap_pop(&heap, 1, end));
    ck_assert_ptr_eq(timer_heap_pop(&heap, 1, heap.sequence), &second);
    timer_heap_deinit(&heap);
}
END_TEST

/* Goal: any mix of set, move, cancel and pop keeps the order. Method: random steps, each pop compared with a search
 * through all timers. */
START_TEST(random_steps_agree_with_a_search)
{
    static struct timer timers[TIMER_COUNT];
    uint64_t state = (uint64_t)_i;
    struct timer_heap heap;
    timer_heap_init(&heap);
    for (size_t i = 0; i < TIMER_COUNT; i++) {
        timer_init(&timers[i], on_fire);
    }
    for (size_t step = 0; step < STEP_COUNT; step++) {
        struct timer *timer = &timers[random_next(&state) % TIMER_COUNT];
        switch (random_next(&state) % 4) {
        case 0:
        case 1:
            timer_heap_set(&heap, timer, (int64_t)(random_next(&state) % 100));
            break;
        case 2:
            timer_heap_cancel(&heap, timer);
            ck_assert_uint_eq(timer->heap_slot, 0);
            break;
        default: {
            struct timer *first = NULL;
            for (size_t i = 0; i < TIMER_COUNT; i++) {
                struct timer *t = &timers[i];
                if (t->heap_slot != 0 && (first == NULL || t->due_us < first->due_us ||
                                          (t->due_us == first->due_us && t->sequence < first->sequence))) {
                    first = t;
                }
            }
            ck_assert_ptr_eq(timer_heap_pop(&heap, INT64_MAX, UINT64_MAX), first);
            break;
        }
        }
    }
    timer_heap_deinit(&heap);
    for (size_t i = 0; i < TIMER_COUNT; i++) {
        ck_assert_uint_eq(timers[i].heap_slot, 0);
    }
}
END_TEST

static Suite *timers_suite(void)
{
    Suite *suite = suite_create("timers");
    TCase *tcase = tcase_create("heap");
    tcase_add_test(tcase, equal_times_fire_in_order_of_setting);
    tcase_add_test(tcase, timers_set_during_a_run_wait_for_the_next);
    tcase_add_loop_test(tcase, random_steps_agree_with_a_search, 0, 5);
    suite_add_tcase(suite, tcase);
    return suite;
}

TEST_MAIN(timers_suite)
