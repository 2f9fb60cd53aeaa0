/* A run as a picture: brokers, who leads which group in which term, faults, acknowledgements, over virtual time. */
#pragma once

#include "tests/sim/faults.h"
#include "tests/sim/observer.h"

struct timeline {
    const char *title;
    unsigned node_count;
    int64_t end_us;
    const struct observed *observed;
    size_t observed_count;
    const struct fault_record *faults;
    size_t fault_count;
    const uint32_t *acked; /* values acknowledged in each slice of acked_slice_us */
    size_t acked_count;
    int64_t acked_slice_us;
};
/* As SVG. False: the file cannot be written. */
MUST_CHECK bool timeline_write(const struct timeline *timeline, const char *path);
