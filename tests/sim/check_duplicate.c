/* A value of an idempotent producer is in the log once. */
#include "tests/sim/checks.h"

#include <stdlib.h>

#include "base/assert.h"

void check_duplicate(struct history *history, unsigned partition, int64_t end)
{
    for (unsigned producer = 1; producer <= PRODUCERS_MAX; producer++) {
        uint32_t count = history_sent_count(history, producer, partition);
        if (count == 0 || !history_is_idempotent(history, producer)) {
            continue;
        }
        int64_t *places = calloc(count, sizeof(*places)); /* offset + 1 */
        assert(places != NULL);
        for (int64_t offset = 0; offset < end; offset++) {
            struct value value = history_seen(history, partition, offset);
            if (value.producer != producer || value.number >= count) {
                continue;
            }
            if (places[value.number] != 0) {
                history_violation(history, "duplicate", "partition %u: value %u of producer %u is at %lld and at %lld",
                                  partition, value.number, producer, (long long)places[value.number] - 1,
                                  (long long)offset);
                break;
            }
            places[value.number] = offset + 1;
        }
        free(places);
    }
}
