/* Who founds, and who follows: the decision, and a model of three seeds that crash, lose their disks and come late. */
#include "base/mem.h"
#include "broker/founding.h"
#include "tests/lib/test.h"

#include <stdio.h>
#include <string.h>

static uint64_t server(unsigned node, unsigned life)
{
    return (uint64_t)node << 32 | life;
}

static struct founding_answer answer_of(uint64_t id, const char *cluster, unsigned addresses, unsigned count,
                                        const uint64_t *seeds)
{
    struct founding_answer answer = {.server_id = id, .seeds = {.address_count = addresses, .count = count}};
    (void)snprintf(answer.cluster.id, sizeof(answer.cluster.id), "%s", cluster);
    memcpy(answer.seeds.ids, seeds, count * sizeof(*seeds));
    return answer;
}

/* ---- Single decisions ---- */

static const uint64_t THREE[] = {1ull << 32 | 1, 2ull << 32 | 1, 3ull << 32 | 1};

struct decision_case {
    const char *name;
    struct founding_self self;
    size_t count;
    struct {
        uint64_t id;
        const char *cluster;
        unsigned addresses, seed_count;
        uint64_t seeds[5];
    } answers[4];
    enum founding_step step;
    const char *text; /* a part of the message; NULL: none */
};

#define ONE (1ull << 32 | 1)
#define TWO (2ull << 32 | 1)
#define THIRD (3ull << 32 | 1)
#define ALL             \
    {                   \
        ONE, TWO, THIRD \
    }

static const struct decision_case decision_cases[] = {
    {"alone without seeds", {ONE, true, 1}, 0, {{0}}, FOUNDING_MAKE, NULL},
    {"nobody answers", {ONE, true, 3}, 0, {{0}}, FOUNDING_WAIT, "1 of 3 brokers"},
    {"one is missing", {ONE, true, 3}, 1, {{TWO, "", 3, 3, ALL}}, FOUNDING_WAIT, "2 of 3 brokers"},
    {"all agree", {ONE, true, 3}, 2, {{TWO, "", 3, 3, ALL}, {THIRD, "", 3, 3, ALL}}, FOUNDING_MAKE, NULL},
    {"all agree, but another is lower",
     {TWO, true, 3},
     2,
     {{ONE, "", 3, 3, ALL}, {THIRD, "", 3, 3, ALL}},
     FOUNDING_WAIT,
     "broker 1 founds"},
    {"all are here, one has not seen all",
     {ONE, true, 3},
     2,
     {{TWO, "", 3, 2, {ONE, TWO}}, {THIRD, "", 3, 3, ALL}},
     FOUNDING_WAIT,
     "broker 2 has the answers of 2 of 3"},
    {"no seed itself",
     {4ull << 32 | 1, false, 3},
     3,
     {{ONE, "", 3, 3, ALL}, {TWO, "", 3, 3, ALL}, {THIRD, "", 3, 3, ALL}},
     FOUNDING_WAIT,
     "broker 1 founds"},
    {"other lists of seeds",
     {ONE, true, 3},
     1,
     {{TWO, "", 5, 1, {TWO}}},
     FOUNDING_STUCK,
     "the seeds of broker 2 are not those of this one"},
    {"other seeds",
     {ONE, true, 3},
     2,
     {{TWO, "", 3, 3, {ONE, TWO, 9ull << 32 | 1}}, {THIRD, "", 3, 3, ALL}},
     FOUNDING_STUCK,
     "the seeds of broker 2 are not those of this one"},
    {"one id twice",
     {ONE, true, 3},
     1,
     {{1ull << 32 | 2, "", 3, 1, {1ull << 32 | 2}}},
     FOUNDING_STUCK,
     "two seeds have node.id=1"},
    {"somebody is in a cluster", {ONE, true, 3}, 1, {{THIRD, "abc", 0, 0, {0}}}, FOUNDING_FOLLOW, NULL},
    {"seeds are of two clusters",
     {ONE, true, 3},
     2,
     {{TWO, "abc", 0, 0, {0}}, {THIRD, "xyz", 0, 0, {0}}},
     FOUNDING_STUCK,
     "seeds are of different clusters: broker 2 of abc, broker 3 of xyz"},
};

/* Goal: each situation has its one outcome, and what is wrong is said. */
START_TEST(decision_is_as_told)
{
    const struct decision_case *c = &decision_cases[_i];
    struct founding_answer answers[4];
    struct identity_cluster cluster;
    struct errmsg msg = {""};
    for (size_t i = 0; i < c->count; i++) {
        answers[i] = answer_of(c->answers[i].id, c->answers[i].cluster, c->answers[i].addresses,
                               c->answers[i].seed_count, c->answers[i].seeds);
    }
    enum founding_step step = founding_decide(&c->self, answers, c->count, &cluster, &msg);
    ck_assert_msg(step == c->step, "%s: %d, \"%s\"", c->name, (int)step, msg.text);
    ck_assert_msg(c->text == NULL || strstr(msg.text, c->text) != NULL, "%s: \"%s\"", c->name, msg.text);
}
END_TEST

/* Goal: founders stand in one order, whatever order the answers came in: they are a Raft configuration. */
START_TEST(founders_are_in_order)
{
    struct founding_answer answers[] = {answer_of(THIRD, "", 3, 3, THREE), answer_of(TWO, "", 3, 3, THREE)};
    struct founding_self self = {ONE, true, 3};
    struct identity_cluster cluster;
    struct errmsg msg;
    ck_assert_int_eq((int)founding_decide(&self, answers, 2, &cluster, &msg), (int)FOUNDING_MAKE);
    ck_assert_uint_eq(cluster.founder_count, 3);
    ck_assert_mem_eq(cluster.founders, THREE, sizeof(THREE));
    ck_assert_str_eq(cluster.id, "");
}
END_TEST

/* ---- The model: every order of everything that can happen to three seeds ----
 *
 * A broker: what its disk has (life of the directory, the record, whether the metadata replica was made), and what its
 * process has (whether it runs, the others' last answers, a record being written). Events: it starts; it is killed; its
 * disk is emptied while it is down; a question to another one is answered at once or not at all (a lost or late answer
 * is a question that is answered later, over the same link or none: what came over a link dies with it); the record
 * becomes durable; the replica is made. */

enum {
    SEEDS = 3,
    STATE_MAX = 1 << 18
};

struct model_broker {
    uint8_t life;      /* of its directory, from 1 */
    uint8_t cluster;   /* recorded: number of the cluster, 0: none */
    uint8_t writing;   /* the record that is being written, 0: none */
    uint8_t has_group; /* the metadata replica is made: it may vote, if it is a founder */
    uint8_t is_running;
    uint8_t has_answer;          /* bit mask */
    uint8_t answer_seeds[SEEDS]; /* who the answering one had found: bit mask; of its process's time */
    uint8_t answer_life[SEEDS];
    uint8_t answer_lives[SEEDS][SEEDS];
    uint8_t answer_cluster[SEEDS];
};

struct model {
    struct model_broker brokers[SEEDS];
    uint8_t kills, wipes; /* left */
    uint8_t cluster_count;
    uint8_t founders[4][SEEDS]; /* of each cluster: life of each seed */
};

static struct founding_seeds model_seeds(const struct model *model, unsigned self, struct founding_answer *answers,
                                         size_t *count, struct founding_self *out)
{
    const struct model_broker *broker = &model->brokers[self];
    struct founding_seeds seeds;
    *out = (struct founding_self){server(self + 1, broker->life), true, SEEDS};
    *count = 0;
    for (unsigned i = 0; i < SEEDS; i++) {
        if ((broker->has_answer >> i & 1) == 0) {
            continue;
        }
        struct founding_answer *answer = &answers[(*count)++];
        *answer = (struct founding_answer){.server_id = server(i + 1, broker->answer_life[i])};
        answer->seeds.address_count = SEEDS;
        for (unsigned n = 0; n < SEEDS; n++) {
            if (broker->answer_seeds[i] >> n & 1) {
                answer->seeds.ids[answer->seeds.count++] = server(n + 1, broker->answer_lives[i][n]);
            }
        }
        if (broker->answer_cluster[i] != 0) {
            (void)snprintf(answer->cluster.id, sizeof(answer->cluster.id), "cluster-%d", broker->answer_cluster[i]);
        }
    }
    founding_seeds(out, answers, *count, &seeds);
    return seeds;
}

static void model_decide(struct model *model, unsigned self)
{
    struct model_broker *broker = &model->brokers[self];
    struct founding_answer answers[SEEDS];
    struct identity_cluster cluster;
    struct founding_self me;
    struct errmsg msg;
    size_t count;
    if (broker->cluster != 0 || broker->writing != 0) {
        return;
    }
    (void)model_seeds(model, self, answers, &count, &me);
    switch (founding_decide(&me, answers, count, &cluster, &msg)) {
    case FOUNDING_MAKE:
        ck_assert_int_lt(model->cluster_count, 3);
        broker->writing = ++model->cluster_count;
        for (unsigned i = 0; i < SEEDS; i++) {
            ck_assert_uint_eq(cluster.founders[i] >> 32, i + 1);
            model->founders[broker->writing][i] = (uint8_t)cluster.founders[i];
        }
        break;
    case FOUNDING_FOLLOW:
        broker->writing = (uint8_t)(cluster.id[strlen("cluster-")] - '0');
        break;
    case FOUNDING_WAIT:
    case FOUNDING_STUCK:
        break;
    }
}

/* `from` asks `to`, and has the answer. False: there is no link, or the one asked is writing its record. */
static bool model_ask(struct model *model, unsigned from, unsigned to)
{
    struct model_broker *asking = &model->brokers[from];
    const struct model_broker *asked = &model->brokers[to];
    struct founding_answer answers[SEEDS];
    struct founding_self me;
    size_t count;
    if (from == to || !asking->is_running || !asked->is_running || asked->writing != 0 || asking->cluster != 0) {
        return false;
    }
    struct founding_seeds seeds = model_seeds(model, to, answers, &count, &me);
    asking->has_answer |= (uint8_t)(1 << to);
    asking->answer_life[to] = asked->life;
    asking->answer_cluster[to] = asked->cluster;
    asking->answer_seeds[to] = 0;
    for (unsigned i = 0; i < seeds.count; i++) {
        unsigned n = (unsigned)(seeds.ids[i] >> 32) - 1;
        asking->answer_seeds[to] |= (uint8_t)(1 << n);
        asking->answer_lives[to][n] = (uint8_t)seeds.ids[i];
    }
    for (unsigned n = 0; n < SEEDS; n++) {
        if ((asking->answer_seeds[to] >> n & 1) == 0) {
            asking->answer_lives[to][n] = 0;
        }
    }
    model_decide(model, from);
    return true;
}

static bool is_founder(const struct model *model, unsigned self)
{
    const struct model_broker *broker = &model->brokers[self];
    return broker->cluster != 0 && model->founders[broker->cluster][self] == broker->life;
}

/* What a process had in memory, and what others had from it, is gone. */
static void model_forget(struct model *model, unsigned self)
{
    struct model_broker *broker = &model->brokers[self];
    broker->is_running = 0;
    broker->writing = 0;
    broker->has_answer = 0;
    memset(broker->answer_seeds, 0, sizeof(broker->answer_seeds));
    memset(broker->answer_life, 0, sizeof(broker->answer_life));
    memset(broker->answer_lives, 0, sizeof(broker->answer_lives));
    memset(broker->answer_cluster, 0, sizeof(broker->answer_cluster));
    for (unsigned i = 0; i < SEEDS; i++) {
        struct model_broker *other = &model->brokers[i];
        other->has_answer &= (uint8_t) ~(1 << self);
        other->answer_seeds[self] = 0;
        other->answer_life[self] = 0;
        other->answer_cluster[self] = 0;
        memset(other->answer_lives[self], 0, sizeof(other->answer_lives[self]));
    }
}

enum {
    EVENT_START,
    EVENT_KILL,
    EVENT_WIPE,
    EVENT_WRITTEN,
    EVENT_CREATE,
    EVENT_ASK,
    EVENT_COUNT = EVENT_ASK + SEEDS
};

/* False: that cannot happen now. */
static bool model_step(struct model *model, unsigned self, unsigned event)
{
    struct model_broker *broker = &model->brokers[self];
    switch (event) {
    case EVENT_START:
        if (broker->is_running) {
            return false;
        }
        broker->is_running = 1;
        return true;
    case EVENT_KILL:
        if (!broker->is_running || model->kills == 0) {
            return false;
        }
        model->kills--;
        model_forget(model, self);
        return true;
    case EVENT_WIPE:
        if (broker->is_running || model->wipes == 0) {
            return false;
        }
        model->wipes--;
        broker->life++;
        broker->cluster = 0;
        broker->has_group = 0;
        return true;
    case EVENT_WRITTEN:
        if (broker->writing == 0) {
            return false;
        }
        broker->cluster = broker->writing;
        broker->writing = 0;
        return true;
    case EVENT_CREATE:
        if (!broker->is_running || broker->cluster == 0 || broker->has_group) {
            return false;
        }
        broker->has_group = 1;
        return true;
    default:
        return model_ask(model, self, event - EVENT_ASK);
    }
}

/* Clusters that a majority of founders can still elect a leader in: those that stand, or may yet come to it, with the
 * disks that are there. */
static bool can_elect(const struct model *model, unsigned cluster)
{
    unsigned count = 0;
    for (unsigned i = 0; i < SEEDS; i++) {
        const struct model_broker *broker = &model->brokers[i];
        bool is_own = model->founders[cluster][i] == broker->life;
        count += is_own && (broker->cluster == cluster || (broker->cluster == 0));
    }
    return count > SEEDS / 2;
}

static bool has_elected(const struct model *model, unsigned cluster)
{
    unsigned count = 0;
    for (unsigned i = 0; i < SEEDS; i++) {
        count += model->brokers[i].has_group && model->brokers[i].cluster == cluster && is_founder(model, i);
    }
    return count > SEEDS / 2;
}

/* Never two clusters in each of which a majority has made its replica, and never one beside another that could. */
static void assert_safe(const struct model *model)
{
    for (unsigned a = 1; a <= model->cluster_count; a++) {
        for (unsigned b = 1; b <= model->cluster_count; b++) {
            ck_assert_msg(a == b || !has_elected(model, a) || !can_elect(model, b),
                          "cluster %u is elected, cluster %u may be", a, b);
        }
    }
}

/* From here on nothing fails: all run and ask until nothing changes. All end in one cluster, which a majority of its
 * founders carries; unless two disks were emptied, which no majority survives. */
static void assert_ends_well(const struct model *start)
{
    struct model model = *start;
    for (unsigned round = 0; round < 8; round++) {
        for (unsigned i = 0; i < SEEDS; i++) {
            (void)model_step(&model, i, EVENT_START);
            for (unsigned n = 0; n < SEEDS; n++) {
                (void)model_step(&model, i, EVENT_ASK + n);
            }
            (void)model_step(&model, i, EVENT_WRITTEN);
            (void)model_step(&model, i, EVENT_CREATE);
        }
    }
    for (unsigned i = 0; i < SEEDS; i++) {
        ck_assert_msg(model.brokers[i].cluster == model.brokers[0].cluster && model.brokers[i].has_group,
                      "broker %u is in cluster %d, broker 1 in %d", i + 1, model.brokers[i].cluster,
                      model.brokers[0].cluster);
    }
    ck_assert(has_elected(&model, model.brokers[0].cluster));
}

/* ---- Search over all states ---- */

struct seen {
    struct model *states;
    uint32_t *slots; /* index + 1 */
    uint32_t count;
};

/* True: not seen before. */
static bool seen_add(struct seen *seen, const struct model *model)
{
    uint64_t hash = bytes_hash((struct bytes){(const uint8_t *)model, sizeof(*model)}, 1);
    for (uint32_t at = (uint32_t)hash % (4 * STATE_MAX);; at = (at + 1) % (4 * STATE_MAX)) {
        if (seen->slots[at] == 0) {
            ck_assert_msg(seen->count < STATE_MAX, "more states than there is room for");
            seen->states[seen->count] = *model;
            seen->slots[at] = ++seen->count;
            return true;
        }
        if (memcmp(&seen->states[seen->slots[at] - 1], model, sizeof(*model)) == 0) {
            return false;
        }
    }
}

static uint32_t search(uint8_t kills, uint8_t wipes, bool ends_well)
{
    struct seen seen = {mem_alloc(STATE_MAX * sizeof(struct model)), mem_alloc(4 * STATE_MAX * sizeof(uint32_t)), 0};
    struct model first;
    memset(&first, 0, sizeof(first));
    first.kills = kills;
    first.wipes = wipes;
    for (unsigned i = 0; i < SEEDS; i++) {
        first.brokers[i].life = 1;
    }
    (void)seen_add(&seen, &first);
    for (uint32_t at = 0; at < seen.count; at++) {
        assert_safe(&seen.states[at]);
        if (ends_well) {
            assert_ends_well(&seen.states[at]);
        }
        for (unsigned i = 0; i < SEEDS; i++) {
            for (unsigned event = 0; event < EVENT_COUNT; event++) {
                struct model next = seen.states[at];
                if (model_step(&next, i, event)) {
                    (void)seen_add(&seen, &next);
                }
            }
        }
    }
    uint32_t count = seen.count;
    mem_free(seen.states);
    mem_free(seen.slots);
    return count;
}

/* Goal: whatever is killed when, all end in one cluster. Method: every reachable state of the model with two kills. */
START_TEST(kills_never_split)
{
    ck_assert_uint_gt(search(2, 0, true), 10000);
}
END_TEST

/* Goal: a disk that is emptied at any moment, before, while or after the cluster is founded, leads to no second
 * cluster. Method: every reachable state with one kill and one emptied disk. */
START_TEST(emptied_disk_never_splits)
{
    ck_assert_uint_gt(search(1, 1, true), 10000);
}
END_TEST

static Suite *founding_suite(void)
{
    Suite *suite = suite_create("founding");
    TCase *decisions = tcase_create("decisions");
    tcase_add_loop_test(decisions, decision_is_as_told, 0, (int)array_count(decision_cases));
    tcase_add_test(decisions, founders_are_in_order);
    suite_add_tcase(suite, decisions);
    TCase *model = tcase_create("model");
    tcase_set_timeout(model, 300);
    tcase_add_test(model, kills_never_split);
    tcase_add_test(model, emptied_disk_never_splits);
    suite_add_tcase(suite, model);
    return suite;
}

TEST_MAIN(founding_suite)
