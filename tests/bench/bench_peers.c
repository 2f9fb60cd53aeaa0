/* Links between two brokers over loopback, a thread each: how many Raft messages a second, how many bytes of entries,
 * how long a call takes, and what of the processor that costs.
 *
 * heartbeats: the first broker sends one to each of 1,000 groups, the second answers each; when all answers are there,
 * the next round. entries: so many bytes in flight, each message answered. calls: one after the other. */
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "base/assert.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/trace.h"
#include "base/uv_env.h"
#include "replication/peers.h"
#include "replication/raft_wire.h"

enum {
    GROUP_COUNT = 1000,
    RUN_US = 2000000,
    CALL_COUNT = 20000
};

struct plan {
    const char *name;
    size_t entry_size; /* 0: heartbeats */
    size_t window;     /* messages in flight */
};

static const struct plan plans[] = {
    {"heartbeats and answers, 1,000 groups", 0, GROUP_COUNT},
    {"entries of 1 KiB, 1,000 in flight", KIB(1), 1000},
    {"entries of 64 KiB, 64 in flight", KIB(64), 64},
    {"entries of 1 MiB, 4 in flight", MIB(1), 4},
};

struct side {
    pthread_t thread;
    struct uv_env *uv;
    struct env *env;
    struct metrics *metrics;
    struct peers *peers;
    struct peer_identity self;
    struct listener *listener;
};

static struct side sides[2];
static pthread_barrier_t barrier;
static const struct plan *plan;
static struct entry *entry;
static uint64_t sent, answered, next_group;
static int64_t started_us;
static struct rusage usage_before;
static struct peer_call call;
static unsigned calls_done;
static struct timer begin_timer;

static double cpu_seconds(const struct rusage *usage)
{
    return (double)(usage->ru_utime.tv_sec + usage->ru_stime.tv_sec) +
           (double)(usage->ru_utime.tv_usec + usage->ru_stime.tv_usec) / 1e6;
}

/* ---- The second broker answers */

static void answer(struct side *side, uint64_t group, const struct replica_message *message)
{
    struct replica_message result = {.kind = REPLICA_APPEND_RESULT, .peer = message->peer, .term = message->term};
    result.append_result.last_index = message->append.prev_index + message->append.entry_count;
    peers_send(side->peers, group, &result);
}

/* ---- The first broker sends */

static void fill_window(struct side *side)
{
    struct entry *entries[1] = {entry};
    struct replica_message message = {.kind = REPLICA_APPEND, .peer = sides[1].self.server_id, .term = 5};
    message.append.prev_index = 10;
    message.append.prev_term = 5;
    message.append.commit_index = sent;
    message.append.entries = plan->entry_size > 0 ? entries : NULL;
    message.append.entry_count = plan->entry_size > 0;
    while (sent - answered < plan->window) {
        peers_send(side->peers, 1 + next_group++ % GROUP_COUNT, &message);
        sent++;
    }
}

static void plan_print(int64_t took_us)
{
    struct rusage usage;
    (void)getrusage(RUSAGE_SELF, &usage);
    double seconds = (double)took_us / 1e6;
    double cpu = cpu_seconds(&usage) - cpu_seconds(&usage_before);
    int64_t frames = metrics_value(sides[0].metrics, METRIC_PEER_FRAMES_SENT);
    (void)printf("%-40s %9.0f messages/s %8.1f MB/s  cpu %.2f cores, %.2f us a message and answer; %.0f a frame\n",
                 plan->name, (double)answered / seconds, (double)answered * (double)plan->entry_size / 1e6 / seconds,
                 cpu / seconds, cpu * 1e6 / (double)answered, (double)sent / (double)(frames > 0 ? frames : 1));
}

static void on_closed(void *owner)
{
    struct side *side = owner;
    if (side->listener != NULL) {
        side->env->net->listener_close(side->listener, NULL);
    }
    uv_env_stop(side->uv);
}

static void end(struct side *side)
{
    peers_close(side->peers, side, on_closed);
}

static void on_receive(void *owner, uint64_t group, const struct replica_message *message)
{
    struct side *side = owner;
    raft_wire_release(message);
    if (side == &sides[1]) {
        answer(side, group, message);
        return;
    }
    answered++;
    int64_t took_us = env_now_us(side->env) - started_us;
    if (took_us >= RUN_US) {
        if (side->peers != NULL && plan->window > 0 && sent > 0) {
            plan_print(took_us);
            sent = 0;
            end(side);
        }
        return;
    }
    /* Heartbeats come in rounds, as those of a shard's groups do. */
    if (plan->entry_size > 0 || answered == sent) {
        fill_window(side);
    }
}

static void on_request(void *owner, struct peer_request *request)
{
    (void)owner;
    peers_reply(request, request->payload, false);
}

static void on_called(struct peer_call *done)
{
    struct side *side = &sides[0];
    assert(done->err == OK);
    if (++calls_done < CALL_COUNT) {
        peers_call(side->peers, &call);
        return;
    }
    (void)printf("%-40s %9.1f us a call\n", "calls, one after the other",
                 (double)(env_now_us(side->env) - started_us) / CALL_COUNT);
    end(side);
}

static void on_begin(struct timer *timer)
{
    struct side *side = &sides[0];
    (void)timer;
    (void)getrusage(RUSAGE_SELF, &usage_before);
    started_us = env_now_us(side->env);
    if (plan != NULL) {
        fill_window(side);
        return;
    }
    call = (struct peer_call){.node = 2, .method = 1, .timeout_ms = 5000, .cb = on_called};
    calls_done = 0;
    peers_call(side->peers, &call);
}

static void on_up(void *owner, const struct peer_identity *identity)
{
    struct side *side = owner;
    (void)identity;
    if (side == &sides[0]) {
        env_timer(side->env, &begin_timer, 50000); /* the link of the other side is there by then */
    }
}

static void on_down(void *owner, int32_t node, uint64_t server_id, bool is_reset)
{
    struct side *side = owner;
    (void)node;
    (void)server_id;
    (void)is_reset;
    if (side == &sides[1]) {
        end(side);
    }
}

static void on_refused(void *owner, const char *host, uint16_t port, const char *cause)
{
    (void)owner;
    (void)fprintf(stderr, "%s:%u: %s\n", host, port, cause);
}

static void hand_over(void *owner, unsigned shard, int token, const struct peer_hello *hello)
{
    struct side *side = owner;
    (void)shard;
    peers_adopt(side->peers, token, hello);
}

static void on_accept(void *owner, struct listener *listener, int token)
{
    struct side *side = owner;
    (void)listener;
    peers_accept(side->peers, token, hand_over);
}

static void side_open(struct side *side, unsigned number)
{
    enum err err = uv_env_open(number, side->metrics, &side->uv, NULL);
    assert(err == OK);
    side->env = uv_env_env(side->uv);
    side->self = (struct peer_identity){.node = (int32_t)number + 1, .host = "127.0.0.1"};
    side->self.server_id = (uint64_t)(number + 1) << 32 | 5;
    struct peers_params params = {
        .env = side->env,
        .shard_count = 1,
        .self = &side->self,
        .owner = side,
        .receive = on_receive,
        .request = on_request,
        .up = on_up,
        .down = on_down,
        .refused = on_refused,
    };
    side->peers = peers_open(&params);
    err = side->env->net->listen(side->env->net, "127.0.0.1", 0, side, on_accept, &side->listener, NULL);
    assert(err == OK);
    side->self.port = side->env->net->listener_port(side->listener);
}

static void *side_main(void *context)
{
    struct side *side = context;
    unsigned number = (unsigned)(side - sides);
    side->metrics = metrics_open();
    side_open(side, number);
    (void)pthread_barrier_wait(&barrier);
    const struct side *other = &sides[1 - number];
    peers_set(side->peers, other->self.node, other->self.host, other->self.port);
    uv_env_run(side->uv);
    (void)pthread_barrier_wait(&barrier);
    uv_env_close(side->uv);
    metrics_close(side->metrics);
    return NULL;
}

static void run(void)
{
    memset(sides, 0, sizeof sides);
    sent = answered = 0;
    timer_init(&begin_timer, on_begin);
    (void)pthread_barrier_init(&barrier, NULL, 2);
    for (unsigned i = 0; i < 2; i++) {
        int failed = pthread_create(&sides[i].thread, NULL, side_main, &sides[i]);
        assert(failed == 0);
    }
    for (unsigned i = 0; i < 2; i++) {
        (void)pthread_join(sides[i].thread, NULL);
    }
    (void)pthread_barrier_destroy(&barrier);
}

int main(void)
{
    uv_process_prepare(2);
    trace_set_level(TRACE_PEER, TRACE_WARN);
    for (size_t i = 0; i < array_count(plans); i++) {
        plan = &plans[i];
        struct shared *block = shared_new(plan->entry_size + 1);
        memset(block->data, 'x', block->size);
        struct slice slice = {block, {block->data, plan->entry_size}};
        entry = entry_new(ENTRY_COMMAND, 11, 5, &slice, 1);
        run();
        entry_release(entry);
    }
    plan = NULL;
    run();
    return 0;
}
