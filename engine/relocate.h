/* relocate.h - moves documents together when they lie spread over memory that is mostly empty. See relocate.c. */
#ifndef TIDE_RELOCATE_H
#define TIDE_RELOCATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct tide_engine;

struct relocation {
    bool running, settling; /* settling: what it has moved is still to be freed */
    size_t collection;      /* where it has come to */
    unsigned shard;
    uint64_t hash;
};

/* Begins where it pays; the same call does nothing else. The writer thread, with nothing pending. */
void relocation_begin(struct relocation *relocation, struct tide_engine *engine);

/* Looks at some documents more, and moves those that lie badly; ends it behind the last. Some tens of microseconds. The
 * writer thread. */
void relocation_step(struct relocation *relocation, struct tide_engine *engine);

/* When nothing waits for its readers any more: gives the rest of it back. The writer thread. */
void relocation_settle(struct relocation *relocation, struct tide_engine *engine);

/* Ends it wherever it is. */
void relocation_end(struct relocation *relocation, struct tide_engine *engine);

#endif
