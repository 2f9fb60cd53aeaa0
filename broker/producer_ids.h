/* Producer ids of this shard: given out from a block that the metadata quorum allocated, so that no id is ever used
 * twice in the cluster; what is left of a block at a stop is lost, which is of no consequence with 2^63 of them.
 * Runs on: its shard. */
#pragma once

#include "broker/shard.h"

struct producer_ids;
struct producer_ids *producer_ids_open(struct shard *shard);
void producer_ids_close(struct producer_ids *ids);

struct producer_id_take {          /* Caller's memory until cb. */
    void (*cb)(struct producer_id_take *take);
    enum kafka_error error; /* out: COORDINATOR_NOT_AVAILABLE when the quorum does not answer: clients try again */
    int64_t id;                    /* out */
    struct list link;              /* private */
};
void producer_ids_take(struct producer_ids *ids, struct producer_id_take *take); /* answers by cb, never inside */
