/* Standard input of a tool: a terminal, a pipe or a file, read off the loop. */
#pragma once

#include "base/env.h"

struct uv_input_read;
typedef void (*uv_input_cb)(struct uv_input_read *req);

struct uv_input_read {   /* Caller's memory until cb. */
    uint8_t *data;       /* in: room, untouched by the caller until cb */
    size_t size;         /* in: > 0 */
    uv_input_cb cb;      /* in */
    size_t got;          /* out: 0 when nothing came for a while, so that whoever wants to stop can */
    bool is_end;         /* out: nothing more will come */
    enum err err;        /* out: OK or ERR_IO */
    struct work work;    /* private */
};

/* Waits a fifth of a second for the first byte and not at all for more. One read at a time. */
void uv_input_read(struct env *env, struct uv_input_read *req);
