/* Bytes of the write-ahead log: file header, unit header, frame header. Pure functions, no memory, no I/O.
 *
 * Formats:  replication/README.md, "Write-ahead log", byte by byte. All integers are big-endian. */
#pragma once

#include "base/bytes.h"
#include "base/limits.h"
#include "replication/wal.h"

enum {
    WAL_UNIT_HEADER_SIZE = 64,
    WAL_FRAME_HEADER_SIZE = 40,
    WAL_VERSION = 1,
};
#define WAL_LSN_FIRST ((uint64_t)WAL_BLOCK_SIZE) /* of an empty log; 0 is free to mean "none" */

/* The first block of a file. It is durable before the file gets a name that recovery looks at. */
struct wal_file_header {
    uint64_t sequence;   /* as in the name */
    uint64_t generation; /* random: units of a former life of the file, or made up by a client, do not have it */
    uint64_t size;       /* of the file */
};
void wal_file_header_encode(const struct wal_file_header *header, uint8_t block[WAL_BLOCK_SIZE]);
/* ERR_CORRUPT, ERR_UNSUPPORTED (another version) with text. */
MUST_CHECK enum err wal_file_header_decode(struct bytes block, struct wal_file_header *header, struct errmsg *msg);

enum wal_unit_kind {     /* on disk */
    WAL_UNIT_FRAMES = 1, /* what was appended; takes LSNs */
    WAL_UNIT_KEPT = 2,   /* nothing but its header: tells kept_lsn; takes no LSN */
    WAL_UNIT_NEXT = 3,   /* last of its file; the payload names the next file; takes no LSN */
};

struct wal_unit_header {
    enum wal_unit_kind kind;
    uint64_t generation;
    uint64_t sequence;   /* 1, 2, 3, ... over all files */
    uint64_t lsn;
    uint64_t kept_lsn;   /* nothing below was needed any more when this was written */
    size_t payload_size;
    uint32_t payload_crc;
    uint32_t frame_count;
};
void wal_unit_header_encode(const struct wal_unit_header *header, uint8_t *data);

enum wal_unit_look {
    WAL_UNIT_FOREIGN,    /* not a unit of this life of the file: the ordinary end of the log */
    WAL_UNIT_BROKEN,     /* something of a unit of this life, but not a whole header */
    WAL_UNIT_GOOD,       /* a header of this life; the payload is not looked at */
};
/* `data` begins at a block and has at least WAL_UNIT_HEADER_SIZE bytes. */
enum wal_unit_look wal_unit_header_decode(const uint8_t *data, uint64_t generation, struct wal_unit_header *header);

/* Header and payload, rounded up to whole blocks. */
size_t wal_unit_size(size_t payload_size);

/* Payload of WAL_UNIT_NEXT. */
enum { WAL_NEXT_SIZE = 16 };
void wal_next_encode(uint64_t sequence, uint64_t generation, uint8_t data[WAL_NEXT_SIZE]);
void wal_next_decode(struct bytes payload, uint64_t *sequence, uint64_t *generation);

void wal_frame_encode(const struct wal_frame *frame, size_t payload_size, uint8_t data[WAL_FRAME_HEADER_SIZE]);
/* Reads the next frame of a unit's payload; sets everything of `record` but lsn. A malformed one fails the reader. */
void wal_frame_decode(struct reader *reader, struct wal_record *record);
