/* Values of an idempotent producer are in the log in order, with none left out before the last one. */
#include "tests/sim/checks.h"

void check_reordered(struct history *history, unsigned partition, int64_t end)
{
    uint32_t next[PRODUCERS_MAX + 1] = {0};
    for (int64_t offset = 0; offset < end; offset++) {
        struct value value = history_seen(history, partition, offset);
        if (!history_is_idempotent(history, value.producer)) {
            continue;
        }
        if (value.number != next[value.producer]) {
            history_violation(history, "reordered", "partition %u offset %lld: value %u of producer %u, %u was due",
                              partition, (long long)offset, value.number, value.producer, next[value.producer]);
            return;
        }
        next[value.producer]++;
    }
}
