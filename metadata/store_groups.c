#include "metadata/store_groups.h"
#include "base/limits.h"
#include "metadata/store_internal.h"

uint64_t store_consumer_group_count(struct store_reader *reader)
{
    return store_reader_state(reader).consumer_group_count;
}

uint64_t store_offset_count(struct store_reader *reader)
{
    return store_reader_state(reader).offset_count;
}

static enum err get_group(struct store_reader *reader, struct bytes id, uint64_t *number, struct bytes *packed)
{
    struct bytes value;
    if (id.size > GROUP_ID_SIZE_MAX) {
        return ERR_NOT_FOUND;
    }
    enum err err = store_reader_get(reader, key_consumer_group(id), &value);
    return err == OK ? group_value_split(value, number, packed) : err;
}

enum err store_consumer_group_number(struct store_reader *reader, struct bytes id, uint64_t *number)
{
    struct bytes packed;
    return get_group(reader, id, number, &packed);
}

enum err store_consumer_group_id(struct store_reader *reader, uint64_t number, struct bytes *id)
{
    return store_reader_get(reader, key_consumer_group_number(number), id);
}

static enum err unpack_group(struct bytes packed, struct arena *arena, Balsa__Record__GroupValue **group)
{
    struct decode_memory memory = {.arena = arena};
    ProtobufCAllocator allocator = {decode_alloc, decode_free, &memory};
    *group = balsa__record__group_value__unpack(&allocator, packed.size, packed.data);
    return memory.is_full ? ERR_TOO_LARGE : *group != NULL ? OK : ERR_CORRUPT;
}

enum err store_consumer_group(struct store_reader *reader, struct arena *arena, struct bytes id, uint64_t *number,
                              Balsa__Record__GroupValue **group)
{
    struct bytes packed;
    enum err err = get_group(reader, id, number, &packed);
    return err == OK ? unpack_group(packed, arena, group) : err;
}

enum err store_consumer_groups_each(struct store_reader *reader, struct arena *arena, struct bytes from,
                                    size_t *unreadable, void *context,
                                    bool (*cb)(void *context, uint64_t number, const Balsa__Record__GroupValue *group))
{
    struct table_key prefix = key_table('G');
    struct table_key start = key_consumer_group(from);
    struct kv_cursor *cursor;
    struct bytes key;
    struct bytes value;
    enum err err = kv_cursor_open(store_reader_txn(reader), table_key_bytes(&prefix), table_key_bytes(&start), &cursor);
    if (err != OK) {
        return err;
    }
    while ((err = kv_cursor_next(cursor, &key, &value)) == OK) {
        Balsa__Record__GroupValue *group;
        struct bytes packed;
        uint64_t number;
        err = group_value_split(value, &number, &packed);
        err = err == OK ? unpack_group(packed, arena, &group) : err;
        if (err != OK && unreadable != NULL) {
            ++*unreadable;
            arena_reset(arena);
            continue;
        }
        if (err != OK || !cb(context, number, group)) {
            break;
        }
    }
    kv_cursor_close(cursor);
    return err == ERR_NOT_FOUND ? OK : err;
}

static enum err offset_from_value(struct bytes value, struct store_offset *offset)
{
    struct offset_value decoded;
    enum err err = offset_value_decode(value, &decoded);
    if (err == OK) {
        *offset = (struct store_offset){decoded.offset, decoded.leader_epoch, decoded.commit_ms, decoded.expire_ms,
                                        decoded.metadata};
    }
    return err;
}

enum err store_offset(struct store_reader *reader, uint64_t number, const struct uuid *topic, int32_t partition,
                      struct store_offset *offset)
{
    struct bytes value;
    enum err err = store_reader_get(reader, key_offset(number, topic, partition), &value);
    return err == OK ? offset_from_value(value, offset) : err;
}

static enum err walk(struct store_reader *reader, struct table_key prefix, struct table_key from, size_t *unreadable,
                     void *context,
                     bool (*cb)(void *context, const struct store_offset_place *place,
                                const struct store_offset *offset))
{
    struct kv_cursor *cursor;
    struct bytes key;
    struct bytes value;
    enum err err = kv_cursor_open(store_reader_txn(reader), table_key_bytes(&prefix), table_key_bytes(&from), &cursor);
    if (err != OK) {
        return err;
    }
    while ((err = kv_cursor_next(cursor, &key, &value)) == OK) {
        struct store_offset_place place;
        struct store_offset offset;
        err = offset_place_decode(key, &place);
        err = err == OK ? offset_from_value(value, &offset) : err;
        if (err != OK && unreadable != NULL) {
            ++*unreadable;
            continue;
        }
        if (err != OK || !cb(context, &place, &offset)) {
            break;
        }
    }
    kv_cursor_close(cursor);
    return err == ERR_NOT_FOUND ? OK : err;
}

struct each {
    void *context;
    bool (*cb)(void *context, const struct uuid *topic, int32_t partition, const struct store_offset *offset);
};

static bool each_on_offset(void *context, const struct store_offset_place *place, const struct store_offset *offset)
{
    struct each *each = context;
    return each->cb(each->context, &place->topic, place->partition, offset);
}

enum err store_offsets_each(struct store_reader *reader, uint64_t number, void *context,
                            bool (*cb)(void *context, const struct uuid *topic, int32_t partition,
                                       const struct store_offset *offset))
{
    struct each each = {context, cb};
    return walk(reader, key_offsets(number), key_offsets(number), NULL, &each, each_on_offset);
}

enum err store_offsets_walk(struct store_reader *reader, const struct store_offset_place *from, size_t *unreadable,
                            void *context,
                            bool (*cb)(void *context, const struct store_offset_place *place,
                                       const struct store_offset *offset))
{
    struct table_key start = key_offset(from->group, &from->topic, from->partition);
    return walk(reader, key_table('O'), start, unreadable, context, cb);
}
