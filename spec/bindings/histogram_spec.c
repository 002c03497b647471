/* histogram_spec.c - the histogram against a sorted array of the same values: three digits, in every distribution. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../../bindings/load/histogram.h"

#include <cmocka.h>

enum { VALUES = 20000 };

#define LARGEST ((UINT64_C(1) << HISTOGRAM_VALUE_BITS) - 1)

static uint64_t seed, state;

static uint64_t any(void) /* splitmix64 */
{
    uint64_t z = state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static double fraction(void)
{
    return (double)(any() >> 11) / 9007199254740992.0;
}

static int set_up(void **unused)
{
    (void)unused;
    state = seed;
    return 0;
}

/* ---- Distributions ---- */

static uint64_t small(size_t i)
{
    (void)i;
    return any() % 2048;
}

static uint64_t uniform(size_t i)
{
    (void)i;
    return any() & LARGEST;
}

static uint64_t exponential(size_t i)
{
    (void)i;
    return (uint64_t)(-log(1 - fraction()) * 2e6);
}

static uint64_t all_sizes(size_t i)
{
    (void)i;
    return (uint64_t)exp2(fraction() * 41.9);
}

static uint64_t two_hills(size_t i)
{
    return i % 50 == 0 ? 300000000 + any() % 1000000 : 80000 + any() % 1000;
}

static uint64_t constant(size_t i)
{
    (void)i;
    return 123456789;
}

static uint64_t around_powers(size_t i)
{
    return (UINT64_C(1) << (1 + i % 41)) - 1 + any() % 3;
}

static const struct distribution {
    const char *name;
    uint64_t (*draw)(size_t i);
} distributions[] = {
    {"small", small},         {"uniform", uniform},   {"exponential", exponential},     {"all sizes", all_sizes},
    {"two hills", two_hills}, {"constant", constant}, {"around powers", around_powers},
};

enum { DISTRIBUTIONS = sizeof distributions / sizeof distributions[0] };

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* In hundredths of a percent, so that the rank is found without rounding. */
static const unsigned shares[] = {0, 1, 100, 1000, 2500, 5000, 7500, 9000, 9900, 9990, 9999, 10000};

static void compare_percentiles(const char *name, const struct histogram *histogram, const uint64_t *sorted, size_t n)
{
    for (size_t i = 0; i < sizeof shares / sizeof shares[0]; i++) {
        size_t rank = (shares[i] * n + 9999) / 10000;
        uint64_t exact = sorted[rank ? rank - 1 : 0];
        uint64_t found = histogram_percentile(histogram, shares[i] / 100.0);
        if (found < exact || (double)found > (double)exact * (1 + 1.0 / 1024) || (exact < 2048 && found != exact))
            fail_msg("%s: percentile %.2f of %zu is %ju, not %ju", name, shares[i] / 100.0, n, (uintmax_t)found,
                     (uintmax_t)exact);
    }
}

static struct histogram *filled(const struct distribution *distribution, uint64_t *sorted, size_t n)
{
    struct histogram *histogram = histogram_create();
    assert_non_null(histogram);
    for (size_t i = 0; i < n; i++) {
        sorted[i] = distribution->draw(i);
        histogram_record(histogram, sorted[i]);
    }
    qsort(sorted, n, sizeof *sorted, compare);
    return histogram;
}

/* ---- Specs ---- */

static void percentiles_within_three_digits(void **unused)
{
    (void)unused;
    static uint64_t sorted[VALUES];
    static const size_t sizes[] = {1, 2, 3, 10, 100, 101, 1000, 9999, VALUES};
    for (size_t d = 0; d < DISTRIBUTIONS; d++) {
        for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
            struct histogram *histogram = filled(&distributions[d], sorted, sizes[s]);
            compare_percentiles(distributions[d].name, histogram, sorted, sizes[s]);
            histogram_destroy(histogram);
        }
    }
}

static void count_extremes_mean_and_deviation(void **unused)
{
    (void)unused;
    static uint64_t sorted[VALUES];
    for (size_t d = 0; d < DISTRIBUTIONS; d++) {
        struct histogram *histogram = filled(&distributions[d], sorted, VALUES);
        long double sum = 0, squares = 0;
        for (size_t i = 0; i < VALUES; i++)
            sum += sorted[i];
        long double mean = sum / VALUES;
        for (size_t i = 0; i < VALUES; i++)
            squares += (sorted[i] - mean) * (sorted[i] - mean);
        assert_int_equal(histogram->count, VALUES);
        assert_int_equal(histogram->min, sorted[0]);
        assert_int_equal(histogram->max, sorted[VALUES - 1]);
        assert_true(fabs(histogram_mean(histogram) - (double)mean) <= (double)mean * 1e-9);
        double deviation = (double)sqrtl(squares / (VALUES - 1));
        double allowed = (deviation + (double)mean) / 1024 + 1e-9;
        assert_true(fabs(histogram_stdev(histogram) - deviation) <= allowed);
        histogram_destroy(histogram);
    }
}

static void empty(void **unused)
{
    (void)unused;
    struct histogram *histogram = histogram_create();
    assert_non_null(histogram);
    for (double percent = 0; percent <= 100; percent += 12.5)
        assert_int_equal(histogram_percentile(histogram, percent), 0);
    assert_true(histogram_mean(histogram) == 0 && histogram_stdev(histogram) == 0);
    assert_int_equal(histogram->max, 0);
    assert_int_equal(histogram_distinct(histogram), 0);
    uint32_t bucket = 0;
    assert_false(histogram_next(histogram, &bucket));
    struct histogram *scaled = histogram_scaled(histogram, 1000);
    assert_non_null(scaled);
    assert_memory_equal(scaled, histogram, sizeof *histogram);
    histogram_destroy(scaled);
    histogram_clear(histogram);
    histogram_merge(histogram, histogram);
    assert_int_equal(histogram->count, 0);
    histogram_destroy(histogram);
    histogram_destroy(NULL);
}

static void one_value_is_kept_exactly(void **unused)
{
    (void)unused;
    static const uint64_t values[] = {0, 1, 2047, 2048, 2049, 1000001, 123456789012, LARGEST};
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        struct histogram *histogram = histogram_create();
        assert_non_null(histogram);
        histogram_record(histogram, values[i]);
        for (double percent = 0; percent <= 100; percent += 12.5)
            assert_int_equal(histogram_percentile(histogram, percent), values[i]);
        assert_int_equal(histogram->min, values[i]);
        assert_int_equal(histogram->max, values[i]);
        assert_true(histogram_mean(histogram) == (double)values[i] && histogram_stdev(histogram) == 0);
        assert_int_equal(histogram_distinct(histogram), 1);
        histogram_destroy(histogram);
    }
}

static void too_large_values_count_as_the_largest(void **unused)
{
    (void)unused;
    struct histogram *histogram = histogram_create();
    assert_non_null(histogram);
    histogram_record(histogram, 5);
    histogram_record(histogram, LARGEST + 1);
    histogram_record(histogram, UINT64_MAX);
    assert_int_equal(histogram->count, 3);
    assert_int_equal(histogram->max, LARGEST);
    assert_int_equal(histogram_percentile(histogram, 100), LARGEST);
    assert_int_equal(histogram_percentile(histogram, 10), 5);
    histogram_destroy(histogram);
}

/* Bucket numbers leave no hole, and each value lies in the bucket that is reported for it. */
static void buckets(void **unused)
{
    (void)unused;
    struct histogram *histogram = histogram_create();
    assert_non_null(histogram);
    histogram->max = UINT64_MAX;
    assert_int_equal(histogram_bucket(0), 0);
    assert_int_equal(histogram_bucket(LARGEST), HISTOGRAM_BUCKETS - 1);
    for (uint32_t bucket = 0; bucket + 1 < HISTOGRAM_BUCKETS; bucket++) {
        uint64_t value = histogram_bucket_value(histogram, bucket);
        assert_int_equal(histogram_bucket(value), bucket);
        assert_int_equal(histogram_bucket(value + 1), bucket + 1);
    }
    histogram->max = 0;
    histogram_destroy(histogram);
}

static void merged_is_as_recorded_together(void **unused)
{
    (void)unused;
    struct histogram *together = histogram_create(), *sum = histogram_create(), *part = histogram_create();
    assert_true(together && sum && part);
    for (size_t d = 0; d < DISTRIBUTIONS; d++) {
        if (distributions[d].draw == uniform) /* its sum isn't exact in a double */
            continue;
        for (size_t i = 0; i < 500; i++) {
            uint64_t value = distributions[d].draw(i) & 0xffffffff;
            histogram_record(together, value);
            histogram_record(part, value);
        }
        histogram_merge(sum, part);
        histogram_clear(part);
        histogram_merge(sum, part);
    }
    assert_int_equal(sum->count, 500 * (DISTRIBUTIONS - 1));
    assert_memory_equal(sum, together, sizeof *sum);
    histogram_destroy(together);
    histogram_destroy(sum);
    histogram_destroy(part);
}

static void cleared_is_as_new(void **unused)
{
    (void)unused;
    struct histogram *fresh = histogram_create();
    assert_non_null(fresh);
    static uint64_t sorted[1000];
    for (size_t d = 0; d < DISTRIBUTIONS; d++) {
        struct histogram *histogram = filled(&distributions[d], sorted, 1000);
        histogram_clear(histogram);
        assert_memory_equal(histogram, fresh, sizeof *histogram);
        histogram_record(histogram, 7);
        assert_int_equal(histogram_percentile(histogram, 100), 7);
        histogram_destroy(histogram);
    }
    histogram_destroy(fresh);
}

static void values_in_order_with_their_counts(void **unused)
{
    (void)unused;
    static uint64_t sorted[VALUES];
    for (size_t d = 0; d < DISTRIBUTIONS; d++) {
        struct histogram *histogram = filled(&distributions[d], sorted, VALUES);
        uint64_t count = 0, before = 0;
        uint32_t seen = 0;
        for (uint32_t bucket = 0; histogram_next(histogram, &bucket); bucket++) {
            uint64_t value = histogram_bucket_value(histogram, bucket);
            assert_true(value > before || seen == 0);
            assert_true(histogram->counts[bucket] > 0);
            before = value;
            count += histogram->counts[bucket];
            seen++;
        }
        assert_int_equal(count, VALUES);
        assert_int_equal(seen, histogram_distinct(histogram));
        assert_int_equal(before, sorted[VALUES - 1]);
        histogram_destroy(histogram);
    }
}

/* ns to microseconds, as done() gets them: the digits are those of the larger unit then. */
static void scaled(void **unused)
{
    (void)unused;
    static uint64_t sorted[VALUES];
    for (size_t d = 0; d < DISTRIBUTIONS; d++) {
        struct histogram *histogram = filled(&distributions[d], sorted, VALUES);
        struct histogram *copy = histogram_scaled(histogram, 1), *thousandth = histogram_scaled(histogram, 1000);
        assert_true(copy && thousandth);
        assert_memory_equal(copy, histogram, sizeof *copy);
        assert_int_equal(thousandth->count, VALUES);
        assert_int_equal(thousandth->min, sorted[0] / 1000);
        assert_int_equal(thousandth->max, sorted[VALUES - 1] / 1000);
        assert_true(fabs(histogram_mean(thousandth) * 1000 - histogram_mean(histogram)) <=
                    histogram_mean(histogram) * 1e-9);
        for (size_t i = 0; i < sizeof shares / sizeof shares[0]; i++) {
            double percent = shares[i] / 100.0;
            double wanted = (double)histogram_percentile(histogram, percent) / 1000;
            double found = (double)histogram_percentile(thousandth, percent);
            assert_true(found >= floor(wanted) && found <= wanted * (1 + 1.0 / 1024));
        }
        histogram_destroy(thousandth);
        histogram_destroy(copy);
        histogram_destroy(histogram);
    }
}

static void recorded_many_times_is_as_often_recorded(void **unused)
{
    (void)unused;
    struct histogram *once = histogram_create(), *often = histogram_create();
    assert_true(once && often);
    for (unsigned i = 1; i <= 100; i++) {
        uint64_t value = any() % 1000000;
        histogram_record_many(once, value, i);
        for (unsigned j = 0; j < i; j++)
            histogram_record(often, value);
    }
    assert_int_equal(once->count, 5050);
    assert_memory_equal(once, often, sizeof *once);
    histogram_destroy(once);
    histogram_destroy(often);
}

int main(void)
{
    const char *given = getenv("TIDEMARK_SEED");
    seed = given ? strtoull(given, NULL, 10) : (uint64_t)time(NULL);
    printf("seed %ju; TIDEMARK_SEED repeats it\n", (uintmax_t)seed);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(percentiles_within_three_digits, set_up),
        cmocka_unit_test_setup(count_extremes_mean_and_deviation, set_up),
        cmocka_unit_test_setup(empty, set_up),
        cmocka_unit_test_setup(one_value_is_kept_exactly, set_up),
        cmocka_unit_test_setup(too_large_values_count_as_the_largest, set_up),
        cmocka_unit_test_setup(buckets, set_up),
        cmocka_unit_test_setup(merged_is_as_recorded_together, set_up),
        cmocka_unit_test_setup(cleared_is_as_new, set_up),
        cmocka_unit_test_setup(values_in_order_with_their_counts, set_up),
        cmocka_unit_test_setup(scaled, set_up),
        cmocka_unit_test_setup(recorded_many_times_is_as_often_recorded, set_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
