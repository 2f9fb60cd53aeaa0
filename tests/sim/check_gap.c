/* Offsets are dense: at each one up to the end something was read, unless it was compacted away. */
#include "tests/sim/checks.h"

void check_gap(struct history *history, unsigned partition, int64_t end)
{
    for (int64_t offset = 0; offset < end; offset++) {
        if (history_seen(history, partition, offset).producer == 0) {
            history_violation(history, "gap", "partition %u: nothing was read at offset %lld of %lld", partition,
                              (long long)offset, (long long)end);
            return;
        }
    }
}

void checks_end(struct history *history, unsigned partition, int64_t end)
{
    if (!history_is_compacted(history)) {
        check_gap(history, partition, end);
    }
    check_lost_write(history, partition, end);
    check_duplicate(history, partition, end);
    check_reordered(history, partition, end);
}
