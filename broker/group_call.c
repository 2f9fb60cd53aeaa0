/* Messages of a call: there and back (struct coordinator_call); `held` comes back before it, when the call has to wait.
 * `gone` is sent once, when the call is held and its connection has closed; it crosses the way back, so it returns in
 * any case, and the call is freed when it is back and no `gone` is out. */

#include "broker/group_call.h"
#include "base/assert.h"
#include "base/mem.h"
#include "broker/broker.h"

static struct group_call *call_of(struct coordinator_call *call)
{
    return container_of(call, struct group_call, call);
}

/* ---- On the connection's shard ---- */

static void call_maybe_free(struct group_call *call)
{
    if (call->is_back && !call->is_gone_out) {
        mem_free(call);
    }
}

static void call_on_back(struct coordinator_call *base)
{
    struct group_call *call = call_of(base);
    call->request->on_gone = NULL;
    if (call->response.block != NULL) {
        request_respond_raw(call->request, call->response);
        slice_release(&call->response);
    } else {
        request_kill(call->request, "group response over the memory limit");
    }
    call->is_back = true;
    call_maybe_free(call);
}

static void call_on_gone_back(struct message *message)
{
    struct group_call *call = container_of(message, struct group_call, gone);
    call->is_gone_out = false;
    call_maybe_free(call);
}

static void call_on_gone(struct message *message)
{
    struct group_call *call = container_of(message, struct group_call, gone);
    if (!call->is_answered) {
        coordinator_withdraw(call->call.home->coordinator, call);
        assert(call->is_answered);
    }
    call->gone.cb = call_on_gone_back;
    shard_send(call->call.home, call->call.origin->number, &call->gone);
}

static void send_gone(struct group_call *call)
{
    call->is_gone_out = true;
    call->gone.cb = call_on_gone;
    shard_send(call->call.origin, 0, &call->gone);
}

static void call_on_held(struct message *message)
{
    struct group_call *call = container_of(message, struct group_call, held);
    call->is_held = true;
    request_let_go(call->request);
    if (call->is_gone) {
        send_gone(call);
    }
}

/* A call that is not held yet is about to be, or to be answered. */
static void request_on_gone(struct request *request)
{
    struct group_call *call = request->context;
    call->is_gone = true;
    if (call->is_held) {
        send_gone(call);
    }
}

/* ---- On shard 0 ---- */

void group_call_answer(struct group_call *call, const struct schema *schema, const void *message)
{
    assert(!call->is_answered);
    call->is_answered = true;
    if (message != NULL) {
        call->response = request_encode(call->request, schema, message);
    }
    if (!call->is_running) {
        coordinator_return(&call->call);
    }
}

static void call_run(struct coordinator_call *base, struct coordinator *coordinator)
{
    struct group_call *call = call_of(base);
    call->is_running = true;
    call->run(call, coordinator);
    call->is_running = false;
    if (call->is_answered) {
        coordinator_return(base);
        return;
    }
    call->message = NULL;
    call->held.cb = call_on_held;
    shard_send(base->home, base->origin->number, &call->held);
}

void group_call_send(struct request *request, const struct schema *schema, size_t message_size,
                     void (*run)(struct group_call *call, struct coordinator *coordinator))
{
    void *message = arena_alloc(&request->arena, message_size);
    if (message == NULL) {
        request_kill(request, "request header over the memory limit");
        return;
    }
    if (!request_decode(request, schema, message)) {
        return;
    }
    struct group_call *call = mem_alloc(sizeof(*call));
    call->request = request;
    call->message = message;
    call->run = run;
    call->client_host[0] = '/';
    request_peer_address(request, call->client_host + 1, sizeof(call->client_host) - 1);
    call->call.run = call_run;
    call->call.back = call_on_back;
    request->context = call;
    request->on_gone = request_on_gone;
    coordinator_send(&call->call, request->shard);
}
