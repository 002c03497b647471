/* meter.h - what is measured. Each thread has a meter, which it alone touches while it runs; ten times a second the
 * meter hands its latencies to the record, which all threads share. All times are in ns of CLOCK_MONOTONIC. */
#ifndef TIDE_LOAD_METER_H
#define TIDE_LOAD_METER_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "histogram.h"

#define SECOND_NS UINT64_C(1000000000)
#define TICK_NS (SECOND_NS / 10)

enum error_kind { ERROR_CONNECT, ERROR_READ, ERROR_WRITE, ERROR_TIMEOUT, ERROR_STATUS, ERROR_KINDS };
enum { STATUS_CODES = 1000 };

/* A stretch of the run, for the figures over time. */
struct interval {
    uint64_t requests, errors;
    uint64_t p50, p99, max;      /* ns; valid once it is closed */
    struct histogram *latencies; /* NULL before the first and when it is closed */
    unsigned passed;             /* meters that have gone on to a later one */
};

struct record {
    unsigned meters;
    uint64_t interval_ns; /* a multiple of TICK_NS */
    pthread_mutex_t lock; /* guards all below */
    struct histogram *latency, *rates;
    struct histogram *recent; /* since the last look at the progress */
    uint64_t recent_errors, errors;
    struct interval *intervals;
    size_t count, capacity;
    bool out_of_memory;
};

struct meter {
    struct record *record;
    struct histogram *current; /* since the last tick */
    uint64_t measure_from;     /* UINT64_MAX before the run has begun */
    uint64_t measure_to;       /* what comes later is added to the last interval */
    uint64_t next_tick, end;
    bool measuring, ended;
    size_t interval;
    uint64_t requests, bytes;
    uint64_t errors[ERROR_KINDS], errors_delivered;
    uint64_t status[STATUS_CODES];
    uint64_t cpu_from_ns, wall_from_ns;
    double cpu; /* 0-1; after meter_end */
};

bool record_init(struct record *record, unsigned meters, uint64_t interval_ns);
void record_destroy(struct record *record);
void record_finish(struct record *record); /* when all meters have ended: closes the last intervals */

/* false: out of memory. */
bool meter_init(struct meter *meter, struct record *record);
void meter_destroy(struct meter *meter);

/* In the meter's thread: the figures count from `measure_from`. */
void meter_begin(struct meter *meter, uint64_t measure_from, uint64_t measure_to);
/* To be called when next_tick has come. */
void meter_tick(struct meter *meter, uint64_t now);
void meter_end(struct meter *meter, uint64_t now);

static inline uint64_t monotonic_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * SECOND_NS + (uint64_t)now.tv_nsec;
}

/* A request that started, or was to start, at `start` was answered. What started in the warm-up isn't counted. */
static inline void meter_latency(struct meter *meter, uint64_t start, uint64_t now)
{
    meter->requests++;
    histogram_record(meter->current, now > start ? now - start : 0);
}

static inline void meter_response(struct meter *meter, uint64_t start, uint64_t now, unsigned status)
{
    if (start < meter->measure_from)
        return;
    meter_latency(meter, start, now);
    meter->status[status < STATUS_CODES ? status : 0]++;
    if (status >= 400)
        meter->errors[ERROR_STATUS]++;
}

static inline void meter_error(struct meter *meter, enum error_kind kind, uint64_t start)
{
    if (start >= meter->measure_from)
        meter->errors[kind]++;
}

#endif
