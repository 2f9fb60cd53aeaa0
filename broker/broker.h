/* The process: data directory, identity, local store, metadata store, layout of the logs, and its shards.
 *
 * Start:  lock the data directory -> local store (identity, layout) -> metadata store -> shards open and replay, all at
 *         once -> loops run -> shard 0 makes or joins the metadata group -> the broker is registered -> listeners open.
 * Stop:   what is led here is handed over -> listeners close -> connections of every shard drain -> links close ->
 *         replicas close -> loops end.
 * The broker runs on envs that its host gives it: threads and libuv loops (threads.h), or the simulator's.
 * Runs on: shard 0's thread, except where said. */
#pragma once

#include "broker/options.h"
#include "broker/shard.h"

struct broker_host {
    /* The shard is closed; its loop may end. On the shard's thread. */
    void (*shard_closed)(struct shard *shard);
    /* A listener cannot be opened: the process ends. */
    void (*cannot_listen)(struct broker *broker, const struct option_listener *listener, const struct errmsg *msg);
};

struct broker {
    const struct broker_host *host;       /* in */
    const struct options *options;        /* in */
    struct kv *local;
    struct store *store;
    char topics_dir[1100];                /* of segments: <log.dirs>/topics */
    unsigned layout, old_layout, old_shard_count;
    uint64_t server_id;
    uint8_t incarnation[16];
    struct shard *shards;
    unsigned shard_count;                 /* in */
    struct health_board **health;         /* in: one for each shard; NULL: nobody asks */
    /* Shard 0 only. */
    struct listener *listeners[OPTION_LISTENERS_MAX];
    unsigned listener_count;
    struct listener *peer_listener;       /* NULL: none */
    unsigned next_shard;                  /* of accepted connections */
    unsigned layouts_ready;
    unsigned handed_over;                 /* shards that lead nothing any more, or as little as they can */
    unsigned drained;                     /* shards whose connections are gone */
    unsigned unlinked;                    /* shards whose links are gone */
    bool is_serving;
    bool is_stopping;
    int64_t started_us;
};

/* Locks the directory, opens the stores, chooses the layout. Then the host opens all shards with shard_open(), each on
 * its thread, then calls broker_opened() on shard 0's, then lets the loops run. A failed start leaves things half open:
 * they end with the process. */
MUST_CHECK enum err broker_open(struct broker *broker, struct errmsg *msg);
void broker_opened(struct broker *broker);
/* All loops have ended. */
void broker_close(struct broker *broker);
void broker_stop(struct broker *broker);        /* begins to stop; again: no-op */

/* Shard 0. */
void broker_layout_ready(struct broker *broker);
/* the metadata replica leads and is ready; the broker is registered */
void broker_metadata_ready(struct broker *broker);
void broker_handed_over(struct broker *broker);
void broker_drained(struct broker *broker);
void broker_unlinked(struct broker *broker);
