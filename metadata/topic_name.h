/* Which names a topic may have. Pure. Source: Kafka's Topic.validate: [a-zA-Z0-9._-]{1,249}, neither "." nor "..". */
#pragma once

#include "base/bytes.h"

/* NULL: valid; else the cause as a static sentence. */
const char *topic_name_fault(struct bytes name);
/* Names that differ only in '.' and '_' collide in the names of metrics; Kafka refuses the second. Makes such names the
 * same, in place. */
void topic_name_fold(uint8_t *name, size_t size);
