/* Space of the data directory, watched by each shard.
 *
 *   free space            what goes on
 *   above the reserve     everything
 *   below the reserve     produce is refused with KAFKA_STORAGE_ERROR, new replicas wait (shard->is_space_low)
 *   below half of it      followers take no more records either, but for a little so that what frees space gets
 *                         through; nor does a catch-up (replicas_set_full); their leaders commit with others
 *   none                  what is committed already and cannot be written waits in memory (replication/log_files.h);
 *                         the stores have taken in advance what they need (base/kv.c)
 *
 * Reads, the metadata, trims and deletes go on in all of them. All of it ends by itself when there is space again.
 * A write that finds the disk full before anybody has looked is told at once.
 * Runs on: the shard's thread. */
#pragma once

#include "broker/shard.h"

struct space *space_open(struct shard *shard); /* before the logs are: it looks at once */
void space_start(struct space *space);
void space_close(struct space *space);         /* before the logs' files are */
