/* A log opened over files of arbitrary bytes: opening, reading at every offset, lookups by time.
 *
 * Input: flags, shape, count of flips, then flips of a good segment (position, mask), then both indexes, half and half.
 * With RAW what comes after the first bytes is the .log file itself, with CRCs made right if FIX_CRC says so. Claims: a
 * good segment is read back whatever its indexes hold; of a flipped one no wrong byte is served; of arbitrary bytes
 * only batches with a right CRC at their place are. */
#include "base/assert.h"
#include "base/crc32c.h"
#include "base/mem.h"
#include "proto/records.h"
#include "replication/segment.h"
#include "tests/lib/crash_env.h"

#include <string.h>

enum {
    RAW = 1,
    FIX_CRC = 2,
    TIME_INDEX_BELIEVED = 4,
    NO_INDEX = 8
};

enum {
    BATCH_COUNT_MAX = 12,
    HEAD_SIZE = 4,
    FLIP_SIZE = 3,
};

#define DIR "/l"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct subject {
    uint8_t *log;
    uint8_t *good; /* what .log should be; NULL: nothing is known about it */
    size_t size;
    int64_t end_offset;
    struct bytes index;
    struct bytes time_index;
    bool is_flipped;
    unsigned flags;
};

/* ---- Making the files ---- */

static void make_good(struct subject *subject, unsigned shape)
{
    unsigned count = 1 + shape % BATCH_COUNT_MAX;
    for (unsigned i = 0; i < count; i++) {
        int64_t timestamp = 1000 + (int64_t)((i * 7 + shape) % 5) * 10;
        struct record_builder *builder = record_builder_open((enum record_codec)((shape + i) % CODEC_COUNT), timestamp);
        int32_t records = (int32_t)(1 + (shape + i) % 3);
        for (int32_t j = 0; j < records; j++) {
            struct bytes value = bytes_from_text("value");
            record_builder_add(builder, timestamp + j, NULL, &value, NULL, 0);
        }
        struct shared *batch = record_builder_finish(builder);
        record_batch_set_offset(batch->data, subject->end_offset, 1);
        subject->log = mem_resize(subject->log, subject->size + batch->size);
        memcpy(subject->log + subject->size, batch->data, batch->size);
        subject->size += batch->size;
        subject->end_offset += records;
        shared_release(batch);
    }
    subject->good = mem_alloc(subject->size);
    memcpy(subject->good, subject->log, subject->size);
}

static void make_raw(struct subject *subject, unsigned shape, struct bytes bytes)
{
    subject->log = mem_alloc(bytes.size);
    memcpy(subject->log, bytes.data, bytes.size);
    subject->size = bytes.size;
    subject->end_offset = 1 + (int64_t)shape;
    size_t position = 0;
    size_t batch_size;
    while ((subject->flags & FIX_CRC) != 0 && bytes.size - position >= RECORD_BATCH_HEADER_SIZE) {
        uint8_t *batch = subject->log + position;
        batch[16] = 2;
        struct bytes rest = {batch, bytes.size - position};
        if (record_batch_size(rest, &batch_size) != OK || batch_size > rest.size) {
            break;
        }
        be32_put(batch + 17, crc32c(0, (struct bytes){batch + 21, batch_size - 21}));
        position += batch_size;
    }
}

static struct log_state make_state(const struct subject *subject, struct log_segment_state *segment)
{
    *segment = (struct log_segment_state){
        .size = subject->size,
        .max_timestamp = 1000 + 42,
        .index_count = (uint32_t)(subject->index.size / INDEX_ENTRY_SIZE),
        .time_index_count = (uint32_t)(subject->time_index.size / TIME_INDEX_ENTRY_SIZE),
    };
    if ((subject->flags & TIME_INDEX_BELIEVED) != 0) {
        size_t size = segment->time_index_count * TIME_INDEX_ENTRY_SIZE;
        segment->time_index_crc = crc32c(0, (struct bytes){subject->time_index.data, size});
    }
    return (struct log_state){.end_offset = subject->end_offset, .segments = segment, .segment_count = 1};
}

/* ---- Claims ---- */

/* Where the batch that holds `offset` starts in the good bytes. */
static size_t good_position(const struct subject *subject, int64_t offset, int64_t *base_offset)
{
    size_t position = 0;
    for (;;) {
        struct record_batch batch;
        enum err err = record_batch_view((struct bytes){subject->good + position, subject->size - position}, &batch);
        assert(err == OK);
        if (offset <= batch.base_offset + batch.last_offset_delta) {
            *base_offset = batch.base_offset;
            return position;
        }
        position += batch.bytes.size;
    }
}

static void check_served(const struct subject *subject, int64_t offset, struct bytes got)
{
    if (subject->good != NULL && got.size > 0) {
        int64_t base_offset;
        size_t position = good_position(subject, offset, &base_offset);
        assert(got.size <= subject->size - position);
        assert(memcmp(got.data, subject->good + position, got.size) == 0);
    }
    bool is_first = true;
    while (got.size > 0) {
        struct record_batch batch;
        enum err err = record_batch_view(got, &batch);
        assert(err == OK);
        assert(record_batch_crc_ok(&batch));
        assert(is_first ? batch.base_offset <= offset : batch.base_offset == offset);
        assert(offset <= batch.base_offset + batch.last_offset_delta);
        offset = batch.base_offset + batch.last_offset_delta + 1;
        assert(offset <= subject->end_offset);
        got = (struct bytes){got.data + batch.bytes.size, got.size - batch.bytes.size};
        is_first = false;
    }
}

static void check_reads(const struct subject *subject, struct log *log)
{
    static const size_t sizes[] = {1, 100, 100000};
    for (int64_t offset = 0; offset <= subject->end_offset; offset++) {
        for (size_t i = 0; i < array_count(sizes); i++) {
            struct log_read req = {.offset = offset, .size_max = sizes[i], .is_first_whole = true};
            enum err err = log_read_now(log, &req);
            assert(err == OK || err == ERR_DAMAGED || err == ERR_WOULD_BLOCK);
            assert(err == OK || subject->good == NULL || subject->is_flipped);
            if (err == OK) {
                assert(req.slice.bytes.size > 0 || offset == subject->end_offset);
                check_served(subject, offset, req.slice.bytes);
            }
            slice_release(&req.slice);
        }
    }
}

/* First record in the good bytes that is late enough. */
static enum err good_find(const struct subject *subject, int64_t timestamp, int64_t *offset)
{
    for (size_t position = 0; position < subject->size;) {
        struct record_batch batch;
        struct record_iterator iterator;
        struct record record;
        enum err err = record_batch_view((struct bytes){subject->good + position, subject->size - position}, &batch);
        assert(err == OK);
        err = record_iterator_init(&iterator, &batch, 100000);
        assert(err == OK);
        while ((err = record_iterator_next(&iterator, &record)) == OK) {
            if (record.timestamp >= timestamp) {
                *offset = record.offset;
                break;
            }
        }
        record_iterator_deinit(&iterator);
        if (err == OK) {
            return OK;
        }
        position += batch.bytes.size;
    }
    return ERR_NOT_FOUND;
}

static void check_times(const struct subject *subject, struct log *log)
{
    bool is_exact = subject->good != NULL && !subject->is_flipped && (subject->flags & TIME_INDEX_BELIEVED) == 0;
    for (int64_t timestamp = 998; timestamp < 1045; timestamp += 3) {
        int64_t offset = -1;
        int64_t found = -1;
        enum err err = log_find_time(log, timestamp, &offset, &found, NULL);
        assert(err == OK || err == ERR_NOT_FOUND || err == ERR_DAMAGED);
        if (err == OK) {
            assert(offset >= 0 && offset < subject->end_offset && found >= timestamp);
        }
        if (is_exact) {
            int64_t wanted = -1;
            enum err wanted_err = good_find(subject, timestamp, &wanted);
            assert(err == wanted_err);
            assert(err != OK || offset == wanted);
        }
    }
    int64_t offset;
    int64_t found;
    enum err err = log_find_max_time(log, &offset, &found, NULL);
    assert(err == OK || err == ERR_NOT_FOUND || err == ERR_DAMAGED);
}

/* ---- One input ---- */

static int32_t epoch_at(void *owner, int64_t offset)
{
    (void)owner;
    (void)offset;
    return 1;
}

static void put(struct crash_disk *disk, enum segment_kind kind, struct bytes bytes)
{
    char path[SEGMENT_PATH_SIZE];
    segment_path(DIR, (struct segment_id){0, 0}, kind, path);
    crash_disk_put(disk, path, bytes);
}

static void run(const struct subject *subject)
{
    struct crash_env *crash = crash_env_new(1, NULL);
    put(crash->disk, SEGMENT_LOG, (struct bytes){subject->log, subject->size});
    if ((subject->flags & NO_INDEX) == 0) {
        put(crash->disk, SEGMENT_INDEX, subject->index);
        put(crash->disk, SEGMENT_TIME_INDEX, subject->time_index);
    }
    struct log_files *files = log_files_open(&crash->env, 2);
    struct log_config config = {.segment_size_max = 1 << 20, .segment_ms = INT64_MAX, .index_interval = 100};
    struct log_segment_state segment;
    struct log_state state = make_state(subject, &segment);
    struct log *log;
    enum err err = log_open(&crash->env, files, DIR, &config, &state, &log, NULL);
    assert(err == OK || (err == ERR_DAMAGED && subject->size == 0));
    if (err == OK) {
        if (subject->good != NULL) {
            log_set_epochs(log, epoch_at, NULL);
        }
        check_times(subject, log);
        check_reads(subject, log);
        log_close(log);
    }
    while (crash_env_step(crash)) {
    }
    log_files_close(files);
    crash_disk_free(crash_env_free(crash));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < HEAD_SIZE) {
        return 0;
    }
    struct subject subject = {.flags = data[0]};
    unsigned shape = data[1];
    size_t flip_count = data[2] % 4;
    data += HEAD_SIZE;
    size -= HEAD_SIZE;
    if ((subject.flags & RAW) != 0) {
        if (size == 0) {
            return 0;
        }
        make_raw(&subject, shape, (struct bytes){data, size});
        size = size < 64 ? size : 64; /* the indexes are the file's first bytes, for want of better */
    } else {
        make_good(&subject, shape);
        for (; flip_count > 0 && size >= FLIP_SIZE; flip_count--) {
            subject.log[be16_get(data) % subject.size] ^= data[2];
            data += FLIP_SIZE;
            size -= FLIP_SIZE;
        }
        subject.is_flipped = memcmp(subject.log, subject.good, subject.size) != 0;
    }
    subject.index = (struct bytes){data, size / 2};
    subject.time_index = (struct bytes){data + size / 2, size - size / 2};
    run(&subject);
    mem_free(subject.log);
    mem_free(subject.good);
    return 0;
}
