/* Addresses are asked in turn for the leaders; whoever answers tells of the others. A connection is kept for each
 * broker that was asked, and made anew after a failure. */
#include "broker/ctl_kafka.h"
#include "base/limits.h"
#include "base/mem.h"
#include "proto/errors.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define METADATA_VERSION 9
#define ANSWER_US (10 * 1000000LL)
#define PAUSE_US (50 * 1000)
#define PAUSE_MAX_US (1000 * 1000)
#define UNKNOWN_MAX 3 /* brokers that do not know the topic: the first may not have heard of it yet */

/* ---- Brokers ---- */

static struct ctl_kafka_broker *broker_of(struct ctl_kafka *kafka, int32_t id)
{
    for (size_t i = 0; i < kafka->broker_count; i++) {
        if (kafka->brokers[i].id == id) {
            return &kafka->brokers[i];
        }
    }
    return NULL;
}

/* The one at this address, made if there is none; NULL: no room. */
static struct ctl_kafka_broker *broker_at(struct ctl_kafka *kafka, struct bytes host, uint16_t port)
{
    for (size_t i = 0; i < kafka->broker_count; i++) {
        if (bytes_equal_text(host, kafka->brokers[i].host) && kafka->brokers[i].port == port) {
            return &kafka->brokers[i];
        }
    }
    if (kafka->brokers == NULL) {
        kafka->brokers = mem_alloc(CLUSTER_BROKER_COUNT_MAX * sizeof(*kafka->brokers));
    }
    struct ctl_kafka_broker *broker = &kafka->brokers[kafka->broker_count];
    if (kafka->broker_count == CLUSTER_BROKER_COUNT_MAX || host.size == 0 || host.size >= sizeof(broker->host)) {
        return NULL;
    }
    kafka->broker_count++;
    *broker = (struct ctl_kafka_broker){.id = -1, .port = port};
    memcpy(broker->host, host.data, host.size);
    return broker;
}

void ctl_kafka_add(struct ctl_kafka *kafka, struct bytes host, uint16_t port)
{
    (void)broker_at(kafka, host, port);
}

static void broker_disconnect(struct ctl_kafka_broker *broker)
{
    if (broker->client != NULL) {
        kafka_client_close(broker->client);
        broker->client = NULL;
    }
}

/* ---- One call ---- */

static void on_answer(struct kafka_client_call *call)
{
    struct ctl_kafka *kafka = call->owner;
    struct kafka_client_call answer = *call; /* the owner may make the next one meanwhile */
    if (call->err != OK) {
        broker_disconnect(kafka->at);
    }
    kafka->cb(kafka->owner, &answer);
}

static void call_broker(struct ctl_kafka *kafka, struct ctl_kafka_broker *broker, int16_t api, int16_t version,
                        const void *request)
{
    if (broker->client == NULL) {
        broker->client = kafka_client_open(kafka->env, broker->host, broker->port);
    }
    kafka->at = broker;
    kafka->call.api = api;
    kafka->call.version = version;
    kafka->call.request = request;
    kafka->call.timeout_us = kafka->timeout_us < ANSWER_US ? kafka->timeout_us : ANSWER_US;
    kafka->call.owner = kafka;
    kafka_client_call(broker->client, &kafka->call);
}

void ctl_kafka_call(struct ctl_kafka *kafka, int32_t partition, int16_t api, int16_t version, const void *request,
                    void (*cb)(void *owner, const struct kafka_client_call *call))
{
    struct ctl_kafka_broker *broker = partition < 0 ? &kafka->brokers[kafka->asked % kafka->broker_count]
                                                    : broker_of(kafka, kafka->leaders[partition].broker);
    if (broker == NULL) {
        ctl_kafka_again(kafka, kafka_error_text(KAFKA_LEADER_NOT_AVAILABLE));
        return;
    }
    kafka->cb = cb;
    kafka->call.cb = on_answer;
    call_broker(kafka, broker, api, version, request);
}

/* ---- Leaders ---- */

static void give_up(struct ctl_kafka *kafka, enum ctl_exit code, const char *why)
{
    (void)fprintf(stderr, "balsactl: %s\n", why);
    kafka->on_gave_up(kafka->owner, code);
}

static void take_brokers(struct ctl_kafka *kafka, const struct kafka_metadata_response *answer)
{
    for (size_t i = 0; i < kafka->broker_count; i++) {
        kafka->brokers[i].id = -1;
    }
    for (int32_t i = 0; i < answer->brokers_count; i++) {
        const struct kafka_metadata_response_broker *told = &answer->brokers[i];
        struct ctl_kafka_broker *broker = broker_at(kafka, told->host, (uint16_t)told->port);
        if (broker != NULL) {
            broker->id = told->node_id;
        }
    }
}

/* False: the answer makes no sense. */
static bool take_leaders(struct ctl_kafka *kafka, const struct kafka_metadata_response_topic *topic)
{
    int32_t count = topic->partitions_count;
    if (count < 1 || count > TOPIC_PARTITION_COUNT_MAX || count < kafka->partition_count) {
        return false;
    }
    kafka->leaders = mem_resize(kafka->leaders, (size_t)count * sizeof(*kafka->leaders));
    kafka->partition_count = count;
    for (int32_t i = 0; i < count; i++) {
        kafka->leaders[i] = (struct ctl_kafka_leader){-1, -1};
    }
    for (int32_t i = 0; i < count; i++) {
        const struct kafka_metadata_response_partition *told = &topic->partitions[i];
        if (told->partition_index >= 0 && told->partition_index < count) {
            kafka->leaders[told->partition_index] = (struct ctl_kafka_leader){told->leader_id, told->leader_epoch};
        }
    }
    return true;
}

static void on_metadata(struct kafka_client_call *call)
{
    struct ctl_kafka *kafka = call->owner;
    const struct kafka_metadata_response *answer = call->response;
    char text[600];
    if (call->err != OK) {
        bool is_no_kafka = call->err == ERR_CORRUPT || call->err == ERR_SHORT;
        (void)snprintf(text, sizeof(text), "%s:%u: %s", kafka->at->host, kafka->at->port,
                       is_no_kafka ? "what it answers is no Kafka: is it the port of a client listener?"
                                   : err_text(call->err));
        broker_disconnect(kafka->at);
        ctl_kafka_again(kafka, text);
        return;
    }
    const struct kafka_metadata_response_topic *topic = answer->topics_count == 1 ? &answer->topics[0] : NULL;
    enum kafka_error error = topic != NULL ? (enum kafka_error)topic->error_code : KAFKA_UNKNOWN_SERVER_ERROR;
    bool is_unknown = error == KAFKA_UNKNOWN_TOPIC_OR_PARTITION;
    kafka->unknown_count = is_unknown ? kafka->unknown_count + 1 : 0;
    if (is_unknown && kafka->unknown_count >= UNKNOWN_MAX) {
        (void)snprintf(text, sizeof(text), "there is no topic '%s': balsactl topic create %s", kafka->topic,
                       kafka->topic);
        give_up(kafka, CTL_REFUSED, text);
        return;
    }
    take_brokers(kafka, answer);
    if (error == KAFKA_NONE && take_leaders(kafka, topic)) {
        kafka->on_leaders(kafka->owner);
        return;
    }
    (void)snprintf(text, sizeof(text), "topic '%s': %s", kafka->topic,
                   kafka_error_text(error != KAFKA_NONE ? error : KAFKA_UNKNOWN_SERVER_ERROR));
    if (error == KAFKA_NONE || kafka_error_is_retriable(error)) {
        ctl_kafka_again(kafka, text);
    } else {
        give_up(kafka, CTL_REFUSED, text);
    }
}

void ctl_kafka_find(struct ctl_kafka *kafka)
{
    struct kafka_metadata_request_topic topic = {.name = bytes_from_text(kafka->topic)};
    struct kafka_metadata_request request = {.topics = &topic, .topics_count = 1};
    kafka->call.cb = on_metadata;
    call_broker(kafka, &kafka->brokers[kafka->asked % kafka->broker_count], KAFKA_API_METADATA, METADATA_VERSION,
                &request);
}

static void on_again(struct timer *timer)
{
    ctl_kafka_find(container_of(timer, struct ctl_kafka, again));
}

void ctl_kafka_again(struct ctl_kafka *kafka, const char *why)
{
    int64_t now_us = env_now_us(kafka->env);
    if (kafka->trouble_us == 0) {
        kafka->trouble_us = now_us;
        kafka->pause_us = PAUSE_US;
    }
    kafka->asked++; /* another broker may know more */
    if (now_us - kafka->trouble_us + kafka->pause_us > kafka->timeout_us) {
        give_up(kafka, CTL_UNREACHABLE, why);
        return;
    }
    timer_init(&kafka->again, on_again);
    env_timer(kafka->env, &kafka->again, kafka->pause_us);
    kafka->pause_us = 2 * kafka->pause_us < PAUSE_MAX_US ? 2 * kafka->pause_us : PAUSE_MAX_US;
}

void ctl_kafka_went_well(struct ctl_kafka *kafka)
{
    kafka->trouble_us = 0;
}

void ctl_kafka_close(struct ctl_kafka *kafka)
{
    env_timer_cancel(kafka->env, &kafka->again);
    for (size_t i = 0; i < kafka->broker_count; i++) {
        broker_disconnect(&kafka->brokers[i]);
    }
    mem_free(kafka->brokers);
    mem_free(kafka->leaders);
}
