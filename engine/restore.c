/* restore.c - tide_restore: a database out of a backup, whole or as of a seq or a time.
 *
 * The log is read and checked frame by frame, and written into a directory beside the wanted one, DIR.restoring. When
 * all of it is there, synced, that is renamed to DIR: the database appears whole or not at all. What an interrupted run
 * left in DIR.restoring the next one removes.
 *
 * A whole restore copies segments and frames as they are; the database keeps its id, and is, as far as backups are
 * concerned, the one that it was. One up to a seq or a time ends within some frame: that frame is written anew with the
 * records that stay, its segment becomes the active one, and behind it comes the mark of a clean close. The seqs behind
 * will be given out again, with other events. So that nothing takes this database for the other, it gets a new id,
 * which is in each segment's header and each frame: all frames get a new header and checksum. The hashes of a chained
 * log, which begin with the id, are computed anew: the chain vouches for what this database holds from now on, and no
 * hash of the other's is among them. What a compaction has made of older states is not enough to go back to one: that
 * is refused. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "chain.h"
#include "error.h"
#include "file.h"
#include "log_source.h"
#include "manifest.h"
#include "output.h"
#include "target.h"

#define RESTORING_SUFFIX ".restoring"
#define SEGMENT_TEMPORARY_NAME "segment.tmp"

enum { PROGRESS_BYTES = 4 << 20, TIME_TEXT_BYTES = 40 };

struct restore {
    const char *backup;
    char *directory, *temporary;
    struct log_source source;
    struct manifest manifest;
    bool has_manifest;
    uint64_t to_seq, to_time_us; /* UINT64_MAX: not wanted */
    bool branches;               /* one of them is wanted */
    bool done;                   /* what comes now is left out */
    size_t segment;              /* that is being copied */
    uint8_t database_id[DATABASE_ID_BYTES];
    struct output output;
    uint8_t *frame; /* room for one that is written anew */
    size_t frame_capacity;
    struct chain chain;          /* as of the last frame written */
    struct chain_hasher *hasher; /* NULL: no frame was chained anew so far */
    uint8_t last_kind;           /* of the last frame written */
    uint64_t next_seq;           /* behind it */
    uint64_t event_seq;          /* of the last event written */
    uint64_t first_time_us;      /* of the first event in the backup */
    struct tide_restore_result *result;
    tide_progress_function *progress;
    void *context;
    uint64_t bytes_done, bytes_total, bytes_told;
};

static const char *time_text(uint64_t time_us, char text[TIME_TEXT_BYTES])
{
    time_t seconds = (time_t)(time_us / 1000000);
    struct tm parts;
    size_t length = gmtime_r(&seconds, &parts) ? strftime(text, TIME_TEXT_BYTES, "%Y-%m-%dT%H:%M:%S", &parts) : 0;
    snprintf(text + length, TIME_TEXT_BYTES - length, ".%06uZ", (unsigned)(time_us % 1000000));
    return text;
}

static enum tide_status directory_fault(const char *directory, int result, struct tide_error *error)
{
    return result < 0 ? error_system(error, -result, "%s", directory) : TIDE_OK;
}

/* ---- What may be restored ---- */

/* What the manifest alone tells. */
static enum tide_status wish_check(struct restore *restore, struct tide_error *error)
{
    char wanted[TIME_TEXT_BYTES], taken[TIME_TEXT_BYTES];
    const struct manifest *manifest = &restore->manifest;
    if (!restore->has_manifest || !manifest->complete)
        return TIDE_OK;
    if (restore->to_time_us != UINT64_MAX && restore->to_time_us > manifest->time_us)
        return error_set(error, TIDE_INVALID, "%s was made at %s: it doesn't know the state at %s", restore->backup,
                         time_text(manifest->time_us, taken), time_text(restore->to_time_us, wanted));
    return TIDE_OK;
}

/* Of states before a compaction only the newest is known: it removed what was nobody's newest any more. Reads on, to
 * tell the first seq whose state can be had. */
static enum tide_status compacted_refuse(struct restore *restore, uint64_t last_seq, struct tide_error *error)
{
    struct log_source *source = &restore->source;
    for (size_t i = restore->segment;;) {
        struct log_frame frame;
        enum log_found found;
        do
            found = log_source_frame(source, &frame, error);
        while (found == LOG_FOUND_FRAME);
        if (found == LOG_FOUND_ERROR)
            return error->status;
        if (i == source->sealed_count)
            break;
        enum tide_status status = log_source_segment(source, ++i, error);
        if (status != TIDE_OK)
            return status;
    }
    return error_set(error, TIDE_INVALID,
                     "%s was compacted: it knows the states from seq %" PRIu64 " on, and not that of seq %" PRIu64,
                     restore->backup, source->compacted, last_seq);
}

/* With all read that was wanted. */
static enum tide_status outcome_check(struct restore *restore, struct tide_error *error)
{
    char wanted[TIME_TEXT_BYTES], first[TIME_TEXT_BYTES];
    uint64_t last_seq = restore->next_seq - 1;
    const struct manifest *manifest = &restore->manifest;
    bool whole = restore->to_seq == UINT64_MAX ? !restore->done : last_seq < restore->to_seq;
    /* Removed events have no times: a time is known as far as there are events. */
    uint64_t known_seq = restore->to_time_us == UINT64_MAX ? last_seq : restore->event_seq;
    if (restore->done && restore->source.compacted > known_seq)
        return compacted_refuse(restore, known_seq, error);
    if (restore->source.compacted > last_seq)
        return error_set(error, TIDE_CORRUPT,
                         "%s ends with seq %" PRIu64 ", but reached seq %" PRIu64
                         " when it was compacted: events are missing",
                         restore->backup, last_seq, restore->source.compacted);
    if (whole && restore->has_manifest && last_seq < manifest->last_seq)
        return error_set(error, TIDE_CORRUPT,
                         "%s ends with seq %" PRIu64 ", its manifest says %" PRIu64
                         ": events are missing; tidemark backup completes it, --to-seq takes what is there",
                         restore->backup, last_seq, manifest->last_seq);
    if (restore->to_seq != UINT64_MAX && last_seq < restore->to_seq)
        return error_set(error, TIDE_INVALID, "%s has no seq %" PRIu64 ": it holds 1 to %" PRIu64, restore->backup,
                         restore->to_seq, last_seq);
    if (restore->to_time_us != UINT64_MAX && last_seq == 0)
        return error_set(error, TIDE_INVALID, "%s has nothing as old as %s: its first event is of %s", restore->backup,
                         time_text(restore->to_time_us, wanted), time_text(restore->first_time_us, first));
    return TIDE_OK;
}

/* ---- Copying ---- */

static bool record_stays(const struct restore *restore, const struct record *record)
{
    return record->seq <= restore->to_seq && record->time_us <= restore->to_time_us;
}

/* Writes a frame as it is. */
static enum tide_status frame_keep(struct restore *restore, const struct log_frame *frame, struct tide_error *error)
{
    chain_note(&restore->chain, frame->bytes, &frame->header);
    return output_write(&restore->output, frame->bytes, frame->header.bytes, error);
}

/* Writes a frame with the database's new id. `bytes` of it stay, its hash apart, with `events` records. */
static enum tide_status frame_rewrite(struct restore *restore, const struct log_frame *frame, size_t bytes,
                                      uint32_t events, struct tide_error *error)
{
    size_t needed = bytes + CHAIN_HASH_BYTES;
    if (needed > restore->frame_capacity) {
        uint8_t *grown = realloc(restore->frame, needed);
        if (!grown)
            return error_set(error, TIDE_MEMORY, "out of memory for a frame of %zu bytes", bytes);
        restore->frame = grown;
        restore->frame_capacity = needed;
    }
    struct frame_header header = frame->header;
    header.bytes = (uint32_t)bytes;
    header.events = events;
    memcpy(restore->frame, frame->bytes, bytes);
    if (header.chained && !restore->hasher)
        restore->hasher = chain_hasher_create();
    if (!header.chained)
        frame_encode(restore->frame, &header, restore->database_id);
    else if (!restore->hasher ||
             !chain_encode(restore->hasher, &restore->chain, restore->frame, &header, restore->database_id))
        return error_set(error, TIDE_MEMORY, "out of memory for SHA-256");
    chain_note(&restore->chain, restore->frame, &header);
    return output_write(&restore->output, restore->frame, header.bytes, error);
}

/* Of a frame of events, what stays. */
static enum tide_status events_copy(struct restore *restore, const struct log_frame *frame, struct tide_error *error)
{
    bool sparse = frame->header.kind == FRAME_SPARSE; /* taken whole or, for outcome_check to refuse, not at all */
    uint64_t next_seq = frame_next_seq(frame->bytes, &frame->header);
    size_t offset = FRAME_HEADER_BYTES, end = offset;
    uint32_t events = 0;
    const struct record *record;
    if (sparse && next_seq - 1 > restore->to_seq) {
        restore->next_seq = restore->to_seq + 1;
        restore->done = true;
    }
    while ((record = log_frame_record(frame, &offset)) && !restore->done) {
        if (restore->first_time_us == 0)
            restore->first_time_us = record->time_us;
        restore->done = !record_stays(restore, record);
        if (restore->done)
            break;
        events++;
        end = offset;
        restore->next_seq = record->seq + 1;
        restore->event_seq = record->seq;
        restore->result->last_time_us = record->time_us;
    }
    if (!restore->done) {
        restore->next_seq = next_seq;
        end = frame_payload_end(&frame->header);
    }
    if (end == FRAME_HEADER_BYTES || (sparse && restore->done))
        return TIDE_OK;
    restore->last_kind = frame->header.kind;
    return restore->branches ? frame_rewrite(restore, frame, end, events, error) : frame_keep(restore, frame, error);
}

/* Of a gap, the part up to the wanted seq. */
static enum tide_status gap_copy(struct restore *restore, const struct log_frame *frame, struct tide_error *error)
{
    uint8_t bytes[FRAME_GAP_BYTES];
    struct log_frame cut = *frame;
    uint64_t last = frame_gap_last_seq(frame->bytes);
    if (last > restore->to_seq)
        last = restore->to_seq;
    frame_gap_encode(bytes, frame->header.first_seq, last, frame->header.durable, restore->database_id);
    restore->next_seq = last + 1;
    restore->last_kind = FRAME_GAP;
    cut.bytes = bytes;
    return restore->branches ? frame_rewrite(restore, &cut, sizeof bytes, 0, error) : frame_keep(restore, frame, error);
}

static enum tide_status frame_copy(struct restore *restore, const struct log_frame *frame, struct tide_error *error)
{
    restore->bytes_done += frame->header.bytes;
    if (restore->progress && restore->bytes_done - restore->bytes_told >= PROGRESS_BYTES) {
        restore->bytes_told = restore->bytes_done;
        restore->progress(restore->context, restore->bytes_done, restore->bytes_total);
    }
    if (frame_holds_events(&frame->header))
        return events_copy(restore, frame, error);
    if (frame->header.kind == FRAME_GAP)
        return gap_copy(restore, frame, error);
    restore->last_kind = frame->header.kind;
    return restore->branches ? frame_rewrite(restore, frame, frame_payload_end(&frame->header), 0, error)
                             : frame_keep(restore, frame, error);
}

static enum tide_status end_mark_write(struct restore *restore, struct tide_error *error)
{
    uint8_t bytes[MARK_BYTES_MAX];
    const struct frame_header header = {
        .first_seq = restore->next_seq, .durable = restore->next_seq - 1, .kind = FRAME_CLOSED};
    size_t length = chain_mark_encode(&restore->chain, bytes, &header, restore->database_id);
    if (length == 0)
        return error_set(error, TIDE_MEMORY, "out of memory for SHA-256");
    return output_write(&restore->output, bytes, length, error);
}

static enum tide_status segment_name(struct restore *restore, const char *name, struct tide_error *error)
{
    char *from = file_path(restore->temporary, SEGMENT_TEMPORARY_NAME), *to = file_path(restore->temporary, name);
    int result = from && to ? file_rename(from, to) : -ENOMEM;
    free(from);
    free(to);
    restore->result->files++;
    restore->result->bytes += restore->output.bytes;
    return directory_fault(restore->temporary, result, error);
}

/* Copies segment `i`; it is the active one of the new database when it is the source's, or what is left out begins in
 * it. */
static enum tide_status segment_copy(struct restore *restore, size_t i, struct tide_error *error)
{
    struct log_source *source = &restore->source;
    enum tide_status status = log_source_segment(source, i, error);
    if (status == TIDE_OK)
        status = output_create(&restore->output, restore->temporary, SEGMENT_TEMPORARY_NAME, error);
    if (status != TIDE_OK)
        return status;
    uint8_t bytes[SEGMENT_HEADER_BYTES];
    struct segment_header header = *source->header;
    memcpy(header.database_id, restore->database_id, DATABASE_ID_BYTES);
    segment_header_encode(bytes, &header);
    status = output_write(&restore->output, bytes, sizeof bytes, error);
    restore->last_kind = FRAME_EVENTS;
    while (status == TIDE_OK) {
        struct log_frame frame;
        restore->done |= restore->next_seq > restore->to_seq;
        if (restore->done)
            break;
        enum log_found found = log_source_frame(source, &frame, error);
        if (found == LOG_FOUND_END)
            break;
        status = found == LOG_FOUND_FRAME ? frame_copy(restore, &frame, error) : error->status;
    }
    char name[SEGMENT_NAME_BYTES] = SEGMENT_ACTIVE_NAME;
    if (i < source->sealed_count && !restore->done)
        segment_sealed_name(name, source->sealed[i]);
    else if (status == TIDE_OK && restore->last_kind != FRAME_CLOSED)
        status = end_mark_write(restore, error);
    if (status == TIDE_OK)
        status = output_finish(&restore->output, error);
    return status == TIDE_OK ? segment_name(restore, name, error) : status;
}

static enum tide_status log_copy(struct restore *restore, struct tide_error *error)
{
    enum tide_status status = TIDE_OK;
    restore->next_seq = 1;
    for (size_t i = 0; i <= restore->source.sealed_count && status == TIDE_OK && !restore->done; i++) {
        restore->segment = i;
        status = segment_copy(restore, i, error);
    }
    return status == TIDE_OK ? outcome_check(restore, error) : status;
}

/* ---- The directory ---- */

struct names {
    char *texts; /* one behind the other, each with its zero */
    size_t length;
    bool memory_out;
    char foreign[256]; /* one that no run before can have left */
};

static void names_visit(void *visitor, const char *name)
{
    struct names *names = visitor;
    size_t bytes = strlen(name) + 1;
    char *grown = realloc(names->texts, names->length + bytes);
    names->memory_out |= !grown;
    if (!grown)
        return;
    memcpy(grown + names->length, name, bytes);
    names->texts = grown;
    names->length += bytes;
    if (strcmp(name, LOCK_NAME) != 0 && strcmp(name, SEGMENT_TEMPORARY_NAME) != 0 &&
        strcmp(name, SEGMENT_ACTIVE_NAME) != 0 && strncmp(name, "events-", 7) != 0)
        snprintf(names->foreign, sizeof names->foreign, "%s", name);
}

/* Removes the files in the directory, if all of them are from a run before; else changes nothing and names one that
 * isn't in `foreign`. 0 or -errno. */
static int directory_empty(const char *directory, char foreign[256])
{
    struct names names = {0};
    int result = file_list(directory, names_visit, &names);
    if (result == 0 && names.memory_out)
        result = -ENOMEM;
    strcpy(foreign, names.foreign);
    for (size_t at = 0; result == 0 && !*foreign && at < names.length; at += strlen(names.texts + at) + 1) {
        char *path = file_path(directory, names.texts + at);
        result = path ? file_unlink(path) : -ENOMEM;
        free(path);
    }
    free(names.texts);
    return result;
}

static void any_visit(void *visitor, const char *name)
{
    (void)name;
    *(bool *)visitor = true;
}

/* Where the database shall be: nothing, or an empty directory. */
static enum tide_status directory_examine(struct restore *restore, const char *given, struct tide_error *error)
{
    bool any = false;
    int result = file_list(given, any_visit, &any);
    if (result < 0 && result != -ENOENT)
        return error_system(error, -result, "%s", given);
    if (any)
        return error_set(error, TIDE_INVALID, "%s is not empty: restore into a directory that is new or empty", given);
    restore->directory = result == 0 ? file_real_path(given) : strdup(given); /* a link cannot be renamed over */
    size_t length = restore->directory ? strlen(restore->directory) : 0;
    while (length > 1 && restore->directory[length - 1] == '/')
        restore->directory[--length] = 0;
    restore->temporary = length > 0 ? malloc(length + sizeof RESTORING_SUFFIX) : NULL;
    if (!restore->temporary)
        return error_set(error, TIDE_MEMORY, "out of memory");
    strcpy(restore->temporary, restore->directory);
    strcat(restore->temporary, RESTORING_SUFFIX);
    return TIDE_OK;
}

/* Makes the directory, after removing what a run before left. */
static enum tide_status temporary_prepare(struct restore *restore, int *lock, struct tide_error *error)
{
    char foreign[256];
    enum tide_status status = TIDE_OK;
    struct file_status found;
    int result = file_stat(restore->temporary, &found);
    if (result == 0) { /* another run's, if it is under way */
        status = target_lock(restore->temporary, false, lock, error);
        if (status != TIDE_OK)
            return status;
        result = directory_empty(restore->temporary, foreign);
        if (*lock >= 0)
            file_close(*lock);
        *lock = -1;
        if (*foreign)
            return error_set(error, TIDE_INVALID, "%s is in the way: it holds %s; move it away", restore->temporary,
                             foreign);
    }
    if (result == 0 || result == -ENOENT)
        result = file_make_directories(restore->temporary);
    status = directory_fault(restore->temporary, result, error);
    return status == TIDE_OK ? target_lock(restore->temporary, true, lock, error) : status;
}

static void temporary_remove(struct restore *restore)
{
    char foreign[256];
    directory_empty(restore->temporary, foreign);
    file_remove_directory(restore->temporary); /* what cannot be removed the next run removes */
}

static enum tide_status temporary_becomes(struct restore *restore, struct tide_error *error)
{
    enum tide_status status = directory_fault(restore->temporary, file_sync_directory(restore->temporary), error);
    if (status != TIDE_OK)
        return status;
    int result = file_rename(restore->temporary, restore->directory);
    if (result < 0)
        return error_system(error, -result, "%s: cannot rename to %s", restore->temporary, restore->directory);
    char *real = file_real_path(restore->directory);
    result = real ? file_sync_ancestors(real) : -errno;
    free(real);
    return directory_fault(restore->directory, result, error);
}

/* ---- The whole ---- */

static enum tide_status backup_open(struct restore *restore, struct tide_error *error)
{
    enum tide_status status = log_source_open(&restore->source, restore->backup, error);
    if (status == TIDE_OK || status == TIDE_NOT_FOUND || status == TIDE_CORRUPT) {
        struct tide_error local;
        enum tide_status found = manifest_read(restore->backup, &restore->manifest, &local);
        restore->has_manifest = found == TIDE_OK;
        if (found != TIDE_OK && found != TIDE_NOT_FOUND)
            return error_set(error, found, "%s", local.message);
    }
    if (status != TIDE_OK)
        return status;
    memcpy(restore->database_id, restore->source.database_id, DATABASE_ID_BYTES);
    if (restore->branches && getrandom(restore->database_id, DATABASE_ID_BYTES, 0) != DATABASE_ID_BYTES)
        return error_system(error, errno, "%s: no randomness for the database id", restore->directory);
    for (size_t i = 0; i <= restore->source.sealed_count; i++) {
        struct file_status found;
        char name[SEGMENT_NAME_BYTES] = SEGMENT_ACTIVE_NAME;
        if (i < restore->source.sealed_count)
            segment_sealed_name(name, restore->source.sealed[i]);
        char *path = file_path(restore->backup, name);
        if (path && file_stat(path, &found) == 0)
            restore->bytes_total += found.bytes;
        free(path);
    }
    return wish_check(restore, error);
}

static enum tide_status restore_locked(struct restore *restore, struct tide_error *error)
{
    int lock = -1;
    enum tide_status status = backup_open(restore, error);
    if (status == TIDE_OK) {
        status = temporary_prepare(restore, &lock, error);
        bool prepared = status == TIDE_OK;
        if (status == TIDE_OK)
            status = log_copy(restore, error);
        output_abandon(&restore->output);
        if (status == TIDE_OK)
            status = temporary_becomes(restore, error);
        if (status != TIDE_OK && prepared)
            temporary_remove(restore);
        if (lock >= 0)
            file_close(lock);
    }
    if ((status == TIDE_CORRUPT || status == TIDE_NOT_FOUND) && restore->has_manifest && !restore->manifest.complete)
        status =
            error_set(error, TIDE_CORRUPT, "%s: an interrupted backup; run tidemark backup again", restore->backup);
    return status;
}

static void restore_free(struct restore *restore)
{
    log_source_close(&restore->source);
    manifest_free(&restore->manifest);
    free(restore->frame);
    chain_hasher_destroy(restore->hasher);
    free(restore->directory);
    free(restore->temporary);
}

enum tide_status tide_restore(const char *backup, const char *directory, const struct tide_restore_options *options,
                              struct tide_restore_result *result, tide_progress_function *progress, void *context,
                              struct tide_error *error)
{
    static const struct tide_restore_options none;
    struct tide_error local = {0};
    struct tide_error *told = error ? error : &local;
    if (!options)
        options = &none;
    struct restore restore = {.backup = backup,
                              .to_seq = options->to_seq ? options->to_seq : UINT64_MAX,
                              .to_time_us = options->to_time_us ? options->to_time_us : UINT64_MAX,
                              .branches = options->to_seq || options->to_time_us,
                              .output = {.fd = -1},
                              .result = result,
                              .progress = progress,
                              .context = context};
    struct file_status found;
    int lock = -1, there = file_stat(backup, &found);
    *result = (struct tide_restore_result){0};
    if (there == -ENOENT)
        return error_set(told, TIDE_NOT_FOUND, "%s: there is no such directory", backup);
    enum tide_status status = directory_examine(&restore, directory, told);
    if (status == TIDE_OK)
        status = target_check_apart(backup, directory, false, told);
    if (status == TIDE_OK)
        status = target_lock(backup, false, &lock, told);
    if (status == TIDE_OK)
        status = restore_locked(&restore, told);
    if (lock >= 0)
        file_close(lock);
    if (status == TIDE_OK) {
        result->seq = restore.next_seq - 1;
        memcpy(result->database_id, restore.database_id, DATABASE_ID_BYTES);
    }
    restore_free(&restore);
    return status;
}
