/* Intrusive doubly-linked list, inline functions only. A `struct list` is both the head and the link; a link that is
 * on no list points to itself (list_init), so list_remove() may be called on it. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct list {
    struct list *next;
    struct list *prev;
};

static inline void list_init(struct list *list)
{
    list->next = list;
    list->prev = list;
}
static inline bool list_is_empty(const struct list *list) { return list->next == list; }
static inline void list_insert_before(struct list *at, struct list *link)
{
    link->prev = at->prev;
    link->next = at;
    at->prev->next = link;
    at->prev = link;
}
static inline void list_push(struct list *head, struct list *link) { list_insert_before(head, link); } /* at the tail */
static inline void list_push_front(struct list *head, struct list *link) { list_insert_before(head->next, link); }
static inline void list_remove(struct list *link)
{
    link->prev->next = link->next;
    link->next->prev = link->prev;
    list_init(link);
}
/* First link, removed; NULL if empty. */
static inline struct list *list_pop(struct list *head)
{
    struct list *link = head->next;
    if (link == head) {
        return NULL;
    }
    list_remove(link);
    return link;
}
/* Moves all links of `source` to the tail of `target`, in order; source is empty afterwards. */
static inline void list_move_all(struct list *target, struct list *source)
{
    if (list_is_empty(source)) {
        return;
    }
    source->next->prev = target->prev;
    target->prev->next = source->next;
    source->prev->next = target;
    target->prev = source->prev;
    list_init(source);
}
