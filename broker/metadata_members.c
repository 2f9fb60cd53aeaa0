/* The order of the rules is the order of their worth: stale servers go first, since they take places; then places are
 * given; then votes. Each rule changes a copy and keeps it only if it is safe. */

#include "broker/metadata_members.h"
#include "base/assert.h"

static const struct members_server *find(const struct members_view *view, uint64_t id)
{
    for (size_t i = 0; i < view->server_count; i++) {
        if (view->servers[i].id == id) {
            return &view->servers[i];
        }
    }
    return NULL;
}

static bool is_alive(const struct members_view *view, uint64_t id)
{
    const struct members_server *server = find(view, id);
    return id == view->self || (server != NULL && server->is_alive && !server->is_stale);
}

/* A majority of the voters is alive. */
static bool is_safe(const struct members_view *view, const struct membership *membership)
{
    unsigned alive = 0;
    for (unsigned i = 0; i < membership->count; i++) {
        alive += membership->servers[i].is_voter && is_alive(view, membership->servers[i].id);
    }
    return alive > membership_voter_count(membership) / 2;
}

unsigned members_voters_wanted(const struct members_view *view)
{
    unsigned count = 0;
    if (view->founder_count == 5) {
        return 5;
    }
    for (size_t i = 0; i < view->server_count; i++) {
        count += !view->servers[i].is_stale; /* a founder that has yet to register counts */
    }
    return count >= 3 ? 3 : 1;
}

static bool remove_stale(const struct members_view *view, bool is_voter, struct membership *next)
{
    for (unsigned i = 0; i < view->now.count; i++) {
        const struct replica_server *member = &view->now.servers[i];
        const struct members_server *server = find(view, member->id);
        if (member->is_voter != is_voter || member->id == view->self || server == NULL || !server->is_stale) {
            continue;
        }
        *next = view->now;
        next->count--;
        for (unsigned n = i; n < next->count; n++) {
            next->servers[n] = view->now.servers[n + 1];
        }
        if (next->count > 0 && membership_voter_count(next) > 0 && (!is_voter || is_safe(view, next))) {
            return true;
        }
    }
    return false;
}

static bool add_standby(const struct members_view *view, struct membership *next)
{
    if (view->now.count == REPLICA_SERVER_COUNT_MAX) {
        return false;
    }
    for (size_t i = 0; i < view->server_count; i++) {
        const struct members_server *server = &view->servers[i];
        if (server->is_registered && !server->is_stale && server->is_alive &&
            membership_find(&view->now, server->id) == NULL) {
            *next = view->now;
            next->servers[next->count++] = (struct replica_server){server->id, false};
            return true;
        }
    }
    return false;
}

/* Standbys that could vote at once; `first` is the place of the first one. */
static unsigned candidates(const struct members_view *view, unsigned *first)
{
    unsigned count = 0;
    for (unsigned i = view->now.count; i > 0; i--) {
        const struct replica_server *member = &view->now.servers[i - 1];
        const struct members_server *server = find(view, member->id);
        if (!member->is_voter && server != NULL && server->is_registered && !server->is_stale && server->is_alive &&
            server->is_caught_up) {
            *first = i - 1;
            count++;
        }
    }
    return count;
}

static bool promote(const struct members_view *view, struct membership *next)
{
    unsigned voters = membership_voter_count(&view->now);
    unsigned first = 0;
    unsigned count = candidates(view, &first);
    if (voters >= members_voters_wanted(view) || count < (voters % 2 == 0 ? 1u : 2u)) {
        return false;
    }
    *next = view->now;
    next->servers[first].is_voter = true;
    return is_safe(view, next);
}

/* Who has been silent goes first, then who came last. */
static bool demote(const struct members_view *view, bool is_lost_only, struct membership *next)
{
    const struct members_server *chosen = NULL;
    unsigned place = 0;
    for (unsigned i = 0; i < view->now.count; i++) {
        const struct replica_server *member = &view->now.servers[i];
        const struct members_server *server = find(view, member->id);
        if (!member->is_voter || member->id == view->self || server == NULL || (is_lost_only && !server->is_lost)) {
            continue;
        }
        if (chosen == NULL || !server->is_alive || chosen->is_alive) {
            chosen = server;
            place = i;
        }
    }
    if (chosen == NULL) {
        return false;
    }
    *next = view->now;
    next->servers[place].is_voter = false;
    return is_safe(view, next);
}

bool members_next(const struct members_view *view, struct membership *next)
{
    unsigned voters = membership_voter_count(&view->now);
    unsigned wanted = members_voters_wanted(view);
    unsigned first;
    const struct replica_server *self = membership_find(&view->now, view->self);
    if (self == NULL || !self->is_voter || !is_safe(view, &view->now)) {
        return false;
    }
    if (remove_stale(view, false, next) || remove_stale(view, true, next) || add_standby(view, next)) {
        return true;
    }
    if (voters > wanted) {
        return demote(view, false, next);
    }
    return promote(view, next) || (candidates(view, &first) > 0 && demote(view, true, next));
}
