/* Records of topics and groups, as the controller and the coordinator write them, for tests that want a store with
 * something in it. What a record points to lives for the call of `put`, which proposes it.
 * Runs on: the test's thread. */
#ifndef TESTS_LIB_STORE_RECORDS_H
#define TESTS_LIB_STORE_RECORDS_H

#include "proto/uuid.h"
#include "proto/record.pb-c.h"

typedef void (*store_record_put)(const Balsa__Record__Record *record);

enum { STORE_RECORD_PARTITION_COUNT_MAX = 8 };

ProtobufCBinaryData store_record_data(const void *data, size_t size); /* borrowed */

/* A topic whose partitions have one replica each. */
void store_record_topic(store_record_put put, const char *name, const struct uuid *id, size_t partition_count);
void store_record_topic_deleted(store_record_put put, const struct uuid *id);
/* What is known of a group from now on: `type` is "" if it never had members. The member is called "m". */
void store_record_group(store_record_put put, const char *group, const char *type, bool has_member, int64_t changed_ms);
void store_record_group_removed(store_record_put put, const char *group);

#endif
