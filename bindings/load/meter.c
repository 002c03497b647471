/* meter.c - how figures come from the threads to the report.
 *
 * While it runs, a thread counts into its own meter, without any lock. At each tick (100 ms) it merges the latencies
 * since the last one into the record, under the record's lock: into the sum of the whole run, into the interval they
 * belong to, and into what the progress line looks at. An interval keeps its histogram only until all meters have
 * passed it; then its percentiles are taken and the memory is given back, so a long run costs a few words a second. The
 * first tick comes when the warm-up is over and delivers nothing. */
#include "meter.h"

#include <stdlib.h>

static uint64_t thread_cpu_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * SECOND_NS + (uint64_t)now.tv_nsec;
}

/* ---- The record ---- */

bool record_init(struct record *record, unsigned meters, uint64_t interval_ns)
{
    *record = (struct record){.meters = meters, .interval_ns = interval_ns};
    pthread_mutex_init(&record->lock, NULL);
    record->latency = histogram_create();
    record->rates = histogram_create();
    record->recent = histogram_create();
    return record->latency && record->rates && record->recent;
}

void record_destroy(struct record *record)
{
    for (size_t i = 0; i < record->count; i++)
        histogram_destroy(record->intervals[i].latencies);
    free(record->intervals);
    histogram_destroy(record->latency);
    histogram_destroy(record->rates);
    histogram_destroy(record->recent);
    pthread_mutex_destroy(&record->lock);
}

static void interval_close(struct interval *interval)
{
    if (!interval->latencies)
        return;
    interval->p50 = histogram_percentile(interval->latencies, 50);
    interval->p99 = histogram_percentile(interval->latencies, 99);
    interval->max = interval->latencies->max;
    histogram_destroy(interval->latencies);
    interval->latencies = NULL;
}

void record_finish(struct record *record)
{
    for (size_t i = 0; i < record->count; i++)
        interval_close(&record->intervals[i]);
}

/* With the lock held: the interval of this number, made if need be; NULL: out of memory. */
static struct interval *interval_at(struct record *record, size_t number)
{
    if (number >= record->capacity) {
        size_t capacity = record->capacity * 2 > number ? record->capacity * 2 : number + 64;
        struct interval *grown = realloc(record->intervals, capacity * sizeof *grown);
        if (!grown)
            return NULL;
        record->intervals = grown;
        record->capacity = capacity;
    }
    while (record->count <= number)
        record->intervals[record->count++] = (struct interval){0};
    return &record->intervals[number];
}

/* With the lock held. */
static void deliver(struct record *record, struct meter *meter, size_t number, uint64_t errors)
{
    histogram_merge(record->latency, meter->current);
    histogram_merge(record->recent, meter->current);
    record->recent_errors += errors;
    record->errors += errors;
    for (; meter->interval < number; meter->interval++) {
        struct interval *passed = interval_at(record, meter->interval);
        if (passed && ++passed->passed == record->meters)
            interval_close(passed);
    }
    struct interval *interval = interval_at(record, number);
    if (interval && !interval->latencies)
        interval->latencies = histogram_create();
    if (!interval || !interval->latencies) {
        record->out_of_memory = true;
        return;
    }
    histogram_merge(interval->latencies, meter->current);
    interval->requests += meter->current->count;
    interval->errors += errors;
}

/* ---- The meter ---- */

bool meter_init(struct meter *meter, struct record *record)
{
    *meter = (struct meter){.record = record, .measure_from = UINT64_MAX, .next_tick = UINT64_MAX};
    meter->current = histogram_create();
    return meter->current != NULL;
}

void meter_destroy(struct meter *meter)
{
    histogram_destroy(meter->current);
    meter->current = NULL;
}

void meter_begin(struct meter *meter, uint64_t measure_from, uint64_t measure_to)
{
    meter->measure_from = meter->next_tick = measure_from;
    meter->measure_to = measure_to;
}

/* Hands over what came up to `until`, which took `seconds`. */
static void hand_over(struct meter *meter, uint64_t until, double seconds)
{
    uint64_t errors = 0;
    for (int i = 0; i < ERROR_KINDS; i++)
        errors += meter->errors[i];
    uint64_t since = (until < meter->measure_to ? until : meter->measure_to) - meter->measure_from;
    size_t number = (size_t)((since ? since - 1 : 0) / meter->record->interval_ns);
    if (number < meter->interval)
        number = meter->interval;
    pthread_mutex_lock(&meter->record->lock);
    deliver(meter->record, meter, number, errors - meter->errors_delivered);
    if (seconds >= 0.05)
        histogram_record(meter->record->rates, (uint64_t)((double)meter->current->count / seconds + 0.5));
    pthread_mutex_unlock(&meter->record->lock);
    meter->errors_delivered = errors;
    histogram_clear(meter->current);
}

void meter_tick(struct meter *meter, uint64_t now)
{
    if (!meter->measuring) {
        meter->measuring = true;
        meter->cpu_from_ns = thread_cpu_ns();
        meter->wall_from_ns = now;
    } else {
        hand_over(meter, meter->next_tick, (double)TICK_NS / 1e9);
    }
    while (meter->next_tick <= now)
        meter->next_tick += TICK_NS;
}

void meter_end(struct meter *meter, uint64_t now)
{
    if (meter->ended)
        return;
    meter->ended = true;
    meter->end = now;
    if (now <= meter->measure_from) /* it never began, or was over in the warm-up */
        return;
    if (meter->measuring && now > meter->wall_from_ns)
        meter->cpu = (double)(thread_cpu_ns() - meter->cpu_from_ns) / (double)(now - meter->wall_from_ns);
    uint64_t last_tick = meter->measuring ? meter->next_tick - TICK_NS : meter->measure_from;
    double seconds = now > last_tick ? (double)(now - last_tick) / 1e9 : 0;
    hand_over(meter, now, seconds);
}
