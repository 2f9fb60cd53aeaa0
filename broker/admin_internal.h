/* Shared by the files of the admin service: broker/admin_*.c. Private to them. */
#pragma once

#include "broker/admin.h"
#include "broker/grpc.h"
#include "proto/admin.pb-c.h"
#include "proto/errors.h"

struct grpc_health;

struct kafka_api;
struct schema;

enum {
    ADMIN_SERVICE_COUNT = 4
};

struct admin {
    struct shard *shard;
    struct grpc *grpc;
    struct grpc_health *health;
    struct grpc_service services[ADMIN_SERVICE_COUNT];
    struct listener *listeners[OPTION_LISTENERS_MAX];
    unsigned listener_count;
    void (*close_cb)(struct shard *shard);
    /* Of Watch. */
    struct list watchers;
    struct timer look;
    int32_t *alive;
    size_t alive_count;
};

/* A message in the call's arena, initialised; NULL when that is full. */
void *admin_message(struct grpc_call *call, const ProtobufCMessageDescriptor *descriptor);
/* NUL-terminated, in the arena; "" for no bytes, and when it is full. */
char *admin_text(struct grpc_call *call, struct bytes bytes);
/* Ends a call whose arena is full. */
void admin_too_large(struct grpc_call *call);


/* Copies of an int32 list in the arena. */
void admin_int32s(struct grpc_call *call, const int32_t *source, size_t count, size_t *target_count, int32_t **target);
/* Ends the call with what a Kafka error means as a status; `text` may be empty. */
void admin_fail(struct grpc_call *call, enum kafka_error error, struct bytes text);
/* The topic as of now. False: the call was ended. */
bool admin_topic(struct grpc_call *call, const char *name, struct store_topic *topic);
/* Topic and partition. False: the call was ended. */
bool admin_partition(struct grpc_call *call, const char *name, int32_t index, struct store_topic *topic,
                     struct store_partition *partition);

/* Asks what a Kafka client would ask: of the controller what it decides, else of this broker. `message` is encoded in
 * the call. `done` gets the decoded response, in the call's arena, and ends the call; when there is none the call is
 * ended here, with the reason. */
void admin_ask(struct grpc_call *call, int16_t api_key, const void *message,
               void (*done)(struct grpc_call *call, const void *response));
int32_t admin_timeout_ms(const struct grpc_call *call); /* what is left of the call's time, bounded */

static inline struct admin *admin_of(const struct grpc_call *call)
{
    return call->owner;
}

/* ---- Methods, by file ---- */

/* admin_cluster.c */
void admin_cluster_status(struct grpc_call *call, const ProtobufCMessage *message);
void admin_set_log_level(struct grpc_call *call, const ProtobufCMessage *message);
/* admin_topics.c */
void admin_list_topics(struct grpc_call *call, const ProtobufCMessage *message);
void admin_describe_topic(struct grpc_call *call, const ProtobufCMessage *message);
void admin_create_topic(struct grpc_call *call, const ProtobufCMessage *message);
void admin_delete_topic(struct grpc_call *call, const ProtobufCMessage *message);
void admin_add_partitions(struct grpc_call *call, const ProtobufCMessage *message);
void admin_describe_configs(struct grpc_call *call, const ProtobufCMessage *message);
/* Of a partition; NULL when the arena is full. */
Balsa__Admin__V1__Partition *admin_partition_message(struct grpc_call *call, int32_t index,
                                                     const struct store_partition *partition);
/* admin_moves.c */
void admin_move_partition(struct grpc_call *call, const ProtobufCMessage *message);
void admin_cancel_move(struct grpc_call *call, const ProtobufCMessage *message);
void admin_list_moves(struct grpc_call *call, const ProtobufCMessage *message);
/* admin_leaders.c */
void admin_transfer_leader(struct grpc_call *call, const ProtobufCMessage *message);
void admin_drain_broker(struct grpc_call *call, const ProtobufCMessage *message);
void admin_quorum_transfer(struct grpc_call *call, const ProtobufCMessage *message);
void admin_alter_config(struct grpc_call *call, const ProtobufCMessage *message);
/* admin_replicas.c */
void admin_partition_status(struct grpc_call *call, const ProtobufCMessage *message);
/* admin_quorum.c */
void admin_quorum_status(struct grpc_call *call, const ProtobufCMessage *message);
/* admin_explain.c */
void admin_explain(struct grpc_call *call, const ProtobufCMessage *message);
/* admin_watch.c */
void admin_watch_open(struct admin *admin);
void admin_watch_close(struct admin *admin);
void admin_watch(struct grpc_call *call, const ProtobufCMessage *message);
void admin_watch_canceled(struct grpc_call *call);
/* admin_groups.c */
void admin_list_groups(struct grpc_call *call, const ProtobufCMessage *message);
void admin_describe_group(struct grpc_call *call, const ProtobufCMessage *message);
void admin_reset_offsets(struct grpc_call *call, const ProtobufCMessage *message);
void admin_delete_group(struct grpc_call *call, const ProtobufCMessage *message);
/* admin_brokers.c */
void admin_decommission_broker(struct grpc_call *call, const ProtobufCMessage *message);
void admin_resume_broker(struct grpc_call *call, const ProtobufCMessage *message);
