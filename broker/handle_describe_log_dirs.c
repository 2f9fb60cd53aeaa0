/* DescribeLogDirs: sizes of the replicas that this broker has, in its one data directory. Every shard lists its own;
 * what the client did not ask for is left out here, and so is what was deleted meanwhile. Replicas have no lag here:
 * their segments hold what is committed, all of it. */

#include "base/map.h"
#include "base/mem.h"
#include "broker/request.h"
#include "broker/resolve.h"
#include "broker/router.h"
#include <stdlib.h>
#include <string.h>

struct found_replica {
    uint64_t group;
    uint64_t size;
    struct uuid topic; /* filled in at the origin */
    int32_t index;
};

struct dirs_item { /* one a shard */
    struct scatter_item item;
    struct found_replica *found;
    size_t count, capacity;
};

struct dirs_work {
    struct scatter scatter;
    struct request *request;
    struct kafka_describe_log_dirs_request message;
    struct dirs_item *items;
    struct map asked;            /* groups, when topics were named */
    struct found_replica *found; /* of all shards, by topic and index */
    size_t count;
};

/* ---- On the shards ---- */

static void list_replica(void *context, uint64_t group, struct replica_machine *machine)
{
    struct dirs_item *item = context;
    const struct log *log =
        machine != NULL && partition_is_machine(machine) ? partition_log(partition_of_machine(machine)) : NULL;
    if (log == NULL) {
        return;
    }
    if (item->count == item->capacity) {
        item->capacity = item->capacity > 0 ? 2 * item->capacity : 16;
        item->found = mem_resize(item->found, item->capacity * sizeof(*item->found));
    }
    item->found[item->count++] = (struct found_replica){.group = group, .size = log_size(log)};
}

static void part_start(struct scatter_part *part)
{
    struct dirs_item *item = container_of(part->items.next, struct dirs_item, item.link);
    replicas_each(part->shard->replicas, item, list_replica);
    scatter_part_done(part);
}

/* ---- Answer ---- */

static int compare(const void *a, const void *b)
{
    const struct found_replica *x = a;
    const struct found_replica *y = b;
    int order = memcmp(&x->topic, &y->topic, sizeof(x->topic));
    return order != 0 ? order : (x->index > y->index) - (x->index < y->index);
}

static bool is_asked(const struct dirs_work *work, uint64_t group)
{
    return work->message.topics_count < 0 || map_get(&work->asked, group) != NULL;
}

static void gather(struct dirs_work *work)
{
    unsigned shards = shard_count(work->request->shard);
    size_t sum = 0;
    for (unsigned i = 0; i < shards; i++) {
        sum += work->items[i].count;
    }
    request_keep(work->request, sum * 2 * sizeof(*work->found));
    work->found = mem_alloc((sum + 1) * sizeof(*work->found));
    for (unsigned i = 0; i < shards; i++) {
        for (size_t n = 0; n < work->items[i].count; n++) {
            struct found_replica found = work->items[i].found[n];
            if (is_asked(work, found.group) &&
                store_group(work->request->shard->reader, found.group, &found.topic, &found.index) == OK) {
                work->found[work->count++] = found;
            }
        }
    }
    qsort(work->found, work->count, sizeof(*work->found), compare);
}

static bool same_topic(const struct dirs_work *work, size_t a, size_t b)
{
    return memcmp(&work->found[a].topic, &work->found[b].topic, sizeof(work->found[a].topic)) == 0;
}

static bool fill_topic(const struct dirs_work *work, size_t first, size_t end,
                       struct kafka_describe_log_dirs_response_topic *out)
{
    struct arena *arena = &work->request->arena;
    if (store_topic_name(work->request->shard->reader, arena, &work->found[first].topic, &out->name) != OK) {
        return false;
    }
    out->partitions = codec_new(&kafka_describe_log_dirs_response_partition_schema, end - first, arena);
    if (out->partitions == NULL) {
        return false;
    }
    out->partitions_count = (int32_t)(end - first);
    for (size_t i = first; i < end; i++) {
        out->partitions[i - first].partition_index = work->found[i].index;
        out->partitions[i - first].partition_size = (int64_t)work->found[i].size;
    }
    return true;
}

static bool fill_topics(const struct dirs_work *work, struct kafka_describe_log_dirs_response_result *result)
{
    size_t topics = 0;
    for (size_t i = 0; i < work->count; i++) {
        topics += i == 0 || !same_topic(work, i, i - 1);
    }
    if (topics == 0) {
        return true;
    }
    result->topics = codec_new(&kafka_describe_log_dirs_response_topic_schema, topics, &work->request->arena);
    for (size_t first = 0; result->topics != NULL && first < work->count;) {
        size_t end = first + 1;
        while (end < work->count && same_topic(work, first, end)) {
            end++;
        }
        if (!fill_topic(work, first, end, &result->topics[result->topics_count++])) {
            return false;
        }
        first = end;
    }
    return result->topics != NULL;
}

static bool build_answer(const struct dirs_work *work, struct kafka_describe_log_dirs_response *response)
{
    const struct shard *shard = work->request->shard;
    struct disk *disk = shard->env->disk;
    const char *path = shard->options->log_dirs;
    uint64_t total;
    uint64_t usable;
    codec_init_defaults(&kafka_describe_log_dirs_response_schema, response);
    response->results = codec_new(&kafka_describe_log_dirs_response_result_schema, 1, &work->request->arena);
    if (response->results == NULL) {
        return false;
    }
    response->results_count = 1;
    response->results[0].log_dir = bytes_from_text(path);
    if (disk->total_space(disk, path, &total) == OK && disk->free_space(disk, path, &usable) == OK) {
        response->results[0].total_bytes = (int64_t)total;
        response->results[0].usable_bytes = (int64_t)usable;
    }
    return fill_topics(work, &response->results[0]);
}

static void dirs_free(struct dirs_work *work)
{
    for (unsigned i = 0; i < shard_count(work->request->shard); i++) {
        mem_free(work->items[i].found);
    }
    mem_free(work->items);
    mem_free(work->found);
    map_deinit(&work->asked);
    mem_free(work);
}

static void dirs_on_done(struct scatter *scatter)
{
    struct dirs_work *work = container_of(scatter, struct dirs_work, scatter);
    struct request *request = work->request;
    struct kafka_describe_log_dirs_response response;
    scatter_deinit(scatter);
    gather(work);
    bool is_built = build_answer(work, &response);
    dirs_free(work);
    if (is_built) {
        request_respond(request, &kafka_describe_log_dirs_response_schema, &response);
    } else {
        request_kill(request, "describe log dirs response over the memory limit");
    }
}

/* ---- Request ---- */

/* Partitions that do not exist are passed over, as in Kafka. */
static void collect_asked(struct dirs_work *work)
{
    for (int32_t t = 0; t < work->message.topics_count; t++) {
        const struct kafka_describe_log_dirs_request_topic *topic = &work->message.topics[t];
        struct resolved_topic resolved;
        resolve_topic(work->request, topic->topic, NULL, &resolved);
        for (int32_t p = 0; p < topic->partitions_count; p++) {
            uint64_t group;
            if (resolve_partition(work->request, &resolved, topic->partitions[p], &group) == KAFKA_NONE) {
                map_put(&work->asked, group, work);
            }
        }
    }
}

static size_t asked_count(const struct dirs_work *work)
{
    size_t count = 0;
    for (int32_t t = 0; t < work->message.topics_count; t++) {
        count += (size_t)work->message.topics[t].partitions_count;
    }
    return count;
}

void handle_describe_log_dirs(struct request *request)
{
    struct dirs_work *work = mem_alloc(sizeof(*work));
    work->request = request;
    if (!request_decode(request, &kafka_describe_log_dirs_request_schema, &work->message)) {
        mem_free(work);
        return;
    }
    if (!request_charge(request, asked_count(work), 4 * sizeof(uint64_t))) { /* slots of a map that is half full */
        mem_free(work);
        return;
    }
    map_init(&work->asked);
    collect_asked(work);
    work->items = mem_alloc(shard_count(request->shard) * sizeof(*work->items));
    scatter_init(&work->scatter, request->shard);
    work->scatter.part_start = part_start;
    work->scatter.done = dirs_on_done;
    for (unsigned i = 0; i < shard_count(request->shard); i++) {
        scatter_add_to(&work->scatter, &work->items[i].item, i);
    }
    scatter_go(&work->scatter);
}
