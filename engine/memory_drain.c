/* memory_drain.c - choosing the regions that are to run empty.
 *
 * After a burst of replacements or deletions the documents that stayed lie spread over many regions, none of which can
 * go back to the system. A region of which less than three quarters are in use, and that holds nothing but blocks, is
 * drained: its spans leave the lists, so that no block of it is given out any more, and what is freed in it stays so.
 * The owner of the blocks (relocate.c) moves those that are left. At the end regions that ran empty go back to the
 * system, and the others are used again.
 *
 * It pays when at least a quarter of what the system gave would come back, and 4 MiB. */
#include "memory_parts.h"

#include <stdlib.h>
#include <sys/mman.h>

enum { WORTH_BYTES = 4 << 20, REGION_USED_MAX = REGION_BYTES / 4 * 3 };

/* Bytes of blocks in a region. A first look: the spans are not locked. */
static size_t region_used(const struct region *region)
{
    size_t used = 0;
    for (unsigned i = 0; i < REGION_UNITS; i++) {
        if (!(region->movable_units >> i & 1))
            continue;
        const struct span *span = &region->spans[i];
        used += (size_t)atomic_load_explicit(&span->used, memory_order_relaxed) *
                atomic_load_explicit(&span->bytes, memory_order_relaxed);
    }
    return used;
}

static bool region_drainable(const struct region *region, size_t *used)
{
    *used = region_used(region);
    return !region_has_tables(region) && region->free_units != UINT32_MAX && *used < REGION_USED_MAX;
}

/* Locks the class that a unit's span seems to belong to; NULL, and no lock, when it belongs to none. */
static struct size_class *span_lock(struct memory *memory, struct span *span)
{
    uint32_t bytes = atomic_load_explicit(&span->bytes, memory_order_relaxed);
    if (bytes == 0 || bytes > BLOCK_BYTES_MAX)
        return NULL;
    struct size_class *class = &memory->classes[class_of(bytes)];
    spin_lock_take(&class->lock);
    if (atomic_load_explicit(&span->bytes, memory_order_relaxed) == class->bytes)
        return class;
    spin_lock_give(&class->lock); /* the unit was given back and taken by another class meanwhile */
    return NULL;
}

/* Calls `change` for each span of blocks in the regions that are drained, with its class locked. The regions stay: none
 * is given back while memory->draining. */
static void spans_change(struct memory *memory, void (*change)(struct size_class *class, struct span *span))
{
    pthread_mutex_lock(&memory->mutex);
    struct region *region = memory->regions;
    pthread_mutex_unlock(&memory->mutex);
    while (region) {
        pthread_mutex_lock(&memory->mutex);
        uint32_t movable = region->movable_units;
        struct region *next = region->next; /* new ones come in front of the first */
        bool chosen = region->chosen;
        pthread_mutex_unlock(&memory->mutex);
        for (unsigned i = 0; chosen && i < REGION_UNITS; i++) {
            struct size_class *class = movable >> i & 1 ? span_lock(memory, &region->spans[i]) : NULL;
            if (!class)
                continue;
            change(class, &region->spans[i]);
            spin_lock_give(&class->lock);
        }
        region = next;
    }
}

static void span_withdraw(struct size_class *class, struct span *span)
{
    if (span->listed)
        span_unlist(class, span);
}

static void span_return(struct size_class *class, struct span *span)
{
    if (!span->listed && !span_full(span) && atomic_load_explicit(&span->used, memory_order_relaxed) > 0)
        span_list(class, span);
}

/* Under the mutex. */
static void regions_mark(struct memory *memory, bool draining)
{
    for (struct region *region = memory->regions; region; region = region->next) {
        size_t used;
        if (draining)
            region->chosen = region_drainable(region, &used);
        if (region->chosen)
            atomic_store_explicit(&region->draining, draining, memory_order_relaxed);
    }
}

bool memory_drain_begin(struct memory *memory)
{
    size_t total = 0, left = 0, used;
    pthread_mutex_lock(&memory->mutex);
    for (struct region *region = memory->regions; region; region = region->next) {
        total += REGION_BYTES;
        if (region_drainable(region, &used))
            left += REGION_BYTES - used;
    }
    bool pays = left >= WORTH_BYTES && left >= total / 4;
    if (pays) {
        memory->draining = true;
        regions_mark(memory, true);
    }
    pthread_mutex_unlock(&memory->mutex);
    if (pays)
        spans_change(memory, span_withdraw);
    return pays;
}

bool memory_draining(const struct memory *memory, const void *block, size_t bytes)
{
    (void)memory;
    return bytes <= BLOCK_BYTES_MAX && atomic_load_explicit(&region_of(block)->draining, memory_order_relaxed);
}

void memory_drain_end(struct memory *memory)
{
    pthread_mutex_lock(&memory->mutex);
    regions_mark(memory, false);
    pthread_mutex_unlock(&memory->mutex);
    spans_change(memory, span_return);
    pthread_mutex_lock(&memory->mutex);
    memory->draining = false;
    for (struct region *region = memory->regions, *next; region; region = next) {
        next = region->next;
        region->chosen = false;
        if (region->free_units == UINT32_MAX && memory->empty_regions > 1) {
            region_destroy(memory, region);
            memory->empty_regions--;
        }
    }
    pthread_mutex_unlock(&memory->mutex);
}
