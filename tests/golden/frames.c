/* The codec as a filter, for comparison with other implementations (tests/golden/check_frames.py):
 *
 *     frames random SEED COUNT    prints COUNT random messages of every schema and version
 *     frames echo                 reads such lines, decodes and encodes each, prints the bytes or "ERR_..."
 *
 * A line is "request|response API_KEY VERSION HEX"; the bytes are the message's, without header and size. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/limits.h"
#include "base/mem.h"
#include "proto/codec.h"
#include "proto/kafka_messages.h"
#include "tests/lib/codec_random.h"

enum {
    ARENA_SIZE_MAX = 16 * 1024 * 1024,
    FRAME_SIZE_MAX = 1024 * 1024,
    LINE_SIZE_MAX = 2 * FRAME_SIZE_MAX + 64,
};

static void print_line(const char *kind, int16_t key, int16_t version, const struct outbuf *out)
{
    struct shared *flat = outbuf_flatten(out);
    printf("%s %d %d ", kind, key, version);
    for (size_t i = 0; i < flat->size; i++) {
        printf("%02x", flat->data[i]);
    }
    putchar('\n');
    shared_release(flat);
}

static void encode_line(const char *kind, int16_t key, const struct schema *schema, int16_t version,
                        const void *message)
{
    struct outbuf out;
    outbuf_init(&out, FRAME_SIZE_MAX);
    codec_encode(schema, version, message, &out);
    assert(out.err == OK);
    print_line(kind, key, version, &out);
    outbuf_deinit(&out);
}

static void random_lines(const char *kind, int16_t key, const struct schema *schema, uint64_t seed, int count)
{
    void *message = mem_alloc(schema->size);
    for (int16_t version = schema->version_min; version <= schema->version_max; version++) {
        for (int i = 0; i < count; i++) {
            struct arena arena;
            arena_init(&arena, ARENA_SIZE_MAX);
            struct codec_random random = {.state = seed + (uint64_t)i, .arena = &arena, .count_max = 2};
            codec_random_message(&random, schema, version, message);
            encode_line(kind, key, schema, version, message);
            arena_deinit(&arena);
        }
    }
    mem_free(message);
}

static const struct schema *find_schema(const char *kind, int key)
{
    for (size_t i = 0; i < KAFKA_MESSAGE_PAIR_COUNT; i++) {
        const struct kafka_message_pair *pair = &kafka_message_pairs[i];
        if (pair->key == key) {
            return strcmp(kind, "request") == 0 ? pair->request : pair->response;
        }
    }
    return NULL;
}

/* Hex digits to bytes, in place. Returns their number. */
static size_t unhex(char *text)
{
    size_t size = 0;
    for (; text[2 * size] != 0 && text[2 * size + 1] != 0; size++) {
        char digits[3] = {text[2 * size], text[2 * size + 1], 0};
        text[size] = (char)strtoul(digits, NULL, 16);
    }
    return size;
}

static void echo_message(const char *kind, int16_t key, int16_t version, struct bytes bytes)
{
    const struct schema *schema = find_schema(kind, key);
    assert(schema != NULL);
    struct arena arena;
    arena_init(&arena, ARENA_SIZE_MAX);
    struct reader reader;
    reader_init(&reader, bytes);
    void *message = mem_alloc(schema->size);
    enum err err = codec_decode(schema, version, &reader, &arena, message);
    if (err != OK) {
        printf("%s\n", err_name(err));
    } else if (reader.left > 0) {
        printf("%zu bytes left\n", reader.left);
    } else {
        encode_line(kind, key, schema, version, message);
    }
    mem_free(message);
    arena_deinit(&arena);
}

/* The number at the cursor, which moves behind it and one blank. */
static int16_t take_number(char **at)
{
    char *end;
    long number = strtol(*at, &end, 10);
    *at = end + (*end == ' ' ? 1 : 0);
    return (int16_t)number;
}

static int echo_lines(void)
{
    char *line = mem_alloc(LINE_SIZE_MAX);
    while (fgets(line, LINE_SIZE_MAX, stdin) != NULL) {
        line[strcspn(line, "\n")] = 0;
        char *at = line + strcspn(line, " ");
        if (*at != ' ') {
            fprintf(stderr, "frames: not a line: %.60s\n", line);
            mem_free(line);
            return 1;
        }
        *at++ = 0;
        int16_t key = take_number(&at);
        int16_t version = take_number(&at);
        size_t size = unhex(at);
        echo_message(line, key, version, (struct bytes){(uint8_t *)at, size});
    }
    mem_free(line);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 4 && strcmp(argv[1], "random") == 0) {
        for (size_t i = 0; i < KAFKA_MESSAGE_PAIR_COUNT; i++) {
            const struct kafka_message_pair *pair = &kafka_message_pairs[i];
            uint64_t seed = strtoull(argv[2], NULL, 10);
            int count = (int)strtol(argv[3], NULL, 10);
            random_lines("request", pair->key, pair->request, seed, count);
            random_lines("response", pair->key, pair->response, seed, count);
        }
        return 0;
    }
    if (argc == 2 && strcmp(argv[1], "echo") == 0) {
        return echo_lines();
    }
    fprintf(stderr, "usage: frames random SEED COUNT | frames echo <LINES\n");
    return 2;
}
