/* Kafka's error codes, as answered to clients. The table is proto/errors.def. Pure; any thread. */
#pragma once

#include <stdbool.h>

enum kafka_error {
#define KAFKA_ERROR(name, code, is_retriable, text) KAFKA_##name = code,
#include "proto/errors.def"
#undef KAFKA_ERROR
};

#define KAFKA_ERROR(name, code, is_retriable, text) +1
enum {
    KAFKA_ERROR_COUNT = 0
#include "proto/errors.def"
};
#undef KAFKA_ERROR

/* Codes by number, from KAFKA_ERROR_FIRST up without gaps. */
#define KAFKA_ERROR_FIRST (-1)

/* Name in Kafka's spelling ("NOT_LEADER_OR_FOLLOWER") and a default text. Static; "UNKNOWN" for a code not in the
 * table. */
const char *kafka_error_name(enum kafka_error error);
const char *kafka_error_text(enum kafka_error error);
/* Whether Kafka's clients repeat the request by themselves. */
bool kafka_error_is_retriable(enum kafka_error error);
