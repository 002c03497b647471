/* log_reader.h - reads the frames of one segment in order, and tells what stands where no valid frame does. */
#ifndef TIDE_LOG_READER_H
#define TIDE_LOG_READER_H

#include "format.h"
#include "segment.h"
#include "tidemark.h"

struct log_reader;

/* Opens `name` in `directory` and checks its header. Errors: NOT_FOUND when there is no such file, CORRUPT, INVALID
 * (another format version), IO, MEMORY. */
enum tide_status log_reader_open(const char *directory, const char *name, struct log_reader **reader,
                                 struct tide_error *error);
/* The same for a segment whose header is damaged: frames of the database `database_id` are read; NULL: of the one that
 * the first frame found belongs to. */
enum tide_status log_reader_open_headless(const char *directory, const char *name, const uint8_t *database_id,
                                          struct log_reader **reader, struct tide_error *error);
void log_reader_close(struct log_reader *reader); /* NULL does nothing */
const struct segment_header *log_reader_header(const struct log_reader *reader);

/* Continues at `offset`, a frame boundary. Right after opening it is SEGMENT_HEADER_BYTES. */
void log_reader_seek(struct log_reader *reader, uint64_t offset);

/* The bytes of the file, as of now. */
enum tide_status log_reader_file_bytes(struct log_reader *reader, uint64_t *bytes, struct tide_error *error);

/* Steps from frame header to frame header, from the one at `offset` up to `end`, without reading or checking what lies
 * between them. Calls `visit` for each until it returns false; ends early, with OK, where no header stands. */
enum tide_status log_reader_hop(struct log_reader *reader, uint64_t offset, uint64_t end,
                                bool (*visit)(void *context, const struct frame_header *header, uint64_t offset),
                                void *context, struct tide_error *error);

/* What was read ahead is read again: another process may have written on. */
void log_reader_forget(struct log_reader *reader);

/* fdatasync of the segment, which another process may write: what was read of it is then durable. 0 or -errno. */
int log_reader_sync(struct log_reader *reader);

enum log_found {
    LOG_FOUND_FRAME, /* a valid frame */
    LOG_FOUND_END,   /* nothing behind but zeros up to the end of the file */
    LOG_FOUND_BAD,   /* bytes that are no valid frame */
    LOG_FOUND_ERROR  /* the error tells */
};

/* A frame within the reader's buffer, valid until its next call. */
struct log_frame {
    struct frame_header header;
    const uint8_t *bytes;
    uint64_t offset; /* in the segment */
};

enum log_found log_reader_next(struct log_reader *reader, struct log_frame *frame, struct tide_error *error);

/* The mark with which a sealed segment of `bytes` bytes ends: FOUND_FRAME, or FOUND_BAD when there is none at its very
 * end, or FOUND_ERROR. log_reader_seek must follow. */
enum log_found log_reader_seal(struct log_reader *reader, uint64_t bytes, struct log_frame *frame,
                               struct tide_error *error);

/* After LOG_FOUND_BAD: looks for the next valid frame behind the bad bytes, at each multiple of FRAME_ALIGNMENT.
 * FOUND_FRAME (log_reader_next goes on behind it), FOUND_END (there is none) or FOUND_ERROR. */
enum log_found log_reader_resync(struct log_reader *reader, struct log_frame *frame, struct tide_error *error);

/* The next valid frame at the reader's place or behind it, whatever is between: log_reader_next, and resync after BAD.
 */
enum log_found log_reader_find(struct log_reader *reader, struct log_frame *frame, struct tide_error *error);

/* Steps through the records of a frame: `*offset` starts at FRAME_HEADER_BYTES; NULL at the end. */
const struct record *log_frame_record(const struct log_frame *frame, size_t *offset);

#endif
