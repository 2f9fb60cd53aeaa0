/* Every bound of the process in one place, each with its reason, and the relations between them as static_assert.
 * Sizes are bytes. A bound that a user may change is only the default of an option (broker/options.h). */
#pragma once

#include "base/assert.h"
#include <stddef.h>
#include <stdint.h>

#define KIB(n) ((size_t)(n) << 10)
#define MIB(n) ((size_t)(n) << 20)
#define GIB(n) ((size_t)(n) << 30)

/* Shards. One a core by default; more than this many threads would only contend. */
#define SHARD_COUNT_MAX 64

/* Kafka face. */
#define REQUEST_SIZE_MAX MIB(100)      /* socket.request.max.bytes, Kafka's default */
#define FETCH_SESSIONS_SIZE_MAX MIB(64) /* of all shards: 400,000 partitions; consumers beyond name them each time */
#define FETCH_GRANT_SIZE_MAX MIB(8)    /* of records in one answer: more at once is no faster, only larger */
#define RESPONSE_SIZE_MAX MIB(64)      /* a fetch answer is soft-limited to fetch.max.bytes = 55 MiB plus one batch */
#define REQUEST_ARENA_SIZE_MAX MIB(32) /* decoded form of one request; 1 M array elements are refused before */
#define REQUEST_SPARE_SIZE_MAX MIB(4)  /* of each shard: requests kept for reuse, two seconds at most while unused */
#define CONNECTION_PIPELINE_MAX 64     /* requests of one connection in work; more stay in the socket */
#define CLIENT_ID_SIZE_MAX 512
#define OPTIONS_FILE_SIZE_MAX MIB(1) /* a server.properties file; a larger one is the wrong file */

/* The loop and its sockets. */
#define TURN_TASK_COUNT_MAX 10000000    /* tasks run in one loop turn: more is a task that queues itself for ever */
#define NET_BACKLOG 1024                /* connections the kernel holds until they are accepted */
#define NET_ACCEPT_COUNT_MAX 64         /* connections accepted per event, so that those accepted are served between */
#define NET_CONNECT_TIMEOUT_US 10000000 /* the kernel alone would try for more than two minutes */
#define NET_ADDRESS_COUNT_MAX 8         /* addresses of one host name that are tried */

/* The allocator. */
#define MALLOC_MAPPED_SIZE_MIN KIB(256) /* from here on a block is given back to the system when it is freed */
#define MALLOC_KEPT_SIZE_MAX MIB(8)     /* free memory kept at the end of a thread's heap: less means page faults */
#define BLOCK_STEP 64                   /* sizes of small blocks: a line of the processor's caches */
#define BLOCK_SIZE_MAX KIB(2)           /* to here: an entry, a request's frame with a record of 1 KiB */
#define BLOCK_SPARE_SIZE_MAX KIB(512)   /* of one size, by each shard */
#define SHARED_CACHED_SIZE_MIN KIB(256) /* mapped blocks of payload are kept for reuse from here on */
#define SHARED_CACHED_SIZE_MAX MIB(4)   /* to here: frames and fetches of clients' default sizes are below */
#define SHARED_CACHE_SIZE_MAX MIB(8)    /* by each shard */

/* The write-ahead log. */
#define WAL_BLOCK_SIZE KIB(4)       /* alignment of units: O_DIRECT, and the sector a disk writes whole */
#define WAL_UNIT_SIZE_MAX MIB(20)   /* one group commit: an entry must fit with room for its neighbours */
#define WAL_FILE_SIZE MIB(64)       /* one file of the log; a unit never spans files */
#define WAL_FILE_SIZE_FIRST KIB(256) /* the first file of an empty broker: zero-filled before the first ack */
#define WAL_FILE_GROWTH 4           /* each further one is so much larger: ready before those before it are full */
#define WAL_FILE_COUNT_MAX 64       /* 4 GiB a shard; appends wait when all are pinned */
#define WAL_UNIT_SIZE_SOFT MIB(1)   /* a unit stops gathering here: larger writes are no faster, only later */
#define WAL_BUFFER_SIZE_MIN KIB(64) /* a gathering buffer starts here and doubles, so an idle shard stays small */
#define WAL_BUFFER_SIZE_MAX MIB(3)  /* larger ones are not kept: an entry of gathered batches is below */
#define WAL_BUFFER_COUNT_MAX 4      /* buffers kept for reuse: one in flight, one gathering, two that wait */
#define WAL_READ_SIZE MIB(4)        /* one read at recovery: large enough to run at the disk's speed */
#define WAL_FILL_SIZE KIB(64)       /* one zero-filling write: what a unit may have to wait behind */
#define WAL_RETRY_MS 1000           /* between attempts to make a file while the disk is full */

/* Raft entries. */
#define ENTRY_SIZE_MAX MIB(17)           /* payload of one Raft entry */
#define MESSAGE_MAX_BYTES_LIMIT MIB(16)  /* upper bound of max.message.bytes: one batch must fit in one entry */
#define ENTRY_BATCH_COUNT_MAX 1024       /* record batches gathered in one entry */
#define ENTRY_GATHER_SIZE MIB(1)         /* an entry stops gathering beyond this, but always takes one batch */
#define GROUP_UNCOMMITTED_COUNT_MAX 4096 /* libraft scans them at each ack (reference: R15, R24) */
#define GROUP_TAIL_SIZE_MAX MIB(32)      /* bytes of one group's entries in memory */
#define GROUP_RETAIN_SIZE MIB(1)         /* applied entries kept for followers that are a little behind */
#define APPEND_SIZE_MAX MIB(1)           /* payload of one message to a follower, but for a single larger entry */
#define APPEND_ENTRY_COUNT_MAX 512       /* entries of one message */
#define INFLIGHT_SIZE MIB(4)             /* aimed at per follower: sets libraft's limit of entries in flight (R15) */
#define OUTBOX_COUNT_MAX 256 /* messages of one group that wait for the log; more are dropped, Raft sends again */
#define SHARD_TAIL_SIZE_MAX MIB(512)   /* bytes of all groups' entries in memory; proposals are refused beyond */
#define GROUP_INTAKE_FREE KIB(64)      /* that much waits in each group in any case: metadata is not held up */
#define WAL_INTAKE_SHARE 16            /* part of the log that may wait in groups led by one shard, see replica.c */
#define WAL_FOLLOW_SHARE 4             /* and in those that it follows, whatever number of leaders sends them */
#define SHARD_RETAIN_SIZE_MAX MIB(128) /* beyond this no applied entry is retained */

/* Links between brokers. */
#define PEER_WRITE_SIZE MIB(1)         /* payload of one frame, but for one larger entry: a heartbeat waits for it */
#define PEER_QUEUE_SIZE_MAX MIB(16)    /* waiting on one connection: a few INFLIGHT_SIZEs */
#define PEER_URGENT_SIZE_MAX MIB(1)    /* of it, messages without payload: 50,000 heartbeats */
#define PEER_CALL_COUNT_MAX 1024       /* calls of one link without a reply, and requests of one connection in work */
#define PEER_CALL_SIZE_MAX MIB(16)     /* payload of one call or reply */
#define PEER_REQUEST_SIZE_MAX MIB(64)  /* payload of the requests of one connection that are in work */
#define PEER_ENVELOPE_SIZE_MAX MIB(2)  /* a frame's first part: PEER_URGENT_SIZE_MAX and as much for heads of payload */
#define PEER_ENVELOPE_MEMORY_MAX MIB(64) /* and unpacked: a heartbeat grows tenfold, what grows more is hostile */
#define PEER_FRAME_SIZE_MAX (PEER_ENVELOPE_SIZE_MAX + PEER_WRITE_SIZE + ENTRY_SIZE_MAX) /* what is read at a time */
#define PEER_HELLO_SIZE_MAX KIB(4)     /* a frame of one who has not said who it is */
#define PEER_HELLO_COUNT_MAX 64        /* connections of such */
#define PEER_IN_COUNT_MAX 1024         /* connections of brokers' shards to one shard */
#define PEER_LINK_COUNT_MAX 1024       /* brokers and seeds that a shard keeps links to */

/* The admin service (gRPC). A few operators and programs, never the data. */
#define GRPC_CONN_COUNT_MAX 1024         /* more are refused */
#define GRPC_STREAM_COUNT_MAX 1024       /* calls of one connection at once: clients wait with more */
#define GRPC_CALL_COUNT_MAX 8192         /* of all connections, those in work for clients that have gone included */
#define GRPC_HEADER_SIZE_MAX KIB(16)     /* of a request, as HTTP/2 counts: what gRPC's own servers take is 8 KiB */
#define GRPC_REQUEST_SIZE_MAX MIB(4)     /* gRPC's own default; moves of 10,000 partitions are below 1 MiB */
#define GRPC_ANSWER_SIZE_MAX MIB(64)     /* 200,000 partitions described are about 20 MiB */
#define GRPC_STREAM_SIZE_MAX MIB(1)      /* of a stream's messages that its client has not taken */
#define GRPC_ARENA_SIZE_MAX MIB(64)      /* what one call decodes and builds */
#define GRPC_MEMORY_MAX MIB(128)         /* of all calls; more are refused, not delayed */
#define GRPC_WRITE_SIZE KIB(64)          /* gathered for one write to a socket */
#define GRPC_REQUEST_MS 30000            /* for a request to arrive once its headers are here */
#define GRPC_IDLE_MS 600000              /* a connection without calls for as long is closed: clients connect again */
#define GRPC_STALL_MS 30000              /* a connection whose client takes nothing for as long is closed */

/* Catch-up. */
#define CATCHUP_FILE_COUNT_MAX 65536     /* of one state: a partition of 64 TiB in segments of 1 GiB */
#define CATCHUP_STATE_SIZE_MAX MIB(48)   /* beside the files: producers of a partition are most of it */
#define CATCHUP_CHUNK_SIZE KIB(256)      /* bytes asked for at once: what both sides hold of a session */
#define CATCHUP_TARGET_COUNT_MAX 2       /* of a shard that take a state at once; more wait */
#define CATCHUP_SOURCE_COUNT_MAX 8       /* of a shard that give one at once; more are told to come again */
#define CATCHUP_RETAIN_SIZE MIB(16)      /* applied entries kept for a follower that is being caught up */
#define CATCHUP_ROUND_SIZE MIB(2)        /* a state that brought less than this is recent enough to be taken */

/* Record batches. */
#define RECORDS_PLAIN_SIZE_MAX \
    MIB(64) /* records of one batch decompressed: a bomb stops here, honest batches are far below */

/* Partitions. */
#define PRODUCER_BATCH_COUNT 5             /* batches remembered per producer, KIP-98 */
#define PARTITION_PRODUCER_COUNT_MAX 20000 /* idempotent producers remembered per partition; the oldest go first */
#define REFUSAL_COUNT_MAX 1000             /* producers per partition whose refused batch is remembered */
#define PARTITION_EPOCH_COUNT_MAX 65536    /* terms that wrote records; the oldest are forgotten, as if trimmed */
#define PARTITION_QUEUE_SIZE_MAX MIB(8)    /* batches waiting while a group takes no proposals: a few entries' worth */
#define PARTITION_QUEUE_COUNT_MAX 4096     /* and their number */
#define TOPIC_NAME_SIZE_MAX 249
#define TOPIC_PARTITION_COUNT_MAX 10000
#define CLUSTER_PARTITION_COUNT_MAX 200000
#define STORE_CACHE_PARTITION_COUNT_MAX 65536 /* slots of each shard, 3 MiB: those of 20,000 partitions */
#define STORE_CACHE_TOPIC_COUNT_MAX 4096   /* and 1.1 MiB: those of 1,300 names */
#define STORE_SIZE_MAX GIB(4)              /* of the metadata's file, sparse: 200,000 partitions are far below */
#define CONFIG_VALUE_SIZE_MAX 32767        /* of one config of a topic or broker, as in Kafka */
#define ALTER_RESOURCE_COUNT_MAX 10000     /* topics and brokers of one request: each is compared with each */
#define ALTER_CHANGE_COUNT_MAX 1000        /* configs of each: there are not a tenth as many keys */
#define CLUSTER_BROKER_COUNT_MAX 1024      /* registered; plans look at all of them */
#define INSYNC_TIMEOUT_MS 10000            /* for members beyond the majority: a restart of one is shorter */
#define SEGMENT_BUFFER_SIZE KIB(64)         /* small appends to one segment gathered into one write */
#define SEGMENT_BUFFER_TAKES KIB(16)        /* larger ones are written at once: copying would cost more than the call */
#define SEGMENT_BUFFERS_SIZE_MAX MIB(16)    /* gathered bytes of a shard; beyond, the longest waiting are written */
#define SEGMENT_BUFFER_US 250000            /* and none waits longer: what lies in the files is what tools see */
#define WRITE_OUT_PIECE_SIZE KIB(256)       /* of one segment: the log waits behind one, and more is not faster */
#define WRITE_OUT_LAG_MAX MIB(32)           /* of a shard, in smaller pieces: a checkpoint has little left to write */
#define SEGMENT_RETRY_US 100000             /* between attempts to write them while the disk is full */
#define SPACE_CHECK_US 1000000              /* between looks at the free space of the disk */
#define SPACE_CHECK_SCARCE_US 100000        /* and below four times the reserve */
#define SPACE_ALLOWANCE_SHARE 16            /* of the reserve: records that followers take on a full disk, so that */
#define SPACE_ALLOWANCE_SIZE_MAX MIB(16)    /* trims behind them get through; of all shards */
#define STORE_HEADROOM_SIZE MIB(16)         /* of each store, taken in advance: some 100,000 offsets more */
#define COMPACTION_KEY_COUNT_MAX 50331648   /* whatever a leader asks for: 2.3 GiB at most */
#define COMPACTION_ORDER_COUNT_MAX 256      /* not carried out yet; a replica further behind is filled anew */
#define COMPACTION_STEP_SIZE MIB(4)         /* input of one work job, so that others get their turn */
#define LOG_FILES_COUNT_MAX 16384 /* open segment and index files of the process; the rest is opened on demand */

/* Consumer groups. */
#define GROUP_COUNT_MAX 20000           /* with members, or about to have some; others are only in the store */
#define GROUP_MEMBER_COUNT_MAX 4096     /* upper bound of group.max.size: members are looked up by walking them */
#define GROUP_PENDING_COUNT_MAX 1024    /* member ids given out and not used yet; the oldest gives way */
#define GROUP_PROTOCOL_COUNT_MAX 32     /* of a member: clients offer one to four */
#define GROUP_INSTANCE_ID_SIZE_MAX 249  /* group.instance.id, as Kafka's clients check it */
#define GROUP_CLIENT_ID_SIZE_MAX 255    /* kept of a client id; what is longer is cut */
#define GROUP_SIZE_MAX MIB(8)           /* what all members say of themselves: the leader is told it in one answer */
#define GROUP_ASSIGNED_SIZE_MAX MIB(7)  /* what the leader gives: one record has both */
#define GROUPS_MEMORY_MAX MIB(256)      /* of all groups in memory; beyond, members are asked to try again */
#define GROUP_LOAD_COUNT 64             /* groups read from the store in a loop turn by a new coordinator */
#define GROUP_ID_SIZE_MAX 500 /* with a table's letter it is a key of the store; what is in use is far shorter */
#define GROUPS_SIZE_MAX GIB(1) /* groups and offsets in the store, as group_pair_size() counts */
#define OFFSETS_RECORD_SIZE MIB(1)       /* commits gathered in one record stop here, but a larger one goes alone */
#define OFFSETS_RECORD_COUNT_MAX 1000    /* and here: what every broker applies in one turn */
#define OFFSETS_COMMIT_SIZE_MAX MIB(4)   /* one commit, some 80,000 partitions; Kafka's bound is a batch, 1 MB */
#define OFFSET_METADATA_SIZE_MAX KIB(64) /* upper bound of offset.metadata.max.bytes */
#define OFFSETS_REMOVED_COUNT_MAX 1000 /* offsets that one record removes: a few milliseconds of every broker */

static_assert(WAL_UNIT_SIZE_MAX + 3 * WAL_BLOCK_SIZE <= WAL_FILE_SIZE, "a unit fits in a file, with header and marks");
static_assert(WAL_BUFFER_SIZE_MIN % WAL_BLOCK_SIZE == 0 && WAL_READ_SIZE % WAL_BLOCK_SIZE == 0, "whole blocks");
static_assert(ENTRY_SIZE_MAX + MIB(1) <= WAL_UNIT_SIZE_MAX, "an entry fits in a unit, with its frame and header");
static_assert(MESSAGE_MAX_BYTES_LIMIT < ENTRY_SIZE_MAX, "a batch fits in an entry");
static_assert(MESSAGE_MAX_BYTES_LIMIT < RECORDS_PLAIN_SIZE_MAX, "an uncompressed batch is no bomb");
static_assert(MESSAGE_MAX_BYTES_LIMIT < REQUEST_SIZE_MAX, "a batch fits in a request");
static_assert(ENTRY_SIZE_MAX < GROUP_TAIL_SIZE_MAX, "one entry fits in a group's tail");
static_assert(4 * WAL_FOLLOW_SHARE <= WAL_INTAKE_SHARE, "what waits, half a log and a copy of what waits fit in a log");
static_assert(PEER_CALL_SIZE_MAX <= ENTRY_SIZE_MAX, "a frame has room for a call behind a full write");
static_assert(PEER_URGENT_SIZE_MAX < PEER_ENVELOPE_SIZE_MAX, "messages without payload fit in one frame");
static_assert(OFFSETS_COMMIT_SIZE_MAX + OFFSETS_RECORD_SIZE < ENTRY_SIZE_MAX, "commits fit in an entry");
static_assert(GROUPS_SIZE_MAX <= STORE_SIZE_MAX / 4, "a store full of groups has room for the rest and its own work");
static_assert(GROUP_SIZE_MAX + GROUP_ASSIGNED_SIZE_MAX + MIB(1) <= ENTRY_SIZE_MAX, "a group fits in one record");
static_assert(SHARD_RETAIN_SIZE_MAX < SHARD_TAIL_SIZE_MAX, "retained entries alone never refuse a proposal");
