/* Happy path: push at the end as entries are appended, drop at the start as they are applied. */
#include "replication/tail.h"

#include "base/assert.h"
#include "base/mem.h"

void tail_init(struct tail *tail, uint64_t first_index)
{
    *tail = (struct tail){.first_index = first_index};
}

void tail_deinit(struct tail *tail)
{
    tail_reset(tail, 0);
    mem_free(tail->slots);
    *tail = (struct tail){0};
}

void tail_reset(struct tail *tail, uint64_t first_index)
{
    tail_cut(tail, tail->first_index);
    assert(tail->size == 0);
    tail->first_index = first_index;
    tail->start = 0;
}

size_t tail_entry_size(const struct entry *entry)
{
    return entry->size + sizeof *entry + entry->slice_count * sizeof entry->slices[0] + sizeof(struct tail_slot);
}

static void tail_grow(struct tail *tail)
{
    size_t capacity = tail->capacity == 0 ? 8 : tail->capacity * 2;
    struct tail_slot *slots = mem_alloc(capacity * sizeof *slots);
    for (size_t i = 0; i < tail->count; i++) {
        slots[i] = *tail_at(tail, tail->first_index + i);
    }
    mem_free(tail->slots);
    tail->slots = slots;
    tail->capacity = capacity;
    tail->start = 0;
}

void tail_push(struct tail *tail, struct entry *entry, uint64_t lsn)
{
    assert(entry->index == tail_end(tail));
    if (tail->count == tail->capacity) {
        tail_grow(tail);
    }
    tail->count++;
    *tail_at(tail, entry->index) = (struct tail_slot){.entry = entry_acquire(entry), .lsn = lsn};
    tail->size += tail_entry_size(entry);
}

static void slot_release(struct tail *tail, struct tail_slot *slot)
{
    size_t size = tail_entry_size(slot->entry);
    assert(tail->size >= size);
    tail->size -= size;
    entry_release(slot->entry);
    slot->entry = NULL;
}

void tail_cut(struct tail *tail, uint64_t index)
{
    assert(index >= tail->first_index);
    while (tail_end(tail) > index) {
        slot_release(tail, tail_at(tail, tail_end(tail) - 1));
        tail->count--;
    }
}

void tail_drop_first(struct tail *tail)
{
    assert(tail->count > 0);
    slot_release(tail, tail_at(tail, tail->first_index));
    tail->start = (tail->start + 1) & (tail->capacity - 1);
    tail->first_index++;
    tail->count--;
}
