#include "tests/lib/raft_member.h"

#include "base/assert.h"
#include "base/mem.h"

#include <string.h>

struct membership member_membership(unsigned voters, unsigned standbys)
{
    struct membership membership = {.count = voters + standbys};
    for (unsigned i = 0; i < membership.count; i++) {
        membership.servers[i] = (struct replica_server){.id = i + 1, .is_voter = i < voters};
    }
    return membership;
}

static struct entry *entry_of(enum entry_kind kind, uint64_t index, uint64_t term, const struct membership *membership)
{
    uint8_t payload[MEMBERSHIP_SIZE_MAX] = {1, 2, 3, 4};
    size_t size = kind == ENTRY_CHANGE ? membership_encode(membership, payload) : 4;
    return entry_new_copy(kind, index, term, (struct bytes){payload, kind == ENTRY_BARRIER ? 0 : size});
}

static void log_cut(struct member *member, uint64_t index)
{
    for (; member->last_index >= index; member->last_index--) {
        if (member->log[member->last_index] != NULL) {
            entry_release(member->log[member->last_index]);
            member->log[member->last_index] = NULL;
        }
    }
}

/* What a replica does with an update. */
static void follow(struct member *member)
{
    const struct raft_core_update *update = &member->update;
    member->err = update->err;
    if (update->entry_count > 0) {
        log_cut(member, update->first_index);
        for (unsigned i = 0; i < update->entry_count; i++) {
            uint64_t index = update->first_index + i;
            assert(index < MEMBER_LOG_MAX);
            member->log[index] = entry_acquire(update->entries[i]);
            member->last_index = index;
        }
    }
    member->message_count = update->message_count < MEMBER_MESSAGE_MAX ? update->message_count : MEMBER_MESSAGE_MAX;
    for (unsigned i = 0; i < member->message_count; i++) {
        member->messages[i] = update->messages[i];
        struct replica_message *message = &member->messages[i];
        uint64_t first = message->append.prev_index + 1;
        if (message->kind == REPLICA_APPEND && message->append.entry_count > 0 &&
            first + message->append.entry_count <= MEMBER_LOG_MAX) {
            message->append.entries = &member->log[first];
        }
    }
}

static void open_core(struct member *member, uint64_t id, const struct raft_core_start *start)
{
    struct raft_core_params params = {
        .id = id,
        .seed = (uint32_t)id,
        .heartbeat_ms = MEMBER_HEARTBEAT_MS,
        .election_ms = MEMBER_ELECTION_MS,
    };
    struct errmsg msg;
    raft_core_update_init(&member->update);
    member->now_ms = 1000;
    enum err err = raft_core_open(&params, start, member->now_ms, &member->update, &member->core, &msg);
    assert(err == OK);
    follow(member);
}

void member_open_terms(struct member *member, uint64_t id, const struct membership *membership, const uint64_t *terms,
                       unsigned count)
{
    *member = (struct member){.last_index = 1 + count};
    member->log[1] = entry_of(ENTRY_CHANGE, 1, 1, membership);
    for (unsigned i = 0; i < count; i++) {
        member->log[2 + i] = entry_of(ENTRY_COMMAND, 2 + i, terms[i], NULL);
    }
    struct raft_core_start start = {
        .term = count > 0 ? terms[count - 1] : 1,
        .entries = &member->log[1],
        .entry_count = 1 + count,
    };
    open_core(member, id, &start);
}

void member_open(struct member *member, uint64_t id, const struct membership *membership, uint64_t term, unsigned count)
{
    uint64_t terms[MEMBER_LOG_MAX];
    assert(count < MEMBER_LOG_MAX - 2);
    for (unsigned i = 0; i < count; i++) {
        terms[i] = term;
    }
    member_open_terms(member, id, membership, terms, count);
}

void member_open_at(struct member *member, uint64_t id, const struct membership *membership, uint64_t index,
                    uint64_t term)
{
    *member = (struct member){.last_index = index};
    struct raft_core_start start = {
        .term = term,
        .base_index = index,
        .base_term = term,
        .membership = *membership,
        .membership_index = 1,
    };
    open_core(member, id, &start);
}

void member_restart(struct member *member, uint64_t id, uint64_t term)
{
    struct raft_core_start start = {
        .term = term, .entries = &member->log[1], .entry_count = member->last_index, .is_restart = true};
    raft_core_close(member->core);
    raft_core_update_deinit(&member->update);
    open_core(member, id, &start);
}

void member_close(struct member *member)
{
    raft_core_close(member->core);
    raft_core_update_deinit(&member->update);
    log_cut(member, 1);
}

void member_step(struct member *member, struct raft_core_event event)
{
    event.now_ms = member->now_ms;
    raft_core_step(member->core, &event, &member->update);
    follow(member);
}

void member_receive(struct member *member, const struct replica_message *message)
{
    member_step(member, (struct raft_core_event){.kind = RAFT_CORE_RECEIVE, .message = message});
}

void member_persist(struct member *member)
{
    member_step(member,
                (struct raft_core_event){.kind = RAFT_CORE_PERSISTED, .index = raft_core_last_index(member->core)});
}

void member_timeout(struct member *member)
{
    uint64_t deadline = raft_core_deadline_ms(member->core);
    if (deadline != UINT64_MAX && deadline > member->now_ms) {
        member->now_ms = deadline;
    }
    member_step(member, (struct raft_core_event){.kind = RAFT_CORE_TIMEOUT});
}

void member_submit(struct member *member, unsigned count)
{
    struct entry *entries[MEMBER_LOG_MAX];
    for (unsigned i = 0; i < count; i++) {
        entries[i] = entry_of(ENTRY_COMMAND, 0, 0, NULL);
    }
    member_step(member, (struct raft_core_event){.kind = RAFT_CORE_SUBMIT, .submit = {entries, count}});
    for (unsigned i = 0; i < count; i++) {
        entry_release(entries[i]);
    }
}

enum err member_change(struct member *member, const struct membership *next)
{
    struct entry *entry = entry_of(ENTRY_CHANGE, 0, 0, next);
    member_step(member, (struct raft_core_event){.kind = RAFT_CORE_SUBMIT, .submit = {&entry, 1}});
    entry_release(entry);
    return member->err;
}

static void grant(struct member *member, uint64_t peer, uint64_t term, bool is_pre_vote)
{
    struct replica_message message = {
        .kind = REPLICA_VOTE_RESULT,
        .peer = peer,
        .term = term,
        .vote_result = {.is_granted = true, .is_pre_vote = is_pre_vote},
    };
    member_receive(member, &message);
}

void member_elect(struct member *member, unsigned voters)
{
    member_timeout(member);
    const struct replica_message *vote = member_message(member, REPLICA_VOTE, 0);
    assert(vote != NULL);
    uint64_t term = raft_core_term(member->core);
    if (vote->vote.is_pre_vote) {
        for (uint64_t peer = 1; peer <= voters && raft_core_term(member->core) == term; peer++) {
            grant(member, peer, term + 1, true);
        }
    }
    for (uint64_t peer = 1; peer <= voters && raft_core_role(member->core) == REPLICA_CANDIDATE; peer++) {
        grant(member, peer, raft_core_term(member->core), false);
    }
    assert(raft_core_role(member->core) == REPLICA_LEADER);
    struct replica_message messages[MEMBER_MESSAGE_MAX]; /* those of becoming leader outlive the next step */
    unsigned count = member->message_count;
    memcpy(messages, member->messages, sizeof messages);
    if (raft_core_stored(member->core) < raft_core_last_index(member->core)) {
        member_persist(member);
    }
    memcpy(member->messages, messages, sizeof messages);
    member->message_count = count;
}

const struct replica_message *member_message(const struct member *member, enum replica_message_kind kind, unsigned n)
{
    for (unsigned i = 0; i < member->message_count; i++) {
        if (member->messages[i].kind == kind && n-- == 0) {
            return &member->messages[i];
        }
    }
    return NULL;
}

const struct replica_message *member_message_to(const struct member *member, enum replica_message_kind kind,
                                                uint64_t peer)
{
    for (unsigned i = 0; i < member->message_count; i++) {
        if (member->messages[i].kind == kind && member->messages[i].peer == peer) {
            return &member->messages[i];
        }
    }
    return NULL;
}

unsigned member_message_count(const struct member *member, enum replica_message_kind kind)
{
    unsigned count = 0;
    for (unsigned i = 0; i < member->message_count; i++) {
        count += member->messages[i].kind == kind;
    }
    return count;
}

struct replica_message member_append(uint64_t peer, uint64_t term, uint64_t prev_index, uint64_t prev_term,
                                     uint64_t entry_term, unsigned count, uint64_t commit, int change_at,
                                     const struct membership *change)
{
    struct entry **entries = mem_alloc((count + 1) * sizeof *entries);
    for (unsigned i = 0; i < count; i++) {
        bool is_change = change_at == (int)i;
        entries[i] = entry_of(is_change ? ENTRY_CHANGE : ENTRY_COMMAND, prev_index + 1 + i, entry_term, change);
    }
    return (struct replica_message){
        .kind = REPLICA_APPEND,
        .peer = peer,
        .term = term,
        .append = {.prev_index = prev_index,
                   .prev_term = prev_term,
                   .commit_index = commit,
                   .entries = entries,
                   .entry_count = count},
    };
}

void member_append_free(struct replica_message *message)
{
    for (unsigned i = 0; i < message->append.entry_count; i++) {
        entry_release(message->append.entries[i]);
    }
    mem_free((void *)(uintptr_t)message->append.entries);
}

struct replica_message member_ack(uint64_t peer, uint64_t term, uint64_t last_index)
{
    return (struct replica_message){
        .kind = REPLICA_APPEND_RESULT, .peer = peer, .term = term, .append_result = {.last_index = last_index}};
}

struct replica_message member_reject(uint64_t peer, uint64_t term, uint64_t rejected, uint64_t last_index)
{
    return (struct replica_message){.kind = REPLICA_APPEND_RESULT,
                                    .peer = peer,
                                    .term = term,
                                    .append_result = {.rejected = rejected, .last_index = last_index}};
}
