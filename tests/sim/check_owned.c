/* A generation has one assignment, and a partition in it one owner. */
#include "tests/sim/group_history.h"

void check_owned(struct history *history, unsigned group, const struct assignment *known, uint32_t member, uint32_t tag,
                 uint32_t partitions)
{
    if (known->tag != tag) {
        history_violation(history, "owned-twice",
                          "group %u generation %d: member %u was given assignment %u, others %u", group,
                          known->generation, member, tag, known->tag);
    }
    for (unsigned partition = 0; partition < PARTITIONS_MAX; partition++) {
        uint32_t owner = known->owners[partition];
        if ((partitions >> partition & 1) != 0 && owner != 0 && owner != member) {
            history_violation(history, "owned-twice", "group %u generation %d partition %u: members %u and %u", group,
                              known->generation, partition, owner, member);
        }
    }
}
