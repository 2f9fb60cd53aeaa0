/* One fault at a time a broker, more than one at a time in the cluster; those that take a disk wait until the cluster
 * has had time to heal. */
#include "tests/sim/faults.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "tests/lib/sim_net.h"
#include "tests/sim/damage.h"
#include "tests/sim/damage_wal.h"

enum {
    GAP_US_MAX = 9000000,
    LENGTH_US_MAX = 12000000,
    RECORDS_MAX = 256,
    SKIPS_MAX = 64,
    WIPE_REST_US = 20000000, /* after a lost disk nothing else happens for so long */
    NEW_US = 5000000,        /* a broker has made its write-ahead logs by then */
    CRASH_CHANGES = 300,     /* of the disk, up to the one in which power is lost */
    CRASH_CHANGES_AIMED = 40,
    CRASH_START_US_MAX = 3000000,
    AIMED_MAX = 4,  /* crashes of brokers that are catching up, of a run */
    AIMED_LOOKS = 8 /* one look in so many at such a broker brings it about */
};

struct faults {
    struct faults_params params;
    int64_t next_us;
    int64_t end_us[NODES_MAX]; /* of the fault of each broker; 0: none */
    enum fault_kind kind[NODES_MAX];
    struct sim_fault slow[NODES_MAX];
    unsigned target[NODES_MAX];
    bool is_starting[NODES_MAX];    /* FAULT_CRASH: since the start */
    bool is_rejoining[NODES_MAX];   /* ... after its logs were damaged or its disk was lost */
    bool is_catching_up[NODES_MAX]; /* as it was at the last look */
    struct fault_counts counts;
    unsigned aimed;
    bool is_healed;
    int64_t net_end_us;
    unsigned count;
    unsigned wiped;
    int wiped_index; /* -1: told */
    int bad_disk;    /* the one broker whose disk is damaged or lost in this run; -1: none yet */
    struct damage *damage;
    struct fault_record records[RECORDS_MAX];
    size_t record_count;
    size_t open_record[NODES_MAX];
    size_t open_net;
};

static const char *const NAMES[] = {
#define FAULT_NAME(name, text) text,
    FAULT_MAP(FAULT_NAME)
#undef FAULT_NAME
};

static int64_t below(struct faults *faults, int64_t limit)
{
    return (int64_t)sim_world_below(faults->params.world, (uint64_t)limit);
}

bool faults_kind_parse(const char *text, unsigned *kinds)
{
    for (unsigned i = 0; i < FAULT_KIND_COUNT; i++) {
        if (strcmp(text, NAMES[i]) == 0) {
            *kinds |= 1U << i;
            return true;
        }
    }
    return false;
}

struct faults *faults_open(const struct faults_params *params)
{
    struct faults *faults = calloc(1, sizeof(*faults));
    assert(faults != NULL);
    faults->params = *params;
    faults->wiped_index = -1;
    faults->bad_disk = -1;
    faults->damage = damage_open(params->world);
    if (faults->params.kinds == 0) {
        faults->params.kinds = (1U << FAULT_KIND_COUNT) - 1;
    }
    faults->next_us = sim_world_now_us(params->world) + below(faults, GAP_US_MAX);
    return faults;
}

void faults_close(struct faults *faults)
{
    damage_close(faults->damage);
    free(faults);
}

unsigned faults_damage_count(const struct faults *faults)
{
    return damage_count(faults->damage);
}

void faults_undo_damage(struct faults *faults)
{
    damage_undo(faults->damage);
}

unsigned faults_count(const struct faults *faults)
{
    return faults->count;
}

const char *faults_kind_name(enum fault_kind kind)
{
    return NAMES[kind];
}

struct fault_counts faults_counts(const struct faults *faults)
{
    return faults->counts;
}

int64_t faults_next_us(const struct faults *faults)
{
    int64_t next_us = faults->next_us;
    for (unsigned i = 0; i < faults->params.node_count; i++) {
        next_us = faults->end_us[i] > 0 && faults->end_us[i] < next_us ? faults->end_us[i] : next_us;
    }
    return faults->net_end_us > 0 && faults->net_end_us < next_us ? faults->net_end_us : next_us;
}

static void tell(struct faults *faults, const char *what, enum fault_kind kind, unsigned node)
{
    if (faults->params.is_traced) {
        (void)printf("%10.3f s  %s %s n%u\n", (double)sim_world_now_us(faults->params.world) / 1e6, what, NAMES[kind],
                     node + 1);
    }
}

size_t faults_records(const struct faults *faults, const struct fault_record **records)
{
    *records = faults->records;
    return faults->record_count;
}

int faults_take_wiped(struct faults *faults)
{
    int index = faults->wiped_index;
    faults->wiped_index = -1;
    return index;
}

static size_t record(struct faults *faults, enum fault_kind kind, unsigned index, bool is_net)
{
    size_t place = faults->record_count < RECORDS_MAX ? faults->record_count++ : RECORDS_MAX - 1;
    faults->records[place] = (struct fault_record){
        .name = NAMES[kind], .node = index, .is_net = is_net, .begin_us = sim_world_now_us(faults->params.world)};
    return place;
}

static void cut(struct faults *faults, unsigned node, bool is_cut)
{
    const struct node *nodes = faults->params.nodes;
    for (unsigned i = 0; i < faults->params.node_count; i++) {
        if (i == node) {
            continue;
        }
        if (is_cut) {
            sim_net_cut(faults->params.world, nodes[node].name, nodes[i].name);
            sim_net_cut(faults->params.world, nodes[i].name, nodes[node].name);
        } else {
            sim_net_heal(faults->params.world, nodes[node].name, nodes[i].name);
            sim_net_heal(faults->params.world, nodes[i].name, nodes[node].name);
        }
    }
}

static void slow_disk(struct faults *faults, unsigned node)
{
    struct sim_fault *fault = &faults->slow[node];
    *fault = (struct sim_fault){
        .ops = SIM_OP_WRITE | SIM_OP_SYNC, .per_million = 300000, .err = OK, .delay_us = 1000 + below(faults, 300000)};
    sim_disk_fault_add(faults->params.nodes[node].disk, fault);
}

/* Somewhere between what refuses produce and nothing at all. A start has to do with that, too. */
static void fill_disk(struct faults *faults, struct node *node)
{
    uint64_t left = below(faults, 2) == 0 ? 0 : (uint64_t)below(faults, NODE_DISK_RESERVE);
    sim_disk_set_capacity(node->disk, sim_disk_used(node->disk) + left);
    if (below(faults, 3) == 0) {
        node_kill(node);
        node_start(node);
    }
}

/* The process ends in the middle of the chosen change of its disk; node_reap() takes the power away. */
static void crash_soon(struct faults *faults, const struct node *node, int64_t changes)
{
    uint64_t at = sim_disk_change_count(node->disk) + 1 + (uint64_t)below(faults, changes);
    sim_disk_crash_at(node->disk, at);
}

/* What happens to one broker. */
static void begin(struct faults *faults, enum fault_kind kind, unsigned index)
{
    struct node *node = &faults->params.nodes[index];
    switch (kind) {
    case FAULT_KILL:
    case FAULT_KILL_ALL:
        node_kill(node);
        break;
    case FAULT_POWER:
    case FAULT_POWER_ALL:
        node_power_loss(node);
        break;
    case FAULT_PAUSE:
        node_pause(node);
        break;
    case FAULT_CUT:
        cut(faults, index, true);
        break;
    case FAULT_CUT_ONE_WAY:
        faults->target[index] =
            (index + 1 + (unsigned)below(faults, faults->params.node_count - 1)) % faults->params.node_count;
        sim_net_cut(faults->params.world, node->name, faults->params.nodes[faults->target[index]].name);
        break;
    case FAULT_RESET:
        if (node_is_running(node)) {
            sim_net_reset(node->process);
        }
        break;
    case FAULT_SLOW_DISK:
        slow_disk(faults, index);
        break;
    case FAULT_FULL:
        fill_disk(faults, node);
        break;
    case FAULT_CLOCK:
        if (node_is_running(node)) {
            sim_process_shift_wall(node->process, below(faults, 120000) - 60000);
        }
        break;
    case FAULT_STOP:
        node_stop(node);
        break;
    case FAULT_FLIP:
        faults->bad_disk = (int)index;
        damage_flip(faults->damage, node);
        break;
    case FAULT_MISDIRECT:
        faults->bad_disk = (int)index;
        damage_misdirect(faults->damage, node);
        break;
    case FAULT_WAL:
        faults->bad_disk = (int)index;
        node_kill(node);
        faults->wiped += damage_wal(faults->params.world, node);
        break;
    case FAULT_WIPE:
        faults->bad_disk = (int)index;
        node_wipe(node);
        faults->wiped++;
        faults->wiped_index = (int)index;
        break;
    case FAULT_CRASH:
        faults->is_starting[index] = faults->is_rejoining[index] = false;
        crash_soon(faults, node, faults->is_catching_up[index] ? CRASH_CHANGES_AIMED : CRASH_CHANGES);
        break;
    case FAULT_SLOW_NET:
    case FAULT_KIND_COUNT:
    default:
        break;
    }
}

static bool is_sudden(enum fault_kind kind)
{
    return kind == FAULT_KILL || kind == FAULT_KILL_ALL || kind == FAULT_POWER || kind == FAULT_POWER_ALL;
}

/* ---- Ends */

/* The power that is lost in a disk operation comes back; or the operation never came. */
static void end_crash(struct faults *faults, unsigned index)
{
    struct node *node = &faults->params.nodes[index];
    char cause[ERRMSG_SIZE];
    sim_disk_crash_at(node->disk, 0);
    if (node->process != NULL && sim_process_end(node->process) == SIM_CRASHED) {
        (void)node_reap(node, cause); /* in a start just now */
    }
    if (node->process == NULL) {
        faults->counts.crashes++;
        faults->counts.starts += faults->is_starting[index];
        faults->counts.rejoins += faults->is_rejoining[index];
        faults->counts.catch_ups += !faults->is_starting[index] && faults->is_catching_up[index];
    }
}

/* A start may lose power, too: often one that has its state to get from others. */
static bool start_is_bad(struct faults *faults, enum fault_kind kind)
{
    bool is_rejoining = kind == FAULT_WAL || kind == FAULT_WIPE;
    if (faults->is_healed || (faults->params.kinds >> FAULT_CRASH & 1) == 0 || !(is_rejoining || kind == FAULT_CRASH)) {
        return false;
    }
    return below(faults, is_rejoining ? 2 : 3) == 0;
}

static void start(struct faults *faults, unsigned index, enum fault_kind kind)
{
    struct node *node = &faults->params.nodes[index];
    if (kind == FAULT_STOP && below(faults, 2) == 0) {
        node->shard_count = 1 + (unsigned)below(faults, 3);
    }
    if (start_is_bad(faults, kind)) {
        faults->kind[index] = FAULT_CRASH;
        faults->is_starting[index] = true;
        faults->is_rejoining[index] = kind == FAULT_WAL || kind == FAULT_WIPE;
        faults->is_catching_up[index] = false;
        faults->end_us[index] = sim_world_now_us(faults->params.world) + 1000 + below(faults, CRASH_START_US_MAX);
        crash_soon(faults, node, CRASH_CHANGES);
    }
    node_start(node);
}

static void end(struct faults *faults, unsigned index)
{
    struct node *node = &faults->params.nodes[index];
    enum fault_kind kind = faults->kind[index];
    tell(faults, "end of", kind, index);
    faults->end_us[index] = 0;
    faults->records[faults->open_record[index]].end_us = sim_world_now_us(faults->params.world);
    if (kind == FAULT_PAUSE) {
        node_resume(node);
    } else if (kind == FAULT_CUT) {
        cut(faults, index, false);
    } else if (kind == FAULT_CUT_ONE_WAY) {
        sim_net_heal(faults->params.world, node->name, faults->params.nodes[faults->target[index]].name);
    } else if (kind == FAULT_SLOW_DISK) {
        sim_disk_fault_remove(node->disk, &faults->slow[index]);
    } else if (kind == FAULT_FULL) {
        sim_disk_set_capacity(node->disk, SIM_DISK_SIZE);
    } else if (kind == FAULT_CRASH) {
        end_crash(faults, index);
    }
    if (node->process != NULL && kind == FAULT_STOP && node_is_running(node)) {
        faults->end_us[index] = sim_world_now_us(faults->params.world) + 500000; /* is still stopping */
        return;
    }
    if (node->process == NULL) {
        start(faults, index, kind);
    }
}

static void begin_one(struct faults *faults, enum fault_kind kind, unsigned index)
{
    int64_t now_us = sim_world_now_us(faults->params.world);
    tell(faults, "begin", kind, index);
    faults->open_record[index] = record(faults, kind, index, false);
    faults->kind[index] = kind;
    faults->end_us[index] = now_us + 1000 + below(faults, LENGTH_US_MAX);
    faults->counts.catch_ups += is_sudden(kind) && node_is_catching_up(&faults->params.nodes[index]);
    begin(faults, kind, index);
}

/* Counts one more; whether it is to happen. */
static bool is_wanted(struct faults *faults, enum fault_kind kind)
{
    unsigned number = faults->count++;
    if (number < SKIPS_MAX && (faults->params.skipped >> number & 1) != 0) {
        (void)below(faults, LENGTH_US_MAX);
        return false;
    }
    faults->counts.kinds[kind]++;
    return true;
}

/* Brokers that are getting their state from others are rare and soon whole: a crash is aimed at them. */
static void look_for_catch_ups(struct faults *faults)
{
    for (unsigned i = 0; i < faults->params.node_count; i++) {
        const struct node *node = &faults->params.nodes[i];
        if (node_is_running(node)) { /* else as it was before it ended */
            faults->is_catching_up[i] = node_is_catching_up(node);
        }
        if (!faults->is_catching_up[i] || faults->end_us[i] > 0 || faults->is_healed ||
            (faults->params.kinds >> FAULT_CRASH & 1) == 0 || faults->aimed == AIMED_MAX ||
            below(faults, AIMED_LOOKS) != 0) {
            continue;
        }
        faults->aimed++;
        if (is_wanted(faults, FAULT_CRASH)) {
            begin_one(faults, FAULT_CRASH, i);
        }
    }
}

static bool is_quiet(const struct faults *faults)
{
    for (unsigned i = 0; i < faults->params.node_count; i++) {
        if (faults->end_us[i] > 0) {
            return false;
        }
    }
    return true;
}

/* It may have a write-ahead log to make, which takes space. */
static bool is_new(const struct faults *faults, unsigned index)
{
    const struct node *node = &faults->params.nodes[index];
    return !node_is_running(node) || sim_world_now_us(faults->params.world) - node->started_us < NEW_US;
}

static void begin_some(struct faults *faults)
{
    int64_t now_us = sim_world_now_us(faults->params.world);
    enum fault_kind kind = (enum fault_kind)below(faults, FAULT_KIND_COUNT);
    unsigned index = (unsigned)below(faults, faults->params.node_count);
    faults->next_us = now_us + below(faults, GAP_US_MAX);
    bool is_between = kind == FAULT_CUT || kind == FAULT_CUT_ONE_WAY;
    if ((faults->params.kinds >> kind & 1) == 0 || (is_between && faults->params.node_count < 2)) {
        faults->next_us = now_us + 1;
        return;
    }
    bool is_for_all = kind == FAULT_KILL_ALL || kind == FAULT_POWER_ALL;
    bool is_disk = kind == FAULT_WIPE || kind == FAULT_WAL;
    bool is_damage = is_disk || kind == FAULT_FLIP || kind == FAULT_MISDIRECT;
    if (is_damage && faults->bad_disk >= 0) {
        index = (unsigned)faults->bad_disk; /* a majority of disks stays whole */
    }
    if (faults->end_us[index] > 0 || ((is_for_all || is_disk) && !is_quiet(faults)) ||
        (is_damage && faults->params.node_count < 3) || (is_disk && faults->wiped > 0) ||
        (kind == FAULT_FULL && is_new(faults, index))) {
        return;
    }
    if (!is_wanted(faults, kind)) {
        return;
    }
    if (kind == FAULT_SLOW_NET) {
        tell(faults, "begin", kind, index);
        faults->open_net = record(faults, kind, index, true);
        sim_net_set_delay(faults->params.world, 1000, 5000 + below(faults, 200000));
        faults->net_end_us = now_us + 1000 + below(faults, LENGTH_US_MAX);
    } else if (is_for_all) {
        for (unsigned i = 0; i < faults->params.node_count; i++) {
            begin_one(faults, kind, i);
        }
    } else {
        begin_one(faults, kind, index);
    }
    if (is_disk) {
        faults->next_us = faults->end_us[index] + WIPE_REST_US;
    }
}

static void end_net(struct faults *faults)
{
    faults->records[faults->open_net].end_us =
        faults->net_end_us > 0 ? sim_world_now_us(faults->params.world) : faults->records[faults->open_net].end_us;
    faults->net_end_us = 0;
    sim_net_set_delay(faults->params.world, 20, 2000);
}

void faults_run(struct faults *faults)
{
    int64_t now_us = sim_world_now_us(faults->params.world);
    look_for_catch_ups(faults);
    for (unsigned i = 0; i < faults->params.node_count; i++) {
        if (faults->end_us[i] > 0 && faults->end_us[i] <= now_us) {
            end(faults, i);
        }
    }
    if (faults->net_end_us > 0 && faults->net_end_us <= now_us) {
        end_net(faults);
    }
    if (faults->next_us <= now_us) {
        begin_some(faults);
    }
}

void faults_heal(struct faults *faults)
{
    faults->is_healed = true;
    for (unsigned i = 0; i < faults->params.node_count; i++) {
        if (faults->end_us[i] > 0) {
            end(faults, i);
        }
    }
    end_net(faults);
    faults->next_us = INT64_MAX;
}
