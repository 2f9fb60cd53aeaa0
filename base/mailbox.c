/* Happy path: a sender appends under the lock and, if the box was empty, wakes the owner's loop; the loop calls
 * mailbox_on_wake(), which takes the whole list and delivers it outside the lock. A message sent meanwhile finds the
 * box empty and wakes again, so none is left behind and a sender never waits for a delivery. */
#include "base/mailbox.h"

#include <pthread.h>

#include "base/assert.h"
#include "base/mem.h"

struct mailbox {
    struct env *env;
    pthread_mutex_t mutex;
    struct list messages; /* guarded by mutex */
};

static void mailbox_on_wake(void *context)
{
    struct mailbox *mailbox = context;
    struct list batch;
    list_init(&batch);
    pthread_mutex_lock(&mailbox->mutex);
    list_move_all(&batch, &mailbox->messages);
    pthread_mutex_unlock(&mailbox->mutex);
    for (struct list *link = list_pop(&batch); link != NULL; link = list_pop(&batch)) {
        struct message *message = container_of(link, struct message, link);
        message->cb(message);
    }
}

struct mailbox *mailbox_open(struct env *env)
{
    struct mailbox *mailbox = mem_alloc(sizeof(*mailbox));
    mailbox->env = env;
    list_init(&mailbox->messages);
    int failed = pthread_mutex_init(&mailbox->mutex, NULL);
    assert(failed == 0);
    assert(env->waker->on_wake == NULL);
    env->waker->context = mailbox;
    env->waker->on_wake = mailbox_on_wake;
    return mailbox;
}

void mailbox_close(struct mailbox *mailbox)
{
    assert(list_is_empty(&mailbox->messages));
    mailbox->env->waker->on_wake = NULL;
    mailbox->env->waker->context = NULL;
    pthread_mutex_destroy(&mailbox->mutex);
    mem_free(mailbox);
}

static void wake_owner(struct mailbox *mailbox)
{
    mailbox->env->waker->wake(mailbox->env->waker);
}

void mailbox_send(struct mailbox *target, struct message *message)
{
    assert(message->cb != NULL);
    pthread_mutex_lock(&target->mutex);
    bool was_empty = list_is_empty(&target->messages);
    list_push(&target->messages, &message->link);
    pthread_mutex_unlock(&target->mutex);
    if (was_empty) {
        wake_owner(target);
    }
}

void mailbox_send_all(struct mailbox *target, struct list *messages)
{
    if (list_is_empty(messages)) {
        return;
    }
    pthread_mutex_lock(&target->mutex);
    bool was_empty = list_is_empty(&target->messages);
    list_move_all(&target->messages, messages);
    pthread_mutex_unlock(&target->mutex);
    if (was_empty) {
        wake_owner(target);
    }
}
