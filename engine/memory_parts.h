/* memory_parts.h - how memory.c divides what it has: regions, their units, spans of blocks, size classes. For memory.c
 * and memory_drain.c alone. */
#ifndef TIDE_MEMORY_PARTS_H
#define TIDE_MEMORY_PARTS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "lock.h"
#include "memory.h"
#include "region_source.h"
#include "thread.h"

enum {
    UNIT_BYTES = 64 << 10,
    REGION_UNITS = REGION_BYTES / UNIT_BYTES,
    REGION_HEADER_BYTES = 4096,
    SMALL_STEP = 8,
    SMALL_MAX = 1024,
    CLASSES_SMALL = SMALL_MAX / SMALL_STEP,
    CLASSES = CLASSES_SMALL + 32, /* four doublings of eight steps */
    BLOCK_BYTES_MAX = 16 << 10,
    TABLE_SPAN_MAX = 32 << 10, /* smaller tables share units of their size */
    TABLE_SIZES = 8,           /* 256 bytes to 32 KiB */
    TABLE_RUN_MAX = 1 << 20,
    CACHE_BYTES = 16 << 10,
    CACHE_BLOCKS_MAX = 32
};

struct free_block {
    struct free_block *next;
};

/* One unit of a region, when it is a span. Guarded by the lock of its class. */
struct span {
    struct span *previous, *next; /* in the list of the class, while it has free blocks */
    struct free_block *free;
    char *fresh, *end; /* never used yet: from fresh to end */
    /* Blocks in use; size of a block. Relaxed: changed under the lock; without it memory_drain.c takes a first look. */
    _Atomic uint32_t used, bytes;
    bool listed;
};

struct region {
    struct region *previous, *next;
    uint32_t free_units;    /* a bit for each; guarded by memory->mutex */
    uint32_t movable_units; /* those that are spans of blocks; the same */
    bool chosen;            /* to be drained, until the end of it: memory_drain.c; the same */
    atomic_bool draining;   /* no blocks of it are given out; relaxed: set under the mutex, nothing is read behind it */
    struct span spans[REGION_UNITS];
};

_Static_assert(sizeof(struct region) <= REGION_HEADER_BYTES, "a region's description fits in front of unit 0");

struct size_class {
    _Alignas(64) struct spin_lock lock;
    uint32_t bytes;
    struct span *first, *last;   /* spans with free blocks */
    _Atomic uint64_t used_bytes; /* a figure: relaxed */
};

struct cache {
    uint32_t count[CLASSES];
    void *blocks[CLASSES][CACHE_BLOCKS_MAX];
};

struct memory {
    struct size_class classes[CLASSES + TABLE_SIZES];
    _Atomic(struct cache *) caches[THREAD_MAX]; /* each touched by its thread alone; released to its next owner */
    _Atomic uint64_t system_bytes, large_bytes, table_bytes; /* figures: relaxed */
    pthread_mutex_t mutex;                                   /* guards what follows */
    struct region_source source;
    struct region *regions;
    uint32_t region_count, empty_regions;
    bool draining;       /* regions are not given back meanwhile */
    struct large *large; /* blocks from malloc and tables from mmap */
};

/* In front of a block from malloc, or beside a table from mmap. */
struct large {
    struct large *previous, *next;
    void *mapping; /* NULL: from malloc */
    size_t mapping_bytes;
};

/* Gives an empty region back to the system. Under memory->mutex. */
void region_destroy(struct memory *memory, struct region *region);

static inline unsigned class_of(size_t bytes)
{
    if (bytes <= SMALL_MAX)
        return bytes == 0 ? 0 : (unsigned)((bytes + SMALL_STEP - 1) / SMALL_STEP - 1);
    unsigned doubling = 63 - (unsigned)__builtin_clzll(bytes - 1) - 10; /* 0 for 1025..2048 */
    size_t step = (size_t)SMALL_MAX << doubling >> 3;
    return CLASSES_SMALL + doubling * 8 + (unsigned)((bytes - ((size_t)SMALL_MAX << doubling) + step - 1) / step) - 1;
}

static inline struct region *region_of(const void *address)
{
    return (struct region *)((uintptr_t)address & ~(uintptr_t)(REGION_BYTES - 1));
}

/* Whether it holds tables, small ones or parts of large ones. Under memory->mutex. */
static inline bool region_has_tables(const struct region *region)
{
    return (region->free_units | region->movable_units) != UINT32_MAX;
}

/* ---- Spans: all with the class's lock held, but for where they lie ---- */

static inline struct span *span_of(const void *block)
{
    struct region *region = region_of(block);
    return &region->spans[((uintptr_t)block - (uintptr_t)region) / UNIT_BYTES];
}

static inline char *span_unit(const struct span *span)
{
    struct region *region = region_of(span);
    return (char *)region + (size_t)(span - region->spans) * UNIT_BYTES;
}

static inline void span_list(struct size_class *class, struct span *span)
{
    span->previous = class->last;
    span->next = NULL;
    if (class->last)
        class->last->next = span;
    else
        class->first = span;
    class->last = span;
    span->listed = true;
}

static inline void span_unlist(struct size_class *class, struct span *span)
{
    if (span->previous)
        span->previous->next = span->next;
    else
        class->first = span->next;
    if (span->next)
        span->next->previous = span->previous;
    else
        class->last = span->previous;
    span->listed = false;
}

/* Whether a span has no block to give. */
static inline bool span_full(const struct span *span)
{
    return !span->free && span->fresh + atomic_load_explicit(&span->bytes, memory_order_relaxed) > span->end;
}

#endif
