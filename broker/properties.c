/* Happy path: a cursor takes one logical line after another; two buffers of fixed size take key and value, unescaped.
 * Continuations are resolved by the cursor, so that the rest sees logical lines only. */

#include "broker/properties.h"
#include <string.h>

#define END (-1)

struct cursor {
    const uint8_t *at;
    size_t left;
    unsigned line;
};

struct field {
    char *text;
    size_t size;
    size_t size_max;
};

struct parser {
    struct cursor cursor;
    struct errmsg *msg;
    char key[PROPERTIES_KEY_SIZE_MAX + 1];
    char value[PROPERTIES_VALUE_SIZE_MAX + 1];
};

static bool is_blank(int c)
{
    return c == ' ' || c == '\t' || c == '\f';
}

static bool is_line_end(int c)
{
    return c == '\n' || c == '\r';
}

static int peek_at(const struct cursor *cursor, size_t ahead)
{
    return cursor->left > ahead ? cursor->at[ahead] : END;
}

static void skip(struct cursor *cursor)
{
    cursor->at++;
    cursor->left--;
}

/* \n, \r, or \r\n as one. */
static void skip_line_end(struct cursor *cursor)
{
    if (peek_at(cursor, 0) == '\r' && peek_at(cursor, 1) == '\n') {
        skip(cursor);
    }
    skip(cursor);
    cursor->line++;
}

static void skip_blanks(struct cursor *cursor)
{
    while (is_blank(peek_at(cursor, 0))) {
        skip(cursor);
    }
}

/* Next character of the logical line, END behind its last one. A backslash before the line's end is passed over
 * together with the blanks that the next line starts with; every other backslash is returned, with its character still
 * to come. */
static int peek(struct cursor *cursor)
{
    while (peek_at(cursor, 0) == '\\' && is_line_end(peek_at(cursor, 1))) {
        skip(cursor);
        skip_line_end(cursor);
        skip_blanks(cursor);
    }
    int c = peek_at(cursor, 0);
    return is_line_end(c) ? END : c;
}

static enum err put(struct parser *parser, struct field *field, int c)
{
    if (c == '\0') {
        return fail(parser->msg, ERR_INVALID, "line %u: a NUL byte", parser->cursor.line);
    }
    if (field->size == field->size_max) {
        return fail(parser->msg, ERR_TOO_LARGE, "line %u: more than %zu characters", parser->cursor.line,
                    field->size_max);
    }
    field->text[field->size++] = (char)c;
    field->text[field->size] = '\0';
    return OK;
}

static enum err put_unicode(struct parser *parser, struct field *field, uint32_t point)
{
    static const struct {
        uint32_t end;
        unsigned mark, rest;
    } forms[] = {{0x80, 0x00, 0}, {0x800, 0xc0, 1}, {0x10000, 0xe0, 2}, {0x110000, 0xf0, 3}};
    size_t form = 0;
    while (point >= forms[form].end) {
        form++;
    }
    enum err err = put(parser, field, (int)(forms[form].mark | point >> (6 * forms[form].rest)));
    for (unsigned rest = forms[form].rest; err == OK && rest > 0; rest--) {
        err = put(parser, field, (int)(0x80 | (point >> (6 * (rest - 1)) & 0x3f)));
    }
    return err;
}

/* The four digits behind \u. */
static bool take_unit(struct cursor *cursor, uint32_t *unit)
{
    *unit = 0;
    for (unsigned i = 0; i < 4; i++) {
        int c = peek(cursor);
        int digit = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                           : -1;
        if (digit < 0) {
            return false;
        }
        *unit = *unit << 4 | (uint32_t)digit;
        skip(cursor);
    }
    return true;
}

static enum err take_unicode(struct parser *parser, struct field *field)
{
    struct cursor *cursor = &parser->cursor;
    uint32_t high;
    uint32_t low;
    if (!take_unit(cursor, &high)) {
        return fail(parser->msg, ERR_INVALID, "line %u: \\u needs four hexadecimal digits", cursor->line);
    }
    if (high < 0xd800 || high > 0xdfff) {
        return put_unicode(parser, field, high);
    }
    bool is_pair = high < 0xdc00 && peek(cursor) == '\\' && peek_at(cursor, 1) == 'u';
    if (is_pair) {
        skip(cursor);
        skip(cursor);
        is_pair = take_unit(cursor, &low) && low >= 0xdc00 && low <= 0xdfff;
    }
    if (!is_pair) {
        return fail(parser->msg, ERR_INVALID, "line %u: \\u with half of a surrogate pair", cursor->line);
    }
    return put_unicode(parser, field, 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00));
}

/* Behind a backslash. One at the very end of the text stands for nothing. */
static enum err take_escape(struct parser *parser, struct field *field)
{
    int c = peek_at(&parser->cursor, 0);
    if (c == END) {
        return OK;
    }
    skip(&parser->cursor);
    switch (c) {
    case 't':
        return put(parser, field, '\t');
    case 'n':
        return put(parser, field, '\n');
    case 'r':
        return put(parser, field, '\r');
    case 'f':
        return put(parser, field, '\f');
    case 'u':
        return take_unicode(parser, field);
    default:
        return put(parser, field, c);
    }
}

static enum err take_field(struct parser *parser, bool is_key, struct field *field)
{
    enum err err = OK;
    field->text[0] = '\0';
    while (err == OK) {
        int c = peek(&parser->cursor);
        if (c == END || (is_key && (c == '=' || c == ':' || is_blank(c)))) {
            return OK;
        }
        skip(&parser->cursor);
        err = c == '\\' ? take_escape(parser, field) : put(parser, field, c);
    }
    return err;
}

static void skip_separator(struct cursor *cursor)
{
    bool has_sign = false;
    for (;;) {
        int c = peek(cursor);
        bool is_sign = !has_sign && (c == '=' || c == ':');
        if (!is_sign && !is_blank(c)) {
            return;
        }
        has_sign = has_sign || is_sign;
        skip(cursor);
    }
}

/* A comment ends with its line, whatever stands before the end. */
static void skip_comment(struct cursor *cursor)
{
    while (cursor->left > 0 && !is_line_end(peek_at(cursor, 0))) {
        skip(cursor);
    }
}

/* A backslash that continues nothing: what follows may still be a comment. At the very end Java makes an empty
 * entry. */
static bool is_idle_continuation(const struct cursor *cursor)
{
    return peek_at(cursor, 0) == '\\' && is_line_end(peek_at(cursor, 1)) && cursor->left > 2;
}

enum err properties_parse(struct bytes text, void *context, properties_cb cb, struct errmsg *msg)
{
    struct parser parser = {.cursor = {text.data, text.size, 1}, .msg = msg};
    struct cursor *cursor = &parser.cursor;
    enum err err = OK;
    while (err == OK && cursor->left > 0) {
        int c = peek_at(cursor, 0);
        if (is_blank(c) || is_idle_continuation(cursor)) {
            skip(cursor);
        } else if (is_line_end(c)) {
            skip_line_end(cursor);
        } else if (c == '#' || c == '!') {
            skip_comment(cursor);
        } else {
            struct field key = {parser.key, 0, PROPERTIES_KEY_SIZE_MAX};
            struct field value = {parser.value, 0, PROPERTIES_VALUE_SIZE_MAX};
            unsigned line = cursor->line;
            err = take_field(&parser, true, &key);
            if (err == OK) {
                skip_separator(cursor);
                err = take_field(&parser, false, &value);
            }
            if (err == OK) {
                err = cb(context, parser.key, parser.value, line, msg);
            }
        }
    }
    return err;
}
