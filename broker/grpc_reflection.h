/* Reflection: clients without the .proto files learn services and messages from the server. Two names, v1 and v1alpha,
 * of one protocol; both answer from the descriptors in the program (proto/grpc_descriptors.h).
 * Runs on: the server's shard; the lookups are pure. */
#pragma once

#include "broker/grpc.h"

#define GRPC_REFLECTION_COUNT 2
void grpc_reflection_services(struct grpc_service target[GRPC_REFLECTION_COUNT]);

/* The serialized FileDescriptorProto that has the name, or that defines the symbol: a service, method, message, field,
 * enum or enum value by its full name. Empty: there is none. For tests. */
struct bytes grpc_reflection_file(struct bytes name);
struct bytes grpc_reflection_symbol(struct bytes symbol);
