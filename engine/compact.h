/* compact.h - compaction of the sealed segments, by a call (compact.c) or in the background (retention.c). */
#ifndef TIDE_COMPACT_H
#define TIDE_COMPACT_H

#include "engine.h"

/* tide_compact, but that nobody else hears of a failed engine through it. The thread may not wait for the maintenance
 * thread meanwhile. Errors: those of tide_compact. */
enum tide_status compact_run(struct tide_engine *engine, const struct tide_compact *compact,
                             struct tide_compaction *result, struct tide_error *error);

/* retention.c: one compaction in the background, for the maintenance thread. */
enum tide_status retention_compact(struct tide_engine *engine, struct tide_error *error);

/* The writer thread, when a batch is written: asks for a compaction when it is time. */
void retention_note(struct tide_engine *engine);

#endif
