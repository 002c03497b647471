/* log_source.c - reading a log that somebody else may be writing.
 *
 * As in recovery.c the active segment is opened first and the sealed ones are listed then: a segment that is sealed
 * meanwhile is still the same open file, and what is begun behind it is not looked for. The same rules decide what is
 * whole: each segment begins with the seq after its predecessor's last, each frame with the seq after the frame before
 * it, a sealed segment ends with its mark; in the active one a place without a valid frame is the end, unless a later
 * frame says that its seq was durable.
 *
 * A writer may complete, between two looks, a frame that was half there at the first. So before that counts as damage
 * the place is read once more. */
#include "log_source.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "error.h"

/* Opens the active segment, under the name that it has now. */
static enum tide_status active_open(struct log_source *source, struct tide_error *error)
{
    enum { TRIES = 100 };
    for (int i = 0;; i++) {
        struct segment_list list;
        enum tide_status status = segment_list_read(source->directory, &list, error);
        if (status != TIDE_OK)
            return status;
        bool empty = !list.active && !list.next && list.sealed_count == 0, renaming = !list.active && list.next;
        segment_list_free(&list);
        if (empty)
            return error_set(error, TIDE_NOT_FOUND, "%s: there is no log", source->directory);
        status = log_reader_open(source->directory, renaming ? SEGMENT_NEXT_NAME : SEGMENT_ACTIVE_NAME, &source->active,
                                 error);
        if (status != TIDE_NOT_FOUND)
            return status;
        if (i == TRIES)
            return error_set(error, TIDE_CORRUPT, "%s: %s is missing; see tidemark repair", source->directory,
                             SEGMENT_ACTIVE_NAME);
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL); /* the writer is between its two renames */
    }
}

enum tide_status log_source_open(struct log_source *source, const char *directory, struct tide_error *error)
{
    *source = (struct log_source){.directory = directory, .expected = 1};
    struct file_status found;
    int result = file_stat(directory, &found);
    if (result < 0)
        return result == -ENOENT ? error_set(error, TIDE_NOT_FOUND, "%s: there is no such directory", directory)
                                 : error_system(error, -result, "%s", directory);
    enum tide_status status = active_open(source, error);
    if (status != TIDE_OK)
        return status;
    const struct segment_header *header = log_reader_header(source->active);
    memcpy(source->database_id, header->database_id, DATABASE_ID_BYTES);
    source->active_first_seq = header->first_seq;
    struct segment_list list;
    status = segment_list_read(directory, &list, error);
    if (status != TIDE_OK)
        return status;
    while (list.sealed_count > 0 && list.sealed[list.sealed_count - 1] >= header->first_seq)
        list.sealed_count--;
    source->sealed = list.sealed;
    source->sealed_count = list.sealed_count;
    return TIDE_OK;
}

void log_source_close(struct log_source *source)
{
    if (source->reader != source->active)
        log_reader_close(source->reader);
    log_reader_close(source->active);
    free(source->sealed);
    *source = (struct log_source){0};
}

static enum tide_status segment_join(const struct log_source *source, struct tide_error *error)
{
    const struct segment_header *header = source->header;
    if (memcmp(source->database_id, header->database_id, DATABASE_ID_BYTES) != 0)
        return error_set(error, TIDE_CORRUPT, "%s/%s: a segment of another database; see tidemark verify",
                         source->directory, source->name);
    if (header->first_seq != source->expected)
        return error_set(error, TIDE_CORRUPT,
                         "%s/%s: begins with seq %" PRIu64 ", expected %" PRIu64 "; see tidemark verify",
                         source->directory, source->name, header->first_seq, source->expected);
    return TIDE_OK;
}

enum tide_status log_source_segment(struct log_source *source, size_t i, struct tide_error *error)
{
    if (source->reader != source->active)
        log_reader_close(source->reader);
    source->reader = NULL;
    strcpy(source->name, SEGMENT_ACTIVE_NAME);
    if (i == source->sealed_count) {
        source->reader = source->active;
        log_reader_seek(source->active, SEGMENT_HEADER_BYTES);
    } else {
        segment_sealed_name(source->name, source->sealed[i]);
        enum tide_status status = log_reader_open(source->directory, source->name, &source->reader, error);
        if (status != TIDE_OK)
            return status;
    }
    source->header = log_reader_header(source->reader);
    source->end = SEGMENT_HEADER_BYTES;
    source->last_kind = FRAME_EVENTS;
    return segment_join(source, error);
}

static enum tide_status damaged(const struct log_source *source, uint64_t last_seq, struct tide_error *error)
{
    return error_set(error, TIDE_CORRUPT,
                     "%s/%s: damaged at offset %" PRIu64 ": seqs %" PRIu64 " to %" PRIu64
                     " were durable; see tidemark verify and repair",
                     source->directory, source->name, source->end, source->expected, last_seq);
}

/* In the active segment, where no expected frame is: END when it was never durable, or ERROR. `found` and `frame` are
 * what is there instead. */
static enum log_found tail_judge(struct log_source *source, enum log_found found, struct log_frame *frame,
                                 struct tide_error *error)
{
    if (found == LOG_FOUND_BAD)
        found = log_reader_resync(source->reader, frame, error);
    while (found == LOG_FOUND_FRAME && frame->header.durable < source->expected)
        found = log_reader_find(source->reader, frame, error);
    if (found != LOG_FOUND_FRAME)
        return found;
    uint64_t last = frame->header.first_seq > source->expected ? frame->header.first_seq - 1 : source->expected;
    log_reader_forget(source->reader);
    log_reader_seek(source->reader, source->end);
    found = log_reader_next(source->reader, frame, error);
    if (found == LOG_FOUND_ERROR)
        return found;
    if (found == LOG_FOUND_FRAME && frame->header.first_seq == source->expected)
        return LOG_FOUND_END; /* it was being written */
    damaged(source, last, error);
    return LOG_FOUND_ERROR;
}

enum log_found log_source_frame(struct log_source *source, struct log_frame *frame, struct tide_error *error)
{
    enum log_found found = log_reader_next(source->reader, frame, error);
    if (found == LOG_FOUND_ERROR)
        return found;
    if (found == LOG_FOUND_FRAME && frame->header.first_seq == source->expected) {
        source->expected = frame_next_seq(frame->bytes, &frame->header);
        source->end = frame->offset + frame->header.bytes;
        source->last_kind = frame->header.kind;
        if (frame->header.kind == FRAME_SPARSE && frame->header.durable > source->compacted)
            source->compacted = frame->header.durable;
        return LOG_FOUND_FRAME;
    }
    if (source->reader == source->active)
        return found == LOG_FOUND_END ? found : tail_judge(source, found, frame, error);
    if (found == LOG_FOUND_END && source->last_kind == FRAME_SEALED)
        return LOG_FOUND_END;
    damaged(source, source->expected, error);
    return LOG_FOUND_ERROR;
}
