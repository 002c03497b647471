/* segment_writer.h - writes what compaction leaves of a sealed segment into a new file, which then takes its name. */
#ifndef TIDE_SEGMENT_WRITER_H
#define TIDE_SEGMENT_WRITER_H

#include "format.h"
#include "frame_index.h"
#include "log_reader.h"
#include "tidemark.h"

#define COMPACT_NAME "compact.tmp"

struct segment_writer;

/* Begins the file COMPACT_NAME in `directory` (borrowed) for the segment of this header. `durable`: the seq up to which
 * the log is to be durable before the file is published; sparse frames say so. Errors: IO, FULL, MEMORY. */
enum tide_status segment_writer_open(const char *directory, const struct segment_header *header, uint64_t durable,
                                     struct segment_writer **writer, struct tide_error *error);

/* Takes a frame over as it is. */
enum tide_status segment_writer_copy(struct segment_writer *writer, const struct log_frame *frame,
                                     struct tide_error *error);

/* Takes over a record of a frame of which not all are taken. */
enum tide_status segment_writer_record(struct segment_writer *writer, const struct record *record,
                                       struct tide_error *error);

/* Says that of the seqs before `next_seq` no more records come. */
enum tide_status segment_writer_cover(struct segment_writer *writer, uint64_t next_seq, struct tide_error *error);

/* Ends the segment with its mark and syncs the file. *bytes: its length. */
enum tide_status segment_writer_finish(struct segment_writer *writer, uint64_t *bytes, struct tide_error *error);

/* Renames the finished file over the sealed segment, tells the index, and makes the name durable. After an error of the
 * last step the old or the new file may be there after a crash. */
enum tide_status segment_writer_publish(struct segment_writer *writer, struct frame_index *index,
                                        struct tide_error *error);

/* Whether the rename has happened. */
bool segment_writer_published(const struct segment_writer *writer);

/* Frees the writer, and removes the file if it was not published. NULL does nothing. */
void segment_writer_close(struct segment_writer *writer);

/* Removes what an interrupted compaction left in `directory`. Errors: IO. */
enum tide_status segment_writer_clean(const char *directory, struct tide_error *error);

#endif
