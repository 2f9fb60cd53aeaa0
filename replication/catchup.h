/* Catch-up: how a replica that is behind its leader's log gets the state instead, without ever being out of service as a
 * voter (R12). libraft's InstallSnapshot is only the signal; nothing is stepped into the core before everything is here.
 *
 *   leader                                           follower
 *   REPLICA_INSTALL (signal, each heartbeat)  --->   catchup_signal(): one session a group, repeats are ignored
 *   catchup_serve(BEGIN): captures the machine's     <--- CATCHUP_BEGIN (what is here already)
 *   state, pins its files; manifest           --->   staging is made, what both have is taken from here
 *   catchup_serve(READ): bytes of one file    <--->  CATCHUP_READ, CATCHUP_CHUNK_SIZE at a time, throttled, in order
 *   the pin ends (END, or silence)            <---   all is there, checked, synced
 *                                                    replica_install(): WAL_INSTALL, then the machine takes the staging
 * Partition: a state is a directory. The staging is a sibling `<topic>-<n>.<group>.<index>` of the partition's; whole
 * segments that the replica has and that its checkpoint covers are linked into it, the rest is pulled. A session that
 * broke off goes on where it ended when the manifest still says the same of a file. The replay of WAL_INSTALL opens that
 * directory; the old one goes when a checkpoint at or above `index` is durable.
 * Metadata: a state is a dump of the store's pairs, loaded in one transaction together with the applied index.
 *
 * Bounds: CATCHUP_SESSION_COUNT_MAX sessions of a shard at once on each side, one chunk of each in memory, and
 * balsa.catchup.bytes.per.second for the broker (0: no limit).
 * Runs on: the shard of the group, both sides; file work in work jobs. */
#pragma once

#include "replication/replica_message.h"
#include "replication/replicas.h"

struct catchups;

struct catchup_progress {                  /* for status */
    uint64_t group, index, done_bytes, total_bytes;
    int64_t started_us;
    bool is_source;
    uint64_t peer;                         /* server id */
};
