/* Produce with a client that costs next to nothing: requests are encoded once and sent again and again over raw
 * sockets, many in flight on each connection, so that the broker is what is measured, also where both share two cores.
 *
 *     bench_raw --port PORT [--connections N] [--size BYTES] [--depth N] [--seconds S] [--warmup S] [--partitions N]
 *
 * Request j of connection i goes to partition (i + j * connections) % partitions of topic "raw" (made first). Prints
 * requests and megabytes a second, and this process's CPU seconds. */

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

struct link {
    int fd;
    uint8_t *requests; /* `depth` of them, back to back */
    size_t requests_size;
    size_t sent;       /* of the round under way */
    unsigned answered; /* of the round under way */
    uint8_t input[READ_SIZE];
    size_t input_size;
};

static struct link links[CONNECTIONS_MAX];
static unsigned depth = 64;

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

static void create_topic(uint16_t port, int partitions)
{
    struct kafka_create_topics_request_topic topic;
    struct kafka_create_topics_request request;
    struct outbuf out;
    uint8_t answer[4096];
    codec_init_defaults(&kafka_create_topics_request_schema, &request);
    codec_init_defaults(&kafka_create_topics_request_topic_schema, &topic);
    topic.name = bytes_from_text("raw");
    topic.num_partitions = partitions;
    topic.replication_factor = 1;
    request.topics = &topic;
    request.topics_count = 1;
    request.timeout_ms = 30000;
    outbuf_init(&out, 4096);
    encode(&out, KAFKA_API_CREATE_TOPICS, 0, &kafka_create_topics_request_schema, &request);
    struct shared *flat = outbuf_flatten(&out);
    int fd = dial(port);
    write_all(fd, flat->data, flat->size);
    if (read(fd, answer, sizeof(answer)) <= 0) {
        die("bench_raw: create topic");
    }
    (void)close(fd);
    shared_release(flat);
    outbuf_deinit(&out);
}

static void prepare(struct link *link, uint16_t port, unsigned number, unsigned connections, int partitions,
                    size_t size)
{
    struct kafka_produce_request_partition part;
    struct kafka_produce_request_topic topic;
    struct kafka_produce_request request;
    struct outbuf out;
    uint8_t *payload = mem_alloc(size);
    memset(payload, 'r', size);
    struct bytes value = {payload, size};
    struct record_builder *builder = record_builder_open(CODEC_NONE, 1000);
    record_builder_add(builder, 1000, NULL, &value, NULL, 0);
    struct shared *batch = record_builder_finish(builder);
    codec_init_defaults(&kafka_produce_request_schema, &request);
    codec_init_defaults(&kafka_produce_request_topic_schema, &topic);
    codec_init_defaults(&kafka_produce_request_partition_schema, &part);
    part.records = (struct slice){batch, {batch->data, batch->size}};
    topic.name = bytes_from_text("raw");
    topic.partition_data = &part;
    topic.partition_data_count = 1;
    request.acks = -1;
    request.timeout_ms = 30000;
    request.topic_data = &topic;
    request.topic_data_count = 1;
    outbuf_init(&out, (size_t)1 << 30);
    for (unsigned i = 0; i < depth; i++) {
        part.index = (int32_t)((number + i * connections) % (unsigned)partitions);
        encode(&out, KAFKA_API_PRODUCE, 7, &kafka_produce_request_schema, &request);
    }
    struct shared *flat = outbuf_flatten(&out);
    link->requests = flat->data; /* kept for the life of the process */
    link->requests_size = flat->size;
    link->fd = dial(port);
    outbuf_deinit(&out);
    shared_release(batch);
    mem_free(payload);
}

/* Counts whole answers; each must be without an error. v7: correlation, topics, name, partitions, index, error code. */
static unsigned take_answers(struct link *link)
{
    unsigned count = 0;
    size_t at = 0;
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
        count++;
    }
    memmove(link->input, link->input + at, link->input_size - at);
    link->input_size -= at;
    return count;
}

/* One turn of one connection: reads what is there; when a round is answered the next one is sent. */
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
        link->answered += got;
        if (link->answered == depth) {
            link->answered = 0;
            link->sent = 0;
        }
    }
    if (link->sent < link->requests_size && (events & POLLOUT) != 0) {
        ssize_t n = send(link->fd, link->requests + link->sent, link->requests_size - link->sent, MSG_DONTWAIT);
        if (n > 0) {
            link->sent += (size_t)n;
        } else if (errno != EAGAIN) {
            die("bench_raw: send");
        }
    }
    return got;
}

int main(int argc, char **argv)
{
    uint16_t port = 0;
    unsigned connections = 8;
    int partitions = 8;
    size_t size = 1024;
    double seconds = 5;
    double warm_up = 1.5; /* files are made, buffers have grown */
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--port") == 0) {
            port = (uint16_t)strtoul(argv[i + 1], NULL, 10);
        } else if (strcmp(argv[i], "--connections") == 0) {
            connections = (unsigned)strtoul(argv[i + 1], NULL, 10);
        } else if (strcmp(argv[i], "--partitions") == 0) {
            partitions = (int)strtol(argv[i + 1], NULL, 10);
        } else if (strcmp(argv[i], "--size") == 0) {
            size = strtoul(argv[i + 1], NULL, 10);
        } else if (strcmp(argv[i], "--depth") == 0) {
            depth = (unsigned)strtoul(argv[i + 1], NULL, 10);
        } else if (strcmp(argv[i], "--warmup") == 0) {
            warm_up = strtod(argv[i + 1], NULL);
        } else if (strcmp(argv[i], "--seconds") == 0) {
            seconds = strtod(argv[i + 1], NULL);
        }
    }
    if (port == 0 || connections == 0 || connections > CONNECTIONS_MAX || depth == 0) {
        printf("bench_raw: needs --port; scripts/bench runs it\n");
        return 0;
    }
    create_topic(port, partitions);
    struct pollfd polls[CONNECTIONS_MAX];
    for (unsigned i = 0; i < connections; i++) {
        prepare(&links[i], port, i, connections, partitions, size);
        polls[i] = (struct pollfd){.fd = links[i].fd};
    }
    double begin = now_s();
    double start = 0;
    uint64_t requests = 0;
    while (start == 0 || now_s() - start < seconds) {
        if (start == 0 && now_s() - begin >= warm_up) {
            start = now_s();
            requests = 0;
        }
        for (unsigned i = 0; i < connections; i++) {
            polls[i].events = (short)(POLLIN | (links[i].sent < links[i].requests_size ? POLLOUT : 0));
        }
        if (poll(polls, connections, 30000) <= 0) {
            die("bench_raw: the broker does not answer");
        }
        for (unsigned i = 0; i < connections; i++) {
            requests += turn(&links[i], polls[i].revents);
        }
    }
    double took = now_s() - start;
    struct rusage usage;
    (void)getrusage(RUSAGE_SELF, &usage);
    double cpu = (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
                 (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
    printf("requests_per_s=%.0f mb_per_s=%.1f seconds=%.2f client_cpu_s=%.2f\n", (double)requests / took,
           (double)requests * (double)size / took / 1e6, took, cpu);
    return 0;
}
