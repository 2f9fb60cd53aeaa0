/* Growing byte buffer with a mandatory maximum. A failing call leaves it as it was; data is NULL while empty. */
#pragma once

#include "base/bytes.h"

struct dynbuf {
    uint8_t *data;
    size_t size;
    size_t capacity;
    size_t size_max;
};

void dynbuf_init(struct dynbuf *buf, size_t size_max);
void dynbuf_deinit(struct dynbuf *buf);
MUST_CHECK enum err dynbuf_put(struct dynbuf *buf, struct bytes bytes);                 /* ERR_TOO_LARGE */
MUST_CHECK enum err dynbuf_printf(struct dynbuf *buf, const char *format, ...) __attribute__((format(printf, 2, 3)));
MUST_CHECK enum err dynbuf_reserve(struct dynbuf *buf, size_t extra);                   /* room behind size */
void dynbuf_consume(struct dynbuf *buf, size_t size);                                   /* drops from the front */
void dynbuf_reset(struct dynbuf *buf);                                                  /* empty, memory kept */
struct bytes dynbuf_bytes(const struct dynbuf *buf);
