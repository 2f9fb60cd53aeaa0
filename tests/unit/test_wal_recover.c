/* Damage to a write-ahead log at rest: every bit, every cut, every missing, exchanged or repeated piece of a small
 * log is either told with file and position, or could be a torn tail, and then all before it is replayed. Never
 * wrong bytes. */
#include "replication/wal_recover.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/crc32c.h"
#include "base/limits.h"
#include "base/mem.h"
#include "replication/wal_format.h"
#include "tests/lib/sim_disk.h"
#include "tests/lib/test.h"
#include "tests/lib/wal_world.h"

enum {
    PLACE_COUNT_MAX = 64,
    FRAME_COUNT = 34,
    FILE_SIZE = 64 << 10,
    SECTOR_SIZE = 512
};

static const struct wal_options small = {.file_size = FILE_SIZE, .file_count_max = 8};

struct place { /* of a unit */
    char path[64];
    uint64_t file;
    uint64_t position;
    size_t size;      /* header and payload */
    uint64_t next_id; /* of the first frame in it or behind it */
};

static struct wal_world world;
static struct place places[PLACE_COUNT_MAX];
static size_t place_count;
static uint64_t file_count; /* with units */
static struct errmsg msg;
static enum err scan_err;
static uint64_t first_id; /* that replay must begin with; 0: any */
static struct wal_recovered recovered;

static const char *path_of(uint64_t file)
{
    static char paths[2][64];
    static size_t turn;
    char *path = paths[turn++ % 2];
    snprintf(path, sizeof(paths[0]), WAL_WORLD_DIR "/%020" PRIu64 ".wal", file);
    return path;
}

/* ---- Files by hand ---------------------------------------------------------------------------------------------- */

static void file_get(uint64_t file, uint8_t data[FILE_SIZE])
{
    ck_assert(sim_disk_peek(world.disk, path_of(file), 0, data, FILE_SIZE));
}

struct put {
    const char *path;
    const uint8_t *data;
};

static void call_put(void *context)
{
    const struct put *put = context;
    struct disk *disk = world.env->disk;
    struct iovec iov = {(void *)(uintptr_t)put->data, FILE_SIZE};
    int fd;
    ck_assert_int_eq(disk->open(disk, put->path, DISK_CREATE, &fd, NULL), OK);
    ck_assert_int_eq(disk->pwritev(disk, fd, 0, &iov, 1), OK);
    ck_assert_int_eq(disk->sync(disk, fd), OK);
    disk->close(disk, fd);
}

static void path_put(const char *path, const uint8_t data[FILE_SIZE])
{
    struct put put = {path, data};
    ck_assert(sim_process_run(world.process, call_put, &put));
}

static void file_put(uint64_t file, const uint8_t data[FILE_SIZE])
{
    path_put(path_of(file), data);
}

static void file_remove(uint64_t file)
{
    ck_assert(sim_disk_remove(world.disk, path_of(file)));
}

static void poke(const char *path, uint64_t position, const void *data, size_t size)
{
    if (!sim_disk_poke(world.disk, path, position, data, size)) {
        ck_abort_msg("no file %s", path);
    }
}

static void flip(const char *path, uint64_t position, uint8_t mask)
{
    uint8_t byte;
    if (!sim_disk_peek(world.disk, path, position, &byte, 1)) {
        ck_abort_msg("no byte %llu in %s", (unsigned long long)position, path);
    }
    byte ^= mask;
    poke(path, position, &byte, 1);
}

static void places_find(void)
{
    static uint8_t data[FILE_SIZE];
    uint64_t id = 1;
    uint64_t size;
    place_count = 0;
    for (uint64_t file = 1; sim_disk_stat(world.disk, path_of(file), &size); file++) {
        struct wal_file_header file_header;
        file_get(file, data);
        ck_assert_int_eq(wal_file_header_decode((struct bytes){data, size}, &file_header, NULL), OK);
        struct wal_unit_header header;
        for (size_t at = WAL_BLOCK_SIZE;
             at < size && wal_unit_header_decode(data + at, file_header.generation, &header) == WAL_UNIT_GOOD;
             at += wal_unit_size(header.payload_size)) {
            ck_assert_uint_lt(place_count, PLACE_COUNT_MAX);
            struct place *place = &places[place_count++];
            *place = (struct place){.file = file, .position = at, .next_id = id};
            place->size = WAL_UNIT_HEADER_SIZE + header.payload_size;
            memcpy(place->path, path_of(file), sizeof(place->path));
            id += id + header.frame_count <= FRAME_COUNT + 1 ? header.frame_count : 0; /* not WAL_STOP */
            file_count = file;
        }
    }
}

/* ---- Recovery --------------------------------------------------------------------------------------------------- */

static void on_replay(void *owner, const struct wal_record *record)
{
    wal_world_replay(owner, record);
}

static void call_recover(void *context)
{
    (void)context;
    scan_err = wal_recover(world.env, WAL_WORLD_DIR, &world, on_replay, &recovered, &msg);
    if (scan_err == OK) {
        wal_files_free(&recovered.files);
        wal_files_free(&recovered.leftovers);
    }
}

static enum err recover(void)
{
    world.replay_id = first_id;
    world.first_id = 0;
    msg.text[0] = '\0';
    if (!sim_process_run(world.process, call_recover, NULL)) {
        ck_abort_msg("died");
    }
    return scan_err;
}

static void ignore(void *owner, const struct wal_record *record)
{
    (void)owner;
    (void)record;
}

static void call_scan(void *context)
{
    (void)context;
    scan_err = wal_scan(world.env, WAL_WORLD_DIR, NULL, ignore, &msg);
}

static enum err scan(void)
{
    ck_assert(sim_process_run(world.process, call_scan, NULL));
    return scan_err;
}

static void process_open(void)
{
    world.process = sim_process_open(world.sim, world.disk, "n1");
    world.env = sim_process_env(world.process, 0);
    world.is_alive = true;
    places_find();
}

/* A log of one frame a unit in three files; it lost power, so that its last unit is one of frames. */
static void setup_open(void)
{
    first_id = 1;
    wal_world_init(&world, &small, 1);
    ck_assert(wal_world_open(&world, false));
    for (int i = 0; i < FRAME_COUNT; i++) {
        wal_world_append(&world, WAL_ENTRY, (size_t)(i * 7 % 60));
        wal_world_settle(&world);
    }
    wal_world_die(&world, WAL_POWER_LOSS);
    process_open();
    ck_assert_uint_eq(file_count, 3);
}

static void setup_closed(void)
{
    setup_open();
    sim_process_close(world.process);
    ck_assert(wal_world_open(&world, false));
    ck_assert(wal_world_close(&world));
    process_open();
}

static void teardown(void)
{
    sim_process_close(world.process);
    wal_world_deinit(&world);
}

/* Plain comparisons: Check's assertions cost a system call each, and these are passed a million times. */
static void expect_damaged(enum err err, const char *path, uint64_t position, const char *what)
{
    char text[128];
    snprintf(text, sizeof text, "%s: position %" PRIu64, path, position);
    if (err != ERR_DAMAGED || strstr(msg.text, text) == NULL) {
        ck_abort_msg("%s at %s: %s: %s", what, text, err_name(err), msg.text);
    }
}

static void expect_replayed(enum err err, uint64_t end_id, const char *what)
{
    if (err != OK || world.replay_id != end_id) {
        ck_abort_msg("%s: %s: %s; %llu frames instead of %llu", what, err_name(err), msg.text,
                     (unsigned long long)world.replay_id - 1, (unsigned long long)end_id - 1);
    }
}

/* A unit is bad: the last one is cut, all others are damage, and nothing behind is replayed. */
static void expect_unit_bad(enum err err, size_t index, const char *what)
{
    const struct place *place = &places[index];
    if (index + 1 == place_count) {
        expect_replayed(err, place->next_id, what);
        return;
    }
    expect_damaged(err, place->path, place->position, what);
    if (world.replay_id != place->next_id) {
        ck_abort_msg("%s: replayed up to %llu", what, (unsigned long long)world.replay_id);
    }
}

/* Goal: no flipped bit of a unit is believed. Method: every bit of every header and payload, one at a time. */
START_TEST(every_flipped_bit_of_a_unit_is_told_or_cut)
{
    for (size_t i = 0; i < place_count; i++) {
        for (size_t bit = 0; bit < 8 * places[i].size; bit++) {
            flip(places[i].path, places[i].position + bit / 8, (uint8_t)(1 << bit % 8));
            expect_unit_bad(recover(), i, "flipped bit of a unit");
            flip(places[i].path, places[i].position + bit / 8, (uint8_t)(1 << bit % 8));
        }
    }
    expect_replayed(recover(), FRAME_COUNT + 1, "unharmed");
}
END_TEST

/* Goal: a file whose header is not whole is not read. Method: each byte of each file's first block. */
START_TEST(every_flipped_byte_of_a_file_header_is_told)
{
    for (uint64_t file = 1; file <= file_count; file++) {
        for (size_t at = 0; at < WAL_BLOCK_SIZE; at++) {
            flip(path_of(file), at, 0x81);
            expect_damaged(recover(), path_of(file), 0, "flipped byte of a file header");
            flip(path_of(file), at, 0x81);
        }
    }
}
END_TEST

/* Goal: what holds no data harms nothing. Method: bits of padding and of blocks behind the end. */
START_TEST(flipped_bits_where_nothing_is_do_no_harm)
{
    for (uint64_t file = 1; file <= file_count; file++) {
        for (size_t at = WAL_BLOCK_SIZE; at < FILE_SIZE; at += 61) {
            bool is_used = false;
            for (size_t i = 0; i < place_count; i++) {
                is_used = is_used || (places[i].file == file && at >= places[i].position &&
                                      at < places[i].position + places[i].size);
            }
            if (!is_used) {
                flip(path_of(file), at, 0x10);
                expect_replayed(recover(), FRAME_COUNT + 1, "flipped bit of nothing");
                flip(path_of(file), at, 0x10);
            }
        }
    }
}
END_TEST

/* Goal: a write that never arrived, or arrived elsewhere, is seen. Method: each unit's block is zeroed, and
 * overwritten with each other unit of the same file. */
START_TEST(lost_and_misdirected_writes_are_told_or_cut)
{
    static const uint8_t zeros[WAL_BLOCK_SIZE];
    uint8_t kept[WAL_BLOCK_SIZE];
    uint8_t other[WAL_BLOCK_SIZE];
    for (size_t i = 0; i < place_count; i++) {
        const struct place *place = &places[i];
        ck_assert(sim_disk_peek(world.disk, place->path, place->position, kept, sizeof(kept)));
        poke(place->path, place->position, zeros, sizeof(zeros));
        expect_unit_bad(recover(), i, "lost write");
        for (size_t j = 0; j < place_count; j++) {
            if (j != i && places[j].file == place->file) {
                ck_assert(sim_disk_peek(world.disk, place->path, places[j].position, other, sizeof(other)));
                poke(place->path, place->position, other, sizeof(other));
                expect_damaged(recover(), place->path, place->position, "misdirected write");
            }
        }
        poke(place->path, place->position, kept, sizeof(kept));
    }
}
END_TEST

/* Goal: a file that was cut is seen, wherever. Method: each file is cut at each sector, the last one first. */
START_TEST(every_cut_of_a_file_is_told)
{
    static uint8_t whole[FILE_SIZE];
    for (uint64_t file = 1; file <= file_count; file++) {
        file_get(file, whole);
        for (size_t left = FILE_SIZE / SECTOR_SIZE; left > 0; left--) {
            size_t cut = (left - 1) * SECTOR_SIZE;
            ck_assert(sim_disk_cut(world.disk, path_of(file), cut));
            expect_damaged(recover(), path_of(file), cut < WAL_BLOCK_SIZE ? 0 : cut, "cut");
        }
        poke(path_of(file), 0, whole, sizeof(whole));
        expect_replayed(recover(), FRAME_COUNT + 1, "restored");
    }
}
END_TEST

/* Goal: files that are missing, or exchanged, are seen. Method: each file, each pair. */
START_TEST(missing_and_exchanged_files_are_told)
{
    static uint8_t data[4][FILE_SIZE];
    first_id = 0; /* that the first file is missing is told by the last unit */
    for (uint64_t file = 1; file <= file_count; file++) {
        file_get(file, data[file]);
    }
    for (uint64_t file = 1; file <= file_count; file++) {
        file_remove(file);
        expect_damaged(recover(), path_of(file), 0, "missing");
        for (uint64_t other = 1; other <= file_count; other++) {
            if (other != file) {
                file_put(file, data[other]);
                file_remove(other);
                ck_assert_int_eq(recover(), ERR_DAMAGED);
                file_put(other, data[other]);
                file_remove(file);
            }
        }
        file_put(file, data[file]);
    }
    /* The spare file behind the last is no loss; without it, the loss of the last one leaves no gap. */
    file_remove(file_count + 1);
    expect_replayed(recover(), FRAME_COUNT + 1, "no spare");
    file_remove(file_count);
    expect_damaged(recover(), path_of(file_count), 0, "last one missing");
    file_put(file_count, data[file_count]);
    file_put(file_count + 1, data[file_count]);
    expect_damaged(recover(), path_of(file_count + 1), 0, "a copy");
    ck_assert_ptr_nonnull(strstr(msg.text, "that of file 3"));
    file_remove(file_count + 1);
    expect_replayed(recover(), FRAME_COUNT + 1, "restored");
    for (uint64_t file = 1; file <= file_count; file++) {
        file_remove(file);
    }
    file_put(9, data[1]);
    expect_damaged(recover(), path_of(9), 0, "all but one of another number");
}
END_TEST

/* Goal: a file of the same number from another log is seen. Method: an empty one takes each one's place. */
START_TEST(foreign_files_are_told)
{
    static uint8_t kept[FILE_SIZE];
    static uint8_t foreign[FILE_SIZE];
    for (uint64_t file = 2; file <= file_count; file++) {
        file_get(file, kept);
        wal_file_header_encode(&(struct wal_file_header){file, 12345, FILE_SIZE}, foreign);
        poke(path_of(file), 0, foreign, sizeof(foreign));
        expect_damaged(recover(), path_of(file), 0, "another log's file");
        poke(path_of(file), 0, kept, sizeof(kept));
    }
    expect_replayed(recover(), FRAME_COUNT + 1, "restored");
}
END_TEST

/* Goal: of a log that was closed, the loss of the last frames is seen, too. Method: damage to the last unit of
 * frames. */
START_TEST(clean_end_makes_damage_of_the_last_unit_seen)
{
    const struct place *last = &places[place_count - 2];
    ck_assert_uint_eq(places[place_count - 1].next_id, FRAME_COUNT + 1);
    ck_assert_uint_eq(last->next_id, FRAME_COUNT);
    flip(last->path, last->position + WAL_UNIT_HEADER_SIZE, 1);
    expect_damaged(recover(), last->path, last->position, "last unit");
    flip(last->path, last->position + WAL_UNIT_HEADER_SIZE, 1);
    ck_assert_int_eq(recover(), OK);
    ck_assert(recovered.is_stopped);
}
END_TEST

/* Goal: frames that do not fill their unit exactly are damage even under a right checksum. Method: units written by
 * hand with wrong sizes, kinds and counts. */
START_TEST(frames_that_do_not_add_up_are_told)
{
    static const struct {
        size_t payload_size; /* said by the frame; 8 are there */
        int kind;
        uint32_t frame_count;
    } cases[] = {
        {9, WAL_ENTRY, 1},    {7, WAL_ENTRY, 1}, {8, 0, 1},
        {8, WAL_STOP + 1, 1}, {8, WAL_ENTRY, 2}, {ENTRY_SIZE_MAX, WAL_ENTRY, 1},
    };
    const struct place *place = &places[place_count - 1];
    static uint8_t data[FILE_SIZE];
    uint8_t *unit = data + place->position;
    uint8_t *payload = unit + WAL_UNIT_HEADER_SIZE;
    struct wal_file_header file;
    struct wal_unit_header header;
    file_get(place->file, data);
    ck_assert_int_eq(wal_file_header_decode((struct bytes){data, FILE_SIZE}, &file, NULL), OK);
    ck_assert_int_eq(wal_unit_header_decode(unit, file.generation, &header), WAL_UNIT_GOOD);
    const struct wal_frame frame = {.kind = (enum wal_kind)cases[_i].kind, .index = 1};
    wal_frame_encode(&frame, cases[_i].payload_size, payload);
    memset(payload + WAL_FRAME_HEADER_SIZE, 'x', 8);
    header.payload_size = WAL_FRAME_HEADER_SIZE + 8;
    header.frame_count = cases[_i].frame_count;
    header.payload_crc = crc32c(0, (struct bytes){payload, header.payload_size});
    wal_unit_header_encode(&header, unit);
    poke(place->path, 0, data, sizeof(data));
    expect_damaged(scan(), place->path, place->position, "bad frame");
}
END_TEST

/* Goal: scanning shows what opening would, and changes nothing, not even a torn tail; a directory that is not
 * there is told. Method: a torn log is scanned; changes of the disk are counted. */
START_TEST(scan_changes_nothing)
{
    const struct place *last = &places[place_count - 1];
    flip(last->path, last->position + WAL_UNIT_HEADER_SIZE, 1);
    uint64_t changes = sim_disk_change_count(world.disk);
    ck_assert_int_eq(scan(), OK);
    expect_replayed(recover(), last->next_id, "torn");
    ck_assert(recovered.is_torn);
    ck_assert_uint_eq(recovered.position, last->position);
    ck_assert_uint_eq(sim_disk_change_count(world.disk), changes);
}
END_TEST

/* Goal: a disk that cannot be read is told as that, not as damage, and nothing is changed. Method: each read and
 * each opening of a recovery fails once. */
START_TEST(failed_reads_are_no_damage)
{
    uint64_t changes = sim_disk_change_count(world.disk);
    for (unsigned at = 1;; at++) {
        struct sim_fault fault = {.ops = SIM_OP_OPEN | SIM_OP_PREAD, .err = ERR_IO};
        fault_init(&fault.when, at, 1);
        sim_disk_fault_add(world.disk, &fault);
        enum err err = recover();
        sim_disk_fault_remove(world.disk, &fault);
        if (fault.hit_count == 0) {
            ck_assert_uint_gt(at, 6);
            break;
        }
        ck_assert_int_eq(err, ERR_IO);
        ck_assert_ptr_nonnull(strstr(msg.text, WAL_WORLD_DIR));
    }
    ck_assert_uint_eq(sim_disk_change_count(world.disk), changes);
}
END_TEST

/* Goal: a torn unit cannot come to life again. Method: a log with a torn last unit is opened, then loses power at
 * once: the unit's block is zero, so that it would not be there even if its payload were mended. */
START_TEST(torn_tail_is_cut_durably_before_anything_is_written)
{
    const struct place *last = &places[place_count - 1];
    uint8_t block[WAL_BLOCK_SIZE];
    flip(last->path, last->position + WAL_UNIT_HEADER_SIZE, 1);
    sim_process_close(world.process);
    world.durable_id = last->next_id;
    world.durable_lsn = WAL_LSN_FIRST;
    ck_assert(wal_world_open(&world, false));
    wal_world_die(&world, WAL_POWER_LOSS);
    ck_assert(sim_disk_peek(world.disk, last->path, last->position, block, sizeof(block)));
    for (size_t i = 0; i < sizeof(block); i++) {
        ck_assert_msg(block[i] == 0, "byte %zu", i);
    }
    process_open();
}
END_TEST

/* Goal: only names of the log's own form are looked at, and files that were being made count for nothing; but alone
 * they tell of a log that was there. Method: strange names beside the log; then the log's files are taken away. */
START_TEST(other_names_are_no_files_of_the_log)
{
    static const char *const names[] = {
        WAL_WORLD_DIR "/notes.txt",
        WAL_WORLD_DIR "/1.wal",
        WAL_WORLD_DIR "/0000000000000000000x.wal",
        WAL_WORLD_DIR "/00000000000000000000.wal",
        WAL_WORLD_DIR "/99999999999999999999.wal",
        WAL_WORLD_DIR "/00000000000000000009.new",
    };
    static const uint8_t nothing[FILE_SIZE];
    for (size_t i = 0; i < array_count(names); i++) {
        path_put(names[i], nothing);
    }
    expect_replayed(recover(), FRAME_COUNT + 1, "strange names");
    for (uint64_t file = 1; file <= file_count + 1; file++) {
        file_remove(file);
    }
    expect_damaged(recover(), path_of(8), 0, "a file in the making is all there is");
}
END_TEST

/* Goal: a log that does not begin with its first file must begin with a whole unit. Method: the last file alone, its
 * first unit zeroed. */
START_TEST(first_unit_of_a_released_log_must_be_whole)
{
    static const uint8_t zeros[WAL_BLOCK_SIZE];
    first_id = 0;
    for (uint64_t file = 1; file < file_count; file++) {
        file_remove(file);
    }
    file_remove(file_count + 1);
    poke(path_of(file_count), WAL_BLOCK_SIZE, zeros, sizeof(zeros));
    expect_damaged(recover(), path_of(file_count), WAL_BLOCK_SIZE, "no first unit");
}
END_TEST

/* Goal: another version of the format is refused as such. Method: a header made by hand. */
START_TEST(another_version_is_refused)
{
    uint8_t block[WAL_BLOCK_SIZE];
    ck_assert(sim_disk_peek(world.disk, path_of(1), 0, block, sizeof(block)));
    be32_put(block + 8, WAL_VERSION + 1);
    be32_put(block + sizeof(block) - 4, crc32c(0, (struct bytes){block, sizeof(block) - 4}));
    poke(path_of(1), 0, block, sizeof(block));
    ck_assert_int_eq(recover(), ERR_UNSUPPORTED);
    ck_assert_ptr_nonnull(strstr(msg.text, "version 2"));
}
END_TEST

static Suite *wal_recover_suite(void)
{
    Suite *suite = suite_create("wal_recover");
    TCase *open = tcase_create("open end");
    tcase_add_checked_fixture(open, setup_open, teardown);
    tcase_set_timeout(open, 120);
    tcase_add_test(open, every_flipped_bit_of_a_unit_is_told_or_cut);
    tcase_add_test(open, every_flipped_byte_of_a_file_header_is_told);
    tcase_add_test(open, flipped_bits_where_nothing_is_do_no_harm);
    tcase_add_test(open, lost_and_misdirected_writes_are_told_or_cut);
    tcase_add_test(open, every_cut_of_a_file_is_told);
    tcase_add_test(open, missing_and_exchanged_files_are_told);
    tcase_add_test(open, foreign_files_are_told);
    tcase_add_loop_test(open, frames_that_do_not_add_up_are_told, 0, 6);
    tcase_add_test(open, scan_changes_nothing);
    tcase_add_test(open, failed_reads_are_no_damage);
    tcase_add_test(open, torn_tail_is_cut_durably_before_anything_is_written);
    tcase_add_test(open, other_names_are_no_files_of_the_log);
    tcase_add_test(open, first_unit_of_a_released_log_must_be_whole);
    tcase_add_test(open, another_version_is_refused);
    suite_add_tcase(suite, open);
    TCase *closed = tcase_create("clean end");
    tcase_add_checked_fixture(closed, setup_closed, teardown);
    tcase_set_timeout(closed, 120);
    tcase_add_test(closed, every_flipped_bit_of_a_unit_is_told_or_cut);
    tcase_add_test(closed, clean_end_makes_damage_of_the_last_unit_seen);
    tcase_add_test(closed, missing_and_exchanged_files_are_told);
    suite_add_tcase(suite, closed);
    return suite;
}

TEST_MAIN(wal_recover_suite)
