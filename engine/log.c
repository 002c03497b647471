/* log.c - appending to the active segment, and sealing it.
 *
 * The active segment is preallocated some way ahead of its end, so that a write doesn't make the file longer, and what
 * was accepted has its place on the disk (space.c). That alone still lets the file system note, with the first sync of
 * each block, that it isn't empty any more; where syncs come for a few kilobytes each, that note costs as much as half
 * a sync. There zeros are written ahead, so that the frames overwrite what has been written before. A frame goes out
 * with one write. Where syncs are far apart the system is told every WRITE_BACK_BYTES to begin with what there is, or
 * the sync of a sealing would have a whole segment to write, and everybody would wait for it; where each batch is
 * synced the writer says so for its frames (log_write_back). For the same reason another thread syncs what lies behind
 * the last sync, every SYNC_AHEAD_BYTES (sync_ahead.h). Sealing, when the next frame would not fit:
 *
 *   create events.raftlog.next with its header, sync it; reserve as much as this segment has
 *   write a SEALED frame, sync, cut off what was preallocated; sync the directory
 *   rename events.raftlog to its sealed name, sync the directory
 *   rename events.raftlog.next to events.raftlog, sync the directory
 *
 * Between any two of these steps recovery knows what to do, and at no time may both names be lost: a directory without
 * events.raftlog and without .next was damaged by somebody else. */
#include "log.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <time.h>

#include "error.h"
#include "file.h"
#include "plant.h"
#include "segment.h"
#include "sync_ahead.h"

enum {
    SEALING_TRIES_A_SEGMENT = 16,
    ZEROS_BYTES = 512 << 10,     /* written ahead at a time */
    SMALL_SYNC_BYTES = 64 << 10, /* for more than this in a sync, writing everything twice costs more than it saves */
    SMALL_SYNCS = 8,             /* in a row before zeros are written ahead */
    WRITE_BACK_BYTES = 4 << 20,
    SYNC_AHEAD_BYTES = 32 << 20,
    PAGE_BYTES = 4096
};

struct log {
    char *directory, *active_path, *next_path;
    struct frame_index *index;
    uint8_t database_id[DATABASE_ID_BYTES];
    int fd;
    uint64_t segment_bytes;
    uint64_t offset;       /* where the next frame goes */
    uint64_t preallocated; /* up to here there is space */
    uint64_t seal_from;    /* the end before which no sealing is tried: the disk was full */
    uint64_t zeroed;       /* where the zeros written ahead end */
    uint64_t synced;       /* the offset at the last sync */
    uint64_t written_back; /* up to here the system was told to write, or has at the last sync */
    uint64_t asked_ahead;  /* up to here a sync was asked of `ahead`, or done at the last sync */
    struct sync_ahead ahead;
    unsigned small_syncs; /* in a row */
    uint64_t first_seq;   /* of the active segment */
    uint64_t next_seq;
    uint64_t durable;
    bool appended; /* frames since opening, or since the last end mark */
    struct log_figures figures;
    uint64_t sealed_bytes;
    struct chain chain;
    struct chain_hasher *hasher; /* NULL: frames are not chained */
};

static uint64_t now_us(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static void log_free(struct log *log)
{
    sync_ahead_destroy(&log->ahead);
    free(log->directory);
    free(log->active_path);
    free(log->next_path);
    chain_hasher_destroy(log->hasher);
    free(log);
}

/* Nothing before the offset is left to sync. */
static void synced_note(struct log *log)
{
    log->synced = log->written_back = log->asked_ahead = log->offset;
}

/* 0 or -ENOSPC, -EDQUOT: there is no space. */
static int preallocate(int fd, uint64_t end)
{
    int result = file_preallocate(fd, 0, end);
    return result == -ENOSPC || result == -EDQUOT ? result : 0;
}

enum tide_status log_reserve(struct log *log, uint64_t bytes, struct tide_error *error)
{
    uint64_t end = log->offset + bytes + MARK_BYTES_MAX;
    if (end <= log->preallocated)
        return TIDE_OK;
    int result = preallocate(log->fd, end);
    if (result == 0) {
        log->preallocated = end;
        return TIDE_OK;
    }
    /* Some file systems give what they have all the same. */
    file_truncate(log->fd, log->preallocated > log->offset ? log->preallocated : log->offset);
    return error_system(error, -result, "%s: cannot reserve %" PRIu64 " bytes", log->active_path, bytes);
}

uint64_t log_reserved(const struct log *log)
{
    uint64_t taken = log->offset + MARK_BYTES_MAX;
    return log->preallocated > taken ? log->preallocated - taken : 0;
}

enum tide_status log_open(const char *directory, const struct log_position *position, uint64_t segment_bytes,
                          struct frame_index *index, struct log **opened, struct tide_error *error)
{
    *opened = NULL;
    struct log *log = calloc(1, sizeof *log);
    if (!log)
        return error_set(error, TIDE_MEMORY, "out of memory");
    sync_ahead_init(&log->ahead);
    log->directory = file_path(directory, ".");
    log->active_path = file_path(directory, SEGMENT_ACTIVE_NAME);
    log->next_path = file_path(directory, SEGMENT_NEXT_NAME);
    if (position->hash_chain)
        log->hasher = chain_hasher_create();
    if (!log->directory || !log->active_path || !log->next_path || (position->hash_chain && !log->hasher)) {
        log_free(log);
        return error_set(error, TIDE_MEMORY, "out of memory");
    }
    log->directory[strlen(directory)] = 0;
    memcpy(log->database_id, position->database_id, DATABASE_ID_BYTES);
    log->index = index;
    log->segment_bytes = segment_bytes;
    log->offset = position->offset;
    synced_note(log);
    log->first_seq = position->active_first_seq;
    log->next_seq = position->next_seq;
    log->durable = position->next_seq - 1;
    log->sealed_bytes = position->sealed_bytes;
    log->chain = position->chain;
    log->figures.segments = position->sealed_count + 1;
    log->fd = file_open(log->active_path, O_RDWR, 0);
    if (log->fd < 0) {
        enum tide_status status = error_system(error, -log->fd, "%s", log->active_path);
        log_free(log);
        return status;
    }
    *opened = log;
    return TIDE_OK;
}

/* Writes zeros from `end`, where the next frame will end, on; they reach the disk with the next sync. */
static enum tide_status zeros_write(struct log *log, uint64_t end, struct tide_error *error)
{
    static const uint8_t zeros[ZEROS_BYTES];
    if (log->small_syncs < SMALL_SYNCS || end <= log->zeroed || end + ZEROS_BYTES > log->preallocated)
        return TIDE_OK;
    int result = file_write(log->fd, zeros, ZEROS_BYTES, end);
    if (result < 0)
        return error_system(error, -result, "%s: cannot write at offset %" PRIu64, log->active_path, end);
    log->zeroed = end + ZEROS_BYTES;
    return TIDE_OK;
}

/* What a frame has beside its payload. */
static size_t frame_overhead(const struct log *log)
{
    return FRAME_HEADER_BYTES + (log->hasher ? CHAIN_HASH_BYTES : 0);
}

void log_write_back(struct log *log)
{
    uint64_t end = log->offset & ~(uint64_t)(PAGE_BYTES - 1); /* the rest of the page follows with the next frame */
    if (end <= log->written_back)
        return;
    file_write_back(log->fd, log->written_back, end - log->written_back);
    log->written_back = end;
}

/* Writes a frame that is complete but for its header, and for its hash, which header->bytes leaves out. */
static enum tide_status frame_write(struct log *log, uint8_t *frame, struct frame_header *header,
                                    struct tide_error *error)
{
    header->durable = log->durable;
    if (log->hasher && !chain_encode(log->hasher, &log->chain, frame, header, log->database_id))
        return error_set(error, TIDE_MEMORY, "%s: out of memory for SHA-256", log->active_path);
    if (!log->hasher)
        frame_encode(frame, header, log->database_id);
    enum tide_status status = zeros_write(log, log->offset + header->bytes, error);
    if (status != TIDE_OK)
        return status;
    int result = file_write(log->fd, frame, header->bytes, log->offset);
    if (result < 0)
        return error_system(error, -result, "%s: cannot write at offset %" PRIu64, log->active_path, log->offset);
    log->offset += header->bytes;
    if (log->offset - log->written_back >= WRITE_BACK_BYTES)
        log_write_back(log);
    if (log->offset - log->asked_ahead >= SYNC_AHEAD_BYTES) {
        sync_ahead_request(&log->ahead, log->active_path);
        log->asked_ahead = log->offset;
    }
    if (log->hasher)
        chain_note(&log->chain, frame, header);
    log->appended = true;
    return TIDE_OK;
}

static enum tide_status mark_write(struct log *log, enum frame_kind kind, struct tide_error *error)
{
    uint8_t frame[MARK_BYTES_MAX];
    struct frame_header header = {.bytes = FRAME_HEADER_BYTES, .first_seq = log->next_seq, .kind = (uint8_t)kind};
    return frame_write(log, frame, &header, error);
}

enum tide_status log_sync(struct log *log, struct tide_error *error)
{
    uint64_t start_us = now_us(CLOCK_MONOTONIC);
    int result = file_sync(log->fd);
    if (PLANTED(2)) /* its error ignored */
        result = 0;
    if (PLANTED(3) && result < 0) /* tried again */
        result = file_sync(log->fd);
    if (result < 0)
        return error_system(error, -result, "%s: cannot sync", log->active_path);
    log->small_syncs = log->offset - log->synced <= SMALL_SYNC_BYTES ? log->small_syncs + 1 : 0;
    synced_note(log);
    log->figures.syncs++;
    log->figures.sync_us += now_us(CLOCK_MONOTONIC) - start_us;
    log->durable = log->next_seq - 1;
    return TIDE_OK;
}

/* A rename and the directory's sync, one step of sealing. */
static enum tide_status rename_durably(struct log *log, const char *from, const char *to, struct tide_error *error)
{
    int result = file_rename(from, to);
    if (result == 0 && !PLANTED(4)) /* the directory's sync forgotten */
        result = file_sync_directory(log->directory);
    return result < 0 ? error_system(error, -result, "%s: cannot rename to %s", from, to) : TIDE_OK;
}

/* Makes the next segment, with space for as much as this one has; *fd is its file. FULL: there is no space. */
static enum tide_status next_create(struct log *log, int *fd, struct tide_error *error)
{
    struct segment_header header = {.first_seq = log->next_seq, .created_us = now_us(CLOCK_REALTIME)};
    memcpy(header.database_id, log->database_id, DATABASE_ID_BYTES);
    enum tide_status status = segment_create(log->directory, SEGMENT_NEXT_NAME, &header, error);
    *fd = status == TIDE_OK ? file_open(log->next_path, O_RDWR, 0) : -1;
    if (status == TIDE_OK && *fd < 0)
        status = error_system(error, -*fd, "%s", log->next_path);
    int result = status == TIDE_OK ? preallocate(*fd, SEGMENT_HEADER_BYTES + log_reserved(log) + MARK_BYTES_MAX) : 0;
    if (result < 0)
        status = error_system(error, -result, "%s: cannot reserve space", log->next_path);
    if (status != TIDE_OK && *fd >= 0)
        file_close(*fd);
    if (status == TIDE_FULL)
        file_unlink(log->next_path); /* if that fails, too, the next opening does it */
    return status;
}

static enum tide_status segment_switch(struct log *log, struct tide_error *error)
{
    int result = file_sync_directory(log->directory);
    if (result < 0)
        return error_system(error, -result, "%s: cannot sync", log->directory);
    char name[SEGMENT_NAME_BYTES];
    segment_sealed_name(name, log->first_seq);
    char *sealed_path = file_path(log->directory, name);
    if (!sealed_path)
        return error_set(error, TIDE_MEMORY, "out of memory");
    enum tide_status status = rename_durably(log, log->active_path, sealed_path, error);
    free(sealed_path);
    if (status == TIDE_OK)
        status = rename_durably(log, log->next_path, log->active_path, error);
    return status;
}

/* `next_fd` is the next segment's, and the log's from now on. */
static enum tide_status log_seal(struct log *log, int next_fd, struct tide_error *error)
{
    uint64_t reserved = log_reserved(log);
    enum tide_status status = mark_write(log, FRAME_SEALED, error);
    if (status == TIDE_OK && !PLANTED(13)) /* sealed without a sync */
        status = log_sync(log, error);
    if (status == TIDE_OK) {
        file_truncate(log->fd, log->offset); /* only tidiness: zeros behind the mark do no harm */
        status = segment_switch(log, error);
    }
    file_close(log->fd);
    log->fd = next_fd;
    if (status != TIDE_OK)
        return status;
    frame_index_seal(log->index);
    if (frame_index_add_segment(log->index, log->next_seq) != TIDE_OK)
        return error_set(error, TIDE_MEMORY, "out of memory");
    log->sealed_bytes += log->offset;
    log->figures.segments++;
    log->first_seq = log->next_seq;
    log->offset = SEGMENT_HEADER_BYTES;
    synced_note(log);
    log->preallocated = SEGMENT_HEADER_BYTES + reserved + MARK_BYTES_MAX;
    log->zeroed = 0;
    log->seal_from = 0;
    return TIDE_OK;
}

enum tide_status log_roll(struct log *log, struct tide_error *error)
{
    int next_fd;
    if (log->next_seq == log->first_seq)
        return TIDE_OK;
    enum tide_status status = next_create(log, &next_fd, error);
    if (status == TIDE_OK)
        return log_seal(log, next_fd, error);
    if (status != TIDE_FULL)
        return status;
    /* This segment has the space, and grows beyond its size. */
    log->seal_from = log->offset + log->segment_bytes / SEALING_TRIES_A_SEGMENT;
    return TIDE_OK;
}

enum tide_status log_append(struct log *log, uint8_t *frame, size_t bytes, uint64_t first_seq, uint32_t events,
                            struct tide_error *error)
{
    size_t added = bytes - FRAME_HEADER_BYTES + 2 * frame_overhead(log); /* with the mark that a sealing would put */
    if (log->offset + added > log->segment_bytes && log->offset >= log->seal_from) {
        enum tide_status status = log_roll(log, error);
        if (status != TIDE_OK)
            return status;
    }
    struct frame_header header = {.bytes = (uint32_t)bytes, .events = events, .first_seq = first_seq};
    uint64_t offset = log->offset;
    enum tide_status status = frame_write(log, frame, &header, error);
    if (status != TIDE_OK)
        return status;
    log->next_seq = first_seq + events;
    if (PLANTED(1)) /* durable before its sync */
        log->durable = log->next_seq - 1;
    if (frame_index_add_frame(log->index, first_seq, offset) != TIDE_OK)
        return error_set(error, TIDE_MEMORY, "out of memory");
    return TIDE_OK;
}

uint64_t log_durable(const struct log *log)
{
    return log->durable;
}

void log_place(const struct log *log, uint8_t database_id[DATABASE_ID_BYTES], uint64_t *segment_first_seq,
               uint64_t *offset, struct chain *chain)
{
    memcpy(database_id, log->database_id, DATABASE_ID_BYTES);
    *segment_first_seq = log->first_seq;
    *offset = log->offset;
    *chain = log->chain;
}

void log_figures(const struct log *log, struct log_figures *figures)
{
    *figures = log->figures;
    figures->chain = log->chain;
    figures->bytes = log->sealed_bytes + log->offset;
}

enum tide_status log_close(struct log *log, bool clean, struct tide_error *error)
{
    enum tide_status status = TIDE_OK;
    if (clean && log->appended) {
        status = log_sync(log, error); /* before the mark, which says that all before it is durable */
        if (status == TIDE_OK)
            status = mark_write(log, FRAME_CLOSED, error);
        if (status == TIDE_OK)
            status = log_sync(log, error);
    }
    if (clean && status == TIDE_OK)
        file_truncate(log->fd, log->offset); /* as in log_seal */
    if (log->fd >= 0)
        file_close(log->fd);
    log_free(log);
    return status;
}
