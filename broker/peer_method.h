/* What brokers ask of each other besides Raft: methods of peers_call() and peers_tell(). Numbers are on the wire, for
 * ever. Payloads are messages of proto/peer.proto, named as the method, unless said. Shard: where a call is handled. */
#pragma once

enum peer_method {
    PEER_WHO = 2,      /* WhoRequest -> WhoReply: in which cluster are you, founders, metadata leader; shard 0 */
    PEER_JOIN = 3,     /* JoinRequest -> JoinReply: to the metadata leader: register me, have me as a member; shard 0 */
    PEER_LEADERS = 4,  /* told: LeadersNews, what the sender leads (all of it when a link comes up); any shard */
    PEER_FORWARD = 5,  /* raw: a Kafka request for the controller -> ForwardReply head, Kafka response; shard 0 */
    PEER_CATCHUP = 6,  /* raw, replication/catchup.c: told by group in its first 8 bytes; the group's shard */
    PEER_TRANSFER = 7, /* TransferRequest -> TransferReply: hand leadership of groups you lead to others; any shard */
    PEER_MOVED = 8,    /* MovedRequest -> MovedReply: to the controller: partitions have their targets; shard 0 */
    PEER_STATUS = 9,   /* StatusRequest -> StatusReply: progress of catch-ups and moves, sizes, digests; shard 0 */
    PEER_LOST = 10,    /* raw, broker/rebuild.c: told by group in its first 8 bytes; the group's shard */
};
