/* Happy path: each shard reads its partitions in the order of the request, from the page cache; what it finds goes back
 * and the answer refers to it without a copy. Long poll: a shard that found too little, and no error, sets a watch on
 * each of its partitions and reads again when enough was appended, when leadership moved, or when max_wait_ms is over.
 * The first shard that has enough ends the wait of the others. Cold data: a read that would wait for the device goes
 * off the loop and the shard's work continues behind it. Sizes: max_bytes and partition_max_bytes are soft for the
 * first batch of the answer, hard for all else. Memory: each pass takes room from the budget before it reads and gives
 * it back before it waits; without room it tries again until the time is up, then answers without records.
 * Reading from followers (KIP-392): a leader names a replica of the consumer's rack that is not far behind; a follower
 * serves what it has applied, waits for an offset that it has not applied yet, and then says OFFSET_NOT_AVAILABLE: what
 * it does not have is never out of range. */

#include "base/mem.h"
#include "broker/fetch_internal.h"
#include "broker/read_replica.h"

#define NO_ROOM_RETRY_US (50 * 1000)

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
    fetch->has_news = false;
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
        item->watch.bytes = item->is_behind ? 1 : missing;
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
    bool is_enough = (fetch->granted > 0 && fetch->bytes >= part_threshold(fetch)) || fetch->has_news;
    if (is_enough || fetch->is_last || work->message.max_wait_ms <= 0 || work->has_early_error) {
        part_end(fetch);
    } else if (fetch->granted > 0) {
        part_watch(fetch);
    } else {
        struct env *env = fetch->part->shard->env;
        metrics_add(env->metrics, METRIC_FETCH_NO_ROOM, 1);
        int64_t left_us = fetch->deadline_us - env_now_us(env);
        left_us = left_us < NO_ROOM_RETRY_US ? left_us : NO_ROOM_RETRY_US;
        env_timer(env, &fetch->part->timer, left_us > 0 ? left_us : 0);
    }
}

/* ---- Reading ---- */

/* Error that this partition answers with before any byte is read; else its offsets. Who leads is said before epochs
 * are compared: it is what the client needs to know. */
static enum kafka_error item_check(struct fetch_part *fetch, struct fetch_item *item, struct partition **out)
{
    struct shard *shard = fetch->part->shard;
    struct partition *partition = shard_partition(shard, item->item.group);
    *out = partition;
    item->offsets = PARTITION_OFFSETS_NONE;
    item->is_behind = false;
    item->preferred = -1;
    if (partition == NULL) {
        return shard_is_damaged(shard, item->item.group) ? KAFKA_KAFKA_STORAGE_ERROR : KAFKA_NOT_LEADER_OR_FOLLOWER;
    }
    enum kafka_error error = partition_offsets(partition, &item->offsets);
    bool is_follower = error == KAFKA_NOT_LEADER_OR_FOLLOWER && fetch_work_of(fetch)->is_follower_read;
    if (is_follower) {
        error = partition_follower_offsets(partition, &item->offsets);
    }
    if (error == KAFKA_NONE) {
        error = partition_check_epoch(partition, item->want.leader_epoch);
    }
    if (error != KAFKA_NONE) {
        return error;
    }
    if (item->want.offset < item->offsets.log_start_offset) {
        return KAFKA_OFFSET_OUT_OF_RANGE;
    }
    if (item->want.offset > item->offsets.log_end_offset) {
        item->is_behind = is_follower;
        return is_follower ? KAFKA_OFFSET_NOT_AVAILABLE : KAFKA_OFFSET_OUT_OF_RANGE;
    }
    return KAFKA_NONE;
}

static void item_read_end(struct fetch_part *fetch, struct fetch_item *item, enum err err)
{
    if (err != OK) {
        item->error = err == ERR_CANCELED ? KAFKA_NOT_LEADER_OR_FOLLOWER : KAFKA_KAFKA_STORAGE_ERROR;
        fetch->has_news = true;
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
    if (item->want.max_bytes > 0 && size * 2 > fetch->read.size_max) {
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

/* Whether there is something to read: no error, no better place, and room. */
static bool item_begin(struct fetch_part *fetch, struct fetch_item *item, struct partition **partition)
{
    const struct fetch_work *work = fetch_work_of(fetch);
    item->error = item_check(fetch, item, partition);
    if (item->error == KAFKA_NONE && work->nearby_count > 0) {
        item->preferred = read_replica_choose(*partition, work->nearby, work->nearby_count);
    }
    if (item->error != KAFKA_NONE || item->preferred >= 0) {
        fetch->has_news = fetch->has_news || !item->is_behind;
        return false;
    }
    return item->want.offset < item->offsets.log_end_offset && fetch->granted > 0;
}

/* False: the read goes on off the loop. */
static bool item_read(struct fetch_part *fetch, struct fetch_item *item)
{
    struct shard *shard = fetch->part->shard;
    struct partition *partition;
    if (!item_begin(fetch, item, &partition)) {
        return true;
    }
    size_t limit = item->want.max_bytes > 0 ? (size_t)item->want.max_bytes : 0;
    limit = limit < fetch->room ? limit : fetch->room;
    bool is_first = fetch->bytes == 0;
    if (limit == 0 && !is_first) {
        return true;
    }
    fetch->read = (struct log_read){
        .offset = item->want.offset, .size_max = limit, .is_first_whole = is_first, .cb = read_on_done};
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

void fetch_part_start(struct scatter_part *part)
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

void fetch_part_cancel(struct scatter_part *part)
{
    struct fetch_part *fetch = fetch_part_of(part);
    fetch->is_last = true;
    if (!fetch->is_reading) {
        part_end(fetch);
    }
}

void fetch_part_back(struct scatter_part *part)
{
    const struct fetch_part *fetch = fetch_part_of(part);
    if (fetch->bytes > 0 || fetch->has_news) {
        scatter_cancel(part->scatter);
    }
}
