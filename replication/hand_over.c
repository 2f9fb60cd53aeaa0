/* Before a stop: every group that is led here goes to another voter, so that its clients wait for a round trip and not
 * for an election timeout.
 *
 * Happy path: a timer looks at the groups that are led here, a few of them are under way at once (replica_transfer,
 * R13); a group is done when its new leader has been heard. Nobody left: the callback.
 * Failure modes: a target does not take over within an election timeout: another one is asked. Nobody else lives,
 * or the time is over: the callback comes with how many are still led here; timeouts of the others do it after the
 * stop. */
#include "replication/replica_internal.h"

#include "base/assert.h"
#include "base/mem.h"
#include "base/trace.h"

enum {
    TICK_MS = 5,
    COUNT_MAX = 64,  /* groups under way at once: one sync and one write to each peer are shared by about as many */
    SETTLE_MS = 500, /* for the new leader to be heard; our vote must have left */
};

static bool is_other_voter(const struct replica *replica, const struct replica_server *server)
{
    return server->is_voter && server->id != replica->shard->params.server_id &&
           !succession_is_down(replica->shard, server->id);
}

/* The voter that has most of the log; of several the groups spread over all, and a later attempt asks another one. */
static uint64_t choose_target(const struct replica *replica, uint64_t now_ms)
{
    uint64_t index;
    uint64_t best_match = 0;
    uint64_t best[REPLICA_SERVER_COUNT_MAX];
    unsigned count = 0;
    const struct membership *membership = raft_core_membership(replica->core, &index);
    for (unsigned i = 0; i < membership->count; i++) {
        const struct replica_server *server = &membership->servers[i];
        if (!is_other_voter(replica, server)) {
            continue;
        }
        uint64_t match = raft_core_match(replica->core, server->id);
        if (count == 0 || match > best_match) {
            best_match = match;
            count = 0;
        }
        if (match == best_match) {
            best[count++] = server->id;
        }
    }
    uint64_t turn = succession_spread(replica->group) + now_ms / replica->shard->params.election_ms;
    return count > 0 ? best[turn % count] : 0;
}

static bool is_led_here(const struct replica *replica)
{
    return replica->damage == NULL && raft_core_role(replica->core) == REPLICA_LEADER;
}

/* Given away, and who leads now is not known yet. */
static bool is_settling(const struct replica *replica, uint64_t now_ms)
{
    return raft_core_leader(replica->core) == 0 && now_ms < replica->settle_until_ms;
}

struct survey {
    unsigned left; /* led here, and somebody else could, or not settled yet */
    unsigned under_way;
};

static struct survey survey_groups(struct replica_shard *shard, uint64_t now_ms)
{
    struct survey survey = {0};
    for (struct list *link = shard->replicas.next; link != &shard->replicas; link = link->next) {
        const struct replica *replica = container_of(link, struct replica, shard_link);
        bool is_leader = is_led_here(replica);
        bool is_under_way = is_leader && replica->transfer_target != 0;
        if (is_under_way || is_settling(replica, now_ms) || (is_leader && choose_target(replica, now_ms) != 0)) {
            survey.left++;
            survey.under_way += !is_leader || is_under_way;
        }
    }
    return survey;
}

static void start_transfers(struct replica_shard *shard, unsigned count, uint64_t now_ms)
{
    for (struct list *link = shard->replicas.next; link != &shard->replicas && count > 0; link = link->next) {
        struct replica *replica = container_of(link, struct replica, shard_link);
        uint64_t target = is_led_here(replica) && replica->transfer_target == 0 ? choose_target(replica, now_ms) : 0;
        if (target != 0 && replica_transfer(replica, target) == OK) {
            replica->settle_until_ms = now_ms + shard->params.election_ms + SETTLE_MS;
            count--;
        }
    }
}

static void on_timer(struct timer *timer)
{
    struct hand_over *hand_over = container_of(timer, struct hand_over, timer);
    struct replica_shard *shard = container_of(hand_over, struct replica_shard, hand_over);
    uint64_t now_ms = shard_now_ms(shard);
    struct survey survey = survey_groups(shard, now_ms);
    if (survey.left == 0 || now_ms >= hand_over->until_ms) {
        replica_shard_hand_over_cb cb = hand_over->cb;
        hand_over->cb = NULL;
        if (survey.left > 0) {
            trace(WARN, REPLICA, "groups still led here", KV("groups", (int64_t)survey.left));
        }
        cb(hand_over->owner, survey.left);
        return;
    }
    if (survey.under_way < COUNT_MAX) {
        start_transfers(shard, COUNT_MAX - survey.under_way, now_ms);
    }
    env_timer(shard->params.env, &hand_over->timer, TICK_MS * 1000);
}

void hand_over_init(struct replica_shard *shard)
{
    timer_init(&shard->hand_over.timer, on_timer);
}

void hand_over_deinit(struct replica_shard *shard)
{
    env_timer_cancel(shard->params.env, &shard->hand_over.timer);
}

void replica_shard_hand_over(struct replica_shard *shard, unsigned timeout_ms, void *owner,
                             replica_shard_hand_over_cb cb)
{
    struct hand_over *hand_over = &shard->hand_over;
    assert(hand_over->cb == NULL);
    hand_over->owner = owner;
    hand_over->cb = cb;
    hand_over->until_ms = shard_now_ms(shard) + timeout_ms;
    env_timer(shard->params.env, &hand_over->timer, 0);
}
