/* What goes wrong in a run: faults of random kinds at random times, each with an end, so that afterwards all is
 * whole. */
#pragma once

#include "tests/sim/node.h"

struct faults;

struct faults_params {
    struct sim_world *world;
    struct node *nodes;
    unsigned node_count;
    bool is_traced;   /* print them as they happen */
    unsigned kinds;   /* bit per enum fault_kind; 0: all */
    uint64_t skipped; /* bit n: the n-th fault (from 0) does not happen, the others do as before */
};

#define FAULT_MAP(X)                                                                                      \
    X(KILL, "kill")               /* kill -9 of one broker */                                             \
    X(KILL_ALL, "kill-all")       /* of all at once */                                                    \
    X(POWER, "power")             /* power loss of one */                                                 \
    X(POWER_ALL, "power-all")     /* of all at once */                                                    \
    X(PAUSE, "pause")             /* SIGSTOP for up to 12 s */                                            \
    X(CUT, "cut")                 /* both ways between one broker and all others */                       \
    X(CUT_ONE_WAY, "cut-one-way") /* from one broker to another */                                        \
    X(RESET, "reset")             /* all connections of a broker break */                                 \
    X(SLOW_NET, "slow-net")       /* up to 200 ms on the way */                                           \
    X(SLOW_DISK, "slow-disk")     /* syncs of one broker take up to 300 ms */                             \
    X(FULL, "full")               /* one disk has little space left or none; maybe a kill -9 and a start then */ \
    X(CLOCK, "clock")             /* its wall clock jumps by up to a minute */                            \
    X(STOP, "stop")               /* a stop in order, and a start, maybe with another number of shards */ \
    X(FLIP, "flip")               /* bits of one disk flip */                                             \
    X(MISDIRECT, "misdirect")     /* a sector of one disk is written over another */                      \
    X(WAL, "wal")                 /* kill -9, and the log of one broker is damaged */                    \
    X(WIPE, "wipe")               /* one disk is lost */                                                  \
    X(CRASH, "crash")             /* power loss of one in the middle of a disk operation */

enum fault_kind {
#define FAULT_ENUM(name, text) FAULT_##name,
    FAULT_MAP(FAULT_ENUM)
#undef FAULT_ENUM
    FAULT_KIND_COUNT
};

/* What happened, and how often a broker lost power, or was killed, at the worst moments. */
struct fault_counts {
    unsigned kinds[FAULT_KIND_COUNT]; /* those of all brokers at once are one each */
    unsigned crashes;    /* in the middle of a disk operation */
    unsigned catch_ups;  /* while it was getting its state from another broker */
    unsigned starts;     /* in a disk operation of a start, after a power loss */
    unsigned rejoins;    /* in one of the start after its logs were damaged or its disk was lost */
};

struct fault_record {
    const char *name;
    unsigned node; /* index */
    bool is_net;   /* of the network as a whole */
    int64_t begin_us, end_us;
};

struct faults *faults_open(const struct faults_params *params);
void faults_close(struct faults *faults);
/* Time of the next thing that faults_run() has to do. */
int64_t faults_next_us(const struct faults *faults);
/* Begins and ends what is due. */
void faults_run(struct faults *faults);
/* Ends all, starts all that does not run. */
void faults_heal(struct faults *faults);
unsigned faults_count(const struct faults *faults);
struct fault_counts faults_counts(const struct faults *faults);
/* Spots damaged so far; undone: those that nobody has found (damage.h). */
unsigned faults_damage_count(const struct faults *faults);
void faults_undo_damage(struct faults *faults);
size_t faults_records(const struct faults *faults, const struct fault_record **records); /* in order of their begin */
/* A disk was wiped since the last call: its index, else -1. */
int faults_take_wiped(struct faults *faults);
const char *faults_kind_name(enum fault_kind kind);
MUST_CHECK bool faults_kind_parse(const char *text, unsigned *kinds);
