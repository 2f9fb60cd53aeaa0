/* Links between brokers in the simulated network: what is sent arrives as it was, in order, and links come and go as
 * the contract says. */
#include "replication/peers.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/trace.h"
#include "replication/raft_wire.h"
#include "tests/lib/peer_world.h"
#include "tests/lib/sim_disk.h"
#include "tests/lib/test.h"

static struct peer_world world;
static struct peer_node *const a = &world.nodes[0];
static struct peer_node *const b = &world.nodes[1];

static bool has_seen(void *context)
{
    const size_t *count = context;
    return b->seen_count >= *count;
}

static void until_seen(size_t count)
{
    peer_world_until(&world, has_seen, &count, 10000000);
}

/* ---- Exchange */

static uint8_t pattern(uint64_t index, size_t at)
{
    return (uint8_t)(index * 31 + at * 7 + at / 251);
}

struct append_job {
    uint64_t group, prev_index;
    unsigned count;
    size_t size; /* of each entry, in two slices */
    bool is_heartbeat_behind;
};

/* An APPEND of a to b, with entries of a known pattern; the commit index says how large they are. */
static void do_append(void *context)
{
    const struct append_job *job = context;
    struct entry *entries[16];
    for (unsigned i = 0; i < job->count; i++) {
        uint64_t index = job->prev_index + 1 + i;
        struct shared *block = shared_new(job->size > 0 ? job->size : 1);
        for (size_t k = 0; k < job->size; k++) {
            block->data[k] = pattern(index, k);
        }
        struct slice slices[2] = {{block, {block->data, job->size / 2}},
                                  {shared_acquire(block), {block->data + job->size / 2, job->size - job->size / 2}}};
        entries[i] = entry_new(job->size > 0 ? ENTRY_COMMAND : ENTRY_BARRIER, index, 3 + index % 2, slices, 2);
    }
    struct replica_message message = {.kind = REPLICA_APPEND, .peer = b->self.server_id, .term = 9};
    message.append.prev_index = job->prev_index;
    message.append.prev_term = job->prev_index > 0 ? 3 : 0;
    message.append.commit_index = job->size;
    message.append.entries = entries;
    message.append.entry_count = job->count;
    peers_send(a->peers[0], job->group, &message);
    for (unsigned i = 0; i < job->count; i++) {
        entry_release(entries[i]);
    }
    if (job->is_heartbeat_behind) {
        message.append.prev_index += job->count;
        message.append.prev_term = 3;
        message.append.entry_count = 0;
        peers_send(a->peers[0], job->group, &message);
    }
}

static void append(uint64_t group, uint64_t prev_index, unsigned count, size_t size)
{
    peer_node_run(a, do_append, &(struct append_job){group, prev_index, count, size, false});
}

static void check_append(const struct peer_seen *seen, uint64_t group, uint64_t prev_index, unsigned count)
{
    const struct replica_message *message = &seen->message;
    ck_assert_uint_eq(seen->group, group);
    ck_assert_int_eq(message->kind, REPLICA_APPEND);
    ck_assert_uint_eq(message->peer, a->self.server_id);
    ck_assert_uint_eq(message->term, 9);
    ck_assert_uint_eq(message->append.prev_index, prev_index);
    ck_assert_uint_eq(message->append.entry_count, count);
    size_t size = message->append.commit_index;
    for (unsigned i = 0; i < count; i++) {
        const struct entry *entry = message->append.entries[i];
        uint64_t index = prev_index + 1 + i;
        ck_assert_uint_eq(entry->index, index);
        ck_assert_uint_eq(entry->term, 3 + index % 2);
        ck_assert_int_eq(entry->kind, size > 0 ? ENTRY_COMMAND : ENTRY_BARRIER);
        ck_assert_uint_eq(entry->size, size);
        size_t same = 0;
        while (same < size && entry->slices[0].bytes.data[same] == pattern(index, same)) {
            same++;
        }
        ck_assert_uint_eq(same, size);
    }
}

/* Goal: entries arrive byte by byte as they were, in order, whatever their size.
 * Method: appends of two groups with entries from nothing to 3 MiB, by 20 seeds of delays and cuts into pieces. */
START_TEST(entries_arrive_as_they_were)
{
    static const size_t sizes[] = {0, 1, 100, 5000, 70000, 300000, 1200000, 17};
    peer_world_open(&world, (uint64_t)_i + 1, 2, 1);
    peer_world_link_all(&world);
    for (size_t i = 0; i < array_count(sizes); i++) {
        append(7, 10 * i, 1 + (unsigned)i % 3, sizes[i]);
        append(8, 20 * i, 2, 30);
    }
    until_seen(2 * array_count(sizes));
    size_t n7 = 0;
    size_t n8 = 0;
    for (size_t i = 0; i < b->seen_count; i++) {
        if (b->seen[i].group == 7) {
            ck_assert_uint_eq(b->seen[i].message.append.commit_index, sizes[n7]);
            check_append(&b->seen[i], 7, 10 * n7, 1 + (unsigned)n7 % 3);
            n7++;
        } else {
            check_append(&b->seen[i], 8, 20 * n8, 2);
            n8++;
        }
    }
    ck_assert_uint_eq(n7, n8);
    peer_world_close(&world);
}
END_TEST

static bool is_call_done(void *context)
{
    const bool *done = context;
    return *done;
}

static bool call_done;
static enum err call_err;
static uint8_t call_reply[64];
static size_t call_reply_size;

static void on_called(struct peer_call *call)
{
    call_done = true;
    call_err = call->err;
    call_reply_size = call->reply.bytes.size;
    if (call->reply.bytes.size > 0 && call->reply.bytes.size <= sizeof call_reply) {
        memcpy(call_reply, call->reply.bytes.data, call->reply.bytes.size);
    }
}

static void call(struct peer_call *req, int32_t node, const char *text, int64_t timeout_ms)
{
    *req = (struct peer_call){.node = node, .method = 5, .timeout_ms = timeout_ms, .cb = on_called};
    req->payload.bytes = bytes_from_text(text);
    call_done = false;
    peer_node_call(a, 0, req);
    ck_assert(!call_done);
}

/* Goal: a call's payload gets there and its reply back.
 * Method: the other side replies with what it got, at once, then later as bulk. */
START_TEST(a_call_is_replied_to)
{
    struct peer_call req;
    peer_world_open(&world, 1, 2, 1);
    peer_world_link_all(&world);
    call(&req, 2, "hello", 5000);
    peer_world_until(&world, is_call_done, &call_done, 1000000);
    ck_assert_int_eq(call_err, OK);
    ck_assert_uint_eq(call_reply_size, 5);
    ck_assert_int_eq(memcmp(call_reply, "hello", 5), 0);

    b->holds_requests = true;
    call(&req, 2, "", 5000);
    peer_world_run(&world, 100000);
    ck_assert(!call_done);
    ck_assert_uint_eq(b->request_count, 1);
    ck_assert_int_eq(b->requests[0]->node, 1);
    ck_assert_uint_eq(b->requests[0]->server_id, a->self.server_id);
    ck_assert_uint_eq(b->requests[0]->method, 5);
    peer_node_reply(b, 0);
    peer_world_until(&world, is_call_done, &call_done, 1000000);
    ck_assert_int_eq(call_err, OK);
    ck_assert_uint_eq(call_reply_size, 0);
    peer_world_close(&world);
}
END_TEST

/* Goal: a call without a link, too late, or with a link lost ends with its error; a late reply harms nobody. */
START_TEST(a_call_that_fails_says_why)
{
    struct peer_call req;
    peer_world_open(&world, 1, 2, 1);
    peer_world_link_all(&world);
    call(&req, 3, "x", 5000);
    peer_world_until(&world, is_call_done, &call_done, 1000);
    ck_assert_int_eq(call_err, ERR_CLOSED);

    b->holds_requests = true;
    call(&req, 2, "x", 300);
    peer_world_run(&world, 290000);
    ck_assert(!call_done);
    peer_world_run(&world, 20000);
    ck_assert(call_done);
    ck_assert_int_eq(call_err, ERR_TIMED_OUT);
    peer_node_reply(b, 0);
    peer_world_run(&world, 100000);

    call(&req, 2, "x", 5000);
    peer_world_run(&world, 100000);
    ck_assert(!call_done);
    peer_node_kill(b);
    peer_world_until(&world, is_call_done, &call_done, 1000000);
    ck_assert_int_eq(call_err, ERR_CLOSED);
    peer_world_close(&world);
}
END_TEST

/* ---- Shards */

static bool are_shards_linked(void *context)
{
    (void)context;
    for (unsigned shard = 0; shard < 3; shard++) {
        if (!peers_is_up(a->peers[shard], 2)) {
            return false;
        }
    }
    return true;
}

/* Goal: what a shard sends ends at the shard of the same number.
 * Method: each of three shards sends a vote of its own group. */
START_TEST(each_shard_has_links_of_its_own)
{
    peer_world_open(&world, (uint64_t)_i + 1, 2, 3);
    for (unsigned shard = 0; shard < 3; shard++) {
        peer_node_set(a, shard, b);
    }
    peer_world_until(&world, are_shards_linked, NULL, 5000000);
    for (unsigned shard = 0; shard < 3; shard++) {
        const struct replica_message vote = {.kind = REPLICA_VOTE, .term = shard + 1};
        peer_node_send(a, shard, b, 100 + shard, &vote);
    }
    until_seen(3);
    for (unsigned i = 0; i < 3; i++) {
        ck_assert_uint_eq(b->seen[i].group, 100 + b->seen[i].shard);
        ck_assert_uint_eq(b->seen[i].message.term, b->seen[i].shard + 1);
    }
    peer_world_close(&world);
}
END_TEST

/* ---- Links that are lost */

static bool is_a_linked(void *context)
{
    (void)context;
    return peers_is_up(a->peers[0], 2);
}

static bool is_a_alone(void *context)
{
    (void)context;
    return !peers_is_up(a->peers[0], 2);
}

/* Goal: the end of a process is told within a moment, as such; when it is back the link is there within a second or
 * so. */
START_TEST(a_process_that_ends_is_noticed_at_once)
{
    peer_world_open(&world, (uint64_t)_i + 1, 2, 1);
    peer_world_link_all(&world);
    peer_node_kill(b);
    peer_world_until(&world, is_a_alone, NULL, 100000);
    ck_assert_uint_eq(a->down_count[1], 1);
    ck_assert_uint_eq(a->reset_count[1], 1);
    peer_world_run(&world, 3000000);
    peer_node_start(b);
    peer_world_until(&world, is_a_linked, NULL, 1200000);
    ck_assert_uint_eq(a->up_count[1], 2);
    peer_world_close(&world);
}
END_TEST

/* Goal: a broker that is back, and connects, is connected to at once: while it is heard but not answered, votes are
 * lost. Method: it is away until the backoff is at its longest. */
START_TEST(who_connects_is_connected_to)
{
    peer_world_open(&world, (uint64_t)_i + 1, 2, 1);
    peer_world_link_all(&world);
    peer_node_kill(b);
    peer_world_run(&world, 10000000 + _i * 130000);
    peer_node_start(b);
    peer_node_set(b, 0, a);
    peer_world_until(&world, is_a_linked, NULL, 100000);
    peer_world_close(&world);
}
END_TEST

/* Goal: a cut network and a stopped process are noticed in some seconds, not as the end of a process, memory does not
 * grow meanwhile, and it all heals.
 * Method: either for a minute, while payload is sent all the time. */
START_TEST(silence_is_not_the_end)
{
    peer_world_open(&world, (uint64_t)_i / 2 + 1, 2, 1);
    peer_world_link_all(&world);
    if (_i % 2 == 0) {
        sim_net_cut(world.world, "n1", "n2");
        sim_net_cut(world.world, "n2", "n1");
    } else {
        sim_process_pause(b->process);
    }
    for (unsigned i = 0; i < 600; i++) {
        append(1, i + 1, 1, 100000);
        peer_world_run(&world, 100000);
        ck_assert_int_le(metrics_value(a->envs[0]->metrics, METRIC_PEER_QUEUE_BYTES), (int64_t)PEER_QUEUE_SIZE_MAX);
        ck_assert(i < 60 || peers_is_up(a->peers[0], 2) == false);
    }
    ck_assert_uint_eq(a->down_count[1], 1);
    ck_assert_uint_eq(a->reset_count[1], 0);
    if (_i % 2 == 0) {
        sim_net_heal_all(world.world);
    } else {
        sim_process_resume(b->process);
    }
    peer_world_until(&world, is_a_linked, NULL, 6000000);
    size_t before = b->seen_count;
    append(1, 10000, 1, 10);
    until_seen(before + 1);
    peer_world_close(&world);
}
END_TEST

/* Goal: three brokers that know each other only as seeds, themselves among them, are linked each with each, once. */
START_TEST(seeds_find_each_other)
{
    peer_world_open(&world, (uint64_t)_i + 1, 3, 1);
    for (unsigned i = 0; i < 3; i++) {
        for (unsigned k = 0; k < 3; k++) {
            peer_node_seed(&world.nodes[i], 0, &world.nodes[k]);
        }
    }
    peer_world_run(&world, 2000000);
    for (unsigned i = 0; i < 3; i++) {
        for (unsigned k = 0; k < 3; k++) {
            ck_assert_uint_eq(world.nodes[i].up_count[k], i != k);
        }
        ck_assert_uint_eq(world.nodes[i].refused_count, 0);
    }
    peer_world_close(&world);
}
END_TEST

/* ---- Everything at once */

enum {
    CHAOS_NODES = 3,
    CHAOS_GROUPS = 5,
    CHAOS_CALLS = 40
};

struct chaos_send {
    struct peer_node *node, *other;
    uint64_t group, number;
    size_t size;
};

/* The entry's index is the number, its bytes follow from it. */
static void do_chaos_send(void *context)
{
    const struct chaos_send *job = context;
    struct shared *block = shared_new(job->size);
    for (size_t k = 0; k < job->size; k++) {
        block->data[k] = pattern(job->number, k);
    }
    struct slice slice = {block, {block->data, job->size}};
    struct entry *entry = entry_new(ENTRY_COMMAND, job->number, 1, &slice, 1);
    struct entry *entries[1] = {entry};
    struct replica_message message = {.kind = REPLICA_APPEND, .peer = job->other->self.server_id, .term = 1};
    message.append.prev_index = job->number - 1;
    message.append.prev_term = job->number > 1;
    message.append.commit_index = job->number;
    message.append.entries = entries;
    message.append.entry_count = job->number % 3 != 0;
    peers_send(job->node->peers[0], job->group, &message);
    entry_release(entry);
}

static unsigned chaos_received;
static uint64_t chaos_seen[CHAOS_NODES][CHAOS_NODES][CHAOS_GROUPS + 1];

static void do_chaos_check(void *context)
{
    struct peer_node *node = context;
    for (size_t i = 0; i < node->seen_count; i++) {
        const struct peer_seen *seen = &node->seen[i];
        uint64_t *last = &chaos_seen[node->number][(seen->message.peer >> 32) - 1][seen->group];
        ck_assert_uint_gt(seen->message.append.commit_index, *last);
        *last = seen->message.append.commit_index;
        ck_assert_uint_eq(seen->message.append.entry_count, *last % 3 != 0);
        if (seen->message.append.entry_count > 0) {
            struct bytes bytes = entry_payload(seen->message.append.entries[0], NULL);
            size_t same = 0;
            while (same < bytes.size && bytes.data[same] == pattern(*last, same)) {
                same++;
            }
            ck_assert_uint_eq(same, bytes.size);
        }
        raft_wire_release(&seen->message);
        chaos_received++;
    }
    node->seen_count = 0;
}

struct chaos_call {
    struct peer_call call;
    struct peer_node *node;
    bool is_out;
};

static void on_chaos_called(struct peer_call *call)
{
    struct chaos_call *chaos = container_of(call, struct chaos_call, call);
    ck_assert(chaos->is_out);
    ck_assert(call->err != OK || bytes_equal(call->reply.bytes, call->payload.bytes));
    chaos->is_out = false;
}

static void chaos_fault(struct peer_node *node, struct peer_node *other, struct chaos_call *calls)
{
    char from[16];
    char to[16];
    (void)snprintf(from, sizeof from, "n%u", node->number + 1);
    (void)snprintf(to, sizeof to, "n%u", other->number + 1);
    switch (sim_world_below(world.world, 6)) {
    case 0:
        sim_net_cut(world.world, from, to);
        break;
    case 1:
        sim_net_heal_all(world.world);
        break;
    case 2:
        sim_net_reset(node->process);
        break;
    case 3:
        sim_process_pause(node->process);
        peer_world_run(&world, (int64_t)sim_world_below(world.world, 8000000));
        sim_process_resume(node->process);
        break;
    case 4:
        peer_node_run(node, do_chaos_check, node);
        for (unsigned i = 0; i < CHAOS_CALLS; i++) {
            calls[i].is_out = calls[i].is_out && calls[i].node != node;
        }
        peer_node_kill(node);
        peer_world_run(&world, (int64_t)sim_world_below(world.world, 3000000));
        peer_node_start(node);
        for (unsigned i = 0; i < CHAOS_NODES; i++) {
            peer_node_set(node, 0, &world.nodes[i]);
        }
        break;
    default:
        peer_node_restart(node);
        break;
    }
}

/* Goal: whatever happens to processes and the network, what arrives is what was sent, in order within a group, calls
 * end once, and afterwards all are linked and nothing is left in memory.
 * Method: two minutes of chance, by 10 seeds. */
START_TEST(chance_changes_no_byte_and_no_order)
{
    static struct chaos_call calls[CHAOS_CALLS];
    uint64_t number = 0;
    memset(calls, 0, sizeof calls);
    memset(chaos_seen, 0, sizeof chaos_seen);
    chaos_received = 0;
    peer_world_open(&world, (uint64_t)_i + 1000, CHAOS_NODES, 1);
    peer_world_link_all(&world);
    for (unsigned turn = 0; turn < 4000; turn++) {
        struct peer_node *node = &world.nodes[sim_world_below(world.world, CHAOS_NODES)];
        struct peer_node *other = &world.nodes[(node->number + 1 + sim_world_below(world.world, 2)) % CHAOS_NODES];
        bool is_large = sim_world_below(world.world, 50) == 0;
        struct chaos_send job = {node, other, 1 + sim_world_below(world.world, CHAOS_GROUPS), ++number,
                                 1 + (size_t)sim_world_below(world.world, is_large ? 2000000 : 3000)};
        peer_node_run(node, do_chaos_send, &job);
        struct chaos_call *chaos = &calls[turn % CHAOS_CALLS];
        if (!chaos->is_out) {
            *chaos = (struct chaos_call){.node = node, .is_out = true};
            chaos->call = (struct peer_call){.node = other->self.node, .timeout_ms = 2000, .cb = on_chaos_called};
            chaos->call.payload.bytes = bytes_from_text("called");
            peer_node_call(node, 0, &chaos->call);
        }
        if (sim_world_below(world.world, 100) == 0) {
            chaos_fault(node, other, calls);
        }
        if (sim_world_below(world.world, 3) == 0) {
            peer_world_run(&world, (int64_t)sim_world_below(world.world, 50000));
        }
        peer_node_run(node, do_chaos_check, node);
    }
    ck_assert_uint_gt(chaos_received, 500); /* of 4,000, while links were down for much of the time */
    sim_net_heal_all(world.world);
    peer_world_run(&world, 15000000);
    for (unsigned i = 0; i < CHAOS_NODES; i++) {
        peer_node_run(&world.nodes[i], do_chaos_check, &world.nodes[i]);
        for (unsigned k = 0; k < CHAOS_NODES; k++) {
            ck_assert(i == k || peer_node_is_linked(&world.nodes[i], 0, &world.nodes[k]));
        }
    }
    for (unsigned i = 0; i < CHAOS_CALLS; i++) {
        ck_assert(!calls[i].is_out);
    }
    peer_world_close(&world);
}
END_TEST

static Suite *peers_suite(void)
{
    Suite *suite = suite_create("peers");
    trace_set_level(TRACE_PEER, TRACE_WARN);
    TCase *exchange = tcase_create("exchange");
    tcase_set_timeout(exchange, 60);
    tcase_add_loop_test(exchange, entries_arrive_as_they_were, 0, 20);
    tcase_add_test(exchange, a_call_is_replied_to);
    tcase_add_test(exchange, a_call_that_fails_says_why);
    tcase_add_loop_test(exchange, each_shard_has_links_of_its_own, 0, 5);
    suite_add_tcase(suite, exchange);
    TCase *lost = tcase_create("lost");
    tcase_set_timeout(lost, 120);
    tcase_add_loop_test(lost, a_process_that_ends_is_noticed_at_once, 0, 10);
    tcase_add_loop_test(lost, who_connects_is_connected_to, 0, 10);
    tcase_add_loop_test(lost, silence_is_not_the_end, 0, 4);
    tcase_add_loop_test(lost, seeds_find_each_other, 0, 20);
    suite_add_tcase(suite, lost);
    TCase *chaos = tcase_create("chance");
    tcase_set_timeout(chaos, 300);
    tcase_add_loop_test(chaos, chance_changes_no_byte_and_no_order, 0, 10);
    suite_add_tcase(suite, chaos);
    return suite;
}

TEST_MAIN(peers_suite)
