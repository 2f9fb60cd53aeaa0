/* Watchers are told the state when they come and when it changes; one that does not read is ended. */

#include "broker/grpc_health.h"
#include "base/assert.h"
#include "base/list.h"
#include "base/mem.h"
#include "proto/grpc_health.pb-c.h"
#include <string.h>

struct grpc_health {
    const char *const *names;
    size_t count;
    bool is_serving;
    struct list watchers;
};

struct watcher {
    struct grpc_call *call;
    struct list link;
};

struct grpc_health *grpc_health_open(const char *const *names, size_t count)
{
    struct grpc_health *health = mem_alloc(sizeof(*health));
    health->names = names;
    health->count = count;
    list_init(&health->watchers);
    return health;
}

void grpc_health_close(struct grpc_health *health)
{
    assert(list_is_empty(&health->watchers));
    mem_free(health);
}

static bool is_known(const struct grpc_health *health, const char *name)
{
    bool is_found = name[0] == '\0';
    for (size_t i = 0; i < health->count && !is_found; i++) {
        is_found = strcmp(name, health->names[i]) == 0;
    }
    return is_found;
}

static Grpc__Health__V1__HealthCheckResponse state_of(const struct grpc_health *health, const char *name)
{
    Grpc__Health__V1__HealthCheckResponse response = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__INIT;
    response.status = !is_known(health, name) ? GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVICE_UNKNOWN
                      : health->is_serving    ? GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING
                                              : GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__NOT_SERVING;
    return response;
}

static void check(struct grpc_call *call, const ProtobufCMessage *message)
{
    const Grpc__Health__V1__HealthCheckRequest *request = (const void *)message;
    if (!is_known(call->owner, request->service)) {
        grpc_finish(call, GRPC_NOT_FOUND, "there is no service '%s': reflection lists those that there are",
                    request->service);
        return;
    }
    Grpc__Health__V1__HealthCheckResponse response = state_of(call->owner, request->service);
    grpc_answer(call, &response.base);
}

static void watch_end(struct watcher *watcher, enum grpc_status status, const char *text)
{
    struct grpc_call *call = watcher->call;
    list_remove(&watcher->link);
    mem_free(watcher);
    grpc_finish(call, status, "%s", text);
}

static void watch_canceled(struct grpc_call *call)
{
    watch_end(call->context, GRPC_CANCELLED, "");
}

static void watch(struct grpc_call *call, const ProtobufCMessage *message)
{
    struct grpc_health *health = call->owner;
    const Grpc__Health__V1__HealthCheckRequest *request = (const void *)message;
    Grpc__Health__V1__HealthCheckResponse response = state_of(health, request->service);
    struct watcher *watcher = mem_alloc(sizeof(*watcher));
    watcher->call = call;
    list_init(&watcher->link);
    call->context = watcher;
    (void)grpc_reply(call, &response.base); /* the first one always fits */
    if (is_known(health, request->service)) {
        list_push(&health->watchers, &watcher->link);
    }
}

void grpc_health_set(struct grpc_health *health, bool is_serving)
{
    if (health->is_serving == is_serving) {
        return;
    }
    health->is_serving = is_serving;
    Grpc__Health__V1__HealthCheckResponse response = state_of(health, "");
    struct list *link = health->watchers.next;
    while (link != &health->watchers) {
        struct watcher *watcher = container_of(link, struct watcher, link);
        link = link->next;
        if (!grpc_reply(watcher->call, &response.base)) {
            watch_end(watcher, GRPC_RESOURCE_EXHAUSTED, "the client does not read: watch again");
        }
    }
}

static const struct grpc_method methods[] = {
    {"Check", &grpc__health__v1__health_check_request__descriptor, check, GRPC_UNARY, NULL, NULL},
    {"Watch", &grpc__health__v1__health_check_request__descriptor, watch, GRPC_SERVER_STREAM, watch_canceled, NULL},
};

struct grpc_service grpc_health_service(struct grpc_health *health)
{
    return (struct grpc_service){"grpc.health.v1.Health", methods, array_count(methods), health};
}
