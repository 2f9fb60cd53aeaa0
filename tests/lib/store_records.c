#include "tests/lib/store_records.h"

#include <string.h>

#include "tests/lib/test.h"

ProtobufCBinaryData store_record_data(const void *data, size_t size)
{
    return (ProtobufCBinaryData){.len = size, .data = (uint8_t *)(uintptr_t)data};
}

void store_record_topic(store_record_put put, const char *name, const struct uuid *id, size_t partition_count)
{
    Balsa__Record__Record record = BALSA__RECORD__RECORD__INIT;
    Balsa__Record__TopicCreated created = BALSA__RECORD__TOPIC_CREATED__INIT;
    Balsa__Record__Assignment assignment = BALSA__RECORD__ASSIGNMENT__INIT;
    Balsa__Record__Assignment *assignments[STORE_RECORD_PARTITION_COUNT_MAX];
    int32_t replicas[] = {1};
    uint64_t servers[] = {UINT64_C(1) << 32 | 1};
    ck_assert_uint_le(partition_count, STORE_RECORD_PARTITION_COUNT_MAX);
    for (size_t i = 0; i < partition_count; i++) {
        assignments[i] = &assignment;
    }
    assignment.replicas = replicas;
    assignment.n_replicas = 1;
    assignment.servers = servers;
    assignment.n_servers = 1;
    created.name = (char *)(uintptr_t)name;
    created.id = store_record_data(id->bytes, sizeof(id->bytes));
    created.assignments = assignments;
    created.n_assignments = partition_count;
    record.kind_case = BALSA__RECORD__RECORD__KIND_TOPIC_CREATED;
    record.topic_created = &created;
    put(&record);
}

void store_record_topic_deleted(store_record_put put, const struct uuid *id)
{
    Balsa__Record__Record record = BALSA__RECORD__RECORD__INIT;
    Balsa__Record__TopicDeleted deleted = BALSA__RECORD__TOPIC_DELETED__INIT;
    deleted.id = store_record_data(id->bytes, sizeof(id->bytes));
    record.kind_case = BALSA__RECORD__RECORD__KIND_TOPIC_DELETED;
    record.topic_deleted = &deleted;
    put(&record);
}

void store_record_group(store_record_put put, const char *group, const char *type, bool has_member, int64_t changed_ms)
{
    Balsa__Record__Record record = BALSA__RECORD__RECORD__INIT;
    Balsa__Record__GroupChanged changed = BALSA__RECORD__GROUP_CHANGED__INIT;
    Balsa__Record__GroupValue value = BALSA__RECORD__GROUP_VALUE__INIT;
    Balsa__Record__GroupMember member = BALSA__RECORD__GROUP_MEMBER__INIT;
    Balsa__Record__GroupMember *members[] = {&member};
    member.id = store_record_data("m", 1);
    value.group = store_record_data(group, strlen(group));
    value.protocol_type = store_record_data(type, strlen(type));
    value.changed_ms = changed_ms;
    value.members = members;
    value.n_members = has_member ? 1 : 0;
    changed.value = &value;
    record.kind_case = BALSA__RECORD__RECORD__KIND_GROUP_CHANGED;
    record.group_changed = &changed;
    put(&record);
}

void store_record_group_removed(store_record_put put, const char *group)
{
    Balsa__Record__Record record = BALSA__RECORD__RECORD__INIT;
    Balsa__Record__GroupsRemoved removed = BALSA__RECORD__GROUPS_REMOVED__INIT;
    Balsa__Record__GroupsRemoved__Removal removal = BALSA__RECORD__GROUPS_REMOVED__REMOVAL__INIT;
    Balsa__Record__GroupsRemoved__Removal *removals[] = {&removal};
    removal.group = store_record_data(group, strlen(group));
    removed.removals = removals;
    removed.n_removals = 1;
    record.kind_case = BALSA__RECORD__RECORD__KIND_GROUPS_REMOVED;
    record.groups_removed = &removed;
    put(&record);
}
