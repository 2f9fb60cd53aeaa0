/* One array of numbers a shard, on cache lines of its own; a histogram has its buckets beside it.
 *
 * Pairs are a matrix each, of all shards' sums printed where they are not zero: a look at some ten thousand words.
 * Buckets: values below 8 have one each; a value v of 2^k <= v < 2^(k+1) is in one of 8 equal
 *          parts of that range. */
#include "base/metrics.h"

#include <stdatomic.h>
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"

enum {
    SUB_BUCKET_BITS = 3,
    SUB_BUCKET_COUNT = 1 << SUB_BUCKET_BITS,
    BUCKET_COUNT = (63 - SUB_BUCKET_BITS + 1) * SUB_BUCKET_COUNT, /* all of int64_t's positive range */
    PRINTED_BITS_MAX = 26,                                        /* 67 seconds: above every timeout */
    SECOND_US = 1000000,
    LABELS_SIZE = 256,
};

enum kind {
    COUNTER,
    GAUGE,
    HISTOGRAM
};

struct info {
    const char *name;
    const char *help;
    enum kind kind;
};

static const struct info infos[METRIC_COUNT] = {
#define METRIC_INFO(id, name, kind, help) [METRIC_##id] = {"balsa_" #name, help, kind},
    METRIC_MAP(METRIC_INFO)
#undef METRIC_INFO
};

enum {
#define METRIC_IS_HISTOGRAM(id, name, kind, help) +(kind == HISTOGRAM)
    HISTOGRAM_COUNT = 0 METRIC_MAP(METRIC_IS_HISTOGRAM),
#undef METRIC_IS_HISTOGRAM
};

struct histogram {
    _Atomic int64_t sum;
    _Atomic int64_t buckets[BUCKET_COUNT];
};

struct pair_info {
    const char *name;
    const char *help;
    size_t rows, columns;
    size_t offset; /* within a shard's pairs */
};

/* Places in a shard's pairs: one matrix behind the other. */
enum {
#define METRIC_PAIR_PLACE(id, name, rows, columns, help) PAIRS_##id, PAIRS_END_##id = PAIRS_##id + (rows) * (columns)-1,
    METRIC_PAIR_MAP(METRIC_PAIR_PLACE)
#undef METRIC_PAIR_PLACE
    PAIRS_COUNT
};

static const struct pair_info pair_infos[METRIC_PAIR_COUNT] = {
#define METRIC_PAIR_INFO(id, name, rows, columns, help) \
    [METRIC_##id] = {"balsa_" #name, help, rows, columns, PAIRS_##id},
    METRIC_PAIR_MAP(METRIC_PAIR_INFO)
#undef METRIC_PAIR_INFO
};

struct metrics {
    _Atomic int64_t values[METRIC_COUNT];       /* of a histogram: the count */
    struct histogram *histograms[METRIC_COUNT]; /* into `memory`; NULL for other kinds */
    struct histogram memory[HISTOGRAM_COUNT];
    _Atomic int64_t pairs[PAIRS_COUNT];
};

enum {
    CACHE_LINE_SIZE = 64
};

struct metrics *metrics_open(void)
{
    struct metrics *metrics = mem_aligned(CACHE_LINE_SIZE, sizeof *metrics);
    size_t used = 0;
    for (size_t i = 0; i < METRIC_COUNT; i++) {
        if (infos[i].kind == HISTOGRAM) {
            metrics->histograms[i] = &metrics->memory[used++];
        }
    }
    assert(used == HISTOGRAM_COUNT);
    return metrics;
}

void metrics_close(struct metrics *metrics)
{
    mem_free(metrics);
}

static int64_t load(const _Atomic int64_t *value)
{
    return atomic_load_explicit(value, memory_order_relaxed);
}

/* One writer: no locked instruction is needed for readers to see whole numbers. */
static void add(_Atomic int64_t *value, int64_t delta)
{
    atomic_store_explicit(value, load(value) + delta, memory_order_relaxed);
}

static size_t bucket_of(int64_t value)
{
    if (value < SUB_BUCKET_COUNT) {
        return value < 0 ? 0 : (size_t)value;
    }
    unsigned power = 63 - (unsigned)__builtin_clzll((unsigned long long)value);
    unsigned shift = power - SUB_BUCKET_BITS;
    return (size_t)shift * SUB_BUCKET_COUNT + (size_t)(value >> shift);
}

/* The largest value of the bucket. */
static int64_t bucket_last(size_t bucket)
{
    if (bucket < SUB_BUCKET_COUNT) {
        return (int64_t)bucket;
    }
    size_t shift = bucket / SUB_BUCKET_COUNT - 1;
    uint64_t part = bucket % SUB_BUCKET_COUNT + SUB_BUCKET_COUNT;
    return (int64_t)(((part + 1) << shift) - 1);
}

void metrics_add(struct metrics *metrics, enum metric metric, int64_t delta)
{
    assert(metric < METRIC_COUNT);
    assert(infos[metric].kind == GAUGE || (infos[metric].kind == COUNTER && delta >= 0));
    add(&metrics->values[metric], delta);
}

void metrics_observe(struct metrics *metrics, enum metric metric, int64_t value_us)
{
    assert(metric < METRIC_COUNT);
    struct histogram *histogram = metrics->histograms[metric];
    assert(histogram != NULL);
    int64_t value = value_us < 0 ? 0 : value_us; /* a clock that jumped */
    add(&metrics->values[metric], 1);
    add(&histogram->sum, value);
    add(&histogram->buckets[bucket_of(value)], 1);
}

int64_t metrics_value(const struct metrics *metrics, enum metric metric)
{
    assert(metric < METRIC_COUNT);
    return load(&metrics->values[metric]);
}

static size_t pair_place(enum metric_pair pair, size_t row, size_t column)
{
    assert(pair < METRIC_PAIR_COUNT);
    const struct pair_info *info = &pair_infos[pair];
    assert(row < info->rows);
    assert(column < info->columns);
    return info->offset + row * info->columns + column;
}

void metrics_add_pair(struct metrics *metrics, enum metric_pair pair, size_t row, size_t column)
{
    atomic_fetch_add_explicit(&metrics->pairs[pair_place(pair, row, column)], 1, memory_order_relaxed);
}

int64_t metrics_pair_value(const struct metrics *metrics, enum metric_pair pair, size_t row, size_t column)
{
    return load(&metrics->pairs[pair_place(pair, row, column)]);
}

static int64_t bucket_sum(struct metrics *const *shards, size_t count, enum metric metric, size_t bucket)
{
    int64_t sum = 0;
    for (size_t i = 0; i < count; i++) {
        sum += load(&shards[i]->histograms[metric]->buckets[bucket]);
    }
    return sum;
}

int64_t metrics_quantile(struct metrics *const *shards, size_t count, enum metric metric, double fraction)
{
    assert(metric < METRIC_COUNT);
    assert(infos[metric].kind == HISTOGRAM);
    assert(fraction >= 0 && fraction <= 1);
    int64_t buckets[BUCKET_COUNT];
    int64_t total = 0;
    for (size_t bucket = 0; bucket < BUCKET_COUNT; bucket++) {
        buckets[bucket] = bucket_sum(shards, count, metric, bucket);
        total += buckets[bucket];
    }
    int64_t seen = 0;
    for (size_t bucket = 0; bucket < BUCKET_COUNT; bucket++) {
        seen += buckets[bucket];
        if (seen > 0 && (double)seen >= fraction * (double)total) {
            return bucket_last(bucket);
        }
    }
    return 0;
}

/* The count printed is the sum of the buckets read, so that a page agrees with itself while shards
 * go on counting. */
static enum err histogram_print(struct metrics *const *shards, size_t count, enum metric metric, struct dynbuf *buf)
{
    const char *name = infos[metric].name;
    int64_t total = 0;
    int64_t sum = 0;
    for (size_t bucket = 0; bucket < BUCKET_COUNT; bucket++) {
        total += bucket_sum(shards, count, metric, bucket);
        int64_t last = bucket_last(bucket);
        bool is_half = bucket % (SUB_BUCKET_COUNT / 2) == SUB_BUCKET_COUNT / 2 - 1;
        if (!is_half || last >= INT64_C(1) << PRINTED_BITS_MAX) {
            continue;
        }
        enum err err = dynbuf_printf(buf, "%s_bucket{le=\"%lld.%06lld\"} %lld\n", name, (long long)(last / SECOND_US),
                                     (long long)(last % SECOND_US), (long long)total);
        if (err != OK) {
            return err;
        }
    }
    for (size_t i = 0; i < count; i++) {
        sum += load(&shards[i]->histograms[metric]->sum);
    }
    return dynbuf_printf(buf, "%s_bucket{le=\"+Inf\"} %lld\n%s_sum %lld.%06lld\n%s_count %lld\n", name,
                         (long long)total, name, (long long)(sum / SECOND_US), (long long)(sum % SECOND_US), name,
                         (long long)total);
}

static const char *const kinds[] = {[COUNTER] = "counter", [GAUGE] = "gauge", [HISTOGRAM] = "histogram"};

static enum err metric_print(struct metrics *const *shards, size_t count, enum metric metric, struct dynbuf *buf)
{
    const struct info *info = &infos[metric];
    enum err err =
        dynbuf_printf(buf, "# HELP %s %s\n# TYPE %s %s\n", info->name, info->help, info->name, kinds[info->kind]);
    if (err != OK) {
        return err;
    }
    if (info->kind == HISTOGRAM) {
        return histogram_print(shards, count, metric, buf);
    }
    int64_t sum = 0;
    for (size_t i = 0; i < count; i++) {
        sum += metrics_value(shards[i], metric);
    }
    return dynbuf_printf(buf, "%s %lld\n", info->name, (long long)sum);
}

enum err metrics_print(struct metrics *const *shards, size_t count, struct dynbuf *buf)
{
    size_t size_before = buf->size;
    for (size_t i = 0; i < METRIC_COUNT; i++) {
        enum err err = metric_print(shards, count, (enum metric)i, buf);
        if (err != OK) {
            buf->size = size_before;
            return err;
        }
    }
    return OK;
}

static enum err pair_print(struct metrics *const *shards, size_t count, enum metric_pair pair, size_t place,
                           metric_labels labels, struct dynbuf *buf)
{
    const struct pair_info *info = &pair_infos[pair];
    char text[LABELS_SIZE];
    int64_t sum = 0;
    for (size_t i = 0; i < count; i++) {
        sum += load(&shards[i]->pairs[info->offset + place]);
    }
    if (sum == 0) {
        return OK;
    }
    labels(place / info->columns, place % info->columns, text, sizeof(text));
    return dynbuf_printf(buf, "%s{%s} %lld\n", info->name, text, (long long)sum);
}

enum err metrics_print_pair(struct metrics *const *shards, size_t count, enum metric_pair pair, metric_labels labels,
                            struct dynbuf *buf)
{
    assert(pair < METRIC_PAIR_COUNT);
    const struct pair_info *info = &pair_infos[pair];
    size_t size_before = buf->size;
    enum err err =
        dynbuf_printf(buf, "# HELP %s %s\n# TYPE %s %s\n", info->name, info->help, info->name, kinds[COUNTER]);
    for (size_t place = 0; err == OK && place < info->rows * info->columns; place++) {
        err = pair_print(shards, count, pair, place, labels, buf);
    }
    if (err != OK) {
        buf->size = size_before;
    }
    return err;
}

void metrics_print_markdown(FILE *out)
{
    for (size_t i = 0; i < METRIC_COUNT; i++) {
        (void)fprintf(out, "| `%s` | %s | %s |\n", infos[i].name, kinds[infos[i].kind], infos[i].help);
    }
    for (size_t i = 0; i < METRIC_PAIR_COUNT; i++) {
        (void)fprintf(out, "| `%s` | %s | %s |\n", pair_infos[i].name, kinds[COUNTER], pair_infos[i].help);
    }
}
