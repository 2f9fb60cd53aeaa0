/* Happy path: every shard's thread opens its env and its shard and meets the others at a rendezvous, so that no loop
 * runs before all mailboxes exist; if one fails, all end and the process says why. */

#include "broker/threads.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/process.h"
#include "base/uv_env.h"
#include "broker/broker.h"
#include "broker/health.h"
#include "broker/http.h"
#include "broker/http_page.h"
#include "broker/rejoin.h"
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#define METRICS_TEXT_SIZE_MAX MIB(1)

struct shard_thread {
    pthread_t thread;
    struct threads *threads;
    unsigned number;
    struct uv_env *uv;
};

struct threads {
    struct broker broker;
    struct shard_thread *shards; /* [shard_count] */
    struct metrics **metrics;    /* [shard_count] */
    struct http *http;           /* NULL: none */
    pthread_mutex_t mutex;
    pthread_cond_t cond;
    unsigned opened, failed;
    enum err err; /* of the first that failed */
    struct errmsg failure;
};

/* ---- What a broker asks of its host ---- */

static void on_shard_closed(struct shard *shard)
{
    struct threads *threads = container_of(shard->broker, struct threads, broker);
    uv_env_stop(threads->shards[shard->number].uv);
}

static void on_cannot_listen(struct broker *broker, const struct option_listener *listener, const struct errmsg *msg)
{
    (void)broker;
    (void)fprintf(stderr, "balsad: listeners: %s://%s:%u: %s\n", listener->name, listener->host, listener->port,
                  msg->text);
    exit(1);
}

static const struct broker_host HOST = {.shard_closed = on_shard_closed, .cannot_listen = on_cannot_listen};

/* ---- Signals ---- */

static void print_metrics(const struct threads *threads)
{
    struct dynbuf buf;
    dynbuf_init(&buf, METRICS_TEXT_SIZE_MAX);
    if (http_page_counters(threads->metrics, threads->broker.shard_count, &buf) == OK) {
        (void)fwrite(buf.data, 1, buf.size, stderr);
        (void)fflush(stderr);
    }
    dynbuf_deinit(&buf);
}

static void on_signal(void *owner, int number)
{
    struct threads *threads = owner;
    if (number == SIGUSR1) {
        print_metrics(threads);
    } else {
        broker_stop(&threads->broker);
    }
}

/* ---- Shards ---- */

/* Waits for all the others. True: every shard is open. */
static bool meet(struct threads *threads, enum err err, const struct errmsg *msg)
{
    pthread_mutex_lock(&threads->mutex);
    threads->opened++;
    if (err != OK && threads->failed++ == 0) {
        threads->err = err;
        threads->failure = *msg;
    }
    pthread_cond_broadcast(&threads->cond);
    while (threads->opened < threads->broker.shard_count) {
        pthread_cond_wait(&threads->cond, &threads->mutex);
    }
    bool is_open = threads->failed == 0;
    pthread_mutex_unlock(&threads->mutex);
    return is_open;
}

static bool open_shard(struct shard_thread *self)
{
    struct threads *threads = self->threads;
    struct broker *broker = &threads->broker;
    struct errmsg msg = {""};
    enum err err = uv_env_open(self->number, threads->metrics[self->number], &self->uv, &msg);
    if (err == OK) {
        err = shard_open(&broker->shards[self->number], broker, self->number, uv_env_env(self->uv), &msg);
    }
    return meet(threads, err, &msg);
}

static void *shard_main(void *context)
{
    struct shard_thread *self = context;
    if (open_shard(self)) {
        uv_env_run(self->uv);
    }
    return NULL;
}

static enum err run_shards(struct threads *threads, struct errmsg *msg)
{
    unsigned count = threads->broker.shard_count;
    enum err err = OK;
    for (unsigned i = 0; i < count; i++) {
        threads->shards[i].threads = threads;
        threads->shards[i].number = i;
        /* tidy: pthread_create: shards are threads, and their envs exist only on them */
        if (i > 0 && pthread_create(&threads->shards[i].thread, NULL, shard_main, &threads->shards[i]) != 0) {
            process_stop("no thread for shard %u", i);
        }
    }
    if (open_shard(&threads->shards[0])) {
        uv_env_on_signal(threads->shards[0].uv, threads, on_signal);
        broker_opened(&threads->broker);
        uv_env_run(threads->shards[0].uv);
    } else {
        err = fail(msg, threads->err, "%s", threads->failure.text);
    }
    for (unsigned i = 1; i < count; i++) {
        pthread_join(threads->shards[i].thread, NULL);
    }
    return err;
}

/* Before anything is opened, so that a probe hears from a broker that replays a long log. */
static enum err open_http(struct threads *threads, struct errmsg *msg)
{
    struct broker *broker = &threads->broker;
    if (!broker->options->has_http) {
        return OK;
    }
    broker->health = mem_alloc(broker->shard_count * sizeof(struct health_board *));
    for (unsigned i = 0; i < broker->shard_count; i++) {
        broker->health[i] = health_open(broker->shard_count);
    }
    return http_open(broker, threads->metrics, &threads->http, msg);
}

static void close_http(struct threads *threads, unsigned count)
{
    if (threads->http == NULL) {
        return;
    }
    http_close(threads->http);
    for (unsigned i = 0; i < count; i++) {
        health_close(threads->broker.health[i]);
    }
    mem_free(threads->broker.health);
}

/* What is damaged is on other brokers, too: this one comes back as another, which they rebuild. */
static int drop_identity(struct broker *broker)
{
    struct errmsg msg = {""};
    if (broker->local == NULL || broker->shards[0].reader == NULL) {
        return 1;
    }
    enum err err = rejoin_prepare(broker, &msg);
    if (err != OK) {
        (void)fprintf(stderr, "balsad: it stays as it is: %s\n", msg.text);
        return 1;
    }
    (void)fprintf(stderr, "balsad: this broker gives up its identity and joins its cluster again\n");
    return THREADS_AGAIN;
}

int threads_run(const struct options *options)
{
    static struct threads threads; /* what a failed start leaves half-opened hangs on it until the process ends */
    struct broker *broker = &threads.broker;
    struct errmsg msg = {""};
    *broker = (struct broker){.options = options, .shard_count = options->shards, .host = &HOST};
    pthread_mutex_init(&threads.mutex, NULL);
    pthread_cond_init(&threads.cond, NULL);
    uv_process_prepare(broker->shard_count);
    process_explain_bus_errors();
    broker->started_us = process_monotonic_us();
    threads.shards = mem_alloc(broker->shard_count * sizeof(*threads.shards));
    threads.metrics = mem_alloc(broker->shard_count * sizeof(struct metrics *));
    for (unsigned i = 0; i < broker->shard_count; i++) {
        threads.metrics[i] = metrics_open();
    }
    enum err err = open_http(&threads, &msg);
    err = err == OK ? broker_open(broker, &msg) : err;
    err = err == OK ? run_shards(&threads, &msg) : err;
    if (err != OK) {
        (void)fprintf(stderr, "balsad: cannot start: %s\n", msg.text);
        return err == ERR_DAMAGED ? drop_identity(broker) : 1; /* half-opened parts end with the process */
    }
    unsigned count = broker->shard_count;
    close_http(&threads, count);
    broker_close(broker);
    for (unsigned i = 0; i < count; i++) {
        uv_env_close(threads.shards[i].uv);
        metrics_close(threads.metrics[i]);
    }
    mem_free(threads.metrics);
    mem_free(threads.shards);
    pthread_cond_destroy(&threads.cond);
    pthread_mutex_destroy(&threads.mutex);
    return 0;
}
