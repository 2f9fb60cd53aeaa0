/* Where a partition is led, for a client that asked the wrong broker (KIP-951): told in the answer itself, so that the
 * client need not refresh its metadata first. One set of hints an answer; in the request's arena. */
#pragma once

#include "broker/describe.h"

struct leader_hints {
    struct request *request;
    struct described_broker *nodes; /* of the leaders told, each once */
    size_t count;
    size_t capacity;
};

void leader_hints_init(struct leader_hints *hints, struct request *request);
/* Hints for a part of the answer that ends with `error`; `group` 0: unknown. False: no hint is due (another error, or
 * no leader known); id and epoch are untouched then. */
bool leader_hints_add(struct leader_hints *hints, uint64_t group, enum kafka_error error, int32_t *leader_id,
                      int32_t *leader_epoch);
