/* One table lookup a byte would be faster than what is here; names are checked once, when a topic is created. */

#include "metadata/topic_name.h"
#include "base/limits.h"

static bool is_legal(uint8_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
           c == '-';
}

const char *topic_name_fault(struct bytes name)
{
    if (name.size == 0) {
        return "the empty string is not allowed";
    }
    if (bytes_equal_text(name, ".") || bytes_equal_text(name, "..")) {
        return "'.' or '..' is not allowed";
    }
    if (name.size > TOPIC_NAME_SIZE_MAX) {
        return "it is longer than 249 characters";
    }
    for (size_t i = 0; i < name.size; i++) {
        if (!is_legal(name.data[i])) {
            return "it contains a character other than ASCII alphanumerics, '.', '_' and '-'";
        }
    }
    return NULL;
}

static uint8_t folded(uint8_t c)
{
    return c == '.' ? '_' : c;
}

void topic_name_fold(uint8_t *name, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        name[i] = folded(name[i]);
    }
}
