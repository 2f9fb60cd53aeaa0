/* balsactl: the admin service for people and their programs. Each command is one row of a table: its words, the method
 * it calls, which of its words are which fields of the request. Requests are filled, answers printed, by protobuf-c's
 * descriptors, so a new method needs a row and nothing else.
 *
 * Exit codes: CTL_*. Runs on: the main thread. */
#pragma once

#include "base/arena.h"
#include "base/dynbuf.h"
#include "broker/grpc_text.h"
#include "proto/admin.pb-c.h"
#include <stdio.h>

enum ctl_exit {
    CTL_DONE = 0,
    CTL_REFUSED = 1,     /* the cluster said no: nothing was done */
    CTL_USAGE = 2,       /* the command makes no sense */
    CTL_UNREACHABLE = 3, /* no broker took it: nothing was done */
    CTL_IN_DOUBT = 4,    /* it was sent and not answered, or done in part */
};

#define CTL_FIELDS_MAX 4

struct ctl_command {
    const char *words;   /* "topic create", "produce" */
    const char *method;  /* "CreateTopic"; NULL: one for records (ctl_records.h), whose arguments are the request */
    const ProtobufCMessageDescriptor *request, *response;
    const char *fields[CTL_FIELDS_MAX]; /* of the request, by position; the last one may repeat if the field does */
    const char *done;    /* what to say when the answer has nothing to show; NULL: nothing */
    const char *help;
};

extern const struct ctl_command ctl_commands[];
extern const size_t ctl_command_count;

/* The command that the words begin with; *used is how many it took. NULL: none. */
const struct ctl_command *ctl_find(char **words, size_t count, size_t *used);
/* Usage of one command, of all, for the shell, for man(1). */
void ctl_print_usage(const struct ctl_command *command, FILE *out);
void ctl_print_help(FILE *out);
void ctl_print_man(FILE *out);
void ctl_print_completion(FILE *out);

/* Fills a request from words behind the command: positions, and --field-name value. Memory is the arena's. ERR_INVALID:
 * the text says what is wrong. */
MUST_CHECK enum err ctl_build(const struct ctl_command *command, char **words, size_t count, struct arena *arena,
                              ProtobufCMessage **request, struct errmsg *msg);
/* "host:port", "[::1]:port"; false: it is none. */
MUST_CHECK bool ctl_parse_address(struct bytes text, char *host, size_t size, uint16_t *port);
/* The flag of a field, without the dashes: "replication-factor". size >= 64. */
void ctl_flag(const char *field, char *target, size_t size);

/* Fields with one value as lines, lists of messages as tables. Appends. */
MUST_CHECK enum err ctl_print_text(const ProtobufCMessage *message, struct dynbuf *out);
/* One line of JSON: all fields, in their order and with their names; 64-bit integers are numbers. */
MUST_CHECK enum err ctl_print_json(const ProtobufCMessage *message, struct dynbuf *out);

/* ---- --wait ---- */

struct ctl_progress {
    uint64_t left;         /* of the work, as of the last answer */
    const char *unit;      /* "replicas left" */
    /* private */
    uint64_t most, printed;
    int64_t start_us;
    bool has_printed;
};

struct ctl_wait {
    const char *words;     /* of the command that begins the work */
    const char *method;    /* asked again and again: a question, or a call that does no harm when it is repeated */
    const ProtobufCMessageDescriptor *request, *response;
    /* True: the work is done. Else how far it is. */
    bool (*is_done)(const ProtobufCMessage *command, const ProtobufCMessage *answer, struct ctl_progress *progress);
    const char *done;      /* what to say then */
};

/* NULL: the command is done when it is answered. */
const struct ctl_wait *ctl_wait_find(const struct ctl_command *command);
/* Fills the question's fields from those of the command's request that are called the same, borrowing from it. */
void ctl_wait_ask(const ProtobufCMessage *command, ProtobufCMessage *question);
/* A line when something has changed: how much is left, and how long that takes at the pace so far. */
void ctl_progress_print(struct ctl_progress *progress, int64_t now_us, FILE *out);
