/* Happy path of unpacking: gzip, lz4 and zstd are streams, driven by one loop that grows the output by doubling and
 * asks a step function for progress; snappy is blocks, each of a length that it declares and that its format bounds
 * by 32 times its size.
 * Failure: whatever is not a whole, well-formed stream is ERR_CORRUPT; more output than allowed is ERR_TOO_LARGE. */
#include "proto/compress.h"

#include "base/assert.h"
#include "base/limits.h"
#include "base/mem.h"
#include <limits.h>
#include <lz4frame.h>
#include <snappy-c.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

enum {
    OUTPUT_SIZE_FIRST = 4096,      /* room for the first step */
    GZIP_WINDOW_BITS = 15 + 16,    /* 32 KiB window, gzip wrapper */
    GZIP_MEMORY_LEVEL = 8,         /* zlib's default */
    SNAPPY_RATIO_MAX = 32,         /* a copy of 64 bytes takes 3: no valid block expands more */
    XERIAL_HEADER_SIZE = 16,       /* magic, version, oldest compatible version */
    XERIAL_BLOCK_SIZE = 32 * 1024, /* what snappy-java packs at a time */
    ZSTD_WINDOW_LOG_MAX = 26,      /* 64 MiB of history at most, though a frame may ask for gigabytes */
    ZSTD_LEVEL = 3,                /* zstd's default */
};

static const uint8_t xerial_magic[8] = {0x82, 'S', 'N', 'A', 'P', 'P', 'Y', 0};

enum step {
    STEP_MORE,
    STEP_END,
    STEP_BAD
};
/* Moves on as far as input and output allow; in: sizes at hand, out: sizes used. STEP_END: a whole stream ended
 * here. */
typedef enum step (*step_fn)(void *stream, const uint8_t *input, size_t *input_size, uint8_t *output,
                             size_t *output_size);

/* ---- Streams ---- */

/* Makes room behind plain->size, twice as much as is there; no room is left only at size_max. */
static enum err output_grow(struct dynbuf *plain)
{
    if (plain->capacity > plain->size || plain->size >= plain->size_max) {
        return OK;
    }
    size_t left = plain->size_max - plain->size;
    size_t extra = plain->size < OUTPUT_SIZE_FIRST ? OUTPUT_SIZE_FIRST : plain->size;
    return dynbuf_reserve(plain, extra < left ? extra : left);
}

static enum err unpack_stream(void *stream, step_fn step, struct bytes packed, struct dynbuf *plain)
{
    uint8_t nowhere[1] = {0};
    size_t at = 0;
    bool is_ended = false;
    while (!is_ended || at < packed.size) {
        enum err err = output_grow(plain);
        if (err != OK) {
            return err;
        }
        size_t end = plain->capacity < plain->size_max ? plain->capacity : plain->size_max;
        size_t room = end > plain->size ? end - plain->size : 0;
        size_t input = packed.size - at;
        size_t output = room;
        enum step result =
            step(stream, packed.data + at, &input, room > 0 ? plain->data + plain->size : nowhere, &output);
        if (result == STEP_BAD) {
            return ERR_CORRUPT;
        }
        assert(input <= packed.size - at);
        assert(output <= room);
        at += input;
        plain->size += output;
        is_ended = result == STEP_END;
        if (input == 0 && output == 0 && !(is_ended && at == packed.size)) {
            return room == 0 ? ERR_TOO_LARGE : ERR_CORRUPT;
        }
    }
    return OK;
}

static enum step gzip_step(void *stream, const uint8_t *input, size_t *input_size, uint8_t *output, size_t *output_size)
{
    z_stream *z = stream;
    uInt in = (uInt)(*input_size < INT_MAX ? *input_size : INT_MAX);
    uInt out = (uInt)(*output_size < INT_MAX ? *output_size : INT_MAX);
    z->next_in = (z_const Bytef *)input;
    z->avail_in = in;
    z->next_out = output;
    z->avail_out = out;
    int result = inflate(z, Z_NO_FLUSH);
    *input_size = in - z->avail_in;
    *output_size = out - z->avail_out;
    if (result == Z_STREAM_END) {
        return inflateReset(z) == Z_OK ? STEP_END : STEP_BAD;
    }
    return result == Z_OK || result == Z_BUF_ERROR ? STEP_MORE : STEP_BAD;
}

static enum err unpack_gzip(struct bytes packed, struct dynbuf *plain)
{
    z_stream stream = {0};
    if (inflateInit2(&stream, GZIP_WINDOW_BITS) != Z_OK) {
        process_stop("gzip: out of memory");
    }
    enum err err = unpack_stream(&stream, gzip_step, packed, plain);
    (void)inflateEnd(&stream);
    return err;
}

static enum step lz4_step(void *stream, const uint8_t *input, size_t *input_size, uint8_t *output, size_t *output_size)
{
    size_t result = LZ4F_decompress(stream, output, output_size, input, input_size, NULL);
    if (LZ4F_isError(result)) {
        return STEP_BAD;
    }
    return result == 0 ? STEP_END : STEP_MORE;
}

static enum err unpack_lz4(struct bytes packed, struct dynbuf *plain)
{
    LZ4F_dctx *stream = NULL;
    if (LZ4F_isError(LZ4F_createDecompressionContext(&stream, LZ4F_VERSION))) {
        process_stop("lz4: out of memory");
    }
    enum err err = unpack_stream(stream, lz4_step, packed, plain);
    (void)LZ4F_freeDecompressionContext(stream);
    return err;
}

static enum step zstd_step(void *stream, const uint8_t *input, size_t *input_size, uint8_t *output, size_t *output_size)
{
    ZSTD_inBuffer in = {input, *input_size, 0};
    ZSTD_outBuffer out = {output, *output_size, 0};
    size_t result = ZSTD_decompressStream(stream, &out, &in);
    *input_size = in.pos;
    *output_size = out.pos;
    if (ZSTD_isError(result)) {
        return STEP_BAD;
    }
    return result == 0 ? STEP_END : STEP_MORE;
}

static enum err unpack_zstd(struct bytes packed, struct dynbuf *plain)
{
    ZSTD_DCtx *stream = ZSTD_createDCtx();
    if (stream == NULL) {
        process_stop("zstd: out of memory");
    }
    size_t result = ZSTD_DCtx_setParameter(stream, ZSTD_d_windowLogMax, ZSTD_WINDOW_LOG_MAX);
    assert(!ZSTD_isError(result));
    enum err err = unpack_stream(stream, zstd_step, packed, plain);
    (void)ZSTD_freeDCtx(stream);
    return err;
}

/* ---- Snappy ---- */

static enum err unpack_snappy_block(struct bytes block, struct dynbuf *plain)
{
    size_t size = 0;
    if (snappy_uncompressed_length((const char *)block.data, block.size, &size) != SNAPPY_OK) {
        return ERR_CORRUPT;
    }
    if (size / SNAPPY_RATIO_MAX > block.size) {
        return ERR_CORRUPT;
    }
    if (size > plain->size_max - plain->size) {
        return ERR_TOO_LARGE;
    }
    if (size == 0) {
        return snappy_validate_compressed_buffer((const char *)block.data, block.size) == SNAPPY_OK ? OK : ERR_CORRUPT;
    }
    enum err err = dynbuf_reserve(plain, size);
    if (err != OK) {
        return err;
    }
    size_t room = size;
    if (snappy_uncompress((const char *)block.data, block.size, (char *)plain->data + plain->size, &room) !=
        SNAPPY_OK) {
        return ERR_CORRUPT;
    }
    assert(room == size);
    plain->size += size;
    return OK;
}

static bool is_xerial(const struct reader *reader)
{
    return reader->left >= XERIAL_HEADER_SIZE && memcmp(reader->at, xerial_magic, sizeof(xerial_magic)) == 0;
}

/* The version fields of the header are not looked at: writers differ in them, the framing has never changed. A
 * header may come again between blocks, where streams were joined. */
static enum err unpack_snappy(struct bytes packed, struct dynbuf *plain)
{
    struct reader reader;
    reader_init(&reader, packed);
    if (!is_xerial(&reader)) {
        return unpack_snappy_block(packed, plain);
    }
    while (reader.left > 0) {
        if (is_xerial(&reader)) {
            read_skip(&reader, XERIAL_HEADER_SIZE);
            continue;
        }
        uint32_t size = read_u32(&reader);
        struct bytes block = read_bytes(&reader, size);
        if (reader.err != OK) {
            return ERR_CORRUPT;
        }
        enum err err = unpack_snappy_block(block, plain);
        if (err != OK) {
            return err;
        }
    }
    return OK;
}

enum err compress_unpack(enum record_codec codec, struct bytes packed, struct dynbuf *plain)
{
    assert(plain->size <= plain->size_max);
    if (packed.size == 0 && codec != CODEC_NONE) {
        return ERR_CORRUPT;
    }
    switch (codec) {
    case CODEC_NONE:
        return dynbuf_put(plain, packed);
    case CODEC_GZIP:
        return unpack_gzip(packed, plain);
    case CODEC_SNAPPY:
        return unpack_snappy(packed, plain);
    case CODEC_LZ4:
        return unpack_lz4(packed, plain);
    case CODEC_ZSTD:
        return unpack_zstd(packed, plain);
    case CODEC_COUNT:
    default:
        return ERR_UNSUPPORTED;
    }
}

/* ---- Packing ---- */

static enum err pack_gzip(struct bytes plain, struct dynbuf *packed)
{
    if (plain.size > INT_MAX) {
        return ERR_TOO_LARGE;
    }
    z_stream stream = {0};
    if (deflateInit2(&stream, Z_DEFAULT_COMPRESSION, Z_DEFLATED, GZIP_WINDOW_BITS, GZIP_MEMORY_LEVEL,
                     Z_DEFAULT_STRATEGY) != Z_OK) {
        process_stop("gzip: out of memory");
    }
    size_t room = deflateBound(&stream, (uLong)plain.size);
    enum err err = dynbuf_reserve(packed, room);
    if (err == OK) {
        stream.next_in = (z_const Bytef *)plain.data;
        stream.avail_in = (uInt)plain.size;
        stream.next_out = packed->data + packed->size;
        stream.avail_out = (uInt)room;
        int result = deflate(&stream, Z_FINISH);
        assert(result == Z_STREAM_END);
        packed->size += room - stream.avail_out;
    }
    (void)deflateEnd(&stream);
    return err;
}

static enum err pack_snappy(struct bytes plain, struct dynbuf *packed)
{
    uint8_t header[XERIAL_HEADER_SIZE];
    memcpy(header, xerial_magic, sizeof(xerial_magic));
    be32_put(header + 8, 1);
    be32_put(header + 12, 1);
    enum err err = dynbuf_put(packed, (struct bytes){header, sizeof(header)});
    for (size_t at = 0; err == OK && at < plain.size; at += XERIAL_BLOCK_SIZE) {
        size_t left = plain.size - at;
        size_t size = left < XERIAL_BLOCK_SIZE ? left : XERIAL_BLOCK_SIZE;
        size_t room = snappy_max_compressed_length(size);
        err = dynbuf_reserve(packed, 4 + room);
        if (err == OK) {
            uint8_t *target = packed->data + packed->size;
            snappy_status status = snappy_compress((const char *)plain.data + at, size, (char *)target + 4, &room);
            assert(status == SNAPPY_OK);
            be32_put(target, (uint32_t)room);
            packed->size += 4 + room;
        }
    }
    return err;
}

static enum err pack_lz4(struct bytes plain, struct dynbuf *packed)
{
    /* As Java: independent blocks of 64 KiB, no content check sum. */
    LZ4F_preferences_t preferences = {
        .frameInfo = {.blockSizeID = LZ4F_max64KB, .blockMode = LZ4F_blockIndependent},
    };
    size_t room = LZ4F_compressFrameBound(plain.size, &preferences);
    enum err err = dynbuf_reserve(packed, room);
    if (err != OK) {
        return err;
    }
    size_t size = LZ4F_compressFrame(packed->data + packed->size, room, plain.data, plain.size, &preferences);
    assert(!LZ4F_isError(size));
    packed->size += size;
    return OK;
}

static enum err pack_zstd(struct bytes plain, struct dynbuf *packed)
{
    size_t room = ZSTD_compressBound(plain.size);
    enum err err = dynbuf_reserve(packed, room);
    if (err != OK) {
        return err;
    }
    size_t size = ZSTD_compress(packed->data + packed->size, room, plain.data, plain.size, ZSTD_LEVEL);
    if (ZSTD_isError(size)) {
        process_stop("zstd: %s", ZSTD_getErrorName(size));
    }
    packed->size += size;
    return OK;
}

enum err compress_pack(enum record_codec codec, struct bytes plain, struct dynbuf *packed)
{
    switch (codec) {
    case CODEC_NONE:
        return dynbuf_put(packed, plain);
    case CODEC_GZIP:
        return pack_gzip(plain, packed);
    case CODEC_SNAPPY:
        return pack_snappy(plain, packed);
    case CODEC_LZ4:
        return pack_lz4(plain, packed);
    case CODEC_ZSTD:
        return pack_zstd(plain, packed);
    case CODEC_COUNT:
    default:
        return ERR_UNSUPPORTED;
    }
}
