/* Goal: no bytes that a client can send hurt the gRPC server, and none of its memory stays when the connection goes.
 * Input: what follows HTTP/2's first bytes, which are put before it, in pieces of the size that its first byte says. */
#include <stdint.h>

#include "base/assert.h"
#include "base/limits.h"
#include "broker/grpc_health.h"
#include "broker/grpc_internal.h"
#include "broker/grpc_reflection.h"
#include "tests/lib/turn_env.h"

#define PREFACE "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool is_closed;

static void on_wake(void *owner)
{
    (void)owner;
}

static void on_closed(void *owner)
{
    (void)owner;
    is_closed = true;
}

static bool take(struct grpc_session *session)
{
    struct dynbuf out;
    dynbuf_init(&out, MIB(1));
    enum err err = grpc_session_take(session, &out, KIB(64));
    bool is_more = err == OK && out.size > 0;
    dynbuf_deinit(&out);
    return is_more;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const names[] = {"balsa.admin.v1.Admin"};
    struct turn_env turn;
    struct grpc_service services[3];
    const struct grpc_session_events events = {NULL, on_wake};
    if (size == 0) {
        return 0;
    }
    turn_env_init(&turn, 1);
    struct grpc_health *health = grpc_health_open(names, 1);
    services[0] = grpc_health_service(health);
    grpc_reflection_services(&services[1]);
    struct grpc *grpc = grpc_open(&turn.env, services, 3);
    struct grpc_session *session = grpc_session_open(grpc, &events);
    size_t step = data[0] > 0 ? data[0] : 256;
    enum err err = grpc_session_feed(session, (struct bytes){(const uint8_t *)PREFACE, sizeof(PREFACE) - 1});
    for (size_t at = 1; at < size && err == OK; at += step) {
        err = grpc_session_feed(session, (struct bytes){data + at, size - at < step ? size - at : step});
        while (take(session)) {
        }
        turn_env_run(&turn);
    }
    turn_env_advance(&turn, 40 * 1000000ULL);
    grpc_session_close(session);
    is_closed = false;
    grpc_close(grpc, 1, NULL, on_closed);
    turn_env_run(&turn);
    assert(is_closed);
    grpc_health_close(health);
    turn_env_deinit(&turn);
    return 0;
}
