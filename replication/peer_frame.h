/* One frame between brokers: 16 bytes of head, an envelope (balsa.peer.Envelope), raw payload. Byte by byte in
 * replication/README.md, "Peer links".
 *
 * All of it is hostile until checked here: sizes before memory is taken, the check sum before anything is believed,
 * what unpacking may take, who it says it is.
 * Pure: no state but the caller's. */
#pragma once

#include "base/arena.h"
#include "base/limits.h"
#include "replication/peers.h"

#define PEER_FRAME_MAGIC 0x42534131u   /* "BSA1" */
#define PEER_FRAME_HEAD_SIZE 16
enum { PEER_VERSION = 1 };             /* of the protocol; there is one */

struct Balsa__Peer__Envelope;
struct Balsa__Peer__Identity;

struct peer_frame_head {
    uint32_t envelope_size, payload_size, crc;
};
void peer_frame_head_put(const struct peer_frame_head *head, uint8_t *target);
/* ERR_CORRUPT: not a frame of ours; ERR_TOO_LARGE: over its limit, or both parts over size_max. */
MUST_CHECK enum err peer_frame_head_get(const uint8_t *source, size_t size_max, struct peer_frame_head *head);

struct peer_frame {                    /* received, checked and unpacked */
    const struct Balsa__Peer__Envelope *envelope;
    struct shared *block;              /* of both parts; NULL when both are empty */
    struct bytes payload;              /* what is left of it */
};
/* `block` holds what `head` has said. ERR_CORRUPT. Everything unpacked is in `arena`. */
MUST_CHECK enum err peer_frame_open(const struct peer_frame_head *head, struct shared *block, struct arena *arena,
                                    struct peer_frame *frame);
/* The next `size` bytes of payload, of frame->block, or of a copy if they are less than a quarter of it (as in
 * raft_wire.h): one reference. ERR_CORRUPT: there are not so many. */
MUST_CHECK enum err peer_frame_take(struct peer_frame *frame, uint32_t size, struct slice *slice);

/* ERR_CORRUPT: fields that contradict each other or could not be printed. */
MUST_CHECK enum err peer_identity_decode(const struct Balsa__Peer__Identity *wire, struct peer_identity *identity);
/* Elements of an envelope, tag and size included; `target` has room for PEER_ELEMENT_SIZE_MAX bytes. */
#define PEER_ELEMENT_SIZE_MAX ((size_t)1024)
size_t peer_hello_encode(const struct peer_identity *self, unsigned shard, uint8_t *target);
size_t peer_welcome_encode(const struct peer_identity *self, uint8_t *target);
size_t peer_refusal_encode(int code, const char *cause, uint8_t *target); /* Balsa__Peer__Refusal__Code */
size_t peer_call_encode(uint64_t id, unsigned method, size_t size, uint8_t *target);
size_t peer_reply_encode(uint64_t id, size_t size, bool is_busy, uint8_t *target);
size_t peer_time_encode(uint64_t sent_ms, uint8_t *target);
