/* segment.c - names of segment files, listing them, creating one, reading its header. See segment.h for the names. */
#include "segment.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "error.h"

enum { SEQ_DIGITS = 20 };
static const char sealed_prefix[] = "events-", sealed_suffix[] = ".raftlog";

void segment_sealed_name(char name[SEGMENT_NAME_BYTES], uint64_t first_seq)
{
    snprintf(name, SEGMENT_NAME_BYTES, "%s%0*" PRIu64 "%s", sealed_prefix, SEQ_DIGITS, first_seq, sealed_suffix);
}

struct listing {
    struct segment_list *list;
    size_t capacity;
    bool memory_out;
    char bad_name[SEGMENT_NAME_BYTES];
};

/* The seq in the name of a sealed segment; 0 when the name isn't well formed. */
static uint64_t sealed_seq(const char *name)
{
    uint64_t seq = strtoull(name + sizeof sealed_prefix - 1, NULL, 10);
    char expected[SEGMENT_NAME_BYTES];
    segment_sealed_name(expected, seq);
    return strcmp(name, expected) == 0 ? seq : 0;
}

static void listing_visit(void *visitor, const char *name)
{
    struct listing *listing = visitor;
    struct segment_list *list = listing->list;
    list->active |= strcmp(name, SEGMENT_ACTIVE_NAME) == 0;
    list->next |= strcmp(name, SEGMENT_NEXT_NAME) == 0;
    size_t length = strlen(name);
    if (strncmp(name, sealed_prefix, sizeof sealed_prefix - 1) != 0 || length < sizeof sealed_suffix ||
        strcmp(name + length - (sizeof sealed_suffix - 1), sealed_suffix) != 0)
        return;
    uint64_t seq = sealed_seq(name);
    if (seq == 0) {
        snprintf(listing->bad_name, sizeof listing->bad_name, "%s", name);
        return;
    }
    if (list->sealed_count == listing->capacity) {
        size_t capacity = listing->capacity ? listing->capacity * 2 : 16;
        uint64_t *sealed = realloc(list->sealed, capacity * sizeof *sealed);
        if (!sealed) {
            listing->memory_out = true;
            return;
        }
        list->sealed = sealed;
        listing->capacity = capacity;
    }
    list->sealed[list->sealed_count++] = seq;
}

static int seq_compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

enum tide_status segment_list_read(const char *directory, struct segment_list *list, struct tide_error *error)
{
    *list = (struct segment_list){0};
    struct listing listing = {.list = list};
    int result = file_list(directory, listing_visit, &listing);
    enum tide_status status = TIDE_OK;
    if (result < 0)
        status = error_system(error, -result, "%s", directory);
    else if (listing.memory_out)
        status = error_set(error, TIDE_MEMORY, "out of memory");
    else if (listing.bad_name[0])
        status = error_set(error, TIDE_CORRUPT, "%s/%s: not the name of a segment", directory, listing.bad_name);
    if (status != TIDE_OK) {
        segment_list_free(list);
        return status;
    }
    if (list->sealed_count > 0)
        qsort(list->sealed, list->sealed_count, sizeof *list->sealed, seq_compare);
    return TIDE_OK;
}

uint64_t segment_list_bytes(const char *directory, const struct segment_list *list)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < list->sealed_count; i++) {
        char name[SEGMENT_NAME_BYTES];
        struct file_status found;
        segment_sealed_name(name, list->sealed[i]);
        char *path = file_path(directory, name);
        if (path && file_stat(path, &found) == 0) /* what is wrong with it is told when it is opened */
            sum += found.bytes;
        free(path);
    }
    return sum;
}

void segment_list_free(struct segment_list *list)
{
    free(list->sealed);
    *list = (struct segment_list){0};
}

enum tide_status segment_create(const char *directory, const char *name, const struct segment_header *header,
                                struct tide_error *error)
{
    uint8_t bytes[SEGMENT_HEADER_BYTES];
    segment_header_encode(bytes, header);
    char *path = file_path(directory, name);
    if (!path)
        return error_set(error, TIDE_MEMORY, "out of memory");
    int fd = file_open(path, O_RDWR | O_CREAT | O_TRUNC, 0644);
    free(path);
    int result = fd < 0 ? fd : file_write(fd, bytes, sizeof bytes, 0);
    if (result == 0)
        result = file_sync(fd);
    if (fd >= 0)
        file_close(fd);
    return result < 0 ? error_system(error, -result, "%s/%s: cannot create it", directory, name) : TIDE_OK;
}

enum tide_status segment_read_header(int fd, const char *name, struct segment_header *header, struct tide_error *error)
{
    uint8_t bytes[SEGMENT_HEADER_BYTES];
    int64_t got = file_read(fd, bytes, sizeof bytes, 0);
    if (got < 0)
        return error_system(error, (int)-got, "%s", name);
    if (got < SEGMENT_HEADER_BYTES)
        return error_set(error, TIDE_CORRUPT, "%s: %" PRId64 " bytes are too short for a segment", name, got);
    return segment_header_decode(bytes, header, name, error);
}
