/* lock.h - a small lock for critical sections of some tens of nanoseconds in which nobody sleeps: four bytes, so that
 * each shard of the map can have its own. It spins a little, then yields the processor, because on a machine with fewer
 * cores than threads its owner may not be running. */
#ifndef TIDE_LOCK_H
#define TIDE_LOCK_H

#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>

struct spin_lock {
    _Atomic uint32_t taken;
};

static inline void spin_lock_take(struct spin_lock *lock)
{
    unsigned spins = 0;
    /* Acquire; pairs with the release in spin_lock_give, whose owner's writes we must see. */
    while (atomic_exchange_explicit(&lock->taken, 1, memory_order_acquire)) {
        /* Relaxed: only the exchange above decides. */
        while (atomic_load_explicit(&lock->taken, memory_order_relaxed)) {
            if (++spins < 100)
                __builtin_ia32_pause();
            else
                sched_yield();
        }
    }
}

static inline void spin_lock_give(struct spin_lock *lock)
{
    /* Release; pairs with the acquire in spin_lock_take. */
    atomic_store_explicit(&lock->taken, 0, memory_order_release);
}

#endif
