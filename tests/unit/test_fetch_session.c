/* The cache of fetch sessions: what each request means, what a consumer is told again, who gives way to whom, and that
 * the cache behaves as a simple model of it for long random lives. */

#include "base/mem.h"
#include "broker/fetch_session.h"
#include "tests/lib/test.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SLOTS 4
#define SIZE_MAX_ALL (1 << 20)
#define TOPICS 3
#define PARTITIONS 4

struct fake_rng {
    struct rng rng;
    uint64_t state;
    uint64_t fixed[4]; /* given out first */
    unsigned fixed_count, fixed_at;
};

static uint64_t fake_next(struct rng *rng)
{
    struct fake_rng *fake = container_of(rng, struct fake_rng, rng);
    if (fake->fixed_at < fake->fixed_count) {
        return fake->fixed[fake->fixed_at++];
    }
    fake->state = fake->state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return fake->state ^ fake->state >> 29;
}

static struct fake_rng rng;
static struct fetch_sessions *sessions;

static void setup(void)
{
    rng = (struct fake_rng){.rng = {fake_next}, .state = 7};
    sessions = fetch_sessions_open(SLOTS, SIZE_MAX_ALL, &rng.rng);
}

static void teardown(void)
{
    fetch_sessions_close(sessions);
}

/* ---- Requests ---- */

struct wish { /* a request in its own memory */
    struct kafka_fetch_request message;
    struct kafka_fetch_request_topic topics[TOPICS];
    struct kafka_fetch_request_partition partitions[TOPICS][PARTITIONS];
    struct kafka_fetch_request_forgotten_topic forgotten[TOPICS];
    int32_t indexes[TOPICS][PARTITIONS];
};

static const char *const names[TOPICS] = {"a", "b", "c"};

static struct uuid topic_id(int32_t topic)
{
    struct uuid id = UUID_ZERO;
    id.bytes[0] = (uint8_t)(topic + 1);
    return id;
}

static void wish_init(struct wish *wish, int32_t id, int32_t epoch)
{
    *wish = (struct wish){.message = {.session_id = id, .session_epoch = epoch}};
    wish->message.topics = wish->topics;
    wish->message.forgotten_topics_data = wish->forgotten;
    for (int32_t t = 0; t < TOPICS; t++) {
        wish->topics[t] = (struct kafka_fetch_request_topic){
            .topic = bytes_from_text(names[t]), .topic_id = topic_id(t), .partitions = wish->partitions[t]};
        wish->forgotten[t] = (struct kafka_fetch_request_forgotten_topic){
            .topic = bytes_from_text(names[t]), .topic_id = topic_id(t), .partitions = wish->indexes[t]};
    }
    wish->message.topics_count = TOPICS;
    wish->message.forgotten_topics_data_count = TOPICS;
}

static void wish_add(struct wish *wish, int32_t topic, int32_t partition, int64_t offset)
{
    struct kafka_fetch_request_topic *to = &wish->topics[topic];
    ck_assert_int_lt(to->partitions_count, PARTITIONS);
    to->partitions[to->partitions_count++] = (struct kafka_fetch_request_partition){
        .partition = partition, .fetch_offset = offset, .current_leader_epoch = 3, .partition_max_bytes = 100};
}

static void wish_forget(struct wish *wish, int32_t topic, int32_t partition)
{
    struct kafka_fetch_request_forgotten_topic *to = &wish->forgotten[topic];
    to->partitions[to->partitions_count++] = partition;
}

static enum kafka_error resume(int32_t id, int32_t epoch, int64_t now_ms, struct fetch_session **session)
{
    struct wish wish;
    wish_init(&wish, id, epoch);
    return fetch_sessions_resume(sessions, &wish.message, false, now_ms, session);
}

/* A session of `count` partitions, from (a, 0) on. */
static struct fetch_session *create(unsigned count, int64_t now_ms)
{
    struct wish wish;
    wish_init(&wish, 0, FETCH_SESSION_EPOCH_NEW);
    for (unsigned i = 0; i < count; i++) {
        wish_add(&wish, (int32_t)(i / PARTITIONS), (int32_t)(i % PARTITIONS), 10);
    }
    return fetch_sessions_create(sessions, &wish.message, false, now_ms);
}

static struct fetch_session_partition *find(const struct fetch_session *session, int32_t topic, int32_t partition)
{
    struct uuid id = topic_id(topic);
    return fetch_session_find(session, bytes_from_text(names[topic]), &id, partition);
}

static struct kafka_fetch_response_partition told(int64_t high_watermark)
{
    return (struct kafka_fetch_response_partition){.high_watermark = high_watermark,
                                                   .last_stable_offset = high_watermark,
                                                   .log_start_offset = 0,
                                                   .preferred_read_replica = -1};
}

/* "a0 b1 ...", in the order of service. */
static const char *order(const struct fetch_session *session)
{
    static char text[256];
    size_t size = 0;
    text[0] = '\0';
    const struct fetch_session_partition *partition = NULL;
    while ((partition = fetch_session_next(session, partition)) != NULL) {
        char topic = partition->topic->name.size > 0 ? (char)partition->topic->name.data[0]
                                                     : (char)('a' + partition->topic->id.bytes[0] - 1);
        size += (size_t)snprintf(text + size, sizeof(text) - size, size > 0 ? " %c%d" : "%c%d", topic,
                                 partition->want.partition);
    }
    return text;
}

/* ---- What a request means ---- */

START_TEST(epochs_go_up_by_one_and_nothing_else_is_taken)
{
    struct fetch_session *session = create(2, 0);
    struct fetch_session *found;
    int32_t id = fetch_session_id(session);
    ck_assert_int_gt(id, 0);
    ck_assert_int_eq(resume(id, 1, 0, &found), KAFKA_NONE);
    ck_assert_ptr_eq(found, session);
    static const int32_t wrong[] = {1, 3, INT32_MAX, INT32_MIN, -2};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
        ck_assert_int_eq(resume(id, wrong[i], 0, &found), KAFKA_INVALID_FETCH_SESSION_EPOCH);
        ck_assert_ptr_null(found);
    }
    ck_assert_int_eq(resume(id, 2, 0, &found), KAFKA_NONE); /* and refused requests change nothing */
    ck_assert_int_eq(resume(id, 3, 0, &found), KAFKA_NONE);
    ck_assert_uint_eq(fetch_session_count(session), 2);
}
END_TEST

START_TEST(unknown_ids_are_told_so)
{
    struct fetch_session *found;
    int32_t id = fetch_session_id(create(1, 0));
    static const int32_t epochs[] = {1, 2, INT32_MAX, -5};
    for (size_t i = 0; i < sizeof(epochs) / sizeof(*epochs); i++) {
        ck_assert_int_eq(resume(id ^ 1, epochs[i], 0, &found), KAFKA_FETCH_SESSION_ID_NOT_FOUND);
        ck_assert_int_eq(resume(0, epochs[i], 0, &found), KAFKA_FETCH_SESSION_ID_NOT_FOUND);
        ck_assert_int_eq(resume(-id, epochs[i], 0, &found), KAFKA_FETCH_SESSION_ID_NOT_FOUND);
    }
    ck_assert_uint_eq(fetch_sessions_count(sessions), 1);
}
END_TEST

/* Goal: a full request ends the session that it names, whether it wishes for another (epoch 0) or none (-1). */
START_TEST(a_full_request_ends_its_session)
{
    struct fetch_session *found;
    int32_t epoch = _i == 0 ? FETCH_SESSION_EPOCH_NEW : FETCH_SESSION_EPOCH_CLOSE;
    int32_t id = fetch_session_id(create(1, 0));
    int32_t other = fetch_session_id(create(1, 0));
    ck_assert_int_eq(resume(0, epoch, 0, &found), KAFKA_NONE);
    ck_assert_ptr_null(found);
    ck_assert_uint_eq(fetch_sessions_count(sessions), 2);
    ck_assert_int_eq(resume(id, epoch, 0, &found), KAFKA_NONE);
    ck_assert_ptr_null(found);
    ck_assert_int_eq(resume(id, 1, 0, &found), KAFKA_FETCH_SESSION_ID_NOT_FOUND);
    ck_assert_int_eq(resume(other, 1, 0, &found), KAFKA_NONE);
}
END_TEST

START_TEST(epoch_wraps_to_one)
{
    struct fetch_session *session = create(1, 0);
    struct fetch_session *found;
    int32_t id = fetch_session_id(session);
    struct wish wish;
    wish_init(&wish, id, INT32_MAX);
    for (int32_t epoch = 1; epoch < 100; epoch++) {
        ck_assert_int_eq(resume(id, epoch, 0, &found), KAFKA_NONE);
    }
    fetch_session_set_epoch(session, INT32_MAX);
    ck_assert_int_eq(fetch_sessions_resume(sessions, &wish.message, false, 0, &found), KAFKA_NONE);
    ck_assert_ptr_eq(fetch_sessions_find(sessions, &wish.message), session);
    ck_assert_int_eq(resume(id, 0x7fffffff, 0, &found), KAFKA_INVALID_FETCH_SESSION_EPOCH);
    ck_assert_int_eq(resume(id, 1, 0, &found), KAFKA_NONE);
}
END_TEST

START_TEST(names_and_ids_do_not_mix)
{
    struct wish wish;
    struct fetch_session *found;
    for (int is_by_id = 0; is_by_id < 2; is_by_id++) {
        wish_init(&wish, 0, FETCH_SESSION_EPOCH_NEW);
        wish_add(&wish, 1, 2, 5);
        struct fetch_session *session = fetch_sessions_create(sessions, &wish.message, is_by_id, 0);
        wish_init(&wish, fetch_session_id(session), 1);
        ck_assert_int_eq(fetch_sessions_resume(sessions, &wish.message, !is_by_id, 0, &found),
                         KAFKA_FETCH_SESSION_TOPIC_ID_ERROR);
        ck_assert_int_eq(fetch_sessions_resume(sessions, &wish.message, is_by_id, 0, &found), KAFKA_NONE);
        ck_assert_str_eq(order(found), "b2");
        const struct fetch_session_topic *topic = fetch_session_next(found, NULL)->topic;
        ck_assert_int_eq(topic->name.size == 0, is_by_id);
        ck_assert_int_eq(uuid_is_zero(&topic->id), !is_by_id);
    }
}
END_TEST

START_TEST(partitions_are_added_moved_and_forgotten)
{
    struct fetch_session *session = create(2, 0);
    struct fetch_session *found;
    struct wish wish;
    ck_assert_str_eq(order(session), "a0 a1");
    wish_init(&wish, fetch_session_id(session), 1);
    wish_add(&wish, 0, 1, 77);
    wish_add(&wish, 2, 3, 5);
    wish_add(&wish, 1, -9, 1); /* no such partition; the consumer hears of it each time */
    wish_forget(&wish, 0, 0);
    wish_forget(&wish, 0, 3); /* not there */
    wish_forget(&wish, 1, 0); /* no such topic */
    ck_assert_int_eq(fetch_sessions_resume(sessions, &wish.message, false, 0, &found), KAFKA_NONE);
    ck_assert_str_eq(order(found), "a1 b-9 c3");
    struct fetch_want want = find(found, 0, 1)->want;
    ck_assert_int_eq(want.offset, 77);
    ck_assert_int_eq(want.leader_epoch, 3);
    ck_assert_int_eq(want.max_bytes, 100);
    ck_assert_ptr_null(find(found, 0, 0));
    ck_assert_ptr_null(find(found, 1, 0));
}
END_TEST

/* Goal: one that is added and forgotten in the same request is not in the session. */
START_TEST(forgetting_comes_last)
{
    struct fetch_session *session = create(1, 0);
    struct wish wish;
    wish_init(&wish, fetch_session_id(session), 1);
    wish_add(&wish, 1, 1, 0);
    wish_forget(&wish, 1, 1);
    ck_assert_int_eq(fetch_sessions_resume(sessions, &wish.message, false, 0, &session), KAFKA_NONE);
    ck_assert_str_eq(order(session), "a0");
}
END_TEST

START_TEST(a_session_without_partitions_ends)
{
    int32_t id = fetch_session_id(create(1, 0));
    struct fetch_session *found;
    struct wish wish;
    wish_init(&wish, id, 1);
    wish_forget(&wish, 0, 0);
    ck_assert_int_eq(fetch_sessions_resume(sessions, &wish.message, false, 0, &found), KAFKA_NONE);
    ck_assert_ptr_null(found);
    ck_assert_int_eq(resume(id, 2, 0, &found), KAFKA_FETCH_SESSION_ID_NOT_FOUND);
    ck_assert_uint_eq(fetch_sessions_size(sessions), 0);
}
END_TEST

/* ---- What is told ---- */

START_TEST(only_what_has_changed_is_told)
{
    struct fetch_session_partition *partition = find(create(1, 0), 0, 0);
    struct kafka_fetch_response_partition out = told(0);
    ck_assert(fetch_session_tell(partition, &out)); /* the first time, an empty partition too */
    ck_assert(!fetch_session_tell(partition, &out));
    out.high_watermark = 1;
    ck_assert(fetch_session_tell(partition, &out));
    ck_assert(!fetch_session_tell(partition, &out));
    out.last_stable_offset = 1;
    ck_assert(fetch_session_tell(partition, &out));
    ck_assert(!fetch_session_tell(partition, &out));
    out.log_start_offset = 1;
    ck_assert(fetch_session_tell(partition, &out));
    ck_assert(!fetch_session_tell(partition, &out));
    out.records.bytes = bytes_from_text("records");
    ck_assert(fetch_session_tell(partition, &out));
    ck_assert(fetch_session_tell(partition, &out));
    out.records.bytes = BYTES_NONE;
    ck_assert(!fetch_session_tell(partition, &out));
    out.preferred_read_replica = 0;
    ck_assert(fetch_session_tell(partition, &out));
    ck_assert(fetch_session_tell(partition, &out));
}
END_TEST

START_TEST(errors_and_their_end_are_told)
{
    struct fetch_session_partition *partition = find(create(1, 0), 0, 0);
    struct kafka_fetch_response_partition out = told(5);
    struct kafka_fetch_response_partition bad = told(-1);
    bad.error_code = KAFKA_NOT_LEADER_OR_FOLLOWER;
    ck_assert(fetch_session_tell(partition, &out));
    ck_assert(fetch_session_tell(partition, &bad));
    ck_assert(fetch_session_tell(partition, &bad));
    ck_assert(fetch_session_tell(partition, &out));
    ck_assert(!fetch_session_tell(partition, &out));
}
END_TEST

/* Goal: a consumer's new position does not bring what it was told already; what is forgotten and comes back does. */
START_TEST(what_was_told_lives_with_the_partition)
{
    struct fetch_session *session = create(2, 0);
    struct kafka_fetch_response_partition out = told(5);
    struct wish wish;
    int32_t id = fetch_session_id(session);
    ck_assert(fetch_session_tell(find(session, 0, 0), &out));
    wish_init(&wish, id, 1);
    wish_add(&wish, 0, 0, 12);
    ck_assert_int_eq(fetch_sessions_resume(sessions, &wish.message, false, 0, &session), KAFKA_NONE);
    ck_assert(!fetch_session_tell(find(session, 0, 0), &out));
    wish_init(&wish, id, 2);
    wish_forget(&wish, 0, 0);
    ck_assert_int_eq(fetch_sessions_resume(sessions, &wish.message, false, 0, &session), KAFKA_NONE);
    wish_init(&wish, id, 3);
    wish_add(&wish, 0, 0, 12);
    ck_assert_int_eq(fetch_sessions_resume(sessions, &wish.message, false, 0, &session), KAFKA_NONE);
    ck_assert(fetch_session_tell(find(session, 0, 0), &out));
}
END_TEST

/* KAFKA-12330. */
START_TEST(who_was_served_comes_last)
{
    struct fetch_session *session = create(4, 0);
    fetch_session_served(session, find(session, 0, 0));
    ck_assert_str_eq(order(session), "a1 a2 a3 a0");
    fetch_session_served(session, find(session, 0, 2));
    fetch_session_served(session, find(session, 0, 2));
    ck_assert_str_eq(order(session), "a1 a3 a0 a2");
    ck_assert_int_eq(resume(fetch_session_id(session), 1, 0, &session), KAFKA_NONE);
    ck_assert_str_eq(order(session), "a1 a3 a0 a2");
}
END_TEST

/* Goal: an answer finds its session only as its own request has left it. */
START_TEST(an_answer_finds_the_session_of_its_request)
{
    struct fetch_session *session = create(1, 0);
    struct fetch_session *found;
    struct wish first;
    struct wish second;
    wish_init(&first, fetch_session_id(session), 1);
    ck_assert_ptr_null(fetch_sessions_find(sessions, &first.message));
    ck_assert_int_eq(fetch_sessions_resume(sessions, &first.message, false, 0, &found), KAFKA_NONE);
    ck_assert_ptr_eq(fetch_sessions_find(sessions, &first.message), session);
    wish_init(&second, fetch_session_id(session), 2);
    ck_assert_int_eq(fetch_sessions_resume(sessions, &second.message, false, 0, &found), KAFKA_NONE);
    ck_assert_ptr_null(fetch_sessions_find(sessions, &first.message));
    ck_assert_ptr_eq(fetch_sessions_find(sessions, &second.message), session);
    ck_assert_int_eq(resume(fetch_session_id(session), FETCH_SESSION_EPOCH_CLOSE, 0, &found), KAFKA_NONE);
    ck_assert_ptr_null(fetch_sessions_find(sessions, &second.message));
}
END_TEST

/* ---- Bounds ---- */

START_TEST(ids_are_positive_and_never_given_twice)
{
    int32_t first = fetch_session_id(create(1, 0));
    uint64_t fixed[] = {0, UINT64_C(0x80000000), UINT64_C(0xffffffff80000000) | (uint32_t)first, 12345};
    memcpy(rng.fixed, fixed, sizeof(fixed));
    rng.fixed_count = 4;
    ck_assert_int_eq(fetch_session_id(create(1, 0)), 12345);
}
END_TEST

START_TEST(without_slots_there_are_no_sessions)
{
    fetch_sessions_close(sessions);
    sessions = fetch_sessions_open(0, SIZE_MAX_ALL, &rng.rng);
    ck_assert_ptr_null(create(1, 0));
}
END_TEST

/* Goal: the longest idle one gives way first, and only when it is idle for long. */
START_TEST(the_idle_give_way)
{
    struct fetch_session *found;
    int32_t ids[SLOTS];
    for (int i = 0; i < SLOTS; i++) {
        ids[i] = fetch_session_id(create(2, i));
    }
    ck_assert_int_eq(resume(ids[0], 1, 1000, &found), KAFKA_NONE);
    ck_assert_ptr_null(create(2, FETCH_SESSION_IDLE_MS + 1)); /* ids[1] is idle for exactly so long */
    ck_assert_ptr_nonnull(create(1, FETCH_SESSION_IDLE_MS + 2));
    ck_assert_uint_eq(fetch_sessions_evicted(sessions), 1);
    ck_assert_int_eq(resume(ids[1], 1, 0, &found), KAFKA_FETCH_SESSION_ID_NOT_FOUND);
    ck_assert_int_eq(resume(ids[0], 2, 0, &found), KAFKA_NONE);
}
END_TEST

/* Goal: of those in use the smallest gives way to a larger one, but not before it has lived for long. */
START_TEST(the_small_give_way_to_the_large)
{
    struct fetch_session *found;
    int32_t ids[SLOTS];
    for (int i = 0; i < SLOTS; i++) {
        ids[i] = fetch_session_id(create((unsigned)(5 - i), 0));
    }
    for (int i = 0; i < SLOTS; i++) {
        ck_assert_int_eq(resume(ids[i], 1, FETCH_SESSION_IDLE_MS, &found), KAFKA_NONE);
    }
    ck_assert_ptr_null(create(9, FETCH_SESSION_IDLE_MS));     /* too young */
    ck_assert_ptr_null(create(2, FETCH_SESSION_IDLE_MS + 1)); /* as large as the smallest */
    ck_assert_ptr_nonnull(create(3, FETCH_SESSION_IDLE_MS + 1));
    ck_assert_int_eq(resume(ids[3], 2, 0, &found), KAFKA_FETCH_SESSION_ID_NOT_FOUND);
    ck_assert_int_eq(resume(ids[2], 2, 0, &found), KAFKA_NONE);
}
END_TEST

START_TEST(memory_is_bounded)
{
    fetch_sessions_close(sessions);
    sessions = fetch_sessions_open(1000, 8000, &rng.rng);
    struct fetch_session *session;
    struct fetch_session *last = NULL;
    unsigned count = 0;
    while ((session = create(12, 0)) != NULL) {
        last = session;
        count++;
        ck_assert_uint_le(fetch_sessions_size(sessions), 8000);
    }
    ck_assert_uint_gt(count, 1);
    ck_assert_uint_lt(count, 10);
    /* One that grows over the bound ends; the consumer starts anew. */
    struct wish wish;
    wish_init(&wish, fetch_session_id(last), 1);
    for (int32_t p = 0; p < PARTITIONS; p++) {
        wish_add(&wish, 1, PARTITIONS + p, 0);
        wish_add(&wish, 2, PARTITIONS + p, 0);
    }
    ck_assert_int_eq(fetch_sessions_resume(sessions, &wish.message, false, 0, &session),
                     KAFKA_FETCH_SESSION_ID_NOT_FOUND);
    ck_assert_ptr_null(session);
    ck_assert_uint_le(fetch_sessions_size(sessions), 8000);
}
END_TEST

/* ---- Against a model ---- */

struct model {
    int32_t id, epoch;
    char order[64];
};

static void model_remove(struct model *model, const char *name)
{
    char *at = strstr(model->order, name);
    if (at != NULL) {
        memmove(at, at + 3, strlen(at + 3) + 1);
    }
}

static void model_put(struct model *model, const char *name)
{
    if (strstr(model->order, name) == NULL) {
        size_t size = strlen(model->order);
        snprintf(model->order + size, sizeof(model->order) - size, "%s", name);
    }
}

static void check_model(const struct model *model, const struct fetch_session *session)
{
    char text[64];
    size_t size = strlen(model->order);
    snprintf(text, sizeof(text), "%.*s", (int)(size > 0 ? size - 1 : 0), model->order);
    ck_assert_str_eq(order(session), text);
    ck_assert_uint_eq(fetch_session_count(session), size / 3);
}

/* One random incremental request, to the session and to the model. */
static void model_step(struct model *model, unsigned *seed)
{
    struct wish wish;
    struct fetch_session *session;
    wish_init(&wish, model->id, model->epoch);
    for (int kind = 0; kind < 2; kind++) {
        for (int i = rand_r(seed) % 4; i > 0; i--) {
            int32_t topic = rand_r(seed) % TOPICS;
            int32_t partition = rand_r(seed) % PARTITIONS;
            if (kind == 0) {
                wish_add(&wish, topic, partition, rand_r(seed));
            } else {
                wish_forget(&wish, topic, partition);
            }
        }
    }
    for (int kind = 0; kind < 2; kind++) { /* topics in the order of the request */
        for (int32_t t = 0; t < TOPICS; t++) {
            int32_t count = kind == 0 ? wish.topics[t].partitions_count : wish.forgotten[t].partitions_count;
            for (int32_t p = 0; p < count; p++) {
                char name[16];
                int32_t index = kind == 0 ? wish.partitions[t][p].partition : wish.indexes[t][p];
                snprintf(name, sizeof(name), "%c%d ", 'a' + t, index);
                (kind == 0 ? model_put : model_remove)(model, name);
            }
        }
    }
    ck_assert_int_eq(fetch_sessions_resume(sessions, &wish.message, false, 0, &session), KAFKA_NONE);
    model->epoch++;
    if (model->order[0] == '\0') {
        ck_assert_ptr_null(session);
        model->id = 0;
        return;
    }
    check_model(model, session);
    if (rand_r(seed) % 2 == 0) {
        struct fetch_session_partition *first = fetch_session_next(session, NULL);
        char name[16];
        snprintf(name, sizeof(name), "%c%d ", first->topic->name.data[0], first->want.partition);
        fetch_session_served(session, first);
        model_remove(model, name);
        model_put(model, name);
        check_model(model, session);
    }
}

START_TEST(random_lives_follow_a_model)
{
    struct model models[SLOTS] = {{0}};
    unsigned seed = (unsigned)_i;
    for (int step = 0; step < 400; step++) {
        struct model *model = &models[rand_r(&seed) % SLOTS];
        if (model->id == 0) {
            struct fetch_session *session = create(1 + (unsigned)(rand_r(&seed) % PARTITIONS), 0);
            ck_assert_ptr_nonnull(session);
            *model = (struct model){.id = fetch_session_id(session), .epoch = 1};
            static const char *const first[PARTITIONS] = {"a0 ", "a1 ", "a2 ", "a3 "};
            for (size_t p = 0; p < fetch_session_count(session); p++) {
                model_put(model, first[p]);
            }
            check_model(model, session);
        } else {
            model_step(model, &seed);
        }
    }
}
END_TEST

static Suite *fetch_session_suite(void)
{
    Suite *suite = suite_create("fetch_session");
    TCase *tests = tcase_create("all");
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, epochs_go_up_by_one_and_nothing_else_is_taken);
    tcase_add_test(tests, unknown_ids_are_told_so);
    tcase_add_loop_test(tests, a_full_request_ends_its_session, 0, 2);
    tcase_add_test(tests, epoch_wraps_to_one);
    tcase_add_test(tests, names_and_ids_do_not_mix);
    tcase_add_test(tests, partitions_are_added_moved_and_forgotten);
    tcase_add_test(tests, forgetting_comes_last);
    tcase_add_test(tests, a_session_without_partitions_ends);
    tcase_add_test(tests, only_what_has_changed_is_told);
    tcase_add_test(tests, errors_and_their_end_are_told);
    tcase_add_test(tests, what_was_told_lives_with_the_partition);
    tcase_add_test(tests, who_was_served_comes_last);
    tcase_add_test(tests, an_answer_finds_the_session_of_its_request);
    tcase_add_test(tests, ids_are_positive_and_never_given_twice);
    tcase_add_test(tests, without_slots_there_are_no_sessions);
    tcase_add_test(tests, the_idle_give_way);
    tcase_add_test(tests, the_small_give_way_to_the_large);
    tcase_add_test(tests, memory_is_bounded);
    tcase_add_loop_test(tests, random_lives_follow_a_model, 0, 50);
    suite_add_tcase(suite, tests);
    return suite;
}

TEST_MAIN(fetch_session_suite)
