/* Groups in the coordinator's memory: who is there, what is stored when, what is forgotten, and what memory they hold.
 * Groups, coordinator.c and the store are real, the log is a fake replica's; requests are steps of a group made here in
 * place of coordinator_requests.c. */
#include "broker/coordinator_internal.h"

#include "base/limits.h"
#include "metadata/store_groups.h"
#include "tests/lib/controller_fixture.h"
#include "tests/lib/store_records.h"

#define SESSION_MS 10000
#define STORE_RETRY_US_MIN 10000   /* a record that failed is tried again not before */
#define STORE_RETRY_US_MAX 1000000 /* and not after */

enum {
    CALL_COUNT_MAX = 16
};

struct ask { /* a JoinGroup or SyncGroup, and its answer */
    struct group_call call;
    unsigned answers;
    enum kafka_error error;
    int32_t generation;
    char member[8]; /* of a join */
};

static struct {
    struct controller_fixture base;
    struct options options;
    struct shard shard;
    struct coordinator *coordinator;
    struct ask asks[CALL_COUNT_MAX];
    unsigned count;
    unsigned member_count; /* ids given out */
    struct metadata_propose propose;
} f;

/* ---- Around it ---- */

void coordinator_answer_wait(struct group_call *call, const struct hosted_group *hosted)
{
    struct ask *ask = container_of(call, struct ask, call);
    ck_assert_ptr_eq(call->hosted, hosted);
    ask->answers++;
    ask->error = call->wait.error;
    ask->generation = hosted->group.generation;
    if (ask->error == KAFKA_NONE) {
        const struct group_member *member = call->wait.member;
        (void)snprintf(ask->member, sizeof(ask->member), "%.*s", (int)member->id.size, (const char *)member->id.data);
    }
}

void shard_send(struct shard *shard, unsigned number, struct message *message)
{
    (void)shard;
    (void)number;
    (void)message;
    ck_abort_msg("nothing is sent here");
}

static void on_proposed(struct metadata_propose *propose)
{
    ck_assert_int_eq(propose->error, KAFKA_NONE);
}

static void put(const Balsa__Record__Record *record)
{
    f.propose.cb = on_proposed;
    metadata_propose(f.base.metadata, record, &f.propose);
    controller_fixture_decide(&f.base);
}

static void setup(void)
{
    memset(&f, 0, sizeof(f));
    controller_fixture_init(&f.base, controller_fixture_no_change);
    f.options.group_session_min_ms = 1;
    f.options.group_session_max_ms = 100 * SESSION_MS;
    f.options.group_size_max = 100;
    f.shard.options = &f.options;
    f.shard.env = &f.base.turn.env;
    f.shard.metrics = f.base.turn.env.metrics;
    f.shard.reader = f.base.reader;
    f.shard.metadata = f.base.metadata;
    f.coordinator = coordinator_open(&f.shard);
    f.coordinator->state = COORDINATOR_HERE;
}

static void teardown(void)
{
    coordinator_stop(f.coordinator);
    ck_assert_uint_eq(f.coordinator->count + f.coordinator->size, 0);
    ck_assert_int_eq(metrics_value(f.shard.metrics, METRIC_GROUPS), 0);
    coordinator_close(f.coordinator);
    for (unsigned i = 0; i < f.count; i++) {
        ck_assert_msg(f.asks[i].answers == 1, "request %u was answered %u times", i, f.asks[i].answers);
    }
    controller_fixture_deinit(&f.base);
}

/* ---- Steps ---- */

static struct bytes id_of(const char *text)
{
    return bytes_from_text(text);
}

static struct ask *ask_new(void)
{
    ck_assert_uint_lt(f.count, CALL_COUNT_MAX);
    return &f.asks[f.count++];
}

/* A new member, called m1, m2, ... */
static struct ask *join(const char *group)
{
    static const struct group_protocol protocol = {{(const uint8_t *)"range", 5}, {(const uint8_t *)"", 0}};
    char offered[8];
    struct ask *ask = ask_new();
    struct hosted_group *hosted = hosted_get(f.coordinator, id_of(group));
    struct list answered;
    ck_assert_ptr_nonnull(hosted);
    (void)snprintf(offered, sizeof(offered), "m%u", ++f.member_count);
    struct group_join wish = {.member_id = bytes_from_text(""),
                              .offered_id = bytes_from_text(offered),
                              .client_id = bytes_from_text("client"),
                              .client_host = bytes_from_text("/host"),
                              .protocol_type = bytes_from_text("consumer"),
                              .protocols = &protocol,
                              .protocol_count = 1,
                              .session_timeout_ms = SESSION_MS,
                              .rebalance_timeout_ms = SESSION_MS};
    list_init(&answered);
    ask->call.hosted = hosted;
    group_join(&hosted->group, env_now_us(f.shard.env), &wish, &ask->call.wait, &answered);
    hosted_settle(hosted, &answered);
    return ask;
}

/* The leader gives itself `assignment`. */
static struct ask *sync_group(const char *group, const struct ask *joined, const char *assignment)
{
    struct ask *ask = ask_new();
    struct hosted_group *hosted = hosted_find(f.coordinator, id_of(group));
    struct group_assignment given = {bytes_from_text(joined->member), bytes_from_text(assignment)};
    struct group_sync wish = {.member_id = bytes_from_text(joined->member),
                              .generation = joined->generation,
                              .assignments = &given,
                              .assignment_count = 1};
    struct list answered;
    ck_assert_ptr_nonnull(hosted);
    list_init(&answered);
    ask->call.hosted = hosted;
    group_sync(&hosted->group, env_now_us(f.shard.env), &wish, &ask->call.wait, &answered);
    hosted_settle(hosted, &answered);
    return ask;
}

static void leave(const char *group, const struct ask *joined)
{
    struct hosted_group *hosted = hosted_find(f.coordinator, id_of(group));
    struct list answered;
    ck_assert_ptr_nonnull(hosted);
    list_init(&answered);
    ck_assert_int_eq(
        group_leave(&hosted->group, env_now_us(f.shard.env), bytes_from_text(joined->member), BYTES_NONE, &answered),
        KAFKA_NONE);
    hosted_settle(hosted, &answered);
}

/* A group with one member that has its part. */
static struct ask *make_stable(const char *group)
{
    struct ask *joined = join(group);
    struct ask *synced = sync_group(group, joined, "all");
    ck_assert_uint_eq(f.base.replica->submitted, 1);
    controller_fixture_decide(&f.base);
    ck_assert_int_eq(synced->error, KAFKA_NONE);
    return joined;
}

static bool is_hosted(const char *group)
{
    return hosted_find(f.coordinator, id_of(group)) != NULL;
}

/* What the store knows of it. */
static Balsa__Record__GroupValue *stored(const char *group, struct arena *arena)
{
    Balsa__Record__GroupValue *value;
    uint64_t number;
    ck_assert_int_eq(store_consumer_group(f.base.reader, arena, id_of(group), &number, &value), OK);
    return value;
}

static int32_t stored_generation(const char *group, size_t *member_count)
{
    struct arena arena;
    arena_init(&arena, MIB(1));
    const Balsa__Record__GroupValue *value = stored(group, &arena);
    int32_t generation = value->generation;
    *member_count = value->n_members;
    arena_deinit(&arena);
    return generation;
}

/* ---- Storing ---- */

/* Goal: a part is told when it is stored, not before. */
START_TEST(a_part_is_told_when_it_is_stored)
{
    size_t member_count;
    const struct ask *joined = join("g");
    ck_assert_uint_eq(joined->answers, 1);
    ck_assert_int_eq(joined->generation, 1);
    ck_assert_uint_eq(f.base.replica->submitted, 0); /* nothing yet that must survive */
    const struct ask *synced = sync_group("g", joined, "all");
    turn_env_run(&f.base.turn);
    ck_assert_uint_eq(f.base.replica->submitted, 1);
    ck_assert_uint_eq(synced->answers, 0);
    controller_fixture_decide(&f.base);
    ck_assert_uint_eq(synced->answers, 1);
    ck_assert_int_eq(synced->error, KAFKA_NONE);
    ck_assert_int_eq(stored_generation("g", &member_count), 1);
    ck_assert_uint_eq(member_count, 1);
    ck_assert_int_eq(metrics_value(f.shard.metrics, METRIC_GROUP_REBALANCES), 1);
}
END_TEST

/* Goal:   one record of a group is on its way at a time; what changes meanwhile goes with the next one.
 * Method: the member leaves while its part is being stored. */
START_TEST(one_record_at_a_time)
{
    size_t member_count;
    const struct ask *joined = join("g");
    const struct ask *synced = sync_group("g", joined, "all");
    leave("g", joined);
    ck_assert_uint_eq(synced->answers, 1); /* it has gone: nobody waits */
    ck_assert_uint_eq(f.base.replica->submits, 1);
    ck_assert(is_hosted("g"));
    controller_fixture_decide(&f.base);
    ck_assert_uint_eq(f.base.replica->submits, 2);
    controller_fixture_decide(&f.base);
    ck_assert_uint_eq(f.base.replica->submits, 2);
    (void)stored_generation("g", &member_count);
    ck_assert_uint_eq(member_count, 0);
    ck_assert(!is_hosted("g"));
}
END_TEST

/* Goal:   what could not be stored is tried again, not at once and not too late, and is not forgotten before.
 * Method: the log refuses records, once or several times, after the only member has left. */
START_TEST(failed_records_are_tried_again)
{
    unsigned failures = (unsigned)_i + 1;
    struct ask *joined = make_stable("g");
    fault_init(&f.base.replica->busy, 1, failures);
    unsigned before = f.base.replica->submits;
    leave("g", joined);
    turn_env_run(&f.base.turn);
    for (unsigned i = 0; i < failures; i++) {
        ck_assert_uint_eq(f.base.replica->submits, before + i + 1);
        ck_assert(is_hosted("g"));
        int64_t due_us = timer_heap_due_us(&f.base.turn.heap) - (int64_t)f.base.turn.now_us;
        ck_assert(due_us >= STORE_RETRY_US_MIN && due_us <= STORE_RETRY_US_MAX);
        turn_env_advance(&f.base.turn, (uint64_t)due_us);
    }
    ck_assert_uint_eq(f.base.replica->submitted, 1);
    ck_assert_int_eq(metrics_value(f.shard.metrics, METRIC_GROUP_STORE_RETRIES), failures);
    controller_fixture_decide(&f.base);
    ck_assert(!is_hosted("g"));
    size_t member_count;
    (void)stored_generation("g", &member_count);
    ck_assert_uint_eq(member_count, 0);
}
END_TEST

/* Goal: a part that could not be stored is refused, and the group makes another generation. */
START_TEST(a_part_that_is_not_stored_is_refused)
{
    struct ask *joined = join("g");
    fault_init(&f.base.replica->busy, 1, 1);
    const struct ask *synced = sync_group("g", joined, "all");
    turn_env_run(&f.base.turn);
    ck_assert_uint_eq(synced->answers, 1);
    ck_assert_int_ne(synced->error, KAFKA_NONE);
    ck_assert_uint_eq(f.base.replica->submitted, 0);
    ck_assert_uint_eq(store_consumer_group_count(f.base.reader), 0);
}
END_TEST

/* Goal: while there is no metadata here nothing is stored, and nothing is lost or told. */
START_TEST(without_metadata_nothing_is_stored)
{
    struct ask *joined = join("g");
    f.shard.metadata = NULL;
    const struct ask *synced = sync_group("g", joined, "all");
    turn_env_run(&f.base.turn);
    ck_assert_uint_eq(synced->answers + f.base.replica->submits, 0);
    hosted_drop(hosted_find(f.coordinator, id_of("g")), KAFKA_NOT_COORDINATOR);
    ck_assert_int_eq(synced->error, KAFKA_NOT_COORDINATOR);
}
END_TEST

/* ---- Coming and going ---- */

/* Goal: a group that nobody is in is forgotten with the step that finds it so; its memory is given back. */
START_TEST(groups_without_anybody_are_forgotten)
{
    struct list answered;
    list_init(&answered);
    hosted_settle(hosted_get(f.coordinator, id_of("g")), &answered);
    ck_assert(!is_hosted("g"));
    const struct ask *joined = make_stable("g");
    ck_assert_uint_gt(f.coordinator->size, 0);
    ck_assert_int_eq(metrics_value(f.shard.metrics, METRIC_GROUPS), 1);
    leave("g", joined);
    ck_assert(is_hosted("g")); /* until the store knows */
    controller_fixture_decide(&f.base);
    ck_assert(!is_hosted("g"));
    ck_assert_uint_eq(f.coordinator->size, 0);
}
END_TEST

/* Goal: generations of a group that was forgotten go on where they were. */
START_TEST(generations_go_on)
{
    for (int32_t generation = 1; generation <= 5; generation += 2) {
        const struct ask *joined = make_stable("g");
        ck_assert_int_eq(joined->generation, generation);
        leave("g", joined);
        controller_fixture_decide(&f.base);
        ck_assert(!is_hosted("g"));
    }
}
END_TEST

/* Goal: a member that is not heard of goes when its session is over, and the group with it. */
START_TEST(silent_members_go)
{
    (void)make_stable("g");
    turn_env_advance(&f.base.turn, SESSION_MS * UINT64_C(1000) - 1);
    ck_assert_uint_eq(f.base.replica->submitted, 0);
    ck_assert_int_eq(metrics_value(f.shard.metrics, METRIC_GROUP_MEMBERS_EXPIRED), 0);
    turn_env_advance(&f.base.turn, 1);
    ck_assert_uint_eq(f.base.replica->submitted, 1);
    ck_assert_int_eq(metrics_value(f.shard.metrics, METRIC_GROUP_MEMBERS_EXPIRED), 1);
    controller_fixture_decide(&f.base);
    ck_assert(!is_hosted("g"));
    ck_assert_int_eq(timer_heap_due_us(&f.base.turn.heap), INT64_MAX);
}
END_TEST

/* Goal: a client that goes away while it waits is answered once; its member stays until its session is over. */
START_TEST(who_goes_away_is_answered)
{
    (void)make_stable("g");
    struct ask *second = join("g");
    ck_assert_uint_eq(second->answers, 0);
    coordinator_withdraw(f.coordinator, &second->call);
    ck_assert_uint_eq(second->answers, 1);
    ck_assert_int_ne(second->error, KAFKA_NONE);
    ck_assert_uint_eq(hosted_find(f.coordinator, id_of("g"))->group.member_count, 2);
}
END_TEST

/* Goal:   a coordinator that is deposed tells everybody who waits, in all groups; what becomes of a record that is on
 *         its way does not matter to it any more.
 * Method: a member of each of two groups waits, for a part or for others; its record is decided afterwards or fails. */
START_TEST(dropped_groups_tell_who_waits)
{
    struct ask *joined = join("g");
    const struct ask *synced = sync_group("g", joined, "all");
    (void)join("h");
    const struct ask *second = join("h");
    ck_assert_uint_eq(synced->answers + second->answers, 0);
    ck_assert_uint_eq(f.coordinator->count, 2);
    coordinator_stop(f.coordinator);
    ck_assert_int_eq(synced->error, KAFKA_NOT_COORDINATOR);
    ck_assert_int_eq(second->error, KAFKA_NOT_COORDINATOR);
    ck_assert_uint_eq(f.coordinator->count, 0);
    if (_i == 0) {
        controller_fixture_decide(&f.base);
    } else {
        fake_replica_role(f.base.replica, REPLICA_FOLLOWER, 4, false);
        turn_env_run(&f.base.turn);
        fake_replica_truncate(f.base.replica);
    }
    ck_assert_int_eq(timer_heap_due_us(&f.base.turn.heap), INT64_MAX);
}
END_TEST

/* ---- From the store ---- */

/* Goal: what was stored is there again, with the time of a new session; nobody has to join anew. */
START_TEST(stored_groups_are_loaded)
{
    struct arena arena;
    const struct ask *joined = make_stable("g");
    hosted_drop(hosted_find(f.coordinator, id_of("g")), KAFKA_NOT_COORDINATOR);
    arena_init(&arena, MIB(1));
    ck_assert_int_eq(hosted_load(f.coordinator, id_of("g"), stored("g", &arena)), OK);
    arena_deinit(&arena);
    struct hosted_group *hosted = hosted_find(f.coordinator, id_of("g"));
    ck_assert_ptr_nonnull(hosted);
    ck_assert_int_eq(group_heartbeat(&hosted->group, env_now_us(f.shard.env), bytes_from_text(joined->member),
                                     BYTES_NONE, joined->generation),
                     KAFKA_NONE);
    ck_assert_int_eq(metrics_value(f.shard.metrics, METRIC_GROUP_REBALANCES), 1); /* no new one */
    ck_assert_uint_gt(f.coordinator->size, 0);
    ck_assert_int_ne(timer_heap_due_us(&f.base.turn.heap), INT64_MAX);
}
END_TEST

/* Goal:   what makes no sense is refused and leaves nothing behind; members of such a group join anew.
 * Method: a member without what a member has. */
START_TEST(senseless_groups_are_refused)
{
    struct arena arena;
    store_record_group(put, "g", "consumer", true, 1);
    arena_init(&arena, MIB(1));
    ck_assert_int_eq(hosted_load(f.coordinator, id_of("g"), stored("g", &arena)), ERR_CORRUPT);
    arena_deinit(&arena);
    ck_assert(!is_hosted("g"));
    ck_assert_uint_eq(f.coordinator->count, 0);
    ck_assert_int_eq(join("g")->error, KAFKA_NONE);
}
END_TEST

/* ---- Bounds ---- */

/* Goal: over the bounds of groups or memory no other group is made; those that are there go on. */
START_TEST(too_many_groups_are_refused)
{
    (void)make_stable("g");
    size_t count = f.coordinator->count;
    size_t size = f.coordinator->size;
    *(_i == 0 ? &f.coordinator->count : &f.coordinator->size) = _i == 0 ? GROUP_COUNT_MAX : GROUPS_MEMORY_MAX;
    ck_assert_ptr_null(hosted_get(f.coordinator, id_of("h")));
    ck_assert_ptr_nonnull(hosted_get(f.coordinator, id_of("g")));
    *(_i == 0 ? &f.coordinator->count : &f.coordinator->size) -= 1;
    struct hosted_group *hosted = hosted_get(f.coordinator, id_of("h"));
    ck_assert_ptr_nonnull(hosted);
    hosted_drop(hosted, KAFKA_NOT_COORDINATOR);
    f.coordinator->count = count;
    f.coordinator->size = size;
}
END_TEST

static const char *const orders[] = {"abc", "acb", "bac", "bca", "cab", "cba"};

/* Goal:   groups whose ids have the same hash are found and forgotten one by one, in any order.
 * Method: such ids are not to be had, so three groups are chained by hand behind the hash of the last one. */
START_TEST(same_hashes_are_told_apart)
{
    const char *order = orders[_i];
    struct hosted_group *chain[3];
    for (unsigned i = 0; i < 3; i++) {
        char id[] = {(char)('a' + i), '\0'};
        chain[i] = hosted_get(f.coordinator, id_of(id));
    }
    for (unsigned i = 1; i < 3; i++) {
        (void)map_remove(&f.coordinator->map, chain[i]->hash);
        chain[i]->hash = chain[0]->hash;
        chain[i]->next = chain[i - 1];
        map_put(&f.coordinator->map, chain[0]->hash, chain[i]);
    }
    uint64_t hash = chain[0]->hash;
    char left[] = "cba";
    for (; *order != '\0'; order++) {
        char *gone = strchr(left, *order);
        hosted_drop(chain[*order - 'a'], KAFKA_NOT_COORDINATOR);
        memmove(gone, gone + 1, strlen(gone));
        const struct hosted_group *at = map_get(&f.coordinator->map, hash);
        for (const char *id = left; *id != '\0'; id++, at = at->next) {
            ck_assert_ptr_eq(at, chain[*id - 'a']);
        }
        ck_assert_ptr_null(at);
        ck_assert(is_hosted("a") == (strchr(left, 'a') != NULL));
    }
}
END_TEST

static Suite *coordinator_groups_suite(void)
{
    Suite *suite = suite_create("coordinator_groups");
    TCase *tcase = tcase_create("storing");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, a_part_is_told_when_it_is_stored);
    tcase_add_test(tcase, one_record_at_a_time);
    tcase_add_loop_test(tcase, failed_records_are_tried_again, 0, 3);
    tcase_add_test(tcase, a_part_that_is_not_stored_is_refused);
    tcase_add_test(tcase, without_metadata_nothing_is_stored);
    suite_add_tcase(suite, tcase);
    TCase *life = tcase_create("life");
    tcase_add_checked_fixture(life, setup, teardown);
    tcase_add_test(life, groups_without_anybody_are_forgotten);
    tcase_add_test(life, generations_go_on);
    tcase_add_test(life, silent_members_go);
    tcase_add_test(life, who_goes_away_is_answered);
    tcase_add_loop_test(life, dropped_groups_tell_who_waits, 0, 2);
    tcase_add_test(life, stored_groups_are_loaded);
    tcase_add_test(life, senseless_groups_are_refused);
    tcase_add_loop_test(life, too_many_groups_are_refused, 0, 2);
    tcase_add_loop_test(life, same_hashes_are_told_apart, 0, (int)array_count(orders));
    suite_add_tcase(suite, life);
    return suite;
}

TEST_MAIN(coordinator_groups_suite)
