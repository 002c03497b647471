/* sync_ahead_spec.c - the thread that syncs the log beside the writer: the writer doesn't wait for it, and nobody minds
 * when it fails, or can't be had. Its calls on files are known by the descriptor: it alone opens the active segment for
 * reading while an engine is open. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "../../engine/file.h"
#include "../../engine/segment.h"
#include "../../engine/tidemark.h"
#include "directory.h"
#include "document.h"

enum what { HOLD, FAIL_OPEN, FAIL_SYNC, FAIL_THREAD, COUNT };

/* Sequentially consistent: nothing depends on its speed. */
static struct {
    _Atomic int what;
    _Atomic bool armed; /* the engine is open */
    _Atomic int fd;     /* the thread's */
    _Atomic int seen;   /* of its syncs, or of what failed */
    sem_t begun, released;
} plan;

static int plan_open(void *context, const char *path, int flags, unsigned mode)
{
    const char *name = strrchr(path, '/');
    bool ahead = plan.armed && (flags & O_ACCMODE) == O_RDONLY && name && strcmp(name + 1, SEGMENT_ACTIVE_NAME) == 0;
    if (ahead && plan.what == FAIL_OPEN) {
        plan.seen++;
        sem_post(&plan.begun);
        errno = EMFILE;
        return -1;
    }
    int fd = file_calls_system()->open(context, path, flags, mode);
    if (ahead)
        plan.fd = fd;
    return fd;
}

static int plan_close(void *context, int fd)
{
    int own = fd;
    atomic_compare_exchange_strong(&plan.fd, &own, -1); /* before the number is somebody else's */
    return file_calls_system()->close(context, fd);
}

static int plan_fdatasync(void *context, int fd)
{
    if (fd != plan.fd)
        return file_calls_system()->fdatasync(context, fd);
    plan.seen++;
    sem_post(&plan.begun);
    if (plan.what == FAIL_SYNC) {
        errno = EIO;
        return -1;
    }
    if (plan.what == HOLD)
        sem_wait(&plan.released);
    return file_calls_system()->fdatasync(context, fd);
}

/* For something that happens, or never does. */
static void await(sem_t *semaphore)
{
    struct timespec end;
    clock_gettime(CLOCK_REALTIME, &end);
    end.tv_sec += 300;
    assert_int_equal(sem_timedwait(semaphore, &end), 0);
}

int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *context);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *context);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *context)
{
    if (!plan.armed || plan.what != FAIL_THREAD)
        return __real_pthread_create(thread, attributes, run, context);
    plan.seen++;
    sem_post(&plan.begun);
    return EAGAIN;
}

static struct tide_engine *engine_open(enum tide_sync sync, enum what what)
{
    static struct file_calls calls;
    struct tide_engine *engine;
    calls = *file_calls_system();
    calls.open = plan_open;
    calls.close = plan_close;
    calls.fdatasync = plan_fdatasync;
    plan.what = what;
    plan.fd = -1;
    plan.seen = 0;
    sem_init(&plan.begun, 0, 0);
    sem_init(&plan.released, 0, 0);
    file_calls_use(&calls);
    struct tide_options options = {.sync = sync, .batch_size = 1};
    assert_int_equal(tide_open(directory, &options, &engine, NULL), TIDE_OK);
    plan.armed = true;
    return engine;
}

/* Documents of a mebibyte, from the `first` one on; they are in the log when it returns. */
static void write_mebibytes(struct tide_engine *engine, int first, int count)
{
    for (int i = first; i < first + count; i++) {
        uint64_t seq = document_create(engine, i, 1 << 20);
        assert_int_equal(tide_wait(engine, seq, TIDE_LEVEL_WRITTEN, TIDE_NO_TIMEOUT, NULL), TIDE_OK);
    }
}

static void close_and_count(struct tide_engine *engine, uint64_t documents)
{
    assert_int_equal(tide_flush(engine, TIDE_NO_TIMEOUT, NULL, NULL), TIDE_OK);
    assert_int_equal(tide_close(engine, NULL), TIDE_OK);
    plan.armed = false;
    file_calls_use(NULL);
    assert_int_equal(tide_open(directory, NULL, &engine, NULL), TIDE_OK);
    assert_int_equal(tide_count(tide_collection(engine, "c", 1, NULL)), documents);
    assert_int_equal(tide_close(engine, NULL), TIDE_OK);
}

static void the_writer_goes_on_during_the_sync(void **state)
{
    (void)state;
    struct tide_engine *engine = engine_open(TIDE_SYNC_NONE, HOLD);
    write_mebibytes(engine, 0, 33);
    await(&plan.begun);
    write_mebibytes(engine, 33, 67); /* it is asked twice more, which is once */
    assert_int_equal(plan.seen, 1);
    sem_post(&plan.released);
    await(&plan.begun);
    sem_post(&plan.released);
    close_and_count(engine, 100);
    assert_int_equal(plan.seen, 2);
}

static void nobody_minds_when_it_fails(void **state)
{
    (void)state;
    for (enum what what = FAIL_OPEN; what <= FAIL_THREAD; what++) {
        int first = (what - FAIL_OPEN) * 70;
        struct tide_engine *engine = engine_open(TIDE_SYNC_NONE, what);
        write_mebibytes(engine, first, 70);
        await(&plan.begun);
        assert_true(plan.seen > 0);
        close_and_count(engine, (uint64_t)first + 70);
    }
}

static void a_log_that_is_synced_needs_none(void **state)
{
    (void)state;
    struct tide_engine *engine = engine_open(TIDE_SYNC_BATCH, COUNT);
    write_mebibytes(engine, 0, 70);
    close_and_count(engine, 70);
    assert_int_equal(plan.seen, 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, directory_make, directory_remove)
    const struct CMUnitTest tests[] = {TEST(the_writer_goes_on_during_the_sync), TEST(nobody_minds_when_it_fails),
                                       TEST(a_log_that_is_synced_needs_none)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
