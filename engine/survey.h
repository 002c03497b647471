/* survey.h - a look at a whole log that may be damaged: what of each segment is whole, what isn't, what is missing.
 * verify.c tells it, repair.c acts on it. */
#ifndef TIDE_SURVEY_H
#define TIDE_SURVEY_H

#include "chain.h"
#include "format.h"
#include "segment.h"
#include "tidemark.h"

enum piece_kind {
    PIECE_KEEP,   /* whole frames */
    PIECE_REMOVE, /* bytes that are no frames, or frames that don't belong there */
    PIECE_GAP     /* seqs that are missing at this place; no bytes */
};

struct piece {
    enum piece_kind kind;
    uint64_t offset, bytes, first_seq, last_seq;
};

struct survey_file {
    char name[SEGMENT_NAME_BYTES];
    bool sealed;
    bool dirty;            /* not as a healthy log would have it */
    bool has_seal;         /* the last frame kept is FRAME_SEALED */
    uint64_t missing_from; /* seqs missing before this file: from here to first_seq - 1; 0: none */
    uint64_t first_seq;    /* of the first event kept, or where it would be */
    uint64_t next_seq;     /* behind the last event kept */
    struct piece *pieces;
    size_t count, capacity;
};

struct survey {
    /* In: */
    const char *directory;
    bool is_backup;                 /* segments behind the active one are of a run that was interrupted (backup.c) */
    bool in_use;                    /* a process writes: what is behind the last frame may be one in the making */
    tide_finding_function *finding; /* may be NULL, as progress */
    tide_progress_function *progress;
    void *context;
    struct chain_check *chain_check; /* NULL: hashes are not computed again */
    /* Out: */
    struct tide_report report;
    uint8_t database_id[DATABASE_ID_BYTES];
    struct survey_file *files; /* in seq order, the active one last */
    size_t count;
    /* Own: */
    uint64_t expected, bytes_done, bytes_total, bytes_told;
    uint64_t durable_seq;   /* up to here a snapshot or a compaction says that all was durable */
    uint64_t compacted_seq; /* up to here a compaction does */
    struct chain chain;     /* as of the last frame kept */
};

/* Empties the report; OK when `path` is a directory, else NOT_FOUND or IO. */
enum tide_status survey_directory_check(const char *path, struct tide_report *report, struct tide_error *error);

/* Reads everything. OK whatever it finds; errors: NOT_FOUND, INVALID (another format version, a file that has a
 * segment's name almost), IO, MEMORY. survey_free in any case. */
enum tide_status survey_run(struct survey *survey, struct tide_error *error);
void survey_free(struct survey *survey);

#endif
