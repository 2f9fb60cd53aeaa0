/* isa-l's crc32_iscsi() takes and gives the bare register: the complement before and after, which
 * CRC-32C is defined with, is done here. Its length is an int, so longer input goes in parts. */
#include "base/crc32c.h"

#include <isa-l/crc.h>

#define PART_SIZE_MAX ((size_t)1 << 30)

uint32_t crc32c(uint32_t crc, struct bytes bytes)
{
    crc = ~crc;
    while (bytes.size > 0) {
        size_t size = bytes.size < PART_SIZE_MAX ? bytes.size : PART_SIZE_MAX;
        /* The function reads only; its prototype lacks the const. */
        crc = crc32_iscsi((unsigned char *)(uintptr_t)bytes.data, (int)size, crc);
        bytes.data += size;
        bytes.size -= size;
    }
    return ~crc;
}
