/* The two sparse indexes beside a segment, in Kafka's formats: entries back to back, big-endian, nothing else.
 *
 *   .index      0 relative offset i32 | 4 position i32                 of a batch: its last offset, where it starts
 *   .timeindex  0 timestamp i64 | 8 relative offset i32                highest timestamp so far, last offset of the
 *   batch
 *                                                                      that brought it
 * Offsets are relative to the segment's base offset. Both columns of both files grow strictly.
 * What is read here is a hint: nothing in it is believed before the caller has checked it (replication/README.md,
 * "Indexes").
 *
 * Runs on: any thread; no state but the file. Source: Kafka's OffsetIndex and TimeIndex, by their formats. */
#pragma once

#include "base/env.h"

#define INDEX_ENTRY_SIZE 8
#define TIME_INDEX_ENTRY_SIZE 12

struct index_entry {
    int32_t offset;    /* relative */
    uint32_t position;
};

struct time_index_entry {
    int64_t timestamp;
    int32_t offset;    /* relative */
};

struct index_file {    /* What a lookup needs to know; borrowed. */
    struct disk *disk;
    int file;
    uint32_t count;    /* entries that may be looked at */
    bool is_nowait;    /* answer ERR_WOULD_BLOCK instead of waiting for the device */
};

void index_entry_encode(uint8_t data[INDEX_ENTRY_SIZE], struct index_entry entry);
struct index_entry index_entry_decode(const uint8_t data[INDEX_ENTRY_SIZE]);
void time_index_entry_encode(uint8_t data[TIME_INDEX_ENTRY_SIZE], struct time_index_entry entry);
struct time_index_entry time_index_entry_decode(const uint8_t data[TIME_INDEX_ENTRY_SIZE]);

/* Last entry whose offset is <= `offset`. ERR_NOT_FOUND: none; ERR_SHORT: the file has fewer entries;
 * ERR_WOULD_BLOCK; ERR_IO. On unsorted bytes it ends as well, with some entry or none. */
MUST_CHECK enum err index_find(const struct index_file *index, int32_t offset, struct index_entry *entry);
/* Last entry whose timestamp is < `timestamp`. Errors as above. */
MUST_CHECK enum err time_index_find(const struct index_file *index, int64_t timestamp, struct time_index_entry *entry);
/* CRC-32C over all entries of a time index. */
MUST_CHECK enum err time_index_crc(const struct index_file *index, uint32_t *crc);
