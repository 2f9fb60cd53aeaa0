/* balsactl's commands that are a Kafka client: produce and consume.
 *
 * Runs on: the main thread. */
#pragma once

#include "broker/ctl_kafka.h"
#include "broker/lines.h"

struct ctl_records_params {
    struct ctl_kafka *kafka;           /* with addresses; the command's until it is closed */
    const ProtobufCMessage *arguments; /* borrowed */
    enum record_format format;
    void *owner;
    void (*on_end)(void *owner, enum ctl_exit code); /* once; what there is to say has been said */
};

/* A command: what it takes, and its life. */
struct ctl_records_command {
    const char *words; /* of its row in the table */
    /* ERR_INVALID: the arguments make no sense. */
    enum err (*check)(const ProtobufCMessage *arguments, enum record_format format, struct errmsg *msg);
    void *(*open)(const struct ctl_records_params *params); /* and begins */
    void (*stop)(void *command);  /* an interrupt: to a good end; a second one: at once */
    void (*close)(void *command); /* after on_end */
};

extern const struct ctl_records_command ctl_produce, ctl_consume;

struct ctl_records;

/* ERR_INVALID: the text says what is wrong with the words. `command` has no method. */
MUST_CHECK enum err ctl_records_check(const struct ctl_command *command, const ProtobufCMessage *arguments,
                                      enum record_format format, struct errmsg *msg);
/* params->kafka is filled in here. */
struct ctl_records *ctl_records_open(const struct ctl_command *command, const struct ctl_records_params *params,
                                     struct env *env, int64_t timeout_us);
/* Whether the admin service has to be asked for brokers before the begin. */
bool ctl_records_needs_admin(const struct ctl_records *records);
/* Brokers of its answer; `admin_host` is whom it came from. */
void ctl_records_add(struct ctl_records *records, const Balsa__Admin__V1__ClusterStatusResponse *status,
                     const char *admin_host);
/* Ends in params->on_end, which may come inside the call. */
void ctl_records_begin(struct ctl_records *records);
void ctl_records_stop(struct ctl_records *records); /* an interrupt */
void ctl_records_close(struct ctl_records *records);
