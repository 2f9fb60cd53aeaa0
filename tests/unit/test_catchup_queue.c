/* Who may take a state, and when: many replicas of one shard are signalled at once. Their calls end in the test's
 * hands, which answer for a source; machine and stage are empty. On the simulated disk. */
#include <stdlib.h>
#include <string.h>

#include "base/crc32c.h"
#include "base/limits.h"
#include "base/mem.h"
#include "replication/catchup_internal.h"
#include "tests/lib/sim_disk.h"
#include "tests/lib/test.h"

enum {
    SELF = 11,
    FIRST_GROUP = 2,
    GROUP_COUNT = CATCHUP_TARGET_COUNT_MAX + 5,
    CALL_COUNT_MAX = 4096,
    BUSY_COUNT = 8,
    STATE_INDEX = 100,
    FILE_SIZE = 2 * CATCHUP_CHUNK_SIZE,
    MOMENT_US = 2000, /* no timer of a catch-up is that short */
    BUSY_US = 200000, /* a source that sends to others is asked again after */
    PIECE_US = 3000,
    SLOW_US = 130000
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
    int64_t written_us;
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
    world.written_us = sim_world_now_us(world.sim);
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

/* Goal: only what is written has to leave time to others. Method: one session has written a piece and waits before the
 * next; another one that begins meanwhile has its manifest without waiting. */
START_TEST(manifests_need_no_pause)
{
    struct replica_source state = {.files = (struct replica_file[]){{1, FILE_SIZE}}, .file_count = 1};
    struct catchup_begun begun = {.session = 7, .index = STATE_INDEX, .term = 1, .membership_index = 1};
    static uint8_t piece[1 + CATCHUP_CHUNK_SIZE];
    uint8_t begun_bytes[CATCHUP_BEGUN_SIZE_MAX];
    struct dynbuf manifest;
    dynbuf_init(&manifest, KIB(4));
    uint8_t status = CATCHUP_OK;
    begun.membership.count = 1;
    begun.membership.servers[0] = (struct replica_server){LEADER, true};
    dynbuf_init(&state.state, KIB(4));
    ck_assert_int_eq(dynbuf_put(&manifest, (struct bytes){&status, 1}), OK);
    ck_assert_int_eq(catchup_manifest_encode(&state, &manifest), OK);
    begun.manifest_size = (uint32_t)manifest.size - 1;
    begun.manifest_crc = crc32c(0, (struct bytes){manifest.data + 1, manifest.size - 1});
    size_t begun_size = catchup_begun_encode(&begun, begun_bytes);
    world_open();
    unsigned at = world.call_count;
    ck_assert_uint_eq(at, CATCHUP_TARGET_COUNT_MAX);
    answer(0, begun_bytes, begun_size);
    answer(next_call(at++), manifest.data, manifest.size);
    answer(next_call(at++), piece, sizeof(piece));
    while (world.written_us == 0) {
        run_us(10);
    }
    answer(1, begun_bytes, begun_size);
    ck_assert_uint_eq(world.call_count, at + 1);
    ck_assert_uint_eq(world.calls[at].request.group, FIRST_GROUP + 1);
    ck_assert_uint_eq(world.calls[at].request.file, 0);
    unsigned second = next_call(at + 1);
    ck_assert_uint_eq(world.calls[second].request.position, CATCHUP_CHUNK_SIZE);
    ck_assert_int_gt(world.calls[second].at_us, world.calls[at].at_us);
    dynbuf_deinit(&manifest);
    dynbuf_deinit(&state.state);
    world_close();
}
END_TEST

/* Goal: half of the disk's time is left to others, by all sessions together, and a slow piece is paid for once. Method:
 * two sessions that write by turns, now and then a piece that takes long; they write for half of the time. */
START_TEST(half_of_the_time_is_left)
{
    struct catchup_rate rate = {0};
    int64_t now_us = 1000000;
    int64_t end_us[2] = {0, 0}; /* of the pieces under way; 0: none */
    int64_t began_us[2] = {0, 0};
    int64_t due_us[2] = {now_us, now_us};
    int64_t written_us = 0;
    int64_t since_us = now_us;
    for (unsigned piece = 0; piece < 1000;) {
        for (unsigned i = 0; i < 2; i++) {
            if (end_us[i] != 0 && end_us[i] <= now_us) {
                written_us += now_us - began_us[i];
                catchup_rate_note(&rate, now_us, now_us - began_us[i]);
                due_us[i] = now_us + catchup_rate_take(&rate, now_us, CATCHUP_CHUNK_SIZE);
                end_us[i] = 0;
            }
            if (end_us[i] == 0 && due_us[i] <= now_us) {
                began_us[i] = now_us;
                end_us[i] = now_us + (piece++ % 64 == 0 ? SLOW_US : PIECE_US);
            }
        }
        now_us += 100;
    }
    int64_t passed_us = now_us - since_us;
    ck_assert_msg(llabs(passed_us - 2 * written_us) < 4 * SLOW_US, "%lld us passed, %lld us of writing",
                  (long long)passed_us, (long long)written_us);
}
END_TEST

static Suite *catchup_queue_suite(void)
{
    Suite *suite = suite_create("catchup_queue");
    TCase *tcase = tcase_create("catchup_queue");
    tcase_add_test(tcase, room_is_taken_at_once);
    tcase_add_test(tcase, busy_sources_are_asked_again_soon);
    tcase_add_test(tcase, manifests_need_no_pause);
    tcase_add_test(tcase, half_of_the_time_is_left);
    suite_add_tcase(suite, tcase);
    return suite;
}

TEST_MAIN(catchup_queue_suite)
