/* Random Kafka messages: any schema, any version, reproducible from a seed. */
#ifndef TESTS_LIB_CODEC_RANDOM_H
#define TESTS_LIB_CODEC_RANDOM_H

#include "base/arena.h"
#include "proto/schema.h"

struct codec_random {
    uint64_t state;      /* in: the seed */
    struct arena *arena; /* in: holds strings, arrays and nullable structs; must be large enough */
    uint32_t count_max;  /* in: elements of an array */
};

/* Fills the struct: fields of the version at random (extremes, nulls and empty ones more often than by chance), the
 * others with their defaults. */
void codec_random_message(struct codec_random *random, const struct schema *schema, int16_t version, void *message);
uint64_t codec_random_next(struct codec_random *random);

#endif
