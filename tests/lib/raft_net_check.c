/* What must be true of a Raft cluster (Raft thesis, figure 3.2), looked at after every step of every node. */
#include "tests/lib/raft_net.h"

#include "base/assert.h"
#include "base/mem.h"
#include "replication/replica_internal.h"

#include <stdarg.h>
#include <string.h>

static uint64_t mix(uint64_t x)
{
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

void net_violation(struct raft_net *net, const char *format, ...)
{
    va_list args;
    net->violations++;
    (void)fprintf(stderr, "seed %llu at %.3f s: ", (unsigned long long)net->seed, (double)net->now_us / 1e6);
    va_start(args, format);
    (void)vfprintf(stderr, format, args);
    va_end(args);
    (void)fprintf(stderr, "\n");
}

void net_check_init(struct raft_net *net)
{
    map_init(&net->entries);
}

void net_check_deinit(struct raft_net *net)
{
    size_t cursor = 0;
    uint64_t key;
    struct net_log_entry *entry;
    while ((entry = map_next(&net->entries, &cursor, &key)) != NULL) {
        mem_free(entry);
    }
    map_deinit(&net->entries);
    mem_free(net->leaders);
    mem_free(net->committed);
    mem_free(net->applied);
    mem_free(net->known);
}

static uint64_t *array_at(uint64_t **array, size_t *capacity, uint64_t index)
{
    if (index >= *capacity) {
        size_t grown = *capacity == 0 ? 1024 : *capacity;
        while (grown <= index) {
            grown *= 2;
        }
        *array = mem_resize(*array, grown * sizeof **array);
        memset(*array + *capacity, 0, (grown - *capacity) * sizeof **array);
        *capacity = grown;
    }
    return &(*array)[index];
}

/* Election safety, and leader completeness at the moment of election. */
static void check_leader(struct net_node *node, const struct replica_status *status)
{
    struct raft_net *net = node->net;
    uint64_t *leader = array_at(&net->leaders, &net->leader_capacity, status->term);
    if (*leader == 0) {
        *leader = node->id;
        net->elections++;
        for (uint64_t index = status->first_index; index < net->committed_count; index++) {
            /* Those of older terms: a later one may have committed before this election was heard of. */
            if (net->committed[index] != 0 && net->known[index] < status->term &&
                raft_core_term_at(node->replica->core, index) != net->committed[index]) {
                net_violation(net, "leader %llu of term %llu does not have committed entry %llu of term %llu",
                              (unsigned long long)node->id, (unsigned long long)status->term, (unsigned long long)index,
                              (unsigned long long)net->committed[index]);
                return;
            }
        }
    } else if (*leader != node->id) {
        net_violation(net, "term %llu has two leaders: %llu and %llu", (unsigned long long)status->term,
                      (unsigned long long)*leader, (unsigned long long)node->id);
    }
}

static void tell_membership(const struct net_node *node, const struct replica_status *status)
{
    (void)fprintf(node->net->log, "%10.3f node %u id %llu members at %llu:", (double)node->net->now_us / 1e6,
                  node->slot, (unsigned long long)node->id, (unsigned long long)status->membership_index);
    for (unsigned i = 0; i < status->membership.count; i++) {
        (void)fprintf(node->net->log, " %llu%s", (unsigned long long)status->membership.servers[i].id,
                      status->membership.servers[i].is_voter ? "v" : "s");
    }
    (void)fprintf(node->net->log, "\n");
}

/* Who would still tell readers what it has, while another one leads in a later term and has committed there? Time
 * stands still between two steps, and who is paused tells nothing. */
static void check_leases(struct raft_net *net)
{
    uint64_t term = 0;
    for (unsigned i = 0; i < net->options.node_count; i++) {
        const struct net_node *node = &net->nodes[i];
        if (node->is_up && replica_is_ready_leader(node->replica) && replica_term(node->replica) > term) {
            term = replica_term(node->replica);
        }
    }
    for (unsigned i = 0; i < net->options.node_count; i++) {
        const struct net_node *node = &net->nodes[i];
        bool is_telling = node->is_up && node->paused_until_us <= net->now_us && replica_is_leading(node->replica);
        if (is_telling && replica_term(node->replica) < term) {
            net_violation(net, "node %u tells readers in term %llu what it has, term %llu has begun", i,
                          (unsigned long long)replica_term(node->replica), (unsigned long long)term);
        }
        net->tellings += is_telling;
    }
}

void net_check_node(struct net_node *node)
{
    struct raft_net *net = node->net;
    struct replica_status now;
    const struct replica_status *before = &node->seen;
    replica_status(node->replica, &now);
    if (now.commit_index < before->commit_index || now.applied_index < before->applied_index ||
        now.term < before->term) {
        net_violation(net, "node %u goes back: commit %llu -> %llu, applied %llu -> %llu, term %llu -> %llu",
                      node->slot, (unsigned long long)before->commit_index, (unsigned long long)now.commit_index,
                      (unsigned long long)before->applied_index, (unsigned long long)now.applied_index,
                      (unsigned long long)before->term, (unsigned long long)now.term);
    }
    if (now.role == REPLICA_LEADER && (before->role != REPLICA_LEADER || before->term != now.term)) {
        check_leader(node, &now);
    }
    if (net->log != NULL && now.membership_index != before->membership_index) {
        tell_membership(node, &now);
    }
    node->seen = now;
    check_leases(net);
}

/* Log matching: what (index, term) is, and what it follows, is the same in every log. */
void net_check_append(struct net_node *node, const struct wal_frame *frame)
{
    struct raft_net *net = node->net;
    if (frame->kind != WAL_ENTRY) {
        return;
    }
    uint64_t hash = frame->value & 0xff;
    for (unsigned i = 0; i < frame->slice_count; i++) {
        hash = bytes_hash(frame->slices[i].bytes, hash);
    }
    uint64_t key = mix(frame->index << 24 ^ frame->term);
    struct net_log_entry *known = map_get(&net->entries, key);
    if (known == NULL) {
        known = mem_alloc(sizeof *known);
        known->hash = hash;
        known->prev_term = node->replica != NULL ? raft_core_term_at(node->replica->core, frame->index - 1) : 0;
        map_put(&net->entries, key, known);
    } else if (known->hash != hash) {
        net_violation(net, "node %u: entry %llu of term %llu differs from another log's", node->slot,
                      (unsigned long long)frame->index, (unsigned long long)frame->term);
    }
    uint64_t prev_term = node->replica != NULL ? raft_core_term_at(node->replica->core, frame->index - 1) : 0;
    if (prev_term != 0 && known->prev_term != 0 && prev_term != known->prev_term) {
        net_violation(net, "node %u: entry %llu of term %llu follows term %llu here, term %llu elsewhere", node->slot,
                      (unsigned long long)frame->index, (unsigned long long)frame->term, (unsigned long long)prev_term,
                      (unsigned long long)known->prev_term);
    }
    if (frame->index <= node->seen.commit_index && (frame->value & REPLICA_ENTRY_COPY) == 0) {
        net_violation(net, "node %u: entry %llu of term %llu takes the place of a committed one", node->slot,
                      (unsigned long long)frame->index, (unsigned long long)frame->term);
    }
}

/* State machine safety. */
void net_check_apply(struct net_node *node, const struct entry *entry)
{
    struct raft_net *net = node->net;
    size_t capacity = net->committed_capacity;
    (void)array_at(&net->committed, &capacity, entry->index);
    capacity = net->committed_capacity;
    uint64_t *applied = array_at(&net->applied, &capacity, entry->index);
    capacity = net->committed_capacity;
    uint64_t *known = array_at(&net->known, &capacity, entry->index);
    net->committed_capacity = capacity;
    if (entry->index >= net->committed_count) {
        net->committed_count = entry->index + 1;
        net->commits++;
    }
    uint64_t *committed = &net->committed[entry->index];
    if (*committed != 0 && *committed != entry->term) {
        net_violation(net, "node %u applies entry %llu of term %llu, another has applied term %llu", node->slot,
                      (unsigned long long)entry->index, (unsigned long long)entry->term,
                      (unsigned long long)*committed);
    }
    uint64_t term = node->replica != NULL ? replica_term(node->replica) : UINT64_MAX; /* a replay: some term before */
    *known = *committed == 0 || term < *known ? term : *known;
    *committed = entry->term;
    if (entry->kind != ENTRY_COMMAND) {
        return;
    }
    if (entry->index <= node->state.index) {
        net_violation(net, "node %u applies entry %llu behind %llu", node->slot, (unsigned long long)entry->index,
                      (unsigned long long)node->state.index);
    }
    node->state.index = entry->index;
    node->state.hash = mix(bytes_hash(entry->slices[0].bytes, node->state.hash));
    if (*applied != 0 && *applied != node->state.hash) {
        net_violation(net, "node %u: state at %llu differs from another's", node->slot,
                      (unsigned long long)entry->index);
    }
    *applied = node->state.hash;
}

/* R2, R23, and that nobody claims what a crash could take from him. */
void net_check_send(struct net_node *node, const struct replica_message *message)
{
    struct raft_net *net = node->net;
    const struct replica *replica = node->replica;
    uint64_t term = node->log.hard_term > 0 ? node->log.hard_term : 1;
    bool is_pre_vote = (message->kind == REPLICA_VOTE && message->vote.is_pre_vote) ||
                       (message->kind == REPLICA_VOTE_RESULT && message->vote_result.is_pre_vote);
    if (!is_pre_vote && message->term > term) {
        net_violation(net, "node %u sends term %llu, durable is %llu", node->slot, (unsigned long long)message->term,
                      (unsigned long long)term);
    }
    if (message->kind == REPLICA_VOTE_RESULT && message->vote_result.is_granted && !is_pre_vote &&
        message->term == term && node->log.hard_vote != message->peer) {
        net_violation(net, "node %u sends a vote for %llu, durable is one for %llu", node->slot,
                      (unsigned long long)message->peer, (unsigned long long)node->log.hard_vote);
    }
    if (message->kind == REPLICA_APPEND_RESULT && message->append_result.rejected == 0 &&
        message->term == replica_term(replica) && message->append_result.last_index > replica->durable_index) {
        net_violation(net, "node %u claims entries up to %llu, durable are %llu", node->slot,
                      (unsigned long long)message->append_result.last_index,
                      (unsigned long long)replica->durable_index);
    }
    /* The replica may be wrong about that; the log is asked. What was copied forward is durable at its old place. */
    uint64_t claimed = message->kind == REPLICA_APPEND_RESULT ? message->append_result.last_index : 0;
    if (claimed >= replica->tail.first_index && claimed < tail_end(&replica->tail) &&
        message->append_result.rejected == 0 && message->term == replica_term(replica) &&
        tail_at(&replica->tail, claimed)->lsn >= node->log.durable_lsn &&
        tail_at(&replica->tail, claimed)->lsn >= replica->copied_end_lsn) {
        net_violation(net, "node %u claims entry %llu, which its log does not hold durably", node->slot,
                      (unsigned long long)claimed);
    }
    if (message->kind != REPLICA_APPEND || message->term != replica_term(replica)) {
        return; /* what an old term left behind has no entries any more */
    }
    for (uint64_t index = replica->durable_index + 1; index < tail_end(&replica->tail); index++) {
        if (tail_at(&replica->tail, index)->entry->kind == ENTRY_CHANGE) {
            net_violation(net, "node %u sends before its membership change %llu is durable", node->slot,
                          (unsigned long long)index);
        }
    }
}
