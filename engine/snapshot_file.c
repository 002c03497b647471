/* snapshot_file.c - writing and reading the file of one snapshot (snapshot_format.c has its bytes).
 *
 * It is written as snapshot.tmp, synced, then renamed, then the directory is synced: a file with a snapshot's name is
 * whole, unless the disk has damaged it. While it grows it is synced every SYNC_BYTES, so that the log's syncs never
 * stand behind more dirty pages than that. A file without a valid footer at its very end is no snapshot. */
#include "snapshot_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "error.h"

enum { BLOCK_BYTES = 1 << 20, SYNC_BYTES = 64 << 20, FOOTER_BYTES_MAX = 1 << 30 };

static const char name_prefix[] = "snapshot-", name_suffix[] = ".tidesnap";

/* ---- Names ---- */

void snapshot_name(char name[SEGMENT_NAME_BYTES], uint64_t seq)
{
    snprintf(name, SEGMENT_NAME_BYTES, "%s%020" PRIu64 "%s", name_prefix, seq, name_suffix);
}

struct listing {
    struct snapshot_list *list;
    size_t capacity;
    bool memory_out;
};

static void listing_visit(void *visitor, const char *name)
{
    struct listing *listing = visitor;
    struct snapshot_list *list = listing->list;
    list->temporary |= strcmp(name, SNAPSHOT_TEMPORARY_NAME) == 0;
    if (strncmp(name, name_prefix, sizeof name_prefix - 1) != 0)
        return;
    char expected[SEGMENT_NAME_BYTES];
    uint64_t seq = strtoull(name + sizeof name_prefix - 1, NULL, 10);
    snapshot_name(expected, seq);
    if (strcmp(name, expected) != 0)
        return;
    if (list->count == listing->capacity) {
        size_t capacity = listing->capacity ? listing->capacity * 2 : 8;
        uint64_t *seqs = realloc(list->seqs, capacity * sizeof *seqs);
        if (!seqs) {
            listing->memory_out = true;
            return;
        }
        list->seqs = seqs;
        listing->capacity = capacity;
    }
    list->seqs[list->count++] = seq;
}

static int newest_first(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x < y) - (x > y);
}

enum tide_status snapshot_list_read(const char *directory, struct snapshot_list *list, struct tide_error *error)
{
    *list = (struct snapshot_list){0};
    struct listing listing = {.list = list};
    int result = file_list(directory, listing_visit, &listing);
    if (result < 0 || listing.memory_out) {
        snapshot_list_free(list);
        return result < 0 ? error_system(error, -result, "%s", directory)
                          : error_set(error, TIDE_MEMORY, "out of memory");
    }
    if (list->count > 0)
        qsort(list->seqs, list->count, sizeof *list->seqs, newest_first);
    return TIDE_OK;
}

void snapshot_list_free(struct snapshot_list *list)
{
    free(list->seqs);
    *list = (struct snapshot_list){0};
}

/* ---- Writing ---- */

struct snapshot_output {
    char *directory, *temporary_path, *path;
    int fd;
    bool published;
    uint64_t seq;
    uint64_t offset, synced; /* in the file: where the next block goes; up to where it was synced */
    uint8_t *block;          /* header and records of the next block */
    size_t length, capacity;
    uint32_t block_records;
    struct snapshot_entry *entries;
    size_t entry_count, entry_capacity;
    uint64_t records;
};

static enum tide_status output_fault(const struct snapshot_output *output, int result, struct tide_error *error)
{
    return result < 0 ? error_system(error, -result, "%s: the snapshot of seq %" PRIu64, output->directory, output->seq)
                      : TIDE_OK;
}

enum tide_status snapshot_output_create(const char *directory, const struct snapshot_header *header,
                                        struct snapshot_output **created, struct tide_error *error)
{
    char name[SEGMENT_NAME_BYTES];
    uint8_t bytes[SNAPSHOT_HEADER_BYTES];
    struct snapshot_output *output = calloc(1, sizeof *output);
    *created = NULL;
    if (!output)
        return error_set(error, TIDE_MEMORY, "out of memory");
    snapshot_name(name, header->seq);
    output->fd = -1;
    output->seq = header->seq;
    output->directory = strdup(directory);
    output->temporary_path = file_path(directory, SNAPSHOT_TEMPORARY_NAME);
    output->path = file_path(directory, name);
    output->capacity = BLOCK_BYTES + (BLOCK_BYTES >> 2);
    output->block = malloc(output->capacity);
    output->length = SNAPSHOT_BLOCK_HEADER_BYTES;
    output->offset = SNAPSHOT_HEADER_BYTES;
    if (!output->directory || !output->temporary_path || !output->path || !output->block) {
        snapshot_output_destroy(output);
        return error_set(error, TIDE_MEMORY, "out of memory");
    }
    snapshot_header_encode(bytes, header);
    output->fd = file_open(output->temporary_path, O_RDWR | O_CREAT | O_TRUNC, 0644);
    int result = output->fd < 0 ? output->fd : file_write(output->fd, bytes, sizeof bytes, 0);
    enum tide_status status = output_fault(output, result, error);
    if (status != TIDE_OK)
        snapshot_output_destroy(output);
    else
        *created = output;
    return status;
}

bool snapshot_output_add(struct snapshot_output *output, const struct block *block, const char *name,
                         size_t name_length)
{
    size_t bytes = block_record_bytes(block, name_length);
    if (output->length + bytes > output->capacity) {
        size_t capacity = output->length + bytes;
        uint8_t *grown = realloc(output->block, capacity);
        if (!grown)
            return false;
        output->block = grown;
        output->capacity = capacity;
    }
    block_to_record(block, name, name_length, (struct record *)(void *)(output->block + output->length));
    output->length += bytes;
    output->block_records++;
    return true;
}

bool snapshot_output_full(const struct snapshot_output *output)
{
    return output->length >= BLOCK_BYTES;
}

enum tide_status snapshot_output_pour(struct snapshot_output *output, struct tide_error *error)
{
    if (output->block_records == 0)
        return TIDE_OK;
    if (output->entry_count == output->entry_capacity) {
        size_t capacity = output->entry_capacity ? output->entry_capacity * 2 : 64;
        struct snapshot_entry *entries = realloc(output->entries, capacity * sizeof *entries);
        if (!entries)
            return error_set(error, TIDE_MEMORY, "out of memory");
        output->entries = entries;
        output->entry_capacity = capacity;
    }
    struct snapshot_block_header header = {.bytes = (uint32_t)output->length,
                                           .records = output->block_records,
                                           .offset = output->offset,
                                           .seq = output->seq};
    output->entries[output->entry_count++] =
        (struct snapshot_entry){.offset = header.offset, .bytes = header.bytes, .records = header.records};
    snapshot_block_encode(output->block, &header);
    int result = file_write(output->fd, output->block, output->length, output->offset);
    output->offset += output->length;
    output->records += output->block_records;
    output->length = SNAPSHOT_BLOCK_HEADER_BYTES;
    output->block_records = 0;
    if (result == 0 && output->offset - output->synced >= SYNC_BYTES) {
        result = file_sync(output->fd);
        output->synced = output->offset;
    }
    return output_fault(output, result, error);
}

enum tide_status snapshot_output_finish(struct snapshot_output *output, const struct snapshot_collection *collections,
                                        size_t count, uint64_t *records, uint64_t *bytes, struct tide_error *error)
{
    enum tide_status status = snapshot_output_pour(output, error);
    if (status != TIDE_OK)
        return status;
    size_t length = output->entry_count * SNAPSHOT_ENTRY_BYTES;
    uint8_t *footer = malloc(length + count * SNAPSHOT_COLLECTION_BYTES_MAX + SNAPSHOT_TRAILER_BYTES);
    if (!footer)
        return error_set(error, TIDE_MEMORY, "out of memory");
    for (size_t i = 0; i < output->entry_count; i++)
        snapshot_entry_encode(footer + i * SNAPSHOT_ENTRY_BYTES, &output->entries[i]);
    for (size_t i = 0; i < count; i++)
        length += snapshot_collection_encode(footer + length, &collections[i]);
    length += SNAPSHOT_TRAILER_BYTES;
    struct snapshot_trailer trailer = {.footer_offset = output->offset,
                                       .seq = output->seq,
                                       .records = output->records,
                                       .blocks = output->entry_count,
                                       .collections = count};
    snapshot_trailer_encode(footer, length, &trailer);
    int result = file_write(output->fd, footer, length, output->offset);
    free(footer);
    if (result == 0)
        result = file_sync(output->fd);
    *records = output->records;
    *bytes = output->offset + length;
    return output_fault(output, result, error);
}

enum tide_status snapshot_output_publish(struct snapshot_output *output, struct tide_error *error)
{
    int result = file_rename(output->temporary_path, output->path);
    output->published = result == 0;
    if (result == 0)
        result = file_sync_directory(output->directory);
    return output_fault(output, result, error);
}

void snapshot_output_destroy(struct snapshot_output *output)
{
    if (!output)
        return;
    if (output->fd >= 0) {
        file_close(output->fd);
        if (!output->published)
            file_unlink(output->temporary_path); /* failing, it waits for the next one, or the next opening */
    }
    free(output->entries);
    free(output->block);
    free(output->directory);
    free(output->temporary_path);
    free(output->path);
    free(output);
}

/* ---- Reading ---- */

static enum tide_status snapshot_fault(const struct snapshot *snapshot, const char *what, struct tide_error *error)
{
    return error_set(error, TIDE_CORRUPT, "%s: %s", snapshot->name, what);
}

/* Takes the footer apart; false when it isn't one. */
static bool footer_read(struct snapshot *snapshot, const uint8_t *footer, size_t length)
{
    struct snapshot_trailer *trailer = &snapshot->trailer;
    size_t available = length - SNAPSHOT_TRAILER_BYTES;
    if (trailer->seq != snapshot->header.seq || trailer->blocks > available / SNAPSHOT_ENTRY_BYTES ||
        trailer->collections > available || !snapshot_footer_valid(footer, length))
        return false;
    snapshot->entries = malloc((trailer->blocks + 1) * sizeof *snapshot->entries);
    snapshot->collections = malloc((trailer->collections + 1) * sizeof *snapshot->collections);
    if (!snapshot->entries || !snapshot->collections)
        return false;
    uint64_t end = SNAPSHOT_HEADER_BYTES, records = 0;
    for (uint64_t i = 0; i < trailer->blocks; i++) {
        struct snapshot_entry *entry = &snapshot->entries[i];
        snapshot_entry_decode(footer + i * SNAPSHOT_ENTRY_BYTES, entry);
        if (entry->offset != end || entry->bytes < SNAPSHOT_BLOCK_HEADER_BYTES)
            return false;
        end += entry->bytes;
        records += entry->records;
    }
    size_t offset = trailer->blocks * SNAPSHOT_ENTRY_BYTES;
    for (uint64_t i = 0; i < trailer->collections; i++) {
        size_t got = snapshot_collection_decode(footer + offset, available - offset, &snapshot->collections[i]);
        if (got == 0)
            return false;
        offset += got;
    }
    return end == trailer->footer_offset && records == trailer->records && offset == available;
}

static enum tide_status contents_read(struct snapshot *snapshot, const uint8_t *database_id, struct tide_error *error)
{
    uint8_t bytes[SNAPSHOT_HEADER_BYTES];
    struct file_status status;
    int64_t got = file_stat_fd(snapshot->fd, &status);
    if (got == 0)
        got = file_read(snapshot->fd, bytes, sizeof bytes, 0);
    if (got < 0)
        return error_system(error, (int)-got, "%s", snapshot->name);
    snapshot->bytes = status.bytes;
    if (got < SNAPSHOT_HEADER_BYTES || status.bytes < SNAPSHOT_HEADER_BYTES + SNAPSHOT_TRAILER_BYTES)
        return snapshot_fault(snapshot, "too short for a snapshot", error);
    char named[SEGMENT_NAME_BYTES];
    const char *fault = snapshot_header_decode(bytes, &snapshot->header);
    snapshot_name(named, snapshot->header.seq);
    if (!fault && strcmp(named, snapshot->name) != 0)
        fault = "of another seq than its name says";
    if (!fault && database_id && memcmp(database_id, snapshot->header.database_id, DATABASE_ID_BYTES) != 0)
        fault = "of another database";
    if (fault)
        return snapshot_fault(snapshot, fault, error);

    got = file_read(snapshot->fd, bytes, SNAPSHOT_TRAILER_BYTES, status.bytes - SNAPSHOT_TRAILER_BYTES);
    if (got < 0)
        return error_system(error, (int)-got, "%s", snapshot->name);
    struct snapshot_trailer *trailer = &snapshot->trailer;
    if (got < SNAPSHOT_TRAILER_BYTES || !snapshot_trailer_decode(bytes, trailer) ||
        trailer->footer_offset < SNAPSHOT_HEADER_BYTES ||
        trailer->footer_offset > status.bytes - SNAPSHOT_TRAILER_BYTES ||
        status.bytes - trailer->footer_offset > FOOTER_BYTES_MAX)
        return snapshot_fault(snapshot, "its end is missing or damaged", error);
    size_t length = (size_t)(status.bytes - trailer->footer_offset);
    uint8_t *footer = malloc(length);
    if (!footer)
        return error_set(error, TIDE_MEMORY, "out of memory");
    got = file_read(snapshot->fd, footer, length, trailer->footer_offset);
    bool whole = got == (int64_t)length && footer_read(snapshot, footer, length);
    free(footer);
    if (got < 0)
        return error_system(error, (int)-got, "%s", snapshot->name);
    return whole ? TIDE_OK : snapshot_fault(snapshot, "its end is missing or damaged", error);
}

enum tide_status snapshot_open(struct snapshot *snapshot, const char *directory, uint64_t seq,
                               const uint8_t *database_id, struct tide_error *error)
{
    *snapshot = (struct snapshot){.fd = -1};
    snapshot_name(snapshot->name, seq);
    char *path = file_path(directory, snapshot->name);
    snapshot->fd = path ? file_open(path, O_RDONLY, 0) : -ENOMEM;
    free(path);
    if (snapshot->fd == -ENOENT)
        return error_set(error, TIDE_NOT_FOUND, "%s/%s: there is no such file", directory, snapshot->name);
    if (snapshot->fd < 0)
        return error_system(error, -snapshot->fd, "%s/%s", directory, snapshot->name);
    return contents_read(snapshot, database_id, error);
}

void snapshot_close(struct snapshot *snapshot)
{
    if (snapshot->fd >= 0)
        file_close(snapshot->fd);
    snapshot->fd = -1;
    free(snapshot->entries);
    free(snapshot->collections);
    snapshot->entries = NULL;
    snapshot->collections = NULL;
}

uint64_t snapshot_newest_seq(const char *directory, const uint8_t *database_id)
{
    struct snapshot_list list;
    uint64_t seq = 0;
    if (snapshot_list_read(directory, &list, NULL) != TIDE_OK)
        return 0;
    for (size_t i = 0; i < list.count && seq == 0; i++) {
        struct snapshot snapshot;
        if (snapshot_open(&snapshot, directory, list.seqs[i], database_id, NULL) == TIDE_OK)
            seq = list.seqs[i];
        snapshot_close(&snapshot);
    }
    snapshot_list_free(&list);
    return seq;
}

enum tide_status snapshot_block_read(const struct snapshot *snapshot, uint64_t number, uint8_t **buffer,
                                     size_t *capacity, struct tide_error *error)
{
    const struct snapshot_entry *entry = &snapshot->entries[number];
    if (entry->bytes > *capacity) {
        uint8_t *grown = realloc(*buffer, entry->bytes);
        if (!grown)
            return error_set(error, TIDE_MEMORY, "out of memory");
        *buffer = grown;
        *capacity = entry->bytes;
    }
    int64_t got = file_read(snapshot->fd, *buffer, entry->bytes, entry->offset);
    if (got < 0)
        return error_system(error, (int)-got, "%s: offset %" PRIu64, snapshot->name, entry->offset);
    if (got < entry->bytes || !snapshot_block_valid(*buffer, entry, snapshot->header.seq))
        return error_set(error, TIDE_CORRUPT, "%s: damaged at offset %" PRIu64, snapshot->name, entry->offset);
    return TIDE_OK;
}

/* ---- Telling ---- */

/* Whether the blocks are whole; OK, or what is wrong with the first that isn't. */
static enum tide_status blocks_check(const struct snapshot *snapshot, struct tide_error *error)
{
    uint8_t *buffer = NULL;
    size_t capacity = 0;
    enum tide_status status = TIDE_OK;
    for (uint64_t i = 0; i < snapshot->trailer.blocks && status == TIDE_OK; i++)
        status = snapshot_block_read(snapshot, i, &buffer, &capacity, error);
    free(buffer);
    return status;
}

enum tide_status snapshots_tell(const char *directory, const uint8_t *database_id, bool whole,
                                void (*visit)(void *context, const struct tide_snapshot_file *file), void *context,
                                struct tide_error *error)
{
    struct snapshot_list list;
    enum tide_status status = snapshot_list_read(directory, &list, error);
    for (size_t i = 0; i < list.count && status == TIDE_OK; i++) {
        struct snapshot snapshot;
        struct tide_error fault = {0};
        enum tide_status found = snapshot_open(&snapshot, directory, list.seqs[i], database_id, &fault);
        if (found == TIDE_OK && whole)
            found = blocks_check(&snapshot, &fault);
        const struct tide_snapshot_file file = {.name = snapshot.name,
                                                .seq = list.seqs[i],
                                                .records = snapshot.trailer.records,
                                                .bytes = snapshot.bytes,
                                                .created_us = snapshot.header.created_us,
                                                .fault = found == TIDE_OK ? NULL : fault.message};
        if (found == TIDE_MEMORY)
            status = error_set(error, TIDE_MEMORY, "out of memory");
        else if (found != TIDE_NOT_FOUND) /* a process has made a newer one meanwhile, and removed this */
            visit(context, &file);
        snapshot_close(&snapshot);
    }
    snapshot_list_free(&list);
    return status;
}

enum tide_status tide_snapshots(const char *path, bool whole,
                                void (*visit)(void *context, const struct tide_snapshot_file *file), void *context,
                                struct tide_error *error)
{
    struct file_status found;
    int result = file_stat(path, &found);
    if (result == -ENOENT)
        return error_set(error, TIDE_NOT_FOUND, "%s: there is no such directory", path);
    if (result < 0 || !found.is_directory)
        return error_system(error, result < 0 ? -result : ENOTDIR, "%s", path);
    return snapshots_tell(path, NULL, whole, visit, context, error);
}
