/* The metrics page: counters of all shards, replicas' health, rows of partitions, the process.
 * Runs on: any thread. */
#pragma once

#include "base/metrics.h"
#include "base/process.h"
#include "broker/health.h"
#include <stdio.h>

struct http_picture {
    struct metrics *const *metrics; /* [count] */
    const struct health *shards;    /* [count] */
    size_t count;
    const struct health_partition *partitions; /* of all shards */
    size_t partition_count;
    struct process_usage process;
};
/* ERR_TOO_LARGE: `buf` is full. Names and meanings of all that is printed beside base/metrics.h: docs/METRICS.md. */
MUST_CHECK enum err http_page(const struct http_picture *picture, struct dynbuf *buf);
/* The counters of shards alone. */
MUST_CHECK enum err http_page_counters(struct metrics *const *metrics, size_t count, struct dynbuf *buf);
/* docs/METRICS.md: every metric with kind and meaning. */
void http_print_markdown(FILE *out);
