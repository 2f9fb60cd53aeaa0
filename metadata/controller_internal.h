/* What the files of the controller share. Private to them. */
#pragma once

#include "base/limits.h"
#include "base/list.h"
#include "metadata/controller.h"
#include "metadata/placement.h"

#define CONTROLLER_ARENA_SIZE_MAX MIB(64) /* records of one request while they are packed, all partitions for a plan */

/* Moves that the controller makes on its own account: off brokers that are drained, and to even out. */
struct controller_plan {
    struct timer timer;
    struct metadata_propose moves;   /* in work while is_proposing */
    struct metadata_propose removal; /* of a drained broker; in work while is_removing */
    bool is_proposing;
    bool is_removing;
    bool is_changed;     /* something a plan depends on has changed since the last one */
    bool is_blocked;     /* some replica had no place to go to: depends on who is alive */
    bool is_rebalancing; /* asked for, not done */
    bool is_stopped;
    int32_t drained[16]; /* brokers found without replicas: forgotten when they are silent */
    size_t drained_count;
};

struct controller {
    struct controller_params params;
    uint64_t placement_seed; /* moves on, so that small topics spread over the brokers */
    struct controller_plan plan;
    struct list altering; /* alterations of configs that are proposed: one of a topic or broker at a time */
    struct list to_alter; /* those that wait for one of these */
};

/* One item of a request: its own proposal, answered on its own. */
struct item {
    struct metadata_propose propose;
    struct task task; /* answers a refusal */
    struct offsets_commit confirm;
    struct controller *controller;
    struct controller_result *result;
    size_t *pending;
    void *request;
    void (*finish)(void *request);
};
struct item *controller_item(struct controller *controller, struct controller_result *result, size_t *pending,
                             void *request, void (*finish)(void *));
/* Proposes `record`, or answers what is already decided (a refusal, or validate_only: NULL), once confirmed. */
void controller_go(struct item *item, const Balsa__Record__Record *record);
__attribute__((format(printf, 3, 4))) void controller_refuse(struct controller_result *result, enum kafka_error error,
                                                             const char *format, ...);

/* The brokers registered, in order of their ids; `usable` are those that get new replicas: alive and not draining. */
struct known_broker {
    int32_t id;
    uint64_t server;
    bool is_draining;
};
struct broker_list {
    struct controller *controller;
    struct known_broker known[CLUSTER_BROKER_COUNT_MAX];
    size_t known_count;
    struct placement_broker usable[CLUSTER_BROKER_COUNT_MAX];
    size_t usable_count;
};
/* NULL: it does not fit in the arena. */
struct broker_list *controller_brokers(struct controller *controller, struct arena *arena);
const struct known_broker *controller_broker(const struct broker_list *list, int32_t id); /* NULL: not registered */

void controller_configs_init(struct controller *controller);
void controller_configs_deinit(struct controller *controller); /* nothing is in work */
void controller_plan_init(struct controller *controller);
void controller_plan_deinit(struct controller *controller);
