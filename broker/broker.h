/* The process: data directory, identity, local store, metadata store, layout of the logs, and one thread a shard.
 *
 * Start:  lock the data directory -> local store (identity, layout) -> metadata store -> shards open and replay, all at
 *         once -> loops run -> shard 0 makes or joins the metadata group -> the broker is registered -> listeners open.
 * Stop:   SIGINT or SIGTERM -> listeners close -> connections of every shard drain -> replicas close -> loops end.
 * Runs on: the main thread is shard 0's. */
#pragma once

#include "broker/options.h"
#include "broker/shard.h"
#include <pthread.h>

struct broker {
    const struct options *options;
    struct kv *local;
    struct store *store;
    char topics_dir[1100];                /* of segments: <log.dirs>/topics */
    unsigned layout, old_layout, old_shard_count;
    uint64_t server_id;
    uint8_t incarnation[16];
    struct shard *shards;
    unsigned shard_count;
    struct metrics **metrics;             /* [shard_count] */
    /* Start-up rendezvous of the shards' threads. */
    pthread_mutex_t mutex;
    pthread_cond_t cond;
    unsigned opened, failed;
    struct errmsg failure;
    /* Shard 0 only. */
    struct listener *listeners[OPTION_LISTENERS_MAX];
    unsigned listener_count;
    unsigned next_shard;                  /* of accepted connections */
    unsigned layouts_ready;
    unsigned drained;                     /* shards whose connections are gone */
    bool is_serving;
    bool is_stopping;
    int64_t started_us;
};

/* Runs the broker until it is told to stop. Returns the process's exit code; the cause of a failed start is on
 * stderr. */
int broker_run(const struct options *options);

/* Called by shards, on their threads. */
void broker_shard_opened(struct broker *broker, enum err err, const struct errmsg *msg); /* waits for all the others */
bool broker_start_failed(const struct broker *broker);

/* Shard 0. */
void broker_layout_ready(struct broker *broker);
/* the metadata replica leads and is ready; the broker is registered */
void broker_metadata_ready(struct broker *broker);
void broker_on_signal(void *owner, int number);
void broker_drained(struct broker *broker);
