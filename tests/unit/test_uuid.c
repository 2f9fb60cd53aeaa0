/* UUIDs as text. */
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"
#include "proto/uuid.h"
#include "tests/lib/test.h"

struct uuid_case {
    const char *name;
    struct uuid uuid;
    const char *text;
};

/* The texts are Python's base64.urlsafe_b64encode() without its padding. */
static const struct uuid_case uuid_cases[] = {
    {"zero", {{0}}, "AAAAAAAAAAAAAAAAAAAAAA"},
    {"ones",
     {{255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255}},
     "_____________________w"},
    {"both odd characters", {{0xfb, 0xff, 0xbf, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}}, "-_-_AAAAAAAAAAAAAAAAAQ"},
    {"counting", {{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}}, "AAECAwQFBgcICQoLDA0ODw"},
};

/* Goal: text as Kafka prints it, and back. Method: known pairs. */
START_TEST(text_and_back_are_inverse)
{
    const struct uuid_case *c = &uuid_cases[_i];
    char text[UUID_TEXT_SIZE];
    uuid_to_text(&c->uuid, text);
    ck_assert_msg(strcmp(text, c->text) == 0, "%s: %s", c->name, text);
    struct uuid uuid;
    ck_assert_int_eq(uuid_from_text(bytes_from_text(text), &uuid), OK);
    ck_assert_msg(uuid_equal(&uuid, &c->uuid), "%s", c->name);
    ck_assert_msg(uuid_is_zero(&uuid) == (_i == 0), "%s", c->name);
}
END_TEST

static const char *const bad_texts[] = {
    "",
    "AAAAAAAAAAAAAAAAAAAAA",   /* one too few */
    "AAAAAAAAAAAAAAAAAAAAAAA", /* one too many */
    "AAAAAAAAAAAAAAAAAAAAAB",  /* bits behind the 128th */
    "AAAAAAAAAAAAAAAAAAAA==",  /* padding */
    "AAAAAAAAAA+AAAAAAAAAAA",  /* the other alphabet */
    "AAAAAAAAAA/AAAAAAAAAAA",
    "AAAAAAAAAA AAAAAAAAAAA",
};

/* Goal: nothing but one spelling of an id is taken. Method: near misses, and a NUL in the middle; the target is
 *       untouched. */
START_TEST(bad_text_is_refused)
{
    struct uuid uuid = uuid_cases[3].uuid;
    ck_assert_int_eq(uuid_from_text(bytes_from_text(bad_texts[_i]), &uuid), ERR_INVALID);
    uint8_t with_nul[UUID_TEXT_SIZE - 1] = {'A', 0};
    ck_assert_int_eq(uuid_from_text((struct bytes){with_nul, sizeof(with_nul)}, &uuid), ERR_INVALID);
    ck_assert(uuid_equal(&uuid, &uuid_cases[3].uuid));
}
END_TEST

static Suite *uuid_suite(void)
{
    Suite *suite = suite_create("uuid");
    TCase *text = tcase_create("text");
    tcase_add_loop_test(text, text_and_back_are_inverse, 0, (int)array_count(uuid_cases));
    tcase_add_loop_test(text, bad_text_is_refused, 0, (int)array_count(bad_texts));
    suite_add_tcase(suite, text);
    return suite;
}

TEST_MAIN(uuid_suite)
