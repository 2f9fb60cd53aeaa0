/* Happy path: each call runs in the simulated process; what it leads to comes back through the log's handlers. */
#include "tests/lib/wal_world.h"

#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "base/trace.h"
#include "replication/wal_format.h"
#include "tests/lib/test.h"

enum {
    SETTLE_US = 10000000, /* longer than a job or a retry takes */
    SCRATCH_SIZE = 2 << 20
};

/* Check notes each assertion that it passes, with a system call; these are passed a million times. */
#define expect(cond, ...)              \
    do {                               \
        if (!(cond)) {                 \
            ck_abort_msg(__VA_ARGS__); \
        }                              \
    } while (0)

static uint8_t scratch[SCRATCH_SIZE]; /* a payload: of the test, not of the process */

/* ---- Frames ----------------------------------------------------------------------------------------------------- */

static uint64_t mix(uint64_t z)
{
    z += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

/* Units as a client would make them up, whole in themselves, where blocks of the file may begin: exactly so in the
 * first frame of a unit. */
static void payload_forge(uint8_t *data, size_t size, uint64_t draw)
{
    struct wal_unit_header header = {
        .kind = WAL_UNIT_FRAMES,
        .generation = draw,
        .kept_lsn = WAL_LSN_FIRST,
        .frame_count = 1,
    };
    size_t position = draw % WAL_BLOCK_SIZE / 8 * 8;
    if (draw % 2 == 0) {
        position = WAL_BLOCK_SIZE - WAL_UNIT_HEADER_SIZE - WAL_FRAME_HEADER_SIZE;
    }
    for (; position <= size && WAL_UNIT_HEADER_SIZE <= size - position; position += WAL_BLOCK_SIZE) {
        header.sequence = mix(draw + position) % 1000 + 1;
        header.lsn = WAL_LSN_FIRST * header.sequence;
        wal_unit_header_encode(&header, data + position);
    }
}

static void payload_fill(const struct wal_world *world, uint64_t id, uint64_t salt, size_t size)
{
    uint64_t draw = mix(id * 977 + salt);
    expect(size <= sizeof(scratch), "a payload of %zu bytes", size);
    for (size_t i = 0; i < size; i++) {
        scratch[i] = (uint8_t)((draw >> (i % 8 * 8)) ^ (i * 131 >> 3));
    }
    if (world->is_forging) {
        payload_forge(scratch, size, draw);
    }
}

static struct wal_frame frame_of(uint64_t id, uint64_t salt)
{
    return (struct wal_frame){.group = mix(id) % 5 + 1, .index = id, .term = mix(id * 3), .value = salt};
}

/* Frames of one unit lie side by side; between two units there is at least a header. */
static bool is_same_unit(const struct wal_world *world, uint64_t id, uint64_t next_id)
{
    const struct wal_world_frame *frame = &world->frames[id];
    return world->frames[next_id].lsn == frame->lsn + WAL_FRAME_HEADER_SIZE + frame->size;
}

uint64_t wal_world_unit_lsn(const struct wal_world *world, uint64_t id)
{
    while (id > 1 && world->frames[id - 1].lsn != 0 && is_same_unit(world, id - 1, id)) {
        id--;
    }
    return world->frames[id].lsn - WAL_UNIT_HEADER_SIZE;
}

/* ---- Handlers --------------------------------------------------------------------------------------------------- */

static void on_durable(void *owner, uint64_t lsn)
{
    struct wal_world *world = owner;
    expect(lsn > world->durable_lsn, "durable_lsn does not go up");
    expect(lsn == wal_durable_lsn(world->wal), "durable_lsn is another one");
    expect(lsn % WAL_BLOCK_SIZE == 0, "durable_lsn lies within a unit");
    while (world->durable_id < world->end_id && world->frames[world->durable_id].lsn < lsn) {
        world->durable_id++;
    }
    world->durable_lsn = lsn;
}

static void on_pressure(void *owner)
{
    struct wal_world *world = owner;
    world->pressure_count++;
}

void wal_world_replay(struct wal_world *world, const struct wal_record *record)
{
    uint64_t id = record->index;
    if (record->kind == WAL_STOP) {
        expect(record->payload.size == 0 && record->group == 0, "WAL_STOP has something in it");
        return;
    }
    expect(id > 0 && id < world->end_id, "id %llu was never appended", (unsigned long long)id);
    expect(world->replay_id == 0 || id == world->replay_id, "id %llu replayed instead of %llu", (unsigned long long)id,
           (unsigned long long)world->replay_id);
    const struct wal_world_frame *frame = &world->frames[id];
    struct wal_frame wanted = frame_of(id, frame->salt);
    expect(record->value == frame->salt, "id %llu comes from a former life", (unsigned long long)id);
    expect(record->group == wanted.group && record->term == wanted.term, "id %llu: header", (unsigned long long)id);
    expect(record->payload.size == frame->size, "id %llu: payload size", (unsigned long long)id);
    payload_fill(world, id, frame->salt, frame->size);
    expect(frame->size == 0 || memcmp(scratch, record->payload.data, frame->size) == 0, "id %llu: payload",
           (unsigned long long)id);
    expect(record->lsn == wal_world_unit_lsn(world, id), "id %llu: LSN", (unsigned long long)id);
    world->first_id = world->first_id == 0 ? id : world->first_id;
    world->replay_id = id + 1;
}

static void on_replay(void *owner, const struct wal_record *record)
{
    wal_world_replay(owner, record);
}

static const struct wal_handlers handlers = {on_durable, on_pressure};

/* ---- Calls into the process ------------------------------------------------------------------------------------- */

struct call {
    struct wal_world *world;
    struct wal_frame frame;
    uint64_t lsn;
};

static bool call(struct call *call, void (*fn)(void *context))
{
    struct wal_world *world = call->world;
    world->is_alive = world->is_alive && sim_process_run(world->process, fn, call);
    return world->is_alive;
}

static void call_open(void *context)
{
    struct wal_world *world = ((struct call *)context)->world;
    world->open_err =
        wal_open(world->env, WAL_WORLD_DIR, &world->options, world, &handlers, on_replay, &world->wal, &world->msg);
}

static void call_append(void *context)
{
    struct call *call = context;
    call->lsn = wal_append(call->world->wal, &call->frame);
}

static void call_release(void *context)
{
    struct call *call = context;
    wal_release(call->world->wal, call->lsn);
}

static void on_closed(void *owner)
{
    struct wal_world *world = owner;
    world->is_closed = true;
    world->wal = NULL;
}

static void call_close(void *context)
{
    wal_close(((struct call *)context)->world->wal, on_closed);
}

/* What was replayed is enough and ends between units; it is what there is from now on. */
static void replay_check(struct wal_world *world)
{
    uint64_t end_id = world->replay_id == 0 ? world->durable_id : world->replay_id;
    expect(end_id >= world->durable_id, "%llu frames were durable, %llu are there",
           (unsigned long long)world->durable_id - 1, (unsigned long long)end_id - 1);
    uint64_t kept_id = world->durable_id;
    while (kept_id > 1 && world->frames[kept_id - 1].lsn >= world->released_lsn) {
        kept_id--;
    }
    expect(kept_id == world->durable_id || (world->first_id != 0 && world->first_id <= kept_id),
           "replay begins at %llu, %llu is needed", (unsigned long long)world->first_id, (unsigned long long)kept_id);
    expect(end_id == world->end_id || end_id == 1 || !is_same_unit(world, end_id - 1, end_id), "a unit was cut in two");
    expect(wal_end_lsn(world->wal) >= world->durable_lsn, "the log ends before what was durable");
    expect(wal_end_lsn(world->wal) == wal_durable_lsn(world->wal), "something is not durable at open");
    world->end_id = world->durable_id = end_id;
    world->durable_lsn = wal_durable_lsn(world->wal);
    if (world->released_lsn > world->durable_lsn) {
        world->released_lsn = world->durable_lsn; /* frames that were lost lay there */
    }
}

bool wal_world_open(struct wal_world *world, bool expects_error)
{
    world->process = sim_process_open(world->sim, world->disk, "n1");
    world->env = sim_process_env(world->process, 0);
    world->is_alive = true;
    world->is_closed = false;
    world->wal = NULL;
    world->replay_id = world->first_id = 0;
    world->msg.text[0] = '\0';
    if (!call(&(struct call){.world = world}, call_open)) {
        return false;
    }
    expect(expects_error || world->open_err == OK, "%s: %s", err_name(world->open_err), world->msg.text);
    if (world->open_err != OK) {
        return false;
    }
    replay_check(world);
    world->salt++;
    return true;
}

void wal_world_append(struct wal_world *world, enum wal_kind kind, size_t size)
{
    if (!world->is_alive) {
        return;
    }
    uint64_t id = world->end_id;
    if (id >= world->frame_capacity) {
        world->frame_capacity *= 2;
        world->frames = realloc(world->frames, world->frame_capacity * sizeof(world->frames[0]));
    }
    payload_fill(world, id, world->salt, size);
    const struct slice slices[2] = {{.bytes = {scratch, size / 2}}, {.bytes = {scratch + size / 2, size - size / 2}}};
    struct call append = {.world = world, .frame = frame_of(id, world->salt)};
    append.frame.kind = kind;
    append.frame.slices = slices;
    append.frame.slice_count = 2;
    if (!call(&append, call_append)) {
        return;
    }
    expect(append.lsn > world->durable_lsn, "a frame's LSN was durable before");
    expect(id == 1 || append.lsn > world->frames[id - 1].lsn, "LSNs do not go up");
    world->frames[id] = (struct wal_world_frame){.lsn = append.lsn, .salt = world->salt, .size = size};
    world->end_id++;
}

void wal_world_append_random(struct wal_world *world)
{
    uint64_t draw = sim_world_random(world->sim);
    size_t size_max = draw % 16 == 0 ? world->payload_max : draw % 4 == 0 ? KIB(5) : 200;
    wal_world_append(world, (enum wal_kind)(draw / 16 % 4 + 1), sim_world_below(world->sim, size_max + 1));
}

void wal_world_release(struct wal_world *world, uint64_t lsn)
{
    if (call(&(struct call){.world = world, .lsn = lsn}, call_release) && lsn > world->released_lsn) {
        world->released_lsn = lsn;
    }
}

void wal_world_step(struct wal_world *world, uint64_t count)
{
    for (uint64_t i = 0; i < count && world->is_alive; i++) {
        world->is_alive = sim_world_step(world->sim) != SIM_DIED;
    }
}

void wal_world_settle(struct wal_world *world)
{
    if (world->is_alive) {
        world->is_alive = sim_world_run_until(world->sim, NULL, NULL, SETTLE_US) != SIM_DIED;
    }
}

void wal_world_live(struct wal_world *world, unsigned turns)
{
    for (unsigned turn = 0; turn < turns && world->is_alive; turn++) {
        for (uint64_t n = sim_world_below(world->sim, 6); n > 0 && !wal_is_stalled(world->wal); n--) {
            wal_world_append_random(world);
        }
        wal_world_step(world, sim_world_below(world->sim, 12));
        bool is_pressed = world->pressure_count > 0;
        if (world->is_alive && (is_pressed || sim_world_below(world->sim, 16) == 0)) {
            uint64_t end_lsn = sim_world_below(world->sim, 4) == 0 ? wal_end_lsn(world->wal) : world->durable_lsn;
            if (world->released_lsn < end_lsn) {
                uint64_t part = sim_world_below(world->sim, end_lsn - world->released_lsn + 1);
                part = sim_world_below(world->sim, 4) == 0 ? 0 : part;
                wal_world_release(world, end_lsn - (is_pressed ? part / 4 : part));
            }
            world->pressure_count = 0;
        }
    }
}

/* ---- Lives ------------------------------------------------------------------------------------------------------ */

static bool is_closed(void *context)
{
    return ((const struct wal_world *)context)->is_closed;
}

bool wal_world_close(struct wal_world *world)
{
    if (world->wal != NULL && call(&(struct call){.world = world}, call_close)) {
        enum sim_end end = sim_world_run_until(world->sim, is_closed, world, SETTLE_US);
        expect(end == SIM_REACHED || end == SIM_DIED, "does not close");
        world->is_alive = end != SIM_DIED;
    }
    if (world->is_alive) {
        sim_process_close(world->process);
        world->process = NULL;
    }
    return world->is_alive;
}

void wal_world_die(struct wal_world *world, enum wal_death death)
{
    sim_disk_crash_at(world->disk, 0);
    if (death == WAL_POWER_LOSS) {
        sim_disk_power_loss(world->disk);
    } else if (world->is_alive) {
        sim_process_kill(world->process);
    }
    sim_process_close(world->process);
    world->process = NULL;
    world->wal = NULL;
}

void wal_world_crash_at(struct wal_world *world, uint64_t change)
{
    sim_disk_crash_at(world->disk, change == 0 ? 0 : sim_disk_change_count(world->disk) + change);
}

int64_t wal_world_metric(const struct wal_world *world, enum metric metric)
{
    return metrics_value(world->env->metrics, metric);
}

void wal_world_init(struct wal_world *world, const struct wal_options *options, uint64_t seed)
{
    *world = (struct wal_world){
        .sim = sim_world_open(seed),
        .options = *options,
        .end_id = 1,
        .durable_id = 1,
        .durable_lsn = WAL_LSN_FIRST,
        .payload_max = KIB(8),
        .frame_capacity = 1024,
    };
    world->disk = sim_disk_open(world->sim, "/n1");
    world->frames = calloc(world->frame_capacity, sizeof(world->frames[0]));
    trace_set_level(TRACE_WAL, TRACE_ERROR); /* thousands of torn tails are expected */
}

void wal_world_deinit(struct wal_world *world)
{
    sim_disk_close(world->disk);
    sim_world_close(world->sim);
    free(world->frames);
}
