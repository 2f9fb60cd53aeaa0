/* Whole Raft clusters under faults: many seeds, each a run of its own, with the checkers of raft_net at every step.
 *
 * SEEDS=n runs n seeds of each kind (200 in `make check`), SEED=s starts at s, KIND=name runs one kind only, NET_LOG=1
 * tells what happens, RULES_OFF=mask leaves rules out (raft_rules.h) to see what they are for. */
#include "base/mem.h"
#include "base/trace.h"
#include "replication/raft_rules.h"
#include "tests/lib/canary.h"
#include "tests/lib/raft_net.h"
#include "tests/lib/test.h"

#include <stdlib.h>
#include <string.h>

enum {
    CHAOS_MS = 12000,
    HEAL_MS = 18000,
    LAST_PROPOSALS = 20
};

struct kind {
    const char *name;
    struct net_options options;
    unsigned crash; /* of 1,000 steps of chaos, what happens in them */
    unsigned cut;
    unsigned change; /* membership */
    unsigned transfer;
    unsigned checkpoint;
};

#define OPTIONS(nodes, voters, retain)                                                                              \
    {                                                                                                               \
        .node_count = (nodes), .voter_count = (voters), .heartbeat_ms = 100, .election_ms = 500, .loss = 50,        \
        .repeat = 50, .late = 20, .delay_ms_max = 20, .late_ms_max = 600, .sync_ms_max = 10, .install_ms_max = 300, \
        .retain_size = (retain), .signal = 800                                                                      \
    }

static const struct kind kinds[] = {
    {"one voter", OPTIONS(1, 1, 1), 30, 0, 0, 0, 30},
    {"three voters", OPTIONS(3, 3, 4096), 30, 40, 0, 10, 20},
    {"three voters, nothing retained", OPTIONS(3, 3, 1), 30, 40, 0, 10, 40},
    {"five voters", OPTIONS(5, 5, 2048), 40, 50, 0, 10, 20},
    {"membership of three", OPTIONS(3, 1, 2048), 25, 30, 60, 10, 20},
    {"membership of five", OPTIONS(5, 3, 1), 30, 40, 60, 10, 30},
};

/* ---- What happens ----------------------------------------------------------------------------------------------- */

static void crash_some(struct raft_net *net)
{
    if (raft_net_chance(net, 150)) {
        raft_net_stop(net, (unsigned)raft_net_random(net, net->options.node_count));
        return;
    }
    if (raft_net_chance(net, 100)) { /* power loss */
        for (unsigned i = 0; i < net->options.node_count; i++) {
            raft_net_crash(net, i);
        }
        return;
    }
    raft_net_crash(net, (unsigned)raft_net_random(net, net->options.node_count));
}

static void start_some(struct raft_net *net)
{
    unsigned slot = (unsigned)raft_net_random(net, net->options.node_count);
    if (!net->nodes[slot].is_up) {
        raft_net_start(net, slot);
    }
}

static void cut_some(struct raft_net *net)
{
    unsigned count = net->options.node_count;
    unsigned a = (unsigned)raft_net_random(net, count);
    switch (raft_net_random(net, 4)) {
    case 0: /* one way */
        net->is_cut[a][raft_net_random(net, count)] = true;
        break;
    case 1: /* one node off */
        for (unsigned b = 0; b < count; b++) {
            net->is_cut[a][b] = net->is_cut[b][a] = a != b;
        }
        break;
    default:
        memset(net->is_cut, 0, sizeof net->is_cut);
        break;
    }
}

/* Whether the server in a slot is a member as far as any other node knows, or knew when it went down. */
static bool is_member_anywhere(const struct raft_net *net, unsigned slot)
{
    for (unsigned i = 0; i < net->options.node_count; i++) {
        if (i != slot && membership_find(&net->nodes[i].seen.membership, net->nodes[slot].id) != NULL) {
            return true;
        }
    }
    return false;
}

/* A slot that is no member gets a fresh disk and id, and joins (R9f). */
static void change_add(struct raft_net *net, unsigned leader, struct membership *next)
{
    for (unsigned i = 0; i < net->options.node_count && next->count < net->options.node_count; i++) {
        if (membership_find(next, net->nodes[i].id) == NULL && !is_member_anywhere(net, i)) {
            raft_net_crash(net, i);
            raft_net_wipe(net, i);
            next->servers[next->count++] = (struct replica_server){.id = net->nodes[i].id};
            net->changes += replica_change(net->nodes[leader].replica, next) == OK;
            raft_net_start(net, i);
            return;
        }
    }
}

static void remove_at(struct membership *membership, unsigned at)
{
    memmove(&membership->servers[at], &membership->servers[at + 1],
            (membership->count - at - 1) * sizeof membership->servers[0]);
    membership->count--;
}

/* A member whose disk was lost is removed before anything else is changed: the majority that is left may be the
 * smallest one. */
static bool remove_lost(struct raft_net *net, unsigned leader, struct membership *next)
{
    for (unsigned i = 0; i < next->count; i++) {
        if (raft_net_find(net, next->servers[i].id) == NULL) {
            remove_at(next, i);
            net->changes += replica_change(net->nodes[leader].replica, next) == OK;
            return true;
        }
    }
    return false;
}

/* A member loses its disk and comes back as a server that nobody knows (R9f). Only while all of them agree on who is
 * a member, so that it is certain that a majority of the voters stays. */
static void lose_disk_some(struct raft_net *net)
{
    int leader = raft_net_leader(net);
    if (leader < 0) {
        return;
    }
    struct replica_status status;
    replica_status(net->nodes[leader].replica, &status);
    unsigned victim = (unsigned)raft_net_random(net, net->options.node_count);
    const struct replica_server *member = membership_find(&status.membership, net->nodes[victim].id);
    unsigned lost = 0;
    for (unsigned i = 0; i < status.membership.count; i++) {
        const struct net_node *node = raft_net_find(net, status.membership.servers[i].id);
        lost += node == NULL && status.membership.servers[i].is_voter;
        if (node != NULL && (!node->is_up || node->seen.membership_index != status.membership_index)) {
            return;
        }
    }
    lost += member != NULL && member->is_voter;
    if (member == NULL || (int)victim == leader || !status.is_membership_committed ||
        2 * lost >= membership_voter_count(&status.membership)) {
        return;
    }
    raft_net_crash(net, victim);
    raft_net_wipe(net, victim);
    raft_net_start(net, victim);
    net->disks_lost++;
}

static void change_some(struct raft_net *net)
{
    int leader = raft_net_leader(net);
    if (leader < 0) {
        return;
    }
    struct replica_status status;
    replica_status(net->nodes[leader].replica, &status);
    struct membership next = status.membership;
    if (remove_lost(net, (unsigned)leader, &next)) {
        raft_net_settle(&net->nodes[leader]);
        return;
    }
    unsigned at = (unsigned)raft_net_random(net, next.count);
    switch (raft_net_random(net, 4)) {
    case 0: /* a member that was removed may only be wiped when that is committed */
        if (status.is_membership_committed) {
            change_add(net, (unsigned)leader, &next);
        }
        break;
    case 1: /* remove */
        if (next.servers[at].id != net->nodes[leader].id) {
            remove_at(&next, at);
            net->changes += replica_change(net->nodes[leader].replica, &next) == OK;
        }
        break;
    default: /* promote or demote */
        next.servers[at].is_voter = !next.servers[at].is_voter;
        net->changes += replica_change(net->nodes[leader].replica, &next) == OK;
        break;
    }
    raft_net_settle(&net->nodes[leader]);
}

/* A link is lost while both its ends live; mostly it is back soon. */
static void signal_some(struct raft_net *net)
{
    unsigned count = net->options.node_count;
    unsigned slot = (unsigned)raft_net_random(net, count);
    unsigned peer = (unsigned)raft_net_random(net, count);
    raft_net_signal(net, slot, peer, false, 0);
    if (raft_net_chance(net, 700)) {
        raft_net_signal(net, slot, peer, true, raft_net_random(net, 300000));
    }
}

static void transfer_some(struct raft_net *net)
{
    int leader = raft_net_leader(net);
    if (leader >= 0) {
        struct replica_status status;
        replica_status(net->nodes[leader].replica, &status);
        uint64_t target = status.membership.servers[raft_net_random(net, status.membership.count)].id;
        net->transfers += replica_transfer(net->nodes[leader].replica, target) == OK;
        raft_net_settle(&net->nodes[leader]);
    }
}

static void propose_some(struct raft_net *net)
{
    unsigned slot = (unsigned)raft_net_random(net, net->options.node_count);
    if (!net->nodes[slot].is_up) {
        return;
    }
    for (uint64_t count = 1 + raft_net_random(net, 8); count > 0; count--) {
        if (raft_net_propose(net, slot) != OK) {
            break;
        }
    }
    raft_net_settle(&net->nodes[slot]);
}

static void chaos(struct raft_net *net, const struct kind *kind)
{
    uint64_t end = net->now_us + (uint64_t)CHAOS_MS * 1000;
    while (net->now_us < end && net->violations == 0) {
        raft_net_run(net, net->now_us + raft_net_random(net, 40000));
        propose_some(net);
        if (raft_net_chance(net, kind->crash)) {
            crash_some(net);
        }
        if (raft_net_chance(net, 100)) {
            start_some(net);
        }
        if (raft_net_chance(net, kind->cut)) {
            cut_some(net);
        }
        if (raft_net_chance(net, kind->cut)) {
            signal_some(net);
        }
        if (raft_net_chance(net, kind->change)) {
            change_some(net);
        }
        if (raft_net_chance(net, kind->change / 6)) {
            lose_disk_some(net);
        }
        if (raft_net_chance(net, kind->transfer)) {
            transfer_some(net);
        }
        if (raft_net_chance(net, kind->checkpoint)) {
            raft_net_checkpoint(net, (unsigned)raft_net_random(net, net->options.node_count));
        }
        if (raft_net_chance(net, kind->checkpoint / 4)) {
            unsigned slot = (unsigned)raft_net_random(net, net->options.node_count);
            raft_net_copy_forward(net, slot);
            if (raft_net_chance(net, 500)) { /* as a round does that finds a log pinned */
                raft_net_checkpoint(net, slot);
                if (raft_net_chance(net, 300)) {
                    raft_net_crash_later(net, slot, raft_net_random(net, 100000));
                }
            }
        }
        if (raft_net_chance(net, kind->cut / 4)) {
            raft_net_pause(net, (unsigned)raft_net_random(net, net->options.node_count), raft_net_random(net, 3000000));
        }
    }
}

static void start_all(struct raft_net *net)
{
    for (unsigned i = 0; i < net->options.node_count; i++) {
        if (!net->nodes[i].is_up) {
            raft_net_start(net, i);
        }
    }
}

/* After all faults are gone the cluster must elect, commit and bring every member to the same state. */
static bool recover(struct raft_net *net)
{
    raft_net_heal(net);
    uint64_t end = net->now_us + (uint64_t)HEAL_MS * 1000;
    unsigned proposed = 0;
    while (net->now_us < end && net->violations == 0) {
        start_all(net); /* some may still be on their way to stop */
        raft_net_run(net, net->now_us + 50000);
        int leader = raft_net_leader(net);
        if (leader >= 0 && proposed < LAST_PROPOSALS && raft_net_propose(net, (unsigned)leader) == OK) {
            proposed++;
            raft_net_settle(&net->nodes[leader]);
        }
        if (proposed == LAST_PROPOSALS && raft_net_is_level(net)) {
            return true;
        }
    }
    return false;
}

/* ---- Runs ------------------------------------------------------------------------------------------------------- */

struct totals {
    uint64_t seeds, violations, stuck;
    uint64_t steps, elections, commits, installs, crashes, changes, checkpoints, messages, successions, disks, tellings;
};

static void tell_stuck(const struct raft_net *net)
{
    (void)fprintf(stderr, "seed %llu: no progress after healing\n", (unsigned long long)net->seed);
    for (unsigned i = 0; i < net->options.node_count; i++) {
        const struct net_node *node = &net->nodes[i];
        struct replica_status status;
        if (!node->is_up) {
            continue;
        }
        replica_status(node->replica, &status);
        (void)fprintf(
            stderr,
            "  node %u id %llu role %d ready %d term %llu leader %llu log %llu..%llu durable %llu commit %llu "
            "applied %llu members",
            i, (unsigned long long)node->id, (int)status.role, status.is_ready, (unsigned long long)status.term,
            (unsigned long long)status.leader, (unsigned long long)status.first_index,
            (unsigned long long)status.last_index, (unsigned long long)status.durable_index,
            (unsigned long long)status.commit_index, (unsigned long long)status.applied_index);
        for (unsigned k = 0; k < status.membership.count; k++) {
            (void)fprintf(stderr, " %llu%s", (unsigned long long)status.membership.servers[k].id,
                          status.membership.servers[k].is_voter ? "v" : "s");
        }
        (void)fprintf(stderr, " @%llu\n", (unsigned long long)status.membership_index);
    }
}

/* Every fourth seed has a slow disk, every fourth slow catch-ups, every fourth messages that come seconds late. */
static struct net_options options_of(const struct kind *kind, uint64_t seed)
{
    struct net_options options = kind->options;
    switch (seed % 4) {
    case 1:
        options.sync_ms_max = 150;
        break;
    case 2:
        options.install_ms_max = 3000;
        break;
    case 3:
        options.late = 60;
        options.late_ms_max = 3000;
        break;
    default:
        break;
    }
    return options;
}

static void run_seed(const struct kind *kind, uint64_t seed, struct totals *totals)
{
    struct net_options options = options_of(kind, seed);
    struct raft_net *net = raft_net_open(seed, &options);
    net->log = getenv("NET_LOG") != NULL ? stderr : NULL;
    for (unsigned i = 0; i < kind->options.node_count; i++) {
        if (net->nodes[i].is_bootstrapped) {
            raft_net_start(net, i);
        }
    }
    chaos(net, kind);
    if (net->violations == 0 && !recover(net) && net->violations == 0) {
        totals->stuck++;
        tell_stuck(net);
    }
    totals->seeds++;
    totals->violations += net->violations;
    totals->steps += net->steps;
    totals->elections += net->elections;
    totals->commits += net->commits;
    totals->installs += net->installs;
    totals->crashes += net->crashes;
    totals->changes += net->changes;
    totals->checkpoints += net->checkpoints;
    totals->messages += net->messages;
    totals->disks += net->disks_lost;
    totals->tellings += net->tellings;
    totals->successions += (uint64_t)metrics_value(net->metrics, METRIC_SUCCESSIONS);
    raft_net_close(net);
}

static uint64_t number_of(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    return text != NULL ? strtoull(text, NULL, 0) : otherwise;
}

/* Goal: Raft's safety holds at every step under loss, repetition, reordering, one-way cuts, crashes with torn logs,
 * checkpoints that cut the log, catch-ups and membership changes, and after healing every member reaches the same
 * state. Method: seeded runs of 12 s of chaos and up to 18 s of peace in virtual time. */
START_TEST(cluster_is_safe_and_recovers)
{
    const struct kind *kind = &kinds[_i];
    const char *only = getenv("KIND");
    if (only != NULL && strcmp(only, kind->name) != 0) {
        return;
    }
    canary_from_environment();
    struct totals totals = {0};
    uint64_t first = number_of("SEED", 1);
    uint64_t count = number_of("SEEDS", 40);
    trace_set_level(TRACE_RAFT, TRACE_ERROR);
    trace_set_level(TRACE_REPLICA, TRACE_ERROR);
    raft_rules_disabled = number_of("RULES_OFF", 0);
    bool is_told = getenv("CANARY") != NULL;
    for (uint64_t seed = first; seed < first + count && (!is_told || totals.violations + totals.stuck == 0); seed++) {
        if (is_told) {
            (void)printf("seed %llu\n", (unsigned long long)seed);
            (void)fflush(stdout);
        }
        run_seed(kind, seed, &totals);
    }
    raft_rules_disabled = 0;
    (void)printf(
        "%-32s %llu seeds, %llu violations, %llu stuck; %llu steps, %llu elections, %llu entries, %llu installs, "
        "%llu crashes, %llu changes, %llu checkpoints, %llu messages, %llu successions, %llu disks lost, %llu leases\n",
        kind->name, (unsigned long long)totals.seeds, (unsigned long long)totals.violations,
        (unsigned long long)totals.stuck, (unsigned long long)totals.steps, (unsigned long long)totals.elections,
        (unsigned long long)totals.commits, (unsigned long long)totals.installs, (unsigned long long)totals.crashes,
        (unsigned long long)totals.changes, (unsigned long long)totals.checkpoints, (unsigned long long)totals.messages,
        (unsigned long long)totals.successions, (unsigned long long)totals.disks, (unsigned long long)totals.tellings);
    (void)fflush(stdout);
    ck_assert_msg(totals.violations == 0, "%s: %llu violations", kind->name, (unsigned long long)totals.violations);
    ck_assert_msg(totals.stuck == 0, "%s: %llu stuck", kind->name, (unsigned long long)totals.stuck);
    ck_assert_uint_gt(totals.commits, 0);
    ck_assert_uint_gt(totals.tellings, 0);
}
END_TEST

static Suite *cluster_suite(void)
{
    Suite *suite = suite_create("raft_cluster");
    TCase *chaos_case = tcase_create("chaos");
    tcase_set_timeout(chaos_case, 0);
    tcase_add_loop_test(chaos_case, cluster_is_safe_and_recovers, 0, (int)array_count(kinds));
    suite_add_tcase(suite, chaos_case);
    return suite;
}

TEST_MAIN(cluster_suite)
