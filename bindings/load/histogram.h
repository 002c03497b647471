/* histogram.h - counts of values 0 to 2^42 - 1, kept to three digits. One thread at a time uses a histogram. */
#ifndef TIDE_LOAD_HISTOGRAM_H
#define TIDE_LOAD_HISTOGRAM_H

#include <stdbool.h>
#include <stdint.h>

enum {
    HISTOGRAM_DIGIT_BITS = 10, /* a bucket is at most 1/1024 as wide as its values are large */
    HISTOGRAM_VALUE_BITS = 42, /* in ns: 73 minutes; larger values are counted as the largest */
    HISTOGRAM_BUCKETS = ((HISTOGRAM_VALUE_BITS - HISTOGRAM_DIGIT_BITS + 1) << HISTOGRAM_DIGIT_BITS)
};

struct histogram {
    uint64_t count, min, max; /* min, max: exact; of an empty one UINT64_MAX and 0 */
    double sum;
    uint32_t first, last; /* the buckets in use lie between; of an empty one first > last */
    uint64_t counts[HISTOGRAM_BUCKETS];
};

/* NULL: out of memory. */
struct histogram *histogram_create(void);
void histogram_destroy(struct histogram *histogram);
void histogram_clear(struct histogram *histogram);
void histogram_merge(struct histogram *into, const struct histogram *from);

static inline uint32_t histogram_bucket(uint64_t value)
{
    if (value < 2u << HISTOGRAM_DIGIT_BITS)
        return (uint32_t)value;
    unsigned shift = 63u - (unsigned)__builtin_clzll(value) - HISTOGRAM_DIGIT_BITS;
    return (uint32_t)((shift << HISTOGRAM_DIGIT_BITS) + (value >> shift));
}

static inline void histogram_record_many(struct histogram *histogram, uint64_t value, uint64_t times)
{
    if (value >> HISTOGRAM_VALUE_BITS)
        value = (UINT64_C(1) << HISTOGRAM_VALUE_BITS) - 1;
    uint32_t bucket = histogram_bucket(value);
    histogram->counts[bucket] += times;
    histogram->count += times;
    histogram->sum += (double)value * (double)times;
    if (value < histogram->min) {
        histogram->min = value;
        histogram->first = bucket;
    }
    if (value >= histogram->max) {
        histogram->max = value;
        histogram->last = bucket;
    }
}

static inline void histogram_record(struct histogram *histogram, uint64_t value)
{
    histogram_record_many(histogram, value, 1);
}

/* The largest value of the bucket, as it is reported. */
uint64_t histogram_bucket_value(const struct histogram *histogram, uint32_t bucket);

/* The value that `percent` (0-100) of the counted ones don't exceed; 0 when there is none. */
uint64_t histogram_percentile(const struct histogram *histogram, double percent);
double histogram_mean(const struct histogram *histogram);
double histogram_stdev(const struct histogram *histogram);

/* How many buckets are in use, and the first one in use that is not before `bucket` (false: none). */
uint32_t histogram_distinct(const struct histogram *histogram);
bool histogram_next(const struct histogram *histogram, uint32_t *bucket);

/* A new histogram of the values divided by `divisor`. NULL: out of memory. */
struct histogram *histogram_scaled(const struct histogram *histogram, uint64_t divisor);

#endif
