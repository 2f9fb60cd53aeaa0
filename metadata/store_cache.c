/* Happy path: hash tables with linear probing over at most PROBE_COUNT slots. A slot of another snapshot than the
 * present one is free; none becomes free while a snapshot lasts, so the first free one ends a search.
 * Growth:     when none of a key's slots is free, its table doubles. What the smaller one held is looked up once more.
 *             At its maximum the key takes its first slot instead.
 * Hashes:     topic ids are random, but clients choose the names of topics and so may pile them up: each of those that
 *             find no slot costs a lookup in the store, as if nothing were held. */
#include "metadata/store_cache.h"

#include "base/assert.h"
#include "base/limits.h"
#include "base/mem.h"
#include <string.h>

enum {
    CAPACITY_FIRST = 16,
    PROBE_COUNT = 16, /* tables grow at one third full, about; half of that would make it a sixth */
};

struct slot { /* each begins with it */
    uint64_t snapshot;
    uint64_t hash;
};

struct partition_slot {
    struct slot slot;
    struct uuid topic;
    uint64_t group;
    int32_t index;
};

struct topic_slot {
    struct slot slot;
    struct uuid id;
    uint16_t name_size;
    uint8_t name[TOPIC_NAME_SIZE_MAX];
};

static_assert(PROBE_COUNT <= CAPACITY_FIRST, "no slot is looked at twice");
static_assert((STORE_CACHE_PARTITION_COUNT_MAX & (STORE_CACHE_PARTITION_COUNT_MAX - 1)) == 0, "reached by doubling");
static_assert((STORE_CACHE_TOPIC_COUNT_MAX & (STORE_CACHE_TOPIC_COUNT_MAX - 1)) == 0, "reached by doubling");
static_assert(sizeof(struct partition_slot) <= 48, "a table of partitions stays small");

void store_cache_init(struct store_cache *cache)
{
    *cache = (struct store_cache){
        .partitions = {.slot_size = sizeof(struct partition_slot), .capacity_max = STORE_CACHE_PARTITION_COUNT_MAX},
        .topics = {.slot_size = sizeof(struct topic_slot), .capacity_max = STORE_CACHE_TOPIC_COUNT_MAX},
    };
}

void store_cache_deinit(struct store_cache *cache)
{
    mem_free(cache->partitions.slots);
    mem_free(cache->topics.slots);
}

void store_cache_renew(struct store_cache *cache, uint64_t snapshot)
{
    assert(snapshot != 0); /* that of slots never used */
    cache->snapshot = snapshot;
}

/* Ids are random in both halves. The multiplication spreads the indexes of a topic, the shift brings what it did to
 * the high bits to the low ones. */
static uint64_t partition_hash(const struct uuid *topic, int32_t index)
{
    uint64_t id = be64_get(topic->bytes) ^ be64_get(topic->bytes + 8);
    uint64_t hash = (id ^ (uint32_t)index) * UINT64_C(0x9e3779b97f4a7c15);
    return hash ^ hash >> 32;
}

static struct slot *slot_at(const struct store_cache_table *table, uint64_t place)
{
    size_t i = (size_t)place & (table->capacity - 1);
    return (struct slot *)(void *)(table->slots + i * table->slot_size);
}

/* That of this hash, whichever key it has, or else a free one; NULL: others have all of them. */
static struct slot *find(const struct store_cache_table *table, uint64_t snapshot, uint64_t hash)
{
    for (size_t i = 0; table->capacity > 0 && i < PROBE_COUNT; i++) {
        struct slot *slot = slot_at(table, hash + i);
        if (slot->snapshot != snapshot || slot->hash == hash) {
            return slot;
        }
    }
    return NULL;
}

/* The slot that was put under this hash in this snapshot, or NULL. Its key is the caller's to compare. */
static const void *get(const struct store_cache_table *table, uint64_t snapshot, uint64_t hash)
{
    const struct slot *slot = find(table, snapshot, hash);
    return slot != NULL && slot->snapshot == snapshot ? slot : NULL;
}

/* A slot for this hash in this snapshot, to be filled. */
static void *take(struct store_cache_table *table, uint64_t snapshot, uint64_t hash)
{
    struct slot *slot;
    while ((slot = find(table, snapshot, hash)) == NULL && table->capacity < table->capacity_max) {
        mem_free(table->slots);
        table->capacity = table->capacity > 0 ? 2 * table->capacity : CAPACITY_FIRST;
        table->slots = mem_alloc(table->capacity * table->slot_size);
    }
    slot = slot != NULL ? slot : slot_at(table, hash);
    *slot = (struct slot){.snapshot = snapshot, .hash = hash};
    return slot;
}

bool store_cache_get_topic(const struct store_cache *cache, struct bytes name, struct uuid *id)
{
    const struct topic_slot *topic = get(&cache->topics, cache->snapshot, bytes_hash(name, 0));
    if (topic == NULL || !bytes_equal(name, (struct bytes){topic->name, topic->name_size})) {
        return false;
    }
    *id = topic->id;
    return true;
}

void store_cache_put_topic(struct store_cache *cache, struct bytes name, const struct uuid *id)
{
    assert(cache->snapshot != 0);
    assert(name.size > 0);
    assert(name.size <= TOPIC_NAME_SIZE_MAX);
    struct topic_slot *topic = take(&cache->topics, cache->snapshot, bytes_hash(name, 0));
    topic->id = *id;
    topic->name_size = (uint16_t)name.size;
    memcpy(topic->name, name.data, name.size);
}

bool store_cache_get_partition(const struct store_cache *cache, const struct uuid *topic, int32_t index,
                               uint64_t *group)
{
    const struct partition_slot *partition = get(&cache->partitions, cache->snapshot, partition_hash(topic, index));
    if (partition == NULL || partition->index != index || !uuid_equal(&partition->topic, topic)) {
        return false;
    }
    *group = partition->group;
    return true;
}

void store_cache_put_partition(struct store_cache *cache, const struct uuid *topic, int32_t index, uint64_t group)
{
    assert(cache->snapshot != 0);
    struct partition_slot *partition = take(&cache->partitions, cache->snapshot, partition_hash(topic, index));
    partition->topic = *topic;
    partition->group = group;
    partition->index = index;
}
