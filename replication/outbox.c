/* Messages of one group that wait for the write-ahead log.
 *
 * Happy path: a step's messages are put in with the LSN that the group's last term, vote or own membership change was
 * appended at (R2, R23); at the end of the turn those whose LSN is durable leave, in order. The entries of an APPEND
 * are taken from the tail only then, so nothing is held twice.
 * Failure: a message may always be dropped, Raft sends again: when the queue is full, when the term has passed, when
 * the entries are gone from memory (the core is told, and the follower gets a catch-up instead). */
#include "replication/replica_internal.h"

#include "base/assert.h"
#include "base/canary.h"
#include "base/limits.h"
#include "base/mem.h"
#include "replication/raft_rules.h"

#include <string.h>

enum {
    CAPACITY_FIRST = 2, /* a leader of three: its heartbeats */
    CAPACITY_KEPT = 4
};

void outbox_init(struct outbox *outbox)
{
    *outbox = (struct outbox){0};
}

void outbox_deinit(struct outbox *outbox)
{
    mem_free(outbox->messages);
    outbox_init(outbox);
}

static void count_dropped(const struct replica *replica)
{
    metrics_add(replica->shard->params.env->metrics, METRIC_PEER_MESSAGES_DROPPED, 1);
}

void outbox_put(struct replica *replica, const struct replica_message *message)
{
    struct outbox *outbox = &replica->outbox;
    if (replica->shard->params.send == NULL || outbox->count == OUTBOX_COUNT_MAX) {
        count_dropped(replica);
        return;
    }
    if (outbox->count == outbox->capacity) {
        outbox->capacity = outbox->capacity == 0 ? CAPACITY_FIRST : outbox->capacity * 2;
        outbox->messages = mem_resize(outbox->messages, outbox->capacity * sizeof *outbox->messages);
    }
    outbox->messages[outbox->count++] =
        (struct outbox_message){.message = *message, .gate_lsn = replica->has_gate ? replica->gate_lsn + 1 : 0};
}

static bool is_free(const struct replica *replica, const struct outbox_message *queued)
{
    return queued->gate_lsn <= replica->shard->durable_lsn || !rule_is_on(RULE_GATE) ||
           canary_is(CANARY_SEND_BEFORE_DURABLE);
}

bool outbox_is_gated(const struct replica *replica)
{
    return replica->outbox.count > 0;
}

/* How many of the entries from `index` on go into one message: one at least, at most `count`. */
static unsigned piece_count(const struct tail *tail, uint64_t index, unsigned count)
{
    unsigned taken = 0;
    size_t size = 0;
    while (taken < count && taken < APPEND_ENTRY_COUNT_MAX) {
        size_t next = tail_at(tail, index + taken)->entry->size;
        if (taken > 0 && rule_is_on(RULE_SPLIT_SIZE) && next > APPEND_SIZE_MAX - size) {
            break;
        }
        size += next;
        taken++;
        if (size >= APPEND_SIZE_MAX && rule_is_on(RULE_SPLIT_SIZE)) {
            break;
        }
    }
    return taken;
}

/* R15. First-time ranges are split into several messages, so that a large one never delays heartbeats. */
static void send_append(struct replica *replica, const struct replica_message *message)
{
    const struct replica_shard_params *params = &replica->shard->params;
    struct entry *entries[APPEND_ENTRY_COUNT_MAX];
    struct replica_message piece = *message;
    uint64_t index = message->append.prev_index + 1;
    unsigned left = message->append.entry_count;
    while (left > 0) {
        unsigned count = piece_count(&replica->tail, index, left);
        for (unsigned i = 0; i < count; i++) {
            entries[i] = tail_at(&replica->tail, index + i)->entry;
        }
        piece.append.prev_index = index - 1;
        piece.append.prev_term = index - 1 == message->append.prev_index ? message->append.prev_term
                                                                         : raft_core_term_at(replica->core, index - 1);
        piece.append.entries = entries;
        piece.append.entry_count = count;
        params->send(params->owner, replica, &piece);
        index += count;
        left -= count;
    }
}

static void send_message(struct replica *replica, const struct replica_message *message)
{
    const struct replica_shard_params *params = &replica->shard->params;
    if (message->kind != REPLICA_APPEND || message->append.entry_count == 0) {
        params->send(params->owner, replica, message);
        return;
    }
    uint64_t first = message->append.prev_index + 1;
    if (message->term != raft_core_term(replica->core) || raft_core_role(replica->core) != REPLICA_LEADER ||
        first + message->append.entry_count > tail_end(&replica->tail)) {
        count_dropped(replica);
        return; /* never mix entries of other terms */
    }
    if (first < replica->tail.first_index) {
        count_dropped(replica);
        replica->trim_index = replica->tail.first_index - 1;
        return;
    }
    send_append(replica, message);
}

void outbox_release(struct replica *replica)
{
    struct outbox *outbox = &replica->outbox;
    unsigned sent = 0;
    while (sent < outbox->count && is_free(replica, &outbox->messages[sent])) {
        struct replica_message message = outbox->messages[sent++].message;
        send_message(replica, &message);
    }
    if (sent > 0) {
        outbox->count -= sent;
        memmove(outbox->messages, outbox->messages + sent, outbox->count * sizeof *outbox->messages);
    }
    if (outbox->count == 0 && outbox->capacity > CAPACITY_KEPT) {
        outbox_deinit(outbox); /* an election or a burst is over; thousands of groups rest beside this one */
    }
}
