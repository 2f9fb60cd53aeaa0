/* Values of an idempotent producer are in the log in order, with none left out before the last one
 * but for those that later ones replaced. */
#include "tests/sim/checks.h"

void check_reordered(struct history *history, unsigned partition, int64_t end)
{
    uint32_t next[PRODUCERS_MAX + 1] = {0};
    for (int64_t offset = 0; offset < end; offset++) {
        struct value value = history_seen(history, partition, offset);
        if (!history_is_idempotent(history, value.producer)) {
            continue;
        }
        uint32_t *due = &next[value.producer];
        while (history_is_compacted(history) && history_is_update(*due) && *due < value.number) {
            (*due)++;
        }
        if (value.number != *due) {
            history_violation(history, "reordered", "partition %u offset %lld: value %u of producer %u, %u was due",
                              partition, (long long)offset, value.number, value.producer, *due);
            return;
        }
        (*due)++;
    }
}
