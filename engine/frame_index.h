/* frame_index.h - the sparse index of frames: where in which segment the event of a given seq is to be looked for.
 *
 * Kept in memory; recovery and the writer add to it, iterators look things up, at the same time (a mutex guards it:
 * entries are added once a batch at the most). One entry at least every FRAME_INDEX_STEP bytes of log, but for what a
 * snapshot made recovery leave out: the first look-up there finds a hole, and its caller fills it. */
#ifndef TIDE_FRAME_INDEX_H
#define TIDE_FRAME_INDEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tidemark.h"

enum { FRAME_INDEX_STEP = 65536 };

struct frame_index;

struct frame_index *frame_index_create(void); /* NULL: out of memory */
void frame_index_destroy(struct frame_index *index);

/* Adds the segment whose first event is (or will be) first_seq; frames added next lie in it. */
enum tide_status frame_index_add_segment(struct frame_index *index, uint64_t first_seq);

/* The newest segment was sealed, and so its file is named after its first seq. */
void frame_index_seal(struct frame_index *index);

/* Adds a frame of the newest segment; it may choose not to keep it. */
enum tide_status frame_index_add_frame(struct frame_index *index, uint64_t first_seq, uint64_t offset);

/* The frames of the newest segment up to the offset `end` were not read, and are not in the index. */
void frame_index_leave_out(struct frame_index *index, uint64_t end);

/* Enters what was left out of a segment: frames in order, one about every FRAME_INDEX_STEP bytes. */
struct frame_entry {
    uint64_t first_seq, offset;
};
enum tide_status frame_index_fill(struct frame_index *index, uint64_t segment_first_seq,
                                  const struct frame_entry *entries, size_t count);

/* Forgets everything. */
void frame_index_clear(struct frame_index *index);

/* Where to begin reading for `seq`: a frame boundary at or before the frame that holds it. */
struct frame_place {
    uint64_t segment_first_seq;
    uint64_t offset;
    bool sealed; /* when it was looked up: the file may have been renamed since */
    /* Of the frame that begins there. A segment may have been compacted since the look-up, or since its file was
     * opened: whoever finds another frame there, or none, reads from the segment's beginning. */
    uint64_t first_seq;
    uint64_t hole_end; /* not 0: up to this offset nothing is known; frame_index_fill helps */
};

/* False when seq lies before the first segment. */
bool frame_index_find(struct frame_index *index, uint64_t seq, struct frame_place *place);

/* Replaces what is known of a sealed segment, which was compacted to `bytes`: `count` places in it, ascending, the
 * first of them its beginning (first_seq and offset are read). Keeps as many as there were, so it can't fail. */
void frame_index_replace(struct frame_index *index, uint64_t segment_first_seq, const struct frame_place *places,
                         size_t count, uint64_t bytes);

#endif
