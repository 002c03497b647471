/* histogram.c - a log-linear histogram.
 *
 * Values under 2048 have a bucket each. Above, each power of two is cut into 1024 buckets of equal width, so that a
 * bucket is never wider than 1/1024 of the values in it: three digits, at any size. Bucket numbers grow with the values
 * and leave no hole: of a value whose highest bit is b, shift = b - 10, the bucket is shift * 1024 + (value >> shift).
 * A value is reported as the largest of its bucket, but never above the largest that was counted. Sum, smallest and
 * largest are exact. */
#include "histogram.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct histogram *histogram_create(void)
{
    struct histogram *histogram = calloc(1, sizeof *histogram);
    if (histogram)
        histogram_clear(histogram);
    return histogram;
}

void histogram_destroy(struct histogram *histogram)
{
    free(histogram);
}

static bool empty(const struct histogram *histogram)
{
    return histogram->count == 0;
}

void histogram_clear(struct histogram *histogram)
{
    if (!empty(histogram))
        memset(histogram->counts + histogram->first, 0,
               (histogram->last - histogram->first + 1) * sizeof histogram->counts[0]);
    histogram->count = 0;
    histogram->sum = 0;
    histogram->min = UINT64_MAX;
    histogram->max = 0;
    histogram->first = HISTOGRAM_BUCKETS;
    histogram->last = 0;
}

void histogram_merge(struct histogram *into, const struct histogram *from)
{
    if (empty(from))
        return;
    for (uint32_t i = from->first; i <= from->last; i++)
        into->counts[i] += from->counts[i];
    into->count += from->count;
    into->sum += from->sum;
    if (from->min < into->min)
        into->min = from->min;
    if (from->max > into->max)
        into->max = from->max;
    if (from->first < into->first)
        into->first = from->first;
    if (from->last > into->last)
        into->last = from->last;
}

uint64_t histogram_bucket_value(const struct histogram *histogram, uint32_t bucket)
{
    uint64_t value = bucket;
    if (bucket >= 2u << HISTOGRAM_DIGIT_BITS) {
        unsigned shift = (bucket >> HISTOGRAM_DIGIT_BITS) - 1;
        uint64_t digits = bucket - (shift << HISTOGRAM_DIGIT_BITS);
        value = ((digits + 1) << shift) - 1;
    }
    return value < histogram->max ? value : histogram->max;
}

uint64_t histogram_percentile(const struct histogram *histogram, double percent)
{
    if (empty(histogram))
        return 0;
    double wanted = ceil(percent / 100 * (double)histogram->count - 1e-6);
    uint64_t seen = 0, rank = wanted < 1 ? 1 : (uint64_t)wanted;
    for (uint32_t i = histogram->first; i <= histogram->last; i++) {
        seen += histogram->counts[i];
        if (seen >= rank)
            return histogram_bucket_value(histogram, i);
    }
    return histogram->max;
}

double histogram_mean(const struct histogram *histogram)
{
    return empty(histogram) ? 0 : histogram->sum / (double)histogram->count;
}

double histogram_stdev(const struct histogram *histogram)
{
    if (histogram->count < 2)
        return 0;
    double mean = histogram_mean(histogram), sum = 0;
    for (uint32_t i = histogram->first; i <= histogram->last; i++) {
        double distance = (double)histogram_bucket_value(histogram, i) - mean;
        sum += distance * distance * (double)histogram->counts[i];
    }
    return sqrt(sum / (double)(histogram->count - 1));
}

bool histogram_next(const struct histogram *histogram, uint32_t *bucket)
{
    if (empty(histogram))
        return false;
    for (uint32_t i = *bucket < histogram->first ? histogram->first : *bucket; i <= histogram->last; i++) {
        if (histogram->counts[i]) {
            *bucket = i;
            return true;
        }
    }
    return false;
}

uint32_t histogram_distinct(const struct histogram *histogram)
{
    uint32_t distinct = 0;
    for (uint32_t i = 0; histogram_next(histogram, &i); i++)
        distinct++;
    return distinct;
}

struct histogram *histogram_scaled(const struct histogram *histogram, uint64_t divisor)
{
    struct histogram *scaled = histogram_create();
    if (!scaled)
        return NULL;
    if (divisor == 1) {
        histogram_merge(scaled, histogram);
        return scaled;
    }
    for (uint32_t i = 0; histogram_next(histogram, &i); i++)
        histogram_record_many(scaled, histogram_bucket_value(histogram, i) / divisor, histogram->counts[i]);
    if (!empty(histogram)) {
        scaled->sum = histogram->sum / (double)divisor;
        if (histogram->min / divisor < scaled->min) {
            scaled->min = histogram->min / divisor;
        }
    }
    return scaled;
}
