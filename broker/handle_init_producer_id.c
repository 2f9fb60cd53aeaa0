/* InitProducerId without a transactional id: a fresh id, epoch 0. With an id and epoch of its own (v3+, KIP-360) an
 * idempotent producer asks to go on under a higher epoch after an error: epoch + 1, or a fresh id when the epochs are
 * used up. Transactional ids are refused: there is no transaction coordinator. */

#include "base/mem.h"
#include "broker/producer_ids.h"
#include "broker/request.h"

struct init_work {
    struct producer_id_take take;
    struct request *request;
};

static void respond(struct request *request, enum kafka_error error, int64_t id, int16_t epoch)
{
    struct kafka_init_producer_id_response response;
    codec_init_defaults(&kafka_init_producer_id_response_schema, &response);
    response.error_code = (int16_t)error;
    response.producer_id = error == KAFKA_NONE ? id : -1;
    response.producer_epoch = error == KAFKA_NONE ? epoch : -1;
    request_respond(request, &kafka_init_producer_id_response_schema, &response);
}

static void on_taken(struct producer_id_take *take)
{
    struct init_work *work = container_of(take, struct init_work, take);
    respond(work->request, take->error, take->id, 0);
    mem_free(work);
}

void handle_init_producer_id(struct request *request)
{
    struct kafka_init_producer_id_request message;
    if (!request_decode(request, &kafka_init_producer_id_request_schema, &message)) {
        return;
    }
    bool has_id = message.producer_id >= 0;
    bool has_epoch = message.producer_epoch >= 0;
    if (message.transactional_id.data != NULL) {
        respond(request, KAFKA_INVALID_REQUEST, -1, -1);
    } else if (has_id != has_epoch) {
        respond(request, KAFKA_INVALID_REQUEST, -1, -1);
    } else if (has_id && message.producer_epoch < INT16_MAX - 1) {
        respond(request, KAFKA_NONE, message.producer_id, (int16_t)(message.producer_epoch + 1));
    } else {
        struct init_work *work = mem_alloc(sizeof(*work));
        work->request = request;
        work->take.cb = on_taken;
        producer_ids_take(request->shard->producer_ids, &work->take);
    }
}
