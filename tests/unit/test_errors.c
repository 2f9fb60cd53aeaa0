/* Kafka's error codes. */
#include <string.h>

#include "proto/errors.h"
#include "tests/lib/test.h"

/* Goal: names and codes are Kafka's. Method: corner stones of the protocol guide, first and last. */
START_TEST(codes_are_those_of_kafka)
{
    ck_assert_int_eq(KAFKA_UNKNOWN_SERVER_ERROR, -1);
    ck_assert_int_eq(KAFKA_NONE, 0);
    ck_assert_int_eq(KAFKA_NOT_LEADER_OR_FOLLOWER, 6);
    ck_assert_int_eq(KAFKA_NOT_ENOUGH_REPLICAS, 19);
    ck_assert_int_eq(KAFKA_OUT_OF_ORDER_SEQUENCE_NUMBER, 45);
    ck_assert_int_eq(KAFKA_KAFKA_STORAGE_ERROR, 56);
    ck_assert_int_eq(KAFKA_OFFSET_NOT_AVAILABLE, 78);
    ck_assert_int_eq(KAFKA_INVALID_RECORD, 87);
    ck_assert_int_eq(KAFKA_UNKNOWN_TOPIC_ID, 100);
    ck_assert_int_eq(KAFKA_TRANSACTION_ABORTABLE, 120);
    ck_assert_int_eq(KAFKA_STREAMS_TOPOLOGY_FENCED, 132);
    ck_assert_str_eq(kafka_error_name(KAFKA_NONE), "NONE");
    ck_assert_str_eq(kafka_error_name(KAFKA_UNKNOWN_SERVER_ERROR), "UNKNOWN_SERVER_ERROR");
    ck_assert_str_eq(kafka_error_name(KAFKA_KAFKA_STORAGE_ERROR), "KAFKA_STORAGE_ERROR");
    ck_assert(kafka_error_is_retriable(KAFKA_NOT_LEADER_OR_FOLLOWER));
    ck_assert(!kafka_error_is_retriable(KAFKA_INVALID_RECORD));
}
END_TEST

/* Goal: every code has a row, any other number is survived. Method: all codes and some beyond. */
START_TEST(every_code_has_name_and_text)
{
    for (int code = -1; code <= 133; code++) {
        ck_assert_str_ne(kafka_error_name((enum kafka_error)code), "UNKNOWN");
        ck_assert_uint_gt(strlen(kafka_error_text((enum kafka_error)code)), 5);
    }
    static const int beyond[] = {-2, 134, 32767};
    for (size_t i = 0; i < sizeof(beyond) / sizeof(beyond[0]); i++) {
        ck_assert_str_eq(kafka_error_name((enum kafka_error)beyond[i]), "UNKNOWN");
    }
}
END_TEST

static Suite *errors_suite(void)
{
    Suite *suite = suite_create("errors");
    TCase *table = tcase_create("table");
    tcase_add_test(table, codes_are_those_of_kafka);
    tcase_add_test(table, every_code_has_name_and_text);
    suite_add_tcase(suite, table);
    return suite;
}

TEST_MAIN(errors_suite)
