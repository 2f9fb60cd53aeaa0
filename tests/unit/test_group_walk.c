/* Random lives of a group. Goal: whatever members, coordinators and time do, no two members have the same part in one
 * generation, generations never go back, what a member was given outlives its coordinator, and nobody waits for ever.
 * Method: ten clients that behave as clients may (and lose answers, restart, fall silent), a store that is slow, fails
 * or holds what the coordinator thought lost, other coordinators. The checks of tests/lib/group_world.c hold after each
 * step. */
#include "base/mem.h"
#include "metadata/group.h"
#include "tests/lib/group_world.h"
#include "tests/lib/test.h"
#include <stdio.h>
#include <string.h>

#define CLIENT_COUNT 10
#define STEP_COUNT 3000
#define GENERATION_COUNT_MAX 4096

struct client {
    char id[40];
    char instance[8]; /* empty: dynamic */
    int32_t generation;
    int32_t given_generation; /* the last one that it was given its part of */
    struct group_ask *ask;    /* waits; NULL: none */
    bool is_leader;           /* told so, and has to assign */
};

/* What was told of one generation. */
struct told {
    unsigned decision; /* the leader's assignment that reached somebody; 0: none yet */
    char owners[CLIENT_COUNT][40];
    size_t owner_count;
};

static struct group_world world;
static struct client clients[CLIENT_COUNT];
static struct told told[GENERATION_COUNT_MAX];
static unsigned decision_count;
static uint64_t seed;
/* What the store has: packed; and what is on its way there. */
static uint8_t *stored;
static size_t stored_size;
static uint8_t *proposed;
static size_t proposed_size;
static uint64_t proposed_version;
static int32_t stored_generation;

static uint32_t pick(uint32_t bound)
{
    seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(seed >> 33) % bound;
}

/* ---- The store ---- */

static void propose(void)
{
    Balsa__Record__GroupValue value = BALSA__RECORD__GROUP_VALUE__INIT;
    struct arena arena;
    if (proposed != NULL || world.group.version == world.group.stored_version) {
        return;
    }
    arena_init(&arena, 1 << 20);
    ck_assert(group_save(&world.group, &arena, &value));
    proposed_size = balsa__record__group_value__get_packed_size(&value);
    proposed = mem_alloc(proposed_size + 1);
    balsa__record__group_value__pack(&value, proposed);
    proposed_version = world.group.version;
    arena_deinit(&arena);
}

static void commit(void)
{
    mem_free(stored);
    stored = proposed;
    stored_size = proposed_size;
    proposed = NULL;
}

static void take_answers(void);

static void store_ends(bool is_ok)
{
    if (proposed == NULL) {
        return;
    }
    if (is_ok) {
        commit();
    } else {
        mem_free(proposed);
        proposed = NULL;
    }
    group_stored(&world.group, world.now_us, proposed_version, is_ok, &world.answered);
    take_answers();
}

/* What is on its way may arrive, or not. */
static void fail_over(void)
{
    group_dismiss(&world.group, KAFKA_NOT_COORDINATOR, &world.answered);
    take_answers();
    group_deinit(&world.group);
    group_init(&world.group, &world.limits);
    if (proposed != NULL && pick(2) == 0) {
        commit();
    }
    mem_free(proposed);
    proposed = NULL;
    if (stored != NULL) {
        Balsa__Record__GroupValue *value = balsa__record__group_value__unpack(NULL, stored_size, stored);
        ck_assert_int_eq(group_restore(&world.group, world.now_us, value), OK);
        balsa__record__group_value__free_unpacked(value, NULL);
        ck_assert_int_ge(world.group.generation, stored_generation);
        stored_generation = world.group.generation;
    }
}

/* ---- Clients ---- */

/* A part is "<decision>:<owner's place>". */
static void take_part(const struct group_ask *ask)
{
    unsigned decision;
    unsigned part;
    if (ask->assignment[0] == '\0') {
        return;
    }
    ck_assert_int_eq(sscanf(ask->assignment, "%u:%u", &decision, &part), 2);
    ck_assert_int_lt(ask->generation, GENERATION_COUNT_MAX);
    struct told *here = &told[ask->generation];
    ck_assert_msg(here->decision == 0 || here->decision == decision, "generation %d was assigned twice",
                  ask->generation);
    here->decision = decision;
    ck_assert_uint_lt(part, CLIENT_COUNT);
    /* The owner of a part is a member, or a static member under its newest id. */
    char *dash = strrchr(ask->member, '-');
    size_t size = (size_t)(dash - ask->member);
    bool is_static = ask->member[0] != 'c';
    char *owner = here->owners[part];
    if (owner[0] != '\0') {
        ck_assert_msg(is_static ? strncmp(owner, ask->member, size) == 0 : strcmp(owner, ask->member) == 0,
                      "part %u of generation %d is owned by %s and %s", part, ask->generation, owner, ask->member);
    }
    memcpy(owner, ask->member, sizeof(here->owners[part]));
}

static void client_forgets(struct client *client)
{
    client->id[0] = '\0';
    client->generation = -1;
    client->is_leader = false;
}

static void client_takes(struct client *client)
{
    const struct group_ask *ask = client->ask;
    client->ask = NULL;
    client->is_leader = false;
    switch ((int)ask->error) {
    case KAFKA_NONE:
        memcpy(client->id, ask->member, sizeof(client->id));
        client->generation = ask->generation;
        client->is_leader = ask->is_join && ask->has_members && !ask->skips;
        if (!ask->is_join) { /* what was only joined and not synced may be forgotten with its coordinator */
            ck_assert_int_ge(ask->generation, client->given_generation);
            client->given_generation = ask->generation;
            take_part(ask);
        }
        break;
    case KAFKA_MEMBER_ID_REQUIRED:
        memcpy(client->id, ask->member, sizeof(client->id));
        break;
    case KAFKA_UNKNOWN_MEMBER_ID:
    case KAFKA_FENCED_INSTANCE_ID:
        client_forgets(client);
        break;
    default:
        break;
    }
}

static void copy_text(char *target, size_t size, struct bytes source)
{
    ck_assert_uint_lt(source.size, size);
    memcpy(target, source.data != NULL ? source.data : (const uint8_t *)"", source.size);
    target[source.size] = '\0';
}

/* As group_world does for its own calls. */
static void take_answers(void)
{
    struct list *link;
    while ((link = list_pop(&world.answered)) != NULL) {
        struct group_wait *wait = container_of(link, struct group_wait, link);
        struct group_ask *ask = container_of(wait, struct group_ask, wait);
        ck_assert(!ask->is_answered);
        ask->is_answered = true;
        ask->error = wait->error;
        if (wait->error == KAFKA_NONE) {
            ask->generation = world.group.generation;
            copy_text(ask->member, sizeof(ask->member), wait->member->id);
            copy_text(ask->assignment, sizeof(ask->assignment), wait->member->assignment);
            ask->has_members = ask->is_join && wait->has_members;
            ask->skips = ask->is_join && wait->skips_assignment;
        }
    }
    group_world_check(&world);
}

static void deliver(void)
{
    for (size_t i = 0; i < CLIENT_COUNT; i++) {
        if (clients[i].ask != NULL && clients[i].ask->is_answered) {
            client_takes(&clients[i]);
        }
    }
    if (world.ask_count > GROUP_WORLD_ASK_COUNT_MAX - 100) { /* all that are answered may be used again */
        ck_assert_msg(group_world_waiting(&world) == 0 || world.ask_count < GROUP_WORLD_ASK_COUNT_MAX, "asks used up");
        world.ask_count = group_world_waiting(&world) == 0 ? 0 : world.ask_count;
    }
}

static void client_joins(struct client *client)
{
    bool is_new = client->id[0] == '\0';
    client->ask =
        group_world_join(&world, (struct group_wish){.member = client->id,
                                                     .instance = client->instance[0] != '\0' ? client->instance : NULL,
                                                     .protocols = pick(3) == 0 ? "range,sticky" : "sticky,range",
                                                     .metadata = pick(4) == 0 ? "b" : "a",
                                                     .session_ms = 6000,
                                                     .rebalance_ms = 10000,
                                                     .is_id_required = is_new && pick(2) == 0,
                                                     .can_skip = pick(2) == 0});
}

/* Each member of this moment gets one part, or the leader is a little behind and leaves some out. */
static void client_syncs(struct client *client)
{
    char text[1000] = "";
    size_t size = 0;
    unsigned decision = ++decision_count;
    for (size_t i = 0; client->is_leader && i < world.group.member_count; i++) {
        const struct bytes id = world.group.members[i]->id;
        if (pick(20) != 0) {
            size += (size_t)snprintf(text + size, sizeof(text) - size, "%s%.*s=%u:%zu", size > 0 ? "," : "",
                                     (int)id.size, (const char *)id.data, decision, i);
        }
    }
    client->ask = group_world_sync(&world, client->id, client->instance[0] != '\0' ? client->instance : NULL,
                                   client->generation, text);
}

static void client_acts(struct client *client)
{
    const char *instance = client->instance[0] != '\0' ? client->instance : NULL;
    uint32_t action = pick(100);
    if (action < 5) { /* its process dies: the coordinator learns of it, or not */
        if (client->ask != NULL && pick(2) == 0) {
            group_world_withdraw(&world, client->ask);
        }
        client->ask = NULL;
        client_forgets(client);
    } else if (client->ask != NULL && action < 8) { /* the answer will be lost: it asks again */
        client->ask = NULL;
    } else if (client->ask == NULL && action < 35) {
        client_joins(client);
    } else if (client->ask == NULL && action < 65 && client->id[0] != '\0') {
        client_syncs(client);
    } else if (action < 92 && client->id[0] != '\0') {
        enum kafka_error error = group_world_heartbeat(&world, client->id, instance, client->generation);
        if (error == KAFKA_UNKNOWN_MEMBER_ID || error == KAFKA_FENCED_INSTANCE_ID) {
            client_forgets(client);
        }
    } else if (action < 95 && client->id[0] != '\0') {
        (void)group_world_leave(&world, client->id, instance);
    }
}

static void step(void)
{
    int32_t generation = world.group.generation;
    uint32_t action = pick(100);
    if (action < 70) {
        client_acts(&clients[pick(CLIENT_COUNT)]);
    } else if (action < 85) {
        store_ends(pick(10) != 0);
    } else if (action < 99) {
        group_world_advance(&world, pick(1500));
    } else {
        fail_over();
        generation = world.group.generation;
    }
    ck_assert_int_ge(world.group.generation, generation);
    propose();
    deliver();
}

/* Nobody asks any more: at the end all are answered, and the group is empty, stored and without a timer. */
static void settle(void)
{
    for (int i = 0; i < 100; i++) {
        group_world_advance(&world, 1000);
        propose();
        store_ends(true);
        deliver();
    }
    ck_assert_uint_eq(group_world_waiting(&world), 0);
    ck_assert(group_is_dormant(&world.group));
    ck_assert(group_due_us(&world.group) == GROUP_NEVER);
}

START_TEST(random_lives_keep_their_promises)
{
    seed = (uint64_t)_i + 1;
    group_world_init(&world);
    world.limits.initial_delay_ms = _i % 2 == 0 ? 0 : 2000;
    world.limits.member_count_max = _i % 3 == 0 ? 5 : CLIENT_COUNT;
    memset(told, 0, sizeof(told));
    stored = NULL;
    proposed = NULL;
    stored_generation = 0;
    for (size_t i = 0; i < CLIENT_COUNT; i++) {
        clients[i] = (struct client){.generation = -1};
        if (i % 3 == 0) {
            (void)snprintf(clients[i].instance, sizeof(clients[i].instance), "i%zu", i);
        }
    }
    for (int i = 0; i < STEP_COUNT; i++) {
        step();
    }
    settle();
    group_world_deinit(&world);
    mem_free(stored);
}
END_TEST

static Suite *group_walk_suite(void)
{
    Suite *suite = suite_create("group_walk");
    TCase *walk = tcase_create("walk");
    tcase_set_timeout(walk, 300);
    tcase_add_loop_test(walk, random_lives_keep_their_promises, 0, 100);
    suite_add_tcase(suite, walk);
    return suite;
}

TEST_MAIN(group_walk_suite)
