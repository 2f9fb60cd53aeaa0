/* The formula is that of tests/golden/batches/make.py. */
#include "tests/lib/golden_batches.h"

#include <check.h>
#include <stdio.h>
#include <string.h>

#include "base/shared.h"

static const int64_t base_timestamp = 1700000000000;

const struct golden_batch golden_batches[GOLDEN_BATCH_COUNT] = {
    {"plain-1", 1, CODEC_NONE, -1, -1, -1},
    {"plain-100", 100, CODEC_NONE, -1, -1, -1},
    {"gzip-100", 100, CODEC_GZIP, -1, -1, -1},
    {"snappy-100", 100, CODEC_SNAPPY, -1, -1, -1},
    {"lz4-100", 100, CODEC_LZ4, -1, -1, -1},
    {"zstd-100", 100, CODEC_ZSTD, -1, -1, -1},
    {"producer-3", 3, CODEC_NONE, 4711, 2, 1000},
    {"snappy-raw-100", 100, CODEC_SNAPPY, -1, -1, -1},
    {"snappy-joined-100", 100, CODEC_SNAPPY, -1, -1, -1},
    {"gzip-members-100", 100, CODEC_GZIP, -1, -1, -1},
    {"lz4-linked-100", 100, CODEC_LZ4, -1, -1, -1},
    {"zstd-stream-100", 100, CODEC_ZSTD, -1, -1, -1},
};

struct shared *golden_batch_read(const struct golden_batch *golden)
{
    char path[256];
    (void)snprintf(path, sizeof(path), "tests/golden/batches/%s.batch", golden->name);
    FILE *file = fopen(path, "rb");
    ck_assert_msg(file != NULL, "%s: cannot be read; tests run from the top of the tree", path);
    struct shared *block = shared_new(64 * 1024);
    size_t size = fread(block->data, 1, block->size, file);
    ck_assert_msg(size > 0 && size < block->size, "%s: %zu bytes", path, size);
    (void)fclose(file);
    return shared_resize(block, size);
}

static int64_t golden_timestamp(int32_t i)
{
    return base_timestamp + 3 * i - 10 * (i % 4);
}

int64_t golden_max_timestamp(int32_t count)
{
    int64_t max = golden_timestamp(0);
    for (int32_t i = 1; i < count; i++) {
        max = golden_timestamp(i) > max ? golden_timestamp(i) : max;
    }
    return max;
}

static bool key_matches(int32_t i, const struct record *record)
{
    char key[32];
    (void)snprintf(key, sizeof(key), "key-%d", i);
    return record->is_key_null == (i % 5 == 4) && bytes_equal_text(record->key, i % 5 == 4 ? "" : key);
}

static bool value_matches(int32_t i, const struct record *record)
{
    static const char text[] = "Balsa is the lightest wood that carries a load. ";
    size_t size = i % 7 == 6 ? 0 : (size_t)(37 * i % 500);
    if (record->is_value_null != (i % 7 == 6) || record->value.size != size) {
        return false;
    }
    for (size_t at = 0; at < size; at++) {
        if (record->value.data[at] != (uint8_t)text[at % (sizeof(text) - 1)]) {
            return false;
        }
    }
    return true;
}

static bool headers_match(int32_t i, const struct record *record)
{
    struct reader reader;
    reader_init(&reader, record->headers);
    for (int32_t j = 0; j < i % 3; j++) {
        char key[16];
        (void)snprintf(key, sizeof(key), "h%d", j);
        if (read_varint(&reader) != (int32_t)strlen(key) || !bytes_equal_text(read_bytes(&reader, strlen(key)), key)) {
            return false;
        }
        if (read_varint(&reader) != (j == 1 ? -1 : 0)) {
            return false;
        }
    }
    return record->header_count == i % 3 && reader.err == OK && reader.left == 0;
}

bool golden_record_matches(int32_t i, const struct record *record)
{
    return record->timestamp == golden_timestamp(i) && key_matches(i, record) && value_matches(i, record) &&
           headers_match(i, record);
}
