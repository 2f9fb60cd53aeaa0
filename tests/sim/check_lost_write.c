/* What was acknowledged is there, unless a later value replaced it: at the offset that the acknowledgement named, or
 * anywhere if it named none. */
#include "tests/sim/checks.h"

static bool is_anywhere(const struct history *history, unsigned partition, int64_t end, unsigned producer,
                        uint32_t number)
{
    for (int64_t offset = 0; offset < end; offset++) {
        struct value value = history_seen(history, partition, offset);
        if (value.producer == producer && value.number == number) {
            return true;
        }
    }
    return false;
}

static bool check_one(struct history *history, unsigned partition, int64_t end, unsigned producer, uint32_t number)
{
    int64_t offset = history_acked_at(history, producer, partition, number);
    if (offset == HISTORY_NOT_ACKED) {
        return true;
    }
    struct value value = offset >= 0 && offset < end ? history_seen(history, partition, offset) : (struct value){0};
    if (value.producer == producer && value.number == number) {
        return true;
    }
    /* A producer that is not idempotent may have written it again: the later one stays. */
    bool is_kept_elsewhere = history_is_compacted(history) && !history_is_idempotent(history, producer);
    if (offset == HISTORY_ACKED_SOMEWHERE || is_kept_elsewhere) {
        if (is_anywhere(history, partition, end, producer, number)) {
            return true;
        }
        history_violation(history, "lost-write",
                          "partition %u: value %u of producer %u was acknowledged and is nowhere up to %lld", partition,
                          number, producer, (long long)end);
        return false;
    }
    history_violation(history, "lost-write",
                      "partition %u: value %u of producer %u was acknowledged at %lld, the log ends at %lld and has "
                      "value %u of producer %u there",
                      partition, number, producer, (long long)offset, (long long)end, value.number, value.producer);
    return false;
}

/* Of the updates of one key the last one stays. A producer that is not idempotent may have written an earlier one again
 * behind it. */
static bool may_be_compacted(const struct history *history, unsigned partition, unsigned producer, uint32_t number)
{
    if (!history_is_compacted(history) || !history_is_update(number)) {
        return false;
    }
    uint32_t count = history_sent_count(history, producer, partition);
    uint32_t last = count - 1;
    while (last > number && !history_is_update(last)) {
        last--;
    }
    return number < last || !history_is_idempotent(history, producer);
}

void check_lost_write(struct history *history, unsigned partition, int64_t end)
{
    for (unsigned producer = 1; producer <= PRODUCERS_MAX; producer++) {
        uint32_t count = history_sent_count(history, producer, partition);
        for (uint32_t number = 0; number < count; number++) {
            if (!may_be_compacted(history, partition, producer, number) &&
                !check_one(history, partition, end, producer, number)) {
                return;
            }
        }
    }
}
