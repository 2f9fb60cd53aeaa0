/* Happy path: see broker.h.
 * A changed shard count: shards take their groups from the logs of the old layout, checkpoint them, report here; the
 * new layout is committed, then the old logs are removed and Raft goes on. */

#include "broker/broker.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/process.h"
#include "base/trace.h"
#include "broker/admin.h"
#include "broker/cluster.h"
#include "broker/conn.h"
#include "broker/identity.h"
#include "broker/rejoin.h"
#include "broker/shard_peers.h"
#include <stdio.h>
#include <string.h>

#define PATH_SIZE_MAX 4096
#define LOCAL_STORE_SIZE_MAX GIB(16) /* checkpoints of 200,000 partitions; sparse on disk */

/* ---- Calls to every shard ---- */

struct shard_call {
    struct message message;
    struct shard *shard;
    void (*call)(struct shard *shard);
};

static void on_shard_call(struct message *message)
{
    struct shard_call *call = container_of(message, struct shard_call, message);
    call->call(call->shard);
    mem_free(call);
}

static void call_all(struct broker *broker, void (*function)(struct shard *shard))
{
    for (unsigned i = 0; i < broker->shard_count; i++) {
        struct shard_call *call = mem_alloc(sizeof(*call));
        call->shard = &broker->shards[i];
        call->call = function;
        call->message.cb = on_shard_call;
        shard_send(&broker->shards[0], i, &call->message);
    }
}

/* ---- Layout ---- */

static void shard_layout_committed(struct shard *shard)
{
    replicas_layout_committed(shard->replicas);
}

void broker_layout_ready(struct broker *broker)
{
    char path[PATH_SIZE_MAX];
    struct errmsg msg = {""};
    if (++broker->layouts_ready < broker->shard_count || broker->is_stopping) {
        return;
    }
    enum err err = identity_put_layout(broker->local, broker->layout, broker->shard_count, &msg);
    if (err != OK) {
        process_stop("the new shard count cannot be recorded: %s", msg.text);
    }
    trace(INFO, SHARD, "shard count changed", KV("from", broker->old_shard_count), KV("to", broker->shard_count));
    (void)snprintf(path, sizeof(path), "%s/wal/%u", broker->options->log_dirs, broker->old_layout);
    err = process_remove_tree(path, &msg);
    if (err != OK) {
        trace(WARN, SHARD, "old logs stay", KV("cause", (const char *)msg.text));
    }
    call_all(broker, shard_layout_committed);
}

/* ---- Serving ---- */

struct accepted {
    struct message message;
    struct shard *shard;
    const struct option_listener *listener;
    int token;
};

static void on_accepted_message(struct message *message)
{
    struct accepted *accepted = container_of(message, struct accepted, message);
    struct shard *shard = accepted->shard;
    if (shard->conns != NULL) {
        conns_accept(shard->conns, accepted->token, accepted->listener);
    } else {
        shard->env->net->refuse(shard->env->net, accepted->token);
    }
    mem_free(accepted);
}

/* Connections go round the shards, whatever the kernel would do. */
static void on_accept(void *owner, struct listener *listener, int token)
{
    struct broker *broker = owner;
    struct accepted *accepted = mem_alloc(sizeof(*accepted));
    unsigned n = 0;
    while (n + 1 < broker->listener_count && broker->listeners[n] != listener) {
        n++;
    }
    unsigned target = broker->next_shard++ % broker->shard_count;
    accepted->shard = &broker->shards[target];
    accepted->listener = &broker->options->listeners[n];
    accepted->token = token;
    accepted->message.cb = on_accepted_message;
    shard_send(&broker->shards[0], target, &accepted->message);
}

static void open_listener(struct broker *broker, const struct option_listener *listener, listener_cb cb,
                          struct listener **opened)
{
    struct net *net = broker->shards[0].env->net;
    struct errmsg msg = {""};
    enum err err = net->listen(net, listener->host, listener->port, broker, cb, opened, &msg);
    if (err != OK) {
        trace(ERROR, NET, "cannot listen", KV("listener", (const char *)listener->name),
              KV("cause", (const char *)msg.text));
        broker->host->cannot_listen(broker, listener, &msg);
    }
    trace(INFO, NET, "listening", KV("listener", (const char *)listener->name),
          KV("host", (const char *)listener->host), KV("port", net->listener_port(*opened)));
}

static void open_listeners(struct broker *broker)
{
    for (unsigned i = 0; i < broker->options->listener_count; i++) {
        open_listener(broker, &broker->options->listeners[i], on_accept, &broker->listeners[i]);
        broker->listener_count++;
    }
}

static void on_peer_accept(void *owner, struct listener *listener, int token)
{
    struct broker *broker = owner;
    (void)listener;
    shard_peers_accept(&broker->shards[0], token);
}

/* Brokers connect before clients may: it takes them to found a cluster and to elect. */
static void open_peer_listener(struct broker *broker)
{
    struct shard *shard = &broker->shards[0];
    if (broker->options->has_peer_listener) {
        open_listener(broker, &broker->options->peer_listener, on_peer_accept, &broker->peer_listener);
        if (shard->peer_self.port == 0) {
            shard->peer_self.port = shard->env->net->listener_port(broker->peer_listener);
        }
    }
}

void broker_metadata_ready(struct broker *broker)
{
    if (broker->is_serving || broker->is_stopping) {
        return;
    }
    broker->is_serving = true;
    call_all(broker, shard_serve);
    open_listeners(broker);
    admin_set_serving(broker->shards[0].admin, true);
    trace(INFO, MAIN, "serving", KV("node", broker->options->node_id), KV("shards", broker->shard_count),
          KV("start_us", env_now_us(broker->shards[0].env) - broker->started_us));
}

/* ---- Stopping ---- */

static void on_listener_closed(void *owner)
{
    (void)owner;
}

void broker_stop(struct broker *broker)
{
    if (broker->is_stopping) {
        return;
    }
    broker->is_stopping = true;
    trace(INFO, MAIN, "stopping");
    admin_set_serving(broker->shards[0].admin, false);
    call_all(broker, shard_hand_over);
}

void broker_handed_over(struct broker *broker)
{
    struct net *net = broker->shards[0].env->net;
    if (++broker->handed_over < broker->shard_count) {
        return;
    }
    for (unsigned i = 0; i < broker->listener_count; i++) {
        net->listener_close(broker->listeners[i], on_listener_closed);
    }
    call_all(broker, shard_drain);
}

void broker_drained(struct broker *broker)
{
    struct net *net = broker->shards[0].env->net;
    if (++broker->drained < broker->shard_count) {
        return;
    }
    /* Not before the last answer is given: whoever is refused there takes this process for ended (succession.h). */
    if (broker->peer_listener != NULL) {
        net->listener_close(broker->peer_listener, on_listener_closed);
    }
    call_all(broker, shard_unlink);
}

void broker_unlinked(struct broker *broker)
{
    if (++broker->unlinked == broker->shard_count) {
        call_all(broker, shard_stop);
    }
}

/* ---- Opening ---- */

static enum err open_stores(struct broker *broker, struct identity *identity, struct errmsg *msg)
{
    char path[PATH_SIZE_MAX];
    const char *dir = broker->options->log_dirs;
    enum err err = process_lock_dir(dir, msg);
    if (err != OK) {
        return err;
    }
    err = rejoin_finish(dir, msg);
    if (err != OK) {
        return err;
    }
    (void)snprintf(path, sizeof(path), "%s/local", dir);
    err = kv_open(path, LOCAL_STORE_SIZE_MAX, KV_DURABLE, &broker->local, msg);
    err = err == OK ? identity_open(broker->local, broker->options->node_id, identity, msg) : err;
    if (err != OK) {
        return err;
    }
    (void)snprintf(path, sizeof(path), "%s/metadata", dir);
    return store_open(path, &broker->store, msg);
}

/* Only before the first start came to its end is there no layout; nothing was applied then and no partition made. Else
 * the local store is not the one that was here, and starting over would throw away the logs. */
static enum err check_first_start(const struct broker *broker, struct errmsg *msg)
{
    bool is_store_empty;
    bool is_topics_empty;
    const char *dir = broker->options->log_dirs;
    enum err err = store_is_empty(broker->store, &is_store_empty, msg);
    err = err == OK ? process_is_empty(broker->topics_dir, &is_topics_empty, msg) : err;
    if (err == OK && !(is_store_empty && is_topics_empty)) {
        err =
            fail(msg, ERR_DAMAGED,
                 "%s/local/data.mdb: position 0: the file is missing or empty, but there is data in %s/%s; restore the "
                 "file, or move the whole directory away to start with nothing",
                 dir, dir, is_topics_empty ? "metadata" : "topics");
    }
    return err;
}

/* Which logs to read and which to write. A first start, or the same shard count: one layout is both. What an attempt
 * that did not come to its end (no layout committed) has left goes: nothing in it was ever acknowledged. */
static enum err choose_layout(struct broker *broker, const struct identity *identity, struct errmsg *msg)
{
    char path[PATH_SIZE_MAX];
    broker->server_id = identity->server_id;
    memcpy(broker->incarnation, identity->incarnation, sizeof(broker->incarnation));
    broker->layout = identity->layout;
    broker->old_layout = identity->layout;
    broker->old_shard_count = identity->shard_count;
    if (identity->shard_count == broker->shard_count) {
        return OK;
    }
    if (identity->shard_count > 0) {
        broker->layout = identity->layout + 1;
    } else {
        enum err err = check_first_start(broker, msg);
        if (err != OK) {
            return err;
        }
    }
    (void)snprintf(path, sizeof(path), "%s/wal/%u", broker->options->log_dirs, broker->layout);
    return process_remove_tree(path, msg);
}

enum err broker_open(struct broker *broker, struct errmsg *msg)
{
    struct identity identity;
    (void)snprintf(broker->topics_dir, sizeof(broker->topics_dir), "%s/topics", broker->options->log_dirs);
    broker->shards = mem_alloc(broker->shard_count * sizeof(*broker->shards));
    enum err err = open_stores(broker, &identity, msg);
    return err == OK ? choose_layout(broker, &identity, msg) : err;
}

/* Of a first start: all logs are there, durably; from now on a missing one is damage. */
void broker_opened(struct broker *broker)
{
    struct errmsg msg = {""};
    enum err err = broker->old_shard_count == 0
                       ? identity_put_layout(broker->local, broker->layout, broker->shard_count, &msg)
                       : OK;
    if (err != OK) {
        process_stop("the layout of the logs cannot be recorded: %s", msg.text);
    }
    open_peer_listener(broker);
    admin_listen(broker->shards[0].admin);
    cluster_start(broker->shards[0].cluster);
}

void broker_close(struct broker *broker)
{
    for (unsigned i = 0; i < broker->shard_count; i++) {
        shard_close(&broker->shards[i]);
    }
    store_close(broker->store);
    kv_close(broker->local);
    mem_free(broker->shards);
}
