/* ListOffsets: each partition's shard looks its own offsets up; the answer is built when all are back.
 * Offsets of a new leader that is not ready are OFFSET_NOT_AVAILABLE from version 5 on, LEADER_NOT_AVAILABLE before. */

#include "base/mem.h"
#include "broker/request.h"
#include "broker/resolve.h"
#include "broker/router.h"

struct offset_item {
    struct scatter_item item;
    const struct kafka_list_offsets_request_partition *asked;
    enum kafka_error error;
    int64_t offset;
    int64_t timestamp;
    int32_t leader_epoch;
};

struct offset_work {
    struct scatter scatter;
    struct request *request;
    struct kafka_list_offsets_request message;
    struct offset_item *items;
    size_t count;
};

static void item_look_up(struct shard *shard, int16_t version, struct offset_item *item)
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
        item->error = partition_list_offset(partition, item->asked->timestamp, &item->offset, &item->timestamp,
                                            &item->leader_epoch);
    }
    if (item->error == KAFKA_OFFSET_NOT_AVAILABLE && version < 5) {
        item->error = KAFKA_LEADER_NOT_AVAILABLE;
    }
}

static void part_start(struct scatter_part *part)
{
    struct offset_work *work = container_of(part->scatter, struct offset_work, scatter);
    for (struct list *link = part->items.next; link != &part->items; link = link->next) {
        item_look_up(part->shard, work->request->api_version, container_of(link, struct offset_item, item.link));
    }
    scatter_part_done(part);
}

static void answer_partition(const struct offset_item *item, struct kafka_list_offsets_response_partition *out)
{
    bool is_ok = item->error == KAFKA_NONE;
    out->partition_index = item->asked->partition_index;
    out->error_code = (int16_t)item->error;
    out->offset = is_ok ? item->offset : -1;
    out->timestamp = is_ok ? item->timestamp : -1;
    out->leader_epoch = is_ok ? item->leader_epoch : -1;
}

static bool build_answer(const struct offset_work *work, struct arena *arena,
                         struct kafka_list_offsets_response *response)
{
    const struct offset_item *item = work->items;
    codec_init_defaults(&kafka_list_offsets_response_schema, response);
    response->topics_count = work->message.topics_count;
    if (work->message.topics_count == 0) {
        return true;
    }
    response->topics = codec_new(&kafka_list_offsets_response_topic_schema, (size_t)work->message.topics_count, arena);
    for (int32_t t = 0; response->topics != NULL && t < work->message.topics_count; t++) {
        const struct kafka_list_offsets_request_topic *topic = &work->message.topics[t];
        struct kafka_list_offsets_response_topic *out = &response->topics[t];
        out->name = topic->name;
        out->partitions_count = topic->partitions_count;
        if (topic->partitions_count == 0) {
            continue;
        }
        out->partitions =
            codec_new(&kafka_list_offsets_response_partition_schema, (size_t)topic->partitions_count, arena);
        if (out->partitions == NULL) {
            return false;
        }
        for (int32_t p = 0; p < topic->partitions_count; p++, item++) {
            answer_partition(item, &out->partitions[p]);
        }
    }
    return response->topics != NULL;
}

static void offsets_on_done(struct scatter *scatter)
{
    struct offset_work *work = container_of(scatter, struct offset_work, scatter);
    struct request *request = work->request;
    struct kafka_list_offsets_response response;
    scatter_deinit(scatter);
    if (build_answer(work, &request->arena, &response)) {
        request_respond(request, &kafka_list_offsets_response_schema, &response);
    } else {
        request_kill(request, "list offsets response over the memory limit");
    }
    mem_free(work->items);
    mem_free(work);
}

static void add_items(struct offset_work *work)
{
    struct offset_item *item = work->items;
    for (int32_t t = 0; t < work->message.topics_count; t++) {
        const struct kafka_list_offsets_request_topic *topic = &work->message.topics[t];
        struct resolved_topic resolved;
        resolve_topic(work->request, topic->name, NULL, &resolved);
        for (int32_t p = 0; p < topic->partitions_count; p++, item++) {
            uint64_t group;
            item->asked = &topic->partitions[p];
            item->error = resolve_partition(work->request, &resolved, item->asked->partition_index, &group);
            if (item->error == KAFKA_NONE) {
                scatter_add(&work->scatter, &item->item, group);
            }
        }
    }
}

void handle_list_offsets(struct request *request)
{
    struct offset_work *work = mem_alloc(sizeof(*work));
    work->request = request;
    if (!request_decode(request, &kafka_list_offsets_request_schema, &work->message)) {
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
    work->scatter.done = offsets_on_done;
    add_items(work);
    scatter_go(&work->scatter);
}
