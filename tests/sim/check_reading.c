/* What is read was sent, and what was read at an offset before. */
#include "tests/sim/checks.h"

void check_reading(struct history *history, unsigned partition, int64_t offset, struct value value)
{
    struct value before = history_seen(history, partition, offset);
    if (history_sent_count(history, value.producer, partition) <= value.number) {
        history_violation(history, "invented", "partition %u offset %lld: value %u of producer %u was never sent",
                          partition, (long long)offset, value.number, value.producer);
    } else if (before.producer != 0 && (before.producer != value.producer || before.number != value.number)) {
        history_violation(history, "inconsistent-offsets",
                          "partition %u offset %lld: value %u of producer %u, earlier it was %u of %u", partition,
                          (long long)offset, value.number, value.producer, before.number, before.producer);
    }
}
