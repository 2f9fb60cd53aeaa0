/* CRC-32C (Castagnoli), in hardware through isa-l. Source: RFC 3720 B.4 for the test vectors.
 * crc32c(0, "123456789") == 0xE3069283; crc32c(crc32c(0, a), b) == crc32c(0, a || b). */
#pragma once

#include "base/bytes.h"

uint32_t crc32c(uint32_t crc, struct bytes bytes);
