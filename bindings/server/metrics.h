/* metrics.h - request times by route and status. Each worker counts for itself; whoever is asked for /metrics adds up.
 */
#ifndef TIDE_METRICS_H
#define TIDE_METRICS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "../json.h"

enum { METRICS_LABELS_MAX = 512, METRICS_STATUSES = 24, METRICS_BUCKETS = 31 };

/* Names of routes; a name keeps its number for the life of the server, also when scripts are loaded anew. */
struct metrics_labels {
    pthread_mutex_t mutex;
    unsigned count; /* number 0 is for what leads to no route, and for routes beyond the last number */
    char *names[METRICS_LABELS_MAX];
};

/* Written by one thread, read by all: relaxed, since each number stands for itself. */
struct metrics_series {
    _Atomic uint64_t count, sum_us, buckets[METRICS_BUCKETS]; /* bucket i: at most metrics_bounds_us[i] */
    int status;
};

/* By label and status; a series is made by its worker at its first use. Release; pairs with the acquire in writing. */
struct metrics {
    _Atomic(struct metrics_series *) series[METRICS_LABELS_MAX][METRICS_STATUSES];
};

extern const uint32_t metrics_bounds_us[METRICS_BUCKETS];

unsigned metrics_label(struct metrics_labels *labels, const char *name);
void metrics_count(struct metrics *metrics, unsigned label, int status, uint64_t time_us);

/* Appends the histogram of all workers' metrics in Prometheus's text format; false: out of memory. */
bool metrics_write(struct json_buffer *out, struct metrics_labels *labels, struct metrics *const workers[], int count);
void metrics_free(struct metrics *metrics);
bool metrics_printf(struct json_buffer *out, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
