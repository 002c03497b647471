/* manifest.h - the file "backup.manifest", which makes a directory a backup and says what it holds. */
#ifndef TIDE_MANIFEST_H
#define TIDE_MANIFEST_H

#include "segment.h"
#include "tidemark.h"

#define MANIFEST_NAME "backup.manifest"
#define MANIFEST_TEMPORARY_NAME "backup.manifest.tmp"

struct manifest_file {
    char name[SEGMENT_NAME_BYTES];
    uint64_t bytes;
    uint32_t crc; /* CRC32C of the whole file */
};

struct manifest {
    bool complete; /* false: files are being put in, or a run that did was interrupted */
    uint8_t database_id[DATABASE_ID_BYTES];
    uint64_t last_seq, last_time_us; /* of the newest event; time 0: unknown, a repair removed it */
    uint64_t time_us;                /* when the backup began: what is in it is the state as of then */
    struct manifest_file *files;
    size_t count, capacity;
};

/* Reads the manifest of `directory`. Errors: NOT_FOUND (it is no backup), CORRUPT, INVALID (a newer version), IO,
 * MEMORY. manifest_free in any case. */
enum tide_status manifest_read(const char *directory, struct manifest *manifest, struct tide_error *error);

/* Replaces the one that is there, durably. Errors: IO, FULL, MEMORY. */
enum tide_status manifest_write(const char *directory, const struct manifest *manifest, struct tide_error *error);
void manifest_free(struct manifest *manifest);

struct manifest_file *manifest_find(const struct manifest *manifest, const char *name);
enum tide_status manifest_set(struct manifest *manifest, const struct manifest_file *file, struct tide_error *error);
void manifest_remove(struct manifest *manifest, struct manifest_file *file);

/* Whether tide_open may open `directory`: OK; READ_ONLY when it is a backup and shall be written; CORRUPT when an
 * interrupted backup left it without a log. */
enum tide_status manifest_check_open(const char *directory, bool read_only, struct tide_error *error);

#endif
