/* clock.c - the two clocks of the engine in microseconds: the time of events, which people set and which may jump, and
 * the monotonic one, by which everything that waits is measured. */
#include <time.h>

#include "engine.h"

static uint64_t clock_read(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

uint64_t clock_real_us(void)
{
    return clock_read(CLOCK_REALTIME);
}

uint64_t clock_monotonic_us(void)
{
    return clock_read(CLOCK_MONOTONIC);
}

uint64_t clock_deadline_us(uint64_t timeout_ms)
{
    if (timeout_ms == TIDE_NO_WAIT)
        return 0;
    if (timeout_ms >= UINT64_MAX / 2000)
        return UINT64_MAX;
    return clock_monotonic_us() + timeout_ms * 1000;
}

struct timespec clock_timespec(uint64_t monotonic_us)
{
    return (struct timespec){.tv_sec = (time_t)(monotonic_us / 1000000),
                             .tv_nsec = (long)(monotonic_us % 1000000) * 1000};
}
