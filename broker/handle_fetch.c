/* Happy path: each shard reads its partitions in the order of the request, from the page cache; what it finds goes back
 * and the answer refers to it without a copy. Long poll: a shard that found too little, and no error, sets a watch on
 * each of its partitions and reads again when enough was appended, when leadership moved, or when max_wait_ms is over.
 * The first shard that has enough ends the wait of the others. Cold data: a read that would wait for the device goes
 * off the loop and the shard's work continues behind it. Fetch sessions (KIP-227) are declined: session id 0 is
 * returned and every partition asked for is answered. Sizes: max_bytes and partition_max_bytes are soft for the first
 * batch of the answer, hard for all else. Memory: each pass takes room from the budget before it reads and gives it
 * back before it waits; without room it tries again until the time is up, then answers without records. */

#include "base/limits.h"
#include "base/mem.h"
#include "broker/leader_hints.h"
#include "broker/resolve.h"
#include "broker/router.h"

#define NO_ROOM_RETRY_US (50 * 1000)

struct fetch_item {
    struct scatter_item item;
    const struct kafka_fetch_request_partition *asked;
    struct partition_watch watch;
    struct scatter_part *part;
    /* Result. */
    enum kafka_error error;
    struct partition_offsets offsets;
    struct slice slice;
};

/* One shard's share of the work. */
struct fetch_part {
    struct log_read read; /* of the item at `at` */
    struct list *at;      /* next item to read */
    struct scatter_part *part;
    size_t granted;  /* of the budget, for this pass; 0: there is no room, nothing is read */
    size_t reserved; /* of the budget, held now */
    size_t held;     /* in blocks that were read */
    size_t room;     /* of what is granted and of max_bytes, not used yet */
    size_t bytes;    /* found; more, if a partition has all that it may */
    size_t bytes_read;
    int64_t deadline_us;
    bool has_error;
    bool is_watching;
    bool is_last; /* time is up: answer with what is there */
    bool is_reading;
};

struct fetch_work {
    struct scatter scatter;
    struct request *request;
    struct kafka_fetch_request message;
    struct fetch_item *items;
    struct fetch_part *parts; /* one a shard */
    size_t count;
    size_t max_bytes;
    bool has_early_error;
};

static void part_read_on(struct fetch_part *fetch);

static struct fetch_part *fetch_part_of(struct scatter_part *part)
{
    struct fetch_work *work = container_of(part->scatter, struct fetch_work, scatter);
    return &work->parts[part->shard->number];
}

/* ---- Ending and waiting ---- */

static void part_unwatch(struct fetch_part *fetch)
{
    struct scatter_part *part = fetch->part;
    for (struct list *link = part->items.next; fetch->is_watching && link != &part->items; link = link->next) {
        partition_unwatch(&container_of(link, struct fetch_item, item.link)->watch);
    }
    fetch->is_watching = false;
}

static struct fetch_work *fetch_work_of(const struct fetch_part *fetch)
{
    return container_of(fetch->part->scatter, struct fetch_work, scatter);
}

/* What is held of the budget becomes `size`. */
static void part_reserve(struct fetch_part *fetch, size_t size)
{
    struct request *request = fetch_work_of(fetch)->request;
    struct metrics *metrics = fetch->part->shard->metrics;
    if (size < fetch->reserved) {
        request_unreserve(request, metrics, fetch->reserved - size);
    } else if (size > fetch->reserved) {
        request_reserve_more(request, metrics, size - fetch->reserved);
    }
    fetch->reserved = size;
}

static void part_end(struct fetch_part *fetch)
{
    struct scatter_part *part = fetch->part;
    part_unwatch(fetch);
    part_reserve(fetch, fetch->held);
    env_timer_cancel(part->shard->env, &part->timer);
    part->shard->env->tasks->cancel(part->shard->env->tasks, &part->task);
    scatter_part_done(part);
}

static void part_release(struct fetch_part *fetch)
{
    struct scatter_part *part = fetch->part;
    for (struct list *link = part->items.next; link != &part->items; link = link->next) {
        slice_release(&container_of(link, struct fetch_item, item.link)->slice);
    }
    fetch->held = 0;
    fetch->bytes_read = 0;
    part_reserve(fetch, 0);
}

/* One pass over all items. */
static void part_read(struct fetch_part *fetch)
{
    const struct fetch_work *work = fetch_work_of(fetch);
    fetch->granted = request_reserve(work->request, fetch->part->shard->metrics, work->max_bytes);
    fetch->reserved = fetch->granted;
    fetch->at = fetch->part->items.next;
    fetch->room = work->max_bytes < fetch->granted ? work->max_bytes : fetch->granted;
    fetch->bytes = 0;
    fetch->has_error = false;
    part_read_on(fetch);
}

static void part_restart(struct fetch_part *fetch)
{
    part_unwatch(fetch);
    part_release(fetch);
    part_read(fetch);
}

static void watch_on_wake(struct partition_watch *watch)
{
    struct fetch_item *item = container_of(watch, struct fetch_item, watch);
    env_task(item->part->shard->env, &item->part->task);
}

static void part_on_task(struct task *task)
{
    struct fetch_part *fetch = fetch_part_of(container_of(task, struct scatter_part, task));
    if (!fetch->is_reading) {
        part_restart(fetch);
    }
}

static void part_on_timer(struct timer *timer)
{
    struct fetch_part *fetch = fetch_part_of(container_of(timer, struct scatter_part, timer));
    fetch->is_last = env_now_us(fetch->part->shard->env) >= fetch->deadline_us;
    if (!fetch->is_reading) {
        part_restart(fetch);
    }
}

/* Bytes that let this shard's part end early: min_bytes, shared by the shards involved, but not more than what was
 * granted can hold, of which a part is left over where the next batch did not fit. */
static size_t part_threshold(const struct fetch_part *fetch)
{
    const struct fetch_work *work = fetch_work_of(fetch);
    size_t min_bytes = work->message.min_bytes > 0 ? (size_t)work->message.min_bytes : 0;
    size_t parts = work->scatter.part_count;
    size_t threshold = (min_bytes + parts - 1) / parts;
    threshold = threshold < work->max_bytes ? threshold : work->max_bytes;
    return threshold < fetch->granted / 2 ? threshold : fetch->granted / 2;
}

static void part_watch(struct fetch_part *fetch)
{
    struct scatter_part *part = fetch->part;
    int64_t missing = (int64_t)(part_threshold(fetch) - fetch->bytes);
    part_release(fetch);
    fetch->is_watching = true;
    for (struct list *link = part->items.next; link != &part->items; link = link->next) {
        struct fetch_item *item = container_of(link, struct fetch_item, item.link);
        struct partition *partition = shard_partition(part->shard, item->item.group);
        item->watch.cb = watch_on_wake;
        item->watch.bytes = missing;
        list_init(&item->watch.link);
        if (partition != NULL) {
            partition_watch(partition, &item->watch);
        }
    }
}

/* All items have been read once. A partition that is full to its own limit ends the wait too: no more can come from
 * it. */
static void part_finish_pass(struct fetch_part *fetch)
{
    const struct fetch_work *work = fetch_work_of(fetch);
    bool is_enough = (fetch->granted > 0 && fetch->bytes >= part_threshold(fetch)) || fetch->has_error;
    if (is_enough || fetch->is_last || work->message.max_wait_ms <= 0 || work->has_early_error) {
        part_end(fetch);
    } else if (fetch->granted > 0) {
        part_watch(fetch);
    } else {
        struct env *env = fetch->part->shard->env;
        int64_t left_us = fetch->deadline_us - env_now_us(env);
        left_us = left_us < NO_ROOM_RETRY_US ? left_us : NO_ROOM_RETRY_US;
        env_timer(env, &fetch->part->timer, left_us > 0 ? left_us : 0);
    }
}

/* ---- Reading ---- */

/* Error that this partition answers with before any byte is read; else its offsets. Who leads is said before epochs
 * are compared: it is what the client needs to know. */
static enum kafka_error item_check(struct shard *shard, struct fetch_item *item, struct partition **partition)
{
    *partition = shard_partition(shard, item->item.group);
    item->offsets = (struct partition_offsets){-1, -1, -1, -1, -1};
    if (*partition == NULL) {
        return shard_is_damaged(shard, item->item.group) ? KAFKA_KAFKA_STORAGE_ERROR : KAFKA_NOT_LEADER_OR_FOLLOWER;
    }
    enum kafka_error error = partition_offsets(*partition, &item->offsets);
    if (error == KAFKA_NONE) {
        error = partition_check_epoch(*partition, item->asked->current_leader_epoch);
    }
    if (error == KAFKA_NONE && (item->asked->fetch_offset < item->offsets.log_start_offset ||
                                item->asked->fetch_offset > item->offsets.log_end_offset)) {
        error = KAFKA_OFFSET_OUT_OF_RANGE;
    }
    return error;
}

static void item_read_end(struct fetch_part *fetch, struct fetch_item *item, enum err err)
{
    if (err != OK) {
        item->error = err == ERR_CANCELED ? KAFKA_NOT_LEADER_OR_FOLLOWER : KAFKA_KAFKA_STORAGE_ERROR;
        fetch->has_error = true;
        if (err == ERR_DAMAGED) {
            struct replica *replica = replicas_find(fetch->part->shard->replicas, item->item.group);
            if (replica != NULL) {
                replica_damaged(replica, fetch->read.msg.text);
            }
        }
        return;
    }
    item->slice = fetch->read.slice;
    size_t size = item->slice.bytes.size;
    fetch->bytes += size;
    fetch->room -= size < fetch->room ? size : fetch->room;
    fetch->bytes_read += size;
    fetch->held += item->slice.block != NULL ? item->slice.block->size : 0;
    if (fetch->held > fetch->reserved) {
        part_reserve(fetch, fetch->held);
    }
    /* A read cut at its limit is more than half full, unless batches are huge: this partition cannot give more, so do
     * not wait. */
    if (item->asked->partition_max_bytes > 0 && size * 2 > fetch->read.size_max) {
        fetch->bytes = fetch->bytes > part_threshold(fetch) ? fetch->bytes : part_threshold(fetch);
    }
}

static void read_on_done(struct log_read *read, enum err err)
{
    struct fetch_part *fetch = container_of(read, struct fetch_part, read);
    struct fetch_item *item = container_of(fetch->at, struct fetch_item, item.link);
    fetch->is_reading = false;
    item_read_end(fetch, item, err);
    fetch->at = fetch->at->next;
    part_read_on(fetch);
}

/* False: the read goes on off the loop. */
static bool item_read(struct fetch_part *fetch, struct fetch_item *item)
{
    struct shard *shard = fetch->part->shard;
    struct partition *partition;
    item->error = item_check(shard, item, &partition);
    if (item->error != KAFKA_NONE) {
        fetch->has_error = true;
        return true;
    }
    size_t limit = item->asked->partition_max_bytes > 0 ? (size_t)item->asked->partition_max_bytes : 0;
    limit = limit < fetch->room ? limit : fetch->room;
    bool is_first = fetch->bytes == 0;
    bool has_room = fetch->granted > 0 && (limit > 0 || is_first);
    if (item->asked->fetch_offset == item->offsets.log_end_offset || !has_room) {
        return true;
    }
    fetch->read = (struct log_read){
        .offset = item->asked->fetch_offset, .size_max = limit, .is_first_whole = is_first, .cb = read_on_done};
    enum err err = log_read_now(partition_log(partition), &fetch->read);
    if (err == ERR_WOULD_BLOCK) {
        metrics_add(shard->metrics, METRIC_READ_COLD, 1);
        fetch->is_reading = true;
        log_read_async(partition_log(partition), &fetch->read);
        return false;
    }
    item_read_end(fetch, item, err);
    return true;
}

static void part_read_on(struct fetch_part *fetch)
{
    while (fetch->at != &fetch->part->items) {
        if (!item_read(fetch, container_of(fetch->at, struct fetch_item, item.link))) {
            return;
        }
        fetch->at = fetch->at->next;
    }
    part_finish_pass(fetch);
}

static void part_start(struct scatter_part *part)
{
    const struct fetch_work *work = container_of(part->scatter, struct fetch_work, scatter);
    struct fetch_part *fetch = fetch_part_of(part);
    fetch->part = part;
    timer_init(&part->timer, part_on_timer);
    task_init(&part->task, part_on_task);
    for (struct list *link = part->items.next; link != &part->items; link = link->next) {
        struct fetch_item *item = container_of(link, struct fetch_item, item.link);
        item->part = part;
        list_init(&item->watch.link);
    }
    if (work->message.max_wait_ms > 0) {
        int64_t wait_us = (int64_t)work->message.max_wait_ms * 1000;
        fetch->deadline_us = env_now_us(part->shard->env) + wait_us;
        env_timer(part->shard->env, &part->timer, wait_us);
    }
    part_read(fetch);
}

static void part_cancel(struct scatter_part *part)
{
    struct fetch_part *fetch = fetch_part_of(part);
    fetch->is_last = true;
    if (!fetch->is_reading) {
        part_end(fetch);
    }
}

/* ---- Answer ---- */

static void part_back(struct scatter_part *part)
{
    const struct fetch_part *fetch = fetch_part_of(part);
    if (fetch->bytes > 0 || fetch->has_error) {
        scatter_cancel(part->scatter);
    }
}

/* OFFSET_NOT_AVAILABLE came with v11 (KIP-207); older clients hand it to the application. */
static enum kafka_error error_for(int16_t version, enum kafka_error error)
{
    return error == KAFKA_OFFSET_NOT_AVAILABLE && version < 11 ? KAFKA_NOT_LEADER_OR_FOLLOWER : error;
}

static void answer_partition(struct fetch_work *work, struct fetch_item *item, size_t *room, bool *is_first,
                             struct kafka_fetch_response_partition *out)
{
    out->partition_index = item->asked->partition;
    out->error_code = (int16_t)error_for(work->request->api_version, item->error);
    out->high_watermark = item->offsets.high_watermark;
    out->last_stable_offset = item->offsets.last_stable_offset;
    out->log_start_offset = item->offsets.log_start_offset;
    out->aborted_transactions_count = work->message.isolation_level == 1 ? 0 : -1;
    out->records = (struct slice){NULL, {(const uint8_t *)"", 0}};
    size_t size = item->slice.bytes.size;
    if (size > 0 && (size <= *room || *is_first)) {
        out->records = item->slice;
        *is_first = false;
        *room -= size < *room ? size : *room;
        metrics_add(work->request->shard->metrics, METRIC_FETCH_BYTES, (int64_t)size);
    }
    if (item->error != KAFKA_NONE) {
        metrics_add(work->request->shard->metrics, METRIC_FETCH_ERRORS, 1);
    }
}

static bool add_endpoints(const struct leader_hints *hints, struct arena *arena, struct kafka_fetch_response *response)
{
    if (hints->count == 0) {
        return true;
    }
    response->node_endpoints = codec_new(&kafka_fetch_response_endpoint_schema, hints->count, arena);
    for (size_t i = 0; response->node_endpoints != NULL && i < hints->count; i++) {
        const struct described_broker *node = &hints->nodes[i];
        response->node_endpoints[i] = (struct kafka_fetch_response_endpoint){
            .node_id = node->id, .host = node->host, .port = node->port, .rack = node->rack};
    }
    response->node_endpoints_count = (int32_t)hints->count;
    return response->node_endpoints != NULL;
}

/* Clients before v16 do not look for it. */
static void hint_leader(struct leader_hints *hints, const struct fetch_item *item,
                        struct kafka_fetch_response_partition *out)
{
    if (hints->request->api_version >= 16) {
        (void)leader_hints_add(hints, item->item.group, item->error, &out->current_leader.leader_id,
                               &out->current_leader.leader_epoch);
    }
}

static bool build_answer(struct fetch_work *work, struct arena *arena, struct kafka_fetch_response *response)
{
    struct fetch_item *item = work->items;
    size_t room = work->max_bytes;
    bool is_first = true;
    struct leader_hints hints;
    leader_hints_init(&hints, work->request);
    codec_init_defaults(&kafka_fetch_response_schema, response);
    response->responses_count = work->message.topics_count;
    if (work->message.topics_count == 0) {
        return true;
    }
    response->responses = codec_new(&kafka_fetch_response_topic_schema, (size_t)work->message.topics_count, arena);
    for (int32_t t = 0; response->responses != NULL && t < work->message.topics_count; t++) {
        const struct kafka_fetch_request_topic *topic = &work->message.topics[t];
        struct kafka_fetch_response_topic *out = &response->responses[t];
        out->topic = topic->topic;
        out->topic_id = topic->topic_id;
        out->partitions_count = topic->partitions_count;
        if (topic->partitions_count == 0) {
            continue;
        }
        out->partitions = codec_new(&kafka_fetch_response_partition_schema, (size_t)topic->partitions_count, arena);
        if (out->partitions == NULL) {
            return false;
        }
        for (int32_t p = 0; p < topic->partitions_count; p++, item++) {
            answer_partition(work, item, &room, &is_first, &out->partitions[p]);
            hint_leader(&hints, item, &out->partitions[p]);
        }
    }
    return response->responses != NULL && add_endpoints(&hints, arena, response);
}

static void fetch_on_done(struct scatter *scatter)
{
    struct fetch_work *work = container_of(scatter, struct fetch_work, scatter);
    struct request *request = work->request;
    struct kafka_fetch_response response;
    metrics_observe(request->shard->metrics, METRIC_FETCH_US, env_now_us(request->shard->env) - request->received_us);
    scatter_deinit(scatter);
    for (unsigned i = 0; i < shard_count(request->shard); i++) {
        request_unreserve(request, request->shard->metrics, work->parts[i].reserved);
        request_keep(request, work->parts[i].held - work->parts[i].bytes_read);
    }
    if (build_answer(work, &request->arena, &response)) {
        request_respond(request, &kafka_fetch_response_schema, &response);
    } else {
        request_kill(request, "fetch response over the memory limit");
    }
    for (size_t i = 0; i < work->count; i++) {
        slice_release(&work->items[i].slice);
    }
    mem_free(work->parts);
    mem_free(work->items);
    mem_free(work);
}

/* ---- Request ---- */

static size_t partition_count(const struct kafka_fetch_request *message)
{
    size_t count = 0;
    for (int32_t t = 0; t < message->topics_count; t++) {
        count += (size_t)message->topics[t].partitions_count;
    }
    return count;
}

static size_t fetch_max_bytes(const struct fetch_work *work)
{
    size_t asked = work->message.max_bytes > 0 ? (size_t)work->message.max_bytes : 0;
    size_t limit = (size_t)work->request->shard->options->fetch_size_max;
    limit = asked < limit ? asked : limit;
    return limit < FETCH_GRANT_SIZE_MAX ? limit : FETCH_GRANT_SIZE_MAX;
}

static void respond_error(struct request *request, enum kafka_error error)
{
    struct kafka_fetch_response response;
    codec_init_defaults(&kafka_fetch_response_schema, &response);
    response.error_code = (int16_t)error;
    request_respond(request, &kafka_fetch_response_schema, &response);
}

static void add_items(struct fetch_work *work)
{
    struct request *request = work->request;
    struct fetch_item *item = work->items;
    for (int32_t t = 0; t < work->message.topics_count; t++) {
        const struct kafka_fetch_request_topic *topic = &work->message.topics[t];
        struct resolved_topic resolved;
        resolve_topic(request, topic->topic, request->api_version >= 13 ? &topic->topic_id : NULL, &resolved);
        for (int32_t p = 0; p < topic->partitions_count; p++, item++) {
            uint64_t group;
            item->asked = &topic->partitions[p];
            item->offsets = (struct partition_offsets){-1, -1, -1, -1, -1};
            item->error = resolve_partition(request, &resolved, item->asked->partition, &group);
            if (item->error == KAFKA_NONE) {
                scatter_add(&work->scatter, &item->item, group);
            } else {
                work->has_early_error = true;
            }
        }
    }
}

void handle_fetch(struct request *request)
{
    struct fetch_work *work = mem_alloc(sizeof(*work));
    metrics_add(request->shard->metrics, METRIC_FETCH_REQUESTS, 1);
    work->request = request;
    if (!request_decode(request, &kafka_fetch_request_schema, &work->message)) {
        mem_free(work);
        return;
    }
    bool is_replica = work->message.replica_id >= 0 || work->message.replica_state.replica_id >= 0;
    if (work->message.session_id != 0 || is_replica) {
        respond_error(request, is_replica ? KAFKA_INVALID_REQUEST : KAFKA_FETCH_SESSION_ID_NOT_FOUND);
        mem_free(work);
        return;
    }
    work->count = partition_count(&work->message);
    if (!request_charge(request, work->count, sizeof(*work->items))) {
        mem_free(work);
        return;
    }
    work->items = mem_alloc((work->count + 1) * sizeof(*work->items));
    work->parts = mem_alloc(shard_count(request->shard) * sizeof(*work->parts));
    work->max_bytes = fetch_max_bytes(work);
    scatter_init(&work->scatter, request->shard);
    work->scatter.part_start = part_start;
    work->scatter.part_cancel = part_cancel;
    work->scatter.part_back = part_back;
    work->scatter.done = fetch_on_done;
    add_items(work);
    scatter_go(&work->scatter);
}
