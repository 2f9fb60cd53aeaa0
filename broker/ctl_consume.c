/* balsactl consume: records of a topic to standard output.
 *
 *   find leaders ──> where partitions begin and end ──> read of one leader after the other ──> all are at their end
 *        ^                        ^                                  │
 *        └── a leader is none ────┴── records were deleted meanwhile ┘
 *
 * Each fetch asks one leader for all partitions it leads that are not at their end; those that follow wait a part of a
 * second at each leader in turn, once nothing comes any more. */

#include "base/limits.h"
#include "base/mem.h"
#include "broker/ctl_records.h"
#include "metadata/config_value.h"
#include "proto/ctl.pb-c.h"
#include "proto/errors.h"
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#define LIST_OFFSETS_VERSION 6
#define FETCH_VERSION 12
#define FETCH_SIZE MIB(4)
#define PARTITION_SIZE MIB(1)
#define FOLLOW_WAIT_MS 600 /* for one round over all leaders */
#define IDLE_ROUNDS 3      /* without anything below the end: nothing will come */
#define PRINT_SIZE KIB(256)
#define PRINT_SIZE_MAX (8 * RECORDS_PLAIN_SIZE_MAX)
#define TIME_START (-2)
#define TIME_END (-1)

struct place { /* Where reading is in one partition. */
    int64_t start, end, next;
    bool has_start, has_end, is_placed, has_begun, is_wanted;
};

struct consume {
    struct ctl_records_params params;
    struct ctl_kafka *kafka;
    const Balsa__Ctl__Consume *arguments;
    struct place *places;
    int32_t count;
    int64_t time_asked;
    int32_t leader_asked;
    int32_t cursor; /* the partition whose leader is asked next */
    int32_t leader_count;
    int32_t idle_count; /* answers in a row without a record */
    void *asked;        /* partitions of the request */
    uint64_t printed;
    struct dynbuf out;
    bool is_stopping, has_ended;
};

static void step(struct consume *consume);

static void end(struct consume *consume, enum ctl_exit code)
{
    if (!consume->has_ended) {
        consume->has_ended = true;
        consume->params.on_end(consume->params.owner, code);
    }
}

static void on_gave_up(void *owner, enum ctl_exit code)
{
    end(owner, code);
}

static void refused(struct consume *consume, int32_t partition, enum kafka_error error)
{
    (void)fprintf(stderr, "balsactl: partition %" PRId32 ": %s (%s)\n", partition, kafka_error_text(error),
                  kafka_error_name(error));
    end(consume, CTL_REFUSED);
}

/* False: the output takes no more; whoever stopped reading has what it wanted. */
static bool flush(struct consume *consume)
{
    size_t size = consume->out.size;
    bool is_written = size == 0 || (fwrite(consume->out.data, 1, size, stdout) == size && fflush(stdout) == 0);
    dynbuf_reset(&consume->out);
    if (!is_written) {
        bool is_pipe = errno == EPIPE;
        if (!is_pipe) {
            (void)fprintf(stderr, "balsactl: standard output: %s\n", strerror(errno));
        }
        end(consume, is_pipe ? CTL_DONE : CTL_USAGE);
    }
    return is_written;
}

/* ---- Records ---- */

static bool is_at_end(const struct consume *consume, const struct place *place)
{
    return !place->is_wanted || (!consume->arguments->follow && place->next >= place->end);
}

static bool has_all(const struct consume *consume)
{
    return consume->arguments->count > 0 && consume->printed == consume->arguments->count;
}

static enum err print_batch(struct consume *consume, int32_t partition, const struct record_batch *batch)
{
    struct place *place = &consume->places[partition];
    struct record_iterator iterator;
    struct record record;
    enum err err = record_iterator_init(&iterator, batch, RECORDS_PLAIN_SIZE_MAX);
    while (err == OK && !has_all(consume) && (err = record_iterator_next(&iterator, &record)) == OK) {
        if (record.offset < place->next || (!consume->arguments->follow && record.offset >= place->end)) {
            continue;
        }
        err = record_print(&record, partition, consume->params.format, &consume->out);
        consume->printed++;
        if (err == OK && consume->out.size >= PRINT_SIZE && !flush(consume)) {
            err = ERR_CANCELED;
        }
    }
    record_iterator_deinit(&iterator);
    return err == ERR_NOT_FOUND ? OK : err;
}

/* What one partition brought. Not OK: it was said why, and all is over. */
static enum err take_records(struct consume *consume, int32_t partition, struct bytes left)
{
    struct place *place = &consume->places[partition];
    struct record_batch batch;
    size_t size;
    while (left.size > 0 && !has_all(consume) && record_batch_size(left, &size) == OK && size <= left.size) {
        enum err err = record_batch_view(left, &batch);
        err = err == OK && !record_batch_crc_ok(&batch) ? ERR_CORRUPT : err;
        if (err == OK && (batch.attributes & BATCH_CONTROL) == 0) {
            err = print_batch(consume, partition, &batch);
        }
        if (err == ERR_CANCELED) {
            return err;
        }
        if (err != OK) {
            (void)fprintf(stderr, "balsactl: partition %" PRId32 ", batch at offset %" PRId64 ": %s\n", partition,
                          batch.base_offset, err_text(err));
            end(consume, CTL_REFUSED);
            return err;
        }
        int64_t after = batch.base_offset + batch.last_offset_delta + 1;
        place->next = after > place->next ? after : place->next;
        left.data += size;
        left.size -= size;
        consume->idle_count = 0;
    }
    return OK;
}

/* ---- Fetching ---- */

static bool is_long_idle(const struct consume *consume)
{
    return !consume->arguments->follow && consume->idle_count > IDLE_ROUNDS * consume->leader_count;
}

/* ERR_NOT_LEADER: look for leaders again. ERR_CANCELED: all is over. */
static enum err take_partition(struct consume *consume, const struct kafka_fetch_response_partition *told)
{
    enum kafka_error error = (enum kafka_error)told->error_code;
    if (told->partition_index < 0 || told->partition_index >= consume->count) {
        return OK;
    }
    struct place *place = &consume->places[told->partition_index];
    if (error == KAFKA_OFFSET_OUT_OF_RANGE) { /* deleted meanwhile: where does it begin now? */
        place->has_start = place->has_end = place->is_placed = false;
        return OK;
    }
    if (kafka_error_is_retriable(error)) {
        return ERR_NOT_LEADER;
    }
    if (error != KAFKA_NONE) {
        refused(consume, told->partition_index, error);
        return ERR_CANCELED;
    }
    if (told->records.bytes.size == 0 && told->high_watermark >= place->end && is_long_idle(consume)) {
        place->next = place->end > place->next ? place->end : place->next; /* what was last is compacted away */
    }
    return take_records(consume, told->partition_index, told->records.bytes) == OK ? OK : ERR_CANCELED;
}

static void on_fetched(void *owner, const struct kafka_client_call *call)
{
    struct consume *consume = owner;
    const struct kafka_fetch_response *answer = call->response;
    enum err err = call->err == OK && answer->error_code == KAFKA_NONE ? OK : ERR_NOT_LEADER;
    const char *why = call->err != OK ? err_text(call->err) : kafka_error_text(KAFKA_NOT_LEADER_OR_FOLLOWER);
    consume->idle_count += consume->idle_count < INT32_MAX;
    for (int32_t i = 0; err != ERR_CANCELED && call->err == OK && i < answer->responses_count; i++) {
        for (int32_t n = 0; err != ERR_CANCELED && n < answer->responses[i].partitions_count; n++) {
            enum err one = take_partition(consume, &answer->responses[i].partitions[n]);
            err = one != OK ? one : err;
        }
    }
    if (err == ERR_CANCELED || !flush(consume)) {
        return;
    }
    if (err != OK && !has_all(consume)) {
        ctl_kafka_again(consume->kafka, why);
        return;
    }
    ctl_kafka_went_well(consume->kafka);
    step(consume);
}

static void fetch(struct consume *consume, int32_t first)
{
    struct kafka_fetch_request_partition *partitions = consume->asked;
    const struct ctl_kafka_leader *leaders = consume->kafka->leaders;
    int32_t count = 0;
    for (int32_t i = 0; i < consume->count; i++) { /* from the first on, so that each comes first now and then */
        int32_t at = (first + i) % consume->count;
        if (leaders[at].broker == leaders[first].broker && !is_at_end(consume, &consume->places[at])) {
            partitions[count++] = (struct kafka_fetch_request_partition){.partition = at,
                                                                         .current_leader_epoch = leaders[at].epoch,
                                                                         .fetch_offset = consume->places[at].next,
                                                                         .last_fetched_epoch = -1,
                                                                         .log_start_offset = -1,
                                                                         .partition_max_bytes = PARTITION_SIZE};
        }
    }
    struct kafka_fetch_request_topic topic = {
        .topic = bytes_from_text(consume->kafka->topic), .partitions = partitions, .partitions_count = count};
    bool is_idle = consume->idle_count >= consume->leader_count;
    struct kafka_fetch_request request = {.replica_id = -1,
                                          .max_wait_ms = is_idle ? FOLLOW_WAIT_MS / consume->leader_count : 0,
                                          .min_bytes = 1,
                                          .max_bytes = FETCH_SIZE,
                                          .session_epoch = -1,
                                          .topics = &topic,
                                          .topics_count = 1};
    consume->cursor = (first + 1) % consume->count;
    ctl_kafka_call(consume->kafka, first, KAFKA_API_FETCH, FETCH_VERSION, &request, on_fetched);
}

/* ---- Where partitions begin and end ---- */

static void on_offsets(void *owner, const struct kafka_client_call *call)
{
    struct consume *consume = owner;
    const struct kafka_list_offsets_response *answer = call->response;
    enum kafka_error trouble = call->err == OK ? KAFKA_NONE : KAFKA_NETWORK_EXCEPTION;
    for (int32_t i = 0; call->err == OK && i < answer->topics_count; i++) {
        for (int32_t n = 0; n < answer->topics[i].partitions_count; n++) {
            const struct kafka_list_offsets_response_partition *told = &answer->topics[i].partitions[n];
            enum kafka_error error = (enum kafka_error)told->error_code;
            if (told->partition_index < 0 || told->partition_index >= consume->count) {
                continue;
            }
            struct place *place = &consume->places[told->partition_index];
            if (error != KAFKA_NONE && !kafka_error_is_retriable(error)) {
                refused(consume, told->partition_index, error);
                return;
            }
            if (error != KAFKA_NONE) {
                trouble = error;
            } else if (consume->time_asked == TIME_START) {
                place->start = told->offset;
                place->has_start = true;
            } else {
                place->end = told->offset;
                place->has_end = true;
            }
        }
    }
    if (trouble != KAFKA_NONE) {
        ctl_kafka_again(consume->kafka, kafka_error_text(trouble));
        return;
    }
    step(consume);
}

static bool lacks(const struct place *place, int64_t time)
{
    return place->is_wanted && !(time == TIME_START ? place->has_start : place->has_end);
}

/* True: a question is under way. */
static bool ask_offsets(struct consume *consume, int64_t time)
{
    struct kafka_list_offsets_request_partition *partitions = consume->asked;
    const struct ctl_kafka_leader *leaders = consume->kafka->leaders;
    int32_t first = 0;
    int32_t count = 0;
    while (first < consume->count && !lacks(&consume->places[first], time)) {
        first++;
    }
    for (int32_t i = first; i < consume->count; i++) {
        if (leaders[i].broker == leaders[first].broker && lacks(&consume->places[i], time)) {
            partitions[count++] = (struct kafka_list_offsets_request_partition){
                .partition_index = i, .current_leader_epoch = leaders[i].epoch, .timestamp = time};
        }
    }
    if (count == 0) {
        return false;
    }
    struct kafka_list_offsets_request_topic topic = {
        .name = bytes_from_text(consume->kafka->topic), .partitions = partitions, .partitions_count = count};
    struct kafka_list_offsets_request request = {.replica_id = -1, .topics = &topic, .topics_count = 1};
    consume->time_asked = time;
    ctl_kafka_call(consume->kafka, first, KAFKA_API_LIST_OFFSETS, LIST_OFFSETS_VERSION, &request, on_offsets);
    return true;
}

/* Begins where it was asked to, or behind what was deleted meanwhile. False: it cannot; it was said why. */
static bool place_partition(struct consume *consume, int32_t partition)
{
    struct place *place = &consume->places[partition];
    const char *from = consume->arguments->from;
    int64_t offset = 0;
    if (place->is_placed || !place->is_wanted) {
        return true;
    }
    if (!place->has_begun) {
        place->next = strcmp(from, "beginning") == 0 ? place->start : place->end;
        if (config_parse_long(bytes_from_text(from), &offset)) {
            place->next = offset;
        }
    } else if (place->next < place->start) {
        (void)fprintf(stderr,
                      "balsactl: partition %" PRId32 ": records %" PRId64 " to %" PRId64 " were deleted meanwhile\n",
                      partition, place->next, place->start - 1);
        place->next = place->start;
    }
    if (place->next < place->start || place->next > place->end) {
        (void)fprintf(stderr,
                      "balsactl: partition %" PRId32 " has offsets from %" PRId64 " to before %" PRId64 ", not %" PRId64
                      "\n",
                      partition, place->start, place->end, place->next);
        end(consume, CTL_REFUSED);
        return false;
    }
    place->is_placed = place->has_begun = true;
    return true;
}

/* ---- What comes next ---- */

static void step(struct consume *consume)
{
    if (consume->is_stopping || has_all(consume)) {
        end(consume, CTL_DONE);
        return;
    }
    if (ask_offsets(consume, TIME_START) || ask_offsets(consume, TIME_END)) {
        return;
    }
    for (int32_t i = 0; i < consume->count; i++) {
        if (!place_partition(consume, i)) {
            return;
        }
    }
    for (int32_t i = 0; i < consume->count; i++) {
        int32_t at = (consume->cursor + i) % consume->count;
        if (!is_at_end(consume, &consume->places[at])) {
            fetch(consume, at);
            return;
        }
    }
    end(consume, CTL_DONE);
}

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

/* Leaders of what is wanted: so many fetches are a round. */
static int32_t count_leaders(const struct consume *consume)
{
    int32_t count = 0;
    for (int32_t i = 0; i < consume->count; i++) {
        bool is_new = consume->places[i].is_wanted;
        for (int32_t n = 0; n < i && is_new; n++) {
            is_new =
                !consume->places[n].is_wanted || consume->kafka->leaders[n].broker != consume->kafka->leaders[i].broker;
        }
        count += is_new;
    }
    return count > 0 ? count : 1;
}

static void on_leaders(void *owner)
{
    struct consume *consume = owner;
    int32_t count = consume->kafka->partition_count;
    int32_t wanted = consume->arguments->partition;
    if (wanted >= count) {
        (void)fprintf(stderr, "balsactl: topic '%s' has partitions 0 to %" PRId32 "\n", consume->kafka->topic,
                      count - 1);
        end(consume, CTL_REFUSED);
        return;
    }
    if (consume->count == 0) { /* partitions that are added later are left to the next call */
        consume->places = mem_alloc((size_t)count * sizeof(*consume->places));
        consume->asked = mem_alloc((size_t)count * larger(sizeof(struct kafka_fetch_request_partition),
                                                          sizeof(struct kafka_list_offsets_request_partition)));
        for (; consume->count < count; consume->count++) {
            consume->places[consume->count].is_wanted = wanted < 0 || consume->count == wanted;
        }
    }
    consume->leader_count = count_leaders(consume);
    step(consume);
}

static enum err consume_check(const ProtobufCMessage *message, enum record_format format, struct errmsg *msg)
{
    const Balsa__Ctl__Consume *arguments = (const void *)message;
    int64_t offset = 0;
    bool is_end = strcmp(arguments->from, "end") == 0;
    (void)format;
    if (is_end && !arguments->follow) {
        return fail(msg, ERR_INVALID, "--from end: nothing is there yet; --follow waits for it");
    }
    if (!is_end && strcmp(arguments->from, "beginning") != 0 &&
        (!config_parse_long(bytes_from_text(arguments->from), &offset) || offset < 0)) {
        return fail(msg, ERR_INVALID, "--from %s: expected beginning, end or an offset", arguments->from);
    }
    return arguments->partition < -1 ? fail(msg, ERR_INVALID, "--partition: there is none below 0") : OK;
}

static void *consume_open(const struct ctl_records_params *params)
{
    struct consume *consume = mem_alloc(sizeof(*consume));
    consume->params = *params;
    consume->kafka = params->kafka;
    consume->arguments = (const void *)params->arguments;
    dynbuf_init(&consume->out, PRINT_SIZE_MAX);
    consume->kafka->owner = consume;
    consume->kafka->on_leaders = on_leaders;
    consume->kafka->on_gave_up = on_gave_up;
    ctl_kafka_find(consume->kafka);
    return consume;
}

static void consume_stop(void *command)
{
    end(command, CTL_DONE); /* between two callbacks, so what was printed are whole records */
}

static void consume_close(void *command)
{
    struct consume *consume = command;
    dynbuf_deinit(&consume->out);
    mem_free(consume->places);
    mem_free(consume->asked);
    mem_free(consume);
}

const struct ctl_records_command ctl_consume = {"consume", consume_check, consume_open, consume_stop, consume_close};
