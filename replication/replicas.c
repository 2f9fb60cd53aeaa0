/* Happy path at start: recovery reads groups and logs, each group becomes a replica, the loop runs, elections start.
 * A group is created by one durable transaction in the local store (all creations of a turn share it), then opened; it
 * is removed by another, then its machine is closed, which takes its files along. Removal waits for a checkpoint round
 * in work, since that holds on to machines.
 * A new layout (other shard count) is gated: Raft hears of nothing durable until what recovery read from the old logs
 * has been checkpointed and the owner has committed the layout; a crash before that starts over from the old logs.
 * Close: jobs in work end -> replicas stop -> machines close -> WAL closes -> callback. */

#include "replication/replicas.h"
#include "base/assert.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/trace.h"
#include "replication/recovery.h"
#include "replication/replicas_internal.h"
#include <stdio.h>
#include <string.h>

#define DIR_SIZE_MAX 4096

unsigned replicas_shard(uint64_t group, unsigned shard_count)
{
    /* Ids are given out one by one, so the remainder spreads best; the metadata group (1) falls on shard 0. */
    return (unsigned)((group - 1) % shard_count);
}

static void replicas_on_flush(struct task *task);

/* ---- Groups ---- */

static struct group *group_add(struct replicas *replicas, uint64_t id, enum group_type type)
{
    struct group *group = mem_alloc(sizeof(*group));
    group->replicas = replicas;
    group->id = id;
    group->type = type;
    list_init(&group->link);
    list_push(&replicas->groups, &group->link);
    map_put(&replicas->map, id, group);
    metrics_add(replicas->params.env->metrics, METRIC_REPLICAS, 1);
    return group;
}

void replicas_group_forget(struct group *group)
{
    struct replicas *replicas = group->replicas;
    list_remove(&group->link);
    (void)map_remove(&replicas->map, group->id);
    metrics_add(replicas->params.env->metrics, METRIC_REPLICAS, -1);
    mem_free(group->damage);
    mem_free(group);
}

static void group_set_damaged(struct group *group)
{
    group->replicas->damaged_count++;
    metrics_add(group->replicas->params.env->metrics, METRIC_REPLICAS_DAMAGED, 1);
}

/* machine->closed does not say which group; the machine's replica is alive until here and knows. */
static void group_on_machine_closed(struct replica_machine *machine)
{
    struct replica *replica = machine->replica;
    struct replicas *replicas = machine->owner;
    struct group *group = map_get(&replicas->map, replica_group(replica));
    assert(group != NULL);
    replica_close(replica);
    group->replica = NULL;
    group->machine = NULL;
    group->closed(group);
}

void replicas_group_close(struct group *group, void (*closed)(struct group *group))
{
    struct replica_machine *machine = group->machine;
    assert(machine != NULL);
    group->closed = closed;
    replica_stop(group->replica);
    machine->closed = group_on_machine_closed;
    machine->ops->close(machine);
}

static void group_on_damaged_closed(struct group *group)
{
    struct replicas *replicas = group->replicas;
    if (group->remove != NULL) {
        replicas_remove_damaged(group); /* was asked for meanwhile */
        replicas_step_close(replicas);
        return;
    }
    replicas->params.damaged(replicas->params.owner, group->id);
    replicas_step_close(replicas);
}

static void replicas_on_replica_damaged(void *owner, struct replica *replica, const char *cause)
{
    struct replicas *replicas = owner;
    struct group *group = map_get(&replicas->map, replica_group(replica));
    trace(ERROR, REPLICA, "group out of service", KV("group", (int64_t)group->id), KV("cause", cause));
    if (group->type == GROUP_METADATA) {
        process_stop("metadata replica out of service: %s", cause);
    }
    struct replica_mark mark;
    replica_mark(replica, &mark);
    group->hard_term = mark.hard_term;
    group->hard_vote = mark.hard_vote;
    group_set_damaged(group);
    group->damage = mem_strdup(cause);
    replica_stop(replica);
    if (replicas->checkpointer.is_running) {
        group->is_damage_pending = true; /* the round holds on to the machine */
    } else {
        replicas_group_close(group, group_on_damaged_closed);
    }
}

static void replicas_on_installed(void *owner, struct replica *replica)
{
    struct replicas *replicas = owner;
    (void)replica;
    replicas->is_checkpoint_due = true; /* until one is durable, both states are kept */
    env_task(replicas->params.env, &replicas->flush);
}

static void close_pending(struct replicas *replicas)
{
    for (struct list *link = replicas->groups.next; link != &replicas->groups; link = link->next) {
        struct group *group = container_of(link, struct group, link);
        if (group->is_damage_pending) {
            group->is_damage_pending = false;
            replicas_group_close(group, group_on_damaged_closed);
        }
    }
}

/* ---- Opening ---- */

static enum err group_open(struct replicas *replicas, const struct recovery_group *found, struct errmsg *msg)
{
    struct group *group = group_add(replicas, found->group, found->type);
    if (found->machine == NULL) {
        group_set_damaged(group);
        group->damage = found->damage != NULL ? mem_strdup(found->damage) : NULL;
        group->hard_term = found->term;
        group->hard_vote = found->vote;
        group->is_hard_state_lost = found->is_hard_state_lost;
        return OK;
    }
    struct replica_params params = {
        .group = found->group,
        .machine = found->machine,
        .term = found->term,
        .vote = found->vote,
        .applied_index = found->applied_index,
        .applied_term = found->applied_term,
        .membership = found->membership,
        .membership_index = found->membership_index,
        .tail = found->tail,
        .tail_count = found->tail_count,
    };
    group->machine = found->machine;
    group->machine->owner = replicas;
    group->saved_index = found->checkpoint.index;
    group->saved_term = found->checkpoint.hard_term;
    group->saved_vote = found->checkpoint.vote;
    return replica_open(replicas->shard, &params, &group->replica, msg);
}

static void replicas_on_send(void *owner, struct replica *replica, const struct replica_message *message)
{
    struct replicas *replicas = owner;
    replicas->params.send(replicas->params.owner, replica_group(replica), message);
}

static void open_shard(struct replicas *replicas)
{
    const struct wal_options *wal = &replicas->params.wal; /* no bound where its defaults are left to it */
    struct replica_shard_params params = {
        .env = replicas->params.env,
        .wal = {replicas->wal, wal_append, wal_end_lsn, wal_is_stalled},
        .server_id = replicas->params.server_id,
        .heartbeat_ms = replicas->params.heartbeat_ms,
        .election_ms = replicas->params.election_ms,
        .intake_size = (uint64_t)wal->file_count_max * wal->file_size / WAL_INTAKE_SHARE,
        .follow_size = (uint64_t)wal->file_count_max * wal->file_size / WAL_FOLLOW_SHARE,
        .owner = replicas,
        .send = replicas->params.send != NULL ? replicas_on_send : NULL,
        .on_damaged = replicas_on_replica_damaged,
        .on_installed = replicas_on_installed,
    };
    replicas->shard = replica_shard_open(&params);
}

/* What recovery read from the logs of another layout goes into the new log once more, before Raft appends to it. */
static void rewrite_tail(struct replicas *replicas, struct recovery_group *group)
{
    struct wal_frame frame = {.group = group->group, .kind = WAL_HARD_STATE, .term = group->term, .value = group->vote};
    (void)wal_append(replicas->wal, &frame); /* of a damaged one, too */
    if (group->machine == NULL) {
        return;
    }
    for (size_t i = 0; i < group->tail_count; i++) {
        struct replica_tail_entry *tail = &group->tail[i];
        if (tail->lsn == 0 && tail->entry->index == 1) {
            continue; /* the bootstrap entry is made from the local store */
        }
        tail->lsn = wal_end_lsn(replicas->wal);
        frame = (struct wal_frame){.group = group->group,
                                   .kind = WAL_ENTRY,
                                   .index = tail->entry->index,
                                   .term = tail->entry->term,
                                   .value = tail->entry->kind,
                                   .slices = tail->entry->slices,
                                   .slice_count = tail->entry->slice_count};
        (void)wal_append(replicas->wal, &frame);
    }
}

static void replicas_on_durable(void *owner, uint64_t durable_lsn)
{
    struct replicas *replicas = owner;
    replicas->durable_lsn = durable_lsn;
    if (!list_is_empty(&replicas->removes)) {
        env_task(replicas->params.env, &replicas->flush);
    }
    if (!replicas->is_gated) {
        replica_shard_on_durable(replicas->shard, durable_lsn);
        checkpointer_on_durable(replicas, durable_lsn);
    } else if (durable_lsn >= replicas->layout_lsn && !replicas->is_layout_checkpointed) {
        replicas->is_layout_checkpointed = true;
        checkpointer_run(replicas);
    }
}

static void replicas_on_pressure(void *owner)
{
    checkpointer_run(owner);
}

static const struct wal_handlers WAL_HANDLERS = {replicas_on_durable, replicas_on_pressure};

static void count_file(const char *name, uint64_t size, bool is_directory, void *context)
{
    unsigned *count = context;
    (void)name;
    (void)size;
    *count += !is_directory;
}

/* A log of a committed layout has at least one file; none at all is a loss, not a beginning. */
static enum err check_log_exists(struct env *env, const char *dir, struct errmsg *msg)
{
    unsigned count = 0;
    enum err err = env->disk->list(env->disk, dir, count_file, &count);
    if (err != OK && err != ERR_NOT_FOUND) {
        return fail(msg, err, "%s: %s", dir, err_text(err));
    }
    return count > 0 ? OK : fail(msg, ERR_DAMAGED, "%s: the write-ahead log of this shard is missing", dir);
}

/* The directory and the names that lead to it are durable before anything in it counts. */
static enum err make_log_dir(const struct replicas_params *params, const char *dir, struct errmsg *msg)
{
    struct disk *disk = params->env->disk;
    char path[DIR_SIZE_MAX];
    enum err err = disk->mkdir(disk, dir);
    (void)snprintf(path, sizeof(path), "%s/wal/%u", params->dir, params->layout);
    err = err == OK ? disk->sync_dir(disk, path) : err;
    (void)snprintf(path, sizeof(path), "%s/wal", params->dir);
    err = err == OK ? disk->sync_dir(disk, path) : err;
    err = err == OK ? disk->sync_dir(disk, params->dir) : err;
    return err == OK ? OK : fail(msg, err, "%s: %s", dir, err_text(err));
}

static void ignore_record(void *owner, const struct wal_record *record)
{
    (void)owner;
    (void)record;
}

static enum err scan_old_layout(const struct replicas_params *params, struct recovery *recovery, wal_replay_cb replay,
                                struct errmsg *msg)
{
    for (unsigned i = 0; i < params->old_shard_count; i++) {
        char dir[DIR_SIZE_MAX];
        (void)snprintf(dir, sizeof(dir), "%s/wal/%u/%u", params->dir, params->old_layout, i);
        enum err err = check_log_exists(params->env, dir, msg);
        err = err == OK ? wal_scan(params->env, dir, recovery, replay, msg) : err;
        if (err != OK) {
            return err;
        }
    }
    return OK;
}

/* Looks at all logs before anything is touched: opening a group cuts its segments back to the checkpoint, and if the
 * log behind that is damaged, what was cut may have been the last copy. */
static enum err look_at_logs(struct replicas *replicas, struct errmsg *msg)
{
    const struct replicas_params *params = &replicas->params;
    if (params->is_first_start) {
        return OK;
    }
    if (replicas->is_gated) {
        return scan_old_layout(params, NULL, ignore_record, msg);
    }
    enum err err = check_log_exists(params->env, replicas->wal_dir, msg);
    return err == OK ? wal_scan(params->env, replicas->wal_dir, NULL, ignore_record, msg) : err;
}

/* The WAL has one owner for handlers and replay. */
static void replay_record(void *owner, const struct wal_record *record)
{
    struct replicas *replicas = owner;
    recovery_replay(replicas->recovery, record);
}

static enum err open_logs(struct replicas *replicas, struct recovery *recovery, struct errmsg *msg)
{
    const struct replicas_params *params = &replicas->params;
    enum err err = OK;
    replicas->recovery = recovery;
    if (replicas->is_gated) {
        err = scan_old_layout(params, recovery, recovery_replay, msg);
    }
    err = err == OK ? make_log_dir(params, replicas->wal_dir, msg) : err;
    if (err == OK) {
        err = wal_open(params->env, replicas->wal_dir, &params->wal, replicas, &WAL_HANDLERS,
                       replicas->is_gated ? ignore_record : replay_record, &replicas->wal, msg);
    }
    replicas->recovery = NULL;
    if (err == OK) {
        err = recovery_finish(recovery, msg);
    }
    return err;
}

static enum err open_groups(struct replicas *replicas, struct recovery *recovery, struct errmsg *msg)
{
    size_t cursor = 0;
    uint64_t id;
    struct recovery_group *group;
    while (replicas->is_gated && (group = map_next(&recovery->groups, &cursor, &id)) != NULL) {
        rewrite_tail(replicas, group);
    }
    replicas->layout_lsn = wal_end_lsn(replicas->wal);
    open_shard(replicas);
    cursor = 0;
    while ((group = map_next(&recovery->groups, &cursor, &id)) != NULL) {
        enum err err = group_open(replicas, group, msg);
        if (err != OK) {
            return fail_wrap(msg, err, "group %llu", (unsigned long long)id);
        }
    }
    return OK;
}

enum err replicas_open(const struct replicas_params *params, struct replicas **out, struct errmsg *msg)
{
    char dir[DIR_SIZE_MAX];
    struct recovery recovery;
    struct replicas *replicas = mem_alloc(sizeof(*replicas));
    replicas->params = *params;
    (void)snprintf(dir, sizeof(dir), "%s/wal/%u/%u", params->dir, params->layout, params->env->shard);
    replicas->wal_dir = mem_strdup(dir);
    map_init(&replicas->map);
    list_init(&replicas->groups);
    list_init(&replicas->creates);
    list_init(&replicas->creating);
    list_init(&replicas->removes);
    list_init(&replicas->removing);
    task_init(&replicas->flush, replicas_on_flush);
    checkpointer_init(replicas);

    replicas->is_gated = params->layout != params->old_layout && !params->is_first_start;
    enum err err = look_at_logs(replicas, msg);
    if (err != OK) {
        return err;
    }
    err = recovery_open(&recovery, &replicas->params, msg);
    err = err == OK ? open_logs(replicas, &recovery, msg) : err;
    err = err == OK ? open_groups(replicas, &recovery, msg) : err;
    bool has_installed = recovery.installs > 0;
    recovery_close(&recovery);
    if (err != OK) {
        return err; /* the process ends: nothing of a half-opened shard is of use */
    }
    if (!replicas->is_gated) {
        replica_shard_start(replicas->shard);
        checkpointer_start(replicas);
    } else if (wal_durable_lsn(replicas->wal) >= replicas->layout_lsn) {
        replicas->is_layout_checkpointed = true;
        checkpointer_run(replicas);
    }
    if (has_installed) {
        replicas->is_checkpoint_due = true; /* until one is durable, both states are kept */
        env_task(params->env, &replicas->flush);
    }
    *out = replicas;
    return OK;
}

void replicas_layout_committed(struct replicas *replicas)
{
    assert(replicas->is_gated);
    replicas->is_gated = false;
    replica_shard_start(replicas->shard);
    replica_shard_on_durable(replicas->shard, replicas->durable_lsn);
    checkpointer_start(replicas);
    env_task(replicas->params.env, &replicas->flush);
}

void replicas_round_done(struct replicas *replicas, bool is_ok)
{
    if (replicas->is_gated && !replicas->is_closing) {
        if (is_ok) {
            replicas->params.layout_ready(replicas->params.owner);
        } else {
            process_stop(
                "no space to checkpoint all groups for a new shard count: free some, or start with the old one");
        }
    }
    close_pending(replicas);
    env_task(replicas->params.env, &replicas->flush); /* removals that waited for the round */
    replicas_step_close(replicas);
}

/* ---- Creating ---- */

enum err replicas_before_change(struct replicas *replicas, struct errmsg *msg)
{
    const struct replicas_params *params = &replicas->params;
    return params->before_change != NULL ? params->before_change(params->owner, msg) : OK;
}

static enum err create_one(struct kv_txn *txn, struct replica_create *req)
{
    struct checkpoint_raft raft = {.term = req->term, .membership = req->membership, .hard_term = req->term};
    enum err err = checkpoint_kept(txn, req->group, &req->kept);
    if (err == OK && req->kept.lsn > 0) {
        raft = (struct checkpoint_raft){.hard_term = req->kept.hard_term, .vote = req->kept.vote};
    }
    raft.membership_index = raft.membership.count > 0;
    return err == OK ? checkpoint_create(txn, req->group, req->type, req->description, &raft) : err;
}

static void create_on_run(struct work *work)
{
    struct replicas *replicas = container_of(work, struct replicas, create_work);
    struct kv_txn *txn = NULL;
    enum err err = replicas_before_change(replicas, NULL);
    err = err == OK ? kv_begin_write(replicas->params.local, &txn) : err;
    for (struct list *link = replicas->creating.next; link != &replicas->creating; link = link->next) {
        struct replica_create *req = container_of(link, struct replica_create, link);
        if (err == OK) {
            req->err = create_one(txn, req);
            err = req->err == ERR_EXISTS ? OK : req->err;
        }
    }
    if (err == OK) {
        struct errmsg msg = {""};
        err = kv_commit(txn, &msg);
    } else if (txn != NULL) {
        kv_abort(txn);
    }
    for (struct list *link = replicas->creating.next; err != OK && link != &replicas->creating; link = link->next) {
        struct replica_create *req = container_of(link, struct replica_create, link);
        req->err = fail(&req->msg, err, "local store: %s", err_text(err));
    }
}

static enum err create_open(struct replicas *replicas, struct replica_create *req)
{
    struct replicas_params *params = &replicas->params;
    struct replica_machine *machine;
    enum err err =
        params->machine_open(params->owner, req->type, req->group, req->description, BYTES_NONE, &machine, &req->msg);
    if (err != OK) {
        struct group *group = group_add(replicas, req->group, req->type);
        group->hard_term = req->kept.lsn > 0 ? req->kept.hard_term : req->term;
        group->hard_vote = req->kept.vote;
        group_set_damaged(group);
        return err;
    }
    struct recovery_group found = {.group = req->group, .type = req->type, .machine = machine};
    struct replica_tail_entry tail = {NULL, 0};
    if (req->kept.lsn > 0) { /* it was here before */
        found.term = req->kept.hard_term;
        found.vote = req->kept.vote;
    } else if (req->membership.count > 0) {
        found.term = req->term;
        tail.entry = replica_bootstrap_entry(&req->membership, req->term);
        found.membership = req->membership;
        found.membership_index = 1;
        found.tail = &tail;
        found.tail_count = 1;
    }
    err = group_open(replicas, &found, &req->msg);
    if (tail.entry != NULL) {
        entry_release(tail.entry);
    }
    if (err != OK) {
        process_stop("group %llu: a new replica does not open: %s", (unsigned long long)req->group, req->msg.text);
    }
    struct group *group = map_get(&replicas->map, req->group);
    req->replica = group->replica;
    req->machine = group->machine;
    return OK;
}

static void create_on_done(struct work *work)
{
    struct replicas *replicas = container_of(work, struct replicas, create_work);
    struct list *link;
    replicas->is_creating = false;
    while ((link = list_pop(&replicas->creating)) != NULL) {
        struct replica_create *req = container_of(link, struct replica_create, link);
        enum err err = replicas->is_closing ? ERR_CANCELED : req->err;
        if (err == OK) {
            err = create_open(replicas, req);
        }
        req->cb(req, err);
    }
    env_task(replicas->params.env, &replicas->flush);
    replicas_step_close(replicas);
}

void replicas_create(struct replicas *replicas, struct replica_create *req)
{
    assert((req->membership.count == 0) == (req->term == 0));
    req->replica = NULL;
    req->machine = NULL;
    req->err = OK;
    req->msg.text[0] = '\0';
    list_init(&req->link);
    list_push(&replicas->creates, &req->link);
    env_task(replicas->params.env, &replicas->flush);
}

/* ---- Jobs ---- */

static void replicas_on_flush(struct task *task)
{
    struct replicas *replicas = container_of(task, struct replicas, flush);
    struct workers *workers = replicas->params.env->workers;
    if (replicas->is_closing) {
        return;
    }
    if (!replicas->is_creating && !list_is_empty(&replicas->creates)) {
        replicas->is_creating = true;
        list_move_all(&replicas->creating, &replicas->creates);
        replicas->create_work.run = create_on_run;
        replicas->create_work.done = create_on_done;
        workers->submit(workers, &replicas->create_work);
    }
    replicas_flush_removals(replicas); /* ahead of the next round, which may be long: rounds may follow one another */
    const struct checkpointer *checkpointer = &replicas->checkpointer;
    bool is_next_wanted = checkpointer->is_wanted && !checkpointer->is_running && checkpointer->err == OK;
    if (replicas->is_checkpoint_due || is_next_wanted) {
        replicas->is_checkpoint_due = false;
        checkpointer_run(replicas);
    }
}

/* ---- Looking up ---- */

struct replica *replicas_find(struct replicas *replicas, uint64_t id)
{
    struct group *group = map_get(&replicas->map, id);
    return group != NULL ? group->replica : NULL;
}

struct replica_machine *replicas_machine(struct replicas *replicas, uint64_t id)
{
    struct group *group = map_get(&replicas->map, id);
    return group != NULL ? group->machine : NULL;
}

bool replicas_is_own(const struct replicas *replicas, uint64_t group)
{
    return group > 0 && replicas_shard(group, replicas->params.shard_count) == replicas->params.env->shard;
}

bool replicas_is_here(const struct replicas *replicas, uint64_t group)
{
    return map_get(&replicas->map, group) != NULL;
}

bool replicas_is_damaged(const struct replicas *replicas, uint64_t id)
{
    struct group *group = map_get(&replicas->map, id);
    return group != NULL && group->machine == NULL;
}

unsigned replicas_damaged_count(const struct replicas *replicas)
{
    return replicas->damaged_count;
}

void replicas_each(struct replicas *replicas, void *context,
                   void (*cb)(void *context, uint64_t group, struct replica_machine *machine))
{
    for (struct list *link = replicas->groups.next; link != &replicas->groups; link = link->next) {
        struct group *group = container_of(link, struct group, link);
        cb(context, group->id, group->machine);
    }
}

void replicas_checkpoint(struct replicas *replicas)
{
    checkpointer_run(replicas);
}

void replicas_set_full(struct replicas *replicas, bool is_full, size_t allowance)
{
    replica_shard_set_full(replicas->shard, is_full, allowance);
}

bool replicas_are_full(const struct replicas *replicas)
{
    return replica_shard_is_full(replicas->shard);
}

size_t replicas_tail_size(const struct replicas *replicas)
{
    return replica_shard_tail_size(replicas->shard);
}

/* ---- Closing ---- */

static void replicas_free(struct replicas *replicas)
{
    replicas_close_cb cb = replicas->close_cb;
    void *owner = replicas->params.owner;
    replica_shard_close(replicas->shard);
    replicas->params.env->tasks->cancel(replicas->params.env->tasks, &replicas->flush);
    map_deinit(&replicas->map);
    mem_free(replicas->checkpointer.items);
    mem_free(replicas->wal_dir);
    mem_free(replicas);
    cb(owner);
}

static void replicas_on_wal_closed(void *owner)
{
    replicas_free(owner);
}

static void group_on_closed(struct group *group)
{
    struct replicas *replicas = group->replicas;
    replicas_group_forget(group);
    replicas_step_close(replicas);
}

/* Ends what waits for a transaction that will not come. */
static void cancel_waiting(struct replicas *replicas)
{
    struct list *link;
    while ((link = list_pop(&replicas->creates)) != NULL) {
        struct replica_create *req = container_of(link, struct replica_create, link);
        req->cb(req, ERR_CANCELED);
    }
    while ((link = list_pop(&replicas->removes)) != NULL) {
        struct replica_remove *req = container_of(link, struct replica_remove, link);
        req->cb(req, ERR_CANCELED);
    }
}

static void close_groups(struct replicas *replicas)
{
    struct list *link = replicas->groups.next;
    while (link != &replicas->groups) {
        struct group *group = container_of(link, struct group, link);
        link = link->next;
        if (group->machine == NULL) {
            replicas_group_forget(group);
        } else if (group->closed == NULL) {
            replica_mark_commit(group->replica);
            replicas_group_close(group, group_on_closed);
        }
    }
}

/* Called whenever something that the close waits for has ended. */
void replicas_step_close(struct replicas *replicas)
{
    if (!replicas->is_closing || replicas->checkpointer.is_running || replicas->is_creating || replicas->is_removing) {
        return;
    }
    if (!replicas->is_closing_groups) {
        replicas->is_closing_groups = true;
        cancel_waiting(replicas);
        close_groups(replicas);
    }
    if (list_is_empty(&replicas->groups) && !replicas->is_closing_wal) {
        replicas->is_closing_wal = true;
        wal_close(replicas->wal, replicas_on_wal_closed);
    }
}

void replicas_peer_down(struct replicas *replicas, uint64_t server_id)
{
    replica_shard_peer_down(replicas->shard, server_id);
}

void replicas_peer_ended(struct replicas *replicas, uint64_t server_id)
{
    replica_shard_peer_ended(replicas->shard, server_id);
}

void replicas_hand_over(struct replicas *replicas, unsigned timeout_ms, void *owner,
                        void (*cb)(void *owner, unsigned left))
{
    replica_shard_hand_over(replicas->shard, timeout_ms, owner, cb);
}

void replicas_peer_up(struct replicas *replicas, uint64_t server_id)
{
    replica_shard_peer_up(replicas->shard, server_id);
}

void replicas_close(struct replicas *replicas, replicas_close_cb cb)
{
    assert(!replicas->is_closing);
    replicas->is_closing = true;
    replicas->close_cb = cb;
    checkpointer_stop(replicas);
    replicas_step_close(replicas);
}
