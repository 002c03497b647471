/* maintenance.h - the engine's one background thread, for jobs that take long and that nobody's write waits for. See
 * the top of maintenance.c. */
#ifndef TIDE_MAINTENANCE_H
#define TIDE_MAINTENANCE_H

#include "tidemark.h"

enum maintenance_job { MAINTENANCE_SNAPSHOT, MAINTENANCE_COMPACTION, MAINTENANCE_JOBS };

struct maintenance;

struct maintenance *maintenance_create(void); /* NULL: out of memory; no thread yet */

/* Asks for a run of the job that begins after this call; requests that wait are one run. False when the engine closes
 * or the system gives no thread. Any thread, the writer included; the engine's mutex is not held. */
bool maintenance_request(struct tide_engine *engine, enum maintenance_job job);

/* The same, and waits until that run is over; returns what it did. CLOSED when the engine closes, MEMORY when there is
 * no thread. */
enum tide_status maintenance_wait(struct tide_engine *engine, enum maintenance_job job, struct tide_error *error);

/* Ends the thread; a run in progress notices that the engine closes (engine_lives) and ends early. */
void maintenance_stop(struct tide_engine *engine);
void maintenance_destroy(struct maintenance *maintenance); /* after the stop; NULL does nothing */

#endif
