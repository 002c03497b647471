/* compact_faults_spec.c - compactions that fail, are interrupted, find damage, or are ended by a close. */
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
#include <unistd.h>

#include "../../engine/file.h"
#include "../../engine/format.h"
#include "../../engine/segment.h"
#include "compact_log.h"

/* ---- When the disk fails ---- */

static _Atomic int fail_call; /* 0 none, 1 write, 2 sync, 3 rename, 4 sync of the directory, 5 open */
static _Atomic int fail_error;
static char temporary[96];
static int temporary_fd = -1;

static int fail_with(void)
{
    errno = atomic_load(&fail_error);
    return -1;
}

static int fault_open(void *context, const char *path, int flags, unsigned mode)
{
    bool ours = strstr(path, "compact.tmp") != NULL;
    if (ours && atomic_load(&fail_call) == 5)
        return fail_with();
    int fd = file_calls_system()->open(context, path, flags, mode);
    if (ours)
        temporary_fd = fd;
    return fd;
}

static ssize_t fault_pwrite(void *context, int fd, const void *buffer, size_t bytes, uint64_t offset)
{
    if (atomic_load(&fail_call) == 1 && fd == temporary_fd)
        return fail_with();
    return file_calls_system()->pwrite(context, fd, buffer, bytes, offset);
}

static int fault_fdatasync(void *context, int fd)
{
    if (atomic_load(&fail_call) == 2 && fd == temporary_fd)
        return fail_with();
    return file_calls_system()->fdatasync(context, fd);
}

static int fault_rename(void *context, const char *from, const char *to)
{
    if (atomic_load(&fail_call) == 3)
        return fail_with();
    return file_calls_system()->rename(context, from, to);
}

static int fault_fsync(void *context, int fd)
{
    if (atomic_load(&fail_call) == 4)
        return fail_with();
    return file_calls_system()->fsync(context, fd);
}

static void a_compaction_that_fails_leaves_everything_as_it_was(void **state)
{
    (void)state;
    struct file_calls calls = *file_calls_system();
    calls.open = fault_open;
    calls.pwrite = fault_pwrite;
    calls.fdatasync = fault_fdatasync;
    calls.rename = fault_rename;
    calls.fsync = fault_fsync;
    atomic_store(&fail_call, 0);
    file_calls_use(&calls);
    struct tide_engine *engine = open_with(NULL);
    write_many(engine, IDS, 600);
    tide_flush(engine, TIDE_NO_TIMEOUT, NULL, NULL);
    snprintf(temporary, sizeof temporary, "%s/compact.tmp", directory);
    const struct tide_compact latest = {.retain = TIDE_RETAIN_EVENTS_PER_DOCUMENT, .limit = 1, .sealed_alone = true};
    for (int call = 1; call <= 5; call++) {
        struct tide_compaction result;
        struct tide_error error;
        struct tide_stats stats;
        atomic_store(&fail_error, call == 1 ? ENOSPC : EIO);
        atomic_store(&fail_call, call);
        if (call == 4)
            events_expire(1); /* the new file is there, but may not be after a crash */
        assert_int_equal(tide_compact(engine, &latest, &result, &error), call == 1 ? TIDE_FULL : TIDE_IO);
        assert_non_null(strstr(error.message, "compact.tmp"));
        atomic_store(&fail_call, 0);
        assert_int_equal(result.rewritten, call == 4);
        assert_int_equal(access(temporary, F_OK), -1);
        tide_stats(engine, &stats);
        assert_int_equal(stats.compactions_failed, call);
        assert_int_equal(stats.log_bytes, result.bytes_after);
        check_documents(engine);
        check_events(engine, 1, last);
        write_many(engine, 1, 1);
        assert_int_equal(tide_flush(engine, TIDE_NO_TIMEOUT, NULL, NULL), TIDE_OK);
    }
    check_all(&engine);
    compact_to(engine, 1);
    assert_int_equal(check_all(&engine), IDS);
    assert_int_equal(tide_close(engine, NULL), TIDE_OK);
}

static void what_an_interrupted_compaction_left_is_removed(void **state)
{
    (void)state;
    snprintf(temporary, sizeof temporary, "%s/compact.tmp", directory);
    FILE *file = fopen(temporary, "w");
    assert_non_null(file);
    fclose(file);
    struct tide_engine *engine = open_with(NULL);
    assert_int_equal(access(temporary, F_OK), -1);
    assert_int_equal(tide_close(engine, NULL), TIDE_OK);
}

/* Flips a byte in the middle of the first sealed segment. */
static void damage_first(void)
{
    char name[SEGMENT_NAME_BYTES];
    segment_sealed_name(name, 1);
    char *path = file_path(directory, name);
    FILE *file = fopen(path, "r+");
    free(path);
    assert_non_null(file);
    assert_int_equal(fseek(file, 0, SEEK_END), 0);
    assert_int_equal(fseek(file, ftell(file) / 2, SEEK_SET), 0);
    int byte = fgetc(file);
    assert_int_equal(fseek(file, -1, SEEK_CUR), 0);
    assert_int_equal(fputc(byte ^ 1, file), byte ^ 1);
    fclose(file);
}

static void damage_is_not_passed_over(void **state)
{
    (void)state;
    struct tide_engine *engine = open_with(NULL);
    struct tide_error error;
    const struct tide_compact latest = {.retain = TIDE_RETAIN_EVENTS_PER_DOCUMENT, .limit = 1};
    write_many(engine, IDS, 400);
    tide_flush(engine, TIDE_NO_TIMEOUT, NULL, NULL);
    damage_first();
    assert_int_equal(tide_compact(engine, &latest, NULL, &error), TIDE_CORRUPT);
    assert_non_null(strstr(error.message, "events-00000000000000000001.raftlog: damaged at offset"));
    check_documents(engine);
    assert_int_equal(tide_close(engine, NULL), TIDE_OK);
    assert_true(verify().damages > 0);
}

static void a_damaged_compacted_segment_is_refused_and_repaired(void **state)
{
    (void)state;
    struct tide_engine *engine = open_with(NULL);
    struct tide_error error;
    for (unsigned id = 20; id < IDS; id++)
        write_id(engine, id, false);
    write_many(engine, 20, 600);
    compact_to(engine, 1);
    assert_int_equal(tide_close(engine, NULL), TIDE_OK);
    damage_first();
    assert_int_equal(tide_open(directory, NULL, &engine, &error), TIDE_CORRUPT);
    struct tide_report report;
    assert_int_equal(tide_repair(directory, &report, note_finding, NULL, NULL, &error), TIDE_OK);
    report = verify();
    assert_int_equal(report.damages, 0);
    assert_false(report.torn);
    engine = open_with(NULL);
    unsigned lost = 0;
    for (uint64_t seq = 1; seq <= 20; seq++) { /* of these, those that were in the frame that was cut out */
        char text[16];
        struct tide_view view;
        tide_read_begin(engine);
        bool there = tide_get(articles_of(engine), text, id_text(written[seq].id, text), &view) == TIDE_OK;
        tide_read_end(engine);
        if (there)
            continue;
        versions[written[seq].id] = 0;
        written[seq].may_go = true;
        lost++;
    }
    assert_in_range(lost, 1, 20);
    check_documents(engine);
    assert_int_equal(check_events(engine, 1, last), 40 - lost);
    /* The gap that repair left is kept through a compaction. */
    write_many(engine, 20, 400);
    compact_to(engine, 1);
    check_documents(engine);
    uint64_t told = check_events(engine, 1, last); /* there may be a segment of which too little goes */
    assert_in_range(told, 40 - lost, 44 - lost);
    assert_int_equal(tide_close(engine, NULL), TIDE_OK);
    assert_int_equal(verify().damages, 0);
}

/* ---- Closing ---- */

static void *close_main(void *context)
{
    return (void *)(uintptr_t)tide_close(context, NULL);
}

static pthread_t closer;
static bool closer_started;

static void close_on_progress(void *context, uint64_t segments, uint64_t total)
{
    (void)total;
    if (segments > 1)
        return;
    assert_int_equal(pthread_create(&closer, NULL, close_main, context), 0);
    closer_started = true;
    usleep(50000); /* until it waits for us, most likely; it is right either way */
}

static void a_close_ends_a_compaction(void **state)
{
    (void)state;
    struct tide_engine *engine = open_with(NULL);
    struct tide_error error;
    void *closed;
    write_many(engine, IDS, 600);
    events_expire(1);
    struct tide_compact request = {
        .retain = TIDE_RETAIN_EVENTS_PER_DOCUMENT, .limit = 1, .progress = close_on_progress, .context = engine};
    struct tide_compaction result;
    closer_started = false;
    enum tide_status status = tide_compact(engine, &request, &result, &error);
    assert_true(closer_started);
    assert_true(status == TIDE_CLOSED || status == TIDE_OK);
    assert_true(result.segments >= 1);
    pthread_join(closer, &closed);
    assert_int_equal((uintptr_t)closed, TIDE_OK);
    engine = open_with(NULL);
    check_all(&engine);
    assert_int_equal(tide_close(engine, NULL), TIDE_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, compact_log_begin, directory_remove)
        TEST(a_compaction_that_fails_leaves_everything_as_it_was),
        TEST(what_an_interrupted_compaction_left_is_removed),
        TEST(damage_is_not_passed_over),
        TEST(a_damaged_compacted_segment_is_refused_and_repaired),
        TEST(a_close_ends_a_compaction),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
