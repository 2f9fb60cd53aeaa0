/* What produce and consume share: who leads which partition of a topic, a connection to each of them, and patience
 * while leaders change.
 *
 *   find ── a broker tells ──> on_leaders ── calls go well ──> ...
 *    ^                                            │ a call failed, a leader is not one any more
 *    └──────────── a moment later ────────────────┘     longer than timeout_us: on_gave_up
 *
 * Runs on: the thread of its env. One call at a time. */
#pragma once

#include "broker/ctl.h"
#include "broker/kafka_client.h"

struct ctl_kafka_leader {
    int32_t broker; /* -1: none known */
    int32_t epoch;
};

struct ctl_kafka_broker {
    int32_t id;     /* -1: an address of which no broker has told whose it is */
    char host[256];
    uint16_t port;
    struct kafka_client *client; /* NULL: not connected */
};

struct ctl_kafka {
    /* in */
    struct env *env;
    const char *topic;
    int64_t timeout_us;                 /* how long nothing may go well */
    void *owner;
    void (*on_leaders)(void *owner);    /* they are known, or known anew */
    void (*on_gave_up)(void *owner, enum ctl_exit code); /* it has been said why */
    /* out */
    struct ctl_kafka_leader *leaders;   /* of each partition */
    int32_t partition_count;
    /* private */
    struct ctl_kafka_broker *brokers;
    size_t broker_count, asked;
    struct ctl_kafka_broker *at;        /* whom the call went to */
    struct kafka_client_call call;
    void (*cb)(void *owner, const struct kafka_client_call *call);
    struct timer again;
    int64_t trouble_us;                 /* when it began; 0: all is well */
    int64_t pause_us;
    unsigned unknown_count;             /* brokers in a row that know of no such topic */
};

/* One more address to ask. */
void ctl_kafka_add(struct ctl_kafka *kafka, struct bytes host, uint16_t port);
/* Asks for the leaders; ends in on_leaders or on_gave_up. */
void ctl_kafka_find(struct ctl_kafka *kafka);
/* Asks the leader of a partition; any broker: -1. `cb` comes once, never inside the call, with call->err OK or why
 * there is no answer; it goes on with another call or one of the functions below. Without a leader it does not come:
 * leaders are looked for again. */
void ctl_kafka_call(struct ctl_kafka *kafka, int32_t partition, int16_t api, int16_t version, const void *request,
                    void (*cb)(void *owner, const struct kafka_client_call *call));
/* Something that may pass: looks for leaders again a moment later. */
void ctl_kafka_again(struct ctl_kafka *kafka, const char *why);
/* An answer that brought the work on: patience begins anew. */
void ctl_kafka_went_well(struct ctl_kafka *kafka);
void ctl_kafka_close(struct ctl_kafka *kafka);
