/* threads.c - crashtest threads: many threads on the same documents. */
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "crashtest.h"
#include "random.h"

enum { WRITERS = THREADS_WRITERS, READERS = 2, REPLACED_IN = 20 * MODEL_IDS };

static struct tide_engine *shared;
static _Atomic bool writers_done; /* sequentially consistent: nothing depends on its speed */
static unsigned writes_each;
static _Atomic unsigned refusals; /* the same; because the disk was full */

static void *writer_main(void *context)
{
    uint64_t random = (uint64_t)(uintptr_t)context;
    struct tide_collection *collection = tide_collection(shared, "articles", 8, NULL);
    char text[16], value[512];
    for (unsigned i = 0; i < writes_each; i++) {
        unsigned id = (unsigned)random_below(&random, MODEL_IDS);
        size_t length = 1 + random_below(&random, sizeof value);
        memset(value, 'a' + (int)id, length);
        struct tide_write write = {.operation = TIDE_PUT,
                                   .durability = TIDE_ACCEPTED,
                                   .if_version = TIDE_ANY_VERSION,
                                   .id = text,
                                   .id_length = model_id(id, text),
                                   .value = value,
                                   .value_length = length};
        struct tide_written written;
        struct tide_error error;
        enum tide_status status = tide_write(collection, &write, &written, &error);
        if (status == TIDE_FULL && may_be_full)
            atomic_fetch_add(&refusals, 1);
        else if (status != TIDE_OK)
            die("a write failed: %s", error.message);
    }
    return NULL;
}

/* Until every document was most likely replaced, and nothing but a reader keeps what it was. Where the disk is nearly
 * full the writer waits for who reads, so there not for long. */
static void others_write(void)
{
    struct timespec pause = {0, 50000};
    struct tide_watermarks now;
    tide_watermarks(shared, &now);
    uint64_t until = now.accepted + REPLACED_IN;
    for (int i = 0; now.written < until && !atomic_load(&writers_done) && !(may_be_full && i == 100); i++) {
        nanosleep(&pause, NULL);
        tide_watermarks(shared, &now);
    }
}

/* The last reader is slow: what it sees is replaced while it looks. */
static void *reader_main(void *context)
{
    uint64_t random = (uint64_t)(uintptr_t)context;
    bool slow = (uintptr_t)context == WRITERS + READERS;
    struct tide_collection *collection = tide_collection(shared, "articles", 8, NULL);
    while (!atomic_load(&writers_done)) {
        unsigned id = (unsigned)random_below(&random, MODEL_IDS);
        char text[16];
        struct tide_view view;
        tide_read_begin(shared);
        enum tide_status status = tide_get(collection, text, model_id(id, text), &view);
        if (slow)
            others_write();
        if (status == TIDE_OK)
            for (size_t i = 0; i < view.value_length; i++)
                if (view.value[i] != 'a' + (int)id)
                    die("a reader saw a value change, or another document's");
        tide_read_end(shared);
    }
    return NULL;
}

static void versions_read(struct tide_engine *engine, uint64_t versions[MODEL_IDS])
{
    tide_read_begin(engine);
    for (unsigned i = 0; i < MODEL_IDS; i++) {
        char text[16];
        struct tide_view view;
        tide_get(tide_collection(engine, "articles", 8, NULL), text, model_id(i, text), &view);
        versions[i] = view.version;
    }
    tide_read_end(engine);
}

unsigned threads_run(unsigned operations, uint64_t capacity)
{
    struct tide_options options = {.batch_size = 16};
    struct tide_error error;
    pthread_t threads[WRITERS + READERS];
    uint64_t before[MODEL_IDS], after[MODEL_IDS];
    snprintf(what, sizeof what, "threads, capacity %" PRIu64, capacity);
    writes_each = operations;
    atomic_store(&writers_done, false);
    atomic_store(&refusals, 0);
    disk_create(1);
    disk_capacity(capacity);
    if (tide_open(directory, &options, &shared, &error) != TIDE_OK)
        die("it does not open: %s", error.message);
    for (uintptr_t i = 0; i < WRITERS + READERS; i++)
        if (pthread_create(&threads[i], NULL, i < WRITERS ? writer_main : reader_main, (void *)(i + 1)) != 0)
            die("cannot start a thread");
    for (int i = 0; i < WRITERS + READERS; i++) {
        pthread_join(threads[i], NULL);
        if (i == WRITERS - 1)
            atomic_store(&writers_done, true);
    }
    versions_read(shared, before);
    if (tide_close(shared, &error) != TIDE_OK || tide_open(directory, &options, &shared, &error) != TIDE_OK)
        die("%s", error.message);
    versions_read(shared, after);
    if (memcmp(before, after, sizeof before) != 0)
        die("the log amounts to another map than there was");
    if (tide_close(shared, &error) != TIDE_OK)
        die("%s", error.message);
    check_left_over();
    disk_destroy();
    return atomic_load(&refusals);
}

void threads_all(unsigned operations)
{
    threads_run(operations * 1000, 0);
    printf("crashtest threads: %u writes of %d threads, the log is the map\n", writes_each * WRITERS, WRITERS);
}
