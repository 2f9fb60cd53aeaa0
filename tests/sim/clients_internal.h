/* Shared by clients.c (topic, metadata), producer.c and reader.c. */
#pragma once

#include "proto/errors.h"
#include "tests/sim/clients.h"
#include "tests/sim/link.h"

#define SIM_TOPIC "t"

enum {
    CALL_TIMEOUT_US = 5000000,
    IN_FLIGHT_MAX = 5,
    BATCHES_MAX = 4096 /* of a lane */
};

struct batch {
    uint32_t first; /* value */
    uint16_t count;
    bool is_acked;
};

struct lane { /* one producer in one partition */
    struct producer *producer;
    unsigned partition;
    struct batch batches[BATCHES_MAX];
    unsigned added, sent, acked; /* acked: all before it are */
    unsigned sent_again;         /* batches before it were sent before: now one at a time */
    unsigned generation;         /* attempts of an older one may acknowledge, not fail */
    uint32_t next_value;
    bool is_backing_off;
    struct timer backoff;
};

struct producer {
    struct clients *clients;
    unsigned number;
    bool is_idempotent;
    bool is_ready; /* has its id, or needs none */
    int64_t id;
    int16_t epoch;
    struct timer timer;
    struct link_call init;
    struct lane lanes[PARTITIONS_MAX];
};

struct reader_lane {
    struct clients *clients;
    unsigned partition;
    int64_t position;
    int64_t high_watermark;
    bool is_final;    /* reading everything for the end */
    bool is_complete; /* has seen the end since then */
    int64_t asked;    /* position of the fetch that is out */
    struct link_call call;
    struct timer timer;
};

struct leadership {
    unsigned node; /* 0: unknown */
    int32_t epoch;
};

struct clients {
    struct clients_params params;
    struct env *env;
    struct links *links;
    struct link_call create;
    struct link_call refresh;
    struct timer timer; /* of the topic's creation, then of the metadata */
    bool has_topic;
    bool is_refreshing;
    bool is_producing;
    struct leadership leaders[PARTITIONS_MAX];
    struct producer producers[PRODUCERS_MAX];
    struct reader_lane readers[PARTITIONS_MAX];
};

unsigned clients_any_node(struct clients *clients);
int64_t clients_below(struct clients *clients, int64_t limit);
void clients_refresh(struct clients *clients); /* soon, unless it is under way */

void producer_start(struct clients *clients, unsigned number, bool is_idempotent);
bool producer_is_settled(const struct producer *producer);
void reader_start(struct clients *clients, unsigned partition);
