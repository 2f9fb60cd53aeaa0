/* See the header for the states. */
#include "tests/sim/member.h"

#include <stdio.h>
#include <string.h>

#include "base/arena.h"
#include "base/assert.h"
#include "base/limits.h"
#include "base/mem.h"

enum {
    BEAT_US = 1000000,
    STEP_US = 700000,  /* between two commits, at most */
    AGAIN_US = 200000, /* before a call is tried again */
    AWAY_US = 4000000,
    CHANCE_OF_SILENCE = 60,
    CHANCE_OF_LEAVING = 60,
    CHANCE_OF_DEATH = 60,
    CHANCE_OF_READING = 6
};

static int64_t member_below(struct member *member, int64_t limit)
{
    return clients_below(member->clients, limit);
}

struct bytes member_instance(const struct member *member)
{
    return member->instance_id[0] != '\0' ? bytes_from_text(member->instance_id) : BYTES_NONE;
}

struct history *member_records(const struct member *member)
{
    return group_history_of(member->history);
}

void member_call(struct member *member, int16_t api, int16_t version, int64_t timeout_us, link_cb cb,
                 const void *request)
{
    unsigned node = member->node != 0 ? member->node : clients_any_node(member->clients);
    assert(!member->is_calling);
    member->is_calling = true;
    member->call = (struct link_call){.api = api, .version = version, .timeout_us = timeout_us, .cb = cb};
    links_call(member->links, node, &member->call, request);
}

void member_next(struct member *member, enum member_state state, int64_t pause_us)
{
    member->is_calling = false;
    member->state = state;
    env_timer(member->clients->env, &member->timer, 1 + member_below(member, pause_us));
}

void member_is_heard(struct member *member)
{
    int64_t until_us = member->asked_us + (int64_t)member->session_timeout_ms * 1000;
    group_held(member->history, member->group, member->number, until_us);
}

void member_lose_part(struct member *member)
{
    group_held(member->history, member->group, member->number, 0);
    member->has_part = member->is_simple;
    member->has_positions = false;
    member->has_read_last = false;
    member->must_rejoin = false;
}

enum member_state member_resume_state(const struct member *member)
{
    if (!member->has_part) {
        return MEMBER_JOINING;
    }
    return member->has_positions ? MEMBER_STEADY : MEMBER_READING;
}

static void forget_id(struct member *member)
{
    member->id[0] = '\0';
    member->generation = -1;
}

bool member_take_error(struct member *member, enum err err, enum kafka_error error)
{
    if (err != OK || error == KAFKA_NOT_COORDINATOR || error == KAFKA_COORDINATOR_NOT_AVAILABLE) {
        member->node = 0;
        member_next(member, MEMBER_FINDING, AGAIN_US);
        return true;
    }
    switch ((int)error) {
    case KAFKA_UNKNOWN_MEMBER_ID:
    case KAFKA_FENCED_INSTANCE_ID:
        forget_id(member);
        break;
    case KAFKA_ILLEGAL_GENERATION:
    case KAFKA_REBALANCE_IN_PROGRESS:
        break;
    case KAFKA_COORDINATOR_LOAD_IN_PROGRESS:
        member_next(member, member->state, AGAIN_US);
        return true;
    default:
        return false;
    }
    member_lose_part(member);
    member_next(member, member_resume_state(member), MEMBER_TICK_US);
    return true;
}

/* ---- Heartbeats */

static void beat_on_answer(struct link_call *call)
{
    struct member *member = container_of(call, struct member, beat);
    struct kafka_heartbeat_response response;
    struct arena arena;
    member->is_beating = false;
    if (call->err != OK) {
        return;
    }
    arena_init(&arena, KIB(64));
    enum err err = codec_decode(&kafka_heartbeat_response_schema, call->version, &call->answer, &arena, &response);
    assert(err == OK);
    arena_deinit(&arena);
    bool is_over = response.error_code == KAFKA_REBALANCE_IN_PROGRESS ||
                   response.error_code == KAFKA_ILLEGAL_GENERATION || response.error_code == KAFKA_UNKNOWN_MEMBER_ID ||
                   response.error_code == KAFKA_FENCED_INSTANCE_ID;
    if (response.error_code == KAFKA_NONE && member->has_part) {
        member_is_heard(member);
    }
    if (is_over && member->state == MEMBER_STEADY) {
        member->must_rejoin = true; /* JoinGroup tells whether the id is still good */
    } else if (response.error_code == KAFKA_NOT_COORDINATOR && member->state == MEMBER_STEADY && !member->is_calling) {
        member->node = 0;
        member_next(member, MEMBER_FINDING, AGAIN_US);
    }
}

static void member_beat(struct member *member)
{
    struct kafka_heartbeat_request request = {.group_id = bytes_from_text(member->group_id),
                                              .generation_id = member->generation,
                                              .member_id = bytes_from_text(member->id),
                                              .group_instance_id = member_instance(member)};
    member->is_beating = true;
    member->asked_us = env_now_us(member->clients->env);
    member->beat = (struct link_call){
        .api = KAFKA_API_HEARTBEAT, .version = 4, .timeout_us = CALL_TIMEOUT_US, .cb = beat_on_answer};
    links_call(member->links, member->node, &member->beat, &request);
}

static void member_on_beat(struct timer *timer)
{
    struct member *member = container_of(timer, struct member, beat_timer);
    bool has_part = member->state == MEMBER_STEADY || member->state == MEMBER_READING;
    if (has_part && member->node != 0 && !member->is_simple && !member->is_paused && !member->is_beating) {
        member_beat(member);
    }
    env_timer(member->clients->env, timer, BEAT_US);
}

/* ---- Life */

/* Killed: it says nothing, and comes back as another one, unless it is static. */
static void member_die(struct member *member)
{
    forget_id(member);
    member_lose_part(member);
    member->number += member->instance_id[0] == '\0' ? MEMBER_LIVES : 0;
    member_next(member, MEMBER_AWAY, AWAY_US);
}

/* Silent for a while; what it does then it does as if no time had passed. */
static void member_fall_silent(struct member *member)
{
    member->is_paused = true;
    env_timer(member->clients->env, &member->timer, member_below(member, MEMBER_SILENCE_US));
}

static void member_rest(struct member *member)
{
    env_timer(member->clients->env, &member->timer, STEP_US);
}

static void member_steady(struct member *member)
{
    if (member->is_paused) {
        member->is_paused = false;
        member_commit(member);
    } else if (member->must_rejoin) {
        member_lose_part(member);
        member_next(member, MEMBER_JOINING, MEMBER_TICK_US);
    } else if (member->is_stopping) {
        if (member->has_read_last) {
            member_rest(member);
        } else {
            member_next(member, MEMBER_READING, MEMBER_TICK_US);
        }
    } else if (member_below(member, CHANCE_OF_SILENCE) == 0) {
        member_fall_silent(member);
    } else if (!member->is_simple && member_below(member, CHANCE_OF_LEAVING) == 0) {
        member_leave(member);
    } else if (!member->is_simple && member_below(member, CHANCE_OF_DEATH) == 0) {
        member_die(member);
    } else if (member->is_simple && member_below(member, CHANCE_OF_READING) == 0) {
        member_next(member, MEMBER_READING, MEMBER_TICK_US);
    } else {
        member_commit(member);
    }
}

static void member_on_timer(struct timer *timer)
{
    struct member *member = container_of(timer, struct member, timer);
    if (member->is_calling) {
        return;
    }
    if (member->node == 0 && member->state != MEMBER_AWAY) {
        member->state = MEMBER_FINDING;
    }
    switch (member->state) {
    case MEMBER_AWAY:
        member_next(member, MEMBER_FINDING, MEMBER_TICK_US);
        break;
    case MEMBER_FINDING:
        member_find(member);
        break;
    case MEMBER_JOINING:
        member_join(member);
        break;
    case MEMBER_SYNCING:
        member_sync(member);
        break;
    case MEMBER_READING:
        member_read(member);
        break;
    case MEMBER_STEADY:
        member_steady(member);
        break;
    }
}

void member_start(struct member *member)
{
    member->links = links_open(member->clients->env);
    member->generation = -1;
    member_lose_part(member);
    timer_init(&member->timer, member_on_timer);
    timer_init(&member->beat_timer, member_on_beat);
    env_timer(member->clients->env, &member->timer, member_below(member, AWAY_US));
    env_timer(member->clients->env, &member->beat_timer, member_below(member, BEAT_US));
}
