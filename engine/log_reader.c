/* log_reader.c - frames of one segment, in order, through a buffer that grows with what is read at a time: little at
 * first and after a seek, for one frame may be all that is wanted (a document's history is scattered so), then up to a
 * megabyte, and more for a larger frame.
 *
 * Where no valid frame begins, the reader says so and stays: the caller decides whether that is the end, a torn tail or
 * damage, and may ask for the next valid frame behind it (log_reader_resync). That a stretch of document text looks
 * like a frame is impossible (format.c says why), so any valid frame found that way was once written as one. */
#include "log_reader.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>

#include "error.h"
#include "file.h"

enum { AHEAD_MIN = 16 << 10, AHEAD_MAX = 1 << 20 };

struct log_reader {
    int fd;
    char name[SEGMENT_NAME_BYTES];
    struct segment_header header;
    bool any_database;   /* until a valid frame is found, which decides */
    uint64_t offset;     /* of the next frame */
    size_t ahead;        /* what is read at a time: little after a seek, twice as much with each success */
    uint64_t file_bytes; /* when last looked at */
    uint8_t *buffer;
    size_t capacity;
    uint64_t start; /* of the buffer's bytes in the file */
    size_t length;
};

/* Opens the file; the header is the caller's to read. */
static enum tide_status file_reader_open(const char *directory, const char *name, struct log_reader **opened,
                                         struct tide_error *error)
{
    *opened = NULL;
    struct log_reader *reader = calloc(1, sizeof *reader);
    char *path = file_path(directory, name);
    if (!reader || !path) {
        free(reader);
        free(path);
        return error_set(error, TIDE_MEMORY, "out of memory");
    }
    strncpy(reader->name, name, sizeof reader->name - 1);
    reader->offset = SEGMENT_HEADER_BYTES;
    reader->ahead = AHEAD_MIN;
    reader->fd = file_open(path, O_RDONLY, 0);
    enum tide_status status = TIDE_OK;
    if (reader->fd == -ENOENT)
        status = error_set(error, TIDE_NOT_FOUND, "%s: there is no such file", path);
    else if (reader->fd < 0)
        status = error_system(error, -reader->fd, "%s", path);
    free(path);
    if (status != TIDE_OK)
        log_reader_close(reader);
    else
        *opened = reader;
    return status;
}

enum tide_status log_reader_open(const char *directory, const char *name, struct log_reader **opened,
                                 struct tide_error *error)
{
    enum tide_status status = file_reader_open(directory, name, opened, error);
    if (status != TIDE_OK)
        return status;
    char *path = file_path(directory, name);
    status = segment_read_header((*opened)->fd, path ? path : name, &(*opened)->header, error);
    free(path);
    if (status != TIDE_OK) {
        log_reader_close(*opened);
        *opened = NULL;
    }
    return status;
}

enum tide_status log_reader_open_headless(const char *directory, const char *name, const uint8_t *database_id,
                                          struct log_reader **opened, struct tide_error *error)
{
    enum tide_status status = file_reader_open(directory, name, opened, error);
    if (status != TIDE_OK)
        return status;
    if (database_id)
        memcpy((*opened)->header.database_id, database_id, DATABASE_ID_BYTES);
    else
        (*opened)->any_database = true;
    return TIDE_OK;
}

void log_reader_close(struct log_reader *reader)
{
    if (!reader)
        return;
    if (reader->fd >= 0)
        file_close(reader->fd);
    free(reader->buffer);
    free(reader);
}

const struct segment_header *log_reader_header(const struct log_reader *reader)
{
    return &reader->header;
}

void log_reader_seek(struct log_reader *reader, uint64_t offset)
{
    reader->offset = offset;
    reader->ahead = AHEAD_MIN;
}

void log_reader_forget(struct log_reader *reader)
{
    reader->length = 0;
}

int log_reader_sync(struct log_reader *reader)
{
    return file_sync(reader->fd);
}

static enum tide_status file_bytes_renew(struct log_reader *reader, struct tide_error *error)
{
    struct file_status status;
    int result = file_stat_fd(reader->fd, &status);
    if (result < 0)
        return error_system(error, -result, "%s", reader->name);
    reader->file_bytes = status.bytes;
    return TIDE_OK;
}

enum tide_status log_reader_file_bytes(struct log_reader *reader, uint64_t *bytes, struct tide_error *error)
{
    enum tide_status status = file_bytes_renew(reader, error);
    *bytes = reader->file_bytes;
    return status;
}

enum tide_status log_reader_hop(struct log_reader *reader, uint64_t offset, uint64_t end,
                                bool (*visit)(void *context, const struct frame_header *header, uint64_t offset),
                                void *context, struct tide_error *error)
{
    uint8_t piece[16384]; /* small frames come many a read, of large ones not much more than the header is read */
    uint64_t start = 0, got = 0;
    while (offset < end) {
        struct frame_header header;
        if (offset < start || offset + FRAME_HEADER_BYTES > start + got) {
            int64_t read = file_read(reader->fd, piece, sizeof piece, offset);
            if (read < 0)
                return error_system(error, (int)-read, "%s: offset %" PRIu64, reader->name, offset);
            start = offset;
            got = (uint64_t)read;
        }
        if (got < FRAME_HEADER_BYTES ||
            !frame_header_decode(piece + (offset - start), &header, reader->header.database_id) ||
            !visit(context, &header, offset))
            break;
        offset += header.bytes;
    }
    return TIDE_OK;
}

/* Brings at least `wanted` bytes from `offset` on into the buffer, if the file has them. *got: how many are there. */
static enum tide_status buffer_fill(struct log_reader *reader, uint64_t offset, size_t wanted, size_t *got,
                                    struct tide_error *error)
{
    if (offset >= reader->start && offset + wanted <= reader->start + reader->length) {
        *got = (size_t)(reader->start + reader->length - offset);
        return TIDE_OK;
    }
    size_t room = wanted > reader->ahead ? wanted : reader->ahead;
    if (room > reader->capacity) {
        uint8_t *buffer = realloc(reader->buffer, room);
        if (!buffer)
            return error_set(error, TIDE_MEMORY, "%s: out of memory to read %zu bytes", reader->name, room);
        reader->buffer = buffer;
        reader->capacity = room;
    }
    size_t kept = 0;
    if (offset >= reader->start && offset < reader->start + reader->length) {
        kept = (size_t)(reader->start + reader->length - offset);
        memmove(reader->buffer, reader->buffer + (offset - reader->start), kept);
    }
    int64_t read = file_read(reader->fd, reader->buffer + kept, room - kept, offset + kept);
    reader->start = offset;
    reader->length = kept;
    if (read < 0)
        return error_system(error, (int)-read, "%s: offset %" PRIu64, reader->name, offset);
    reader->length += (size_t)read;
    *got = reader->length;
    return TIDE_OK;
}

static void ahead_double(struct log_reader *reader)
{
    if (reader->ahead < AHEAD_MAX)
        reader->ahead *= 2;
}

/* Looks for a valid frame at `offset`. FRAME, BAD or ERROR; the header of a frame that isn't whole is BAD. */
static enum log_found frame_at(struct log_reader *reader, uint64_t offset, struct log_frame *frame,
                               struct tide_error *error)
{
    size_t got;
    if (buffer_fill(reader, offset, FRAME_HEADER_BYTES, &got, error) != TIDE_OK)
        return LOG_FOUND_ERROR;
    if (reader->any_database && got >= FRAME_HEADER_BYTES)
        memcpy(reader->header.database_id, reader->buffer + (offset - reader->start) + FRAME_TAG_OFFSET, 4);
    if (got < FRAME_HEADER_BYTES ||
        !frame_header_decode(reader->buffer + (offset - reader->start), &frame->header, reader->header.database_id))
        return LOG_FOUND_BAD;
    if (offset + frame->header.bytes > reader->file_bytes) {
        if (file_bytes_renew(reader, error) != TIDE_OK)
            return LOG_FOUND_ERROR;
        if (offset + frame->header.bytes > reader->file_bytes)
            return LOG_FOUND_BAD;
    }
    if (buffer_fill(reader, offset, frame->header.bytes, &got, error) != TIDE_OK)
        return LOG_FOUND_ERROR;
    frame->bytes = reader->buffer + (offset - reader->start);
    frame->offset = offset;
    if (got < frame->header.bytes || !frame_valid(frame->bytes, &frame->header))
        return LOG_FOUND_BAD;
    reader->any_database = false;
    ahead_double(reader);
    return LOG_FOUND_FRAME;
}

/* The first byte from `offset` on that isn't zero; FOUND_END: there is none. */
static enum log_found first_nonzero(struct log_reader *reader, uint64_t offset, struct tide_error *error)
{
    size_t got;
    for (;; offset += got, ahead_double(reader)) {
        if (buffer_fill(reader, offset, 1, &got, error) != TIDE_OK)
            return LOG_FOUND_ERROR;
        if (got == 0)
            return LOG_FOUND_END;
        const uint8_t *p = reader->buffer + (offset - reader->start);
        for (size_t i = 0; i < got; i++) {
            if (p[i] != 0)
                return LOG_FOUND_BAD;
        }
    }
}

enum log_found log_reader_next(struct log_reader *reader, struct log_frame *frame, struct tide_error *error)
{
    enum log_found found = frame_at(reader, reader->offset, frame, error);
    if (found == LOG_FOUND_FRAME)
        reader->offset += frame->header.bytes;
    if (found == LOG_FOUND_BAD)
        found = first_nonzero(reader, reader->offset, error);
    return found;
}

enum log_found log_reader_resync(struct log_reader *reader, struct log_frame *frame, struct tide_error *error)
{
    reader->ahead = AHEAD_MAX;
    for (uint64_t offset = reader->offset + FRAME_ALIGNMENT;; offset += FRAME_ALIGNMENT) {
        size_t got;
        if (buffer_fill(reader, offset, FRAME_HEADER_BYTES, &got, error) != TIDE_OK)
            return LOG_FOUND_ERROR;
        if (got < FRAME_HEADER_BYTES)
            return LOG_FOUND_END;
        if (reader->buffer[offset - reader->start] != 0xF5)
            continue;
        enum log_found found = frame_at(reader, offset, frame, error);
        if (found == LOG_FOUND_FRAME)
            reader->offset = offset + frame->header.bytes;
        if (found != LOG_FOUND_BAD)
            return found;
    }
}

enum log_found log_reader_find(struct log_reader *reader, struct log_frame *frame, struct tide_error *error)
{
    enum log_found found = log_reader_next(reader, frame, error);
    return found == LOG_FOUND_BAD ? log_reader_resync(reader, frame, error) : found;
}

enum log_found log_reader_seal(struct log_reader *reader, uint64_t bytes, struct log_frame *frame,
                               struct tide_error *error)
{
    static const uint64_t lengths[] = {MARK_BYTES_MAX, FRAME_HEADER_BYTES}; /* the shorter is then read already */
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        if (bytes < SEGMENT_HEADER_BYTES + lengths[i])
            continue;
        log_reader_seek(reader, bytes - lengths[i]);
        enum log_found found = log_reader_next(reader, frame, error);
        if (found == LOG_FOUND_ERROR)
            return found;
        if (found == LOG_FOUND_FRAME && frame->header.kind == FRAME_SEALED && frame->header.bytes == lengths[i])
            return found;
    }
    return LOG_FOUND_BAD;
}

const struct record *log_frame_record(const struct log_frame *frame, size_t *offset)
{
    if (!frame_holds_events(&frame->header) || *offset >= frame_payload_end(&frame->header))
        return NULL;
    if (frame->header.kind == FRAME_SPARSE && *offset == FRAME_HEADER_BYTES) {
        *offset = FRAME_SPARSE_RECORDS;
        if (*offset >= frame_payload_end(&frame->header))
            return NULL;
    }
    const struct record *record = (const struct record *)(const void *)(frame->bytes + *offset);
    *offset += record_size(record);
    return record;
}
