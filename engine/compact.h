/* compact.h - compaction of the sealed segments, by a call (compact.c) or in the background (retention.c). */
#ifndef TIDE_COMPACT_H
#define TIDE_COMPACT_H

#include "engine.h"

/* Starts the thread that compacts in the background, where the engine's retention isn't "all"; and ends it, with the
 * engine closing and its calls sent home. */
enum tide_status retention_start(struct tide_engine *engine, struct tide_error *error);
void retention_stop(struct tide_engine *engine);

/* A segment was sealed: wakes the thread. With the engine's mutex locked. */
void retention_wake(struct tide_engine *engine);

#endif
