/* What anybody was told of a partition's end holds for whoever asks after that: a leader that was deposed and does not
 * know it tells nothing (replication/lease.h). */
#include "tests/sim/checks.h"

void check_stale(struct history *history, unsigned partition, unsigned node, int64_t known, int64_t told)
{
    if (told < known) {
        history_violation(history, "stale-read", "partition %u: n%u says that it goes up to %lld, %lld was told before",
                          partition, node, (long long)told, (long long)known);
    }
}

void check_stale_range(struct history *history, unsigned partition, unsigned node, int64_t known)
{
    history_violation(history, "stale-read", "partition %u: n%u says that %lld is out of range, it was told before",
                      partition, node, (long long)known);
}
