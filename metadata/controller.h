/* The controller: validates a wish against the store, decides (placement is a pure function), proposes, and answers
 * after the record was applied. It lives where the metadata leader lives.
 *
 * "Exists already" and "unknown" are told once a majority has agreed that this broker still is the controller: one that
 * was paused, or is cut off, does not know what its successor has made and deleted.
 *
 * Runs on:  shard 0. Every function answers by its callback, never inside the call. */
#pragma once

#include "metadata/metadata.h"
#include "metadata/offsets.h"
#include "metadata/topic_config.h"

struct controller;

struct controller_params {
    struct env *env;
    struct metadata *metadata;
    struct store_reader *reader;
    struct offsets *offsets;             /* whose reads confirm refusals; NULL: they are not confirmed */
    struct topic_config_defaults defaults;
    int32_t partitions_default;          /* num.partitions */
    int16_t replication_factor_default;  /* default.replication.factor */
    /* Highest term known of a group, for TopicDeleted.term_floor. */
    uint64_t (*group_term)(void *owner, uint64_t group);
    /* Whether broker `node` was heard of lately: new replicas go to such brokers only. NULL: all are. */
    bool (*is_alive)(void *owner, int32_t node);
    unsigned moves_max;                  /* balsa.moves.max: partitions that plans let move at once */
    void *owner;
};
struct controller *controller_open(const struct controller_params *params);
/* Nothing is planned any more: before the metadata's state machine is closed. */
void controller_stop(struct controller *controller);
void controller_close(struct controller *controller); /* nothing may be in work */
/* The metadata's state machine is another one (its replica was made anew), or gone: NULL, and nothing may be asked of
 * the controller until there is one again. */
void controller_set_metadata(struct controller *controller, struct metadata *metadata);

struct controller_topic {                /* one topic of CreateTopics */
    struct bytes name;
    int32_t partition_count;             /* -1: default */
    int16_t replication_factor;          /* -1: default */
    const int32_t *const *assignments;   /* NULL: placement decides; else [partition_count] arrays */
    const size_t *assignment_sizes;
    const struct store_config *configs;
    size_t config_count;
};
struct controller_result {
    enum kafka_error error;
    char text[200];
    struct uuid id;
    int32_t partition_count;
    int16_t replication_factor;
};
struct controller_create {               /* Caller's memory, inputs too, until cb. */
    const struct controller_topic *topics;
    size_t count;
    bool is_validate_only;
    struct controller_result *results;   /* [count], out */
    void (*cb)(struct controller_create *req);
    size_t pending;                      /* private */
};
void controller_create_topics(struct controller *controller, struct controller_create *req);

struct controller_delete {
    const struct uuid *ids;              /* resolved by the caller; all zero: there is no such topic */
    size_t count;
    struct controller_result *results;   /* [count] */
    void (*cb)(struct controller_delete *req);
    size_t pending;                      /* private */
};
void controller_delete_topics(struct controller *controller, struct controller_delete *req);

struct controller_add_partitions {
    struct bytes name;
    int32_t partition_count;             /* new total */
    const int32_t *const *assignments;   /* of the new ones; NULL: placement decides */
    const size_t *assignment_sizes;
    size_t assignment_count;
    bool is_validate_only;
    struct controller_result result;     /* out */
    void (*cb)(struct controller_add_partitions *req);
    size_t pending;                      /* private */
};
void controller_create_partitions(struct controller *controller, struct controller_add_partitions *req);

/* ---- Configurations ---- */

enum controller_operation { /* numbers as in IncrementalAlterConfigs */
    CONTROLLER_SET = 0,
    CONTROLLER_DELETE = 1,   /* what is inherited counts again */
    CONTROLLER_APPEND = 2,   /* to the list that counts now */
    CONTROLLER_SUBTRACT = 3
};
struct controller_config_change {
    struct bytes name;
    struct bytes value;                  /* data NULL: none */
    int8_t operation;                    /* any number: unknown ones are refused */
};
struct controller_alter_one {
    bool is_broker;                      /* what all topics inherit; else of the topic `name` */
    struct bytes name;
    int32_t broker;                      /* -1: of all brokers */
    bool is_replaced;                    /* AlterConfigs: what is not named is deleted */
    const struct controller_config_change *changes; /* each key once, as the caller has checked */
    size_t count;
};
struct controller_alter {                /* Caller's memory, inputs too, until cb. */
    const struct controller_alter_one *alters;
    size_t count;                        /* 1..ALTER_RESOURCE_COUNT_MAX */
    bool is_validate_only;
    struct controller_result *results;   /* [count], out */
    void (*cb)(struct controller_alter *req);
    size_t pending;                      /* private */
};
/* Each is answered when its record is applied; all of its changes are made or none. Two alterations of one topic or
 * broker come one after the other, since the second one is made from what the first one has left. Errors as Kafka:
 * UNKNOWN_TOPIC_OR_PARTITION, BROKER_ID_NOT_REGISTERED, INVALID_CONFIG, INVALID_REQUEST. */
void controller_alter_configs(struct controller *controller, struct controller_alter *req);

struct controller_producer_ids {
    int32_t broker;
    uint64_t count;
    enum kafka_error error;              /* out */
    uint64_t first;                      /* out */
    void (*cb)(struct controller_producer_ids *req);
    struct metadata_propose propose;     /* private */
};
void controller_allocate_producer_ids(struct controller *controller, struct controller_producer_ids *req);

/* Registers a broker, this one or another; creates the cluster id first if there is none. What is stored already is not
 * proposed again. */
struct controller_register {
    const struct store_broker *broker;       /* read during the call, and for the time the cluster id takes */
    const char *cluster_id;                  /* of a cluster that has none in its store yet; NULL: one is made */
    void (*cb)(struct controller_register *req, enum kafka_error error);
    struct metadata_propose propose;         /* private */
    struct metadata_propose propose_cluster; /* private */
    struct task task;                        /* private */
    struct controller *controller;           /* private */
};
/* Whether the store has the broker exactly so. */
bool controller_is_registered(struct store_reader *reader, const struct store_broker *broker);
void controller_register_broker(struct controller *controller, struct controller_register *req);

/* ---- Moving partitions ---- */

struct controller_move_one {
    struct uuid topic;
    int32_t partition;
    bool is_cancel;
    const int32_t *target;               /* unless is_cancel */
    size_t target_count;
};
struct controller_move {                 /* AlterPartitionReassignments. Caller's memory, inputs too, until cb. */
    const struct controller_move_one *moves;
    size_t count;                        /* >= 1 */
    struct controller_result *results;   /* [count], out */
    void (*cb)(struct controller_move *req);
    size_t pending;                      /* private */
};
/* Each is answered when the wish is recorded; the move itself takes its time. Errors as Kafka:
 * UNKNOWN_TOPIC_OR_PARTITION, INVALID_REPLICA_ASSIGNMENT, NO_REASSIGNMENT_IN_PROGRESS. */
void controller_move(struct controller *controller, struct controller_move *req);

struct controller_moved_one {
    struct uuid topic;
    int32_t partition;
    int32_t replicas[REPLICA_SERVER_COUNT_MAX]; /* target, or without one the assignment, as the leader knows it */
    size_t replica_count;
    uint32_t epoch;
};
struct controller_moved {                /* leaders' reports that the members are those. Caller's memory until cb. */
    const struct controller_moved_one *moved;
    size_t count;                        /* 1..MOVED_COUNT_MAX */
    enum kafka_error error;              /* out */
    void (*cb)(struct controller_moved *req);
    struct metadata_propose propose;     /* private */
};
#define MOVED_COUNT_MAX 1000
void controller_moved(struct controller *controller, struct controller_moved *req);

struct controller_broker_change {
    int32_t id;
    Balsa__Record__BrokerState state;    /* DRAINING: decommission; ACTIVE: in use again; REMOVED: forgotten */
    enum kafka_error error;              /* out: BROKER_ID_NOT_REGISTERED; INVALID_REQUEST: it still has replicas */
    char text[160];                      /* out */
    void (*cb)(struct controller_broker_change *req);
    struct metadata_propose propose;     /* private */
};
/* A drained broker loses its replicas to others, `moves_max` partitions at a time; when it has none and is silent it is
 * forgotten. */
void controller_change_broker(struct controller *controller, struct controller_broker_change *req);
/* Moves replicas, in the same way, until brokers have equally many: after brokers were added. Forgotten when another
 * controller takes over: ask again. */
void controller_rebalance(struct controller *controller);
/* Brokers or partitions have changed in the store: plans look again. */
void controller_changed(struct controller *controller);
