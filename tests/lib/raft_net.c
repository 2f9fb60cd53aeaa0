/* A node's part of an event ends with its tasks, then its log gathers what they
 * appended into a unit, then it is checked. */
#include "tests/lib/raft_net.h"

#include "base/assert.h"
#include "base/mem.h"
#include "tests/lib/raft_net_events.h"

#include <stdlib.h>
#include <string.h>

enum {
    GROUP = 7,
    BOOTSTRAP_TERM = 1,
    INSTALL_POLL_US = 5000
};

/* ---- Time and chance -------------------------------------------------------------------------------------------- */

static uint64_t mix(uint64_t x)
{
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

uint64_t raft_net_random(struct raft_net *net, uint64_t bound)
{
    net->random += 0x9e3779b97f4a7c15u;
    return mix(net->random) % bound;
}

bool raft_net_chance(struct raft_net *net, unsigned of_thousand)
{
    return raft_net_random(net, 1000) < of_thousand;
}

/* ---- The seam of a node ----------------------------------------------------------------------------------------- */

static int64_t clock_now(struct clock *clock)
{
    return (int64_t)container_of(clock, struct net_node, clock)->net->now_us;
}

static uint64_t rng_next(struct rng *rng)
{
    struct net_node *node = container_of(rng, struct net_node, rng);
    return mix(node->net->seed ^ node->id << 20 ^ node->life);
}

static void timers_set(struct timers *timers, struct timer *timer, int64_t delay_us)
{
    struct net_node *node = container_of(timers, struct net_node, timers);
    timer->sequence = ++node->net->timer_sequence;
    struct net_event event = {
        .kind = EVENT_TIMER, .slot = node->slot, .life = node->life, .number = timer->sequence, .timer = timer};
    net_event_put(node->net, (uint64_t)delay_us, event);
}

static void timers_cancel(struct timers *timers, struct timer *timer)
{
    (void)timers;
    timer->sequence = 0;
}

static void tasks_queue(struct tasks *tasks, struct task *task)
{
    struct net_node *node = container_of(tasks, struct net_node, tasks);
    if (list_is_empty(&task->link)) {
        list_push(&node->task_queue, &task->link);
    }
}

static void tasks_cancel(struct tasks *tasks, struct task *task)
{
    (void)tasks;
    list_remove(&task->link);
}

void raft_net_settle(struct net_node *node)
{
    struct raft_net *net = node->net;
    struct list *link;
    while ((link = list_pop(&node->task_queue)) != NULL) {
        struct task *task = container_of(link, struct task, link);
        task->cb(task);
    }
    if (fake_log_submit(&node->log)) {
        struct net_event event = {.kind = EVENT_SYNC, .slot = node->slot, .life = node->life};
        net_event_put(net, 100 + raft_net_random(net, net->options.sync_ms_max * 1000 + 1), event);
    }
    if (node->is_up) {
        net_check_node(node);
    }
}

/* ---- Links ------------------------------------------------------------------------------------------------------ */

static struct replica_message *message_copy(const struct replica_message *source)
{
    struct replica_message *copy = mem_alloc_raw(sizeof *copy);
    *copy = *source;
    if (source->kind == REPLICA_APPEND && source->append.entry_count > 0) {
        struct entry **entries = mem_alloc(source->append.entry_count * sizeof *entries);
        for (unsigned i = 0; i < source->append.entry_count; i++) {
            const struct entry *entry = source->append.entries[i];
            /* A copy, as over a wire: nothing is shared between nodes. */
            struct bytes payload = entry->slice_count > 0 ? entry->slices[0].bytes : BYTES_NONE;
            entries[i] = entry_new_copy(entry->kind, entry->index, entry->term, payload);
        }
        copy->append.entries = entries;
    }
    return copy;
}

static void message_free(struct replica_message *message)
{
    if (message->kind == REPLICA_APPEND && message->append.entry_count > 0) {
        for (unsigned i = 0; i < message->append.entry_count; i++) {
            entry_release(message->append.entries[i]);
        }
        mem_free((void *)(uintptr_t)message->append.entries);
    }
    mem_free(message);
}

static void link_put(struct net_node *from, struct net_node *to, const struct replica_message *message)
{
    struct raft_net *net = from->net;
    uint64_t delay = 100 + raft_net_random(net, net->options.delay_ms_max * 1000 + 1);
    if (raft_net_chance(net, net->options.late)) {
        delay += raft_net_random(net, net->options.late_ms_max * 1000 + 1);
    }
    struct replica_message *copy = message_copy(message);
    copy->peer = from->id;
    struct net_event event = {.kind = EVENT_MESSAGE, .slot = to->slot, .life = 0, .number = to->id, .message = copy};
    net_event_put(net, delay, event);
}

/* A catch-up: the sender's state as it is when staging is done. */
static void start_install(struct net_node *from, struct net_node *to)
{
    struct raft_net *net = from->net;
    if (from->install_until_us[to->slot] > net->now_us) {
        return;
    }
    uint64_t delay = 1000 + raft_net_random(net, net->options.install_ms_max * 1000 + 1);
    from->install_until_us[to->slot] = net->now_us + delay;
    struct net_event event = {.kind = EVENT_INSTALL, .slot = from->slot, .life = from->life, .number = to->id};
    net_event_put(net, delay, event);
}

static void node_send(void *owner, struct replica *replica, const struct replica_message *message)
{
    struct net_node *node = owner;
    struct raft_net *net = node->net;
    struct net_node *peer = raft_net_find(net, message->peer);
    (void)replica;
    net->messages++;
    net_check_send(node, message);
    if (peer == NULL || net->is_cut[node->slot][peer->slot] || raft_net_chance(net, net->options.loss)) {
        return;
    }
    if (message->kind == REPLICA_INSTALL) {
        start_install(node, peer);
        return;
    }
    link_put(node, peer, message);
    if (raft_net_chance(net, net->options.repeat)) {
        link_put(node, peer, message);
    }
}

/* ---- Machine ---------------------------------------------------------------------------------------------------- */

static void machine_apply(struct replica_machine *machine, const struct entry *entry)
{
    struct net_node *node = container_of(machine, struct net_node, machine);
    net_check_apply(node, entry);
}

static void machine_applied(struct replica_machine *machine)
{
    struct net_node *node = container_of(machine, struct net_node, machine);
    if (raft_net_chance(node->net, 50)) {
        replica_tell_commit(node->replica);
    }
}

static void machine_role_changed(struct replica_machine *machine, const struct replica_status *status)
{
    struct net_node *node = container_of(machine, struct net_node, machine);
    if (node->net->log != NULL) {
        static const char *const roles[] = {"follower", "candidate", "leader"};
        (void)fprintf(node->net->log,
                      "%10.3f node %u id %llu %s%s term %llu leader %llu last %llu commit %llu applied %llu\n",
                      (double)node->net->now_us / 1e6, node->slot, (unsigned long long)node->id, roles[status->role],
                      status->is_ready ? " ready" : "", (unsigned long long)status->term,
                      (unsigned long long)status->leader, (unsigned long long)status->last_index,
                      (unsigned long long)status->commit_index, (unsigned long long)status->applied_index);
    }
}

static void staged_put(struct net_node *node, uint64_t index, const struct net_state *state)
{
    if (node->staged_count == node->staged_capacity) {
        node->staged_capacity = node->staged_capacity == 0 ? 8 : node->staged_capacity * 2;
        node->staged = mem_resize(node->staged, node->staged_capacity * sizeof *node->staged);
    }
    node->staged[node->staged_count++] = (struct net_staged){.index = index, .state = *state};
}

static const struct net_state *staged_at(const struct net_node *node, uint64_t index)
{
    size_t at = node->staged_count;
    while (at > 0 && node->staged[at - 1].index != index) {
        at--;
    }
    assert(at > 0);
    return &node->staged[at - 1].state;
}

static void machine_install(struct replica_machine *machine, uint64_t index)
{
    struct net_node *node = container_of(machine, struct net_node, machine);
    node->state = *staged_at(node, index);
    node->net->installs++;
}

static const struct replica_machine_ops machine_ops = {
    .apply = machine_apply,
    .applied = machine_applied,
    .role_changed = machine_role_changed,
    .install = machine_install,
};

/* ---- Nodes ------------------------------------------------------------------------------------------------------ */

static void node_on_damaged(void *owner, struct replica *replica, const char *cause)
{
    struct net_node *node = owner;
    (void)replica;
    net_violation(node->net, "node %u: replica gave up: %s", node->slot, cause);
}

static void node_on_append(void *owner, const struct wal_frame *frame)
{
    net_check_append(owner, frame);
}

static void node_init(struct raft_net *net, unsigned slot)
{
    struct net_node *node = &net->nodes[slot];
    node->net = net;
    node->slot = slot;
    node->id = net->next_id++;
    fake_log_init(&node->log);
    node->log.owner = node;
    node->log.on_append = node_on_append;
    node->has_checkpoint = false;
    node->is_bootstrapped = false;
    node->staged_count = 0;
}

static void recover_apply(void *owner, const struct entry *entry)
{
    struct net_node *node = owner;
    net_check_apply(node, entry);
}

static void recover_install(void *owner, const struct fake_frame *frame)
{
    struct net_node *node = owner;
    node->state = *staged_at(node, frame->index);
}

static void node_recover(struct net_node *node, struct fake_recovery *recovery)
{
    struct raft_net *net = node->net;
    *recovery = (struct fake_recovery){.owner = node, .apply = recover_apply, .install = recover_install};
    node->state = (struct net_state){0};
    if (node->has_checkpoint && node->checkpoint.mark.index > 0) {
        const struct replica_mark *mark = &node->checkpoint.mark;
        recovery->applied_index = mark->index;
        recovery->applied_term = mark->term;
        recovery->membership = mark->membership;
        recovery->membership_index = mark->membership_index;
        node->state = node->checkpoint.state;
    } else if (node->is_bootstrapped) {
        recovery->term = BOOTSTRAP_TERM;
        fake_recovery_push(recovery, replica_bootstrap_entry(&net->bootstrap, BOOTSTRAP_TERM), 0);
    }
    if (node->has_checkpoint && node->checkpoint.mark.hard_term >= recovery->term) {
        recovery->term = node->checkpoint.mark.hard_term;
        recovery->vote = node->checkpoint.mark.hard_vote;
    }
    fake_log_recover(&node->log, GROUP, recovery);
}

static void env_init(struct net_node *node)
{
    node->clock = (struct clock){.monotonic_us = clock_now};
    node->rng = (struct rng){.next = rng_next};
    node->timers = (struct timers){.set = timers_set, .cancel = timers_cancel};
    node->tasks = (struct tasks){.queue = tasks_queue, .cancel = tasks_cancel};
    list_init(&node->task_queue);
    node->env = (struct env){
        .clock = &node->clock,
        .rng = &node->rng,
        .timers = &node->timers,
        .tasks = &node->tasks,
        .metrics = node->net->metrics,
    };
}

/* The links of a process end with it and come back with it. */
static void signal_all(struct raft_net *net, unsigned about, bool is_up)
{
    for (unsigned i = 0; i < net->options.node_count; i++) {
        if (raft_net_chance(net, net->options.signal)) {
            uint64_t delay = raft_net_random(net, raft_net_chance(net, 100) ? 600000 : 5000);
            raft_net_signal(net, i, about, is_up, delay);
        }
    }
}

void raft_net_start(struct raft_net *net, unsigned slot)
{
    struct net_node *node = &net->nodes[slot];
    assert(!node->is_up);
    node->life++;
    env_init(node);
    struct fake_recovery recovery;
    node_recover(node, &recovery);
    struct replica_shard_params shard = {
        .env = &node->env,
        .wal = fake_log_wal(&node->log),
        .server_id = node->id,
        .heartbeat_ms = net->options.heartbeat_ms,
        .election_ms = net->options.election_ms,
        .retain_size = net->options.retain_size,
        .owner = node,
        .send = node_send,
        .on_damaged = node_on_damaged,
    };
    node->shard = replica_shard_open(&shard);
    node->machine = (struct replica_machine){.ops = &machine_ops};
    struct replica_params params = {
        .group = GROUP,
        .machine = &node->machine,
        .term = recovery.term,
        .vote = recovery.vote,
        .applied_index = recovery.applied_index,
        .applied_term = recovery.applied_term,
        .membership = recovery.membership,
        .membership_index = recovery.membership_index,
        .tail = recovery.tail,
        .tail_count = recovery.tail_count,
    };
    struct errmsg msg;
    node->seen = (struct replica_status){.applied_index = recovery.applied_index};
    /* What was durable in the log, as only that lets messages leave; the store may be ahead of it. */
    if (recovery.term < node->log.hard_term ||
        (recovery.term == node->log.hard_term && node->log.hard_vote != 0 && recovery.vote != node->log.hard_vote)) {
        net_violation(net, "node %u forgot term %llu, vote %llu: found %llu, %llu", slot,
                      (unsigned long long)node->log.hard_term, (unsigned long long)node->log.hard_vote,
                      (unsigned long long)recovery.term, (unsigned long long)recovery.vote);
    }
    node->log.hard_term = recovery.term;
    node->log.hard_vote = recovery.vote;
    enum err err = replica_open(node->shard, &params, &node->replica, &msg);
    fake_recovery_deinit(&recovery);
    if (err != OK) {
        net_violation(net, "node %u does not open: %s", slot, msg.text);
        replica_shard_close(node->shard);
        return;
    }
    node->is_up = true;
    node->is_checkpointing = false;
    node->is_stopping = false;
    node->paused_until_us = 0;
    memset(node->install_until_us, 0, sizeof node->install_until_us);
    replica_shard_start(node->shard);
    replica_shard_on_durable(node->shard, node->log.durable_lsn);
    signal_all(net, slot, true);
    raft_net_settle(node);
}

static void node_stop(struct net_node *node)
{
    if (node->is_up) {
        node->is_up = false;
        replica_close(node->replica);
        node->replica = NULL;
        replica_shard_close(node->shard);
    }
}

void raft_net_crash(struct raft_net *net, unsigned slot)
{
    struct net_node *node = &net->nodes[slot];
    if (node->is_up) {
        net->crashes++;
        node_stop(node);
        signal_all(net, slot, false);
        fake_log_crash(&node->log, raft_net_chance(net, 500));
    }
}

void raft_net_wipe(struct raft_net *net, unsigned slot)
{
    struct net_node *node = &net->nodes[slot];
    assert(!node->is_up);
    fake_log_deinit(&node->log);
    node_init(net, slot);
}

struct net_node *raft_net_find(struct raft_net *net, uint64_t id)
{
    for (unsigned i = 0; i < net->options.node_count; i++) {
        if (net->nodes[i].id == id) {
            return &net->nodes[i];
        }
    }
    return NULL;
}

struct raft_net *raft_net_open(uint64_t seed, const struct net_options *options)
{
    assert(options->node_count <= NET_NODE_MAX);
    struct raft_net *net = mem_alloc(sizeof *net);
    net->options = *options;
    net->seed = seed;
    net->random = mix(seed);
    net->now_us = 1000000;
    net->next_id = 1001;
    net->metrics = metrics_open();
    net_check_init(net);
    for (unsigned i = 0; i < options->node_count; i++) {
        node_init(net, i);
        if (i < options->voter_count) {
            net->nodes[i].is_bootstrapped = true;
            net->bootstrap.servers[net->bootstrap.count++] =
                (struct replica_server){.id = net->nodes[i].id, .is_voter = true};
        }
    }
    return net;
}

static void event_free(struct net_event *event)
{
    mem_free(event->checkpoint);
    if (event->message != NULL) {
        message_free(event->message);
    }
}

void raft_net_close(struct raft_net *net)
{
    for (unsigned i = 0; i < net->options.node_count; i++) {
        node_stop(&net->nodes[i]);
        fake_log_deinit(&net->nodes[i].log);
        mem_free(net->nodes[i].staged);
    }
    while (net->event_count > 0) {
        struct net_event event = net_event_take(net);
        event_free(&event);
    }
    mem_free(net->events);
    net_check_deinit(net);
    metrics_close(net->metrics);
    mem_free(net);
}

/* ---- Events ----------------------------------------------------------------------------------------------------- */

/* What is staged waits for a leader, as in catchup_target.c. */
static void poll_install(struct net_node *from, uint64_t target, unsigned slot)
{
    struct raft_net *net = from->net;
    struct net_event event = {.kind = EVENT_INSTALL, .slot = from->slot, .life = from->life, .number = target};
    from->install_until_us[slot] = net->now_us + INSTALL_POLL_US;
    net_event_put(net, INSTALL_POLL_US, event);
}

/* The staged state reaches the follower: it is on its disk from here on. */
static void on_install(struct net_node *from, uint64_t target)
{
    struct raft_net *net = from->net;
    struct net_node *to = raft_net_find(net, target);
    struct replica_mark mark;
    replica_mark(from->replica, &mark);
    struct replica_status status;
    replica_status(from->replica, &status);
    if (to == NULL || !to->is_up || net->is_cut[from->slot][to->slot]) {
        return;
    }
    if (status.role != REPLICA_LEADER) {
        poll_install(from, target, to->slot);
        return;
    }
    struct replica_message message = {
        .kind = REPLICA_INSTALL,
        .peer = from->id,
        .term = status.term,
        .install = {.last_index = mark.index,
                    .last_term = mark.term,
                    .membership_index = mark.membership_index,
                    .membership = mark.membership},
    };
    staged_put(to, mark.index, &from->state);
    if (replica_install(to->replica, &message) != OK) {
        to->staged_count--;
    }
    raft_net_settle(to);
}

void raft_net_checkpoint(struct raft_net *net, unsigned slot)
{
    struct net_node *node = &net->nodes[slot];
    if (!node->is_up || node->is_checkpointing) {
        return;
    }
    struct net_checkpoint *checkpoint = mem_alloc(sizeof *checkpoint);
    replica_mark(node->replica, &checkpoint->mark);
    checkpoint->state = node->state;
    if (checkpoint->mark.index == 1) { /* never at index 1 */
        mem_free(checkpoint);
        return;
    }
    node->is_checkpointing = true;
    struct net_event event = {.kind = EVENT_CHECKPOINT, .slot = slot, .life = node->life, .checkpoint = checkpoint};
    net_event_put(net, 1000 + raft_net_random(net, 50000), event);
}

static void on_checkpoint(struct net_node *node, const struct net_checkpoint *checkpoint)
{
    struct raft_net *net = node->net;
    node->is_checkpointing = false;
    node->has_checkpoint = true;
    node->checkpoint = *checkpoint;
    net->checkpoints++;
    replica_checkpointed(node->replica, checkpoint->mark.index);
    /* Files go as a whole: often less is forgotten than might be. */
    uint64_t lsn = checkpoint->mark.lsn;
    fake_log_release(&node->log, raft_net_chance(net, 500) ? lsn : lsn - raft_net_random(net, lsn));
}

void raft_net_copy_forward(struct raft_net *net, unsigned slot)
{
    struct net_node *node = &net->nodes[slot];
    if (node->is_up) {
        replica_copy_forward(node->replica);
        raft_net_settle(node);
    }
}

void raft_net_signal(struct raft_net *net, unsigned slot, unsigned peer, bool is_up, uint64_t delay_us)
{
    struct net_node *node = &net->nodes[slot];
    struct net_event event = {
        .kind = EVENT_SIGNAL, .slot = slot, .life = node->life, .number = net->nodes[peer].id, .is_up = is_up};
    if (slot != peer && node->is_up) {
        net_event_put(net, delay_us, event);
    }
}

/* Right after its link was lost a node finds out whether the process is still there; it may hear that late. */
static void probe(struct net_node *node, uint64_t id)
{
    struct raft_net *net = node->net;
    const struct net_node *peer = raft_net_find(net, id);
    if (peer == NULL || !peer->is_up) {
        uint64_t delay_us = raft_net_random(net, raft_net_chance(net, 100) ? 600000 : 5000);
        net_event_put(net, delay_us,
                      (struct net_event){.kind = EVENT_ENDED, .slot = node->slot, .life = node->life, .number = id});
    }
}

void raft_net_crash_later(struct raft_net *net, unsigned slot, uint64_t delay_us)
{
    struct net_event event = {.kind = EVENT_STOP, .slot = slot, .life = net->nodes[slot].life};
    if (net->nodes[slot].is_up) {
        net_event_put(net, delay_us, event);
    }
}

static void on_handed_over(void *owner, unsigned left)
{
    struct net_node *node = owner;
    (void)left;
    node->net->stops++;
    raft_net_crash_later(node->net, node->slot, 0);
}

void raft_net_stop(struct raft_net *net, unsigned slot)
{
    struct net_node *node = &net->nodes[slot];
    if (node->is_up && !node->is_stopping) {
        node->is_stopping = true;
        replica_shard_hand_over(node->shard, 2000, node, on_handed_over);
    }
}

void raft_net_pause(struct raft_net *net, unsigned slot, uint64_t us)
{
    net->nodes[slot].paused_until_us = net->now_us + us;
}

static void on_event(struct raft_net *net, struct net_event *event)
{
    struct net_node *node = &net->nodes[event->slot];
    if (node->is_up && node->paused_until_us > net->now_us) {
        net_event_put(net, node->paused_until_us - net->now_us, *event);
        event->message = NULL; /* they have moved on */
        event->checkpoint = NULL;
        return;
    }
    if (!node->is_up || (event->life != 0 && event->life != node->life)) {
        return;
    }
    switch (event->kind) {
    case EVENT_MESSAGE:
        if (event->number != node->id) {
            return;
        }
        replica_receive(node->replica, event->message);
        break;
    case EVENT_TIMER:
        if (event->number != event->timer->sequence) {
            return;
        }
        event->timer->cb(event->timer);
        break;
    case EVENT_SYNC:
        fake_log_complete(&node->log);
        replica_shard_on_durable(node->shard, node->log.durable_lsn);
        break;
    case EVENT_INSTALL:
        on_install(node, event->number);
        break;
    case EVENT_CHECKPOINT:
        on_checkpoint(node, event->checkpoint);
        break;
    case EVENT_STOP:
        raft_net_crash(net, node->slot);
        return;
    case EVENT_SIGNAL:
        net->signals++;
        if (event->is_up) {
            replica_shard_peer_up(node->shard, event->number);
        } else {
            replica_shard_peer_down(node->shard, event->number);
            probe(node, event->number);
        }
        break;
    case EVENT_ENDED:
        replica_shard_peer_ended(node->shard, event->number);
        break;
    }
    net->steps++;
    raft_net_settle(node);
}

void raft_net_run(struct raft_net *net, uint64_t until_us)
{
    while (net->violations == 0 && net->event_count > 0 && net->events[0].at_us <= until_us) {
        struct net_event event = net_event_take(net);
        net->now_us = event.at_us;
        on_event(net, &event);
        event_free(&event);
    }
    if (net->now_us < until_us) {
        net->now_us = until_us;
    }
}

void raft_net_heal(struct raft_net *net)
{
    memset(net->is_cut, 0, sizeof net->is_cut);
    net->options.loss = 0;
    net->options.repeat = 0;
    net->options.late = 0;
}

int raft_net_leader(const struct raft_net *net)
{
    int found = -1;
    uint64_t term = 0;
    for (unsigned i = 0; i < net->options.node_count; i++) {
        const struct net_node *node = &net->nodes[i];
        if (node->is_up && replica_is_ready_leader(node->replica) && replica_term(node->replica) > term) {
            term = replica_term(node->replica);
            found = (int)i;
        }
    }
    return found;
}

enum err raft_net_propose(struct raft_net *net, unsigned slot)
{
    struct net_node *node = &net->nodes[slot];
    uint8_t payload[160] = {0};
    uint64_t number = ++net->proposals;
    memcpy(payload, &number, sizeof number);
    size_t size = sizeof number + raft_net_random(net, sizeof payload - sizeof number);
    struct entry *entry = entry_new_copy(ENTRY_COMMAND, 0, 0, (struct bytes){payload, size});
    enum err err = replica_submit(node->replica, entry);
    if (err != OK) {
        entry_release(entry);
    }
    return err;
}

bool raft_net_is_level(const struct raft_net *net)
{
    int leader = raft_net_leader(net);
    if (leader < 0) {
        return false;
    }
    struct replica_status status;
    replica_status(net->nodes[leader].replica, &status);
    if (status.applied_index != status.last_index) {
        return false;
    }
    for (unsigned i = 0; i < net->options.node_count; i++) {
        const struct net_node *node = &net->nodes[i];
        struct replica_status other;
        if (!node->is_up || membership_find(&status.membership, node->id) == NULL) {
            continue;
        }
        replica_status(node->replica, &other);
        if (other.applied_index != status.applied_index) {
            return false;
        }
    }
    return true;
}
