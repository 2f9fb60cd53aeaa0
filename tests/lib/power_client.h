/* Idempotent clients of a power_node, one a slot: they live outside of the process, remember what was
 * acknowledged, send again in order what was not, and say what must be found in a partition.
 *
 * Batches of a slot are numbered from 0. Each has its place in the partition before it is sent, as all come in
 * order and once: so whatever is read can be held against it. Functions marked "inside" are called through
 * sim_process_run(). */
#pragma once

#include "tests/lib/power_node.h"

enum {
    POWER_BATCHES_MAX = 4000, /* of a slot's group; then nothing more is sent */
    POWER_IN_FLIGHT_MAX = 5,  /* as Kafka allows an idempotent producer */
};

struct power_batch {
    int64_t producer_id;
    int16_t producer_epoch;
    int32_t sequence;
    int32_t count;       /* records */
    uint32_t salt;       /* of their bytes */
    int64_t base_offset; /* where it belongs */
    bool is_acked;
};

struct power_client {
    struct power_batch batches[POWER_BATCHES_MAX];
    unsigned sent;      /* made so far */
    unsigned acked;     /* all before it are acknowledged */
    unsigned submitted; /* all before it are with the broker of this life */
    int64_t end_offset; /* behind the last batch made */
    int64_t trim_asked; /* greatest start offset that was ever asked for */
    int64_t trim_acked;
    int64_t producer_id;
    int16_t producer_epoch;
    int32_t sequence;
};

struct power_clients {
    struct power_node *node;
    struct power_client of[POWER_SLOTS];
    uint64_t acked; /* batches, groups that are gone as well */
    uint64_t trims;
};

void power_clients_init(struct power_clients *clients, struct power_node *node);
void power_clients_begin(struct power_clients *clients); /* a new life: nothing is with the broker */
void power_client_reset(struct power_clients *clients, unsigned slot);
void power_client_add(struct power_clients *clients, unsigned slot); /* a batch, if not too many are unanswered */

struct power_call { /* what sim_process_run() hands to the functions below */
    struct power_clients *clients;
    unsigned slot;
};
void power_client_send(void *context);      /* inside: what is due */
void power_client_trim(void *context);      /* inside: up to some offset */
void power_client_repeat(void *context);    /* inside: the last batches once more; they must be told to be duplicates */
bool power_client_is_settled(struct power_clients *clients, unsigned slot); /* inside or not */
/* Inside: reads the partition from its start; all that is acknowledged is there, once, in its place, with its
 * bytes, and nothing else. Looks up some offsets by time. A broken claim ends the test. */
void power_client_check(void *context);
