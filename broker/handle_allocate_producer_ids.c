/* AllocateProducerIds: a block of producer ids for a broker's own use. Brokers alone ask, forwarded
 * (broker/forward.h); for clients the API does not exist. */

#include "base/mem.h"
#include "broker/forward.h"
#include "broker/wish.h"

#define BLOCK_SIZE 1000

struct allocate_work {
    struct wish wish;
    struct controller_producer_ids allocate;
    struct request *request;
};

static void allocate_decided(struct wish *wish)
{
    struct allocate_work *work = container_of(wish, struct allocate_work, wish);
    struct kafka_allocate_producer_ids_response response;
    if (request_is_undone(work->request, wish->refusal)) {
        request_not_controller(work->request);
        mem_free(work);
        return;
    }
    codec_init_defaults(&kafka_allocate_producer_ids_response_schema, &response);
    response.error_code = (int16_t)work->allocate.error;
    if (work->allocate.error == KAFKA_NONE) {
        response.producer_id_start = (int64_t)work->allocate.first;
        response.producer_id_len = BLOCK_SIZE;
    }
    request_respond(work->request, &kafka_allocate_producer_ids_response_schema, &response);
    mem_free(work);
}

static void allocate_on_allocated(struct controller_producer_ids *allocate)
{
    wish_controlled_one(&container_of(allocate, struct allocate_work, allocate)->wish, allocate->error);
}

static void allocate_decide(struct wish *wish, struct controller *controller)
{
    struct allocate_work *work = container_of(wish, struct allocate_work, wish);
    if (controller == NULL) {
        work->allocate.error = wish->refusal;
        wish_decided(wish);
        return;
    }
    controller_allocate_producer_ids(controller, &work->allocate);
}

void handle_allocate_producer_ids(struct request *request)
{
    struct kafka_allocate_producer_ids_request message;
    if (forward_to_controller(request) ||
        !request_decode(request, &kafka_allocate_producer_ids_request_schema, &message)) {
        return;
    }
    struct allocate_work *work = mem_alloc(sizeof(*work));
    work->request = request;
    work->allocate =
        (struct controller_producer_ids){.broker = message.broker_id, .count = BLOCK_SIZE, .cb = allocate_on_allocated};
    work->wish.decide = allocate_decide;
    work->wish.decided = allocate_decided;
    work->wish.refusal = request->refusal;
    wish_send(&work->wish, request->shard);
}
