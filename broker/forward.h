/* Admin requests go to the controller, whoever was asked. What is carried is the Kafka request itself: the controller's
 * broker runs the same handler as for a connection of its own, and its answer goes back as it is. So each wish has one
 * encoding, which is Kafka's, and one handler.
 *
 *   conn -> handler -> forward_to_controller() ~> shard 0 -> is the controller here? yes: request_run() -> handler
 *   no: PEER_FORWARD => the controller's shard 0 -> request_run() -> handler -> response bytes => back; before the
 *   client is answered, this broker's own metadata has reached the index that the controller's had (waits at most
 *   FORWARD_CATCH_UP_MS) and this shard knows leaders of what was created (at most FORWARD_LEADERS_MS), so that the
 *   client's next question to this broker sees what it has done.
 *
 * One hop: a broker that is not the controller (any more) says so inside the reply and has done nothing; the request
 * is then sent to the next controller. Without one (election under way) it waits, up to the request's own timeout or
 * FORWARD_WAIT_MS; then the handler runs here with request->refusal NOT_CONTROLLER.
 * In doubt (link lost, or no reply, while the controller worked): refusal REQUEST_TIMED_OUT; never sent twice.
 * Runs on: the request's shard, where said; else shard 0. */
#pragma once

#include "broker/request.h"

#define FORWARD_WAIT_MS 10000     /* for a controller, when the request has no timeout of its own */
#define FORWARD_CATCH_UP_MS 5000  /* for this broker's metadata to have the controller's index */
#define FORWARD_LEADERS_MS 1000   /* for leaders of new partitions to be known here, when they are there */

struct forward;
struct peer_request;

/* Whether `request` has been taken over and will be answered: first in each handler of an API that the controller
 * decides, before the body is read. False: decide here (detached, on the controller's shard 0), or answer
 * request->refusal. */
bool forward_to_controller(struct request *request);

/* For what the broker itself wishes (auto-creation, producer ids): an encoded Kafka request of `api_key`, `version`. */
struct forward_call {                    /* Caller's memory until cb. */
    int16_t api_key, api_version;        /* in */
    const struct schema *schema;         /* in: of the request */
    const void *message;                 /* in: encoded inside forward_call() */
    int64_t timeout_ms;                  /* in */
    bool is_repeatable;                  /* in: doing it twice does no harm, so it is sent again when in doubt */
    void (*cb)(struct forward_call *call); /* in: on the caller's shard, never inside forward_call() */
    enum err err;                        /* out: ERR_NOT_LEADER: no controller, not done; ERR_TIMED_OUT: in doubt;
                                            ERR_UNSUPPORTED: too large, or the controller does not take it */
    struct slice response;               /* out: body of the response, borrowed during cb */
};
void forward_call(struct shard *shard, struct forward_call *call);

/* ---- Shard 0 ---- */

struct forward *forward_open(struct shard *shard);
/* The process drains: nothing waits for a controller any more. */
void forward_stop(struct forward *forward);
void forward_close(struct forward *forward);  /* all connections of all shards are gone */
/* PEER_FORWARD arrived: ends with peers_reply(). */
void forward_request_arrived(struct shard *shard, struct peer_request *request);
/* The metadata's applied index here has moved. */
void forward_metadata_applied(struct forward *forward);
