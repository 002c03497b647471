/* snapshot.h - making a snapshot while writers go on, and starting from one. See the top of snapshot.c and of
 * snapshot_load.c. */
#ifndef TIDE_SNAPSHOT_H
#define TIDE_SNAPSHOT_H

#include "format.h"
#include "snapshot_file.h"
#include "tidemark.h"

struct snapshot_capture;

/* What an engine has to do with snapshots; guarded by its mutex. */
struct snapshot_state {
    struct snapshot_capture *capture; /* of the snapshot that is being made, NULL: none */
    struct block **given_back;        /* before-images that were written: for the writer to retire */
    size_t given_back_count;
    struct tide_snapshot newest;    /* that this engine has made, or else begun with */
    uint64_t made, failed, bad;     /* figures */
    uint64_t loaded_seq, loaded_us; /* what opening began with; set while opening */
};

/* snapshot.c: makes one and waits until it is visible; the maintenance thread. Errors: CLOSED and FAILED with the
 * engine, IO, FULL, MEMORY. */
enum tide_status snapshot_make(struct tide_engine *engine, struct tide_error *error);

/* Whether the writer is to call snapshot_attend. With the engine's mutex. */
bool snapshot_calls(const struct tide_engine *engine);

/* The writer thread, between two batches: begins a capture that waits for it, retires what was given back.
 * `last_time_us`: of the newest written event. */
void snapshot_attend(struct tide_engine *engine, uint64_t last_time_us);

/* The writer thread, when a batch is written: takes from `replaced` what the snapshot still needs; returns how many
 * are left, at the front. */
size_t snapshot_keep(struct tide_engine *engine, struct block **replaced, size_t count);

/* The writer thread: so many bytes were appended; asks for a snapshot when it is time. */
void snapshot_note_bytes(struct tide_engine *engine, uint64_t bytes);

/* When nobody uses the engine any more. */
void snapshot_state_destroy(struct snapshot_state *state);

/* snapshot_load.c: brings the documents of an open snapshot into the engine, which nobody else has yet. Errors:
 * CORRUPT, IO, MEMORY; then some of them may be there. */
enum tide_status snapshot_load(struct tide_engine *engine, const struct snapshot *snapshot, struct tide_error *error);

#endif
