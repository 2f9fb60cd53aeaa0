/* What a partition puts into its Raft entries, and reads out of them.
 *
 * 0 type u8 | 1 version u8 = 1 | 2 batch count u16 | 4 append_ms i64 | 12 argument i64 | 20 batches, back to back
 * type 1, batches: argument is producer.id.expiration.ms as the leader knows it
 * type 2, trim:    argument is the new log start offset; no batches append_ms is the leader's wall clock at
 * proposal. Time and configuration travel in the command, so that applying it is a function of the log alone.
 *
 * Pure. */
#pragma once

#include "proto/record_batch.h"
#include "replication/entry.h"

#define PARTITION_COMMAND_HEADER_SIZE 20

enum partition_command_type { PARTITION_COMMAND_BATCHES = 1, PARTITION_COMMAND_TRIM = 2 }; /* on disk */

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
/* The next batch, valid until deinit. ERR_NOT_FOUND at the end of the payload, ERR_CORRUPT. */
MUST_CHECK enum err partition_command_next(struct partition_command_reader *reader, struct record_batch *batch);
void partition_command_deinit(struct partition_command_reader *reader);
