/* Codes, their texts, and the text of a failure that grows from the cause outwards. */
#include "base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"

#undef fail
#undef fail_wrap

static const char *const names[] = {
#define ERR_NAME(name, text) [name] = #name,
    ERR_MAP(ERR_NAME)
#undef ERR_NAME
};

static const char *const texts[] = {
#define ERR_TEXT(name, text) [name] = text,
    ERR_MAP(ERR_TEXT)
#undef ERR_TEXT
};

const char *err_name(enum err err)
{
    return (size_t)err < array_count(names) ? names[err] : "ERR_UNKNOWN";
}

const char *err_text(enum err err)
{
    return (size_t)err < array_count(texts) ? texts[err] : "unknown error";
}

/* `size` is what the whole text would have taken: if that is more than there is room for, the end
 * says so. */
static void mark_cut(struct errmsg *msg, int size)
{
    static const char mark[] = "...";
    if (size < 0 || (size_t)size >= sizeof msg->text) {
        memcpy(msg->text + sizeof msg->text - sizeof mark, mark, sizeof mark);
    }
}

enum err fail(struct errmsg *msg, enum err err, const char *format, ...)
{
    assert(err != OK);
    if (msg != NULL) {
        va_list args;
        va_start(args, format);
        int size = vsnprintf(msg->text, sizeof msg->text, format, args);
        va_end(args);
        mark_cut(msg, size);
    }
    return err;
}

enum err fail_wrap(struct errmsg *msg, enum err err, const char *format, ...)
{
    assert(err != OK);
    if (msg != NULL) {
        struct errmsg context;
        struct errmsg cause = *msg;
        va_list args;
        va_start(args, format);
        int size = vsnprintf(context.text, sizeof context.text, format, args);
        va_end(args);
        mark_cut(&context, size);
        cause.text[sizeof cause.text - 1] = '\0';
        size = snprintf(msg->text, sizeof msg->text, "%s: %s", context.text, cause.text);
        mark_cut(msg, size);
    }
    return err;
}

enum err err_from_errno(int number)
{
    switch (number) {
    case 0:
        return OK;
    case ENOSPC:
    case EDQUOT:
        return ERR_NO_SPACE;
    case EAGAIN:
        return ERR_WOULD_BLOCK;
    case ENOENT:
        return ERR_NOT_FOUND;
    case EEXIST:
        return ERR_EXISTS;
    case EACCES:
    case EPERM:
        return ERR_DENIED;
    default:
        return ERR_IO;
    }
}
