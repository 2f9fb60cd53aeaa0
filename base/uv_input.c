/* A read may wait for a person, so it is work for the pool; it never waits for long, so that the pool can be closed. */
#include "base/uv_input.h"

#include <errno.h>
#include <poll.h>
#include <unistd.h>

#include "base/mem.h"

#define WAIT_MS 200

static void input_run(struct work *work)
{
    struct uv_input_read *req = container_of(work, struct uv_input_read, work);
    struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
    while (req->got < req->size && poll(&input, 1, req->got == 0 ? WAIT_MS : 0) > 0) {
        ssize_t got = read(STDIN_FILENO, req->data + req->got, req->size - req->got);
        if (got <= 0) {
            bool is_nothing = got < 0 && (errno == EINTR || errno == EAGAIN);
            req->is_end = !is_nothing;
            req->err = got < 0 && !is_nothing ? ERR_IO : OK;
            return;
        }
        req->got += (size_t)got;
    }
}

static void input_done(struct work *work)
{
    struct uv_input_read *req = container_of(work, struct uv_input_read, work);
    req->cb(req);
}

void uv_input_read(struct env *env, struct uv_input_read *req)
{
    assert(req->size > 0);
    req->got = 0;
    req->is_end = false;
    req->err = OK;
    req->work = (struct work){.run = input_run, .done = input_done};
    env->workers->submit(env->workers, &req->work);
}
