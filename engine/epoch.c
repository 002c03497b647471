/* epoch.c - epoch-based reclamation (the idea: K. Fraser, "Practical lock-freedom", 2004, section 5.2.3).
 *
 * A global epoch only rises. A reader notes the epoch in which its section begins in its own record; a section in
 * progress is a non-zero record. Whoever unlinks something from the map must keep it until no section can still reach
 * it: after the unlinking it calls epoch_advance(), which gives the thing its tag, and frees it once epoch_oldest() is
 * greater than the tag, for then every section in progress began in an epoch that began after the unlinking.
 *
 * A reader may load the epoch, be held up, and store it late. Its record then shows an older epoch than it needs, which
 * only keeps memory longer. That a reader which the scan did not see cannot see the unlinked thing either follows from
 * the two fences: store record, fence, load map here; unlink, fence, load records there. A fence in every section would
 * keep a read's cache misses from overlapping the next one's, so where the system has membarrier (Linux 4.14) the
 * reclaiming thread makes both: the system call returns when each running thread of the process has passed a full
 * fence, at whatever point of its section it was. (M. Desnoyers et al., "User-level implementations of read-copy
 * update", 2012, is where this exchange comes from.)
 *
 * The records are one array for the process, indexed by thread number, so several engines share them: a long section
 * on one delays the freeing of another, by no more than the section. Sections never wait, write, or call Lua. */
#include "epoch.h"

#include <linux/membarrier.h>
#include <pthread.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

struct epoch_record epoch_records[THREAD_MAX];
_Atomic uint64_t epoch_current = 1;
bool epoch_readers_fence = true;

static pthread_once_t once = PTHREAD_ONCE_INIT;

static void membarrier_register(void)
{
    epoch_readers_fence = syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) != 0;
}

void epoch_init(void)
{
    pthread_once(&once, membarrier_register);
}

/* A full fence, of this thread and, where they have none of their own, of all readers. Returns whether it was one. */
static bool fence_all(void)
{
#ifndef __SANITIZE_THREAD__
    atomic_thread_fence(memory_order_seq_cst);
#endif
    return epoch_readers_fence || syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0) == 0;
}

uint64_t epoch_advance(void)
{
    /* Sequentially consistent; pairs with the acquire in epoch_enter, and orders the unlinking before the scan. */
    return atomic_fetch_add_explicit(&epoch_current, 1, memory_order_seq_cst);
}

uint64_t epoch_oldest(void)
{
    uint64_t oldest = UINT64_MAX;
    if (!fence_all()) /* partner: the fence in epoch_enter */
        return 0;     /* nothing may be freed then */
    int bound = thread_number_bound();
    for (int i = 0; i < bound; i++) {
        /* Acquire would do; pairs with the release in epoch_exit. Sequentially consistent for ThreadSanitizer. */
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
