/* What a partition puts into its Raft entries, and reads out of them.
 *
 * 0 type u8 | 1 version u8 = 1 | 2 batch count u16 | 4 append_ms i64 | 12 argument i64 | 20 batches, back to back
 * type 1, batches: argument is producer.id.expiration.ms as the leader knows it
 * type 2, trim:    argument is the new log start offset; no batches
 * type 3, compact: argument is the end offset; 20 delete.retention.ms i64 | 28 segment.bytes i64 | 36 keys in memory
 *                  at most u32 | 40 seed of the keys' hash, 16 bytes
 * append_ms is the leader's wall clock at proposal. Time and configuration travel in the command, so that applying it
 * is a function of the log alone.
 *
 * Pure. */
#pragma once

#include "proto/record_batch.h"
#include "replication/compaction.h"
#include "replication/entry.h"

#define PARTITION_COMMAND_HEADER_SIZE 20
#define PARTITION_COMMAND_COMPACT_SIZE (PARTITION_COMMAND_HEADER_SIZE + 8 + 8 + 4 + KEY_MAP_SEED_SIZE)

enum partition_command_type { /* on disk */
    PARTITION_COMMAND_BATCHES = 1,
    PARTITION_COMMAND_TRIM = 2,
    PARTITION_COMMAND_COMPACT = 3,
};

struct partition_command {
    enum partition_command_type type;
    uint16_t batch_count;
    int64_t append_ms;
    int64_t argument;
};

void partition_command_encode(const struct partition_command *command, uint8_t data[PARTITION_COMMAND_HEADER_SIZE]);

struct partition_command_reader {
    const struct entry *entry;
    struct shared *scratch; /* the payload in one piece, once a batch was found in two slices */
    struct bytes rest;      /* of the current slice */
    unsigned next_slice;
    size_t position;        /* of `rest` in the payload */
};

/* Reads the header. deinit in any case. ERR_UNSUPPORTED: a type or version of another release; ERR_CORRUPT. */
MUST_CHECK enum err partition_command_open(struct partition_command_reader *reader, const struct entry *entry,
                                           struct partition_command *command);
/* Whether the entry makes the log longer; of another release: yes. */
bool partition_command_is_batches(const struct entry *entry);
/* A whole command of type 3: `order` says what to do; its index, start and time are the entry's affair. */
void partition_command_compact_encode(const struct compaction_order *order, int64_t append_ms,
                                      uint8_t data[PARTITION_COMMAND_COMPACT_SIZE]);
/* What is behind the header, into `order`, whose other fields stay. ERR_CORRUPT: it does not add up. */
MUST_CHECK enum err partition_command_compact(struct partition_command_reader *reader,
                                              const struct partition_command *command, struct compaction_order *order);
/* The next batch, valid until deinit. ERR_NOT_FOUND at the end of the payload, ERR_CORRUPT. */
MUST_CHECK enum err partition_command_next(struct partition_command_reader *reader, struct record_batch *batch);
void partition_command_deinit(struct partition_command_reader *reader);
