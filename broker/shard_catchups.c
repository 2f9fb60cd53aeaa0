/* Happy path: signals come from shard_peers.c; calls go out as PEER_CATCHUP, requests come in on the shard of their
 * group and are answered as bulk, behind everything else. Links that are closed fail calls at the end of the turn. */
#include "broker/shard_catchups.h"

#include "base/mem.h"
#include "broker/broker.h"
#include "broker/peer_method.h"
#include "replication/catchup.h"

static void on_call_failed(struct task *task)
{
    struct peer_call *call = container_of(task, struct peer_call, task);
    call->cb(call);
}

static void on_call(void *owner, struct peer_call *call)
{
    struct shard *shard = owner;
    call->method = PEER_CATCHUP;
    if (shard->peers != NULL) {
        peers_call(shard->peers, call);
        return;
    }
    call->err = ERR_CLOSED;
    task_init(&call->task, on_call_failed);
    env_task(shard->env, &call->task);
}

struct serving {
    struct catchup_request catchup;
    struct peer_request *request;
};

static void on_served(struct catchup_request *req, struct slice reply)
{
    struct serving *serving = container_of(req, struct serving, catchup);
    peers_reply(serving->request, reply, true);
    mem_free(serving);
}

void shard_catchups_request(struct shard *shard, struct peer_request *request)
{
    struct serving *serving = mem_alloc(sizeof(*serving));
    serving->request = request;
    serving->catchup = (struct catchup_request){
        .payload = request->payload,
        .peer = request->server_id,
        .cb = on_served,
    };
    catchup_serve(shard->catchups, &serving->catchup);
}

void shard_catchups_open(struct shard *shard)
{
    int64_t rate = shard->options->catchup_bytes_per_second;
    struct catchups_params params = {
        .env = shard->env,
        .replicas = shard->replicas,
        .topics_dir = shard->broker->topics_dir,
        .bytes_per_second = rate > 0 ? (rate + shard_count(shard) - 1) / shard_count(shard) : 0,
        .owner = shard,
        .call = on_call,
    };
    shard->catchups = catchups_open(&params);
}

struct closing {
    struct shard *shard;
    void (*cb)(struct shard *shard);
};

static void on_closed(void *owner)
{
    struct closing *closing = owner;
    struct shard *shard = closing->shard;
    void (*cb)(struct shard * shard) = closing->cb;
    mem_free(closing);
    shard->catchups = NULL;
    cb(shard);
}

void shard_catchups_close(struct shard *shard, void (*cb)(struct shard *shard))
{
    struct closing *closing = mem_alloc(sizeof(*closing));
    *closing = (struct closing){shard, cb};
    catchups_close(shard->catchups, closing, on_closed);
}
