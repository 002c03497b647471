/* schedule.c - an open loop's starts. They are computed from their number, never from the last one, so that nothing
 * adds up; all threads' schedules together are evenly spaced. */
#include "worker.h"

enum { LATE_NS = 1000000 };

void schedule_begin(struct worker *worker, uint64_t start_ns)
{
    const struct load_options *options = worker->options;
    struct schedule *schedule = &worker->schedule;
    schedule->start_ns = start_ns;
    schedule->end_ns = options->requests ? UINT64_MAX : start_ns + options->warmup_ns + options->duration_ns;
    if (options->rate > 0) {
        schedule->period_ns = 1e9 / options->rate * options->threads;
        schedule->offset_ns = 1e9 / options->rate * worker->index;
    }
}

uint64_t schedule_unsent(const struct worker *worker, uint64_t end_ns)
{
    const struct schedule *schedule = &worker->schedule;
    if (worker->options->requests) /* a number of requests: what is left of it */
        return worker->budget - worker->sent;
    if (worker->options->rate <= 0)
        return 0;
    uint64_t unsent = 0, i = worker->sent;
    double span = (double)end_ns - (double)schedule->start_ns - schedule->offset_ns;
    uint64_t before_end = span > 0 ? (uint64_t)(span / schedule->period_ns) + 1 : 0;
    double warm = (double)worker->meter.measure_from - (double)schedule->start_ns - schedule->offset_ns;
    uint64_t in_warmup = warm > 0 ? (uint64_t)(warm / schedule->period_ns) + 1 : 0;
    while (before_end > 0 && schedule_at(schedule, before_end - 1) >= end_ns)
        before_end--;
    if (i < in_warmup)
        i = in_warmup;
    if (before_end > i)
        unsent = before_end - i;
    return unsent;
}

void schedule_note_lateness(struct worker *worker, uint64_t due, uint64_t free_since, uint64_t now)
{
    if (due < worker->meter.measure_from || now < due + LATE_NS)
        return;
    worker->late++;
    if (now >= (free_since > due ? free_since : due) + LATE_NS)
        worker->behind++;
}
