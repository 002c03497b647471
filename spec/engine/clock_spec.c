/* clock_spec.c - a clock that people set: it jumps back an hour, and nothing that is measured in time notices. The
 * engine's clock_gettime is this program's, which adds what a test says to the real time and leaves the monotonic one
 * alone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "directory.h"
#include "tidemark.h"

enum { HOUR = 3600, PATIENCE_S = 20 };

static atomic_int shift_s; /* of the real time; any thread reads it, its order with other things is of no matter */

int clock_gettime(clockid_t clock, struct timespec *now)
{
    int result = (int)syscall(SYS_clock_gettime, clock, now);
    if (clock == CLOCK_REALTIME)
        now->tv_sec += atomic_load(&shift_s);
    return result;
}

static int clock_mend(void **state)
{
    atomic_store(&shift_s, 0);
    return directory_remove(state);
}

static struct tide_engine *opened(uint64_t flush_interval_ms)
{
    struct tide_options options = {.flush_interval_ms = flush_interval_ms};
    struct tide_engine *engine;
    struct tide_error error = {0};
    if (tide_open(directory, &options, &engine, &error) != TIDE_OK)
        fail_msg("%s", error.message);
    return engine;
}

static uint64_t written(struct tide_engine *engine, enum tide_durability durability)
{
    struct tide_write write = {.operation = TIDE_PUT,
                               .durability = durability,
                               .if_version = TIDE_ANY_VERSION,
                               .id = "a",
                               .id_length = 1,
                               .value = "{}",
                               .value_length = 2};
    struct tide_written result;
    assert_int_equal(tide_write(tide_collection(engine, "c", 1, NULL), &write, &result, NULL), TIDE_OK);
    return result.version;
}

static void nap(long ms)
{
    struct timespec pause = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&pause, NULL);
}

/* Whether the writer writes `seq` by itself; who waited for it would make it hurry. */
static bool comes_to_be_written(struct tide_engine *engine, uint64_t seq)
{
    time_t start = time(NULL);
    for (struct tide_watermarks watermarks; time(NULL) - start < PATIENCE_S; nap(5)) {
        tide_watermarks(engine, &watermarks);
        if (watermarks.written >= seq)
            return true;
    }
    return false;
}

static void a_clock_set_back_an_hour_does_not_delay_a_batch_by_one(void **state)
{
    (void)state;
    struct tide_engine *engine = opened(200);
    for (int back = 1; back <= 3; back++) { /* with the writer asleep, waiting, and looking around */
        uint64_t seq = written(engine, TIDE_ACCEPTED);
        nap(back * 20 - 20);
        atomic_store(&shift_s, -HOUR * back);
        assert_true(comes_to_be_written(engine, seq));
    }
    assert_int_equal(tide_close(engine, NULL), TIDE_OK);
}

static void a_clock_set_forward_and_back_again_does_neither(void **state)
{
    (void)state;
    struct tide_engine *engine = opened(200);
    atomic_store(&shift_s, HOUR);
    uint64_t seq = written(engine, TIDE_ACCEPTED);
    atomic_store(&shift_s, 0);
    assert_true(comes_to_be_written(engine, seq));
    assert_true(comes_to_be_written(engine, written(engine, TIDE_ACCEPTED)));
    assert_int_equal(tide_close(engine, NULL), TIDE_OK);
}

static void times_never_decrease_along_seq(void **state)
{
    (void)state;
    struct tide_event event;
    struct tide_event_filter filter = {0};
    struct tide_events *events;
    static const int shifts[] = {0, HOUR, -HOUR, 10, -10, 2 * HOUR, 0};
    enum { SHIFTS = sizeof shifts / sizeof shifts[0] };
    uint64_t last_us = 0, seq = 0;
    for (int i = 0; i < SHIFTS; i++) {
        struct tide_engine *engine = opened(1); /* also from one opening to the next */
        atomic_store(&shift_s, shifts[i]);
        written(engine, TIDE_ACCEPTED);
        atomic_store(&shift_s, shifts[SHIFTS - 1 - i]); /* within a batch */
        written(engine, TIDE_DURABLE);
        assert_int_equal(tide_close(engine, NULL), TIDE_OK);
    }
    struct tide_engine *engine = opened(1);
    assert_int_equal(tide_events_open(engine, &filter, &events, NULL), TIDE_OK);
    while (tide_events_next(events, &event, NULL) == TIDE_OK) {
        assert_int_equal(event.seq, ++seq);
        assert_true(event.time_us >= last_us);
        last_us = event.time_us;
    }
    tide_events_close(events);
    assert_int_equal(seq, 2 * SHIFTS);
    assert_true(last_us / 1000000 >= (uint64_t)time(NULL) + 2 * HOUR - PATIENCE_S);
    assert_int_equal(tide_close(engine, NULL), TIDE_OK);
}

static void waits_are_not_measured_by_it(void **state)
{
    (void)state;
    struct tide_engine *engine = opened(1);
    atomic_store(&shift_s, -HOUR);
    uint64_t durable = 0, seq = written(engine, TIDE_ACCEPTED);
    assert_int_equal(tide_flush(engine, PATIENCE_S * 1000, &durable, NULL), TIDE_OK);
    assert_int_equal(durable, seq);
    assert_int_equal(tide_close(engine, NULL), TIDE_OK);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, directory_make, clock_mend)
    const struct CMUnitTest tests[] = {
        TEST(a_clock_set_back_an_hour_does_not_delay_a_batch_by_one),
        TEST(a_clock_set_forward_and_back_again_does_neither),
        TEST(times_never_decrease_along_seq),
        TEST(waits_are_not_measured_by_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
