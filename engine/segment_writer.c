/* segment_writer.c - the new file of a segment that is compacted: header, frames taken over as they are, sparse frames
 * of the records that stay, the seal.
 *
 * Everything goes through a buffer of a megabyte, written when a frame is complete and no more fits. A sparse frame is
 * built in it in place: it covers the seqs of all frames of which something goes, one after the other, until it has
 * SPARSE_BYTES or a whole frame comes. So small frames become larger ones, and a run of seqs that are all gone is one
 * frame of 56 bytes.
 *
 * The file has a name of its own until it is synced; the rename over the old one is the moment at which the segment
 * changes, for the disk and, with the index told right after it, for who reads (log_events.c). */
#include "segment_writer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#include "error.h"
#include "file.h"
#include "segment.h"

enum { BUFFER_BYTES = 1 << 20, SPARSE_BYTES = 1 << 20, PLACES_MIN = 64 };

struct segment_writer {
    const char *directory;
    struct segment_header header;
    uint64_t durable; /* the watermark of the sparse frames */
    char *path, *sealed_path;
    int fd;
    bool published;
    uint64_t written; /* bytes of the file before the buffer's */
    uint8_t *buffer;
    size_t length, capacity;
    /* The sparse frame at the buffer's end. */
    bool sparse;
    size_t sparse_at;
    uint64_t sparse_seq; /* the first seq that it covers */
    uint32_t sparse_events;
    uint64_t next_seq; /* behind all that was taken or covered */
    /* For the index: its entries of this segment. */
    struct frame_place *places;
    size_t place_count, place_capacity;
};

static enum tide_status system_fault(const struct segment_writer *writer, int result, struct tide_error *error)
{
    return result < 0 ? error_system(error, -result, "%s", writer->path) : TIDE_OK;
}

static enum tide_status buffer_reserve(struct segment_writer *writer, size_t bytes, struct tide_error *error)
{
    if (writer->length + bytes <= writer->capacity)
        return TIDE_OK;
    size_t capacity = writer->length + bytes;
    uint8_t *buffer = realloc(writer->buffer, capacity);
    if (!buffer)
        return error_set(error, TIDE_MEMORY, "%s: out of memory for a frame", writer->path);
    writer->buffer = buffer;
    writer->capacity = capacity;
    return TIDE_OK;
}

static enum tide_status buffer_write(struct segment_writer *writer, struct tide_error *error)
{
    int result = file_write(writer->fd, writer->buffer, writer->length, writer->written);
    writer->written += writer->length;
    writer->length = 0;
    return system_fault(writer, result, error);
}

/* Notes where a frame begins, as frame_index_add_frame would. */
static enum tide_status place_note(struct segment_writer *writer, uint64_t first_seq, uint64_t offset,
                                   struct tide_error *error)
{
    if (writer->place_count > 0 && offset - writer->places[writer->place_count - 1].offset < FRAME_INDEX_STEP)
        return TIDE_OK;
    if (writer->place_count == writer->place_capacity) {
        size_t capacity = writer->place_capacity ? writer->place_capacity * 2 : PLACES_MIN;
        struct frame_place *places = realloc(writer->places, capacity * sizeof *places);
        if (!places)
            return error_set(error, TIDE_MEMORY, "out of memory");
        writer->places = places;
        writer->place_capacity = capacity;
    }
    writer->places[writer->place_count++] = (struct frame_place){.first_seq = first_seq, .offset = offset};
    return TIDE_OK;
}

enum tide_status segment_writer_open(const char *directory, const struct segment_header *header, uint64_t durable,
                                     struct segment_writer **opened, struct tide_error *error)
{
    *opened = NULL;
    struct segment_writer *writer = calloc(1, sizeof *writer);
    if (!writer)
        return error_set(error, TIDE_MEMORY, "out of memory");
    char name[SEGMENT_NAME_BYTES];
    segment_sealed_name(name, header->first_seq);
    writer->fd = -1;
    writer->directory = directory;
    writer->header = *header;
    writer->durable = durable;
    writer->next_seq = header->first_seq;
    writer->path = file_path(directory, COMPACT_NAME);
    writer->sealed_path = file_path(directory, name);
    writer->buffer = malloc(BUFFER_BYTES);
    writer->capacity = BUFFER_BYTES;
    enum tide_status status = TIDE_OK;
    if (!writer->path || !writer->sealed_path || !writer->buffer)
        status = error_set(error, TIDE_MEMORY, "out of memory");
    if (status == TIDE_OK) {
        writer->fd = file_open(writer->path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
        status = system_fault(writer, writer->fd, error);
    }
    if (status == TIDE_OK)
        status = place_note(writer, header->first_seq, SEGMENT_HEADER_BYTES, error);
    if (status != TIDE_OK) {
        segment_writer_close(writer);
        return status;
    }
    segment_header_encode(writer->buffer, header);
    writer->length = SEGMENT_HEADER_BYTES;
    *opened = writer;
    return TIDE_OK;
}

/* Completes the sparse frame, if there is one. */
static enum tide_status sparse_end(struct segment_writer *writer, struct tide_error *error)
{
    if (!writer->sparse)
        return TIDE_OK;
    writer->sparse = false;
    struct frame_header header = {.bytes = (uint32_t)(writer->length - writer->sparse_at),
                                  .events = writer->sparse_events,
                                  .first_seq = writer->sparse_seq,
                                  .durable = writer->durable};
    frame_sparse_encode(writer->buffer + writer->sparse_at, &header, writer->next_seq - 1, writer->header.database_id);
    enum tide_status status = place_note(writer, header.first_seq, writer->written + writer->sparse_at, error);
    if (status == TIDE_OK && writer->length >= BUFFER_BYTES)
        status = buffer_write(writer, error);
    return status;
}

static enum tide_status sparse_begin(struct segment_writer *writer, struct tide_error *error)
{
    enum tide_status status = buffer_reserve(writer, FRAME_SPARSE_RECORDS, error);
    if (status != TIDE_OK)
        return status;
    writer->sparse = true;
    writer->sparse_at = writer->length;
    writer->sparse_seq = writer->next_seq;
    writer->sparse_events = 0;
    writer->length += FRAME_SPARSE_RECORDS;
    return TIDE_OK;
}

enum tide_status segment_writer_copy(struct segment_writer *writer, const struct log_frame *frame,
                                     struct tide_error *error)
{
    enum tide_status status = sparse_end(writer, error);
    if (status == TIDE_OK && writer->length + frame->header.bytes > BUFFER_BYTES)
        status = buffer_write(writer, error);
    if (status == TIDE_OK)
        status = buffer_reserve(writer, frame->header.bytes, error);
    if (status == TIDE_OK)
        status = place_note(writer, frame->header.first_seq, writer->written + writer->length, error);
    if (status != TIDE_OK)
        return status;
    memcpy(writer->buffer + writer->length, frame->bytes, frame->header.bytes);
    writer->length += frame->header.bytes;
    writer->next_seq = frame_next_seq(frame->bytes, &frame->header);
    return TIDE_OK;
}

enum tide_status segment_writer_record(struct segment_writer *writer, const struct record *record,
                                       struct tide_error *error)
{
    size_t bytes = record_size(record);
    enum tide_status status = TIDE_OK;
    if (writer->sparse && writer->length - writer->sparse_at + bytes > SPARSE_BYTES)
        status = sparse_end(writer, error);
    if (status == TIDE_OK && !writer->sparse)
        status = sparse_begin(writer, error);
    if (status == TIDE_OK)
        status = buffer_reserve(writer, bytes, error);
    if (status != TIDE_OK)
        return status;
    memcpy(writer->buffer + writer->length, record, bytes);
    writer->length += bytes;
    writer->sparse_events++;
    writer->next_seq = record->seq + 1;
    return TIDE_OK;
}

enum tide_status segment_writer_cover(struct segment_writer *writer, uint64_t next_seq, struct tide_error *error)
{
    if (next_seq == writer->next_seq)
        return TIDE_OK;
    enum tide_status status = writer->sparse ? TIDE_OK : sparse_begin(writer, error);
    if (status == TIDE_OK)
        writer->next_seq = next_seq;
    return status;
}

enum tide_status segment_writer_finish(struct segment_writer *writer, uint64_t *bytes, struct tide_error *error)
{
    const struct frame_header seal = {.bytes = FRAME_HEADER_BYTES,
                                      .first_seq = writer->next_seq,
                                      .durable = writer->next_seq - 1,
                                      .kind = FRAME_SEALED};
    enum tide_status status = sparse_end(writer, error);
    if (status == TIDE_OK)
        status = buffer_reserve(writer, FRAME_HEADER_BYTES, error);
    if (status != TIDE_OK)
        return status;
    frame_encode(writer->buffer + writer->length, &seal, writer->header.database_id);
    writer->length += FRAME_HEADER_BYTES;
    status = buffer_write(writer, error);
    *bytes = writer->written;
    return status == TIDE_OK ? system_fault(writer, file_sync(writer->fd), error) : status;
}

enum tide_status segment_writer_publish(struct segment_writer *writer, struct frame_index *index,
                                        struct tide_error *error)
{
    enum tide_status status = system_fault(writer, file_rename(writer->path, writer->sealed_path), error);
    if (status != TIDE_OK)
        return status;
    writer->published = true;
    frame_index_replace(index, writer->header.first_seq, writer->places, writer->place_count, writer->written);
    return system_fault(writer, file_sync_directory(writer->directory), error);
}

bool segment_writer_published(const struct segment_writer *writer)
{
    return writer->published;
}

void segment_writer_close(struct segment_writer *writer)
{
    if (!writer)
        return;
    if (writer->fd >= 0) {
        file_close(writer->fd);
        if (!writer->published)
            file_unlink(writer->path); /* if it fails, the next opening removes it */
    }
    free(writer->places);
    free(writer->buffer);
    free(writer->sealed_path);
    free(writer->path);
    free(writer);
}

enum tide_status segment_writer_clean(const char *directory, struct tide_error *error)
{
    char *path = file_path(directory, COMPACT_NAME);
    int result = path ? file_unlink(path) : -ENOMEM;
    free(path);
    return result < 0 && result != -ENOENT ? error_system(error, -result, "%s/%s", directory, COMPACT_NAME) : TIDE_OK;
}
