/* balsactl produce: lines of standard input to records.
 *
 *   find leaders ──> producer id ──> read ──> lines ──> a batch ──> acknowledged by all ──> the next batch, or read on
 *                                                         │  ^
 *                                                         └──┘ leaders found again: the same batch, the same numbers
 *
 * One batch is under way at a time, as an idempotent producer's: sent again it is written once, whatever became of the
 * first time. Lines of a key go where Java's clients have it; those without one stay together by rounds of reading. */

#include "base/limits.h"
#include "base/mem.h"
#include "base/uv_input.h"
#include "broker/ctl_records.h"
#include "proto/ctl.pb-c.h"
#include "proto/errors.h"
#include "proto/murmur2.h"
#include <inttypes.h>
#include <string.h>

#define PRODUCE_VERSION 9
#define INIT_PRODUCER_ID_VERSION 2
#define READ_SIZE KIB(256)
#define LINE_SIZE_MAX MESSAGE_MAX_BYTES_LIMIT
#define ROUND_LINE_COUNT 4096
#define BATCH_SIZE KIB(256) /* of lines; a longer one is a batch of its own */
#define RECORD_OVERHEAD 32
#define WRITE_TIMEOUT_MS 10000 /* as long as the broker may wait for the others */

struct round_line {
    struct line line;
    int32_t partition;
    bool is_written;
};

struct produce {
    struct ctl_records_params params;
    struct ctl_kafka *kafka;
    const Balsa__Ctl__Produce *arguments;
    enum record_codec codec;
    /* input */
    struct uv_input_read read;
    struct dynbuf input;
    bool is_reading, is_over, is_stopping;
    size_t taken; /* bytes of the input that the round's lines borrow from */
    struct round_line *lines;
    size_t line_count;
    uint64_t lines_before; /* this round */
    int32_t any_partition;
    /* the producer */
    int64_t id;
    int16_t epoch;
    int32_t *sequences; /* next, by partition */
    int32_t sequence_count;
    /* the batch under way */
    struct shared *batch; /* NULL: none */
    size_t first;         /* its first line; the others are the next ones of the same partition */
    size_t batch_count;
    size_t batch_size_max;
    bool is_in_doubt;
    bool has_ended;
    uint64_t written;
};

static void next(struct produce *produce);

/* ---- The end ---- */

static void end(struct produce *produce, enum ctl_exit code)
{
    if (produce->has_ended) {
        return;
    }
    produce->has_ended = true;
    if (code != CTL_DONE && (produce->written > 0 || produce->is_in_doubt)) {
        code = CTL_IN_DOUBT;
        (void)fprintf(stderr, "balsactl: %" PRIu64 " records were written before that%s\n", produce->written,
                      produce->is_in_doubt ? "; some of those behind them may have been as well" : "");
    } else if (code == CTL_DONE && produce->params.format != RECORD_JSON) {
        (void)printf("%" PRIu64 " records written\n", produce->written);
    }
    produce->params.on_end(produce->params.owner, code);
}

static void on_gave_up(void *owner, enum ctl_exit code)
{
    end(owner, code);
}

/* ---- A batch ---- */

/* The next line of the batch's partition that is not written, from `at` on. */
static size_t batch_line(const struct produce *produce, size_t at)
{
    int32_t partition = produce->lines[produce->first].partition;
    while (at < produce->line_count && (produce->lines[at].is_written || produce->lines[at].partition != partition)) {
        at++;
    }
    return at;
}

static void batch_build(struct produce *produce)
{
    int64_t now_ms = env_wall_ms(produce->kafka->env);
    int32_t partition = produce->lines[produce->first].partition;
    struct record_builder *builder = record_builder_open(produce->codec, now_ms);
    size_t size = 0;
    record_builder_producer(builder, produce->id, produce->epoch, produce->sequences[partition]);
    produce->batch_count = 0;
    for (size_t i = produce->first; i < produce->line_count; i = batch_line(produce, i + 1)) {
        const struct line *line = &produce->lines[i].line;
        size += RECORD_OVERHEAD + line->key.size + line->value.size;
        if (produce->batch_count > 0 && size > produce->batch_size_max) {
            break;
        }
        record_builder_add(builder, now_ms, line->key.data != NULL ? &line->key : NULL,
                           line->value.data != NULL ? &line->value : NULL, NULL, 0);
        produce->batch_count++;
    }
    produce->batch = record_builder_finish(builder);
}

static void batch_drop(struct produce *produce)
{
    shared_release(produce->batch);
    produce->batch = NULL;
}

static void batch_written(struct produce *produce, int64_t base_offset)
{
    int32_t partition = produce->lines[produce->first].partition;
    for (size_t i = produce->first, left = produce->batch_count; left > 0; left--) {
        size_t at = i;
        i = batch_line(produce, at + 1);
        produce->lines[at].is_written = true;
    }
    produce->sequences[partition] = sequence_add(produce->sequences[partition], (int32_t)produce->batch_count);
    produce->written += produce->batch_count;
    produce->is_in_doubt = false;
    if (produce->params.format == RECORD_JSON) {
        (void)printf("{\"partition\":%" PRId32 ",\"base_offset\":%" PRId64 ",\"records\":%zu}\n", partition,
                     base_offset, produce->batch_count);
        (void)fflush(stdout);
    }
    batch_drop(produce);
    ctl_kafka_went_well(produce->kafka);
    next(produce);
}

static void batch_refused(struct produce *produce, const struct kafka_produce_response_partition *told)
{
    enum kafka_error error = (enum kafka_error)told->error_code;
    bool is_too_large = error == KAFKA_MESSAGE_TOO_LARGE || error == KAFKA_RECORD_LIST_TOO_LARGE;
    if (is_too_large && produce->batch_count > 1) { /* the topic's max.message.bytes is small */
        produce->batch_size_max = produce->batch->size / 2;
        batch_drop(produce);
        next(produce);
    } else if (kafka_error_is_retriable(error)) {
        ctl_kafka_again(produce->kafka, kafka_error_text(error));
    } else {
        (void)fprintf(stderr, "balsactl: line %" PRIu64 ": %.*s (%s)\n", produce->lines_before + produce->first + 1,
                      told->error_message.size > 0 ? (int)told->error_message.size : 100,
                      told->error_message.size > 0 ? (const char *)told->error_message.data : kafka_error_text(error),
                      kafka_error_name(error));
        end(produce, CTL_REFUSED);
    }
}

static void on_produced(void *owner, const struct kafka_client_call *call)
{
    struct produce *produce = owner;
    const struct kafka_produce_response *answer = call->response;
    if (call->err != OK) {
        produce->is_in_doubt = produce->is_in_doubt || call->is_sent;
        ctl_kafka_again(produce->kafka, err_text(call->err));
        return;
    }
    if (answer->responses_count != 1 || answer->responses[0].partition_responses_count != 1) {
        produce->is_in_doubt = true;
        ctl_kafka_again(produce->kafka, "an answer without the partition");
        return;
    }
    const struct kafka_produce_response_partition *told = &answer->responses[0].partition_responses[0];
    if (told->error_code == KAFKA_NONE || told->error_code == KAFKA_DUPLICATE_SEQUENCE_NUMBER) {
        batch_written(produce, told->base_offset);
    } else {
        batch_refused(produce, told);
    }
}

static void batch_send(struct produce *produce)
{
    int32_t index = produce->lines[produce->first].partition;
    struct kafka_produce_request_partition partition = {
        .index = index, .records = {produce->batch, {produce->batch->data, produce->batch->size}}};
    struct kafka_produce_request_topic topic = {
        .name = bytes_from_text(produce->kafka->topic), .partition_data = &partition, .partition_data_count = 1};
    struct kafka_produce_request request = {
        .acks = -1, .timeout_ms = WRITE_TIMEOUT_MS, .topic_data = &topic, .topic_data_count = 1};
    ctl_kafka_call(produce->kafka, index, KAFKA_API_PRODUCE, PRODUCE_VERSION, &request, on_produced);
}

/* ---- Lines ---- */

static int32_t partition_of(const struct produce *produce, const struct line *line)
{
    int32_t count = produce->kafka->partition_count;
    return produce->arguments->partition >= 0 ? produce->arguments->partition
           : line->key.data != NULL           ? murmur2_partition(line->key, count)
                                              : produce->any_partition % count;
}

/* Makes lines of what was read, up to one that is wrong. Once that is the first one, not OK: it was said why. */
static enum err take_lines(struct produce *produce)
{
    struct bytes left = dynbuf_bytes(&produce->input);
    struct bytes after = left;
    struct bytes text;
    enum err err = OK;
    produce->any_partition = (int32_t)(env_random(produce->kafka->env) & INT32_MAX);
    while (produce->line_count < ROUND_LINE_COUNT && line_next(&after, produce->is_over, &text) == OK) {
        struct round_line *line = &produce->lines[produce->line_count];
        err = line_split(text, produce->arguments->key_separator, produce->arguments->null_value, &line->line);
        if (err != OK) {
            break;
        }
        line->partition = partition_of(produce, &line->line);
        line->is_written = false;
        produce->line_count++;
        left = after;
    }
    produce->taken = produce->input.size - left.size;
    if (produce->line_count > 0) {
        return OK;
    }
    if (err != OK) {
        (void)fprintf(stderr, "balsactl: line %" PRIu64 " has no '%s' between key and value\n",
                      produce->lines_before + 1, produce->arguments->key_separator);
    } else if (left.size > LINE_SIZE_MAX) {
        (void)fprintf(stderr, "balsactl: line %" PRIu64 " is longer than %d bytes\n", produce->lines_before + 1,
                      (int)LINE_SIZE_MAX);
        err = ERR_TOO_LARGE;
    }
    return err;
}

static void on_read(struct uv_input_read *read)
{
    struct produce *produce = container_of(read, struct produce, read);
    produce->is_reading = false;
    produce->input.size += read->got;
    produce->is_over = read->is_end;
    if (read->err != OK) {
        (void)fprintf(stderr, "balsactl: standard input: %s\n", err_text(read->err));
        end(produce, CTL_USAGE);
        return;
    }
    if (produce->is_stopping && !produce->is_over) { /* the line that is not whole is not meant yet */
        const uint8_t *feed = produce->input.size > 0 ? memrchr(produce->input.data, '\n', produce->input.size) : NULL;
        produce->input.size = feed != NULL ? (size_t)(feed - produce->input.data) + 1 : 0;
        produce->is_over = true;
    }
    next(produce);
}

static void read_on(struct produce *produce)
{
    enum err err = dynbuf_reserve(&produce->input, READ_SIZE);
    assert(err == OK); /* a line of LINE_SIZE_MAX is refused before */
    produce->is_reading = true;
    produce->read =
        (struct uv_input_read){.data = produce->input.data + produce->input.size, .size = READ_SIZE, .cb = on_read};
    uv_input_read(produce->kafka->env, &produce->read);
}

/* What is to be done next, when nothing is under way. */
static void next(struct produce *produce)
{
    enum err err = OK;
    while (produce->first < produce->line_count && produce->lines[produce->first].is_written) {
        produce->first++;
    }
    if (produce->first == produce->line_count) {
        dynbuf_consume(&produce->input, produce->taken);
        produce->lines_before += produce->line_count;
        produce->line_count = produce->first = produce->taken = 0;
        err = take_lines(produce);
    }
    if (produce->line_count > 0) {
        if (produce->batch == NULL) {
            batch_build(produce);
        }
        batch_send(produce);
    } else if (err != OK) {
        end(produce, CTL_USAGE);
    } else if (produce->is_over) {
        end(produce, CTL_DONE);
    } else {
        read_on(produce);
    }
}

/* ---- Beginning ---- */

static void on_producer_id(void *owner, const struct kafka_client_call *call)
{
    struct produce *produce = owner;
    const struct kafka_init_producer_id_response *answer = call->response;
    enum kafka_error error = call->err == OK ? (enum kafka_error)answer->error_code : KAFKA_NETWORK_EXCEPTION;
    if (error == KAFKA_NONE) {
        produce->id = answer->producer_id;
        produce->epoch = answer->producer_epoch;
        ctl_kafka_went_well(produce->kafka);
        next(produce);
    } else if (kafka_error_is_retriable(error)) {
        ctl_kafka_again(produce->kafka, kafka_error_text(error));
    } else {
        (void)fprintf(stderr, "balsactl: no producer id: %s\n", kafka_error_text(error));
        end(produce, CTL_REFUSED);
    }
}

static void on_leaders(void *owner)
{
    struct produce *produce = owner;
    int32_t count = produce->kafka->partition_count;
    if (produce->arguments->partition >= count) {
        (void)fprintf(stderr, "balsactl: topic '%s' has partitions 0 to %" PRId32 "\n", produce->kafka->topic,
                      count - 1);
        end(produce, CTL_REFUSED);
        return;
    }
    if (count > produce->sequence_count) {
        produce->sequences = mem_resize(produce->sequences, (size_t)count * sizeof(*produce->sequences));
        for (; produce->sequence_count < count; produce->sequence_count++) {
            produce->sequences[produce->sequence_count] = 0;
        }
    }
    if (produce->id >= 0) {
        next(produce);
        return;
    }
    struct kafka_init_producer_id_request request = {
        .transaction_timeout_ms = WRITE_TIMEOUT_MS, .producer_id = -1, .producer_epoch = -1};
    ctl_kafka_call(produce->kafka, -1, KAFKA_API_INIT_PRODUCER_ID, INIT_PRODUCER_ID_VERSION, &request, on_producer_id);
}

static bool parse_codec(const char *name, enum record_codec *codec)
{
    static const char *const names[] = {"none", "gzip", "snappy", "lz4", "zstd"};
    for (unsigned i = 0; i < array_count(names); i++) {
        if (strcmp(name, names[i]) == 0) {
            *codec = (enum record_codec)i;
            return true;
        }
    }
    return false;
}

static enum err produce_check(const ProtobufCMessage *message, enum record_format format, struct errmsg *msg)
{
    const Balsa__Ctl__Produce *arguments = (const void *)message;
    enum record_codec codec;
    if (format == RECORD_RAW) {
        return fail(msg, ERR_INVALID, "--output raw is for consume");
    }
    if (!parse_codec(arguments->compression, &codec)) {
        return fail(msg, ERR_INVALID, "--compression %s: expected none, gzip, snappy, lz4 or zstd",
                    arguments->compression);
    }
    if (arguments->key_separator != NULL && arguments->key_separator[0] == '\0') {
        return fail(msg, ERR_INVALID, "--key-separator: expected some text");
    }
    return arguments->partition < -1 ? fail(msg, ERR_INVALID, "--partition: there is none below 0") : OK;
}

static void *produce_open(const struct ctl_records_params *params)
{
    struct produce *produce = mem_alloc(sizeof(*produce));
    produce->params = *params;
    produce->kafka = params->kafka;
    produce->arguments = (const void *)params->arguments;
    produce->id = -1;
    produce->batch_size_max = BATCH_SIZE;
    produce->lines = mem_alloc(ROUND_LINE_COUNT * sizeof(*produce->lines));
    dynbuf_init(&produce->input, LINE_SIZE_MAX + 2 * READ_SIZE);
    bool is_known = parse_codec(produce->arguments->compression, &produce->codec);
    assert(is_known);
    produce->kafka->owner = produce;
    produce->kafka->on_leaders = on_leaders;
    produce->kafka->on_gave_up = on_gave_up;
    ctl_kafka_find(produce->kafka);
    return produce;
}

/* What was typed or piped in whole lines is still written. */
static void produce_stop(void *command)
{
    struct produce *produce = command;
    if (produce->is_stopping && !produce->is_reading) {
        produce->is_in_doubt = produce->is_in_doubt || produce->batch != NULL;
        (void)fprintf(stderr, "balsactl: interrupted\n");
        end(produce, produce->written > 0 || produce->is_in_doubt ? CTL_IN_DOUBT : CTL_UNREACHABLE);
        return;
    }
    produce->is_stopping = true;
}

static void produce_close(void *command)
{
    struct produce *produce = command;
    if (produce->batch != NULL) {
        batch_drop(produce);
    }
    dynbuf_deinit(&produce->input);
    mem_free(produce->lines);
    mem_free(produce->sequences);
    mem_free(produce);
}

const struct ctl_records_command ctl_produce = {"produce", produce_check, produce_open, produce_stop, produce_close};
