/* relocate_spec.c - documents that are left among many deleted ones are moved together, and the memory goes back, while
 * readers read and a writer writes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "directory.h"
#include "tidemark.h"

/* Under AddressSanitizer every block is malloc's own: the documents are looked at all the same, the memory is not. */
#ifdef __SANITIZE_ADDRESS__
enum { OWN_MEMORY = 0 };
#else
enum { OWN_MEMORY = 1 };
#endif

enum { DOCUMENTS = 200000, KEPT_EACH = 10, VALUE_BYTES = 300 };

static struct tide_engine *engine;
static struct tide_collection *collection;
static atomic_bool stop; /* relaxed: nothing is read behind it */

static void pause_ms(long milliseconds)
{
    nanosleep(&(struct timespec){.tv_nsec = milliseconds * 1000000}, NULL);
}

static uint64_t write_document(unsigned number, enum tide_operation operation, char letter)
{
    char id[24], value[VALUE_BYTES];
    memset(value, letter, sizeof value);
    struct tide_write write = {.operation = operation,
                               .if_version = TIDE_ANY_VERSION,
                               .id = id,
                               .id_length = (size_t)snprintf(id, sizeof id, "document-%u", number),
                               .value = operation == TIDE_DELETE ? NULL : value,
                               .value_length = operation == TIDE_DELETE ? 0 : sizeof value};
    struct tide_written written;
    struct tide_error error;
    assert_int_equal(tide_write(collection, &write, &written, &error), TIDE_OK);
    return written.version;
}

/* The document's letter and version; 0: it is absent. */
static char read_document(unsigned number, uint64_t *version)
{
    char id[24], letter = 0;
    struct tide_view view;
    size_t length = (size_t)snprintf(id, sizeof id, "document-%u", number);
    tide_read_begin(engine);
    if (tide_get(collection, id, length, &view) == TIDE_OK) {
        letter = view.value[0];
        for (size_t i = 0; i < view.value_length; i++)
            if (view.value[i] != letter)
                abort();
        *version = view.version;
    }
    tide_read_end(engine);
    return letter;
}

static void *reader_main(void *context)
{
    uint64_t version;
    (void)context;
    for (unsigned i = 0; !atomic_load_explicit(&stop, memory_order_relaxed); i = (i + KEPT_EACH * 7) % DOCUMENTS)
        if (read_document(i, &version) != 'x')
            abort();
    return NULL;
}

static uint64_t memory_bytes(void)
{
    struct tide_stats stats;
    tide_stats(engine, &stats);
    return stats.memory_bytes;
}

static void memory_that_few_documents_hold_goes_back(void **state)
{
    (void)state;
    static uint64_t versions[DOCUMENTS];
    struct tide_options options = {.flush_interval_ms = 5, .sync = TIDE_SYNC_NONE};
    struct tide_error error;
    assert_int_equal(tide_open(directory, &options, &engine, &error), TIDE_OK);
    collection = tide_collection(engine, "articles", 8, &error);
    for (unsigned i = 0; i < DOCUMENTS; i++)
        versions[i] = write_document(i, TIDE_CREATE, 'x');
    pthread_t reader;
    assert_int_equal(pthread_create(&reader, NULL, reader_main, NULL), 0);
    for (unsigned i = 0; i < DOCUMENTS; i++)
        if (i % KEPT_EACH != 0)
            write_document(i, TIDE_DELETE, 0);
    uint64_t before = memory_bytes();
    bool less = !OWN_MEMORY;
    for (int tries = 0; tries < 2000 && !less; tries++) { /* it begins when there is nothing to write for a while */
        pause_ms(10);
        less = memory_bytes() < before / 2;
    }
    atomic_store_explicit(&stop, true, memory_order_relaxed);
    pthread_join(reader, NULL);
    assert_true(less);
    /* What was moved can be replaced, deleted, and found again. */
    for (unsigned i = 0; i < DOCUMENTS; i++) {
        uint64_t version = 0;
        char letter = read_document(i, &version);
        assert_int_equal(letter, i % KEPT_EACH == 0 ? 'x' : 0);
        assert_true(letter == 0 || version == versions[i]);
        if (letter)
            versions[i] = write_document(i, TIDE_PUT, 'y');
    }
    assert_int_equal(tide_close(engine, &error), TIDE_OK);
    assert_int_equal(tide_open(directory, &options, &engine, &error), TIDE_OK);
    collection = tide_collection(engine, "articles", 8, &error);
    assert_int_equal(tide_count(collection), DOCUMENTS / KEPT_EACH);
    for (unsigned i = 0; i < DOCUMENTS; i += KEPT_EACH) {
        uint64_t version = 0;
        assert_int_equal(read_document(i, &version), 'y');
        assert_int_equal(version, versions[i]);
    }
    assert_int_equal(tide_close(engine, &error), TIDE_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(memory_that_few_documents_hold_goes_back, directory_make, directory_remove)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
