/* What an event led to: arrays that grow and are used again, for as many cores as share them. */
#include "replication/raft_core_internal.h"

#include "base/mem.h"

void raft_core_update_init(struct raft_core_update *update)
{
    *update = (struct raft_core_update){0};
}

void update_reset(struct raft_core_update *update)
{
    for (unsigned i = 0; i < update->entry_count; i++) {
        entry_release(update->entries[i]);
    }
    update->err = OK;
    update->failure = NULL;
    update->is_hard_state_changed = false;
    update->is_role_changed = false;
    update->is_installing = false;
    update->is_membership_appended = false;
    update->first_index = 0;
    update->entry_count = 0;
    update->message_count = 0;
}

void raft_core_update_deinit(struct raft_core_update *update)
{
    update_reset(update);
    mem_free(update->entries);
    mem_free(update->messages);
    mem_free(update->scratch);
    raft_core_update_init(update);
}

void update_add_entry(struct raft_core_update *update, struct entry *entry)
{
    if (update->entry_count == update->entry_capacity) {
        update->entry_capacity = update->entry_capacity == 0 ? 64 : update->entry_capacity * 2;
        update->entries = mem_resize(update->entries, update->entry_capacity * sizeof *update->entries);
    }
    update->entries[update->entry_count++] = entry;
}

void update_add_message(struct raft_core_update *update, const struct replica_message *message)
{
    if (update->message_count == update->message_capacity) {
        update->message_capacity = update->message_capacity == 0 ? 16 : update->message_capacity * 2;
        update->messages = mem_resize(update->messages, update->message_capacity * sizeof *update->messages);
    }
    update->messages[update->message_count++] = *message;
}

void *update_scratch(struct raft_core_update *update, size_t size)
{
    if (update->scratch_size < size) {
        mem_free(update->scratch);
        update->scratch_size = size < 4096 ? 4096 : size;
        update->scratch = mem_alloc_raw(update->scratch_size);
    }
    return update->scratch;
}

void update_fail(struct raft_core_update *update, const char *failure)
{
    update->err = ERR_DAMAGED;
    if (update->failure == NULL) {
        update->failure = failure;
    }
}
