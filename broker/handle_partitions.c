/* CreatePartitions: one wish a topic, all at once; then the answer waits until the new partitions are led. */

#include "base/mem.h"
#include "broker/forward.h"
#include "broker/wish.h"

#define LEADERS_TIMEOUT_MAX_MS 30000

struct add_work;

struct add_item {
    struct wish wish;
    struct controller_add_partitions add;
    struct add_work *work;
};

struct add_work {
    struct request *request;
    struct kafka_create_partitions_request message;
    struct add_item *items;
    size_t pending;
    size_t undone; /* items that met no controller */
    uint64_t *groups;
    struct leaders_wait wait;
};

static void add_free(struct add_work *work)
{
    mem_free(work->groups);
    mem_free(work->items);
    mem_free(work);
}

static void add_respond(struct leaders_wait *wait)
{
    struct add_work *work = container_of(wait, struct add_work, wait);
    struct request *request = work->request;
    struct kafka_create_partitions_response response;
    codec_init_defaults(&kafka_create_partitions_response_schema, &response);
    size_t count = (size_t)work->message.topics_count;
    if (count > 0) {
        response.results = codec_new(&kafka_create_partitions_response_topic_schema, count, &request->arena);
    }
    if (count > 0 && response.results == NULL) {
        request_kill(request, "create partitions response over the memory limit");
    } else {
        response.results_count = (int32_t)count;
        for (size_t i = 0; i < count; i++) {
            const struct controller_result *result = &work->items[i].add.result;
            response.results[i].name = work->message.topics[i].name;
            response.results[i].error_code = (int16_t)result->error;
            response.results[i].error_message = result->text[0] != '\0' ? bytes_from_text(result->text) : BYTES_NONE;
        }
        request_respond(request, &kafka_create_partitions_response_schema, &response);
    }
    add_free(work);
}

static void add_wait(struct add_work *work)
{
    struct shard *shard = work->request->shard;
    int64_t timeout_ms = work->message.timeout_ms;
    size_t count = 0;
    for (int32_t i = 0; i < work->message.topics_count && !work->message.validate_only; i++) {
        const struct add_item *item = &work->items[i];
        if (item->add.result.error == KAFKA_NONE) {
            count = wish_topic_groups(shard, &item->add.result.id, 0, &work->groups, count);
        }
    }
    work->wait = (struct leaders_wait){.groups = work->groups, .count = count, .cb = add_respond};
    leaders_wait_for(shard->leaders, &work->wait,
                     timeout_ms < LEADERS_TIMEOUT_MAX_MS ? timeout_ms : LEADERS_TIMEOUT_MAX_MS);
}

static void add_decided(struct wish *wish)
{
    struct add_work *work = container_of(wish, struct add_item, wish)->work;
    work->undone += wish->refusal != KAFKA_NONE;
    if (--work->pending > 0) {
        return;
    }
    if (work->undone == (size_t)work->message.topics_count && request_is_undone(work->request, wish->refusal)) {
        request_not_controller(work->request);
        add_free(work);
        return;
    }
    add_wait(work);
}

static void add_on_controlled(struct controller_add_partitions *add)
{
    wish_controlled(&container_of(add, struct add_item, add)->wish, &add->result, 1);
}

static void add_decide(struct wish *wish, struct controller *controller)
{
    struct add_item *item = container_of(wish, struct add_item, wish);
    if (controller == NULL) {
        item->add.result = (struct controller_result){.error = wish->refusal};
        wish_decided(wish);
        return;
    }
    item->add.cb = add_on_controlled;
    controller_create_partitions(controller, &item->add);
}

static bool decode_item(struct add_work *work, int32_t at)
{
    const struct kafka_create_partitions_request_topic *topic = &work->message.topics[at];
    struct add_item *item = &work->items[at];
    item->work = work;
    item->wish.decide = add_decide;
    item->wish.decided = add_decided;
    item->wish.refusal = work->request->refusal;
    item->add = (struct controller_add_partitions){
        .name = topic->name, .partition_count = topic->count, .is_validate_only = work->message.validate_only};
    if (topic->assignments_count < 0) {
        return true;
    }
    size_t count = (size_t)topic->assignments_count;
    const int32_t **lists = arena_alloc(&work->request->arena, (count + 1) * sizeof(*lists));
    size_t *sizes = arena_alloc(&work->request->arena, (count + 1) * sizeof(*sizes));
    for (size_t i = 0; lists != NULL && sizes != NULL && i < count; i++) {
        lists[i] = topic->assignments[i].broker_ids;
        sizes[i] = topic->assignments[i].broker_ids_count > 0 ? (size_t)topic->assignments[i].broker_ids_count : 0;
    }
    item->add.assignments = lists;
    item->add.assignment_sizes = sizes;
    item->add.assignment_count = count;
    return lists != NULL && sizes != NULL;
}

void handle_create_partitions(struct request *request)
{
    if (forward_to_controller(request)) {
        return;
    }
    struct add_work *work = mem_alloc(sizeof(*work));
    work->request = request;
    if (!request_decode(request, &kafka_create_partitions_request_schema, &work->message)) {
        mem_free(work);
        return;
    }
    size_t count = (size_t)work->message.topics_count;
    if (!request_charge(request, count, sizeof(*work->items))) {
        mem_free(work);
        return;
    }
    work->items = mem_alloc((count + 1) * sizeof(*work->items));
    for (size_t i = 0; i < count; i++) {
        if (!decode_item(work, (int32_t)i)) {
            request_kill(request, "create partitions request over the memory limit");
            add_free(work);
            return;
        }
    }
    work->pending = count;
    for (size_t i = 0; i < count; i++) {
        wish_send(&work->items[i].wish, request->shard);
    }
    if (count == 0) {
        add_wait(work);
    }
}
