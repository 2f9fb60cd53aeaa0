/* OffsetForLeaderEpoch: where an epoch ended, from the partition's list of epochs. What a consumer uses to find out
 * that its position was truncated away, which never happens to committed data here: every answer confirms it. */

#include "base/mem.h"
#include "broker/request.h"
#include "broker/resolve.h"
#include "broker/router.h"

struct epoch_item {
    struct scatter_item item;
    const struct kafka_offset_for_leader_epoch_request_partition *asked;
    enum kafka_error error;
    int32_t epoch;
    int64_t end_offset;
};

struct epoch_work {
    struct scatter scatter;
    struct request *request;
    struct kafka_offset_for_leader_epoch_request message;
    struct epoch_item *items;
    size_t count;
};

static void item_look_up(struct shard *shard, struct epoch_item *item)
{
    struct partition *partition = shard_partition(shard, item->item.group);
    if (partition == NULL) {
        bool is_damaged = shard_is_damaged(shard, item->item.group);
        item->error = is_damaged ? KAFKA_KAFKA_STORAGE_ERROR : KAFKA_NOT_LEADER_OR_FOLLOWER;
        return;
    }
    struct partition_offsets offsets;
    item->error = partition_offsets(partition, &offsets); /* who leads comes before epochs */
    if (item->error == KAFKA_NONE) {
        item->error = partition_check_epoch(partition, item->asked->current_leader_epoch);
    }
    if (item->error == KAFKA_NONE) {
        item->error = partition_epoch_end(partition, item->asked->leader_epoch, &item->epoch, &item->end_offset);
    }
}

static void part_start(struct scatter_part *part)
{
    for (struct list *link = part->items.next; link != &part->items; link = link->next) {
        item_look_up(part->shard, container_of(link, struct epoch_item, item.link));
    }
    scatter_part_done(part);
}

static bool build_answer(const struct epoch_work *work, struct arena *arena,
                         struct kafka_offset_for_leader_epoch_response *response)
{
    const struct epoch_item *item = work->items;
    codec_init_defaults(&kafka_offset_for_leader_epoch_response_schema, response);
    response->topics_count = work->message.topics_count;
    if (work->message.topics_count == 0) {
        return true;
    }
    response->topics =
        codec_new(&kafka_offset_for_leader_epoch_response_topic_schema, (size_t)work->message.topics_count, arena);
    for (int32_t t = 0; response->topics != NULL && t < work->message.topics_count; t++) {
        const struct kafka_offset_for_leader_epoch_request_topic *topic = &work->message.topics[t];
        struct kafka_offset_for_leader_epoch_response_topic *out = &response->topics[t];
        out->topic = topic->topic;
        out->partitions_count = topic->partitions_count;
        if (topic->partitions_count == 0) {
            continue;
        }
        out->partitions =
            codec_new(&kafka_offset_for_leader_epoch_response_partition_schema, (size_t)topic->partitions_count, arena);
        if (out->partitions == NULL) {
            return false;
        }
        for (int32_t p = 0; p < topic->partitions_count; p++, item++) {
            out->partitions[p].partition = item->asked->partition;
            out->partitions[p].error_code = (int16_t)item->error;
            out->partitions[p].leader_epoch = item->error == KAFKA_NONE ? item->epoch : -1;
            out->partitions[p].end_offset = item->error == KAFKA_NONE ? item->end_offset : -1;
        }
    }
    return response->topics != NULL;
}

static void epochs_on_done(struct scatter *scatter)
{
    struct epoch_work *work = container_of(scatter, struct epoch_work, scatter);
    struct request *request = work->request;
    struct kafka_offset_for_leader_epoch_response response;
    scatter_deinit(scatter);
    if (build_answer(work, &request->arena, &response)) {
        request_respond(request, &kafka_offset_for_leader_epoch_response_schema, &response);
    } else {
        request_kill(request, "epochs response over the memory limit");
    }
    mem_free(work->items);
    mem_free(work);
}

static void add_items(struct epoch_work *work)
{
    struct epoch_item *item = work->items;
    for (int32_t t = 0; t < work->message.topics_count; t++) {
        const struct kafka_offset_for_leader_epoch_request_topic *topic = &work->message.topics[t];
        struct resolved_topic resolved;
        resolve_topic(work->request, topic->topic, NULL, &resolved);
        for (int32_t p = 0; p < topic->partitions_count; p++, item++) {
            uint64_t group;
            item->asked = &topic->partitions[p];
            item->error = resolve_partition(work->request, &resolved, item->asked->partition, &group);
            if (item->error == KAFKA_NONE) {
                scatter_add(&work->scatter, &item->item, group);
            }
        }
    }
}

void handle_offset_for_leader_epoch(struct request *request)
{
    struct epoch_work *work = mem_alloc(sizeof(*work));
    work->request = request;
    if (!request_decode(request, &kafka_offset_for_leader_epoch_request_schema, &work->message)) {
        mem_free(work);
        return;
    }
    for (int32_t t = 0; t < work->message.topics_count; t++) {
        work->count += (size_t)work->message.topics[t].partitions_count;
    }
    if (!request_charge(request, work->count, sizeof(*work->items))) {
        mem_free(work);
        return;
    }
    work->items = mem_alloc((work->count + 1) * sizeof(*work->items));
    scatter_init(&work->scatter, request->shard);
    work->scatter.part_start = part_start;
    work->scatter.done = epochs_on_done;
    add_items(work);
    scatter_go(&work->scatter);
}
