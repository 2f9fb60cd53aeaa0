/* The members of a group, and the bytes they are written as. */
#include "base/mem.h"
#include "replication/membership.h"
#include "tests/lib/test.h"

#include <string.h>

static struct membership members(unsigned count)
{
    struct membership membership = {.count = count};
    for (unsigned i = 0; i < count; i++) {
        membership.servers[i] = (struct replica_server){.id = (uint64_t)(i + 1) << 40 | i, .is_voter = i % 3 != 2};
    }
    return membership;
}

/* Goal: decode is the inverse of encode at every size. Method: 1 to 15 servers. */
START_TEST(encoding_comes_back_the_same)
{
    for (unsigned count = 1; count <= REPLICA_SERVER_COUNT_MAX; count++) {
        struct membership in = members(count);
        struct membership out;
        uint8_t bytes[MEMBERSHIP_SIZE_MAX];
        size_t size = membership_encode(&in, bytes);
        ck_assert_uint_le(size, sizeof bytes);
        ck_assert_uint_eq(size % 8, 0);
        ck_assert_int_eq((int)membership_decode((struct bytes){bytes, size}, &out), (int)OK);
        ck_assert(membership_equal(&in, &out));
    }
}
END_TEST

/* Goal: the bytes are those that the README writes down (and libraft reads). Method: two servers, byte by byte. */
START_TEST(encoding_is_as_documented)
{
    static const uint8_t expected[] = {
        1,                                                                                  /* format */
        2,    0,   0,   0,   0,   0,   0,   0,                                              /* servers, little-endian */
        0x0a, 0,   0,   0,   0,   0,   0,   0,                                              /* id 10 */
        '0',  '0', '0', '0', '0', '0', '0', '0', '0', '0', '0', '0', '0', '0', '0', 'a', 0, /* address */
        1,                                                                                  /* voter */
        0xff, 1,   0,   0,   0,   0,   0,   0,                                              /* id 511 */
        '0',  '0', '0', '0', '0', '0', '0', '0', '0', '0', '0', '0', '0', '1', 'f', 'f', 0, 0, /* standby */
        0,    0,   0,                                                                          /* to a multiple of 8 */
    };
    struct membership membership = {.servers = {{10, true}, {511, false}}, .count = 2};
    uint8_t bytes[MEMBERSHIP_SIZE_MAX];
    size_t size = membership_encode(&membership, bytes);
    ck_assert_uint_eq(size, sizeof expected);
    ck_assert_mem_eq(bytes, expected, size);
}
END_TEST

/* Goal: libraft, which checks no bounds, never gets bytes that it could run over. Method: every prefix, every
 * extension, every single byte changed to a few values: all refused, or decoded to what encodes to the very same
 * bytes. */
START_TEST(decode_refuses_all_that_encode_would_not_write)
{
    static const uint8_t values[] = {0, 1, 2, 0x30, 0x66, 0x7f, 0x80, 0xff};
    struct membership in = members(4);
    struct membership out;
    uint8_t bytes[MEMBERSHIP_SIZE_MAX + 8] = {0};
    uint8_t again[MEMBERSHIP_SIZE_MAX];
    size_t size = membership_encode(&in, bytes);
    for (size_t cut = 0; cut <= size + 8; cut++) {
        ck_assert(membership_decode((struct bytes){bytes, cut}, &out) == (cut == size ? OK : ERR_CORRUPT));
    }
    for (size_t at = 0; at < size; at++) {
        uint8_t before = bytes[at];
        for (unsigned i = 0; i < array_count(values); i++) {
            bytes[at] = values[i];
            if (membership_decode((struct bytes){bytes, size}, &out) == OK) {
                ck_assert_uint_eq(membership_encode(&out, again), size);
                ck_assert_mem_eq(again, bytes, size);
            }
        }
        bytes[at] = before;
    }
    memset(bytes + 1, 0xff, 8); /* as many servers as a number can say */
    ck_assert_int_eq((int)membership_decode((struct bytes){bytes, size}, &out), (int)ERR_CORRUPT);
}
END_TEST

/* Goal: no spare servers, no double ones, no id 0 (R17). Method: encodings with one such thing. */
START_TEST(decode_refuses_spares_doubles_and_nobody)
{
    struct membership out;
    uint8_t bytes[MEMBERSHIP_SIZE_MAX];
    struct membership two = {.servers = {{10, true}, {11, true}}, .count = 2};
    size_t size = membership_encode(&two, bytes);
    bytes[9 + 8 + 17] = 2; /* libraft: RAFT_SPARE */
    ck_assert_int_eq((int)membership_decode((struct bytes){bytes, size}, &out), (int)ERR_CORRUPT);
    two.servers[1].id = 10;
    size = membership_encode(&two, bytes);
    ck_assert_int_eq((int)membership_decode((struct bytes){bytes, size}, &out), (int)ERR_CORRUPT);
    two.servers[1].id = 11;
    size = membership_encode(&two, bytes);
    memset(bytes + 9, 0, 8);
    memset(bytes + 17, '0', 16);
    ck_assert_int_eq((int)membership_decode((struct bytes){bytes, size}, &out), (int)ERR_CORRUPT);
}
END_TEST

/* Goal: questions about voters. Method: a few memberships. */
START_TEST(voters_are_counted)
{
    struct membership membership = members(6); /* voters 0, 1, 3, 4 */
    ck_assert_uint_eq(membership_voter_count(&membership), 4);
    ck_assert(!membership_is_sole_voter(&membership, membership.servers[0].id));
    ck_assert_ptr_null(membership_find(&membership, 99));
    ck_assert_uint_eq(membership_find(&membership, membership.servers[3].id)->id, membership.servers[3].id);
    struct membership sole = {.servers = {{1, false}, {2, true}}, .count = 2};
    ck_assert(membership_is_sole_voter(&sole, 2));
    ck_assert(!membership_is_sole_voter(&sole, 1));
    ck_assert(!membership_is_sole_voter(&sole, 3));
}
END_TEST

/* Goal: any two majorities of memberships one step apart share a server. Method: all memberships of up to four servers
 * out of five, and every next one that is allowed. */
START_TEST(one_step_keeps_majorities_overlapping)
{
    unsigned steps = 0;
    for (unsigned a = 1; a < 243; a++) {
        for (unsigned b = 1; b < 243; b++) {
            struct membership now = {0};
            struct membership next = {0};
            unsigned x = a;
            unsigned y = b;
            unsigned now_voters = 0;
            unsigned next_voters = 0;
            for (unsigned i = 0; i < 5; i++, x /= 3, y /= 3) { /* 0: no member, 1: standby, 2: voter */
                if (x % 3 > 0) {
                    now.servers[now.count++] = (struct replica_server){.id = i + 1, .is_voter = x % 3 == 2};
                    now_voters |= (unsigned)(x % 3 == 2) << i;
                }
                if (y % 3 > 0) {
                    next.servers[next.count++] = (struct replica_server){.id = i + 1, .is_voter = y % 3 == 2};
                    next_voters |= (unsigned)(y % 3 == 2) << i;
                }
            }
            if (now_voters == 0 || !membership_is_one_step(&now, &next)) {
                continue;
            }
            steps++;
            ck_assert_uint_gt(next_voters, 0);
            unsigned differ = now_voters ^ next_voters;
            ck_assert_uint_eq(differ & (differ - 1), 0); /* voters differ by one at most */
        }
    }
    ck_assert_uint_gt(steps, 500);
}
END_TEST

static Suite *membership_suite(void)
{
    Suite *suite = suite_create("membership");
    TCase *all = tcase_create("membership");
    tcase_add_test(all, encoding_comes_back_the_same);
    tcase_add_test(all, encoding_is_as_documented);
    tcase_add_test(all, decode_refuses_all_that_encode_would_not_write);
    tcase_add_test(all, decode_refuses_spares_doubles_and_nobody);
    tcase_add_test(all, voters_are_counted);
    tcase_add_test(all, one_step_keeps_majorities_overlapping);
    suite_add_tcase(suite, all);
    return suite;
}

TEST_MAIN(membership_suite)
