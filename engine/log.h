/* log.h - the append side of the log: one thread (the writer) appends finished frames to the active segment, syncs it,
 * and seals it when it is full. See the top of log.c. */
#ifndef TIDE_LOG_H
#define TIDE_LOG_H

#include "chain.h"
#include "format.h"
#include "frame_index.h"
#include "tidemark.h"

struct log;

/* Where recovery found the log to end, and what it knows of it. */
struct log_position {
    uint8_t database_id[DATABASE_ID_BYTES];
    uint64_t next_seq;         /* the seq that the next event will have */
    uint64_t offset;           /* in the active segment, where the next frame goes */
    uint64_t sealed_bytes;     /* bytes of all sealed segments up to their last frame */
    uint64_t sealed_count;     /* how many there are */
    uint64_t active_first_seq; /* of the active segment's header */
    struct chain chain;        /* as of the last frame */
    bool hash_chain;           /* frames to come are chained; with a chain that has begun always */
};

/* Opens the active segment of `directory` for appending at `position`; nothing is reserved yet.
 * `index` (owned by the engine, shared with readers) learns of every frame appended and segment sealed. */
enum tide_status log_open(const char *directory, const struct log_position *position, uint64_t segment_bytes,
                          struct frame_index *index, struct log **log, struct tide_error *error);

/* Appends one frame, whose records are in place behind room for the header, with room for CHAIN_HASH_BYTES behind them:
 * fills in the header (first_seq, events; the durable watermark is the log's own) and the hash of a chained log, writes
 * it with one write, and enters it in the index. Before that, when the
 * frame doesn't fit below segment_bytes and the active segment holds events, seals the segment and starts the next, if
 * the disk has the space for that. After an error the log must not be used but for log_close with clean = false. */
enum tide_status log_append(struct log *log, uint8_t *frame, size_t bytes, uint64_t first_seq, uint32_t events,
                            struct tide_error *error);

/* Seals the active segment, if it holds events and the disk has space for another, and starts the next. */
enum tide_status log_roll(struct log *log, struct tide_error *error);

/* Reserves disk space for `bytes` of frames to come, and for a mark; the next segment will have as much. OK, or FULL.
 * That the file system can't reserve, or failed otherwise, is left to the write to find out. */
enum tide_status log_reserve(struct log *log, uint64_t bytes, struct tide_error *error);

/* How many bytes of frames have their space. */
uint64_t log_reserved(const struct log *log);

/* Tells the system to begin with writing what was appended to the disk, which a later sync then waits less for. That it
 * can't is left to that sync to find out. */
void log_write_back(struct log *log);

/* fdatasync of the active segment; raises log_durable to the last appended seq. Never repeated after an error. */
enum tide_status log_sync(struct log *log, struct tide_error *error);

/* The last seq that a sync, or a sealing, made durable. At opening: the last seq recovered (opening syncs it). */
uint64_t log_durable(const struct log *log);

/* Where the next frame goes, unless the segment is sealed before, whose log it is, and its chain so far. */
void log_place(const struct log *log, uint8_t database_id[DATABASE_ID_BYTES], uint64_t *segment_first_seq,
               uint64_t *offset, struct chain *chain);

/* For the writer's figures. */
struct log_figures {
    uint64_t syncs, sync_us, bytes, segments;
    struct chain chain; /* as of the last frame written */
};
void log_figures(const struct log *log, struct log_figures *figures);

/* Ends the log. With `clean`: syncs, writes and syncs the end mark, cuts what was preallocated behind it. Without:
 * closes the file and leaves it as it is. Frees the log in either case. */
enum tide_status log_close(struct log *log, bool clean, struct tide_error *error);

#endif
