/* Produce and consume through librdkafka: against a broker, or against librdkafka's own mock cluster in this process,
 * with the same loop, so that the ratio of the two says what the broker costs and not what the client costs.
 *
 *     bench_kafka --target mock|HOST:PORT [--size BYTES] [--count N] [--partitions N] [--acks N] [--rate PER_SECOND]
 *                 [--topic NAME] [--factor REPLICAS] [--no-consume] [--linger MS] [--batch BYTES]
 *
 * Prints one line a phase, `key=value` pairs: records and bytes a second, CPU seconds of this process, and with --rate
 * the percentiles of the time from produce() to its delivery report. */

#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

struct bench {
    const char *target;
    const char *topic;
    const char *acks;
    const char *linger;
    const char *batch;
    long size;
    long count;
    long rate;
    int partitions;
    int factor;
    int consumes;
    rd_kafka_t *owner; /* of the mock cluster */
    rd_kafka_mock_cluster_t *mock;
    char servers[256];
    /* Delivery reports. */
    long delivered;
    long failed;
    uint32_t *latency_us;
};

static int64_t now_us(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static double cpu_seconds(void)
{
    struct rusage usage;
    (void)getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static void die(const char *what, const char *why)
{
    (void)fprintf(stderr, "bench_kafka: %s: %s\n", what, why);
    exit(1);
}

static void set(rd_kafka_conf_t *conf, const char *key, const char *value)
{
    char text[256];
    if (rd_kafka_conf_set(conf, key, value, text, sizeof(text)) != RD_KAFKA_CONF_OK) {
        die(key, text);
    }
}

static void on_delivery(rd_kafka_t *client, const rd_kafka_message_t *message, void *opaque)
{
    struct bench *bench = opaque;
    (void)client;
    if (message->err != 0) {
        if (bench->failed++ == 0) {
            (void)fprintf(stderr, "bench_kafka: delivery: %s\n", rd_kafka_err2str(message->err));
        }
        return;
    }
    if (bench->latency_us != NULL) {
        bench->latency_us[bench->delivered] = (uint32_t)(now_us() - (int64_t)(intptr_t)message->_private);
    }
    bench->delivered++;
}

static void open_mock(struct bench *bench)
{
    char text[256];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    set(conf, "client.id", "mock");
    bench->owner = rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof(text));
    if (bench->owner == NULL) {
        die("mock", text);
    }
    bench->mock = rd_kafka_mock_cluster_new(bench->owner, 1);
    (void)rd_kafka_mock_topic_create(bench->mock, bench->topic, bench->partitions, 1);
    (void)snprintf(bench->servers, sizeof(bench->servers), "%s", rd_kafka_mock_cluster_bootstraps(bench->mock));
}

static void create_topic(struct bench *bench, rd_kafka_t *client)
{
    char text[256];
    rd_kafka_queue_t *queue = rd_kafka_queue_new(client);
    rd_kafka_NewTopic_t *topic =
        rd_kafka_NewTopic_new(bench->topic, bench->partitions, bench->factor, text, sizeof(text));
    rd_kafka_CreateTopics(client, &topic, 1, NULL, queue);
    rd_kafka_event_t *event = rd_kafka_queue_poll(queue, 30000);
    if (event == NULL || rd_kafka_event_error(event) != 0) {
        die("create topic", event == NULL ? "timed out" : rd_kafka_event_error_string(event));
    }
    rd_kafka_event_destroy(event);
    rd_kafka_NewTopic_destroy(topic);
    rd_kafka_queue_destroy(queue);
}

static rd_kafka_t *open_producer(struct bench *bench)
{
    char text[256];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    set(conf, "bootstrap.servers", bench->servers);
    set(conf, "acks", bench->acks);
    set(conf, "linger.ms", bench->linger);
    set(conf, "queue.buffering.max.messages", "1000000");
    set(conf, "queue.buffering.max.kbytes", "1048576");
    set(conf, "batch.size", bench->batch);
    rd_kafka_conf_set_opaque(conf, bench);
    rd_kafka_conf_set_dr_msg_cb(conf, on_delivery);
    rd_kafka_t *client = rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof(text));
    if (client == NULL) {
        die("producer", text);
    }
    return client;
}

static int compare_u32(const void *left, const void *right)
{
    uint32_t a = *(const uint32_t *)left;
    uint32_t b = *(const uint32_t *)right;
    return (a > b) - (a < b);
}

static void print_phase(const struct bench *bench, const char *phase, long count, int64_t took_us, double cpu)
{
    double seconds = (double)took_us / 1e6;
    printf("phase=%s target=%s size=%ld partitions=%d acks=%s records=%ld failed=%ld seconds=%.3f "
           "records_per_s=%.0f mb_per_s=%.1f client_cpu_s=%.2f",
           phase, bench->mock != NULL ? "mock" : "broker", bench->size, bench->partitions, bench->acks, count,
           bench->failed, seconds, (double)count / seconds, (double)count * (double)bench->size / seconds / 1e6, cpu);
    if (bench->latency_us != NULL && bench->delivered > 0) {
        size_t n = (size_t)bench->delivered;
        qsort(bench->latency_us, n, sizeof(*bench->latency_us), compare_u32);
        printf(" p50_us=%u p99_us=%u p999_us=%u max_us=%u", bench->latency_us[n / 2], bench->latency_us[n * 99 / 100],
               bench->latency_us[n * 999 / 1000], bench->latency_us[n - 1]);
    }
    printf("\n");
    (void)fflush(stdout);
}

/* Serves delivery reports until record `n` is due at the rate asked for, so that each is seen when it comes. */
static void pace(const struct bench *bench, rd_kafka_t *client, int64_t start_us, long n)
{
    int64_t due_us = start_us + (int64_t)((double)n * 1e6 / (double)bench->rate);
    int64_t left_us;
    (void)rd_kafka_poll(client, 0);
    while ((left_us = due_us - now_us()) > 0) {
        if (left_us > 1000 && rd_kafka_poll(client, 1) == 0) {
            continue;
        }
        struct timespec nap = {0, left_us < 50 ? left_us * 1000 : 50000};
        (void)nanosleep(&nap, NULL);
        (void)rd_kafka_poll(client, 0);
    }
}

static void produce(struct bench *bench)
{
    rd_kafka_t *client = open_producer(bench);
    char *payload = malloc((size_t)bench->size);
    if (payload == NULL) {
        die("produce", "no memory");
    }
    for (long i = 0; i < bench->size; i++) {
        payload[i] = (char)('a' + i * 7 % 26);
    }
    if (bench->mock == NULL) {
        create_topic(bench, client);
    }
    if (bench->rate > 0) {
        bench->latency_us = calloc((size_t)bench->count, sizeof(*bench->latency_us));
    }
    rd_kafka_topic_t *topic = rd_kafka_topic_new(client, bench->topic, NULL);
    double cpu = cpu_seconds();
    int64_t start_us = now_us();
    for (long n = 0; n < bench->count;) {
        if (bench->rate > 0) {
            pace(bench, client, start_us, n);
        }
        int result = rd_kafka_produce(topic, (int32_t)(n % bench->partitions), RD_KAFKA_MSG_F_COPY, payload,
                                      (size_t)bench->size, NULL, 0, (void *)(intptr_t)now_us());
        if (result == 0) {
            n++;
        } else if (rd_kafka_last_error() != RD_KAFKA_RESP_ERR__QUEUE_FULL) {
            die("produce", rd_kafka_err2str(rd_kafka_last_error()));
        }
        if (result != 0 || n % 1000 == 0) {
            (void)rd_kafka_poll(client, result != 0 ? 5 : 0);
        }
    }
    while (bench->delivered + bench->failed < bench->count) {
        (void)rd_kafka_poll(client, 100);
    }
    print_phase(bench, "produce", bench->delivered, now_us() - start_us, cpu_seconds() - cpu);
    rd_kafka_topic_destroy(topic);
    rd_kafka_destroy(client);
    free(payload);
    free(bench->latency_us);
    bench->latency_us = NULL;
}

static void consume(struct bench *bench)
{
    char text[256];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    set(conf, "bootstrap.servers", bench->servers);
    set(conf, "fetch.wait.max.ms", "100");
    set(conf, "fetch.message.max.bytes", "1048576");
    set(conf, "queued.min.messages", "1000000");
    set(conf, "enable.partition.eof", "true");
    rd_kafka_t *client = rd_kafka_new(RD_KAFKA_CONSUMER, conf, text, sizeof(text));
    if (client == NULL) {
        die("consumer", text);
    }
    rd_kafka_topic_t *topic = rd_kafka_topic_new(client, bench->topic, NULL);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(client);
    rd_kafka_message_t *messages[1000];
    double cpu = cpu_seconds();
    int64_t start_us = now_us();
    for (int p = 0; p < bench->partitions; p++) {
        (void)rd_kafka_consume_start_queue(topic, p, RD_KAFKA_OFFSET_BEGINNING, queue);
    }
    long got = 0;
    int ended = 0;
    while (ended < bench->partitions) {
        ssize_t n = rd_kafka_consume_batch_queue(queue, 1000, messages, sizeof(messages) / sizeof(messages[0]));
        for (ssize_t i = 0; i < n; i++) {
            if (messages[i]->err == 0) {
                got++;
            } else if (messages[i]->err == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
                ended++;
            } else {
                bench->failed++;
            }
            rd_kafka_message_destroy(messages[i]);
        }
    }
    print_phase(bench, "consume", got, now_us() - start_us, cpu_seconds() - cpu);
    for (int p = 0; p < bench->partitions; p++) {
        (void)rd_kafka_consume_stop(topic, p);
    }
    rd_kafka_queue_destroy(queue);
    rd_kafka_topic_destroy(topic);
    rd_kafka_destroy(client);
}

static const char *value_of(int argc, char **argv, int *i)
{
    if (*i + 1 >= argc) {
        die(argv[*i], "needs a value");
    }
    return argv[++*i];
}

int main(int argc, char **argv)
{
    struct bench bench = {.target = NULL,
                          .topic = "bench",
                          .acks = "-1",
                          .linger = "5",
                          .batch = "1000000",
                          .size = 1024,
                          .count = 200000,
                          .partitions = 8,
                          .factor = 1,
                          .consumes = 1};
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--target") == 0) {
            bench.target = value_of(argc, argv, &i);
        } else if (strcmp(argv[i], "--topic") == 0) {
            bench.topic = value_of(argc, argv, &i);
        } else if (strcmp(argv[i], "--acks") == 0) {
            bench.acks = value_of(argc, argv, &i);
        } else if (strcmp(argv[i], "--linger") == 0) {
            bench.linger = value_of(argc, argv, &i);
        } else if (strcmp(argv[i], "--batch") == 0) {
            bench.batch = value_of(argc, argv, &i);
        } else if (strcmp(argv[i], "--size") == 0) {
            bench.size = strtol(value_of(argc, argv, &i), NULL, 10);
        } else if (strcmp(argv[i], "--count") == 0) {
            bench.count = strtol(value_of(argc, argv, &i), NULL, 10);
        } else if (strcmp(argv[i], "--rate") == 0) {
            bench.rate = strtol(value_of(argc, argv, &i), NULL, 10);
        } else if (strcmp(argv[i], "--partitions") == 0) {
            bench.partitions = (int)strtol(value_of(argc, argv, &i), NULL, 10);
        } else if (strcmp(argv[i], "--factor") == 0) {
            bench.factor = (int)strtol(value_of(argc, argv, &i), NULL, 10);
        } else if (strcmp(argv[i], "--no-consume") == 0) {
            bench.consumes = 0;
        } else {
            die("unknown argument", argv[i]);
        }
    }
    if (bench.target == NULL) {
        printf("bench_kafka: needs --target; scripts/bench runs it\n");
        return 0;
    }
    if (strcmp(bench.target, "mock") == 0) {
        open_mock(&bench);
    } else {
        (void)snprintf(bench.servers, sizeof(bench.servers), "%s", bench.target);
    }
    produce(&bench);
    if (bench.consumes) {
        consume(&bench);
    }
    if (bench.mock != NULL) {
        rd_kafka_mock_cluster_destroy(bench.mock);
        rd_kafka_destroy(bench.owner);
    }
    return bench.failed == 0 ? 0 : 1;
}
