/* An idempotent producer's value has one offset, however often it is acknowledged. */
#include "tests/sim/checks.h"

void check_ack(struct history *history, unsigned producer, unsigned partition, uint32_t number, int64_t offset)
{
    int64_t before = history_acked_at(history, producer, partition, number);
    if (before >= 0 && before != offset && history_is_idempotent(history, producer)) {
        history_violation(history, "inconsistent-offsets",
                          "producer %u partition %u value %u acknowledged at %lld and at %lld", producer, partition,
                          number, (long long)before, (long long)offset);
    }
}
