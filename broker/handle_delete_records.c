/* DeleteRecords: each partition's leader proposes a trim, which moves the start of the log on every replica; answered
 * when it is applied here. What is not within the request's time is REQUEST_TIMED_OUT and may still happen. */

#include "base/mem.h"
#include "broker/request.h"
#include "broker/resolve.h"
#include "broker/router.h"

#define TIMEOUT_MAX_MS (60 * 60 * 1000)

struct trim_item {
    struct scatter_item item;
    struct scatter_part *part;
    const struct kafka_delete_records_request_partition *asked;
    struct partition_trim trim;
    bool is_sent;
};

struct trim_work {
    struct scatter scatter;
    struct request *request;
    struct kafka_delete_records_request message;
    struct trim_item *items;
};

/* ---- On the partitions' shards ---- */

static void item_on_trimmed(struct partition_trim *trim)
{
    struct trim_item *item = container_of(trim, struct trim_item, trim);
    struct scatter_part *part = item->part;
    item->is_sent = false;
    if (--part->pending == 0) {
        env_timer_cancel(part->shard->env, &part->timer);
        scatter_part_done(part);
    }
}

static void part_on_timer(struct timer *timer)
{
    struct scatter_part *part = container_of(timer, struct scatter_part, timer);
    for (struct list *link = part->items.next; link != &part->items; link = link->next) {
        struct trim_item *item = container_of(link, struct trim_item, item.link);
        struct partition *partition = shard_partition(part->shard, item->item.group);
        if (item->is_sent && partition != NULL) {
            partition_trim_expire(partition, &item->trim);
        }
    }
}

static void item_start(struct shard *shard, struct trim_item *item)
{
    struct partition *partition = shard_partition(shard, item->item.group);
    item->trim.offset = item->asked->offset;
    item->trim.cb = item_on_trimmed;
    if (partition == NULL) {
        bool is_damaged = shard_is_damaged(shard, item->item.group);
        item->trim.error = is_damaged ? KAFKA_KAFKA_STORAGE_ERROR : KAFKA_NOT_LEADER_OR_FOLLOWER;
        item->part->pending--;
        return;
    }
    item->is_sent = true;
    partition_trim(partition, &item->trim);
}

/* One more pending than items, so that the part cannot end inside the loop. */
static void part_start(struct scatter_part *part)
{
    const struct trim_work *work = container_of(part->scatter, struct trim_work, scatter);
    int64_t timeout_ms = work->message.timeout_ms > 0 ? work->message.timeout_ms : 0;
    timer_init(&part->timer, part_on_timer);
    part->pending++;
    for (struct list *link = part->items.next; link != &part->items; link = link->next) {
        struct trim_item *item = container_of(link, struct trim_item, item.link);
        item->part = part;
        item_start(part->shard, item);
    }
    if (part->pending > 1) {
        env_timer(part->shard->env, &part->timer, (timeout_ms < TIMEOUT_MAX_MS ? timeout_ms : TIMEOUT_MAX_MS) * 1000);
    }
    if (--part->pending == 0) {
        scatter_part_done(part);
    }
}

/* ---- Answer ---- */

static bool build_answer(const struct trim_work *work, struct arena *arena,
                         struct kafka_delete_records_response *response)
{
    const struct trim_item *item = work->items;
    codec_init_defaults(&kafka_delete_records_response_schema, response);
    response->topics_count = work->message.topics_count;
    if (response->topics_count == 0) {
        return true;
    }
    response->topics = codec_new(&kafka_delete_records_response_topic_schema, (size_t)response->topics_count, arena);
    for (int32_t t = 0; response->topics != NULL && t < response->topics_count; t++) {
        const struct kafka_delete_records_request_topic *topic = &work->message.topics[t];
        struct kafka_delete_records_response_topic *out = &response->topics[t];
        out->name = topic->name;
        out->partitions_count = topic->partitions_count;
        if (topic->partitions_count == 0) {
            continue;
        }
        out->partitions =
            codec_new(&kafka_delete_records_response_partition_schema, (size_t)topic->partitions_count, arena);
        if (out->partitions == NULL) {
            return false;
        }
        for (int32_t p = 0; p < topic->partitions_count; p++, item++) {
            out->partitions[p].partition_index = item->asked->partition_index;
            out->partitions[p].error_code = (int16_t)item->trim.error;
            out->partitions[p].low_watermark = item->trim.error == KAFKA_NONE ? item->trim.log_start_offset : -1;
        }
    }
    return response->topics != NULL;
}

static void trim_on_done(struct scatter *scatter)
{
    struct trim_work *work = container_of(scatter, struct trim_work, scatter);
    struct request *request = work->request;
    struct kafka_delete_records_response response;
    scatter_deinit(scatter);
    if (build_answer(work, &request->arena, &response)) {
        request_respond(request, &kafka_delete_records_response_schema, &response);
    } else {
        request_kill(request, "delete records response over the memory limit");
    }
    mem_free(work->items);
    mem_free(work);
}

/* ---- Request ---- */

static void add_items(struct trim_work *work)
{
    struct trim_item *item = work->items;
    for (int32_t t = 0; t < work->message.topics_count; t++) {
        const struct kafka_delete_records_request_topic *topic = &work->message.topics[t];
        struct resolved_topic resolved;
        resolve_topic(work->request, topic->name, NULL, &resolved);
        for (int32_t p = 0; p < topic->partitions_count; p++, item++) {
            uint64_t group;
            item->asked = &topic->partitions[p];
            item->trim.error = resolve_partition(work->request, &resolved, item->asked->partition_index, &group);
            if (item->trim.error == KAFKA_NONE) {
                scatter_add(&work->scatter, &item->item, group);
            }
        }
    }
}

void handle_delete_records(struct request *request)
{
    struct trim_work *work = mem_alloc(sizeof(*work));
    size_t count = 0;
    work->request = request;
    if (!request_decode(request, &kafka_delete_records_request_schema, &work->message)) {
        mem_free(work);
        return;
    }
    for (int32_t t = 0; t < work->message.topics_count; t++) {
        count += (size_t)work->message.topics[t].partitions_count;
    }
    if (!request_charge(request, count, sizeof(*work->items))) {
        mem_free(work);
        return;
    }
    work->items = mem_alloc((count + 1) * sizeof(*work->items));
    scatter_init(&work->scatter, request->shard);
    work->scatter.part_start = part_start;
    work->scatter.done = trim_on_done;
    add_items(work);
    scatter_go(&work->scatter);
}
