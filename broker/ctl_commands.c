/* The table of commands, and what is printed from it. */

#include "base/mem.h"
#include "broker/ctl.h"
#include "proto/ctl.pb-c.h"
#include <string.h>

#define METHOD(method, message) \
    method, &balsa__admin__v1__##message##_request__descriptor, &balsa__admin__v1__##message##_response__descriptor

#define METHOD_STREAM(method, message, answer) \
    method, &balsa__admin__v1__##message##_request__descriptor, &balsa__admin__v1__##answer##__descriptor

const struct ctl_command ctl_commands[] = {
    {"cluster watch",
     METHOD_STREAM("Watch", watch, event),
     {NULL},
     NULL,
     "what changes, a line each, until it is interrupted or --timeout is over"},
    {"cluster status",
     METHOD("ClusterStatus", cluster_status),
     {NULL},
     NULL,
     "brokers, topics, and what is wrong, as the asked broker sees it"},
    {"broker drain",
     METHOD("DrainBroker", drain_broker),
     {"node_id"},
     NULL,
     "hands over all that a broker leads, before it is stopped"},
    {"broker decommission",
     METHOD("DecommissionBroker", decommission_broker),
     {"node_id"},
     NULL,
     "moves all replicas of a broker to others, then forgets it"},
    {"broker resume",
     METHOD("ResumeBroker", resume_broker),
     {"node_id"},
     "broker is in use again",
     "takes a broker that is being decommissioned back into use"},
    {"topic list", METHOD("ListTopics", list_topics), {"prefix"}, NULL, "topics, all or those that begin so"},
    {"topic describe",
     METHOD("DescribeTopic", describe_topic),
     {"name"},
     NULL,
     "partitions of a topic: leaders, replicas, moves"},
    {"topic create",
     METHOD("CreateTopic", create_topic),
     {"name"},
     NULL,
     "makes a topic; --configs name=value may be repeated"},
    {"topic delete",
     METHOD("DeleteTopic", delete_topic),
     {"name"},
     "topic deleted",
     "deletes a topic and all of its records"},
    {"topic grow",
     METHOD("AddPartitions", add_partitions),
     {"name", "total"},
     "topic has that many partitions",
     "adds partitions until there are so many"},
    {"config describe",
     METHOD("DescribeConfigs", describe_configs),
     {"topic"},
     NULL,
     "configuration of a topic, or of the asked broker without one"},
    {"config set",
     METHOD("AlterConfig", alter_config),
     {"topic", "set"},
     "configuration changed",
     "sets or, with --unset name, unsets configurations of a topic: name=value"},
    {"partition status",
     METHOD("PartitionStatus", partition_status),
     {"topic", "partition"},
     NULL,
     "what each replica has; with --digest they are read whole and compared"},
    {"partition move",
     METHOD("MovePartition", move_partition),
     {"topic", "partition", "replicas"},
     NULL,
     "gives a partition other replicas: 1,2,3, the preferred leader first"},
    {"partition cancel-move",
     METHOD("CancelMove", cancel_move),
     {"topic", "partition"},
     "move cancelled",
     "leaves a partition where it was"},
    {"partition moves", METHOD("ListMoves", list_moves), {NULL}, NULL, "partitions that are moving"},
    {"partition lead",
     METHOD("TransferLeader", transfer_leader),
     {"topic", "partition", "to"},
     NULL,
     "hands leadership of a partition to the broker"},
    {"quorum status",
     METHOD("QuorumStatus", quorum_status),
     {NULL},
     NULL,
     "members of the metadata's Raft group: who leads, who votes, who is behind"},
    {"quorum transfer",
     METHOD("QuorumTransfer", quorum_transfer),
     {"to"},
     NULL,
     "makes another voter of the metadata the controller"},
    {"group list", METHOD("ListGroups", list_groups), {NULL}, NULL, "consumer groups"},
    {"group describe",
     METHOD("DescribeGroup", describe_group),
     {"group"},
     NULL,
     "members of a group, its offsets and how far behind they are"},
    {"group reset",
     METHOD("ResetOffsets", reset_offsets),
     {"group", "topic", "to"},
     NULL,
     "commits other offsets for a group without members: earliest, latest or an offset"},
    {"group delete",
     METHOD("DeleteGroup", delete_group),
     {"group"},
     "group deleted",
     "deletes a group without members, and its offsets"},
    {"explain cluster", METHOD("Explain", explain), {NULL}, "nothing is wrong", "what is wrong with the cluster"},
    {"explain partition",
     METHOD("Explain", explain),
     {"topic", "partition"},
     "nothing is wrong",
     "why a partition is unavailable, slow or has too few replicas"},
    {"explain group", METHOD("Explain", explain), {"group"}, "nothing is wrong", "why a group does not progress"},
    {"produce",
     NULL,
     &balsa__ctl__produce__descriptor,
     NULL,
     {"topic"},
     NULL,
     "writes each line of standard input as a record; --compression gzip, snappy, lz4 or zstd"},
    {"consume",
     NULL,
     &balsa__ctl__consume__descriptor,
     NULL,
     {"topic"},
     NULL,
     "prints records, up to the end or on and on with --follow; --from beginning, end or an offset"},
    {"log level",
     METHOD("SetLogLevel", set_log_level),
     {"component", "level"},
     "log level set",
     "what the asked broker logs from now on: all debug, raft info, ..."},
};
const size_t ctl_command_count = array_count(ctl_commands);

static const struct {
    const char *flag, *help;
} global_flags[] = {
    {"--admin HOST:PORT[,...]", "admin addresses, the next when one cannot be reached (BALSA_ADMIN; 127.0.0.1:9292)"},
    {"--timeout SECONDS",
     "for the whole command (30; with --wait: none); of produce and consume: how long nothing may go well"},
    {"--wait",
     "until what the command began is done, with an estimate: partition move, cancel-move, broker drain, decommission"},
    {"--output table|json",
     "for people, or one line of JSON for each answer or record (table); consume: raw, values alone"},
};

/* Size of the first of a command's words. */
static size_t first_size(const struct ctl_command *command)
{
    return strcspn(command->words, " ");
}

const struct ctl_command *ctl_find(char **words, size_t count, size_t *used)
{
    for (size_t i = 0; i < ctl_command_count; i++) {
        size_t first = first_size(&ctl_commands[i]);
        const char *second = ctl_commands[i].words[first] != '\0' ? &ctl_commands[i].words[first + 1] : NULL;
        if (count >= 1 && strlen(words[0]) == first && strncmp(words[0], ctl_commands[i].words, first) == 0 &&
            (second == NULL || (count >= 2 && strcmp(words[1], second) == 0))) {
            *used = second == NULL ? 1 : 2;
            return &ctl_commands[i];
        }
    }
    return NULL;
}

void ctl_flag(const char *field, char *target, size_t size)
{
    (void)snprintf(target, size, "%s", field);
    for (char *at = target; *at != '\0'; at++) {
        *at = *at == '_' ? '-' : *at;
    }
}

static bool is_position(const struct ctl_command *command, const char *field)
{
    for (size_t i = 0; i < CTL_FIELDS_MAX && command->fields[i] != NULL; i++) {
        if (strcmp(command->fields[i], field) == 0) {
            return true;
        }
    }
    return false;
}

/* "NAME --partitions N --dry-run" */
static void print_arguments(const struct ctl_command *command, FILE *out)
{
    char flag[64];
    for (size_t i = 0; i < CTL_FIELDS_MAX && command->fields[i] != NULL; i++) {
        ctl_flag(command->fields[i], flag, sizeof(flag));
        (void)fprintf(out, " <%s>", flag);
    }
    for (unsigned i = 0; i < command->request->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &command->request->fields[i];
        if (!is_position(command, field->name)) {
            ctl_flag(field->name, flag, sizeof(flag));
            (void)fprintf(out, field->type == PROTOBUF_C_TYPE_BOOL ? " [--%s]" : " [--%s ...]", flag);
        }
    }
}

void ctl_print_usage(const struct ctl_command *command, FILE *out)
{
    (void)fprintf(out, "usage: balsactl %s", command->words);
    print_arguments(command, out);
    (void)fprintf(out, "%s\n%s\n", ctl_wait_find(command) != NULL ? " [--wait]" : "", command->help);
}

void ctl_print_help(FILE *out)
{
    (void)fprintf(out, "usage: balsactl [FLAG]... COMMAND\n\nCommands:\n");
    for (size_t i = 0; i < ctl_command_count; i++) {
        (void)fprintf(out, "  %-22s %s\n", ctl_commands[i].words, ctl_commands[i].help);
    }
    (void)fprintf(out, "  %-22s %s\n\nFlags:\n", "completion", "completion for bash: source <(balsactl completion)");
    for (size_t i = 0; i < array_count(global_flags); i++) {
        (void)fprintf(out, "  %-24s %s\n", global_flags[i].flag, global_flags[i].help);
    }
    (void)fprintf(out, "\n'balsactl COMMAND --help' has the arguments of one. Exit codes: 0 done, 1 refused, 2 usage, "
                       "3 no broker took it, 4 in doubt, or done in part.\n");
}

void ctl_print_completion(FILE *out)
{
    (void)fprintf(out, "_balsactl() {\n    local words=\"${COMP_WORDS[*]:1:COMP_CWORD-1}\" IFS=$'\\n'\n"
                       "    case \"$words\" in\n");
    for (size_t i = 0; i < ctl_command_count; i++) {
        char flag[64];
        (void)fprintf(out, "        \"%s\"*) COMPREPLY=($(compgen -W $'--help", ctl_commands[i].words);
        for (unsigned n = 0; n < ctl_commands[i].request->n_fields; n++) {
            ctl_flag(ctl_commands[i].request->fields[n].name, flag, sizeof(flag));
            (void)fprintf(out, "\\n--%s", flag);
        }
        (void)fprintf(out, "' -- \"${COMP_WORDS[COMP_CWORD]}\")) ;;\n");
    }
    (void)fprintf(out, "        \"\") COMPREPLY=($(compgen -W $'completion");
    for (size_t i = 0; i < ctl_command_count; i++) {
        int size = (int)first_size(&ctl_commands[i]);
        if (i == 0 || strncmp(ctl_commands[i].words, ctl_commands[i - 1].words, (size_t)size + 1) != 0) {
            (void)fprintf(out, "\\n%.*s", size, ctl_commands[i].words);
        }
    }
    (void)fprintf(out,
                  "' -- \"${COMP_WORDS[COMP_CWORD]}\")) ;;\n        *) COMPREPLY=($(compgen -W \"$(printf '%%s\\n'");
    for (size_t i = 0; i < ctl_command_count; i++) {
        (void)fprintf(out, " '%s'", ctl_commands[i].words);
    }
    (void)fprintf(out, " | sed -n \"s/^$words \\([^ ]*\\).*/\\1/p\")\" -- \"${COMP_WORDS[COMP_CWORD]}\")) ;;\n"
                       "    esac\n}\ncomplete -F _balsactl balsactl\n");
}

static void print_escaped(const char *text, FILE *out)
{
    for (; *text != '\0'; text++) {
        (void)fprintf(out, *text == '-' ? "\\-" : "%c", *text);
    }
}

void ctl_print_man(FILE *out)
{
    (void)fprintf(out, ".TH BALSACTL 1\n.SH NAME\nbalsactl \\- administer a Balsa cluster\n.SH SYNOPSIS\n.B balsactl\n"
                       "[\\fIFLAG\\fR]... \\fICOMMAND\\fR [\\fIARGUMENT\\fR]...\n.SH DESCRIPTION\n"
                       "Asks a broker's admin service (balsa.admin.listeners) and prints the answer. Any broker takes "
                       "every command.\nWhat changes where records are has \\-\\-dry\\-run.\n.SH COMMANDS\n");
    for (size_t i = 0; i < ctl_command_count; i++) {
        (void)fprintf(out, ".TP\n.B ");
        print_escaped(ctl_commands[i].words, out);
        (void)fprintf(out, "\n");
        print_escaped(ctl_commands[i].help, out);
        (void)fprintf(out, "\n");
    }
    (void)fprintf(out, ".SH FLAGS\n");
    for (size_t i = 0; i < array_count(global_flags); i++) {
        (void)fprintf(out, ".TP\n.B ");
        print_escaped(global_flags[i].flag, out);
        (void)fprintf(out, "\n%s\n", global_flags[i].help);
    }
    (void)fprintf(out,
                  ".SH EXIT STATUS\n0 done; 1 the cluster refused, nothing was done; 2 the command makes no sense; "
                  "3 no broker took it, nothing was done; 4 it was sent and not answered, or done in part: look "
                  "before doing it again.\n");
}
