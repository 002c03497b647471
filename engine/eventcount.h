/* eventcount.h - a number that only rises, and threads that wait until it does (D. Reed and R. Kanodia,
 * "Synchronization with eventcounts and sequencers", 1979). Who waits reads the number, looks whether what it waits for
 * has come, and only then sleeps; a rise in between ends the sleep before it begins. All who are woken go on at once:
 * unlike with a condition variable there is no mutex that they would have to take one after the other. */
#ifndef TIDE_EVENTCOUNT_H
#define TIDE_EVENTCOUNT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct eventcount {
    _Atomic uint32_t count; /* wraps around: only whether it has changed counts */
};

static inline uint32_t eventcount_read(const struct eventcount *eventcount)
{
    /* Acquire; pairs with the release in eventcount_advance: who sees the rise sees its reason. */
    return atomic_load_explicit(&eventcount->count, memory_order_acquire);
}

/* Sleeps until the number is another than `seen`, or the deadline (monotonic, microseconds; UINT64_MAX: never) has
 * passed: then false. May return true for no reason. Any thread. */
bool eventcount_wait(struct eventcount *eventcount, uint32_t seen, uint64_t deadline_us);

/* Raises the number and wakes all who wait. A system call: who knows that nobody waits spares it. Any thread. */
void eventcount_advance(struct eventcount *eventcount);

#endif
