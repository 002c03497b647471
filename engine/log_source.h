/* log_source.h - a whole log read from outside, frame by frame, without an engine: what backup and restore copy from.
 * The log may belong to a process that goes on writing it. See the top of log_source.c. */
#ifndef TIDE_LOG_SOURCE_H
#define TIDE_LOG_SOURCE_H

#include "log_reader.h"

struct log_source {
    const char *directory; /* the caller's */
    uint8_t database_id[DATABASE_ID_BYTES];
    uint64_t *sealed; /* first seqs of the sealed segments before the active one, ascending */
    size_t sealed_count;
    uint64_t active_first_seq;
    uint64_t expected;  /* the seq that must come next; at first 1 */
    uint64_t compacted; /* up to here the log reached when frames that were read were compacted; 0: none was */
    /* Of the segment that is being read: */
    const struct segment_header *header;
    char name[SEGMENT_NAME_BYTES]; /* active: SEGMENT_ACTIVE_NAME, whatever it has now */
    uint8_t last_kind;             /* of the last frame */
    uint64_t end;                  /* behind it */
    struct log_reader *reader, *active;
};

/* Opens the log of `directory`: its active segment, held open from here on, then the list of the sealed ones before it.
 * Errors: NOT_FOUND (no directory, or no log in it), CORRUPT, INVALID, IO, MEMORY. log_source_close in any case. */
enum tide_status log_source_open(struct log_source *source, const char *directory, struct tide_error *error);
void log_source_close(struct log_source *source);

/* Goes to the beginning of sealed segment `i`, or for sealed_count to that of the active one. CORRUPT when it is of
 * another database or doesn't begin with source->expected. */
enum tide_status log_source_segment(struct log_source *source, size_t i, struct tide_error *error);

/* The segment's next frame, which is valid and the one that must come; END: the segment ends as it should (in the
 * active one, also at a torn tail); ERROR: IO, MEMORY, or CORRUPT with file, offset and seqs. */
enum log_found log_source_frame(struct log_source *source, struct log_frame *frame, struct tide_error *error);

#endif
