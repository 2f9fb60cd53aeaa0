/* Terms of a log as runs, against a plain array. */
#include "base/mem.h"
#include "replication/term_log.h"
#include "tests/lib/test.h"

#include <stdlib.h>

enum {
    MODEL_MAX = 4000
};

static uint64_t model[MODEL_MAX]; /* term by index */
static unsigned random_state;

static unsigned draw(unsigned bound)
{
    random_state = random_state * 1103515245u + 12345u;
    return (random_state >> 12) % bound;
}

static void check(const struct term_log *log, uint64_t base, uint64_t last)
{
    ck_assert_uint_eq(log->base_index, base);
    ck_assert_uint_eq(log->last_index, last);
    ck_assert_uint_eq(term_log_last(log), last == 0 ? 0 : model[last]);
    if (base > 0) {
        ck_assert_uint_eq(term_log_at(log, base - 1), 0);
    }
    for (uint64_t index = base; index <= last; index++) {
        ck_assert_uint_eq(term_log_at(log, index), index == 0 ? 0 : model[index]);
    }
    ck_assert_uint_eq(term_log_at(log, last + 1), 0);
    for (uint64_t index = base + 1; index <= last; index += 7) {
        uint64_t start = index;
        while (start > base + 1 && model[start - 1] == model[index]) {
            start--;
        }
        ck_assert_uint_eq(term_log_run_start(log, index), start);
    }
    for (unsigned i = 1; i < log->count; i++) { /* runs are real runs */
        ck_assert_uint_gt(log->runs[i].first_index, log->runs[i - 1].first_index);
        ck_assert_uint_gt(log->runs[i].term, log->runs[i - 1].term);
    }
}

/* Goal: the runs always say what a list of all terms would. Method: seeded appends, cuts, trims and resets, compared in
 * full after each. */
START_TEST(runs_are_the_same_as_a_list)
{
    struct term_log log;
    random_state = (unsigned)_i * 7919u + 1;
    term_log_init(&log);
    uint64_t base = 0;
    uint64_t last = 0;
    check(&log, base, last);
    for (unsigned step = 0; step < 300; step++) {
        switch (draw(8)) {
        case 0: /* cut */
            if (last > base) {
                uint64_t index = base + 1 + draw((unsigned)(last - base));
                term_log_cut(&log, index);
                last = index - 1;
            }
            break;
        case 1: /* trim */
            if (last > base && draw(3) == 0) {
                base += draw((unsigned)(last - base) + 1);
                term_log_trim(&log, base);
            }
            break;
        case 2: /* another state was installed */
            if (draw(20) == 0 && last + 50 < MODEL_MAX) {
                uint64_t term = (last > 0 ? model[last] : 0) + 1;
                base = last + 1 + draw(20);
                last = base;
                model[base] = term;
                term_log_reset(&log, base, term);
            }
            break;
        default: {
            uint64_t term = (last > 0 ? model[last] : 1) + (draw(6) == 0 ? 1 + draw(3) : 0);
            for (unsigned count = draw(6); count > 0 && last + 1 < MODEL_MAX; count--) {
                model[++last] = term;
                term_log_append(&log, term);
            }
            break;
        }
        }
        check(&log, base, last);
    }
    term_log_deinit(&log);
}
END_TEST

static Suite *term_log_suite(void)
{
    Suite *suite = suite_create("term_log");
    TCase *all = tcase_create("term_log");
    tcase_add_loop_test(all, runs_are_the_same_as_a_list, 0, 50);
    suite_add_tcase(suite, all);
    return suite;
}

TEST_MAIN(term_log_suite)
