/* Happy path: a role message sets (group, broker, epoch); waits are checked once at the end of the turn, not at each
 * change, so that creating a topic of a thousand partitions costs one look at each. A wait remembers how far it got:
 * groups before `next` were led once, which is all that a creator wants to know. A broker that has died is hidden, not
 * forgotten: a client that is told of a dead leader knocks there, and asks again only at its next look at all its
 * leaders (a second, in librdkafka); told of none, it asks again in a moment. */

#include "broker/leaders.h"
#include "base/assert.h"
#include "base/mem.h"

struct leaders {
    struct env *env;
    struct map map;    /* group -> struct leader */
    struct map hidden; /* broker -> struct hidden */
    struct list waits;
    struct task check; /* queued when something became led */
    bool is_stopping;
};

struct hidden {
    unsigned reasons; /* never 0 */
};

static void leaders_on_check(struct task *task);

struct leaders *leaders_open(struct env *env)
{
    struct leaders *leaders = mem_alloc(sizeof(*leaders));
    leaders->env = env;
    map_init(&leaders->map);
    map_init(&leaders->hidden);
    list_init(&leaders->waits);
    task_init(&leaders->check, leaders_on_check);
    return leaders;
}

void leaders_close(struct leaders *leaders)
{
    size_t cursor = 0;
    uint64_t group;
    struct leader *leader;
    struct hidden *hidden;
    assert(list_is_empty(&leaders->waits));
    leaders->env->tasks->cancel(leaders->env->tasks, &leaders->check);
    while ((leader = map_next(&leaders->map, &cursor, &group)) != NULL) {
        mem_free(leader);
    }
    map_deinit(&leaders->map);
    cursor = 0;
    while ((hidden = map_next(&leaders->hidden, &cursor, &group)) != NULL) {
        mem_free(hidden);
    }
    map_deinit(&leaders->hidden);
    mem_free(leaders);
}

void leaders_set(struct leaders *leaders, uint64_t group, int32_t broker, int32_t epoch, int32_t source)
{
    struct leader *leader = map_get(&leaders->map, group);
    if (leader == NULL) {
        leader = mem_alloc(sizeof(*leader));
        leader->broker = -1;
        leader->epoch = -1;
        map_put(&leaders->map, group, leader);
    }
    bool is_ignorance = broker < 0 && epoch == leader->epoch && leader->broker >= 0 && leader->broker != source;
    if (epoch < leader->epoch || is_ignorance) {
        return;
    }
    leader->broker = broker;
    leader->epoch = epoch;
    leader->was_led = leader->was_led || broker >= 0;
    if (broker >= 0 && !list_is_empty(&leaders->waits)) {
        env_task(leaders->env, &leaders->check);
    }
}

void leaders_hide(struct leaders *leaders, int32_t broker, enum leaders_reason reason)
{
    struct hidden *hidden = map_get(&leaders->hidden, (uint64_t)broker);
    if (hidden == NULL) {
        hidden = mem_alloc(sizeof(*hidden));
        map_put(&leaders->hidden, (uint64_t)broker, hidden);
    }
    hidden->reasons |= reason;
}

void leaders_show(struct leaders *leaders, int32_t broker, enum leaders_reason reason)
{
    struct hidden *hidden = map_get(&leaders->hidden, (uint64_t)broker);
    if (hidden == NULL) {
        return;
    }
    hidden->reasons &= ~(unsigned)reason;
    if (hidden->reasons == 0) {
        mem_free(map_remove(&leaders->hidden, (uint64_t)broker));
        env_task(leaders->env, &leaders->check);
    }
}

void leaders_keep_only(struct leaders *leaders, int32_t broker, const uint64_t *groups, size_t count, void *context,
                       bool (*is_asked)(void *context, uint64_t group))
{
    size_t cursor = 0;
    uint64_t group;
    struct leader *leader;
    struct map kept;
    map_init(&kept);
    for (size_t i = 0; i < count; i++) {
        map_put(&kept, groups[i], leaders);
    }
    while ((leader = map_next(&leaders->map, &cursor, &group)) != NULL) {
        if (leader->broker == broker && is_asked(context, group) && map_get(&kept, group) == NULL) {
            leader->broker = -1;
        }
    }
    map_deinit(&kept);
}

void leaders_remove(struct leaders *leaders, uint64_t group)
{
    mem_free(map_remove(&leaders->map, group));
}

struct leader leaders_get(const struct leaders *leaders, uint64_t group)
{
    const struct leader *found = map_get(&leaders->map, group);
    struct leader leader = found != NULL ? *found : (struct leader){.broker = -1, .epoch = -1};
    if (leader.broker >= 0 && map_get(&leaders->hidden, (uint64_t)leader.broker) != NULL) {
        leader.broker = -1;
    }
    return leader;
}

static bool wait_is_complete(struct leaders *leaders, struct leaders_wait *wait)
{
    while (wait->next < wait->count && leaders_get(leaders, wait->groups[wait->next]).broker >= 0) {
        wait->next++;
    }
    return wait->next == wait->count;
}

static void wait_finish(struct leaders_wait *wait, bool is_complete)
{
    struct env *env = wait->leaders->env;
    list_remove(&wait->link);
    env_timer_cancel(env, &wait->timer);
    wait->is_complete = is_complete;
    wait->cb(wait);
}

static void leaders_on_check(struct task *task)
{
    struct leaders *leaders = container_of(task, struct leaders, check);
    struct list pending;
    struct list *link;
    list_init(&pending);
    list_move_all(&pending, &leaders->waits);
    while ((link = list_pop(&pending)) != NULL) {
        struct leaders_wait *wait = container_of(link, struct leaders_wait, link);
        list_push(&leaders->waits, &wait->link);
        bool is_complete = wait_is_complete(leaders, wait);
        if (is_complete || leaders->is_stopping) {
            wait_finish(wait, is_complete);
        }
    }
}

static void wait_on_timer(struct timer *timer)
{
    struct leaders_wait *wait = container_of(timer, struct leaders_wait, timer);
    wait_finish(wait, wait_is_complete(wait->leaders, wait));
}

void leaders_wait_for(struct leaders *leaders, struct leaders_wait *wait, int64_t timeout_ms)
{
    wait->leaders = leaders;
    wait->next = 0;
    wait->is_complete = false;
    list_init(&wait->link);
    list_push(&leaders->waits, &wait->link);
    timer_init(&wait->timer, wait_on_timer);
    env_timer(leaders->env, &wait->timer, timeout_ms > 0 ? timeout_ms * 1000 : 0);
    env_task(leaders->env, &leaders->check);
}

bool leaders_is_stopping(const struct leaders *leaders)
{
    return leaders->is_stopping;
}

void leaders_stop(struct leaders *leaders)
{
    leaders->is_stopping = true;
    env_task(leaders->env, &leaders->check);
}
