/* Groups that go. Happy path: the replica stops, one durable transaction forgets the group (or keeps its term and
 * vote), then its machine closes and takes its files along. Removals of a turn share a transaction; they wait for a
 * checkpoint round and for creations in work, and for the frames of those that may come back. */
#include "base/assert.h"
#include "base/mem.h"
#include "base/trace.h"
#include "replication/replicas_internal.h"

static enum err remove_one(struct kv_txn *txn, const struct replica_remove *req)
{
    enum err err = checkpoint_remove(txn, req->group);
    if (err == OK && req->is_deleted) {
        err = checkpoint_forget(txn, req->group);
    } else if (err == OK && req->is_here) {
        err = checkpoint_keep(txn, req->group, &req->kept);
    }
    return err;
}

static void remove_on_run(struct work *work)
{
    struct replicas *replicas = container_of(work, struct replicas, remove_work);
    struct errmsg msg = {""};
    struct kv_txn *txn = NULL;
    enum err err = replicas_before_change(replicas, &msg);
    err = err == OK ? kv_begin_write(replicas->params.local, &txn) : err;
    for (struct list *link = replicas->removing.next; err == OK && link != &replicas->removing; link = link->next) {
        err = remove_one(txn, container_of(link, struct replica_remove, link));
    }
    if (err == OK) {
        err = kv_commit(txn, &msg);
    }
    if (err != OK) {
        process_stop("local store: groups cannot be removed: %s: %s", err_text(err), msg.text);
    }
}

void replicas_remove_damaged(struct group *group)
{
    struct replicas *replicas = group->replicas;
    struct replica_remove *req = group->remove;
    replicas->damaged_count--;
    metrics_add(replicas->params.env->metrics, METRIC_REPLICAS_DAMAGED, -1);
    replicas_group_forget(group);
    req->cb(req, OK);
}

static void group_on_removed(struct group *group)
{
    struct replicas *replicas = group->replicas;
    struct replica_remove *req = group->remove;
    replicas_group_forget(group);
    req->cb(req, OK);
    replicas_step_close(replicas);
}

static void remove_on_done(struct work *work)
{
    struct replicas *replicas = container_of(work, struct replicas, remove_work);
    struct list *link;
    replicas->is_removing = false;
    while ((link = list_pop(&replicas->removing)) != NULL) {
        struct replica_remove *req = container_of(link, struct replica_remove, link);
        struct group *group = map_get(&replicas->map, req->group);
        if (group == NULL) {
            req->cb(req, ERR_NOT_FOUND);
            continue;
        }
        group->remove = req;
        if (group->machine == NULL) {
            replicas_remove_damaged(group);
        } else {
            group->machine->is_removed = true;
            if (group->closed == NULL) {
                replicas_group_close(group, group_on_removed);
            }
        }
    }
    if (replicas->checkpointer.is_wanted) {
        checkpointer_run(replicas);
    }
    env_task(replicas->params.env, &replicas->flush);
    replicas_step_close(replicas);
}

/* The replica stops before its term and vote are read: nothing that it says later may go beyond what is kept. Its
 * frames must be in the log before a new life can follow: what comes after them is told apart by its LSN. */
static bool remove_prepare(struct replicas *replicas, struct replica_remove *req)
{
    struct group *group = map_get(&replicas->map, req->group);
    if (!req->is_stopped) {
        req->is_stopped = true;
        req->is_here = group != NULL;
        req->kept = (struct checkpoint_kept){.layout = replicas->params.layout, .lsn = wal_end_lsn(replicas->wal)};
        if (group != NULL && group->replica != NULL) {
            replica_stop(group->replica);
            struct replica_mark mark;
            replica_mark(group->replica, &mark);
            req->kept.hard_term = mark.hard_term;
            req->kept.vote = mark.hard_vote;
        } else if (group != NULL) {
            req->kept.hard_term = group->hard_term;
            req->kept.vote = group->hard_vote;
        }
    }
    return req->is_deleted || !req->is_here || wal_durable_lsn(replicas->wal) >= req->kept.lsn;
}

/* Those that are ready for the transaction. */
static void remove_gather(struct replicas *replicas)
{
    struct list *link = replicas->removes.next;
    while (link != &replicas->removes) {
        struct replica_remove *req = container_of(link, struct replica_remove, link);
        link = link->next;
        struct group *group = map_get(&replicas->map, req->group);
        if (!req->is_deleted && group != NULL && group->is_hard_state_lost) {
            list_remove(&req->link);
            req->cb(req, ERR_DAMAGED);
        } else if (remove_prepare(replicas, req)) {
            list_remove(&req->link);
            list_push(&replicas->removing, &req->link);
        }
    }
}

void replicas_remove(struct replicas *replicas, struct replica_remove *req)
{
    req->is_here = false;
    req->is_stopped = false;
    list_init(&req->link);
    list_push(&replicas->removes, &req->link);
    env_task(replicas->params.env, &replicas->flush);
}

void replicas_flush_removals(struct replicas *replicas)
{
    struct workers *workers = replicas->params.env->workers;
    bool is_free = !replicas->is_removing && !replicas->is_creating && !replicas->checkpointer.is_running &&
                   !replicas->is_gated; /* a layout that is not committed may start over from the old logs */
    if (is_free) {
        remove_gather(replicas);
    }
    if (is_free && !list_is_empty(&replicas->removing)) {
        replicas->is_removing = true;
        replicas->remove_work.run = remove_on_run;
        replicas->remove_work.done = remove_on_done;
        workers->submit(workers, &replicas->remove_work);
    }
}
