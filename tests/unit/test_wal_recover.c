/* Damage to a write-ahead log at rest: every bit, every cut, every missing, exchanged or repeated piece of a small
 * log is either told with file and position, or could be a torn tail, and then all before it is replayed. Never
 * wrong bytes. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/crc32c.h"
#include "base/limits.h"
#include "base/mem.h"
#include "replication/wal_format.h"
#include "replication/wal_recover.h"
#include "tests/lib/test.h"
#include "tests/lib/wal_world.h"

enum {
    PLACE_COUNT_MAX = 64,
    FRAME_COUNT = 34
};

static const struct wal_options small = {.file_size = KIB(64), .file_count_max = 8};

struct place { /* of a unit */
    char path[64];
    uint64_t file;
    uint64_t position;
    size_t size; /* header and payload */
    enum wal_unit_kind kind;
    uint64_t next_id; /* of the first frame in it or behind it */
};

static struct world world;
static struct place places[PLACE_COUNT_MAX];
static size_t place_count;
static uint64_t file_count; /* with units */
static struct errmsg msg;
static uint64_t first_id; /* that replay must begin with; 0: any */

static const char *path_of(uint64_t file)
{
    static char paths[2][64];
    static size_t turn;
    char *path = paths[turn++ % 2];
    snprintf(path, sizeof paths[0], WORLD_DIR "/%020" PRIu64 ".wal", file);
    return path;
}

static void places_find(struct crash_disk *disk)
{
    place_count = 0;
    uint64_t id = 1;
    for (uint64_t file = 1;; file++) {
        size_t size;
        const uint8_t *data = crash_disk_data(disk, path_of(file), &size);
        struct wal_file_header file_header;
        if (data == NULL) {
            return;
        }
        ck_assert_int_eq(wal_file_header_decode((struct bytes){data, size}, &file_header, NULL), OK);
        struct wal_unit_header header;
        for (size_t at = WAL_BLOCK_SIZE;
             at < size && wal_unit_header_decode(data + at, file_header.generation, &header) == WAL_UNIT_GOOD;
             at += wal_unit_size(header.payload_size)) {
            ck_assert_uint_lt(place_count, PLACE_COUNT_MAX);
            struct place *place = &places[place_count++];
            *place = (struct place){.file = file, .position = at, .kind = header.kind, .next_id = id};
            place->size = WAL_UNIT_HEADER_SIZE + header.payload_size;
            memcpy(place->path, path_of(file), sizeof place->path);
            id += id + header.frame_count <= FRAME_COUNT + 1 ? header.frame_count : 0; /* not WAL_STOP */
            file_count = file;
        }
    }
}

static void on_replay(void *owner, const struct wal_record *record)
{
    world_replay(owner, record);
}

static enum err recover(struct wal_recovered *recovered)
{
    struct wal_recovered unused;
    struct wal_recovered *out = recovered != NULL ? recovered : &unused;
    world.replay_id = first_id;
    memset(&msg, 0, sizeof msg);
    enum err err = wal_recover(&world.crash->env, WORLD_DIR, &world, on_replay, out, &msg);
    if (err == OK) {
        wal_files_free(&out->files);
        wal_files_free(&out->leftovers);
    }
    return err;
}

/* A log of one frame a unit in three files; not closed, so that its last unit is one of frames. */
static void setup_open(void)
{
    first_id = 1;
    world_init(&world, &small, 1);
    world_open(&world, NULL);
    for (int i = 0; i < FRAME_COUNT; i++) {
        world_append(&world, WAL_ENTRY, (size_t)(i * 7 % 60));
        world_settle(&world);
    }
    struct crash_disk *image = crash_disk_crash(world.crash->disk, CRASH_DROP, &world.rng.rng);
    uint64_t durable_lsn = world.durable_lsn;
    crash_disk_free(world_close(&world));
    world.durable_lsn = durable_lsn; /* the image has no WAL_STOP */
    world.crash = crash_env_new(1, image);
    places_find(image);
    ck_assert_uint_eq(file_count, 3);
}

static void setup_closed(void)
{
    setup_open();
    struct crash_disk *disk = crash_env_free(world.crash);
    world_open(&world, disk);
    disk = world_close(&world);
    world.crash = crash_env_new(1, disk);
    places_find(disk);
}

static void teardown(void)
{
    crash_disk_free(crash_env_free(world.crash));
    world_deinit(&world);
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
        size_t size;
        uint8_t *data = crash_disk_data(world.crash->disk, places[i].path, &size) + places[i].position;
        for (size_t bit = 0; bit < 8 * places[i].size; bit++) {
            data[bit / 8] ^= (uint8_t)(1 << bit % 8);
            expect_unit_bad(recover(NULL), i, "flipped bit of a unit");
            data[bit / 8] ^= (uint8_t)(1 << bit % 8);
        }
    }
    expect_replayed(recover(NULL), FRAME_COUNT + 1, "unharmed");
}
END_TEST

/* Goal: a file whose header is not whole is not read. Method: each byte of each file's first block, its lowest and
 * highest bit. */
START_TEST(every_flipped_byte_of_a_file_header_is_told)
{
    for (uint64_t file = 1; file <= file_count; file++) {
        size_t size;
        uint8_t *data = crash_disk_data(world.crash->disk, path_of(file), &size);
        for (size_t at = 0; at < WAL_BLOCK_SIZE; at++) {
            data[at] ^= 0x81;
            expect_damaged(recover(NULL), path_of(file), 0, "flipped byte of a file header");
            data[at] ^= 0x81;
        }
    }
}
END_TEST

/* Goal: what holds no data harms nothing. Method: bits of padding and of blocks behind the end. */
START_TEST(flipped_bits_where_nothing_is_do_no_harm)
{
    for (uint64_t file = 1; file <= file_count; file++) {
        size_t size;
        uint8_t *data = crash_disk_data(world.crash->disk, path_of(file), &size);
        for (size_t at = WAL_BLOCK_SIZE; at < size; at += 61) {
            bool is_used = false;
            for (size_t i = 0; i < place_count; i++) {
                is_used = is_used || (places[i].file == file && at >= places[i].position &&
                                      at < places[i].position + places[i].size);
            }
            if (!is_used) {
                data[at] ^= 0x10;
                expect_replayed(recover(NULL), FRAME_COUNT + 1, "flipped bit of nothing");
                data[at] ^= 0x10;
            }
        }
    }
}
END_TEST

/* Goal: a write that never arrived, or arrived elsewhere, is seen. Method: each unit's blocks are zeroed, and
 * overwritten with each other unit of the same file. */
START_TEST(lost_and_misdirected_writes_are_told_or_cut)
{
    uint8_t *kept = mem_alloc_raw(WAL_BLOCK_SIZE);
    for (size_t i = 0; i < place_count; i++) {
        size_t size;
        uint8_t *data = crash_disk_data(world.crash->disk, places[i].path, &size);
        uint8_t *block = data + places[i].position;
        memcpy(kept, block, WAL_BLOCK_SIZE);
        memset(block, 0, WAL_BLOCK_SIZE);
        expect_unit_bad(recover(NULL), i, "lost write");
        for (size_t j = 0; j < place_count; j++) {
            if (j != i && places[j].file == places[i].file) {
                memcpy(block, data + places[j].position, WAL_BLOCK_SIZE);
                expect_damaged(recover(NULL), places[i].path, places[i].position, "misdirected write");
            }
        }
        memcpy(block, kept, WAL_BLOCK_SIZE);
    }
    mem_free(kept);
}
END_TEST

/* Goal: a file that was cut is seen, wherever. Method: each file is cut at each sector, last cut first. */
START_TEST(every_cut_of_a_file_is_told)
{
    for (uint64_t file = 1; file <= file_count; file++) {
        size_t size;
        uint8_t *data = crash_disk_data(world.crash->disk, path_of(file), &size);
        struct bytes whole = {mem_alloc_raw(size), size};
        memcpy((void *)(uintptr_t)whole.data, data, size);
        for (size_t cut = size - CRASH_SECTOR_SIZE; cut < size; cut -= CRASH_SECTOR_SIZE) { /* wraps at the end */
            crash_disk_cut(world.crash->disk, path_of(file), cut);
            expect_damaged(recover(NULL), path_of(file), cut < WAL_BLOCK_SIZE ? 0 : cut, "cut");
        }
        crash_disk_put(world.crash->disk, path_of(file), whole);
        mem_free((void *)(uintptr_t)whole.data);
        expect_replayed(recover(NULL), FRAME_COUNT + 1, "restored");
    }
}
END_TEST

/* Goal: files that are missing, exchanged or of another log are seen. Method: each file, each pair. */
START_TEST(missing_and_foreign_files_are_told)
{
    struct crash_disk *disk = world.crash->disk;
    first_id = 0; /* that the first file is missing is told by the last unit */
    for (uint64_t file = 1; file <= file_count; file++) {
        ck_assert_int_eq(crash_disk_rename(disk, path_of(file), "elsewhere"), OK);
        expect_damaged(recover(NULL), path_of(file), 0, "missing");
        for (uint64_t other = 1; other <= file_count; other++) {
            if (other != file) {
                ck_assert_int_eq(crash_disk_rename(disk, path_of(other), path_of(file)), OK);
                ck_assert_int_eq(recover(NULL), ERR_DAMAGED);
                ck_assert_int_eq(crash_disk_rename(disk, path_of(file), path_of(other)), OK);
            }
        }
        ck_assert_int_eq(crash_disk_rename(disk, "elsewhere", path_of(file)), OK);
    }
    /* The spare file behind the last is no loss; without it, the loss of the last one leaves no gap. */
    ck_assert_int_eq(crash_disk_unlink(disk, path_of(file_count + 1)), OK);
    expect_replayed(recover(NULL), FRAME_COUNT + 1, "no spare");
    ck_assert_int_eq(crash_disk_rename(disk, path_of(file_count), "elsewhere"), OK);
    expect_damaged(recover(NULL), path_of(file_count), 0, "last one missing");
    ck_assert_int_eq(crash_disk_rename(disk, "elsewhere", path_of(file_count)), OK);
    /* A file twice. */
    size_t twin_size;
    const uint8_t *twin = crash_disk_data(disk, path_of(file_count), &twin_size);
    crash_disk_put(disk, path_of(file_count + 1), (struct bytes){twin, twin_size});
    expect_damaged(recover(NULL), path_of(file_count + 1), 0, "a copy");
    ck_assert_ptr_nonnull(strstr(msg.text, "that of file 3"));
    ck_assert_int_eq(crash_disk_unlink(disk, path_of(file_count + 1)), OK);
    /* The same number, but of another log. */
    for (uint64_t file = 2; file <= file_count; file++) {
        size_t size;
        uint8_t *data = crash_disk_data(disk, path_of(file), &size);
        uint8_t *kept = mem_alloc_raw(size);
        memcpy(kept, data, size);
        memset(data, 0, size);
        wal_file_header_encode(&(struct wal_file_header){file, 12345, size}, data);
        expect_damaged(recover(NULL), path_of(file), 0, "another log's file");
        memcpy(data, kept, size);
        mem_free(kept);
    }
    first_id = 1;
    expect_replayed(recover(NULL), FRAME_COUNT + 1, "restored");
}
END_TEST

/* Goal: of a log that was closed, the loss of the last frames is seen, too. Method: damage to the last unit of
 * frames. */
START_TEST(clean_end_makes_damage_of_the_last_unit_seen)
{
    ck_assert_uint_eq(places[place_count - 1].next_id, FRAME_COUNT + 1);
    const struct place *last = &places[place_count - 2];
    ck_assert_uint_eq(last->next_id, FRAME_COUNT);
    size_t size;
    uint8_t *data = crash_disk_data(world.crash->disk, last->path, &size);
    data[last->position + WAL_UNIT_HEADER_SIZE] ^= 1;
    expect_damaged(recover(NULL), last->path, last->position, "last unit");
    data[last->position + WAL_UNIT_HEADER_SIZE] ^= 1;
    struct wal_recovered recovered;
    ck_assert_int_eq(recover(&recovered), OK);
    ck_assert(recovered.is_stopped);
}
END_TEST

static void ignore(void *owner, const struct wal_record *record)
{
    (void)owner;
    (void)record;
}

/* Goal: frames that do not fill their unit exactly are damage even under a right checksum. Method: units written by
 * hand with wrong sizes, kinds and counts. */
START_TEST(frames_that_do_not_add_up_are_told)
{
    static const struct {
        size_t payload_size; /* said by the frame; 8 are there */
        int kind;
        uint32_t frame_count;
    } cases[] = {{9, WAL_ENTRY, 1},    {7, WAL_ENTRY, 1}, {8, 0, 1},
                 {8, WAL_STOP + 1, 1}, {8, WAL_ENTRY, 2}, {ENTRY_SIZE_MAX, WAL_ENTRY, 1}};
    const struct place *place = &places[place_count - 1];
    size_t size;
    uint8_t *data = crash_disk_data(world.crash->disk, place->path, &size);
    struct wal_file_header file;
    ck_assert_int_eq(wal_file_header_decode((struct bytes){data, size}, &file, NULL), OK);
    uint8_t *unit = data + place->position;
    struct wal_unit_header header;
    ck_assert_int_eq(wal_unit_header_decode(unit, file.generation, &header), WAL_UNIT_GOOD);
    uint8_t *payload = unit + WAL_UNIT_HEADER_SIZE;
    wal_frame_encode(&(struct wal_frame){.kind = (enum wal_kind)cases[_i].kind, .index = 1}, cases[_i].payload_size,
                     payload);
    memset(payload + WAL_FRAME_HEADER_SIZE, 'x', 8);
    header.payload_size = WAL_FRAME_HEADER_SIZE + 8;
    header.frame_count = cases[_i].frame_count;
    header.payload_crc = crc32c(0, (struct bytes){payload, header.payload_size});
    wal_unit_header_encode(&header, unit);
    enum err err = wal_scan(&world.crash->env, WORLD_DIR, NULL, ignore, &msg);
    expect_damaged(err, place->path, place->position, "bad frame");
}
END_TEST

/* Goal: scanning shows what opening would, and changes nothing, not even a torn tail. Method: a torn log is scanned;
 * its files are compared; a directory that is not there is told. */
START_TEST(scan_changes_nothing)
{
    const struct place *last = &places[place_count - 1];
    size_t size;
    uint8_t *data = crash_disk_data(world.crash->disk, last->path, &size);
    data[last->position + WAL_UNIT_HEADER_SIZE] ^= 1;
    uint8_t *kept = mem_alloc_raw(size);
    memcpy(kept, data, size);
    world.replay_id = 1;
    fault_init(&world.crash->op_fault, 1, FAULT_FOREVER);
    enum err err = wal_scan(&world.crash->env, WORLD_DIR, &world, on_replay, &msg);
    expect_replayed(err, last->next_id, "scan");
    ck_assert_uint_eq(world.crash->op_fault.calls, 0);
    ck_assert(memcmp(kept, data, size) == 0);
    mem_free(kept);
}
END_TEST

/* Goal: a disk that cannot be read is told as that, not as damage, and nothing is changed. Method: each read of a
 * recovery fails once. */
START_TEST(failed_reads_are_no_damage)
{
    fault_init(&world.crash->op_fault, 1, FAULT_FOREVER);
    for (unsigned at = 1;; at++) {
        fault_init(&world.crash->read_fault, at, 1);
        enum err err = recover(NULL);
        if (!fault_was_hit(&world.crash->read_fault)) {
            ck_assert_uint_gt(at, 3);
            break;
        }
        ck_assert_int_eq(err, ERR_IO);
        ck_assert_ptr_nonnull(strstr(msg.text, ".wal"));
    }
    ck_assert_uint_eq(world.crash->op_fault.calls, 0);
}
END_TEST

/* Goal: a torn unit cannot come to life again. Method: a log with a torn last unit is opened, then loses power at
 * once: the unit's block is zero. Were its payload mended now, it would still not be there. */
START_TEST(torn_tail_is_cut_durably_before_anything_is_written)
{
    const struct place *last = &places[place_count - 1];
    size_t size;
    uint8_t *data = crash_disk_data(world.crash->disk, last->path, &size);
    data[last->position + WAL_UNIT_HEADER_SIZE] ^= 1;
    struct crash_disk *disk = crash_env_free(world.crash);
    world.durable_id = last->next_id;
    world.durable_lsn = WAL_LSN_FIRST;
    world_open(&world, disk);
    struct crash_disk *image = crash_disk_crash(world.crash->disk, CRASH_DROP, &world.rng.rng);
    data = crash_disk_data(image, last->path, &size);
    for (size_t i = 0; i < WAL_BLOCK_SIZE; i++) {
        ck_assert_msg(data[last->position + i] == 0, "byte %zu", i);
    }
    crash_disk_free(image);
    world.crash = crash_env_new(2, world_close(&world));
}
END_TEST

/* Goal: another version of the format is refused as such. Method: a header made by hand. */
START_TEST(another_version_is_refused)
{
    size_t size;
    uint8_t *data = crash_disk_data(world.crash->disk, path_of(1), &size);
    be32_put(data + 8, WAL_VERSION + 1);
    be32_put(data + WAL_BLOCK_SIZE - 4, crc32c(0, (struct bytes){data, WAL_BLOCK_SIZE - 4}));
    ck_assert_int_eq(recover(NULL), ERR_UNSUPPORTED);
    ck_assert_ptr_nonnull(strstr(msg.text, "version 2"));
    ck_assert_int_eq(wal_scan(&world.crash->env, "nowhere", NULL, ignore, &msg), OK);
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
    tcase_add_test(open, missing_and_foreign_files_are_told);
    tcase_add_loop_test(open, frames_that_do_not_add_up_are_told, 0, 6);
    tcase_add_test(open, scan_changes_nothing);
    tcase_add_test(open, failed_reads_are_no_damage);
    tcase_add_test(open, torn_tail_is_cut_durably_before_anything_is_written);
    tcase_add_test(open, another_version_is_refused);
    suite_add_tcase(suite, open);
    TCase *closed = tcase_create("clean end");
    tcase_add_checked_fixture(closed, setup_closed, teardown);
    tcase_set_timeout(closed, 120);
    tcase_add_test(closed, every_flipped_bit_of_a_unit_is_told_or_cut);
    tcase_add_test(closed, clean_end_makes_damage_of_the_last_unit_seen);
    tcase_add_test(closed, missing_and_foreign_files_are_told);
    suite_add_tcase(suite, closed);
    return suite;
}

TEST_MAIN(wal_recover_suite)
