/* One broker of the simulated cluster: the shipped code (broker/broker.h and all below) on a simulated process and
 * disk. `struct node` outlives its processes; what a life owns goes with it.
 *
 * Node n is called "n<n>", listens on 9092 (Kafka) and 19092 (peers), and has its disk at "/n<n>". */
#pragma once

#include "broker/broker.h"
#include "tests/lib/sim_disk.h"
#include "tests/lib/sim_world.h"

enum {
    NODES_MAX = 5,
    NODE_KAFKA_PORT = 9092,
    NODE_PEER_PORT = 19092,
    NODE_DISK_RESERVE = 16 << 20, /* balsa.disk.reserve.bytes */
    NODE_REQUEST_SIZE_MAX = 2 << 20 /* socket.request.max.bytes */
};

struct node_life; /* in the process's memory */

struct node {
    struct sim_world *world;
    struct sim_disk *disk;
    struct sim_process *process; /* NULL: not running */
    unsigned number;             /* node.id: 1.. */
    unsigned seed_count;         /* the first nodes of the cluster are its seeds */
    unsigned shard_count;        /* of the next life */
    int64_t request_memory_max; /* of this life: queued.max.request.bytes, 2 or 64 MiB */
    char name[8];
    char mount[8];
    struct node_life *life;
    unsigned lives; /* so far */
    uint8_t incarnation[16]; /* of the disk, when it was last seen */
    int64_t started_us;
    unsigned closed_shards;
    bool is_paused;
    bool is_dropped;  /* this life found its logs damaged and gave up its identity: another one follows */
    bool has_dropped; /* ... since node_take_dropped() */
    char failure[ERRMSG_SIZE]; /* of the last start; "": none */
};

void node_init(struct node *node, struct sim_world *world, unsigned number, unsigned seed_count);
void node_deinit(struct node *node);
/* A new life; and another one at once if the logs are damaged (broker/rejoin.h). */
void node_start(struct node *node);
void node_kill(struct node *node);
void node_power_loss(struct node *node); /* its disk loses what was not durable */
void node_wipe(struct node *node);       /* killed, and the disk is a new one */
void node_stop(struct node *node);       /* as on SIGTERM; node_reap() when it is closed */
void node_pause(struct node *node);
void node_resume(struct node *node);
/* Whether it has given up its identity since the last call: what it knew is lost. A start that loses power after the
 * decision leaves it to the next one. */
bool node_take_dropped(struct node *node);
bool node_is_running(const struct node *node);
/* A replica of it, or its metadata, is getting its state from another broker. */
bool node_is_catching_up(const struct node *node);
const struct broker *node_broker(const struct node *node); /* of this life; to be read only */
/* Gives back a life that has ended by itself, whichever way. True: there was one. `cause` says why: "" after a stop in
 * order, or in a disk operation (sim_disk_crash_at()), when the power is taken to be lost. */
bool node_reap(struct node *node, char cause[ERRMSG_SIZE]);
