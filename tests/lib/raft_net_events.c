#include "tests/lib/raft_net_events.h"

#include "base/mem.h"

static bool is_before(const struct net_event *a, const struct net_event *b)
{
    return a->at_us < b->at_us || (a->at_us == b->at_us && a->sequence < b->sequence);
}

static void event_swap(struct raft_net *net, size_t a, size_t b)
{
    struct net_event swap = net->events[a];
    net->events[a] = net->events[b];
    net->events[b] = swap;
}

void net_event_put(struct raft_net *net, uint64_t delay_us, struct net_event event)
{
    event.at_us = net->now_us + delay_us;
    event.sequence = net->sequence++;
    if (net->event_count == net->event_capacity) {
        net->event_capacity = net->event_capacity == 0 ? 256 : net->event_capacity * 2;
        net->events = mem_resize(net->events, net->event_capacity * sizeof *net->events);
    }
    size_t at = net->event_count++;
    net->events[at] = event;
    while (at > 0 && is_before(&net->events[at], &net->events[(at - 1) / 2])) {
        event_swap(net, at, (at - 1) / 2);
        at = (at - 1) / 2;
    }
}

struct net_event net_event_take(struct raft_net *net)
{
    struct net_event first = net->events[0];
    net->events[0] = net->events[--net->event_count];
    size_t at = 0;
    for (;;) {
        size_t least = at;
        for (size_t child = 2 * at + 1; child <= 2 * at + 2 && child < net->event_count; child++) {
            if (is_before(&net->events[child], &net->events[least])) {
                least = child;
            }
        }
        if (least == at) {
            return first;
        }
        event_swap(net, at, least);
        at = least;
    }
}
