#include "replication/catchup_wire.h"

#include "base/assert.h"
#include "base/limits.h"
#include "base/mem.h"

#define WIRE_VERSION 1
#define MANIFEST_VERSION 1

size_t catchup_call_encode(const struct catchup_call *call, uint8_t out[CATCHUP_CALL_SIZE_MAX])
{
    struct writer writer;
    writer_init(&writer, out, CATCHUP_CALL_SIZE_MAX);
    write_u64(&writer, call->group);
    write_u8(&writer, WIRE_VERSION);
    write_u8(&writer, (uint8_t)call->op);
    write_u64(&writer, call->session);
    if (call->op == CATCHUP_READ) {
        write_u32(&writer, call->file);
        write_u64(&writer, call->position);
        write_u32(&writer, call->size);
    }
    assert(writer.err == OK);
    return writer_size(&writer);
}

enum err catchup_call_decode(struct bytes payload, struct catchup_call *call)
{
    struct reader reader;
    *call = (struct catchup_call){0};
    reader_init(&reader, payload);
    call->group = read_u64(&reader);
    uint8_t version = read_u8(&reader);
    uint8_t op = read_u8(&reader);
    call->session = read_u64(&reader);
    if (op == CATCHUP_READ) {
        call->file = read_u32(&reader);
        call->position = read_u64(&reader);
        call->size = read_u32(&reader);
    }
    if (reader.err != OK || reader.left > 0 || version != WIRE_VERSION || op < CATCHUP_BEGIN || op > CATCHUP_END) {
        return ERR_CORRUPT;
    }
    call->op = (enum catchup_op)op;
    return OK;
}

size_t catchup_begun_encode(const struct catchup_begun *begun, uint8_t out[CATCHUP_BEGUN_SIZE_MAX])
{
    uint8_t membership[MEMBERSHIP_SIZE_MAX];
    size_t size = membership_encode(&begun->membership, membership);
    struct writer writer;
    writer_init(&writer, out, CATCHUP_BEGUN_SIZE_MAX);
    write_u8(&writer, CATCHUP_OK);
    write_u64(&writer, begun->session);
    write_u64(&writer, begun->index);
    write_u64(&writer, begun->term);
    write_u64(&writer, begun->membership_index);
    write_u16(&writer, (uint16_t)size);
    write_bytes(&writer, (struct bytes){membership, size});
    write_u32(&writer, begun->manifest_size);
    write_u32(&writer, begun->manifest_crc);
    assert(writer.err == OK);
    return writer_size(&writer);
}

enum err catchup_begun_decode(struct bytes payload, struct catchup_begun *begun)
{
    struct reader reader;
    reader_init(&reader, payload);
    begun->session = read_u64(&reader);
    begun->index = read_u64(&reader);
    begun->term = read_u64(&reader);
    begun->membership_index = read_u64(&reader);
    struct bytes membership = read_bytes(&reader, read_u16(&reader));
    begun->manifest_size = read_u32(&reader);
    begun->manifest_crc = read_u32(&reader);
    bool is_sane = reader.err == OK && reader.left == 0 && begun->session != 0 && begun->index > 1 && begun->term > 0 &&
                   begun->membership_index > 0 && begun->membership_index <= begun->index &&
                   begun->manifest_size <= CATCHUP_MANIFEST_SIZE_MAX;
    return is_sane && membership_decode(membership, &begun->membership) == OK ? OK : ERR_CORRUPT;
}

enum err catchup_manifest_encode(const struct replica_source *source, struct dynbuf *buf)
{
    uint8_t memory[16];
    struct writer writer;
    if (source->file_count > CATCHUP_FILE_COUNT_MAX) {
        return ERR_TOO_LARGE;
    }
    writer_init(&writer, memory, sizeof(memory));
    write_u8(&writer, MANIFEST_VERSION);
    write_u32(&writer, (uint32_t)source->file_count);
    enum err err = dynbuf_put(buf, (struct bytes){memory, writer_size(&writer)});
    for (size_t i = 0; i < source->file_count && err == OK; i++) {
        writer_init(&writer, memory, sizeof(memory));
        write_u64(&writer, source->files[i].id);
        write_u64(&writer, source->files[i].size);
        err = dynbuf_put(buf, (struct bytes){memory, writer_size(&writer)});
    }
    return err == OK ? dynbuf_put(buf, dynbuf_bytes(&source->state)) : err;
}

enum err catchup_manifest_decode(struct bytes payload, uint64_t index, struct replica_file **files,
                                 struct replica_manifest *manifest)
{
    struct reader reader;
    reader_init(&reader, payload);
    uint8_t version = read_u8(&reader);
    uint32_t count = read_u32(&reader);
    if (reader.err != OK || version != MANIFEST_VERSION || count > CATCHUP_FILE_COUNT_MAX || count > reader.left / 16) {
        return ERR_CORRUPT;
    }
    struct replica_file *found = mem_alloc((count + 1) * sizeof(*found));
    for (uint32_t i = 0; i < count; i++) {
        found[i].id = read_u64(&reader);
        found[i].size = read_u64(&reader);
        if (i > 0 && found[i].id <= found[i - 1].id) {
            mem_free(found);
            return ERR_CORRUPT;
        }
    }
    *files = found;
    *manifest = (struct replica_manifest){
        .index = index,
        .files = found,
        .file_count = count,
        .state = read_bytes(&reader, reader.left),
    };
    return OK;
}
