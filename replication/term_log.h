/* Which term each entry of one Raft log has, as runs of equal terms: a few words whatever the length of the log.
 *
 * It covers the entries behind `base`, and base itself (the last entry known only as part of a checkpoint or an
 * installed state; 0: the log starts with entry 1). Terms never fall along the log.
 * Runs on: its owner's thread. Pure but for memory. */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct term_run {
    uint64_t first_index;
    uint64_t term;
};

struct term_log {
    uint64_t base_index, base_term;
    uint64_t last_index;         /* >= base_index */
    struct term_run last;        /* a copy of the last run: the one that is asked for; without runs: base's term */
    struct term_run *runs;       /* ascending; the first starts at base_index + 1 */
    unsigned count, capacity;
};

void term_log_init(struct term_log *log);
void term_log_deinit(struct term_log *log);
/* Forgets all; the log is empty behind base. */
void term_log_reset(struct term_log *log, uint64_t base_index, uint64_t base_term);
void term_log_append(struct term_log *log, uint64_t term);              /* at last_index + 1 */
void term_log_cut(struct term_log *log, uint64_t index);                /* drops entries >= index; index > base_index */
void term_log_trim(struct term_log *log, uint64_t base_index);          /* moves base up; base_index <= last_index */
uint64_t term_log_at(const struct term_log *log, uint64_t index);       /* 0: not covered */
uint64_t term_log_last(const struct term_log *log);                     /* of last_index; 0: there is nothing */
/* Index of the first covered entry in the run that `index` (> base_index) is in. */
uint64_t term_log_run_start(const struct term_log *log, uint64_t index);
