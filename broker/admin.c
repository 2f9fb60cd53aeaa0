/* Start: the service answers from the moment that shards are open, so that an operator can ask a broker that waits for
 * its seeds what it waits for. Stop: after the connections of clients, whose requests the methods use. */

#include "broker/admin.h"
#include "base/mem.h"
#include "base/trace.h"
#include "broker/admin_internal.h"
#include "broker/broker.h"
#include "broker/grpc_health.h"
#include "broker/grpc_reflection.h"

#define CLOSE_GRACE_MS 1000

#define REQUEST(name) &balsa__admin__v1__##name##__descriptor

static const struct grpc_method methods[] = {
    {"ClusterStatus", REQUEST(cluster_status_request), admin_cluster_status, GRPC_UNARY, NULL, NULL},
};

static const char *const names[] = {"balsa.admin.v1.Admin"};

struct admin *admin_open(struct shard *shard)
{
    struct admin *admin = mem_alloc(sizeof(*admin));
    admin->shard = shard;
    admin->health = grpc_health_open(names, array_count(names));
    admin->services[0] = (struct grpc_service){names[0], methods, array_count(methods), admin};
    admin->services[1] = grpc_health_service(admin->health);
    grpc_reflection_services(&admin->services[2]);
    admin->grpc = grpc_open(shard->env, admin->services, ADMIN_SERVICE_COUNT);
    return admin;
}

static void on_accept(void *owner, struct listener *listener, int token)
{
    struct admin *admin = owner;
    (void)listener;
    grpc_accept(admin->grpc, token);
}

void admin_listen(struct admin *admin)
{
    const struct options *options = admin->shard->options;
    struct net *net = admin->shard->env->net;
    for (unsigned i = 0; i < options->admin_listener_count; i++) {
        const struct option_listener *listener = &options->admin_listeners[i];
        struct listener **opened = &admin->listeners[admin->listener_count];
        struct errmsg msg = {""};
        if (net->listen(net, listener->host, listener->port, admin, on_accept, opened, &msg) == OK) {
            admin->listener_count++;
            trace(INFO, NET, "listening", KV("listener", (const char *)listener->name),
                  KV("host", (const char *)listener->host), KV("port", net->listener_port(*opened)));
        } else if (options->is_admin_asked_for) {
            trace(ERROR, NET, "cannot listen", KV("listener", (const char *)listener->name),
                  KV("cause", (const char *)msg.text));
            admin->shard->broker->host->cannot_listen(admin->shard->broker, listener, &msg);
        } else {
            trace(WARN, NET, "no admin service: its default port is taken, set balsa.admin.listeners",
                  KV("cause", (const char *)msg.text));
        }
    }
}

void admin_set_serving(struct admin *admin, bool is_serving)
{
    grpc_health_set(admin->health, is_serving);
}

static void on_grpc_closed(void *owner)
{
    struct admin *admin = owner;
    struct shard *shard = admin->shard;
    void (*cb)(struct shard *) = admin->close_cb;
    grpc_health_close(admin->health);
    mem_free(admin);
    cb(shard);
}

static void on_listener_closed(void *owner)
{
    (void)owner;
}

void admin_close(struct admin *admin, void (*cb)(struct shard *shard))
{
    struct net *net = admin->shard->env->net;
    for (unsigned i = 0; i < admin->listener_count; i++) {
        net->listener_close(admin->listeners[i], on_listener_closed);
    }
    admin->close_cb = cb;
    grpc_close(admin->grpc, CLOSE_GRACE_MS, admin, on_grpc_closed);
}

/* ---- For methods ---- */

void *admin_message(struct grpc_call *call, const ProtobufCMessageDescriptor *descriptor)
{
    ProtobufCMessage *message = arena_alloc(&call->arena, descriptor->sizeof_message);
    if (message != NULL) {
        protobuf_c_message_init(descriptor, message);
    }
    return message;
}

char *admin_text(struct grpc_call *call, struct bytes bytes)
{
    char *text = bytes.size > 0 ? arena_text(&call->arena, bytes) : NULL;
    return text != NULL ? text : (char *)(uintptr_t)protobuf_c_empty_string;
}

void admin_too_large(struct grpc_call *call)
{
    grpc_finish(call, GRPC_RESOURCE_EXHAUSTED, "the answer is too large: ask for one topic, or for one partition");
}
