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
    X(WAL_FILE_RETRIES, wal_file_errors_total, COUNTER,                                                                \
      "Files of the write-ahead log that could not be made or removed, each tried again")                              \
    X(CHECKPOINT_RETRIES, checkpoint_errors_total, COUNTER, "Checkpoints that found no space, each tried again")       \
    X(SEGMENT_BYTES, segment_appended_bytes_total, COUNTER, "Record batch bytes appended to segments")                 \
    X(SEGMENT_RETRIES, segment_write_errors_total, COUNTER,                                                            \
      "Writes to segments that found the disk full, each tried again: what they hold stays in the log")                \
    X(SEGMENTS_DROPPED, segments_dropped_total, COUNTER,                                                               \
      "Segments whose records are all below the log start: expired, or deleted by a client")                           \
    X(OPEN_RETRIES, segment_open_errors_total, COUNTER,                                                                \
      "Files of segments that could not be opened at first: idle ones were closed for them")                           \
    X(FILES_LEFT, files_left_total, COUNTER,                                                                           \
      "Files or directories that could not be removed: the next start tries again")                                    \
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
    X(FETCH_NO_ROOM, fetch_memory_waits_total, COUNTER,                                                                \
      "Passes of fetches that read nothing for want of memory for answers, each tried again")                          \
    X(FETCH_SESSIONS_REFUSED, fetch_sessions_refused_total, COUNTER,                                                   \
      "Fetch sessions not given for want of room: their consumers name all partitions each time")                      \
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
    X(CONNECTIONS_IDLE, connections_idle_total, COUNTER, "Connections closed after connections.max.idle.ms")           \
    X(CONNECTIONS_LOST, connections_lost_total, COUNTER, "Connections that broke: reset by the client, or the network")\
    X(CONNECTIONS_KILLED, connections_killed_total, COUNTER, "Connections closed: bad requests, limits, slowness")     \
    X(REQUESTS_REFUSED, requests_refused_total, COUNTER, "Requests that could not be decoded or are not served")       \
    X(REQUESTS_DROPPED, requests_dropped_total, COUNTER,                                                               \
      "Requests ended without an answer: refused ones, failed ones with acks=0, answers over a limit")                 \
    X(REQUESTS_SLOW, requests_slow_total, COUNTER, "Requests slower than balsa.slow.request.ms; some have a log line") \
    X(SLOW_LEFT_OUT, slow_request_lines_dropped_total, COUNTER,                                                        \
      "Lines on slow requests that were left out: more than the rate of log lines")                                    \
    X(READ_PAUSES, read_pauses_total, COUNTER, "Times that a connection stopped being read: over budget")              \
    X(MEMORY_REQUESTS, request_memory_bytes, GAUGE, "Bytes held by requests and responses in flight")                  \
    X(TAIL_BYTES, raft_tail_bytes, GAUGE, "Bytes of log entries held in memory")                                       \
    X(RAFT_STEPS, raft_steps_total, COUNTER, "raft_step calls")                                                        \
    X(PROPOSALS_REFUSED, proposals_refused_total, COUNTER, "Proposals refused: not leader, over budget, disk full")    \
    X(PROPOSALS_WAITED, proposals_retried_total, COUNTER,                                                              \
      "Times that batches waited for room in the log and were proposed again")                                         \
    X(PROPOSALS_IN_DOUBT, proposals_in_doubt_total, COUNTER,                                                           \
      "Proposals whose leader was deposed before it knew whether they are committed")                                  \
    X(ELECTIONS, elections_total, COUNTER, "Elections begun by replicas here, tried again ones included")              \
    X(LEADERS_LOST, leaderships_lost_total, COUNTER,                                                                   \
      "Leaderships of replicas here that ended: handed over, or deposed")                                              \
    X(TRANSFERS_FAILED, leader_transfers_failed_total, COUNTER, "Leaderships that could not be handed over in time")   \
    X(RAFT_REJECTED, raft_appends_rejected_total, COUNTER,                                                             \
      "Answers of followers that lacked what was before: entries are sent again from there on")                        \
    X(RAFT_PUT_OFF, raft_appends_put_off_total, COUNTER,                                                               \
      "Entries refused here for want of memory or disk; their leader sends them again")                                \
    X(RAFT_REFUSED, raft_messages_refused_total, COUNTER,                                                              \
      "Raft messages from brokers that had no effect: no such replica here, or against a rule")                        \
    X(REPLICAS, replicas, GAUGE, "Open replicas")                                                                      \
    X(REPLICAS_DAMAGED, replicas_damaged, GAUGE, "Replicas out of service because of damage")                          \
    X(REPLICA_RETRIES, replica_create_errors_total, COUNTER, "Replicas that could not be created, each tried again")   \
    X(LEADERS, leaders, GAUGE, "Replicas that lead")                                                                   \
    X(PEER_LINKS, peer_links, GAUGE, "Links to other brokers that work, each shard's counted")                         \
    X(PEER_LOST, peer_links_lost_total, COUNTER, "Links to other brokers that worked and were lost")                   \
    X(PEER_ATTEMPTS_FAILED, peer_connect_errors_total, COUNTER,                                                        \
      "Attempts at a link to another broker that failed, each tried again")                                            \
    X(PEER_REFUSED, peer_connections_refused_total, COUNTER, "Brokers' connections refused: strangers, bad frames")    \
    X(PEER_IN_LOST, peer_connections_lost_total, COUNTER, "Connections of other brokers that broke or fell silent")    \
    X(PEER_FRAMES_SENT, peer_frames_sent_total, COUNTER, "Frames sent to other brokers: one write each")               \
    X(PEER_BYTES_SENT, peer_sent_bytes_total, COUNTER, "Bytes sent to other brokers")                                  \
    X(PEER_BYTES_RECEIVED, peer_received_bytes_total, COUNTER, "Bytes received from other brokers")                    \
    X(PEER_MESSAGES_SENT, peer_messages_sent_total, COUNTER, "Raft messages sent to other brokers")                    \
    X(PEER_MESSAGES_DROPPED, peer_messages_dropped_total, COUNTER,                                                     \
      "Raft messages dropped: no link, its queue or the group's full, or too old")                                     \
    X(PEER_QUEUE_BYTES, peer_queue_bytes, GAUGE, "Bytes that wait to be sent to other brokers")                        \
    X(PEER_CALLS, peer_calls_total, COUNTER, "Calls to other brokers")                                                 \
    X(PEER_CALL_ERRORS, peer_call_errors_total, COUNTER, "Calls to other brokers that had no reply")                   \
    X(PEER_CALLS_REFUSED, peer_calls_refused_total, COUNTER,                                                           \
      "Calls of other brokers refused as busy: too many at once, or too large together")                               \
    X(PEER_REPLIES_DROPPED, peer_replies_dropped_total, COUNTER,                                                       \
      "Replies that nobody waited for any more: the link lost, or the time up")                                        \
    X(PEER_NEWS_DROPPED, peer_news_dropped_total, COUNTER,                                                             \
      "News of leaders not sent: no link, or its queue full; a new link brings all of them")                           \
    X(FORWARD_RETRIES, forwards_retried_total, COUNTER,                                                                \
      "Requests for the controller that were not taken, and wait to be sent again")                                    \
    X(FORWARD_IN_DOUBT, forwards_in_doubt_total, COUNTER,                                                              \
      "Requests sent to the controller of which it is not known whether they were done")                               \
    X(FORWARD_REFUSED, forwards_refused_total, COUNTER,                                                                \
      "Requests forwarded to this broker that it refused: not the controller, no room, malformed")                     \
    X(JOINS_REFUSED, broker_joins_refused_total, COUNTER, "Brokers that asked to join the cluster and were refused")   \
    X(JOIN_RETRIES, broker_join_errors_total, COUNTER,                                                                 \
      "Attempts of this broker to join that were not answered, put off or refused, each tried again")                  \
    X(MOVE_STEPS_REFUSED, move_steps_refused_total, COUNTER,                                                           \
      "Steps of moving partitions that were refused, each tried again")                                                \
    X(CATCHUPS_SENT, catchups_sent, GAUGE, "Members that take a state from here")                                      \
    X(CATCHUPS_TAKEN, catchups_taken, GAUGE, "Replicas here that take a state from another member")                    \
    X(CATCHUP_SENT_BYTES, catchup_sent_bytes_total, COUNTER, "Bytes of states sent to members")                        \
    X(CATCHUP_TAKEN_BYTES, catchup_taken_bytes_total, COUNTER, "Bytes of states taken from members")                   \
    X(CATCHUP_INSTALLS, catchup_installs_total, COUNTER, "States of other members that took the place of a replica's") \
    X(CATCHUP_RETRIES, catchup_retries_total, COUNTER,                                                                 \
      "Catch-ups here that were interrupted, and files fetched again since their check failed")                        \
    X(CATCHUP_REFUSED, catchup_requests_refused_total, COUNTER,                                                        \
      "Members' requests for a state refused: too many at once, or the session is gone")                               \
    X(CATCHUP_DELAYED, catchup_pieces_delayed_total, COUNTER,                                                          \
      "Pieces of states that waited for the rate of catch-ups, sent or taken")                                         \
    X(GROUPS, groups, GAUGE, "Consumer groups with members that are coordinated here")                                 \
    X(GROUP_REBALANCES, group_rebalances_total, COUNTER, "Generations of consumer groups that have begun here")        \
    X(GROUP_MEMBERS_EXPIRED, group_members_expired_total, COUNTER,                                                     \
      "Members of consumer groups removed: not heard of in time, or late with a rebalance")                            \
    X(GROUP_STORE_RETRIES, group_store_errors_total, COUNTER,                                                          \
      "States of consumer groups that could not be stored, each tried again")                                          \
    X(OFFSETS_EXPIRY_RETRIES, offsets_removal_errors_total, COUNTER,                                                   \
      "Removals of expired offsets that were not committed, each tried again")                                         \
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
      "Calls to the admin service that ended with another status than OK, by method and code. Ordinary is CANCELLED, " \
      "of streams that their clients end")

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
