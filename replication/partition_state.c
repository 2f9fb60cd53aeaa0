/* Happy path: fields one after the other, a CRC at the end, because the store underneath has none.
 * Failure: anything else than what was written is ERR_DAMAGED. */
#include "replication/partition_state.h"

#include "base/assert.h"
#include "base/canary.h"
#include "base/crc32c.h"
#include "base/mem.h"

enum {
    STATE_VERSION = 3,
    STATE_VERSION_APPENDED = 2, /* without what concerns compaction */
    STATE_VERSION_PLAIN = 1,    /* without a generation */
    STATE_VERSION_DAMAGED = 255,
    STATE_HEAD_SIZE = 1 + 8 + 8 + 8 + 4,
    STATE_SEGMENT_SIZE = 8 + 8 + 8 + 8 + 4 + 4 + 4 + 8,
    STATE_COMPACTIONS_SIZE = 8 + 8 + 4,
    STATE_CRC_SIZE = 4,
};

static void put_all(struct dynbuf *buf, const struct writer *writer)
{
    assert(writer->err == OK);
    enum err err = dynbuf_put(buf, (struct bytes){writer->start, writer_size(writer)});
    assert(err == OK); /* the checkpoint has room for all bounds of limits.h */
}

void compactions_deinit(struct compactions *compactions)
{
    mem_free(compactions->orders);
    *compactions = (struct compactions){0};
}

void compactions_push(struct compactions *compactions, const struct compaction_order *order)
{
    if (compactions->count == compactions->capacity) {
        compactions->capacity = 2 * compactions->capacity + 1;
        compactions->orders = mem_resize(compactions->orders, compactions->capacity * sizeof(*compactions->orders));
    }
    compactions->orders[compactions->count++] = *order;
    compactions->ordered_end = order->end_offset;
}

static void encode_compactions(const struct compactions *compactions, struct dynbuf *buf)
{
    uint8_t memory[STATE_COMPACTIONS_SIZE + COMPACTION_ORDER_SIZE];
    struct writer writer;
    writer_init(&writer, memory, sizeof(memory));
    write_i64(&writer, compactions->end_offset);
    write_i64(&writer, compactions->ordered_end);
    write_u32(&writer, (uint32_t)compactions->count);
    put_all(buf, &writer);
    for (size_t i = 0; i < compactions->count; i++) {
        writer_init(&writer, memory, sizeof(memory));
        compaction_order_write(&writer, &compactions->orders[i]);
        put_all(buf, &writer);
    }
}

void partition_state_encode(const struct partition_state *state, struct dynbuf *buf)
{
    assert(buf->size == 0);
    uint8_t memory[STATE_HEAD_SIZE + STATE_SEGMENT_SIZE];
    struct writer writer;
    writer_init(&writer, memory, sizeof(memory));
    write_u8(&writer, STATE_VERSION);
    write_i64(&writer, state->append_ms);
    write_i64(&writer, state->log.start_offset);
    write_i64(&writer, state->log.end_offset);
    write_u32(&writer, (uint32_t)state->log.segment_count);
    put_all(buf, &writer);
    for (size_t i = 0; i < state->log.segment_count; i++) {
        const struct log_segment_state *segment = &state->log.segments[i];
        writer_init(&writer, memory, sizeof(memory));
        write_i64(&writer, segment->base_offset);
        write_u64(&writer, segment->size);
        write_i64(&writer, segment->max_timestamp);
        write_i64(&writer, segment->first_append_ms);
        write_u32(&writer, segment->index_count);
        write_u32(&writer, segment->time_index_count);
        write_u32(&writer, segment->time_index_crc);
        write_u64(&writer, segment->version);
        put_all(buf, &writer);
    }
    epochs_encode(state->epochs, buf);
    if (canary_is(CANARY_PRODUCERS_DROPPED)) {
        struct producers none;
        producers_init(&none, 1);
        producers_encode(&none, buf);
        producers_deinit(&none);
    } else {
        producers_encode(state->producers, buf);
    }
    writer_init(&writer, memory, sizeof(memory));
    write_u64(&writer, state->generation);
    put_all(buf, &writer);
    encode_compactions(&state->compactions, buf);
    writer_init(&writer, memory, sizeof(memory));
    write_u32(&writer, crc32c(0, dynbuf_bytes(buf)));
    put_all(buf, &writer);
}

void partition_state_encode_damaged(struct dynbuf *buf)
{
    static const uint8_t version[1] = {STATE_VERSION_DAMAGED};
    enum err err = dynbuf_put(buf, (struct bytes){version, sizeof(version)});
    assert(err == OK);
}

static void decode_segments(struct reader *reader, unsigned version, struct log_state *log)
{
    uint32_t count = read_u32(reader);
    size_t size = version == STATE_VERSION ? STATE_SEGMENT_SIZE : STATE_SEGMENT_SIZE - 8;
    if (reader->err == OK && count > reader->left / size) {
        reader_fail(reader, ERR_CORRUPT);
    }
    if (reader->err != OK || count == 0) {
        return;
    }
    log->segments = mem_alloc(count * sizeof(*log->segments));
    log->segment_count = count;
    for (uint32_t i = 0; i < count; i++) {
        struct log_segment_state *segment = &log->segments[i];
        segment->base_offset = read_i64(reader);
        segment->size = read_u64(reader);
        segment->max_timestamp = read_i64(reader);
        segment->first_append_ms = read_i64(reader);
        segment->index_count = read_u32(reader);
        segment->time_index_count = read_u32(reader);
        segment->time_index_crc = read_u32(reader);
        segment->version = version == STATE_VERSION ? read_u64(reader) : 0;
    }
}

static bool is_log_sane(const struct log_state *log)
{
    if (log->start_offset < 0 || log->end_offset < log->start_offset) {
        return false;
    }
    for (size_t i = 0; i < log->segment_count; i++) {
        int64_t base = log->segments[i].base_offset;
        if (base < 0 || base > log->end_offset || (i > 0 && base <= log->segments[i - 1].base_offset)) {
            return false;
        }
    }
    return true;
}

/* Orders lie one behind the other within the log. */
static bool is_order_sane(const struct partition_state *state, size_t number)
{
    const struct compaction_order *order = &state->compactions.orders[number];
    const struct compaction_order *before = number > 0 ? order - 1 : NULL;
    return compaction_order_is_sane(order) && order->start_offset >= 0 && order->start_offset < order->end_offset &&
           order->end_offset <= state->log.end_offset && order->start_offset <= state->log.start_offset &&
           state->log.segment_count > 0 && order->start_offset >= state->log.segments[0].base_offset &&
           (before == NULL || (before->index < order->index && before->start_offset <= order->start_offset &&
                               before->end_offset <= order->end_offset));
}

static void decode_compactions(struct reader *reader, struct partition_state *state)
{
    state->compactions.end_offset = read_i64(reader);
    int64_t ordered_end = read_i64(reader);
    uint32_t count = read_u32(reader);
    if (reader->err == OK && (count > COMPACTION_ORDER_COUNT_MAX || state->compactions.end_offset < 0)) {
        reader_fail(reader, ERR_CORRUPT);
    }
    for (uint32_t i = 0; i < count && reader->err == OK; i++) {
        struct compaction_order order;
        compaction_order_read(reader, &order);
        compactions_push(&state->compactions, &order);
        if (reader->err == OK && !is_order_sane(state, i)) {
            reader_fail(reader, ERR_CORRUPT);
        }
    }
    state->compactions.ordered_end = ordered_end;
    if (reader->err == OK && count > 0) {
        state->log.hold_start = state->compactions.orders[0].start_offset;
        state->log.hold_end = state->compactions.orders[count - 1].end_offset;
    }
}

enum err partition_state_decode(struct bytes bytes, struct partition_state *state, struct errmsg *msg)
{
    state->log = (struct log_state){0};
    state->compactions = (struct compactions){0};
    if (bytes.size > 0 && bytes.data[0] == STATE_VERSION_DAMAGED) {
        return fail(msg, ERR_DAMAGED, "its checkpoint was taken after an entry that could not be applied");
    }
    if (bytes.size < STATE_HEAD_SIZE + STATE_CRC_SIZE) {
        return fail(msg, ERR_DAMAGED, "its state has %zu bytes, too few", bytes.size);
    }
    struct bytes body = {bytes.data, bytes.size - STATE_CRC_SIZE};
    if (crc32c(0, body) != be32_get(bytes.data + body.size)) {
        return fail(msg, ERR_DAMAGED, "its state fails its CRC");
    }
    if (body.data[0] < STATE_VERSION_PLAIN || body.data[0] > STATE_VERSION) {
        return fail(msg, ERR_DAMAGED, "its state has version %u, not known to this release", body.data[0]);
    }
    struct reader reader;
    reader_init(&reader, body);
    unsigned version = read_u8(&reader);
    state->append_ms = read_i64(&reader);
    state->log.start_offset = read_i64(&reader);
    state->log.end_offset = read_i64(&reader);
    decode_segments(&reader, version, &state->log);
    epochs_decode(state->epochs, &reader);
    producers_decode(state->producers, &reader);
    state->generation = version >= STATE_VERSION_APPENDED ? read_u64(&reader) : 0;
    if (version == STATE_VERSION) {
        decode_compactions(&reader, state);
    }
    if (reader.err != OK || reader.left != 0 || state->append_ms < 0 || !is_log_sane(&state->log)) {
        compactions_deinit(&state->compactions);
        return fail(msg, ERR_DAMAGED, "its state does not decode");
    }
    return OK;
}
