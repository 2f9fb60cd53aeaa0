/* DeleteGroups: whole groups without members, with their offsets. Shard 0 looks at coordinator and store, then
 * proposes, even if nothing is left to remove: that this broker still decides is known only when a majority agrees. */

#include "base/mem.h"
#include "broker/coordinator.h"
#include "broker/request.h"
#include "metadata/offsets.h"
#include "metadata/store_groups.h"

struct group_item {
    enum kafka_error error;
    uint64_t number;
    bool is_asked;
};

struct groups_work {
    struct coordinator_call call;
    struct request *request;
    struct kafka_delete_groups_request message;
    struct offsets_remove remove;
    struct group_removal *groups;
    struct group_item *items; /* [message.groups_names_count] */
    size_t count;
};

static void groups_free(struct groups_work *work)
{
    mem_free(work->groups);
    mem_free(work->items);
    mem_free(work);
}

static void groups_back(struct coordinator_call *call)
{
    struct groups_work *work = container_of(call, struct groups_work, call);
    struct request *request = work->request;
    struct kafka_delete_groups_response response;
    codec_init_defaults(&kafka_delete_groups_response_schema, &response);
    if (work->count > 0) {
        response.results = codec_new(&kafka_delete_groups_response_result_schema, work->count, &request->arena);
        response.results_count = (int32_t)work->count;
    }
    for (size_t i = 0; response.results != NULL && i < work->count; i++) {
        response.results[i].group_id = work->message.groups_names[i];
        response.results[i].error_code = (int16_t)work->items[i].error;
    }
    if (work->count > 0 && response.results == NULL) {
        request_kill(request, "delete groups response over the memory limit");
    } else {
        request_respond(request, &kafka_delete_groups_response_schema, &response);
    }
    groups_free(work);
}

/* A group that is still there under its number was not removed: it has got members. */
static void groups_on_removed(struct offsets_remove *remove)
{
    struct groups_work *work = container_of(remove, struct groups_work, remove);
    struct shard *shard = work->call.home;
    store_reader_refresh(shard->reader);
    for (size_t i = 0; i < work->count; i++) {
        struct group_item *item = &work->items[i];
        struct bytes id;
        if (remove->error != KAFKA_NONE) {
            item->error = remove->error;
        } else if (item->is_asked && store_consumer_group_id(shard->reader, item->number, &id) == OK) {
            item->error = KAFKA_NON_EMPTY_GROUP;
        } else if (item->is_asked) {
            coordinator_forget(shard->coordinator, work->message.groups_names[i]);
        }
    }
    coordinator_return(&work->call);
}

static void groups_run(struct coordinator_call *call, struct coordinator *coordinator)
{
    struct groups_work *work = container_of(call, struct groups_work, call);
    struct shard *shard = call->home;
    enum kafka_error error = coordinator_check(coordinator);
    for (size_t i = 0; i < work->count; i++) {
        struct group_item *item = &work->items[i];
        struct bytes id = work->message.groups_names[i];
        item->error = error;
        if (error == KAFKA_NONE && !coordinator_group_is_empty(coordinator, id)) {
            item->error = KAFKA_NON_EMPTY_GROUP;
        } else if (error == KAFKA_NONE && store_consumer_group_number(shard->reader, id, &item->number) != OK) {
            item->error = KAFKA_GROUP_ID_NOT_FOUND;
        } else if (error == KAFKA_NONE) {
            item->is_asked = true;
            work->groups[work->remove.group_count++] = (struct group_removal){.group = id};
        }
    }
    if (error != KAFKA_NONE) {
        coordinator_return(call);
        return;
    }
    work->remove.groups = work->groups;
    work->remove.cb = groups_on_removed;
    offsets_remove(shard->offsets, &work->remove);
}

void handle_delete_groups(struct request *request)
{
    struct groups_work *work = mem_alloc(sizeof(*work));
    work->request = request;
    if (!request_decode(request, &kafka_delete_groups_request_schema, &work->message)) {
        mem_free(work);
        return;
    }
    work->count = work->message.groups_names_count > 0 ? (size_t)work->message.groups_names_count : 0;
    if (!request_charge(request, work->count, sizeof(*work->groups) + sizeof(*work->items))) {
        mem_free(work);
        return;
    }
    work->groups = mem_alloc((work->count + 1) * sizeof(*work->groups));
    work->items = mem_alloc((work->count + 1) * sizeof(*work->items));
    work->call.run = groups_run;
    work->call.back = groups_back;
    coordinator_send(&work->call, request->shard);
}
