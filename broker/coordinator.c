#include "broker/coordinator.h"
#include "base/mem.h"
#include "broker/broker.h"
#include "broker/forward_internal.h"

struct coordinator {
    struct shard *shard;
};

struct coordinator *coordinator_open(struct shard *shard)
{
    struct coordinator *coordinator = mem_alloc(sizeof(*coordinator));
    coordinator->shard = shard;
    return coordinator;
}

void coordinator_close(struct coordinator *coordinator)
{
    mem_free(coordinator);
}

enum kafka_error coordinator_check(const struct coordinator *coordinator)
{
    return forward_is_controller(coordinator->shard) ? KAFKA_NONE : KAFKA_NOT_COORDINATOR;
}

enum kafka_error coordinator_check_commit(struct coordinator *coordinator, struct bytes group, struct bytes member_id,
                                          struct bytes instance_id, int32_t generation)
{
    enum kafka_error error = coordinator_check(coordinator);
    (void)group;
    if (error == KAFKA_NONE && (generation >= 0 || member_id.size > 0 || instance_id.size > 0)) {
        error = KAFKA_UNKNOWN_MEMBER_ID;
    }
    return error;
}

bool coordinator_group_is_empty(const struct coordinator *coordinator, struct bytes group)
{
    (void)coordinator;
    (void)group;
    return true;
}

bool coordinator_subscribes(const struct coordinator *coordinator, struct bytes group, struct bytes topic)
{
    (void)coordinator;
    (void)group;
    (void)topic;
    return false;
}

void coordinator_forget(struct coordinator *coordinator, struct bytes group)
{
    (void)coordinator;
    (void)group;
}

/* ---- Calls ---- */

static void call_on_back(struct message *message)
{
    struct coordinator_call *call = container_of(message, struct coordinator_call, message);
    store_reader_refresh(call->origin->reader);
    call->back(call);
}

static void call_on_arrived(struct message *message)
{
    struct coordinator_call *call = container_of(message, struct coordinator_call, message);
    call->run(call, call->home->coordinator);
}

void coordinator_send(struct coordinator_call *call, struct shard *origin)
{
    call->origin = origin;
    call->home = &origin->broker->shards[0];
    call->message.cb = call_on_arrived;
    shard_send(origin, 0, &call->message);
}

void coordinator_return(struct coordinator_call *call)
{
    call->message.cb = call_on_back;
    shard_send(call->home, call->origin->number, &call->message);
}
