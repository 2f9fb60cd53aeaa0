/* Happy path: metadata_propose() packs the record into an entry and remembers the request; the entry comes back through
 * apply(), which opens the turn's write transaction on its first call; applied() commits it, then answers the
 * requests by their index and tells the owner what changed.
 * Leadership lost: every waiting request is answered REQUEST_TIMED_OUT; its record may still be applied later.
 * Restart: entries at or below the store's applied index are skipped, so replaying from an older checkpoint is
 *          harmless.
 * Failure: a store that cannot be written ends the process: this copy would differ from the log. */

#include "base/assert.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/trace.h"
#include "metadata/metadata_internal.h"
#include <stdio.h>
#include <string.h>

/* What a checkpoint says of the store. */
#define STATE_VERSION 1
#define STATE_SIZE (1 + 8)

static void metadata_on_answer(struct task *task)
{
    struct metadata *metadata = container_of(task, struct metadata, answer);
    struct list *link;
    while ((link = list_pop(&metadata->answered)) != NULL) {
        struct metadata_propose *req = container_of(link, struct metadata_propose, link);
        req->cb(req);
    }
}

static void answer(struct metadata *metadata, struct metadata_propose *req)
{
    list_remove(&req->link);
    list_push(&metadata->answered, &req->link);
    env_task(metadata->env, &metadata->answer);
}

static void refuse(struct metadata *metadata, struct metadata_propose *req, enum kafka_error error, const char *text)
{
    req->error = error;
    (void)snprintf(req->error_text, sizeof(req->error_text), "%s", text);
    answer(metadata, req);
}

void metadata_propose(struct metadata *metadata, const Balsa__Record__Record *record, struct metadata_propose *req)
{
    req->error = KAFKA_NONE;
    req->error_text[0] = '\0';
    req->result = 0;
    list_init(&req->link);
    list_push(&metadata->waiting, &req->link);

    size_t size = balsa__record__record__get_packed_size(record);
    struct shared *block = shared_new(size);
    balsa__record__record__pack(record, block->data);
    struct slice slice = {block, {block->data, size}};
    struct entry *entry = entry_new(ENTRY_COMMAND, 0, 0, &slice, 1);
    req->entry = entry;
    enum err err = size <= ENTRY_SIZE_MAX ? replica_submit(metadata->machine.replica, entry) : ERR_TOO_LARGE;
    if (err != OK) {
        entry_release(entry);
        req->entry = NULL;
        bool is_busy = err == ERR_BUSY;
        bool is_large = err == ERR_TOO_LARGE;
        refuse(metadata, req,
               is_large  ? KAFKA_INVALID_REQUEST
               : is_busy ? KAFKA_REQUEST_TIMED_OUT
                         : KAFKA_NOT_CONTROLLER,
               is_large  ? "The request is too large for one metadata record."
               : is_busy ? "The metadata log is over its budget, try again."
                         : "This broker does not lead the metadata quorum now.");
    }
}

bool metadata_is_leader(const struct metadata *metadata)
{
    return metadata->is_ready_leader;
}

static void begin_turn(struct metadata *metadata)
{
    if (metadata->txn != NULL) {
        return;
    }
    enum err err = kv_begin_write(store_kv(metadata->store), &metadata->txn);
    if (err != OK) {
        process_stop("metadata store: cannot begin a write: %s", err_text(err));
    }
}

/* The proposal that this entry answers: the same entry object comes back on the leader that submitted it. */
static struct metadata_propose *find_waiting(struct metadata *metadata, const struct entry *entry)
{
    struct list *head = &metadata->waiting;
    for (struct list *link = head->next; link != head; link = link->next) {
        struct metadata_propose *req = container_of(link, struct metadata_propose, link);
        if (req->entry == entry) {
            return req;
        }
    }
    return NULL;
}

static void metadata_apply(struct replica_machine *machine, const struct entry *entry)
{
    struct metadata *metadata = container_of(machine, struct metadata, machine);
    struct apply_result result;
    struct shared *scratch = NULL;
    if (entry->index <= metadata->state.applied_index) {
        return;
    }
    begin_turn(metadata);
    enum err err =
        apply_record(metadata->txn, &metadata->state, entry_payload(entry, &scratch), &metadata->changes, &result);
    shared_release(scratch);
    if (err != OK) {
        process_stop("metadata store: applying record %llu: %s", (unsigned long long)entry->index, err_text(err));
    }
    metadata->state.applied_index = entry->index;
    struct metadata_propose *req = find_waiting(metadata, entry);
    if (req != NULL) {
        req->error = result.error;
        memcpy(req->error_text, result.text, sizeof(req->error_text));
        req->result = result.result;
        answer(metadata, req);
    }
}

static void metadata_applied(struct replica_machine *machine)
{
    struct metadata *metadata = container_of(machine, struct metadata, machine);
    struct errmsg msg = {""};
    if (metadata->txn == NULL) {
        return;
    }
    enum err err = apply_save_state(metadata->txn, &metadata->state);
    if (err == OK) {
        err = kv_commit(metadata->txn, &msg);
    }
    if (err != OK) {
        process_stop("metadata store: cannot commit: %s: %s", err_text(err), msg.text);
    }
    metadata->txn = NULL;
    if (metadata->is_ready_leader) {
        replica_tell_commit(metadata->machine.replica); /* clients ask other brokers next */
    }
    if (metadata->changes.count > 0) {
        if (metadata->is_opened) {
            metadata->events.changed(metadata->events.owner, metadata->changes.items, metadata->changes.count);
        }
        apply_changes_reset(&metadata->changes);
    }
}

static void metadata_role_changed(struct replica_machine *machine, const struct replica_status *status)
{
    struct metadata *metadata = container_of(machine, struct metadata, machine);
    metadata->is_opened = true;
    metadata->is_ready_leader = status->role == REPLICA_LEADER && status->is_ready;
    if (status->role != REPLICA_LEADER) {
        while (!list_is_empty(&metadata->waiting)) {
            struct metadata_propose *req = container_of(metadata->waiting.next, struct metadata_propose, link);
            metrics_add(metadata->env->metrics, METRIC_PROPOSALS_IN_DOUBT, 1);
            refuse(metadata, req, KAFKA_REQUEST_TIMED_OUT,
                   "The metadata quorum changed its leader before this was decided: it may still be done.");
        }
    }
    metadata->events.role_changed(metadata->events.owner, status);
}

struct metadata_capture {
    struct kv *kv;
    uint64_t index;
};

/* The store itself is the checkpoint: what must be done is to make its commits durable. The applied index is kept
 * beside it: a store that is missing or older at the next start is found out. */
static void *metadata_capture(struct replica_machine *machine, struct dynbuf *state)
{
    struct metadata *metadata = container_of(machine, struct metadata, machine);
    uint8_t value[STATE_SIZE];
    struct writer writer;
    assert(metadata->txn == NULL);
    writer_init(&writer, value, sizeof(value));
    write_u8(&writer, STATE_VERSION);
    write_u64(&writer, metadata->state.applied_index);
    if (dynbuf_put(state, (struct bytes){value, writer_size(&writer)}) != OK) {
        process_stop("metadata: no room for the checkpoint");
    }
    struct metadata_capture *capture = mem_alloc(sizeof(*capture));
    *capture = (struct metadata_capture){store_kv(metadata->store), metadata->state.applied_index};
    return capture;
}

static enum err metadata_capture_sync(void *capture, struct errmsg *msg)
{
    return kv_sync(((struct metadata_capture *)capture)->kv, msg);
}

static void metadata_capture_done(struct replica_machine *machine, void *capture, bool is_ok)
{
    struct metadata *metadata = container_of(machine, struct metadata, machine);
    struct metadata_capture *captured = capture;
    if (is_ok && metadata->has_dumps) {
        metadata_sweep(metadata, captured->index);
    }
    mem_free(captured);
}

static void metadata_on_closed(struct task *task)
{
    struct metadata *metadata = container_of(task, struct metadata, answer);
    metadata_on_answer(task);
    apply_changes_deinit(&metadata->changes);
    metadata->machine.closed(&metadata->machine);
    mem_free(metadata);
}

static void metadata_close(struct replica_machine *machine)
{
    struct metadata *metadata = container_of(machine, struct metadata, machine);
    assert(metadata->txn == NULL);
    metadata->is_ready_leader = false;
    while (!list_is_empty(&metadata->waiting)) {
        struct metadata_propose *req = container_of(metadata->waiting.next, struct metadata_propose, link);
        refuse(metadata, req, KAFKA_REQUEST_TIMED_OUT, "The broker is stopping: it may still be done.");
    }
    metadata->answer.cb = metadata_on_closed;
    env_task(metadata->env, &metadata->answer);
}

static const struct replica_machine_ops METADATA_OPS = {
    .apply = metadata_apply,
    .applied = metadata_applied,
    .role_changed = metadata_role_changed,
    .capture = metadata_capture,
    .capture_sync = metadata_capture_sync,
    .capture_done = metadata_capture_done,
    .source = metadata_source,
    .stage = metadata_stage,
    .install = metadata_install,
    .close = metadata_close,
};

static enum err load_state(struct metadata *metadata, struct errmsg *msg)
{
    struct kv_txn *txn;
    enum err err = kv_begin_read(store_kv(metadata->store), &txn);
    if (err != OK) {
        return fail(msg, err, "metadata store: %s", err_text(err));
    }
    err = apply_load_state(txn, &metadata->state);
    kv_abort(txn);
    if (err == ERR_UNSUPPORTED) {
        return fail(
            msg, err,
            "%s/data.mdb was written by another version of Balsa in a format that this one does not read; start "
            "that version, or move the data directory away to start with nothing",
            store_path(metadata->store));
    }
    return err == OK ? OK : fail(msg, err, "metadata store: the state record does not decode");
}

static enum err check_state(const struct metadata *metadata, struct bytes state, struct errmsg *msg)
{
    struct reader reader;
    const char *path = store_path(metadata->store);
    if (state.size == 0) {
        return OK;
    }
    reader_init(&reader, state);
    uint8_t version = read_u8(&reader);
    uint64_t durable_index = read_u64(&reader);
    if (reader.err != OK || version != STATE_VERSION) {
        return fail(msg, ERR_DAMAGED, "metadata: the checkpoint does not decode");
    }
    if (metadata->state.applied_index < durable_index) {
        return fail(
            msg, ERR_DAMAGED,
            "%s/data.mdb: position 0: the file is missing or an older one: its last record is %llu, %llu was durable",
            path, (unsigned long long)metadata->state.applied_index, (unsigned long long)durable_index);
    }
    return OK;
}

enum err metadata_open(struct env *env, struct store *store, struct bytes state, const struct metadata_events *events,
                       struct metadata **out, struct errmsg *msg)
{
    struct metadata *metadata = mem_alloc(sizeof(*metadata));
    metadata->env = env;
    metadata->store = store;
    metadata->events = *events;
    metadata->machine.ops = &METADATA_OPS;
    apply_changes_init(&metadata->changes);
    list_init(&metadata->waiting);
    list_init(&metadata->answered);
    task_init(&metadata->answer, metadata_on_answer);
    enum err err = load_state(metadata, msg);
    err = err == OK ? check_state(metadata, state, msg) : err;
    if (err != OK) {
        mem_free(metadata);
        return err;
    }
    metadata->has_dumps = true;
    metadata_sweep(metadata, 0);
    *out = metadata;
    return OK;
}

struct replica_machine *metadata_machine(struct metadata *metadata)
{
    return &metadata->machine;
}

struct metadata *metadata_of_machine(struct replica_machine *machine)
{
    return container_of(machine, struct metadata, machine);
}
