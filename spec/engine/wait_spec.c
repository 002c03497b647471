/* wait_spec.c - who waits for the writer, and what they get when it stands, fails, or the database is closed: the
 * writer is held in its fdatasync for as long as a test likes. Event loops (listen.c), which wait without waiting, too.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <pthread.h>
#include <stdatomic.h>

#include "../../engine/engine.h"
#include "../../engine/file.h"
#include "directory.h"

static struct tide_engine *engine;
static struct tide_collection *articles;
static char value[30000];

/* Of the fdatasync under way; sequentially consistent, nothing depends on its speed. */
static _Atomic bool stands, reached, breaks;

static int held_fdatasync(void *context, int fd)
{
    if (atomic_load(&stands)) {
        atomic_store(&reached, true);
        while (atomic_load(&stands))
            usleep(200);
        if (atomic_load(&breaks)) {
            errno = EIO;
            return -1;
        }
    }
    return file_calls_system()->fdatasync(context, fd);
}

static struct tide_write write_of(enum tide_durability durability, size_t bytes, uint64_t timeout_ms)
{
    return (struct tide_write){.operation = TIDE_PUT,
                               .durability = durability,
                               .if_version = TIDE_ANY_VERSION,
                               .timeout_ms = timeout_ms,
                               .id = "a",
                               .id_length = 1,
                               .value = value,
                               .value_length = bytes};
}

static enum tide_status put(enum tide_durability durability, size_t bytes, uint64_t timeout_ms)
{
    struct tide_write write = write_of(durability, bytes, timeout_ms);
    struct tide_written written;
    return tide_write(articles, &write, &written, NULL);
}

static int database_open(void **state)
{
    if (directory_make(state) != 0)
        return -1;
    static struct file_calls calls;
    calls = *file_calls_system();
    calls.fdatasync = held_fdatasync;
    file_calls_use(&calls);
    struct tide_options options = {.pending_bytes_max = TIDE_PENDING_BYTES_MIN, .sync = TIDE_SYNC_NONE};
    memset(value, 'v', sizeof value);
    if (tide_open(directory, &options, &engine, NULL) != TIDE_OK)
        return -1;
    articles = tide_collection(engine, "articles", 8, NULL);
    return 0;
}

static int database_remove(void **state)
{
    atomic_store(&stands, false);
    atomic_store(&breaks, false);
    if (engine)
        tide_close(engine, NULL);
    return directory_remove(state);
}

static void *flush_run(void *context)
{
    (void)context;
    return (void *)(uintptr_t)tide_flush(engine, TIDE_NO_TIMEOUT, NULL, NULL);
}

/* Stops the writer in a sync; the event that it syncs is written. `waiter` waits for it. */
static void writer_hold(pthread_t *waiter)
{
    atomic_store(&reached, false);
    atomic_store(&stands, true);
    assert_int_equal(put(TIDE_ACCEPTED, 10, 0), TIDE_OK);
    assert_int_equal(pthread_create(waiter, NULL, flush_run, NULL), 0);
    while (!atomic_load(&reached))
        usleep(200);
}

static enum tide_status joined(pthread_t thread)
{
    void *status;
    pthread_join(thread, &status);
    return (enum tide_status)(uintptr_t)status;
}

static void a_time_that_has_passed_is_told_as_that(void **state)
{
    (void)state;
    pthread_t waiter;
    struct tide_error error;
    writer_hold(&waiter);
    uint64_t accepted = channel_tail(&engine->channel) - 1;
    assert_int_equal(tide_wait(engine, accepted, TIDE_LEVEL_WRITTEN, TIDE_NO_WAIT, NULL), TIDE_OK);
    assert_int_equal(tide_wait(engine, accepted, TIDE_LEVEL_DURABLE, TIDE_NO_WAIT, &error), TIDE_TIMEOUT);
    assert_non_null(strstr(error.message, "durable"));
    assert_int_equal(tide_flush(engine, 5, NULL, &error), TIDE_TIMEOUT);
    assert_int_equal(tide_reached(engine, accepted, TIDE_LEVEL_DURABLE, &error), TIDE_TIMEOUT);
    assert_int_equal(put(TIDE_DURABLE, 10, 5), TIDE_TIMEOUT); /* and stays accepted */
    assert_int_equal(tide_wait(engine, accepted + 1, TIDE_LEVEL_WRITTEN, 5, &error), TIDE_TIMEOUT);
    assert_non_null(strstr(error.message, "written"));
    assert_int_equal(tide_reached(engine, accepted + 1, TIDE_LEVEL_WRITTEN, &error), TIDE_TIMEOUT);
    assert_int_equal(tide_wait(engine, accepted + 2, TIDE_LEVEL_WRITTEN, 5, &error), TIDE_INVALID);
    assert_int_equal(put(TIDE_ACCEPTED, 30000, 0), TIDE_OK);
    assert_int_equal(put(TIDE_ACCEPTED, 30000, 0), TIDE_OK);
    assert_int_equal(put(TIDE_ACCEPTED, 30000, TIDE_NO_WAIT), TIDE_BUSY);
    assert_int_equal(put(TIDE_ACCEPTED, 30000, 5), TIDE_BUSY);
    atomic_store(&stands, false);
    assert_int_equal(joined(waiter), TIDE_OK);
    assert_int_equal(put(TIDE_ACCEPTED, 30000, TIDE_NO_TIMEOUT), TIDE_OK);
    uint64_t durable;
    assert_int_equal(tide_flush(engine, TIDE_NO_TIMEOUT, &durable, NULL), TIDE_OK);
    assert_int_equal(durable, accepted + 4);
    assert_int_equal(tide_reached(engine, durable, TIDE_LEVEL_DURABLE, NULL), TIDE_OK);
}

static void *put_run(void *context)
{
    return (void *)(uintptr_t)put(TIDE_ACCEPTED, (size_t)(uintptr_t)context, TIDE_NO_TIMEOUT);
}

static void *close_run(void *context)
{
    (void)context;
    return (void *)(uintptr_t)tide_close(engine, NULL);
}

static void room_wait_begin(pthread_t *producer)
{
    assert_int_equal(put(TIDE_ACCEPTED, 30000, TIDE_NO_WAIT), TIDE_OK);
    assert_int_equal(put(TIDE_ACCEPTED, 30000, TIDE_NO_WAIT), TIDE_OK);
    assert_int_equal(pthread_create(producer, NULL, put_run, (void *)(uintptr_t)30000), 0);
    while (atomic_load(&engine->channel.room_waiters) == 0)
        usleep(200);
}

static void a_close_ends_whatever_waits_and_what_comes_behind_it(void **state)
{
    (void)state;
    pthread_t waiter, producer, closer;
    struct tide_error error;
    uint64_t accepted;
    writer_hold(&waiter);
    room_wait_begin(&producer);
    accepted = channel_tail(&engine->channel) - 1;
    assert_int_equal(pthread_create(&closer, NULL, close_run, NULL), 0);
    assert_int_equal(joined(waiter), TIDE_CLOSED);
    assert_int_equal(joined(producer), TIDE_CLOSED);
    /* The writer stands, so the engine is there still: for calls that had begun before the close. */
    assert_int_equal(put(TIDE_ACCEPTED, 10, 0), TIDE_CLOSED);
    assert_int_equal(tide_flush(engine, TIDE_NO_TIMEOUT, NULL, &error), TIDE_CLOSED);
    assert_int_equal(tide_wait(engine, accepted, TIDE_LEVEL_DURABLE, TIDE_NO_TIMEOUT, &error), TIDE_CLOSED);
    assert_int_equal(wait_for_watermark(engine, accepted, TIDE_LEVEL_DURABLE, UINT64_MAX, &error), TIDE_CLOSED);
    assert_int_equal(wait_for_room(engine, 10, UINT64_MAX, &error), TIDE_CLOSED);
    assert_int_equal(tide_reached(engine, accepted, TIDE_LEVEL_DURABLE, &error), TIDE_CLOSED);
    assert_int_equal(tide_health(engine, &error), TIDE_CLOSED);
    assert_non_null(strstr(error.message, directory));
    atomic_store(&stands, false);
    assert_int_equal(joined(closer), TIDE_OK);
    assert_int_equal(tide_open(directory, NULL, &engine, NULL), TIDE_OK);
    struct tide_watermarks watermarks;
    tide_watermarks(engine, &watermarks);
    assert_int_equal(watermarks.accepted, accepted);
}

/* The first to look gets the failure itself, those after it "failed". */
static void a_failure_reaches_whoever_waits(void **state)
{
    (void)state;
    pthread_t waiter, producer;
    struct tide_error error;
    writer_hold(&waiter);
    room_wait_begin(&producer);
    uint64_t accepted = channel_tail(&engine->channel) - 1;
    atomic_store(&breaks, true);
    atomic_store(&stands, false);
    assert_int_equal(joined(waiter), TIDE_IO);
    assert_int_equal(joined(producer), TIDE_IO);
    assert_int_equal(tide_reached(engine, accepted, TIDE_LEVEL_WRITTEN, &error), TIDE_IO);
    assert_int_equal(put(TIDE_ACCEPTED, 10, 0), TIDE_FAILED);
    assert_int_equal(tide_health(engine, &error), TIDE_FAILED);
    assert_non_null(strstr(error.message, "events.raftlog"));
    assert_int_equal(tide_close(engine, &error), TIDE_FAILED);
    assert_int_equal(tide_open(directory, NULL, &engine, NULL), TIDE_OK);
}

/* Nobody waits any more: then the next call is told what it was, and the close when there was none. */
static void a_failure_that_nobody_saw_is_told_once(void **state)
{
    (void)state;
    struct tide_error error;
    for (int round = 0; round < 2; round++) {
        atomic_store(&reached, false);
        atomic_store(&breaks, true);
        atomic_store(&stands, true);
        assert_int_equal(put(TIDE_DURABLE, 10, 5), TIDE_TIMEOUT);
        while (!atomic_load(&reached))
            usleep(200);
        atomic_store(&stands, false);
        while (tide_health(engine, &error) == TIDE_OK)
            usleep(200);
        atomic_store(&breaks, false);
        if (round == 0)
            assert_int_equal(put(TIDE_ACCEPTED, 10, 0), TIDE_IO);
        assert_int_equal(tide_close(engine, &error), round == 0 ? TIDE_FAILED : TIDE_IO);
        assert_int_equal(tide_open(directory, NULL, &engine, NULL), TIDE_OK);
        articles = tide_collection(engine, "articles", 8, NULL);
    }
}

static void a_seq_that_is_reached_is_not_waited_for_by_a_reader_either(void **state)
{
    (void)state;
    struct tide_error error;
    assert_int_equal(put(TIDE_DURABLE, 10, 0), TIDE_OK);
    assert_int_equal(tide_close(engine, NULL), TIDE_OK);
    assert_int_equal(tide_open(directory, &(struct tide_options){.read_only = true}, &engine, NULL), TIDE_OK);
    articles = tide_collection(engine, "articles", 8, NULL);
    assert_int_equal(tide_wait(engine, 1, TIDE_LEVEL_DURABLE, TIDE_NO_TIMEOUT, NULL), TIDE_OK);
    assert_int_equal(tide_wait(engine, 2, TIDE_LEVEL_DURABLE, TIDE_NO_TIMEOUT, &error), TIDE_READ_ONLY);
    assert_int_equal(tide_flush(engine, TIDE_NO_TIMEOUT, NULL, &error), TIDE_READ_ONLY);
    assert_int_equal(put(TIDE_ACCEPTED, 10, 0), TIDE_READ_ONLY);
    struct tide_watermarks watermarks;
    tide_watermarks(engine, &watermarks);
    assert_int_equal(watermarks.accepted, 1);
}

/* A forked child has neither the parent's thread nor its files. */
static void a_forked_child_is_refused_whatever_it_asks(void **state)
{
    (void)state;
    assert_int_equal(put(TIDE_DURABLE, 10, 0), TIDE_OK);
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        struct tide_events *events;
        bool refused = tide_events_open(engine, NULL, &events, NULL) == TIDE_FAILED && !events &&
                       tide_flush(engine, TIDE_NO_TIMEOUT, NULL, NULL) == TIDE_FAILED &&
                       tide_close(engine, NULL) == TIDE_OK; /* does nothing: the parent goes on */
        exit(refused ? 0 : 1);                              /* not _exit: coverage is counted */
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_int_equal(put(TIDE_DURABLE, 10, 0), TIDE_OK);
}

/* ---- Event loops ---- */

static void count_wake(void *context)
{
    atomic_fetch_add((_Atomic int *)context, 1);
}

static void wakes_come(_Atomic int *wakes, int least)
{
    for (int i = 0; atomic_load(wakes) < least; i++) {
        assert_true(i < 50000);
        usleep(200);
    }
}

static void a_listener_is_woken_for_what_it_wants(void **state)
{
    (void)state;
    _Atomic int wakes = 0, others = 0;
    struct tide_listener listener = {.wake = count_wake, .context = (void *)&wakes};
    struct tide_listener other = {.wake = count_wake, .context = (void *)&others};
    tide_listen(engine, &other);
    tide_listen(engine, &listener);
    tide_want(engine, &listener, 0, true); /* there is room: at once */
    assert_int_equal(atomic_load(&wakes), 1);
    pthread_t waiter;
    writer_hold(&waiter);
    uint64_t accepted = channel_tail(&engine->channel) - 1;
    tide_want(engine, &listener, accepted, false);
    tide_want(engine, &listener, accepted, false); /* as before: changes nothing */
    assert_int_equal(put(TIDE_ACCEPTED, 30000, 0), TIDE_OK);
    tide_want(engine, &listener, 0, true);
    assert_int_equal(atomic_load(&wakes), 1);
    int before = atomic_load(&wakes);
    atomic_store(&stands, false);
    assert_int_equal(joined(waiter), TIDE_OK);
    wakes_come(&wakes, before + 1);
    assert_int_equal(tide_flush(engine, TIDE_NO_TIMEOUT, NULL, NULL), TIDE_OK);
    before = atomic_load(&wakes);
    tide_want(engine, &listener, accepted, false); /* reached: at once */
    assert_int_equal(atomic_load(&wakes), before + 1);
    tide_unlisten(engine, &other); /* the last of the list */
    tide_unlisten(engine, &other); /* no longer there: does nothing */
    assert_int_equal(atomic_load(&others), 0);
    writer_hold(&waiter);
    tide_want(engine, &listener, accepted + 2, false);
    before = atomic_load(&wakes);
    atomic_store(&breaks, true);
    atomic_store(&stands, false);
    assert_int_equal(joined(waiter), TIDE_IO);
    wakes_come(&wakes, before + 1);
    before = atomic_load(&wakes);
    tide_want(engine, &listener, accepted + 2, false); /* never: at once */
    assert_int_equal(atomic_load(&wakes), before + 1);
    tide_unlisten(engine, &listener);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, database_open, database_remove)
        TEST(a_forked_child_is_refused_whatever_it_asks),
        TEST(a_time_that_has_passed_is_told_as_that),
        TEST(a_close_ends_whatever_waits_and_what_comes_behind_it),
        TEST(a_failure_reaches_whoever_waits),
        TEST(a_failure_that_nobody_saw_is_told_once),
        TEST(a_seq_that_is_reached_is_not_waited_for_by_a_reader_either),
        TEST(a_listener_is_woken_for_what_it_wants),
    };
    return cmocka_run_group_tests_name("wait", tests, NULL, NULL);
}
