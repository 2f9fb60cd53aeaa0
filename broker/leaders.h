/* Soft state: who leads which Raft group at which term, as this shard knows it. Every shard has its own copy, fed by
 * messages when a replica of any shard changes its role, and by what other brokers tell. Never written to the log,
 * rebuilt at every start.
 *
 * Runs on: one shard. */
#pragma once

#include "base/env.h"
#include "base/map.h"

struct leader {
    int32_t broker;          /* -1: none known */
    int32_t epoch;           /* Raft term; -1 unknown */
};
struct leaders;
struct leaders *leaders_open(struct env *env);
void leaders_close(struct leaders *leaders);
/* What broker `source` says. An older epoch is ignored; so is "nobody leads" at the epoch of a known leader, unless
 * that leader says so itself: it is only others' not knowing. */
void leaders_set(struct leaders *leaders, uint64_t group, int32_t broker, int32_t epoch, int32_t source);
/* Nobody is to be sent to the broker for now: what it led is led by nobody, as far as leaders_get() tells, until it is
 * shown again (for all reasons) or another one leads. Nothing is forgotten, as who is only slow, or cut off from this
 * broker for a moment, does not tell its leaderships again. */
enum leaders_reason {
    LEADERS_ENDED = 1,       /* its process closed this shard's link: most likely it is gone */
    LEADERS_SILENT = 2,      /* it is not alive: nothing was heard of it for the session timeout */
};
void leaders_hide(struct leaders *leaders, int32_t broker, enum leaders_reason reason);
void leaders_show(struct leaders *leaders, int32_t broker, enum leaders_reason reason);
/* `broker` leads nothing of the groups for which `is_asked` but `groups`: its news of all that it leads. */
void leaders_keep_only(struct leaders *leaders, int32_t broker, const uint64_t *groups, size_t count, void *context,
                       bool (*is_asked)(void *context, uint64_t group));
void leaders_remove(struct leaders *leaders, uint64_t group);
struct leader leaders_get(const struct leaders *leaders, uint64_t group);                 /* broker -1 when unknown */
/* How much longer news of who leads the group are worth waiting for: a new one elects its first leader, a hand-over or
 * an election is under way. 0: one is known, or none was for so long that more is wrong than that. */
int64_t leaders_due_ms(struct leaders *leaders, uint64_t group);

/* Calls cb (never inside) when all `groups` are led, or at the time-out. Caller's memory until cb. */
struct leaders_wait {
    const uint64_t *groups;
    size_t count;
    bool is_complete;        /* out: false at the time-out */
    void (*cb)(struct leaders_wait *wait);
    struct timer timer;      /* private */
    struct list link;        /* private */
    struct leaders *leaders; /* private */
    size_t next;             /* private: groups before it are led */
};
void leaders_wait_for(struct leaders *leaders, struct leaders_wait *wait, int64_t timeout_ms);
/* The broker stops: whoever waits, now or later, is called back in this turn. */
void leaders_stop(struct leaders *leaders);
bool leaders_is_stopping(const struct leaders *leaders); /* nobody should wait for news any more */
