#include "tests/lib/power_client.h"

#include <stdio.h>
#include <string.h>

#include "base/limits.h"
#include "base/mem.h"
#include "base/trace.h"
#include "proto/records.h"
#include "tests/lib/test.h"

enum {
    TIME_FIRST = 1000,
    TIME_STEP = 10,
    RECORD_SIZE_MAX = 600,
    RECORD_SIZE_LARGE = 9000
};

void power_clients_init(struct power_clients *clients, struct power_node *node)
{
    memset(clients, 0, sizeof(*clients));
    clients->node = node;
    for (unsigned i = 0; i < POWER_SLOTS; i++) {
        power_client_reset(clients, i);
    }
}

void power_clients_begin(struct power_clients *clients)
{
    for (unsigned i = 0; i < POWER_SLOTS; i++) {
        clients->of[i].submitted = clients->of[i].acked;
    }
}

void power_client_reset(struct power_clients *clients, unsigned slot)
{
    clients->of[slot] = (struct power_client){.producer_id = 100 * ((int64_t)slot + 1)};
}

/* ---- Producing */

/* Which producer writes may change only while nothing is under way: else the order of what is refused and sent again
 * would be open. */
static void producer_change(struct power_clients *clients, struct power_client *client)
{
    uint64_t chance = sim_world_below(clients->node->world, 40);
    if (client->acked < client->sent || chance > 1) {
        return;
    }
    client->sequence = 0;
    if (chance == 0) {
        client->producer_id++;
        client->producer_epoch = 0;
    } else {
        client->producer_epoch++;
    }
}

void power_client_add(struct power_clients *clients, unsigned slot)
{
    struct power_client *client = &clients->of[slot];
    if (client->sent == POWER_BATCHES_MAX || client->sent >= client->acked + POWER_IN_FLIGHT_MAX) {
        return;
    }
    producer_change(clients, client);
    struct power_batch *batch = &client->batches[client->sent++];
    *batch = (struct power_batch){.producer_id = client->producer_id,
                                  .producer_epoch = client->producer_epoch,
                                  .sequence = client->sequence,
                                  .count = 1 + (int32_t)sim_world_below(clients->node->world, 4),
                                  .salt = (uint32_t)sim_world_random(clients->node->world),
                                  .base_offset = client->end_offset};
    client->sequence += batch->count;
    client->end_offset += batch->count;
}

static struct shared *batch_build(const struct power_batch *batch)
{
    uint8_t data[RECORD_SIZE_LARGE];
    struct record_builder *builder = record_builder_open(CODEC_NONE, TIME_FIRST + TIME_STEP * batch->base_offset);
    record_builder_producer(builder, batch->producer_id, batch->producer_epoch, batch->sequence);
    for (int32_t i = 0; i < batch->count; i++) {
        uint32_t size_max = batch->salt % 32 == 0 ? RECORD_SIZE_LARGE : RECORD_SIZE_MAX;
        size_t size = (batch->salt / 32 + (uint32_t)i * 7) % size_max;
        struct bytes value = {data, size < 8 ? 8 : size};
        memset(data, (int)(batch->salt % 251), value.size);
        be32_put(data, (uint32_t)batch->sequence + (uint32_t)i);
        be32_put(data + 4, batch->salt);
        record_builder_add(builder, TIME_FIRST + TIME_STEP * (batch->base_offset + i), NULL, &value, NULL, 0);
    }
    return record_builder_finish(builder);
}

struct attempt { /* memory of the process */
    struct partition_produce produce;
    struct power_clients *clients;
    struct shared *block;
    uint64_t group;
    unsigned slot;
    unsigned number;
    bool is_repetition;
};

static void acknowledge(struct attempt *attempt, struct power_client *client)
{
    struct power_node *node = attempt->clients->node;
    struct power_batch *batch = &client->batches[attempt->number];
    int64_t base_offset = attempt->produce.base_offset;
    if (base_offset != batch->base_offset || (attempt->is_repetition && !attempt->produce.is_duplicate)) {
        (void)snprintf(node->failure, sizeof(node->failure), "slot %u batch %u: acknowledged at %lld, not %lld%s",
                       attempt->slot, attempt->number, (long long)base_offset, (long long)batch->base_offset,
                       attempt->is_repetition ? ", sent again" : "");
    }
    trace(DEBUG, SIM, "acknowledged", KV("slot", attempt->slot), KV("batch", attempt->number),
          KV("offset", base_offset), KV("duplicate", attempt->produce.is_duplicate));
    attempt->clients->acked += !batch->is_acked;
    batch->is_acked = true;
    while (client->acked < client->sent && client->batches[client->acked].is_acked) {
        client->acked++;
    }
}

static void on_produced(struct partition_produce *req)
{
    struct attempt *attempt = container_of(req, struct attempt, produce);
    struct power_clients *clients = attempt->clients;
    struct power_client *client = &clients->of[attempt->slot];
    if (clients->node->slots[attempt->slot].group == attempt->group) {
        if (req->error == KAFKA_NONE) {
            acknowledge(attempt, client);
        } else if (attempt->number < client->submitted) {
            client->submitted = client->acked; /* goes again, in order */
        }
    }
    shared_release(attempt->block);
    mem_free(attempt);
}

static void submit(struct power_clients *clients, unsigned slot, unsigned number, bool is_repetition)
{
    struct attempt *attempt = mem_alloc(sizeof(*attempt));
    attempt->clients = clients;
    attempt->group = clients->node->slots[slot].group;
    attempt->slot = slot;
    attempt->number = number;
    attempt->is_repetition = is_repetition;
    attempt->block = batch_build(&clients->of[slot].batches[number]);
    attempt->produce.batch = (struct slice){attempt->block, {attempt->block->data, attempt->block->size}};
    attempt->produce.is_zstd_allowed = true;
    attempt->produce.cb = on_produced;
    partition_produce(clients->node->slots[slot].partition, &attempt->produce);
}

static bool is_serving(const struct power_clients *clients, unsigned slot, struct partition_offsets *offsets)
{
    struct partition *partition = clients->node->slots[slot].partition;
    return partition != NULL && partition_offsets(partition, offsets) == KAFKA_NONE;
}

void power_client_send(void *context)
{
    struct power_call *call = context;
    struct power_client *client = &call->clients->of[call->slot];
    struct partition_offsets offsets;
    if (!is_serving(call->clients, call->slot, &offsets)) {
        return;
    }
    if (client->submitted < client->acked) {
        client->submitted = client->acked;
    }
    while (client->submitted < client->sent && client->submitted < client->acked + POWER_IN_FLIGHT_MAX) {
        submit(call->clients, call->slot, client->submitted++, false);
    }
}

void power_client_repeat(void *context)
{
    struct power_call *call = context;
    const struct power_client *client = &call->clients->of[call->slot];
    unsigned first = client->sent > PRODUCER_BATCH_COUNT ? client->sent - PRODUCER_BATCH_COUNT : 0;
    for (unsigned i = first; i < client->sent; i++) {
        const struct power_batch *batch = &client->batches[i];
        if (batch->producer_id == client->producer_id && batch->producer_epoch == client->producer_epoch) {
            submit(call->clients, call->slot, i, true);
        }
    }
}

bool power_client_is_settled(struct power_clients *clients, unsigned slot)
{
    struct partition_offsets offsets;
    return clients->of[slot].acked == clients->of[slot].sent && is_serving(clients, slot, &offsets);
}

/* ---- Trimming */

struct trim { /* memory of the process */
    struct partition_trim trim;
    struct power_clients *clients;
    uint64_t group;
    unsigned slot;
};

static void on_trimmed(struct partition_trim *req)
{
    struct trim *trim = container_of(req, struct trim, trim);
    struct power_client *client = &trim->clients->of[trim->slot];
    if (req->error == KAFKA_NONE && trim->clients->node->slots[trim->slot].group == trim->group) {
        client->trim_acked = req->log_start_offset > client->trim_acked ? req->log_start_offset : client->trim_acked;
        trim->clients->trims++;
    }
    mem_free(trim);
}

void power_client_trim(void *context)
{
    struct power_call *call = context;
    struct power_client *client = &call->clients->of[call->slot];
    struct partition_offsets offsets;
    if (!is_serving(call->clients, call->slot, &offsets)) {
        return;
    }
    struct trim *trim = mem_alloc(sizeof(*trim));
    uint64_t span = (uint64_t)(offsets.high_watermark - offsets.log_start_offset);
    trim->clients = call->clients;
    trim->group = call->clients->node->slots[call->slot].group;
    trim->slot = call->slot;
    trim->trim.offset = offsets.log_start_offset + (int64_t)sim_world_below(call->clients->node->world, span + 1);
    trim->trim.cb = on_trimmed;
    client->trim_asked = trim->trim.offset > client->trim_asked ? trim->trim.offset : client->trim_asked;
    partition_trim(call->clients->node->slots[call->slot].partition, &trim->trim);
}

/* ---- Checking */

static void check_batch(unsigned slot, const struct record_batch *found, const struct power_batch *sent)
{
    struct shared *expected = batch_build(sent);
    struct record_batch original;
    ck_assert_int_eq(record_batch_view((struct bytes){expected->data, expected->size}, &original), OK);
    ck_assert_msg(found->base_offset == sent->base_offset && found->base_sequence == sent->sequence &&
                      found->producer_id == sent->producer_id && found->producer_epoch == sent->producer_epoch,
                  "slot %u: the batch at %lld is another than was sent for %lld", slot, (long long)found->base_offset,
                  (long long)sent->base_offset);
    ck_assert_msg(found->crc == original.crc && bytes_equal(found->records, original.records),
                  "slot %u: the batch at %lld has other bytes than were sent", slot, (long long)found->base_offset);
    shared_release(expected);
}

/* Number of the batch that holds an offset; `sent` if none does. */
static unsigned batch_find(const struct power_client *client, int64_t offset)
{
    unsigned number = 0;
    while (number < client->sent && client->batches[number].base_offset + client->batches[number].count <= offset) {
        number++;
    }
    return number;
}

static struct slice read_at(struct power_call *call, struct log *log, int64_t offset)
{
    struct log_read read = {.offset = offset, .size_max = KIB(64), .is_first_whole = true};
    enum err err = log_read_now(log, &read);
    if (err == ERR_WOULD_BLOCK) {
        sim_disk_set_cold(call->clients->node->disk, 0);
        err = log_read_now(log, &read);
    }
    ck_assert_msg(err == OK, "slot %u offset %lld: %s", call->slot, (long long)offset, read.msg.text);
    ck_assert(read.slice.bytes.size > 0);
    return read.slice;
}

static void check_times(struct power_call *call, struct log *log)
{
    int64_t start = log_start_offset(log);
    int64_t end = log_end_offset(log);
    for (unsigned i = 0; i < 4 && start < end; i++) {
        int64_t offset = start + (int64_t)sim_world_below(call->clients->node->world, (uint64_t)(end - start));
        int64_t found = -1;
        int64_t timestamp = -1;
        struct errmsg msg = {""};
        enum err err = log_find_time(log, TIME_FIRST + TIME_STEP * offset, &found, &timestamp, &msg);
        ck_assert_msg(err == OK && found == offset, "slot %u: by the time of offset %lld, %lld was found: %s %s",
                      call->slot, (long long)offset, (long long)found, err_text(err), msg.text);
    }
}

void power_client_check(void *context)
{
    struct power_call *call = context;
    const struct power_client *client = &call->clients->of[call->slot];
    struct log *log = partition_log(call->clients->node->slots[call->slot].partition);
    int64_t offset = log_start_offset(log);
    ck_assert_msg(offset >= client->trim_acked && offset <= client->trim_asked,
                  "slot %u: starts at %lld, trimmed to %lld, asked for %lld", call->slot, (long long)offset,
                  (long long)client->trim_acked, (long long)client->trim_asked);
    unsigned number = batch_find(client, offset);
    while (offset < log_end_offset(log)) {
        struct slice slice = read_at(call, log, offset);
        struct bytes left = slice.bytes;
        while (left.size > 0) {
            struct record_batch batch;
            ck_assert_int_eq(record_batch_view(left, &batch), OK);
            ck_assert_msg(number < client->sent, "slot %u: offset %lld was never sent", call->slot,
                          (long long)batch.base_offset);
            check_batch(call->slot, &batch, &client->batches[number++]);
            offset = batch.base_offset + batch.last_offset_delta + 1;
            left.data += batch.bytes.size;
            left.size -= batch.bytes.size;
        }
        slice_release(&slice);
    }
    ck_assert_msg(number >= client->acked, "slot %u: batches up to %u are there, %u were acknowledged", call->slot,
                  number, client->acked);
    check_times(call, log);
}
