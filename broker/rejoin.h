/* A broker whose logs are damaged drops its identity: it starts as a new one that belongs to the same cluster, and its
 * peers rebuild it. What it had is set aside, for whoever must rescue something from it.
 *
 *   damage found at a start, in a cluster with other brokers
 *     rejoin_prepare():  <log.dirs>/rejoin.new made, a local store with a new incarnation and the cluster's record
 *                        renamed to <log.dirs>/rejoin: from here on it is decided
 *   the process starts itself again
 *     rejoin_finish():   wal, topics, metadata, local --> <log.dirs>/damaged-N/, local last
 *                        rejoin --> local
 *
 * A crash anywhere: before the rename nothing has happened, after it the next start goes on. The old identity is never
 * used again: entries that it had acknowledged or votes that it had given may be among what is lost. The new one is no
 * founder, so it never founds a cluster of its own: it waits for the one it belongs to.
 * Runs on: the main thread; all shards' threads have ended, or not begun. */
#pragma once

#include "broker/broker.h"

/* After a start that failed with ERR_DAMAGED. ERR_UNSUPPORTED: no other broker can rebuild this one. */
MUST_CHECK enum err rejoin_prepare(struct broker *broker, struct errmsg *msg);
/* At every start, before anything in the directory is opened. OK also when there is nothing to do. */
MUST_CHECK enum err rejoin_finish(const char *dir, struct errmsg *msg);
