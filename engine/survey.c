/* survey.c - reads a log that may be damaged, from its first segment to its last, and divides each into pieces.
 *
 * Wherever the next frame isn't the one that must come (by checksum, or by its seq), the reader looks for the next
 * valid frame behind it. What lies between is to be removed, the seqs in between are missing. In the active segment
 * this is damage only if a later frame's durable watermark says that the missing seq once was on the disk; otherwise
 * the tail is torn, as in tail.c, and ends there.
 *
 * A segment whose own header is bad is read all the same: the other segments, or else its own frames (each carries the
 * beginning of the database's id), say whose it is. One of another database is removed as a whole. */
#include "survey.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

#include "error.h"
#include "file.h"
#include "log_reader.h"
#include "snapshot_file.h"

enum { PROGRESS_BYTES = 4 << 20 };

/* ---- Telling ---- */

static void tell(struct survey *survey, const char *kind, const struct survey_file *file, const struct piece *piece,
                 const char *message)
{
    const struct tide_finding finding = {.kind = kind,
                                         .file = file->name,
                                         .offset = piece->offset,
                                         .bytes = piece->bytes,
                                         .first_seq = piece->first_seq,
                                         .last_seq = piece->last_seq,
                                         .message = message};
    if (survey->finding)
        survey->finding(survey->context, &finding);
}

static void tell_progress(struct survey *survey, uint64_t bytes)
{
    survey->bytes_done += bytes;
    if (survey->progress && survey->bytes_done - survey->bytes_told >= PROGRESS_BYTES) {
        survey->bytes_told = survey->bytes_done;
        survey->progress(survey->context, survey->bytes_done, survey->bytes_total);
    }
}

static enum tide_status piece_add(struct survey_file *file, const struct piece *piece, struct tide_error *error)
{
    struct piece *last = file->count > 0 ? &file->pieces[file->count - 1] : NULL;
    if (last && piece->kind == PIECE_KEEP && last->kind == PIECE_KEEP && last->offset + last->bytes == piece->offset) {
        last->bytes += piece->bytes;
        return TIDE_OK;
    }
    if (file->count == file->capacity) {
        size_t capacity = file->capacity ? file->capacity * 2 : 8;
        struct piece *pieces = realloc(file->pieces, capacity * sizeof *pieces);
        if (!pieces)
            return error_set(error, TIDE_MEMORY, "out of memory");
        file->pieces = pieces;
        file->capacity = capacity;
    }
    file->pieces[file->count++] = *piece;
    return TIDE_OK;
}

/* Bytes from offset to offset + bytes are bad; seqs first..last are missing with them (last 0: unknown or none). */
static enum tide_status damage_add(struct survey *survey, struct survey_file *file, uint64_t offset, uint64_t bytes,
                                   uint64_t first_seq, uint64_t last_seq, const char *message, struct tide_error *error)
{
    struct piece piece = {PIECE_REMOVE, offset, bytes, first_seq, last_seq};
    file->dirty = true;
    survey->report.damages++;
    tell(survey, "damage", file, &piece, message);
    return bytes > 0 ? piece_add(file, &piece, error) : TIDE_OK;
}

/* ---- Frames ---- */

static void records_count(struct survey *survey, const struct log_frame *frame)
{
    struct tide_report *report = &survey->report;
    size_t offset = FRAME_HEADER_BYTES;
    const struct record *record;
    while ((record = log_frame_record(frame, &offset))) {
        report->created += record->type == TIDE_EVENT_CREATED;
        report->updated += record->type == TIDE_EVENT_UPDATED;
        report->deleted += record->type == TIDE_EVENT_DELETED;
        if (report->events++ == 0) {
            report->first_seq = record->seq;
            report->first_time_us = record->time_us;
        }
        report->last_seq = record->seq;
        report->last_time_us = record->time_us;
    }
}

/* Looks at the frame's hash, before `survey->chain` is moved on to it. */
static enum tide_status chain_survey(struct survey *survey, const struct survey_file *file,
                                     const struct log_frame *frame, struct tide_error *error)
{
    struct chain_check *check = survey->chain_check;
    const char *told = NULL;
    if (check && !chain_check_frame(check, survey->database_id, &survey->chain, frame->bytes, &frame->header, &told))
        return error_set(error, TIDE_MEMORY, "out of memory for SHA-256");
    if (told) {
        uint64_t next_seq = frame_next_seq(frame->bytes, &frame->header);
        struct piece piece = {PIECE_KEEP, frame->offset, frame->header.bytes, frame->header.first_seq, next_seq - 1};
        tell(survey, "chain", file, &piece, told);
    }
    chain_note(&survey->chain, frame->bytes, &frame->header);
    return TIDE_OK;
}

static enum tide_status frame_keep(struct survey *survey, struct survey_file *file, const struct log_frame *frame,
                                   struct tide_error *error)
{
    struct piece piece = {.kind = PIECE_KEEP, .offset = frame->offset, .bytes = frame->header.bytes};
    enum tide_status status = chain_survey(survey, file, frame, error);
    if (status != TIDE_OK)
        return status;
    survey->report.frames++;
    survey->report.clean_close = frame->header.kind == FRAME_CLOSED;
    file->has_seal = frame->header.kind == FRAME_SEALED;
    if (frame->header.kind == FRAME_GAP) {
        struct piece gap = piece;
        gap.first_seq = frame->header.first_seq;
        gap.last_seq = frame_gap_last_seq(frame->bytes);
        tell(survey, "gap", file, &gap, "events that a repair removed");
    } else if (frame_holds_events(&frame->header)) {
        records_count(survey, frame);
        survey->report.compacted_events +=
            frame_next_seq(frame->bytes, &frame->header) - frame->header.first_seq - frame->header.events;
    }
    if (frame->header.kind == FRAME_SPARSE && frame->header.durable > survey->compacted_seq)
        survey->compacted_seq = frame->header.durable;
    if (survey->compacted_seq > survey->durable_seq)
        survey->durable_seq = survey->compacted_seq;
    survey->expected = frame_next_seq(frame->bytes, &frame->header);
    tell_progress(survey, frame->header.bytes);
    return piece_add(file, &piece, error);
}

/* Whether a snapshot, a compaction, or a frame at or behind `offset`, says that the seq `expected` was durable. Leaves
 * the reader at `offset`. */
static enum tide_status was_durable(struct survey *survey, struct log_reader *reader, uint64_t offset, bool *durable,
                                    struct tide_error *error)
{
    struct log_frame frame;
    *durable = false;
    log_reader_seek(reader, offset);
    if (survey->durable_seq >= survey->expected) {
        *durable = true;
        return TIDE_OK;
    }
    enum log_found found;
    while (!*durable && (found = log_reader_find(reader, &frame, error)) == LOG_FOUND_FRAME)
        *durable = frame.header.durable >= survey->expected;
    log_reader_seek(reader, offset);
    return found == LOG_FOUND_ERROR ? error->status : TIDE_OK;
}

static enum tide_status torn_add(struct survey *survey, struct survey_file *file, uint64_t offset, uint64_t file_bytes,
                                 struct tide_error *error)
{
    if (survey->in_use)
        return TIDE_OK;
    struct piece piece = {PIECE_REMOVE, offset, file_bytes - offset, survey->expected, 0};
    file->dirty = true;
    survey->report.torn = true;
    survey->report.torn_offset = offset;
    survey->report.torn_seq = survey->expected;
    survey->report.torn_bytes = piece.bytes;
    tell(survey, "torn", file, &piece, "a torn tail: it was never durable");
    return piece_add(file, &piece, error);
}

/* Nothing of the file is whole from `offset` on. Of the active segment a snapshot or a compaction may know how far it
 * went: a gap up to there keeps the seqs from being given out again, and the snapshot good. */
static enum tide_status end_damaged(struct survey *survey, struct survey_file *file, uint64_t offset, uint64_t bytes,
                                    struct tide_error *error)
{
    struct piece gap = {.kind = PIECE_GAP, .first_seq = survey->expected, .last_seq = survey->durable_seq};
    bool known = !file->sealed && survey->durable_seq >= survey->expected;
    enum tide_status status = damage_add(survey, file, offset, bytes, survey->expected, known ? gap.last_seq : 0,
                                         "damaged up to the end of the file", error);
    if (status != TIDE_OK || !known)
        return status;
    survey->report.missing_events += gap.last_seq - gap.first_seq + 1;
    survey->expected = gap.last_seq + 1;
    return piece_add(file, &gap, error);
}

/* What to do where the expected frame isn't, at `offset`. *more: the reader stands at a frame again. */
static enum tide_status break_survey(struct survey *survey, struct survey_file *file, struct log_reader *reader,
                                     uint64_t offset, uint64_t file_bytes, bool *more, struct tide_error *error)
{
    struct log_frame frame;
    bool durable = true;
    *more = false;
    enum tide_status status = file->sealed ? TIDE_OK : was_durable(survey, reader, offset, &durable, error);
    if (status != TIDE_OK)
        return status;
    if (!durable)
        return torn_add(survey, file, offset, file_bytes, error);
    enum log_found found = log_reader_find(reader, &frame, error);
    if (found == LOG_FOUND_ERROR)
        return error->status;
    if (found == LOG_FOUND_END)
        return end_damaged(survey, file, offset, file_bytes - offset, error);
    *more = true;
    log_reader_seek(reader, frame.offset);
    if (frame.header.first_seq < survey->expected) {
        log_reader_seek(reader, frame.offset + frame.header.bytes);
        return damage_add(survey, file, offset, frame.offset + frame.header.bytes - offset, 0, 0,
                          "events that were there before", error);
    }
    uint64_t missing = frame.header.first_seq - survey->expected;
    status = damage_add(survey, file, offset, frame.offset - offset, missing ? survey->expected : 0,
                        missing ? frame.header.first_seq - 1 : 0, missing ? "damaged, events are missing" : "damaged",
                        error);
    if (status == TIDE_OK && missing > 0) {
        struct piece gap = {.kind = PIECE_GAP, .first_seq = survey->expected, .last_seq = frame.header.first_seq - 1};
        survey->report.missing_events += missing;
        survey->expected = frame.header.first_seq;
        status = piece_add(file, &gap, error);
    }
    return status;
}

static enum tide_status frames_survey(struct survey *survey, struct survey_file *file, struct log_reader *reader,
                                      uint64_t file_bytes, struct tide_error *error)
{
    uint64_t offset = SEGMENT_HEADER_BYTES;
    for (;;) {
        struct log_frame frame;
        enum log_found found = log_reader_next(reader, &frame, error);
        if (found == LOG_FOUND_ERROR)
            return error->status;
        if (found == LOG_FOUND_END)
            break;
        enum tide_status status;
        if (found == LOG_FOUND_FRAME && frame.header.first_seq == survey->expected) {
            status = frame_keep(survey, file, &frame, error);
            offset = frame.offset + frame.header.bytes;
        } else {
            bool more;
            status = break_survey(survey, file, reader, offset, file_bytes, &more, error);
            if (status == TIDE_OK && !more)
                break;
            const struct piece *last = file->count > 0 ? &file->pieces[file->count - 1] : NULL;
            if (last && last->kind == PIECE_REMOVE)
                offset = last->offset + last->bytes;
            else if (file->count > 1 && last->kind == PIECE_GAP && file->pieces[file->count - 2].bytes > 0)
                offset = file->pieces[file->count - 2].offset + file->pieces[file->count - 2].bytes;
        }
        if (status != TIDE_OK)
            return status;
    }
    survey->report.log_bytes += offset;
    if (!file->sealed && !survey->in_use && survey->compacted_seq >= survey->expected)
        return end_damaged(survey, file, offset, 0, error);
    return TIDE_OK;
}

/* ---- Files ---- */

static int file_bytes_of(struct survey *survey, const char *name, uint64_t *bytes)
{
    struct file_status status;
    char *path = file_path(survey->directory, name);
    int result = path ? file_stat(path, &status) : -ENOMEM;
    free(path);
    *bytes = result == 0 ? status.bytes : 0;
    return result;
}

static bool id_is_known(const struct survey *survey)
{
    static const uint8_t unknown[DATABASE_ID_BYTES];
    return memcmp(survey->database_id, unknown, sizeof unknown) != 0;
}

/* The id of the database, from the first segment with a good header. */
static enum tide_status id_find(struct survey *survey, struct tide_error *error)
{
    for (size_t i = survey->count; i > 0 && !id_is_known(survey); i--) {
        struct log_reader *reader;
        enum tide_status status = log_reader_open(survey->directory, survey->files[i - 1].name, &reader, error);
        if (status == TIDE_OK) {
            memcpy(survey->database_id, log_reader_header(reader)->database_id, DATABASE_ID_BYTES);
            survey->report.format_version = log_reader_header(reader)->format_version;
        } else if (status != TIDE_CORRUPT && status != TIDE_NOT_FOUND) {
            return status;
        }
        log_reader_close(reader);
    }
    return TIDE_OK;
}

/* Opens a segment whose header is bad; NULL when none of its frames is of this database. */
static enum tide_status headless_open(struct survey *survey, struct survey_file *file, struct log_reader **reader,
                                      struct tide_error *error)
{
    struct log_frame frame;
    enum tide_status status = log_reader_open_headless(survey->directory, file->name,
                                                       id_is_known(survey) ? survey->database_id : NULL, reader, error);
    if (status != TIDE_OK)
        return status;
    log_reader_seek(*reader, SEGMENT_HEADER_BYTES - FRAME_ALIGNMENT);
    enum log_found found = log_reader_resync(*reader, &frame, error);
    if (found == LOG_FOUND_FRAME) {
        memcpy(survey->database_id, log_reader_header(*reader)->database_id, DATABASE_ID_BYTES);
        log_reader_seek(*reader, SEGMENT_HEADER_BYTES);
        return TIDE_OK;
    }
    log_reader_close(*reader);
    *reader = NULL;
    return found == LOG_FOUND_ERROR ? error->status : TIDE_OK;
}

/* Seqs that lie between the files before and this one. */
static void join_survey(struct survey *survey, struct survey_file *file, uint64_t first_seq)
{
    if (first_seq > survey->expected) {
        const struct piece missing = {.first_seq = survey->expected, .last_seq = first_seq - 1};
        file->missing_from = survey->expected;
        survey->report.damages++;
        survey->report.missing_events += first_seq - survey->expected;
        survey->expected = first_seq;
        tell(survey, "damage", file, &missing, "events are missing before this segment");
    } else if (first_seq < survey->expected) {
        file->dirty = true;
    }
}

static enum tide_status file_survey(struct survey *survey, struct survey_file *file, struct tide_error *error)
{
    struct log_reader *reader;
    uint64_t bytes;
    char message[200] = "not a segment of this database";
    enum tide_status status = log_reader_open(survey->directory, file->name, &reader, error);
    file->first_seq = file->next_seq = survey->expected;
    int result = file_bytes_of(survey, file->name, &bytes);
    if (status != TIDE_OK && status != TIDE_CORRUPT)
        return status;
    if (result < 0) {
        log_reader_close(reader);
        return error_system(error, -result, "%s/%s", survey->directory, file->name);
    }
    bool headless = status == TIDE_CORRUPT;
    if (headless) {
        snprintf(message, sizeof message, "the segment's header is damaged");
        status = headless_open(survey, file, &reader, error);
        if (status != TIDE_OK)
            return status;
    } else if (memcmp(log_reader_header(reader)->database_id, survey->database_id, DATABASE_ID_BYTES) != 0) {
        log_reader_close(reader);
        reader = NULL;
    }
    if (!reader)
        return damage_add(survey, file, 0, bytes, 0, 0, message, error);
    if (headless)
        status = damage_add(survey, file, 0, bytes < SEGMENT_HEADER_BYTES ? bytes : SEGMENT_HEADER_BYTES, 0, 0, message,
                            error);
    else
        join_survey(survey, file, log_reader_header(reader)->first_seq);
    if (status == TIDE_OK && !headless && file->sealed) {
        char name[SEGMENT_NAME_BYTES];
        segment_sealed_name(name, log_reader_header(reader)->first_seq);
        if (strcmp(name, file->name) != 0)
            status = damage_add(survey, file, 0, 0, log_reader_header(reader)->first_seq, 0,
                                "the segment begins with another seq than its name says", error);
    }
    file->first_seq = survey->expected;
    if (status == TIDE_OK)
        status = frames_survey(survey, file, reader, bytes, error);
    file->next_seq = survey->expected;
    if (status == TIDE_OK && file->sealed && !file->has_seal && !file->dirty)
        status = damage_add(survey, file, bytes, 0, survey->expected, 0, "a sealed segment without its end", error);
    log_reader_close(reader);
    return status;
}

/* In a backup: leaves sealed segments out that begin at or behind the active one. */
static enum tide_status list_trim(const struct survey *survey, struct segment_list *list, struct tide_error *error)
{
    struct log_reader *reader;
    enum tide_status status = log_reader_open(survey->directory, SEGMENT_ACTIVE_NAME, &reader, error);
    while (status == TIDE_OK && list->sealed_count > 0 &&
           list->sealed[list->sealed_count - 1] >= log_reader_header(reader)->first_seq)
        list->sealed_count--;
    log_reader_close(reader);
    return status == TIDE_CORRUPT || status == TIDE_INVALID ? TIDE_OK : status; /* the survey tells it */
}

static enum tide_status files_list(struct survey *survey, struct tide_error *error)
{
    struct segment_list list;
    enum tide_status status = segment_list_read(survey->directory, &list, error);
    if (status == TIDE_OK && survey->is_backup && list.active)
        status = list_trim(survey, &list, error);
    if (status == TIDE_CORRUPT)
        error->status = status = TIDE_INVALID;
    if (status != TIDE_OK)
        return status;
    if (!list.active && !list.next && list.sealed_count == 0)
        status = error_set(error, TIDE_NOT_FOUND, "%s: there is no log", survey->directory);
    else if (!(survey->files = calloc(list.sealed_count + 1, sizeof *survey->files)))
        status = error_set(error, TIDE_MEMORY, "out of memory");
    for (size_t i = 0; i < list.sealed_count && status == TIDE_OK; i++) {
        struct survey_file *file = &survey->files[survey->count++];
        segment_sealed_name(file->name, list.sealed[i]);
        file->sealed = true;
    }
    if (status == TIDE_OK && (list.active || list.next)) {
        struct survey_file *file = &survey->files[survey->count++];
        snprintf(file->name, sizeof file->name, "%s", list.active ? SEGMENT_ACTIVE_NAME : SEGMENT_NEXT_NAME);
    }
    segment_list_free(&list);
    for (size_t i = 0; i < survey->count; i++) {
        uint64_t bytes;
        if (file_bytes_of(survey, survey->files[i].name, &bytes) == 0)
            survey->bytes_total += bytes;
    }
    return status;
}

enum tide_status survey_directory_check(const char *path, struct tide_report *report, struct tide_error *error)
{
    struct file_status found;
    *report = (struct tide_report){0};
    int result = file_stat(path, &found);
    if (result == -ENOENT)
        return error_set(error, TIDE_NOT_FOUND, "%s: there is no such directory", path);
    if (result < 0 || !found.is_directory)
        return error_system(error, result < 0 ? -result : ENOTDIR, "%s", path);
    return TIDE_OK;
}

enum tide_status survey_run(struct survey *survey, struct tide_error *error)
{
    survey->expected = 1;
    survey->report.in_use = survey->in_use;
    enum tide_status status = files_list(survey, error);
    if (status == TIDE_OK)
        status = id_find(survey, error);
    if (status == TIDE_OK)
        survey->durable_seq = snapshot_newest_seq(survey->directory, survey->database_id);
    for (size_t i = 0; i < survey->count && status == TIDE_OK; i++) {
        status = file_survey(survey, &survey->files[i], error);
        /* The writer sealed the active segment under our eyes: what it holds now comes behind. */
        if (status == TIDE_NOT_FOUND && survey->in_use)
            status = TIDE_OK;
    }
    if (status != TIDE_OK)
        return status;
    survey->report.segments = survey->count;
    survey->report.chained = survey->chain.begun;
    chain_tell(&survey->chain, &survey->report.chain);
    memcpy(survey->report.database_id, survey->database_id, DATABASE_ID_BYTES);
    const struct survey_file *last = &survey->files[survey->count - 1];
    if (last->sealed && !survey->in_use) {
        const struct piece missing = {.first_seq = survey->expected};
        survey->report.damages++;
        tell(survey, "damage", last, &missing, "the active segment behind this one is missing");
    }
    return TIDE_OK;
}

void survey_free(struct survey *survey)
{
    for (size_t i = 0; i < survey->count; i++)
        free(survey->files[i].pieces);
    free(survey->files);
    survey->files = NULL;
    survey->count = 0;
}
