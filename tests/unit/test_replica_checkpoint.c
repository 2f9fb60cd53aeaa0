/* A replica's side of checkpoints and restarts: what may be forgotten, and what is found again. */
#include "tests/lib/replica_world.h"

/* ---- Checkpoints ------------------------------------------------------------------------------------------------ */

static void recover_apply(void *owner, const struct entry *entry)
{
    (void)owner;
    (void)entry;
}

/* What a restart would find with `mark` as checkpoint. */
static struct fake_recovery recover(const struct replica_mark *mark, const struct membership *bootstrap)
{
    struct fake_recovery recovery = {
        .term = mark->hard_term,
        .vote = mark->hard_vote,
        .applied_index = mark->index,
        .applied_term = mark->term,
        .membership = mark->membership,
        .membership_index = mark->membership_index,
        .apply = recover_apply,
    };
    if (mark->index == 0) {
        fake_recovery_push(&recovery, replica_bootstrap_entry(bootstrap, 1), 0);
    }
    fake_log_recover(&world.log, WORLD_GROUP, &recovery);
    return recovery;
}

/* Goal: a checkpoint lets the log forget exactly what it may. Method: mark with entries applied and entries waiting;
 * drop all frames below; a restart finds the same log. */
START_TEST(mark_names_the_lowest_frame_that_is_needed)
{
    struct membership three = world_members(3, 0);
    world_open(3, 0);
    world_elect_and_commit();
    for (unsigned i = 0; i < 4; i++) {
        ck_assert_int_eq((int)world_submit(i, 8), (int)OK);
        world_settle();
    }
    world_ack(2, 4);
    world_settle();
    struct replica_mark mark;
    replica_mark(world.replica, &mark);
    ck_assert_uint_eq(mark.index, 4);
    ck_assert_uint_eq(mark.term, 2);
    ck_assert_uint_eq(mark.hard_term, 2);
    ck_assert_uint_eq(mark.hard_vote, 1);
    ck_assert(membership_equal(&mark.membership, &three));
    size_t before = world.log.count;
    fake_log_release(&world.log, mark.lsn);
    ck_assert_uint_lt(world.log.count, before);
    replica_checkpointed(world.replica, mark.index);
    struct fake_recovery recovery = recover(&mark, &three);
    ck_assert_uint_eq(recovery.term, 2);
    ck_assert_uint_eq(recovery.applied_index + recovery.tail_count, 6);
    fake_recovery_deinit(&recovery);
    world_ack(2, 6);
    world_settle();
    replica_mark(world.replica, &mark);
    fake_log_release(&world.log, mark.lsn);
    recovery = recover(&mark, &three);
    ck_assert_uint_eq(recovery.applied_index, 6);
    ck_assert_uint_eq(recovery.tail_count, 0);
    fake_recovery_deinit(&recovery);
    world_close();
}
END_TEST

/* Goal: a group that cannot commit does not pin the log, and copying its entries forward loses nothing at any crash:
 * until the copies are durable no mark lets the log forget the old frames. Method: five uncommitted entries are copied;
 * the log is cut after each frame of the copy in turn. */
START_TEST(copies_keep_the_log_at_every_cut)
{
    struct membership three = world_members(3, 0);
    world_open(3, 0);
    world_elect_and_commit();
    for (unsigned i = 0; i < 5; i++) {
        ck_assert_int_eq((int)world_submit(i, 8), (int)OK);
        world_settle();
    }
    struct replica_mark before;
    replica_mark(world.replica, &before);
    size_t kept = world.log.count;
    replica_copy_forward(world.replica);
    ck_assert_uint_eq(world.log.count, kept + 5);
    struct replica_mark after;
    replica_mark(world.replica, &after);
    ck_assert_uint_eq(after.lsn, before.lsn);
    replica_copy_forward(world.replica); /* once is enough while they are on their way */
    ck_assert_uint_eq(world.log.count, kept + 5);
    fake_log_sync(&world.log);
    replica_shard_on_durable(world.shard, world.log.durable_lsn);
    replica_mark(world.replica, &after);
    ck_assert_uint_gt(after.lsn, before.lsn);
    for (size_t cut = kept; cut <= kept + 5; cut++) {
        world.log.durable_count = cut;
        struct fake_recovery recovery = recover(&before, &three);
        ck_assert_uint_eq(recovery.applied_index, 2);
        ck_assert_uint_eq(recovery.tail_count, 5);
        for (unsigned i = 0; i < 5; i++) {
            ck_assert_uint_eq(recovery.tail[i].entry->index, 3 + i);
            ck_assert_uint_eq(recovery.tail[i].entry->slices[0].bytes.data[0], i);
        }
        fake_recovery_deinit(&recovery);
    }
    world.log.durable_count = world.log.count;
    fake_log_release(&world.log, after.lsn);
    ck_assert_uint_eq(world.log.count, 5);
    struct fake_recovery recovery = recover(&after, &three);
    ck_assert_uint_eq(recovery.tail_count, 5);
    fake_recovery_deinit(&recovery);
    world_ack(2, 7);
    world_settle();
    ck_assert_uint_eq(world.applied_count, 5);
    world_close();
}
END_TEST

/* Goal: the first entry is never lost to a new group that restarts before its first checkpoint (R11). Method: open
 * again at applied index 1, as a replay with a commit mark would; the log still starts at entry 1. */
START_TEST(restart_at_index_one_keeps_the_first_entry)
{
    struct membership two = world_members(2, 0);
    world_open(2, 0);
    world_sync();
    world_stop();
    world_open_shard();
    struct replica_params params = {
        .group = WORLD_GROUP,
        .machine = &world.machine,
        .term = 1,
        .applied_index = 1,
        .applied_term = 1,
        .membership = two,
        .membership_index = 1,
    };
    ck_assert_int_eq((int)replica_open(world.shard, &params, &world.replica, NULL), (int)OK);
    world_sync();
    struct replica_status status;
    replica_status(world.replica, &status);
    ck_assert_uint_eq(status.first_index, 1);
    ck_assert_uint_eq(status.last_index, 1);
    ck_assert_uint_eq(status.applied_index, 1);
    ck_assert(membership_equal(&status.membership, &two));
    replica_checkpointed(world.replica, 1);
    world_close();
}
END_TEST

/* Goal: what is stored must fit together, or nothing is opened. Method: one thing wrong at a time. */
START_TEST(open_refuses_a_log_that_does_not_fit)
{
    static const char *const names[] = {"gap", "term above the hard state's", "terms fall", "no membership at index 1"};
    world_open(1, 0);
    struct membership one = world_members(1, 0);
    struct entry *entries[3] = {replica_bootstrap_entry(&one, 1), entry_new(ENTRY_BARRIER, 2, 2, NULL, 0),
                                entry_new(ENTRY_BARRIER, 3, 2, NULL, 0)};
    struct replica_machine machine = {.ops = &world_machine_ops};
    struct replica_params params = {.group = 9, .machine = &machine, .term = 2};
    struct replica *replica;
    struct errmsg msg = {""};
    for (unsigned wrong = 0; wrong < array_count(names); wrong++) {
        struct replica_tail_entry tail[3] = {{entries[0], 0}, {entries[1], 10}, {entries[2], 20}};
        params.tail = tail;
        params.tail_count = 3;
        params.term = wrong == 1 ? 1 : 2;
        entries[2]->term = wrong == 2 ? 1 : 2;
        entries[2]->index = wrong == 0 ? 4 : 3;
        entries[0]->kind = wrong == 3 ? ENTRY_COMMAND : ENTRY_CHANGE;
        enum err err = replica_open(world.shard, &params, &replica, &msg);
        ck_assert_msg(err == ERR_INVALID || err == ERR_CORRUPT, "%s: %s", names[wrong], err_name(err));
        ck_assert_str_ne(msg.text, "");
    }
    for (unsigned i = 0; i < 3; i++) {
        entry_release(entries[i]);
    }
    world_close();
}
END_TEST

static Suite *replica_checkpoint_suite(void)
{
    Suite *suite = suite_create("replica_checkpoint");
    TCase *checkpoints = tcase_create("checkpoints");
    tcase_add_test(checkpoints, mark_names_the_lowest_frame_that_is_needed);
    tcase_add_test(checkpoints, copies_keep_the_log_at_every_cut);
    tcase_add_test(checkpoints, restart_at_index_one_keeps_the_first_entry);
    tcase_add_test(checkpoints, open_refuses_a_log_that_does_not_fit);
    suite_add_tcase(suite, checkpoints);
    return suite;
}

TEST_MAIN(replica_checkpoint_suite)
