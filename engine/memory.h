/* memory.h - the memory of one engine: blocks of documents and tables of the map, on huge pages where there are some.
 * How it works and what fragmentation to expect is told at the top of memory.c. */
#ifndef TIDE_MEMORY_H
#define TIDE_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct memory;

/* Bytes behind every block that may be read though they belong to somebody else (simdjson reads ahead). */
enum { MEMORY_PADDING = 64 };

/* A new, empty memory; NULL when the system has none. memory_destroy gives everything back at once, blocks in use
 * included; no other call may be in progress. */
struct memory *memory_create(void);
void memory_destroy(struct memory *memory);

/* A block of at least `bytes` bytes, aligned to 8, uninitialised; NULL when the system has none. At least
 * MEMORY_PADDING bytes behind its `bytes` bytes can be read. Any thread. */
void *memory_allocate(struct memory *memory, size_t bytes);

/* Gives a block back, from any thread; `bytes` is what it was allocated with. NULL does nothing. */
void memory_free(struct memory *memory, void *block, size_t bytes);

/* The same for `count` blocks at once, which is cheaper than one by one. */
void memory_free_many(struct memory *memory, void *const *blocks, const size_t *bytes, size_t count);

/* Gives the blocks that the calling thread keeps for itself back. */
void memory_cache_empty(struct memory *memory);

/* Moving documents out of sparsely used regions, so that the system gets them back: memory_drain.c. One thread at a
 * time. memory_drain_begin chooses the regions, from which no blocks are given out until memory_drain_end; false: it
 * would not pay, and there is nothing to end. memory_draining: whether a block lies in one of them, and is to be moved
 * by its owner. */
bool memory_drain_begin(struct memory *memory);
bool memory_draining(const struct memory *memory, const void *block, size_t bytes);
void memory_drain_end(struct memory *memory);

/* A table of zeros, aligned to 64, of `bytes` bytes (a power of two, at least 256). */
void *memory_table_allocate(struct memory *memory, size_t bytes);
void memory_table_free(struct memory *memory, void *table, size_t bytes);

/* Whether memory is given out faster than the system's is made ready for it. A hint; any thread. */
bool memory_behind(const struct memory *memory);

struct memory_figures {
    uint64_t system_bytes; /* taken from the system */
    uint64_t block_bytes;  /* blocks in use, rounding included */
    uint64_t table_bytes;  /* tables in use */
};
void memory_figures(struct memory *memory, struct memory_figures *figures);

#endif
