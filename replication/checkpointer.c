/* One round: for each group whose applied index, hard state or files moved, take the replica's mark and the machine's
 * capture in one turn; in a work job sync the captured files, then put all checkpoints in one durable transaction; back
 * on the loop tell machines and replicas, and let the WAL forget what no group needs any more.
 * A group that cannot commit would pin the WAL for ever: its few entries are copied forward, and when the copies are
 * durable another round lets go of the old ones.
 * Failure: a sync or commit that fails ends the process (the page cache may have dropped what could not be written, and
 * a later sync would lie about it); only a full store (ERR_NO_SPACE) is waited out. */

#include "base/assert.h"
#include "base/canary.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/trace.h"
#include "replication/replicas_internal.h"

enum item_kind {
    ITEM_STATE,
    ITEM_HARD_STATE, /* nothing is applied that a checkpoint could hold (R11), but term or vote moved */
    ITEM_DAMAGE,     /* the log is about to forget a group that is out of service */
};

struct checkpoint_item {
    enum item_kind kind;
    struct group *group;
    struct replica_machine *machine;
    struct checkpoint_raft raft;
    struct dynbuf state;
    void *capture;
};

#define STATE_SIZE_MAX MIB(48)

static void checkpointer_on_run(struct work *work);
static void checkpointer_on_done(struct work *work);

static struct replicas *replicas_of(struct checkpointer *checkpointer)
{
    return container_of(checkpointer, struct replicas, checkpointer);
}

static void checkpointer_on_timer(struct timer *timer)
{
    struct checkpointer *checkpointer = container_of(timer, struct checkpointer, timer);
    struct replicas *replicas = replicas_of(checkpointer);
    checkpointer_run(replicas);
    checkpointer_start(replicas);
}

void checkpointer_init(struct replicas *replicas)
{
    struct checkpointer *checkpointer = &replicas->checkpointer;
    timer_init(&checkpointer->timer, checkpointer_on_timer);
    checkpointer->work.run = checkpointer_on_run;
    checkpointer->work.done = checkpointer_on_done;
}

void checkpointer_start(struct replicas *replicas)
{
    if (replicas->params.checkpoint_interval_ms > 0 && !replicas->is_closing) {
        env_timer(replicas->params.env, &replicas->checkpointer.timer, replicas->params.checkpoint_interval_ms * 1000);
    }
}

void checkpointer_stop(struct replicas *replicas)
{
    env_timer_cancel(replicas->params.env, &replicas->checkpointer.timer);
}

/* Frames that stay needed for longer than four rounds' worth of log, half of it, are written again at its end. */
static bool group_pins_log(const struct replicas *replicas, const struct replica_mark *mark)
{
    uint64_t limit = 4 * replicas->params.wal.checkpoint_size;
    return wal_end_lsn(replicas->wal) > limit && mark->lsn < wal_end_lsn(replicas->wal) - limit;
}

static struct checkpoint_item *round_add(struct checkpointer *checkpointer, struct group *group, enum item_kind kind)
{
    if (checkpointer->count == checkpointer->capacity) {
        checkpointer->capacity = checkpointer->capacity > 0 ? 2 * checkpointer->capacity : 16;
        checkpointer->items = mem_resize(checkpointer->items, checkpointer->capacity * sizeof(*checkpointer->items));
    }
    struct checkpoint_item *item = &checkpointer->items[checkpointer->count++];
    *item = (struct checkpoint_item){.kind = kind, .group = group, .machine = group->machine};
    return item;
}

static void round_add_state(struct checkpointer *checkpointer, struct group *group, const struct replica_mark *mark)
{
    struct checkpoint_item *item = round_add(checkpointer, group, mark->index < 2 ? ITEM_HARD_STATE : ITEM_STATE);
    item->raft = (struct checkpoint_raft){.index = mark->index,
                                          .term = mark->term,
                                          .membership_index = mark->membership_index,
                                          .membership = mark->membership,
                                          .hard_term = mark->hard_term,
                                          .vote = mark->hard_vote};
    if (item->kind == ITEM_STATE) {
        dynbuf_init(&item->state, STATE_SIZE_MAX);
        item->capture = group->machine->ops->capture(group->machine, &item->state);
    }
}

/* Takes a group into the round if its checkpoint is behind. Returns the LSN below which it needs nothing afterwards. */
static uint64_t round_consider(struct replicas *replicas, struct group *group)
{
    struct replica_mark mark;
    replica_mark(group->replica, &mark);
    if (group_pins_log(replicas, &mark)) {
        replica_copy_forward(group->replica);
        replica_mark(group->replica, &mark);
        replicas->checkpointer.copied_lsn = wal_end_lsn(replicas->wal);
    }
    if (group->machine->ops->settle != NULL && !group->machine->ops->settle(group->machine)) {
        replicas->checkpointer.is_partial = true;
        return 0; /* the log keeps all: nobody knows what this group needed at its last checkpoint */
    }
    /* R11: no checkpoint at index 1, the bootstrap entry comes from the local store. Term and vote are kept all the
     * same: the log forgets their frames, too. */
    bool is_applied_same = mark.index < 2 || mark.index == group->saved_index;
    if (!is_applied_same || group->machine->wants_checkpoint || mark.hard_term != group->saved_term ||
        mark.hard_vote != group->saved_vote) {
        round_add_state(&replicas->checkpointer, group, &mark);
    }
    return mark.lsn;
}

void checkpointer_on_durable(struct replicas *replicas, uint64_t durable_lsn)
{
    struct checkpointer *checkpointer = &replicas->checkpointer;
    if (checkpointer->copied_lsn > 0 && durable_lsn >= checkpointer->copied_lsn) {
        checkpointer->copied_lsn = 0;
        checkpointer_run(replicas);
    }
}

void checkpointer_run(struct replicas *replicas)
{
    struct checkpointer *checkpointer = &replicas->checkpointer;
    if (checkpointer->is_running || replicas->is_removing) {
        checkpointer->is_wanted = true; /* a round holds on to its groups, a removal takes some of them away */
        return;
    }
    if (replicas->is_closing) {
        return;
    }
    checkpointer->is_running = true;
    checkpointer->is_wanted = false;
    checkpointer->is_partial = false;
    checkpointer->err = OK;
    checkpointer->release_lsn = wal_end_lsn(replicas->wal);
    for (struct list *link = replicas->groups.next; link != &replicas->groups; link = link->next) {
        struct group *group = container_of(link, struct group, link);
        bool is_open = group->replica != NULL && group->closed == NULL;
        if (is_open && !group->is_damage_pending) {
            uint64_t lsn = round_consider(replicas, group);
            checkpointer->release_lsn = lsn < checkpointer->release_lsn ? lsn : checkpointer->release_lsn;
        } else if (group->damage != NULL) {
            struct checkpoint_item *item = round_add(checkpointer, group, ITEM_DAMAGE);
            item->raft.hard_term = group->hard_term;
            item->raft.vote = group->hard_vote;
        }
    }
    if (canary_is(CANARY_RELEASE_BEFORE_STORE)) {
        wal_release(replicas->wal, checkpointer->release_lsn);
    }
    replicas->params.env->workers->submit(replicas->params.env->workers, &checkpointer->work);
}

/* Term and vote, too: the log forgets their frames with the rest. */
static enum err put_damage(struct kv_txn *txn, const struct checkpoint_item *item)
{
    const struct group *group = item->group;
    enum err err = checkpoint_put_damage(txn, group->id, bytes_from_text(group->damage));
    if (err != OK || group->is_hard_state_lost) {
        return err;
    }
    return checkpoint_put_hard_state(txn, group->id, item->raft.hard_term, item->raft.vote);
}

static enum err put_item(struct kv_txn *txn, const struct checkpoint_item *item)
{
    uint64_t group = item->group->id;
    switch (item->kind) {
    case ITEM_STATE:
        return checkpoint_put(txn, group, &item->raft, dynbuf_bytes(&item->state));
    case ITEM_HARD_STATE:
        return checkpoint_put_hard_state(txn, group, item->raft.hard_term, item->raft.vote);
    case ITEM_DAMAGE:
    default:
        return put_damage(txn, item);
    }
}

static enum err put_all(struct checkpointer *checkpointer, struct kv *local)
{
    struct kv_txn *txn;
    enum err err = kv_begin_write(local, &txn);
    if (err != OK) {
        return fail(&checkpointer->msg, err, "local store: %s", err_text(err));
    }
    for (size_t i = 0; i < checkpointer->count; i++) {
        struct checkpoint_item *item = &checkpointer->items[i];
        err = put_item(txn, item);
        if (err != OK && err != ERR_NOT_FOUND) { /* not found: removed while the round was in work */
            kv_abort(txn);
            return fail(&checkpointer->msg, err, "local store: checkpoint of group %llu: %s",
                        (unsigned long long)item->group->id, err_text(err));
        }
    }
    return kv_commit(txn, &checkpointer->msg);
}

/* On a worker thread: touches only the round's items and what was captured. */
static void checkpointer_on_run(struct work *work)
{
    struct checkpointer *checkpointer = container_of(work, struct checkpointer, work);
    for (size_t i = 0; i < checkpointer->count && checkpointer->err == OK; i++) {
        struct checkpoint_item *item = &checkpointer->items[i];
        if (item->capture != NULL && !canary_is(CANARY_SEGMENTS_NOT_SYNCED) &&
            item->machine->ops->capture_sync(item->capture, &checkpointer->msg) != OK) {
            checkpointer->err = ERR_IO; /* whatever the code: a thin volume that is full says no space here, too */
        }
    }
    if (checkpointer->err == OK && checkpointer->count > 0) {
        checkpointer->err = put_all(checkpointer, replicas_of(checkpointer)->params.local);
    }
}

static void item_finish(struct checkpoint_item *item, bool is_ok)
{
    struct group *group = item->group;
    if (item->kind == ITEM_STATE) {
        item->machine->ops->capture_done(item->machine, item->capture, is_ok);
        dynbuf_deinit(&item->state);
    }
    if (!is_ok) {
        return;
    }
    if (item->kind == ITEM_DAMAGE) {
        mem_free(group->damage);
        group->damage = NULL;
        return;
    }
    group->saved_index = item->raft.index;
    group->saved_term = item->raft.hard_term;
    group->saved_vote = item->raft.vote;
    if (group->replica != NULL) {
        replica_checkpointed(group->replica, item->raft.index);
    }
}

static void round_finish(struct replicas *replicas, bool is_ok)
{
    struct checkpointer *checkpointer = &replicas->checkpointer;
    for (size_t i = 0; i < checkpointer->count; i++) {
        item_finish(&checkpointer->items[i], is_ok);
    }
    checkpointer->count = 0;
}

static void checkpointer_on_done(struct work *work)
{
    struct checkpointer *checkpointer = container_of(work, struct checkpointer, work);
    struct replicas *replicas = replicas_of(checkpointer);
    if (checkpointer->err != OK && checkpointer->err != ERR_NO_SPACE) {
        process_stop("checkpoint: %s: %s", err_text(checkpointer->err), checkpointer->msg.text);
    }
    bool is_ok = checkpointer->err == OK;
    if (!is_ok) {
        metrics_add(replicas->params.env->metrics, METRIC_CHECKPOINT_RETRIES, 1);
        trace(WARN, REPLICA, "checkpoint waits for space", KV("cause", (const char *)checkpointer->msg.text));
    }
    trace(DEBUG, REPLICA, "checkpoint", KV("groups", (int64_t)checkpointer->count),
          KV("release_lsn", (int64_t)checkpointer->release_lsn));
    round_finish(replicas, is_ok);
    checkpointer->is_running = false;
    if (is_ok) {
        metrics_add(replicas->params.env->metrics, METRIC_WAL_CHECKPOINTS, 1);
        wal_release(replicas->wal, checkpointer->release_lsn);
    }
    /* And the next round, when one is wanted: after removals that wait. */
    replicas_round_done(replicas, is_ok && !checkpointer->is_partial);
}
