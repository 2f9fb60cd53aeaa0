/* Produce with a client that costs next to nothing: requests are encoded once and sent again and again over raw
 * sockets, so that the broker is what is measured, also where both share two cores. Each connection has `depth`
 * requests in flight all the time: for each answer one more is sent.
 *
 *     bench_raw --port PORT [--connections N] [--size BYTES] [--records N] [--codec N] [--depth N] [--seconds S]
 *               [--warmup S] [--partitions N] [--factor N] [--compact 1] [--commits 1]
 *               [--spare N]
 *
 * A batch has --records records (1) whose values are --size bytes together, compressed as Kafka numbers codecs (0:
 * none). The values are lines of a log, so that they shrink as records do; with --compact the topic is compacted, and
 * they have keys.
 * Request j of connection i goes to partition (i + j * connections) % partitions of topic "raw" (made first). With
 * --commits each request commits the offset of one partition, in a group of the connection's own, without a membership;
 * PORT is the coordinator's. Prints requests and megabytes a second, the 50th and 99th percentile of a request's time,
 * and this process's CPU seconds. */

#include "base/mem.h"
#include "proto/codec.h"
#include "proto/kafka_api.h"
#include "proto/records.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define CONNECTIONS_MAX 256
#define READ_SIZE 65536
#define LINE_SIZE_MAX 256

#define TIMES_MAX 1000000 /* of requests that are remembered for the percentiles */

struct options {
    uint16_t port;
    unsigned connections;
    unsigned depth;
    int partitions;
    int factor;
    size_t size;      /* of a batch's values, before compression */
    unsigned records; /* in it */
    enum record_codec codec;
    double seconds;
    double warm_up; /* files are made, buffers have grown */
    bool is_compacted;
    unsigned spare; /* connections before the others, unused: brokers give them to their shards in turn */
    bool is_commits;
};

struct link {
    int fd;
    uint8_t *requests; /* options.depth of them, all of one size, back to back */
    size_t request_size;
    uint64_t sent;     /* bytes, since the start */
    uint64_t answered; /* requests, since the start */
    double *begun;     /* when request `i % depth` was sent */
    uint8_t input[READ_SIZE];
    size_t input_size;
};

static struct options options = {.connections = 8,
                                 .depth = 64,
                                 .partitions = 8,
                                 .factor = 1,
                                 .size = 1024,
                                 .records = 1,
                                 .seconds = 5,
                                 .warm_up = 1.5};
static struct link links[CONNECTIONS_MAX];
static double times[TIMES_MAX];
static size_t times_count;

static double now_s(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static int dial(uint16_t port)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    int one = 1;
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0) {
        die("bench_raw: connect");
    }
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    return fd;
}

/* One framed request; appended to `out`. */
static void encode(struct outbuf *out, int16_t key, int16_t version, const struct schema *schema, const void *message)
{
    struct kafka_request_header header;
    codec_init_defaults(&kafka_request_header_schema, &header);
    header.request_api_key = key;
    header.request_api_version = version;
    header.correlation_id = 1;
    size_t before = out->size;
    uint8_t *size = outbuf_reserve(out, 4);
    codec_encode(&kafka_request_header_schema, 1, &header, out);
    codec_encode(schema, version, message, out);
    be32_put(size, (uint32_t)(out->size - before - 4));
}

static void write_all(int fd, const uint8_t *data, size_t size)
{
    while (size > 0) {
        ssize_t n = write(fd, data, size);
        if (n <= 0) {
            die("bench_raw: write");
        }
        data += n;
        size -= (size_t)n;
    }
}

static void create_topic(void)
{
    struct kafka_create_topics_request_topic topic;
    struct kafka_create_topics_request request;
    struct kafka_create_topics_request_config policy;
    struct outbuf out;
    uint8_t answer[4096];
    codec_init_defaults(&kafka_create_topics_request_schema, &request);
    codec_init_defaults(&kafka_create_topics_request_topic_schema, &topic);
    topic.name = bytes_from_text("raw");
    topic.num_partitions = options.partitions;
    topic.replication_factor = (int16_t)options.factor;
    if (options.is_compacted) {
        codec_init_defaults(&kafka_create_topics_request_config_schema, &policy);
        policy.name = bytes_from_text("cleanup.policy");
        policy.value = bytes_from_text("compact");
        topic.configs = &policy;
        topic.configs_count = 1;
    }
    request.topics = &topic;
    request.topics_count = 1;
    request.timeout_ms = 30000;
    outbuf_init(&out, 4096);
    encode(&out, KAFKA_API_CREATE_TOPICS, 0, &kafka_create_topics_request_schema, &request);
    struct shared *flat = outbuf_flatten(&out);
    int fd = dial(options.port);
    write_all(fd, flat->data, flat->size);
    if (read(fd, answer, sizeof(answer)) <= 0) {
        die("bench_raw: create topic");
    }
    (void)close(fd);
    shared_release(flat);
    outbuf_deinit(&out);
}

/* Records for a partition. */
static void encode_produce(struct outbuf *out, int32_t partition, struct shared *batch)
{
    struct kafka_produce_request_partition part;
    struct kafka_produce_request_topic topic;
    struct kafka_produce_request request;
    codec_init_defaults(&kafka_produce_request_schema, &request);
    codec_init_defaults(&kafka_produce_request_topic_schema, &topic);
    codec_init_defaults(&kafka_produce_request_partition_schema, &part);
    part.index = partition;
    part.records = (struct slice){batch, {batch->data, batch->size}};
    topic.name = bytes_from_text("raw");
    topic.partition_data = &part;
    topic.partition_data_count = 1;
    request.acks = -1;
    request.timeout_ms = 30000;
    request.topic_data = &topic;
    request.topic_data_count = 1;
    encode(out, KAFKA_API_PRODUCE, 7, &kafka_produce_request_schema, &request);
}

/* One offset of a partition. */
static void encode_commit(struct outbuf *out, int32_t partition, const char *group)
{
    struct kafka_offset_commit_request_partition part;
    struct kafka_offset_commit_request_topic topic;
    struct kafka_offset_commit_request request;
    codec_init_defaults(&kafka_offset_commit_request_schema, &request);
    codec_init_defaults(&kafka_offset_commit_request_topic_schema, &topic);
    codec_init_defaults(&kafka_offset_commit_request_partition_schema, &part);
    part.partition_index = partition;
    part.committed_offset = 1234567;
    topic.name = bytes_from_text("raw");
    topic.partitions = &part;
    topic.partitions_count = 1;
    request.group_id = bytes_from_text(group);
    request.topics = &topic;
    request.topics_count = 1;
    encode(out, KAFKA_API_OFFSET_COMMIT, 2, &kafka_offset_commit_request_schema, &request);
}

/* The next line of a web server's log; its size. The same in every run. */
static size_t make_line(char *line)
{
    static const char *const methods[] = {"GET", "GET", "GET", "POST", "PUT", "DELETE"};
    static const char *const paths[] = {"/api/v1/orders", "/api/v1/customers", "/static/app.js", "/health", "/search"};
    static uint64_t number = 1;
    number = number * 6364136223846793005u + 1442695040888963407u;
    unsigned random = (unsigned)(number >> 33);
    return (size_t)snprintf(line, LINE_SIZE_MAX, "10.%u.%u.%u %s %s/%u %u %u us request=%08x%08x\n", random % 4,
                            random % 251, random % 253, methods[random % array_count(methods)],
                            paths[random / 7 % array_count(paths)], random % 100000, random % 50 == 0 ? 404 : 200,
                            random % 9973, random, random * 2654435761u);
}

static struct shared *make_batch(void)
{
    size_t size = options.size / options.records;
    char *line = mem_alloc(size + LINE_SIZE_MAX);
    struct record_builder *builder = record_builder_open(options.codec, 1000);
    for (unsigned i = 0; i < options.records; i++) {
        for (size_t at = 0; at < size;) {
            at += make_line(line + at);
        }
        struct bytes value = {(const uint8_t *)line, size};
        struct bytes key = {(const uint8_t *)&i, sizeof(i)};
        record_builder_add(builder, 1000, options.is_compacted ? &key : NULL, &value, NULL, 0);
    }
    mem_free(line);
    return record_builder_finish(builder);
}

static void prepare(struct link *link, unsigned number)
{
    struct shared *batch = make_batch();
    struct outbuf out;
    char group[32];
    (void)snprintf(group, sizeof(group), "raw-%u", number);
    outbuf_init(&out, (size_t)1 << 30);
    for (unsigned i = 0; i < options.depth; i++) {
        int32_t partition = (int32_t)((number + i * options.connections) % (unsigned)options.partitions);
        if (options.is_commits) {
            encode_commit(&out, partition, group);
        } else {
            encode_produce(&out, partition, batch);
        }
    }
    struct shared *flat = outbuf_flatten(&out);
    link->requests = flat->data; /* kept for the life of the process */
    link->request_size = flat->size / options.depth;
    link->begun = mem_alloc(options.depth * sizeof(*link->begun));
    link->fd = dial(options.port);
    outbuf_deinit(&out);
    shared_release(batch);
}

/* Counts whole answers; each must be without an error. Produce v7 and OffsetCommit v2 are alike so far: correlation,
 * topics, name, partitions, index, error code. */
static unsigned take_answers(struct link *link)
{
    unsigned count = 0;
    size_t at = 0;
    double now = now_s();
    while (link->input_size - at >= 4) {
        size_t size = be32_get(link->input + at);
        if (link->input_size - at - 4 < size) {
            break;
        }
        const uint8_t *body = link->input + at + 4;
        uint16_t error = be16_get(body + 4 + 4 + 2 + 3 + 4 + 4);
        if (error != 0) {
            (void)fprintf(stderr, "bench_raw: error %u\n", error);
            exit(1);
        }
        at += 4 + size;
        times[times_count++ % TIMES_MAX] = now - link->begun[(link->answered + count) % options.depth];
        count++;
    }
    memmove(link->input, link->input + at, link->input_size - at);
    link->input_size -= at;
    link->answered += count;
    return count;
}

/* Bytes that may be sent now: up to `depth` requests are unanswered. */
static uint64_t sendable(const struct link *link)
{
    return (link->answered + options.depth) * link->request_size - link->sent;
}

static void send_more(struct link *link)
{
    size_t round = options.depth * link->request_size;
    size_t at = (size_t)(link->sent % round);
    uint64_t size = sendable(link);
    size = size < round - at ? size : round - at;
    ssize_t n = send(link->fd, link->requests + at, (size_t)size, MSG_DONTWAIT);
    if (n < 0) {
        if (errno != EAGAIN) {
            die("bench_raw: send");
        }
        return;
    }
    double now = now_s();
    for (uint64_t i = link->sent / link->request_size; i < (link->sent + (uint64_t)n) / link->request_size; i++) {
        link->begun[i % options.depth] = now;
    }
    link->sent += (uint64_t)n;
}

/* One turn of one connection: answers that are there, then what may follow them. */
static unsigned turn(struct link *link, short events)
{
    unsigned got = 0;
    if ((events & POLLIN) != 0) {
        ssize_t n = read(link->fd, link->input + link->input_size, READ_SIZE - link->input_size);
        if (n <= 0) {
            die("bench_raw: the broker closed");
        }
        link->input_size += (size_t)n;
        got = take_answers(link);
    }
    if (sendable(link) > 0 && (events & (POLLOUT | POLLIN)) != 0) {
        send_more(link);
    }
    return got;
}

static void parse_options(int argc, char **argv)
{
    for (int i = 1; i + 1 < argc; i += 2) {
        unsigned long number = strtoul(argv[i + 1], NULL, 10);
        if (strcmp(argv[i], "--port") == 0) {
            options.port = (uint16_t)number;
        } else if (strcmp(argv[i], "--connections") == 0) {
            options.connections = (unsigned)number;
        } else if (strcmp(argv[i], "--partitions") == 0) {
            options.partitions = (int)number;
        } else if (strcmp(argv[i], "--factor") == 0) {
            options.factor = (int)number;
        } else if (strcmp(argv[i], "--size") == 0) {
            options.size = number;
        } else if (strcmp(argv[i], "--records") == 0) {
            options.records = (unsigned)number;
        } else if (strcmp(argv[i], "--codec") == 0) {
            options.codec = (enum record_codec)number;
        } else if (strcmp(argv[i], "--depth") == 0) {
            options.depth = (unsigned)number;
        } else if (strcmp(argv[i], "--spare") == 0) {
            options.spare = (unsigned)number;
        } else if (strcmp(argv[i], "--compact") == 0) {
            options.is_compacted = number != 0;
        } else if (strcmp(argv[i], "--commits") == 0) {
            options.is_commits = number != 0;
        } else if (strcmp(argv[i], "--warmup") == 0) {
            options.warm_up = strtod(argv[i + 1], NULL);
        } else if (strcmp(argv[i], "--seconds") == 0) {
            options.seconds = strtod(argv[i + 1], NULL);
        }
    }
}

/* Requests answered until options.seconds after the warm-up; *took: how long that was. */
static uint64_t run(double *took)
{
    struct pollfd polls[CONNECTIONS_MAX];
    double begin = now_s();
    double start = 0;
    uint64_t requests = 0;
    for (unsigned i = 0; i < options.connections; i++) {
        polls[i] = (struct pollfd){.fd = links[i].fd};
    }
    while (start == 0 || now_s() - start < options.seconds) {
        if (start == 0 && now_s() - begin >= options.warm_up) {
            start = now_s();
            requests = 0;
            times_count = 0;
        }
        for (unsigned i = 0; i < options.connections; i++) {
            polls[i].events = (short)(POLLIN | (sendable(&links[i]) > 0 ? POLLOUT : 0));
        }
        if (poll(polls, options.connections, 30000) <= 0) {
            die("bench_raw: the broker does not answer");
        }
        for (unsigned i = 0; i < options.connections; i++) {
            requests += turn(&links[i], polls[i].revents);
        }
    }
    *took = now_s() - start;
    return requests;
}

static int compare_times(const void *a, const void *b)
{
    double difference = *(const double *)a - *(const double *)b;
    return (difference > 0) - (difference < 0);
}

int main(int argc, char **argv)
{
    parse_options(argc, argv);
    if (options.port == 0 || options.connections == 0 || options.connections > CONNECTIONS_MAX || options.depth == 0 ||
        options.records == 0 || options.codec >= CODEC_COUNT) {
        printf("bench_raw: needs --port; scripts/bench runs it\n");
        return 0;
    }
    create_topic();
    for (unsigned i = 0; i < options.spare; i++) {
        (void)dial(options.port); /* kept for the life of the process */
    }
    for (unsigned i = 0; i < options.connections; i++) {
        prepare(&links[i], i);
    }
    double took;
    uint64_t requests = run(&took);
    struct rusage usage;
    (void)getrusage(RUSAGE_SELF, &usage);
    double cpu = (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
                 (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
    size_t count = times_count < TIMES_MAX ? times_count : TIMES_MAX;
    qsort(times, count, sizeof(times[0]), compare_times);
    printf("requests_per_s=%.0f mb_per_s=%.1f seconds=%.2f p50_us=%.0f p99_us=%.0f client_cpu_s=%.2f\n",
           (double)requests / took, (double)requests * (double)options.size / took / 1e6, took,
           count == 0 ? 0 : 1e6 * times[count / 2], count == 0 ? 0 : 1e6 * times[count * 99 / 100], cpu);
    return 0;
}
