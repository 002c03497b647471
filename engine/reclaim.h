/* reclaim.h - what was unlinked from the map and waits until no reader can see it. See reclaim.c. */
#ifndef TIDE_RECLAIM_H
#define TIDE_RECLAIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "memory.h"

struct reclaim;

struct reclaim *reclaim_create(struct memory *memory); /* NULL: out of memory */
void reclaim_destroy(struct reclaim *reclaim);         /* forgets; the blocks go with their memory */

/* A block that is unlinked from the map, and written where that matters. The writer thread only. */
void reclaim_block(struct reclaim *reclaim, void *block, size_t bytes);

/* A table of the map that was replaced. Any thread. */
void reclaim_table(struct reclaim *reclaim, void *table, size_t bytes);

/* Frees what no reader can see any more. The writer thread only. Returns whether something still waits. */
bool reclaim_run(struct reclaim *reclaim);

/* Bytes that wait. Any thread. */
uint64_t reclaim_bytes(const struct reclaim *reclaim);

#endif
