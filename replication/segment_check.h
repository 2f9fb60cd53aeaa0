/* A segment's file, checked from front to end as if all of it were read by consumers: for what a catch-up brought, and
 * for the scrub of cold segments. Blocks: work jobs. Source: the checks of segment_read(). */
#pragma once

#include "base/env.h"
#include "replication/epochs.h"

struct segment_check {
    struct disk *disk;
    const char *dir;                 /* for texts */
    int file;
    int64_t base_offset;
    uint64_t version;                /* for texts */
    int64_t end_offset;              /* behind the last record at `size` */
    uint64_t size;                   /* of the whole segment; the file may end before */
    const struct epochs *epochs;     /* leader epochs lie outside of a batch's CRC; NULL: not checked */
    size_t size_max;                 /* stop after about as many bytes; 0: at the end */
    uint64_t position;               /* in and out: everything before is good */
    int64_t next_offset;             /* in and out: of the batch there */
};
/* OK: `position` has been reached, it is `size` at the end. ERR_DAMAGED: what stands at `position` is wrong or not
 * there. */
MUST_CHECK enum err segment_check(struct segment_check *check, struct errmsg *msg);
