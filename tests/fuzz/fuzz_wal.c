/* Opening a write-ahead log over files that were tampered with. The input is a list of edits of a small real log:
 * bytes anywhere, checksums made right again (so that what lies behind them is reached), blocks copied, files cut,
 * removed, doubled. Whatever comes out: an error with a text, or a log that takes a frame and has it when it is
 * opened again. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/crc32c.h"
#include "base/limits.h"
#include "base/trace.h"
#include "replication/wal.h"
#include "replication/wal_format.h"
#include "tests/lib/sim_disk.h"
#include "tests/lib/sim_world.h"

enum {
    FILE_COUNT = 3,
    FILE_SIZE = 64 << 10,
    BLOCK_COUNT = FILE_SIZE / 4096,
    FRAME_COUNT = 18,
    LIMIT_US = 60000000
};

enum edit {
    EDIT_BYTES,
    EDIT_UNIT_HEADER, /* generation and checksum made right */
    EDIT_UNIT,        /* and that of the payload */
    EDIT_FILE_HEADER,
    EDIT_CUT,
    EDIT_REMOVE,
    EDIT_COPY_BLOCK,
    EDIT_COPY_FILE,
    EDIT_COUNT
};

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct wal_options options = {.file_size = FILE_SIZE, .file_count_max = 8};
static uint8_t original[FILE_COUNT][FILE_SIZE];
static uint8_t files[FILE_COUNT + 1][FILE_SIZE];
static size_t sizes[FILE_COUNT + 1];

struct life {
    struct sim_world *sim;
    struct sim_disk *disk;
    struct env *env;
    struct wal *wal;
    enum err err;
    struct errmsg msg;
    uint32_t crc;
    uint64_t last_index;
    uint64_t lsn;
    bool is_durable;
    bool is_closed;
};

static const char *path_of(unsigned file)
{
    static char path[64];
    snprintf(path, sizeof(path), "/n1/wal/%020u.wal", file + 1);
    return path;
}

static void on_durable(void *owner, uint64_t lsn)
{
    struct life *life = owner;
    life->is_durable = lsn > life->lsn;
}

static void on_pressure(void *owner)
{
    (void)owner;
}

static void on_replay(void *owner, const struct wal_record *record)
{
    struct life *life = owner;
    life->crc = crc32c(life->crc, record->payload); /* reads it all */
    life->last_index = record->kind != WAL_STOP ? record->index : life->last_index;
}

static void on_closed(void *owner)
{
    struct life *life = owner;
    life->is_closed = true;
}

static const struct wal_handlers handlers = {on_durable, on_pressure};

static void call_open(void *context)
{
    struct life *life = context;
    life->err = wal_open(life->env, "/n1/wal", &options, life, &handlers, on_replay, &life->wal, &life->msg);
}

static void call_append(void *context)
{
    struct life *life = context;
    const struct slice slice = {.bytes = {(const uint8_t *)"payload", 7}};
    const struct wal_frame frame = {
        .kind = WAL_ENTRY, .group = 1, .index = ++life->last_index, .slices = &slice, .slice_count = 1};
    life->is_durable = false;
    life->lsn = wal_append(life->wal, &frame);
}

static void call_close(void *context)
{
    struct life *life = context;
    life->is_closed = false;
    wal_close(life->wal, on_closed);
}

static bool is_durable(void *context)
{
    return ((const struct life *)context)->is_durable;
}

static bool is_closed(void *context)
{
    return ((const struct life *)context)->is_closed;
}

/* Opens; appends `count` frames one by one if that worked. */
static enum err live(struct life *life, unsigned count)
{
    struct sim_process *process = sim_process_open(life->sim, life->disk, "n1");
    life->env = sim_process_env(process, 0);
    life->msg.text[0] = '\0';
    bool is_alive = sim_process_run(process, call_open, life);
    assert(is_alive);
    assert(life->err == OK || life->msg.text[0] != '\0');
    if (life->err == OK) {
        for (unsigned i = 0; i < count; i++) {
            is_alive = sim_process_run(process, call_append, life);
            assert(is_alive);
            enum sim_end end = sim_world_run_until(life->sim, is_durable, life, LIMIT_US);
            assert(end == SIM_REACHED);
        }
        is_alive = sim_process_run(process, call_close, life);
        assert(is_alive);
        enum sim_end end = sim_world_run_until(life->sim, is_closed, life, LIMIT_US);
        assert(end == SIM_REACHED);
    }
    sim_process_close(process);
    return life->err;
}

static void life_init(struct life *life)
{
    memset(life, 0, sizeof(*life));
    life->sim = sim_world_open(1);
    life->disk = sim_disk_open(life->sim, "/n1");
}

static void life_deinit(struct life *life)
{
    sim_disk_close(life->disk);
    sim_world_close(life->sim);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    trace_set_level(TRACE_WAL, TRACE_ERROR);
    struct life life;
    life_init(&life);
    enum err err = live(&life, FRAME_COUNT);
    assert(err == OK);
    for (unsigned i = 0; i < FILE_COUNT; i++) {
        bool is_there = sim_disk_peek(life.disk, path_of(i), 0, original[i], FILE_SIZE);
        assert(is_there);
    }
    life_deinit(&life);
    return 0;
}

static void unit_fix(unsigned file, size_t position, bool is_payload)
{
    uint8_t *unit = files[file] + position;
    memcpy(unit + 8, files[file] + 24, 8); /* generation */
    size_t payload_size = be32_get(unit + 40);
    if (is_payload && payload_size <= FILE_SIZE - position - WAL_UNIT_HEADER_SIZE) {
        be32_put(unit + 44, crc32c(0, (struct bytes){unit + WAL_UNIT_HEADER_SIZE, payload_size}));
    }
    be32_put(unit + 4, crc32c(0, (struct bytes){unit + 8, WAL_UNIT_HEADER_SIZE - 8}));
}

static void edit_one(struct reader *input)
{
    enum edit edit = (enum edit)(read_u8(input) % EDIT_COUNT);
    unsigned file = read_u8(input) % (FILE_COUNT + 1);
    size_t position = read_u8(input) % BLOCK_COUNT * WAL_BLOCK_SIZE;
    switch (edit) {
    case EDIT_BYTES: {
        size_t at = position + read_u16(input) % WAL_BLOCK_SIZE;
        size_t size = read_u8(input);
        struct bytes bytes = read_bytes(input, size);
        if (bytes.size > 0 && bytes.size <= FILE_SIZE - at) {
            memcpy(files[file] + at, bytes.data, bytes.size);
        }
        break;
    }
    case EDIT_UNIT_HEADER:
    case EDIT_UNIT:
        unit_fix(file, position, edit == EDIT_UNIT);
        break;
    case EDIT_FILE_HEADER:
        be32_put(files[file] + WAL_BLOCK_SIZE - 4, crc32c(0, (struct bytes){files[file], WAL_BLOCK_SIZE - 4}));
        break;
    case EDIT_CUT:
        sizes[file] = position + read_u16(input) % WAL_BLOCK_SIZE;
        break;
    case EDIT_REMOVE:
        sizes[file] = 0;
        break;
    case EDIT_COPY_BLOCK: {
        unsigned source = read_u8(input) % (FILE_COUNT + 1);
        size_t from = read_u8(input) % BLOCK_COUNT * WAL_BLOCK_SIZE;
        memmove(files[file] + position, files[source] + from, WAL_BLOCK_SIZE);
        break;
    }
    case EDIT_COPY_FILE: {
        unsigned source = read_u8(input) % (FILE_COUNT + 1);
        memmove(files[file], files[source], FILE_SIZE);
        sizes[file] = sizes[source];
        break;
    }
    case EDIT_COUNT:
        break;
    }
}

struct put {
    struct life *life;
    unsigned file;
};

static void call_put(void *context)
{
    const struct put *put = context;
    struct disk *disk = put->life->env->disk;
    struct iovec iov = {files[put->file], sizes[put->file]};
    int fd;
    enum err err = disk->mkdir(disk, "/n1/wal");
    assert(err == OK);
    err = disk->open(disk, path_of(put->file), DISK_CREATE, &fd, NULL);
    assert(err == OK);
    err = disk->pwritev(disk, fd, 0, &iov, 1);
    assert(err == OK);
    disk->close(disk, fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct life life;
    struct reader input;
    memcpy(files, original, sizeof(original));
    memset(files[FILE_COUNT], 0, FILE_SIZE);
    for (unsigned i = 0; i <= FILE_COUNT; i++) {
        sizes[i] = i < FILE_COUNT ? FILE_SIZE : 0;
    }
    reader_init(&input, (struct bytes){data, size});
    while (input.left > 0 && input.err == OK) {
        edit_one(&input);
    }
    life_init(&life);
    struct sim_process *process = sim_process_open(life.sim, life.disk, "n1");
    life.env = sim_process_env(process, 0);
    for (unsigned i = 0; i <= FILE_COUNT; i++) {
        if (sizes[i] > 0) {
            bool is_alive = sim_process_run(process, call_put, &(struct put){&life, i});
            assert(is_alive);
        }
    }
    sim_process_close(process);
    if (live(&life, 2) == OK) {
        uint64_t last_index = life.last_index;
        life.last_index = 0;
        enum err err = live(&life, 0);
        assert(err == OK);
        assert(life.last_index == last_index); /* older ones may be gone: a forged unit may release them */
    }
    life_deinit(&life);
    return 0;
}
