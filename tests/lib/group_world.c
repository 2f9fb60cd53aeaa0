#include "tests/lib/group_world.h"
#include "base/mem.h"
#include "tests/lib/test.h"
#include <stdio.h>
#include <string.h>

#define PIECES_MAX 32

void group_world_init(struct group_world *world)
{
    memset(world, 0, sizeof(*world));
    world->limits = (struct group_limits){.session_timeout_min_ms = 1000,
                                          .session_timeout_max_ms = 100000,
                                          .initial_delay_ms = 0,
                                          .member_count_max = 10};
    world->now_us = 1000000;
    list_init(&world->answered);
    group_init(&world->group, &world->limits);
}

static void copy_text(char *target, size_t size, struct bytes source)
{
    ck_assert_uint_lt(source.size, size);
    memcpy(target, source.data != NULL ? source.data : (const uint8_t *)"", source.size);
    target[source.size] = '\0';
}

static void take_ok(const struct group *group, struct group_ask *ask)
{
    const struct group_member *member = ask->wait.member;
    ck_assert_ptr_nonnull(member);
    ask->generation = group->generation;
    copy_text(ask->member, sizeof(ask->member), member->id);
    copy_text(ask->protocol, sizeof(ask->protocol), group->protocol);
    if (ask->is_join) {
        copy_text(ask->leader, sizeof(ask->leader), ask->wait.leader_id);
        ask->has_members = ask->wait.has_members;
        ask->member_count = ask->has_members ? group->member_count : 0;
        ask->skips = ask->wait.skips_assignment;
    } else {
        copy_text(ask->assignment, sizeof(ask->assignment), member->assignment);
    }
}

static void take_answers(struct group_world *world)
{
    struct list *link;
    while ((link = list_pop(&world->answered)) != NULL) {
        struct group_wait *wait = container_of(link, struct group_wait, link);
        struct group_ask *ask = container_of(wait, struct group_ask, wait);
        ck_assert_msg(!ask->is_answered, "answered twice");
        ask->is_answered = true;
        ask->error = wait->error;
        if (wait->error == KAFKA_NONE) {
            take_ok(&world->group, ask);
        } else if (wait->is_new_id) {
            memcpy(ask->member, ask->offered, sizeof(ask->member));
        }
    }
    group_world_check(world);
}

void group_world_deinit(struct group_world *world)
{
    group_dismiss(&world->group, KAFKA_NOT_COORDINATOR, &world->answered);
    take_answers(world);
    ck_assert_uint_eq(group_world_waiting(world), 0);
    group_deinit(&world->group);
}

static struct group_ask *ask_new(struct group_world *world, bool is_join)
{
    ck_assert_uint_lt(world->ask_count, GROUP_WORLD_ASK_COUNT_MAX);
    struct group_ask *ask = &world->asks[world->ask_count++];
    *ask = (struct group_ask){.is_join = is_join};
    return ask;
}

static struct bytes text_or_none(const char *text)
{
    return text != NULL ? bytes_from_text(text) : BYTES_NONE;
}

static struct bytes text_or_empty(const char *text)
{
    return bytes_from_text(text != NULL ? text : "");
}

struct group_ask *group_world_join(struct group_world *world, struct group_wish wish)
{
    struct group_ask *ask = ask_new(world, true);
    struct group_protocol protocols[PIECES_MAX];
    char metadata[PIECES_MAX][20];
    char names[100];
    size_t count = 0;
    char *place = NULL;
    (void)snprintf(names, sizeof(names), "%s", wish.protocols != NULL ? wish.protocols : "range");
    for (char *name = strtok_r(names, ",", &place); name != NULL; name = strtok_r(NULL, ",", &place)) {
        (void)snprintf(metadata[count], sizeof(metadata[count]), "m-%s", wish.metadata != NULL ? wish.metadata : name);
        protocols[count] = (struct group_protocol){bytes_from_text(name), bytes_from_text(metadata[count])};
        count++;
    }
    (void)snprintf(ask->offered, sizeof(ask->offered), "%s-%u", wish.instance != NULL ? wish.instance : "c",
                   ++world->next_id);
    struct group_join join = {.member_id = text_or_empty(wish.member),
                              .offered_id = bytes_from_text(ask->offered),
                              .instance_id = text_or_none(wish.instance),
                              .client_id = bytes_from_text("client"),
                              .client_host = bytes_from_text("/host"),
                              .protocol_type = text_or_empty(wish.type != NULL ? wish.type : "consumer"),
                              .protocols = protocols,
                              .protocol_count = count,
                              .session_timeout_ms = wish.session_ms != 0 ? wish.session_ms : 10000,
                              .rebalance_timeout_ms = wish.rebalance_ms == 0  ? 60000
                                                      : wish.rebalance_ms < 0 ? 0
                                                                              : wish.rebalance_ms,
                              .is_id_required = wish.is_id_required};
    ask->wait.can_skip = wish.can_skip;
    group_join(&world->group, world->now_us, &join, &ask->wait, &world->answered);
    take_answers(world);
    return ask;
}

struct group_ask *group_world_sync(struct group_world *world, const char *member, const char *instance,
                                   int32_t generation, const char *text)
{
    struct group_ask *ask = ask_new(world, false);
    struct group_assignment assignments[PIECES_MAX];
    char pieces[1000];
    size_t count = 0;
    char *place = NULL;
    (void)snprintf(pieces, sizeof(pieces), "%s", text != NULL ? text : "");
    for (char *piece = strtok_r(pieces, ",", &place); piece != NULL; piece = strtok_r(NULL, ",", &place)) {
        char *sign = strchr(piece, '=');
        ck_assert_ptr_nonnull(sign);
        *sign = '\0';
        assignments[count++] = (struct group_assignment){bytes_from_text(piece), bytes_from_text(sign + 1)};
    }
    struct group_sync sync = {.member_id = bytes_from_text(member),
                              .instance_id = text_or_none(instance),
                              .generation = generation,
                              .assignments = assignments,
                              .assignment_count = count};
    group_sync(&world->group, world->now_us, &sync, &ask->wait, &world->answered);
    take_answers(world);
    return ask;
}

enum kafka_error group_world_heartbeat(struct group_world *world, const char *member, const char *instance,
                                       int32_t generation)
{
    enum kafka_error error =
        group_heartbeat(&world->group, world->now_us, bytes_from_text(member), text_or_none(instance), generation);
    take_answers(world);
    return error;
}

enum kafka_error group_world_leave(struct group_world *world, const char *member, const char *instance)
{
    enum kafka_error error =
        group_leave(&world->group, world->now_us, bytes_from_text(member), text_or_none(instance), &world->answered);
    take_answers(world);
    return error;
}

void group_world_stored(struct group_world *world, bool is_ok)
{
    if (world->group.version > world->group.stored_version) {
        group_stored(&world->group, world->now_us, world->group.version, is_ok, &world->answered);
        take_answers(world);
    }
}

void group_world_withdraw(struct group_world *world, struct group_ask *ask)
{
    group_withdraw(&world->group, world->now_us, &ask->wait, &world->answered);
    take_answers(world);
    ck_assert(ask->is_answered);
}

void group_world_advance(struct group_world *world, int64_t ms)
{
    int64_t end_us = world->now_us + ms * 1000;
    int64_t due_us;
    unsigned steps = 0;
    while ((due_us = group_due_us(&world->group)) <= end_us) {
        ck_assert_uint_lt(++steps, 100000);
        world->now_us = due_us > world->now_us ? due_us : world->now_us;
        group_time(&world->group, world->now_us, &world->answered);
        take_answers(world);
    }
    world->now_us = end_us;
}

void group_world_fail_over(struct group_world *world)
{
    Balsa__Record__GroupValue value = BALSA__RECORD__GROUP_VALUE__INIT;
    struct arena arena;
    arena_init(&arena, 1 << 20);
    ck_assert(group_save(&world->group, &arena, &value));
    size_t size = balsa__record__group_value__get_packed_size(&value);
    uint8_t *packed = mem_alloc(size + 1);
    balsa__record__group_value__pack(&value, packed);
    group_dismiss(&world->group, KAFKA_NOT_COORDINATOR, &world->answered);
    take_answers(world);
    group_deinit(&world->group);
    Balsa__Record__GroupValue *read = balsa__record__group_value__unpack(NULL, size, packed);
    group_init(&world->group, &world->limits);
    ck_assert_int_eq(group_restore(&world->group, world->now_us, read), OK);
    balsa__record__group_value__free_unpacked(read, NULL);
    mem_free(packed);
    arena_deinit(&arena);
    group_world_check(world);
}

/* Check's own assertions cost a message each, too much for what runs between any two steps. */
static void must(bool is_true, const char *what)
{
    if (!is_true) {
        ck_abort_msg("%s", what);
    }
}

static void check_member(const struct group *group, const struct group_member *member)
{
    must(member->join == NULL || member->join->waiting == member, "a join waits for its member");
    must(member->sync == NULL || member->sync->waiting == member, "a sync waits for its member");
    must(member->join == NULL || member->sync == NULL, "a member waits for one thing");
    must(member->sync == NULL || group->state == GROUP_COMPLETING, "syncs wait for an assignment");
    must(member->join == NULL || group->state == GROUP_PREPARING || member->join->version != 0,
         "joins wait for the barrier or the store");
    must(!member->must_sync || group->state != GROUP_EMPTY, "nobody has to sync in an empty group");
    must(member->protocol_count > 0, "member->protocol_count");
    must(group->state == GROUP_PREPARING || group_metadata(group, member).data != NULL, "all have the protocol");
}

void group_world_check(const struct group_world *world)
{
    const struct group *group = &world->group;
    size_t size = 0;
    size_t assigned = 0;
    bool is_leader_there = false;
    for (size_t i = 0; i < group->member_count; i++) {
        check_member(group, group->members[i]);
        size += group->members[i]->size;
        assigned += group->members[i]->assignment.size;
        is_leader_there = is_leader_there || group->members[i] == group->leader;
        for (size_t n = 0; n < i; n++) {
            must(!bytes_equal(group->members[i]->id, group->members[n]->id), "ids are unique");
            must(group->members[i]->instance_id.data == NULL ||
                     !bytes_equal(group->members[i]->instance_id, group->members[n]->instance_id),
                 "instances are unique");
        }
    }
    must(size == group->size, "size");
    must(assigned == group->assigned_size, "assigned");
    must(is_leader_there == (group->member_count > 0), "a member leads");
    must(group->member_count == 0 || group->state != GROUP_EMPTY, "empty is without members");
    must(group->member_count > 0 || group->state == GROUP_EMPTY || group->state == GROUP_PREPARING,
         "a generation has members");
    must(!group->is_assigned || group->state == GROUP_COMPLETING, "assigned while completing");
    must(group->stored_version <= group->version, "group->stored_version");
    must(list_is_empty(&world->answered), "all answers are taken");
}

size_t group_world_waiting(const struct group_world *world)
{
    size_t count = 0;
    for (size_t i = 0; i < world->ask_count; i++) {
        count += !world->asks[i].is_answered;
    }
    return count;
}

void group_world_make_stable(struct group_world *world, size_t count, struct group_ask **asks)
{
    int32_t delay_ms = world->limits.initial_delay_ms;
    world->limits.initial_delay_ms = 1000; /* so that all are in the first generation */
    for (size_t i = 0; i < count; i++) {
        asks[i] = group_world_join(world, (struct group_wish){0});
    }
    while (!asks[0]->is_answered) {
        group_world_advance(world, 1000);
    }
    world->limits.initial_delay_ms = delay_ms;
    struct group_ask *syncs[PIECES_MAX];
    for (size_t i = count; i > 0; i--) {
        ck_assert_int_eq(asks[i - 1]->error, KAFKA_NONE);
        syncs[i - 1] = group_world_sync(world, asks[i - 1]->member, NULL, asks[i - 1]->generation, NULL);
    }
    group_world_stored(world, true);
    for (size_t i = 0; i < count; i++) {
        ck_assert(syncs[i]->is_answered);
    }
    ck_assert_int_eq(world->group.state, GROUP_STABLE);
}
