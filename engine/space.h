/* space.h - disk space for what is accepted, reserved before it is accepted. See the top of space.c. */
#ifndef TIDE_SPACE_H
#define TIDE_SPACE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "tidemark.h"

struct space {
    /* Of the writer thread. */
    uint64_t level;    /* what is to be promised */
    uint64_t ahead;    /* what is reserved beyond that, at a time: each makes a sync dearer */
    uint64_t retry_us; /* when reserving is tried again after it was refused, monotonic; 0: it was not */
    /* Guarded by the engine's mutex. */
    uint64_t wanted; /* by a write that found too little, beside what is pending; 0: by none */
    /* Relaxed: a flag that nothing else depends on. */
    _Atomic bool full; /* there was no space for what is least needed */
};

/* Before the writer starts: the first promise. */
void space_begin(struct tide_engine *engine);

/* The writer, after each batch and when space_due_us says: reserves ahead, and says what may be accepted. */
void space_keep(struct tide_engine *engine);

/* When space_keep is to be called without a batch, monotonic; UINT64_MAX: it is not. The writer. */
uint64_t space_due_us(const struct tide_engine *engine);

/* A write that found no room. FULL when the disk has none for it; otherwise OK, and if space is what it lacks the
 * writer is asked for it. Any thread. */
enum tide_status space_ask(struct tide_engine *engine, uint64_t bytes, struct tide_error *error);

/* OK or FULL. Any thread, takes no lock. */
enum tide_status space_health(struct tide_engine *engine, struct tide_error *error);

#endif
