/* Requests recorded from real clients (tests/golden/README.md): read, written, cut. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/limits.h"
#include "base/mem.h"
#include "tests/lib/request_frame.h"
#include "tests/lib/test.h"

#define FRAMES_DIR "tests/golden/frames"
#define FRAME_COUNT_MAX 1024

struct golden {
    char name[128];
    struct bytes bytes; /* on the heap, exactly so many */
};

static struct golden goldens[FRAME_COUNT_MAX];
static int golden_count;

static int golden_compare(const void *a, const void *b)
{
    return strcmp(((const struct golden *)a)->name, ((const struct golden *)b)->name);
}

static struct bytes read_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    ck_assert_msg(file != NULL, "%s", path);
    static uint8_t buffer[KIB(64)];
    size_t size = fread(buffer, 1, sizeof(buffer), file);
    ck_assert_msg(size > 0 && size < sizeof(buffer) && feof(file), "%s", path);
    fclose(file);
    uint8_t *data = mem_alloc_raw(size);
    memcpy(data, buffer, size);
    return (struct bytes){data, size};
}

static void load(void)
{
    DIR *dir = opendir(FRAMES_DIR);
    ck_assert_msg(dir != NULL, "no " FRAMES_DIR ": run from the top of the tree");
    for (struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
        if (strstr(entry->d_name, ".bin") == NULL) {
            continue;
        }
        ck_assert_int_lt(golden_count, FRAME_COUNT_MAX);
        struct golden *golden = &goldens[golden_count++];
        char path[sizeof(FRAMES_DIR) + sizeof(entry->d_name) + 1];
        snprintf(path, sizeof(path), FRAMES_DIR "/%s", entry->d_name);
        snprintf(golden->name, sizeof(golden->name), "%.127s", entry->d_name);
        golden->bytes = read_file(path);
    }
    closedir(dir);
    qsort(goldens, (size_t)golden_count, sizeof(goldens[0]), golden_compare);
}

static void unload(void)
{
    while (golden_count > 0) {
        mem_free((void *)(uintptr_t)goldens[--golden_count].bytes.data);
    }
}

/* Decodes a prefix from a block of exactly its size. */
static enum err decode_prefix(const struct golden *golden, size_t size)
{
    uint8_t *copy = mem_alloc_raw(size + 1);
    memcpy(copy + 1, golden->bytes.data, size);
    struct arena arena;
    arena_init(&arena, REQUEST_ARENA_SIZE_MAX);
    struct request_frame frame;
    enum err err = request_frame_decode(&frame, (struct bytes){copy + 1, size}, &arena);
    arena_deinit(&arena);
    mem_free(copy);
    return err;
}

/* Goal: real clients are understood to the last byte. Method: each recorded frame, decoded and encoded, is
 * the same bytes. */
START_TEST(real_requests_come_back_byte_for_byte)
{
    ck_assert_int_gt(golden_count, 100);
    for (int i = 0; i < golden_count; i++) {
        const struct golden *golden = &goldens[i];
        struct arena arena;
        arena_init(&arena, REQUEST_ARENA_SIZE_MAX);
        struct request_frame frame;
        enum err err = request_frame_decode(&frame, golden->bytes, &arena);
        ck_assert_msg(err == OK, "%s: %s", golden->name, err_name(err));
        struct shared *again = request_frame_encode(&frame);
        bool is_same = again->size == golden->bytes.size && memcmp(again->data, golden->bytes.data, again->size) == 0;
        ck_assert_msg(is_same, "%s: written differently", golden->name);
        shared_release(again);
        arena_deinit(&arena);
    }
}
END_TEST

/* Goal: a cut request is never taken for a whole one. Method: every proper prefix of each frame. */
START_TEST(every_proper_prefix_is_refused)
{
    for (int i = 0; i < golden_count; i++) {
        for (size_t size = 0; size < goldens[i].bytes.size; size++) {
            ck_assert_msg(decode_prefix(&goldens[i], size) != OK, "%s cut at %zu", goldens[i].name, size);
        }
    }
}
END_TEST

/* Goal: damage is refused or understood, never a crash or an overrun. Method: each byte of each frame set to values
 * that make sizes negative, huge or null; under the sanitizers. */
START_TEST(damaged_bytes_do_no_harm)
{
    static const uint8_t values[] = {0x00, 0x01, 0x7f, 0x80, 0xff};
    for (int i = 0; i < golden_count; i++) {
        uint8_t *data = (uint8_t *)(uintptr_t)goldens[i].bytes.data;
        for (size_t at = 0; at < goldens[i].bytes.size; at++) {
            uint8_t saved = data[at];
            for (size_t v = 0; v < array_count(values); v++) {
                data[at] = values[v];
                (void)!decode_prefix(&goldens[i], goldens[i].bytes.size);
            }
            data[at] = saved;
        }
    }
}
END_TEST

static Suite *golden_suite(void)
{
    Suite *suite = suite_create("golden");
    TCase *frames = tcase_create("frames");
    tcase_set_timeout(frames, 120);
    tcase_add_unchecked_fixture(frames, load, unload);
    tcase_add_test(frames, real_requests_come_back_byte_for_byte);
    tcase_add_test(frames, every_proper_prefix_is_refused);
    tcase_add_test(frames, damaged_bytes_do_no_harm);
    suite_add_tcase(suite, frames);
    return suite;
}

TEST_MAIN(golden_suite)
