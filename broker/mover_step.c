/* Each function below looks for one kind of step; mover_next() takes the first one found, in the header's order. */

#include "broker/mover_step.h"
#include "base/assert.h"
#include "base/mem.h"

enum {
    NONE = REPLICA_SERVER_COUNT_MAX
};

static bool is_wanted(const struct mover_view *view, uint64_t server)
{
    for (unsigned i = 0; i < view->wanted_count; i++) {
        if (view->wanted[i] == server) {
            return true;
        }
    }
    return false;
}

static unsigned place_of(const struct membership *membership, uint64_t server)
{
    for (unsigned i = 0; i < membership->count; i++) {
        if (membership->servers[i].id == server) {
            return i;
        }
    }
    return NONE;
}

static bool is_live(const struct mover_view *view, unsigned place)
{
    return view->members[place].is_live || view->now.servers[place].id == view->self;
}

/* Whether the living voters of the present membership, but for the one in `place`, are a majority of what is left. */
static bool may_lose(const struct mover_view *view, unsigned place)
{
    unsigned voters = 0;
    unsigned living = 0;
    for (unsigned i = 0; i < view->now.count; i++) {
        if (i != place && view->now.servers[i].is_voter) {
            voters++;
            living += is_live(view, i);
        }
    }
    return living > voters / 2;
}

static void wait_for(struct mover_step *step, uint64_t server, const char *text)
{
    *step = (struct mover_step){.action = MOVER_WAIT, .server = server, .text = text};
}

static void change(const struct mover_view *view, struct mover_step *step, uint64_t server, const char *text)
{
    *step = (struct mover_step){.action = MOVER_CHANGE, .next = view->now, .server = server, .text = text};
}

static bool remove_standby(const struct mover_view *view, struct mover_step *step)
{
    for (unsigned i = 0; i < view->now.count; i++) {
        const struct replica_server *server = &view->now.servers[i];
        const struct mover_member *member = &view->members[i];
        if (server->is_voter || is_wanted(view, server->id)) {
            continue;
        }
        if (member->is_live && member->match < view->membership_index && !view->is_overdue) {
            wait_for(step, server->id, "a demoted member learns of it");
            continue; /* else it would vote on, and disturb with elections */
        }
        change(view, step, server->id, "member removed");
        step->next.count--;
        for (unsigned n = i; n < step->next.count; n++) {
            step->next.servers[n] = step->next.servers[n + 1];
        }
        step->next.servers[step->next.count] = (struct replica_server){0};
        return true;
    }
    return false;
}

static bool promote(const struct mover_view *view, struct mover_step *step)
{
    for (unsigned i = 0; i < view->wanted_count; i++) {
        unsigned place = place_of(&view->now, view->wanted[i]);
        if (place == NONE || view->now.servers[place].is_voter || !view->members[place].is_live) {
            continue;
        }
        if (view->members[place].match < view->commit_index) {
            wait_for(step, view->wanted[i], "a new member catches up");
            continue;
        }
        change(view, step, view->wanted[i], "member promoted");
        step->next.servers[place].is_voter = true;
        return true;
    }
    return false;
}

/* Voters that are not wanted, but for the leader: the dead first, then those furthest behind. */
static unsigned choose_unwanted(const struct mover_view *view, bool only_dead)
{
    unsigned chosen = NONE;
    for (unsigned i = 0; i < view->now.count; i++) {
        const struct replica_server *server = &view->now.servers[i];
        bool is_candidate = server->is_voter && server->id != view->self && !is_wanted(view, server->id) &&
                            !(only_dead && is_live(view, i)) && may_lose(view, i);
        if (!is_candidate) {
            continue;
        }
        bool is_better =
            chosen == NONE || is_live(view, i) < is_live(view, chosen) ||
            (is_live(view, i) == is_live(view, chosen) && view->members[i].match < view->members[chosen].match);
        chosen = is_better ? i : chosen;
    }
    return chosen;
}

static bool demote(const struct mover_view *view, struct mover_step *step, bool only_dead)
{
    unsigned place = choose_unwanted(view, only_dead);
    if (place == NONE) {
        return false;
    }
    change(view, step, view->now.servers[place].id, "member demoted");
    step->next.servers[place].is_voter = false;
    return true;
}

static unsigned missing_count(const struct mover_view *view)
{
    unsigned missing = 0;
    for (unsigned i = 0; i < view->wanted_count; i++) {
        missing += place_of(&view->now, view->wanted[i]) == NONE;
    }
    return missing;
}

static bool has_live_standby(const struct mover_view *view)
{
    for (unsigned i = 0; i < view->wanted_count; i++) {
        unsigned place = place_of(&view->now, view->wanted[i]);
        if (place != NONE && !view->now.servers[place].is_voter && view->members[place].is_live) {
            return true;
        }
    }
    return false;
}

static bool add(const struct mover_view *view, struct mover_step *step)
{
    if (missing_count(view) == 0 || has_live_standby(view)) {
        return false;
    }
    if (view->now.count == REPLICA_SERVER_COUNT_MAX) {
        wait_for(step, 0, "the group has as many members as it can have");
        return demote(view, step, true);
    }
    for (unsigned i = 0; i < view->wanted_count; i++) {
        if (place_of(&view->now, view->wanted[i]) != NONE) {
            continue;
        }
        if (!view->is_wanted_live[i]) {
            wait_for(step, view->wanted[i], "a new member is not there");
            continue;
        }
        if (!view->may_add) {
            wait_for(step, view->wanted[i], "others catch up first");
            step->is_for_room = true;
            return false;
        }
        change(view, step, view->wanted[i], "member added");
        step->next.servers[step->next.count++] = (struct replica_server){view->wanted[i], false};
        return true;
    }
    return false;
}

/* Everybody who is wanted votes. */
static bool all_wanted_vote(const struct mover_view *view)
{
    for (unsigned i = 0; i < view->wanted_count; i++) {
        unsigned place = place_of(&view->now, view->wanted[i]);
        if (place == NONE || !view->now.servers[place].is_voter) {
            return false;
        }
    }
    return true;
}

static bool has_unwanted_voter(const struct mover_view *view)
{
    for (unsigned i = 0; i < view->now.count; i++) {
        const struct replica_server *server = &view->now.servers[i];
        if (server->is_voter && server->id != view->self && !is_wanted(view, server->id)) {
            return true;
        }
    }
    return false;
}

static bool hand_over(const struct mover_view *view, struct mover_step *step)
{
    wait_for(step, 0, "nobody can take over leadership");
    for (unsigned i = 0; i < view->wanted_count; i++) {
        unsigned place = place_of(&view->now, view->wanted[i]);
        if (place != NONE && view->members[place].is_live && view->members[place].match >= view->commit_index) {
            *step = (struct mover_step){
                .action = MOVER_TRANSFER, .server = view->wanted[i], .text = "leadership handed over"};
            return true;
        }
    }
    return false;
}

void mover_next(const struct mover_view *view, struct mover_step *step)
{
    assert(view->wanted_count > 0);
    assert(membership_find(&view->now, view->self) != NULL);
    wait_for(step, 0, "members that are wanted do not vote yet");
    if (remove_standby(view, step) || promote(view, step) || add(view, step)) {
        return;
    }
    if (!all_wanted_vote(view)) {
        return;
    }
    if (has_unwanted_voter(view)) {
        wait_for(step, 0, "without a member that is not wanted there would be no majority");
        (void)demote(view, step, false);
    } else if (!is_wanted(view, view->self)) {
        (void)hand_over(view, step);
    } else if (view->now.count == view->wanted_count) {
        *step = (struct mover_step){.action = MOVER_DONE, .text = "members are as wanted"};
    } /* else a demoted member learns of it: said by remove_standby() */
}

bool mover_is_catching_up(const struct mover_view *view)
{
    for (unsigned i = 0; i < view->now.count; i++) {
        if (!view->now.servers[i].is_voter && is_wanted(view, view->now.servers[i].id)) {
            return true;
        }
    }
    return false;
}
