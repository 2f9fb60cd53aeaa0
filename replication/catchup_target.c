/* What comes here. One struct a group, from the first signal until it has caught up or nobody signals any more.
 *
 *   waiting --signal, room--> beginning --> manifest --> staging --> resuming <-----------------+
 *      ^                          ^  (call)    (calls)     (job)       (job)                    |
 *      |                          |                                      v                      |
 *      |                          |                                    reading --> writing ---> finishing
 *      |                          |                                     (call)      (job)  more   (job)
 *      |                          +--- much was new: the next round -------------------------------+
 *      |                                                                                           v
 *      +--- anything failed: a while later, from what is staged                installing <--- sealing (job)
 *                                                                        (replica_install, WAL)
 * One call or job is under way at a time; what it led to is handled in one place, target_on_step().
 * A leader that changes meanwhile changes nothing but whom the installation is said to come from. */
#include "replication/catchup_internal.h"

#include "base/assert.h"
#include "base/crc32c.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/trace.h"

#include <string.h>

#define CALL_TIMEOUT_MS 20000
#define RETRY_MIN_US (INT64_C(200) * 1000)
#define RETRY_MAX_US (INT64_C(10) * 1000000)
#define FORGET_US (INT64_C(60) * 1000000) /* without a signal */
#define SIGNAL_FRESH_US (INT64_C(1) * 1000000)
#define INSTALL_POLL_US (INT64_C(5) * 1000)
#define ROUND_COUNT_MAX 20
#define FINISH_COUNT_MAX 3     /* a file that does not check is pulled again so often */
#define CHUNK_SIZE_MIN KIB(64) /* of a throttled session: four a second, but not smaller */

enum target_state {
    TARGET_WAITING,
    TARGET_BEGINNING,
    TARGET_MANIFEST,
    TARGET_STAGING,
    TARGET_RESUMING,
    TARGET_READING,
    TARGET_WRITING,
    TARGET_FINISHING,
    TARGET_SEALING,
    TARGET_INSTALLING,
};

struct catchup_target {
    struct list link;
    struct catchups *catchups;
    uint64_t group;
    enum target_state state;
    bool is_pulling;   /* counts in pulling_count */
    bool is_under_way; /* a call or a job */
    bool is_ending;    /* freed when that is done */
    /* The latest signal. */
    uint64_t leader, term;
    bool is_wanted; /* signalled since the last session began, and not for the state that it brought */
    int64_t signal_us;
    int64_t retry_us, retry_delay_us;
    /* The session. */
    uint64_t source;         /* who sends */
    struct replica *replica; /* for comparison: the member that the stage was made for */
    struct replica_stage *stage;
    struct catchup_begun begun; /* session 0: none */
    struct dynbuf manifest_bytes;
    struct replica_manifest manifest;
    struct replica_file *files;
    size_t file; /* at work */
    unsigned finish_count;
    uint64_t position; /* in the file, or in the manifest */
    uint64_t round_bytes, last_round_bytes;
    bool is_submitted; /* to Raft */
    struct catchup_progress progress;
    /* What is under way. */
    struct peer_call call;
    struct shared *call_block;
    struct catchup_call request;
    struct slice chunk;
    struct work work;
    int64_t work_since_us;
    struct timer timer;
    enum err err;
    struct errmsg msg;
};

static void target_begin(struct catchup_target *target);
static void target_next_file(struct catchup_target *target);
static void target_on_timer(struct timer *timer);

/* ---- Life ---- */

static struct env *env_of(const struct catchup_target *target)
{
    return target->catchups->params.env;
}

static void set_pulling(struct catchup_target *target, bool is_pulling)
{
    if (target->is_pulling != is_pulling) {
        target->is_pulling = is_pulling;
        target->catchups->pulling_count += is_pulling ? 1u : -1u;
        metrics_add(env_of(target)->metrics, METRIC_CATCHUPS_TAKEN, is_pulling ? 1 : -1);
        if (!is_pulling) {
            env_task(env_of(target), &target->catchups->task); /* there is room for one that waits */
        }
    }
}

static void drop_manifest(struct catchup_target *target)
{
    dynbuf_deinit(&target->manifest_bytes);
    dynbuf_init(&target->manifest_bytes, CATCHUP_MANIFEST_SIZE_MAX);
    mem_free(target->files);
    target->files = NULL;
    target->manifest = (struct replica_manifest){0};
}

/* The member that this is for, if it is still the same; else the session ends. */
static struct replica *replica_of(struct catchup_target *target)
{
    struct replica *replica = replicas_find(target->catchups->params.replicas, target->group);
    return replica != NULL && replica == target->replica ? replica : NULL;
}

/* A member that is removed takes along what it had, but not what a job put there afterwards. */
static enum replica_stage_end stage_end(struct catchup_target *target)
{
    struct replica *replica = replica_of(target);
    struct replica_status status;
    if (replica == NULL && !target->catchups->is_closing) {
        return REPLICA_STAGE_DISCARDED;
    }
    if (target->is_submitted || replica == NULL) {
        return REPLICA_STAGE_TAKEN;
    }
    replica_status(replica, &status);
    bool has_log = target->begun.index > 0 && status.applied_index >= target->begun.index;
    return has_log ? REPLICA_STAGE_DISCARDED : REPLICA_STAGE_KEPT;
}

/* The session is over; what is staged stays as long as it can be of use. */
static void drop_session(struct catchup_target *target)
{
    if (target->stage != NULL) {
        target->stage->ops->close(target->stage, stage_end(target));
        target->stage = NULL;
    }
    drop_manifest(target);
    slice_release(&target->chunk);
    target->begun = (struct catchup_begun){0};
    target->is_submitted = false;
    set_pulling(target, false);
    target->state = TARGET_WAITING;
}

static void target_end(struct catchup_target *target)
{
    struct catchups *catchups = target->catchups;
    target->is_ending = true;
    env_timer_cancel(catchups->params.env, &target->timer);
    if (target->is_under_way) {
        return;
    }
    drop_session(target);
    dynbuf_deinit(&target->manifest_bytes);
    (void)map_remove(&catchups->targets, target->group);
    list_remove(&target->link);
    mem_free(target);
    catchups_step_close(catchups);
}

static struct catchup_target *target_new(struct catchups *catchups, uint64_t group)
{
    struct catchup_target *target = mem_alloc(sizeof(*target));
    target->catchups = catchups;
    target->group = group;
    target->retry_delay_us = RETRY_MIN_US;
    dynbuf_init(&target->manifest_bytes, CATCHUP_MANIFEST_SIZE_MAX);
    timer_init(&target->timer, target_on_timer);
    list_init(&target->link);
    list_push(&catchups->target_list, &target->link);
    map_put(&catchups->targets, group, target);
    return target;
}

/* Tried again after a while, if the signals go on. */
static void target_fail(struct catchup_target *target, enum err err, const char *what)
{
    trace(WARN, REPLICA, "catch-up interrupted", KV("group", (int64_t)target->group), KV("step", what),
          KV("error", err_text(err)), KV("cause", (const char *)target->msg.text));
    metrics_add(env_of(target)->metrics, METRIC_CATCHUP_RETRIES, 1);
    bool is_busy = err == ERR_BUSY && target->state == TARGET_BEGINNING; /* it sends to others: not for long */
    int64_t longer_us = 2 * target->retry_delay_us < RETRY_MAX_US ? 2 * target->retry_delay_us : RETRY_MAX_US;
    target->retry_us = env_now_us(env_of(target)) + (is_busy ? RETRY_MIN_US : target->retry_delay_us);
    target->retry_delay_us = is_busy ? target->retry_delay_us : longer_us;
    drop_session(target);
}

/* ---- Calls ---- */

static void target_on_step(struct catchup_target *target);

static void target_on_reply(struct peer_call *call)
{
    struct catchup_target *target = container_of(call, struct catchup_target, call);
    struct bytes reply = call->reply.bytes;
    target->is_under_way = false;
    shared_release(target->call_block);
    target->call_block = NULL;
    target->msg.text[0] = '\0';
    target->err = call->err;
    if (call->err == OK && reply.size == 0) {
        target->err = ERR_CORRUPT;
    } else if (call->err == OK && reply.data[0] != CATCHUP_OK) {
        static const enum err errs[] = {OK, ERR_BUSY, ERR_CLOSED, ERR_DAMAGED};
        target->err = reply.data[0] <= CATCHUP_DAMAGED ? errs[reply.data[0]] : ERR_UNSUPPORTED;
    }
    if (target->err == OK && target->request.op != CATCHUP_END) {
        target->chunk = slice_acquire(call->reply);
        target->chunk.bytes.data++;
        target->chunk.bytes.size--;
    }
    target_on_step(target);
    /* target may be freed */
}

static void target_call(struct catchup_target *target, uint64_t peer, const struct catchup_call *request)
{
    uint8_t memory[CATCHUP_CALL_SIZE_MAX];
    size_t size = catchup_call_encode(request, memory);
    target->call_block = shared_new(size);
    memcpy(target->call_block->data, memory, size);
    target->request = *request;
    target->is_under_way = true;
    target->call = (struct peer_call){
        .node = (int32_t)(peer >> 32),
        .payload = {target->call_block, {target->call_block->data, size}},
        .timeout_ms = CALL_TIMEOUT_MS,
        .cb = target_on_reply,
    };
    target->catchups->params.call(target->catchups->params.owner, &target->call);
}

static size_t chunk_size(const struct catchup_target *target)
{
    int64_t rate = target->catchups->params.bytes_per_second;
    if (rate == 0 || rate / 4 > (int64_t)CATCHUP_CHUNK_SIZE) {
        return CATCHUP_CHUNK_SIZE;
    }
    return rate / 4 < (int64_t)CHUNK_SIZE_MIN ? CHUNK_SIZE_MIN : (size_t)(rate / 4);
}

/* The next piece of the manifest or of a file. */
static void target_read(struct catchup_target *target)
{
    bool is_manifest = target->state == TARGET_MANIFEST;
    uint64_t size = is_manifest ? target->begun.manifest_size : target->files[target->file].size;
    uint64_t left = size - target->position;
    size_t chunk = chunk_size(target);
    target->request = (struct catchup_call){
        .group = target->group,
        .op = CATCHUP_READ,
        .session = target->begun.session,
        .file = is_manifest ? 0 : (uint32_t)target->file + 1,
        .position = target->position,
        .size = left < chunk ? (uint32_t)left : (uint32_t)chunk,
    };
    struct catchup_rate *rate = &target->catchups->in;
    bool is_free = is_manifest && rate->bytes_per_second == 0; /* it goes to no disk */
    int64_t delay_us = is_free ? 0 : catchup_rate_take(rate, env_now_us(env_of(target)), target->request.size);
    metrics_add(env_of(target)->metrics, METRIC_CATCHUP_DELAYED, delay_us > 0);
    if (delay_us > 0) {
        env_timer(env_of(target), &target->timer, delay_us);
    } else {
        target_call(target, target->source, &target->request);
    }
}

/* ---- Jobs ---- */

static void target_on_run(struct work *work)
{
    struct catchup_target *target = container_of(work, struct catchup_target, work);
    struct replica_stage *stage = target->stage;
    const struct replica_stage_ops *ops = stage->ops;
    switch (target->state) {
    case TARGET_STAGING:
        target->err = ops->begin(stage, &target->manifest, &target->msg);
        break;
    case TARGET_RESUMING:
        target->err = ops->resume(stage, target->file, &target->position, &target->msg);
        break;
    case TARGET_WRITING:
        target->err = ops->write(stage, target->file, target->position, target->chunk.bytes, &target->msg);
        break;
    case TARGET_FINISHING:
        target->err = ops->finish(stage, target->file, &target->msg);
        break;
    case TARGET_SEALING:
        target->err = ops->seal(stage, &target->msg);
        break;
    case TARGET_WAITING:
    case TARGET_BEGINNING:
    case TARGET_MANIFEST:
    case TARGET_READING:
    case TARGET_INSTALLING:
    default:
        assert(false);
    }
}

static void target_on_done(struct work *work)
{
    struct catchup_target *target = container_of(work, struct catchup_target, work);
    target->is_under_way = false;
    target_on_step(target);
}

static void target_submit(struct catchup_target *target, enum target_state state)
{
    target->state = state;
    target->msg.text[0] = '\0';
    target->is_under_way = true;
    target->work_since_us = env_now_us(env_of(target));
    target->work = (struct work){.run = target_on_run, .done = target_on_done};
    env_of(target)->workers->submit(env_of(target)->workers, &target->work);
}

/* ---- Rounds ---- */

static void target_begin(struct catchup_target *target)
{
    struct catchup_call request = {.group = target->group, .op = CATCHUP_BEGIN, .session = target->begun.session};
    drop_manifest(target);
    target->state = TARGET_BEGINNING;
    target->last_round_bytes = target->round_bytes;
    target->round_bytes = 0;
    target_call(target, target->source, &request);
}

static void on_begun(struct catchup_target *target)
{
    target->err = catchup_begun_decode(target->chunk.bytes, &target->begun);
    slice_release(&target->chunk);
    if (target->err != OK) {
        target_fail(target, target->err, "begin");
        return;
    }
    target->progress.index = target->begun.index;
    target->progress.round++;
    target->position = 0;
    target->state = TARGET_MANIFEST;
    target_read(target);
}

static void on_manifest(struct catchup_target *target)
{
    struct bytes chunk = target->chunk.bytes;
    bool is_right = chunk.size == target->request.size;
    if (is_right) {
        target->err = dynbuf_put(&target->manifest_bytes, chunk);
        target->position += chunk.size;
        is_right = target->err == OK;
    }
    slice_release(&target->chunk);
    if (is_right && target->position < target->begun.manifest_size) {
        target_read(target);
        return;
    }
    struct bytes bytes = dynbuf_bytes(&target->manifest_bytes);
    is_right = is_right && crc32c(0, bytes) == target->begun.manifest_crc &&
               catchup_manifest_decode(bytes, target->begun.index, &target->files, &target->manifest) == OK;
    if (!is_right) {
        target_fail(target, ERR_CORRUPT, "manifest");
        return;
    }
    target->progress.done_bytes = 0;
    target->progress.total_bytes = 0;
    for (size_t i = 0; i < target->manifest.file_count; i++) {
        target->progress.total_bytes += target->files[i].size;
    }
    target_submit(target, TARGET_STAGING);
}

/* ---- Files ---- */

static void target_next_file(struct catchup_target *target)
{
    if (target->file < target->manifest.file_count) {
        target_submit(target, TARGET_RESUMING);
        return;
    }
    bool is_recent = target->round_bytes <= CATCHUP_ROUND_SIZE || target->stage->is_whole;
    bool is_shrinking = target->progress.round == 1 || target->round_bytes < target->last_round_bytes;
    if (!is_recent && is_shrinking && target->progress.round < ROUND_COUNT_MAX) {
        target_begin(target); /* meanwhile more has come: less than in the round before */
        return;
    }
    target_submit(target, TARGET_SEALING);
}

static void on_resumed(struct catchup_target *target)
{
    if (target->position > target->files[target->file].size) {
        target_fail(target, ERR_CORRUPT, "resume");
        return;
    }
    if (target->finish_count == 0) {
        target->progress.done_bytes += target->position;
    }
    if (target->position == target->files[target->file].size) {
        target_submit(target, TARGET_FINISHING);
        return;
    }
    target->state = TARGET_READING;
    target_read(target);
}

static void on_read(struct catchup_target *target)
{
    if (target->chunk.bytes.size != target->request.size) {
        slice_release(&target->chunk);
        target_fail(target, ERR_CORRUPT, "read");
        return;
    }
    if (replicas_are_full(target->catchups->params.replicas)) {
        slice_release(&target->chunk);
        target_fail(target, ERR_NO_SPACE, "stage");
        return;
    }
    target->round_bytes += target->request.size;
    metrics_add(env_of(target)->metrics, METRIC_CATCHUP_TAKEN_BYTES, target->request.size);
    target_submit(target, TARGET_WRITING);
}

static void on_written(struct catchup_target *target)
{
    catchup_rate_note(&target->catchups->in, env_now_us(env_of(target)) - target->work_since_us);
    target->position += target->chunk.bytes.size;
    target->progress.done_bytes += target->chunk.bytes.size;
    slice_release(&target->chunk);
    if (target->position < target->files[target->file].size) {
        target->state = TARGET_READING;
        target_read(target);
    } else {
        target_submit(target, TARGET_FINISHING);
    }
}

static void on_finished(struct catchup_target *target)
{
    if (target->err == ERR_DAMAGED && ++target->finish_count < FINISH_COUNT_MAX) {
        trace(WARN, REPLICA, "what came does not check, it is asked for again", KV("group", (int64_t)target->group),
              KV("cause", (const char *)target->msg.text));
        metrics_add(env_of(target)->metrics, METRIC_CATCHUP_RETRIES, 1);
        target_submit(target, TARGET_RESUMING);
        return;
    }
    if (target->err != OK) {
        target_fail(target, target->err, "check");
        return;
    }
    target->finish_count = 0;
    target->file++;
    target_next_file(target);
}

/* ---- Install ---- */

static void target_finish(struct catchup_target *target)
{
    struct catchup_call request = {.group = target->group, .op = CATCHUP_END, .session = target->begun.session};
    uint64_t source = target->source;
    metrics_add(env_of(target)->metrics, METRIC_CATCHUP_INSTALLS, target->is_submitted);
    trace(INFO, REPLICA, "caught up", KV("group", (int64_t)target->group), KV("index", (int64_t)target->begun.index),
          KV("rounds", (int64_t)target->progress.round), KV("bytes", (int64_t)target->progress.total_bytes),
          KV("ms", (env_now_us(env_of(target)) - target->progress.started_us) / 1000));
    drop_session(target);
    target->retry_delay_us = RETRY_MIN_US;
    target_call(target, source, &request); /* its reply is not waited for by anything but the end */
}

/* R12. Again and again until Raft has it: a leader of a newer term may have to signal first. */
static void target_install(struct catchup_target *target)
{
    struct replica *replica = replica_of(target);
    if (replica == NULL) {
        target_fail(target, ERR_CLOSED, "install");
        return;
    }
    struct replica_status status;
    replica_status(replica, &status);
    target->state = TARGET_INSTALLING;
    if (status.applied_index >= target->begun.index) {
        target_finish(target);
        return;
    }
    if (!target->is_submitted) {
        struct replica_message message = {.kind = REPLICA_INSTALL, .peer = target->leader, .term = target->term};
        message.install.last_index = target->begun.index;
        message.install.last_term = target->begun.term;
        message.install.membership_index = target->begun.membership_index;
        message.install.membership = target->begun.membership;
        enum err err = replica_install(replica, &message);
        if (err == OK) {
            target->is_submitted = true;
        } else if (err == ERR_INVALID && status.commit_index >= target->begun.index) {
            target_finish(target); /* the log has come this far meanwhile */
            return;
        } else if (err != ERR_BUSY && err != ERR_INVALID) {
            target->replica = err == ERR_CLOSED ? NULL : replica; /* stopped: it is on its way out */
            target_fail(target, err, "install");
            return;
        }
    }
    int64_t now_us = env_now_us(env_of(target));
    if (!target->is_submitted && now_us - target->signal_us > FORGET_US) {
        target_fail(target, ERR_TIMED_OUT, "install");
        return;
    }
    env_timer(env_of(target), &target->timer, INSTALL_POLL_US);
}

/* ---- One place ---- */

static bool is_over(struct catchup_target *target)
{
    struct replica *replica = replica_of(target);
    struct replica_status status;
    if (target->state == TARGET_WAITING) {
        return false;
    }
    if (replica == NULL) {
        return true;
    }
    replica_status(replica, &status);
    return target->begun.index > 0 && status.applied_index >= target->begun.index;
}

static void target_on_step(struct catchup_target *target)
{
    if (target->is_ending) {
        slice_release(&target->chunk);
        target_end(target);
        return;
    }
    if (is_over(target)) {
        slice_release(&target->chunk);
        drop_session(target); /* the member is gone, or has the log: nothing is needed any more */
        return;
    }
    bool is_call =
        target->state == TARGET_BEGINNING || target->state == TARGET_MANIFEST || target->state == TARGET_READING;
    if (is_call && target->err != OK) {
        target_fail(target, target->err, "call");
        return;
    }
    if (!is_call && target->state != TARGET_FINISHING && target->state != TARGET_WAITING && target->err != OK) {
        target_fail(target, target->err, "stage");
        return;
    }
    switch (target->state) {
    case TARGET_BEGINNING:
        on_begun(target);
        break;
    case TARGET_MANIFEST:
        on_manifest(target);
        break;
    case TARGET_STAGING:
        target->file = 0;
        target->finish_count = 0;
        target_next_file(target);
        break;
    case TARGET_RESUMING:
        on_resumed(target);
        break;
    case TARGET_READING:
        on_read(target);
        break;
    case TARGET_WRITING:
        on_written(target);
        break;
    case TARGET_FINISHING:
        on_finished(target);
        break;
    case TARGET_SEALING:
        target_install(target);
        break;
    case TARGET_WAITING: /* the answer to END */
    case TARGET_INSTALLING:
    default:
        break;
    }
}

static void target_on_timer(struct timer *timer)
{
    struct catchup_target *target = container_of(timer, struct catchup_target, timer);
    if (target->state == TARGET_INSTALLING) {
        target_install(target);
    } else if (is_over(target)) {
        drop_session(target);
    } else {
        struct catchup_call request = target->request;
        target_call(target, target->source, &request);
    }
}

/* ---- From outside ---- */

static void target_start(struct catchup_target *target)
{
    struct catchups *catchups = target->catchups;
    struct replica_machine *machine = replicas_machine(catchups->params.replicas, target->group);
    target->replica = replicas_find(catchups->params.replicas, target->group);
    if (machine == NULL || target->replica == NULL || machine->ops->stage == NULL ||
        catchups->pulling_count >= CATCHUP_TARGET_COUNT_MAX || replicas_are_full(catchups->params.replicas)) {
        return;
    }
    target->stage = machine->ops->stage(machine);
    if (target->stage == NULL) {
        return;
    }
    set_pulling(target, true);
    target->is_wanted = false;
    target->source = target->leader;
    target->round_bytes = 0;
    target->progress = (struct catchup_progress){
        .group = target->group, .peer = target->source, .started_us = env_now_us(catchups->params.env)};
    target_begin(target);
}

static bool may_begin(const struct catchup_target *target)
{
    return target->state == TARGET_WAITING && !target->is_under_way && !target->is_ending;
}

/* A signal that is older than a few heartbeats says nothing about what the leader has now. */
static bool is_due(const struct catchup_target *target, int64_t now_us)
{
    return target->is_wanted && may_begin(target) && now_us >= target->retry_us &&
           now_us - target->signal_us <= SIGNAL_FRESH_US;
}

void catchup_targets_start(struct catchups *catchups)
{
    int64_t now_us = env_now_us(catchups->params.env);
    for (struct list *link = catchups->target_list.next;
         link != &catchups->target_list && !catchups->is_closing && catchups->pulling_count < CATCHUP_TARGET_COUNT_MAX;
         link = link->next) {
        struct catchup_target *target = container_of(link, struct catchup_target, link);
        if (is_due(target, now_us)) {
            target_start(target);
        }
    }
}

void catchup_signal(struct catchups *catchups, uint64_t group, const struct replica_message *message)
{
    struct replica *replica = replicas_find(catchups->params.replicas, group);
    struct replica_status status;
    if (catchups->is_closing || replica == NULL || message->peer == 0) {
        return;
    }
    replica_status(replica, &status);
    if (message->term < status.term || message->install.last_index <= status.applied_index) {
        return;
    }
    struct catchup_target *target = map_get(&catchups->targets, group);
    if (target == NULL) {
        target = target_new(catchups, group);
    }
    int64_t now_us = env_now_us(catchups->params.env);
    if (message->term >= target->term) {
        target->term = message->term;
        target->leader = message->peer;
        target->signal_us = now_us;
        target->is_wanted |= may_begin(target); /* what comes in a session repeats what it is for */
    }
    if (is_due(target, now_us)) {
        target_start(target);
    }
}

void catchup_targets_tick(struct catchups *catchups, int64_t now_us)
{
    struct list *next;
    for (struct list *link = catchups->target_list.next; link != &catchups->target_list; link = next) {
        struct catchup_target *target = container_of(link, struct catchup_target, link);
        next = link->next;
        if (target->state == TARGET_WAITING && !target->is_under_way && now_us - target->signal_us > FORGET_US) {
            target_end(target);
        }
    }
}

void catchup_targets_close(struct catchups *catchups)
{
    struct list *next;
    for (struct list *link = catchups->target_list.next; link != &catchups->target_list; link = next) {
        next = link->next;
        target_end(container_of(link, struct catchup_target, link));
    }
}

void catchup_targets_each(const struct catchups *catchups, void *context,
                          void (*cb)(void *context, const struct catchup_progress *progress))
{
    for (struct list *link = catchups->target_list.next; link != &catchups->target_list; link = link->next) {
        const struct catchup_target *target = container_of(link, struct catchup_target, link);
        if (target->is_pulling) {
            cb(context, &target->progress);
        }
    }
}
