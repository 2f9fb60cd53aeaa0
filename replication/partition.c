/* A partition's life: opened at a checkpoint, told its role, captured, damaged, closed.
 *
 * Happy path: open at a checkpoint; the replica applies what is committed and tells the role; checkpoints capture the
 *             state, the log in it.
 * Failure:    damage that a lookup or apply finds takes the replica out of service; until it is closed all calls answer
 *             KAFKA_STORAGE_ERROR.
 * Close:      all who wait are answered NOT_LEADER_OR_FOLLOWER and all watches woken, in one task; reads of the log are
 *             cancelled; its files are removed, if they are to be, in a work job; then machine->closed. */
#include "replication/partition.h"

#include "base/assert.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/shared.h"
#include "base/trace.h"
#include "replication/partition_command.h"
#include "replication/partition_dirs.h"
#include "replication/partition_internal.h"
#include "replication/partition_state.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum {
    DESCRIPTION_VERSION = 1,
};

/* ---- Description ---- */

void partition_description_encode(const struct partition_name *name, struct dynbuf *buf)
{
    uint8_t memory[1 + 2 + TOPIC_NAME_SIZE_MAX + 4 + UUID_SIZE];
    struct writer writer;
    writer_init(&writer, memory, sizeof(memory));
    write_u8(&writer, DESCRIPTION_VERSION);
    write_u16(&writer, (uint16_t)name->topic.size);
    write_bytes(&writer, name->topic);
    write_i32(&writer, name->index);
    write_bytes(&writer, (struct bytes){name->topic_id.bytes, UUID_SIZE});
    assert(writer.err == OK);
    enum err err = dynbuf_put(buf, (struct bytes){memory, writer_size(&writer)});
    assert(err == OK);
}

enum err partition_description_decode(struct bytes description, struct partition_name *name)
{
    struct reader reader;
    reader_init(&reader, description);
    unsigned version = read_u8(&reader);
    name->topic = read_bytes(&reader, read_u16(&reader));
    name->index = read_i32(&reader);
    struct bytes id = read_bytes(&reader, UUID_SIZE);
    if (reader.err != OK || reader.left != 0 || version != DESCRIPTION_VERSION || name->topic.size == 0 ||
        name->topic.size > TOPIC_NAME_SIZE_MAX || name->index < 0 ||
        memchr(name->topic.data, '/', name->topic.size) != NULL ||
        memchr(name->topic.data, '\0', name->topic.size) != NULL) {
        return ERR_CORRUPT;
    }
    memcpy(name->topic_id.bytes, id.data, UUID_SIZE);
    return OK;
}

/* ---- Damage, waking ---- */

static void tell_damage(struct partition *partition)
{
    if (partition->is_damaged && !partition->is_damage_told && partition->machine.replica != NULL &&
        !partition->is_closing) {
        partition->is_damage_told = true;
        replica_damaged(partition->machine.replica, partition->damage.text);
    }
}

void partition_damaged(struct partition *partition, enum err err, const char *text)
{
    if (partition->is_damaged) {
        return;
    }
    partition->is_damaged = true;
    (void)fail(&partition->damage, err, "%s-%d: %s", partition->topic, partition->index, text);
    partition_fail_all(partition, KAFKA_KAFKA_STORAGE_ERROR);
    partition_wake_all(partition);
    tell_damage(partition);
    env_task(partition->env, &partition->task); /* tells again: recovery applies before there is a replica */
}

void partition_wake_all(struct partition *partition)
{
    if (!list_is_empty(&partition->watches)) {
        list_move_all(&partition->woken, &partition->watches);
        env_task(partition->env, &partition->task);
    }
}

void partition_watch(struct partition *partition, struct partition_watch *watch)
{
    list_init(&watch->link);
    list_push(&partition->watches, &watch->link);
    if (partition->is_closing || partition->is_damaged) {
        partition_wake_all(partition);
    }
}

void partition_unwatch(struct partition_watch *watch)
{
    list_remove(&watch->link);
}

/* ---- Role ---- */

static void machine_role_changed(struct replica_machine *machine, const struct replica_status *status)
{
    struct partition *partition = container_of(machine, struct partition, machine);
    bool is_leader = status->role == REPLICA_LEADER;
    if (partition->is_leader && (!is_leader || status->term != partition->term)) {
        partition_fail_all(partition, KAFKA_NOT_LEADER_OR_FOLLOWER);
    }
    partition->is_leader = is_leader;
    partition->is_ready = is_leader && status->is_ready;
    partition->has_leader = status->role == REPLICA_FOLLOWER && status->leader != 0;
    partition->term = status->term;
    partition_wake_all(partition);
    if (partition->role_cb != NULL) {
        partition->role_cb(partition->role_owner, partition->group, status);
    }
}

/* ---- Checkpoint ---- */

struct partition_capture {
    struct log_capture *log;
    uint64_t generation;
    int64_t end_offset;
};

/* What makes the log longer waits while bytes of this or another log of the shard find no space; trims and orders to
 * compact go on, as they lead to space. */
static bool machine_has_room(struct replica_machine *machine, const struct entry *entry)
{
    const struct partition *partition = container_of(machine, struct partition, machine);
    return partition->is_damaged || !log_files_are_held(partition->files) || !partition_command_is_batches(entry);
}

static bool machine_settle(struct replica_machine *machine)
{
    return log_flush(container_of(machine, struct partition, machine)->log);
}

static void *machine_capture(struct replica_machine *machine, struct dynbuf *buf)
{
    struct partition *partition = container_of(machine, struct partition, machine);
    struct partition_state state = {
        .generation = partition->generation,
        .append_ms = partition->append_ms,
        .epochs = &partition->epochs,
        .producers = &partition->producers,
        .compactions = partition->compactions,
    };
    struct partition_capture *capture = mem_alloc(sizeof(*capture));
    machine->wants_checkpoint = false;
    capture->log = log_capture(partition->log, &state.log);
    capture->generation = partition->generation;
    capture->end_offset = state.log.end_offset;
    if (partition->is_damaged) {
        partition_state_encode_damaged(buf);
    } else {
        partition_state_encode(&state, buf);
    }
    log_state_deinit(&state.log);
    return capture;
}

static enum err machine_capture_sync(void *capture, struct errmsg *msg)
{
    return log_capture_sync(((struct partition_capture *)capture)->log, msg);
}

static void machine_capture_done(struct replica_machine *machine, void *capture, bool is_ok)
{
    struct partition *partition = container_of(machine, struct partition, machine);
    struct partition_capture *captured = capture;
    log_capture_done(captured->log, is_ok);
    if (is_ok) {
        partition_checkpointed(partition, captured->generation, captured->end_offset);
    }
    machine->wants_checkpoint |= !is_ok || (partition->log != NULL && log_has_trimmed(partition->log));
    mem_free(captured);
}

/* ---- Closing ---- */

static void partition_free(struct partition *partition)
{
    epochs_deinit(&partition->epochs);
    producers_deinit(&partition->producers);
    refusals_deinit(&partition->refusals);
    compactions_deinit(&partition->compactions);
    mem_free(partition->spare_proposal);
    mem_free(partition->topic);
    mem_free(partition->plain_dir);
    mem_free(partition->dir);
    mem_free(partition);
}

static bool is_answered(const struct partition *partition)
{
    return list_is_empty(&partition->produce_answers) && list_is_empty(&partition->trim_answers) &&
           list_is_empty(&partition->woken);
}

static void partition_close_end(struct partition *partition)
{
    while (!is_answered(partition)) {
        partition_answer(partition, env_now_us(partition->env)); /* what came while the files were being removed */
    }
    partition->env->tasks->cancel(partition->env->tasks, &partition->task);
    trace(DEBUG, PARTITION, "closed", KV("group", (int64_t)partition->group), KV("dir", partition->dir));
    partition->machine.closed(&partition->machine);
    partition_free(partition);
}

static void remove_on_run(struct work *work)
{
    struct partition *partition = container_of(work, struct partition, remove_work);
    partition->remove_err = log_remove(partition->env, partition->dir, &partition->remove_msg);
}

static void remove_on_done(struct work *work)
{
    struct partition *partition = container_of(work, struct partition, remove_work);
    if (partition->remove_err != OK) {
        /* Only space is lost: the directory's name holds the group's id, which is never given out again. */
        metrics_add(partition->env->metrics, METRIC_FILES_LEFT, 1);
        trace(WARN, PARTITION, "files stay behind", KV("dir", partition->dir), KV("cause", partition->remove_msg.text));
    }
    partition_close_end(partition);
}

static void partition_close_log(struct partition *partition)
{
    log_close(partition->log);
    partition->log = NULL;
    partition_retired_remove(partition);
    if (!partition->machine.is_removed) {
        partition_close_end(partition);
        return;
    }
    partition->remove_work.run = remove_on_run;
    partition->remove_work.done = remove_on_done;
    partition->env->workers->submit(partition->env->workers, &partition->remove_work);
}

static void machine_close(struct replica_machine *machine)
{
    struct partition *partition = container_of(machine, struct partition, machine);
    assert(!partition->is_closing);
    assert(machine->closed != NULL);
    partition->is_closing = true;
    partition->is_leader = false;
    partition->is_ready = false;
    partition->has_leader = false;
    partition_fail_all(partition, KAFKA_NOT_LEADER_OR_FOLLOWER);
    partition_wake_all(partition);
    env_task(partition->env, &partition->task);
}

/* What was put off to the end of the loop turn. Callbacks may ask for more: then the task is queued again, so the
 * partition closes only when a run found nothing to answer. */
static void partition_on_task(struct task *task)
{
    struct partition *partition = container_of(task, struct partition, task);
    partition_flush(partition);
    tell_damage(partition);
    if (!is_answered(partition)) {
        partition_answer(partition, env_now_us(partition->env));
        if (partition->is_closing) {
            env_task(partition->env, &partition->task);
        }
    } else if (partition->is_closing && partition->log != NULL && !partition->is_compacting) {
        partition_close_log(partition);
    }
}

static void partition_on_retry(struct timer *timer)
{
    struct partition *partition = container_of(timer, struct partition, retry_timer);
    partition->is_blocked = false;
    env_task(partition->env, &partition->task);
}

static const struct replica_machine_ops MACHINE_OPS = {
    .apply = partition_apply,
    .has_room = machine_has_room,
    .settle = machine_settle,
    .applied = partition_applied,
    .matched = partition_insync_matched,
    .role_changed = machine_role_changed,
    .capture = machine_capture,
    .capture_sync = machine_capture_sync,
    .capture_done = machine_capture_done,
    .source = partition_source,
    .stage = partition_stage,
    .install = partition_install,
    .close = machine_close,
};

/* ---- Opening ---- */

static int32_t partition_epoch_at(void *owner, int64_t offset)
{
    const struct partition *partition = owner;
    return epochs_at(&partition->epochs, offset);
}

void partition_attach_log(struct partition *partition)
{
    log_set_epochs(partition->log, partition_epoch_at, partition);
}

static enum err open_at(struct partition *partition, struct bytes bytes, struct errmsg *msg)
{
    struct partition_state state = {.epochs = &partition->epochs, .producers = &partition->producers};
    enum err err = OK;
    if (bytes.size > 0) {
        err = partition_state_decode(bytes, &state, msg);
    }
    if (err == OK) {
        partition->append_ms = state.append_ms;
        partition->generation = state.generation;
        partition->compactions = state.compactions;
        state.compactions = (struct compactions){0};
        partition->durable_end_offset = state.log.end_offset;
        partition->dir = partition_dir_generation(partition->plain_dir, state.generation);
        err = log_open(partition->env, partition->files, partition->dir, &partition->config.log,
                       bytes.size > 0 ? &state.log : NULL, &partition->log, msg);
    }
    log_state_deinit(&state.log);
    compactions_deinit(&state.compactions);
    return err;
}

static struct partition *partition_new(struct env *env, uint64_t group, const struct partition_name *name,
                                       const struct partition_config *config)
{
    struct partition *partition = mem_alloc(sizeof(*partition));
    partition->env = env;
    partition->machine.ops = &MACHINE_OPS;
    partition->machine.takes_space = true;
    partition->group = group;
    partition->topic = mem_alloc(name->topic.size + 1);
    memcpy(partition->topic, name->topic.data, name->topic.size);
    partition->index = name->index;
    partition->topic_id = name->topic_id;
    partition->config = *config;
    epochs_init(&partition->epochs);
    producers_init(&partition->producers, PARTITION_PRODUCER_COUNT_MAX);
    refusals_init(&partition->refusals);
    list_init(&partition->queue);
    list_init(&partition->proposals);
    list_init(&partition->produce_answers);
    list_init(&partition->trim_answers);
    list_init(&partition->watches);
    list_init(&partition->woken);
    task_init(&partition->task, partition_on_task);
    timer_init(&partition->retry_timer, partition_on_retry);
    partition_insync_init(partition);
    return partition;
}

enum err partition_open(struct env *env, struct log_files *files, const char *data_dir, uint64_t group,
                        const struct partition_name *name, const struct partition_config *config, struct bytes state,
                        struct partition **out, struct errmsg *msg)
{
    assert(name->topic.size > 0 && name->topic.size <= TOPIC_NAME_SIZE_MAX);
    struct partition *partition = partition_new(env, group, name, config);
    partition->files = files;
    partition->plain_dir = partition_dir_plain(data_dir, group, name->topic, name->index);
    enum err err = open_at(partition, state, msg);
    if (err != OK) {
        err = fail_wrap(msg, err, "partition %s-%d, group %" PRIu64, partition->topic, partition->index, group);
        partition_free(partition);
        return err;
    }
    partition_attach_log(partition);
    trace(DEBUG, PARTITION, "opened", KV("group", (int64_t)group), KV("dir", partition->dir),
          KV("start_offset", log_start_offset(partition->log)), KV("end_offset", log_end_offset(partition->log)));
    *out = partition;
    return OK;
}

void partition_on_role(struct partition *partition, void *owner,
                       void (*cb)(void *owner, uint64_t group, const struct replica_status *status))
{
    partition->role_owner = owner;
    partition->role_cb = cb;
}

struct replica_machine *partition_machine(struct partition *partition)
{
    return &partition->machine;
}

bool partition_is_machine(const struct replica_machine *machine)
{
    return machine->ops == &MACHINE_OPS;
}

struct partition *partition_of_machine(struct replica_machine *machine)
{
    assert(machine->ops == &MACHINE_OPS);
    return container_of(machine, struct partition, machine);
}

void partition_name(const struct partition *partition, struct partition_name *name)
{
    name->topic = bytes_from_text(partition->topic);
    name->index = partition->index;
    name->topic_id = partition->topic_id;
}

uint64_t partition_group(const struct partition *partition)
{
    return partition->group;
}

void partition_set_config(struct partition *partition, const struct partition_config *config)
{
    partition->config = *config;
    if (partition->log != NULL) {
        log_set_config(partition->log, &config->log);
    }
}

struct log *partition_log(struct partition *partition)
{
    return partition->log;
}
