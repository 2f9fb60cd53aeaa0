/* Happy path: a role message sets (group, broker, epoch); waits are checked once at the end of the turn, not at each
 * change, so that creating a topic of a thousand partitions costs one look at each. A wait remembers how far it got:
 * groups before `next` were led once, which is all that a creator wants to know. A broker that has died is hidden, not
 * forgotten: a client that is told of a dead leader knocks there, and asks again only at its next look at all its
 * leaders (a second, in librdkafka); told of none, it asks again in a moment. Some do not even that (kafkajs takes it
 * for the failure of what it was about), so what is over in a moment is waited for: LEADERS_NEW_MS from when somebody
 * first asked for a group that nobody has led yet, LEADERS_LOST_MS from when its leader was lost. */

#include "broker/leaders.h"
#include "base/assert.h"
#include "base/mem.h"

enum {
    LEADERS_NEW_MS = 1000, /* late on a busy machine: its replicas are made first */
    LEADERS_LOST_MS = 300, /* a hand-over takes some 20 ms, a successor of a process that ended 50 to 100 */
};

struct known {
    struct leader leader;
    bool was_led;
    int64_t since_us; /* nobody leads, or nobody was known to when somebody asked first; 0: not asked yet */
};

struct leaders {
    struct env *env;
    struct map map;    /* group -> struct known */
    struct map hidden; /* broker -> struct hidden */
    struct list waits;
    struct task check; /* queued when something became led */
    bool is_stopping;
};

struct hidden {
    unsigned reasons; /* never 0 */
    int64_t since_us;
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
    struct known *known;
    struct hidden *hidden;
    assert(list_is_empty(&leaders->waits));
    leaders->env->tasks->cancel(leaders->env->tasks, &leaders->check);
    while ((known = map_next(&leaders->map, &cursor, &group)) != NULL) {
        mem_free(known);
    }
    map_deinit(&leaders->map);
    cursor = 0;
    while ((hidden = map_next(&leaders->hidden, &cursor, &group)) != NULL) {
        mem_free(hidden);
    }
    map_deinit(&leaders->hidden);
    mem_free(leaders);
}

static struct known *known_of(struct leaders *leaders, uint64_t group)
{
    struct known *known = map_get(&leaders->map, group);
    if (known == NULL) {
        known = mem_alloc(sizeof(*known));
        known->leader = (struct leader){.broker = -1, .epoch = -1};
        map_put(&leaders->map, group, known);
    }
    return known;
}

static void lose(struct leaders *leaders, struct known *known)
{
    if (known->leader.broker >= 0) {
        known->leader.broker = -1;
        known->since_us = env_now_us(leaders->env);
    }
}

void leaders_set(struct leaders *leaders, uint64_t group, int32_t broker, int32_t epoch, int32_t source)
{
    struct known *known = known_of(leaders, group);
    struct leader *leader = &known->leader;
    bool is_ignorance = broker < 0 && epoch == leader->epoch && leader->broker >= 0 && leader->broker != source;
    if (epoch < leader->epoch || is_ignorance) {
        return;
    }
    leader->epoch = epoch;
    if (broker < 0) {
        lose(leaders, known);
        return;
    }
    leader->broker = broker;
    known->was_led = true;
    if (!list_is_empty(&leaders->waits)) {
        env_task(leaders->env, &leaders->check);
    }
}

void leaders_hide(struct leaders *leaders, int32_t broker, enum leaders_reason reason)
{
    struct hidden *hidden = map_get(&leaders->hidden, (uint64_t)broker);
    if (hidden == NULL) {
        hidden = mem_alloc(sizeof(*hidden));
        hidden->since_us = env_now_us(leaders->env);
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
    struct known *known;
    struct map kept;
    map_init(&kept);
    for (size_t i = 0; i < count; i++) {
        map_put(&kept, groups[i], leaders);
    }
    while ((known = map_next(&leaders->map, &cursor, &group)) != NULL) {
        if (known->leader.broker == broker && is_asked(context, group) && map_get(&kept, group) == NULL) {
            lose(leaders, known);
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
    const struct known *known = map_get(&leaders->map, group);
    struct leader leader = known != NULL ? known->leader : (struct leader){.broker = -1, .epoch = -1};
    if (leader.broker >= 0 && map_get(&leaders->hidden, (uint64_t)leader.broker) != NULL) {
        leader.broker = -1;
    }
    return leader;
}

int64_t leaders_due_ms(struct leaders *leaders, uint64_t group)
{
    struct known *known = known_of(leaders, group);
    const struct hidden *hidden = map_get(&leaders->hidden, (uint64_t)known->leader.broker);
    int64_t now_us = env_now_us(leaders->env);
    if (known->leader.broker >= 0 && hidden == NULL) {
        return 0;
    }
    if (known->since_us == 0) {
        known->since_us = now_us;
    }
    int64_t since_us = known->leader.broker >= 0 ? hidden->since_us : known->since_us;
    int64_t left_ms = (known->was_led ? LEADERS_LOST_MS : LEADERS_NEW_MS) - (now_us - since_us) / 1000;
    return left_ms > 0 ? left_ms : 0;
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
