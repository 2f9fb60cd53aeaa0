/* What --wait waits for: work that goes on in the cluster when its command has been answered. Each row names a question
 * whose answers tell how far it is. */

#include "base/mem.h"
#include "broker/ctl.h"
#include <string.h>

/* ---- A broker whose replicas move away ---- */

static bool broker_is_emptied(const ProtobufCMessage *command, const ProtobufCMessage *answer,
                              struct ctl_progress *progress)
{
    const Balsa__Admin__V1__DecommissionBrokerRequest *request = (const void *)command;
    const Balsa__Admin__V1__ClusterStatusResponse *status = (const void *)answer;
    progress->unit = "replicas left";
    progress->left = 0;
    for (size_t i = 0; i < status->n_brokers; i++) {
        if (status->brokers[i]->node_id == request->node_id) {
            progress->left = status->brokers[i]->replicas;
        }
    }
    return progress->left == 0;
}

/* ---- A broker that gives up what it leads ---- */

/* The command itself is the question: who led nothing any more a moment ago may lead again, and a replica that could
 * not take over the first time may have caught up since. */
static bool broker_leads_nothing(const ProtobufCMessage *command, const ProtobufCMessage *answer,
                                 struct ctl_progress *progress)
{
    const Balsa__Admin__V1__DrainBrokerResponse *drained = (const void *)answer;
    (void)command;
    progress->unit = "leaderships left";
    progress->left = drained->asked;
    return progress->left == 0;
}

/* ---- A partition that moves ---- */

/* Bytes that replicas still take over from the leader; before and after that the members change, which is quick. */
static bool partition_stands(const ProtobufCMessage *command, const ProtobufCMessage *answer,
                             struct ctl_progress *progress)
{
    const Balsa__Admin__V1__PartitionStatusResponse *status = (const void *)answer;
    (void)command;
    progress->unit = "bytes left";
    progress->left = 0;
    for (size_t i = 0; i < status->n_replicas; i++) {
        progress->left += status->replicas[i]->catchup_total - status->replicas[i]->catchup_done;
    }
    return status->partition != NULL && status->partition->n_target == 0 && status->partition->n_leaving == 0;
}

#define METHOD(method, message) \
    method, &balsa__admin__v1__##message##_request__descriptor, &balsa__admin__v1__##message##_response__descriptor

static const struct ctl_wait waits[] = {
    {"broker decommission", METHOD("ClusterStatus", cluster_status), broker_is_emptied,
     "the broker has no replicas any more: stop it, and the cluster forgets it"},
    {"broker drain", METHOD("DrainBroker", drain_broker), broker_leads_nothing,
     "the broker leads nothing that another one has a replica of"},
    {"partition move", METHOD("PartitionStatus", partition_status), partition_stands, "the partition has moved"},
    {"partition cancel-move", METHOD("PartitionStatus", partition_status), partition_stands,
     "the partition is where it was"},
};

const struct ctl_wait *ctl_wait_find(const struct ctl_command *command)
{
    for (size_t i = 0; i < array_count(waits); i++) {
        if (strcmp(waits[i].words, command->words) == 0) {
            return &waits[i];
        }
    }
    return NULL;
}

static bool is_copied(const ProtobufCFieldDescriptor *from, const ProtobufCFieldDescriptor *to)
{
    bool is_plain = to->type == PROTOBUF_C_TYPE_INT32 || to->type == PROTOBUF_C_TYPE_STRING;
    return from != NULL && from->type == to->type && is_plain && to->label == PROTOBUF_C_LABEL_NONE;
}

void ctl_wait_ask(const ProtobufCMessage *command, ProtobufCMessage *question)
{
    for (unsigned i = 0; i < question->descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *to = &question->descriptor->fields[i];
        const ProtobufCFieldDescriptor *from =
            protobuf_c_message_descriptor_get_field_by_name(command->descriptor, to->name);
        if (is_copied(from, to)) {
            memcpy((char *)question + to->offset, (const char *)command + from->offset,
                   to->type == PROTOBUF_C_TYPE_STRING ? sizeof(char *) : sizeof(int32_t));
        }
    }
}

void ctl_progress_print(struct ctl_progress *progress, int64_t now_us, FILE *out)
{
    if (progress->left > progress->most) { /* more than was known at first: the pace is taken anew */
        progress->most = progress->left;
        progress->start_us = now_us;
    }
    uint64_t done = progress->most - progress->left;
    if (progress->left == 0 || (progress->has_printed && progress->left == progress->printed)) {
        return;
    }
    progress->has_printed = true;
    progress->printed = progress->left;
    (void)fprintf(out, "%llu of %llu %s", (unsigned long long)progress->left, (unsigned long long)progress->most,
                  progress->unit);
    if (done > 0) {
        double passed_s = (double)(now_us - progress->start_us) / 1e6;
        (void)fprintf(out, ", about %.0f s", passed_s / (double)done * (double)progress->left);
    }
    (void)fprintf(out, "\n");
}
