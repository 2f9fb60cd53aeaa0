/* What the handlers of committed offsets stand on in their tests: a store with the topics "t" (3 partitions), "other"
 * and "gone" (1), metadata/offsets over a log that the test decides about, a coordinator that says what the test wants,
 * and requests and answers as text. Both go through their encoding, so that each version has what it has and no more.
 *
 * This header defines the functions of broker/coordinator.h and broker/request.h that handlers call, and includes
 * fake_replica.h: include it in exactly one file of a test.
 * Runs on: the test's thread. */
#ifndef TESTS_LIB_OFFSETS_FIXTURE_H
#define TESTS_LIB_OFFSETS_FIXTURE_H

#include <stdarg.h>

#include "base/limits.h"
#include "broker/coordinator.h"
#include "broker/request.h"
#include "metadata/offsets.h"
#include "metadata/store_groups.h"
#include "tests/lib/controller_fixture.h"
#include "tests/lib/store_records.h"

#define METADATA_SIZE_MAX 100
#define COMMIT_EPOCH 3 /* leader epoch of each offset that is committed here */

enum {
    ITEM_COUNT_MAX = 8,
    TEXT_SIZE = 1024,
    ARENA_SIZE = KIB(16)
};

static struct {
    struct controller_fixture base;
    struct options options;
    struct shard shard;
    struct request requests[2]; /* in turn */
    unsigned sent;
    size_t arena_size;
    size_t cut; /* bytes that a request's body lacks at its end */
    bool is_charge_refused;
    struct shared *answer;  /* body of the last one */
    int16_t answer_version;
    struct arena decoded;   /* of it */
    char text[TEXT_SIZE];   /* of it */
    unsigned answered, killed;
    enum kafka_error check, check_commit; /* what the coordinator says */
    bool has_members;                     /* the group */
    const char *subscription;             /* of them */
    struct metadata_propose propose;
    uint8_t filler[GROUP_ID_SIZE_MAX + 1];
} f;

static const struct uuid ids[] = {{{1}}, {{2}}, {{3}}}; /* of "t", "other", "gone" */

/* ---- Around them ---- */

enum kafka_error coordinator_check(const struct coordinator *coordinator)
{
    (void)coordinator;
    return f.check;
}

enum kafka_error coordinator_check_commit(struct coordinator *coordinator, struct bytes group, struct bytes member_id,
                                          struct bytes instance_id, int32_t generation)
{
    (void)coordinator;
    (void)group;
    ck_assert(bytes_equal_text(member_id, "member"));
    bool has_instance = f.requests[(f.sent - 1) % array_count(f.requests)].api_version >= 7;
    ck_assert(has_instance ? bytes_equal_text(instance_id, "instance") : instance_id.data == NULL);
    ck_assert_int_eq(generation, 4);
    return f.check_commit;
}

bool coordinator_group_is_empty(const struct coordinator *coordinator, struct bytes group)
{
    (void)coordinator;
    (void)group;
    return !f.has_members;
}

bool coordinator_subscribes(const struct coordinator *coordinator, struct bytes group, struct bytes topic)
{
    (void)coordinator;
    (void)group;
    return f.has_members && f.subscription != NULL && bytes_equal_text(topic, f.subscription);
}

void coordinator_send(struct coordinator_call *call, struct shard *origin)
{
    call->origin = origin;
    call->home = &f.shard;
    call->run(call, NULL);
}

void coordinator_return(struct coordinator_call *call)
{
    store_reader_refresh(call->origin->reader);
    call->back(call);
}

static inline void end_request(struct request *request)
{
    ck_assert_ptr_nonnull(request->frame);
    shared_release(request->frame);
    request->frame = NULL;
    arena_deinit(&request->arena);
}

void request_kill(struct request *request, const char *reason)
{
    (void)reason;
    f.killed++;
    end_request(request);
}

bool request_decode(struct request *request, const struct schema *schema, void *message)
{
    if (codec_decode(schema, request->api_version, &request->body, &request->arena, message) != OK) {
        request_kill(request, "malformed");
        return false;
    }
    return true;
}

bool request_charge(struct request *request, size_t count, size_t item_size)
{
    ck_assert_uint_gt(item_size, 0);
    ck_assert_uint_le(count, 2 * ITEM_COUNT_MAX);
    if (f.is_charge_refused) {
        request_kill(request, "too many items");
        return false;
    }
    return true;
}

static inline struct shared *encode(const struct schema *schema, int16_t version, const void *message)
{
    struct outbuf out;
    outbuf_init(&out, MIB(1));
    codec_encode(schema, version, message, &out);
    ck_assert_int_eq(out.err, OK);
    struct shared *body = outbuf_flatten(&out);
    outbuf_deinit(&out);
    return body;
}

void request_respond(struct request *request, const struct schema *schema, const void *message)
{
    shared_release(f.answer);
    f.answer = encode(schema, request->api_version, message);
    f.answer_version = request->api_version;
    f.answered++;
    end_request(request);
}

/* ---- The log ---- */

static inline void on_proposed(struct metadata_propose *propose)
{
    ck_assert_int_eq(propose->error, KAFKA_NONE);
}

static inline void put(const Balsa__Record__Record *record)
{
    f.propose.cb = on_proposed;
    metadata_propose(f.base.metadata, record, &f.propose);
    controller_fixture_decide(&f.base);
}

static inline void setup(void)
{
    memset(&f, 0, sizeof(f));
    memset(f.filler, 'x', sizeof(f.filler));
    controller_fixture_init(&f.base, controller_fixture_no_change);
    arena_init(&f.decoded, MIB(1));
    f.arena_size = ARENA_SIZE;
    f.options.offset_metadata_size_max = METADATA_SIZE_MAX;
    f.shard.options = &f.options;
    f.shard.env = &f.base.turn.env;
    f.shard.metrics = f.base.turn.env.metrics;
    f.shard.reader = f.base.reader;
    f.shard.metadata = f.base.metadata;
    f.shard.offsets = offsets_open(&f.base.turn.env);
    offsets_set_metadata(f.shard.offsets, f.base.metadata);
    store_record_topic(put, "t", &ids[0], 3);
    store_record_topic(put, "other", &ids[1], 1);
    store_record_topic(put, "gone", &ids[2], 1);
}

static inline void teardown(void)
{
    ck_assert(f.requests[0].frame == NULL && f.requests[1].frame == NULL);
    shared_release(f.answer);
    arena_deinit(&f.decoded);
    offsets_close(f.shard.offsets);
    controller_fixture_deinit(&f.base);
}

/* ---- Requests and answers as text: "topic:partition=offset ...", '!' behind it for too much metadata ---- */

struct item {
    char topic[16];
    int32_t partition;
    long long offset;
    bool is_large;
};

static inline size_t parse(const char *text, struct item *items)
{
    size_t count = 0;
    while (*text != '\0') {
        struct item *item = &items[count++];
        int size = 0;
        ck_assert_uint_le(count, ITEM_COUNT_MAX);
        *item = (struct item){.offset = -1};
        ck_assert_int_eq(sscanf(text, "%15[^:]:%d%n", item->topic, &item->partition, &size), 2);
        text += size;
        if (*text == '=') {
            ck_assert_int_eq(sscanf(text, "=%lld%n", &item->offset, &size), 1);
            text += size;
        }
        item->is_large = *text == '!';
        text += item->is_large + (text[item->is_large] == ' ');
    }
    return count;
}

/* Items of the same topic that follow one another are one topic: where those from `at` on end. */
static inline size_t run_end(const struct item *items, size_t count, size_t at)
{
    size_t end = at + 1;
    while (end < count && strcmp(items[end].topic, items[at].topic) == 0) {
        end++;
    }
    return end;
}

static inline void send_request(int16_t version, const struct schema *schema, const void *message,
                                request_handler handler)
{
    struct request *request = &f.requests[f.sent++ % array_count(f.requests)];
    ck_assert_ptr_null(request->frame);
    struct shared *frame = encode(schema, version, message);
    *request = (struct request){.shard = &f.shard, .api_version = version, .frame = frame};
    request->received_us = env_now_us(f.shard.env);
    arena_init(&request->arena, f.arena_size);
    reader_init(&request->body, (struct bytes){frame->data, frame->size - f.cut});
    handler(request);
}

static inline void ask_commit(int16_t version, struct bytes group, const char *text, int64_t retention_ms)
{
    struct item items[ITEM_COUNT_MAX];
    struct kafka_offset_commit_request_partition partitions[ITEM_COUNT_MAX];
    struct kafka_offset_commit_request_topic topics[ITEM_COUNT_MAX];
    struct kafka_offset_commit_request message;
    size_t count = parse(text, items);
    codec_init_defaults(&kafka_offset_commit_request_schema, &message);
    message.topics = topics;
    for (size_t at = 0, end; at < count; at = end) {
        end = run_end(items, count, at);
        topics[message.topics_count++] = (struct kafka_offset_commit_request_topic){
            bytes_from_text(items[at].topic), &partitions[at], (int32_t)(end - at)};
    }
    for (size_t i = 0; i < count; i++) {
        struct bytes note = {f.filler, METADATA_SIZE_MAX + 1};
        note = items[i].is_large ? note : items[i].partition == 0 ? bytes_from_text("note") : BYTES_NONE;
        partitions[i] = (struct kafka_offset_commit_request_partition){items[i].partition, items[i].offset,
                                                                       COMMIT_EPOCH, note};
    }
    message.group_id = group;
    message.member_id = bytes_from_text("member");
    message.group_instance_id = bytes_from_text("instance");
    message.generation_id_or_member_epoch = 4;
    message.retention_time_ms = retention_ms;
    send_request(version, &kafka_offset_commit_request_schema, &message, handle_offset_commit);
}

__attribute__((format(printf, 1, 2))) static inline void say(const char *format, ...)
{
    size_t size = strlen(f.text);
    va_list list;
    va_start(list, format);
    int count = vsnprintf(f.text + size, sizeof(f.text) - size, format, list);
    va_end(list);
    ck_assert(count >= 0 && (size_t)count < sizeof(f.text) - size);
}

/* A space before all but the first of an answer or a group. */
static inline void say_next(void)
{
    size_t size = strlen(f.text);
    if (size > 0 && f.text[size - 1] != '[') {
        say(" ");
    }
}

static inline void say_error(int16_t error)
{
    if (error != KAFKA_NONE) {
        say_next();
        say("!%s", kafka_error_name((enum kafka_error)error));
    }
}

static inline void say_code(struct bytes topic, int32_t partition, int16_t error)
{
    say_next();
    say("%.*s:%d=%s", (int)topic.size, (const char *)topic.data, partition,
        kafka_error_name((enum kafka_error)error));
}

static inline void read_answer(const struct schema *schema, void *message)
{
    struct reader reader;
    ck_assert_ptr_nonnull(f.answer);
    arena_reset(&f.decoded);
    f.text[0] = '\0';
    reader_init(&reader, (struct bytes){f.answer->data, f.answer->size});
    ck_assert_int_eq(codec_decode(schema, f.answer_version, &reader, &f.decoded, message), OK);
    ck_assert_uint_eq(reader.left, 0);
}

/* What was asked is proposed, or answered; how many records that makes. */
static inline unsigned turn(void)
{
    unsigned before = f.base.replica->count;
    turn_env_run(&f.base.turn);
    return f.base.replica->count - before;
}

static inline bool find(const char *group, int topic, int32_t partition, struct store_offset *offset)
{
    uint64_t number;
    return store_consumer_group_number(f.base.reader, bytes_from_text(group), &number) == OK &&
           store_offset(f.base.reader, number, &ids[topic], partition, offset) == OK;
}

/* Commits that are stored, for others to work on. */
static inline void given(const char *text)
{
    ask_commit(9, bytes_from_text("g"), text, -1);
    ck_assert_uint_eq(turn(), 1);
    controller_fixture_decide(&f.base);
    ck_assert_uint_eq(f.answered, 1);
    f.answered = 0;
}

#endif
