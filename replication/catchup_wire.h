/* What catch-ups say to each other, in the payload of PEER_CATCHUP calls. Integers are big-endian.
 *
 *   request   group u64 | version u8 = 1 | op u8 | session u64
 *     BEGIN 1   session 0: a new one, else the next round of that one
 *     READ  2   | file u32 | position u64 | size u32       file 0 is the manifest, n + 1 its file n
 *     END   3
 *   reply     status u8
 *     BEGIN     | session u64 | index u64 | term u64 | membership index u64 | membership size u16, bytes |
 *               manifest size u32 | CRC-32C of the manifest u32
 *     READ      | the bytes
 *   manifest  version u8 = 1 | file count u32 | per file: id u64, size u64 | the machine's state
 *
 * Read as hostile. Pure. */
#pragma once

#include "base/shared.h"
#include "replication/membership.h"
#include "replication/replica_state.h"

enum catchup_op { CATCHUP_BEGIN = 1, CATCHUP_READ = 2, CATCHUP_END = 3 };

enum catchup_status {
    CATCHUP_OK = 0,
    CATCHUP_BUSY = 1,      /* too many sessions, or not now: later */
    CATCHUP_GONE = 2,      /* no such session or group here: begin anew, perhaps elsewhere */
    CATCHUP_DAMAGED = 3,   /* the state cannot be read here */
};

struct catchup_call {
    uint64_t group;
    enum catchup_op op;
    uint64_t session;
    uint32_t file;
    uint64_t position;
    uint32_t size;
};

struct catchup_begun {
    uint64_t session, index, term, membership_index;
    struct membership membership;
    uint32_t manifest_size, manifest_crc;
};

#define CATCHUP_CALL_SIZE_MAX (8 + 1 + 1 + 8 + 4 + 8 + 4)
#define CATCHUP_BEGUN_SIZE_MAX (1 + 4 * 8 + 2 + MEMBERSHIP_SIZE_MAX + 4 + 4)

size_t catchup_call_encode(const struct catchup_call *call, uint8_t out[CATCHUP_CALL_SIZE_MAX]);
MUST_CHECK enum err catchup_call_decode(struct bytes payload, struct catchup_call *call); /* ERR_CORRUPT */
size_t catchup_begun_encode(const struct catchup_begun *begun, uint8_t out[CATCHUP_BEGUN_SIZE_MAX]);
/* Behind the status. */
MUST_CHECK enum err catchup_begun_decode(struct bytes payload, struct catchup_begun *begun);
/* ERR_TOO_LARGE: over the bounds of one state. */
MUST_CHECK enum err catchup_manifest_encode(const struct replica_source *source, struct dynbuf *buf);
/* files: mem_alloc'ed, the caller's on OK; the state borrows. */
MUST_CHECK enum err catchup_manifest_decode(struct bytes payload, uint64_t index, struct replica_file **files,
                                            struct replica_manifest *manifest);
#define CATCHUP_MANIFEST_SIZE_MAX (5 + (size_t)CATCHUP_FILE_COUNT_MAX * 16 + CATCHUP_STATE_SIZE_MAX)
