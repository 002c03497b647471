/* recovery.c - reading the log when a database opens.
 *
 * The active segment is opened first, then the sealed ones before it are read in order, then the active one: if another
 * process seals meanwhile, what was opened is still the same file, and sealed files keep their names. Every segment
 * must begin with the seq after its predecessor's last, every frame with the seq after the frame before it.
 *
 * A sealed segment was synced as a whole, so anything wrong with one is damage. At the end of the active one tail.c
 * tells damage from what a crash has left.
 *
 * A snapshot (snapshot.c) takes the place of the events up to its seq: the newest one that is whole is loaded, and of
 * the log only what lies behind it is read. Sealed segments before that are looked at alone: whether they are there, of
 * this database, and end, by their last frame, where the next one begins. In the segment that goes on behind the
 * snapshot reading begins at the place that the snapshot names, if a frame with the right seq or the end is there, else
 * at its beginning. A snapshot was made when all events up to its seq were durable, so it counts like a watermark. It
 * is a help and never a need: one that is damaged, cut or foreign is counted and passed over. So is one that is newer
 * than the log, which somebody must have cut; it is set aside, since the log will go on with other events of its seqs.
 *
 * Creating a log and sealing a segment are done by renames (log.c); what an interrupted one left is finished here. */
#include "recovery.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <time.h>

#include "error.h"
#include "file.h"
#include "log_reader.h"
#include "plant.h"
#include "segment.h"
#include "tail.h"

static enum tide_status file_fault(const struct recovery *recovery, const char *name, int result,
                                   struct tide_error *error)
{
    return result < 0 ? error_system(error, -result, "%s/%s", recovery->directory, name) : TIDE_OK;
}

static uint64_t now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static enum tide_status next_becomes_active(const struct recovery *recovery, struct tide_error *error)
{
    char *next = file_path(recovery->directory, SEGMENT_NEXT_NAME);
    char *active = file_path(recovery->directory, SEGMENT_ACTIVE_NAME);
    int result = next && active ? file_rename(next, active) : -ENOMEM;
    if (result == 0)
        result = file_sync_directory(recovery->directory);
    free(next);
    free(active);
    return file_fault(recovery, SEGMENT_NEXT_NAME, result, error);
}

static enum tide_status next_remove(const struct recovery *recovery, struct tide_error *error)
{
    char *next = file_path(recovery->directory, SEGMENT_NEXT_NAME);
    int result = next ? file_unlink(next) : -ENOMEM;
    free(next);
    return file_fault(recovery, SEGMENT_NEXT_NAME, result, error);
}

static enum tide_status log_create(const struct recovery *recovery, struct tide_error *error)
{
    struct segment_header header = {.first_seq = 1};
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    header.created_us = (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
    if (getrandom(header.database_id, sizeof header.database_id, 0) != sizeof header.database_id)
        return error_system(error, errno, "%s: no randomness for the database id", recovery->directory);
    /* The directory may be one whose creation was interrupted, or was somebody else's: its name, too, must last. */
    int result =
        PLANTED(12) ? 0 : file_sync_ancestors(recovery->directory); /* the new directory's own name forgotten */
    enum tide_status status = file_fault(recovery, "..", result, error);
    if (status == TIDE_OK)
        status = segment_create(recovery->directory, SEGMENT_NEXT_NAME, &header, error);
    if (status == TIDE_OK)
        status = file_fault(recovery, ".", file_sync_directory(recovery->directory), error);
    return status == TIDE_OK ? next_becomes_active(recovery, error) : status;
}

/* ---- Reading ---- */

struct reading {
    struct recovery *recovery;
    uint64_t expected;            /* the seq that must come next */
    uint64_t durable;             /* the highest durable watermark of a frame read so far, or the snapshot's seq */
    uint64_t compacted;           /* up to here the log reached when what was read of it was compacted */
    struct snapshot_list list;    /* the snapshots there are */
    size_t candidate;             /* the first of them that wasn't found bad */
    struct snapshot_header start; /* of the one that was loaded; seq 0: none */
};

static enum tide_status frame_apply(struct reading *reading, const struct log_frame *frame, struct tide_error *error)
{
    struct recovery *recovery = reading->recovery;
    if (frame->header.durable > reading->durable)
        reading->durable = frame->header.durable;
    if (frame->header.kind == FRAME_SPARSE && frame->header.durable > reading->compacted)
        reading->compacted = frame->header.durable;
    recovery->clean_close = frame->header.kind == FRAME_CLOSED;
    chain_note(&recovery->position.chain, frame->bytes, &frame->header);
    reading->expected = frame_next_seq(frame->bytes, &frame->header);
    if (!frame_holds_events(&frame->header))
        return TIDE_OK;
    size_t offset = FRAME_HEADER_BYTES;
    const struct record *record;
    while ((record = log_frame_record(frame, &offset))) {
        if (record->seq <= reading->start.seq)
            continue;
        if (recovery->apply(recovery->context, record) != TIDE_OK)
            return error_set(error, TIDE_MEMORY, "%s: out of memory for the documents", recovery->directory);
        recovery->last_time_us = record->time_us;
    }
    recovery->events += frame->header.events;
    recovery->bytes += frame->header.bytes;
    if (frame_index_add_frame(recovery->index, frame->header.first_seq, frame->offset) != TIDE_OK)
        return error_set(error, TIDE_MEMORY, "out of memory");
    return TIDE_OK;
}

/* Checks that the segment is one of this database and begins where the one before it ended. */
static enum tide_status segment_join(struct reading *reading, const struct segment_header *header, const char *name,
                                     struct tide_error *error)
{
    struct recovery *recovery = reading->recovery;
    if (memcmp(recovery->position.database_id, header->database_id, DATABASE_ID_BYTES) != 0)
        return error_set(error, TIDE_CORRUPT, "%s/%s: a segment of another database", recovery->directory, name);
    if (header->first_seq > reading->expected)
        return error_set(error, TIDE_CORRUPT,
                         "%s: seqs %" PRIu64 " to %" PRIu64 " are missing: there is no segment before %s; see "
                         "tidemark repair",
                         recovery->directory, reading->expected, header->first_seq - 1, name);
    if (header->first_seq < reading->expected)
        return error_set(error, TIDE_CORRUPT, "%s/%s: begins with seq %" PRIu64 ", expected %" PRIu64,
                         recovery->directory, name, header->first_seq, reading->expected);
    if (frame_index_add_segment(recovery->index, header->first_seq) != TIDE_OK)
        return error_set(error, TIDE_MEMORY, "out of memory");
    return TIDE_OK;
}

/* Goes to where reading begins in a segment that was joined: its first frame, or the place behind the snapshot. */
static enum tide_status reading_begin(struct reading *reading, struct log_reader *reader, bool active, uint64_t *offset,
                                      struct tide_error *error)
{
    const struct snapshot_header *start = &reading->start;
    uint64_t first_seq = log_reader_header(reader)->first_seq, bytes;
    *offset = SEGMENT_HEADER_BYTES;
    if (start->seq == 0 || first_seq != start->segment_first_seq || start->segment_offset % FRAME_ALIGNMENT != 0)
        return TIDE_OK;
    enum tide_status status = log_reader_file_bytes(reader, &bytes, error);
    if (status != TIDE_OK || start->segment_offset > bytes || start->segment_offset < SEGMENT_HEADER_BYTES)
        return status;
    struct log_frame frame;
    log_reader_seek(reader, start->segment_offset);
    enum log_found found = log_reader_next(reader, &frame, error);
    if (found == LOG_FOUND_ERROR)
        return error->status;
    /* The end, but of the active segment alone: another may have been compacted, and end there by chance. */
    bool ends = found == LOG_FOUND_END && active;
    if (ends || (found == LOG_FOUND_FRAME && frame.header.first_seq == start->seq + 1)) {
        *offset = start->segment_offset;
        reading->expected = start->seq + 1;
        reading->recovery->position.chain = start->chain;
        frame_index_leave_out(reading->recovery->index, *offset);
    }
    log_reader_seek(reader, *offset);
    return TIDE_OK;
}

/* Passes over a sealed segment that the snapshot covers, if its last frame says that it ends where the next begins. */
static enum tide_status sealed_pass(struct reading *reading, struct log_reader *reader, uint64_t next_first_seq,
                                    bool *passed, struct tide_error *error)
{
    struct log_frame frame;
    uint64_t bytes;
    *passed = false;
    enum tide_status status = log_reader_file_bytes(reader, &bytes, error);
    if (status != TIDE_OK)
        return status;
    enum log_found found = log_reader_seal(reader, bytes, &frame, error);
    log_reader_seek(reader, SEGMENT_HEADER_BYTES);
    if (found == LOG_FOUND_ERROR)
        return error->status;
    *passed = found == LOG_FOUND_FRAME && frame.header.first_seq == next_first_seq;
    if (*passed) {
        chain_note(&reading->recovery->position.chain, frame.bytes, &frame.header);
        reading->expected = next_first_seq;
        reading->recovery->position.sealed_bytes += bytes;
        reading->recovery->position.sealed_count++;
        frame_index_leave_out(reading->recovery->index, bytes);
    }
    return TIDE_OK;
}

/* Reads frames as long as they are valid and in order. Returns what stands behind them, or ERROR with the error. */
static enum log_found frames_read(struct reading *reading, struct log_reader *reader, struct log_frame *frame,
                                  uint64_t *end, uint8_t *last_kind, struct tide_error *error)
{
    *last_kind = FRAME_EVENTS;
    for (;;) {
        enum log_found found = log_reader_next(reader, frame, error);
        if (found != LOG_FOUND_FRAME)
            return found;
        if (frame->header.first_seq != reading->expected)
            return LOG_FOUND_FRAME;
        if (frame_apply(reading, frame, error) != TIDE_OK)
            return LOG_FOUND_ERROR;
        *end = frame->offset + frame->header.bytes;
        *last_kind = frame->header.kind;
    }
}

static enum tide_status sealed_read(struct reading *reading, uint64_t first_seq, uint64_t next_first_seq,
                                    struct tide_error *error)
{
    struct recovery *recovery = reading->recovery;
    char name[SEGMENT_NAME_BYTES];
    segment_sealed_name(name, first_seq);
    struct log_reader *reader;
    struct tide_error local = {0};
    struct tide_error *told = error ? error : &local;
    enum tide_status status = log_reader_open(recovery->directory, name, &reader, told);
    if (status != TIDE_OK)
        return status;
    uint64_t end = SEGMENT_HEADER_BYTES;
    bool passed = false;
    status = segment_join(reading, log_reader_header(reader), name, told);
    if (status == TIDE_OK && first_seq != log_reader_header(reader)->first_seq) /* events would look for another name */
        status = error_set(told, TIDE_CORRUPT,
                           "%s/%s: begins with seq %" PRIu64 ", not as its name says; see tidemark repair",
                           recovery->directory, name, log_reader_header(reader)->first_seq);
    if (status == TIDE_OK && next_first_seq <= reading->start.seq + 1)
        status = sealed_pass(reading, reader, next_first_seq, &passed, told);
    else if (status == TIDE_OK)
        status = reading_begin(reading, reader, false, &end, told);
    if (status == TIDE_OK && !passed) {
        struct log_frame frame;
        uint8_t last_kind;
        enum log_found found = frames_read(reading, reader, &frame, &end, &last_kind, told);
        recovery->position.sealed_bytes += end;
        recovery->position.sealed_count++;
        if (found == LOG_FOUND_ERROR)
            status = told->status;
        else if (found != LOG_FOUND_END || last_kind != FRAME_SEALED)
            status = error_set(told, TIDE_CORRUPT,
                               "%s/%s: damaged at offset %" PRIu64 ": seqs %" PRIu64 " to %" PRIu64
                               " were durable; see tidemark repair",
                               recovery->directory, name, end, reading->expected,
                               next_first_seq > reading->expected ? next_first_seq - 1 : reading->expected);
    }
    frame_index_seal(recovery->index);
    log_reader_close(reader);
    return status;
}

static enum tide_status active_read(struct reading *reading, struct log_reader *reader, const char *name,
                                    struct tide_error *error)
{
    struct recovery *recovery = reading->recovery;
    struct tide_error local = {0};
    struct tide_error *told = error ? error : &local;
    enum tide_status status = segment_join(reading, log_reader_header(reader), name, told);
    uint64_t begin;
    if (status == TIDE_OK)
        status = reading_begin(reading, reader, true, &begin, told);
    if (status != TIDE_OK)
        return status;
    uint64_t end = begin;
    struct log_frame frame;
    uint8_t last_kind;
    enum log_found found = frames_read(reading, reader, &frame, &end, &last_kind, told);
    if (found == LOG_FOUND_ERROR)
        return told->status;
    recovery->position.offset = end;
    recovery->position.next_seq = reading->expected;
    if (PLANTED(10) && reading->expected > 1) /* a version given out twice */
        recovery->position.next_seq--;
    recovery->position.active_first_seq = log_reader_header(reader)->first_seq;
    if (!recovery->read_only && reading->expected > SEQ_WRITE_MAX)
        return error_set(told, TIDE_INVALID,
                         "%s/%s: goes on with seq %" PRIu64
                         ", and none above 2^61 can be written behind; it can be opened with read_only",
                         recovery->directory, name, reading->expected);
    bool torn = found != LOG_FOUND_END;
    if (torn)
        status = tail_judge(recovery, reading->durable, reader, found, &frame, told);
    else if (reading->compacted >= reading->expected)
        status = error_set(told, TIDE_CORRUPT,
                           "%s/%s: ends before seq %" PRIu64 ", but reached seq %" PRIu64
                           " when the segments before it were compacted; see tidemark repair",
                           recovery->directory, SEGMENT_ACTIVE_NAME, reading->expected, reading->compacted);
    if (status == TIDE_OK)
        status = tail_settle(recovery, reading->durable, reader, name, begin, torn, told);
    return status;
}

/* ---- The whole ---- */

/* Sees to it that there is an active segment, and opens it. *reader NULL with OK: an empty directory, read only. */
static enum tide_status active_open(struct recovery *recovery, struct log_reader **reader, const char **name,
                                    struct tide_error *error)
{
    enum { TRIES = 100 };
    *reader = NULL;
    *name = SEGMENT_ACTIVE_NAME;
    for (int i = 0;; i++) {
        struct segment_list list;
        enum tide_status status = segment_list_read(recovery->directory, &list, error);
        if (status != TIDE_OK)
            return status;
        bool active = list.active, next = list.next, sealed = list.sealed_count > 0;
        segment_list_free(&list);
        if (!active && !sealed && recovery->read_only)
            return TIDE_OK;
        if (!active && !sealed)
            status = log_create(recovery, error);
        else if (!active && next && !recovery->read_only)
            status = next_becomes_active(recovery, error);
        else if (active && next && !recovery->read_only)
            status = next_remove(recovery, error);
        if (status != TIDE_OK)
            return status;
        *name = !active && next && recovery->read_only ? SEGMENT_NEXT_NAME : SEGMENT_ACTIVE_NAME;
        status = log_reader_open(recovery->directory, *name, reader, error);
        if (status != TIDE_NOT_FOUND)
            return status;
        /* Another process is between its two renames, or somebody took the file away. */
        if (!recovery->read_only || i == TRIES)
            return error_set(error, TIDE_CORRUPT, "%s: %s is missing", recovery->directory, SEGMENT_ACTIVE_NAME);
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
}

static enum tide_status sealed_read_all(struct reading *reading, uint64_t active_first_seq, struct tide_error *error)
{
    struct segment_list list;
    enum tide_status status = segment_list_read(reading->recovery->directory, &list, error);
    if (status != TIDE_OK)
        return status;
    for (size_t i = 0; i < list.sealed_count && list.sealed[i] < active_first_seq && status == TIDE_OK; i++) {
        uint64_t next = i + 1 < list.sealed_count ? list.sealed[i + 1] : active_first_seq;
        status = sealed_read(reading, list.sealed[i], next < active_first_seq ? next : active_first_seq, error);
    }
    if (status == TIDE_OK && !reading->recovery->read_only && list.sealed_count > 0 &&
        list.sealed[list.sealed_count - 1] >= active_first_seq) {
        char name[SEGMENT_NAME_BYTES];
        segment_sealed_name(name, list.sealed[list.sealed_count - 1]);
        status = error_set(error, TIDE_CORRUPT,
                           "%s/%s: a sealed segment that is not before %s, which begins with seq %" PRIu64,
                           reading->recovery->directory, name, SEGMENT_ACTIVE_NAME, active_first_seq);
    }
    segment_list_free(&list);
    return status;
}

/* ---- Snapshots ---- */

/* Loads the newest snapshot that can be used. One that can't is counted and passed over, whatever is wrong with it. */
static enum tide_status snapshot_begin(struct reading *reading, struct tide_error *error)
{
    struct recovery *recovery = reading->recovery;
    uint64_t start_us = now_us();
    for (; reading->candidate < reading->list.count; reading->candidate++) {
        struct snapshot snapshot;
        enum tide_status status = snapshot_open(&snapshot, recovery->directory, reading->list.seqs[reading->candidate],
                                                recovery->position.database_id, error);
        bool loads = status == TIDE_OK;
        if (loads)
            status = recovery->load(recovery->context, &snapshot, error);
        if (status == TIDE_OK) {
            reading->start = snapshot.header;
            reading->durable = snapshot.header.seq;
            recovery->last_time_us = snapshot.header.last_time_us;
            recovery->position.chain = snapshot.header.chain; /* where it began; its head follows from what is read */
            recovery->snapshot = (struct tide_snapshot){
                .seq = snapshot.header.seq, .records = snapshot.trailer.records, .bytes = snapshot.bytes};
            recovery->snapshot_us = now_us() - start_us;
        }
        snapshot_close(&snapshot);
        if (status == TIDE_OK || status == TIDE_MEMORY)
            return status;
        recovery->snapshots_bad += status != TIDE_NOT_FOUND; /* another process has removed it */
        if (loads && (status = recovery->reset(recovery->context, error)) != TIDE_OK)
            return status;
    }
    return TIDE_OK;
}

/* The snapshot that was loaded is newer than the log: forgets what was read. For writing it is given another name,
 * since the log goes on with other events of the same seqs; that must be durable before they are. */
static enum tide_status snapshot_refuse(struct reading *reading, struct tide_error *error)
{
    struct recovery *recovery = reading->recovery;
    char name[SEGMENT_NAME_BYTES], aside[SEGMENT_NAME_BYTES + sizeof SNAPSHOT_ASIDE_PREFIX];
    snapshot_name(name, reading->start.seq);
    snprintf(aside, sizeof aside, "%s%s", SNAPSHOT_ASIDE_PREFIX, name);
    recovery->snapshots_bad++;
    reading->candidate++;
    frame_index_clear(recovery->index);
    enum tide_status status = recovery->reset(recovery->context, error);
    if (status != TIDE_OK || recovery->read_only)
        return status;
    char *from = file_path(recovery->directory, name), *to = file_path(recovery->directory, aside);
    int result = from && to ? file_rename(from, to) : -ENOMEM;
    if (result == 0)
        result = file_sync_directory(recovery->directory);
    free(from);
    free(to);
    return file_fault(recovery, name, result, error);
}

/* One that was not finished. If it can't be removed it does no harm, and the next snapshot is written over it. */
static void snapshot_temporary_remove(const struct recovery *recovery)
{
    char *path = file_path(recovery->directory, SNAPSHOT_TEMPORARY_NAME);
    if (path)
        file_unlink(path);
    free(path);
}

/* Reads snapshot and log once. *newer: the snapshot is of a seq that the log doesn't reach. */
static enum tide_status read_once(struct reading *reading, bool *newer, struct tide_error *error)
{
    struct recovery *recovery = reading->recovery;
    *newer = false;
    reading->expected = 1;
    reading->durable = reading->compacted = 0;
    reading->start = (struct snapshot_header){0};
    recovery->position = (struct log_position){.next_seq = 1, .offset = SEGMENT_HEADER_BYTES, .active_first_seq = 1};
    recovery->events = recovery->bytes = recovery->last_time_us = recovery->torn_bytes = recovery->torn_seq = 0;
    recovery->snapshot = (struct tide_snapshot){0};
    recovery->snapshot_us = 0;
    recovery->clean_close = false;
    struct log_reader *reader;
    const char *name;
    enum tide_status status = active_open(recovery, &reader, &name, error);
    if (status != TIDE_OK || !reader)
        return status;
    memcpy(recovery->position.database_id, log_reader_header(reader)->database_id, DATABASE_ID_BYTES);
    status = snapshot_begin(reading, error);
    if (status == TIDE_OK)
        status = sealed_read_all(reading, log_reader_header(reader)->first_seq, error);
    if (status == TIDE_OK)
        status = active_read(reading, reader, name, error);
    *newer = status == TIDE_OK && reading->expected <= reading->start.seq;
    log_reader_close(reader);
    recovery->position.hash_chain = recovery->position.chain.begun;
    return status;
}

static enum tide_status read_whole(struct recovery *recovery, struct tide_error *told)
{
    struct reading reading = {.recovery = recovery};
    bool newer = true;
    recovery->snapshots_bad = 0;
    /* Before the active segment is opened: another process may write, and a snapshot of its is no newer than the log
     * that we see afterwards. */
    enum tide_status status = snapshot_list_read(recovery->directory, &reading.list, told);
    if (status == TIDE_OK && reading.list.temporary && !recovery->read_only)
        snapshot_temporary_remove(recovery);
    while (status == TIDE_OK && newer) {
        status = read_once(&reading, &newer, told);
        if (status == TIDE_OK && newer)
            status = snapshot_refuse(&reading, told);
    }
    snapshot_list_free(&reading.list);
    return status;
}

/* The same without the lock, beside the writer of another process: a segment as it was and a later one as it was
 * compacted meanwhile are no log. The later one may have lost the deletion of a document that the early one still has,
 * or that a snapshot has. *again: that may have happened. */
static enum tide_status read_beside(struct recovery *recovery, bool *again, struct tide_error *told)
{
    struct segment_list list;
    enum tide_status status = segment_list_read(recovery->directory, &list, told);
    *again = false;
    if (status != TIDE_OK)
        return status;
    uint64_t before = segment_list_bytes(recovery->directory, &list);
    status = read_whole(recovery, told);
    *again = segment_list_bytes(recovery->directory, &list) != before;
    segment_list_free(&list);
    if (!*again)
        return status;
    frame_index_clear(recovery->index);
    return recovery->reset(recovery->context, told);
}

enum tide_status recovery_run(struct recovery *recovery, struct tide_error *error)
{
    enum { TRIES = 100 }; /* compactions that come in the middle of a reading, one after the other */
    struct tide_error local = {0};
    struct tide_error *told = error ? error : &local;
    if (!recovery->read_only)
        return read_whole(recovery, told);
    bool again = true;
    enum tide_status status = TIDE_OK;
    for (int i = 0; i < TRIES && again && status == TIDE_OK; i++)
        status = read_beside(recovery, &again, told);
    if (status == TIDE_OK && again)
        status = error_set(told, TIDE_BUSY, "%s is compacted again and again while it is read", recovery->directory);
    return status;
}
