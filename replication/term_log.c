/* Happy path: append adds one to the last run; a new term starts a run. Lookups mostly ask for the newest entries, so
 * they go backwards. */
#include "replication/term_log.h"

#include "base/assert.h"
#include "base/mem.h"

#include <string.h>

static void note_last(struct term_log *log)
{
    log->last = log->count > 0 ? log->runs[log->count - 1] : (struct term_run){log->base_index + 1, log->base_term};
}

void term_log_init(struct term_log *log)
{
    *log = (struct term_log){0};
}

void term_log_deinit(struct term_log *log)
{
    mem_free(log->runs);
    *log = (struct term_log){0};
}

void term_log_reset(struct term_log *log, uint64_t base_index, uint64_t base_term)
{
    assert((base_index == 0) == (base_term == 0));
    log->base_index = base_index;
    log->base_term = base_term;
    log->last_index = base_index;
    log->count = 0;
    note_last(log);
}

void term_log_append(struct term_log *log, uint64_t term)
{
    assert(term >= term_log_last(log));
    assert(term > 0);
    log->last_index++;
    if (log->count > 0 && log->last.term == term) {
        return;
    }
    if (log->count == log->capacity) {
        log->capacity = log->capacity == 0 ? 2 : log->capacity * 2;
        log->runs = mem_resize(log->runs, log->capacity * sizeof *log->runs);
    }
    log->runs[log->count++] = (struct term_run){.first_index = log->last_index, .term = term};
    note_last(log);
}

void term_log_cut(struct term_log *log, uint64_t index)
{
    assert(index > log->base_index);
    if (index > log->last_index) {
        return;
    }
    log->last_index = index - 1;
    while (log->count > 0 && log->runs[log->count - 1].first_index >= index) {
        log->count--;
    }
    note_last(log);
}

void term_log_trim(struct term_log *log, uint64_t base_index)
{
    assert(base_index <= log->last_index);
    if (base_index <= log->base_index) {
        return;
    }
    log->base_term = term_log_at(log, base_index);
    log->base_index = base_index;
    unsigned keep = 0;
    while (keep < log->count &&
           (keep + 1 < log->count ? log->runs[keep + 1].first_index : log->last_index + 1) <= base_index + 1) {
        keep++;
    }
    log->count -= keep;
    memmove(log->runs, log->runs + keep, log->count * sizeof *log->runs);
    if (log->count > 0 && log->runs[0].first_index <= base_index) {
        log->runs[0].first_index = base_index + 1;
    }
    note_last(log);
}

static const struct term_run *run_of(const struct term_log *log, uint64_t index)
{
    assert(index > log->base_index);
    assert(index <= log->last_index);
    if (index >= log->last.first_index) {
        return &log->last;
    }
    unsigned at = log->count - 1;
    while (log->runs[at].first_index > index) {
        at--;
    }
    return &log->runs[at];
}

uint64_t term_log_at(const struct term_log *log, uint64_t index)
{
    if (index == log->base_index) {
        return log->base_term;
    }
    if (index < log->base_index || index > log->last_index) {
        return 0;
    }
    return run_of(log, index)->term;
}

uint64_t term_log_last(const struct term_log *log)
{
    return log->last.term;
}

uint64_t term_log_run_start(const struct term_log *log, uint64_t index)
{
    return run_of(log, index)->first_index;
}
