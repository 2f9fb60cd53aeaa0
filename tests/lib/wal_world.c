/* Happy path: a script drives one log; at each moment the environment names, crashes of the disk are opened by a second
 *             log and compared with the frames. The first log does not notice. */
#include "tests/lib/wal_world.h"

#include <stdio.h>
#include <string.h>

#include "base/limits.h"
#include "base/mem.h"
#include "base/trace.h"
#include "replication/wal_format.h"
#include "replication/wal_recover.h"

/* Check notes each assertion that it passes, with a system call; these are passed a million times. */
#define expect(cond, ...)              \
    do {                               \
        if (!(cond)) {                 \
            ck_abort_msg(__VA_ARGS__); \
        }                              \
    } while (0)

/* ---- Frames ----------------------------------------------------------------------------------------------------- */

static uint64_t mix(uint64_t value)
{
    struct crash_rng rng;
    crash_rng_init(&rng, value);
    return rng.rng.next(&rng.rng);
}

static size_t payload_size(uint64_t id, uint64_t salt, size_t size_max)
{
    uint64_t draw = mix(id * 31 + salt);
    size_t size = draw % 16 == 0 ? size_max : draw % 4 == 0 ? KIB(5) : 200;
    return (size_t)(mix(draw) % (size + 1));
}

/* A unit as a client would make one up: whole in itself. */
static void forge_unit(uint8_t *block, uint64_t generation, uint64_t draw)
{
    const struct wal_unit_header header = {
        .kind = WAL_UNIT_FRAMES,
        .generation = generation,
        .sequence = draw % 1000 + 1,
        .lsn = WAL_LSN_FIRST * (draw % 1000 + 1),
        .kept_lsn = WAL_LSN_FIRST,
        .payload_size = 0,
        .payload_crc = 0,
        .frame_count = 1,
    };
    wal_unit_header_encode(&header, block);
}

/* The first half of a forged payload's blocks begin where blocks of the file may begin, whatever is in front. */
static void payload_forge(struct world *world, uint8_t *data, size_t size, uint64_t draw)
{
    uint64_t generation = draw;
    size_t position = draw % WAL_BLOCK_SIZE / 8 * 8;
    if (draw % 2 == 0) {
        position = WAL_BLOCK_SIZE - WAL_UNIT_HEADER_SIZE - WAL_FRAME_HEADER_SIZE; /* first frame of a unit: exact */
    }
    for (; position + WAL_UNIT_HEADER_SIZE <= size; position += WAL_BLOCK_SIZE) {
        forge_unit(data + position, generation, mix(draw + position));
    }
    (void)world;
}

static void payload_fill(struct world *world, uint64_t id, uint64_t salt, uint8_t *data, size_t size)
{
    uint64_t draw = mix(id * 977 + salt);
    for (size_t i = 0; i < size; i++) {
        data[i] = (uint8_t)(draw >> (i % 8 * 8)) ^ (uint8_t)(i * 131 >> 3);
    }
    if (world->is_forging) {
        payload_forge(world, data, size, draw);
    }
}

static enum wal_kind frame_kind(uint64_t id, uint64_t salt)
{
    return (enum wal_kind)(mix(id + salt * 7) % 4 + 1);
}

static struct wal_frame frame_of(uint64_t id, uint64_t salt)
{
    return (struct wal_frame){
        .group = mix(id) % 5 + 1,
        .kind = frame_kind(id, salt),
        .index = id,
        .term = mix(id * 3),
        .value = salt,
    };
}

/* ---- The script's side ------------------------------------------------------------------------------------------ */

static uint64_t draw(struct world *world)
{
    return world->rng.rng.next(&world->rng.rng);
}

static void on_durable(void *owner, uint64_t lsn)
{
    struct world *world = owner;
    expect(lsn > world->durable_lsn, "lsn > world->durable_lsn");
    expect(lsn == wal_durable_lsn(world->wal), "lsn == wal_durable_lsn(world->wal)");
    while (world->durable_id < world->end_id && world->frames[world->durable_id].lsn < lsn) {
        struct world_frame *frame = &world->frames[world->durable_id];
        frame->unit_lsn = world->durable_lsn;
        expect(frame->lsn > frame->unit_lsn, "frame->lsn > frame->unit_lsn");
        expect(frame->seen_lsn == 0 || frame->seen_lsn == frame->unit_lsn, "a crash saw another unit");
        const struct world_frame *before = &world->frames[world->durable_id - 1];
        expect(!frame->is_cut_before || before->unit_lsn != frame->unit_lsn, "a crash cut a unit in two");
        world->durable_id++;
    }
    world->durable_lsn = lsn;
}

static void on_pressure(void *owner)
{
    struct world *world = owner;
    world->pressure_count++;
}

static void on_replay(void *owner, const struct wal_record *record)
{
    world_replay(owner, record);
}

static const struct wal_handlers handlers = {on_durable, on_pressure};

void world_append(struct world *world, enum wal_kind kind, size_t size)
{
    uint64_t id = world->end_id++;
    if (id >= world->frame_capacity) {
        world->frame_capacity = 2 * id + 1024;
        world->frames = mem_resize(world->frames, world->frame_capacity * sizeof *world->frames);
    }
    uint8_t *data = mem_alloc_raw(size + 1);
    payload_fill(world, id, world->salt, data, size);
    size_t half = size / 2;
    const struct slice slices[2] = {{.bytes = {data, half}}, {.bytes = {data + half, size - half}}};
    struct wal_frame frame = frame_of(id, world->salt);
    frame.kind = kind;
    frame.slices = slices;
    frame.slice_count = 2;
    uint64_t lsn = wal_append(world->wal, &frame);
    expect(world->end_id == 2 || id == 1 || lsn > world->frames[id - 1].lsn, "LSNs go up");
    expect(lsn > world->durable_lsn, "lsn > world->durable_lsn");
    world->frames[id] = (struct world_frame){.lsn = lsn, .salt = world->salt, .size = size};
    mem_free(data);
}

void world_append_random(struct world *world)
{
    uint64_t id = world->end_id;
    world_append(world, frame_kind(id, world->salt), payload_size(id, world->salt, world->payload_max));
}

void world_release(struct world *world, uint64_t lsn)
{
    wal_release(world->wal, lsn);
    world->released_lsn = lsn > world->released_lsn ? lsn : world->released_lsn;
}

void world_settle(struct world *world)
{
    for (unsigned i = 0; i < 100000; i++) {
        if (!crash_env_step(world->crash)) {
            return;
        }
    }
    ck_abort_msg("does not come to rest");
}

/* ---- Checks ----------------------------------------------------------------------------------------------------- */

void world_replay(struct world *world, const struct wal_record *record)
{
    if (record->kind == WAL_STOP) {
        expect(record->payload.size == 0, "record->payload.size == 0");
        return;
    }
    uint64_t id = record->index;
    expect(id > 0 && id < world->end_id, "id %llu was never appended", (unsigned long long)id);
    expect(world->replay_id == 0 || id == world->replay_id, "id %llu replayed instead of %llu", (unsigned long long)id,
           (unsigned long long)world->replay_id);
    struct world_frame *frame = &world->frames[id];
    struct wal_frame expected = frame_of(id, frame->salt);
    expect(record->value == frame->salt, "id %llu comes from a former life", (unsigned long long)id);
    expect(record->group == expected.group, "record->group == expected.group");
    expect(record->term == expected.term, "record->term == expected.term");
    expect(record->payload.size == frame->size, "id %llu: payload size", (unsigned long long)id);
    uint8_t *data = mem_alloc_raw(record->payload.size + 1);
    payload_fill(world, id, frame->salt, data, record->payload.size);
    expect(memcmp(data, record->payload.data, record->payload.size) == 0, "id %llu: payload", (unsigned long long)id);
    mem_free(data);
    expect(record->lsn < frame->lsn, "record->lsn < frame->lsn");
    if (frame->unit_lsn != 0) {
        expect(record->lsn == frame->unit_lsn, "record->lsn == frame->unit_lsn");
    } else {
        expect(frame->seen_lsn == 0 || frame->seen_lsn == record->lsn, "two crashes saw different units");
        frame->seen_lsn = record->lsn;
    }
    world->replay_id = id + 1;
}

/* What was replayed, up to replay_id, is enough and ends between units. */
static void replay_check(struct world *world, uint64_t first_id, const char *what)
{
    uint64_t end_id = world->replay_id == 0 ? world->durable_id : world->replay_id;
    expect(end_id >= world->durable_id, "%s: %llu frames were durable, %llu are there", what,
           (unsigned long long)world->durable_id - 1, (unsigned long long)end_id - 1);
    uint64_t kept_id = 1;
    while (kept_id < world->durable_id && world->frames[kept_id].lsn < world->released_lsn) {
        kept_id++;
    }
    expect(kept_id == world->durable_id || (world->replay_id != 0 && first_id <= kept_id),
           "%s: begins at %llu, %llu is needed", what, (unsigned long long)first_id, (unsigned long long)kept_id);
    if (end_id < world->end_id && end_id > 1 && world->replay_id != 0) {
        struct world_frame *next = &world->frames[end_id];
        const struct world_frame *last = &world->frames[end_id - 1];
        expect(next->unit_lsn == 0 || next->unit_lsn != last->unit_lsn, "%s: a unit was cut in two", what);
        next->is_cut_before = true;
    }
}

struct check {
    struct world *world;
    uint64_t first_id;
    uint64_t durable_lsn;
    bool is_closed;
};

static void check_on_replay(void *owner, const struct wal_record *record)
{
    struct check *check = owner;
    check->first_id = check->first_id == 0 && record->kind != WAL_STOP ? record->index : check->first_id;
    world_replay(check->world, record);
}

static void check_on_durable(void *owner, uint64_t lsn)
{
    struct check *check = owner;
    check->durable_lsn = lsn;
}

static void check_on_pressure(void *owner)
{
    (void)owner;
}

static void check_on_closed(void *owner)
{
    struct check *check = owner;
    check->is_closed = true;
}

static const struct wal_handlers check_handlers = {check_on_durable, check_on_pressure};

static struct wal *check_open(struct check *check, struct crash_env *crash, const char *what)
{
    struct world *world = check->world;
    struct wal *wal = NULL;
    struct errmsg msg = {""};
    world->replay_id = 0;
    enum err err =
        wal_open(&crash->env, WORLD_DIR, &world->options, check, &check_handlers, check_on_replay, &wal, &msg);
    expect(err == OK, "%s: %s: %s", what, err_name(err), msg.text);
    replay_check(world, check->first_id, what);
    expect(wal_end_lsn(wal) >= world->durable_lsn, "wal_end_lsn(wal) >= world->durable_lsn");
    return wal;
}

static void check_close(struct check *check, struct crash_env *crash, struct wal *wal)
{
    wal_close(wal, check_on_closed);
    while (!check->is_closed) {
        expect(crash_env_step(crash), "crash_env_step(crash)");
    }
}

/* Opens and closes it, and sometimes opens it again: what was recovered once stays. */
void world_check(struct world *world, struct crash_disk *disk, const char *what)
{
    uint64_t replay_id = world->replay_id; /* a check may be asked for during a replay */
    uint64_t end_id = 0;
    int rounds = draw(world) % 4 == 0 ? 2 : 1;
    for (int round = 0; round < rounds; round++) {
        struct crash_env *crash = crash_env_new(draw(world), disk);
        struct check check = {.world = world};
        struct wal *wal = check_open(&check, crash, what);
        uint64_t recovered_id = world->replay_id;
        bool is_empty = recovered_id == 0; /* all was released, and the first opening had time to free the files */
        expect(round == 0 || is_empty || recovered_id == end_id, "%s: the second opening finds another end", what);
        end_id = recovered_id;
        check_close(&check, crash, wal);
        disk = crash_env_free(crash);
        expect(crash_disk_open_count(disk) == 0, "crash_disk_open_count(disk) == 0");
    }
    crash_disk_free(disk);
    world->replay_id = replay_id;
}

void world_crash(struct world *world, enum crash_kind kind)
{
    static const char *const names[] = {"drop", "keep", "tear", "garbage", "kill"};
    world->crash_count++;
    world_check(world, crash_disk_crash(world->crash->disk, kind, &world->rng.rng), names[kind]);
}

static void on_op(void *context)
{
    struct world *world = context;
    if (world->is_closed) {
        return;
    }
    if (world->crash_rate != 0 && draw(world) % world->crash_rate == 0) {
        world_crash(world, (enum crash_kind)(draw(world) % (CRASH_KILL + 1)));
    }
    /* Moments with names in the balance are few, and what a killed process leaves of them is used by the next one. */
    bool is_rare = crash_disk_has_open_names(world->crash->disk);
    if (world->next_rate != 0 && world->next_disk == NULL && draw(world) % (is_rare ? 16 : world->next_rate) == 0) {
        enum crash_kind kind = (enum crash_kind)(draw(world) % (CRASH_KILL + 1));
        kind = is_rare && draw(world) % 2 == 0 ? CRASH_KILL : kind;
        world->next_disk = crash_disk_crash(world->crash->disk, kind, &world->rng.rng);
        world->next_end_id = world->end_id;
        world->next_durable_id = world->durable_id;
        world->next_durable_lsn = world->durable_lsn;
        world->next_released_lsn = world->released_lsn;
    }
}

/* ---- Lives ------------------------------------------------------------------------------------------------------ */

void world_init(struct world *world, const struct wal_options *options, uint64_t seed)
{
    *world = (struct world){.options = *options, .end_id = 1, .durable_id = 1, .salt = 1, .payload_max = KIB(8)};
    world->durable_lsn = WAL_LSN_FIRST;
    crash_rng_init(&world->rng, seed);
    trace_set_level(TRACE_WAL, TRACE_ERROR); /* thousands of torn tails are expected */
    world->frame_capacity = 1024;
    world->frames = mem_alloc(world->frame_capacity * sizeof *world->frames);
}

void world_deinit(struct world *world)
{
    if (world->next_disk != NULL) {
        crash_disk_free(world->next_disk);
    }
    mem_free(world->frames);
}

void world_open(struct world *world, struct crash_disk *disk)
{
    world->crash = crash_env_new(draw(world), disk);
    world->crash->on_op = on_op;
    world->crash->context = world;
    world->is_closed = false;
    world->replay_id = 0;
    struct errmsg msg = {""};
    fault_init(&world->crash->op_fault, world->op_fault_at, 1);
    enum err err =
        wal_open(&world->crash->env, WORLD_DIR, &world->options, world, &handlers, on_replay, &world->wal, &msg);
    if (err == ERR_IO && fault_was_hit(&world->crash->op_fault)) {
        expect(strstr(msg.text, "data") != NULL, "no path in: %s", msg.text);
        expect(crash_disk_open_count(world->crash->disk) == 0, "a failed opening leaves files open");
        world->replay_id = 0;
        err = wal_open(&world->crash->env, WORLD_DIR, &world->options, world, &handlers, on_replay, &world->wal, &msg);
    }
    expect(err == OK, "%s: %s", err_name(err), msg.text);
    /* All that was replayed counts as durable from here on; what was not is forgotten. */
    uint64_t end_id = world->replay_id == 0 ? world->durable_id : world->replay_id;
    expect(end_id >= world->durable_id, "end_id >= world->durable_id");
    for (uint64_t id = world->durable_id; id < end_id; id++) {
        world->frames[id].unit_lsn = world->frames[id].seen_lsn;
    }
    world->end_id = world->durable_id = end_id;
    expect(wal_end_lsn(world->wal) >= world->durable_lsn, "wal_end_lsn(world->wal) >= world->durable_lsn");
    expect(wal_end_lsn(world->wal) == wal_durable_lsn(world->wal),
           "wal_end_lsn(world->wal) == wal_durable_lsn(world->wal)");
    world->durable_lsn = wal_durable_lsn(world->wal);
    if (world->released_lsn > world->durable_lsn) {
        world->released_lsn = world->durable_lsn; /* frames that were lost lay there */
    }
    world->salt++;
}

static void on_closed(void *owner)
{
    struct world *world = owner;
    world->is_closed = true;
}

struct crash_disk *world_close(struct world *world)
{
    wal_close(world->wal, on_closed);
    while (!world->is_closed) {
        expect(crash_env_step(world->crash), "crash_env_step(world->crash)");
    }
    world->wal = NULL;
    struct crash_disk *disk = crash_env_free(world->crash);
    expect(crash_disk_open_count(disk) == 0, "crash_disk_open_count(disk) == 0");
    return disk;
}

struct crash_disk *world_rewind(struct world *world)
{
    struct crash_disk *disk = world->next_disk;
    world->next_disk = NULL;
    for (uint64_t id = world->next_durable_id; id < world->next_end_id; id++) {
        world->frames[id].unit_lsn = 0;
        world->frames[id].seen_lsn = 0;
        world->frames[id].is_cut_before = false;
    }
    world->end_id = world->next_end_id;
    world->durable_id = world->next_durable_id;
    world->durable_lsn = world->next_durable_lsn;
    world->released_lsn = world->next_released_lsn;
    return disk;
}

void world_live(struct world *world, unsigned turns)
{
    for (unsigned turn = 0; turn < turns; turn++) {
        for (uint64_t n = draw(world) % 6; n > 0 && !wal_is_stalled(world->wal); n--) {
            world_append_random(world);
        }
        for (uint64_t n = draw(world) % 8; n > 0; n--) {
            (void)crash_env_step(world->crash);
        }
        bool is_pressed = world->pressure_count > 0;
        if (is_pressed || draw(world) % 16 == 0) {
            uint64_t end_lsn = draw(world) % 4 == 0 ? wal_end_lsn(world->wal) : world->durable_lsn;
            if (world->released_lsn < end_lsn) {
                uint64_t part = draw(world) % 4 == 0 ? 0 : draw(world) % (end_lsn - world->released_lsn + 1);
                world_release(world, end_lsn - (is_pressed ? part / 4 : part));
            }
            world->pressure_count = 0;
        }
    }
}
