/* Happy path: roles are gathered -> end of turn: one message to each shard, one PEER_LEADERS to each broker.
 * A message to the shards says from which broker it is, since what counts depends on it (leaders.h). */

#include "broker/leader_news.h"
#include "base/assert.h"
#include "base/mem.h"
#include "base/trace.h"
#include "broker/broker.h"
#include "broker/peer_method.h"
#include "proto/peer.pb-c.h"
#include <string.h>

#define NEWS_COUNT_MAX 50000u /* groups of one PEER_LEADERS: some 500 KB */

struct role {
    uint64_t group;
    int32_t broker;
    int32_t epoch;
};

struct roles {
    struct role *items;
    size_t count;
    size_t capacity;
};

struct leader_news {
    struct shard *shard;
    struct task task;
    struct roles turn; /* of this turn, in order */
    struct map led;    /* group -> struct role: what this shard leads and has told */
};

/* To one shard. */
struct bulletin {
    struct message message;
    struct shard *target;
    int32_t source;
    struct role *roles;
    size_t count;
    /* All that `shard` of `shard_count` of the source leads: else it leads nothing there. */
    bool is_all;
    unsigned shard, shard_count;
};

static void roles_add(struct roles *roles, struct role role)
{
    if (roles->count == roles->capacity) {
        roles->capacity = roles->capacity > 0 ? 2 * roles->capacity : 8;
        roles->items = mem_resize(roles->items, roles->capacity * sizeof(*roles->items));
    }
    roles->items[roles->count++] = role;
}

/* ---- Within the process ---- */

static bool bulletin_covers(void *context, uint64_t group)
{
    const struct bulletin *bulletin = context;
    return replicas_shard(group, bulletin->shard_count) == bulletin->shard;
}

static void bulletin_on_message(struct message *message)
{
    struct bulletin *bulletin = container_of(message, struct bulletin, message);
    struct leaders *leaders = bulletin->target->leaders;
    for (size_t i = 0; i < bulletin->count; i++) {
        const struct role *role = &bulletin->roles[i];
        leaders_set(leaders, role->group, role->broker, role->epoch, bulletin->source);
    }
    if (bulletin->is_all) {
        uint64_t *groups = mem_alloc((bulletin->count + 1) * sizeof(*groups));
        for (size_t i = 0; i < bulletin->count; i++) {
            groups[i] = bulletin->roles[i].group;
        }
        leaders_keep_only(leaders, bulletin->source, groups, bulletin->count, bulletin, bulletin_covers);
        mem_free(groups);
    }
    mem_free(bulletin->roles);
    mem_free(bulletin);
}

/* The roles are copied. */
static void tell_shards(struct shard *shard, const struct bulletin *original)
{
    for (unsigned i = 0; i < shard_count(shard); i++) {
        struct bulletin *bulletin = mem_alloc(sizeof(*bulletin));
        *bulletin = *original;
        bulletin->target = &shard->broker->shards[i];
        bulletin->roles = mem_alloc((original->count + 1) * sizeof(*bulletin->roles));
        if (original->count > 0) {
            memcpy(bulletin->roles, original->roles, original->count * sizeof(*bulletin->roles));
        }
        bulletin->message.cb = bulletin_on_message;
        shard_send(shard, i, &bulletin->message);
    }
}

/* ---- To other brokers ---- */

static void message_init(const struct leader_news *news, Balsa__Peer__LeadersNews *message, uint64_t *memory,
                         size_t count)
{
    balsa__peer__leaders_news__init(message);
    message->shard = news->shard->number;
    message->shard_count = shard_count(news->shard);
    message->groups = memory;
    message->terms = memory + count;
    message->lost = memory + 2 * count;
    message->lost_terms = memory + 3 * count;
}

static struct slice message_pack(const Balsa__Peer__LeadersNews *message)
{
    size_t size = balsa__peer__leaders_news__get_packed_size(message);
    struct shared *block = shared_new(size);
    balsa__peer__leaders_news__pack(message, block->data);
    return (struct slice){block, {block->data, size}};
}

struct telling {
    struct peers *peers;
    struct slice payload;
};

static void tell_peer(void *context, const struct peer_identity *peer, bool is_up)
{
    struct telling *telling = context;
    if (is_up) {
        peers_tell(telling->peers, peer->node, PEER_LEADERS, telling->payload);
    }
}

/* What this broker leads now, or led until now; what it follows others know from its leader. */
static void tell_peers(struct leader_news *news)
{
    Balsa__Peer__LeadersNews message;
    uint64_t *memory = mem_alloc((news->turn.count + 1) * 4 * sizeof(*memory));
    message_init(news, &message, memory, news->turn.count);
    for (size_t i = 0; i < news->turn.count; i++) {
        const struct role *role = &news->turn.items[i];
        struct role *led = map_get(&news->led, role->group);
        if (role->broker == news->shard->options->node_id) {
            led = led != NULL ? led : mem_alloc(sizeof(*led));
            *led = *role;
            map_put(&news->led, role->group, led);
            message.groups[message.n_groups++] = role->group;
            message.terms[message.n_terms++] = (uint64_t)role->epoch;
        } else if (led != NULL) {
            mem_free(map_remove(&news->led, role->group));
            message.lost[message.n_lost++] = role->group;
            message.lost_terms[message.n_lost_terms++] = (uint64_t)role->epoch;
        }
    }
    if (news->shard->peers != NULL && message.n_groups + message.n_lost > 0) {
        struct telling telling = {news->shard->peers, message_pack(&message)};
        peers_each(news->shard->peers, &telling, tell_peer);
        slice_release(&telling.payload);
    }
    mem_free(memory);
}

void leader_news_peer_up(struct leader_news *news, int32_t node)
{
    Balsa__Peer__LeadersNews message;
    size_t count = news->led.count;
    size_t cursor = 0;
    uint64_t group;
    const struct role *role;
    uint64_t *memory = mem_alloc((count + 1) * 4 * sizeof(*memory));
    message_init(news, &message, memory, count);
    message.is_all = count <= NEWS_COUNT_MAX;
    while ((role = map_next(&news->led, &cursor, &group)) != NULL) {
        message.groups[message.n_groups++] = group;
        message.terms[message.n_terms++] = (uint64_t)role->epoch;
        if (message.n_groups == NEWS_COUNT_MAX) {
            struct slice part = message_pack(&message);
            peers_tell(news->shard->peers, node, PEER_LEADERS, part);
            slice_release(&part);
            message.n_groups = 0;
            message.n_terms = 0;
        }
    }
    struct slice payload = message_pack(&message);
    peers_tell(news->shard->peers, node, PEER_LEADERS, payload);
    slice_release(&payload);
    mem_free(memory);
}

/* ---- From other brokers ---- */

static bool message_is_sound(const Balsa__Peer__LeadersNews *message)
{
    return message->n_groups == message->n_terms && message->n_lost == message->n_lost_terms &&
           message->shard_count > 0 && message->shard < message->shard_count;
}

static void message_roles(const uint64_t *groups, const uint64_t *terms, size_t count, int32_t broker,
                          struct roles *roles)
{
    for (size_t i = 0; i < count; i++) {
        if (terms[i] <= INT32_MAX) {
            roles_add(roles, (struct role){groups[i], broker, (int32_t)terms[i]});
        }
    }
}

void leader_news_arrived(struct leader_news *news, struct peer_request *request)
{
    Balsa__Peer__LeadersNews *message =
        balsa__peer__leaders_news__unpack(NULL, request->payload.bytes.size, request->payload.bytes.data);
    if (message != NULL && message_is_sound(message)) {
        struct roles roles = {0};
        message_roles(message->lost, message->lost_terms, message->n_lost, -1, &roles);
        message_roles(message->groups, message->terms, message->n_groups, request->node, &roles);
        tell_shards(news->shard, &(struct bulletin){.source = request->node,
                                                    .roles = roles.items,
                                                    .count = roles.count,
                                                    .is_all = message->is_all,
                                                    .shard = message->shard,
                                                    .shard_count = message->shard_count});
        mem_free(roles.items);
    } else {
        trace(WARN, PEER, "news of leaders do not decode", KV("node", request->node));
    }
    if (message != NULL) {
        balsa__peer__leaders_news__free_unpacked(message, NULL);
    }
    peers_reply(request, (struct slice){NULL, BYTES_NONE}, false);
}

/* ---- Own replicas ---- */

static void news_on_task(struct task *task)
{
    struct leader_news *news = container_of(task, struct leader_news, task);
    struct bulletin bulletin = {
        .source = news->shard->options->node_id, .roles = news->turn.items, .count = news->turn.count};
    tell_shards(news->shard, &bulletin);
    tell_peers(news);
    news->turn.count = 0;
}

void leader_news_role(struct leader_news *news, uint64_t group, const struct replica_status *status)
{
    int32_t broker = -1;
    if (status->role == REPLICA_LEADER) {
        broker = status->is_ready ? news->shard->options->node_id : -1;
    } else if (status->leader != 0) {
        broker = replica_server_node(status->leader);
    }
    roles_add(&news->turn, (struct role){group, broker, (int32_t)status->term});
    env_task(news->shard->env, &news->task);
}

void leader_news_removed(struct leader_news *news, uint64_t group)
{
    mem_free(map_remove(&news->led, group));
}

struct leader_news *leader_news_open(struct shard *shard)
{
    struct leader_news *news = mem_alloc(sizeof(*news));
    news->shard = shard;
    task_init(&news->task, news_on_task);
    map_init(&news->led);
    return news;
}

void leader_news_close(struct leader_news *news)
{
    size_t cursor = 0;
    uint64_t group;
    struct role *role;
    news->shard->env->tasks->cancel(news->shard->env->tasks, &news->task);
    while ((role = map_next(&news->led, &cursor, &group)) != NULL) {
        mem_free(role);
    }
    map_deinit(&news->led);
    mem_free(news->turn.items);
    mem_free(news);
}
