/* Admin requests go to the controller, whoever was asked. What is carried is the Kafka request itself: the controller's
 * broker runs the same handler as for a connection of its own, and its answer goes back as it is. So each wish has one
 * encoding, which is Kafka's, and one handler.
 *
 *   conn -> handler: is the controller here? no -> forward_request() ~> shard 0 -> PEER_FORWARD => controller's shard 0
 *   -> request without a connection -> handler -> response bytes => back; before the client is answered, this broker's
 *   own metadata has reached the index that the controller's had (waits at most FORWARD_CATCH_UP_MS), so that the
 *   client's next question to this broker sees what it has done.
 *
 * Without a controller (election under way): waits for one up to the request's own timeout or FORWARD_WAIT_MS, then
 * NOT_CONTROLLER, or COORDINATOR_NOT_AVAILABLE where the API has no such code.
 * In doubt (link lost while the controller worked): REQUEST_TIMED_OUT; never sent twice.
 * Runs on: the request's shard; peers of shard 0. */
#pragma once

#include "broker/request.h"

/* Whether `request` must go elsewhere; then it has been taken over and will be answered. Called first by the handlers of
 * APIs that the controller decides. False: decide here (the controller is here). */
bool forward_to_controller(struct request *request);

/* For what the broker itself wishes (auto-creation, producer ids): an encoded Kafka request of `api_key`, `version`. */
struct forward_call {                    /* Caller's memory until cb. */
    int16_t api_key, api_version;
    struct slice body;                   /* in: borrowed until cb */
    int64_t timeout_ms;
    void (*cb)(struct forward_call *call);
    enum err err;                        /* out */
    struct slice response;               /* out: body of the response, borrowed during cb */
};
void forward_call(struct shard *shard, struct forward_call *call);
/* PEER_FORWARD arrived, on shard 0. */
void forward_request_arrived(struct shard *shard, struct peer_request *request);
