/* The table of served APIs: consistent in itself and with the schemas. */
#include "base/assert.h"
#include "base/mem.h"
#include "proto/kafka_api.h"
#include "tests/lib/test.h"

/* Goal: a handler never meets a version that its schema does not know. Method: every row against its two schemas. */
START_TEST(every_row_agrees_with_its_schemas)
{
    const struct kafka_api *api = &kafka_apis[_i];
    ck_assert_ptr_eq(kafka_api_find(api->key), api);
    ck_assert_msg(_i == 0 || api->key > kafka_apis[_i - 1].key, "%s: keys must ascend", api->name);
    ck_assert_msg(api->version_min_advertised <= api->version_min, "%s", api->name);
    const struct schema *schemas[] = {api->request, api->response};
    for (size_t i = 0; i < array_count(schemas); i++) {
        ck_assert_msg(schemas[i]->version_min == api->version_min, "%s", schemas[i]->name);
        ck_assert_msg(schemas[i]->version_max == api->version_max, "%s", schemas[i]->name);
        ck_assert_msg(schemas[i]->flexible_min == api->flexible_min, "%s", schemas[i]->name);
    }
    for (size_t i = 0; i < KAFKA_MESSAGE_PAIR_COUNT; i++) {
        const struct kafka_message_pair *pair = &kafka_message_pairs[i];
        ck_assert_msg((pair->key == api->key) == (pair->request == api->request), "%s", api->name);
        ck_assert_msg((pair->key == api->key) == (pair->response == api->response), "%s", api->name);
    }
}
END_TEST

/* Goal: librdkafka up to 2.11 turns features off unless single versions lie in a range. Method: the versions that it
 * asks for (its table of features), among the APIs that are served. */
START_TEST(ranges_hold_the_versions_that_old_clients_ask_for)
{
    static const struct {
        int16_t key;
        int16_t version;
    } wanted[] = {
        {KAFKA_API_PRODUCE, 0}, {KAFKA_API_PRODUCE, 2}, {KAFKA_API_PRODUCE, 3},      {KAFKA_API_PRODUCE, 7},
        {KAFKA_API_FETCH, 4},   {KAFKA_API_FETCH, 10},  {KAFKA_API_LIST_OFFSETS, 1}, {KAFKA_API_INIT_PRODUCER_ID, 0},
    };
    for (size_t i = 0; i < array_count(wanted); i++) {
        const struct kafka_api *api = kafka_api_find(wanted[i].key);
        ck_assert_ptr_nonnull(api);
        ck_assert_msg(wanted[i].version >= api->version_min_advertised && wanted[i].version <= api->version_max,
                      "%s %d", api->name, wanted[i].version);
    }
    ck_assert_int_ge(kafka_api_find(KAFKA_API_FETCH)->version_max, 12); /* librdkafka 2.6.0 sends at least 12 */
    /* Topic ids in Fetch 13 and Produce 13 need Metadata 10. */
    ck_assert_int_ge(kafka_api_find(KAFKA_API_METADATA)->version_max, 10);
}
END_TEST

/* Goal: no key from the wire leads outside of the table. Method: all 65,536 of them. */
START_TEST(find_knows_the_served_keys_and_no_others)
{
    int found = 0;
    for (int key = INT16_MIN; key <= INT16_MAX; key++) {
        const struct kafka_api *api = kafka_api_find((int16_t)key);
        ck_assert(api == NULL || api->key == key);
        found += api != NULL;
    }
    ck_assert_int_eq(found, KAFKA_API_COUNT);
}
END_TEST

/* Goal: what only brokers ask of each other does not exist for clients. Method: the key in both searches, and its row
 * against its schemas. */
START_TEST(internal_apis_are_found_among_brokers_only)
{
    ck_assert_ptr_null(kafka_api_find(KAFKA_API_ALLOCATE_PRODUCER_IDS));
    const struct kafka_api *api = kafka_api_find_internal(KAFKA_API_ALLOCATE_PRODUCER_IDS);
    ck_assert_ptr_nonnull(api);
    ck_assert_int_eq(api->key, KAFKA_API_ALLOCATE_PRODUCER_IDS);
    ck_assert(kafka_api_accepts(api, api->request->version_max) &&
              !kafka_api_accepts(api, api->request->version_max + 1));
    ck_assert_int_eq(api->flexible_min, api->request->flexible_min);
    ck_assert_ptr_eq(kafka_api_find_internal(KAFKA_API_FETCH), kafka_api_find(KAFKA_API_FETCH));
    ck_assert_ptr_null(kafka_api_find_internal(INT16_MAX));
}
END_TEST

/* Goal: headers change at the first flexible version, but an ApiVersions answer keeps header 0 (KIP-511), and what
 * cannot be answered can still have its header read. Method: the edges. */
START_TEST(headers_follow_the_first_flexible_version)
{
    const struct kafka_api *produce = kafka_api_find(KAFKA_API_PRODUCE);
    ck_assert_int_eq(kafka_api_request_header(produce, 0), 1);
    ck_assert_int_eq(kafka_api_request_header(produce, 8), 1);
    ck_assert_int_eq(kafka_api_request_header(produce, 9), 2);
    ck_assert_int_eq(kafka_api_response_header(produce, 8), 0);
    ck_assert_int_eq(kafka_api_response_header(produce, 9), 1);
    const struct kafka_api *versions = kafka_api_find(KAFKA_API_API_VERSIONS);
    ck_assert_int_eq(kafka_api_request_header(versions, 2), 1);
    ck_assert_int_eq(kafka_api_request_header(versions, 3), 2);
    ck_assert_int_eq(kafka_api_request_header(versions, INT16_MAX), 2);
    ck_assert_int_eq(kafka_api_response_header(versions, 4), 0);
    ck_assert(kafka_api_accepts(produce, 3) && kafka_api_accepts(produce, 13));
    ck_assert(!kafka_api_accepts(produce, 2) && !kafka_api_accepts(produce, 14) && !kafka_api_accepts(produce, -1));
}
END_TEST

static Suite *kafka_api_suite(void)
{
    Suite *suite = suite_create("kafka_api");
    TCase *table = tcase_create("table");
    tcase_add_loop_test(table, every_row_agrees_with_its_schemas, 0, KAFKA_API_COUNT);
    tcase_add_test(table, ranges_hold_the_versions_that_old_clients_ask_for);
    tcase_add_test(table, find_knows_the_served_keys_and_no_others);
    tcase_add_test(table, internal_apis_are_found_among_brokers_only);
    tcase_add_test(table, headers_follow_the_first_flexible_version);
    suite_add_tcase(suite, table);
    return suite;
}

TEST_MAIN(kafka_api_suite)
