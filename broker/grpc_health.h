/* grpc.health.v1: whether a service takes calls, asked once (Check) or followed (Watch).
 * Runs on: the server's shard. */
#pragma once

#include "broker/grpc.h"

struct grpc_health;

/* `names` are the services that are asked about, beside "" for the server; all have one state, not serving at first. */
struct grpc_health *grpc_health_open(const char *const *names, size_t count);
struct grpc_service grpc_health_service(struct grpc_health *health);
void grpc_health_set(struct grpc_health *health, bool is_serving);
void grpc_health_close(struct grpc_health *health); /* no call is there any more */
