/* ElectLeaders: preferred: each partition asked for that is led by another than its first replica is handed over by
 * its leader, wherever that is; the answer waits until the news of the new leaders are here, or for the time-out.
 * Unclean elections do not exist: a partition that has a leader needs none, and one that has none gets one as soon as a
 * majority of its replicas is there, and not before.
 *
 *   handler -> partitions, by the broker that leads them -> here: leadership_call(); elsewhere: PEER_TRANSFER
 *                                       ^                -> poll the leaders -> answer
 *                                       +--- now and then, those not under way ---+
 *
 * Not under way: its leader still looks after its members, another transfer is going on, or somebody else leads by now.
 * One that was begun is over when the chosen broker has not taken over within an election timeout; as each attempt
 * costs the partition's clients that pause, there are only a few. */

#include "base/assert.h"
#include "base/limits.h"
#include "base/mem.h"
#include "broker/broker.h"
#include "broker/leadership.h"
#include "broker/peer_method.h"
#include "broker/request.h"
#include "proto/peer.pb-c.h"
#include "replication/peers.h"

#define ELECTION_PREFERRED 0
#define ELECTION_UNCLEAN 1
#define POLL_US (20 * 1000)
#define AGAIN_US (500 * 1000)
#define ATTEMPT_COUNT_MAX 3
#define TIMEOUT_MAX_MS 60000

struct elect_one {
    struct bytes name; /* of the topic; those of one topic follow one another */
    int32_t index;
    uint64_t group;
    uint64_t server;   /* of the preferred replica */
    int32_t preferred; /* broker */
    int32_t leader;    /* broker that is asked to hand over */
    enum kafka_error error;
    bool is_asked;     /* to be handed over, as far as is known */
    unsigned attempts; /* that its leader has begun; until when the last one may last */
    int64_t until_us;
};

struct elect_work;

struct elect_call { /* to one other broker */
    struct peer_call call;
    struct elect_work *work;
    size_t *places; /* in work->items, of each group */
    size_t count;
    struct shared *block;
};

struct elect_work {
    struct request *request;
    struct kafka_elect_leaders_request message;
    struct elect_one *items;
    size_t count, capacity;
    struct leadership_call here;
    size_t *here_places;
    size_t pending; /* answers that are out */
    struct timer timer;
    int64_t deadline_us;
    int64_t again_us;
};

/* ---- Answer ---- */

static void elect_free(struct elect_work *work)
{
    mem_free(work->items);
    mem_free(work->here.items);
    mem_free(work->here_places);
    mem_free(work);
}

/* All were asked for: those that need nothing are left out, as Kafka does. */
static bool is_listed(const struct elect_work *work, size_t at)
{
    return work->message.topic_partitions_count >= 0 || work->items[at].error != KAFKA_ELECTION_NOT_NEEDED;
}

static bool is_same_topic(const struct elect_work *work, size_t a, size_t b)
{
    return bytes_equal(work->items[a].name, work->items[b].name);
}

static bool elect_fill_topic(struct elect_work *work, size_t first, size_t end,
                             struct kafka_elect_leaders_response_topic *out)
{
    struct arena *arena = &work->request->arena;
    out->topic = work->items[first].name;
    out->partition_result = codec_new(&kafka_elect_leaders_response_partition_schema, end - first, arena);
    for (size_t i = first; i < end && out->partition_result != NULL; i++) {
        const struct elect_one *one = &work->items[i];
        if (is_listed(work, i)) {
            out->partition_result[out->partition_result_count++] = (struct kafka_elect_leaders_response_partition){
                .partition_id = one->index,
                .error_code = (int16_t)one->error,
                .error_message = one->error != KAFKA_NONE ? bytes_from_text(kafka_error_text(one->error)) : BYTES_NONE};
        }
    }
    return out->partition_result != NULL;
}

static bool elect_fill(struct elect_work *work, struct kafka_elect_leaders_response *response)
{
    size_t topics = 0;
    for (size_t i = 0; i < work->count; i++) {
        topics += i == 0 || !is_same_topic(work, i, i - 1);
    }
    if (topics == 0) {
        return true;
    }
    response->replica_election_results =
        codec_new(&kafka_elect_leaders_response_topic_schema, topics, &work->request->arena);
    for (size_t first = 0; first < work->count && response->replica_election_results != NULL;) {
        struct kafka_elect_leaders_response_topic *out =
            &response->replica_election_results[response->replica_election_results_count];
        size_t end = first + 1;
        while (end < work->count && is_same_topic(work, first, end)) {
            end++;
        }
        if (!elect_fill_topic(work, first, end, out)) {
            return false;
        }
        response->replica_election_results_count += out->partition_result_count > 0;
        first = end;
    }
    return response->replica_election_results != NULL;
}

static void elect_respond(struct elect_work *work)
{
    struct kafka_elect_leaders_response response;
    codec_init_defaults(&kafka_elect_leaders_response_schema, &response);
    if (elect_fill(work, &response)) {
        request_respond(work->request, &kafka_elect_leaders_response_schema, &response);
    } else {
        request_kill(work->request, "elect leaders response over the memory limit");
    }
    elect_free(work);
}

/* ---- Waiting for the news ---- */

static void elect_ask(struct elect_work *work);

static bool is_to_ask(const struct elect_work *work, const struct elect_one *one)
{
    bool is_under_way = env_now_us(work->request->shard->env) < one->until_us;
    return one->is_asked && one->leader >= 0 && !is_under_way && one->attempts < ATTEMPT_COUNT_MAX;
}

static void elect_on_timer(struct timer *timer)
{
    struct elect_work *work = container_of(timer, struct elect_work, timer);
    struct shard *shard = work->request->shard;
    bool is_late = env_now_us(shard->env) >= work->deadline_us || leaders_is_stopping(shard->leaders);
    size_t missing = 0;
    size_t not_under_way = 0;
    for (size_t i = 0; i < work->count; i++) {
        struct elect_one *one = &work->items[i];
        one->leader = leaders_get(shard->leaders, one->group).broker;
        if (one->is_asked && one->leader == one->preferred) {
            one->is_asked = false;
        } else if (one->is_asked && is_late) {
            one->is_asked = false;
            one->error = KAFKA_REQUEST_TIMED_OUT;
        }
        missing += one->is_asked;
        not_under_way += is_to_ask(work, one);
    }
    if (missing == 0) {
        elect_respond(work);
    } else if (not_under_way > 0 && env_now_us(shard->env) >= work->again_us) {
        elect_ask(work);
    } else {
        env_timer(shard->env, &work->timer, POLL_US);
    }
}

/* ---- Asking ---- */

static void elect_result(const struct elect_work *work, struct elect_one *one, enum kafka_error error)
{
    const struct shard *shard = work->request->shard;
    bool is_begun = error == KAFKA_NONE;
    bool is_later = error == KAFKA_REBALANCE_IN_PROGRESS || error == KAFKA_NOT_LEADER_OR_FOLLOWER;
    one->is_asked = is_begun || is_later;
    one->error = one->is_asked ? KAFKA_NONE : error;
    if (is_begun) {
        one->attempts++;
        one->until_us = env_now_us(shard->env) + 3 * (int64_t)shard->options->election_ms / 2 * 1000;
    }
}

static void elect_step(struct elect_work *work)
{
    assert(work->pending > 0);
    if (--work->pending == 0) {
        env_timer(work->request->shard->env, &work->timer, 0);
    }
}

static void elect_here_done(struct leadership_call *call)
{
    struct elect_work *work = container_of(call, struct elect_work, here);
    for (size_t i = 0; i < call->count; i++) {
        elect_result(work, &work->items[work->here_places[i]], call->items[i].error);
    }
    elect_step(work);
}

static void elect_on_reply(struct peer_call *peer)
{
    struct elect_call *call = container_of(peer, struct elect_call, call);
    struct elect_work *work = call->work;
    Balsa__Peer__TransferReply *reply = NULL;
    if (peer->err == OK) {
        reply = balsa__peer__transfer_reply__unpack(NULL, peer->reply.bytes.size, peer->reply.bytes.data);
    }
    bool is_valid = reply != NULL && reply->n_results == call->count;
    for (size_t i = 0; i < call->count; i++) {
        enum kafka_error error = is_valid ? (enum kafka_error)reply->results[i] : KAFKA_PREFERRED_LEADER_NOT_AVAILABLE;
        elect_result(work, &work->items[call->places[i]], error);
    }
    if (reply != NULL) {
        balsa__peer__transfer_reply__free_unpacked(reply, NULL);
    }
    shared_release(call->block);
    mem_free(call->places);
    mem_free(call);
    elect_step(work);
}

/* Asks broker `node` for all of its partitions that are not being asked for yet. */
static void ask_broker(struct elect_work *work, int32_t node, bool *is_sent)
{
    struct shard *shard = work->request->shard;
    struct elect_call *call = mem_alloc(sizeof(*call));
    Balsa__Peer__TransferRequest request = BALSA__PEER__TRANSFER_REQUEST__INIT;
    uint64_t *groups = mem_alloc((work->count + 1) * sizeof(*groups));
    uint64_t *targets = mem_alloc((work->count + 1) * sizeof(*targets));
    call->work = work;
    call->places = mem_alloc((work->count + 1) * sizeof(*call->places));
    for (size_t i = 0; i < work->count && call->count < LEADERSHIP_COUNT_MAX; i++) {
        if (!is_sent[i] && work->items[i].leader == node && is_to_ask(work, &work->items[i])) {
            is_sent[i] = true;
            groups[call->count] = work->items[i].group;
            targets[call->count] = work->items[i].server;
            call->places[call->count++] = i;
        }
    }
    request.n_groups = call->count;
    request.groups = groups;
    request.n_targets = call->count;
    request.targets = targets;
    call->block = shared_new(balsa__peer__transfer_request__get_packed_size(&request));
    balsa__peer__transfer_request__pack(&request, call->block->data);
    mem_free(groups);
    mem_free(targets);
    int64_t left_ms = (work->deadline_us - env_now_us(shard->env)) / 1000;
    call->call = (struct peer_call){.node = node,
                                    .method = PEER_TRANSFER,
                                    .payload = {call->block, {call->block->data, call->block->size}},
                                    .timeout_ms = left_ms > 1 ? left_ms : 1,
                                    .cb = elect_on_reply};
    work->pending++;
    peers_call(shard->peers, &call->call);
}

static void ask_here(struct elect_work *work, bool *is_sent)
{
    mem_free(work->here.items); /* of the time before */
    mem_free(work->here_places);
    work->here = (struct leadership_call){.items = mem_alloc((work->count + 1) * sizeof(*work->here.items))};
    work->here_places = mem_alloc((work->count + 1) * sizeof(*work->here_places));
    work->here.cb = elect_here_done;
    for (size_t i = 0; i < work->count; i++) {
        const struct elect_one *one = &work->items[i];
        if (!is_sent[i] && is_to_ask(work, one) && one->leader == work->request->shard->options->node_id) {
            is_sent[i] = true;
            work->here.items[work->here.count] = (struct leadership_item){.group = one->group, .server = one->server};
            work->here_places[work->here.count++] = i;
        }
    }
    if (work->here.count > 0) {
        work->pending++;
        leadership_call(work->request->shard, &work->here);
    }
}

static void elect_ask(struct elect_work *work)
{
    bool *is_sent = mem_alloc((work->count + 1) * sizeof(*is_sent));
    work->pending = 1; /* itself, until all are asked */
    work->again_us = env_now_us(work->request->shard->env) + AGAIN_US;
    ask_here(work, is_sent);
    for (size_t i = 0; i < work->count; i++) {
        struct elect_one *one = &work->items[i];
        if (!is_sent[i] && is_to_ask(work, one) && work->request->shard->peers != NULL) {
            ask_broker(work, one->leader, is_sent);
        } else if (!is_sent[i] && is_to_ask(work, one)) {
            elect_result(work, one, KAFKA_PREFERRED_LEADER_NOT_AVAILABLE);
        }
    }
    mem_free(is_sent);
    elect_step(work);
}

/* ---- What is asked for ---- */

static enum kafka_error elect_check(struct elect_work *work, const struct uuid *topic, struct elect_one *one)
{
    struct request *request = work->request;
    struct shard *shard = request->shard;
    struct store_partition partition;
    struct store_broker broker;
    if (store_partition(shard->reader, &request->arena, topic, one->index, &partition) != OK) {
        return KAFKA_UNKNOWN_TOPIC_OR_PARTITION;
    }
    one->group = partition.group;
    one->leader = leaders_get(shard->leaders, partition.group).broker;
    if (work->message.election_type == ELECTION_UNCLEAN) {
        return one->leader >= 0 ? KAFKA_ELECTION_NOT_NEEDED : KAFKA_ELIGIBLE_LEADERS_NOT_AVAILABLE;
    }
    one->preferred = partition.replicas[0];
    if (one->leader == one->preferred) {
        return KAFKA_ELECTION_NOT_NEEDED;
    }
    if (one->leader < 0 || !shard_is_linked(shard, one->preferred) ||
        store_broker(shard->reader, &request->arena, one->preferred, &broker) != OK) {
        return KAFKA_PREFERRED_LEADER_NOT_AVAILABLE;
    }
    one->server = broker.server_id;
    one->is_asked = true;
    return KAFKA_NONE;
}

static void elect_add(struct elect_work *work, struct bytes name, const struct uuid *topic, int32_t index)
{
    if (work->count == work->capacity) {
        work->capacity = work->capacity > 0 ? 2 * work->capacity : 64;
        work->items = mem_resize(work->items, work->capacity * sizeof(*work->items));
    }
    struct elect_one *one = &work->items[work->count++];
    *one = (struct elect_one){.name = name, .index = index};
    one->error = topic != NULL ? elect_check(work, topic, one) : KAFKA_UNKNOWN_TOPIC_OR_PARTITION;
}

static bool elect_add_topic(void *context, const struct store_topic *topic)
{
    struct elect_work *work = context;
    struct bytes name = arena_copy(&work->request->arena, topic->name);
    for (int32_t i = 0; i < topic->partition_count && name.data != NULL; i++) {
        elect_add(work, name, &topic->id, i);
    }
    return name.data != NULL;
}

static bool elect_collect(struct elect_work *work)
{
    struct store_reader *reader = work->request->shard->reader;
    if (work->message.topic_partitions_count < 0) {
        return store_topics_each(reader, &work->request->arena, work, elect_add_topic) == OK;
    }
    for (int32_t i = 0; i < work->message.topic_partitions_count; i++) {
        const struct kafka_elect_leaders_request_topic *asked = &work->message.topic_partitions[i];
        struct uuid id;
        bool is_known = store_topic_id(reader, asked->topic, &id) == OK;
        for (int32_t n = 0; n < asked->partitions_count; n++) {
            elect_add(work, asked->topic, is_known ? &id : NULL, asked->partitions[n]);
        }
    }
    return true;
}

void handle_elect_leaders(struct request *request)
{
    struct elect_work *work = mem_alloc(sizeof(*work));
    work->request = request;
    timer_init(&work->timer, elect_on_timer);
    if (!request_decode(request, &kafka_elect_leaders_request_schema, &work->message)) {
        mem_free(work);
        return;
    }
    int32_t timeout_ms = work->message.timeout_ms;
    timeout_ms = timeout_ms < 0 ? 0 : timeout_ms > TIMEOUT_MAX_MS ? TIMEOUT_MAX_MS : timeout_ms;
    work->deadline_us = env_now_us(request->shard->env) + (int64_t)timeout_ms * 1000;
    bool is_type_known =
        work->message.election_type == ELECTION_PREFERRED || work->message.election_type == ELECTION_UNCLEAN;
    if (!is_type_known || !elect_collect(work)) {
        request_kill(request, "elect leaders request is malformed or too large");
        elect_free(work);
        return;
    }
    elect_ask(work);
}
