#include "proto/kafka_api.h"

#include "base/assert.h"
#include "base/limits.h"
#include "base/mem.h"

#define API_KEY_MAX 127

enum {
#define KAFKA_API_PLACE(constant, ...) PLACE_##constant,
    KAFKA_API_MAP(KAFKA_API_PLACE) KAFKA_API_INTERNAL_MAP(KAFKA_API_PLACE)
#undef KAFKA_API_PLACE
};

#define KAFKA_API_ROW(constant, key, name, prefix, first, last, advertised, flexible) \
    {key,                                                                             \
     PLACE_##constant,                                                                \
     first,                                                                           \
     last,                                                                            \
     advertised,                                                                      \
     flexible,                                                                        \
     name,                                                                            \
     &prefix##_request_schema,                                                        \
     &prefix##_response_schema},
const struct kafka_api kafka_apis[KAFKA_API_COUNT] = {KAFKA_API_MAP(KAFKA_API_ROW)};
static const struct kafka_api internal_apis[] = {KAFKA_API_INTERNAL_MAP(KAFKA_API_ROW)};
#undef KAFKA_API_ROW

/* Place in kafka_apis plus one, by key; 0: not served. */
static const uint8_t places[API_KEY_MAX + 1] = {
#define KAFKA_API_PLACE(constant, key, ...) [key] = PLACE_##constant + 1,
    KAFKA_API_MAP(KAFKA_API_PLACE)
#undef KAFKA_API_PLACE
};

const struct kafka_api *kafka_api_find(int16_t key)
{
    if (key < 0 || key > API_KEY_MAX || places[key] == 0) {
        return NULL;
    }
    const struct kafka_api *api = &kafka_apis[places[key] - 1];
    assert(api->key == key);
    return api;
}

const struct kafka_api *kafka_api_find_internal(int16_t key)
{
    for (size_t i = 0; i < array_count(internal_apis); i++) {
        if (internal_apis[i].key == key) {
            return &internal_apis[i];
        }
    }
    return kafka_api_find(key);
}

const struct kafka_api *kafka_api_at(size_t place)
{
    assert(place < KAFKA_API_COUNT_ALL);
    const struct kafka_api *api =
        place < KAFKA_API_COUNT ? &kafka_apis[place] : &internal_apis[place - KAFKA_API_COUNT];
    assert(api->place == place);
    return api;
}

bool kafka_api_accepts(const struct kafka_api *api, int16_t version)
{
    return version >= api->version_min && version <= api->version_max;
}

int16_t kafka_api_request_header(const struct kafka_api *api, int16_t version)
{
    return version >= api->flexible_min ? 2 : 1;
}

int16_t kafka_api_response_header(const struct kafka_api *api, int16_t version)
{
    return version >= api->flexible_min && api->key != KAFKA_API_API_VERSIONS ? 1 : 0;
}
