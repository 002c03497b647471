/* recovery.h - reads a directory's log when it is opened: checks that the segments join, tells a torn tail from
 * damage, and hands every record to the caller in seq order. See the top of recovery.c. */
#ifndef TIDE_RECOVERY_H
#define TIDE_RECOVERY_H

#include "format.h"
#include "frame_index.h"
#include "log.h"
#include "tidemark.h"

struct recovery {
    /* In: */
    const char *directory; /* exists; for writing, the caller has its lock */
    bool read_only;        /* nothing is created, cut, renamed or synced */
    struct frame_index *index;
    enum tide_status (*apply)(void *context, const struct record *record); /* OK or MEMORY */
    void *context;
    /* Out: */
    struct log_position position;
    uint64_t events, last_time_us;
    uint64_t torn_bytes, torn_seq; /* what was cut, or passed over; torn_seq: the first seq that is gone */
    bool clean_close;              /* the last frame was an end mark */
    bool compacted;                /* read_only: segments were compacted meanwhile; what was applied may be wrong */
};

/* Creates the log in an empty directory (or finishes a creation, or a sealing, that was interrupted), else reads all of
 * it. What it leaves is durable: a tail that may not have been synced is synced before it returns, a torn one cut.
 * Errors: CORRUPT with file, offset and seq range; IO, FULL, MEMORY, INVALID (another format version). */
enum tide_status recovery_run(struct recovery *recovery, struct tide_error *error);

#endif
