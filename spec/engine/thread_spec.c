/* thread_spec.c - the engine's threads leave the program's signals to the program's own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../engine/tidemark.h"
#include "directory.h"
#include "document.h"

/* Sequentially consistent: nothing depends on their speed. */
static _Atomic int started, open_to_signals;

struct begin {
    void *(*run)(void *);
    void *context;
};

static void *begin_run(void *context)
{
    struct begin begin = *(struct begin *)context;
    sigset_t blocked;
    free(context);
    pthread_sigmask(SIG_SETMASK, NULL, &blocked);
    started++;
    if (!sigismember(&blocked, SIGTERM) || !sigismember(&blocked, SIGUSR1) || !sigismember(&blocked, SIGCHLD))
        open_to_signals++;
    return begin.run(begin.context);
}

int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *context);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *context);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *context)
{
    struct begin *begin = malloc(sizeof *begin);
    *begin = (struct begin){run, context};
    return __real_pthread_create(thread, attributes, begin_run, begin);
}

enum { VALUE_BYTES = 2 << 10, DOCUMENTS = 36000 }; /* small enough for regions of memory */

static void the_engines_threads_take_no_signals(void **state)
{
    (void)state;
    struct tide_engine *engine;
    struct tide_options options = {.sync = TIDE_SYNC_NONE, .snapshot_log_bytes = 32 << 20};
    assert_int_equal(tide_open(directory, &options, &engine, NULL), TIDE_OK);
    /* More memory than some regions; more log than is synced at once, or left without a snapshot. */
    for (int i = 0; i < DOCUMENTS; i++)
        document_create(engine, i, VALUE_BYTES);
    assert_int_equal(tide_flush(engine, TIDE_NO_TIMEOUT, NULL, NULL), TIDE_OK);
    assert_int_equal(tide_snapshot(engine, NULL, NULL), TIDE_OK);
    assert_int_equal(tide_close(engine, NULL), TIDE_OK);
    /* The writer; who syncs ahead, makes snapshots, and keeps memory ready (not under AddressSanitizer). */
    int before = started;
    assert_true(before >= 3);
    assert_int_equal(tide_open(directory, &options, &engine, NULL), TIDE_OK);
    assert_int_equal(tide_count(tide_collection(engine, "c", 1, NULL)), DOCUMENTS);
    assert_int_equal(tide_close(engine, NULL), TIDE_OK);
    assert_true(started > before + (sysconf(_SC_NPROCESSORS_ONLN) > 1)); /* who loads the snapshot, beside the writer */
    assert_int_equal(open_to_signals, 0);
    sigset_t blocked;
    pthread_sigmask(SIG_SETMASK, NULL, &blocked);
    assert_false(sigismember(&blocked, SIGTERM)); /* the caller's are as they were */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_engines_threads_take_no_signals, directory_make, directory_remove)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
