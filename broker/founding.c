/* Happy path: answers trickle in -> WAIT; all are here and agree -> MAKE on the lowest, WAIT on the others; the next
 * round of their questions finds a cluster -> FOLLOW. */

#include "broker/founding.h"
#include <string.h>

static bool seeds_have(const struct founding_seeds *seeds, uint64_t server_id)
{
    for (unsigned i = 0; i < seeds->count; i++) {
        if (seeds->ids[i] == server_id) {
            return true;
        }
    }
    return false;
}

static void seeds_add(struct founding_seeds *seeds, uint64_t server_id)
{
    if (seeds->count < OPTION_SEEDS_MAX && !seeds_have(seeds, server_id)) {
        seeds->ids[seeds->count++] = server_id;
    }
}

void founding_seeds(const struct founding_self *self, const struct founding_answer *answers, size_t count,
                    struct founding_seeds *seeds)
{
    *seeds = (struct founding_seeds){.address_count = self->address_count};
    if (self->is_seed) {
        seeds_add(seeds, self->server_id);
    }
    for (size_t i = 0; i < count; i++) {
        seeds_add(seeds, answers[i].server_id);
    }
}

/* The cluster that some answer names; all that name one must name the same. */
static enum founding_step follow(const struct founding_answer *answers, size_t count, struct identity_cluster *cluster,
                                 struct errmsg *msg)
{
    const struct founding_answer *first = NULL;
    for (size_t i = 0; i < count; i++) {
        const struct founding_answer *answer = &answers[i];
        if (answer->cluster.id[0] == '\0') {
            continue;
        }
        if (first != NULL && strcmp(first->cluster.id, answer->cluster.id) != 0) {
            (void)fail(msg, ERR_INVALID,
                       "seeds are of different clusters: broker %d of %s, broker %d of %s; name brokers of one cluster "
                       "in controller.quorum.bootstrap.servers",
                       replica_server_node(first->server_id), first->cluster.id, replica_server_node(answer->server_id),
                       answer->cluster.id);
            return FOUNDING_STUCK;
        }
        first = answer;
    }
    if (first == NULL) {
        return FOUNDING_WAIT;
    }
    *cluster = first->cluster;
    return FOUNDING_FOLLOW;
}

/* What is wrong with the seeds, whoever would found. */
static bool is_misconfigured(const struct founding_seeds *own, const struct founding_answer *answers, size_t count,
                             struct errmsg *msg)
{
    for (unsigned i = 0; i < own->count; i++) {
        for (unsigned j = 0; j < i; j++) {
            if (replica_server_node(own->ids[i]) == replica_server_node(own->ids[j])) {
                (void)fail(msg, ERR_INVALID, "two seeds have node.id=%d: give each broker one of its own",
                           replica_server_node(own->ids[i]));
                return true;
            }
        }
    }
    for (size_t i = 0; i < count; i++) {
        const struct founding_seeds *other = &answers[i].seeds;
        bool is_other = other->address_count != own->address_count;
        for (unsigned n = 0; own->count == own->address_count && n < other->count; n++) {
            is_other = is_other || !seeds_have(own, other->ids[n]);
        }
        if (is_other) {
            (void)fail(msg, ERR_INVALID,
                       "the seeds of broker %d are not those of this one: make controller.quorum.bootstrap.servers the "
                       "same on all brokers",
                       replica_server_node(answers[i].server_id));
            return true;
        }
    }
    return false;
}

static void sort_ids(uint64_t *ids, unsigned count)
{
    for (unsigned i = 1; i < count; i++) {
        for (unsigned j = i; j > 0 && ids[j] < ids[j - 1]; j--) {
            uint64_t id = ids[j];
            ids[j] = ids[j - 1];
            ids[j - 1] = id;
        }
    }
}

enum founding_step founding_decide(const struct founding_self *self, const struct founding_answer *answers,
                                   size_t count, struct identity_cluster *cluster, struct errmsg *msg)
{
    struct founding_seeds own;
    enum founding_step step = follow(answers, count, cluster, msg);
    if (step != FOUNDING_WAIT) {
        return step;
    }
    founding_seeds(self, answers, count, &own);
    if (is_misconfigured(&own, answers, count, msg)) {
        return FOUNDING_STUCK;
    }
    if (own.count < own.address_count) {
        (void)fail(msg, ERR_NOT_READY, "%u of %u brokers of controller.quorum.bootstrap.servers have answered",
                   own.count, own.address_count);
        return FOUNDING_WAIT;
    }
    sort_ids(own.ids, own.count);
    if (!self->is_seed || own.ids[0] != self->server_id) {
        (void)fail(msg, ERR_NOT_READY, "broker %d founds the cluster when it has the answers of all",
                   replica_server_node(own.ids[0]));
        return FOUNDING_WAIT;
    }
    for (size_t i = 0; i < count; i++) {
        if (answers[i].seeds.count < own.count) {
            (void)fail(msg, ERR_NOT_READY, "broker %d has the answers of %u of %u seeds",
                       replica_server_node(answers[i].server_id), answers[i].seeds.count, own.address_count);
            return FOUNDING_WAIT;
        }
    }
    *cluster = (struct identity_cluster){.founder_count = own.count};
    memcpy(cluster->founders, own.ids, own.count * sizeof(*own.ids));
    return FOUNDING_MAKE;
}
