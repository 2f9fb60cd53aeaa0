#include "broker/slow_log.h"
#include "base/trace.h"
#include "broker/request.h"

#define LINES_MAX 10 /* a second: what makes requests slow makes many of them slow */
#define SECOND_US 1000000

static bool has_room(struct slow_log *log, int64_t now_us)
{
    if (log->second_us == 0 || now_us - log->second_us >= SECOND_US) {
        log->second_us = now_us;
        log->lines = 0;
    }
    return log->lines++ < LINES_MAX;
}

static void print_produce(const struct request *request, const char *api, int64_t now_us, int64_t left_out)
{
    trace(WARN, KAFKA, "slow request", KV("api", api), KV("client", request->client_id),
          KV("us", now_us - request->received_us), KV("queued_us", request->started_us - request->received_us),
          KV("propose_us", request->proposed_us - request->started_us),
          KV("commit_us", request->committed_us - request->proposed_us),
          KV("answer_us", request->answered_us - request->committed_us), KV("send_us", now_us - request->answered_us),
          KV("bytes", request->frame_bytes.size), KV("left_out", left_out));
}

static void print(const struct request *request, const char *api, int64_t now_us, int64_t left_out)
{
    int64_t started_us = request->started_us != 0 ? request->started_us : request->received_us;
    trace(WARN, KAFKA, "slow request", KV("api", api), KV("client", request->client_id),
          KV("us", now_us - request->received_us), KV("queued_us", started_us - request->received_us),
          KV("work_us", request->answered_us - started_us), KV("send_us", now_us - request->answered_us),
          KV("wanted_us", request->patience_us), KV("bytes", request->frame_bytes.size), KV("left_out", left_out));
}

void slow_log_look(struct slow_log *log, const struct request *request, int64_t now_us)
{
    const struct shard *shard = request->shard;
    int64_t limit_us = shard->options->slow_request_us;
    if (limit_us == 0 || request->is_held || now_us - request->received_us - request->patience_us <= limit_us) {
        return;
    }
    metrics_add(shard->metrics, METRIC_REQUESTS_SLOW, 1);
    if (!has_room(log, now_us)) {
        log->left_out++;
        metrics_add(shard->metrics, METRIC_SLOW_LEFT_OUT, 1);
        return;
    }
    const struct kafka_api *api = kafka_api_find_internal(request->api_key);
    const char *name = api != NULL ? api->name : "unknown";
    if (request->started_us != 0 && request->proposed_us != 0 && request->committed_us != 0) {
        print_produce(request, name, now_us, log->left_out);
    } else {
        print(request, name, now_us, log->left_out);
    }
    log->left_out = 0;
}
