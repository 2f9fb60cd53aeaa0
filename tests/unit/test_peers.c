/* Links between brokers in the simulated network: what is sent arrives as it was, in order, and links come and go as
 * the contract says. */
#include "replication/peers.h"

#include <string.h>

#include "base/mem.h"
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

static Suite *peers_suite(void)
{
    Suite *suite = suite_create("peers");
    TCase *exchange = tcase_create("exchange");
    tcase_set_timeout(exchange, 60);
    tcase_add_loop_test(exchange, entries_arrive_as_they_were, 0, 20);
    tcase_add_test(exchange, a_call_is_replied_to);
    tcase_add_test(exchange, a_call_that_fails_says_why);
    suite_add_tcase(suite, exchange);
    return suite;
}

TEST_MAIN(peers_suite)
