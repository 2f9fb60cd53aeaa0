/* DescribeTopicPartitions: what Metadata says of topics, in pages: topics in the order of their names, as many
 * partitions as the client wants and one answer may have, and where the next page starts. A topic that is gone by then
 * is passed over: the page starts with the one behind it. */

#include "base/mem.h"
#include "broker/describe.h"
#include "metadata/topic_name.h"
#include <stdlib.h>
#include <string.h>

#define PAGE_PARTITION_COUNT_MAX 2000 /* Kafka's max.request.partition.size.limit */

struct page {
    struct request *request;
    struct kafka_describe_topic_partitions_request message;
    struct kafka_describe_topic_partitions_response response;
    struct bytes *names; /* in order, each once, none before the cursor */
    size_t count, capacity;
    int32_t room; /* partitions */
};

static int compare(const void *a, const void *b)
{
    const struct bytes *x = a;
    const struct bytes *y = b;
    size_t size = x->size < y->size ? x->size : y->size;
    int order = size > 0 ? memcmp(x->data, y->data, size) : 0;
    return order != 0 ? order : (x->size > y->size) - (x->size < y->size);
}

/* ---- Names ---- */

static void names_add(struct page *page, struct bytes name)
{
    const struct kafka_describe_topic_partitions_request_cursor *cursor = page->message.cursor;
    if (cursor != NULL && compare(&name, &cursor->topic_name) < 0) {
        return;
    }
    if (page->count == page->capacity) {
        page->capacity = page->capacity > 0 ? 2 * page->capacity : 16;
        page->names = mem_resize(page->names, page->capacity * sizeof(*page->names));
    }
    page->names[page->count++] = name;
}

static bool names_add_each(void *context, const struct store_topic *topic)
{
    names_add(context, topic->name);
    return true;
}

static bool names_collect(struct page *page)
{
    for (int32_t i = 0; i < page->message.topics_count; i++) {
        names_add(page, page->message.topics[i].name);
    }
    if (page->message.topics_count == 0 &&
        store_topics_each(page->request->shard->reader, &page->request->arena, page, names_add_each) != OK) {
        return false;
    }
    size_t kept = 0;
    if (page->count > 0) {
        qsort(page->names, page->count, sizeof(*page->names), compare);
    }
    for (size_t i = 0; i < page->count; i++) {
        if (kept == 0 || !bytes_equal(page->names[kept - 1], page->names[i])) {
            page->names[kept++] = page->names[i];
        }
    }
    page->count = kept;
    return true;
}

/* ---- Topics ---- */

static bool fill_partition(struct page *page, const struct uuid *id, int32_t index,
                           struct kafka_describe_topic_partitions_response_partition *out)
{
    struct described_partition partition;
    out->partition_index = index;
    if (!describe_partition(page->request, id, index, &partition)) {
        return false;
    }
    out->error_code = (int16_t)partition.error;
    out->leader_id = partition.leader;
    out->leader_epoch = partition.leader_epoch;
    out->replica_nodes = partition.replicas;
    out->replica_nodes_count = partition.replica_count;
    out->isr_nodes = partition.in_sync;
    out->isr_nodes_count = partition.in_sync_count;
    out->offline_replicas = partition.offline;
    out->offline_replicas_count = partition.offline_count;
    /* Raft needs no such lists. The schema allows null, which Kafka's own client (3.9) does not survive. */
    out->eligible_leader_replicas_count = 0;
    out->last_known_elr_count = 0;
    return true;
}

static bool set_next(struct page *page, struct bytes name, int32_t index)
{
    page->response.next_cursor =
        codec_new(&kafka_describe_topic_partitions_response_cursor_schema, 1, &page->request->arena);
    if (page->response.next_cursor == NULL) {
        return false;
    }
    page->response.next_cursor->topic_name = name;
    page->response.next_cursor->partition_index = index;
    return true;
}

static bool fill_known(struct page *page, const struct store_topic *topic,
                       struct kafka_describe_topic_partitions_response_topic *out)
{
    const struct kafka_describe_topic_partitions_request_cursor *cursor = page->message.cursor;
    bool is_continued = cursor != NULL && bytes_equal(cursor->topic_name, topic->name);
    int32_t first = is_continued ? cursor->partition_index : 0;
    int32_t left = topic->partition_count > first ? topic->partition_count - first : 0;
    int32_t count = left < page->room ? left : page->room;
    out->topic_id = topic->id;
    out->is_internal = describe_is_internal(topic->name);
    out->topic_authorized_operations = AUTHORIZED_TOPIC_OPERATIONS;
    if (count > 0) {
        out->partitions =
            codec_new(&kafka_describe_topic_partitions_response_partition_schema, (size_t)count, &page->request->arena);
        if (out->partitions == NULL) {
            return false;
        }
    }
    out->partitions_count = count;
    for (int32_t i = 0; i < count; i++) {
        if (!fill_partition(page, &topic->id, first + i, &out->partitions[i])) {
            return false;
        }
    }
    page->room -= count;
    return count == left || set_next(page, topic->name, first + count);
}

static bool fill_topic(struct page *page, struct bytes name, struct kafka_describe_topic_partitions_response_topic *out)
{
    struct store_topic topic;
    out->name = name;
    if (topic_name_fault(name) != NULL) {
        out->error_code = KAFKA_INVALID_TOPIC_EXCEPTION;
        return true;
    }
    enum err err = store_topic_by_name(page->request->shard->reader, &page->request->arena, name, &topic);
    if (err == ERR_NOT_FOUND) {
        out->error_code = KAFKA_UNKNOWN_TOPIC_OR_PARTITION;
        return true;
    }
    return err == OK && fill_known(page, &topic, out);
}

/* A page that is full ends before the next topic, known or not. */
static bool fill_topics(struct page *page)
{
    struct kafka_describe_topic_partitions_response *response = &page->response;
    if (page->count == 0) {
        return true;
    }
    response->topics =
        codec_new(&kafka_describe_topic_partitions_response_topic_schema, page->count, &page->request->arena);
    for (size_t i = 0; response->topics != NULL && i < page->count && response->next_cursor == NULL; i++) {
        if (page->room == 0) {
            return set_next(page, page->names[i], 0);
        }
        if (!fill_topic(page, page->names[i], &response->topics[response->topics_count++])) {
            return false;
        }
    }
    return response->topics != NULL;
}

/* A cursor that cannot be: the answer has no error of its own, so every topic has it. */
static bool refuse_cursor(struct page *page)
{
    size_t count = (size_t)page->message.topics_count;
    if (count > 0) {
        page->response.topics =
            codec_new(&kafka_describe_topic_partitions_response_topic_schema, count, &page->request->arena);
        if (page->response.topics == NULL) {
            return false;
        }
    }
    page->response.topics_count = (int32_t)count;
    for (size_t i = 0; i < count; i++) {
        page->response.topics[i].name = page->message.topics[i].name;
        page->response.topics[i].error_code = KAFKA_INVALID_REQUEST;
    }
    return true;
}

static bool build_answer(struct page *page)
{
    const struct kafka_describe_topic_partitions_request_cursor *cursor = page->message.cursor;
    int32_t limit = page->message.response_partition_limit;
    codec_init_defaults(&kafka_describe_topic_partitions_response_schema, &page->response);
    if (cursor != NULL && cursor->partition_index < 0) {
        return refuse_cursor(page);
    }
    page->room = limit < 1 ? 1 : limit < PAGE_PARTITION_COUNT_MAX ? limit : PAGE_PARTITION_COUNT_MAX;
    return names_collect(page) && fill_topics(page);
}

void handle_describe_topic_partitions(struct request *request)
{
    struct page page = {.request = request};
    if (!request_decode(request, &kafka_describe_topic_partitions_request_schema, &page.message)) {
        return;
    }
    if (build_answer(&page)) {
        request_respond(request, &kafka_describe_topic_partitions_response_schema, &page.response);
    } else {
        request_kill(request, "describe topic partitions response over the memory limit");
    }
    mem_free(page.names);
}
