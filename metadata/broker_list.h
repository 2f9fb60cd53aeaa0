/* Short lists of broker ids, as those of a partition's replicas: each id once, REPLICA_SERVER_COUNT_MAX at most. */
#pragma once

#include "base/bytes.h"
#include <string.h>

static inline bool brokers_contain(const int32_t *ids, size_t count, int32_t id)
{
    for (size_t i = 0; i < count; i++) {
        if (ids[i] == id) {
            return true;
        }
    }
    return false;
}

/* The same ids in the same order. */
static inline bool brokers_equal(const int32_t *a, size_t a_count, const int32_t *b, size_t b_count)
{
    return a_count == b_count && (a_count == 0 || memcmp(a, b, a_count * sizeof(*a)) == 0);
}

/* The same ids in any order. */
static inline bool brokers_same(const int32_t *a, size_t a_count, const int32_t *b, size_t b_count)
{
    for (size_t i = 0; i < a_count; i++) {
        if (!brokers_contain(b, b_count, a[i])) {
            return false;
        }
    }
    return a_count == b_count;
}

/* First id that stands twice; -1: none (broker ids are not negative). */
static inline int32_t brokers_repeated(const int32_t *ids, size_t count)
{
    for (size_t i = 1; i < count; i++) {
        if (brokers_contain(ids, i, ids[i])) {
            return ids[i];
        }
    }
    return -1;
}
