/* Raft messages as elements of an Envelope (proto/peer.proto), with the entries' bytes as raw payload behind it.
 *
 * Encoding writes one element of Envelope.raft, tag and size included: an envelope is the concatenation of its
 * elements, so what is sent needs no message structs. Decoding takes what protobuf-c has unpacked; nothing in it is
 * believed: counts, sizes, kinds, indexes, terms and memberships are checked, so that a replica sees only what a
 * correct peer could have sent.
 * Pure: no state. */
#pragma once

#include "base/limits.h"
#include "replication/replica_message.h"

struct Balsa__Peer__Raft;

/* Largest element: an APPEND with APPEND_ENTRY_COUNT_MAX entries, 1 + 10 + 5 bytes each. */
#define RAFT_WIRE_SIZE_MAX ((size_t)APPEND_ENTRY_COUNT_MAX * 16 + 256)
static_assert(MEMBERSHIP_SIZE_MAX + 128 <= RAFT_WIRE_SIZE_MAX, "an INSTALL fits as well");

/* Writes the element to `target` (room for RAFT_WIRE_SIZE_MAX bytes), returns its size. `message->peer` is not in it:
 * the link knows. Nor is append.sent_ms: frames have it. The payload of its entries must follow in their order. */
size_t raft_wire_encode(uint64_t group, const struct replica_message *message, uint8_t *target);

/* `payload` is what is left of the frame's payload, of `block`; on success it has advanced by what the message's
 * entries took. message->peer is left alone. message->append.entries is mem_alloc'ed (NULL without entries), with one
 * reference each; raft_wire_release() gives all of it back. The entries point into `block`, or, if they are less than
 * a quarter of it, to a copy: a few bytes must not keep a large frame in memory for as long as a group retains them.
 * ERR_CORRUPT, ERR_UNSUPPORTED (a kind of a later version): nothing is kept. */
MUST_CHECK enum err raft_wire_decode(const struct Balsa__Peer__Raft *wire, struct shared *block, struct bytes *payload,
                                     uint64_t *group, struct replica_message *message);
void raft_wire_release(const struct replica_message *message);
