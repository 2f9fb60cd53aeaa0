/* Counters, gauges and histograms of one shard, declared in one table with name, kind, unit and meaning.
 *
 * Runs on: the owning shard alone writes (relaxed loads and stores: a second writer would lose counts); any thread
 *          reads, so a page sums over shards without stopping them.
 *          Pairs, which are rare, may be counted by any thread.
 * Histograms are of times: log-linear in microseconds, 8 sub-buckets a power of two, relative error below 13 %. The
 * Prometheus text is in seconds, as its naming rules ask for, and has two bounds a power of two of microseconds, up to
 * 2^26, which is enough for alerts and few enough to keep. */
#pragma once

#include "base/dynbuf.h"
#include <stdio.h>

/* name, kind, help. Names get the prefix balsa_ and Prometheus suffixes as written. */
#define METRIC_MAP(X)                                                                                                  \
    X(WAL_SYNCS, wal_syncs_total, COUNTER, "Durable writes of the write-ahead log (one may cover many partitions)")    \
    X(WAL_BYTES, wal_written_bytes_total, COUNTER, "Bytes written to the write-ahead log, padding included")           \
    X(WAL_SYNC_US, wal_sync_seconds, HISTOGRAM, "Time of one durable write of the write-ahead log")                    \
    X(WAL_CHECKPOINTS, wal_checkpoints_total, COUNTER, "Checkpoints committed")                                        \
    X(WAL_STALLS, wal_stalls_total, COUNTER, "Times that appends waited for a recycled file")                          \
    X(SEGMENT_BYTES, segment_appended_bytes_total, COUNTER, "Record batch bytes appended to segments")                 \
    X(PRODUCE_REQUESTS, produce_requests_total, COUNTER, "Produce requests")                                           \
    X(PRODUCE_RECORDS, produce_records_total, COUNTER, "Records acknowledged")                                         \
    X(PRODUCE_BYTES, produce_bytes_total, COUNTER, "Bytes of record batches acknowledged")                             \
    X(PRODUCE_ERRORS, produce_errors_total, COUNTER, "Partition parts of produce requests answered with an error")     \
    X(PRODUCE_US, produce_seconds, HISTOGRAM, "Produce: request read to response queued")                              \
    X(COMMIT_US, commit_seconds, HISTOGRAM, "Records: proposed by their leader to committed, and durable here")        \
    X(APPLY_US, apply_seconds, HISTOGRAM, "One committed entry of a partition applied to it, on every replica")        \
    X(PRODUCE_DUPLICATES, produce_duplicates_total, COUNTER, "Batches recognised as duplicates")                       \
    X(FETCH_REQUESTS, fetch_requests_total, COUNTER, "Fetch requests")                                                 \
    X(FETCH_BYTES, fetch_bytes_total, COUNTER, "Bytes of record batches sent to consumers")                            \
    X(FETCH_US, fetch_seconds, HISTOGRAM, "Fetch: request read to response queued, waiting included")                  \
    X(FETCH_ERRORS, fetch_errors_total, COUNTER, "Partition parts of fetch requests answered with an error")           \
    X(READ_COLD, log_reads_cold_total, COUNTER, "Log reads that were not in the page cache")                           \
    X(READ_DAMAGED, log_reads_damaged_total, COUNTER, "Log reads refused because a batch failed its check")            \
    X(OFFSET_COMMITS, offset_commits_total, COUNTER, "Offset commit requests")                                         \
    X(OFFSETS_COMMITTED, offsets_committed_total, COUNTER, "Offsets of partitions committed")                          \
    X(OFFSETS_REFUSED, offsets_refused_total, COUNTER, "Offsets of partitions in commits answered with an error")      \
    X(OFFSET_COMMIT_US, offset_commit_seconds, HISTOGRAM, "Offset commit: request read to response queued")            \
    X(OFFSET_RECORDS, offset_records_total, COUNTER, "Metadata records that carry offset commits, or a read's check")  \
    X(OFFSETS_EXPIRED, offsets_removed_total, COUNTER, "Offsets removed: expired, or of a group or topic that is gone")\
    X(OFFSETS_UNREADABLE, offsets_unreadable_total, COUNTER,                                                           \
      "Offsets and groups that a look for expired ones passed over: damaged, each counted again at the next look")     \
    X(CONNECTIONS, connections, GAUGE, "Open client connections")                                                      \
    X(CONNECTIONS_REFUSED, connections_refused_total, COUNTER, "Connections closed at accept: over a limit")           \
    X(CONNECTIONS_KILLED, connections_killed_total, COUNTER, "Connections closed for bad framing or slowness")         \
    X(REQUESTS_REFUSED, requests_refused_total, COUNTER, "Requests that could not be decoded or are not served")       \
    X(REQUESTS_SLOW, requests_slow_total, COUNTER, "Requests slower than balsa.slow.request.ms; some have a log line") \
    X(READ_PAUSES, read_pauses_total, COUNTER, "Times that a connection stopped being read: over budget")              \
    X(MEMORY_REQUESTS, request_memory_bytes, GAUGE, "Bytes held by requests and responses in flight")                  \
    X(TAIL_BYTES, raft_tail_bytes, GAUGE, "Bytes of log entries held in memory")                                       \
    X(RAFT_STEPS, raft_steps_total, COUNTER, "raft_step calls")                                                        \
    X(PROPOSALS_REFUSED, proposals_refused_total, COUNTER, "Proposals refused: not leader, over budget, disk full")    \
    X(REPLICAS, replicas, GAUGE, "Open replicas")                                                                      \
    X(REPLICAS_DAMAGED, replicas_damaged, GAUGE, "Replicas out of service because of damage")                          \
    X(LEADERS, leaders, GAUGE, "Replicas that lead")                                                                   \
    X(PEER_LINKS, peer_links, GAUGE, "Links to other brokers that work, each shard's counted")                         \
    X(PEER_LOST, peer_links_lost_total, COUNTER, "Links to other brokers that worked and were lost")                   \
    X(PEER_REFUSED, peer_connections_refused_total, COUNTER, "Brokers' connections refused: strangers, bad frames")    \
    X(PEER_FRAMES_SENT, peer_frames_sent_total, COUNTER, "Frames sent to other brokers: one write each")               \
    X(PEER_BYTES_SENT, peer_sent_bytes_total, COUNTER, "Bytes sent to other brokers")                                  \
    X(PEER_BYTES_RECEIVED, peer_received_bytes_total, COUNTER, "Bytes received from other brokers")                    \
    X(PEER_MESSAGES_SENT, peer_messages_sent_total, COUNTER, "Raft messages sent to other brokers")                    \
    X(PEER_MESSAGES_DROPPED, peer_messages_dropped_total, COUNTER,                                                     \
      "Raft messages dropped: no link, or its queue full")                                                             \
    X(PEER_QUEUE_BYTES, peer_queue_bytes, GAUGE, "Bytes that wait to be sent to other brokers")                        \
    X(PEER_CALLS, peer_calls_total, COUNTER, "Calls to other brokers")                                                 \
    X(PEER_CALL_ERRORS, peer_call_errors_total, COUNTER, "Calls to other brokers that had no reply")                   \
    X(CATCHUPS_SENT, catchups_sent, GAUGE, "Members that take a state from here")                                      \
    X(CATCHUPS_TAKEN, catchups_taken, GAUGE, "Replicas here that take a state from another member")                    \
    X(CATCHUP_SENT_BYTES, catchup_sent_bytes_total, COUNTER, "Bytes of states sent to members")                        \
    X(CATCHUP_TAKEN_BYTES, catchup_taken_bytes_total, COUNTER, "Bytes of states taken from members")                   \
    X(CATCHUP_INSTALLS, catchup_installs_total, COUNTER, "States of other members that took the place of a replica's") \
    X(GROUPS, groups, GAUGE, "Consumer groups with members that are coordinated here")                                 \
    X(GROUP_REBALANCES, group_rebalances_total, COUNTER, "Generations of consumer groups that have begun here")        \
    X(SUCCESSIONS, successions_total, COUNTER, "Elections started because the process of a leader ended")              \
    X(COMPACTIONS, compactions_total, COUNTER, "Compactions of a replica carried out")                                 \
    X(COMPACTION_READ_BYTES, compaction_read_bytes_total, COUNTER, "Bytes of segments read by compactions")            \
    X(COMPACTION_WRITTEN_BYTES, compaction_written_bytes_total, COUNTER, "Bytes of segments written by compactions")   \
    X(COMPACTION_REMOVED, compaction_removed_records_total, COUNTER, "Records removed by compactions")                 \
    X(COMPACTION_ERRORS, compaction_errors_total, COUNTER, "Compactions put off: no space, or an error of the disk")

/* Counters with two labels, whose values upper layers number and name: only pairs that have occurred are printed.
 * id, name, rows at most, columns at most, help. */
#define METRIC_PAIR_MAP(X)                                                                                             \
    X(ERRORS, errors_total, 64, 160,                                                                                   \
      "Error codes in answers to Kafka requests, by API and code, each partition's or topic's counted, by the broker " \
      "that decided. Ordinary are MEMBER_ID_REQUIRED and REBALANCE_IN_PROGRESS when groups change, "                   \
      "NOT_LEADER_OR_FOLLOWER after a move, OFFSET_OUT_OF_RANGE of a consumer that starts anew, "                      \
      "LEADER_NOT_AVAILABLE of a topic that is made")                                                                  \
    X(GRPC_ERRORS, grpc_errors_total, 64, 32,                                                                          \
      "Calls to the admin service that ended with another status than OK, by method and code. Ordinary is CANCELLED: " \
      "of a Watch that its client ends")

enum metric_pair {
#define METRIC_PAIR_ENUM(id, name, rows, columns, help) METRIC_##id,
    METRIC_PAIR_MAP(METRIC_PAIR_ENUM)
#undef METRIC_PAIR_ENUM
    METRIC_PAIR_COUNT
};

#define METRIC_PAIR_BOUNDS(id, name, rows, columns, help) \
    METRIC_##id##_ROWS_MAX = (rows), METRIC_##id##_COLUMNS_MAX = (columns),
enum {
    METRIC_PAIR_MAP(METRIC_PAIR_BOUNDS)
};
#undef METRIC_PAIR_BOUNDS

enum metric {
#define METRIC_ENUM(id, name, kind, help) METRIC_##id,
    METRIC_MAP(METRIC_ENUM)
#undef METRIC_ENUM
    METRIC_COUNT
};

struct metrics; /* of one shard */

struct metrics *metrics_open(void);
void metrics_close(struct metrics *metrics);
void metrics_add(struct metrics *metrics, enum metric metric, int64_t delta);        /* counter or gauge */
void metrics_observe(struct metrics *metrics, enum metric metric, int64_t value_us); /* histogram */
/* Value of a counter or gauge, number of values of a histogram. */
int64_t metrics_value(const struct metrics *metrics, enum metric metric);
/* Upper bound of the bucket in which the `fraction` (0..1, e.g. 0.99) of all values of a histogram lies, over `count`
 * shards; 0 if there are none. */
int64_t metrics_quantile(struct metrics *const *shards, size_t count, enum metric metric, double fraction);
/* Prometheus text of the sum over `count` shards. ERR_TOO_LARGE when buf is full, which is then as it was. */
MUST_CHECK enum err metrics_print(struct metrics *const *shards, size_t count, struct dynbuf *buf);
/* One more of a pair. Any thread. */
void metrics_add_pair(struct metrics *metrics, enum metric_pair pair, size_t row, size_t column);
int64_t metrics_pair_value(const struct metrics *metrics, enum metric_pair pair, size_t row, size_t column);
/* Writes `api="Produce",error="NONE"`, or what the labels are; what needs escaping in them is escaped. */
typedef void (*metric_labels)(size_t row, size_t column, char *text, size_t size);
/* As metrics_print(), one family of pairs. */
MUST_CHECK enum err metrics_print_pair(struct metrics *const *shards, size_t count, enum metric_pair pair,
                                       metric_labels labels, struct dynbuf *buf);
void metrics_print_markdown(FILE *out); /* rows of a table: name, kind, meaning */
