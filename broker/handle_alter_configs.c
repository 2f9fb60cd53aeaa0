/* AlterConfigs, which replaces all that is set, and IncrementalAlterConfigs, which says what to do with each key: one
 * wish for all topics and brokers of the request, each answered on its own. */

#include "base/limits.h"
#include "base/mem.h"
#include "broker/forward.h"
#include "broker/wish.h"
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

enum {
    RESOURCE_TOPIC = 2,
    RESOURCE_BROKER = 4,
    RESOURCE_BROKER_LOGGER = 8
};

/* A topic or broker of either request. */
struct alter_resource {
    int8_t type;
    struct bytes name;
    struct controller_config_change *changes;
    size_t count;
    struct controller_result result;
};

struct alter_work {
    struct wish wish;
    struct request *request;
    struct alter_resource *resources;
    size_t count;
    bool is_replaced, is_validate_only;
    struct controller_alter alter;
    struct controller_alter_one *alters; /* those that the controller decides */
    size_t *places;                      /* of each in `resources` */
};

static void alter_free(struct alter_work *work)
{
    mem_free(work->resources);
    mem_free(work->alters);
    mem_free(work->alter.results);
    mem_free(work->places);
    mem_free(work);
}

/* ---- Answer ---- */

static struct bytes text_of(const struct controller_result *result)
{
    return result->text[0] != '\0' ? bytes_from_text(result->text) : BYTES_NONE;
}

static bool respond_replaced(struct alter_work *work)
{
    struct kafka_alter_configs_response response;
    codec_init_defaults(&kafka_alter_configs_response_schema, &response);
    if (work->count > 0) {
        response.responses =
            codec_new(&kafka_alter_configs_response_resource_schema, work->count, &work->request->arena);
        if (response.responses == NULL) {
            return false;
        }
    }
    response.responses_count = (int32_t)work->count;
    for (size_t i = 0; i < work->count; i++) {
        const struct alter_resource *resource = &work->resources[i];
        response.responses[i] =
            (struct kafka_alter_configs_response_resource){.error_code = (int16_t)resource->result.error,
                                                           .error_message = text_of(&resource->result),
                                                           .resource_type = resource->type,
                                                           .resource_name = resource->name};
    }
    request_respond(work->request, &kafka_alter_configs_response_schema, &response);
    return true;
}

static bool respond_incremental(struct alter_work *work)
{
    struct kafka_incremental_alter_configs_response response;
    codec_init_defaults(&kafka_incremental_alter_configs_response_schema, &response);
    if (work->count > 0) {
        response.responses =
            codec_new(&kafka_incremental_alter_configs_response_resource_schema, work->count, &work->request->arena);
        if (response.responses == NULL) {
            return false;
        }
    }
    response.responses_count = (int32_t)work->count;
    for (size_t i = 0; i < work->count; i++) {
        const struct alter_resource *resource = &work->resources[i];
        response.responses[i] =
            (struct kafka_incremental_alter_configs_response_resource){.error_code = (int16_t)resource->result.error,
                                                                       .error_message = text_of(&resource->result),
                                                                       .resource_type = resource->type,
                                                                       .resource_name = resource->name};
    }
    request_respond(work->request, &kafka_incremental_alter_configs_response_schema, &response);
    return true;
}

static void alter_respond(struct alter_work *work)
{
    for (size_t i = 0; i < work->alter.count; i++) {
        work->resources[work->places[i]].result = work->alter.results[i];
    }
    if (!(work->is_replaced ? respond_replaced(work) : respond_incremental(work))) {
        request_kill(work->request, "alter configs response over the memory limit");
    }
    alter_free(work);
}

/* ---- The controller ---- */

static void alter_decided(struct wish *wish)
{
    struct alter_work *work = container_of(wish, struct alter_work, wish);
    if (request_is_undone(work->request, wish->refusal)) {
        request_not_controller(work->request);
        alter_free(work);
        return;
    }
    alter_respond(work);
}

static void alter_on_controlled(struct controller_alter *alter)
{
    wish_controlled(&container_of(alter, struct alter_work, alter)->wish, alter->results, alter->count);
}

static void alter_decide(struct wish *wish, struct controller *controller)
{
    struct alter_work *work = container_of(wish, struct alter_work, wish);
    if (controller != NULL) {
        work->alter.cb = alter_on_controlled;
        controller_alter_configs(controller, &work->alter);
        return;
    }
    for (size_t i = 0; i < work->alter.count; i++) {
        work->alter.results[i] = (struct controller_result){.error = wish->refusal};
    }
    wish_decided(wish);
}

/* ---- What can be said without the controller ---- */

__attribute__((format(printf, 3, 4))) static bool refuse(struct alter_resource *resource, enum kafka_error error,
                                                         const char *format, ...)
{
    va_list args;
    va_start(args, format);
    (void)vsnprintf(resource->result.text, sizeof(resource->result.text), format, args);
    va_end(args);
    resource->result.error = error;
    return false;
}

static bool has_repeated_key(const struct alter_resource *resource)
{
    for (size_t i = 0; i < resource->count; i++) {
        for (size_t j = 0; j < i; j++) {
            if (bytes_equal(resource->changes[i].name, resource->changes[j].name)) {
                return true;
            }
        }
    }
    return false;
}

static bool is_repeated(const struct alter_work *work, size_t at)
{
    const struct alter_resource *resource = &work->resources[at];
    for (size_t i = 0; i < work->count; i++) {
        const struct alter_resource *other = &work->resources[i];
        if (i != at && other->type == resource->type && bytes_equal(other->name, resource->name)) {
            return true;
        }
    }
    return false;
}

/* False: refused. */
static bool alter_of(const struct alter_work *work, size_t at, struct controller_alter_one *alter)
{
    struct alter_resource *resource = &work->resources[at];
    int64_t id = -1;
    *alter = (struct controller_alter_one){.is_broker = resource->type == RESOURCE_BROKER,
                                           .name = resource->name,
                                           .is_replaced = work->is_replaced,
                                           .changes = resource->changes,
                                           .count = resource->count};
    if (resource->type == RESOURCE_BROKER_LOGGER) {
        return refuse(resource, KAFKA_INVALID_REQUEST,
                      "Levels of logging cannot be altered while a broker runs: see balsa.log.level");
    }
    if (resource->type != RESOURCE_TOPIC && resource->type != RESOURCE_BROKER) {
        return refuse(resource, KAFKA_INVALID_REQUEST, "Unsupported resource type: %d", resource->type);
    }
    if (alter->is_broker && resource->name.size > 0 &&
        (!config_parse_long(resource->name, &id) || id < 0 || id > INT32_MAX)) {
        return refuse(resource, KAFKA_INVALID_REQUEST, "Broker id must be an integer from 0 on, but it is: %s",
                      config_show(resource->name).text);
    }
    alter->broker = (int32_t)id;
    if (is_repeated(work, at)) {
        return refuse(resource, KAFKA_INVALID_REQUEST, "Each resource must appear at most once.");
    }
    if (resource->count > ALTER_CHANGE_COUNT_MAX) {
        return refuse(resource, KAFKA_INVALID_REQUEST, "%zu configs: at most %d can be altered at once.",
                      resource->count, ALTER_CHANGE_COUNT_MAX);
    }
    return !has_repeated_key(resource) || refuse(resource, KAFKA_INVALID_REQUEST, "Error due to duplicate config keys");
}

/* `work` is whole but for what the controller is to decide. */
static void alter_send(struct alter_work *work)
{
    work->alters = mem_alloc((work->count + 1) * sizeof(*work->alters));
    work->places = mem_alloc((work->count + 1) * sizeof(*work->places));
    work->alter.results = mem_alloc((work->count + 1) * sizeof(*work->alter.results));
    work->alter.alters = work->alters;
    work->alter.is_validate_only = work->is_validate_only;
    for (size_t i = 0; i < work->count; i++) {
        if (work->count > ALTER_RESOURCE_COUNT_MAX) {
            (void)refuse(&work->resources[i], KAFKA_INVALID_REQUEST, "%zu resources: at most %d in one request.",
                         work->count, ALTER_RESOURCE_COUNT_MAX);
        } else if (alter_of(work, i, &work->alters[work->alter.count])) {
            work->places[work->alter.count++] = i;
        }
    }
    if (work->alter.count == 0) {
        alter_respond(work);
        return;
    }
    work->wish.refusal = work->request->refusal;
    work->wish.decide = alter_decide;
    work->wish.decided = alter_decided;
    wish_send(&work->wish, work->request->shard);
}

/* ---- Requests ---- */

/* NULL: over what one request may have, and the request is gone. */
static struct alter_work *work_new(struct request *request, size_t count, bool is_replaced, bool is_validate_only)
{
    struct alter_work sizes;
    if (!request_charge(request, count,
                        sizeof(*sizes.resources) + sizeof(*sizes.alters) + sizeof(*sizes.places) +
                            sizeof(*sizes.alter.results))) {
        return NULL;
    }
    struct alter_work *work = mem_alloc(sizeof(*work));
    work->request = request;
    work->count = count;
    work->is_replaced = is_replaced;
    work->is_validate_only = is_validate_only;
    work->resources = mem_alloc((count + 1) * sizeof(*work->resources));
    return work;
}

static bool resource_init(struct alter_work *work, size_t at, int8_t type, struct bytes name, int32_t change_count)
{
    struct alter_resource *resource = &work->resources[at];
    resource->type = type;
    resource->name = name;
    resource->count = change_count > 0 ? (size_t)change_count : 0;
    resource->changes = arena_alloc(&work->request->arena, (resource->count + 1) * sizeof(*resource->changes));
    return resource->changes != NULL;
}

static void give_up(struct alter_work *work)
{
    request_kill(work->request, "alter configs request over the memory limit");
    alter_free(work);
}

void handle_alter_configs(struct request *request)
{
    struct kafka_alter_configs_request message;
    if (forward_to_controller(request) || !request_decode(request, &kafka_alter_configs_request_schema, &message)) {
        return;
    }
    struct alter_work *work = work_new(request, (size_t)message.resources_count, true, message.validate_only);
    for (size_t i = 0; work != NULL && i < work->count; i++) {
        const struct kafka_alter_configs_request_resource *resource = &message.resources[i];
        if (!resource_init(work, i, resource->resource_type, resource->resource_name, resource->configs_count)) {
            give_up(work);
            return;
        }
        for (int32_t n = 0; n < resource->configs_count; n++) {
            work->resources[i].changes[n] = (struct controller_config_change){
                .name = resource->configs[n].name, .value = resource->configs[n].value, .operation = CONTROLLER_SET};
        }
    }
    if (work != NULL) {
        alter_send(work);
    }
}

void handle_incremental_alter_configs(struct request *request)
{
    struct kafka_incremental_alter_configs_request message;
    if (forward_to_controller(request) ||
        !request_decode(request, &kafka_incremental_alter_configs_request_schema, &message)) {
        return;
    }
    struct alter_work *work = work_new(request, (size_t)message.resources_count, false, message.validate_only);
    for (size_t i = 0; work != NULL && i < work->count; i++) {
        const struct kafka_incremental_alter_configs_request_resource *resource = &message.resources[i];
        if (!resource_init(work, i, resource->resource_type, resource->resource_name, resource->configs_count)) {
            give_up(work);
            return;
        }
        for (int32_t n = 0; n < resource->configs_count; n++) {
            work->resources[i].changes[n] =
                (struct controller_config_change){.name = resource->configs[n].name,
                                                  .value = resource->configs[n].value,
                                                  .operation = resource->configs[n].config_operation};
        }
    }
    if (work != NULL) {
        alter_send(work);
    }
}
