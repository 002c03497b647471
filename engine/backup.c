/* backup.c - tide_backup: a copy of the log, in a directory that is itself a whole, closed database.
 *
 * The source may be written meanwhile. Its active segment is opened and copied first, up to the seq that the backup
 * shall hold, and ended with the mark of a clean close; so what the backup will be is known before anything in the
 * target is touched. Then the sealed segments before it are brought: one that the target has already, as its manifest
 * says, is only read there and compared; every other one is copied frame by frame, each frame checked. Copies are made
 * beside, synced, and renamed into their place, the active one last.
 *
 * So at any moment the target is one of these, and the next run makes it whole:
 *
 *   the old backup, perhaps with sealed segments that begin at or behind its active one's first seq: they are passed
 *   over until the new active one has taken the old one's place; then it is the new backup, whatever its manifest says
 *   so far. Nothing that the old one consists of was touched.
 *   marked incomplete: the first backup is under way, or segments had to be replaced or removed (the source was
 *   repaired, or what the target had was damaged). Should it be whole all the same, it counts as whole.
 *
 * The manifest is renewed after each segment, so that an interrupted run isn't for nothing. A run into which a
 * compaction of the source comes begins anew. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine.h"
#include "error.h"
#include "file.h"
#include "log_source.h"
#include "manifest.h"
#include "output.h"
#include "target.h"

#define ACTIVE_TEMPORARY_NAME "active.tmp"
#define SEGMENT_TEMPORARY_NAME "segment.tmp"

enum { PROGRESS_BYTES = 4 << 20 };

struct backup {
    const char *directory; /* of the source */
    uint64_t limit;        /* the seq to copy up to; UINT64_MAX: all that is there */
    const char *given;     /* the target, as it was given */
    char *target;          /* its real path */
    struct log_source source;
    struct manifest manifest; /* as it is in the target, or will be next */
    uint64_t source_bytes;    /* of its sealed segments, before the first was copied */
    bool again;               /* the source was compacted meanwhile */
    bool is_first;            /* the target is new */
    struct output output;     /* of a segment */
    struct output active;
    struct chain chain;                        /* as of the last frame of the active segment */
    uint64_t last_seq, time_seq, last_time_us; /* last_time_us belongs to the event time_seq */
    struct tide_backup_result *result;
    tide_progress_function *progress;
    void *context;
    uint64_t bytes_done, bytes_total, bytes_told;
};

static void tell_progress(struct backup *backup, uint64_t bytes)
{
    backup->bytes_done += bytes;
    if (backup->progress && backup->bytes_done - backup->bytes_told >= PROGRESS_BYTES) {
        backup->bytes_told = backup->bytes_done;
        backup->progress(backup->context, backup->bytes_done, backup->bytes_total);
    }
}

static enum tide_status target_fault(const struct backup *backup, const char *name, int result,
                                     struct tide_error *error)
{
    return result < 0 ? error_system(error, -result, "%s/%s", backup->target, name) : TIDE_OK;
}

/* ---- What the target is ---- */

struct listing {
    unsigned names; /* but for what an empty directory of ours may have */
    bool log;
    char foreign[256];
};

static void listing_visit(void *visitor, const char *name)
{
    static const char *const own[] = {ACTIVE_TEMPORARY_NAME, SEGMENT_TEMPORARY_NAME, MANIFEST_NAME, "repair.tmp"};
    struct listing *listing = visitor;
    if (strcmp(name, LOCK_NAME) == 0 || strcmp(name, MANIFEST_TEMPORARY_NAME) == 0)
        return;
    listing->names++;
    bool segment = strcmp(name, SEGMENT_ACTIVE_NAME) == 0 || strncmp(name, "events-", 7) == 0;
    listing->log |= segment;
    bool known = segment || strncmp(name, "removed-", 8) == 0;
    for (size_t i = 0; i < sizeof own / sizeof own[0]; i++)
        known |= strcmp(name, own[i]) == 0;
    if (!known)
        snprintf(listing->foreign, sizeof listing->foreign, "%s", name);
}

/* Refuses what isn't an earlier backup of the same database, or empty. Changes nothing. */
static enum tide_status target_examine(struct backup *backup, struct tide_error *error)
{
    struct listing listing = {0};
    int result = file_list(backup->given, listing_visit, &listing);
    manifest_free(&backup->manifest);
    backup->is_first = true;
    if (result == -ENOENT)
        return TIDE_OK;
    if (result < 0)
        return error_system(error, -result, "%s", backup->given);
    enum tide_status status = manifest_read(backup->given, &backup->manifest, error);
    if (status == TIDE_NOT_FOUND && listing.log)
        return error_set(error, TIDE_INVALID, "%s is a database and not a backup; choose another target",
                         backup->given);
    if (listing.foreign[0] && (status == TIDE_OK || status == TIDE_NOT_FOUND))
        return error_set(error, TIDE_INVALID, "%s holds %s, which is no part of a backup; choose another target",
                         backup->given, listing.foreign);
    if (status == TIDE_NOT_FOUND)
        return TIDE_OK; /* an empty directory, or a run that was interrupted before its first manifest */
    backup->is_first = false;
    if (status == TIDE_OK && memcmp(backup->manifest.database_id, backup->source.database_id, DATABASE_ID_BYTES) != 0)
        return error_set(error, TIDE_INVALID, "%s is a backup of another database; choose another target",
                         backup->given);
    return status;
}

/* ---- Copying ---- */

/* Copies a frame; notes the time of its last event. */
static enum tide_status frame_copy(struct backup *backup, struct output *output, const struct log_frame *frame,
                                   struct tide_error *error)
{
    size_t offset = FRAME_HEADER_BYTES;
    const struct record *record;
    while ((record = log_frame_record(frame, &offset))) {
        if (record->seq >= backup->time_seq) {
            backup->time_seq = record->seq;
            backup->last_time_us = record->time_us;
        }
    }
    tell_progress(backup, frame->header.bytes);
    return output_write(output, frame->bytes, frame->header.bytes, error);
}

static enum tide_status header_copy(struct backup *backup, struct output *output, struct tide_error *error)
{
    uint8_t bytes[SEGMENT_HEADER_BYTES];
    segment_header_encode(bytes, backup->source.header);
    return output_write(output, bytes, sizeof bytes, error);
}

/* The chain as of the mark before the active segment. */
static enum tide_status sealed_chain_find(struct backup *backup, struct tide_error *error)
{
    const struct log_source *source = &backup->source;
    if (source->sealed_count == 0)
        return TIDE_OK;
    struct log_reader *reader;
    struct log_frame frame;
    uint64_t bytes;
    char name[SEGMENT_NAME_BYTES];
    segment_sealed_name(name, source->sealed[source->sealed_count - 1]);
    enum tide_status status = log_reader_open(backup->directory, name, &reader, error);
    if (status == TIDE_OK)
        status = log_reader_file_bytes(reader, &bytes, error);
    enum log_found found = status == TIDE_OK ? log_reader_seal(reader, bytes, &frame, error) : LOG_FOUND_BAD;
    if (found == LOG_FOUND_FRAME)
        chain_note(&backup->chain, frame.bytes, &frame.header);
    else if (found == LOG_FOUND_ERROR)
        status = error->status;
    log_reader_close(reader);
    return status;
}

static enum tide_status end_mark_write(struct backup *backup, struct output *output, struct tide_error *error)
{
    uint8_t bytes[MARK_BYTES_MAX];
    const struct frame_header header = {
        .first_seq = backup->source.expected, .durable = backup->source.expected - 1, .kind = FRAME_CLOSED};
    enum tide_status status = backup->chain.begun ? TIDE_OK : sealed_chain_find(backup, error);
    if (status != TIDE_OK)
        return status;
    size_t length = chain_mark_encode(&backup->chain, bytes, &header, backup->source.database_id);
    if (length == 0)
        return error_set(error, TIDE_MEMORY, "out of memory for SHA-256");
    return output_write(output, bytes, length, error);
}

/* The active segment, up to the limit, into a file beside its place. */
static enum tide_status active_copy(struct backup *backup, struct tide_error *error)
{
    struct log_source *source = &backup->source;
    source->expected = source->active_first_seq;
    backup->chain = (struct chain){0};
    enum tide_status status = log_source_segment(source, source->sealed_count, error);
    if (status == TIDE_OK)
        status = output_create(&backup->active, backup->target, ACTIVE_TEMPORARY_NAME, error);
    if (status == TIDE_OK)
        status = header_copy(backup, &backup->active, error);
    struct log_frame frame;
    enum log_found found = LOG_FOUND_FRAME;
    while (status == TIDE_OK && source->expected <= backup->limit && found == LOG_FOUND_FRAME) {
        found = log_source_frame(source, &frame, error);
        if (found == LOG_FOUND_FRAME)
            status = frame_copy(backup, &backup->active, &frame, error);
        if (found == LOG_FOUND_FRAME)
            chain_note(&backup->chain, frame.bytes, &frame.header);
        else if (found == LOG_FOUND_ERROR)
            status = error->status;
    }
    if (status == TIDE_OK && source->expected <= backup->limit && backup->limit != UINT64_MAX)
        status = error_set(error, TIDE_CORRUPT, "%s/%s: seq %" PRIu64 " is not where it was written", backup->directory,
                           SEGMENT_ACTIVE_NAME, source->expected);
    if (status == TIDE_OK && source->last_kind != FRAME_CLOSED)
        status = end_mark_write(backup, &backup->active, error);
    /* What another process wrote may be in memory alone: a backup must never be ahead of its source. */
    int result = status == TIDE_OK && backup->limit == UINT64_MAX ? log_reader_sync(source->active) : 0;
    if (result < 0)
        status = error_system(error, -result, "%s/%s: cannot sync", backup->directory, SEGMENT_ACTIVE_NAME);
    if (status == TIDE_OK)
        status = output_finish(&backup->active, error);
    backup->last_seq = source->expected - 1;
    return status;
}

/* ---- Whether the source is still what the backup was made of ---- */

/* The time of the event `seq`, 0 where there is none. */
static enum tide_status time_find(struct backup *backup, uint64_t seq, uint64_t *time_us, struct tide_error *error)
{
    struct log_source *source = &backup->source;
    size_t i = source->sealed_count;
    while (i > 0 && (i == source->sealed_count ? source->active_first_seq : source->sealed[i]) > seq)
        i--;
    source->expected = i == source->sealed_count ? source->active_first_seq : source->sealed[i];
    *time_us = 0;
    enum tide_status status = log_source_segment(source, i, error);
    while (status == TIDE_OK && source->expected <= seq) {
        struct log_frame frame;
        enum log_found found = log_source_frame(source, &frame, error);
        if (found == LOG_FOUND_END)
            break;
        if (found == LOG_FOUND_ERROR)
            return error->status;
        size_t offset = FRAME_HEADER_BYTES;
        const struct record *record;
        while ((record = log_frame_record(&frame, &offset))) {
            if (record->seq == seq)
                *time_us = record->time_us;
        }
    }
    return status;
}

/* Seqs are given out again when a source has lost its newest events, or was restored: what the backup alone has would
 * be lost with it. */
static enum tide_status history_check(struct backup *backup, struct tide_error *error)
{
    const struct manifest *manifest = &backup->manifest;
    if (manifest->last_seq > backup->last_seq)
        return error_set(error, TIDE_INVALID,
                         "%s is newer than %s: it ends with seq %" PRIu64 ", the database with %" PRIu64
                         "; choose another target",
                         backup->given, backup->directory, manifest->last_seq, backup->last_seq);
    if (backup->is_first || manifest->last_time_us == 0)
        return TIDE_OK;
    uint64_t time_us;
    enum tide_status status = time_find(backup, manifest->last_seq, &time_us, error);
    if (status == TIDE_OK && time_us != 0 && time_us != manifest->last_time_us)
        status = error_set(error, TIDE_INVALID,
                           "%s and %s have gone different ways: their events of seq %" PRIu64
                           " differ; choose another target",
                           backup->given, backup->directory, manifest->last_seq);
    return status;
}

/* ---- Sealed segments ---- */

/* The CRC32C of a file of `bytes` bytes. 0 or -errno. */
static int checksum_of(struct backup *backup, int fd, uint64_t bytes, uint32_t *crc)
{
    enum { PIECE_BYTES = 1 << 20 };
    uint8_t *piece = malloc(PIECE_BYTES);
    int64_t got = piece ? 1 : -ENOMEM;
    *crc = 0;
    for (uint64_t offset = 0; offset < bytes && got > 0; offset += (uint64_t)got) {
        got = file_read(fd, piece, PIECE_BYTES, offset);
        if (got > 0) {
            *crc = crc32c_continue(*crc, piece, (size_t)got);
            tell_progress(backup, (uint64_t)got);
        }
    }
    free(piece);
    return got < 0 ? (int)got : 0;
}

/* The beginning and the end of a sealed segment, which tell one from every other: its header has the time of its
 * making, its last frame the seq behind it and a checksum. False: it isn't of this length. */
struct outline {
    uint8_t header[SEGMENT_HEADER_BYTES], last[MARK_BYTES_MAX];
};

/* Reads the mark at the end, which may have a hash. */
static bool outline_seal(const struct backup *backup, const struct outline *outline, struct frame_header *seal)
{
    const uint8_t *id = backup->source.database_id, *plain = outline->last + CHAIN_HASH_BYTES;
    return (frame_header_decode(outline->last, seal, id) || frame_header_decode(plain, seal, id)) &&
           seal->kind == FRAME_SEALED;
}

static int outline_read(int fd, uint64_t bytes, struct outline *outline, bool *fits)
{
    struct file_status found;
    int64_t result = file_stat_fd(fd, &found);
    *fits = result == 0 && found.bytes == bytes && bytes >= sizeof *outline;
    if (*fits)
        result = file_read(fd, outline->header, sizeof outline->header, 0);
    if (*fits && result >= 0)
        result = file_read(fd, outline->last, sizeof outline->last, bytes - sizeof outline->last);
    return result < 0 ? (int)result : 0;
}

static int segment_fd(const char *directory, const char *name)
{
    char *path = file_path(directory, name);
    int fd = path ? file_open(path, O_RDONLY, 0) : -ENOMEM;
    free(path);
    return fd;
}

/* Whether the target has the segment as the source has it and as its manifest says; *next_seq: behind it. What cannot
 * be read of either is for the copying to tell. */
static bool segment_is_there(struct backup *backup, const char *name, uint64_t *next_seq)
{
    const struct manifest_file *entry = manifest_find(&backup->manifest, name);
    if (!entry)
        return false;
    struct outline source, target;
    struct frame_header last;
    uint32_t crc = 0;
    int from = segment_fd(backup->directory, name), to = segment_fd(backup->target, name);
    bool fits = from >= 0 && to >= 0;
    if (fits && outline_read(from, entry->bytes, &source, &fits) != 0)
        fits = false;
    if (fits && outline_read(to, entry->bytes, &target, &fits) != 0)
        fits = false;
    fits = fits && memcmp(&source, &target, sizeof source) == 0 && outline_seal(backup, &source, &last);
    fits = fits && checksum_of(backup, to, entry->bytes, &crc) == 0 && crc == entry->crc;
    if (fits)
        *next_seq = last.first_seq;
    if (from >= 0)
        file_close(from);
    if (to >= 0)
        file_close(to);
    return fits;
}

static enum tide_status segment_copy(struct backup *backup, size_t i, struct tide_error *error)
{
    struct log_source *source = &backup->source;
    enum tide_status status = log_source_segment(source, i, error);
    if (status == TIDE_OK)
        status = output_create(&backup->output, backup->target, SEGMENT_TEMPORARY_NAME, error);
    if (status == TIDE_OK)
        status = header_copy(backup, &backup->output, error);
    while (status == TIDE_OK) {
        struct log_frame frame;
        enum log_found found = log_source_frame(source, &frame, error);
        if (found == LOG_FOUND_END)
            break;
        status = found == LOG_FOUND_FRAME ? frame_copy(backup, &backup->output, &frame, error) : error->status;
    }
    return status == TIDE_OK ? output_finish(&backup->output, error) : status;
}

/* The target is about to lose something that it consists of. */
static enum tide_status mark_incomplete(struct backup *backup, struct tide_error *error)
{
    if (!backup->manifest.complete)
        return TIDE_OK;
    backup->manifest.complete = false;
    return manifest_write(backup->target, &backup->manifest, error);
}

static enum tide_status temporary_becomes(struct backup *backup, const char *temporary, const char *name,
                                          const struct output *output, struct tide_error *error)
{
    struct manifest_file file = {.bytes = output->bytes, .crc = output->crc};
    strcpy(file.name, name);
    char *from = file_path(backup->target, temporary), *to = file_path(backup->target, name);
    int result = from && to ? file_rename(from, to) : -ENOMEM;
    if (result == 0)
        result = file_sync_directory(backup->target);
    free(from);
    free(to);
    backup->result->files_copied++;
    backup->result->bytes_copied += output->bytes;
    enum tide_status status = target_fault(backup, name, result, error);
    return status == TIDE_OK ? manifest_set(&backup->manifest, &file, error) : status;
}

/* Sees to it that the target has sealed segment `i`. */
static enum tide_status segment_bring(struct backup *backup, size_t i, struct tide_error *error)
{
    struct file_status found;
    char name[SEGMENT_NAME_BYTES];
    segment_sealed_name(name, backup->source.sealed[i]);
    if (backup->source.sealed[i] == backup->source.expected && segment_is_there(backup, name, &backup->source.expected))
        return TIDE_OK;
    char *path = file_path(backup->target, name);
    int result = path ? file_stat(path, &found) : -ENOMEM;
    free(path);
    if (result < 0 && result != -ENOENT)
        return target_fault(backup, name, result, error);
    enum tide_status status = segment_copy(backup, i, error);
    if (status == TIDE_OK && result == 0)
        status = mark_incomplete(backup, error);
    if (status == TIDE_OK)
        status = temporary_becomes(backup, SEGMENT_TEMPORARY_NAME, name, &backup->output, error);
    return status == TIDE_OK ? manifest_write(backup->target, &backup->manifest, error) : status;
}

/* ---- The whole ---- */

static bool is_in_source(const struct log_source *source, uint64_t first_seq)
{
    for (size_t i = 0; i < source->sealed_count; i++) {
        if (source->sealed[i] == first_seq)
            return true;
    }
    return false;
}

/* Removes the sealed segments that the source doesn't have. With `look`: only marks the backup, if there are any. */
static enum tide_status obsolete_remove(struct backup *backup, bool look, struct tide_error *error)
{
    struct segment_list list;
    enum tide_status status = segment_list_read(backup->target, &list, error);
    bool any = false;
    for (size_t i = 0; i < list.sealed_count && status == TIDE_OK; i++) {
        char name[SEGMENT_NAME_BYTES];
        segment_sealed_name(name, list.sealed[i]);
        if (is_in_source(&backup->source, list.sealed[i]))
            continue;
        any = true;
        char *path = look ? NULL : file_path(backup->target, name);
        int result = look ? 0 : path ? file_unlink(path) : -ENOMEM;
        free(path);
        status = target_fault(backup, name, result, error);
        struct manifest_file *entry = look ? NULL : manifest_find(&backup->manifest, name);
        if (entry)
            manifest_remove(&backup->manifest, entry);
    }
    segment_list_free(&list);
    if (status == TIDE_OK && any)
        status = look ? mark_incomplete(backup, error)
                      : target_fault(backup, ".", file_sync_directory(backup->target), error);
    return status;
}

static uint64_t source_bytes(const struct backup *backup)
{
    const struct segment_list list = {.sealed = backup->source.sealed, .sealed_count = backup->source.sealed_count};
    return segment_list_bytes(backup->directory, &list);
}

/* For the progress: what there is to copy or to compare. */
static void sizes_add(struct backup *backup)
{
    struct file_status found;
    for (size_t i = 0; i <= backup->source.sealed_count; i++) {
        char name[SEGMENT_NAME_BYTES] = SEGMENT_ACTIVE_NAME;
        if (i < backup->source.sealed_count)
            segment_sealed_name(name, backup->source.sealed[i]);
        char *path = file_path(backup->directory, name);
        if (path && file_stat(path, &found) == 0)
            backup->bytes_total += found.bytes;
        free(path);
    }
}

/* A compaction that came between makes of what was brought no log: a segment as it was, and a later one that may have
 * lost the deletion of a document that the early one still has; or one that relies on events behind the backup's end.
 */
static bool compacted_meanwhile(const struct backup *backup)
{
    return backup->source.compacted > backup->last_seq || source_bytes(backup) != backup->source_bytes;
}

static enum tide_status segments_bring(struct backup *backup, struct tide_error *error)
{
    struct log_source *source = &backup->source;
    enum tide_status status = TIDE_OK;
    if (!backup->manifest.complete) /* the directory's own name may not be durable, whoever has made it */
        status = target_fault(backup, "..", file_sync_ancestors(backup->target), error);
    if (status == TIDE_OK && backup->is_first) {
        memcpy(backup->manifest.database_id, source->database_id, DATABASE_ID_BYTES);
        status = manifest_write(backup->target, &backup->manifest, error);
    }
    source->expected = 1;
    for (size_t i = 0; i < source->sealed_count && status == TIDE_OK; i++)
        status = segment_bring(backup, i, error);
    if (status == TIDE_OK && source->expected != source->active_first_seq)
        status = error_set(error, TIDE_CORRUPT, "%s: seqs %" PRIu64 " to %" PRIu64 " are missing; see tidemark repair",
                           backup->directory, source->expected, source->active_first_seq - 1);
    if (status == TIDE_OK && compacted_meanwhile(backup)) {
        backup->again = true;
        return error_set(error, TIDE_BUSY, "%s is compacted again and again while it is copied", backup->directory);
    }
    if (status == TIDE_OK)
        status = obsolete_remove(backup, true, error);
    if (status == TIDE_OK)
        status = temporary_becomes(backup, ACTIVE_TEMPORARY_NAME, SEGMENT_ACTIVE_NAME, &backup->active, error);
    return status == TIDE_OK ? obsolete_remove(backup, false, error) : status;
}

/* With the target locked. */
static enum tide_status backup_locked(struct backup *backup, uint64_t time_us, struct tide_error *error)
{
    enum tide_status status = target_examine(backup, error); /* once more: it may have been another run's */
    if (status == TIDE_OK)
        status = active_copy(backup, error);
    if (status == TIDE_OK)
        status = history_check(backup, error);
    if (status == TIDE_OK)
        status = segments_bring(backup, error);
    if (status != TIDE_OK)
        return status;
    struct manifest *manifest = &backup->manifest;
    if (backup->time_seq != backup->last_seq && manifest->last_seq != backup->last_seq)
        backup->last_time_us = 0;
    else if (backup->time_seq != backup->last_seq)
        backup->last_time_us = manifest->last_time_us;
    manifest->complete = true;
    manifest->last_seq = backup->last_seq;
    manifest->last_time_us = backup->last_time_us;
    manifest->time_us = time_us;
    *backup->result = (struct tide_backup_result){.seq = backup->last_seq,
                                                  .time_us = time_us,
                                                  .files = manifest->count,
                                                  .files_copied = backup->result->files_copied,
                                                  .bytes_copied = backup->result->bytes_copied};
    for (size_t i = 0; i < manifest->count; i++)
        backup->result->bytes += manifest->files[i].bytes;
    return manifest_write(backup->target, manifest, error);
}

static void temporary_remove(const struct backup *backup, const char *name)
{
    char *path = backup->target ? file_path(backup->target, name) : NULL;
    if (path)
        file_unlink(path); /* mostly there is none */
    free(path);
}

/* One try, with the target locked. */
static enum tide_status backup_try(struct backup *backup, uint64_t time_us, struct tide_error *error)
{
    backup->output.fd = backup->active.fd = -1;
    backup->again = false;
    backup->bytes_done = backup->bytes_total = backup->bytes_told = 0;
    backup->source_bytes = source_bytes(backup);
    sizes_add(backup);
    enum tide_status status = backup_locked(backup, time_us, error);
    output_abandon(&backup->output);
    output_abandon(&backup->active);
    if (status != TIDE_OK) {
        temporary_remove(backup, ACTIVE_TEMPORARY_NAME);
        temporary_remove(backup, SEGMENT_TEMPORARY_NAME);
    }
    return status;
}

static enum tide_status backup_run(struct backup *backup, struct tide_error *error)
{
    enum { TRIES = 100 }; /* compactions that come in the middle, one after the other */
    uint64_t time_us = clock_real_us();
    int lock = -1;
    *backup->result = (struct tide_backup_result){0};
    enum tide_status status = log_source_open(&backup->source, backup->directory, error);
    if (status == TIDE_OK)
        status = target_check_apart(backup->directory, backup->given, true, error);
    if (status == TIDE_OK)
        status = target_examine(backup, error);
    if (status == TIDE_OK) {
        int result = file_make_directories(backup->given);
        backup->target = result == 0 ? file_real_path(backup->given) : NULL;
        if (!backup->target)
            status = error_system(error, result < 0 ? -result : errno, "%s: cannot make the directory", backup->given);
    }
    if (status == TIDE_OK) /* once more: ".." behind a directory that was missing leads anywhere */
        status = target_check_apart(backup->directory, backup->target, true, error);
    if (status == TIDE_OK)
        status = target_lock(backup->target, true, &lock, error);
    if (status == TIDE_OK)
        status = backup_try(backup, time_us, error);
    for (int i = 1; i < TRIES && status != TIDE_OK && backup->again; i++) {
        log_source_close(&backup->source);
        backup->limit = UINT64_MAX; /* the compaction needs what came behind the old limit */
        status = log_source_open(&backup->source, backup->directory, error);
        if (status == TIDE_OK)
            status = backup_try(backup, time_us, error);
    }
    if (lock >= 0)
        file_close(lock);
    log_source_close(&backup->source);
    manifest_free(&backup->manifest);
    free(backup->target);
    return status;
}

enum tide_status tide_backup_directory(const char *directory, const char *target, struct tide_backup_result *result,
                                       tide_progress_function *progress, void *context, struct tide_error *error)
{
    struct tide_error local = {0};
    struct backup backup = {.directory = directory,
                            .limit = UINT64_MAX,
                            .given = target,
                            .result = result,
                            .progress = progress,
                            .context = context};
    return backup_run(&backup, error ? error : &local);
}

enum tide_status tide_backup(struct tide_engine *engine, const char *target, struct tide_backup_result *result,
                             tide_progress_function *progress, void *context, struct tide_error *error)
{
    struct tide_error local = {0};
    struct tide_error *told = error ? error : &local;
    char *directory = strdup(engine->directory); /* the engine may be closed meanwhile */
    if (!directory)
        return error_set(told, TIDE_MEMORY, "out of memory");
    struct backup backup = {.directory = directory,
                            .limit = UINT64_MAX,
                            .given = target,
                            .result = result,
                            .progress = progress,
                            .context = context};
    enum tide_status status = TIDE_OK;
    if (!engine->options.read_only)
        status = tide_flush(engine, TIDE_NO_TIMEOUT, &backup.limit, told);
    if (status == TIDE_OK)
        status = backup_run(&backup, told);
    free(directory);
    return status;
}
