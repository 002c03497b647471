/* engine_worker.c - a thread that calls the script's operation(db, i) straight on the engine: one call after the other,
 * or on schedule with --rate. i counts from 1 and is unique among the threads. A result of nil, message, code is an
 * error and counted under its code; what the operation raises ends the run. */
#include <string.h>

#include "run.h"
#include "worker.h"

enum { NAP_NS = 50000000 };

/* Sleeps until `due`, but not much longer than until somebody stops the run. */
static uint64_t sleep_until(struct worker *worker, uint64_t due, uint64_t now)
{
    while (now < due && !atomic_load_explicit(&worker->stop, memory_order_acquire)) {
        uint64_t until = due - now > NAP_NS ? now + NAP_NS : due;
        struct timespec wake = {(time_t)(until / SECOND_NS), (long)(until % SECOND_NS)};
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &wake, NULL);
        now = monotonic_ns();
        if (now >= worker->meter.next_tick)
            meter_tick(&worker->meter, now);
    }
    return now;
}

static void note_code(struct worker *worker, const char *code)
{
    worker->meter.errors[ERROR_STATUS]++;
    run_note_code(worker->run, code);
}

void engine_worker_run(struct worker *worker)
{
    struct meter *meter = &worker->meter;
    const struct schedule *schedule = &worker->schedule;
    bool open = worker->options->rate > 0;
    uint64_t now = monotonic_ns(), start = now;
    while (worker->sent < worker->budget && !atomic_load_explicit(&worker->stop, memory_order_acquire)) {
        if (now >= meter->next_tick)
            meter_tick(meter, now);
        start = now;
        if (open) {
            uint64_t free_since = now;
            start = schedule_at(schedule, worker->sent);
            if (start >= schedule->end_ns) {
                now = schedule->end_ns;
                break;
            }
            now = sleep_until(worker, start, now);
            if (now < start)
                break;
            schedule_note_lateness(worker, start, free_since, now);
        }
        if (now >= schedule->end_ns)
            break;
        const char *code;
        lua_Integer i = (lua_Integer)(worker->sent * worker->options->threads + worker->index + 1);
        worker->sent++;
        if (!script_operation(&worker->script, i, &code)) {
            run_stop(worker->run);
            break;
        }
        now = monotonic_ns();
        if (start < meter->measure_from)
            continue;
        meter_latency(meter, start, now);
        if (code)
            note_code(worker, code);
    }
    if (now > schedule->end_ns)
        now = schedule->end_ns;
    worker->unsent = schedule_unsent(worker, now);
    worker->finished_ns = now;
}
