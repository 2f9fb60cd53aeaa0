/* Reads a log as its format says (replication/wal_format.h), file by file, and picks a unit. */
#include "tests/sim/damage_wal.h"

#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "replication/wal_format.h"

enum {
    UNITS_MAX = 65536,
    WHOLE_BEHIND = 2, /* the last unit may have been on its way when the broker died */
    PATH_SIZE_MAX = 300,
    FILES_MAX = 256
};

struct unit {
    unsigned file;
    uint64_t position;
    size_t size; /* header and payload */
    uint64_t lsn;
    uint64_t kept_lsn;
    uint64_t sequence;
    bool has_frames;
};

struct units {
    struct sim_disk *disk;
    char paths[FILES_MAX][PATH_SIZE_MAX];
    uint64_t sizes[FILES_MAX];
    unsigned file_count;
    struct unit of[UNITS_MAX];
    unsigned count;
};

static void collect(const char *path, uint64_t size, bool is_directory, void *context)
{
    struct units *units = context;
    size_t length = strlen(path);
    if (is_directory || length < 4 || length >= PATH_SIZE_MAX || strcmp(path + length - 4, ".wal") != 0 ||
        units->file_count == FILES_MAX) {
        return;
    }
    units->sizes[units->file_count] = size;
    (void)snprintf(units->paths[units->file_count++], PATH_SIZE_MAX, "%s", path);
}

static bool is_beside(const char *path, const char *other)
{
    size_t size = (size_t)(strrchr(path, '/') - path);
    return strncmp(path, other, size + 1) == 0;
}

static void read_file(struct units *units, unsigned file)
{
    static uint8_t block[WAL_BLOCK_SIZE];
    struct wal_file_header header;
    struct wal_unit_header unit;
    struct errmsg msg;
    if (!sim_disk_peek(units->disk, units->paths[file], 0, block, sizeof(block)) ||
        wal_file_header_decode((struct bytes){block, sizeof(block)}, &header, &msg) != OK) {
        return;
    }
    uint64_t position = WAL_BLOCK_SIZE;
    while (position + WAL_BLOCK_SIZE <= units->sizes[file] && units->count < UNITS_MAX &&
           sim_disk_peek(units->disk, units->paths[file], position, block, WAL_UNIT_HEADER_SIZE) &&
           wal_unit_header_decode(block, header.generation, &unit) == WAL_UNIT_GOOD) {
        units->of[units->count++] = (struct unit){.file = file,
                                                  .position = position,
                                                  .size = WAL_UNIT_HEADER_SIZE + unit.payload_size,
                                                  .lsn = unit.lsn,
                                                  .kept_lsn = unit.kept_lsn,
                                                  .sequence = unit.sequence,
                                                  .has_frames = unit.kind == WAL_UNIT_FRAMES};
        position += wal_unit_size(unit.payload_size);
    }
}

/* Of the log that the file belongs to: all its units. */
static void read_log(struct units *units, unsigned file)
{
    units->count = 0;
    for (unsigned i = 0; i < units->file_count; i++) {
        if (is_beside(units->paths[file], units->paths[i])) {
            read_file(units, i);
        }
    }
}

static bool is_good(const struct units *units, const struct unit *unit)
{
    uint64_t last = 0;
    uint64_t kept_lsn = 0;
    for (unsigned i = 0; i < units->count; i++) {
        last = units->of[i].sequence > last ? units->of[i].sequence : last;
        kept_lsn = units->of[i].kept_lsn > kept_lsn ? units->of[i].kept_lsn : kept_lsn;
    }
    return unit->has_frames && unit->lsn >= kept_lsn && unit->sequence + WHOLE_BEHIND <= last;
}

bool damage_wal(struct sim_world *world, struct node *node)
{
    static struct units units;
    char root[64];
    units.disk = node->disk;
    units.file_count = 0;
    (void)snprintf(root, sizeof(root), "%s/data/wal", node->mount);
    sim_disk_walk(node->disk, root, collect, &units);
    if (units.file_count == 0) {
        return false;
    }
    read_log(&units, (unsigned)sim_world_below(world, units.file_count));
    unsigned first = units.count > 0 ? (unsigned)sim_world_below(world, units.count) : 0;
    for (unsigned i = 0; i < units.count; i++) {
        const struct unit *unit = &units.of[(first + i) % units.count];
        if (is_good(&units, unit)) {
            uint64_t position = unit->position + sim_world_below(world, unit->size);
            return sim_disk_flip_bit(node->disk, units.paths[unit->file], position,
                                     (unsigned)sim_world_below(world, 8));
        }
    }
    return false;
}
