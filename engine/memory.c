/* memory.c - where documents and tables lie.
 *
 * Memory comes from the system in regions of 2 MiB, aligned so, on one huge page where the system gives one: a random
 * access then costs one TLB miss less. A region is divided into 32 units of 64 KiB; its description takes the beginning
 * of unit 0. A unit is a span of blocks of one size class (steps of 8 bytes up to 1 KiB, then of an eighth), or part
 * of a run that holds one table. Blocks over 16 KiB come from malloc, tables over 1 MiB from mmap.
 *
 * A span keeps its free blocks in a list within them. Spans of a class that have free blocks are in a list of the
 * class, those that got one last at its end, so that blocks are taken from the same few spans and the others can run
 * empty. An empty span becomes a free unit for any class, an empty region goes back to the system (one is kept in
 * reserve). New regions come from region_source.c, one ahead of need.
 *
 * Each thread has, for each class, a small stack of free blocks which it alone touches; it is filled and emptied by
 * halves under the class's lock.
 *
 * Fragmentation: rounding costs nothing below 1 KiB (blocks are a multiple of 8) and at most an eighth above. Replacing
 * documents of like sizes reuses their places. When nearly all documents are deleted and one is left in every span, a
 * span per survivor stays, up to 64 KiB each, until the survivors are moved together (memory_drain.c, relocate.c).
 *
 * Under AddressSanitizer every block is malloc's own, so that a use after free is seen. */
#include "memory.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "memory_parts.h"
#include "thread.h"

enum { LARGE_HEADER_BYTES = 64, APART_FROM = 4 };

/* ---- Size classes ---- */

static uint32_t class_bytes(unsigned class)
{
    if (class < CLASSES_SMALL)
        return (class + 1) * SMALL_STEP;
    if (class >= CLASSES)
        return 256u << (class - CLASSES);
    unsigned doubling = (class - CLASSES_SMALL) / 8, step = (class - CLASSES_SMALL) % 8 + 1;
    return (SMALL_MAX << doubling) + step * (SMALL_MAX << doubling >> 3);
}

static uint32_t cache_limit(uint32_t bytes)
{
    uint32_t limit = CACHE_BYTES / bytes;
    return limit > CACHE_BLOCKS_MAX ? CACHE_BLOCKS_MAX : limit < 2 ? 2 : limit;
}

struct memory *memory_create(void)
{
    struct memory *memory = aligned_alloc(64, (sizeof *memory + 63) & ~(size_t)63);
    if (!memory)
        return NULL;
    memset(memory, 0, sizeof *memory);
    for (unsigned i = 0; i < CLASSES + TABLE_SIZES; i++)
        memory->classes[i].bytes = class_bytes(i);
    pthread_mutex_init(&memory->mutex, NULL);
    region_source_init(&memory->source);
    return memory;
}

void memory_destroy(struct memory *memory)
{
    while (memory->regions) {
        struct region *next = memory->regions->next;
        munmap(memory->regions, REGION_BYTES);
        memory->regions = next;
    }
    while (memory->large) {
        struct large *next = memory->large->next;
        if (memory->large->mapping)
            munmap(memory->large->mapping, memory->large->mapping_bytes);
        free(memory->large);
        memory->large = next;
    }
    for (int i = 0; i < THREAD_MAX; i++)
        free(memory->caches[i]);
    region_source_destroy(&memory->source);
    pthread_mutex_destroy(&memory->mutex);
    free(memory);
}

/* ---- From the system ---- */

static struct large *large_link(struct memory *memory, struct large *large)
{
    pthread_mutex_lock(&memory->mutex);
    large->previous = NULL;
    large->next = memory->large;
    if (memory->large)
        memory->large->previous = large;
    memory->large = large;
    pthread_mutex_unlock(&memory->mutex);
    return large;
}

static void large_unlink(struct memory *memory, struct large *large)
{
    pthread_mutex_lock(&memory->mutex);
    if (large->previous)
        large->previous->next = large->next;
    else
        memory->large = large->next;
    if (large->next)
        large->next->previous = large->previous;
    pthread_mutex_unlock(&memory->mutex);
}

static void *large_allocate(struct memory *memory, size_t bytes)
{
    size_t total = (LARGE_HEADER_BYTES + bytes + MEMORY_PADDING + 63) & ~(size_t)63;
    struct large *large = aligned_alloc(64, total);
    if (!large)
        return NULL;
    *large = (struct large){0};
    large_link(memory, large);
    atomic_fetch_add_explicit(&memory->system_bytes, bytes, memory_order_relaxed);
    atomic_fetch_add_explicit(&memory->large_bytes, bytes, memory_order_relaxed);
    return (char *)large + LARGE_HEADER_BYTES;
}

static void large_free(struct memory *memory, void *block, size_t bytes)
{
    struct large *large = (struct large *)(void *)((char *)block - LARGE_HEADER_BYTES);
    large_unlink(memory, large);
    free(large);
    atomic_fetch_sub_explicit(&memory->system_bytes, bytes, memory_order_relaxed);
    atomic_fetch_sub_explicit(&memory->large_bytes, bytes, memory_order_relaxed);
}

/* ---- Units ---- */

static struct region *region_create(struct memory *memory)
{
    struct region *region = region_source_take(&memory->source);
    if (!region)
        return NULL;
    region->free_units = UINT32_MAX;
    region->next = memory->regions;
    if (memory->regions)
        memory->regions->previous = region;
    memory->regions = region;
    memory->empty_regions++;
    memory->region_count++;
    atomic_fetch_add_explicit(&memory->system_bytes, REGION_BYTES, memory_order_relaxed);
    return region;
}

void region_destroy(struct memory *memory, struct region *region)
{
    if (region->previous)
        region->previous->next = region->next;
    else
        memory->regions = region->next;
    if (region->next)
        region->next->previous = region->previous;
    munmap(region, REGION_BYTES);
    memory->region_count--;
    atomic_fetch_sub_explicit(&memory->system_bytes, REGION_BYTES, memory_order_relaxed);
}

/* The first of `count` free units in a row, from `first` on; -1: none. */
static int run_find(const struct region *region, unsigned count, unsigned first)
{
    uint32_t mask = (UINT32_C(1) << count) - 1;
    for (unsigned i = first; i + count <= REGION_UNITS; i++) {
        if ((region->free_units & mask << i) == mask << i)
            return (int)i;
    }
    return -1;
}

enum unit_use { UNIT_OF_BLOCKS, UNIT_OF_SMALL_TABLES, UNITS_OF_TABLE };

/* A region with room for `count` units in a row, of those that hold tables or of those that don't; *first: where. */
static struct region *region_with_room(struct memory *memory, unsigned count, enum unit_use use, bool with_tables,
                                       int *first)
{
    unsigned from = use == UNITS_OF_TABLE ? 1 : 0;
    for (struct region *region = memory->regions; region; region = region->next) {
        if (region_has_tables(region) == with_tables &&
            !atomic_load_explicit(&region->draining, memory_order_relaxed) &&
            (*first = run_find(region, count, from)) >= 0)
            return region;
    }
    return NULL;
}

/* Takes `count` units in a row, fewer than 32. Tables stay where they are until they are replaced, and a region with
 * one can't run empty; so from some regions on, blocks and tables keep apart. Unit 0 begins with the region's
 * description: a span starts behind it, a table can't. */
static char *units_take(struct memory *memory, unsigned count, enum unit_use use)
{
    bool table = use != UNIT_OF_BLOCKS;
    int first = -1;
    pthread_mutex_lock(&memory->mutex);
    struct region *region = region_with_room(memory, count, use, table, &first);
    if (!region && (table || memory->region_count < APART_FROM))
        region = region_with_room(memory, count, use, !table, &first);
    if (!region) {
        region = region_create(memory);
        first = region ? run_find(region, count, use == UNITS_OF_TABLE ? 1 : 0) : -1;
    }
    if (region) {
        if (region->free_units == UINT32_MAX)
            memory->empty_regions--;
        region->free_units &= ~(((UINT32_C(1) << count) - 1) << first);
        if (use == UNIT_OF_BLOCKS)
            region->movable_units |= UINT32_C(1) << first;
    }
    pthread_mutex_unlock(&memory->mutex);
    return region ? (char *)region + (size_t)first * UNIT_BYTES : NULL;
}

static void units_give(struct memory *memory, char *unit, unsigned count)
{
    struct region *region = region_of(unit);
    unsigned first = (unsigned)((size_t)(unit - (char *)region) / UNIT_BYTES);
    pthread_mutex_lock(&memory->mutex);
    region->free_units |= ((UINT32_C(1) << count) - 1) << first;
    region->movable_units &= ~region->free_units;
    if (region->free_units == UINT32_MAX) {
        if (memory->empty_regions > 0 && !memory->draining)
            region_destroy(memory, region);
        else
            memory->empty_regions++;
    }
    pthread_mutex_unlock(&memory->mutex);
}

/* ---- Spans: all with the class's lock held ---- */

static struct span *span_create(struct memory *memory, struct size_class *class)
{
    bool blocks = class < &memory->classes[CLASSES];
    char *unit = units_take(memory, 1, blocks ? UNIT_OF_BLOCKS : UNIT_OF_SMALL_TABLES);
    if (!unit)
        return NULL;
    struct span *span = span_of(unit);
    size_t unit_number = (size_t)(unit - (char *)region_of(unit)) / UNIT_BYTES;
    span->free = NULL;
    span->fresh = unit;
    span->end = unit + UNIT_BYTES;
    atomic_store_explicit(&span->used, 0, memory_order_relaxed);
    atomic_store_explicit(&span->bytes, class->bytes, memory_order_relaxed);
    if (unit_number == 0)
        span->fresh += REGION_HEADER_BYTES;
    if (unit_number == REGION_UNITS - 1)
        span->end -= MEMORY_PADDING; /* what is read ahead stays within the region */
    span_list(class, span);
    return span;
}

static uint32_t span_count(struct span *span, int change)
{
    uint32_t used = atomic_load_explicit(&span->used, memory_order_relaxed) + (uint32_t)change;
    atomic_store_explicit(&span->used, used, memory_order_relaxed);
    return used;
}

static void *span_take(struct memory *memory, struct size_class *class)
{
    struct span *span = class->first ? class->first : span_create(memory, class);
    if (!span)
        return NULL;
    void *block = span->free;
    if (block) {
        span->free = span->free->next;
    } else {
        block = span->fresh;
        span->fresh += class->bytes;
    }
    span_count(span, 1);
    if (span_full(span))
        span_unlist(class, span);
    return block;
}

static void span_give(struct memory *memory, struct size_class *class, void *block)
{
    struct span *span = span_of(block);
    struct free_block *freed = block;
    freed->next = span->free;
    span->free = freed;
    uint32_t used = span_count(span, -1);
    bool draining = atomic_load_explicit(&region_of(span)->draining, memory_order_relaxed);
    if (!span->listed && !draining)
        span_list(class, span);
    if (used > 0)
        return;
    if (span->listed && !span->previous && !span->next)
        return; /* the last one of a class stays */
    if (span->listed)
        span_unlist(class, span);
    units_give(memory, span_unit(span), 1);
}

/* ---- Blocks ---- */

static struct cache *cache_own(struct memory *memory)
{
    _Atomic(struct cache *) *place = &memory->caches[thread_number()];
    /* Relaxed: the thread's own, or its predecessor's of the same number, which thread.c's mutex orders before us. */
    struct cache *cache = atomic_load_explicit(place, memory_order_relaxed);
    if (!cache) {
        cache = calloc(1, sizeof *cache);
        atomic_store_explicit(place, cache, memory_order_relaxed);
    }
    return cache;
}

static bool memory_is_small(size_t bytes)
{
#ifdef __SANITIZE_ADDRESS__
    (void)bytes;
    return false;
#else
    return bytes <= BLOCK_BYTES_MAX;
#endif
}

/* Gives the upper part of the thread's stack back, down to `keep` blocks. */
static void cache_flush(struct memory *memory, struct cache *cache, unsigned number, uint32_t keep)
{
    struct size_class *class = &memory->classes[number];
    uint32_t count = cache->count[number];
    spin_lock_take(&class->lock);
    for (uint32_t i = keep; i < count; i++)
        span_give(memory, class, cache->blocks[number][i]);
    spin_lock_give(&class->lock);
    atomic_fetch_sub_explicit(&class->used_bytes, (uint64_t)(count - keep) * class->bytes, memory_order_relaxed);
    cache->count[number] = keep;
}

static void cache_fill(struct memory *memory, struct cache *cache, unsigned number)
{
    struct size_class *class = &memory->classes[number];
    uint32_t wanted = cache_limit(class->bytes) / 2, count = 0;
    spin_lock_take(&class->lock);
    while (count < wanted && (cache->blocks[number][count] = span_take(memory, class)))
        count++;
    spin_lock_give(&class->lock);
    atomic_fetch_add_explicit(&class->used_bytes, (uint64_t)count * class->bytes, memory_order_relaxed);
    /* The first taken is handed out first, so that neighbours in time are neighbours in memory. */
    for (uint32_t i = 0; i < count / 2; i++) {
        void *other = cache->blocks[number][i];
        cache->blocks[number][i] = cache->blocks[number][count - 1 - i];
        cache->blocks[number][count - 1 - i] = other;
    }
    cache->count[number] = count;
}

void *memory_allocate(struct memory *memory, size_t bytes)
{
    if (!memory_is_small(bytes))
        return large_allocate(memory, bytes);
    struct cache *cache = cache_own(memory);
    if (!cache)
        return NULL;
    unsigned number = class_of(bytes);
    if (cache->count[number] == 0)
        cache_fill(memory, cache, number);
    return cache->count[number] > 0 ? cache->blocks[number][--cache->count[number]] : NULL;
}

void memory_free(struct memory *memory, void *block, size_t bytes)
{
    if (!block)
        return;
    if (!memory_is_small(bytes)) {
        large_free(memory, block, bytes);
        return;
    }
    struct cache *cache = cache_own(memory);
    if (!cache)
        return; /* lost until the memory is destroyed */
    unsigned number = class_of(bytes);
    uint32_t limit = cache_limit(memory->classes[number].bytes);
    if (cache->count[number] == limit)
        cache_flush(memory, cache, number, limit / 2);
    cache->blocks[number][cache->count[number]++] = block;
}

void memory_cache_empty(struct memory *memory)
{
    struct cache *cache = cache_own(memory);
    for (unsigned i = 0; cache && i < CLASSES; i++)
        if (cache->count[i] > 0)
            cache_flush(memory, cache, i, 0);
}

void memory_free_many(struct memory *memory, void *const *blocks, const size_t *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++)
        memory_free(memory, blocks[i], bytes[i]);
}

/* ---- Tables ---- */

static void *table_map(struct memory *memory, size_t bytes)
{
    size_t mapping_bytes = (bytes + REGION_BYTES - 1) & ~(size_t)(REGION_BYTES - 1);
    struct large *large = malloc(sizeof *large);
    void *table = large ? region_map(mapping_bytes) : NULL;
    if (!table) {
        free(large);
        return NULL;
    }
    *large = (struct large){.mapping = table, .mapping_bytes = mapping_bytes};
    large_link(memory, large);
    atomic_fetch_add_explicit(&memory->system_bytes, mapping_bytes, memory_order_relaxed);
    return table;
}

static void table_unmap(struct memory *memory, void *table)
{
    pthread_mutex_lock(&memory->mutex);
    struct large *large = memory->large;
    while (large->mapping != table)
        large = large->next;
    pthread_mutex_unlock(&memory->mutex);
    large_unlink(memory, large);
    munmap(table, large->mapping_bytes);
    atomic_fetch_sub_explicit(&memory->system_bytes, large->mapping_bytes, memory_order_relaxed);
    free(large);
}

static unsigned table_class(size_t bytes)
{
    return CLASSES + (unsigned)__builtin_ctzll(bytes) - 8;
}

void *memory_table_allocate(struct memory *memory, size_t bytes)
{
    void *table;
    if (bytes <= TABLE_SPAN_MAX) {
        struct size_class *class = &memory->classes[table_class(bytes)];
        spin_lock_take(&class->lock);
        table = span_take(memory, class);
        spin_lock_give(&class->lock);
    } else if (bytes <= TABLE_RUN_MAX) {
        table = units_take(memory, (unsigned)(bytes / UNIT_BYTES), UNITS_OF_TABLE);
    } else {
        table = table_map(memory, bytes);
    }
    if (!table)
        return NULL;
    if (bytes <= TABLE_RUN_MAX)
        memset(table, 0, bytes);
    atomic_fetch_add_explicit(&memory->table_bytes, bytes, memory_order_relaxed);
    return table;
}

void memory_table_free(struct memory *memory, void *table, size_t bytes)
{
    if (!table)
        return;
    atomic_fetch_sub_explicit(&memory->table_bytes, bytes, memory_order_relaxed);
    if (bytes <= TABLE_SPAN_MAX) {
        struct size_class *class = &memory->classes[table_class(bytes)];
        spin_lock_take(&class->lock);
        span_give(memory, class, table);
        spin_lock_give(&class->lock);
    } else if (bytes <= TABLE_RUN_MAX) {
        units_give(memory, table, (unsigned)(bytes / UNIT_BYTES));
    } else {
        table_unmap(memory, table);
    }
}

bool memory_behind(const struct memory *memory)
{
    return region_source_behind(&memory->source);
}

void memory_figures(struct memory *memory, struct memory_figures *figures)
{
    *figures = (struct memory_figures){
        .system_bytes =
            atomic_load_explicit(&memory->system_bytes, memory_order_relaxed) + region_source_held(&memory->source),
        .block_bytes = atomic_load_explicit(&memory->large_bytes, memory_order_relaxed),
        .table_bytes = atomic_load_explicit(&memory->table_bytes, memory_order_relaxed),
    };
    for (unsigned i = 0; i < CLASSES; i++)
        figures->block_bytes += atomic_load_explicit(&memory->classes[i].used_bytes, memory_order_relaxed);
}
