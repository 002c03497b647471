/* tail.c - the end of the active segment, when a log is opened.
 *
 * Frames there may never have been synced: a crash may have left them missing, half there, or there behind a hole. What
 * tells that from damage is the durable watermark in every frame. Where the frame with seq E should be and is not
 * valid, any valid frame further on whose watermark is E or more proves that E was once on the disk: damage, and
 * opening is refused. Otherwise the tail is torn and is cut there, valid frames behind the hole included, since the log
 * must not have gaps.
 *
 * A sync is not enough to make durable what was read: when one has failed in the process before us, the kernel may have
 * marked the pages clean all the same, so that they are read as they were written, and no sync will ever bring them to
 * the disk. So what no watermark says to be durable is written again. The names, too, may be in memory alone: an
 * opening or a sealing may have failed between a rename and its sync. */
#include "tail.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>

#include "error.h"
#include "file.h"
#include "plant.h"
#include "segment.h"

enum tide_status tail_judge(const struct recovery *recovery, uint64_t durable, struct log_reader *reader,
                            enum log_found found, struct log_frame *frame, struct tide_error *error)
{
    uint64_t end = recovery->position.offset, expected = recovery->position.next_seq;
    struct tide_error local = {0};
    struct tide_error *told = error ? error : &local;
    if (durable >= expected)
        return error_set(told, TIDE_CORRUPT,
                         "%s/%s: damaged at offset %" PRIu64 ": seqs %" PRIu64 " to %" PRIu64
                         " were durable, a snapshot says; see tidemark repair",
                         recovery->directory, SEGMENT_ACTIVE_NAME, end, expected, durable);
    if (found == LOG_FOUND_BAD)
        found = log_reader_resync(reader, frame, told);
    for (; found == LOG_FOUND_FRAME; found = log_reader_find(reader, frame, told)) {
        if (frame->header.durable < expected || PLANTED(9)) /* valid durable frames cut off */
            continue;
        uint64_t last = frame->header.first_seq > expected ? frame->header.first_seq - 1 : expected;
        return error_set(told, TIDE_CORRUPT,
                         "%s/%s: damaged at offset %" PRIu64 ": seqs %" PRIu64 " to %" PRIu64
                         " were durable; see tidemark repair",
                         recovery->directory, SEGMENT_ACTIVE_NAME, end, expected, last);
    }
    return found == LOG_FOUND_ERROR ? told->status : TIDE_OK;
}

/* Bytes from `offset` to the last one that isn't zero. */
static int64_t tail_bytes(int fd, uint64_t offset)
{
    uint8_t buffer[65536];
    int64_t last = 0;
    for (uint64_t at = offset;;) {
        int64_t got = file_read(fd, buffer, sizeof buffer, at);
        if (got <= 0)
            return got < 0 ? got : last;
        for (int64_t i = got - 1; i >= 0; i--) {
            if (buffer[i] != 0) {
                last = (int64_t)(at - offset) + i + 1;
                break;
            }
        }
        at += (uint64_t)got;
    }
}

/* Writes the bytes of a file once more, as they are. */
static int rewrite(int fd, uint64_t offset, uint64_t end)
{
    enum { PIECE_BYTES = 1 << 18 };
    uint8_t *piece = malloc(PIECE_BYTES);
    int64_t got = piece ? 1 : -ENOMEM;
    while (offset < end && got > 0) {
        size_t wanted = end - offset < PIECE_BYTES ? (size_t)(end - offset) : PIECE_BYTES;
        got = file_read(fd, piece, wanted, offset);
        int result = got > 0 ? file_write(fd, piece, (size_t)got, offset) : 0;
        if (result < 0)
            got = result;
        else
            offset += (uint64_t)got;
    }
    free(piece);
    return got < 0 ? (int)got : 0;
}

/* Looking for where in the active segment begins what no watermark says to be durable. */
struct unsettled {
    uint64_t durable; /* the highest watermark */
    uint64_t offset;
};

static bool unsettled_visit(void *context, const struct frame_header *header, uint64_t offset)
{
    struct unsettled *unsettled = context;
    if (!frame_holds_events(header))
        return true;
    if (header->first_seq > unsettled->durable)
        return false;
    unsettled->offset = offset + header->bytes;
    return true;
}

/* It is behind the frame with the last durable event, and not with the next event: a mark between the two may be in the
 * page cache alone, and the log would have a hole before the frames that are going to be written. `begin`: where
 * reading began. */
static enum tide_status unsettled_find(const struct recovery *recovery, uint64_t durable, struct log_reader *reader,
                                       uint64_t begin, uint64_t *offset, struct tide_error *error)
{
    struct unsettled unsettled = {.durable = durable, .offset = begin};
    struct frame_place place;
    if (frame_index_find(recovery->index, durable, &place) &&
        place.segment_first_seq == recovery->position.active_first_seq && place.offset > begin)
        begin = place.offset;
    enum tide_status status =
        log_reader_hop(reader, begin, recovery->position.offset, unsettled_visit, &unsettled, error);
    *offset = unsettled.offset;
    return status;
}

enum tide_status tail_settle(struct recovery *recovery, uint64_t durable, struct log_reader *reader, const char *name,
                             uint64_t begin, bool torn, struct tide_error *error)
{
    uint64_t unsettled = 0, end = recovery->position.offset;
    enum tide_status status =
        recovery->read_only ? TIDE_OK : unsettled_find(recovery, durable, reader, begin, &unsettled, error);
    if (status != TIDE_OK || (recovery->read_only && !torn))
        return status;
    char *path = file_path(recovery->directory, name);
    int fd = path ? file_open(path, recovery->read_only ? O_RDONLY : O_RDWR, 0) : -ENOMEM;
    free(path);
    if (fd < 0)
        return error_system(error, -fd, "%s/%s", recovery->directory, name);
    int result = 0;
    if (torn) {
        int64_t bytes = tail_bytes(fd, end);
        recovery->torn_bytes = bytes > 0 ? (uint64_t)bytes : 0;
        recovery->torn_seq = recovery->position.next_seq;
        result = bytes < 0 ? (int)bytes : 0;
    }
    if (result == 0 && torn && !recovery->read_only)
        result = file_truncate(fd, end);
    if (result == 0 && !recovery->read_only &&
        !PLANTED(11)) /* what a failed sync left in the page cache taken for durable */
        result = rewrite(fd, unsettled, end);
    if (result == 0 && !recovery->read_only)
        result = file_sync(fd);
    file_close(fd);
    if (result == 0 && !recovery->read_only && !PLANTED(14)) /* the names of a failed opening taken for durable */
        result = file_sync_directory(recovery->directory);
    return result < 0 ? error_system(error, -result, "%s/%s", recovery->directory, name) : TIDE_OK;
}
