/* Happy path: elements without payload are gathered as bytes behind room for a frame's head; those with payload are
 * items in lanes. At the end of the turn, unless a write is under way, a frame is made: the gathered bytes, then heads
 * of items until PEER_WRITE_SIZE of payload is reached, their payload as fragments behind. References are held until
 * the write is done; then the next frame is made of what has come since.
 *
 * Failure: over a bound nothing is taken; the caller drops or tells. A write that fails is told by the reading side
 * too, so it is left to that. */
#include "replication/peer_conn_internal.h"

#include "base/assert.h"
#include "base/crc32c.h"
#include "base/mem.h"
#include "replication/raft_wire.h"

#include <string.h>

#define ENVELOPE_SIZE_SOFT (PEER_ENVELOPE_SIZE_MAX - PEER_URGENT_SIZE_MAX / 2) /* heads of items stop here */

#define KEPT_SIZE_MAX KIB(64)

static_assert(ENVELOPE_SIZE_SOFT + RAFT_WIRE_SIZE_MAX + PEER_ELEMENT_SIZE_MAX <= PEER_ENVELOPE_SIZE_MAX,
              "and the last one still fits, with the time");
static_assert(PEER_URGENT_SIZE_MAX + RAFT_WIRE_SIZE_MAX < ENVELOPE_SIZE_SOFT, "each frame takes an item");

static void conn_on_flush(struct task *task);

void peer_conn_write_init(struct peer_conn *conn)
{
    dynbuf_init(&conn->urgent, PEER_FRAME_HEAD_SIZE + PEER_URGENT_SIZE_MAX);
    dynbuf_init(&conn->sending, PEER_FRAME_HEAD_SIZE + PEER_ENVELOPE_SIZE_MAX);
    for (unsigned lane = 0; lane < PEER_LANE_COUNT; lane++) {
        list_init(&conn->lanes[lane]);
    }
    list_init(&conn->sending_items);
    map_init(&conn->groups);
    task_init(&conn->flush, conn_on_flush);
}

/* ---- Items */

static void charge(struct peer_conn *conn, int64_t delta)
{
    conn->queued = (size_t)((int64_t)conn->queued + delta);
    metrics_add(conn->shared.env->metrics, METRIC_PEER_QUEUE_BYTES, delta);
}

static void item_free(struct peer_conn *conn, struct peer_item *item)
{
    charge(conn, -(int64_t)item->charge);
    for (unsigned i = 0; i < item->entry_count; i++) {
        entry_release(item->entries[i]);
    }
    slice_release(&item->slice);
    mem_free(item);
}

static void items_free(struct peer_conn *conn, struct list *items)
{
    struct list *link;
    while ((link = list_pop(items)) != NULL) {
        item_free(conn, container_of(link, struct peer_item, link));
    }
}

void peer_conn_write_deinit(struct peer_conn *conn)
{
    assert(!conn->is_writing);
    conn->shared.env->tasks->cancel(conn->shared.env->tasks, &conn->flush);
    for (unsigned lane = 0; lane < PEER_LANE_COUNT; lane++) {
        items_free(conn, &conn->lanes[lane]);
    }
    items_free(conn, &conn->sending_items);
    assert(conn->queued == 0);
    map_deinit(&conn->groups);
    dynbuf_deinit(&conn->urgent);
    dynbuf_deinit(&conn->sending);
    mem_free(conn->iov);
}

/* NULL: over the bound. Something larger than that is taken when nothing else waits. */
static struct peer_item *item_new(struct peer_conn *conn, struct bytes element, unsigned entry_count,
                                  size_t payload_size)
{
    size_t size = sizeof(struct peer_item) + entry_count * sizeof(struct entry *) + element.size;
    size_t cost = size + payload_size;
    if (conn->queued > 0 && (conn->queued > PEER_QUEUE_SIZE_MAX || cost > PEER_QUEUE_SIZE_MAX - conn->queued)) {
        return NULL;
    }
    struct peer_item *item = mem_alloc_raw(size);
    *item = (struct peer_item){.payload_size = payload_size, .charge = cost, .entry_count = entry_count};
    list_init(&item->link);
    item->entries = (struct entry **)(void *)(item + 1);
    item->element = (uint8_t *)(item->entries + entry_count);
    item->element_size = element.size;
    memcpy(item->element, element.data, element.size);
    charge(conn, (int64_t)cost);
    return item;
}

/* ---- Putting in */

bool peer_conn_has_unsent(const struct peer_conn *conn)
{
    bool has_items = false;
    for (unsigned lane = 0; lane < PEER_LANE_COUNT; lane++) {
        has_items = has_items || !list_is_empty(&conn->lanes[lane]);
    }
    return has_items || conn->urgent.size > 0 || conn->is_writing;
}

static void want_flush(struct peer_conn *conn)
{
    if (!conn->is_writing) {
        env_task(conn->shared.env, &conn->flush);
    }
}

static bool put_urgent(struct peer_conn *conn, struct bytes element)
{
    static const uint8_t head[PEER_FRAME_HEAD_SIZE];
    if (conn->urgent.size == 0 && dynbuf_put(&conn->urgent, (struct bytes){head, sizeof head}) != OK) {
        return false;
    }
    if (dynbuf_put(&conn->urgent, element) != OK) {
        return false;
    }
    want_flush(conn);
    return true;
}

bool peer_conn_put(struct peer_conn *conn, struct bytes element)
{
    assert(conn->events != NULL);
    return put_urgent(conn, element);
}

static size_t entries_size(const struct replica_message *message)
{
    size_t size = 0;
    for (unsigned i = 0; i < message->append.entry_count; i++) {
        size += message->append.entries[i]->size;
    }
    return size;
}

bool peer_conn_put_message(struct peer_conn *conn, uint64_t group, const struct replica_message *message)
{
    uint8_t element[RAFT_WIRE_SIZE_MAX];
    unsigned count = message->kind == REPLICA_APPEND ? message->append.entry_count : 0;
    uintptr_t waiting = (uintptr_t)map_get(&conn->groups, group);
    assert(conn->events != NULL);
    conn->tells_time = true;
    struct bytes bytes = {element, raft_wire_encode(group, message, element)};
    if (count == 0 && waiting == 0) {
        return put_urgent(conn, bytes);
    }
    struct peer_item *item = item_new(conn, bytes, count, count > 0 ? entries_size(message) : 0);
    if (item == NULL) {
        return false;
    }
    item->group = group;
    for (unsigned i = 0; i < count; i++) {
        item->entries[i] = entry_acquire(message->append.entries[i]);
    }
    map_put(&conn->groups, group, (void *)(waiting + 1)); /* NOLINT(performance-no-int-to-ptr): a count */
    list_push(&conn->lanes[PEER_LANE_PAYLOAD], &item->link);
    want_flush(conn);
    return true;
}

bool peer_conn_put_call(struct peer_conn *conn, enum peer_lane lane, struct bytes element, struct slice payload)
{
    assert(conn->events != NULL);
    assert(lane != PEER_LANE_PAYLOAD);
    struct peer_item *item = item_new(conn, element, 0, payload.bytes.size);
    if (item == NULL) {
        return false;
    }
    item->slice = slice_acquire(payload);
    list_push(&conn->lanes[lane], &item->link);
    want_flush(conn);
    return true;
}

/* ---- A frame */

static void forget_group(struct peer_conn *conn, uint64_t group)
{
    uintptr_t waiting = (uintptr_t)map_get(&conn->groups, group);
    assert(waiting > 0);
    if (waiting == 1) {
        map_remove(&conn->groups, group);
    } else {
        map_put(&conn->groups, group, (void *)(waiting - 1)); /* NOLINT(performance-no-int-to-ptr): a count */
    }
}

/* Moves items of a lane to `taken`, as long as there is room in the frame. */
static void take_items(struct peer_conn *conn, enum peer_lane lane, struct list *taken, size_t *envelope,
                       size_t *payload)
{
    struct list *items = &conn->lanes[lane];
    while (!list_is_empty(items) && *payload < PEER_WRITE_SIZE && *envelope < ENVELOPE_SIZE_SOFT) {
        struct peer_item *item = container_of(items->next, struct peer_item, link);
        list_remove(&item->link);
        list_push(taken, &item->link);
        *envelope += item->element_size;
        *payload += item->payload_size;
        if (item->group != 0) {
            forget_group(conn, item->group);
        }
    }
}

static void iov_put(struct peer_conn *conn, struct bytes bytes)
{
    if (bytes.size == 0) {
        return;
    }
    if (conn->iov_count == conn->iov_capacity) {
        conn->iov_capacity = conn->iov_capacity > 0 ? 2 * conn->iov_capacity : 16;
        conn->iov = mem_resize(conn->iov, conn->iov_capacity * sizeof conn->iov[0]);
    }
    conn->iov[conn->iov_count++] = (struct iovec){(void *)(uintptr_t)bytes.data, bytes.size};
}

static void iov_put_item(struct peer_conn *conn, const struct peer_item *item)
{
    for (unsigned i = 0; i < item->entry_count; i++) {
        const struct entry *entry = item->entries[i];
        for (unsigned k = 0; k < entry->slice_count; k++) {
            iov_put(conn, entry->slices[k].bytes);
        }
    }
    iov_put(conn, item->slice.bytes);
}

/* Takes what leaves now: in the order in which payload lies in a frame. */
static size_t frame_gather(struct peer_conn *conn)
{
    struct list calls;
    size_t envelope = conn->urgent.size;
    size_t payload = 0;
    list_init(&calls);
    take_items(conn, PEER_LANE_CALLS, &calls, &envelope, &payload);
    take_items(conn, PEER_LANE_PAYLOAD, &conn->sending_items, &envelope, &payload);
    list_move_all(&conn->sending_items, &calls);
    take_items(conn, PEER_LANE_BULK, &conn->sending_items, &envelope, &payload);
    return payload;
}

static void frame_put_envelope(struct peer_conn *conn)
{
    static const uint8_t head[PEER_FRAME_HEAD_SIZE];
    enum err err = OK;
    struct dynbuf sending = conn->sending;
    conn->sending = conn->urgent;
    conn->sending.size_max = sending.size_max;
    conn->urgent = sending;
    conn->urgent.size_max = PEER_FRAME_HEAD_SIZE + PEER_URGENT_SIZE_MAX;
    dynbuf_reset(&conn->urgent);
    if (conn->sending.size == 0) {
        err = dynbuf_put(&conn->sending, (struct bytes){head, sizeof head});
    }
    for (struct list *link = conn->sending_items.next; link != &conn->sending_items; link = link->next) {
        const struct peer_item *item = container_of(link, struct peer_item, link);
        err = err == OK ? dynbuf_put(&conn->sending, (struct bytes){item->element, item->element_size}) : err;
    }
    if (conn->tells_time) { /* as late as can be: what waited for a slow link must not look old for that */
        uint8_t element[PEER_ELEMENT_SIZE_MAX];
        size_t size = peer_time_encode((uint64_t)(env_now_us(conn->shared.env) / 1000), element);
        err = err == OK ? dynbuf_put(&conn->sending, (struct bytes){element, size}) : err;
    }
    assert(err == OK);
}

static void conn_on_written(struct stream_write *write, enum err err)
{
    struct peer_conn *conn = container_of(write, struct peer_conn, write);
    (void)err; /* reading tells, and then the connection is closed */
    conn->is_writing = false;
    items_free(conn, &conn->sending_items);
    if (conn->sending.capacity > KEPT_SIZE_MAX) {
        dynbuf_deinit(&conn->sending); /* a burst is not remembered */
    }
    if (conn->events == NULL) {
        return;
    }
    if (peer_conn_has_unsent(conn)) {
        want_flush(conn);
    } else if (conn->is_ending) {
        peer_conn_close(conn);
    }
}

static void frame_write(struct peer_conn *conn, size_t payload)
{
    conn->iov_count = 0;
    iov_put(conn, dynbuf_bytes(&conn->sending));
    for (struct list *link = conn->sending_items.next; link != &conn->sending_items; link = link->next) {
        iov_put_item(conn, container_of(link, struct peer_item, link));
    }
    size_t envelope = conn->sending.size - PEER_FRAME_HEAD_SIZE;
    uint32_t crc = crc32c(0, (struct bytes){conn->sending.data + PEER_FRAME_HEAD_SIZE, envelope});
    for (size_t i = 1; i < conn->iov_count; i++) {
        crc = crc32c(crc, (struct bytes){conn->iov[i].iov_base, conn->iov[i].iov_len});
    }
    const struct peer_frame_head head = {(uint32_t)envelope, (uint32_t)payload, crc};
    peer_frame_head_put(&head, conn->sending.data);
    metrics_add(conn->shared.env->metrics, METRIC_PEER_FRAMES_SENT, 1);
    metrics_add(conn->shared.env->metrics, METRIC_PEER_BYTES_SENT, (int64_t)(conn->sending.size + payload));
    conn->is_writing = true;
    conn->is_ping_wanted = false;
    conn->write = (struct stream_write){.iov = conn->iov, .count = conn->iov_count, .cb = conn_on_written};
    conn->shared.env->net->stream_write(conn->stream, &conn->write);
}

static void conn_on_flush(struct task *task)
{
    struct peer_conn *conn = container_of(task, struct peer_conn, flush);
    if (conn->events == NULL || conn->is_writing || !(peer_conn_has_unsent(conn) || conn->is_ping_wanted)) {
        return;
    }
    conn->has_sent = conn->has_sent || peer_conn_has_unsent(conn); /* a ping does not stand in for the next one */
    size_t payload = frame_gather(conn);
    frame_put_envelope(conn);
    frame_write(conn, payload);
}

/* ---- Time */

unsigned peer_conn_tick(struct peer_conn *conn)
{
    assert(conn->events != NULL);
    if (!conn->has_sent) {
        conn->is_ping_wanted = true;
        want_flush(conn);
    }
    conn->has_sent = false;
    return conn->silent_ticks++;
}

size_t peer_conn_queued(const struct peer_conn *conn)
{
    return conn->queued + conn->urgent.size;
}
