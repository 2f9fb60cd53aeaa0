/* One block is asked for at a time; takers wait for it in line. */

#include "broker/producer_ids.h"
#include "base/assert.h"
#include "base/mem.h"

#define BLOCK_SIZE 1000

struct producer_ids {
    struct shard *shard;
    uint64_t next;
    uint64_t end;
    struct list takers;
    struct task task;
    struct wish wish;
    struct controller_producer_ids request;
    bool is_asking;
};

static void ids_decided(struct wish *wish);

static void ids_on_allocated(struct controller_producer_ids *request)
{
    wish_decided(&container_of(request, struct producer_ids, request)->wish);
}

static void ids_decide(struct wish *wish, struct controller *controller)
{
    struct producer_ids *ids = container_of(wish, struct producer_ids, wish);
    if (controller == NULL) {
        ids->request.error = KAFKA_NOT_CONTROLLER;
        wish_decided(wish);
        return;
    }
    controller_allocate_producer_ids(controller, &ids->request);
}

static void ids_ask(struct producer_ids *ids)
{
    ids->is_asking = true;
    ids->request = (struct controller_producer_ids){
        .broker = ids->shard->options->node_id, .count = BLOCK_SIZE, .cb = ids_on_allocated};
    ids->wish.decide = ids_decide;
    ids->wish.decided = ids_decided;
    wish_send(&ids->wish, ids->shard);
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

static void ids_decided(struct wish *wish)
{
    struct producer_ids *ids = container_of(wish, struct producer_ids, wish);
    struct list *link;
    ids->is_asking = false;
    if (ids->request.error == KAFKA_NONE) {
        ids->next = ids->request.first;
        ids->end = ids->next + BLOCK_SIZE;
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
