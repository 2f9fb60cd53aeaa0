/* The hash by which Kafka's Java clients choose the partition of a key: all who write by it agree where a key is.
 * Source: Austin Appleby's MurmurHash2, 32 bits, little-endian, with the seed of Kafka's Utils. Pure. */
#pragma once

#include "base/bytes.h"

uint32_t murmur2(struct bytes bytes);
/* 0..count-1; count > 0. */
int32_t murmur2_partition(struct bytes key, int32_t count);
