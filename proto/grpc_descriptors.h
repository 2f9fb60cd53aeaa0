/* The descriptors of the services that are spoken over gRPC: a serialized google.protobuf.FileDescriptorSet of
 * proto/admin.proto and proto/grpc_*.proto, made at build time. Clients get it by reflection. */
#pragma once

#include <stddef.h>
#include <stdint.h>

extern const uint8_t grpc_descriptors[];
extern const size_t grpc_descriptors_size;
