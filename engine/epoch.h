/* epoch.h - epochs: how memory that was unlinked is kept until no reader can see it. See epoch.c for the reasoning. */
#ifndef TIDE_EPOCH_H
#define TIDE_EPOCH_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "thread.h"

/* One record a thread number; a line of its own, written by that thread alone. */
struct epoch_record {
    _Alignas(64) _Atomic uint64_t epoch; /* the epoch that was current when its section began; 0: in none */
};

extern struct epoch_record epoch_records[THREAD_MAX];
extern _Atomic uint64_t epoch_current; /* starts at 1, only rises */

/* Whether readers need a fence of their own. False where the reclaiming thread can put one into every running thread
 * instead (Linux's membarrier): then a section costs no more than two stores. Set by epoch_init, before any section. */
extern bool epoch_readers_fence;

/* Finds out what the system can do. Before the first section; more than once does no harm. */
void epoch_init(void);

/* ThreadSanitizer knows neither fences nor membarrier; there a store of this order is as strong. */
#ifdef __SANITIZE_THREAD__
#define EPOCH_STORE_ORDER memory_order_seq_cst
#else
#define EPOCH_STORE_ORDER memory_order_relaxed
#endif

/* Begins a section of the calling thread: what it reaches from now on stays. Sections don't nest. */
static inline void epoch_enter(void)
{
    struct epoch_record *record = &epoch_records[thread_number()];
    /* Acquire; pairs with the increment in epoch_advance: who sees the new epoch sees what was unlinked before it. */
    uint64_t epoch = atomic_load_explicit(&epoch_current, memory_order_acquire);
    atomic_store_explicit(&record->epoch, epoch, EPOCH_STORE_ORDER);
    /* Partner: the fence in epoch_oldest. Either that one's scan sees our record, or our loads behind this fence see
     * everything that was unlinked before the scan. A fence of the compiler alone where membarrier makes it a real one.
     */
#ifndef __SANITIZE_THREAD__
    atomic_signal_fence(memory_order_seq_cst);
    if (epoch_readers_fence)
        atomic_thread_fence(memory_order_seq_cst);
#endif
}

static inline void epoch_exit(void)
{
    /* Release; pairs with the acquire in epoch_oldest: our reads are over before anything is freed. */
    atomic_store_explicit(&epoch_records[thread_number()].epoch, 0, memory_order_release);
}

/* Ends the current epoch and returns it: the tag of everything unlinked so far. */
uint64_t epoch_advance(void);

/* The oldest epoch that some section began in, UINT64_MAX when there is no section. What has a lower tag may go. */
uint64_t epoch_oldest(void);

/* Waits until every section that is in progress at the call has ended. Not within a section. */
void epoch_synchronize(void);

#endif
