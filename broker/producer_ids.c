/* One block is asked of the controller at a time; takers wait for it in line. A block that was given out and whose
 * answer got lost is nobody's: no harm, so the question is repeated as long as there is time. */

#include "broker/producer_ids.h"
#include "base/assert.h"
#include "base/limits.h"
#include "base/mem.h"
#include "broker/forward.h"

#define BLOCK_TIMEOUT_MS 10000

struct producer_ids {
    struct shard *shard;
    uint64_t next;
    uint64_t end;
    struct list takers;
    struct task task;
    struct forward_call call;
    bool is_asking;
};

static void ids_on_answered(struct forward_call *call);

static void ids_ask(struct producer_ids *ids)
{
    struct kafka_allocate_producer_ids_request message;
    codec_init_defaults(&kafka_allocate_producer_ids_request_schema, &message);
    message.broker_id = ids->shard->options->node_id;
    ids->is_asking = true;
    ids->call = (struct forward_call){.api_key = KAFKA_API_ALLOCATE_PRODUCER_IDS,
                                      .api_version = 0,
                                      .schema = &kafka_allocate_producer_ids_request_schema,
                                      .message = &message,
                                      .timeout_ms = BLOCK_TIMEOUT_MS,
                                      .is_repeatable = true,
                                      .cb = ids_on_answered};
    forward_call(ids->shard, &ids->call);
}

static void take_finish(struct producer_id_take *take, enum kafka_error error, int64_t id)
{
    take->error = error;
    take->id = id;
    take->cb(take);
}

static void ids_on_task(struct task *task)
{
    struct producer_ids *ids = container_of(task, struct producer_ids, task);
    struct list *link;
    while (ids->next < ids->end && (link = list_pop(&ids->takers)) != NULL) {
        take_finish(container_of(link, struct producer_id_take, link), KAFKA_NONE, (int64_t)ids->next++);
    }
    if (!list_is_empty(&ids->takers) && !ids->is_asking) {
        ids_ask(ids);
    }
}

static bool take_block(struct producer_ids *ids, const struct forward_call *call)
{
    struct kafka_allocate_producer_ids_response response;
    struct reader reader;
    struct arena arena;
    if (call->err != OK) {
        return false;
    }
    reader_init(&reader, call->response.bytes);
    arena_init(&arena, KIB(4));
    enum err err =
        codec_decode(&kafka_allocate_producer_ids_response_schema, call->api_version, &reader, &arena, &response);
    arena_deinit(&arena);
    bool is_block = err == OK && response.error_code == KAFKA_NONE && response.producer_id_start >= 0 &&
                    response.producer_id_len > 0 && response.producer_id_start <= INT64_MAX - response.producer_id_len;
    if (is_block) {
        ids->next = (uint64_t)response.producer_id_start;
        ids->end = ids->next + (uint64_t)response.producer_id_len;
    }
    return is_block;
}

static void ids_on_answered(struct forward_call *call)
{
    struct producer_ids *ids = container_of(call, struct producer_ids, call);
    struct list *link;
    ids->is_asking = false;
    if (take_block(ids, call)) {
        ids_on_task(&ids->task);
        return;
    }
    while ((link = list_pop(&ids->takers)) != NULL) {
        take_finish(container_of(link, struct producer_id_take, link), KAFKA_COORDINATOR_NOT_AVAILABLE, -1);
    }
}

struct producer_ids *producer_ids_open(struct shard *shard)
{
    struct producer_ids *ids = mem_alloc(sizeof(*ids));
    ids->shard = shard;
    list_init(&ids->takers);
    task_init(&ids->task, ids_on_task);
    return ids;
}

void producer_ids_close(struct producer_ids *ids)
{
    assert(list_is_empty(&ids->takers));
    ids->shard->env->tasks->cancel(ids->shard->env->tasks, &ids->task);
    mem_free(ids);
}

void producer_ids_take(struct producer_ids *ids, struct producer_id_take *take)
{
    list_init(&take->link);
    list_push(&ids->takers, &take->link);
    env_task(ids->shard->env, &ids->task);
}
