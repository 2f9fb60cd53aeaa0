/* One consumer group, a clock moved by hand, and requests that wait: for tests of metadata/group.h. Every answer is
 * counted, and a second one to the same request ends the test.
 * Runs on: the test's thread. */
#pragma once

#include "metadata/group.h"

#define GROUP_WORLD_ASK_COUNT_MAX 4096

struct group_ask { /* a JoinGroup or SyncGroup and its answer; what it says is copied, as the group moves on */
    struct group_wait wait;
    bool is_join;
    bool is_answered;
    enum kafka_error error;
    char offered[40]; /* id that a new member gets */
    char member[40];
    char leader[40];
    int32_t generation;
    size_t member_count; /* told to the leader */
    bool has_members;
    bool skips;
    char protocol[16];
    char assignment[64];
};

struct group_world {
    struct group_limits limits;
    struct group group;
    int64_t now_us;
    struct list answered;
    struct group_ask asks[GROUP_WORLD_ASK_COUNT_MAX];
    size_t ask_count;
    unsigned next_id;
};

void group_world_init(struct group_world *world); /* no initial delay, 10 members at most */
void group_world_deinit(struct group_world *world);

struct group_wish {           /* of a join; zeroes are useful */
    const char *member;       /* NULL: none */
    const char *instance;     /* NULL: dynamic */
    const char *protocols;    /* NULL: "range"; names with ',' between; the metadata of each is "m-" and its name */
    const char *metadata;     /* NULL: as said; else of all protocols */
    const char *type;         /* NULL: "consumer" */
    int32_t session_ms;       /* 0: 10000 */
    int32_t rebalance_ms;     /* 0: 60000; -1: told as 0 */
    bool is_id_required;
    bool can_skip;
};
struct group_ask *group_world_join(struct group_world *world, struct group_wish wish);
/* As a member; `text`: "member=assignment,..." or NULL for none. */
struct group_ask *group_world_sync(struct group_world *world, const char *member, const char *instance,
                                   int32_t generation, const char *text);
enum kafka_error group_world_heartbeat(struct group_world *world, const char *member, const char *instance,
                                       int32_t generation);
enum kafka_error group_world_leave(struct group_world *world, const char *member, const char *instance);
void group_world_stored(struct group_world *world, bool is_ok); /* all there is to store */
void group_world_withdraw(struct group_world *world, struct group_ask *ask);
void group_world_advance(struct group_world *world, int64_t ms); /* with all that comes due on the way */
/* Stores, forgets and reads the group again, as another coordinator does: who waits is answered NOT_COORDINATOR. */
void group_world_fail_over(struct group_world *world);
/* What must hold between any two steps. */
void group_world_check(const struct group_world *world);
size_t group_world_waiting(const struct group_world *world); /* asks without an answer */
/* `count` dynamic members that have joined and synced: Stable, generation 1, the first one leads; ids in `asks`. */
void group_world_make_stable(struct group_world *world, size_t count, struct group_ask **asks);
