/* Replies are kept packed until the last one is here, then read as one. */

#include "broker/admin_round.h"
#include "base/mem.h"

struct admin_round_ask {
    struct status_ask ask;
    struct admin_round *round;
    size_t capacity;
    Balsa__Peer__StatusReply *reply;
};

void admin_round_init(struct admin_round *round, struct shard *shard, int64_t timeout_ms)
{
    round->shard = shard;
    round->timeout_ms = timeout_ms;
    round->end_offset = -1;
}

static struct admin_round_ask *find(const struct admin_round *round, int32_t node)
{
    for (size_t i = 0; i < round->count; i++) {
        if (round->asks[i].ask.node == node) {
            return &round->asks[i];
        }
    }
    return NULL;
}

void admin_round_add(struct admin_round *round, int32_t node, uint64_t group)
{
    struct admin_round_ask *ask = find(round, node);
    if (ask == NULL) {
        round->asks = mem_resize(round->asks, (round->count + 1) * sizeof(*round->asks));
        ask = &round->asks[round->count++];
        *ask = (struct admin_round_ask){.ask = {.node = node}};
    }
    if (group == 0 || ask->ask.group_count == STATUS_GROUP_COUNT_MAX) {
        return;
    }
    if (ask->ask.group_count == ask->capacity) {
        ask->capacity = ask->capacity > 0 ? 2 * ask->capacity : 4;
        ask->ask.groups = mem_resize(ask->ask.groups, ask->capacity * sizeof(*ask->ask.groups));
    }
    ask->ask.groups[ask->ask.group_count++] = group;
}

static void on_answered(struct status_ask *status)
{
    struct admin_round_ask *ask = container_of(status, struct admin_round_ask, ask);
    struct admin_round *round = ask->round;
    if (status->reply != NULL) { /* borrowed: kept by packing it */
        size_t size = balsa__peer__status_reply__get_packed_size(status->reply);
        uint8_t *packed = mem_alloc_raw(size + 1);
        (void)balsa__peer__status_reply__pack(status->reply, packed);
        ask->reply = balsa__peer__status_reply__unpack(NULL, size, packed);
        mem_free(packed);
    }
    if (--round->pending == 0) {
        round->done(round);
    }
}

void admin_round_go(struct admin_round *round)
{
    assert(round->count > 0);
    round->pending = round->count;
    for (size_t i = 0; i < round->count; i++) {
        struct admin_round_ask *ask = &round->asks[i];
        ask->round = round;
        ask->ask.wants_digest = round->wants_digest;
        ask->ask.end_offset = round->end_offset;
        ask->ask.timeout_ms = round->timeout_ms;
        ask->ask.cb = on_answered;
        status_ask(round->shard, &ask->ask);
    }
}

const Balsa__Peer__StatusReply *admin_round_reply(const struct admin_round *round, int32_t node)
{
    const struct admin_round_ask *ask = find(round, node);
    return ask != NULL ? ask->reply : NULL;
}

const Balsa__Peer__ReplicaStatus *admin_round_replica(const struct admin_round *round, int32_t node, uint64_t group)
{
    const Balsa__Peer__StatusReply *reply = admin_round_reply(round, node);
    for (size_t i = 0; reply != NULL && i < reply->n_replicas; i++) {
        if (reply->replicas[i]->group == group) {
            return reply->replicas[i];
        }
    }
    return NULL;
}

void admin_round_deinit(struct admin_round *round)
{
    for (size_t i = 0; i < round->count; i++) {
        mem_free(round->asks[i].ask.groups);
        if (round->asks[i].reply != NULL) {
            balsa__peer__status_reply__free_unpacked(round->asks[i].reply, NULL);
        }
    }
    mem_free(round->asks);
    round->asks = NULL;
    round->count = 0;
}
