/* Both ways go through a buffer of a megabyte; only a value larger than that has one of its own. */
#include "metadata/store_dump.h"

#include "base/assert.h"
#include "base/crc32c.h"
#include "base/limits.h"
#include "base/mem.h"

#include <string.h>

#define BUFFER_SIZE MIB(1)
#define PAIR_HEAD_SIZE 8
#define PAIR_SIZE_MAX MIB(64) /* of one value, with room: no record is near it */

/* ---- Out ---- */

struct dump_writer {
    struct disk *disk;
    int file;
    uint8_t *data;
    size_t size;
    uint64_t position;
    uint32_t crc;
    enum err err;
};

static void writer_flush(struct dump_writer *writer)
{
    struct iovec iov = {writer->data, writer->size};
    if (writer->err == OK && writer->size > 0) {
        writer->err = writer->disk->pwritev(writer->disk, writer->file, writer->position, &iov, 1);
        writer->crc = crc32c(writer->crc, (struct bytes){writer->data, writer->size});
        writer->position += writer->size;
        writer->size = 0;
    }
}

static void writer_put(struct dump_writer *writer, struct bytes bytes)
{
    while (bytes.size > 0 && writer->err == OK) {
        size_t room = BUFFER_SIZE - writer->size;
        size_t size = bytes.size < room ? bytes.size : room;
        memcpy(writer->data + writer->size, bytes.data, size);
        writer->size += size;
        bytes.data += size;
        bytes.size -= size;
        if (writer->size == BUFFER_SIZE) {
            writer_flush(writer);
        }
    }
}

static enum err dump_pairs(struct kv_txn *txn, struct dump_writer *writer, uint64_t *count)
{
    struct kv_cursor *cursor;
    struct bytes key;
    struct bytes value;
    enum err err = kv_cursor_open(txn, BYTES_NONE, BYTES_NONE, &cursor);
    if (err != OK) {
        return err;
    }
    while (writer->err == OK && (err = kv_cursor_next(cursor, &key, &value)) == OK) {
        uint8_t head[PAIR_HEAD_SIZE];
        be32_put(head, (uint32_t)key.size);
        be32_put(head + 4, (uint32_t)value.size);
        writer_put(writer, (struct bytes){head, sizeof(head)});
        writer_put(writer, key);
        writer_put(writer, value);
        ++*count;
    }
    kv_cursor_close(cursor);
    writer_flush(writer);
    return writer->err != OK ? writer->err : err == ERR_NOT_FOUND ? OK : err;
}

enum err store_dump(struct kv *kv, struct disk *disk, const char *path, struct store_dump *dump, struct errmsg *msg)
{
    struct dump_writer writer = {.disk = disk};
    struct kv_txn *txn;
    *dump = (struct store_dump){0};
    enum err err = disk->open(disk, path, DISK_CREATE, &writer.file, msg);
    if (err != OK) {
        return err;
    }
    err = disk->truncate(disk, writer.file, 0);
    err = err == OK ? kv_begin_read(kv, &txn) : err;
    if (err == OK) {
        writer.data = mem_alloc_raw(BUFFER_SIZE);
        err = dump_pairs(txn, &writer, &dump->pair_count);
        kv_abort(txn);
        mem_free(writer.data);
    }
    disk->close(disk, writer.file);
    dump->size = writer.position;
    dump->crc = writer.crc;
    return err == OK ? OK : fail(msg, err, "dump of the metadata to %s: %s", path, err_text(err));
}

/* ---- In ---- */

struct dump_reader {
    struct disk *disk;
    int file;
    uint8_t *data;
    size_t capacity;
    size_t at, end;    /* of what is in the buffer */
    uint64_t position; /* in the file, behind the buffer */
};

/* Makes `size` bytes available; fewer only at the end of the file. */
static enum err reader_fill(struct dump_reader *reader, size_t size)
{
    if (reader->end - reader->at >= size) {
        return OK;
    }
    memmove(reader->data, reader->data + reader->at, reader->end - reader->at);
    reader->end -= reader->at;
    reader->at = 0;
    if (reader->capacity < size) {
        reader->data = mem_resize(reader->data, size);
        reader->capacity = size;
    }
    size_t got = 0;
    enum err err = reader->disk->pread(reader->disk, reader->file, reader->position, reader->data + reader->end,
                                       reader->capacity - reader->end, &got);
    reader->end += got;
    reader->position += got;
    return err;
}

static enum err load_pairs(struct kv_txn *txn, struct dump_reader *reader)
{
    for (;;) {
        enum err err = reader_fill(reader, PAIR_HEAD_SIZE);
        if (err != OK || reader->end == reader->at) {
            return err;
        }
        if (reader->end - reader->at < PAIR_HEAD_SIZE) {
            return ERR_DAMAGED;
        }
        size_t key_size = be32_get(reader->data + reader->at);
        size_t value_size = be32_get(reader->data + reader->at + 4);
        if (key_size == 0 || key_size > KV_KEY_SIZE_MAX || value_size > PAIR_SIZE_MAX) {
            return ERR_DAMAGED;
        }
        size_t size = PAIR_HEAD_SIZE + key_size + value_size;
        err = reader_fill(reader, size);
        if (err != OK || reader->end - reader->at < size) {
            return err != OK ? err : ERR_DAMAGED;
        }
        const uint8_t *key = reader->data + reader->at + PAIR_HEAD_SIZE;
        err = kv_put(txn, (struct bytes){key, key_size}, (struct bytes){key + key_size, value_size});
        if (err != OK) {
            return err;
        }
        reader->at += size;
    }
}

static enum err clear(struct kv_txn *txn)
{
    struct kv_cursor *cursor;
    struct bytes key;
    struct bytes value;
    enum err err = kv_cursor_open(txn, BYTES_NONE, BYTES_NONE, &cursor);
    if (err != OK) {
        return err;
    }
    while ((err = kv_cursor_next(cursor, &key, &value)) == OK) {
        err = kv_cursor_delete(cursor);
        if (err != OK) {
            break;
        }
    }
    kv_cursor_close(cursor);
    return err == ERR_NOT_FOUND ? OK : err;
}

enum err store_load(struct kv_txn *txn, struct disk *disk, const char *path, struct errmsg *msg)
{
    struct dump_reader reader = {.disk = disk, .capacity = BUFFER_SIZE};
    enum err err = disk->open(disk, path, DISK_READ_ONLY, &reader.file, msg);
    if (err != OK) {
        return err;
    }
    reader.data = mem_alloc_raw(BUFFER_SIZE);
    err = clear(txn);
    err = err == OK ? load_pairs(txn, &reader) : err;
    disk->close(disk, reader.file);
    mem_free(reader.data);
    return err == OK ? OK : fail(msg, err, "metadata from %s: %s", path, err_text(err));
}

enum err store_dump_check(struct disk *disk, const char *path, const struct store_dump *dump, struct errmsg *msg)
{
    uint64_t position = 0;
    uint32_t crc = 0;
    size_t got = 1;
    int file;
    enum err err = disk->open(disk, path, DISK_READ_ONLY, &file, msg);
    if (err != OK) {
        return err;
    }
    uint8_t *data = mem_alloc_raw(BUFFER_SIZE);
    while (err == OK && got > 0) {
        err = disk->pread(disk, file, position, data, BUFFER_SIZE, &got);
        crc = err == OK ? crc32c(crc, (struct bytes){data, got}) : crc;
        position += got;
    }
    disk->close(disk, file);
    mem_free(data);
    if (err == OK && (position != dump->size || crc != dump->crc)) {
        err = ERR_DAMAGED;
    }
    return err == OK ? OK : fail(msg, err, "file %s position 0: it is not what was sent", path);
}
