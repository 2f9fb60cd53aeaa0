/* A group's request on its way to the coordinator and back.
 *
 *   conn's shard: handler, decodes ~> shard 0: run() ── answers at once ──────────────> ~> conn's shard: responds
 *                                                   └─ or it waits: held ~> the shard lets go of frame and arena
 *                                                        ... group_call_answer() ~> responds
 *   the client goes away meanwhile ~> shard 0: coordinator_withdraw() answers what still waits
 *
 * So a JoinGroup that waits for minutes holds a few hundred bytes, and ends with its connection.
 * Runs on: as said. While a call is on shard 0 the connection's shard looks at nothing but what is its own. */
#pragma once

#include "base/limits.h"
#include "broker/coordinator.h"
#include "broker/request.h"
#include "metadata/group.h"

struct hosted_group;

#define GROUP_UUID_TEXT_SIZE 37
#define GROUP_OFFERED_ID_SIZE_MAX (GROUP_CLIENT_ID_SIZE_MAX + 1 + GROUP_UUID_TEXT_SIZE)

struct group_call {
    struct request *request;     /* shard 0 reads its API, version and correlation id */
    const void *message;         /* decoded; borrows from the request: gone once the call is held */
    char client_host[NET_ADDRESS_TEXT_SIZE + 1]; /* as Kafka writes it: "/127.0.0.1" */
    /* Of who waits, on shard 0. */
    struct group_wait wait;
    struct hosted_group *hosted; /* where it waits */
    char offered_id[GROUP_OFFERED_ID_SIZE_MAX];
    size_t offered_size;
    /* private */
    void (*run)(struct group_call *call, struct coordinator *coordinator);
    struct coordinator_call call;
    struct message held;
    struct message gone;
    struct slice response;
    bool is_running;             /* shard 0 */
    bool is_answered;            /* shard 0 */
    bool is_held;                /* origin, as the next three */
    bool is_gone;
    bool is_gone_out;
    bool is_back;
};

/* Decodes the request's body and has run() called on shard 0, which answers the call now or later. A malformed request
 * ends its connection. */
void group_call_send(struct request *request, const struct schema *schema, size_t message_size,
                     void (*run)(struct group_call *call, struct coordinator *coordinator));
/* Shard 0, once a call. NULL: there is no memory for the answer, the connection is closed. The message may go at once;
 * the call is not to be touched any more, unless in run(). */
void group_call_answer(struct group_call *call, const struct schema *schema, const void *message);
