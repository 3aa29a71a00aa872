/* Counts of durations in buckets, as Prometheus keeps them. Pure. */
#ifndef PREFORKD_POLICY_HISTOGRAM_H
#define PREFORKD_POLICY_HISTOGRAM_H

#include <stddef.h>
#include <stdint.h>

#define HISTOGRAM_BUCKETS 11

struct histogram {
    uint64_t counts[HISTOGRAM_BUCKETS + 1]; /* each for itself; the last is above all bounds */
    int64_t sum_ms;
};

/* The upper bounds, inclusive: from 10 ms to a minute. */
extern const int64_t histogram_bounds_ms[HISTOGRAM_BUCKETS];

void histogram_add(struct histogram *h, int64_t ms);

/* How many were at most the bound; with i = HISTOGRAM_BUCKETS how many there were. */
uint64_t histogram_up_to(const struct histogram *h, size_t i);

#endif
