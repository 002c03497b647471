/* repair.c - tide_repair: makes a log whole again by cutting out what the survey calls bad.
 *
 * First everything that goes is copied to a side file, which is synced; each piece in it follows a line that says where
 * it was. Then each segment with something bad is written anew beside the old one (the frames that stay as they are, a
 * gap frame where seqs are missing, an end for a sealed one), synced, and renamed over it. Seqs missing between two
 * segments become a segment of their own that holds the gap. Segments without anything bad are not touched.
 *
 * Interrupted at any point, it can be run again: it then finds some segments whole already. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/random.h>
#include <time.h>

#include "engine.h"
#include "error.h"
#include "file.h"
#include "survey.h"

#define TEMPORARY_NAME "repair.tmp"

struct output {
    int fd;
    uint64_t offset;
};

static int output_open(struct output *output, const char *directory, const char *name, int flags)
{
    char *path = file_path(directory, name);
    output->fd = path ? file_open(path, O_WRONLY | O_CREAT | flags, 0644) : -ENOMEM;
    output->offset = 0;
    free(path);
    return output->fd < 0 ? output->fd : 0;
}

static int output_write(struct output *output, const void *bytes, size_t length)
{
    int result = file_write(output->fd, bytes, length, output->offset);
    output->offset += length;
    return result;
}

static int output_copy(struct output *output, int from, uint64_t offset, uint64_t bytes)
{
    enum { COPY_BYTES = 65536 };
    char buffer[COPY_BYTES];
    while (bytes > 0) {
        int64_t got = file_read(from, buffer, bytes < COPY_BYTES ? (size_t)bytes : COPY_BYTES, offset);
        if (got <= 0)
            return got < 0 ? (int)got : -EIO;
        int result = output_write(output, buffer, (size_t)got);
        if (result < 0)
            return result;
        offset += (uint64_t)got;
        bytes -= (uint64_t)got;
    }
    return 0;
}

/* Syncs (if all went well so far) and closes. */
static int output_close(struct output *output, int result)
{
    if (output->fd < 0)
        return result;
    if (result == 0)
        result = file_sync(output->fd);
    file_close(output->fd);
    return result;
}

static int segment_open_for_reading(const char *directory, const char *name)
{
    char *path = file_path(directory, name);
    int fd = path ? file_open(path, O_RDONLY, 0) : -ENOMEM;
    free(path);
    return fd;
}

/* ---- The side file ---- */

static int removed_copy(struct survey *survey, struct output *output, const struct survey_file *file,
                        const struct piece *piece)
{
    char line[300];
    int length = snprintf(line, sizeof line,
                          "\n== tidemark repair: %" PRIu64 " bytes from offset %" PRIu64 " of %s, seq %" PRIu64 "\n",
                          piece->bytes, piece->offset, file->name, piece->first_seq);
    int fd = segment_open_for_reading(survey->directory, file->name);
    int result = fd < 0 ? fd : output_write(output, line, (size_t)length);
    if (result == 0)
        result = output_copy(output, fd, piece->offset, piece->bytes);
    if (fd >= 0)
        file_close(fd);
    survey->report.removed_bytes += piece->bytes;
    return result;
}

static int removed_write(struct survey *survey)
{
    struct output output = {.fd = -1};
    char *name = survey->report.removed_file;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    int result = 0;
    for (size_t i = 0; i < survey->count && result == 0; i++) {
        for (size_t j = 0; j < survey->files[i].count && result == 0; j++) {
            if (survey->files[i].pieces[j].kind != PIECE_REMOVE)
                continue;
            for (int tries = 0; output.fd < 0 && tries < 100; tries++) {
                snprintf(name, sizeof survey->report.removed_file, "removed-%lld-%d.raftlog", (long long)now.tv_sec,
                         tries);
                result = output_open(&output, survey->directory, name, O_EXCL);
                if (result != -EEXIST)
                    break;
            }
            if (result == 0)
                result = removed_copy(survey, &output, &survey->files[i], &survey->files[i].pieces[j]);
        }
    }
    bool any = output.fd >= 0;
    result = output_close(&output, result);
    return result == 0 && any ? file_sync_directory(survey->directory) : result;
}

/* ---- The new segments ---- */

static int header_write(const struct survey *survey, struct output *output, uint64_t first_seq)
{
    uint8_t bytes[SEGMENT_HEADER_BYTES];
    struct segment_header header = {.first_seq = first_seq, .created_us = clock_real_us()};
    memcpy(header.database_id, survey->database_id, DATABASE_ID_BYTES);
    segment_header_encode(bytes, &header);
    return output_write(output, bytes, sizeof bytes);
}

static int gap_write(const struct survey *survey, struct output *output, uint64_t first_seq, uint64_t last_seq)
{
    uint8_t bytes[FRAME_GAP_BYTES];
    frame_gap_encode(bytes, first_seq, last_seq, first_seq - 1, survey->database_id);
    return output_write(output, bytes, sizeof bytes);
}

static int seal_write(const struct survey *survey, struct output *output, uint64_t next_seq)
{
    uint8_t bytes[FRAME_HEADER_BYTES];
    const struct frame_header header = {
        .bytes = sizeof bytes, .first_seq = next_seq, .durable = next_seq - 1, .kind = FRAME_SEALED};
    frame_encode(bytes, &header, survey->database_id);
    return output_write(output, bytes, sizeof bytes);
}

static int temporary_becomes(const struct survey *survey, const char *name)
{
    char *from = file_path(survey->directory, TEMPORARY_NAME), *to = file_path(survey->directory, name);
    int result = from && to ? file_rename(from, to) : -ENOMEM;
    if (result == 0)
        result = file_sync_directory(survey->directory);
    free(from);
    free(to);
    return result;
}

static int segment_remove(const struct survey *survey, const char *name)
{
    char *path = file_path(survey->directory, name);
    int result = path ? file_unlink(path) : -ENOMEM;
    free(path);
    return result == 0 ? file_sync_directory(survey->directory) : result;
}

/* A sealed segment that holds nothing but a gap. */
static int gap_segment_write(const struct survey *survey, uint64_t first_seq, uint64_t last_seq)
{
    struct output output;
    char name[SEGMENT_NAME_BYTES];
    segment_sealed_name(name, first_seq);
    int result = output_open(&output, survey->directory, TEMPORARY_NAME, O_TRUNC);
    if (result == 0)
        result = header_write(survey, &output, first_seq);
    if (result == 0)
        result = gap_write(survey, &output, first_seq, last_seq);
    if (result == 0)
        result = seal_write(survey, &output, last_seq + 1);
    result = output_close(&output, result);
    return result == 0 ? temporary_becomes(survey, name) : result;
}

static int pieces_write(const struct survey *survey, struct output *output, const struct survey_file *file)
{
    int from = segment_open_for_reading(survey->directory, file->name);
    if (from < 0)
        return from;
    int result = 0;
    for (size_t i = 0; i < file->count && result == 0; i++) {
        const struct piece *piece = &file->pieces[i];
        if (piece->kind == PIECE_KEEP)
            result = output_copy(output, from, piece->offset, piece->bytes);
        else if (piece->kind == PIECE_GAP)
            result = gap_write(survey, output, piece->first_seq, piece->last_seq);
    }
    file_close(from);
    return result;
}

static int segment_rewrite(const struct survey *survey, const struct survey_file *file)
{
    struct output output;
    char name[SEGMENT_NAME_BYTES] = SEGMENT_ACTIVE_NAME;
    if (file->sealed)
        segment_sealed_name(name, file->first_seq);
    if (file->sealed && file->next_seq == file->first_seq)
        return segment_remove(survey, file->name); /* nothing of it stays */
    int result = output_open(&output, survey->directory, TEMPORARY_NAME, O_TRUNC);
    if (result == 0)
        result = header_write(survey, &output, file->first_seq);
    if (result == 0)
        result = pieces_write(survey, &output, file);
    if (result == 0 && file->sealed && !file->has_seal)
        result = seal_write(survey, &output, file->next_seq);
    result = output_close(&output, result);
    if (result == 0)
        result = temporary_becomes(survey, name);
    return result == 0 && strcmp(name, file->name) != 0 ? segment_remove(survey, file->name) : result;
}

static int segments_rewrite(const struct survey *survey)
{
    int result = 0;
    for (size_t i = 0; i < survey->count && result == 0; i++) {
        const struct survey_file *file = &survey->files[i];
        if (file->dirty)
            result = segment_rewrite(survey, file);
        if (result == 0 && file->missing_from > 0)
            result = gap_segment_write(survey, file->missing_from, file->first_seq - 1);
    }
    if (result == 0 && survey->files[survey->count - 1].sealed) {
        const struct survey_file active = {.first_seq = survey->expected};
        struct output output;
        result = output_open(&output, survey->directory, TEMPORARY_NAME, O_TRUNC);
        if (result == 0)
            result = header_write(survey, &output, active.first_seq);
        result = output_close(&output, result);
        if (result == 0)
            result = temporary_becomes(survey, SEGMENT_ACTIVE_NAME);
    }
    return result;
}

static enum tide_status repair_locked(struct survey *survey, struct tide_error *error)
{
    enum tide_status status = survey_run(survey, error);
    if (status != TIDE_OK || (survey->report.damages == 0 && !survey->report.torn))
        return status;
    static const uint8_t unknown[DATABASE_ID_BYTES];
    if (memcmp(survey->database_id, unknown, sizeof unknown) == 0 &&
        getrandom(survey->database_id, DATABASE_ID_BYTES, 0) != DATABASE_ID_BYTES)
        return error_system(error, errno, "%s: no randomness for the database id", survey->directory);
    int result = removed_write(survey);
    if (result == 0)
        result = segments_rewrite(survey);
    return result == 0 ? TIDE_OK : error_system(error, -result, "%s: cannot repair", survey->directory);
}

enum tide_status tide_repair(const char *path, struct tide_report *report, tide_finding_function *finding,
                             tide_progress_function *progress, void *context, struct tide_error *error)
{
    struct tide_error local = {0};
    struct tide_error *told = error ? error : &local;
    enum tide_status status = survey_directory_check(path, report, told);
    if (status != TIDE_OK)
        return status;
    char *lock_path = file_path(path, LOCK_NAME);
    int lock = lock_path ? file_open(lock_path, O_RDWR | O_CREAT, 0644) : -ENOMEM;
    free(lock_path);
    int result = lock < 0 ? lock : file_lock(lock);
    if (result == -EWOULDBLOCK)
        status = error_set(told, TIDE_LOCKED, "%s is open in a process; close it before the repair", path);
    else if (result < 0)
        status = error_system(told, -result, "%s/%s", path, LOCK_NAME);
    struct survey survey = {.directory = path, .finding = finding, .progress = progress, .context = context};
    if (status == TIDE_OK)
        status = repair_locked(&survey, told);
    *report = survey.report;
    survey_free(&survey);
    if (lock >= 0)
        file_close(lock);
    return status;
}
