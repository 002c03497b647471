/* flips.c - crashtest flips: each byte of a log, or one of `every`, changed where it rests. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "crashtest.h"

static void log_size(void *context, const char *path, uint64_t bytes)
{
    if (strcmp(path, "/data/blog/events.raftlog") == 0)
        *(uint64_t *)context = bytes;
}

/* After a clean close all is durable: a changed log is refused. Only the end mark itself may be taken for a torn tail,
 * and then nothing is missing. */
void flips_all(unsigned every)
{
    uint64_t bytes = 1, tried = 0, refused = 0;
    double start = now();
    for (uint64_t at = 0; at < bytes; at += every) {
        snprintf(what, sizeof what, "flips, byte %" PRIu64, at);
        model_reset(&model);
        disk_create(at);
        struct life life = {.random = 3, .operations = 6};
        if (!life_run(&life))
            die("a life without faults was not whole");
        disk_files(log_size, &bytes);
        if (!disk_flip("/data/blog/events.raftlog", at, (unsigned)(at * 5)))
            die("there is no such byte");
        struct tide_error error;
        struct tide_engine *engine;
        enum tide_status status = tide_open(directory, NULL, &engine, &error);
        if (status == TIDE_OK) {
            if (at < bytes - END_MARK_BYTES)
                die("the change was passed over");
            const char *wrong = model_compare(&model, engine, tide_collection(engine, "articles", 8, NULL));
            if (wrong)
                die("%s", wrong);
            if (tide_close(engine, &error) != TIDE_OK)
                die("closing failed: %s", error.message);
        } else if (status != TIDE_CORRUPT &&
                   status != TIDE_INVALID) { /* the latter: it may be of another format version */
            die("refused for another reason: %s", error.message);
        } else {
            refused++;
        }
        tried++;
        check_left_over();
        disk_destroy();
    }
    printf("crashtest flips: %" PRIu64 " of %" PRIu64 " bytes, %" PRIu64
           " refused, of the end mark nothing is lost, in %.1f s\n",
           tried, bytes, refused, now() - start);
}
