/* UnregisterBroker. Kafka forgets the broker at once, whatever it holds; here it is drained first: it gets no new
 * replicas, those that it has go to others, and when it has none and has been stopped it is forgotten. Answered when
 * the wish is recorded. A broker is taken back into use by starting it again after it has been forgotten; before that
 * by ResumeBroker, which Kafka does not have and the admin service asks for: the same message, the other wish. */

#include "base/mem.h"
#include "broker/forward.h"
#include "broker/request.h"
#include "broker/wish.h"

struct unregister_work {
    struct wish wish;
    struct request *request;
    struct kafka_unregister_broker_request message;
    struct controller_broker_change change;
};

static void unregister_decided(struct wish *wish)
{
    struct unregister_work *work = container_of(wish, struct unregister_work, wish);
    struct kafka_unregister_broker_response response;
    if (request_is_undone(work->request, wish->refusal)) {
        request_not_controller(work->request);
        mem_free(work);
        return;
    }
    codec_init_defaults(&kafka_unregister_broker_response_schema, &response);
    response.error_code = (int16_t)(wish->refusal != KAFKA_NONE ? wish->refusal : work->change.error);
    response.error_message = work->change.text[0] != '\0' ? bytes_from_text(work->change.text) : BYTES_NONE;
    request_respond(work->request, &kafka_unregister_broker_response_schema, &response);
    mem_free(work);
}

static void unregister_on_changed(struct controller_broker_change *change)
{
    wish_controlled_one(&container_of(change, struct unregister_work, change)->wish, change->error);
}

static void unregister_decide(struct wish *wish, struct controller *controller)
{
    struct unregister_work *work = container_of(wish, struct unregister_work, wish);
    if (controller == NULL) {
        wish_decided(wish);
        return;
    }
    work->change = (struct controller_broker_change){.id = work->message.broker_id, .cb = unregister_on_changed};
    work->change.state = work->request->api_key == KAFKA_API_RESUME_BROKER
                             ? BALSA__RECORD__BROKER_STATE__BROKER_ACTIVE
                             : BALSA__RECORD__BROKER_STATE__BROKER_DRAINING;
    controller_change_broker(controller, &work->change);
}

void handle_unregister_broker(struct request *request)
{
    if (forward_to_controller(request)) {
        return;
    }
    struct unregister_work *work = mem_alloc(sizeof(*work));
    work->request = request;
    if (!request_decode(request, &kafka_unregister_broker_request_schema, &work->message)) {
        mem_free(work);
        return;
    }
    work->wish.refusal = request->refusal;
    work->wish.decide = unregister_decide;
    work->wish.decided = unregister_decided;
    wish_send(&work->wish, request->shard);
}
