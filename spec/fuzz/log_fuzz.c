/* log_fuzz.c - the log's reader: the input is a segment. With an odd first byte its checksums are put right, so that
 * the fuzzer gets behind them. Whatever it is: verify and a read-only opening end; if repair says that all is well, the
 * database opens, takes a write, and is whole; if its seqs are used up, it opens for reading. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../engine/format.h"
#include "../../engine/tidemark.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char directory[64];

static void check(int holds)
{
    if (!holds)
        abort();
}

static void checksums_fix(uint8_t *bytes, size_t size)
{
    uint32_t crc, length;
    if (size < SEGMENT_HEADER_BYTES)
        return;
    crc = crc32c(bytes, 60);
    memcpy(bytes + 60, &crc, 4);
    for (size_t at = SEGMENT_HEADER_BYTES; size - at >= FRAME_HEADER_BYTES; at += length) {
        memcpy(&length, bytes + at + 8, 4);
        if (length < FRAME_HEADER_BYTES || length > size - at || length % FRAME_ALIGNMENT != 0)
            return;
        crc = crc32c(bytes + at + 8, length - 8);
        memcpy(bytes + at + 4, &crc, 4);
    }
}

/* Makes the directory, or empties it. */
static void directory_clear(void)
{
    DIR *files = opendir(directory);
    if (!files)
        check(mkdir(directory, 0755) == 0);
    for (struct dirent *file; files && (file = readdir(files));)
        unlinkat(dirfd(files), file->d_name, 0);
    if (files)
        closedir(files);
}

static void directory_fill(const uint8_t *bytes, size_t size)
{
    char path[100];
    directory_clear();
    snprintf(path, sizeof path, "%s/events.raftlog", directory);
    FILE *file = fopen(path, "wb");
    check(file != NULL && fwrite(bytes, 1, size, file) == size && fclose(file) == 0);
}

static void read_all(void)
{
    struct tide_options options = {.read_only = true};
    struct tide_engine *engine;
    struct tide_error error;
    if (tide_open(directory, &options, &engine, &error) != TIDE_OK)
        return;
    struct tide_event_filter filter = {0};
    struct tide_events *events;
    struct tide_event event;
    if (tide_events_open(engine, &filter, &events, &error) == TIDE_OK) {
        while (tide_events_next(events, &event, &error) == TIDE_OK)
            ;
        tide_events_close(events);
    }
    tide_close(engine, NULL);
}

static bool seqs_used_up(void)
{
    struct tide_options options = {.read_only = true};
    struct tide_engine *engine;
    struct tide_watermarks watermarks;
    check(tide_open(directory, &options, &engine, NULL) == TIDE_OK);
    tide_watermarks(engine, &watermarks);
    tide_close(engine, NULL);
    return watermarks.accepted >= SEQ_WRITE_MAX;
}

static void repair_and_write(void)
{
    struct tide_report report;
    struct tide_error error;
    if (tide_repair(directory, &report, NULL, NULL, NULL, &error) != TIDE_OK)
        return;
    struct tide_options options = {.segment_bytes = 1 << 20, .sync = TIDE_SYNC_NONE};
    struct tide_engine *engine;
    struct tide_written written;
    enum tide_status status = tide_open(directory, &options, &engine, &error);
    if (status == TIDE_INVALID && seqs_used_up())
        return;
    if (status != TIDE_OK)
        fprintf(stderr, "repaired, yet it does not open: %s\n", error.message);
    check(status == TIDE_OK);
    struct tide_collection *collection = tide_collection(engine, "c", 1, &error);
    struct tide_write write = {.operation = TIDE_PUT,
                               .if_version = TIDE_ANY_VERSION,
                               .id = "fuzz",
                               .id_length = 4,
                               .value = "{\"id\":\"fuzz\"}",
                               .value_length = 13};
    check(collection != NULL && tide_write(collection, &write, &written, &error) == TIDE_OK);
    check(tide_close(engine, &error) == TIDE_OK);
    check(tide_verify(directory, &report, NULL, NULL, NULL, &error) == TIDE_OK && report.damages == 0 && !report.torn);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tide_report report;
    struct tide_error error;
    if (size < 1)
        return 0;
    if (!directory[0])
        snprintf(directory, sizeof directory, "/dev/shm/tidemark-fuzz-%d", (int)getpid());
    uint8_t *bytes = malloc(size);
    memcpy(bytes, data + 1, size - 1);
    if (data[0] & 1)
        checksums_fix(bytes, size - 1);
    directory_fill(bytes, size - 1);
    free(bytes);
    tide_verify(directory, &report, NULL, NULL, NULL, &error);
    read_all();
    repair_and_write();
    directory_clear();
    return 0;
}
