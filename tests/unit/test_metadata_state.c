/* The metadata as a state that travels: dumped by one broker, staged and loaded by another. On simulated disks. */
#include <stdio.h>
#include <string.h>

#include "base/limits.h"
#include "base/mem.h"
#include "metadata/metadata_internal.h"
#include "metadata/store_dump.h"
#include "tests/lib/sim_disk.h"
#include "tests/lib/test.h"

enum {
    PAIRS = 3000,
    INDEX = 500
};

struct side {
    struct sim_disk *disk;
    struct sim_process *process;
    struct env *env;
    struct store *store;
    struct metadata *metadata;
    unsigned replaced;
    char path[16];
};

static struct sim_world *sim;
static struct side sides[2]; /* from, to */

static void on_changed(void *owner, const struct metadata_change *changes, size_t count)
{
    struct side *side = owner;
    for (size_t i = 0; i < count; i++) {
        side->replaced += changes[i].kind == METADATA_REPLACED;
    }
}

static void on_role(void *owner, const struct replica_status *status)
{
    (void)owner;
    (void)status;
}

static void side_open(void *context)
{
    struct side *side = context;
    struct errmsg msg = {""};
    struct metadata_events events = {side, on_changed, on_role};
    side->env = sim_process_env(side->process, 0);
    ck_assert_msg(store_open(side->path, &side->store, &msg) == OK, "%s", msg.text);
    ck_assert_msg(metadata_open(side->env, side->store, BYTES_NONE, &events, &side->metadata, &msg) == OK, "%s",
                  msg.text);
}

static void side_start(unsigned number)
{
    struct side *side = &sides[number];
    (void)snprintf(side->path, sizeof(side->path), "/n%u/meta", number);
    side->replaced = 0;
    side->process = sim_process_open(sim, side->disk, "n");
    ck_assert(sim_process_run(side->process, side_open, side));
}

static void side_kill(unsigned number)
{
    sim_process_kill(sides[number].process);
    sim_process_close(sides[number].process);
}

static void open_both(uint64_t seed)
{
    sim = sim_world_open(seed);
    for (unsigned i = 0; i < 2; i++) {
        char mount[8];
        (void)snprintf(mount, sizeof(mount), "/n%u", i);
        sides[i].disk = sim_disk_open(sim, mount);
        side_start(i);
    }
}

static void close_both(void)
{
    for (unsigned i = 0; i < 2; i++) {
        side_kill(i);
        sim_disk_close(sides[i].disk);
    }
    sim_world_close(sim);
}

static size_t value_size(unsigned i)
{
    return i == 7 ? 3 * MIB(1) / 2 : i % 700; /* one is larger than any buffer */
}

static struct bytes pair_key(unsigned i, char key[32])
{
    (void)snprintf(key, 32, "x%06u", i);
    return bytes_from_text(key);
}

/* As if records up to INDEX - 2 had been applied; what is behind are none. */
static void fill(void *context)
{
    struct side *side = context;
    struct kv_txn *txn;
    uint8_t *value = mem_alloc(2 * MIB(1));
    ck_assert_int_eq(kv_begin_write(store_kv(side->store), &txn), OK);
    for (unsigned i = 0; i < PAIRS; i++) {
        char key[32];
        memset(value, (int)(i % 251), value_size(i));
        ck_assert_int_eq(kv_put(txn, pair_key(i, key), (struct bytes){value, value_size(i)}), OK);
    }
    side->metadata->state.applied_index = INDEX - 2;
    ck_assert_int_eq(apply_save_state(txn, &side->metadata->state), OK);
    ck_assert_int_eq(kv_commit(txn, NULL), OK);
    mem_free(value);
}

/* Something that is not in the other's. */
static void fill_stale(void *context)
{
    struct side *side = context;
    struct kv_txn *txn;
    ck_assert_int_eq(kv_begin_write(store_kv(side->store), &txn), OK);
    ck_assert_int_eq(kv_put(txn, bytes_from_text("stale"), bytes_from_text("stale")), OK);
    ck_assert_int_eq(kv_commit(txn, NULL), OK);
}

static void check(void *context)
{
    struct side *side = context;
    struct kv_txn *txn;
    struct bytes value;
    struct store_state state;
    ck_assert_int_eq(kv_begin_read(store_kv(side->store), &txn), OK);
    for (unsigned i = 0; i < PAIRS; i++) {
        char key[32];
        ck_assert_int_eq(kv_get(txn, pair_key(i, key), &value), OK);
        ck_assert_uint_eq(value.size, value_size(i));
        ck_assert(value.size == 0 || (value.data[0] == i % 251 && value.data[value.size - 1] == i % 251));
    }
    ck_assert_int_eq(kv_get(txn, bytes_from_text("stale"), &value), ERR_NOT_FOUND);
    ck_assert_int_eq(apply_load_state(txn, &state), OK);
    ck_assert_uint_eq(state.applied_index, INDEX);
    kv_abort(txn);
    ck_assert_uint_eq(side->metadata->state.applied_index, INDEX);
}

/* ---- The way between them: what the jobs of a catch-up do */

struct chunk {
    uint8_t data[64 * 1024];
    size_t size;
    uint64_t position;
    bool is_bad; /* one bit is flipped on the way */
};

static struct {
    struct replica_source *source;
    struct replica_stage *stage;
    struct replica_file file;
    uint8_t state[64];
    size_t state_size;
    struct chunk chunk;
    enum err err;
} way;

static void source_open(void *context)
{
    struct side *side = context;
    struct errmsg msg = {""};
    way.source = metadata_source(metadata_machine(side->metadata));
    ck_assert_msg(way.source->ops->prepare(way.source, &msg) == OK, "%s", msg.text);
    ck_assert_uint_eq(way.source->file_count, 1);
    way.file = way.source->files[0];
    way.state_size = way.source->state.size;
    memcpy(way.state, way.source->state.data, way.state_size);
}

static void source_read(void *context)
{
    (void)context;
    struct chunk *chunk = &way.chunk;
    ck_assert_int_eq(way.source->ops->read(way.source, &way.file, chunk->position, chunk->data, chunk->size, NULL), OK);
}

static void source_end(void *context)
{
    (void)context;
    way.source->ops->close(way.source);
}

static void stage_open(void *context)
{
    struct side *side = context;
    struct replica_manifest manifest = {
        .index = INDEX, .files = &way.file, .file_count = 1, .state = {way.state, way.state_size}};
    struct errmsg msg = {""};
    way.stage = metadata_stage(metadata_machine(side->metadata));
    ck_assert_msg(way.stage->ops->begin(way.stage, &manifest, &msg) == OK, "%s", msg.text);
}

static void stage_write(void *context)
{
    (void)context;
    ck_assert_int_eq(
        way.stage->ops->write(way.stage, 0, way.chunk.position, (struct bytes){way.chunk.data, way.chunk.size}, NULL),
        OK);
}

static void stage_finish(void *context)
{
    (void)context;
    way.err = way.stage->ops->finish(way.stage, 0, NULL);
}

static void stage_seal(void *context)
{
    struct errmsg msg = {""};
    (void)context;
    ck_assert_msg(way.stage->ops->seal(way.stage, &msg) == OK, "%s", msg.text);
    way.stage->ops->close(way.stage, REPLICA_STAGE_TAKEN);
}

static void install(void *context)
{
    struct side *side = context;
    metadata_install(metadata_machine(side->metadata), INDEX);
}

static void pull(bool is_bad)
{
    for (way.chunk.position = 0; way.chunk.position < way.file.size; way.chunk.position += way.chunk.size) {
        uint64_t left = way.file.size - way.chunk.position;
        way.chunk.size = left < sizeof(way.chunk.data) ? (size_t)left : sizeof(way.chunk.data);
        ck_assert(sim_process_run(sides[0].process, source_read, NULL));
        if (is_bad && way.chunk.position > 0) {
            way.chunk.data[0] ^= 1;
            is_bad = false;
        }
        ck_assert(sim_process_run(sides[1].process, stage_write, NULL));
    }
    ck_assert(sim_process_run(sides[1].process, stage_finish, NULL));
}

static bool is_there(const char *name)
{
    uint64_t size;
    return sim_disk_stat(sides[1].disk, name, &size);
}

static void stage_all(void)
{
    ck_assert(sim_process_run(sides[0].process, fill, &sides[0]));
    ck_assert(sim_process_run(sides[1].process, fill_stale, &sides[1]));
    ck_assert(sim_process_run(sides[0].process, source_open, &sides[0]));
    ck_assert(sim_process_run(sides[1].process, stage_open, &sides[1]));
    pull(true);
    ck_assert_int_eq(way.err, ERR_DAMAGED);
    pull(false);
    ck_assert_int_eq(way.err, OK);
    ck_assert(sim_process_run(sides[1].process, stage_seal, NULL));
    ck_assert(sim_process_run(sides[0].process, source_end, NULL));
    ck_assert(is_there("/n1/meta.500"));
}

/* Goal: after an installation a store holds what the leader's held, and nothing else. Method: all the steps by hand,
 * one chunk comes damaged and is found out; what is needed only by a replay is there until a checkpoint. */
START_TEST(a_store_becomes_the_leaders)
{
    open_both(1);
    stage_all();
    sides[1].metadata->is_opened = true;
    ck_assert(sim_process_run(sides[1].process, install, &sides[1]));
    ck_assert(sim_process_run(sides[1].process, check, &sides[1]));
    ck_assert_uint_eq(sides[1].replaced, 1);
    ck_assert(is_there("/n1/meta.500"));
    metadata_sweep(sides[1].metadata, INDEX - 1);
    ck_assert(is_there("/n1/meta.500"));
    metadata_sweep(sides[1].metadata, INDEX);
    ck_assert(!is_there("/n1/meta.500"));
    close_both();
}
END_TEST

static void sweep_all(void *context)
{
    struct side *side = context;
    metadata_sweep(side->metadata, INDEX);
}

/* Goal: a death at any moment of an installation leaves a start that can replay it. Method: the receiving broker dies
 * at each change of its disk while it installs, by a kill or a power loss; the next life installs again, as the replay
 * of WAL_INSTALL does, and holds everything. */
START_TEST(installation_survives_death)
{
    uint64_t first = 0;
    for (uint64_t at = 1; at == 1 || at <= first; at++) {
        open_both(at);
        stage_all();
        uint64_t before = sim_disk_change_count(sides[1].disk);
        sim_disk_crash_at(sides[1].disk, at == 1 ? 0 : before + at - 1);
        (void)sim_process_run(sides[1].process, install, &sides[1]);
        first = at == 1 ? sim_disk_change_count(sides[1].disk) - before + 1 : first;
        sim_disk_crash_at(sides[1].disk, 0);
        if (at % 2 == 0) {
            sim_disk_power_loss(sides[1].disk);
            sim_process_close(sides[1].process);
        } else {
            side_kill(1);
        }
        side_start(1);
        ck_assert(sim_process_run(sides[1].process, install, &sides[1]));
        ck_assert(sim_process_run(sides[1].process, check, &sides[1]));
        ck_assert(sim_process_run(sides[1].process, sweep_all, &sides[1]));
        close_both();
    }
    ck_assert_uint_gt(first, 1);
}
END_TEST

/* Goal: what is no dump is refused as a whole. Method: every cut of one, and sizes that are too large. */
START_TEST(load_refuses_what_is_no_dump)
{
    open_both(3);
    stage_all();
    uint64_t size = 0;
    ck_assert(sim_disk_stat(sides[1].disk, "/n1/meta.500", &size));
    ck_assert_uint_gt(size, 100);
    for (uint64_t cut = 1; cut < 40; cut++) {
        struct kv_txn *txn;
        ck_assert(sim_disk_cut(sides[1].disk, "/n1/meta.500", size - cut));
        ck_assert_int_eq(kv_begin_write(store_kv(sides[1].store), &txn), OK);
        enum err err = store_load(txn, sides[1].env->disk, "/n1/meta.500", NULL);
        kv_abort(txn);
        ck_assert(err == ERR_DAMAGED || cut == 8 + 7); /* a pair with an empty value */
    }
    close_both();
}
END_TEST

static Suite *metadata_state_suite(void)
{
    Suite *suite = suite_create("metadata_state");
    TCase *tcase = tcase_create("metadata_state");
    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, a_store_becomes_the_leaders);
    tcase_add_test(tcase, installation_survives_death);
    tcase_add_test(tcase, load_refuses_what_is_no_dump);
    suite_add_tcase(suite, tcase);
    return suite;
}

TEST_MAIN(metadata_state_suite)
