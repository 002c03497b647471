/* engine_spec.c - the public C calls: writing, reading, reopening, waiting, failing, closing while others work. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../engine/engine.h"
#include "../../engine/file.h"
#include "../../engine/tidemark.h"
#include "directory.h"

static struct tide_engine *open_with(const struct tide_options *options)
{
    struct tide_engine *engine;
    struct tide_error error;
    if (tide_open(directory, options, &engine, &error) != TIDE_OK)
        fail_msg("open: %s", error.message);
    return engine;
}

static struct tide_collection *articles_of(struct tide_engine *engine)
{
    struct tide_collection *collection = tide_collection(engine, "articles", 8, NULL);
    assert_non_null(collection);
    return collection;
}

static enum tide_status write_one(struct tide_collection *collection, enum tide_operation operation, const char *id,
                                  const char *value, enum tide_durability durability, uint64_t *version)
{
    struct tide_write write = {.operation = operation,
                               .durability = durability,
                               .if_version = TIDE_ANY_VERSION,
                               .id = id,
                               .id_length = strlen(id),
                               .value = value,
                               .value_length = value ? strlen(value) : 0};
    struct tide_written written;
    enum tide_status status = tide_write(collection, &write, &written, NULL);
    if (version)
        *version = written.version;
    return status;
}

static void assert_document(struct tide_collection *collection, const char *id, const char *value)
{
    struct tide_view view;
    tide_read_begin(tide_collection_engine(collection));
    tide_get(collection, id, strlen(id), &view);
    bool same = value ? view.value && view.value_length == strlen(value) && !memcmp(view.value, value, strlen(value))
                      : !view.value;
    tide_read_end(tide_collection_engine(collection));
    assert_true(same);
}

static void what_was_written_is_there_after_reopening(void **state)
{
    (void)state;
    struct tide_engine *engine = open_with(NULL);
    struct tide_collection *articles = articles_of(engine);
    uint64_t version;
    assert_int_equal(write_one(articles, TIDE_CREATE, "a", "{\"n\":1}", 0, &version), TIDE_OK);
    assert_int_equal(version, 1);
    assert_int_equal(write_one(articles, TIDE_CREATE, "a", "{}", 0, NULL), TIDE_EXISTS);
    assert_int_equal(write_one(articles, TIDE_REPLACE, "b", "{}", 0, NULL), TIDE_NOT_FOUND);
    assert_int_equal(write_one(articles, TIDE_PUT, "b", "{\"n\":2}", 0, &version), TIDE_OK);
    assert_int_equal(write_one(articles, TIDE_PUT, "a", "{\"n\":3}", TIDE_DURABLE, &version), TIDE_OK);
    assert_int_equal(version, 3);
    assert_int_equal(write_one(articles, TIDE_DELETE, "b", NULL, 0, &version), TIDE_OK);
    assert_int_equal(tide_count(articles), 1);
    assert_int_equal(tide_close(engine, NULL), TIDE_OK);

    engine = open_with(NULL);
    articles = articles_of(engine);
    assert_document(articles, "a", "{\"n\":3}");
    assert_document(articles, "b", NULL);
    assert_int_equal(tide_count(articles), 1);
    struct tide_watermarks watermarks;
    tide_watermarks(engine, &watermarks);
    assert_int_equal(watermarks.accepted, 4);
    assert_int_equal(watermarks.durable, 4);

    struct tide_events *events;
    struct tide_event event;
    const uint8_t types[] = {1, 1, 2, 3};
    assert_int_equal(tide_events_open(engine, NULL, &events, NULL), TIDE_OK);
    for (uint64_t seq = 1; seq <= 4; seq++) {
        assert_int_equal(tide_events_next(events, &event, NULL), TIDE_OK);
        assert_int_equal(event.seq, seq);
        assert_int_equal(event.type, types[seq - 1]);
    }
    assert_int_equal(tide_events_next(events, &event, NULL), TIDE_NOT_FOUND);
    tide_events_close(events);
    assert_int_equal(tide_close(engine, NULL), TIDE_OK);
}

static void whatever_is_asked_for_ahead_many_are_got(void **state)
{
    (void)state;
    enum { IDS = 20 };
    struct tide_engine *engine = open_with(NULL);
    struct tide_collection *articles = articles_of(engine);
    char ids[IDS][8], values[IDS][2000];
    struct tide_key keys[IDS];
    struct tide_view views[IDS];
    for (int i = 0; i < IDS; i++) { /* from "1" on to a longer one than is ever asked for; the last one is absent */
        memset(values[i], '1', sizeof values[i]);
        values[i][1 + i * 100] = 0;
        keys[i] = (struct tide_key){ids[i], (size_t)snprintf(ids[i], sizeof ids[i], "id-%d", i)};
        if (i < IDS - 1)
            assert_int_equal(write_one(articles, TIDE_PUT, ids[i], values[i], TIDE_ACCEPTED, NULL), TIDE_OK);
    }
    size_t aheads[] = {0, 1, 64, 65, SIZE_MAX};
    for (size_t a = 0; a < sizeof aheads / sizeof *aheads; a++) {
        int same = 0;
        tide_read_begin(engine);
        size_t found = tide_get_many(articles, keys, IDS, aheads[a], views);
        for (int i = 0; i < IDS - 1; i++)
            same += views[i].value && views[i].value_length == strlen(values[i]) &&
                    memcmp(views[i].value, values[i], views[i].value_length) == 0;
        const char *absent = views[IDS - 1].value;
        tide_read_end(engine);
        assert_int_equal(found, IDS - 1);
        assert_int_equal(same, IDS - 1);
        assert_null(absent);
    }
    tide_close(engine, NULL);
}

static void a_directory_has_one_engine_in_a_process(void **state)
{
    (void)state;
    struct tide_engine *one = open_with(NULL), *two = open_with(NULL);
    assert_ptr_equal(one, two);
    struct tide_engine *three;
    assert_int_equal(tide_open(directory, &(struct tide_options){.batch_size = 7}, &three, NULL), TIDE_INVALID);
    assert_int_equal(tide_close(one, NULL), TIDE_OK);
    assert_int_equal(write_one(articles_of(two), TIDE_CREATE, "a", "{}", TIDE_DURABLE, NULL), TIDE_OK);
    assert_int_equal(tide_close(two, NULL), TIDE_OK);
}

enum { THREADS = 4, EACH = 5000 };

static void *create_run(void *context)
{
    struct tide_collection *collection = context;
    static _Atomic int next;
    int thread = atomic_fetch_add(&next, 1);
    for (int i = 0; i < EACH; i++) {
        char id[32];
        snprintf(id, sizeof id, "%d-%d", thread, i);
        enum tide_durability durability = i % 1000 == 999 ? TIDE_DURABLE : TIDE_ACCEPTED;
        if (write_one(collection, TIDE_CREATE, id, "{\"text\":\"some text to fill the channel with\"}", durability,
                      NULL) != TIDE_OK)
            abort();
    }
    return NULL;
}

/* A channel so small that everybody waits for room all the time. */
static void many_threads_through_a_small_channel_lose_nothing(void **state)
{
    (void)state;
    struct tide_options options = {
        .pending_bytes_max = TIDE_PENDING_BYTES_MIN, .segment_bytes = TIDE_SEGMENT_BYTES_MIN, .batch_size = 50};
    struct tide_engine *engine = open_with(&options);
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, create_run, articles_of(engine)), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    uint64_t durable = 0;
    assert_int_equal(tide_flush(engine, TIDE_NO_TIMEOUT, &durable, NULL), TIDE_OK);
    assert_int_equal(durable, THREADS * EACH);
    assert_int_equal(tide_close(engine, NULL), TIDE_OK);
    engine = open_with(&options);
    assert_int_equal(tide_count(articles_of(engine)), THREADS * EACH);
    struct tide_stats stats;
    tide_stats(engine, &stats);
    assert_true(stats.segments > 1);
    assert_int_equal(tide_close(engine, NULL), TIDE_OK);
}

static _Atomic bool sync_fails;

static int failing_fdatasync(void *context, int fd)
{
    if (atomic_load(&sync_fails)) {
        errno = EIO;
        return -1;
    }
    return file_calls_system()->fdatasync(context, fd);
}

static void a_failed_sync_is_final(void **state)
{
    (void)state;
    struct file_calls calls = *file_calls_system();
    calls.fdatasync = failing_fdatasync;
    file_calls_use(&calls);
    struct tide_engine *engine = open_with(NULL);
    struct tide_collection *articles = articles_of(engine);
    assert_int_equal(write_one(articles, TIDE_CREATE, "a", "{}", TIDE_DURABLE, NULL), TIDE_OK);
    atomic_store(&sync_fails, true);
    assert_int_equal(write_one(articles, TIDE_CREATE, "b", "{}", TIDE_DURABLE, NULL), TIDE_IO);
    atomic_store(&sync_fails, false);
    assert_int_equal(write_one(articles, TIDE_CREATE, "c", "{}", TIDE_DURABLE, NULL), TIDE_FAILED);
    assert_int_equal(tide_flush(engine, TIDE_NO_TIMEOUT, NULL, NULL), TIDE_FAILED);
    assert_document(articles, "a", "{}"); /* reads go on */
    assert_int_equal(tide_close(engine, NULL), TIDE_FAILED);
    engine = open_with(NULL);
    assert_document(articles_of(engine), "a", "{}");
    assert_document(articles_of(engine), "c", NULL);
    assert_int_equal(tide_close(engine, NULL), TIDE_OK);
}

static _Atomic bool sync_stands, sync_reached;

/* Stands until the test lets it go on. */
static int standing_fdatasync(void *context, int fd)
{
    if (atomic_load(&sync_stands)) {
        atomic_store(&sync_reached, true);
        while (atomic_load(&sync_stands))
            usleep(1000);
    }
    return file_calls_system()->fdatasync(context, fd);
}

static void *durable_run(void *context)
{
    return (void *)(uintptr_t)write_one(articles_of(context), TIDE_PUT, "a", "{}", TIDE_DURABLE, NULL);
}

static void *close_run(void *context)
{
    return (void *)(uintptr_t)tide_close(context, NULL);
}

static void a_close_sends_waiters_home_and_keeps_their_writes(void **state)
{
    (void)state;
    struct file_calls calls = *file_calls_system();
    calls.fdatasync = standing_fdatasync;
    file_calls_use(&calls);
    struct tide_engine *engine = open_with(NULL);
    pthread_t waiter, closer;
    void *status;
    atomic_store(&sync_stands, true);
    assert_int_equal(pthread_create(&waiter, NULL, durable_run, engine), 0);
    while (!atomic_load(&sync_reached))
        usleep(1000);
    assert_int_equal(pthread_create(&closer, NULL, close_run, engine), 0);
    pthread_join(waiter, &status);
    assert_int_equal((uintptr_t)status, TIDE_CLOSED);
    atomic_store(&sync_stands, false);
    pthread_join(closer, &status);
    assert_int_equal((uintptr_t)status, TIDE_OK);
    engine = open_with(NULL);
    assert_document(articles_of(engine), "a", "{}");
    assert_int_equal(tide_close(engine, NULL), TIDE_OK);
}

enum { CROWD = 8, CROWD_WRITES = 50 };

static void *crowd_run(void *context)
{
    for (int i = 0; i < CROWD_WRITES; i++)
        if (write_one(articles_of(context), TIDE_PUT, "a", "{}", TIDE_DURABLE, NULL) != TIDE_OK)
            return context;
    return NULL;
}

/* A sync is held for those who waited for the last one; whether they come or not, everybody is served. */
static void a_crowd_shares_its_syncs_and_who_comes_alone_is_served(void **state)
{
    (void)state;
    struct tide_engine *engine = open_with(NULL);
    pthread_t crowd[CROWD];
    void *failed;
    for (int i = 0; i < CROWD; i++)
        assert_int_equal(pthread_create(&crowd[i], NULL, crowd_run, engine), 0);
    for (int i = 0; i < CROWD; i++) {
        pthread_join(crowd[i], &failed);
        assert_null(failed);
    }
    struct tide_stats stats;
    tide_stats(engine, &stats);
    assert_true(stats.syncs < CROWD * CROWD_WRITES);
    for (uint64_t i = 1; i <= 3; i++) { /* the crowd has gone */
        uint64_t version;
        assert_int_equal(write_one(articles_of(engine), TIDE_PUT, "a", "{}", TIDE_DURABLE, &version), TIDE_OK);
        assert_int_equal(version, CROWD * CROWD_WRITES + i);
        struct tide_watermarks watermarks;
        tide_watermarks(engine, &watermarks);
        assert_int_equal(watermarks.durable, version);
    }
    assert_int_equal(tide_close(engine, NULL), TIDE_OK);
}

static void a_forked_child_is_refused(void **state)
{
    (void)state;
    struct tide_engine *engine = open_with(NULL);
    pid_t child = fork();
    if (child == 0)
        _exit(write_one(articles_of(engine), TIDE_CREATE, "a", "{}", 0, NULL) == TIDE_FAILED ? 0 : 1);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_int_equal(tide_close(engine, NULL), TIDE_OK);
}

static _Atomic uint64_t written_back; /* bytes, one range behind the other */
static _Atomic bool ranges_apart;

static int counting_write_back(void *context, int fd, uint64_t offset, uint64_t bytes)
{
    static _Thread_local uint64_t expected;
    if (expected != 0 && offset != expected)
        atomic_store(&ranges_apart, true);
    expected = offset + bytes;
    atomic_fetch_add(&written_back, bytes);
    return file_calls_system()->write_back(context, fd, offset, bytes);
}

/* Else a sealing has a whole segment to sync, and whoever writes waits for it. */
static void where_nothing_is_synced_the_disk_writes_all_the_same(void **state)
{
    (void)state;
    enum { VALUE_BYTES = 100000, WRITES = 200 };
    static char value[VALUE_BYTES];
    static struct file_calls calls;
    calls = *file_calls_system();
    calls.write_back = counting_write_back;
    file_calls_use(&calls);
    struct tide_options options = {.sync = TIDE_SYNC_NONE};
    struct tide_engine *engine = open_with(&options);
    struct tide_collection *collection = articles_of(engine);
    memset(value, 'v', sizeof value - 1);
    for (int i = 0; i < WRITES; i++)
        assert_int_equal(write_one(collection, TIDE_PUT, "a", value, TIDE_ACCEPTED, NULL), TIDE_OK);
    assert_int_equal(tide_close(engine, NULL), TIDE_OK);
    assert_in_range(atomic_load(&written_back), (uint64_t)VALUE_BYTES * WRITES * 3 / 4, VALUE_BYTES * WRITES * 5 / 4);
    assert_false(atomic_load(&ranges_apart));
}

/* The sync of a batch finds only its last frame unwritten; but a batch is told to be written as a whole. */
static void a_batch_that_will_be_synced_goes_to_the_disk_while_it_fills(void **state)
{
    (void)state;
    enum { VALUE_BYTES = 10000, BATCH = 200, MORE = 100, TRIES = 10000 };
    static char value[VALUE_BYTES];
    static struct file_calls calls;
    calls = *file_calls_system();
    calls.write_back = counting_write_back;
    file_calls_use(&calls);
    struct tide_options options = {.batch_size = BATCH, .flush_interval_ms = 3600000, .batch_bytes_max = 64 << 20};
    struct tide_engine *engine = open_with(&options);
    struct tide_collection *collection = articles_of(engine);
    struct tide_watermarks watermarks;
    memset(value, 'v', sizeof value - 1);
    for (int i = 0; i < BATCH; i++)
        assert_int_equal(write_one(collection, TIDE_PUT, i % 2 ? "a" : "b", value, TIDE_ACCEPTED, NULL), TIDE_OK);
    assert_int_equal(tide_wait(engine, BATCH, TIDE_LEVEL_DURABLE, TIDE_NO_TIMEOUT, NULL), TIDE_OK);
    uint64_t before = atomic_load(&written_back), wanted = before + VALUE_BYTES * MORE / 2;
    for (int i = 0; i < MORE; i++)
        assert_int_equal(write_one(collection, TIDE_PUT, i % 2 ? "a" : "b", value, TIDE_ACCEPTED, NULL), TIDE_OK);
    for (int i = 0; i < TRIES && atomic_load(&written_back) < wanted; i++)
        usleep(1000);
    assert_true(atomic_load(&written_back) >= wanted);
    tide_watermarks(engine, &watermarks);
    assert_int_equal(watermarks.written, BATCH);
    assert_int_equal(write_one(collection, TIDE_DELETE, "b", NULL, TIDE_ACCEPTED, NULL), TIDE_OK);
    assert_int_equal(tide_flush(engine, TIDE_NO_TIMEOUT, NULL, NULL), TIDE_OK);
    tide_watermarks(engine, &watermarks);
    assert_int_equal(watermarks.durable, BATCH + MORE + 1);
    struct tide_stats stats;
    tide_stats(engine, &stats);
    assert_int_equal(stats.batches, 2);
    assert_int_equal(stats.pending_bytes, 0);
    for (int i = 0; i < MORE; i++) /* a close ends a batch that is begun */
        assert_int_equal(write_one(collection, TIDE_PUT, "c", value, TIDE_ACCEPTED, NULL), TIDE_OK);
    assert_int_equal(tide_close(engine, NULL), TIDE_OK);
    engine = open_with(NULL);
    assert_document(articles_of(engine), "a", value);
    assert_document(articles_of(engine), "b", NULL);
    assert_document(articles_of(engine), "c", value);
    tide_watermarks(engine, &watermarks);
    assert_int_equal(watermarks.durable, BATCH + 2 * MORE + 1);
    assert_int_equal(tide_close(engine, NULL), TIDE_OK);
}

/* How many events fill a frame is a guess by those of the last one. Behind a frame of large documents the writer went
 * on to fill one with small ones, of which there were not enough, while who had written them waited for it. */
/* Blocks have a number for their collection, of so many bits. */
static void one_collection_too_many_is_refused(void **state)
{
    (void)state;
    struct tide_error error;
    struct tide_engine *engine = open_with(NULL);
    struct tide_collection *present = tide_collection(engine, "present", 7, &error);
    engine->collection_count = COLLECTIONS_MAX; /* as if there were; each takes 10 KiB */
    assert_null(tide_collection(engine, "another", 7, &error));
    assert_int_equal(error.status, TIDE_INVALID);
    assert_ptr_equal(tide_collection(engine, "present", 7, &error), present);
    engine->collection_count = 1;
    assert_non_null(tide_collection(engine, "another", 7, &error));
    assert_int_equal(tide_close(engine, NULL), TIDE_OK);
}

static void a_frame_that_is_not_full_waits_for_nobody(void **state)
{
    (void)state;
    enum { VALUE_BYTES = 10000, BATCH = 100, SMALL = 50 };
    static char value[VALUE_BYTES];
    struct tide_options options = {.batch_size = BATCH, .flush_interval_ms = 3600000};
    struct tide_engine *engine = open_with(&options);
    struct tide_collection *collection = articles_of(engine);
    memset(value, 'v', sizeof value - 1);
    for (int i = 0; i < BATCH; i++)
        assert_int_equal(write_one(collection, TIDE_PUT, "a", value, TIDE_ACCEPTED, NULL), TIDE_OK);
    assert_int_equal(tide_wait(engine, BATCH, TIDE_LEVEL_WRITTEN, TIDE_NO_TIMEOUT, NULL), TIDE_OK);
    for (int i = 0; i < SMALL; i++)
        assert_int_equal(write_one(collection, TIDE_PUT, "b", "{}", TIDE_ACCEPTED, NULL), TIDE_OK);
    usleep(20000); /* time for the writer to take them early */
    assert_int_equal(tide_flush(engine, 10000, NULL, NULL), TIDE_OK);
    assert_int_equal(tide_close(engine, NULL), TIDE_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, directory_make, directory_remove)
        TEST(what_was_written_is_there_after_reopening),
        TEST(whatever_is_asked_for_ahead_many_are_got),
        TEST(a_directory_has_one_engine_in_a_process),
        TEST(many_threads_through_a_small_channel_lose_nothing),
        TEST(a_failed_sync_is_final),
        TEST(a_close_sends_waiters_home_and_keeps_their_writes),
        TEST(a_forked_child_is_refused),
        TEST(where_nothing_is_synced_the_disk_writes_all_the_same),
        TEST(a_crowd_shares_its_syncs_and_who_comes_alone_is_served),
        TEST(a_batch_that_will_be_synced_goes_to_the_disk_while_it_fills),
        TEST(a_frame_that_is_not_full_waits_for_nobody),
        TEST(one_collection_too_many_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
