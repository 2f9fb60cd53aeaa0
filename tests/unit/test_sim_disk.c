/* The simulated disk: what is durable stays, what is not may go in every allowed way, and each way is seen. */
#include "tests/lib/sim_disk.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "base/mem.h"
#include "tests/lib/test.h"

enum {
    SECTOR_SIZE = 512,
    SEED_COUNT = 300
};

static struct sim_world *world;
static struct sim_disk *drive;
static struct sim_process *process;
static struct env *env;
static struct disk *disk;

static void life_begin(void)
{
    process = sim_process_open(world, drive, "n1");
    env = sim_process_env(process, 0);
    disk = env->disk;
}

static void open_all(uint64_t seed)
{
    world = sim_world_open(seed);
    drive = sim_disk_open(world, "/n1");
    life_begin();
}

static void life_end(bool is_power_loss)
{
    if (is_power_loss) {
        sim_disk_power_loss(drive);
    } else {
        sim_process_kill(process);
    }
    sim_process_close(process);
}

static void close_all(void)
{
    sim_process_kill(process);
    sim_process_close(process);
    sim_disk_close(drive);
    sim_world_close(world);
}

static int open_file(const char *path, unsigned flags)
{
    int file = -1;
    ck_assert_int_eq(disk->open(disk, path, flags, &file, NULL), OK);
    return file;
}

static void put(int file, uint64_t position, const void *data, size_t size)
{
    struct iovec iov = {.iov_base = (void *)(uintptr_t)data, .iov_len = size};
    ck_assert_int_eq(disk->pwritev(disk, file, position, &iov, 1), OK);
}

static bool is_there(const char *path)
{
    uint64_t size;
    return sim_disk_stat(drive, path, &size);
}

/* ---- Contents */

/* Goal: reads and writes at any place agree with a plain array, through cuts and growth, and through kills. Method:
 * random operations against a model. */
START_TEST(cache_agrees_with_a_plain_array)
{
    enum {
        SIZE = 40000
    };
    static uint8_t model[SIZE];
    static uint8_t data[SIZE];
    uint64_t model_size = 0;
    memset(model, 0, sizeof(model));
    open_all((uint64_t)_i);
    int file = open_file("/n1/a", DISK_CREATE);
    for (int step = 0; step < 300; step++) {
        size_t position = (size_t)sim_world_below(world, SIZE - 5000);
        size_t size = 1 + (size_t)sim_world_below(world, 5000);
        switch (sim_world_below(world, 8)) {
        case 0:
            ck_assert_int_eq(disk->truncate(disk, file, position), OK);
            if (position < model_size) {
                memset(model + position, 0, (size_t)(model_size - position));
            }
            model_size = position;
            break;
        case 1:
            ck_assert_int_eq(disk->sync(disk, file), OK);
            break;
        case 2:
            life_end(false);
            life_begin();
            file = open_file("/n1/a", 0);
            break;
        default:
            memset(data, (int)sim_world_below(world, 3), size);
            put(file, position, data, size);
            memcpy(model + position, data, size);
            model_size = position + size > model_size ? position + size : model_size;
            break;
        }
        uint64_t file_size;
        size_t got;
        ck_assert_int_eq(disk->size(disk, file, &file_size), OK);
        ck_assert_uint_eq(file_size, model_size);
        ck_assert_int_eq(disk->pread(disk, file, 0, data, SIZE, &got), OK);
        ck_assert_uint_eq(got, model_size);
        ck_assert_mem_eq(data, model, got);
    }
    close_all();
}
END_TEST

/* Goal: what was synced survives every power loss; each sector written since is old, new, or torn; all three are seen,
 * and so are sizes kept, dropped and between. */
START_TEST(power_loss_takes_unsynced_sectors_by_themselves)
{
    enum {
        OLD_SECTORS = 20,
        NEW_SECTORS = 30,
        SIZE = NEW_SECTORS * SECTOR_SIZE
    };
    static uint8_t before[SIZE];
    static uint8_t after[SIZE];
    static uint8_t found[SIZE];
    unsigned kept = 0;
    unsigned dropped = 0;
    unsigned torn = 0;
    unsigned sizes[3] = {0};
    memset(before, 'o', sizeof(before));
    memset(after, 'n', sizeof(after));
    for (uint64_t seed = 0; seed < SEED_COUNT; seed++) {
        open_all(seed);
        int file = open_file("/n1/a", DISK_CREATE);
        put(file, 0, before, OLD_SECTORS * SECTOR_SIZE);
        ck_assert_int_eq(disk->sync(disk, file), OK);
        ck_assert_int_eq(disk->sync_dir(disk, "/n1"), OK);
        put(file, 5 * SECTOR_SIZE, after, SIZE - 5 * SECTOR_SIZE);
        life_end(true);
        uint64_t size;
        ck_assert(sim_disk_stat(drive, "/n1/a", &size));
        ck_assert_uint_ge(size, OLD_SECTORS * SECTOR_SIZE);
        ck_assert_uint_le(size, SIZE);
        sizes[size == OLD_SECTORS * SECTOR_SIZE ? 0 : size == SIZE ? 1 : 2]++;
        ck_assert(sim_disk_peek(drive, "/n1/a", 0, found, (size_t)size));
        ck_assert_mem_eq(found, before, 5 * SECTOR_SIZE);
        for (size_t sector = 5; sector < OLD_SECTORS; sector++) {
            const uint8_t *bytes = found + sector * SECTOR_SIZE;
            bool is_new = memcmp(bytes, after, SECTOR_SIZE) == 0;
            bool is_old = memcmp(bytes, before, SECTOR_SIZE) == 0;
            kept += is_new;
            dropped += is_old;
            torn += !is_new && !is_old;
        }
        life_begin();
        close_all();
    }
    ck_assert_uint_gt(kept, 1000);
    ck_assert_uint_gt(dropped, 1000);
    ck_assert_uint_gt(torn, 10);
    ck_assert_uint_gt(sizes[0], 10);
    ck_assert_uint_gt(sizes[1], 10);
    ck_assert_uint_gt(sizes[2], 10);
}
END_TEST

/* Goal: a cut that was not synced happened or did not, as a whole; a synced one stays cut. */
START_TEST(power_loss_keeps_or_takes_back_a_cut_as_a_whole)
{
    static uint8_t bytes[10000];
    unsigned cut = 0;
    memset(bytes, 'x', sizeof(bytes));
    for (uint64_t seed = 0; seed < SEED_COUNT; seed++) {
        static uint8_t found[sizeof(bytes)];
        uint64_t size;
        open_all(seed);
        int file = open_file("/n1/a", DISK_CREATE);
        put(file, 0, bytes, sizeof(bytes));
        ck_assert_int_eq(disk->sync(disk, file), OK);
        ck_assert_int_eq(disk->sync_dir(disk, "/n1"), OK);
        ck_assert_int_eq(disk->truncate(disk, file, 700), OK);
        if (seed % 3 == 0) {
            ck_assert_int_eq(disk->sync(disk, file), OK);
        }
        life_end(true);
        ck_assert(sim_disk_stat(drive, "/n1/a", &size));
        ck_assert(size == 700 || (size == sizeof(bytes) && seed % 3 != 0));
        ck_assert(sim_disk_peek(drive, "/n1/a", 0, found, (size_t)size));
        ck_assert_mem_eq(found, bytes, size);
        cut += seed % 3 != 0 && size == 700;
        ck_assert_uint_eq(sim_disk_used(drive), size == 700 ? 4096 : 12288);
        life_begin();
        close_all();
    }
    ck_assert_uint_gt(cut, 50);
    ck_assert_uint_lt(cut, 150);
}
END_TEST

/* Goal: after a sync that failed, a later one that succeeds does not bring back what the first one lost. */
START_TEST(failed_sync_forgets)
{
    unsigned lost = 0;
    for (uint64_t seed = 0; seed < SEED_COUNT; seed++) {
        char found;
        struct sim_fault fault = {.ops = SIM_OP_SYNC, .err = ERR_IO};
        open_all(seed);
        int file = open_file("/n1/a", DISK_CREATE);
        put(file, 0, "o", 1);
        ck_assert_int_eq(disk->sync(disk, file), OK);
        ck_assert_int_eq(disk->sync_dir(disk, "/n1"), OK);
        put(file, 0, "n", 1);
        fault_init(&fault.when, 1, 1);
        sim_disk_fault_add(drive, &fault);
        ck_assert_int_eq(disk->sync(disk, file), ERR_IO);
        ck_assert_int_eq(disk->sync(disk, file), OK);
        ck_assert_uint_eq(fault.hit_count, 1);
        sim_disk_fault_remove(drive, &fault);
        ck_assert(sim_disk_peek(drive, "/n1/a", 0, &found, 1));
        ck_assert_int_eq(found, 'n'); /* the cache has it still */
        life_end(true);
        ck_assert(sim_disk_peek(drive, "/n1/a", 0, &found, 1));
        lost += found == 'o';
        life_begin();
        close_all();
    }
    ck_assert_uint_gt(lost, 50);
}
END_TEST

/* ---- Names */

/* Goal: a name is durable after a sync of its directory and not before; a lost directory takes what is in it along. */
START_TEST(names_are_durable_when_their_directory_is_synced)
{
    unsigned seen[2][2] = {{0}};
    for (uint64_t seed = 0; seed < SEED_COUNT; seed++) {
        open_all(seed);
        ck_assert_int_eq(disk->mkdir(disk, "/n1/kept/sub"), OK);
        ck_assert_int_eq(disk->sync_dir(disk, "/n1"), OK);
        (void)open_file("/n1/kept/a", DISK_CREATE);
        ck_assert_int_eq(disk->sync_dir(disk, "/n1/kept"), OK);
        ck_assert_int_eq(disk->mkdir(disk, "/n1/loose"), OK);
        int file = open_file("/n1/loose/b", DISK_CREATE);
        put(file, 0, "b", 1);
        ck_assert_int_eq(disk->sync(disk, file), OK);
        ck_assert_int_eq(disk->sync_dir(disk, "/n1/loose"), OK);
        (void)open_file("/n1/kept/c", DISK_CREATE);
        (void)open_file("/n1/kept/d", DISK_CREATE);
        life_end(true);
        ck_assert(is_there("/n1/kept/a"));
        ck_assert(is_there("/n1/kept/c") || !is_there("/n1/kept/d")); /* a prefix */
        seen[0][is_there("/n1/loose/b")]++;
        seen[1][is_there("/n1/kept/d")]++;
        life_begin();
        close_all();
    }
    for (size_t i = 0; i < 4; i++) {
        ck_assert_uint_gt(seen[i / 2][i % 2], 30);
    }
}
END_TEST

/* Goal: a rename between directories happens in both or in neither, and what it replaced comes back with it. */
START_TEST(rename_is_kept_or_lost_as_a_whole)
{
    unsigned moved = 0;
    for (uint64_t seed = 0; seed < SEED_COUNT; seed++) {
        char found;
        open_all(seed);
        ck_assert_int_eq(disk->mkdir(disk, "/n1/x"), OK);
        ck_assert_int_eq(disk->mkdir(disk, "/n1/y"), OK);
        int file = open_file("/n1/x/a", DISK_CREATE);
        put(file, 0, "a", 1);
        ck_assert_int_eq(disk->sync(disk, file), OK);
        file = open_file("/n1/y/b", DISK_CREATE);
        put(file, 0, "b", 1);
        ck_assert_int_eq(disk->sync(disk, file), OK);
        ck_assert_int_eq(disk->sync_dir(disk, "/n1/x"), OK);
        ck_assert_int_eq(disk->sync_dir(disk, "/n1/y"), OK);
        ck_assert_int_eq(disk->sync_dir(disk, "/n1"), OK);
        ck_assert_int_eq(disk->rename(disk, "/n1/x/a", "/n1/y/b"), OK);
        if (seed % 4 == 0) {
            ck_assert_int_eq(disk->sync_dir(disk, "/n1/x"), OK); /* the one half brings the other */
        }
        life_end(true);
        bool is_moved = !is_there("/n1/x/a");
        ck_assert(sim_disk_peek(drive, "/n1/y/b", 0, &found, 1));
        ck_assert_int_eq(found, is_moved ? 'a' : 'b');
        ck_assert(is_moved || seed % 4 != 0);
        moved += is_moved;
        life_begin();
        close_all();
    }
    ck_assert_uint_gt(moved, SEED_COUNT / 4 + 30);
    ck_assert_uint_lt(moved, SEED_COUNT - 30);
}
END_TEST

struct listing {
    char names[64];
    unsigned count;
};

static void listing_add(const char *name, uint64_t size, bool is_directory, void *context)
{
    struct listing *listing = context;
    listing->count++;
    (void)size;
    if (is_directory) {
        ck_assert_str_eq(name, "d");
        return;
    }
    size_t used = strlen(listing->names);
    (void)snprintf(listing->names + used, sizeof(listing->names) - used, "%s", name);
    char path[64];
    (void)snprintf(path, sizeof(path), "/n1/%s", name);
    ck_assert_int_eq(disk->unlink(disk, path), OK);
}

/* Goal: the calls on names answer as those of the real one (test_uv_disk.c). */
START_TEST(names_are_made_moved_listed_and_removed)
{
    int file;
    struct errmsg msg;
    open_all(1);
    ck_assert_int_eq(disk->open(disk, "/n1/a", 0, &file, &msg), ERR_NOT_FOUND);
    ck_assert_ptr_nonnull(strstr(msg.text, "/n1/a"));
    ck_assert_int_eq(disk->open(disk, "/n1/none/a", DISK_CREATE, &file, NULL), ERR_NOT_FOUND);
    file = open_file("/n1/a", DISK_CREATE | DISK_EXCLUSIVE);
    disk->close(disk, file);
    ck_assert_int_eq(disk->open(disk, "/n1/a", DISK_CREATE | DISK_EXCLUSIVE, &file, NULL), ERR_EXISTS);
    ck_assert_int_eq(disk->mkdir(disk, "/n1/d/e/f"), OK);
    ck_assert_int_eq(disk->mkdir(disk, "/n1/d/e/f"), OK);
    ck_assert_int_eq(disk->mkdir(disk, "/n1/a"), ERR_EXISTS);
    ck_assert_int_ne(disk->mkdir(disk, "/n1/a/b"), OK);
    ck_assert_int_ne(disk->unlink(disk, "/n1/d"), OK);
    ck_assert_int_eq(disk->unlink(disk, "/n1/d/e/f"), OK);
    ck_assert_int_eq(disk->rename(disk, "/n1/a", "/n1/b"), OK);
    ck_assert_int_eq(disk->rename(disk, "/n1/a", "/n1/b"), ERR_NOT_FOUND);
    ck_assert_int_eq(disk->link(disk, "/n1/b", "/n1/a"), OK);
    ck_assert_int_eq(disk->link(disk, "/n1/b", "/n1/a"), ERR_EXISTS);
    ck_assert_int_eq(disk->link(disk, "/n1/none", "/n1/c"), ERR_NOT_FOUND);
    ck_assert_int_eq(disk->link(disk, "/n1/d", "/n1/c"), ERR_UNSUPPORTED);
    ck_assert_int_eq(disk->unlink(disk, "/n1/a"), OK);
    ck_assert_int_eq(disk->sync_dir(disk, "/n1/none"), ERR_NOT_FOUND);
    file = open_file("/n1/b", DISK_READ_ONLY);
    struct iovec iov = {.iov_base = (char[]){"x"}, .iov_len = 1};
    ck_assert_int_ne(disk->pwritev(disk, file, 0, &iov, 1), OK);
    disk->close(disk, file);
    file = open_file("/n1/c", DISK_CREATE);
    struct listing listing = {.count = 0};
    ck_assert_int_eq(disk->list(disk, "/n1", listing_add, &listing), OK);
    ck_assert_uint_eq(listing.count, 3);
    ck_assert(strcmp(listing.names, "bc") == 0 || strcmp(listing.names, "cb") == 0);
    put(file, 0, "unlinked, but open", 18);
    ck_assert_uint_eq(sim_disk_used(drive), 4096);
    disk->close(disk, file);
    close_all();
}
END_TEST

/* ---- Durable writes */

enum {
    BLOCK_COUNT = 6
};

struct log_writer {
    struct disk_write writes[BLOCK_COUNT];
    uint8_t *blocks;
    int file;
    unsigned done;
    enum err errs[BLOCK_COUNT];
};

static struct log_writer writer;

static void on_written(struct disk_write *req, enum err err)
{
    ck_assert_ptr_eq(req, &writer.writes[writer.done]);
    writer.errs[writer.done] = err;
    writer.done++;
}

static bool is_all_written(void *context)
{
    (void)context;
    return writer.done == BLOCK_COUNT;
}

static void writer_start(void *context)
{
    (void)context;
    writer.done = 0;
    writer.file = open_file("/n1/wal", DISK_CREATE | DISK_DIRECT);
    ck_assert_int_eq(disk->sync_dir(disk, "/n1"), OK);
    writer.blocks = mem_aligned(DISK_ALIGNMENT, (size_t)BLOCK_COUNT * DISK_ALIGNMENT);
    for (size_t i = 0; i < BLOCK_COUNT; i++) {
        memset(writer.blocks + i * DISK_ALIGNMENT, (int)('a' + i), DISK_ALIGNMENT);
        writer.writes[i] = (struct disk_write){.file = writer.file,
                                               .position = i * DISK_ALIGNMENT,
                                               .bytes = {writer.blocks + i * DISK_ALIGNMENT, DISK_ALIGNMENT},
                                               .cb = on_written};
        disk->write(disk, &writer.writes[i]);
        ck_assert_uint_eq(writer.done, 0);
    }
}

/* What is found of a block: 'y' all of it, 'n' nothing, 'p' part. */
static char block_state(size_t i)
{
    uint8_t block[DISK_ALIGNMENT] = {0};
    uint64_t size;
    size_t count = 0;
    if (sim_disk_stat(drive, "/n1/wal", &size)) {
        size_t start = i * DISK_ALIGNMENT;
        size_t end = start + DISK_ALIGNMENT < size ? start + DISK_ALIGNMENT : (size_t)size;
        (void)(end > start && sim_disk_peek(drive, "/n1/wal", start, block, end - start));
    }
    for (size_t k = 0; k < sizeof(block); k++) {
        count += block[k] == 'a' + i;
    }
    return count == sizeof(block) ? 'y' : count == 0 ? 'n' : 'p';
}

/* Goal: at every crash point, durable writes that were called back are whole after a power loss, the one under way is
 * there in any part, those behind it are not. Method: all crash points, several seeds each; all three states of the
 * one under way have to be seen. */
START_TEST(durable_writes_survive_and_the_one_under_way_may_be_torn)
{
    unsigned seen[128] = {0};
    bool is_whole = false;
    for (uint64_t at = 1; !is_whole; at++) {
        for (uint64_t seed = 0; seed < 20; seed++) {
            open_all(seed * 100 + at);
            sim_disk_crash_at(drive, at);
            is_whole = sim_process_run(process, writer_start, NULL) &&
                       sim_world_run_until(world, is_all_written, NULL, 1000000) == SIM_REACHED;
            ck_assert_int_eq(sim_process_end(process), is_whole ? SIM_ALIVE : SIM_CRASHED);
            sim_disk_crash_at(drive, 0);
            life_end(true);
            for (size_t i = 0; i < BLOCK_COUNT; i++) {
                char state = block_state(i);
                ck_assert_msg(i >= writer.done || state == 'y', "point %u seed %u: block %zu of %u is %c", (unsigned)at,
                              (unsigned)seed, i, writer.done, state);
                /* Finished but not called back, and then the next one under way. */
                ck_assert(i <= writer.done + 1 || state == 'n');
                seen[(unsigned)state] += i == writer.done || i == writer.done + 1;
            }
            life_begin();
            close_all();
        }
    }
    ck_assert_uint_gt(seen['y'], 10);
    ck_assert_uint_gt(seen['n'], 10);
    ck_assert_uint_gt(seen['p'], 10);
}
END_TEST

/* Goal: a durable write that fails fails all later ones; which is chosen by count. Method: sweep. */
START_TEST(failed_durable_write_fails_all_later_ones)
{
    for (unsigned at = 1; at <= BLOCK_COUNT; at++) {
        struct sim_fault fault = {.ops = SIM_OP_WRITE, .path = "wal", .err = ERR_NO_SPACE};
        open_all(at);
        fault_init(&fault.when, at, 1);
        sim_disk_fault_add(drive, &fault);
        ck_assert(sim_process_run(process, writer_start, NULL));
        ck_assert_int_eq(sim_world_run_until(world, is_all_written, NULL, 1000000), SIM_REACHED);
        for (unsigned i = 0; i < BLOCK_COUNT; i++) {
            ck_assert_int_eq(writer.errs[i], i + 1 < at ? OK : ERR_NO_SPACE);
        }
        sim_disk_fault_remove(drive, &fault);
        close_all();
    }
}
END_TEST

/* Goal: a stuck device holds the writes until it is released. */
START_TEST(stuck_write_waits)
{
    struct sim_fault fault = {.ops = SIM_OP_WRITE, .delay_us = SIM_STUCK};
    open_all(1);
    fault_init(&fault.when, 3, 1);
    sim_disk_fault_add(drive, &fault);
    ck_assert(sim_process_run(process, writer_start, NULL));
    ck_assert_int_eq(sim_world_run_until(world, is_all_written, NULL, 100000000), SIM_IDLE);
    ck_assert_uint_eq(writer.done, 2);
    sim_disk_fault_remove(drive, &fault);
    ck_assert_int_eq(sim_world_run_until(world, is_all_written, NULL, 1000000), SIM_REACHED);
    ck_assert_int_eq(writer.errs[BLOCK_COUNT - 1], OK);
    close_all();
}
END_TEST

/* ---- Space, reads, damage */

/* Goal: a full disk refuses with a part written, and takes more once something was removed. */
START_TEST(full_disk_refuses_and_recovers)
{
    static uint8_t bytes[40960];
    uint64_t free_size;
    open_all(1);
    sim_disk_set_capacity(drive, 32768);
    int file = open_file("/n1/a", DISK_CREATE);
    struct iovec iov = {.iov_base = bytes, .iov_len = sizeof(bytes)};
    ck_assert_int_eq(disk->pwritev(disk, file, 0, &iov, 1), ERR_NO_SPACE);
    ck_assert_int_eq(disk->free_space(disk, "/n1", &free_size), OK);
    ck_assert_uint_eq(free_size, 0);
    iov.iov_len = 20000;
    ck_assert_int_eq(disk->pwritev(disk, file, 0, &iov, 1), OK); /* what it has already */
    ck_assert_int_eq(disk->truncate(disk, file, 0), OK);
    ck_assert_int_eq(disk->free_space(disk, "/n1", &free_size), OK);
    ck_assert_uint_eq(free_size, 32768);
    ck_assert_int_eq(disk->pwritev(disk, file, 10000, &iov, 1), OK);
    close_all();
}
END_TEST

static unsigned reads_done;
static struct disk_read reading;
static uint8_t read_room[10];

static void on_read(struct disk_read *req, enum err err)
{
    ck_assert_int_eq(err, OK);
    ck_assert_uint_eq(req->got, 4);
    ck_assert_mem_eq(req->data, "alsa", 4);
    reads_done++;
}

static bool is_read(void *context)
{
    (void)context;
    return reads_done == 1;
}

/* Goal: reads that must not wait find a cold or half-cold page now and then; those that may wait find all. */
START_TEST(cold_pages_are_met)
{
    uint8_t data[1000];
    unsigned cold = 0;
    unsigned partly = 0;
    open_all(1);
    int file = open_file("/n1/a", DISK_CREATE);
    put(file, 0, "balsa", 5);
    reads_done = 0;
    reading = (struct disk_read){.file = file, .position = 1, .data = read_room, .size = 10, .cb = on_read};
    disk->read(disk, &reading);
    ck_assert_int_eq(sim_world_run_until(world, is_read, NULL, 1000000), SIM_REACHED);
    for (int i = 0; i < 1000; i++) {
        size_t got;
        enum err err = disk->pread_nowait(disk, file, 0, data, 5, &got);
        cold += err == ERR_WOULD_BLOCK;
        partly += err == OK && got < 5;
        ck_assert(err == ERR_WOULD_BLOCK || (err == OK && got > 0));
    }
    ck_assert_uint_gt(cold, 20);
    ck_assert_uint_gt(partly, 20);
    close_all();
}
END_TEST

enum {
    WALK_TEXT_SIZE = 64
};

static void walk_add(const char *path, uint64_t size, bool is_directory, void *context)
{
    char *text = context;
    size_t used = strlen(text);
    (void)size;
    ck_assert(!is_directory);
    (void)snprintf(text + used, WALK_TEXT_SIZE - used, "%s ", path);
}

/* Goal: the test's own hands change what is durable. */
START_TEST(damage_is_done_by_hand)
{
    char text[WALK_TEXT_SIZE] = "";
    char byte;
    open_all(1);
    ck_assert_int_eq(disk->mkdir(disk, "/n1/d"), OK);
    (void)open_file("/n1/d/b", DISK_CREATE);
    int file = open_file("/n1/a", DISK_CREATE);
    put(file, 0, "balsa", 5);
    ck_assert_int_eq(disk->sync(disk, file), OK);
    ck_assert_int_eq(disk->sync_dir(disk, "/n1"), OK);
    ck_assert_int_eq(disk->sync_dir(disk, "/n1/d"), OK);
    sim_disk_walk(drive, "/n1", walk_add, text);
    ck_assert_str_eq(text, "/n1/a /n1/d/b ");
    ck_assert(sim_disk_flip_bit(drive, "/n1/a", 0, 1));
    ck_assert(!sim_disk_flip_bit(drive, "/n1/a", 5, 1));
    ck_assert(sim_disk_cut(drive, "/n1/a", 3));
    ck_assert(sim_disk_remove(drive, "/n1/d/b"));
    ck_assert(!sim_disk_remove(drive, "/n1/d/b"));
    life_end(true);
    ck_assert(sim_disk_peek(drive, "/n1/a", 0, &byte, 1));
    ck_assert_int_eq(byte, 'b' ^ 2);
    ck_assert(!sim_disk_peek(drive, "/n1/a", 3, &byte, 1));
    ck_assert(!is_there("/n1/d/b"));
    life_begin();
    close_all();
}
END_TEST

static Suite *sim_disk_suite(void)
{
    Suite *suite = suite_create("sim_disk");
    TCase *tcase = tcase_create("contents");
    tcase_add_loop_test(tcase, cache_agrees_with_a_plain_array, 0, 20);
    tcase_add_test(tcase, power_loss_takes_unsynced_sectors_by_themselves);
    tcase_add_test(tcase, power_loss_keeps_or_takes_back_a_cut_as_a_whole);
    tcase_add_test(tcase, failed_sync_forgets);
    suite_add_tcase(suite, tcase);
    tcase = tcase_create("names");
    tcase_add_test(tcase, names_are_durable_when_their_directory_is_synced);
    tcase_add_test(tcase, rename_is_kept_or_lost_as_a_whole);
    tcase_add_test(tcase, names_are_made_moved_listed_and_removed);
    suite_add_tcase(suite, tcase);
    tcase = tcase_create("writes");
    tcase_add_test(tcase, durable_writes_survive_and_the_one_under_way_may_be_torn);
    tcase_add_test(tcase, failed_durable_write_fails_all_later_ones);
    tcase_add_test(tcase, stuck_write_waits);
    suite_add_tcase(suite, tcase);
    tcase = tcase_create("rest");
    tcase_add_test(tcase, full_disk_refuses_and_recovers);
    tcase_add_test(tcase, cold_pages_are_met);
    tcase_add_test(tcase, damage_is_done_by_hand);
    suite_add_tcase(suite, tcase);
    return suite;
}

TEST_MAIN(sim_disk_suite)
