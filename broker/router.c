/* The origin's own part runs at once, without a message. A part's memory stays until the part and its cancel are both
 * back, so a cancel that crosses a finished part finds it in place and does nothing. */

#include "broker/router.h"
#include "base/assert.h"
#include "base/mem.h"
#include "broker/broker.h"

/* ---- Posts ---- */

struct router {
    struct shard *shard;
    struct task task;
    struct deadlines deadlines; /* of parts that are here */
    struct timer tick;
    bool is_ticking;
    struct list posts[]; /* for each shard: what this turn has for it */
};

static void router_on_task(struct task *task)
{
    struct router *router = container_of(task, struct router, task);
    struct shard *shard = router->shard;
    for (unsigned i = 0; i < shard_count(shard); i++) {
        mailbox_send_all(shard->broker->shards[i].mailbox, &router->posts[i]);
    }
}

/* ---- Deadlines ---- */

static void keep_ticking(struct router *router)
{
    router->is_ticking = !deadlines_is_empty(&router->deadlines);
    if (router->is_ticking) {
        env_timer(router->shard->env, &router->tick, DEADLINE_TICK_US);
    }
}

static void router_on_tick(struct timer *timer)
{
    struct router *router = container_of(timer, struct router, tick);
    deadlines_run(&router->deadlines, env_now_us(router->shard->env));
    keep_ticking(router);
}

void scatter_part_due(struct scatter_part *part, int64_t due_us)
{
    struct router *router = part->shard->router;
    if (!router->is_ticking) {
        deadlines_resume(&router->deadlines, env_now_us(router->shard->env));
    }
    deadlines_set(&router->deadlines, &part->deadline, due_us);
    if (!router->is_ticking) {
        keep_ticking(router);
    }
}

void scatter_part_not_due(struct scatter_part *part)
{
    deadlines_cancel(&part->shard->router->deadlines, &part->deadline);
}

/* ---- Life ---- */

struct router *router_open(struct shard *shard)
{
    struct router *router = mem_alloc(sizeof(*router) + shard_count(shard) * sizeof(router->posts[0]));
    router->shard = shard;
    task_init(&router->task, router_on_task);
    deadlines_init(&router->deadlines);
    timer_init(&router->tick, router_on_tick);
    for (unsigned i = 0; i < shard_count(shard); i++) {
        list_init(&router->posts[i]);
    }
    return router;
}

void router_close(struct router *router)
{
    for (unsigned i = 0; i < shard_count(router->shard); i++) {
        assert(list_is_empty(&router->posts[i]));
    }
    assert(deadlines_is_empty(&router->deadlines));
    env_timer_cancel(router->shard->env, &router->tick);
    mem_free(router);
}

static void post(struct shard *from, unsigned number, struct message *message)
{
    list_push(&from->router->posts[number], &message->link);
    env_task(from->env, &from->router->task);
}

/* ---- Scatter ---- */

static void scatter_on_done(struct task *task)
{
    struct scatter *scatter = container_of(task, struct scatter, done_task);
    scatter->done(scatter);
}

void scatter_init(struct scatter *scatter, struct shard *origin)
{
    *scatter = (struct scatter){.origin = origin};
    task_init(&scatter->done_task, scatter_on_done);
}

void scatter_deinit(struct scatter *scatter)
{
    assert(scatter->out == 0);
    while (scatter->parts != NULL) {
        struct scatter_part *part = scatter->parts;
        scatter->parts = part->next;
        if (part != &scatter->first) {
            mem_free(part);
        }
    }
}

static struct scatter_part *part_add(struct scatter *scatter, unsigned number)
{
    struct scatter_part *part = scatter->parts == NULL ? &scatter->first : mem_alloc(sizeof(*part));
    part->scatter = scatter;
    part->shard = &scatter->origin->broker->shards[number];
    list_init(&part->items);
    part->next = scatter->parts;
    scatter->parts = part;
    scatter->part_count++;
    return part;
}

static struct scatter_part *part_of(struct scatter *scatter, unsigned number)
{
    struct scatter_part *part = scatter->parts;
    while (part != NULL && part->shard->number != number) {
        part = part->next;
    }
    return part != NULL ? part : part_add(scatter, number);
}

void scatter_add_to(struct scatter *scatter, struct scatter_item *item, unsigned number)
{
    assert(number < shard_count(scatter->origin));
    struct scatter_part *part = part_of(scatter, number);
    list_init(&item->link);
    list_push(&part->items, &item->link);
    part->pending++;
}

void scatter_add(struct scatter *scatter, struct scatter_item *item, uint64_t group)
{
    item->group = group;
    scatter_add_to(scatter, item, replicas_shard(group, shard_count(scatter->origin)));
}

static bool is_home(const struct scatter_part *part)
{
    return part->shard == part->scatter->origin;
}

static void one_back(struct scatter *scatter)
{
    assert(scatter->out > 0);
    if (--scatter->out == 0) {
        env_task(scatter->origin->env, &scatter->done_task);
    }
}

static void part_on_back(struct scatter_part *part)
{
    struct scatter *scatter = part->scatter;
    part->is_back = true;
    if (scatter->part_back != NULL) {
        scatter->part_back(part);
    }
    one_back(scatter);
}

static void part_on_back_message(struct message *message)
{
    part_on_back(container_of(message, struct scatter_part, message));
}

static void part_on_start_message(struct message *message)
{
    struct scatter_part *part = container_of(message, struct scatter_part, message);
    part->scatter->part_start(part);
}

void scatter_go(struct scatter *scatter)
{
    struct scatter_part *home = NULL;
    scatter->out = scatter->part_count + 1; /* itself, until all are sent */
    for (struct scatter_part *part = scatter->parts; part != NULL; part = part->next) {
        if (is_home(part)) {
            home = part;
        } else {
            part->message.cb = part_on_start_message;
            post(scatter->origin, part->shard->number, &part->message);
        }
    }
    if (home != NULL) {
        scatter->part_start(home);
    }
    one_back(scatter);
}

void scatter_part_done(struct scatter_part *part)
{
    assert(!part->is_done);
    part->is_done = true;
    if (is_home(part)) {
        part_on_back(part);
    } else {
        part->message.cb = part_on_back_message;
        post(part->shard, part->scatter->origin->number, &part->message);
    }
}

static void cancel_on_back_message(struct message *message)
{
    one_back(container_of(message, struct scatter_part, cancel)->scatter);
}

static void cancel_on_message(struct message *message)
{
    struct scatter_part *part = container_of(message, struct scatter_part, cancel);
    if (!part->is_done) {
        part->scatter->part_cancel(part);
    }
    part->cancel.cb = cancel_on_back_message;
    post(part->shard, part->scatter->origin->number, &part->cancel);
}

void scatter_cancel(struct scatter *scatter)
{
    if (scatter->is_cancelled) {
        return;
    }
    scatter->is_cancelled = true;
    for (struct scatter_part *part = scatter->parts; part != NULL; part = part->next) {
        if (part->is_back) {
            continue;
        }
        if (!is_home(part)) {
            scatter->out++;
            part->cancel.cb = cancel_on_message;
            post(scatter->origin, part->shard->number, &part->cancel);
        } else if (!part->is_done) {
            scatter->part_cancel(part);
        }
    }
}
