/* Answers of DescribeConfigs: what is said of topics and of the broker, in every version, and within a bound. */
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "base/mem.h"
#include "broker/describe_configs.h"
#include "metadata/apply.h"
#include "proto/codec.h"
#include "tests/lib/test.h"
#include "tests/lib/turn_env.h"

#define B(text) ((struct bytes){(const uint8_t *)(text), sizeof(text) - 1})
enum {
    TOPIC = 2,
    BROKER = 4,
    LOGGER = 8
};

/* A store with topic "plain" that sets nothing and topic "own" with two settings, and options of a file. */
struct fixture {
    char *dir;
    struct store *store;
    struct turn_env turn;
    struct store_reader *reader;
    struct options options;
    struct arena arena;
};

static void create_topic(struct kv_txn *txn, struct store_state *state, const char *name, uint8_t id, size_t settings)
{
    Balsa__Record__Config configs[2] = {BALSA__RECORD__CONFIG__INIT, BALSA__RECORD__CONFIG__INIT};
    Balsa__Record__Config *list[2] = {&configs[0], &configs[1]};
    Balsa__Record__Assignment assignment = BALSA__RECORD__ASSIGNMENT__INIT;
    Balsa__Record__Assignment *assignments[1] = {&assignment};
    Balsa__Record__TopicCreated created = BALSA__RECORD__TOPIC_CREATED__INIT;
    Balsa__Record__Record record = BALSA__RECORD__RECORD__INIT;
    struct apply_changes changes;
    struct apply_result decision = {0};
    uint8_t topic_id[16] = {id};
    int32_t replica = 1;
    uint64_t server = 1;
    uint8_t packed[512];
    configs[0].name = (char[]){"retention.ms"};
    configs[0].value = (char[]){"5000"};
    configs[1].name = (char[]){"preallocate"};
    configs[1].value = (char[]){"TRUE"};
    assignment.replicas = &replica;
    assignment.n_replicas = 1;
    assignment.servers = &server;
    assignment.n_servers = 1;
    created.name = mem_strdup(name);
    created.id = (ProtobufCBinaryData){sizeof(topic_id), topic_id};
    created.assignments = assignments;
    created.n_assignments = 1;
    created.configs = list;
    created.n_configs = settings;
    record.kind_case = BALSA__RECORD__RECORD__KIND_TOPIC_CREATED;
    record.topic_created = &created;
    size_t size = balsa__record__record__pack(&record, packed);
    apply_changes_init(&changes);
    ck_assert_int_eq(apply_record(txn, state, (struct bytes){packed, size}, &changes, &decision), OK);
    ck_assert_msg(decision.error == KAFKA_NONE, "%s", decision.text);
    apply_changes_deinit(&changes);
    mem_free(created.name);
}

static void fixture_open(struct fixture *f, size_t arena_size)
{
    struct kv_txn *txn;
    struct store_state state;
    struct errmsg msg = {""};
    char path[512];
    memset(f, 0, sizeof(*f));
    f->dir = test_dir_make();
    (void)snprintf(path, sizeof(path), "%s/store", f->dir);
    ck_assert_msg(store_open(path, &f->store, &msg) == OK, "%s", msg.text);
    ck_assert_int_eq(kv_begin_write(store_kv(f->store), &txn), OK);
    ck_assert_int_eq(apply_load_state(txn, &state), OK);
    create_topic(txn, &state, "plain", 1, 0);
    create_topic(txn, &state, "own", 2, 2);
    ck_assert_int_eq(apply_save_state(txn, &state), OK);
    ck_assert_int_eq(kv_commit(txn, &msg), OK);
    turn_env_init(&f->turn, 1);
    f->reader = store_reader_open(f->store, &f->turn.env);
    options_init(&f->options);
    ck_assert_int_eq(
        options_load_text(&f->options, B("log.roll.hours=1\nnode.id=7\nauto.create.topics.enable=FALSE"), "f", &msg),
        OK);
    ck_assert_int_eq(options_finish(&f->options, &msg), OK);
    arena_init(&f->arena, arena_size);
}

static void fixture_close(struct fixture *f)
{
    turn_env_run(&f->turn);
    store_reader_close(f->reader);
    store_close(f->store);
    turn_env_deinit(&f->turn);
    options_deinit(&f->options);
    arena_deinit(&f->arena);
    test_dir_remove(f->dir);
}

static void describe(struct fixture *f, const struct kafka_describe_configs_request *request,
                     struct kafka_describe_configs_response *response)
{
    const struct describe_configs_source source = {&f->options, f->reader, &f->arena};
    ck_assert(describe_configs(&source, request, response));
    ck_assert_int_eq(response->results_count, request->resources_count);
}

static struct kafka_describe_configs_request ask(struct kafka_describe_configs_request_resource *resources,
                                                 int32_t count, bool is_full)
{
    struct kafka_describe_configs_request request;
    codec_init_defaults(&kafka_describe_configs_request_schema, &request);
    request.resources = resources;
    request.resources_count = count;
    request.include_synonyms = is_full;
    request.include_documentation = is_full;
    return request;
}

static const struct kafka_describe_configs_response_config *find(
    const struct kafka_describe_configs_response_result *from, const char *name)
{
    for (int32_t i = 0; i < from->configs_count; i++) {
        if (bytes_equal_text(from->configs[i].name, name)) {
            return &from->configs[i];
        }
    }
    return NULL;
}

static void assert_entry(const struct kafka_describe_configs_response_result *from, const char *name, const char *value,
                         int8_t source, const char *synonyms)
{
    const struct kafka_describe_configs_response_config *entry = find(from, name);
    char text[256] = "";
    size_t used = 0;
    ck_assert_msg(entry != NULL, "%s", name);
    ck_assert_msg(value == NULL ? entry->value.data == NULL : bytes_equal_text(entry->value, value), "%s", name);
    ck_assert_msg(entry->config_source == source, "%s: %d", name, entry->config_source);
    ck_assert(entry->is_default == (source == 5));
    for (int32_t i = 0; i < entry->synonyms_count; i++) {
        used += (size_t)snprintf(text + used, sizeof(text) - used, "%.*s=%.*s/%d ", (int)entry->synonyms[i].name.size,
                                 entry->synonyms[i].name.data, (int)entry->synonyms[i].value.size,
                                 entry->synonyms[i].value.data, entry->synonyms[i].source);
    }
    ck_assert_str_eq(text, synonyms);
}

/* Goal: a topic's entries tell value, where it comes from, and what stands behind it. Method: one of each source. */
START_TEST(topic_values_have_their_sources)
{
    struct fixture f;
    size_t count;
    struct kafka_describe_configs_request_resource resources[] = {{TOPIC, B("plain"), NULL, 0},
                                                                  {TOPIC, B("own"), NULL, 0}};
    struct kafka_describe_configs_request request = ask(resources, 2, true);
    struct kafka_describe_configs_response response;
    fixture_open(&f, MIB(1));
    (void)topic_config_keys(&count);
    describe(&f, &request, &response);
    const struct kafka_describe_configs_response_result *plain = &response.results[0];
    const struct kafka_describe_configs_response_result *own = &response.results[1];
    ck_assert_int_eq(plain->error_code, 0);
    ck_assert_int_eq(plain->configs_count, (int)count);
    ck_assert_int_eq(own->configs_count, (int)count);
    assert_entry(plain, "retention.ms", "604800000", 5, "log.retention.ms=604800000/5 ");
    assert_entry(plain, "segment.ms", "3600000", 4, "log.roll.ms=3600000/4 log.roll.ms=604800000/5 ");
    assert_entry(plain, "preallocate", "false", 5, "log.preallocate=false/5 ");
    assert_entry(plain, "remote.storage.enable", "false", 5, "remote.storage.enable=false/5 ");
    assert_entry(own, "retention.ms", "5000", 1, "retention.ms=5000/1 log.retention.ms=604800000/5 ");
    assert_entry(own, "preallocate", "true", 1, "preallocate=true/1 log.preallocate=false/5 ");
    assert_entry(own, "segment.ms", "3600000", 4, "log.roll.ms=3600000/4 log.roll.ms=604800000/5 ");
    ck_assert(!find(own, "segment.ms")->read_only);
    ck_assert_int_eq(find(own, "segment.ms")->config_type, CONFIG_LONG);
    ck_assert(find(own, "segment.ms")->documentation.size > 0);
    fixture_close(&f);
}
END_TEST

/* Goal: the broker's entries are its options, read-only but for what topics inherit, aliases among
 * them. */
START_TEST(broker_values_are_the_options)
{
    struct fixture f;
    struct kafka_describe_configs_request_resource resources[] = {{BROKER, B("7"), NULL, 0}, {BROKER, B(""), NULL, 0}};
    struct kafka_describe_configs_request request = ask(resources, 2, true);
    struct kafka_describe_configs_response response;
    fixture_open(&f, MIB(1));
    describe(&f, &request, &response);
    const struct kafka_describe_configs_response_result *broker = &response.results[0];
    assert_entry(broker, "node.id", "7", 4, "node.id=7/4 node.id=1/5 ");
    assert_entry(broker, "broker.id", "7", 4, "broker.id=7/4 broker.id=1/5 ");
    assert_entry(broker, "auto.create.topics.enable", "false", 4,
                 "auto.create.topics.enable=false/4 auto.create.topics.enable=true/5 ");
    assert_entry(broker, "log.retention.ms", NULL, 5, "");
    assert_entry(broker, "inter.broker.protocol.version", "3.9", 5, "inter.broker.protocol.version=3.9/5 ");
    for (int32_t i = 0; i < broker->configs_count; i++) {
        bool is_inherited = topic_config_find_inherited(broker->configs[i].name) != NULL;
        ck_assert(broker->configs[i].read_only == !is_inherited);
    }
    ck_assert_int_eq(response.results[1].error_code, 0);
    ck_assert_int_eq(response.results[1].configs_count, 0);
    fixture_close(&f);
}
END_TEST

/* Goal: only what is asked for. Method: names that exist, do not, and are repeated; synonyms and documentation not
 * wanted. */
START_TEST(names_choose_entries)
{
    struct fixture f;
    struct bytes names[] = {B("retention.ms"), B("no.such.key"), B("retention.ms"), B("broker.id"), B("")};
    struct kafka_describe_configs_request_resource resources[] = {{TOPIC, B("own"), names, 5},
                                                                  {TOPIC, B("plain"), names, 5},
                                                                  {BROKER, B("7"), names, 5},
                                                                  {TOPIC, B("plain"), names + 1, 1}};
    struct kafka_describe_configs_request request = ask(resources, 4, false);
    struct kafka_describe_configs_response response;
    fixture_open(&f, MIB(1));
    describe(&f, &request, &response);
    for (size_t i = 0; i < 3; i++) {
        ck_assert_int_eq(response.results[i].configs_count, 1);
        ck_assert_ptr_null(response.results[i].configs[0].documentation.data);
    }
    assert_entry(&response.results[0], "retention.ms", "5000", 1, "");
    assert_entry(&response.results[1], "retention.ms", "604800000", 5, "");
    assert_entry(&response.results[2], "broker.id", "7", 4, "");
    ck_assert_int_eq(response.results[3].configs_count, 0);
    fixture_close(&f);
}
END_TEST

struct error_case {
    int8_t type;
    struct bytes name;
    enum kafka_error error;
    const char *message;
};

static const struct error_case error_cases[] = {
    {TOPIC, B("nope"), KAFKA_UNKNOWN_TOPIC_OR_PARTITION, "Topic nope does not exist"},
    {TOPIC, B("a b"), KAFKA_INVALID_TOPIC_EXCEPTION, NULL},
    {TOPIC, B(""), KAFKA_INVALID_TOPIC_EXCEPTION, NULL},
    {BROKER, B("8"), KAFKA_INVALID_REQUEST, "Unexpected broker id, expected 7 or empty string, but received 8"},
    {BROKER, B("x"), KAFKA_INVALID_REQUEST, "Broker id must be an integer, but it is: x"},
    {LOGGER, B("7"), KAFKA_INVALID_REQUEST, "Unsupported resource type: 8"},
    {-1, B("7"), KAFKA_INVALID_REQUEST, "Unsupported resource type: -1"},
};

/* Goal: each resource fails on its own, with Kafka's code. Method: a bad one beside a good one. */
START_TEST(errors_are_of_one_resource)
{
    const struct error_case *c = &error_cases[_i];
    struct fixture f;
    struct kafka_describe_configs_request_resource resources[] = {{c->type, c->name, NULL, 0},
                                                                  {TOPIC, B("plain"), NULL, 0}};
    struct kafka_describe_configs_request request = ask(resources, 2, false);
    struct kafka_describe_configs_response response;
    fixture_open(&f, MIB(1));
    describe(&f, &request, &response);
    ck_assert_int_eq(response.results[0].error_code, (int)c->error);
    ck_assert_int_eq(response.results[0].configs_count, 0);
    ck_assert_int_eq(response.results[0].resource_type, c->type);
    ck_assert(bytes_equal(response.results[0].resource_name, c->name));
    ck_assert(c->message == NULL || bytes_equal_text(response.results[0].error_message, c->message));
    ck_assert_int_eq(response.results[1].error_code, 0);
    ck_assert_int_gt(response.results[1].configs_count, 0);
    fixture_close(&f);
}
END_TEST

/* Goal: an answer can be written in every version, and read again with the same entries. */
START_TEST(every_version_is_encoded)
{
    struct fixture f;
    struct kafka_describe_configs_request_resource resources[] = {
        {TOPIC, B("own"), NULL, 0}, {BROKER, B("7"), NULL, 0}, {TOPIC, B("nope"), NULL, 0}};
    struct kafka_describe_configs_request request = ask(resources, 3, true);
    struct kafka_describe_configs_response response;
    struct kafka_describe_configs_response again;
    struct outbuf out;
    struct reader reader;
    int16_t version = (int16_t)_i;
    fixture_open(&f, MIB(4));
    describe(&f, &request, &response);
    outbuf_init(&out, MIB(1));
    codec_encode(&kafka_describe_configs_response_schema, version, &response, &out);
    ck_assert_int_eq(out.err, OK);
    struct shared *bytes = outbuf_flatten(&out);
    reader_init(&reader, (struct bytes){bytes->data, bytes->size});
    ck_assert_int_eq(codec_decode(&kafka_describe_configs_response_schema, version, &reader, &f.arena, &again), OK);
    ck_assert_uint_eq(reader.left, 0);
    ck_assert_int_eq(again.results_count, 3);
    ck_assert_int_eq(again.results[1].configs_count, response.results[1].configs_count);
    const struct kafka_describe_configs_response_config *entry = find(&again.results[0], "retention.ms");
    ck_assert(bytes_equal_text(entry->value, "5000"));
    ck_assert_int_eq(entry->is_default, version == 0 ? false : entry->is_default);
    ck_assert_int_eq(entry->synonyms_count, version >= 1 ? 2 : 0);
    ck_assert_int_eq(entry->config_type, version >= 3 ? CONFIG_LONG : 0);
    ck_assert(find(&again.results[1], "log.retention.ms")->value.data == NULL);
    shared_release(bytes);
    outbuf_deinit(&out);
    fixture_close(&f);
}
END_TEST

/* Goal: thousands of topics fit in one answer, and what does not is refused one by one, not by a broken connection.
 * Method: 5,000 topics in a request's arena; then arenas of every size up to what one topic needs. */
START_TEST(answer_is_bounded)
{
    struct fixture f;
    struct kafka_describe_configs_response response;
    enum {
        COUNT = 5000
    };
    struct kafka_describe_configs_request_resource *resources = mem_alloc(COUNT * sizeof(*resources));
    for (size_t i = 0; i < COUNT; i++) {
        resources[i] =
            (struct kafka_describe_configs_request_resource){TOPIC, i % 2 == 0 ? B("own") : B("plain"), NULL, 0};
    }
    struct kafka_describe_configs_request request = ask(resources, COUNT, true);
    fixture_open(&f, REQUEST_ARENA_SIZE_MAX);
    describe(&f, &request, &response);
    for (size_t i = 0; i < COUNT; i++) {
        ck_assert_int_eq(response.results[i].error_code, 0);
    }
    fixture_close(&f);
    request.resources_count = 4;
    for (size_t size = 64; size < KIB(24); size += 512) {
        fixture_open(&f, size);
        const struct describe_configs_source source = {&f.options, f.reader, &f.arena};
        if (describe_configs(&source, &request, &response)) {
            for (size_t i = 0; i < 4; i++) {
                bool is_full = response.results[i].configs_count > 30;
                ck_assert_int_eq(response.results[i].error_code, is_full ? 0 : KAFKA_INVALID_REQUEST);
                ck_assert(is_full || response.results[i].configs_count == 0);
            }
        }
        fixture_close(&f);
    }
    mem_free(resources);
}
END_TEST

static Suite *describe_configs_suite(void)
{
    Suite *suite = suite_create("describe_configs");
    TCase *answers = tcase_create("answers");
    tcase_set_timeout(answers, 60);
    tcase_add_test(answers, topic_values_have_their_sources);
    tcase_add_test(answers, broker_values_are_the_options);
    tcase_add_test(answers, names_choose_entries);
    tcase_add_loop_test(answers, errors_are_of_one_resource, 0, (int)array_count(error_cases));
    tcase_add_loop_test(answers, every_version_is_encoded, 0, 5);
    tcase_add_test(answers, answer_is_bounded);
    suite_add_tcase(suite, answers);
    return suite;
}

TEST_MAIN(describe_configs_suite)
