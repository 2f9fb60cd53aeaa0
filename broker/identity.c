/* A wiped directory gets a new incarnation, so that a broker that lost its disk is never taken for the one that
 * voted. */

#include "broker/identity.h"
#include "base/assert.h"
#include "base/crc32c.h"
#include "base/process.h"
#include <string.h>

#define IDENTITY_VERSION 1
#define NODE_SIZE (1 + 4 + 16)
#define LAYOUT_SIZE (1 + 4 + 4)
#define ID_SIZE (IDENTITY_CLUSTER_TEXT_SIZE - 1)
#define CLUSTER_SIZE(count) (1 + ID_SIZE + 1 + 8 * (size_t)(count))
#define CRC_SIZE 4

/* Of `size` bytes, the CRC not counted; 0: of any size. */
static enum err get_sealed(struct kv_txn *txn, const char *key, size_t size, struct reader *reader, struct errmsg *msg)
{
    struct bytes value;
    enum err err = kv_get(txn, bytes_from_text(key), &value);
    if (err != OK) {
        return err;
    }
    if (size == 0 && value.size > CRC_SIZE) {
        size = value.size - CRC_SIZE;
    }
    if (value.size != size + CRC_SIZE || crc32c(0, (struct bytes){value.data, size}) != be32_get(value.data + size)) {
        return fail(msg, ERR_DAMAGED, "local store: record '%s' is damaged", key);
    }
    reader_init(reader, (struct bytes){value.data, size});
    uint8_t version = read_u8(reader);
    return version == IDENTITY_VERSION
               ? OK
               : fail(msg, ERR_UNSUPPORTED, "local store: record '%s' has version %d, this program knows %d", key,
                      version, IDENTITY_VERSION);
}

static enum err put_sealed(struct kv_txn *txn, const char *key, struct writer *writer)
{
    size_t size = writer_size(writer);
    write_u32(writer, crc32c(0, (struct bytes){writer->start, size}));
    return kv_put(txn, bytes_from_text(key), (struct bytes){writer->start, writer_size(writer)});
}

static enum err put_node(struct kv_txn *txn, const struct identity *identity)
{
    uint8_t value[NODE_SIZE + CRC_SIZE];
    struct writer writer;
    writer_init(&writer, value, sizeof(value));
    write_u8(&writer, IDENTITY_VERSION);
    write_i32(&writer, identity->node_id);
    write_bytes(&writer, (struct bytes){identity->incarnation, sizeof(identity->incarnation)});
    return put_sealed(txn, "N", &writer);
}

static enum err read_node(struct kv_txn *txn, int32_t node_id, struct identity *identity, struct errmsg *msg)
{
    struct reader reader;
    enum err err = get_sealed(txn, "N", NODE_SIZE, &reader, msg);
    if (err == ERR_NOT_FOUND) {
        identity->node_id = node_id;
        process_random(identity->incarnation, sizeof(identity->incarnation));
        err = put_node(txn, identity);
        return err == OK ? OK : fail(msg, err, "local store: %s", err_text(err));
    }
    if (err != OK) {
        return err;
    }
    identity->node_id = read_i32(&reader);
    struct bytes incarnation = read_bytes(&reader, sizeof(identity->incarnation));
    assert(reader.err == OK); /* get_sealed() has checked the size */
    memcpy(identity->incarnation, incarnation.data, sizeof(identity->incarnation));
    if (identity->node_id != node_id) {
        return fail(
            msg, ERR_INVALID,
            "this data directory belongs to node.id %d, the configuration says %d: use that id, or another directory",
            identity->node_id, node_id);
    }
    return OK;
}

static enum err read_layout(struct kv_txn *txn, struct identity *identity, struct errmsg *msg)
{
    struct reader reader;
    enum err err = get_sealed(txn, "L", LAYOUT_SIZE, &reader, msg);
    if (err == ERR_NOT_FOUND) {
        identity->layout = 0;
        identity->shard_count = 0;
        return OK;
    }
    if (err == OK) {
        identity->layout = read_u32(&reader);
        identity->shard_count = read_u32(&reader);
    }
    return err;
}

enum err identity_open(struct kv *local, int32_t node_id, struct identity *identity, struct errmsg *msg)
{
    struct kv_txn *txn;
    *identity = (struct identity){0};
    enum err err = kv_begin_write(local, &txn);
    if (err != OK) {
        return fail(msg, err, "local store: %s", err_text(err));
    }
    err = read_node(txn, node_id, identity, msg);
    err = err == OK ? read_layout(txn, identity, msg) : err;
    if (err != OK) {
        kv_abort(txn);
        return err;
    }
    uint32_t low = be32_get(identity->incarnation);
    identity->server_id = (uint64_t)(uint32_t)identity->node_id << 32 | (low != 0 ? low : 1);
    return kv_commit(txn, msg);
}

enum err identity_put_layout(struct kv *local, unsigned layout, unsigned shard_count, struct errmsg *msg)
{
    uint8_t value[LAYOUT_SIZE + CRC_SIZE];
    struct writer writer;
    struct kv_txn *txn;
    enum err err = kv_begin_write(local, &txn);
    if (err != OK) {
        return fail(msg, err, "local store: %s", err_text(err));
    }
    writer_init(&writer, value, sizeof(value));
    write_u8(&writer, IDENTITY_VERSION);
    write_u32(&writer, layout);
    write_u32(&writer, shard_count);
    err = put_sealed(txn, "L", &writer);
    if (err != OK) {
        kv_abort(txn);
        return fail(msg, err, "local store: %s", err_text(err));
    }
    return kv_commit(txn, msg);
}

bool identity_is_founder(const struct identity_cluster *cluster, uint64_t server_id)
{
    for (unsigned i = 0; i < cluster->founder_count; i++) {
        if (cluster->founders[i] == server_id) {
            return true;
        }
    }
    return false;
}

enum err identity_get_cluster(struct kv *local, struct identity_cluster *cluster, struct errmsg *msg)
{
    struct kv_txn *txn;
    struct reader reader;
    *cluster = (struct identity_cluster){.founder_count = 0};
    enum err err = kv_begin_read(local, &txn);
    if (err != OK) {
        return fail(msg, err, "local store: %s", err_text(err));
    }
    err = get_sealed(txn, "U", 0, &reader, msg);
    if (err == OK) {
        struct bytes id = read_bytes(&reader, ID_SIZE);
        cluster->founder_count = read_u8(&reader);
        for (unsigned i = 0; i < cluster->founder_count && i < IDENTITY_FOUNDER_COUNT_MAX; i++) {
            cluster->founders[i] = read_u64(&reader);
        }
        if (reader.err != OK || reader.left != 0) {
            err = fail(msg, ERR_DAMAGED, "local store: record 'U' is damaged");
        } else {
            memcpy(cluster->id, id.data, ID_SIZE);
        }
    }
    kv_abort(txn);
    return err == ERR_NOT_FOUND ? OK : err;
}

enum err identity_put_cluster(struct kv *local, const struct identity_cluster *cluster, struct errmsg *msg)
{
    uint8_t value[CLUSTER_SIZE(IDENTITY_FOUNDER_COUNT_MAX) + CRC_SIZE];
    struct writer writer;
    struct kv_txn *txn;
    assert(cluster->founder_count <= IDENTITY_FOUNDER_COUNT_MAX);
    assert(strlen(cluster->id) == ID_SIZE);
    enum err err = kv_begin_write(local, &txn);
    if (err != OK) {
        return fail(msg, err, "local store: %s", err_text(err));
    }
    writer_init(&writer, value, sizeof(value));
    write_u8(&writer, IDENTITY_VERSION);
    write_bytes(&writer, bytes_from_text(cluster->id));
    write_u8(&writer, (uint8_t)cluster->founder_count);
    for (unsigned i = 0; i < cluster->founder_count; i++) {
        write_u64(&writer, cluster->founders[i]);
    }
    err = put_sealed(txn, "U", &writer);
    if (err != OK) {
        kv_abort(txn);
        return fail(msg, err, "local store: %s", err_text(err));
    }
    return kv_commit(txn, msg);
}
