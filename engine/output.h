/* output.h - a new file, written from its beginning through a buffer, with the CRC32C of all of it. For copies of
 * segments, whose frames may be many and small. */
#ifndef TIDE_OUTPUT_H
#define TIDE_OUTPUT_H

#include <stddef.h>
#include <stdint.h>

#include "tidemark.h"

struct output {
    char *path;
    int fd;
    uint8_t *buffer;
    size_t used;
    uint64_t bytes; /* so far, the buffer's included */
    uint32_t crc;   /* of them */
};

/* Creates the file, or empties the one that is there. After an error nothing is open. */
enum tide_status output_create(struct output *output, const char *directory, const char *name,
                               struct tide_error *error);
enum tide_status output_write(struct output *output, const void *bytes, size_t length, struct tide_error *error);

/* Writes what is buffered, syncs and closes; the directory is the caller's to sync. Closed after an error, too. */
enum tide_status output_finish(struct output *output, struct tide_error *error);

/* Closes and removes the file, if one is open. */
void output_abandon(struct output *output);

#endif
