/* backup_spec.c - backups while threads write and segments are sealed; what was backed up is the log up to its seq.
 * Each call on files fails in turn in spec/crash/backup.c, refusals are in spec/backup_spec.lua. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#include "../crash/random.h"
#include "directory.h"
#include "file.h"
#include "tidemark.h"

static char source[80], target[80], restored[80];

enum { WRITERS = 2, WRITES_EACH = 1500, IDS = 40, VALUE_BYTES_MAX = 9000, BACKUPS = 8 };

static uint64_t seed;
static _Atomic bool backed_up; /* all of them are made; sequentially consistent: nothing depends on its speed */

static struct tide_engine *open_at(const char *path)
{
    struct tide_options options = {.segment_bytes = TIDE_SEGMENT_BYTES_MIN, .batch_size = 50, .flush_interval_ms = 2};
    struct tide_engine *engine;
    struct tide_error error;
    if (tide_open(path, &options, &engine, &error) != TIDE_OK)
        fail_msg("%s: %s", path, error.message);
    return engine;
}

static void write_one(struct tide_engine *engine, uint64_t *random)
{
    static __thread char value[VALUE_BYTES_MAX];
    char id[16];
    snprintf(id, sizeof id, "%" PRIu64, random_below(random, IDS));
    size_t length = 2 + random_below(random, VALUE_BYTES_MAX - 2);
    memset(value, 'a' + (int)random_below(random, 26), length);
    struct tide_write write = {.operation = random_below(random, 5) ? TIDE_PUT : TIDE_DELETE,
                               .if_version = TIDE_ANY_VERSION,
                               .id = id,
                               .id_length = strlen(id),
                               .value = value,
                               .value_length = length};
    if (write.operation == TIDE_DELETE)
        write.value = NULL, write.value_length = 0;
    struct tide_written written;
    struct tide_error error;
    enum tide_status status = tide_write(tide_collection(engine, "c", 1, NULL), &write, &written, &error);
    if (status != TIDE_OK && status != TIDE_NOT_FOUND)
        fail_msg("a write failed: %s", error.message);
}

static void *writer_main(void *context)
{
    uint64_t random = seed + (uint64_t)(uintptr_t)context;
    struct tide_engine *engine = open_at(source); /* the same one, counted */
    for (unsigned i = 0; i < WRITES_EACH; i++) {
        write_one(engine, &random);
        if (i % 100 == 0 && !atomic_load(&backed_up)) /* so that they last while backups are made */
            nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
    }
    tide_close(engine, NULL);
    return NULL;
}

/* The state that the events of `path` up to `seq` amount to: of each id the seq of its event, 0 where it is absent. */
static void fold(struct tide_engine *engine, uint64_t seq, uint64_t versions[IDS])
{
    struct tide_event_filter filter = {.to = seq};
    struct tide_events *events;
    struct tide_event event;
    uint64_t expected = 0;
    memset(versions, 0, IDS * sizeof *versions);
    if (seq == 0)
        return;
    assert_int_equal(tide_events_open(engine, &filter, &events, NULL), TIDE_OK);
    while (tide_events_next(events, &event, NULL) == TIDE_OK) {
        assert_int_equal(event.seq, ++expected);
        char id[16] = "";
        memcpy(id, event.id, event.id_length);
        versions[atoi(id)] = event.type == TIDE_EVENT_DELETED ? 0 : event.seq;
    }
    assert_int_equal(expected, seq);
    tide_events_close(events);
}

static void assert_state(struct tide_engine *engine, const uint64_t versions[IDS])
{
    for (unsigned i = 0; i < IDS; i++) {
        char id[16];
        struct tide_view view = {0};
        snprintf(id, sizeof id, "%u", i);
        tide_read_begin(engine);
        tide_get(tide_collection(engine, "c", 1, NULL), id, strlen(id), &view);
        tide_read_end(engine);
        assert_int_equal(view.value ? view.version : 0, versions[i]);
    }
}

static void remove_all(const char *path)
{
    char command[160];
    snprintf(command, sizeof command, "rm -rf '%s'", path);
    assert_int_equal(system(command), 0);
}

/* Restores up to `seq`, and compares with the source's events. */
static void assert_restores(struct tide_engine *engine, uint64_t seq)
{
    uint64_t versions[IDS], found[IDS];
    struct tide_restore_options options = {.to_seq = seq};
    struct tide_restore_result result;
    struct tide_error error;
    remove_all(restored);
    if (tide_restore(target, restored, &options, &result, NULL, NULL, &error) != TIDE_OK)
        fail_msg("seed %" PRIu64 ", seq %" PRIu64 ": %s", seed, seq, error.message);
    assert_int_equal(result.seq, seq);
    struct tide_engine *copy = open_at(restored);
    fold(engine, seq, versions);
    fold(copy, seq, found);
    assert_memory_equal(versions, found, sizeof versions);
    assert_state(copy, versions);
    assert_int_equal(tide_close(copy, NULL), TIDE_OK);
}

static void progress_note(void *context, uint64_t done, uint64_t total)
{
    uint64_t *noted = context;
    assert_true(done >= noted[0]);
    assert_true(done <= total + (4 << 20)); /* the database grows meanwhile */
    noted[0] = done;
    noted[1]++;
}

static void a_backup_while_threads_write_and_segments_are_sealed(void **state)
{
    (void)state;
    struct tide_engine *engine = open_at(source);
    pthread_t writers[WRITERS];
    uint64_t last = 0, random = seed, noted[2] = {0};
    atomic_store(&backed_up, false);
    for (uintptr_t i = 0; i < WRITERS; i++)
        assert_int_equal(pthread_create(&writers[i], NULL, writer_main, (void *)(i + 1)), 0);
    for (int i = 0; i < BACKUPS; i++) {
        struct tide_watermarks before;
        struct tide_backup_result result;
        struct tide_error error;
        noted[0] = 0;
        tide_watermarks(engine, &before);
        /* In turn from the open engine, and as another process would do it. */
        enum tide_status status = i % 2 ? tide_backup_directory(source, target, &result, progress_note, noted, &error)
                                        : tide_backup(engine, target, &result, progress_note, noted, &error);
        if (status != TIDE_OK)
            fail_msg("seed %" PRIu64 ", backup %d: %s", seed, i, error.message);
        assert_true(result.seq >= (i % 2 ? before.durable : before.accepted));
        assert_true(result.seq >= last);
        last = result.seq;
        struct tide_report report;
        assert_int_equal(tide_verify(target, &report, NULL, NULL, NULL, &error), TIDE_OK);
        assert_int_equal(report.damages, 0);
        assert_int_equal(report.last_seq, last);
        assert_true(report.clean_close && report.backup && !report.incomplete && !report.torn);
    }
    atomic_store(&backed_up, true);
    for (int i = 0; i < WRITERS; i++)
        pthread_join(writers[i], NULL);
    struct tide_stats stats;
    struct tide_backup_result result;
    noted[0] = 0;
    assert_int_equal(tide_backup(engine, target, &result, progress_note, noted, NULL), TIDE_OK);
    tide_stats(engine, &stats);
    assert_true(stats.segments >= 8);
    assert_int_equal(result.seq, stats.accepted);
    assert_true(noted[1] > 0);
    last = result.seq;
    assert_restores(engine, last);
    for (int i = 0; i < 4; i++)
        assert_restores(engine, 1 + random_below(&random, last));
    assert_int_equal(tide_close(engine, NULL), TIDE_OK);
}

static void the_durable_seq_of_a_backup_was_durable(void **state)
{
    (void)state;
    uint64_t random = seed;
    struct tide_engine *engine = open_at(source);
    for (int i = 0; i < 50; i++)
        write_one(engine, &random);
    struct tide_backup_result result;
    struct tide_watermarks watermarks;
    assert_int_equal(tide_backup(engine, target, &result, NULL, NULL, NULL), TIDE_OK);
    tide_watermarks(engine, &watermarks);
    assert_int_equal(result.seq, watermarks.accepted);
    assert_int_equal(watermarks.durable, watermarks.accepted);
    assert_int_equal(tide_close(engine, NULL), TIDE_OK);
}

static void an_engine_that_reads_alone_is_backed_up_as_its_directory_is(void **state)
{
    (void)state;
    uint64_t random = seed;
    struct tide_engine *engine = open_at(source);
    for (int i = 0; i < 50; i++)
        write_one(engine, &random);
    assert_int_equal(tide_close(engine, NULL), TIDE_OK);
    struct tide_options options = {.read_only = true};
    assert_int_equal(tide_open(source, &options, &engine, NULL), TIDE_OK);
    struct tide_watermarks watermarks;
    tide_watermarks(engine, &watermarks);
    struct tide_backup_result result;
    assert_int_equal(tide_backup(engine, target, &result, NULL, NULL, NULL), TIDE_OK);
    assert_int_equal(result.seq, watermarks.written);
    assert_restores(engine, result.seq);
    assert_int_equal(tide_close(engine, NULL), TIDE_OK);
}

/* Nobody gives an error to fill in: statuses alone. */
static void refusals_need_no_error_to_fill_in(void **state)
{
    (void)state;
    struct tide_backup_result result;
    struct tide_restore_result restore;
    struct tide_engine *engine;
    uint64_t random = seed;
    assert_int_equal(tide_backup_directory(source, target, &result, NULL, NULL, NULL), TIDE_NOT_FOUND);
    assert_int_equal(tide_restore(target, restored, NULL, &restore, NULL, NULL, NULL), TIDE_NOT_FOUND);
    engine = open_at(source);
    write_one(engine, &random);
    assert_int_equal(tide_backup(engine, source, &result, NULL, NULL, NULL), TIDE_INVALID);
    assert_int_equal(tide_restore(source, restored, NULL, &restore, NULL, NULL, NULL), TIDE_LOCKED);
    assert_int_equal(tide_backup(engine, target, &result, NULL, NULL, NULL), TIDE_OK);
    assert_int_equal(tide_restore(target, source, NULL, &restore, NULL, NULL, NULL), TIDE_INVALID);
    assert_int_equal(tide_open(target, NULL, &(struct tide_engine *){NULL}, NULL), TIDE_READ_ONLY);
    assert_int_equal(tide_close(engine, NULL), TIDE_OK);
}

/* An engine that has failed tells its failure; what is in its log can be had from the directory. */
static ssize_t refuse_write(void *context, int fd, const void *buffer, size_t bytes, uint64_t offset)
{
    (void)context, (void)fd, (void)buffer, (void)bytes, (void)offset;
    errno = EIO;
    return -1;
}

static void a_failed_engine_is_backed_up_from_its_directory(void **state)
{
    (void)state;
    uint64_t random = seed;
    struct tide_engine *engine = open_at(source);
    struct tide_written written;
    struct tide_write write = {.operation = TIDE_PUT,
                               .durability = TIDE_DURABLE,
                               .if_version = TIDE_ANY_VERSION,
                               .id = "1",
                               .id_length = 1,
                               .value = "{}",
                               .value_length = 2};
    for (int i = 0; i < 20; i++)
        write_one(engine, &random);
    uint64_t durable;
    assert_int_equal(tide_flush(engine, TIDE_NO_TIMEOUT, &durable, NULL), TIDE_OK);
    struct file_calls calls = *file_calls_system();
    calls.pwrite = refuse_write;
    file_calls_use(&calls);
    assert_int_equal(tide_write(tide_collection(engine, "c", 1, NULL), &write, &written, NULL), TIDE_IO);
    file_calls_use(NULL);
    struct tide_backup_result result;
    assert_int_equal(tide_backup(engine, target, &result, NULL, NULL, NULL), TIDE_FAILED);
    assert_int_equal(tide_backup_directory(source, target, &result, NULL, NULL, NULL), TIDE_OK);
    assert_int_equal(result.seq, durable);
    assert_int_equal(tide_close(engine, NULL), TIDE_FAILED);
}

static int paths_make(void **state)
{
    if (directory_make(state) != 0)
        return -1;
    snprintf(source, sizeof source, "%s/db", directory);
    snprintf(target, sizeof target, "%s/backups/db", directory);
    snprintf(restored, sizeof restored, "%s/restored", directory);
    return 0;
}

int main(void)
{
    const char *given = getenv("TIDEMARK_SEED");
    seed = given ? strtoull(given, NULL, 10) : (uint64_t)time(NULL);
    printf("backup_spec: TIDEMARK_SEED=%" PRIu64 "\n", seed);
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, paths_make, directory_remove)
        TEST(a_backup_while_threads_write_and_segments_are_sealed),
        TEST(the_durable_seq_of_a_backup_was_durable),
        TEST(an_engine_that_reads_alone_is_backed_up_as_its_directory_is),
        TEST(refusals_need_no_error_to_fill_in),
        TEST(a_failed_engine_is_backed_up_from_its_directory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
