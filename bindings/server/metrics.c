/* metrics.c - log-linear histograms: five steps a decade, from 10 us to 10 s. */
#include "metrics.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DECADE(unit) 1 * (unit), 2 * (unit), 4 * (unit), 6 * (unit), 8 * (unit)
const uint32_t metrics_bounds_us[METRICS_BUCKETS] = {DECADE(10),     DECADE(100),     DECADE(1000), DECADE(10000),
                                                     DECADE(100000), DECADE(1000000), 10000000};

unsigned metrics_label(struct metrics_labels *labels, const char *name)
{
    unsigned found = 0;
    pthread_mutex_lock(&labels->mutex);
    for (unsigned i = 1; i <= labels->count && found == 0; i++)
        if (strcmp(labels->names[i], name) == 0)
            found = i;
    if (found == 0 && labels->count + 1 < METRICS_LABELS_MAX) {
        char *copy = strdup(name);
        if (copy) {
            found = ++labels->count;
            labels->names[found] = copy;
        }
    }
    pthread_mutex_unlock(&labels->mutex);
    return found;
}

static struct metrics_series *series_of(struct metrics *metrics, unsigned label, int status)
{
    for (unsigned i = 0; i < METRICS_STATUSES; i++) {
        struct metrics_series *series = atomic_load_explicit(&metrics->series[label][i], memory_order_relaxed);
        if (series && series->status == status)
            return series;
        if (series)
            continue;
        series = calloc(1, sizeof *series);
        if (!series)
            return NULL;
        series->status = status;
        atomic_store_explicit(&metrics->series[label][i], series, memory_order_release);
        return series;
    }
    return NULL;
}

/* One thread adds, so that no locked instruction is needed. */
static void add(_Atomic uint64_t *counter, uint64_t amount)
{
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + amount, memory_order_relaxed);
}

void metrics_count(struct metrics *metrics, unsigned label, int status, uint64_t time_us)
{
    struct metrics_series *series = series_of(metrics, label, status);
    if (!series)
        return;
    add(&series->count, 1);
    add(&series->sum_us, time_us);
    unsigned bucket = 0;
    while (bucket < METRICS_BUCKETS && time_us > metrics_bounds_us[bucket])
        bucket++;
    if (bucket < METRICS_BUCKETS)
        add(&series->buckets[bucket], 1);
}

bool metrics_printf(struct json_buffer *out, const char *format, ...)
{
    va_list arguments;
    char line[1024];
    va_start(arguments, format);
    int length = vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    return length >= 0 && (size_t)length < sizeof line && json_buffer_append(out, line, (size_t)length);
}

struct sum {
    uint64_t count, sum_us, buckets[METRICS_BUCKETS];
};

static void sum_add(struct sum *sum, const struct metrics_series *series)
{
    sum->count += atomic_load_explicit(&series->count, memory_order_relaxed);
    sum->sum_us += atomic_load_explicit(&series->sum_us, memory_order_relaxed);
    for (unsigned i = 0; i < METRICS_BUCKETS; i++)
        sum->buckets[i] += atomic_load_explicit(&series->buckets[i], memory_order_relaxed);
}

typedef bool sum_writer(struct json_buffer *out, const struct sum *sum, const char *route, int status);

static bool total_write(struct json_buffer *out, const struct sum *sum, const char *route, int status)
{
    return metrics_printf(out, "tidemark_http_requests_total{route=\"%s\",status=\"%d\"} %" PRIu64 "\n", route, status,
                          sum->count);
}

static bool histogram_write(struct json_buffer *out, const struct sum *sum, const char *route, int status)
{
    static const char name[] = "tidemark_http_request_duration_seconds";
    uint64_t below = 0;
    for (unsigned i = 0; i < METRICS_BUCKETS; i++) {
        below += sum->buckets[i];
        if (!metrics_printf(out, "%s_bucket{route=\"%s\",status=\"%d\",le=\"%g\"} %" PRIu64 "\n", name, route, status,
                            metrics_bounds_us[i] / 1e6, below))
            return false;
    }
    /* The sum over the buckets may be ahead of the count, which is read first. */
    uint64_t count = sum->count > below ? sum->count : below;
    return metrics_printf(out, "%s_bucket{route=\"%s\",status=\"%d\",le=\"+Inf\"} %" PRIu64 "\n", name, route, status,
                          count) &&
           metrics_printf(out, "%s_sum{route=\"%s\",status=\"%d\"} %.6f\n", name, route, status,
                          (double)sum->sum_us / 1e6) &&
           metrics_printf(out, "%s_count{route=\"%s\",status=\"%d\"} %" PRIu64 "\n", name, route, status, count);
}

/* Of one label: adds up equal statuses of all workers. */
static bool label_write(struct json_buffer *out, struct metrics *const workers[], int count, unsigned label,
                        const char *name, sum_writer *write)
{
    for (int status = 100; status <= 599; status++) {
        struct sum sum = {0};
        for (int w = 0; w < count; w++) {
            for (unsigned i = 0; i < METRICS_STATUSES; i++) {
                const struct metrics_series *series =
                    atomic_load_explicit(&workers[w]->series[label][i], memory_order_acquire);
                if (!series)
                    break;
                if (series->status == status)
                    sum_add(&sum, series);
            }
        }
        if (sum.count > 0 && !write(out, &sum, name, status))
            return false;
    }
    return true;
}

static bool family_write(struct json_buffer *out, struct metrics_labels *labels, struct metrics *const workers[],
                         int count, sum_writer *write)
{
    pthread_mutex_lock(&labels->mutex);
    unsigned last = labels->count;
    pthread_mutex_unlock(&labels->mutex);
    for (unsigned label = 0; label <= last; label++) {
        char name[400];
        size_t length = 0;
        const char *p = label == 0 ? "none" : labels->names[label]; /* written before the count, which the mutex gave */
        for (; *p && length < sizeof name - 3; p++) {
            if (*p == '"' || *p == '\\')
                name[length++] = '\\';
            name[length++] = *p;
        }
        name[length] = 0;
        if (!label_write(out, workers, count, label, name, write))
            return false;
    }
    return true;
}

bool metrics_write(struct json_buffer *out, struct metrics_labels *labels, struct metrics *const workers[], int count)
{
    return metrics_printf(out, "# HELP tidemark_http_requests_total Requests that were answered.\n"
                               "# TYPE tidemark_http_requests_total counter\n") &&
           family_write(out, labels, workers, count, total_write) &&
           metrics_printf(
               out, "# HELP tidemark_http_request_duration_seconds Time from a request's first byte to its answer.\n"
                    "# TYPE tidemark_http_request_duration_seconds histogram\n") &&
           family_write(out, labels, workers, count, histogram_write);
}

void metrics_free(struct metrics *metrics)
{
    for (unsigned label = 0; label < METRICS_LABELS_MAX; label++)
        for (unsigned i = 0; i < METRICS_STATUSES; i++)
            free(atomic_load_explicit(&metrics->series[label][i], memory_order_relaxed));
}
