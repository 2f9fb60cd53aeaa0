/* A value is: version u8, fields, CRC-32C of all before it. Reading trusts nothing: a value that does not decode is
 * handed on as damage of that one group, so that the others still open. */

#include "replication/checkpoint.h"
#include "base/assert.h"
#include "base/crc32c.h"
#include "base/limits.h"
#include "base/mem.h"

#define CHECKPOINT_VERSION 1
#define CHECKPOINT_SIZE_MAX MIB(64) /* producers of a partition are most of it: 20,000 of about 150 bytes */
#define KEY_SIZE 9

static struct bytes key_make(uint8_t out[KEY_SIZE], char table, uint64_t group)
{
    out[0] = (uint8_t)table;
    be64_put(out + 1, group);
    return (struct bytes){out, KEY_SIZE};
}

/* Appends the CRC and stores the value. */
static enum err put_sealed(struct kv_txn *txn, struct bytes key, struct dynbuf *buf)
{
    uint8_t crc[4];
    be32_put(crc, crc32c(0, dynbuf_bytes(buf)));
    enum err err = dynbuf_put(buf, (struct bytes){crc, sizeof(crc)});
    return err == OK ? kv_put(txn, key, dynbuf_bytes(buf)) : err;
}

static enum err unseal(struct bytes value, struct reader *reader)
{
    if (value.size < 5) {
        return ERR_CORRUPT;
    }
    struct bytes body = {value.data, value.size - 4};
    if (crc32c(0, body) != be32_get(value.data + body.size)) {
        return ERR_CORRUPT;
    }
    reader_init(reader, body);
    return read_u8(reader) == CHECKPOINT_VERSION ? OK : ERR_UNSUPPORTED;
}

static enum err put_group(struct kv_txn *txn, uint64_t group, enum group_type type, struct bytes description)
{
    uint8_t key[KEY_SIZE];
    uint8_t head[2] = {CHECKPOINT_VERSION, (uint8_t)type};
    struct dynbuf buf;
    dynbuf_init(&buf, CHECKPOINT_SIZE_MAX);
    enum err err = dynbuf_put(&buf, (struct bytes){head, sizeof(head)});
    err = err == OK ? dynbuf_put(&buf, description) : err;
    err = err == OK ? put_sealed(txn, key_make(key, 'G', group), &buf) : err;
    dynbuf_deinit(&buf);
    return err;
}

enum err checkpoint_put(struct kv_txn *txn, uint64_t group, const struct checkpoint_raft *raft, struct bytes state)
{
    uint8_t key[KEY_SIZE];
    uint8_t head[1 + 5 * 8 + 1 + REPLICA_SERVER_COUNT_MAX * 9];
    struct writer writer;
    struct dynbuf buf;
    struct bytes known;
    assert(raft->index != 1);
    assert(raft->membership.count <= REPLICA_SERVER_COUNT_MAX);
    enum err err = kv_get(txn, key_make(key, 'G', group), &known);
    if (err != OK) {
        return err;
    }
    writer_init(&writer, head, sizeof(head));
    write_u8(&writer, CHECKPOINT_VERSION);
    write_u64(&writer, raft->index);
    write_u64(&writer, raft->term);
    write_u64(&writer, raft->membership_index);
    write_u64(&writer, raft->hard_term);
    write_u64(&writer, raft->vote);
    write_u8(&writer, (uint8_t)raft->membership.count);
    for (unsigned i = 0; i < raft->membership.count; i++) {
        write_u64(&writer, raft->membership.servers[i].id);
        write_u8(&writer, raft->membership.servers[i].is_voter);
    }
    assert(writer.err == OK);
    dynbuf_init(&buf, CHECKPOINT_SIZE_MAX);
    err = dynbuf_put(&buf, (struct bytes){head, writer_size(&writer)});
    err = err == OK ? dynbuf_put(&buf, state) : err;
    err = err == OK ? put_sealed(txn, key_make(key, 'C', group), &buf) : err;
    dynbuf_deinit(&buf);
    return err;
}

enum err checkpoint_create(struct kv_txn *txn, uint64_t group, enum group_type type, struct bytes description,
                           const struct checkpoint_raft *raft)
{
    uint8_t key[KEY_SIZE];
    struct bytes known;
    assert(raft->index == 0);
    assert((raft->membership.count == 0) == (raft->term == 0));
    assert(raft->membership.count == 0 || raft->hard_term == raft->term);
    enum err err = kv_get(txn, key_make(key, 'G', group), &known);
    if (err != ERR_NOT_FOUND) {
        return err == OK ? ERR_EXISTS : err;
    }
    err = put_group(txn, group, type, description);
    return err == OK ? checkpoint_put(txn, group, raft, BYTES_NONE) : err;
}

enum err checkpoint_remove(struct kv_txn *txn, uint64_t group)
{
    uint8_t key[KEY_SIZE];
    static const char tables[] = {'G', 'C', 'D'};
    enum err err = OK;
    for (size_t i = 0; i < sizeof(tables) && (err == OK || err == ERR_NOT_FOUND); i++) {
        err = kv_delete(txn, key_make(key, tables[i], group));
    }
    return err == ERR_NOT_FOUND ? OK : err;
}

enum err checkpoint_kept(struct kv_txn *txn, uint64_t group, struct checkpoint_kept *kept)
{
    uint8_t key[KEY_SIZE];
    struct bytes value;
    struct reader reader;
    *kept = (struct checkpoint_kept){0};
    enum err err = kv_get(txn, key_make(key, 'H', group), &value);
    if (err != OK) {
        return err == ERR_NOT_FOUND ? OK : err;
    }
    err = unseal(value, &reader);
    if (err != OK) {
        return err;
    }
    kept->hard_term = read_u64(&reader);
    kept->vote = read_u64(&reader);
    kept->layout = read_u32(&reader);
    kept->lsn = read_u64(&reader);
    return reader.err == OK && reader.left == 0 ? OK : ERR_CORRUPT;
}

enum err checkpoint_keep(struct kv_txn *txn, uint64_t group, const struct checkpoint_kept *kept)
{
    uint8_t key[KEY_SIZE];
    uint8_t memory[1 + 3 * 8 + 4];
    struct checkpoint_kept known;
    struct writer writer;
    struct dynbuf buf;
    enum err err = checkpoint_kept(txn, group, &known);
    if (err != OK) {
        return err;
    }
    bool is_older = kept->hard_term < known.hard_term;
    writer_init(&writer, memory, sizeof(memory));
    write_u8(&writer, CHECKPOINT_VERSION);
    write_u64(&writer, is_older ? known.hard_term : kept->hard_term);
    write_u64(&writer, is_older ? known.vote : kept->vote);
    write_u32(&writer, kept->layout);
    write_u64(&writer, kept->lsn);
    assert(writer.err == OK);
    dynbuf_init(&buf, CHECKPOINT_SIZE_MAX);
    err = dynbuf_put(&buf, (struct bytes){memory, writer_size(&writer)});
    err = err == OK ? put_sealed(txn, key_make(key, 'H', group), &buf) : err;
    dynbuf_deinit(&buf);
    return err;
}

enum err checkpoint_forget(struct kv_txn *txn, uint64_t group)
{
    uint8_t key[KEY_SIZE];
    enum err err = kv_delete(txn, key_make(key, 'H', group));
    return err == ERR_NOT_FOUND ? OK : err;
}

static enum err decode_raft(struct bytes value, struct checkpoint_raft *raft, struct bytes *state)
{
    struct reader reader;
    enum err err = unseal(value, &reader);
    if (err != OK) {
        return err;
    }
    raft->index = read_u64(&reader);
    raft->term = read_u64(&reader);
    raft->membership_index = read_u64(&reader);
    raft->hard_term = read_u64(&reader);
    raft->vote = read_u64(&reader);
    raft->membership.count = read_u8(&reader);
    if (raft->membership.count > REPLICA_SERVER_COUNT_MAX) {
        return ERR_CORRUPT;
    }
    for (unsigned i = 0; i < raft->membership.count; i++) {
        raft->membership.servers[i].id = read_u64(&reader);
        raft->membership.servers[i].is_voter = read_u8(&reader) != 0;
    }
    *state = read_bytes(&reader, reader.left);
    return reader.err == OK && raft->index != 1 ? OK : ERR_CORRUPT;
}

enum err checkpoint_put_hard_state(struct kv_txn *txn, uint64_t group, uint64_t hard_term, uint64_t vote)
{
    uint8_t key[KEY_SIZE];
    struct bytes value;
    struct bytes state;
    struct checkpoint_raft raft;
    enum err err = kv_get(txn, key_make(key, 'C', group), &value);
    err = err == OK ? decode_raft(value, &raft, &state) : err;
    if (err != OK) {
        return err;
    }
    raft.hard_term = hard_term;
    raft.vote = vote;
    return checkpoint_put(txn, group, &raft, state);
}

enum err checkpoint_put_damage(struct kv_txn *txn, uint64_t group, struct bytes cause)
{
    uint8_t key[KEY_SIZE];
    uint8_t version = CHECKPOINT_VERSION;
    struct bytes known;
    struct dynbuf buf;
    enum err err = kv_get(txn, key_make(key, 'G', group), &known);
    if (err != OK) {
        return err;
    }
    dynbuf_init(&buf, CHECKPOINT_SIZE_MAX);
    err = dynbuf_put(&buf, (struct bytes){&version, 1});
    err = err == OK ? dynbuf_put(&buf, cause) : err;
    err = err == OK ? put_sealed(txn, key_make(key, 'D', group), &buf) : err;
    dynbuf_deinit(&buf);
    return err;
}

/* The record itself tells, whether its text can be read or not. */
static enum err decode_damage(struct kv_txn *txn, struct checkpoint_group *group)
{
    uint8_t key[KEY_SIZE];
    struct bytes value;
    struct reader reader;
    enum err err = kv_get(txn, key_make(key, 'D', group->group), &value);
    if (err != OK) {
        return err == ERR_NOT_FOUND ? OK : err;
    }
    group->damage = unseal(value, &reader) == OK ? read_bytes(&reader, reader.left) : bytes_from_text("unknown");
    return OK;
}

static enum err decode_group(struct kv_txn *txn, struct bytes value, struct checkpoint_group *group)
{
    uint8_t key[KEY_SIZE];
    struct reader reader;
    struct bytes checkpoint;
    enum err err = unseal(value, &reader);
    if (err != OK) {
        return err;
    }
    uint8_t type = read_u8(&reader);
    group->description = read_bytes(&reader, reader.left);
    if (reader.err != OK || (type != GROUP_METADATA && type != GROUP_PARTITION)) {
        return ERR_CORRUPT;
    }
    group->type = (enum group_type)type;
    err = kv_get(txn, key_make(key, 'C', group->group), &checkpoint);
    if (err != OK) {
        return err == ERR_NOT_FOUND ? ERR_CORRUPT : err;
    }
    err = decode_damage(txn, group);
    err = err == OK ? checkpoint_kept(txn, group->group, &group->kept) : err;
    return err == OK ? decode_raft(checkpoint, &group->raft, &group->state) : err;
}

enum err checkpoint_each(struct kv_txn *txn, void *context,
                         enum err (*cb)(void *context, const struct checkpoint_group *group, enum err err))
{
    struct kv_cursor *cursor;
    struct bytes key;
    struct bytes value;
    enum err err = kv_cursor_open(txn, bytes_from_text("G"), BYTES_NONE, &cursor);
    if (err != OK) {
        return err;
    }
    while ((err = kv_cursor_next(cursor, &key, &value)) == OK) {
        struct checkpoint_group group = {0};
        if (key.size != KEY_SIZE) {
            err = ERR_CORRUPT;
            break;
        }
        group.group = be64_get(key.data + 1);
        enum err found = decode_group(txn, value, &group);
        err = cb(context, &group, found);
        if (err != OK) {
            break;
        }
    }
    kv_cursor_close(cursor);
    return err == ERR_NOT_FOUND ? OK : err;
}
