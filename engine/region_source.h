/* region_source.h - memory from the system, in regions of 2 MiB: mapped, and touched ahead of need.
 *
 * The first touch of a huge page clears 2 MiB: 0.1 ms, and some milliseconds in a virtual machine whose host must find
 * the memory first. A writer would stand still for that long once every few thousand documents. So once an engine has
 * grown to some regions, a thread keeps the next one ready. It runs only when nobody else wants a processor
 * (SCHED_IDLE): where all are busy a taker touches its region itself, as it would without. */
#ifndef TIDE_REGION_SOURCE_H
#define TIDE_REGION_SOURCE_H

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

enum { REGION_BYTES = 2 << 20 };

struct region_source {
    _Atomic(void *) ready; /* exchanged, acquire and release: who gets the region sees it touched */
    atomic_bool stopping;  /* relaxed: sem_post and sem_wait order it */
    atomic_bool behind;    /* relaxed, a hint: asked for a region that isn't ready */
    sem_t wanted;
    pthread_t thread;
    bool started; /* this and the next: the takers' lock guards them */
    unsigned taken;
};

void region_source_init(struct region_source *source);
void region_source_destroy(struct region_source *source); /* what was taken stays its taker's */

/* Zeroed memory of REGION_BYTES, aligned so; NULL when the system has none. One caller at a time. Given back by munmap.
 */
void *region_source_take(struct region_source *source);

/* Whether its thread has yet to make the next region ready, which it does when no processor is wanted; any thread. */
bool region_source_behind(const struct region_source *source);

/* Bytes that are held ready; any thread. */
size_t region_source_held(struct region_source *source);

/* Zeroed memory aligned to 2 MiB, for huge pages; NULL when there is none. `bytes` is a multiple of it. */
void *region_map(size_t bytes);

#endif
