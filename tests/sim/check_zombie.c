/* Once somebody was told of a generation, commits of earlier ones that are asked after that are refused: who was silent
 * for too long does not undo what the new owner commits. Simple consumers have no generation. */
#include "tests/sim/group_history.h"

void check_zombie(struct history *history, unsigned group, unsigned partition, int64_t offset, int32_t generation,
                  int32_t newest)
{
    if (generation >= 0 && generation < newest) {
        history_violation(history, "zombie-commit",
                          "group %u partition %u: %lld was taken from generation %d, generation %d was there", group,
                          partition, (long long)offset, generation, newest);
    }
}
