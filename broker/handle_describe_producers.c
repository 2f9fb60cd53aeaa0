/* DescribeProducers: what each partition's leader remembers of idempotent producers, copied on its shard. There are no
 * transactions, so no coordinator has an epoch and no transaction a start. */

#include "base/mem.h"
#include "broker/request.h"
#include "broker/resolve.h"
#include "broker/router.h"
#include "replication/producers.h"

#define PART_PRODUCER_COUNT_MAX \
    100000 /* from one shard in one answer: five partitions with all that they may remember */

struct producers_item {
    struct scatter_item item;
    int32_t index;
    enum kafka_error error;
    const char *text;                                             /* static, or NULL */
    struct kafka_describe_producers_response_producer *producers; /* mem_alloc'ed */
    size_t count, capacity;
};

struct producers_work {
    struct scatter scatter;
    struct request *request;
    struct kafka_describe_producers_request message;
    struct producers_item *items;
    size_t count;
};

/* ---- On the partitions' shards ---- */

static void item_add(void *context, const struct producer *producer)
{
    struct producers_item *item = context;
    const struct producer_batch *last = &producer->batches[producer->batch_count - 1];
    if (item->count == item->capacity) {
        item->capacity = item->capacity > 0 ? 2 * item->capacity : 16;
        item->producers = mem_resize(item->producers, item->capacity * sizeof(*item->producers));
    }
    struct kafka_describe_producers_response_producer *out = &item->producers[item->count++];
    codec_init_defaults(&kafka_describe_producers_response_producer_schema, out);
    out->producer_id = producer->id;
    out->producer_epoch = producer->epoch;
    out->last_sequence = last->last_sequence;
    out->last_timestamp = last->timestamp;
    out->coordinator_epoch = -1;
}

static void item_look_up(struct shard *shard, struct producers_item *item, size_t *room)
{
    struct partition *partition = shard_partition(shard, item->item.group);
    if (partition == NULL) {
        bool is_damaged = shard_is_damaged(shard, item->item.group);
        item->error = is_damaged ? KAFKA_KAFKA_STORAGE_ERROR : KAFKA_NOT_LEADER_OR_FOLLOWER;
        return;
    }
    item->error = partition_producers_each(partition, item, item_add);
    if (item->error == KAFKA_OFFSET_NOT_AVAILABLE) {
        item->error = KAFKA_NOT_LEADER_OR_FOLLOWER; /* not ready yet: ask again */
    }
    if (item->count > *room) {
        item->count = 0;
        item->error = KAFKA_INVALID_REQUEST;
        item->text = "Too much for one response: ask for fewer partitions";
    }
    *room -= item->count;
}

static void part_start(struct scatter_part *part)
{
    size_t room = PART_PRODUCER_COUNT_MAX;
    for (struct list *link = part->items.next; link != &part->items; link = link->next) {
        item_look_up(part->shard, container_of(link, struct producers_item, item.link), &room);
    }
    scatter_part_done(part);
}

/* ---- Answer ---- */

static void answer_partition(const struct producers_item *item, struct kafka_describe_producers_response_partition *out)
{
    out->partition_index = item->index;
    out->error_code = (int16_t)item->error;
    out->error_message = item->text != NULL ? bytes_from_text(item->text) : BYTES_NONE;
    out->active_producers = item->producers;
    out->active_producers_count = (int32_t)item->count;
}

static bool build_answer(const struct producers_work *work, struct arena *arena,
                         struct kafka_describe_producers_response *response)
{
    const struct producers_item *item = work->items;
    codec_init_defaults(&kafka_describe_producers_response_schema, response);
    response->topics_count = work->message.topics_count;
    if (response->topics_count == 0) {
        return true;
    }
    response->topics =
        codec_new(&kafka_describe_producers_response_topic_schema, (size_t)response->topics_count, arena);
    for (int32_t t = 0; response->topics != NULL && t < response->topics_count; t++) {
        const struct kafka_describe_producers_request_topic *topic = &work->message.topics[t];
        struct kafka_describe_producers_response_topic *out = &response->topics[t];
        out->name = topic->name;
        out->partitions_count = topic->partition_indexes_count;
        if (out->partitions_count == 0) {
            continue;
        }
        out->partitions =
            codec_new(&kafka_describe_producers_response_partition_schema, (size_t)out->partitions_count, arena);
        if (out->partitions == NULL) {
            return false;
        }
        for (int32_t p = 0; p < out->partitions_count; p++, item++) {
            answer_partition(item, &out->partitions[p]);
        }
    }
    return response->topics != NULL;
}

static void producers_on_done(struct scatter *scatter)
{
    struct producers_work *work = container_of(scatter, struct producers_work, scatter);
    struct request *request = work->request;
    struct kafka_describe_producers_response response;
    scatter_deinit(scatter);
    for (size_t i = 0; i < work->count; i++) {
        request_keep(request, work->items[i].capacity * sizeof(*work->items[i].producers));
    }
    if (build_answer(work, &request->arena, &response)) {
        request_respond(request, &kafka_describe_producers_response_schema, &response);
    } else {
        request_kill(request, "describe producers response over the memory limit");
    }
    for (size_t i = 0; i < work->count; i++) {
        mem_free(work->items[i].producers);
    }
    mem_free(work->items);
    mem_free(work);
}

/* ---- Request ---- */

static void add_items(struct producers_work *work)
{
    struct producers_item *item = work->items;
    for (int32_t t = 0; t < work->message.topics_count; t++) {
        const struct kafka_describe_producers_request_topic *topic = &work->message.topics[t];
        struct resolved_topic resolved;
        resolve_topic(work->request, topic->name, NULL, &resolved);
        for (int32_t p = 0; p < topic->partition_indexes_count; p++, item++) {
            uint64_t group;
            item->index = topic->partition_indexes[p];
            item->error = resolve_partition(work->request, &resolved, item->index, &group);
            if (item->error == KAFKA_NONE) {
                scatter_add(&work->scatter, &item->item, group);
            }
        }
    }
}

void handle_describe_producers(struct request *request)
{
    struct producers_work *work = mem_alloc(sizeof(*work));
    work->request = request;
    if (!request_decode(request, &kafka_describe_producers_request_schema, &work->message)) {
        mem_free(work);
        return;
    }
    for (int32_t t = 0; t < work->message.topics_count; t++) {
        work->count += (size_t)work->message.topics[t].partition_indexes_count;
    }
    if (!request_charge(request, work->count, sizeof(*work->items))) {
        mem_free(work);
        return;
    }
    work->items = mem_alloc((work->count + 1) * sizeof(*work->items));
    scatter_init(&work->scatter, request->shard);
    work->scatter.part_start = part_start;
    work->scatter.done = producers_on_done;
    add_items(work);
    scatter_go(&work->scatter);
}
