/* Happy path: encode by field, decode by field; a checksum covers every byte that is believed.
 * Failure:    decoders report, they never assert: all their input comes from a disk. */
#include "replication/wal_format.h"

#include "base/assert.h"
#include "base/canary.h"
#include "base/crc32c.h"

#include <string.h>

#define FILE_MAGIC UINT64_C(0x42414c534157414c) /* "BALSAWAL" */
#define UNIT_MAGIC UINT32_C(0x4257554e)         /* "BWUN" */
#define NUMBER_MAX ((uint64_t)INT64_MAX / 2)

enum { /* positions in the file header */
    FILE_AT_MAGIC = 0,
    FILE_AT_VERSION = 8,
    FILE_AT_SEQUENCE = 16,
    FILE_AT_GENERATION = 24,
    FILE_AT_SIZE = 32,
    FILE_AT_CRC = WAL_BLOCK_SIZE - 4, /* of all bytes before it */
};

enum { /* positions in a unit header */
    UNIT_AT_MAGIC = 0,
    UNIT_AT_CRC = 4, /* of the rest of the header */
    UNIT_AT_GENERATION = 8,
    UNIT_AT_SEQUENCE = 16,
    UNIT_AT_LSN = 24,
    UNIT_AT_KEPT_LSN = 32,
    UNIT_AT_PAYLOAD_SIZE = 40,
    UNIT_AT_PAYLOAD_CRC = 44,
    UNIT_AT_FRAME_COUNT = 48,
    UNIT_AT_KIND = 52,
    UNIT_AT_RESERVED = 56,
};
static_assert(UNIT_AT_RESERVED + 8 == WAL_UNIT_HEADER_SIZE, "the reserved bytes end the header");

enum { /* positions in a frame header */
    FRAME_AT_SIZE = 0,
    FRAME_AT_KIND = 4,
    FRAME_AT_GROUP = 8,
    FRAME_AT_INDEX = 16,
    FRAME_AT_TERM = 24,
    FRAME_AT_VALUE = 32,
};
static_assert(FRAME_AT_VALUE + 8 == WAL_FRAME_HEADER_SIZE, "the value ends the header");

static uint32_t file_header_crc(const uint8_t *block)
{
    return crc32c(0, (struct bytes){block, FILE_AT_CRC});
}

static uint32_t unit_header_crc(const uint8_t *data)
{
    return crc32c(0, (struct bytes){data + UNIT_AT_GENERATION, WAL_UNIT_HEADER_SIZE - UNIT_AT_GENERATION});
}

void wal_file_header_encode(const struct wal_file_header *header, uint8_t block[WAL_BLOCK_SIZE])
{
    memset(block, 0, WAL_BLOCK_SIZE);
    be64_put(block + FILE_AT_MAGIC, FILE_MAGIC);
    be32_put(block + FILE_AT_VERSION, WAL_VERSION);
    be64_put(block + FILE_AT_SEQUENCE, header->sequence);
    be64_put(block + FILE_AT_GENERATION, header->generation);
    be64_put(block + FILE_AT_SIZE, header->size);
    be32_put(block + FILE_AT_CRC, file_header_crc(block));
}

enum err wal_file_header_decode(struct bytes block, struct wal_file_header *header, struct errmsg *msg)
{
    if (block.size < WAL_BLOCK_SIZE) {
        return fail(msg, ERR_CORRUPT, "the file is shorter than its header");
    }
    if (be64_get(block.data + FILE_AT_MAGIC) != FILE_MAGIC) {
        return fail(msg, ERR_CORRUPT, "not a file of a write-ahead log");
    }
    if (be32_get(block.data + FILE_AT_CRC) != file_header_crc(block.data)) {
        return fail(msg, ERR_CORRUPT, "the file header is damaged");
    }
    uint32_t version = be32_get(block.data + FILE_AT_VERSION);
    if (version != WAL_VERSION) {
        return fail(msg, ERR_UNSUPPORTED, "format version %u, this program knows version %d", version, WAL_VERSION);
    }
    header->sequence = be64_get(block.data + FILE_AT_SEQUENCE);
    header->generation = be64_get(block.data + FILE_AT_GENERATION);
    header->size = be64_get(block.data + FILE_AT_SIZE);
    return OK;
}

void wal_unit_header_encode(const struct wal_unit_header *header, uint8_t *data)
{
    assert(header->payload_size <= UINT32_MAX);
    be32_put(data + UNIT_AT_MAGIC, UNIT_MAGIC);
    be64_put(data + UNIT_AT_GENERATION, header->generation);
    be64_put(data + UNIT_AT_SEQUENCE, header->sequence);
    be64_put(data + UNIT_AT_LSN, header->lsn);
    be64_put(data + UNIT_AT_KEPT_LSN, header->kept_lsn);
    be32_put(data + UNIT_AT_PAYLOAD_SIZE, (uint32_t)header->payload_size);
    be32_put(data + UNIT_AT_PAYLOAD_CRC, header->payload_crc);
    be32_put(data + UNIT_AT_FRAME_COUNT, header->frame_count);
    be32_put(data + UNIT_AT_KIND, (uint32_t)header->kind);
    be64_put(data + UNIT_AT_RESERVED, 0);
    be32_put(data + UNIT_AT_CRC, unit_header_crc(data));
}

static bool unit_header_is_sound(const struct wal_unit_header *header)
{
    /* Far from where adding to them could wrap. */
    if (header->lsn > NUMBER_MAX || header->sequence > NUMBER_MAX || header->lsn % WAL_BLOCK_SIZE != 0) {
        return false;
    }
    if (header->kept_lsn > header->lsn || header->kept_lsn < WAL_LSN_FIRST) {
        return false;
    }
    switch (header->kind) {
    case WAL_UNIT_FRAMES:
        return header->frame_count > 0;
    case WAL_UNIT_KEPT:
        return header->frame_count == 0 && header->payload_size == 0;
    case WAL_UNIT_NEXT:
        return header->frame_count == 0 && header->payload_size == WAL_NEXT_SIZE;
    }
    return false;
}

enum wal_unit_look wal_unit_header_decode(const uint8_t *data, uint64_t generation, struct wal_unit_header *header)
{
    bool has_magic = be32_get(data + UNIT_AT_MAGIC) == UNIT_MAGIC;
    bool has_crc = be32_get(data + UNIT_AT_CRC) == unit_header_crc(data);
    header->generation = be64_get(data + UNIT_AT_GENERATION);
    if (header->generation != generation && !canary_is(CANARY_OLD_UNIT_BELIEVED)) {
        /* A whole header of a former life is what a recycled file is full of; a header that does not even agree with
         * itself may be one of ours. */
        return has_magic && !has_crc ? WAL_UNIT_BROKEN : WAL_UNIT_FOREIGN;
    }
    if (!has_magic || !has_crc) {
        return WAL_UNIT_BROKEN;
    }
    header->sequence = be64_get(data + UNIT_AT_SEQUENCE);
    header->lsn = be64_get(data + UNIT_AT_LSN);
    header->kept_lsn = be64_get(data + UNIT_AT_KEPT_LSN);
    header->payload_size = be32_get(data + UNIT_AT_PAYLOAD_SIZE);
    header->payload_crc = be32_get(data + UNIT_AT_PAYLOAD_CRC);
    header->frame_count = be32_get(data + UNIT_AT_FRAME_COUNT);
    header->kind = (enum wal_unit_kind)be32_get(data + UNIT_AT_KIND);
    return unit_header_is_sound(header) ? WAL_UNIT_GOOD : WAL_UNIT_BROKEN;
}

size_t wal_unit_size(size_t payload_size)
{
    assert(payload_size <= UINT32_MAX);
    size_t size = WAL_UNIT_HEADER_SIZE + payload_size;
    return (size + WAL_BLOCK_SIZE - 1) / WAL_BLOCK_SIZE * WAL_BLOCK_SIZE;
}

void wal_next_encode(uint64_t sequence, uint64_t generation, uint8_t data[WAL_NEXT_SIZE])
{
    be64_put(data, sequence);
    be64_put(data + 8, generation);
}

void wal_next_decode(struct bytes payload, uint64_t *sequence, uint64_t *generation)
{
    assert(payload.size == WAL_NEXT_SIZE);
    *sequence = be64_get(payload.data);
    *generation = be64_get(payload.data + 8);
}

void wal_frame_encode(const struct wal_frame *frame, size_t payload_size, uint8_t data[WAL_FRAME_HEADER_SIZE])
{
    assert(payload_size <= ENTRY_SIZE_MAX);
    be32_put(data + FRAME_AT_SIZE, (uint32_t)payload_size);
    be32_put(data + FRAME_AT_KIND, (uint32_t)frame->kind);
    be64_put(data + FRAME_AT_GROUP, frame->group);
    be64_put(data + FRAME_AT_INDEX, frame->index);
    be64_put(data + FRAME_AT_TERM, frame->term);
    be64_put(data + FRAME_AT_VALUE, frame->value);
}

void wal_frame_decode(struct reader *reader, struct wal_record *record)
{
    uint32_t size = read_u32(reader);
    uint32_t kind = read_u32(reader);
    record->group = read_u64(reader);
    record->index = read_u64(reader);
    record->term = read_u64(reader);
    record->value = read_u64(reader);
    if (size > ENTRY_SIZE_MAX || kind < WAL_HARD_STATE || kind > WAL_STOP) {
        reader_fail(reader, ERR_CORRUPT);
    }
    record->kind = (enum wal_kind)kind;
    record->payload = read_bytes(reader, size);
}
