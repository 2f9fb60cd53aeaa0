#include "tests/sim/observer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"
#include "metadata/tables.h"
#include "replication/replica_internal.h"
#include "replication/replicas.h"

struct view { /* of one group on one broker */
    uint64_t term;
    uint64_t durable_term; /* what a crash must not take: until then no message of that term has left */
    uint64_t commit_index;
    uint64_t applied_index;
    int64_t start_offset, end_offset;
    unsigned shown; /* as last remembered */
    bool is_seen;   /* in the present look, */
    bool has_log;   /* and its files are not being removed: the offsets are of this applied_index */
};

struct group {
    uint64_t id;
    uint64_t leader_term;         /* highest term in which somebody was seen to lead */
    unsigned leader;              /* index of it */
    struct membership membership; /* as that leader said last */
    bool is_led;                  /* in the present look */
    uint64_t committed_term;      /* of who showed the next one */
    uint64_t committed;           /* highest index that anybody was seen to call committed */
    struct view of[NODES_MAX];
};

struct observer {
    struct node *nodes;
    unsigned node_count;
    struct history *history;
    struct group groups[OBSERVED_GROUPS_MAX];
    unsigned group_count;
    unsigned lives[NODES_MAX];
    unsigned states[NODES_MAX];
    struct observed *events;
    size_t event_count, event_capacity;
    int64_t now_us;
    unsigned node; /* being looked at */
    size_t memory_most;
};

struct observer *observer_open(struct node *nodes, unsigned node_count, struct history *history)
{
    struct observer *observer = calloc(1, sizeof(*observer));
    assert(observer != NULL);
    observer->nodes = nodes;
    observer->node_count = node_count;
    observer->history = history;
    return observer;
}

void observer_close(struct observer *observer)
{
    free(observer->events);
    free(observer);
}

size_t observer_events(const struct observer *observer, const struct observed **events)
{
    *events = observer->events;
    return observer->event_count;
}

static void remember(struct observer *observer, unsigned node, uint64_t group, uint64_t term, unsigned value)
{
    if (observer->event_count == observer->event_capacity) {
        observer->event_capacity = observer->event_capacity > 0 ? 2 * observer->event_capacity : 256;
        observer->events = realloc(observer->events, observer->event_capacity * sizeof(*observer->events));
        assert(observer->events != NULL);
    }
    observer->events[observer->event_count++] = (struct observed){observer->now_us, node, group, term, value};
}

size_t observer_memory_most(const struct observer *observer)
{
    return observer->memory_most;
}

static struct group *group_find(struct observer *observer, uint64_t id)
{
    for (unsigned i = 0; i < observer->group_count; i++) {
        if (observer->groups[i].id == id) {
            return &observer->groups[i];
        }
    }
    if (observer->group_count == OBSERVED_GROUPS_MAX) {
        return NULL;
    }
    struct group *group = &observer->groups[observer->group_count++];
    *group = (struct group){.id = id};
    return group;
}

/* ---- One replica */

static void check_leader(struct observer *observer, struct group *group, const struct replica_status *status)
{
    uint64_t term = status->term;
    if (group->leader_term == term && group->leader != observer->node) {
        history_violation(observer->history, "two-leaders", "group %llu term %llu: n%u and n%u",
                          (unsigned long long)group->id, (unsigned long long)term, group->leader + 1,
                          observer->node + 1);
    }
    if (term >= group->leader_term) {
        group->leader_term = term;
        group->leader = observer->node;
        group->membership = status->membership;
        group->is_led = status->is_ready && status->is_membership_committed;
    }
}

/* A leader that is ready has all that was committed before its term, so at least as much as any before it; one that was
 * deposed and does not know may be behind. */
static void check_complete(struct observer *observer, const struct group *group, const struct replica_status *status)
{
    if (status->is_ready && status->term >= group->committed_term && status->last_index < group->committed) {
        history_violation(observer->history, "leader-incomplete",
                          "group %llu term %llu: n%u has up to %llu, %llu was committed", (unsigned long long)group->id,
                          (unsigned long long)status->term, observer->node + 1, (unsigned long long)status->last_index,
                          (unsigned long long)group->committed);
    }
}

static void check_offsets(struct observer *observer, const struct group *group, const struct view *view)
{
    for (unsigned i = 0; i < observer->node_count; i++) {
        const struct view *other = &group->of[i];
        if (i != observer->node && other->has_log && other->applied_index == view->applied_index &&
            (other->start_offset != view->start_offset || other->end_offset != view->end_offset)) {
            history_violation(observer->history, "start-differs",
                              "group %llu at index %llu: n%u has offsets %lld to %lld, n%u has %lld to %lld",
                              (unsigned long long)group->id, (unsigned long long)view->applied_index, i + 1,
                              (long long)other->start_offset, (long long)other->end_offset, observer->node + 1,
                              (long long)view->start_offset, (long long)view->end_offset);
        }
    }
}

static bool is_term_durable(const struct replica *replica)
{
    return !replica->has_gate || replica->gate_lsn < replica->shard->durable_lsn;
}

static void look_at(void *context, uint64_t id, struct replica_machine *machine)
{
    struct observer *observer = context;
    struct group *group = group_find(observer, id);
    struct replica_status status;
    if (group == NULL || machine == NULL || machine->replica == NULL) {
        return;
    }
    struct view *view = &group->of[observer->node];
    replica_status(machine->replica, &status);
    if (status.term < view->durable_term) {
        history_violation(observer->history, "term-back", "group %llu on n%u: %llu, before it was %llu",
                          (unsigned long long)id, observer->node + 1, (unsigned long long)status.term,
                          (unsigned long long)view->durable_term);
    }
    /* Nothing at all: a new one, after the replica had been moved away or was damaged. */
    if (status.commit_index < view->commit_index && status.commit_index > 0) {
        history_violation(observer->history, "commit-back", "group %llu on n%u: %llu, before it was %llu",
                          (unsigned long long)id, observer->node + 1, (unsigned long long)status.commit_index,
                          (unsigned long long)view->commit_index);
    }
    if (status.commit_index > group->committed) {
        group->committed = status.commit_index;
        group->committed_term = status.term;
    }
    if (status.role == REPLICA_LEADER) {
        check_complete(observer, group, &status);
        check_leader(observer, group, &status);
    }
    unsigned shown = status.is_ready ? 3 : (unsigned)status.role;
    if (shown != view->shown || status.term != view->term) {
        remember(observer, observer->node, id, status.term, shown);
    }
    view->shown = shown;
    view->term = status.term;
    if (is_term_durable(machine->replica)) {
        view->durable_term = status.term;
    }
    view->commit_index = status.commit_index;
    view->applied_index = status.applied_index;
    view->is_seen = true;
    const struct log *log = id != METADATA_GROUP ? partition_log(partition_of_machine(machine)) : NULL;
    view->has_log = log != NULL;
    if (log != NULL) {
        view->start_offset = log_start_offset(log);
        view->end_offset = log_end_offset(log);
        check_offsets(observer, group, view);
    }
}

/* ---- One broker */

static void begin_life(struct observer *observer, unsigned node)
{
    observer->lives[node] = observer->nodes[node].lives;
    for (unsigned i = 0; i < observer->group_count; i++) {
        observer->groups[i].of[node].commit_index = 0;
        observer->groups[i].of[node].shown = 0;
    }
}

void observer_wiped(struct observer *observer, unsigned node)
{
    for (unsigned i = 0; i < observer->group_count; i++) {
        observer->groups[i].of[node] = (struct view){0};
    }
}

static void look_into(struct observer *observer, unsigned node)
{
    const struct node *at = &observer->nodes[node];
    unsigned state = !node_is_running(at) ? 0 : at->is_paused ? 2 : 1;
    if (state != observer->states[node]) {
        observer->states[node] = state;
        remember(observer, node, 0, 0, state);
    }
    if (state == 0 || at->closed_shards > 0) {
        return;
    }
    if (observer->lives[node] != at->lives) {
        begin_life(observer, node);
    }
    check_memory(observer->history, at, &observer->memory_most);
    observer->node = node;
    const struct broker *broker = node_broker(at);
    for (unsigned i = 0; i < broker->shard_count; i++) {
        if (broker->shards[i].replicas != NULL) {
            replicas_each(broker->shards[i].replicas, observer, look_at);
        }
    }
}

void observer_look(struct observer *observer, int64_t now_us)
{
    observer->now_us = now_us;
    for (unsigned i = 0; i < observer->group_count; i++) {
        observer->groups[i].is_led = false;
        for (unsigned n = 0; n < observer->node_count; n++) {
            observer->groups[i].of[n].is_seen = false;
            observer->groups[i].of[n].has_log = false;
        }
    }
    for (unsigned n = 0; n < observer->node_count; n++) {
        look_into(observer, n);
    }
}

/* ---- Whole */

static unsigned node_of_server(uint64_t server_id)
{
    return (unsigned)(server_id >> 32) - 1; /* node ids are indexes + 1 */
}

/* A drained broker is forgotten when it has no replicas and is silent, or stops. One that was only paused or cut off
 * comes back as a member of no group: Raft sends entries to members alone, and nobody takes its votes, so there is
 * nobody who could tell it. What it keeps, its copy of the metadata and replicas that were moved away or deleted since,
 * is as it was then. Who was not to be forgotten has to be a member in the end (observer_is_whole). */
static bool has_metadata(const struct observer *observer, unsigned node)
{
    for (unsigned i = 0; i < observer->group_count; i++) {
        const struct group *group = &observer->groups[i];
        for (unsigned n = 0; group->id == METADATA_GROUP && n < group->membership.count; n++) {
            if (node_of_server(group->membership.servers[n].id) == node) {
                return true;
            }
        }
    }
    return false;
}

static bool group_is_anywhere(const struct observer *observer, const struct group *group)
{
    for (unsigned i = 0; i < observer->node_count; i++) {
        if (group->of[i].is_seen && has_metadata(observer, i)) {
            return true;
        }
    }
    return false;
}

static bool group_is_whole(const struct observer *observer, const struct group *group, unsigned voters, char *why,
                           size_t size)
{
    const struct view *leader = &group->of[group->leader];
    if (!group_is_anywhere(observer, group)) {
        return true; /* of a deleted topic */
    }
    unsigned count = membership_voter_count(&group->membership);
    if (!group->is_led || count != voters || (group->id != METADATA_GROUP && group->membership.count != voters)) {
        (void)snprintf(why, size, "group %llu: %s, %u voters, %u members", (unsigned long long)group->id,
                       group->is_led ? "led" : "not led", count, group->membership.count);
        return false;
    }
    for (unsigned i = 0; i < group->membership.count; i++) {
        unsigned node = node_of_server(group->membership.servers[i].id);
        if (node >= observer->node_count || !group->of[node].is_seen ||
            group->of[node].applied_index != leader->applied_index) {
            (void)snprintf(why, size, "group %llu: n%u is at index %llu, its leader n%u at %llu",
                           (unsigned long long)group->id, node + 1,
                           (unsigned long long)(node < observer->node_count ? group->of[node].applied_index : 0),
                           group->leader + 1, (unsigned long long)leader->applied_index);
            return false;
        }
    }
    return true;
}

bool observer_is_whole(const struct observer *observer, unsigned voters, unsigned metadata_voters, unsigned forgotten,
                       char *why, size_t size)
{
    for (unsigned i = 0; i < observer->node_count; i++) {
        if ((forgotten >> i & 1) == 0 && !has_metadata(observer, i)) {
            (void)snprintf(why, size, "n%u is no member of the metadata's group", i + 1);
            return false;
        }
    }
    for (unsigned i = 0; i < observer->group_count; i++) {
        const struct group *group = &observer->groups[i];
        if (!group_is_whole(observer, group, group->id == METADATA_GROUP ? metadata_voters : voters, why, size)) {
            return false;
        }
    }
    return true;
}

bool observer_is_voter(const struct observer *observer, uint64_t id, unsigned node)
{
    for (unsigned i = 0; i < observer->group_count; i++) {
        const struct group *group = &observer->groups[i];
        for (unsigned n = 0; group->id == id && n < group->membership.count; n++) {
            if (node_of_server(group->membership.servers[n].id) == node) {
                return group->membership.servers[n].is_voter;
            }
        }
    }
    return false;
}

/* ---- Metadata */

struct store_digest {
    struct node *node;
    uint64_t applied_index;
    uint64_t hash;
    enum err err;
};

static uint64_t hash_bytes(uint64_t hash, struct bytes bytes)
{
    for (size_t i = 0; i < bytes.size; i++) {
        hash = (hash ^ bytes.data[i]) * 0x100000001B3U;
    }
    return hash;
}

/* The applied index counts entries that change nothing here only where the store came from another broker. */
static uint64_t hash_state(uint64_t hash, struct bytes value)
{
    struct store_state state;
    uint8_t encoded[STORE_STATE_SIZE];
    enum err err = store_state_decode(value, &state);
    assert(err == OK);
    state.applied_index = 0;
    store_state_encode(&state, encoded);
    return hash_bytes(hash, (struct bytes){encoded, sizeof(encoded)});
}

static void inside_digest(void *context)
{
    struct store_digest *digest = context;
    const struct broker *broker = node_broker(digest->node);
    const struct table_key state_key = key_state();
    struct kv_cursor *cursor;
    struct kv_txn *txn;
    struct bytes key;
    struct bytes value;
    digest->applied_index = store_applied_index(broker->shards[0].reader);
    digest->err = kv_begin_read(store_kv(broker->store), &txn);
    if (digest->err != OK) {
        return;
    }
    digest->err = kv_cursor_open(txn, BYTES_NONE, BYTES_NONE, &cursor);
    while (digest->err == OK && (digest->err = kv_cursor_next(cursor, &key, &value)) == OK) {
        digest->hash = hash_bytes(digest->hash, key);
        digest->hash = bytes_equal(key, table_key_bytes(&state_key)) ? hash_state(digest->hash, value)
                                                                     : hash_bytes(digest->hash, value);
    }
    kv_cursor_close(cursor);
    kv_abort(txn);
}

void observer_check_metadata(struct observer *observer)
{
    struct store_digest first = {0};
    for (unsigned i = 0; i < observer->node_count; i++) {
        struct store_digest digest = {.node = &observer->nodes[i]};
        if (!has_metadata(observer, i) || !node_is_running(digest.node) ||
            !sim_process_run(digest.node->process, inside_digest, &digest)) {
            continue;
        }
        if (first.node == NULL) {
            first = digest;
        } else if (digest.hash != first.hash) {
            history_violation(observer->history, "metadata-differs", "n%u at index %llu: %llx, n%u at index %llu: %llx",
                              first.node->number, (unsigned long long)first.applied_index,
                              (unsigned long long)first.hash, i + 1, (unsigned long long)digest.applied_index,
                              (unsigned long long)digest.hash);
        }
    }
}
