/* Where topics and partitions are, as a reader's newest snapshot has it: a lookup that was made once is not made again
 * until somebody commits. Private to metadata/store.c.
 *
 * What is held belongs to one snapshot: store_cache_renew() with another one makes it count as absent at once, so there
 * is nothing to void piece by piece and nothing can be stale. Absence is not held.
 * Runs on:  the thread of its reader, which it is a part of. Takes no memory before the first put; what a table has
 *           grown to, up to STORE_CACHE_..._COUNT_MAX slots, it keeps until deinit.
 * Failure:  none. A full table forgets something, whose next lookup goes to the store. */
#pragma once

#include "proto/uuid.h"

struct store_cache_table { /* private */
    uint8_t *slots;
    size_t slot_size;
    size_t capacity; /* power of two, or 0 */
    size_t capacity_max;
};

struct store_cache {
    uint64_t snapshot; /* kv_txn_snapshot() of what is got and put */
    struct store_cache_table partitions;
    struct store_cache_table topics;
};

void store_cache_init(struct store_cache *cache);
void store_cache_deinit(struct store_cache *cache);
/* From here on all that is got and put is of `snapshot`, not 0. Numbers never come back once they were left. */
void store_cache_renew(struct store_cache *cache, uint64_t snapshot);

/* False: ask the store. Then the result is not touched. */
bool store_cache_get_topic(const struct store_cache *cache, struct bytes name, struct uuid *id);
bool store_cache_get_partition(const struct store_cache *cache, const struct uuid *topic, int32_t index,
                               uint64_t *group);
/* Copied. name <= TOPIC_NAME_SIZE_MAX: the caller has checked. */
void store_cache_put_topic(struct store_cache *cache, struct bytes name, const struct uuid *id);
void store_cache_put_partition(struct store_cache *cache, const struct uuid *topic, int32_t index, uint64_t group);
