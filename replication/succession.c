/* Happy path: the link to a server goes down -> every replica that follows it notes that -> its process turns out to
 * have ended -> they take their places in the line -> after the grace one timer goes through the line in slices -> the
 * core campaigns (raft_core: CAMPAIGN) -> the peers grant their votes.
 * Failure modes: see the header; each ends with the ordinary election timeout. */
#include "replication/succession.h"

#include "base/assert.h"
#include "base/canary.h"
#include "base/mem.h"
#include "base/trace.h"
#include "replication/replica_internal.h"

#include <string.h>

/* ---- The line --------------------------------------------------------------------------------------------------- */

static bool is_down(uint64_t server, const uint64_t *down, unsigned down_count)
{
    for (unsigned i = 0; i < down_count; i++) {
        if (down[i] == server) {
            return true;
        }
    }
    return false;
}

/* Groups are numbered one by one and placed round the brokers in the same order: plain numbers would not spread. */
uint64_t succession_spread(uint64_t group)
{
    group *= 0x9e3779b97f4a7c15u;
    return group ^ group >> 32;
}

unsigned succession_rank(const struct membership *membership, uint64_t group, uint64_t leader, uint64_t self,
                         const uint64_t *down, unsigned down_count)
{
    unsigned at = 0; /* of the leader; a leader that is no member any more leaves the line as it is */
    for (unsigned i = 0; i < membership->count; i++) {
        at = membership->servers[i].id == leader ? i + 1 : at;
    }
    uint64_t line[REPLICA_SERVER_COUNT_MAX];
    unsigned count = 0;
    for (unsigned i = 0; i < membership->count; i++) {
        const struct replica_server *server = &membership->servers[(at + i) % membership->count];
        if (server->is_voter && server->id != leader && !is_down(server->id, down, down_count)) {
            line[count++] = server->id;
        }
    }
    for (unsigned i = 0; i < count; i++) {
        if (line[i] == self) {
            return (i + count - (unsigned)(succession_spread(group) % count)) % count;
        }
    }
    return SUCCESSION_NONE;
}

/* ---- Campaigns -------------------------------------------------------------------------------------------------- */

static void timer_arm(struct replica_shard *shard)
{
    struct succession *succession = &shard->succession;
    uint64_t due_ms = UINT64_MAX;
    for (unsigned i = 0; i < SUCCESSION_RANK_MAX; i++) {
        if (!list_is_empty(&succession->lines[i])) {
            uint64_t first = container_of(succession->lines[i].next, struct replica, heir.link)->heir.due_ms;
            due_ms = first < due_ms ? first : due_ms;
        }
    }
    if (due_ms == UINT64_MAX) {
        return;
    }
    due_ms = due_ms > succession->next_slice_ms ? due_ms : succession->next_slice_ms;
    uint64_t now_ms = shard_now_ms(shard);
    env_timer(shard->params.env, &succession->timer, due_ms > now_ms ? (int64_t)(due_ms - now_ms) * 1000 : 1000);
}

static void line_put(struct replica *replica, unsigned rank, uint64_t due_ms)
{
    struct succession *succession = &replica->shard->succession;
    replica->heir.due_ms = due_ms;
    list_remove(&replica->heir.link);
    list_push(&succession->lines[rank < SUCCESSION_RANK_MAX ? rank : SUCCESSION_RANK_MAX - 1], &replica->heir.link);
}

/* Whether nothing has happened since that makes an attempt needless: a new leader, or somebody has our vote. */
static bool is_still_lost(const struct replica *replica)
{
    const struct heir *heir = &replica->heir;
    const struct raft_core *core = replica->core;
    return replica->damage == NULL && raft_core_role(core) == REPLICA_FOLLOWER &&
           raft_core_leader(core) == heir->leader && raft_core_leader_term(core) == heir->leader_term &&
           (raft_core_term(core) == heir->term || raft_core_vote(core) == 0);
}

static void campaign(struct replica *replica, uint64_t now_ms)
{
    struct heir *heir = &replica->heir;
    if (!is_still_lost(replica) || now_ms >= heir->until_ms) {
        return;
    }
    struct raft_core_event event = {.kind = RAFT_CORE_CAMPAIGN, .server = heir->leader};
    enum err err = replica_step(replica, &event);
    if (err == ERR_BUSY) { /* its last entries are on their way to the disk */
        line_put(replica, 0, now_ms + SUCCESSION_SLICE_MS);
    } else if (err == OK) {
        heir->not_before_ms = now_ms + replica->shard->params.election_ms;
        metrics_add(replica->shard->params.env->metrics, METRIC_SUCCESSIONS, 1);
    }
}

static void on_timer(struct timer *timer)
{
    struct replica_shard *shard = container_of(timer, struct replica_shard, succession.timer);
    struct succession *succession = &shard->succession;
    uint64_t now_ms = shard_now_ms(shard);
    unsigned left = SUCCESSION_SLICE_COUNT;
    succession->next_slice_ms = now_ms + SUCCESSION_SLICE_MS;
    for (unsigned i = 0; i < SUCCESSION_RANK_MAX; i++) {
        struct list *line = &succession->lines[i];
        while (left > 0 && !list_is_empty(line)) {
            struct replica *replica = container_of(line->next, struct replica, heir.link);
            if (replica->heir.due_ms > now_ms) {
                break;
            }
            list_remove(&replica->heir.link);
            campaign(replica, now_ms);
            left--;
        }
    }
    timer_arm(shard);
}

void succession_look_again(struct replica *replica)
{
    const struct heir *heir = &replica->heir;
    if (!list_is_empty(&heir->link) && raft_core_term(replica->core) > heir->term && is_still_lost(replica)) {
        line_put(replica, 0, shard_now_ms(replica->shard));
        timer_arm(replica->shard);
    }
}

/* ---- Links ------------------------------------------------------------------------------------------------------ */

static void down_remove(struct succession *succession, uint64_t server)
{
    for (unsigned i = 0; i < succession->down_count; i++) {
        if (succession->down[i] == server) {
            succession->down[i] = succession->down[--succession->down_count];
            return;
        }
    }
}

static void down_add(struct succession *succession, uint64_t server)
{
    down_remove(succession, server);
    if (succession->down_count == succession->down_capacity) {
        succession->down_capacity = succession->down_capacity == 0 ? 4 : succession->down_capacity * 2;
        succession->down = mem_resize(succession->down, succession->down_capacity * sizeof *succession->down);
    }
    succession->down[succession->down_count++] = server;
}

static void note_loss(struct replica *replica, uint64_t server)
{
    struct heir *heir = &replica->heir;
    if (raft_core_leader(replica->core) == server && raft_core_role(replica->core) == REPLICA_FOLLOWER) {
        list_remove(&heir->link);
        heir->leader = server;
        heir->leader_term = raft_core_leader_term(replica->core);
    }
}

static bool join_line(struct replica *replica, uint64_t server, uint64_t now_ms)
{
    struct heir *heir = &replica->heir;
    struct succession *succession = &replica->shard->succession;
    const struct raft_core *core = replica->core;
    uint64_t membership_index;
    if (replica->is_stopped || replica->damage != NULL || heir->leader != server || raft_core_leader(core) != server ||
        raft_core_leader_term(core) != heir->leader_term || raft_core_role(core) != REPLICA_FOLLOWER ||
        now_ms < heir->not_before_ms) {
        return false;
    }
    unsigned rank = succession_rank(raft_core_membership(core, &membership_index), replica->group, server,
                                    replica->shard->params.server_id, succession->down, succession->down_count);
    if (rank == SUCCESSION_NONE) {
        return false;
    }
    rank = rank < SUCCESSION_RANK_MAX ? rank : SUCCESSION_RANK_MAX - 1;
    heir->term = raft_core_term(core);
    heir->until_ms = now_ms + replica->shard->params.election_ms;
    line_put(replica, rank, now_ms + SUCCESSION_GRACE_MS + (uint64_t)rank * SUCCESSION_STEP_MS);
    return true;
}

void replica_shard_peer_down(struct replica_shard *shard, uint64_t server)
{
    if (server == shard->params.server_id) {
        return;
    }
    down_add(&shard->succession, server);
    for (struct list *link = shard->replicas.next; link != &shard->replicas; link = link->next) {
        note_loss(container_of(link, struct replica, shard_link), server);
    }
    if (canary_is(CANARY_SUCCESSION_BY_LOST_LINK)) {
        replica_shard_peer_ended(shard, server);
    }
}

void replica_shard_peer_ended(struct replica_shard *shard, uint64_t server)
{
    uint64_t now_ms = shard_now_ms(shard);
    int64_t count = 0;
    if (!succession_is_down(shard, server)) {
        return; /* what the link is with now has not */
    }
    for (struct list *link = shard->replicas.next; link != &shard->replicas && shard->is_started; link = link->next) {
        count += join_line(container_of(link, struct replica, shard_link), server, now_ms);
    }
    if (count > 0) {
        trace(INFO, REPLICA, "the process of a leader has ended", KV("server", (int64_t)server), KV("groups", count));
    }
    timer_arm(shard);
}

void replica_shard_peer_up(struct replica_shard *shard, uint64_t server)
{
    struct succession *succession = &shard->succession;
    down_remove(succession, server);
    for (unsigned i = 0; i < SUCCESSION_RANK_MAX; i++) {
        for (struct list *link = succession->lines[i].next; link != &succession->lines[i];) {
            struct replica *replica = container_of(link, struct replica, heir.link);
            link = link->next;
            if (replica->heir.leader == server) {
                succession_cancel(replica);
            }
        }
    }
}

/* ---- Life ------------------------------------------------------------------------------------------------------- */

void succession_init(struct replica_shard *shard)
{
    for (unsigned i = 0; i < SUCCESSION_RANK_MAX; i++) {
        list_init(&shard->succession.lines[i]);
    }
    timer_init(&shard->succession.timer, on_timer);
}

void succession_deinit(struct replica_shard *shard)
{
    env_timer_cancel(shard->params.env, &shard->succession.timer);
    mem_free(shard->succession.down);
}

bool succession_is_down(const struct replica_shard *shard, uint64_t server)
{
    return is_down(server, shard->succession.down, shard->succession.down_count);
}

void succession_cancel(struct replica *replica)
{
    list_remove(&replica->heir.link);
}
