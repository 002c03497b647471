/* region_source.c - one region ahead. The thread is started by the take that shows growth (AHEAD_FROM), for most
 * databases are small and none should pay for what it doesn't need. Nobody ever waits for it, and it holds no lock. */
#include "region_source.h"

#include <errno.h>
#include <sched.h>
#include <stdint.h>
#include <sys/mman.h>

#include "thread.h"

enum { AHEAD_FROM = 4, PAGE_BYTES = 4096 };

void *region_map(size_t bytes)
{
    char *p =
        mmap(NULL, bytes + REGION_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED)
        return NULL;
    char *aligned = (char *)(((uintptr_t)p + REGION_BYTES - 1) & ~(uintptr_t)(REGION_BYTES - 1));
    if (aligned > p)
        munmap(p, (size_t)(aligned - p));
    if (aligned + bytes < p + bytes + REGION_BYTES)
        munmap(aligned + bytes, (size_t)(p + REGION_BYTES - aligned));
    madvise(aligned, bytes, MADV_HUGEPAGE); /* without them it works too */
    return aligned;
}

static void touch(char *region)
{
    for (size_t i = 0; i < REGION_BYTES; i += PAGE_BYTES)
        *(volatile char *)(region + i) = 0;
}

static void *source_run(void *context)
{
    struct region_source *source = context;
    struct sched_param none = {0};
    pthread_setschedparam(pthread_self(), SCHED_IDLE, &none); /* refused: then it runs like the others */
    for (;;) {
        while (sem_wait(&source->wanted) != 0 && errno == EINTR)
            ;
        if (atomic_load_explicit(&source->stopping, memory_order_relaxed))
            return NULL;
        void *region = region_map(REGION_BYTES);
        if (!region)
            continue;
        touch(region);
        void *extra = atomic_exchange_explicit(&source->ready, region, memory_order_acq_rel);
        atomic_store_explicit(&source->behind, false, memory_order_relaxed);
        if (extra) /* it was asked twice */
            munmap(extra, REGION_BYTES);
    }
}

void region_source_init(struct region_source *source)
{
    atomic_init(&source->ready, NULL);
    atomic_init(&source->stopping, false);
    atomic_init(&source->behind, false);
    sem_init(&source->wanted, 0, 0);
    source->started = false;
    source->taken = 0;
}

void region_source_destroy(struct region_source *source)
{
    if (source->started) {
        atomic_store_explicit(&source->stopping, true, memory_order_relaxed);
        sem_post(&source->wanted);
        pthread_join(source->thread, NULL);
    }
    void *ready = atomic_load_explicit(&source->ready, memory_order_acquire);
    if (ready)
        munmap(ready, REGION_BYTES);
    sem_destroy(&source->wanted);
}

void *region_source_take(struct region_source *source)
{
    if (++source->taken == AHEAD_FROM)
        source->started = thread_start(&source->thread, source_run, source) == 0;
    void *region = source->started ? atomic_exchange_explicit(&source->ready, NULL, memory_order_acq_rel) : NULL;
    int asked = 0;
    if (source->started) {
        atomic_store_explicit(&source->behind, true, memory_order_relaxed);
        if (sem_getvalue(&source->wanted, &asked) == 0 && asked == 0)
            sem_post(&source->wanted);
    }
    return region ? region : region_map(REGION_BYTES);
}

bool region_source_behind(const struct region_source *source)
{
    return atomic_load_explicit(&source->behind, memory_order_relaxed);
}

size_t region_source_held(struct region_source *source)
{
    return atomic_load_explicit(&source->ready, memory_order_relaxed) ? REGION_BYTES : 0;
}
