/* eventcount.c - eventcounts on Linux's futex, which compares the number and falls asleep in one step. */
#include "eventcount.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

bool eventcount_wait(struct eventcount *eventcount, uint32_t seen, uint64_t deadline_us)
{
    /* The bitset's wait takes its time limit as a moment of the monotonic clock, the plain one as a length. */
    struct timespec until = {.tv_sec = (time_t)(deadline_us / 1000000),
                             .tv_nsec = (long)(deadline_us % 1000000) * 1000};
    long result = syscall(SYS_futex, &eventcount->count, FUTEX_WAIT_BITSET_PRIVATE, seen,
                          deadline_us == UINT64_MAX ? NULL : &until, NULL, FUTEX_BITSET_MATCH_ANY);
    return result == 0 || errno != ETIMEDOUT;
}

void eventcount_advance(struct eventcount *eventcount)
{
    /* Release; pairs with the acquire in eventcount_read. */
    atomic_fetch_add_explicit(&eventcount->count, 1, memory_order_release);
    syscall(SYS_futex, &eventcount->count, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}
