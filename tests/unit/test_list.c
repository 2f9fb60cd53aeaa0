/* The intrusive list: order, moves, and links that are on no list. */
#include "base/list.h"

#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "base/mem.h"
#include "tests/lib/test.h"

struct item {
    char name;
    struct list link;
};

static struct item items[8];
static struct list head;

static void setup(void)
{
    list_init(&head);
    for (size_t i = 0; i < array_count(items); i++) {
        items[i].name = (char)('a' + i);
        list_init(&items[i].link);
    }
}

/* Names in order; checks the way back too. */
static const char *names(const struct list *list)
{
    static char text[array_count(items) + 1];
    size_t count = 0;
    for (const struct list *link = list->next; link != list; link = link->next) {
        ck_assert_ptr_eq(link->prev->next, link);
        ck_assert_ptr_eq(link->next->prev, link);
        ck_assert_uint_lt(count, array_count(items));
        text[count++] = container_of(link, const struct item, link)->name;
    }
    text[count] = '\0';
    return text;
}

/* Goal: push goes to the tail, push_front to the head, pop takes the head, and an empty list gives NULL. */
START_TEST(order_is_kept)
{
    ck_assert(list_is_empty(&head));
    ck_assert_ptr_null(list_pop(&head));
    list_push(&head, &items[0].link);
    list_push(&head, &items[1].link);
    list_push_front(&head, &items[2].link);
    list_insert_before(&items[1].link, &items[3].link);
    ck_assert_str_eq(names(&head), "cadb");
    ck_assert_ptr_eq(list_pop(&head), &items[2].link);
    ck_assert(list_is_empty(&items[2].link));
    ck_assert_str_eq(names(&head), "adb");
    while (list_pop(&head) != NULL) {
    }
    ck_assert(list_is_empty(&head));
}
END_TEST

/* Goal: a removed link may be removed again, and put on a list again. */
START_TEST(removal_may_be_repeated)
{
    list_push(&head, &items[0].link);
    list_push(&head, &items[1].link);
    list_remove(&items[0].link);
    list_remove(&items[0].link);
    ck_assert_str_eq(names(&head), "b");
    list_push(&head, &items[0].link);
    ck_assert_str_eq(names(&head), "ba");
}
END_TEST

static const struct {
    size_t target_count;
    size_t source_count;
    const char *expected;
} move_cases[] = {{0, 0, ""}, {0, 3, "efg"}, {3, 0, "abc"}, {3, 1, "abce"}, {2, 3, "abefg"}};

/* Goal: a whole list moves behind another, whichever of them is empty. */
START_TEST(move_all_keeps_both_orders)
{
    struct list source;
    list_init(&source);
    for (size_t i = 0; i < move_cases[_i].target_count; i++) {
        list_push(&head, &items[i].link);
    }
    for (size_t i = 0; i < move_cases[_i].source_count; i++) {
        list_push(&source, &items[4 + i].link);
    }
    list_move_all(&head, &source);
    ck_assert_str_eq(names(&head), move_cases[_i].expected);
    ck_assert(list_is_empty(&source));
}
END_TEST

static Suite *list_suite(void)
{
    Suite *suite = suite_create("list");
    TCase *tcase = tcase_create("list");
    tcase_add_checked_fixture(tcase, setup, NULL);
    tcase_add_test(tcase, order_is_kept);
    tcase_add_test(tcase, removal_may_be_repeated);
    tcase_add_loop_test(tcase, move_all_keeps_both_orders, 0, array_count(move_cases));
    suite_add_tcase(suite, tcase);
    return suite;
}

TEST_MAIN(list_suite)
