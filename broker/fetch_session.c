/* Happy path: a full request ends in fetch_sessions_create(), incremental ones in fetch_sessions_resume(), which moves
 * the epoch by one. A repeated or reordered request has an epoch that is not the next one and changes nothing.
 * Failure: a session that outgrows the cache ends, its consumer is told that it is not known.
 *
 * Partitions hang in a map under (number of the topic, index) and in a list, in the order of service. Numbers of topics
 * are never used twice in a session. */

#include "broker/fetch_session.h"
#include "base/assert.h"
#include "base/map.h"
#include "base/mem.h"
#include <string.h>

#define MAP_ENTRY_SIZE 43 /* a map's slots are 16 bytes, between three eighths and three quarters of them used */

struct fetch_session {
    int32_t id;
    int32_t epoch; /* that the next request has to have */
    bool is_by_id;
    int64_t created_ms, used_ms;
    struct list link; /* of the cache, the longest idle first */
    struct list partitions;
    struct map partitions_by_key;
    struct map topics_by_hash;
    uint64_t seed; /* clients choose names and indexes, and must not choose how they fall */
    uint32_t topic_number;
    size_t size;
};

struct fetch_sessions {
    struct map by_id;
    struct list list;
    size_t slots;
    size_t size, size_max;
    uint64_t evicted;
    struct rng *rng;
};

/* ---- Topics of a session ---- */

static size_t topic_size(const struct fetch_session_topic *topic)
{
    return sizeof(*topic) + topic->name.size + MAP_ENTRY_SIZE;
}

static uint64_t topic_hash(const struct fetch_session *session, struct bytes name, const struct uuid *id)
{
    struct bytes key = session->is_by_id ? (struct bytes){id->bytes, sizeof(id->bytes)} : name;
    return bytes_hash(key, session->seed);
}

static bool topic_is(const struct fetch_session *session, const struct fetch_session_topic *topic, struct bytes name,
                     const struct uuid *id)
{
    return session->is_by_id ? uuid_equal(&topic->id, id) : bytes_equal(topic->name, name);
}

static struct fetch_session_topic *topic_find(const struct fetch_session *session, struct bytes name,
                                              const struct uuid *id)
{
    struct fetch_session_topic *topic = map_get(&session->topics_by_hash, topic_hash(session, name, id));
    while (topic != NULL && !topic_is(session, topic, name, id)) {
        topic = topic->next;
    }
    return topic;
}

static struct fetch_session_topic *topic_make(struct fetch_session *session, struct bytes name, const struct uuid *id)
{
    struct fetch_session_topic *topic = mem_alloc(sizeof(*topic) + (session->is_by_id ? 0 : name.size));
    topic->number = session->topic_number++;
    topic->hash = topic_hash(session, name, id);
    topic->next = map_get(&session->topics_by_hash, topic->hash);
    topic->name = BYTES_NONE;
    if (session->is_by_id) {
        topic->id = *id;
    } else if (name.size > 0) {
        memcpy(topic + 1, name.data, name.size);
        topic->name = (struct bytes){(const uint8_t *)(topic + 1), name.size};
    }
    map_put(&session->topics_by_hash, topic->hash, topic);
    session->size += topic_size(topic);
    return topic;
}

static void topic_free(struct fetch_session *session, struct fetch_session_topic *topic)
{
    struct fetch_session_topic *first = map_remove(&session->topics_by_hash, topic->hash);
    struct fetch_session_topic **at = &first;
    while (*at != topic) {
        at = &(*at)->next;
    }
    *at = topic->next;
    if (first != NULL) {
        map_put(&session->topics_by_hash, topic->hash, first);
    }
    session->size -= topic_size(topic);
    mem_free(topic);
}

/* ---- Partitions of a session ---- */

static uint64_t partition_key(const struct fetch_session *session, const struct fetch_session_topic *topic,
                              int32_t partition)
{
    return ((uint64_t)topic->number << 32 | (uint32_t)partition) ^ session->seed;
}

#define PARTITION_SIZE (sizeof(struct fetch_session_partition) + MAP_ENTRY_SIZE)

static void partition_forget_told(struct fetch_session_partition *partition)
{
    partition->high_watermark = -1;
    partition->last_stable_offset = -1;
    partition->log_start_offset = -1;
}

/* What is new is told whole, what was here before only gets the consumer's new position. */
static void partition_put(struct fetch_session *session, struct bytes name, const struct uuid *id,
                          const struct kafka_fetch_request_partition *asked)
{
    struct fetch_session_topic *topic = topic_find(session, name, id);
    if (topic == NULL) {
        topic = topic_make(session, name, id);
    }
    uint64_t key = partition_key(session, topic, asked->partition);
    struct fetch_session_partition *partition = map_get(&session->partitions_by_key, key);
    if (partition == NULL) {
        partition = mem_alloc(sizeof(*partition));
        partition->topic = topic;
        partition_forget_told(partition);
        topic->partition_count++;
        map_put(&session->partitions_by_key, key, partition);
        list_init(&partition->link);
        list_push(&session->partitions, &partition->link);
        session->size += PARTITION_SIZE;
    }
    partition->want = fetch_want_of(asked);
}

static void partition_free(struct fetch_session *session, struct fetch_session_partition *partition)
{
    struct fetch_session_topic *topic = partition->topic;
    map_remove(&session->partitions_by_key, partition_key(session, topic, partition->want.partition));
    list_remove(&partition->link);
    session->size -= PARTITION_SIZE;
    mem_free(partition);
    assert(topic->partition_count > 0);
    if (--topic->partition_count == 0) {
        topic_free(session, topic);
    }
}

struct fetch_want fetch_want_of(const struct kafka_fetch_request_partition *asked)
{
    return (struct fetch_want){.partition = asked->partition,
                               .leader_epoch = asked->current_leader_epoch,
                               .offset = asked->fetch_offset,
                               .max_bytes = asked->partition_max_bytes};
}

int32_t fetch_session_id(const struct fetch_session *session)
{
    return session->id;
}

void fetch_session_set_epoch(struct fetch_session *session, int32_t epoch)
{
    session->epoch = epoch;
}

size_t fetch_session_count(const struct fetch_session *session)
{
    return session->partitions_by_key.count;
}

struct fetch_session_partition *fetch_session_next(const struct fetch_session *session,
                                                   const struct fetch_session_partition *after)
{
    const struct list *next = after != NULL ? after->link.next : session->partitions.next;
    return next == &session->partitions ? NULL : container_of(next, struct fetch_session_partition, link);
}

struct fetch_session_partition *fetch_session_find(const struct fetch_session *session, struct bytes name,
                                                   const struct uuid *id, int32_t partition)
{
    const struct fetch_session_topic *topic = topic_find(session, name, id);
    return topic == NULL ? NULL : map_get(&session->partitions_by_key, partition_key(session, topic, partition));
}

bool fetch_session_tell(struct fetch_session_partition *partition, const struct kafka_fetch_response_partition *told)
{
    if (told->error_code != KAFKA_NONE) {
        partition_forget_told(partition); /* the end of an error is told, too */
        return true;
    }
    bool is_changed = partition->high_watermark != told->high_watermark ||
                      partition->last_stable_offset != told->last_stable_offset ||
                      partition->log_start_offset != told->log_start_offset;
    partition->high_watermark = told->high_watermark;
    partition->last_stable_offset = told->last_stable_offset;
    partition->log_start_offset = told->log_start_offset;
    return is_changed || told->records.bytes.size > 0 || told->preferred_read_replica >= 0;
}

void fetch_session_served(struct fetch_session *session, struct fetch_session_partition *partition)
{
    list_remove(&partition->link);
    list_push(&session->partitions, &partition->link);
}

/* ---- The cache ---- */

struct fetch_sessions *fetch_sessions_open(size_t slots, size_t size_max, struct rng *rng)
{
    struct fetch_sessions *sessions = mem_alloc(sizeof(*sessions));
    map_init(&sessions->by_id);
    list_init(&sessions->list);
    sessions->slots = slots;
    sessions->size_max = size_max;
    sessions->rng = rng;
    return sessions;
}

static void session_free(struct fetch_sessions *sessions, struct fetch_session *session)
{
    struct fetch_session_partition *partition;
    sessions->size -= session->size;
    map_remove(&sessions->by_id, (uint64_t)session->id);
    list_remove(&session->link);
    while ((partition = fetch_session_next(session, NULL)) != NULL) {
        partition_free(session, partition);
    }
    assert(session->size == sizeof(*session) && session->topics_by_hash.count == 0);
    map_deinit(&session->partitions_by_key);
    map_deinit(&session->topics_by_hash);
    mem_free(session);
}

void fetch_sessions_close(struct fetch_sessions *sessions)
{
    while (!list_is_empty(&sessions->list)) {
        session_free(sessions, container_of(sessions->list.next, struct fetch_session, link));
    }
    assert(sessions->size == 0 && sessions->by_id.count == 0);
    map_deinit(&sessions->by_id);
    mem_free(sessions);
}

size_t fetch_sessions_count(const struct fetch_sessions *sessions)
{
    return sessions->by_id.count;
}

size_t fetch_sessions_size(const struct fetch_sessions *sessions)
{
    return sessions->size;
}

uint64_t fetch_sessions_evicted(const struct fetch_sessions *sessions)
{
    return sessions->evicted;
}

static struct fetch_session *session_get(const struct fetch_sessions *sessions, int32_t id)
{
    return map_get(&sessions->by_id, (uint64_t)id);
}

/* After INT32_MAX comes 1: 0 is a new session's. */
static int32_t epoch_after(int32_t epoch)
{
    return epoch == INT32_MAX ? 1 : epoch + 1;
}

/* The session that one of `count` partitions may take the place of; NULL: none. */
static struct fetch_session *find_evictable(const struct fetch_sessions *sessions, size_t count, int64_t now_ms)
{
    if (list_is_empty(&sessions->list)) {
        return NULL;
    }
    struct fetch_session *found = container_of(sessions->list.next, struct fetch_session, link);
    if (now_ms - found->used_ms > FETCH_SESSION_IDLE_MS) {
        return found;
    }
    found = NULL;
    for (const struct list *link = sessions->list.next; link != &sessions->list; link = link->next) {
        struct fetch_session *session = container_of(link, struct fetch_session, link);
        size_t limit = found != NULL ? fetch_session_count(found) : count;
        if (fetch_session_count(session) < limit && now_ms - session->created_ms > FETCH_SESSION_IDLE_MS) {
            found = session;
        }
    }
    return found;
}

static bool make_room(struct fetch_sessions *sessions, size_t count, size_t size, int64_t now_ms)
{
    if (sessions->slots == 0 || size > sessions->size_max) {
        return false;
    }
    while (sessions->by_id.count >= sessions->slots || size > sessions->size_max - sessions->size) {
        struct fetch_session *session = find_evictable(sessions, count, now_ms);
        if (session == NULL) {
            return false;
        }
        session_free(sessions, session);
        sessions->evicted++;
    }
    return true;
}

/* Upper bounds: one of a topic or partition may be named twice. */
static size_t count_partitions(const struct kafka_fetch_request *request, size_t *size)
{
    size_t count = 0;
    *size = sizeof(struct fetch_session);
    for (int32_t t = 0; t < request->topics_count; t++) {
        count += (size_t)request->topics[t].partitions_count;
        *size += sizeof(struct fetch_session_topic) + request->topics[t].topic.size + MAP_ENTRY_SIZE;
    }
    *size += count * PARTITION_SIZE;
    return count;
}

static int32_t new_id(const struct fetch_sessions *sessions)
{
    int32_t id;
    do {
        id = (int32_t)(sessions->rng->next(sessions->rng) & INT32_MAX);
    } while (id == FETCH_SESSION_NONE || session_get(sessions, id) != NULL);
    return id;
}

static void put_all(struct fetch_sessions *sessions, struct fetch_session *session,
                    const struct kafka_fetch_request *request)
{
    sessions->size -= session->size;
    for (int32_t t = 0; t < request->topics_count; t++) {
        const struct kafka_fetch_request_topic *topic = &request->topics[t];
        for (int32_t p = 0; p < topic->partitions_count; p++) {
            partition_put(session, topic->topic, &topic->topic_id, &topic->partitions[p]);
        }
    }
    sessions->size += session->size;
}

static void forget_all(struct fetch_sessions *sessions, struct fetch_session *session,
                       const struct kafka_fetch_request *request)
{
    sessions->size -= session->size;
    for (int32_t t = 0; t < request->forgotten_topics_data_count; t++) {
        const struct kafka_fetch_request_forgotten_topic *topic = &request->forgotten_topics_data[t];
        for (int32_t p = 0; p < topic->partitions_count; p++) {
            struct fetch_session_partition *partition =
                fetch_session_find(session, topic->topic, &topic->topic_id, topic->partitions[p]);
            if (partition != NULL) {
                partition_free(session, partition);
            }
        }
    }
    sessions->size += session->size;
}

struct fetch_session *fetch_sessions_create(struct fetch_sessions *sessions, const struct kafka_fetch_request *request,
                                            bool is_by_id, int64_t now_ms)
{
    size_t size;
    size_t count = count_partitions(request, &size);
    assert(request->session_epoch == FETCH_SESSION_EPOCH_NEW);
    if (!make_room(sessions, count, size, now_ms)) {
        return NULL;
    }
    struct fetch_session *session = mem_alloc(sizeof(*session));
    session->id = new_id(sessions);
    session->epoch = epoch_after(FETCH_SESSION_EPOCH_NEW);
    session->is_by_id = is_by_id;
    session->created_ms = now_ms;
    session->used_ms = now_ms;
    session->seed = sessions->rng->next(sessions->rng);
    session->size = sizeof(*session);
    list_init(&session->link);
    list_init(&session->partitions);
    map_init(&session->partitions_by_key);
    map_init(&session->topics_by_hash);
    list_push(&sessions->list, &session->link);
    map_put(&sessions->by_id, (uint64_t)session->id, session);
    sessions->size += session->size;
    put_all(sessions, session, request);
    assert(sessions->size <= sessions->size_max);
    return session;
}

enum kafka_error fetch_sessions_resume(struct fetch_sessions *sessions, const struct kafka_fetch_request *request,
                                       bool is_by_id, int64_t now_ms, struct fetch_session **session)
{
    struct fetch_session *found = session_get(sessions, request->session_id);
    *session = NULL;
    if (request->session_epoch == FETCH_SESSION_EPOCH_NEW || request->session_epoch == FETCH_SESSION_EPOCH_CLOSE) {
        if (found != NULL) {
            session_free(sessions, found);
        }
        return KAFKA_NONE;
    }
    if (found == NULL) {
        return KAFKA_FETCH_SESSION_ID_NOT_FOUND;
    }
    if (found->epoch != request->session_epoch) {
        return KAFKA_INVALID_FETCH_SESSION_EPOCH;
    }
    if (found->is_by_id != is_by_id) {
        return KAFKA_FETCH_SESSION_TOPIC_ID_ERROR;
    }
    put_all(sessions, found, request);
    forget_all(sessions, found, request);
    if (fetch_session_count(found) == 0) {
        session_free(sessions, found);
        return KAFKA_NONE;
    }
    if (sessions->size > sessions->size_max) {
        session_free(sessions, found);
        return KAFKA_FETCH_SESSION_ID_NOT_FOUND;
    }
    found->epoch = epoch_after(found->epoch);
    found->used_ms = now_ms;
    list_remove(&found->link);
    list_push(&sessions->list, &found->link);
    *session = found;
    return KAFKA_NONE;
}

struct fetch_session *fetch_sessions_find(struct fetch_sessions *sessions, const struct kafka_fetch_request *request)
{
    struct fetch_session *session = session_get(sessions, request->session_id);
    return session != NULL && session->epoch == epoch_after(request->session_epoch) ? session : NULL;
}
