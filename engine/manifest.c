/* manifest.c - the manifest of a backup, as lines of text, in this order:
 *
 *   tidemark backup 1             the format's version
 *   state complete                or incomplete
 *   database 00112233445566…      the database id, 32 hexadecimal digits
 *   last 1200 1790000000000000    seq and time (microseconds since 1970) of the newest event
 *   time 1790000000000000         when the backup began
 *   file NAME BYTES CRC32C        one for each segment; the checksum has 8 hexadecimal digits
 *   checksum CRC32C               of all bytes before this line
 *
 * It is written beside the old one, synced and renamed over it. */
#include "manifest.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "output.h"

enum { LINE_BYTES = 160, MANIFEST_BYTES_MAX = 64 << 20 };

void manifest_free(struct manifest *manifest)
{
    free(manifest->files);
    *manifest = (struct manifest){0};
}

struct manifest_file *manifest_find(const struct manifest *manifest, const char *name)
{
    for (size_t i = 0; i < manifest->count; i++) {
        if (strcmp(manifest->files[i].name, name) == 0)
            return &manifest->files[i];
    }
    return NULL;
}

enum tide_status manifest_set(struct manifest *manifest, const struct manifest_file *file, struct tide_error *error)
{
    struct manifest_file *present = manifest_find(manifest, file->name);
    if (!present && manifest->count == manifest->capacity) {
        size_t capacity = manifest->capacity ? manifest->capacity * 2 : 16;
        struct manifest_file *files = realloc(manifest->files, capacity * sizeof *files);
        if (!files)
            return error_set(error, TIDE_MEMORY, "out of memory");
        manifest->files = files;
        manifest->capacity = capacity;
    }
    if (!present)
        present = &manifest->files[manifest->count++];
    *present = *file;
    return TIDE_OK;
}

void manifest_remove(struct manifest *manifest, struct manifest_file *file)
{
    *file = manifest->files[--manifest->count];
}

/* ---- Reading ---- */

/* Takes the line at *text apart as sscanf does; it must give `wanted` values and be exactly that long. */
static bool line_take(char **text, int wanted, const char *format, ...) __attribute__((format(scanf, 3, 4)));
static bool line_take(char **text, int wanted, const char *format, ...)
{
    char *end = strchr(*text, '\n');
    if (!end)
        return false;
    *end = 0;
    va_list arguments;
    va_start(arguments, format);
    int got = vsscanf(*text, format, arguments);
    va_end(arguments);
    *end = '\n';
    if (got == wanted)
        *text = end + 1;
    return got == wanted;
}

static bool id_parse(const char *digits, uint8_t id[DATABASE_ID_BYTES])
{
    for (size_t i = 0; i < DATABASE_ID_BYTES; i++) {
        unsigned byte;
        if (sscanf(digits + 2 * i, "%2x", &byte) != 1)
            return false;
        id[i] = (uint8_t)byte;
    }
    return true;
}

static enum tide_status lines_parse(char *text, struct manifest *manifest, const char *path, struct tide_error *error)
{
    char state[16], digits[2 * DATABASE_ID_BYTES + 1], *line = text;
    unsigned version = 0;
    uint32_t checksum;
    bool fits = line_take(&line, 1, "tidemark backup %u", &version);
    if (fits && version != 1)
        return error_set(error, TIDE_INVALID, "%s: version %u, this engine reads version 1", path, version);
    fits = fits && line_take(&line, 1, "state %15s", state) && line_take(&line, 1, "database %32s", digits) &&
           id_parse(digits, manifest->database_id) &&
           line_take(&line, 2, "last %" SCNu64 " %" SCNu64, &manifest->last_seq, &manifest->last_time_us) &&
           line_take(&line, 1, "time %" SCNu64, &manifest->time_us);
    struct manifest_file file;
    while (fits && line_take(&line, 3, "file %63s %" SCNu64 " %" SCNx32, file.name, &file.bytes, &file.crc)) {
        if (manifest_set(manifest, &file, error) != TIDE_OK)
            return TIDE_MEMORY;
    }
    size_t covered = (size_t)(line - text);
    fits =
        fits && line_take(&line, 1, "checksum %" SCNx32, &checksum) && *line == 0 && checksum == crc32c(text, covered);
    if (!fits)
        return error_set(error, TIDE_CORRUPT, "%s: damaged", path);
    manifest->complete = strcmp(state, "complete") == 0;
    return TIDE_OK;
}

enum tide_status manifest_read(const char *directory, struct manifest *manifest, struct tide_error *error)
{
    *manifest = (struct manifest){0};
    char *path = file_path(directory, MANIFEST_NAME), *text = NULL;
    if (!path)
        return error_set(error, TIDE_MEMORY, "out of memory");
    struct file_status found = {0};
    int fd = file_open(path, O_RDONLY, 0);
    int64_t result = fd < 0 ? fd : file_stat_fd(fd, &found);
    enum tide_status status = TIDE_OK;
    if (result == 0 && found.bytes < MANIFEST_BYTES_MAX && (text = calloc(1, (size_t)found.bytes + 1)))
        result = file_read(fd, text, (size_t)found.bytes, 0);
    if (fd >= 0)
        file_close(fd);
    if (result == -ENOENT || result == -ENOTDIR)
        status = error_set(error, TIDE_NOT_FOUND, "%s: not a backup", directory);
    else if (result < 0)
        status = error_system(error, (int)-result, "%s", path);
    else if (found.bytes >= MANIFEST_BYTES_MAX)
        status = error_set(error, TIDE_CORRUPT, "%s: damaged", path);
    else if (!text)
        status = error_set(error, TIDE_MEMORY, "out of memory");
    else
        status = lines_parse(text, manifest, path, error);
    free(text);
    free(path);
    return status;
}

/* ---- Writing ---- */

static enum tide_status line_write(struct output *output, struct tide_error *error, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static enum tide_status line_write(struct output *output, struct tide_error *error, const char *format, ...)
{
    char line[LINE_BYTES];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    return output_write(output, line, (size_t)length, error);
}

static enum tide_status lines_write(struct output *output, const struct manifest *manifest, struct tide_error *error)
{
    char digits[2 * DATABASE_ID_BYTES + 1];
    for (size_t i = 0; i < DATABASE_ID_BYTES; i++)
        snprintf(digits + 2 * i, 3, "%02x", manifest->database_id[i]);
    enum tide_status status =
        line_write(output, error, "tidemark backup 1\nstate %s\n", manifest->complete ? "complete" : "incomplete");
    if (status == TIDE_OK)
        status = line_write(output, error, "database %s\n", digits);
    if (status == TIDE_OK)
        status = line_write(output, error, "last %" PRIu64 " %" PRIu64 "\ntime %" PRIu64 "\n", manifest->last_seq,
                            manifest->last_time_us, manifest->time_us);
    for (size_t i = 0; i < manifest->count && status == TIDE_OK; i++)
        status = line_write(output, error, "file %s %" PRIu64 " %08" PRIx32 "\n", manifest->files[i].name,
                            manifest->files[i].bytes, manifest->files[i].crc);
    return status == TIDE_OK ? line_write(output, error, "checksum %08" PRIx32 "\n", output->crc) : status;
}

enum tide_status manifest_write(const char *directory, const struct manifest *manifest, struct tide_error *error)
{
    struct output output;
    enum tide_status status = output_create(&output, directory, MANIFEST_TEMPORARY_NAME, error);
    if (status != TIDE_OK)
        return status;
    status = lines_write(&output, manifest, error);
    if (status == TIDE_OK)
        status = output_finish(&output, error);
    output_abandon(&output);
    if (status != TIDE_OK)
        return status;
    char *from = file_path(directory, MANIFEST_TEMPORARY_NAME), *to = file_path(directory, MANIFEST_NAME);
    int result = from && to ? file_rename(from, to) : -ENOMEM;
    if (result == 0)
        result = file_sync_directory(directory);
    free(from);
    free(to);
    return result < 0 ? error_system(error, -result, "%s/%s: cannot replace it", directory, MANIFEST_NAME) : TIDE_OK;
}

/* ---- Opening a backup ---- */

enum tide_status manifest_check_open(const char *directory, bool read_only, struct tide_error *error)
{
    struct manifest manifest;
    struct tide_error local;
    enum tide_status status = manifest_read(directory, &manifest, &local);
    bool incomplete = status == TIDE_OK && !manifest.complete;
    manifest_free(&manifest);
    if (status == TIDE_NOT_FOUND)
        return TIDE_OK;
    if (status != TIDE_OK && status != TIDE_CORRUPT && status != TIDE_INVALID)
        return error_set(error, status, "%s", local.message);
    if (!read_only)
        return error_set(error, TIDE_READ_ONLY,
                         "%s is a backup: tidemark restore makes a database of it; it can be opened read-only",
                         directory);
    struct segment_list list = {0};
    status = incomplete ? segment_list_read(directory, &list, error) : TIDE_OK;
    if (status == TIDE_OK && incomplete && !list.active)
        status = error_set(error, TIDE_CORRUPT, "%s: an interrupted backup; run tidemark backup again", directory);
    segment_list_free(&list);
    return status;
}
