/* What is read of a group's offsets is at least what was certain when it was asked for, and at most what anybody asked
 * to be committed. A read goes through the coordinator's log (metadata/offsets.h), so there is no old answer. */
#include "tests/sim/group_history.h"

void check_committed(struct history *history, unsigned group, unsigned partition, const struct committed *known,
                     int64_t offset, int64_t certain)
{
    if (offset < certain) {
        history_violation(history, "lost-commit", "group %u partition %u: %lld was committed, now it is %lld", group,
                          partition, (long long)certain, (long long)offset);
    } else if (offset > known->asked) {
        history_violation(history, "invented-commit", "group %u partition %u: %lld, at most %lld was asked for", group,
                          partition, (long long)offset, (long long)known->asked);
    }
}
