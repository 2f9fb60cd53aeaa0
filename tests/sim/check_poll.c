/* What a reader that names its leader's epoch may rely on from one poll to the next. */
#include "tests/sim/checks.h"

void check_poll_watermark(struct history *history, unsigned partition, int64_t before, int64_t now)
{
    if (now < before) {
        history_violation(history, "hw-back", "partition %u: %lld, before it was %lld", partition, (long long)now,
                          (long long)before);
    }
}

bool check_poll_batch(struct history *history, unsigned partition, int64_t position, int64_t base, int64_t end)
{
    if (base <= position && position < end) {
        return true;
    }
    history_violation(history, base > position ? "poll-skip" : "nonmonotonic-poll",
                      "partition %u: asked for offset %lld, got %lld to %lld", partition, (long long)position,
                      (long long)base, (long long)end);
    return false;
}

void check_poll_refused(struct history *history, unsigned partition, int64_t position, const char *error)
{
    history_violation(history, "poll-skip", "partition %u at offset %lld: %s", partition, (long long)position, error);
}
