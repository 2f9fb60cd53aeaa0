/* Happy path: see rejoin.h.
 * Failure: a rename or write that fails stops the start with its text; the next one goes on. */

#include "broker/rejoin.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/process.h"
#include "base/trace.h"
#include "broker/identity.h"
#include <stdio.h>

#define PATH_SIZE_MAX 4096
#define DAMAGED_COUNT_MAX 1000
#define LOCAL_SIZE_MAX MIB(16) /* until the next start opens it; sparse on disk */

/* In this order; local is the last, so that a directory without it is one that is being filled. */
static const char *const PARTS[] = {"wal", "topics", "metadata", "local"};

static bool count_others(void *context, const struct store_broker *broker)
{
    unsigned *count = context;
    (void)broker;
    ++*count;
    return true;
}

/* By the cluster's founding, or by the copy of the metadata as far as it can be read. */
static bool has_peers(struct broker *broker, const struct identity_cluster *cluster)
{
    struct arena arena;
    unsigned count = 0;
    if (!broker->options->has_peer_listener || cluster->id[0] == '\0') {
        return false;
    }
    if (cluster->founder_count > 1) {
        return true;
    }
    arena_init(&arena, MIB(4));
    enum err err = store_brokers_each(broker->shards[0].reader, &arena, &count, count_others);
    arena_deinit(&arena);
    return err == OK && count > 1;
}

static enum err make_store(const char *path, int32_t node_id, const struct identity_cluster *cluster,
                           struct errmsg *msg)
{
    struct identity identity;
    struct kv *local;
    enum err err = kv_open(path, LOCAL_SIZE_MAX, KV_DURABLE, &local, msg);
    if (err != OK) {
        return err;
    }
    err = identity_open(local, node_id, &identity, msg);
    err = err == OK ? identity_put_cluster(local, cluster, msg) : err;
    kv_close(local);
    return err;
}

enum err rejoin_prepare(struct broker *broker, struct errmsg *msg)
{
    char path[PATH_SIZE_MAX];
    char target[PATH_SIZE_MAX];
    struct identity_cluster cluster;
    const char *dir = broker->options->log_dirs;
    enum err err = identity_get_cluster(broker->local, &cluster, msg);
    if (err == OK && !has_peers(broker, &cluster)) {
        err = fail(msg, ERR_UNSUPPORTED, "there is no other broker to rebuild this one from");
    }
    (void)snprintf(path, sizeof(path), "%s/rejoin.new", dir);
    (void)snprintf(target, sizeof(target), "%s/rejoin", dir);
    err = err == OK ? process_remove_tree(path, msg) : err;
    err = err == OK ? make_store(path, broker->options->node_id, &cluster, msg) : err;
    return err == OK ? process_move(path, target, msg) : err;
}

/* The first number whose directory is not there, or is being filled. */
static enum err choose_target(const char *dir, char *target, size_t size, struct errmsg *msg)
{
    char path[PATH_SIZE_MAX];
    bool is_free = false;
    enum err err = OK;
    for (unsigned n = 1; err == OK && !is_free; n++) {
        (void)snprintf(target, size, "%s/damaged-%u", dir, n);
        (void)snprintf(path, sizeof(path), "%s/damaged-%u/local", dir, n);
        err = n > DAMAGED_COUNT_MAX ? fail(msg, ERR_TOO_LARGE, "%s: too many of damaged-N: remove some", dir)
                                    : process_is_empty(path, &is_free, msg);
    }
    return err;
}

enum err rejoin_finish(const char *dir, struct errmsg *msg)
{
    char rejoin[PATH_SIZE_MAX];
    char target[PATH_SIZE_MAX];
    char source[PATH_SIZE_MAX];
    char part[PATH_SIZE_MAX];
    bool is_none;
    (void)snprintf(rejoin, sizeof(rejoin), "%s/rejoin", dir);
    enum err err = process_is_empty(rejoin, &is_none, msg);
    if (err != OK || is_none) {
        return err;
    }
    err = choose_target(dir, target, sizeof(target), msg);
    err = err == OK ? process_make_dir(target, msg) : err;
    for (unsigned i = 0; err == OK && i < array_count(PARTS); i++) {
        (void)snprintf(source, sizeof(source), "%s/%s", dir, PARTS[i]);
        (void)snprintf(part, sizeof(part), "%.2000s/%s", target, PARTS[i]);
        err = process_move(source, part, msg);
    }
    (void)snprintf(source, sizeof(source), "%s/local", dir);
    err = err == OK ? process_move(rejoin, source, msg) : err;
    if (err == OK) {
        trace(WARN, MAIN, "damaged data is set aside, its peers rebuild this broker", KV("dir", (const char *)target),
              KV("mend", "remove the directory when all replicas are in sync again"));
    }
    return err;
}
