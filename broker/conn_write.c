/* Happy path: at the end of a turn the answered requests at the head of the line go out in one gathering write; what is
 * answered meanwhile waits for it to end. A request, and the memory it holds, lives until its answer is in the
 * socket. */

#include "base/assert.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/trace.h"
#include "broker/conn_internal.h"

#define WRITE_FRAGMENT_COUNT_MAX 1024 /* IOV_MAX */
#define IOV_KEPT_MAX 64               /* a longer array is not kept: there may be thousands of connections */

static void conn_on_written(struct stream_write *write, enum err err)
{
    struct conn *conn = container_of(write, struct conn, write);
    int64_t now_us = env_now_us(conn->conns->env);
    struct list *link;
    conn->is_writing = false;
    while ((link = list_pop(&conn->writing)) != NULL) {
        struct request *request = container_of(link, struct request, link);
        conn->unsent_size -= request->response.size;
        request_free(request, now_us);
    }
    if (conn->iov_capacity > IOV_KEPT_MAX) {
        mem_free(conn->iov);
        conn->iov = NULL;
        conn->iov_capacity = 0;
    }
    if (err != OK) {
        conn_end(conn, err);
    }
    if (conn->is_closing) {
        conn_maybe_free(conn);
        return;
    }
    conn_touch(conn);
    conn_schedule(conn);
}

static void iov_add(struct conn *conn, size_t *count, const struct outbuf *out)
{
    if (*count + out->fragment_count > conn->iov_capacity) {
        conn->iov_capacity = 2 * (*count + out->fragment_count);
        conn->iov = mem_resize(conn->iov, conn->iov_capacity * sizeof(*conn->iov));
    }
    for (size_t i = 0; i < out->fragment_count; i++) {
        const struct outbuf_fragment *fragment = &out->fragments[i];
        conn->iov[(*count)++] = (struct iovec){(void *)(uintptr_t)fragment->data, fragment->size};
    }
}

void conn_flush(struct conn *conn)
{
    size_t count = 0;
    if (conn->is_writing || conn->is_closing) {
        return;
    }
    while (!list_is_empty(&conn->requests)) {
        struct request *request = container_of(conn->requests.next, struct request, link);
        if (!request->is_answered ||
            (count > 0 && count + request->response.fragment_count > WRITE_FRAGMENT_COUNT_MAX)) {
            break;
        }
        list_remove(&request->link);
        conn->request_count--;
        if (request->is_silent) {
            request_free(request, request->answered_us);
            continue;
        }
        iov_add(conn, &count, &request->response);
        list_push(&conn->writing, &request->link);
    }
    if (count > 0) {
        conn->is_writing = true;
        conn->write = (struct stream_write){.iov = conn->iov, .count = count, .cb = conn_on_written};
        conn->conns->env->net->stream_write(conn->stream, &conn->write);
    }
}
