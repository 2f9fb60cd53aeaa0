/* Happy path: entry_new() takes over the caller's slice references; the last entry_release() gives them back.
 * Failure:    none; memory is bounded by who admits entries (GROUP_TAIL_SIZE_MAX). */
#include "replication/entry.h"

#include "base/assert.h"
#include "base/blocks.h"
#include "base/limits.h"

#include <string.h>

static size_t size_of(unsigned slice_count)
{
    return sizeof(struct entry) + slice_count * sizeof(struct slice);
}

static struct entry *entry_alloc(enum entry_kind kind, uint64_t index, uint64_t term, unsigned count)
{
    struct entry *entry = block_take(size_of(count));
    *entry = (struct entry){.index = index, .term = term, .references = 1, .kind = kind, .slice_count = count};
    return entry;
}

struct entry *entry_new(enum entry_kind kind, uint64_t index, uint64_t term, const struct slice *slices, unsigned count)
{
    struct entry *entry = entry_alloc(kind, index, term, count);
    for (unsigned i = 0; i < count; i++) {
        entry->slices[i] = slices[i];
        assert(slices[i].bytes.size <= ENTRY_SIZE_MAX - entry->size);
        entry->size += slices[i].bytes.size;
    }
    return entry;
}

struct entry *entry_new_copy(enum entry_kind kind, uint64_t index, uint64_t term, struct bytes payload)
{
    if (payload.size == 0) {
        return entry_new(kind, index, term, NULL, 0);
    }
    assert(payload.size <= ENTRY_SIZE_MAX);
    struct shared *block = shared_new(payload.size);
    memcpy(block->data, payload.data, payload.size);
    struct slice slice = {.block = block, .bytes = {block->data, payload.size}};
    return entry_new(kind, index, term, &slice, 1);
}

struct entry *entry_acquire(struct entry *entry)
{
    assert(entry->references > 0);
    assert(entry->references < UINT32_MAX);
    entry->references++;
    return entry;
}

void entry_release(struct entry *entry)
{
    assert(entry->references > 0);
    if (--entry->references > 0) {
        return;
    }
    for (unsigned i = 0; i < entry->slice_count; i++) {
        slice_release(&entry->slices[i]);
    }
    block_give(entry, size_of(entry->slice_count));
}

static bool is_of(const struct entry *entry, const struct shared *block)
{
    return block != NULL && entry->slice_count == 1 && entry->slices[0].block == block;
}

void entries_unpin(struct entry *const *entries, unsigned count)
{
    struct shared *block = NULL;
    size_t size = 0;
    for (unsigned i = 0; i < count; i++) {
        block = block == NULL && entries[i]->slice_count == 1 ? entries[i]->slices[0].block : block;
        size += is_of(entries[i], block) ? entries[i]->size : 0;
    }
    if (size == 0 || size >= block->size / 4) {
        return;
    }
    struct shared *copy = shared_new(size);
    size_t at = 0;
    for (unsigned i = 0; i < count; i++) {
        struct entry *entry = entries[i];
        if (is_of(entry, block)) {
            memcpy(copy->data + at, entry->slices[0].bytes.data, entry->size);
            struct slice slice = {.block = shared_acquire(copy), .bytes = {copy->data + at, entry->size}};
            at += entry->size;
            /* The block goes with its last slice: what is compared from here on is an address, no more. */
            slice_release(&entry->slices[0]);
            entry->slices[0] = slice;
        }
    }
    assert(at == size);
    shared_release(copy);
}

struct bytes entry_payload(const struct entry *entry, struct shared **scratch)
{
    if (entry->slice_count == 0) {
        return BYTES_NONE;
    }
    if (entry->slice_count == 1) {
        return entry->slices[0].bytes;
    }
    if (*scratch == NULL || (*scratch)->size < entry->size) {
        shared_release(*scratch);
        *scratch = shared_new(entry->size);
    }
    size_t at = 0;
    for (unsigned i = 0; i < entry->slice_count; i++) {
        struct bytes part = entry->slices[i].bytes;
        if (part.size > 0) {
            memcpy((*scratch)->data + at, part.data, part.size);
            at += part.size;
        }
    }
    assert(at == entry->size);
    return (struct bytes){(*scratch)->data, at};
}
