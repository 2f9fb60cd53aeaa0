/* One replica over a log by hand (fake_log.h): its machine, its messages, a clock that moves when told.
 * Runs on: the test's thread. One world at a time. */
#pragma once

#include "base/limits.h"
#include "base/mem.h"
#include "replication/raft_rules.h"
#include "replication/replica_internal.h"
#include "tests/lib/fake_log.h"
#include "tests/lib/test.h"
#include "tests/lib/turn_env.h"

enum {
    WORLD_GROUP = 3,
    SENT_MAX = 64,
    HEARTBEAT_MS = 400,
    ELECTION_MS = 2000
};

struct world {
    struct turn_env turn;
    struct fake_log log;
    struct replica_shard *shard;
    struct replica *replica;
    struct replica_machine machine;
    uint64_t applied[256]; /* first byte of each command, in order */
    unsigned applied_count, turns, roles;
    struct replica_status status; /* as told last */
    struct replica_message sent[SENT_MAX];
    unsigned sent_entries[SENT_MAX];
    size_t sent_sizes[SENT_MAX];
    unsigned sent_count;
    unsigned damaged;
    bool is_in_machine;
    unsigned submit_on_applied; /* proposals that the machine makes from applied() */
    uint64_t damage_at;         /* the machine reports damage at this command */
};

extern struct world world;

/* Voters 2, 3, ..., 1, so that it is not this server that hurries to lead a new group (R26); then standbys. */
struct membership world_members(unsigned voters, unsigned standbys);
void world_open(unsigned voters, unsigned standbys);  /* a new group; server 1 is this one */
void world_close(void);
void world_stop(void);                                /* the log stays */
extern uint64_t world_intake_size, world_follow_size; /* of shards that are opened from now on; 0 at first */
void world_open_shard(void);                          /* and the machine, for another replica_open() */
enum err world_submit(unsigned number, size_t size);  /* a command whose bytes are all `number` */
void world_sync(void);                                /* end of turn; the log is durable; what follows from it */
void world_settle(void);
void world_receive(struct replica_message message);
uint64_t world_now_ms(void);
void world_ack(uint64_t peer, uint64_t index);         /* of what was sent just now */
void world_vote_for_me(bool is_pre_vote);
void world_elect(void);                               /* leader of three; nothing of that is durable yet */
void world_elect_and_commit(void);                    /* and ready */
unsigned world_frames(enum wal_kind kind);
unsigned world_sent(enum replica_message_kind kind);
int64_t world_steps(void);
extern const struct replica_machine_ops world_machine_ops;
