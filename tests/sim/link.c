/* A connection is made when it is first needed; one that fails or times out answers all its calls with ERR_CLOSED and
 * is made anew by the next call. */
#include "tests/sim/link.h"

#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/outbuf.h"

enum {
    ROOM = 65536
};

struct kafka_link {
    struct links *links;
    unsigned node;
    struct stream *stream;
    struct stream_connect connect;
    char host[8];
    bool is_connecting;
    struct list waiting; /* calls not yet written: the connection is being made */
    struct list pending; /* calls written, in order */
    struct dynbuf input;
    uint8_t room[ROOM];
};

struct frame { /* one request on its way */
    struct stream_write write;
    struct iovec iov;
    struct shared *block;
};

struct links {
    struct env *env;
    struct kafka_link *of[NODES_MAX + 1];
    int32_t next_correlation_id;
};

struct links *links_open(struct env *env)
{
    struct links *links = mem_alloc(sizeof(*links));
    links->env = env;
    return links;
}

static void call_on_task(struct task *task)
{
    struct link_call *call = container_of(task, struct link_call, task);
    call->cb(call);
}

/* Off the list, answered at the end of the turn. */
static void call_fail(struct link_call *call, enum err err)
{
    list_remove(&call->link);
    env_timer_cancel(call->links->env, &call->timer);
    shared_release(call->block);
    call->block = NULL;
    call->err = err;
    env_task(call->links->env, &call->task);
}

static void fail_all(struct kafka_link *link)
{
    while (!list_is_empty(&link->pending)) {
        call_fail(container_of(link->pending.next, struct link_call, link), ERR_CLOSED);
    }
    while (!list_is_empty(&link->waiting)) {
        call_fail(container_of(link->waiting.next, struct link_call, link), ERR_CLOSED);
    }
}

static void link_on_closed(void *owner)
{
    struct kafka_link *link = owner;
    dynbuf_deinit(&link->input);
    mem_free(link);
}

/* The struct goes with the stream's last callback; the next call makes another. */
static void link_close(struct kafka_link *link)
{
    if (link->links->of[link->node] != link) {
        return;
    }
    link->links->of[link->node] = NULL;
    fail_all(link);
    if (link->stream != NULL) {
        link->links->env->net->stream_close(link->stream, link_on_closed);
    } else if (link->is_connecting) {
        link->links->env->net->connect_cancel(link->links->env->net, &link->connect);
    } else {
        link_on_closed(link);
    }
}

static void link_on_alloc(void *owner, size_t size_hint, uint8_t **data, size_t *size)
{
    struct kafka_link *link = owner;
    (void)size_hint;
    *data = link->room;
    *size = ROOM;
}

static struct link_call *call_find(struct kafka_link *link, int32_t correlation_id)
{
    for (struct list *at = link->pending.next; at != &link->pending; at = at->next) {
        struct link_call *call = container_of(at, struct link_call, link);
        if (call->correlation_id == correlation_id) {
            return call;
        }
    }
    return NULL;
}

static void answer(struct kafka_link *link, struct bytes frame)
{
    struct reader reader;
    reader_init(&reader, frame);
    struct link_call *call = call_find(link, read_i32(&reader));
    assert(call != NULL); /* answers come for what was asked */
    if (kafka_api_response_header(kafka_api_find(call->api), call->version) > 0) {
        uint8_t tags = read_u8(&reader);
        assert(tags == 0);
    }
    list_remove(&call->link);
    env_timer_cancel(link->links->env, &call->timer);
    call->err = OK;
    call->answer = reader;
    call->cb(call);
}

static void link_on_read(void *owner, enum err err, size_t size)
{
    struct kafka_link *link = owner;
    struct links *links = link->links;
    unsigned node = link->node;
    if (err != OK) {
        link_close(link);
        return;
    }
    err = dynbuf_put(&link->input, (struct bytes){link->room, size});
    assert(err == OK);
    while (links->of[node] == link && link->input.size >= 4) {
        size_t frame_size = be32_get(link->input.data);
        if (link->input.size - 4 < frame_size) {
            break;
        }
        answer(link, (struct bytes){link->input.data + 4, frame_size});
        dynbuf_consume(&link->input, 4 + frame_size);
    }
}

static const struct stream_handlers HANDLERS = {.on_alloc = link_on_alloc, .on_read = link_on_read};

static void frame_on_written(struct stream_write *req, enum err err)
{
    struct frame *frame = container_of(req, struct frame, write);
    (void)err; /* reading tells */
    shared_release(frame->block);
    mem_free(frame);
}

static void call_write(struct kafka_link *link, struct link_call *call)
{
    struct frame *frame = mem_alloc(sizeof(*frame));
    frame->block = call->block;
    frame->iov = (struct iovec){call->block->data, call->block->size};
    call->block = NULL;
    list_push(&link->pending, &call->link);
    frame->write = (struct stream_write){.iov = &frame->iov, .count = 1, .cb = frame_on_written};
    link->links->env->net->stream_write(link->stream, &frame->write);
}

static void link_on_connected(struct stream_connect *req, enum err err, struct stream *stream)
{
    struct kafka_link *link = container_of(req, struct kafka_link, connect);
    link->is_connecting = false;
    if (link->links->of[link->node] != link) { /* given up meanwhile */
        if (err == OK) {
            link->links->env->net->stream_close(stream, link_on_closed);
        } else {
            link_on_closed(link);
        }
        return;
    }
    if (err != OK) {
        link_close(link);
        return;
    }
    link->stream = stream;
    link->links->env->net->stream_start(stream, &HANDLERS, link);
    struct list *at;
    while ((at = list_pop(&link->waiting)) != NULL) {
        struct link_call *call = container_of(at, struct link_call, link);
        call_write(link, call);
    }
}

static struct kafka_link *link_open(struct links *links, unsigned node)
{
    struct kafka_link *link = mem_alloc(sizeof(*link));
    link->links = links;
    link->node = node;
    list_init(&link->waiting);
    list_init(&link->pending);
    dynbuf_init(&link->input, MIB(70));
    (void)snprintf(link->host, sizeof(link->host), "n%u", node);
    link->connect = (struct stream_connect){.host = link->host, .port = NODE_KAFKA_PORT, .cb = link_on_connected};
    link->is_connecting = true;
    links->of[node] = link;
    links->env->net->connect(links->env->net, &link->connect);
    return link;
}

static struct shared *call_encode(const struct link_call *call, const void *message)
{
    const struct kafka_api *api = kafka_api_find(call->api);
    struct kafka_request_header header = {.request_api_key = call->api,
                                          .request_api_version = call->version,
                                          .correlation_id = call->correlation_id,
                                          .client_id = bytes_from_text("sim")};
    struct outbuf out;
    outbuf_init(&out, REQUEST_SIZE_MAX);
    uint8_t *size = outbuf_reserve(&out, 4);
    codec_encode(&kafka_request_header_schema, kafka_api_request_header(api, call->version), &header, &out);
    codec_encode(api->request, call->version, message, &out);
    assert(out.err == OK);
    be32_put(size, (uint32_t)(out.size - 4));
    struct shared *block = outbuf_flatten(&out);
    outbuf_deinit(&out);
    return block;
}

static void call_on_timer(struct timer *timer)
{
    struct link_call *call = container_of(timer, struct link_call, timer);
    struct kafka_link *link = call->links->of[call->node];
    call_fail(call, ERR_TIMED_OUT);
    if (link != NULL) {
        link_close(link);
    }
}

void links_call(struct links *links, unsigned node, struct link_call *call, const void *message)
{
    assert(node >= 1 && node <= NODES_MAX);
    call->links = links;
    call->node = node;
    call->correlation_id = links->next_correlation_id++;
    call->block = call_encode(call, message);
    task_init(&call->task, call_on_task);
    timer_init(&call->timer, call_on_timer);
    list_init(&call->link);
    env_timer(links->env, &call->timer, call->timeout_us);
    struct kafka_link *link = links->of[node] != NULL ? links->of[node] : link_open(links, node);
    if (link->is_connecting) {
        list_push(&link->waiting, &call->link);
    } else {
        call_write(link, call);
    }
}
