/* Happy path: addresses of brokers -> the command finds the leaders of its topic and works -> on_end -> close. */

#include "broker/ctl_records.h"
#include "base/mem.h"
#include "metadata/config_value.h"
#include <string.h>

struct ctl_records {
    const struct ctl_records_command *command;
    struct ctl_records_params params;
    struct ctl_kafka kafka;
    const char *bootstrap; /* NULL: the admin service is asked */
    void *work;            /* NULL: not begun */
};

static const struct ctl_records_command *command_of(const struct ctl_command *command)
{
    return strcmp(command->words, ctl_produce.words) == 0 ? &ctl_produce : &ctl_consume;
}

static const char *text_of(const ProtobufCMessage *arguments, const char *name)
{
    const ProtobufCFieldDescriptor *field =
        protobuf_c_message_descriptor_get_field_by_name(arguments->descriptor, name);
    const char *text;
    memcpy(&text, (const char *)arguments + field->offset, sizeof(text));
    return text;
}

enum err ctl_records_check(const struct ctl_command *command, const ProtobufCMessage *arguments,
                           enum record_format format, struct errmsg *msg)
{
    return command_of(command)->check(arguments, format, msg);
}

struct ctl_records *ctl_records_open(const struct ctl_command *command, const struct ctl_records_params *params,
                                     struct env *env, int64_t timeout_us)
{
    struct ctl_records *records = mem_alloc(sizeof(*records));
    records->command = command_of(command);
    records->params = *params;
    records->params.kafka = &records->kafka;
    records->kafka.env = env;
    records->kafka.timeout_us = timeout_us;
    records->kafka.topic = text_of(params->arguments, "topic");
    records->bootstrap = text_of(params->arguments, "bootstrap");
    return records;
}

bool ctl_records_needs_admin(const struct ctl_records *records)
{
    return records->bootstrap == NULL;
}

void ctl_records_add(struct ctl_records *records, const Balsa__Admin__V1__ClusterStatusResponse *status,
                     const char *admin_host)
{
    for (size_t i = 0; i < status->n_brokers; i++) {
        const Balsa__Admin__V1__Broker *broker = status->brokers[i];
        for (size_t n = 0; n < broker->n_endpoints; n++) {
            const Balsa__Admin__V1__Endpoint *endpoint = broker->endpoints[n];
            const char *host = endpoint->host[0] != '\0' ? endpoint->host : admin_host;
            ctl_kafka_add(&records->kafka, bytes_from_text(host), (uint16_t)endpoint->port);
        }
    }
}

static bool add_bootstrap(struct ctl_records *records)
{
    struct bytes left = bytes_from_text(records->bootstrap);
    struct bytes address;
    char host[256];
    uint16_t port;
    while (config_list_next(&left, &address)) {
        if (!ctl_parse_address(address, host, sizeof(host), &port)) {
            return false;
        }
        ctl_kafka_add(&records->kafka, bytes_from_text(host), port);
    }
    return true;
}

void ctl_records_begin(struct ctl_records *records)
{
    if (records->bootstrap != NULL && (!add_bootstrap(records) || records->kafka.broker_count == 0)) {
        (void)fprintf(stderr, "balsactl: --bootstrap '%s': expected host:port, more with commas between\n",
                      records->bootstrap);
        records->params.on_end(records->params.owner, CTL_USAGE);
    } else if (records->kafka.broker_count == 0) {
        (void)fprintf(stderr, "balsactl: the cluster has no brokers that serve clients yet\n");
        records->params.on_end(records->params.owner, CTL_UNREACHABLE);
    } else {
        records->work = records->command->open(&records->params);
    }
}

void ctl_records_stop(struct ctl_records *records)
{
    if (records->work != NULL) {
        records->command->stop(records->work);
    }
}

void ctl_records_close(struct ctl_records *records)
{
    ctl_kafka_close(&records->kafka);
    if (records->work != NULL) {
        records->command->close(records->work);
    }
    mem_free(records);
}
