/* A job is one request on its way: made on its origin, carried to shard 0, tried there until the controller has
 * answered or time is up, carried back.
 *
 *   origin ~> [waiting] ── no controller ──> tried again every POLL_US
 *                │ ^
 *        attempt │ │ not the controller (nothing was done), or in doubt and repeatable
 *                v │
 *            [travelling] ── answered ──> [catching up] ── this broker has the index ──> ~> origin
 *                └── in doubt ──────────────────────────────────────────────────────────> ~> origin
 *
 * An attempt (struct trip) has its own memory, as its callback comes when it comes; a job that cannot wait any more
 * (the process stops) leaves its trip behind.
 * Stop: jobs that wait are answered at once; those under way get STOP_GRACE_US. */

#include "broker/forward.h"
#include "base/assert.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/trace.h"
#include "broker/broker.h"
#include "broker/forward_internal.h"
#include "broker/wish.h"

#define POLL_US (10 * 1000)
#define STOP_GRACE_US (1500 * 1000)
#define TIMEOUT_MAX_MS 30000
#define CALL_FRAME_SIZE_MAX MIB(16)

struct forward {
    struct shard *shard;
    struct list waiting;     /* for a controller */
    struct list travelling;  /* an attempt is under way */
    struct list catching_up; /* answered; this broker's metadata is behind */
    struct timer poll;
    bool is_polling;
    bool is_stopping;
    int64_t stop_us; /* after which nothing under way is waited for */
};

static void forward_on_poll(struct timer *timer);

struct forward *forward_open(struct shard *shard)
{
    struct forward *forward = mem_alloc(sizeof(*forward));
    forward->shard = shard;
    list_init(&forward->waiting);
    list_init(&forward->travelling);
    list_init(&forward->catching_up);
    timer_init(&forward->poll, forward_on_poll);
    return forward;
}

void forward_close(struct forward *forward)
{
    assert(list_is_empty(&forward->waiting));
    assert(list_is_empty(&forward->travelling));
    assert(list_is_empty(&forward->catching_up));
    env_timer_cancel(forward->shard->env, &forward->poll);
    mem_free(forward);
}

static void poll_later(struct forward *forward)
{
    if (!forward->is_polling) {
        forward->is_polling = true;
        env_timer(forward->shard->env, &forward->poll, POLL_US);
    }
}

/* ---- Back to the origin ---- */

static void job_on_back(struct message *message)
{
    struct forward_job *job = container_of(message, struct forward_job, message);
    store_reader_refresh(job->origin->reader);
    job->done(job);
}

static void job_finish(struct forward_job *job, enum forward_outcome outcome)
{
    list_remove(&job->link);
    slice_release(&job->frame);
    job->outcome = outcome;
    job->message.cb = job_on_back;
    shard_send(job->home, job->origin->number, &job->message);
}

/* ---- On shard 0 ---- */

bool forward_is_controller(const struct shard *shard)
{
    return shard->metadata != NULL && shard->controller != NULL && !shard->is_stopping &&
           metadata_is_leader(shard->metadata);
}

static void job_wait(struct forward *forward, struct forward_job *job)
{
    list_remove(&job->link);
    if (forward->is_stopping || env_now_us(forward->shard->env) >= job->deadline_us) {
        job_finish(job, FORWARD_NO_CONTROLLER);
        return;
    }
    list_push(&forward->waiting, &job->link);
    poll_later(forward);
}

/* A look for a controller every POLL_US is no attempt: nothing has been sent. */
static void job_wait_again(struct forward *forward, struct forward_job *job)
{
    metrics_add(forward->shard->metrics, METRIC_FORWARD_RETRIES, 1);
    job_wait(forward, job);
}

static bool has_caught_up(struct forward *forward, const struct forward_job *job)
{
    store_reader_refresh(forward->shard->reader);
    return store_applied_index(forward->shard->reader) >= job->index;
}

static void job_answered(struct forward *forward, struct forward_job *job)
{
    if (has_caught_up(forward, job) || forward->is_stopping) {
        job_finish(job, FORWARD_ANSWERED);
        return;
    }
    job->deadline_us = env_now_us(forward->shard->env) + (int64_t)FORWARD_CATCH_UP_MS * 1000;
    list_remove(&job->link);
    list_push(&forward->catching_up, &job->link);
    poll_later(forward);
}

void forward_trip_end(struct forward_trip *trip, enum forward_outcome outcome, struct slice response, uint64_t index)
{
    struct forward *forward = trip->forward;
    struct forward_job *job = trip->job;
    mem_free(trip);
    if (job == NULL) {
        return;
    }
    job->trip = NULL;
    switch (outcome) {
    case FORWARD_ANSWERED:
        job->response = slice_acquire(response);
        job->index = index;
        job_answered(forward, job);
        break;
    case FORWARD_NO_CONTROLLER:
        job_wait_again(forward, job);
        break;
    case FORWARD_IN_DOUBT:
        if (job->is_repeatable) {
            job_wait_again(forward, job);
            break;
        }
        metrics_add(forward->shard->metrics, METRIC_FORWARD_IN_DOUBT, 1);
        trace(WARN, CONTROLLER, "a forwarded request is in doubt", KV("controller", job->node));
        job_finish(job, outcome);
        break;
    case FORWARD_REFUSED:
        job_finish(job, outcome);
        break;
    }
}

static void trip_on_run(struct request_run *run)
{
    struct forward_trip *trip = container_of(run, struct forward_trip, run);
    struct store_reader *reader = trip->forward->shard->reader;
    store_reader_refresh(reader);
    forward_trip_end(trip,
                     run->err == OK               ? FORWARD_ANSWERED
                     : run->err == ERR_NOT_LEADER ? FORWARD_NO_CONTROLLER
                                                  : FORWARD_REFUSED,
                     run->response, store_applied_index(reader));
}

/* False: nobody can be asked now. */
static bool job_try(struct forward *forward, struct forward_job *job)
{
    struct shard *shard = forward->shard;
    bool is_here = forward_is_controller(shard);
    if (is_here && !request_has_room(shard)) {
        return false;
    }
    struct forward_trip *trip = mem_alloc(sizeof(*trip));
    trip->forward = forward;
    trip->job = job;
    if (is_here) {
        trip->run.frame = job->frame;
        trip->run.cb = trip_on_run;
        request_run(shard, &trip->run);
    } else if (!forward_trip_start(shard, trip)) {
        mem_free(trip);
        return false;
    }
    job->trip = trip;
    list_remove(&job->link);
    list_push(&forward->travelling, &job->link);
    return true;
}

static void job_on_arrived(struct message *message)
{
    struct forward_job *job = container_of(message, struct forward_job, message);
    struct forward *forward = job->home->forward;
    job->deadline_us = env_now_us(job->home->env) + job->timeout_ms * 1000;
    list_init(&job->link);
    if (forward->is_stopping || !job_try(forward, job)) {
        job_wait_again(forward, job);
    }
}

static void poll_catching_up(struct forward *forward)
{
    struct list pending;
    struct list *link;
    int64_t now_us = env_now_us(forward->shard->env);
    list_init(&pending);
    list_move_all(&pending, &forward->catching_up);
    while ((link = list_pop(&pending)) != NULL) {
        struct forward_job *job = container_of(link, struct forward_job, link);
        if (has_caught_up(forward, job) || now_us >= job->deadline_us || forward->is_stopping) {
            job_finish(job, FORWARD_ANSWERED);
        } else {
            list_push(&forward->catching_up, &job->link);
        }
    }
}

static void poll_waiting(struct forward *forward)
{
    struct list pending;
    struct list *link;
    list_init(&pending);
    list_move_all(&pending, &forward->waiting);
    while ((link = list_pop(&pending)) != NULL) {
        struct forward_job *job = container_of(link, struct forward_job, link);
        if (forward->is_stopping || !job_try(forward, job)) {
            job_wait(forward, job);
        }
    }
}

static void leave_trips(struct forward *forward)
{
    while (!list_is_empty(&forward->travelling)) {
        struct forward_job *job = container_of(forward->travelling.next, struct forward_job, link);
        job->trip->job = NULL;
        job_finish(job, FORWARD_IN_DOUBT);
    }
}

static void forward_on_poll(struct timer *timer)
{
    struct forward *forward = container_of(timer, struct forward, poll);
    forward->is_polling = false;
    poll_catching_up(forward);
    poll_waiting(forward);
    if (forward->is_stopping && env_now_us(forward->shard->env) >= forward->stop_us) {
        leave_trips(forward);
    }
    if (!list_is_empty(&forward->waiting) || !list_is_empty(&forward->catching_up) ||
        (forward->is_stopping && !list_is_empty(&forward->travelling))) {
        poll_later(forward);
    }
}

void forward_metadata_applied(struct forward *forward)
{
    poll_catching_up(forward);
}

void forward_stop(struct forward *forward)
{
    forward->is_stopping = true;
    forward->stop_us = env_now_us(forward->shard->env) + STOP_GRACE_US;
    poll_later(forward);
}

/* ---- A job from any shard ---- */

static void job_send(struct forward_job *job, struct shard *origin, struct slice frame)
{
    job->origin = origin;
    job->home = &origin->broker->shards[0];
    job->frame = slice_acquire(frame);
    job->message.cb = job_on_arrived;
    shard_send(origin, 0, &job->message);
}

/* ---- A client's request ---- */

struct forwarded {
    struct forward_job job;
    struct request *request;
    struct bytes *names; /* of topics that get new partitions, in the request's arena */
    size_t name_count;
    int32_t leaders_timeout_ms;
    uint64_t *groups;
    struct leaders_wait wait;
};

static bool decode(struct request *request, const struct schema *schema, void *message)
{
    struct reader body = request->body; /* the handler reads it again if the controller cannot be asked */
    return codec_decode(schema, request->api_version, &body, &request->arena, message) == OK;
}

static bool look_at_create_topics(struct forwarded *forwarded, int32_t *timeout_ms)
{
    struct request *request = forwarded->request;
    struct kafka_create_topics_request message;
    if (!decode(request, &kafka_create_topics_request_schema, &message)) {
        return false;
    }
    *timeout_ms = message.timeout_ms;
    size_t count = message.validate_only ? 0 : (size_t)message.topics_count;
    forwarded->names = arena_alloc(&request->arena, (count + 1) * sizeof(*forwarded->names));
    for (size_t i = 0; forwarded->names != NULL && i < count; i++) {
        forwarded->names[forwarded->name_count++] = message.topics[i].name;
    }
    return true;
}

static bool look_at_create_partitions(struct forwarded *forwarded, int32_t *timeout_ms)
{
    struct request *request = forwarded->request;
    struct kafka_create_partitions_request message;
    if (!decode(request, &kafka_create_partitions_request_schema, &message)) {
        return false;
    }
    *timeout_ms = message.timeout_ms;
    size_t count = message.validate_only ? 0 : (size_t)message.topics_count;
    forwarded->names = arena_alloc(&request->arena, (count + 1) * sizeof(*forwarded->names));
    for (size_t i = 0; forwarded->names != NULL && i < count; i++) {
        forwarded->names[forwarded->name_count++] = message.topics[i].name;
    }
    return true;
}

static bool look_at_delete_topics(const struct forwarded *forwarded, int32_t *timeout_ms)
{
    struct kafka_delete_topics_request message;
    if (!decode(forwarded->request, &kafka_delete_topics_request_schema, &message)) {
        return false;
    }
    *timeout_ms = message.timeout_ms;
    return true;
}

/* How long it may take, and what must be led afterwards. False: malformed. */
static bool look_at(struct forwarded *forwarded)
{
    int32_t timeout_ms = 0;
    bool is_ok = true;
    switch (forwarded->request->api_key) {
    case KAFKA_API_CREATE_TOPICS:
        is_ok = look_at_create_topics(forwarded, &timeout_ms);
        break;
    case KAFKA_API_CREATE_PARTITIONS:
        is_ok = look_at_create_partitions(forwarded, &timeout_ms);
        break;
    case KAFKA_API_DELETE_TOPICS:
        is_ok = look_at_delete_topics(forwarded, &timeout_ms);
        break;
    default:
        break;
    }
    forwarded->job.timeout_ms = timeout_ms <= 0               ? FORWARD_WAIT_MS
                                : timeout_ms < TIMEOUT_MAX_MS ? timeout_ms
                                                              : TIMEOUT_MAX_MS;
    forwarded->leaders_timeout_ms = timeout_ms <= 0                   ? 0
                                    : timeout_ms < FORWARD_LEADERS_MS ? timeout_ms
                                                                      : FORWARD_LEADERS_MS;
    return is_ok;
}

static void forwarded_free(struct forwarded *forwarded)
{
    slice_release(&forwarded->job.response);
    mem_free(forwarded->groups);
    mem_free(forwarded);
}

static void forwarded_on_leaders(struct leaders_wait *wait)
{
    struct forwarded *forwarded = container_of(wait, struct forwarded, wait);
    request_respond_raw(forwarded->request, forwarded->job.response);
    forwarded_free(forwarded);
}

static void forwarded_answered(struct forwarded *forwarded)
{
    struct shard *shard = forwarded->job.origin;
    size_t count = 0;
    for (size_t i = 0; i < forwarded->name_count; i++) {
        struct uuid id;
        if (store_topic_id(shard->reader, forwarded->names[i], &id) == OK) {
            count = wish_topic_groups(shard, &id, 0, &forwarded->groups, count);
        }
    }
    forwarded->wait = (struct leaders_wait){.groups = forwarded->groups, .count = count, .cb = forwarded_on_leaders};
    leaders_wait_for(shard->leaders, &forwarded->wait, forwarded->leaders_timeout_ms);
}

static void forwarded_done(struct forward_job *job)
{
    struct forwarded *forwarded = container_of(job, struct forwarded, job);
    struct request *request = forwarded->request;
    switch (job->outcome) {
    case FORWARD_ANSWERED:
        forwarded_answered(forwarded);
        return;
    case FORWARD_REFUSED:
        request_kill(request, "the controller does not take this request");
        break;
    case FORWARD_NO_CONTROLLER:
    case FORWARD_IN_DOUBT:
        request->refusal = job->outcome == FORWARD_IN_DOUBT ? KAFKA_REQUEST_TIMED_OUT : KAFKA_NOT_CONTROLLER;
        api_handler(request->api_key)(request);
        break;
    }
    forwarded_free(forwarded);
}

bool forward_to_controller(struct request *request)
{
    if (request->run != NULL || request->refusal != KAFKA_NONE) {
        return false;
    }
    struct forwarded *forwarded = mem_alloc(sizeof(*forwarded));
    forwarded->request = request;
    if (!look_at(forwarded)) {
        mem_free(forwarded);
        return false; /* the handler finds the same and says so */
    }
    forwarded->job.done = forwarded_done;
    job_send(&forwarded->job, request->shard, (struct slice){request->frame, request->frame_bytes});
    return true;
}

/* ---- A wish of this broker ---- */

struct called {
    struct forward_job job;
    struct forward_call *call;
};

static struct slice encode_call(const struct shard *shard, const struct forward_call *call)
{
    const struct kafka_api *api = kafka_api_find_internal(call->api_key);
    struct kafka_request_header header = {.request_api_key = call->api_key,
                                          .request_api_version = call->api_version,
                                          .correlation_id = shard->options->node_id,
                                          .client_id = bytes_from_text("balsa")};
    struct outbuf out;
    outbuf_init(&out, CALL_FRAME_SIZE_MAX);
    codec_encode(&kafka_request_header_schema, kafka_api_request_header(api, call->api_version), &header, &out);
    codec_encode(call->schema, call->api_version, call->message, &out);
    struct slice frame = {NULL, BYTES_NONE};
    if (out.err == OK) {
        frame.block = outbuf_flatten(&out);
        frame.bytes = (struct bytes){frame.block->data, frame.block->size};
    }
    outbuf_deinit(&out);
    return frame;
}

/* Steps over the response's header. */
static enum err open_response(const struct forward_call *call, const struct slice *response, struct slice *body)
{
    const struct kafka_api *api = kafka_api_find_internal(call->api_key);
    struct kafka_response_header header;
    struct reader reader;
    struct arena arena;
    arena_init(&arena, KIB(4));
    reader_init(&reader, response->bytes);
    enum err err = codec_decode(&kafka_response_header_schema, kafka_api_response_header(api, call->api_version),
                                &reader, &arena, &header);
    arena_deinit(&arena);
    *body = (struct slice){response->block, {reader.at, reader.left}};
    return err;
}

static void called_done(struct forward_job *job)
{
    struct called *called = container_of(job, struct called, job);
    struct forward_call *call = called->call;
    call->response = (struct slice){NULL, BYTES_NONE};
    switch (job->outcome) {
    case FORWARD_ANSWERED:
        call->err = open_response(call, &job->response, &call->response);
        break;
    case FORWARD_REFUSED:
        call->err = ERR_UNSUPPORTED;
        break;
    case FORWARD_NO_CONTROLLER:
        call->err = ERR_NOT_LEADER;
        break;
    case FORWARD_IN_DOUBT:
        call->err = ERR_TIMED_OUT;
        break;
    }
    struct slice response = job->response;
    mem_free(called);
    call->cb(call); /* may free it */
    slice_release(&response);
}

void forward_call(struct shard *shard, struct forward_call *call)
{
    struct called *called = mem_alloc(sizeof(*called));
    struct slice frame = encode_call(shard, call);
    called->call = call;
    called->job.timeout_ms = call->timeout_ms;
    called->job.is_repeatable = call->is_repeatable;
    called->job.done = called_done;
    if (frame.block == NULL) {
        called->job.origin = shard;
        called->job.outcome = FORWARD_REFUSED;
        called->job.message.cb = job_on_back;
        shard_send(shard, shard->number, &called->job.message);
        return;
    }
    job_send(&called->job, shard, frame);
    slice_release(&frame);
}
