/* Goal: no file can hurt the parser or the options, and what the parser reads means the same when it is written
 * and read again. Input: the file's bytes. Method: parse; write every entry with all that is special escaped;
 * parse that: the entries must be the same. Then load the input as options: it is taken, or refused with a
 * message. */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/dynbuf.h"
#include "base/limits.h"
#include "base/trace.h"
#include "broker/options.h"
#include "broker/properties.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct rewrite {
    struct dynbuf entries; /* as [key NUL value NUL] */
    struct dynbuf text;    /* a file that says the same */
};

static void put_escaped(struct dynbuf *text, const char *field)
{
    for (; *field != '\0'; field++) {
        uint8_t escaped[2] = {'\\', (uint8_t)*field};
        bool is_special = strchr(" \t\n\r\f=:#!\\", *field) != NULL;
        escaped[1] = *field == '\n'   ? 'n'
                     : *field == '\r' ? 'r'
                     : *field == '\t' ? 't'
                     : *field == '\f' ? 'f'
                                      : (uint8_t)*field;
        enum err err = dynbuf_put(text, is_special ? (struct bytes){escaped, 2} : (struct bytes){escaped + 1, 1});
        assert(err == OK);
    }
}

static enum err rewrite_entry(void *context, const char *key, const char *value, unsigned line, struct errmsg *msg)
{
    struct rewrite *rewrite = context;
    (void)line;
    (void)msg;
    assert(strlen(key) <= PROPERTIES_KEY_SIZE_MAX);
    assert(strlen(value) <= PROPERTIES_VALUE_SIZE_MAX);
    put_escaped(&rewrite->text, key);
    enum err err = dynbuf_put(&rewrite->text, bytes_from_text(" = "));
    assert(err == OK);
    put_escaped(&rewrite->text, value);
    err = dynbuf_put(&rewrite->text, bytes_from_text("\n"));
    assert(err == OK);
    err = dynbuf_put(&rewrite->entries, (struct bytes){(const uint8_t *)key, strlen(key) + 1});
    assert(err == OK);
    err = dynbuf_put(&rewrite->entries, (struct bytes){(const uint8_t *)value, strlen(value) + 1});
    assert(err == OK);
    return OK;
}

static enum err rewrite_text(struct bytes text, struct rewrite *rewrite)
{
    struct errmsg msg = {""};
    dynbuf_init(&rewrite->entries, MIB(64));
    dynbuf_init(&rewrite->text, MIB(64));
    enum err err = properties_parse(text, rewrite, rewrite_entry, &msg);
    assert(err == OK || strncmp(msg.text, "line ", 5) == 0);
    return err;
}

static void rewrite_deinit(struct rewrite *rewrite)
{
    dynbuf_deinit(&rewrite->entries);
    dynbuf_deinit(&rewrite->text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rewrite first;
    struct rewrite second;
    struct options options;
    struct errmsg msg = {""};
    if (rewrite_text((struct bytes){data, size}, &first) == OK) {
        enum err err = rewrite_text(dynbuf_bytes(&first.text), &second);
        assert(err == OK);
        assert(bytes_equal(dynbuf_bytes(&first.entries), dynbuf_bytes(&second.entries)));
        rewrite_deinit(&second);
    }
    rewrite_deinit(&first);
    trace_set_level(TRACE_MAIN, TRACE_ERROR); /* warnings of idle keys would drown all else */
    options_init(&options);
    enum err err = options_load_text(&options, (struct bytes){data, size}, "f", &msg);
    err = err == OK ? options_finish(&options, &msg) : err;
    assert((err == OK) == (msg.text[0] == '\0'));
    options_deinit(&options);
    return 0;
}
