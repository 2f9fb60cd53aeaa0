/* Runs whole clusters of the shipped code under virtual time, one seed after the other.
 *
 *     sim [--seed N] [--seeds COUNT] [--seconds S] [--nodes N] [--fault KIND]... [--skip N]...
 *         [--trace] [--log] [--picture FILE.svg]
 *
 * A run: brokers start, all at once or one late; clients make a topic, write and read while faults come and go for S
 * virtual seconds; then everything is healed and must make progress, settle, and be as the history says. A violation
 * ends the program with the command that repeats it. */
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/assert.h"
#include "base/trace.h"
#include "tests/lib/canary.h"
#include "tests/sim/checks.h"
#include "tests/sim/clients.h"
#include "tests/sim/faults.h"
#include "tests/sim/group_history.h"
#include "tests/sim/observer.h"
#include "tests/sim/replicas_check.h"
#include "tests/sim/timeline.h"

enum {
    HEAL_US = 90000000,    /* within which a healed cluster must have settled */
    COMPACTED_EVERY = 4,   /* one seed in so many has a compacted topic */
    CLEANED_US = 30000000, /* the last segments are compacted then, if clocks have not jumped */
    COMPARED_US = 5000000,
    QUIET_US = 3000000, /* then followers have heard of the last commit */
    LOOK_US = 20000,
    SLICE_US = 250000,
    SLICES_MAX = 2400,
    FAULTS_MANY = 5,       /* a run of so many counts as one of many faults */
    MALLOC_KEPT = 32 << 20 /* the most that malloc takes */
};

struct run {
    uint64_t seed;
    unsigned node_count;
    int64_t seconds;
    unsigned kinds;
    uint64_t skipped;
    const char *picture; /* NULL: none */
    bool is_traced;
    uint32_t acked[SLICES_MAX];
    uint64_t acked_before;
    struct observer *observer;
    struct sim_world *world;
    struct node nodes[NODES_MAX];
    struct sim_disk *client_disk;
    struct sim_process *client_process;
    struct clients *clients;
    struct history *history;
    struct group_history *groups;
    struct faults *faults;
};

static struct totals {
    size_t memory_most;
    uint64_t seeds, crowded, faults, damages, dropped, acked, commits, generations, virtual_us;
    struct fault_counts crashes;
} totals;

static unsigned voters(unsigned node_count)
{
    return node_count >= 5 ? 5 : node_count >= 3 ? 3 : 1;
}

static void inside_open_clients(void *context)
{
    struct run *run = context;
    struct clients_params params = {.world = run->world,
                                    .process = run->client_process,
                                    .history = run->history,
                                    .groups = run->groups,
                                    .node_count = run->node_count,
                                    .seed_count = voters(run->node_count),
                                    .partition_count = 3,
                                    .producer_count = 3,
                                    .idempotent_count = 2,
                                    .replication_factor = (int16_t)(run->node_count < 3 ? 1 : 3)};
    run->clients = clients_open(&params);
}

static void run_open(struct run *run)
{
    run->world = sim_world_open(run->seed);
    run->history = history_open();
    run->groups = group_history_open(run->history);
    if (run->seed % COMPACTED_EVERY == 0) {
        history_set_compacted(run->history);
    }
    for (unsigned i = 0; i < run->node_count; i++) {
        node_init(&run->nodes[i], run->world, i + 1, voters(run->node_count));
    }
    run->client_disk = sim_disk_open(run->world, "/c");
    run->client_process = sim_process_open(run->world, run->client_disk, "c");
    struct faults_params faults = {.world = run->world,
                                   .nodes = run->nodes,
                                   .node_count = run->node_count,
                                   .is_traced = run->is_traced,
                                   .kinds = run->kinds,
                                   .skipped = run->skipped};
    run->faults = faults_open(&faults);
    run->observer = observer_open(run->nodes, run->node_count, run->history);
}

static void run_close(struct run *run)
{
    faults_close(run->faults);
    observer_close(run->observer);
    for (unsigned i = 0; i < run->node_count; i++) {
        node_deinit(&run->nodes[i]);
    }
    sim_process_kill(run->client_process);
    sim_process_close(run->client_process);
    sim_disk_close(run->client_disk);
    group_history_close(run->groups);
    history_close(run->history);
    sim_world_close(run->world);
}

/* Lives that ended by themselves. Only what a fault has asked for may end one. */
static void reap(struct run *run)
{
    char cause[ERRMSG_SIZE];
    for (unsigned i = 0; i < run->node_count; i++) {
        if (node_reap(&run->nodes[i], cause) && cause[0] != '\0') {
            history_violation(run->history, "stopped", "n%u: %s", i + 1, cause);
        }
    }
}

static void look(struct run *run)
{
    int64_t now_us = sim_world_now_us(run->world);
    int wiped = faults_take_wiped(run->faults);
    if (wiped >= 0) {
        observer_wiped(run->observer, (unsigned)wiped);
    }
    for (unsigned i = 0; i < run->node_count; i++) {
        if (node_take_dropped(&run->nodes[i])) {
            observer_wiped(run->observer, i);
            totals.dropped++;
        }
    }
    observer_look(run->observer, now_us);
    if (now_us / SLICE_US < SLICES_MAX) {
        uint64_t acked = history_acked_count(run->history);
        run->acked[now_us / SLICE_US] += (uint32_t)(acked - run->acked_before);
        run->acked_before = acked;
    }
}

/* Until `end_us`, or until `is_reached`. */
static bool advance(struct run *run, int64_t end_us, bool (*is_reached)(const struct run *run))
{
    while (history_failure(run->history) == NULL) {
        int64_t now_us = sim_world_now_us(run->world);
        if (is_reached != NULL && is_reached(run)) {
            return true;
        }
        if (now_us >= end_us) {
            return false;
        }
        int64_t next_us = faults_next_us(run->faults);
        int64_t step_us = end_us - now_us < LOOK_US ? end_us - now_us : LOOK_US;
        step_us = next_us - now_us < step_us ? next_us - now_us : step_us;
        (void)sim_world_run_until(run->world, NULL, NULL, step_us > 0 ? step_us : 0);
        reap(run);
        faults_run(run->faults);
        look(run);
    }
    return false;
}

static bool has_topic(const struct run *run)
{
    return clients_has_topic(run->clients);
}

static bool are_settled(const struct run *run)
{
    return clients_are_settled(run->clients);
}

static bool have_read_all(const struct run *run)
{
    return clients_have_read_all(run->clients);
}

static bool is_whole_but(const struct run *run, char *why, size_t size)
{
    unsigned forgotten = clients_unregistered(run->clients);
    return observer_is_whole(run->observer, run->node_count < 3 ? 1 : 3, voters(run->node_count), forgotten, why, size);
}

static bool is_whole(const struct run *run)
{
    char why[160];
    return is_whole_but(run, why, sizeof(why));
}

static void await(struct run *run, const char *what, bool (*is_reached)(const struct run *run))
{
    char text[1500];
    int64_t end_us = sim_world_now_us(run->world) + HEAL_US;
    if (history_failure(run->history) == NULL && !advance(run, end_us, is_reached)) {
        clients_describe(run->clients, text, sizeof(text));
        char why[160] = "";
        (void)is_whole_but(run, why, sizeof(why));
        history_violation(run->history, "stuck", "%s: %s;%s", what, why, text);
    }
}

static void start_all(struct run *run)
{
    for (unsigned i = 0; i < run->node_count; i++) {
        unsigned shard_count = 1 + (unsigned)sim_world_below(run->world, 3);
        if (run->nodes[i].process == NULL) { /* a fault that has ended may have started it */
            run->nodes[i].shard_count = shard_count;
        }
        if (sim_world_below(run->world, 4) == 0) {
            (void)advance(run, sim_world_now_us(run->world) + (int64_t)sim_world_below(run->world, 5000000), NULL);
        }
        if (run->nodes[i].process == NULL) {
            node_start(&run->nodes[i]);
        }
    }
}

/* An order to compact may be given at any time, and each replica carries it out when it gets round to it; what it
 * replaced goes when no catch-up reads it any more. So files may differ, but not for long. */
static void compare_replicas(struct run *run)
{
    char why[DIFFERENCE_SIZE];
    int64_t end_us = sim_world_now_us(run->world) + HEAL_US;
    while (!replicas_are_equal(run->nodes, run->node_count, run->observer, why)) {
        if (sim_world_now_us(run->world) >= end_us) {
            history_violation(run->history, "replicas-differ", "%s", why);
            return;
        }
        (void)advance(run, sim_world_now_us(run->world) + COMPARED_US, NULL);
    }
}

static void run_body(struct run *run)
{
    (void)sim_process_run(run->client_process, inside_open_clients, run); /* its timers keep time going */
    start_all(run);
    (void)advance(run, sim_world_now_us(run->world) + run->seconds * 1000000, NULL);
    faults_heal(run->faults);
    await(run, "no topic after the faults have ended", has_topic);
    if (!has_topic(run)) {
        return; /* nothing runs that could be stopped */
    }
    clients_stop_producing(run->clients);
    await(run, "not all acknowledged after the faults have ended", are_settled);
    await(run, "not all replicas are there and equal", is_whole);
    (void)advance(run, sim_world_now_us(run->world) + QUIET_US, NULL);
    clients_read_all(run->clients);
    await(run, "not all can be read", have_read_all);
    for (unsigned p = 0; p < 3 && history_failure(run->history) == NULL; p++) {
        checks_end(run->history, p, clients_end_offset(run->clients, p));
    }
    if (history_failure(run->history) == NULL && history_is_compacted(run->history)) {
        (void)advance(run, sim_world_now_us(run->world) + CLEANED_US, NULL);
    }
    if (history_failure(run->history) == NULL) {
        faults_undo_damage(run->faults);
        compare_replicas(run);
        observer_check_metadata(run->observer);
    }
}

static void draw(struct run *run, const char *title)
{
    struct timeline timeline = {.title = title,
                                .node_count = run->node_count,
                                .end_us = sim_world_now_us(run->world),
                                .acked = run->acked,
                                .acked_slice_us = SLICE_US};
    timeline.observed_count = observer_events(run->observer, &timeline.observed);
    timeline.fault_count = faults_records(run->faults, &timeline.faults);
    timeline.acked_count = (size_t)(timeline.end_us / SLICE_US);
    timeline.acked_count = timeline.acked_count < SLICES_MAX ? timeline.acked_count : SLICES_MAX;
    if (!timeline_write(&timeline, run->picture)) {
        (void)fprintf(stderr, "sim: %s cannot be written\n", run->picture);
    }
}

static bool run_one(struct run *run)
{
    run_open(run);
    run_body(run);
    const char *failure = history_failure(run->history);
    totals.seeds++;
    totals.crowded += faults_count(run->faults) >= FAULTS_MANY;
    totals.faults += faults_count(run->faults);
    totals.damages += faults_damage_count(run->faults);
    struct fault_counts counts = faults_counts(run->faults);
    for (unsigned i = 0; i < FAULT_KIND_COUNT; i++) {
        totals.crashes.kinds[i] += counts.kinds[i];
    }
    totals.crashes.crashes += counts.crashes;
    totals.crashes.catch_ups += counts.catch_ups;
    totals.crashes.starts += counts.starts;
    totals.crashes.rejoins += counts.rejoins;
    totals.acked += history_acked_count(run->history);
    totals.memory_most = observer_memory_most(run->observer) > totals.memory_most ? observer_memory_most(run->observer)
                                                                                  : totals.memory_most;
    totals.commits += group_commit_count(run->groups);
    totals.generations += group_generation_count(run->groups);
    totals.virtual_us += (uint64_t)sim_world_now_us(run->world);
    if (failure != NULL || run->is_traced) {
        (void)printf("seed %llu: %s; %u faults, %llu values acknowledged, %.1f s, digest %016llx, history %016llx\n",
                     (unsigned long long)run->seed, failure != NULL ? failure : "right", faults_count(run->faults),
                     (unsigned long long)history_acked_count(run->history), (double)sim_world_now_us(run->world) / 1e6,
                     (unsigned long long)sim_world_digest(run->world), (unsigned long long)history_hash(run->history));
    }
    if (failure != NULL) {
        (void)printf("repeat: make sim SEED=%llu SIM_ARGS='--nodes %u --seconds %lld --trace --log'\n",
                     (unsigned long long)run->seed, run->node_count, (long long)run->seconds);
    }
    if (run->picture != NULL) {
        draw(run, failure != NULL ? failure : "right");
    }
    bool is_right = failure == NULL;
    run_close(run);
    return is_right;
}

static double wall_seconds(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void tell_totals(double seconds)
{
    (void)printf("%llu seeds with %d faults or more;", (unsigned long long)totals.crowded, FAULTS_MANY);
    for (unsigned i = 0; i < FAULT_KIND_COUNT; i++) {
        (void)printf(" %s %u", faults_kind_name((enum fault_kind)i), totals.crashes.kinds[i]);
    }
    (void)printf("\n");
    (void)printf("%llu seeds, %llu faults, %llu damaged spots, %llu identities dropped, %llu values acknowledged, ",
                 (unsigned long long)totals.seeds, (unsigned long long)totals.faults,
                 (unsigned long long)totals.damages, (unsigned long long)totals.dropped,
                 (unsigned long long)totals.acked);
    (void)printf("%u crashes in disk operations (%u of starts, %u of them of rejoins), %u in catch-ups, ",
                 totals.crashes.crashes, totals.crashes.starts, totals.crashes.rejoins, totals.crashes.catch_ups);
    (void)printf("%llu generations, %llu offsets committed, ", (unsigned long long)totals.generations,
                 (unsigned long long)totals.commits);
    (void)printf("at most %zu KiB a broker, ", totals.memory_most >> 10);
    (void)printf("%.0f virtual seconds; %.1f seeds a minute, %.0f virtual seconds a second\n",
                 (double)totals.virtual_us / 1e6, (double)totals.seeds * 60 / seconds,
                 (double)totals.virtual_us / 1e6 / seconds);
}

int main(int argc, char **argv)
{
    struct run template = {.seed = 1, .node_count = 3, .seconds = 60};
    uint64_t count = 1;
    bool is_logged = false;
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        if (strcmp(argv[i], "--trace") == 0) {
            template.is_traced = true;
            continue;
        }
        if (strcmp(argv[i], "--log") == 0) {
            is_logged = true;
            continue;
        }
        if (strcmp(argv[i], "--seed") == 0) {
            template.seed = strtoull(value, NULL, 10);
        } else if (strcmp(argv[i], "--seeds") == 0) {
            count = strtoull(value, NULL, 10);
        } else if (strcmp(argv[i], "--skip") == 0) {
            template.skipped |= UINT64_C(1) << (strtoul(value, NULL, 10) & 63);
        } else if (strcmp(argv[i], "--picture") == 0) {
            template.picture = value;
        } else if (strcmp(argv[i], "--seconds") == 0) {
            template.seconds = strtoll(value, NULL, 10);
        } else if (strcmp(argv[i], "--nodes") == 0 && strlen(value) == 1 && *value >= '1' &&
                   *value <= '0' + NODES_MAX) {
            template.node_count = (unsigned)(*value - '0');
        } else if (strcmp(argv[i], "--fault") != 0 || !faults_kind_parse(value, &template.kinds)) {
            (void)fprintf(stderr, "sim: what is %s %s?\n", argv[i], value);
            return 2;
        }
        i++;
    }
    if (!trace_set_level_text("all", is_logged ? "debug" : "fatal") && !trace_set_level_text("all", "error")) {
        return 2;
    }
    canary_from_environment();
    /* Memory that a run gave back is there for the next one: the system would have to make it again, page by page. */
    (void)mallopt(M_MMAP_THRESHOLD, MALLOC_KEPT);
    (void)mallopt(M_TRIM_THRESHOLD, MALLOC_KEPT);
    double start = wall_seconds();
    for (uint64_t i = 0; i < count; i++) {
        struct run run = template;
        run.seed += i;
        if (!run_one(&run)) {
            return 1;
        }
    }
    double seconds = wall_seconds() - start;
    tell_totals(seconds);
    return 0;
}
