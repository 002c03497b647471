/* output.c - see output.h. The buffer is a megabyte: a frame that is larger goes out alone. */
#include "output.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "file.h"
#include "format.h"

enum { BUFFER_BYTES = 1 << 20 };

static void output_close(struct output *output)
{
    if (output->fd >= 0)
        file_close(output->fd);
    free(output->path);
    free(output->buffer);
    *output = (struct output){.fd = -1};
}

enum tide_status output_create(struct output *output, const char *directory, const char *name, struct tide_error *error)
{
    *output = (struct output){.fd = -1, .path = file_path(directory, name), .buffer = malloc(BUFFER_BYTES)};
    if (!output->path || !output->buffer) {
        output_close(output);
        return error_set(error, TIDE_MEMORY, "out of memory");
    }
    output->fd = file_open(output->path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    if (output->fd >= 0)
        return TIDE_OK;
    enum tide_status status = error_system(error, -output->fd, "%s: cannot create it", output->path);
    output_close(output);
    return status;
}

static enum tide_status bytes_put(struct output *output, const void *bytes, size_t length, struct tide_error *error)
{
    uint64_t offset = output->bytes - output->used - length;
    int result = length > 0 ? file_write(output->fd, bytes, length, offset) : 0;
    return result < 0 ? error_system(error, -result, "%s: cannot write", output->path) : TIDE_OK;
}

/* Writes the buffer out. */
static enum tide_status buffer_put(struct output *output, struct tide_error *error)
{
    size_t used = output->used;
    output->used = 0;
    return bytes_put(output, output->buffer, used, error);
}

enum tide_status output_write(struct output *output, const void *bytes, size_t length, struct tide_error *error)
{
    enum tide_status status = TIDE_OK;
    if (output->used + length > BUFFER_BYTES)
        status = buffer_put(output, error);
    if (status != TIDE_OK)
        return status;
    output->crc = crc32c_continue(output->crc, bytes, length);
    output->bytes += length;
    if (length > BUFFER_BYTES)
        return bytes_put(output, bytes, length, error);
    memcpy(output->buffer + output->used, bytes, length);
    output->used += length;
    return TIDE_OK;
}

enum tide_status output_finish(struct output *output, struct tide_error *error)
{
    enum tide_status status = buffer_put(output, error);
    int result = status == TIDE_OK ? file_sync(output->fd) : 0;
    if (result < 0)
        status = error_system(error, -result, "%s: cannot sync", output->path);
    uint64_t bytes = output->bytes;
    uint32_t crc = output->crc;
    if (status != TIDE_OK)
        file_unlink(output->path);
    output_close(output);
    output->bytes = bytes;
    output->crc = crc;
    return status;
}

void output_abandon(struct output *output)
{
    if (output->fd < 0)
        return;
    file_unlink(output->path);
    output_close(output);
}
