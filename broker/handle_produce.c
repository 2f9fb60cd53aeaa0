/* Happy path: each partition's batch becomes an item; its shard hands it to the partition; the item is finished when
 * the batch is committed and applied; when all shards are back the answer is built from the items. acks=1 is answered
 * like acks=all, after commit. acks=0 has no answer; an error then closes the connection, the only signal there is. The
 * payload stays in the request's frame: items point into it, entries hold references to its block. What is worked with
 * is in the request's arena, and goes with it when the request is answered. */

#include "base/limits.h"
#include "base/mem.h"
#include "broker/leader_hints.h"
#include "broker/resolve.h"
#include "broker/router.h"

struct produce_item {
    struct scatter_item item;
    struct partition_produce produce;
    struct scatter_part *part;
    bool is_sent; /* to the partition, and not answered yet */
};

struct produce_work {
    struct scatter scatter;
    struct request *request;
    struct kafka_produce_request message;
    size_t count;
    struct produce_item items[];
};

static void item_finish(struct produce_item *item)
{
    struct scatter_part *part = item->part;
    if (--part->pending == 0) {
        scatter_part_not_due(part);
        scatter_part_done(part);
    }
}

static void item_on_produced(struct partition_produce *produce)
{
    struct produce_item *item = container_of(produce, struct produce_item, produce);
    item->is_sent = false;
    item_finish(item);
}

static void item_fail(struct produce_item *item, enum kafka_error error, const char *text)
{
    item->produce.error = error;
    item->produce.error_text = text;
    item->produce.error_record = -1;
    item->produce.base_offset = -1;
    item->produce.log_append_time_ms = -1;
    item->produce.log_start_offset = -1;
}

static void part_on_due(struct deadline *deadline)
{
    struct scatter_part *part = container_of(deadline, struct scatter_part, deadline);
    for (struct list *link = part->items.next; link != &part->items; link = link->next) {
        struct produce_item *item = container_of(link, struct produce_item, item.link);
        struct partition *partition = shard_partition(part->shard, item->item.group);
        if (item->is_sent && partition != NULL) {
            partition_produce_expire(partition, &item->produce);
        }
    }
}

/* One more pending than items, so that the part cannot end inside the loop. */
static void part_start(struct scatter_part *part)
{
    struct produce_work *work = container_of(part->scatter, struct produce_work, scatter);
    struct shard *shard = part->shard;
    int64_t timeout_ms = work->message.timeout_ms > 0 ? work->message.timeout_ms : 0;
    struct list *link = part->items.next;
    deadline_init(&part->deadline, part_on_due);
    part->pending++;
    while (link != &part->items) {
        struct produce_item *item = container_of(link, struct produce_item, item.link);
        struct partition *partition = shard_partition(shard, item->item.group);
        link = link->next;
        item->part = part;
        if (shard->is_space_low) {
            if (partition != NULL) {
                partition_refused(partition, item->produce.batch.bytes, KAFKA_KAFKA_STORAGE_ERROR);
            }
            item_fail(item, KAFKA_KAFKA_STORAGE_ERROR, "The broker's disk is below its reserve.");
            part->pending--;
        } else if (partition == NULL) {
            bool is_damaged = shard_is_damaged(shard, item->item.group);
            item_fail(item, is_damaged ? KAFKA_KAFKA_STORAGE_ERROR : KAFKA_NOT_LEADER_OR_FOLLOWER,
                      is_damaged ? "This replica is damaged." : NULL);
            part->pending--;
        } else {
            item->is_sent = true;
            partition_produce(partition, &item->produce);
        }
    }
    if (part->pending > 1) {
        scatter_part_due(part, work->request->started_us + timeout_ms * 1000);
    }
    if (--part->pending == 0) {
        scatter_part_done(part);
    }
}

/* ---- Answer ---- */

static void answer_partition(struct arena *arena, const struct produce_item *item, int32_t index,
                             struct kafka_produce_response_partition *out)
{
    const struct partition_produce *produce = &item->produce;
    out->index = index;
    out->error_code = (int16_t)produce->error;
    out->base_offset = produce->error == KAFKA_NONE ? produce->base_offset : -1;
    out->log_append_time_ms = produce->error == KAFKA_NONE ? produce->log_append_time_ms : -1;
    out->log_start_offset = produce->error == KAFKA_NONE ? produce->log_start_offset : -1;
    if (produce->error_text != NULL) {
        out->error_message = bytes_from_text(produce->error_text);
    }
    if (produce->error != KAFKA_NONE && produce->error_record >= 0) {
        out->record_errors = codec_new(&kafka_produce_response_record_error_schema, 1, arena);
        if (out->record_errors != NULL) {
            out->record_errors_count = 1;
            out->record_errors[0].batch_index = produce->error_record;
            out->record_errors[0].batch_index_error_message = out->error_message;
        }
    }
}

static bool add_endpoints(const struct leader_hints *hints, struct arena *arena,
                          struct kafka_produce_response *response)
{
    if (hints->count == 0) {
        return true;
    }
    response->node_endpoints = codec_new(&kafka_produce_response_endpoint_schema, hints->count, arena);
    for (size_t i = 0; response->node_endpoints != NULL && i < hints->count; i++) {
        const struct described_broker *node = &hints->nodes[i];
        response->node_endpoints[i] = (struct kafka_produce_response_endpoint){
            .node_id = node->id, .host = node->host, .port = node->port, .rack = node->rack};
    }
    response->node_endpoints_count = (int32_t)hints->count;
    return response->node_endpoints != NULL;
}

static bool build_answer(const struct produce_work *work, struct arena *arena, struct kafka_produce_response *response)
{
    const struct produce_item *item = work->items;
    struct leader_hints hints;
    leader_hints_init(&hints, work->request);
    codec_init_defaults(&kafka_produce_response_schema, response);
    response->responses_count = work->message.topic_data_count;
    if (response->responses_count == 0) {
        return true;
    }
    response->responses = codec_new(&kafka_produce_response_topic_schema, (size_t)response->responses_count, arena);
    for (int32_t t = 0; response->responses != NULL && t < response->responses_count; t++) {
        const struct kafka_produce_request_topic *topic = &work->message.topic_data[t];
        struct kafka_produce_response_topic *out = &response->responses[t];
        out->name = topic->name;
        out->topic_id = topic->topic_id;
        out->partition_responses_count = topic->partition_data_count;
        if (topic->partition_data_count == 0) {
            continue;
        }
        out->partition_responses =
            codec_new(&kafka_produce_response_partition_schema, (size_t)topic->partition_data_count, arena);
        if (out->partition_responses == NULL) {
            return false;
        }
        for (int32_t p = 0; p < topic->partition_data_count; p++, item++) {
            struct kafka_produce_response_partition *partition = &out->partition_responses[p];
            answer_partition(arena, item, topic->partition_data[p].index, partition);
            (void)leader_hints_add(&hints, item->item.group, item->produce.error, &partition->current_leader.leader_id,
                                   &partition->current_leader.leader_epoch);
        }
    }
    return response->responses != NULL && add_endpoints(&hints, arena, response);
}

/* Its stages are those of the batch that was the last to get through each. */
static void note_times(struct request *request, const struct partition_produce *produce)
{
    if (produce->proposed_us > request->proposed_us) {
        request->proposed_us = produce->proposed_us;
    }
    if (produce->proposed_us > 0 && produce->ended_us > request->committed_us) {
        request->committed_us = produce->ended_us;
    }
}

static size_t count_results(const struct produce_work *work)
{
    struct metrics *metrics = work->request->shard->metrics;
    size_t errors = 0;
    for (size_t i = 0; i < work->count; i++) {
        const struct partition_produce *produce = &work->items[i].produce;
        note_times(work->request, produce);
        if (produce->error != KAFKA_NONE) {
            errors++;
            if (work->message.acks == 0) { /* no answer tells it */
                request_count_error(metrics, kafka_api_find(KAFKA_API_PRODUCE), (int)produce->error);
            }
        } else if (produce->is_duplicate) {
            metrics_add(metrics, METRIC_PRODUCE_DUPLICATES, 1);
        } else {
            metrics_add(metrics, METRIC_PRODUCE_RECORDS, produce->record_count);
            metrics_add(metrics, METRIC_PRODUCE_BYTES, (int64_t)produce->batch.bytes.size);
        }
    }
    metrics_add(metrics, METRIC_PRODUCE_ERRORS, (int64_t)errors);
    return errors;
}

static void produce_on_done(struct scatter *scatter)
{
    struct produce_work *work = container_of(scatter, struct produce_work, scatter);
    struct request *request = work->request;
    struct kafka_produce_response response;
    size_t errors = count_results(work);
    scatter_deinit(scatter);
    if (work->message.acks == 0 && errors > 0) {
        request_kill(request, "produce with acks=0 failed");
        return;
    }
    if (work->message.acks == 0) {
        request_respond_none(request);
    } else if (build_answer(work, &request->arena, &response)) {
        request_respond(request, &kafka_produce_response_schema, &response);
    } else {
        request_kill(request, "produce response over the memory limit");
        return;
    }
    metrics_observe(request->shard->metrics, METRIC_PRODUCE_US, request->answered_us - request->received_us);
}

/* ---- Request ---- */

static size_t partition_count(const struct kafka_produce_request *message)
{
    size_t count = 0;
    for (int32_t t = 0; t < message->topic_data_count; t++) {
        count += (size_t)message->topic_data[t].partition_data_count;
    }
    return count;
}

static void add_partition(struct produce_work *work, struct produce_item *item, const struct resolved_topic *topic,
                          const struct kafka_produce_request_partition *partition)
{
    struct request *request = work->request;
    uint64_t group;
    item->produce.batch = (struct slice){request->frame, partition->records.bytes};
    item->produce.is_acks_all = work->message.acks == -1;
    item->produce.is_zstd_allowed = request->api_version >= 7;
    item->produce.cb = item_on_produced;
    enum kafka_error error = resolve_partition(request, topic, partition->index, &group);
    if (work->message.acks < -1 || work->message.acks > 1) {
        item_fail(item, KAFKA_INVALID_REQUIRED_ACKS, "acks must be -1, 0 or 1.");
    } else if (error != KAFKA_NONE) {
        item_fail(item, error, NULL);
    } else if (partition->records.bytes.data == NULL) {
        item_fail(item, KAFKA_INVALID_RECORD, "A produce request needs one record batch for each partition.");
    } else {
        scatter_add(&work->scatter, &item->item, group);
    }
}

/* In the request's own memory; NULL: it is gone, it asks for too much. */
static struct produce_work *make_work(struct request *request, const struct kafka_produce_request *message)
{
    size_t count = partition_count(message);
    struct produce_work *work = request_items(request, sizeof(*work), count, sizeof(work->items[0]));
    if (work != NULL) {
        work->request = request;
        work->message = *message;
        work->count = count;
    }
    return work;
}

void handle_produce(struct request *request)
{
    struct kafka_produce_request message;
    metrics_add(request->shard->metrics, METRIC_PRODUCE_REQUESTS, 1);
    if (!request_decode(request, &kafka_produce_request_schema, &message)) {
        return;
    }
    struct produce_work *work = make_work(request, &message);
    if (work == NULL) {
        return;
    }
    request_keep(request, request->frame->size); /* the write-ahead log's copy, until it is durable */
    scatter_init(&work->scatter, request->shard);
    work->scatter.part_start = part_start;
    work->scatter.done = produce_on_done;
    struct produce_item *item = work->items;
    for (int32_t t = 0; t < work->message.topic_data_count; t++) {
        const struct kafka_produce_request_topic *topic = &work->message.topic_data[t];
        struct resolved_topic resolved;
        resolve_topic(request, topic->name, request->api_version >= 13 ? &topic->topic_id : NULL, &resolved);
        for (int32_t p = 0; p < topic->partition_data_count; p++, item++) {
            add_partition(work, item, &resolved, &topic->partition_data[p]);
        }
    }
    scatter_go(&work->scatter);
}
