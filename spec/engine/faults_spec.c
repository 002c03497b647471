/* faults_spec.c - each call on files fails in turn, once and for good: what was durable is there afterwards, what is
 * there is a prefix, and the error says what happened. The disk is the real one; the faults stand in file_calls. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "directory.h"
#include "file.h"
#include "tidemark.h"

#define CALLS(X)                                                                                                       \
    X(open)                                                                                                            \
    X(pread)                                                                                                           \
    X(pwrite)                                                                                                          \
    X(fdatasync)                                                                                                       \
    X(fsync)                                                                                                           \
    X(ftruncate)                                                                                                       \
    X(fallocate)                                                                                                       \
    X(rename)                                                                                                          \
    X(unlink)                                                                                                          \
    X(mkdir)                                                                                                           \
    X(rmdir)                                                                                                           \
    X(stat)                                                                                                            \
    X(fstat)                                                                                                           \
    X(real_path)                                                                                                       \
    X(flock)                                                                                                           \
    X(list)

enum call {
#define X(name) CALL_##name,
    CALLS(X)
#undef X
        CALL_COUNT
};

static const char *const call_names[] = {
#define X(name) #name,
    CALLS(X)
#undef X
};

/* The plan of a run; the engine's threads share it. */
static struct {
    enum call call;
    int nth;       /* counted from 1; 0: no fault */
    bool for_good; /* also all later ones */
    int error;
    bool tear; /* a failing pwrite writes half of it */
    _Atomic int seen, failed;
} plan;

static bool fails(enum call call)
{
    if (call != plan.call || plan.nth == 0)
        return false;
    int seen = ++plan.seen;
    if (seen != plan.nth && !(plan.for_good && seen > plan.nth))
        return false;
    plan.failed++;
    errno = plan.error;
    return true;
}

#define SYSTEM file_calls_system()

static int fault_open(void *context, const char *path, int flags, unsigned mode)
{
    return fails(CALL_open) ? -1 : SYSTEM->open(context, path, flags, mode);
}

static int fault_close(void *context, int fd)
{
    return SYSTEM->close(context, fd);
}

static ssize_t fault_pread(void *context, int fd, void *buffer, size_t bytes, uint64_t offset)
{
    return fails(CALL_pread) ? -1 : SYSTEM->pread(context, fd, buffer, bytes, offset);
}

static ssize_t fault_pwrite(void *context, int fd, const void *buffer, size_t bytes, uint64_t offset)
{
    if (!fails(CALL_pwrite))
        return SYSTEM->pwrite(context, fd, buffer, bytes, offset);
    if (plan.tear && bytes > 1)
        SYSTEM->pwrite(context, fd, buffer, bytes / 2, offset);
    errno = plan.error;
    return -1;
}

#define FAULT_FD(name)                                                                                                 \
    static int fault_##name(void *context, int fd)                                                                     \
    {                                                                                                                  \
        return fails(CALL_##name) ? -1 : SYSTEM->name(context, fd);                                                    \
    }
FAULT_FD(fdatasync)
FAULT_FD(fsync)

static int fault_ftruncate(void *context, int fd, uint64_t bytes)
{
    return fails(CALL_ftruncate) ? -1 : SYSTEM->ftruncate(context, fd, bytes);
}

static int fault_fallocate(void *context, int fd, uint64_t offset, uint64_t bytes)
{
    return fails(CALL_fallocate) ? -1 : SYSTEM->fallocate(context, fd, offset, bytes);
}

static int fault_rename(void *context, const char *from, const char *to)
{
    return fails(CALL_rename) ? -1 : SYSTEM->rename(context, from, to);
}

static int fault_unlink(void *context, const char *path)
{
    return fails(CALL_unlink) ? -1 : SYSTEM->unlink(context, path);
}

static int fault_mkdir(void *context, const char *path, unsigned mode)
{
    return fails(CALL_mkdir) ? -1 : SYSTEM->mkdir(context, path, mode);
}

static int fault_rmdir(void *context, const char *path)
{
    return fails(CALL_rmdir) ? -1 : SYSTEM->rmdir(context, path);
}

static int fault_stat(void *context, const char *path, struct file_status *status)
{
    return fails(CALL_stat) ? -1 : SYSTEM->stat(context, path, status);
}

static int fault_fstat(void *context, int fd, struct file_status *status)
{
    return fails(CALL_fstat) ? -1 : SYSTEM->fstat(context, fd, status);
}

static char *fault_real_path(void *context, const char *path)
{
    return fails(CALL_real_path) ? NULL : SYSTEM->real_path(context, path);
}

static int fault_flock(void *context, int fd, int operation)
{
    return fails(CALL_flock) ? -1 : SYSTEM->flock(context, fd, operation);
}

static int fault_list(void *context, const char *path, void (*visit)(void *visitor, const char *name), void *visitor)
{
    return fails(CALL_list) ? -1 : SYSTEM->list(context, path, visit, visitor);
}

static const struct file_calls fault_calls = {.open = fault_open,
                                              .close = fault_close,
                                              .pread = fault_pread,
                                              .pwrite = fault_pwrite,
                                              .fdatasync = fault_fdatasync,
                                              .fsync = fault_fsync,
                                              .ftruncate = fault_ftruncate,
                                              .fallocate = fault_fallocate,
                                              .rename = fault_rename,
                                              .unlink = fault_unlink,
                                              .mkdir = fault_mkdir,
                                              .rmdir = fault_rmdir,
                                              .stat = fault_stat,
                                              .fstat = fault_fstat,
                                              .real_path = fault_real_path,
                                              .flock = fault_flock,
                                              .list = fault_list};

static char path[80];

static void remove_database(void)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", path);
    assert_int_equal(system(command), 0);
}

enum { DOCUMENTS = 14, VALUE_BYTES = 200000 };
static char value[VALUE_BYTES];

static bool is_fault_status(enum tide_status status)
{
    return status == TIDE_IO || status == TIDE_FULL || status == TIDE_FAILED || status == TIDE_CORRUPT ||
           status == TIDE_MEMORY || status == TIDE_LOCKED;
}

/* Writes documents "0", "1", … durably over several segments. Returns how many were acknowledged. */
static int write_documents(int first)
{
    struct tide_options options = {.segment_bytes = TIDE_SEGMENT_BYTES_MIN};
    struct tide_engine *engine;
    struct tide_error error = {0};
    enum tide_status status = tide_open(path, &options, &engine, &error);
    if (status != TIDE_OK) {
        assert_true(is_fault_status(status));
        assert_true(error.message[0] != 0);
        return 0;
    }
    struct tide_collection *collection = tide_collection(engine, "c", 1, NULL);
    int acknowledged = 0;
    bool failed = false;
    for (int i = first; i < first + DOCUMENTS; i++) {
        char id[16];
        snprintf(id, sizeof id, "%d", i);
        struct tide_write write = {.operation = TIDE_CREATE,
                                   .durability = TIDE_DURABLE,
                                   .if_version = TIDE_ANY_VERSION,
                                   .id = id,
                                   .id_length = strlen(id),
                                   .value = value,
                                   .value_length = VALUE_BYTES};
        struct tide_written written;
        status = tide_write(collection, &write, &written, &error);
        if (status == TIDE_OK) {
            assert_false(failed);
            acknowledged++;
            continue;
        }
        assert_true(is_fault_status(status));
        if (failed)
            assert_true(status == TIDE_FAILED ||                               /* the first one said io or full */
                        (plan.call == CALL_fallocate && status == TIDE_FULL)); /* no failure: refused each time */
        failed = true;
        /* Reads go on. */
        struct tide_view view;
        tide_read_begin(engine);
        assert_int_equal(tide_get(collection, "no", 2, &view), TIDE_NOT_FOUND);
        tide_read_end(engine);
    }
    status = tide_close(engine, &error);
    assert_true(status == TIDE_OK || is_fault_status(status));
    return acknowledged;
}

/* Without faults: documents 0 to n - 1 are there, n at least `acknowledged`. */
static int check_documents(int acknowledged)
{
    struct tide_engine *engine;
    struct tide_error error = {0};
    enum tide_status status = tide_open(path, NULL, &engine, &error);
    if (status != TIDE_OK)
        fail_msg("%s %d: does not open: %s", call_names[plan.call], plan.seen, error.message);
    struct tide_collection *collection = tide_collection(engine, "c", 1, NULL);
    int count = (int)tide_count(collection);
    assert_true(count >= acknowledged);
    tide_read_begin(engine);
    for (int i = 0; i < count; i++) {
        char id[16];
        struct tide_view view;
        snprintf(id, sizeof id, "%d", i);
        assert_int_equal(tide_get(collection, id, strlen(id), &view), TIDE_OK);
        assert_int_equal(view.value_length, VALUE_BYTES);
        assert_memory_equal(view.value, value, VALUE_BYTES);
    }
    tide_read_end(engine);
    assert_int_equal(tide_close(engine, NULL), TIDE_OK);
    return count;
}

static void run_all(enum call call, int error, bool for_good, bool tear)
{
    memset(value, 'v', sizeof value);
    int taken = 0;
    for (int nth = 1; nth < 400; nth++) {
        remove_database();
        plan.call = call, plan.nth = nth, plan.for_good = for_good, plan.error = error, plan.tear = tear;
        plan.seen = plan.failed = 0;
        file_calls_use(&fault_calls);
        int acknowledged = write_documents(0);
        if (!plan.failed) { /* it never came to this call in the first life: now when it opens again */
            plan.seen = 0;
            if (acknowledged == DOCUMENTS)
                write_documents(DOCUMENTS);
        }
        bool failed = plan.failed > 0;
        taken += failed;
        plan.nth = 0;
        file_calls_use(NULL);
        int count = check_documents(acknowledged);
        /* And it goes on as if nothing had been. */
        if (count < DOCUMENTS)
            assert_int_equal(write_documents(count), DOCUMENTS);
        if (!failed)
            break;
    }
    assert_true(taken > 0);
}

#define TEST(name)                                                                                                     \
    static void a_failing_##name(void **state)                                                                         \
    {                                                                                                                  \
        (void)state;                                                                                                   \
        run_all(CALL_##name, EIO, false, false);                                                                       \
        run_all(CALL_##name, EIO, true, false);                                                                        \
    }
TEST(open)
TEST(pread)
TEST(fdatasync)
TEST(fsync)
TEST(ftruncate)
TEST(fallocate)
TEST(rename)
TEST(mkdir)
TEST(fstat)
TEST(real_path)
TEST(flock)
TEST(list)

static void a_failing_pwrite(void **state)
{
    (void)state;
    run_all(CALL_pwrite, EIO, false, false);
    run_all(CALL_pwrite, EIO, true, true);
}

static void a_full_disk(void **state)
{
    (void)state;
    run_all(CALL_pwrite, ENOSPC, false, true);
    run_all(CALL_fallocate, ENOSPC, true, false);
}

/* The first failure is told once as what it was, everything later as failed. */
static void a_full_disk_is_told_as_full_then_failed(void **state)
{
    (void)state;
    remove_database();
    struct tide_engine *engine;
    struct tide_error error;
    file_calls_use(&fault_calls);
    plan.nth = 0;
    assert_int_equal(tide_open(path, NULL, &engine, &error), TIDE_OK);
    struct tide_collection *collection = tide_collection(engine, "c", 1, NULL);
    plan.call = CALL_pwrite, plan.nth = 1, plan.for_good = false, plan.error = ENOSPC, plan.tear = false, plan.seen = 0;
    struct tide_write write = {.operation = TIDE_PUT,
                               .durability = TIDE_DURABLE,
                               .if_version = TIDE_ANY_VERSION,
                               .id = "x",
                               .id_length = 1,
                               .value = "{}",
                               .value_length = 2};
    struct tide_written written;
    assert_int_equal(tide_write(collection, &write, &written, &error), TIDE_FULL);
    assert_non_null(strstr(error.message, "events.raftlog"));
    assert_int_equal(tide_write(collection, &write, &written, &error), TIDE_FAILED);
    assert_int_equal(tide_flush(engine, TIDE_NO_TIMEOUT, NULL, &error), TIDE_FAILED);
    assert_int_equal(tide_close(engine, &error), TIDE_FAILED);
    file_calls_use(NULL);
    plan.nth = 0;
    assert_int_equal(tide_open(path, NULL, &engine, &error), TIDE_OK);
    assert_int_equal(tide_count(tide_collection(engine, "c", 1, NULL)), 0);
    assert_int_equal(tide_close(engine, NULL), TIDE_OK);
}

static int path_make(void **state)
{
    if (directory_make(state) != 0)
        return -1;
    snprintf(path, sizeof path, "%s/a/db", directory);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_failing_open),
        cmocka_unit_test(a_failing_pread),
        cmocka_unit_test(a_failing_pwrite),
        cmocka_unit_test(a_failing_fdatasync),
        cmocka_unit_test(a_failing_fsync),
        cmocka_unit_test(a_failing_ftruncate),
        cmocka_unit_test(a_failing_fallocate),
        cmocka_unit_test(a_failing_rename),
        cmocka_unit_test(a_failing_mkdir),
        cmocka_unit_test(a_failing_fstat),
        cmocka_unit_test(a_failing_real_path),
        cmocka_unit_test(a_failing_flock),
        cmocka_unit_test(a_failing_list),
        cmocka_unit_test(a_full_disk),
        cmocka_unit_test(a_full_disk_is_told_as_full_then_failed),
    };
    return cmocka_run_group_tests_name("faults", tests, path_make, directory_remove);
}
