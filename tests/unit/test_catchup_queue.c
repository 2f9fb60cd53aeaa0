/* Who may take a state, and when: many replicas of one shard are signalled at once. Their calls end in the test's
 * hands, which answer for a source; machine and stage are empty. On the simulated disk. */
#include "replication/catchup.h"

#include <string.h>

#include "base/crc32c.h"
#include "base/limits.h"
#include "base/mem.h"
#include "replication/catchup_wire.h"
#include "tests/lib/sim_disk.h"
#include "tests/lib/test.h"

enum {
    SELF = 11,
    FIRST_GROUP = 2,
    GROUP_COUNT = CATCHUP_TARGET_COUNT_MAX + 5,
    CALL_COUNT_MAX = 4096,
    BUSY_COUNT = 8,
    STATE_INDEX = 100,
    FILE_SIZE = 3 * CATCHUP_CHUNK_SIZE,
    MOMENT_US = 2000, /* no timer of a catch-up is that short */
    BUSY_US = 200000  /* a source that sends to others is asked again after */
};

#define LEADER ((uint64_t)1 << 32 | 12)

struct seen_call {
    struct peer_call *call; /* NULL: answered */
    struct catchup_call request;
    int64_t at_us;
};

static struct {
    struct sim_world *sim;
    struct sim_disk *disk;
    struct sim_process *process;
    struct kv *local;
    struct replicas *replicas;
    struct catchups *catchups;
    struct seen_call calls[CALL_COUNT_MAX];
    unsigned call_count;
} world;

/* ---- A machine and a stage that remember nothing ---- */

static void machine_apply(struct replica_machine *machine, const struct entry *entry)
{
    (void)machine;
    (void)entry;
}

static void machine_applied(struct replica_machine *machine)
{
    (void)machine;
}

static void machine_role_changed(struct replica_machine *machine, const struct replica_status *status)
{
    (void)machine;
    (void)status;
}

static void *machine_capture(struct replica_machine *machine, struct dynbuf *state)
{
    (void)machine;
    (void)state;
    return NULL;
}

static void machine_capture_done(struct replica_machine *machine, void *capture, bool is_ok)
{
    (void)machine;
    (void)capture;
    (void)is_ok;
}

static void machine_close(struct replica_machine *machine)
{
    machine->closed(machine);
    mem_free(machine);
}

static enum err stage_begin(struct replica_stage *stage, const struct replica_manifest *manifest, struct errmsg *msg)
{
    (void)stage;
    (void)manifest;
    (void)msg;
    return OK;
}

static enum err stage_resume(struct replica_stage *stage, size_t file, uint64_t *size, struct errmsg *msg)
{
    (void)stage;
    (void)file;
    (void)msg;
    *size = 0;
    return OK;
}

static enum err stage_write(struct replica_stage *stage, size_t file, uint64_t position, struct bytes bytes,
                            struct errmsg *msg)
{
    (void)stage;
    (void)file;
    (void)position;
    (void)bytes;
    (void)msg;
    return OK;
}

static enum err stage_finish(struct replica_stage *stage, size_t file, struct errmsg *msg)
{
    (void)stage;
    (void)file;
    (void)msg;
    return OK;
}

static enum err stage_seal(struct replica_stage *stage, struct errmsg *msg)
{
    (void)stage;
    (void)msg;
    return OK;
}

static void stage_close(struct replica_stage *stage, enum replica_stage_end end)
{
    (void)end;
    mem_free(stage);
}

static const struct replica_stage_ops STAGE_OPS = {
    stage_begin, stage_resume, stage_write, stage_finish, stage_seal, stage_close,
};

static struct replica_stage *machine_stage(struct replica_machine *machine)
{
    struct replica_stage *stage = mem_alloc(sizeof(*stage));
    (void)machine;
    stage->ops = &STAGE_OPS;
    return stage;
}

static struct replica_source *machine_source(struct replica_machine *machine)
{
    (void)machine;
    return NULL;
}

static void machine_install(struct replica_machine *machine, uint64_t index)
{
    (void)machine;
    (void)index;
}

static const struct replica_machine_ops MACHINE_OPS = {
    .close = machine_close,
    .apply = machine_apply,
    .applied = machine_applied,
    .role_changed = machine_role_changed,
    .capture = machine_capture,
    .capture_done = machine_capture_done,
    .source = machine_source,
    .stage = machine_stage,
    .install = machine_install,
};

static enum err machine_open(void *owner, enum group_type type, uint64_t group, struct bytes description,
                             struct bytes state, struct replica_machine **machine, struct errmsg *msg)
{
    (void)owner;
    (void)type;
    (void)group;
    (void)description;
    (void)state;
    (void)msg;
    *machine = mem_alloc(sizeof(**machine));
    (*machine)->ops = &MACHINE_OPS;
    return OK;
}

/* ---- A shard of joiners, and who answers for their source ---- */

static void on_call(void *owner, struct peer_call *call)
{
    (void)owner;
    ck_assert_uint_lt(world.call_count, CALL_COUNT_MAX);
    struct seen_call *seen = &world.calls[world.call_count++];
    seen->call = call;
    seen->at_us = sim_world_now_us(world.sim);
    ck_assert_int_eq(catchup_call_decode(call->payload.bytes, &seen->request), OK);
}

static void on_created(struct replica_create *req, enum err err)
{
    ck_assert_int_eq(err, OK);
    mem_free(req);
}

static void start(void *context)
{
    struct errmsg msg = {""};
    (void)context;
    struct env *env = sim_process_env(world.process, 0);
    ck_assert_int_eq(kv_open("/n1/local", MIB(16), KV_DURABLE, &world.local, &msg), OK);
    ck_assert_int_eq(env->disk->mkdir(env->disk, "/n1/topics"), OK);
    struct replicas_params params = {
        .env = env,
        .local = world.local,
        .dir = "/n1",
        .shard_count = 1,
        .old_shard_count = 1,
        .is_first_start = true,
        .server_id = SELF,
        .heartbeat_ms = 400,
        .election_ms = 2000,
        .wal = {.file_size = KIB(64), .checkpoint_size = KIB(64), .file_count_max = 8},
        .checkpoint_interval_ms = 1000,
        .machine_open = machine_open,
    };
    ck_assert_int_eq(replicas_open(&params, &world.replicas, &msg), OK);
    struct catchups_params catchups = {
        .env = env, .replicas = world.replicas, .topics_dir = "/n1/topics", .call = on_call};
    world.catchups = catchups_open(&catchups);
    for (uint64_t group = FIRST_GROUP; group < FIRST_GROUP + GROUP_COUNT; group++) {
        struct replica_create *req = mem_alloc(sizeof(*req));
        *req = (struct replica_create){.type = GROUP_PARTITION, .group = group, .cb = on_created};
        replicas_create(world.replicas, req);
    }
}

static void run_us(int64_t us)
{
    (void)sim_world_run_until(world.sim, NULL, NULL, us);
}

static void signal_all(void *context)
{
    (void)context;
    for (uint64_t group = FIRST_GROUP; group < FIRST_GROUP + GROUP_COUNT; group++) {
        struct replica_message message = {.kind = REPLICA_INSTALL, .peer = LEADER, .term = 1};
        message.install.last_index = STATE_INDEX;
        message.install.last_term = 1;
        catchup_signal(world.catchups, group, &message);
    }
}

static void world_open(void)
{
    memset(&world, 0, sizeof(world));
    world.sim = sim_world_open(1);
    world.disk = sim_disk_open(world.sim, "/n1");
    world.process = sim_process_open(world.sim, world.disk, "n1");
    ck_assert(sim_process_run(world.process, start, NULL));
    run_us(1000000);
    ck_assert(sim_process_run(world.process, signal_all, NULL));
}

static void world_close(void)
{
    sim_process_kill(world.process);
    sim_process_close(world.process);
    sim_disk_close(world.disk);
    sim_world_close(world.sim);
}

static unsigned open_count(void)
{
    unsigned count = 0;
    for (unsigned i = 0; i < world.call_count; i++) {
        count += world.calls[i].call != NULL && world.calls[i].request.op != CATCHUP_END;
    }
    return count;
}

struct reply {
    unsigned number; /* of the call */
    const uint8_t *data;
    size_t size;
};

static void reply_now(void *context)
{
    const struct reply *reply = context;
    struct peer_call *call = world.calls[reply->number].call;
    struct shared *block = shared_new(reply->size);
    memcpy(block->data, reply->data, reply->size);
    world.calls[reply->number].call = NULL;
    call->err = OK;
    call->reply = (struct slice){block, {block->data, block->size}};
    call->cb(call);
    shared_release(block);
}

static void answer(unsigned number, const void *data, size_t size)
{
    struct reply reply = {number, data, size};
    ck_assert_uint_lt(number, world.call_count);
    ck_assert_ptr_nonnull(world.calls[number].call);
    ck_assert(sim_process_run(world.process, reply_now, &reply));
}

static void answer_status(unsigned number, enum catchup_status status)
{
    uint8_t byte = (uint8_t)status;
    answer(number, &byte, 1);
}

/* The call after those before `from`, once it is there. */
static unsigned next_call(unsigned from)
{
    for (unsigned i = 0; i < 200000 && world.call_count <= from; i++) {
        run_us(10);
    }
    ck_assert_uint_gt(world.call_count, from);
    return from;
}

/* ---- Tests ---- */

/* Goal: a session that ends makes room for another one at once, not at the next signal. Method: all groups are
 * signalled once, and their sources are gone as soon as they are asked; each answer is followed by the next group's
 * BEGIN. */
START_TEST(room_is_taken_at_once)
{
    world_open();
    ck_assert_uint_eq(world.call_count, CATCHUP_TARGET_COUNT_MAX);
    for (unsigned i = 0; i < GROUP_COUNT; i++) {
        ck_assert_uint_lt(i, world.call_count);
        ck_assert_int_eq(world.calls[i].request.op, CATCHUP_BEGIN);
        ck_assert_uint_eq(world.calls[i].request.group, FIRST_GROUP + i);
        answer_status(i, CATCHUP_GONE);
        run_us(MOMENT_US);
        unsigned begun = i + 1 + CATCHUP_TARGET_COUNT_MAX;
        ck_assert_uint_eq(world.call_count, begun < GROUP_COUNT ? begun : GROUP_COUNT);
        ck_assert_uint_le(open_count(), CATCHUP_TARGET_COUNT_MAX);
    }
    world_close();
}
END_TEST

/* Goal: a source that sends to others is asked again soon, however often that was so. Method: all groups are told again
 * and again that their source is busy; a signal a moment later than that has each of them ask anew. */
START_TEST(busy_sources_are_asked_again_soon)
{
    world_open();
    for (unsigned i = 0; i < GROUP_COUNT; i++) {
        answer_status(i, CATCHUP_BUSY);
        run_us(MOMENT_US);
    }
    ck_assert_uint_eq(world.call_count, GROUP_COUNT);
    for (unsigned round = 1; round <= BUSY_COUNT; round++) {
        run_us(BUSY_US);
        ck_assert(sim_process_run(world.process, signal_all, NULL));
        for (unsigned i = 0; i < GROUP_COUNT; i++) {
            unsigned number = round * GROUP_COUNT + i;
            ck_assert_msg(number < world.call_count, "round %u: only %u calls", round, world.call_count);
            answer_status(number, CATCHUP_BUSY);
            run_us(MOMENT_US);
        }
    }
    world_close();
}
END_TEST

/* What a source answers: a state of one file of `file_size` bytes, or of none. */
struct state {
    uint8_t begun[CATCHUP_BEGUN_SIZE_MAX];
    size_t begun_size;
    struct dynbuf manifest; /* behind a status */
};

static void state_init(struct state *state, uint64_t index, uint64_t file_size)
{
    struct replica_file file = {1, file_size};
    struct replica_source source = {.files = &file, .file_count = file_size > 0};
    struct catchup_begun begun = {.session = 7, .index = index, .term = 1, .membership_index = 1};
    uint8_t status = CATCHUP_OK;
    begun.membership.count = 1;
    begun.membership.servers[0] = (struct replica_server){LEADER, true};
    dynbuf_init(&source.state, KIB(4));
    dynbuf_init(&state->manifest, KIB(4));
    ck_assert_int_eq(dynbuf_put(&state->manifest, (struct bytes){&status, 1}), OK);
    ck_assert_int_eq(catchup_manifest_encode(&source, &state->manifest), OK);
    begun.manifest_size = (uint32_t)state->manifest.size - 1;
    begun.manifest_crc = crc32c(0, (struct bytes){state->manifest.data + 1, state->manifest.size - 1});
    state->begun_size = catchup_begun_encode(&begun, state->begun);
    dynbuf_deinit(&source.state);
}

/* Goal: only what is written has to leave time to others. Method: one session has written a piece and waits before the
 * next; another one that begins meanwhile has its manifest without waiting. */
START_TEST(manifests_need_no_pause)
{
    static const uint8_t piece[1 + CATCHUP_CHUNK_SIZE];
    struct state state;
    state_init(&state, STATE_INDEX, FILE_SIZE);
    world_open();
    unsigned at = world.call_count;
    ck_assert_uint_eq(at, CATCHUP_TARGET_COUNT_MAX);
    answer(0, state.begun, state.begun_size);
    answer(next_call(at++), state.manifest.data, state.manifest.size);
    answer(next_call(at++), piece, sizeof(piece));
    unsigned second = next_call(at++); /* the time after it is booked already */
    answer(1, state.begun, state.begun_size);
    ck_assert_uint_eq(world.call_count, at + 1);
    ck_assert_uint_eq(world.calls[at].request.group, FIRST_GROUP + 1);
    ck_assert_uint_eq(world.calls[at].request.file, 0);
    answer(second, piece, sizeof(piece));
    unsigned third = next_call(at + 1);
    ck_assert_uint_eq(world.calls[third].request.position, 2 * CATCHUP_CHUNK_SIZE);
    ck_assert_int_gt(world.calls[third].at_us, world.calls[at].at_us);
    dynbuf_deinit(&state.manifest);
    world_close();
}
END_TEST

static void signal_first(void *context)
{
    (void)context;
    struct replica_message message = {.kind = REPLICA_INSTALL, .peer = LEADER, .term = 1};
    message.install.last_index = 2 * STATE_INDEX;
    message.install.last_term = 1;
    catchup_signal(world.catchups, FIRST_GROUP, &message);
}

/* Goal: signals that come in a session are for what it brings, though the leader names a newer state in each: its log
 * is kept from where the session's state ends. Method: a state is taken, signalled again meanwhile; no session follows
 * it, until a signal does. */
START_TEST(signals_in_a_session_are_for_it)
{
    struct state state;
    state_init(&state, STATE_INDEX, 0);
    world_open();
    unsigned at = world.call_count;
    ck_assert(sim_process_run(world.process, signal_first, NULL));
    answer(0, state.begun, state.begun_size);
    answer(next_call(at++), state.manifest.data, state.manifest.size);
    ck_assert(sim_process_run(world.process, signal_first, NULL));
    unsigned end = next_call(at);
    while (world.calls[end].request.op != CATCHUP_END) {
        ck_assert_uint_ne(world.calls[end].request.group, FIRST_GROUP);
        end = next_call(end + 1);
    }
    struct replica_status status;
    replica_status(replicas_find(world.replicas, FIRST_GROUP), &status);
    ck_assert_uint_eq(status.applied_index, STATE_INDEX);
    answer_status(end, CATCHUP_OK);
    for (unsigned i = 1; i < CATCHUP_TARGET_COUNT_MAX; i++) {
        answer_status(i, CATCHUP_GONE);
    }
    run_us(10 * BUSY_US);
    for (unsigned i = at; i < world.call_count; i++) {
        ck_assert(world.calls[i].request.group != FIRST_GROUP || i == end);
    }
    for (unsigned i = at; i < world.call_count; i++) {
        if (world.calls[i].call != NULL) {
            answer_status(i, CATCHUP_GONE);
        }
    }
    unsigned before = world.call_count;
    ck_assert(sim_process_run(world.process, signal_first, NULL));
    ck_assert_uint_eq(world.calls[next_call(before)].request.group, FIRST_GROUP);
    dynbuf_deinit(&state.manifest);
    world_close();
}
END_TEST

static Suite *catchup_queue_suite(void)
{
    Suite *suite = suite_create("catchup_queue");
    TCase *tcase = tcase_create("catchup_queue");
    tcase_add_test(tcase, room_is_taken_at_once);
    tcase_add_test(tcase, busy_sources_are_asked_again_soon);
    tcase_add_test(tcase, manifests_need_no_pause);
    tcase_add_test(tcase, signals_in_a_session_are_for_it);
    suite_add_tcase(suite, tcase);
    return suite;
}

TEST_MAIN(catchup_queue_suite)
