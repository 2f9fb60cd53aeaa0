/* Wishes for other replicas, one record each so that each is answered on its own, and reports of leaders, one record
 * for all, as a report that comes late is simply passed over by apply. */

#include "base/assert.h"
#include "base/mem.h"
#include "metadata/apply.h"
#include "metadata/broker_list.h"
#include "metadata/controller_internal.h"
#include <stdio.h>
#include <string.h>

/* ---- Moving ---- */

static void move_finish(void *request)
{
    struct controller_move *req = request;
    req->cb(req);
}

static bool target_is_valid(const struct broker_list *brokers, const struct controller_move_one *move,
                            struct controller_result *result)
{
    if (move->target_count == 0) {
        controller_refuse(result, KAFKA_INVALID_REPLICA_ASSIGNMENT,
                          "The manual partition assignment includes an empty replica list.");
        return false;
    }
    if (move->target_count > REPLICA_SERVER_COUNT_MAX) {
        controller_refuse(result, KAFKA_INVALID_REPLICA_ASSIGNMENT, "A partition has at most %d replicas, not %zu.",
                          REPLICA_SERVER_COUNT_MAX, move->target_count);
        return false;
    }
    for (size_t i = 0; i < move->target_count; i++) {
        const struct known_broker *broker = controller_broker(brokers, move->target[i]);
        if (broker == NULL || broker->is_draining) {
            controller_refuse(result, KAFKA_INVALID_REPLICA_ASSIGNMENT,
                              "The manual partition assignment includes broker %d, but %s.", move->target[i],
                              broker == NULL ? "no such broker is registered" : "that broker is being drained");
            return false;
        }
    }
    int32_t repeated = brokers_repeated(move->target, move->target_count);
    if (repeated != -1) {
        controller_refuse(result, KAFKA_INVALID_REPLICA_ASSIGNMENT,
                          "The manual partition assignment includes the broker %d more than once.", repeated);
    }
    return repeated == -1;
}

static void move_one(struct controller *controller, struct controller_move *req, size_t i,
                     const struct broker_list *brokers)
{
    const struct controller_move_one *move = &req->moves[i];
    struct controller_result *result = &req->results[i];
    struct item *item = controller_item(controller, result, &req->pending, req, move_finish);
    Balsa__Record__Record record = BALSA__RECORD__RECORD__INIT;
    Balsa__Record__PartitionsMoving moving = BALSA__RECORD__PARTITIONS_MOVING__INIT;
    Balsa__Record__PartitionsMoving__Move one = BALSA__RECORD__PARTITIONS_MOVING__MOVE__INIT;
    Balsa__Record__PartitionsMoving__Move *list = &one;
    uint64_t group;

    if (store_partition_group(controller->params.reader, &move->topic, move->partition, &group) != OK) {
        controller_refuse(result, KAFKA_UNKNOWN_TOPIC_OR_PARTITION, "This partition does not exist.");
    } else if (brokers == NULL) {
        controller_refuse(result, KAFKA_UNKNOWN_SERVER_ERROR, "The brokers cannot be read.");
    } else if (!move->is_cancel) {
        (void)target_is_valid(brokers, move, result);
    }
    one.id = (ProtobufCBinaryData){sizeof(move->topic.bytes), (uint8_t *)(uintptr_t)move->topic.bytes};
    one.partition = move->partition;
    one.n_target = move->is_cancel ? 0 : move->target_count;
    one.target = (int32_t *)(uintptr_t)move->target; /* packed only */
    moving.n_moves = 1;
    moving.moves = &list;
    record.kind_case = BALSA__RECORD__RECORD__KIND_PARTITIONS_MOVING;
    record.partitions_moving = &moving;
    controller_go(item, &record);
}

void controller_move(struct controller *controller, struct controller_move *req)
{
    struct arena arena;
    assert(req->count > 0);
    arena_init(&arena, MIB(4));
    const struct broker_list *brokers = controller_brokers(controller, &arena);
    req->pending = req->count;
    for (size_t i = 0; i < req->count; i++) {
        req->results[i] = (struct controller_result){.error = KAFKA_NONE, .id = req->moves[i].topic};
        move_one(controller, req, i, brokers);
    }
    arena_deinit(&arena);
}

/* ---- Moved ---- */

static void moved_on_proposed(struct metadata_propose *propose)
{
    struct controller_moved *req = container_of(propose, struct controller_moved, propose);
    req->error = propose->error;
    req->cb(req);
}

void controller_moved(struct controller *controller, struct controller_moved *req)
{
    Balsa__Record__Record record = BALSA__RECORD__RECORD__INIT;
    Balsa__Record__PartitionsMoved moved = BALSA__RECORD__PARTITIONS_MOVED__INIT;
    struct arena arena;
    assert(req->count > 0 && req->count <= MOVED_COUNT_MAX);
    arena_init(&arena, MIB(1));
    Balsa__Record__PartitionsMoved__Move *items = arena_alloc(&arena, req->count * sizeof(*items));
    Balsa__Record__PartitionsMoved__Move **list = arena_alloc(&arena, req->count * sizeof(*list));
    assert(items != NULL && list != NULL); /* by MOVED_COUNT_MAX */
    for (size_t i = 0; i < req->count; i++) {
        const struct controller_moved_one *one = &req->moved[i];
        balsa__record__partitions_moved__move__init(&items[i]);
        items[i].id = (ProtobufCBinaryData){sizeof(one->topic.bytes), (uint8_t *)(uintptr_t)one->topic.bytes};
        items[i].partition = one->partition;
        items[i].n_replicas = one->replica_count;
        items[i].replicas = (int32_t *)(uintptr_t)one->replicas; /* packed only */
        items[i].epoch = one->epoch;
        list[i] = &items[i];
    }
    moved.n_moves = req->count;
    moved.moves = list;
    record.kind_case = BALSA__RECORD__RECORD__KIND_PARTITIONS_MOVED;
    record.partitions_moved = &moved;
    req->propose.cb = moved_on_proposed;
    metadata_propose(controller->params.metadata, &record, &req->propose);
    arena_deinit(&arena);
}

/* ---- Brokers ---- */

static void change_on_proposed(struct metadata_propose *propose)
{
    struct controller_broker_change *req = container_of(propose, struct controller_broker_change, propose);
    req->error = propose->error;
    (void)snprintf(req->text, sizeof(req->text), "%s", propose->error_text);
    req->cb(req);
}

void controller_change_broker(struct controller *controller, struct controller_broker_change *req)
{
    Balsa__Record__Record record = BALSA__RECORD__RECORD__INIT;
    Balsa__Record__BrokerChanged changed = BALSA__RECORD__BROKER_CHANGED__INIT;
    changed.id = req->id;
    changed.state = req->state;
    record.kind_case = BALSA__RECORD__RECORD__KIND_BROKER_CHANGED;
    record.broker_changed = &changed;
    req->propose.cb = change_on_proposed;
    metadata_propose(controller->params.metadata, &record, &req->propose);
}
