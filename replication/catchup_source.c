/* What is sent from here.
 *
 *   (none) --BEGIN--> preparing --> open <--> reading --END, silence, group gone--> (none)
 *                        ^            |
 *                        +---BEGIN----+  the next round: the state as it is then
 *
 * A session holds a source of the machine, which pins its files, and the manifest; and makes the replica keep more of
 * its log in memory, so that the follower finds it going on behind the state. One request of a session is in work at a
 * time. */
#include "replication/catchup_internal.h"

#include "base/assert.h"
#include "base/crc32c.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/trace.h"

#include <string.h>

#define SILENCE_US (INT64_C(60) * 1000000)

struct catchup_source {
    struct list link;
    struct catchups *catchups;
    uint64_t group, peer, session;
    struct replica_source *source;
    struct dynbuf manifest;
    struct catchup_begun begun;
    struct catchup_progress progress;
    int64_t used_us;
    struct timer timer; /* the request waits for its bytes to be paid for */
    struct work work;
    struct catchup_request *req; /* in work, or waiting for the timer; NULL: none */
    struct catchup_call call;
    struct shared *reply;
    enum err err;
    struct errmsg msg;
    bool is_working; /* the job is on its way */
    bool is_ending;
};

static void source_on_run(struct work *work);
static void source_on_done(struct work *work);
static void source_on_timer(struct timer *timer);

/* ---- Answers ---- */

static void refuse(struct catchups *catchups, struct catchup_request *req, enum catchup_status status)
{
    req->status = status;
    metrics_add(catchups->params.env->metrics, METRIC_CATCHUP_REFUSED, status != CATCHUP_OK);
    list_push(&catchups->refused, &req->link);
    env_task(catchups->params.env, &catchups->task);
}

/* Replies are blocks of their own: they may go to the link of another shard. */
static void answer(struct catchup_request *req, struct shared *block)
{
    req->cb(req, (struct slice){block, {block->data, block->size}});
    shared_release(block);
}

static struct shared *status_block(enum catchup_status status)
{
    struct shared *block = shared_new(1);
    block->data[0] = (uint8_t)status;
    return block;
}

void catchup_refused_answer(struct catchups *catchups)
{
    struct list *link;
    while ((link = list_pop(&catchups->refused)) != NULL) {
        struct catchup_request *req = container_of(link, struct catchup_request, link);
        answer(req, status_block((enum catchup_status)req->status));
    }
}

static void source_answer(struct catchup_source *source, enum catchup_status status)
{
    struct catchup_request *req = source->req;
    struct shared *block = source->reply;
    source->req = NULL;
    source->reply = NULL;
    if (status == CATCHUP_OK && source->call.op == CATCHUP_BEGIN) {
        uint8_t memory[CATCHUP_BEGUN_SIZE_MAX];
        size_t size = catchup_begun_encode(&source->begun, memory);
        block = shared_new(size);
        memcpy(block->data, memory, size);
    } else if (status == CATCHUP_OK) {
        metrics_add(source->catchups->params.env->metrics, METRIC_CATCHUP_SENT_BYTES, source->call.size);
    } else {
        shared_release(block);
        block = status_block(status);
    }
    answer(req, block);
}

/* ---- Life ---- */

static void source_free_state(struct catchup_source *source)
{
    if (source->source != NULL) {
        source->source->ops->close(source->source);
        source->source = NULL;
    }
    dynbuf_deinit(&source->manifest);
    dynbuf_init(&source->manifest, CATCHUP_MANIFEST_SIZE_MAX);
}

static unsigned sessions_of(const struct catchups *catchups, uint64_t group)
{
    unsigned count = 0;
    for (struct list *link = catchups->sources.next; link != &catchups->sources; link = link->next) {
        count += container_of(link, struct catchup_source, link)->group == group;
    }
    return count;
}

static void source_end(struct catchup_source *source)
{
    struct catchups *catchups = source->catchups;
    source->is_ending = true;
    if (source->is_working) {
        return;
    }
    env_timer_cancel(catchups->params.env, &source->timer);
    if (source->req != NULL) {
        source_answer(source, CATCHUP_GONE);
    }
    source_free_state(source);
    list_remove(&source->link);
    catchups->source_count--;
    metrics_add(catchups->params.env->metrics, METRIC_CATCHUPS_SENT, -1);
    struct replica *replica = replicas_find(catchups->params.replicas, source->group);
    if (replica != NULL && sessions_of(catchups, source->group) == 0) {
        replica_retain(replica, 0);
    }
    trace(DEBUG, REPLICA, "catch-up of a member ended", KV("group", (int64_t)source->group),
          KV("peer", (int64_t)source->peer), KV("bytes", (int64_t)source->progress.done_bytes));
    mem_free(source);
    catchups_step_close(catchups);
}

static struct catchup_source *source_new(struct catchups *catchups, uint64_t group, uint64_t peer)
{
    struct catchup_source *source = mem_alloc(sizeof(*source));
    source->catchups = catchups;
    source->group = group;
    source->peer = peer;
    do {
        source->session = env_random(catchups->params.env);
    } while (source->session == 0);
    dynbuf_init(&source->manifest, CATCHUP_MANIFEST_SIZE_MAX);
    timer_init(&source->timer, source_on_timer);
    list_init(&source->link);
    list_push(&catchups->sources, &source->link);
    catchups->source_count++;
    metrics_add(catchups->params.env->metrics, METRIC_CATCHUPS_SENT, 1);
    source->progress = (struct catchup_progress){
        .group = group, .is_source = true, .peer = peer, .started_us = env_now_us(catchups->params.env)};
    return source;
}

/* ---- BEGIN ---- */

/* The state as of now: the machine's capture and the replica's mark are of one moment. */
static bool source_capture(struct catchup_source *source)
{
    struct replicas *replicas = source->catchups->params.replicas;
    struct replica *replica = replicas_find(replicas, source->group);
    struct replica_machine *machine = replicas_machine(replicas, source->group);
    struct replica_mark mark;
    if (replica == NULL || machine == NULL || machine->ops->source == NULL) {
        return false;
    }
    replica_mark(replica, &mark);
    if (mark.index < 2 || mark.membership_index == 0) {
        return false;
    }
    source->source = machine->ops->source(machine);
    if (source->source == NULL) {
        return false;
    }
    replica_retain(replica, CATCHUP_RETAIN_SIZE);
    source->begun = (struct catchup_begun){
        .session = source->session,
        .index = mark.index,
        .term = mark.term,
        .membership_index = mark.membership_index,
        .membership = mark.membership,
    };
    source->progress.index = mark.index;
    source->progress.round++;
    source->progress.total_bytes = 0;
    return true;
}

static struct catchup_source *find_session(const struct catchups *catchups, uint64_t group, uint64_t session)
{
    for (struct list *link = catchups->sources.next; link != &catchups->sources; link = link->next) {
        struct catchup_source *source = container_of(link, struct catchup_source, link);
        if (source->group == group && source->session == session && !source->is_ending) {
            return source;
        }
    }
    return NULL;
}

/* A member has one session of a group: an earlier one is of an earlier life of it, or was given up. */
static void end_earlier(struct catchups *catchups, uint64_t group, uint64_t peer)
{
    struct list *next;
    for (struct list *link = catchups->sources.next; link != &catchups->sources; link = next) {
        struct catchup_source *source = container_of(link, struct catchup_source, link);
        next = link->next;
        if (source->group == group && source->peer == peer) {
            source_end(source);
        }
    }
}

static void source_submit(struct catchup_source *source)
{
    struct workers *workers = source->catchups->params.env->workers;
    source->is_working = true;
    source->work.run = source_on_run;
    source->work.done = source_on_done;
    workers->submit(workers, &source->work);
}

static void serve_begin(struct catchups *catchups, struct catchup_request *req, const struct catchup_call *call)
{
    struct catchup_source *source = find_session(catchups, call->group, call->session);
    if (source == NULL) {
        end_earlier(catchups, call->group, req->peer);
        if (catchups->source_count >= CATCHUP_SOURCE_COUNT_MAX) {
            refuse(catchups, req, CATCHUP_BUSY);
            return;
        }
        source = source_new(catchups, call->group, req->peer);
    } else if (source->req != NULL) {
        refuse(catchups, req, CATCHUP_BUSY);
        return;
    }
    source_free_state(source);
    if (!source_capture(source)) {
        source_end(source);
        refuse(catchups, req, CATCHUP_GONE);
        return;
    }
    source->used_us = env_now_us(catchups->params.env);
    source->req = req;
    source->call = *call;
    source_submit(source);
}

static void run_begin(struct catchup_source *source)
{
    struct replica_source *state = source->source;
    source->err = state->ops->prepare(state, &source->msg);
    if (source->err == OK) {
        source->err = catchup_manifest_encode(state, &source->manifest);
    }
    struct bytes manifest = dynbuf_bytes(&source->manifest);
    source->begun.manifest_size = (uint32_t)manifest.size;
    source->begun.manifest_crc = crc32c(0, manifest);
}

/* ---- READ ---- */

static bool is_readable(const struct catchup_source *source, const struct catchup_call *call)
{
    uint64_t size = source->manifest.size;
    if (call->file > source->source->file_count || call->size == 0 || call->size > CATCHUP_CHUNK_SIZE) {
        return false;
    }
    if (call->file > 0) {
        size = source->source->files[call->file - 1].size;
    }
    return call->position <= size && call->size <= size - call->position;
}

static void serve_read(struct catchups *catchups, struct catchup_request *req, const struct catchup_call *call)
{
    struct catchup_source *source = find_session(catchups, call->group, call->session);
    if (source == NULL || source->source == NULL) {
        refuse(catchups, req, CATCHUP_GONE);
        return;
    }
    if (source->req != NULL) {
        refuse(catchups, req, CATCHUP_BUSY);
        return;
    }
    if (!is_readable(source, call)) {
        refuse(catchups, req, CATCHUP_GONE);
        return;
    }
    int64_t now_us = env_now_us(catchups->params.env);
    int64_t delay_us = catchup_rate_take(&catchups->out, now_us, call->size);
    metrics_add(catchups->params.env->metrics, METRIC_CATCHUP_DELAYED, delay_us > 0);
    source->used_us = now_us + delay_us;
    source->req = req;
    source->call = *call;
    if (delay_us > 0) {
        env_timer(catchups->params.env, &source->timer, delay_us);
    } else {
        source_submit(source);
    }
}

static void source_on_timer(struct timer *timer)
{
    source_submit(container_of(timer, struct catchup_source, timer));
}

static void run_read(struct catchup_source *source)
{
    const struct catchup_call *call = &source->call;
    source->reply = shared_new(1 + call->size);
    source->reply->data[0] = CATCHUP_OK;
    if (call->file == 0) {
        memcpy(source->reply->data + 1, source->manifest.data + call->position, call->size);
        source->err = OK;
        return;
    }
    source->err = source->source->ops->read(source->source, &source->source->files[call->file - 1], call->position,
                                            source->reply->data + 1, call->size, &source->msg);
}

/* ---- The job ---- */

static void source_on_run(struct work *work)
{
    struct catchup_source *source = container_of(work, struct catchup_source, work);
    if (source->call.op == CATCHUP_BEGIN) {
        run_begin(source);
    } else {
        run_read(source);
    }
}

/* Its own bytes are bad: the replica is out of service, like one that a reader found to be so. */
static void source_damaged(const struct catchup_source *source)
{
    struct replica *replica = replicas_find(source->catchups->params.replicas, source->group);
    if (replica != NULL) {
        replica_damaged(replica, source->msg.text);
    }
}

static void source_on_done(struct work *work)
{
    struct catchup_source *source = container_of(work, struct catchup_source, work);
    source->is_working = false;
    bool is_ending = source->is_ending;
    enum err err = source->err;
    if (err != OK && err != ERR_NOT_FOUND) {
        trace(ERROR, REPLICA, "a state cannot be sent", KV("group", (int64_t)source->group), KV("error", err_text(err)),
              KV("cause", (const char *)source->msg.text));
    }
    if (err == OK && source->call.op == CATCHUP_BEGIN) {
        for (size_t i = 0; i < source->source->file_count; i++) {
            source->progress.total_bytes += source->source->files[i].size;
        }
        trace(DEBUG, REPLICA, "state of a member's catch-up", KV("group", (int64_t)source->group),
              KV("peer", (int64_t)source->peer), KV("index", (int64_t)source->begun.index),
              KV("bytes", (int64_t)source->progress.total_bytes));
    } else if (err == OK) {
        source->progress.done_bytes += source->call.size;
    }
    if (err == ERR_DAMAGED && !is_ending) {
        source_damaged(source);
    }
    bool is_gone = is_ending || err == ERR_NOT_FOUND;
    source_answer(source, is_gone ? CATCHUP_GONE : err == OK ? CATCHUP_OK : CATCHUP_DAMAGED);
    if (is_ending || err != OK) {
        source_end(source);
    }
}

/* ---- From outside ---- */

uint64_t catchup_request_group(struct bytes payload)
{
    return payload.size < 8 ? 0 : be64_get(payload.data);
}

void catchup_serve(struct catchups *catchups, struct catchup_request *req)
{
    struct catchup_call call;
    list_init(&req->link);
    if (catchups->is_closing || catchup_call_decode(req->payload.bytes, &call) != OK) {
        refuse(catchups, req, CATCHUP_GONE);
        return;
    }
    switch (call.op) {
    case CATCHUP_BEGIN:
        serve_begin(catchups, req, &call);
        break;
    case CATCHUP_READ:
        serve_read(catchups, req, &call);
        break;
    case CATCHUP_END:
    default: {
        struct catchup_source *source = find_session(catchups, call.group, call.session);
        if (source != NULL) {
            source_end(source);
        }
        refuse(catchups, req, CATCHUP_OK);
        break;
    }
    }
}

void catchup_sources_tick(struct catchups *catchups, int64_t now_us)
{
    struct list *next;
    for (struct list *link = catchups->sources.next; link != &catchups->sources; link = next) {
        struct catchup_source *source = container_of(link, struct catchup_source, link);
        next = link->next;
        if (source->req == NULL && now_us - source->used_us > SILENCE_US) {
            source_end(source);
        }
    }
}

void catchup_sources_close(struct catchups *catchups)
{
    struct list *next;
    for (struct list *link = catchups->sources.next; link != &catchups->sources; link = next) {
        next = link->next;
        source_end(container_of(link, struct catchup_source, link));
    }
}

void catchup_sources_each(const struct catchups *catchups, void *context,
                          void (*cb)(void *context, const struct catchup_progress *progress))
{
    for (struct list *link = catchups->sources.next; link != &catchups->sources; link = link->next) {
        cb(context, &container_of(link, struct catchup_source, link)->progress);
    }
}
