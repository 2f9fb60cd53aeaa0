/* Shared by clients.c (topic, metadata), producer.c, lane.c, reader.c and onlooker.c. */
#pragma once

#include "proto/errors.h"
#include "tests/sim/clients.h"
#include "tests/sim/link.h"

#define SIM_TOPIC "t"

enum {
    CALL_TIMEOUT_US = 5000000,
    IN_FLIGHT_MAX = 5,
    PRODUCER_SMALL_BATCH = 5, /* records */
    PRODUCER_LARGE_BATCH = 400
};

enum batch_state {
    BATCH_QUEUED,
    BATCH_SENT,
    BATCH_ACKED
};

struct batch {
    uint32_t first; /* value */
    uint16_t count;
    bool is_again; /* was sent before */
    enum batch_state state;
};

/* What a producer does with batches that failed. Both keep their order, boundaries and sequence numbers. */
enum resend {
    RESEND_ONE_BY_ONE, /* the next one when the one before is acknowledged: Kafka's Java client */
    RESEND_PIPELINED /* up to five at once; another leader is sent nothing until the former has answered: librdkafka */
};

struct lane { /* one producer in one partition */
    struct producer *producer;
    unsigned partition;
    struct batch *batches;
    unsigned capacity;
    unsigned added, acked; /* acked: all before it are */
    unsigned in_flight;
    unsigned node; /* to which batches were sent last */
    uint32_t next_value;
    uint32_t epoch_base; /* value whose sequence number is 0 */
    bool is_backing_off;
    struct timer backoff;
};

struct producer {
    struct clients *clients;
    struct links *links; /* connections of its own, as a real one has */
    unsigned number;
    bool is_idempotent;
    bool is_ready;    /* has its id, or needs none */
    bool is_renewing; /* adds nothing until all is acknowledged, then asks for another id or epoch */
    enum resend resend;
    unsigned records_max; /* of a batch */
    unsigned pad_max;     /* bytes of a value */
    unsigned burst;       /* batches that are still to be added without a pause */
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

struct onlooker { /* of one broker */
    struct clients *clients;
    struct links *links;
    unsigned node;
    int64_t known[PARTITIONS_MAX]; /* had been told when it asked */
    struct link_call call;
    struct timer timer;
};

struct operator;
struct groups;

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
    struct onlooker onlookers[NODES_MAX];
    struct operator* operator; /* NULL: no topic yet */
    struct groups *groups;     /* the same */
};

unsigned clients_any_node(struct clients *clients);
int64_t clients_below(struct clients *clients, int64_t limit);
void clients_refresh(struct clients *clients); /* soon, unless it is under way */

void producer_start(struct clients *clients, unsigned number, bool is_idempotent);
bool producer_is_settled(const struct producer *producer);
void lane_init(struct lane *lane, struct producer *producer, unsigned partition);
/* One more batch of random size; nothing if too much waits already. */
void lane_add(struct lane *lane);
void lane_pump(struct lane *lane); /* sends what may be sent now */
void reader_start(struct clients *clients, unsigned partition);
void onlooker_start(struct clients *clients, unsigned node);
