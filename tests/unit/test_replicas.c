/* What a shard's groups find again after the write-ahead log has gone on without them. On the simulated disk. */
#include "replication/replicas.h"

#include <string.h>

#include "base/limits.h"
#include "base/mem.h"
#include "replication/replica_message.h"
#include "replication/replica_shard.h"
#include "tests/lib/sim_disk.h"
#include "tests/lib/test.h"

enum {
    SELF = 11,
    OTHER = 12,
    THIRD = 13,
    QUIET = 2,
    BUSY = 3,
    JOINER = 4,
    TURNS_MAX = 5000
};

static struct {
    struct sim_world *sim;
    struct sim_disk *disk;
    struct sim_process *process;
    struct kv *local;
    struct replicas *replicas;
    enum err open_quiet; /* what the machine of QUIET opens with */
    bool is_open;
    struct errmsg msg;
} world;

/* ---- A machine that remembers nothing */

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

static const struct replica_machine_ops MACHINE_OPS = {
    .close = machine_close,
    .apply = machine_apply,
    .applied = machine_applied,
    .role_changed = machine_role_changed,
    .capture = machine_capture,
    .capture_done = machine_capture_done,
};

static enum err machine_open(void *owner, enum group_type type, uint64_t group, struct bytes description,
                             struct bytes state, struct replica_machine **machine, struct errmsg *msg)
{
    (void)owner;
    (void)type;
    (void)description;
    (void)state;
    if (group == QUIET && world.open_quiet != OK) {
        return fail(msg, world.open_quiet, "it does not open");
    }
    *machine = mem_alloc(sizeof(**machine));
    (*machine)->ops = &MACHINE_OPS;
    return OK;
}

/* ---- A broker of one shard */

static void on_created(struct replica_create *req, enum err err)
{
    ck_assert_int_eq(err, OK);
    mem_free(req);
}

static void create(uint64_t group, unsigned member_count)
{
    struct replica_create *req = mem_alloc(sizeof(*req));
    *req = (struct replica_create){.type = GROUP_PARTITION, .group = group, .term = member_count > 0, .cb = on_created};
    req->membership.count = member_count;
    for (unsigned i = 0; i < member_count; i++) {
        req->membership.servers[i] = (struct replica_server){SELF + i, true};
    }
    replicas_create(world.replicas, req);
}

static void start(void *context)
{
    const bool *is_first_start = context;
    ck_assert_int_eq(kv_open("/n1/local", MIB(16), KV_DURABLE, &world.local, &world.msg), OK);
    struct replicas_params params = {
        .env = sim_process_env(world.process, 0),
        .local = world.local,
        .dir = "/n1",
        .shard_count = 1,
        .old_shard_count = 1,
        .is_first_start = *is_first_start,
        .server_id = SELF,
        .heartbeat_ms = 400,
        .election_ms = 2000,
        .wal = {.file_size = KIB(64), .checkpoint_size = KIB(64), .file_count_max = 8},
        .checkpoint_interval_ms = 20,
        .machine_open = machine_open,
    };
    world.is_open = replicas_open(&params, &world.replicas, &world.msg) == OK;
    if (*is_first_start) {
        create(QUIET, 3);
        create(BUSY, 1);
        create(JOINER, 0);
    }
}

static void world_start(bool is_first_start)
{
    world.process = sim_process_open(world.sim, world.disk, "n1");
    ck_assert(sim_process_run(world.process, start, &is_first_start));
    (void)sim_world_run_until(world.sim, NULL, NULL, 1000000);
}

static void world_kill(void)
{
    sim_process_kill(world.process);
    sim_process_close(world.process);
}

static void world_open(void)
{
    memset(&world, 0, sizeof(world));
    world.sim = sim_world_open(1);
    world.disk = sim_disk_open(world.sim, "/n1");
    world_start(true);
}

static void world_close(void)
{
    world_kill();
    sim_disk_close(world.disk);
    sim_world_close(world.sim);
}

static void write_some(void *context)
{
    static const uint8_t zeros[8000];
    struct entry *entry = entry_new_copy(ENTRY_COMMAND, 0, 0, (struct bytes){zeros, sizeof(zeros)});
    (void)context;
    if (replica_submit(replicas_find(world.replicas, BUSY), entry) != OK) {
        entry_release(entry);
    }
}

static void note_first_file(const char *path, uint64_t size, bool is_directory, void *context)
{
    bool *is_there = context;
    (void)size;
    *is_there = *is_there || (!is_directory && strstr(path, "/00000000000000000001.") != NULL);
}

/* The other group writes until the log's first file is gone. */
static void world_forget_first_file(void)
{
    bool is_there = true;
    for (unsigned i = 0; is_there && i < TURNS_MAX; i++) {
        ck_assert(sim_process_run(world.process, write_some, NULL));
        (void)sim_world_run_until(world.sim, NULL, NULL, 5000);
        is_there = false;
        sim_disk_walk(world.disk, "/n1/wal/0/0", note_first_file, &is_there);
    }
    ck_assert(!is_there);
}

static void receive_vote_request(void *context)
{
    struct replica_message message = {.kind = REPLICA_VOTE, .peer = OTHER, .term = 7};
    (void)context;
    message.vote.last_index = 1;
    message.vote.last_term = 1;
    replica_receive(replicas_find(world.replicas, QUIET), &message);
}

/* Goal: a member votes once in a term, though its group has never applied anything that a checkpoint could hold,
 * and the log has forgotten the frame with its vote. Method: it votes; another group writes until the first file
 * of the log is gone; after a kill term and vote are what they were. */
START_TEST(vote_outlives_its_frame)
{
    world_open();
    ck_assert(sim_process_run(world.process, receive_vote_request, NULL));
    world_forget_first_file();
    world_kill();
    world_start(false);
    ck_assert_msg(world.is_open, "%s", world.msg.text);
    struct replica_mark mark;
    replica_mark(replicas_find(world.replicas, QUIET), &mark);
    ck_assert_uint_eq(mark.hard_term, 7);
    ck_assert_uint_eq(mark.hard_vote, OTHER);
    world_close();
}
END_TEST

/* Goal: nobody opens a group again whose entries the log may have dropped. Method: its data are bad at one start;
 * the log goes on; at the next start they look good again, and the group stays out of service. */
START_TEST(damage_is_not_forgotten)
{
    world_open();
    world_kill();
    world.open_quiet = ERR_DAMAGED;
    world_start(false);
    ck_assert_msg(world.is_open, "%s", world.msg.text);
    ck_assert(replicas_is_damaged(world.replicas, QUIET));
    world_forget_first_file();
    world_kill();
    world.open_quiet = OK;
    world_start(false);
    ck_assert_msg(world.is_open, "%s", world.msg.text);
    ck_assert(replicas_is_damaged(world.replicas, QUIET));
    ck_assert_uint_eq(replicas_damaged_count(world.replicas), 1);
    world_close();
}
END_TEST

/* Goal: a reason that may pass takes no group out of service. Method: the machine fails to open once; the start
 * ends, and the one after has the group. */
START_TEST(start_ends_for_a_reason_that_may_pass)
{
    world_open();
    world_kill();
    world.open_quiet = ERR_IO;
    world_start(false);
    ck_assert(!world.is_open);
    ck_assert_ptr_nonnull(strstr(world.msg.text, "it does not open"));
    world_kill();
    world.open_quiet = OK;
    world_start(false);
    ck_assert_msg(world.is_open, "%s", world.msg.text);
    ck_assert_uint_eq(replicas_damaged_count(world.replicas), 0);
    world_close();
}
END_TEST

/* ---- Joiners */

static void on_removed(struct replica_remove *req, enum err err)
{
    ck_assert_int_eq(err, OK);
    mem_free(req);
}

struct removal {
    uint64_t group;
    bool is_deleted;
    unsigned member_count; /* of the group that is made anew at once */
};

static void remove_now(void *context)
{
    const struct removal *removal = context;
    struct replica_remove *req = mem_alloc(sizeof(*req));
    *req = (struct replica_remove){.group = removal->group, .is_deleted = removal->is_deleted, .cb = on_removed};
    replicas_remove(world.replicas, req);
}

static void checkpoint_now(void *context)
{
    (void)context;
    replicas_checkpoint(world.replicas);
}

/* Goal: a removal waits for one checkpoint round, not for all that follow. Method: whenever a round is under way the
 * next one is asked for. */
START_TEST(removal_comes_between_rounds)
{
    struct removal removal = {QUIET, false, 0};
    world_open();
    ck_assert(sim_process_run(world.process, checkpoint_now, NULL));
    ck_assert(sim_process_run(world.process, remove_now, &removal));
    for (unsigned i = 0; i < 50000 && replicas_is_here(world.replicas, QUIET); i++) {
        ck_assert(sim_process_run(world.process, checkpoint_now, NULL));
        (void)sim_world_run_until(world.sim, NULL, NULL, 1);
    }
    ck_assert(!replicas_is_here(world.replicas, QUIET));
    world_close();
}
END_TEST

static void create_again(void *context)
{
    const struct removal *removal = context;
    create(removal->group, removal->member_count);
}

static void world_remake(struct removal removal)
{
    ck_assert(sim_process_run(world.process, remove_now, &removal));
    (void)sim_world_run_until(world.sim, NULL, NULL, 1000000);
    ck_assert(sim_process_run(world.process, create_again, &removal));
    (void)sim_world_run_until(world.sim, NULL, NULL, 100000);
}

static struct replica_status joiner_status(void)
{
    struct replica_status status;
    ck_assert_msg(world.is_open, "%s", world.msg.text);
    replica_status(replicas_find(world.replicas, JOINER), &status);
    return status;
}

static void world_restart(void)
{
    world_kill();
    world_start(false);
}

/* What the leader of term 7 sends first: `count` entries behind index `prev`, the first of all is the membership. */
static void receive_append(void *context)
{
    const uint64_t *from = context; /* previous index, count */
    struct entry *entries[2];
    struct membership membership = {.count = 2, .servers = {{OTHER, true}, {SELF, false}}};
    struct replica_message message = {.kind = REPLICA_APPEND, .peer = OTHER, .term = 7};
    for (uint64_t i = 0; i < from[1]; i++) {
        uint64_t index = from[0] + 1 + i;
        entries[i] = index == 1 ? replica_bootstrap_entry(&membership, 1)
                                : entry_new_copy(ENTRY_COMMAND, index, 7, bytes_from_text("x"));
    }
    message.append.prev_index = from[0];
    message.append.prev_term = from[0] < 2 ? from[0] : 7; /* entry 1 is of term 1 */
    message.append.commit_index = from[0] + from[1];
    message.append.entries = entries;
    message.append.entry_count = (unsigned)from[1];
    replica_receive(replicas_find(world.replicas, JOINER), &message);
    for (uint64_t i = 0; i < from[1]; i++) {
        entry_release(entries[i]);
    }
}

static void joiner_receive(uint64_t prev_index, uint64_t count)
{
    uint64_t from[2] = {prev_index, count};
    ck_assert(sim_process_run(world.process, receive_append, from));
    (void)sim_world_run_until(world.sim, NULL, NULL, 1000000);
}

/* Goal: a joiner is there with nothing, also after a restart, and disturbs nobody. Method: created, left alone for
 * minutes, killed, opened again: term 0, no entry, no vote. */
START_TEST(joiner_starts_with_nothing)
{
    world_open();
    for (unsigned i = 0; i < 3; i++) {
        (void)sim_world_run_until(world.sim, NULL, NULL, 120000000);
        struct replica_status status = joiner_status();
        ck_assert_int_eq(status.role, REPLICA_FOLLOWER);
        ck_assert_uint_eq(status.term, 0);
        ck_assert_uint_eq(status.last_index, 0);
        ck_assert_uint_eq(status.membership.count, 0);
        world_restart();
    }
    world_close();
}
END_TEST

/* Goal: what a joiner has learned of terms outlives it, before any entry came. Method: a heartbeat of term 7 that does
 * not fit its empty log; the log's first file goes; after a kill the term is there, and still no entry. */
START_TEST(joiner_remembers_its_term)
{
    world_open();
    joiner_receive(50, 0);
    ck_assert_uint_eq(joiner_status().term, 7);
    world_forget_first_file();
    world_restart();
    ck_assert_uint_eq(joiner_status().term, 7);
    ck_assert_uint_eq(joiner_status().last_index, 0);
    joiner_receive(0, 2);
    ck_assert_uint_eq(joiner_status().applied_index, 2);
    world_close();
}
END_TEST

/* Goal: the first entry of a joiner is kept until a checkpoint can hold it (R11): nobody can make it again. Method: it
 * gets and applies entry 1 alone; the log goes on until its first file is gone; after a kill entry 1 is there. */
START_TEST(joiner_keeps_its_first_entry)
{
    world_open();
    joiner_receive(0, 1);
    ck_assert_uint_eq(joiner_status().applied_index, 1);
    world_forget_first_file();
    world_restart();
    ck_assert_uint_eq(joiner_status().last_index, 1);
    ck_assert_uint_eq(joiner_status().membership.count, 2);
    joiner_receive(1, 1);
    ck_assert_uint_eq(joiner_status().last_index, 2);
    ck_assert_uint_eq(joiner_status().applied_index, 2);
    world_restart();
    ck_assert_uint_eq(joiner_status().last_index, 2);
    world_close();
}
END_TEST

struct vote_case {
    bool is_damaged;    /* out of service when it is removed */
    bool is_founder;    /* asked to come back with the bootstrap membership */
    bool is_forgetting; /* the log's first file goes before the removal */
};
static const struct vote_case VOTE_CASES[] = {
    {false, false, false}, {false, true, false}, {true, false, false}, {true, true, true}, {false, false, true},
};

/* Goal: a server votes once in a term, however often it leaves a group and comes back. Method: it votes in term 7, is
 * removed (in service or damaged) and created again: it has the term and the vote, nothing else, and is no voter any
 * more; so it is after a restart, and after it left a second time. */
START_TEST(vote_outlives_leaving)
{
    const struct vote_case *c = &VOTE_CASES[_i];
    struct removal removal = {QUIET, false, c->is_founder ? 3 : 0};
    world_open();
    ck_assert(sim_process_run(world.process, receive_vote_request, NULL));
    (void)sim_world_run_until(world.sim, NULL, NULL, 1000000);
    if (c->is_damaged) {
        world.open_quiet = ERR_DAMAGED;
        world_restart();
        ck_assert(replicas_is_damaged(world.replicas, QUIET));
        world.open_quiet = OK;
    }
    if (c->is_forgetting) {
        world_forget_first_file();
    }
    for (unsigned i = 0; i < 2; i++) {
        world_remake(removal);
        for (unsigned k = 0; k < 2; k++) {
            struct replica_mark mark;
            struct replica_status status;
            ck_assert_msg(world.is_open, "%s", world.msg.text);
            ck_assert_uint_eq(replicas_damaged_count(world.replicas), 0);
            replica_mark(replicas_find(world.replicas, QUIET), &mark);
            replica_status(replicas_find(world.replicas, QUIET), &status);
            ck_assert_uint_eq(mark.hard_term, 7);
            ck_assert_uint_eq(mark.hard_vote, OTHER);
            ck_assert_uint_eq(status.last_index, 0);
            ck_assert_uint_eq(status.membership.count, 0);
            world_restart();
        }
    }
    world_close();
}
END_TEST

/* Goal: what the log still has of a member that left is not taken for the log of the one that came back: a voter by
 * it would vote without the entries it once answered for. Method: a member gets entries, leaves, comes back and is
 * killed before anything came; then it gets others and is killed again. */
START_TEST(frames_of_an_earlier_life_stay_there)
{
    world_open();
    joiner_receive(0, 2);
    ck_assert_uint_eq(joiner_status().last_index, 2);
    world_remake((struct removal){JOINER, false, 0});
    for (unsigned i = 0; i < 2; i++) {
        ck_assert_uint_eq(joiner_status().last_index, 0);
        ck_assert_uint_eq(joiner_status().term, 7);
        world_restart();
    }
    joiner_receive(0, 1);
    world_restart();
    ck_assert_uint_eq(joiner_status().last_index, 1);
    world_close();
}
END_TEST

/* Goal: of a group that is deleted nothing stays. Method: a member with term 7 is removed so, and its id is used again,
 * which never happens in earnest. */
START_TEST(deleted_groups_are_forgotten)
{
    world_open();
    joiner_receive(50, 0);
    ck_assert_uint_eq(joiner_status().term, 7);
    world_remake((struct removal){JOINER, false, 0});
    world_remake((struct removal){JOINER, true, 0});
    ck_assert_uint_eq(joiner_status().term, 0);
    world_close();
}
END_TEST

static Suite *replicas_suite(void)
{
    Suite *suite = suite_create("replicas");
    TCase *tcase = tcase_create("replicas");
    tcase_add_test(tcase, vote_outlives_its_frame);
    tcase_add_test(tcase, damage_is_not_forgotten);
    tcase_add_test(tcase, start_ends_for_a_reason_that_may_pass);
    tcase_add_test(tcase, removal_comes_between_rounds);
    tcase_add_test(tcase, joiner_starts_with_nothing);
    tcase_add_test(tcase, joiner_remembers_its_term);
    tcase_add_test(tcase, joiner_keeps_its_first_entry);
    tcase_add_loop_test(tcase, vote_outlives_leaving, 0, (int)(sizeof(VOTE_CASES) / sizeof(VOTE_CASES[0])));
    tcase_add_test(tcase, frames_of_an_earlier_life_stay_there);
    tcase_add_test(tcase, deleted_groups_are_forgotten);
    suite_add_tcase(suite, tcase);
    return suite;
}

TEST_MAIN(replicas_suite)
