/* epoch.c - epoch-based reclamation (the idea: K. Fraser, "Practical lock-freedom", 2004, section 5.2.3).
 *
 * A global epoch only rises. A reader notes the epoch in which its section begins in its own record; a section in
 * progress is a non-zero record. Whoever unlinks something from the map must keep it until no section can still reach
 * it: after the unlinking it calls epoch_advance(), which gives the thing its tag, and frees it once epoch_oldest() is
 * greater than the tag, for then every section in progress began in an epoch that began after the unlinking.
 *
 * A reader may load the epoch, be held up, and store it late. Its record then shows an older epoch than it needs, which
 * only keeps memory longer. That a reader which the scan did not see cannot see the unlinked thing either follows from
 * the two fences: store record, fence, load map here; unlink, fence, load records there.
 *
 * The records are one array for the process, indexed by thread number, so several engines share them: a long section
 * on one delays the freeing of another, by no more than the section. Sections never wait, write, or call Lua. */
#include "epoch.h"

#include <sched.h>

struct epoch_record epoch_records[THREAD_MAX];
_Atomic uint64_t epoch_current = 1;

uint64_t epoch_advance(void)
{
    /* Sequentially consistent; pairs with the acquire in epoch_enter, and orders the unlinking before the scan. */
    return atomic_fetch_add_explicit(&epoch_current, 1, memory_order_seq_cst);
}

uint64_t epoch_oldest(void)
{
    uint64_t oldest = UINT64_MAX;
    EPOCH_FENCE(); /* partner: the fence in epoch_enter */
    int bound = thread_number_bound();
    for (int i = 0; i < bound; i++) {
        /* Acquire; pairs with the release in epoch_exit. Sequentially consistent where fences are not known. */
        uint64_t epoch = atomic_load_explicit(&epoch_records[i].epoch, memory_order_seq_cst);
        if (epoch != 0 && epoch < oldest)
            oldest = epoch;
    }
    return oldest;
}

void epoch_synchronize(void)
{
    uint64_t tag = epoch_advance();
    while (epoch_oldest() <= tag)
        sched_yield();
}
