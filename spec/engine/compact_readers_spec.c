/* compact_readers_spec.c - who reads and writes while a compaction goes on, in this process or another, finds
 * everything as it must be. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../engine/file.h"
#include "../../engine/segment.h"
#include "compact_log.h"

/* An iterator that is in the middle of a segment when that is compacted goes on in the old file, and finds its way in
 * those behind, which are new ones. */
static void an_open_iterator_goes_on(void **state)
{
    (void)state;
    struct tide_engine *engine = open_with(NULL);
    struct tide_events *events, *walk;
    struct tide_event event;
    struct tide_error error;
    write_many(engine, 5, 600);
    char text[16];
    struct tide_event_filter filter = {
        .from = 1, .collection = "articles", .collection_length = 8, .id = text, .id_length = id_text(3, text)};
    assert_int_equal(tide_flush(engine, TIDE_NO_TIMEOUT, NULL, NULL), TIDE_OK);
    assert_int_equal(tide_events_open(engine, NULL, &events, &error), TIDE_OK);
    assert_int_equal(tide_events_open(engine, &filter, &walk, &error), TIDE_OK);
    uint64_t next = 1;
    for (; next <= 50; next++)
        assert_int_equal(tide_events_next(events, &event, &error), TIDE_OK);
    assert_int_equal(tide_events_next(walk, &event, &error), TIDE_OK);
    assert_int_equal(event.seq, 4);
    compact_to(engine, 1);
    enum tide_status status;
    uint64_t told = 0;
    while ((status = tide_events_next(events, &event, &error)) == TIDE_OK) {
        assert_int_equal(event.seq, next);
        next = event.last_seq + 1;
        told += event.type != TIDE_EVENT_GAP;
    }
    assert_int_equal(status, TIDE_NOT_FOUND);
    assert_int_equal(next, last + 1);
    assert_in_range(told, 60, 140); /* the rest of one segment, and five */
    tide_events_close(events);
    /* The walk passes over what has gone since. */
    uint64_t newest = 0;
    while ((status = tide_events_next(walk, &event, &error)) == TIDE_OK) {
        assert_int_equal(written[event.seq].id, 3);
        newest = event.seq;
    }
    assert_int_equal(status, TIDE_NOT_FOUND);
    assert_int_equal(newest, versions[3]);
    tide_events_close(walk);
    assert_int_equal(tide_close(engine, NULL), TIDE_OK);
}

/* Another process, which compacts when it is told to. It must be there before an engine is: what a fork copies of one
 * is of no use. */
static struct {
    pid_t process;
    int go[2];
} other;

static void other_start(void)
{
    assert_int_equal(pipe(other.go), 0);
    other.process = fork();
    if (other.process != 0)
        return;
    char byte;
    struct tide_engine *writer;
    struct tide_error error;
    const struct tide_compact latest = {.retain = TIDE_RETAIN_EVENTS_PER_DOCUMENT, .limit = 1};
    struct tide_options small = {.segment_bytes = TIDE_SEGMENT_BYTES_MIN};
    bool fine = read(other.go[0], &byte, 1) == 1 && tide_open(directory, &small, &writer, &error) == TIDE_OK &&
                tide_compact(writer, &latest, NULL, &error) == TIDE_OK && tide_close(writer, NULL) == TIDE_OK;
    _exit(fine ? 0 : 1);
}

static void other_compacts(void)
{
    int exited;
    assert_int_equal(write(other.go[1], "", 1), 1);
    assert_int_equal(waitpid(other.process, &exited, 0), other.process);
    assert_int_equal(exited, 0);
    close(other.go[0]);
    close(other.go[1]);
}

/* Another process, here an engine that was opened before and reads alone, has an index of places that are no more. */
static void an_index_of_an_earlier_time_leads_to_everything(void **state)
{
    (void)state;
    struct tide_engine *engine = open_with(NULL), *reader;
    write_many(engine, IDS, 600);
    assert_int_equal(tide_close(engine, NULL), TIDE_OK);
    struct tide_options options = {.read_only = true};
    struct tide_error error;
    other_start();
    assert_int_equal(tide_open(directory, &options, &reader, &error), TIDE_OK);
    other_compacts();
    events_expire(1);
    assert_int_equal(check_events(reader, 1, last), IDS);
    for (uint64_t from = 1; from <= last; from += 97)
        check_events(reader, from, last);
    uint64_t seqs[EVENTS_MAX];
    for (unsigned id = 0; id < IDS; id++) {
        assert_int_equal(history(reader, id, seqs), 1);
        assert_int_equal(seqs[0], versions[id]);
    }
    assert_int_equal(tide_close(reader, NULL), TIDE_OK);
}

static char trap[160]; /* whoever opens it finds that another process has compacted just now */

static int trap_open(void *context, const char *path, int flags, unsigned mode)
{
    if (strcmp(path, trap) == 0) {
        trap[0] = 0;
        other_compacts();
    }
    return file_calls_system()->open(context, path, flags, mode);
}

/* The first segment was read as it was, with a document that was deleted later; the deletion is gone when it is the
 * later segment's turn. */
static void a_deleted_document_does_not_come_back_to_who_reads_meanwhile(void **state)
{
    (void)state;
    struct tide_engine *engine = open_with(NULL);
    write_many(engine, IDS, 300);
    for (unsigned id = 0; id < IDS; id += 2)
        write_id(engine, id, true);
    write_many(engine, 1, 300);
    assert_int_equal(tide_close(engine, NULL), TIDE_OK);
    struct segment_list list;
    assert_int_equal(segment_list_read(directory, &list, NULL), TIDE_OK);
    char name[SEGMENT_NAME_BYTES];
    segment_sealed_name(name, list.sealed[1]);
    segment_list_free(&list);
    other_start();
    struct file_calls calls = *file_calls_system();
    calls.open = trap_open;
    snprintf(trap, sizeof trap, "%s/%.60s", directory, name);
    file_calls_use(&calls);
    engine = open_with(&(struct tide_options){.read_only = true});
    assert_int_equal(trap[0], 0);
    events_expire(1);
    check_documents(engine);
    assert_int_equal(check_events(engine, 1, last), IDS / 2 + 1);
    assert_int_equal(tide_close(engine, NULL), TIDE_OK);
}

static uint64_t stats_seen;

static int shrinking_stat(void *context, const char *path, struct file_status *status)
{
    int result = file_calls_system()->stat(context, path, status);
    if (result == 0 && strstr(path, "/events-"))
        status->bytes -= ++stats_seen;
    return result;
}

static void who_reads_while_compactions_never_end_is_told_so(void **state)
{
    (void)state;
    struct tide_options options = {.read_only = true};
    struct tide_error error;
    struct tide_engine *engine = open_with(NULL);
    write_many(engine, 4, 150);
    assert_int_equal(tide_close(engine, NULL), TIDE_OK);
    struct file_calls calls = *file_calls_system();
    calls.stat = shrinking_stat;
    file_calls_use(&calls);
    assert_int_equal(tide_open(directory, &options, &engine, &error), TIDE_BUSY);
    assert_non_null(strstr(error.message, "compacted again and again"));
    file_calls_use(NULL);
    engine = open_with(&options);
    check_documents(engine);
    assert_int_equal(tide_close(engine, NULL), TIDE_OK);
}

/* ---- Beside others ---- */

enum { WRITERS = 2, THREAD_WRITES = 600, THREAD_IDS = 10 };
static struct tide_engine *shared;
static _Atomic bool done; /* sequentially consistent: nothing depends on its speed */

static void *writer_main(void *context)
{
    unsigned index = (unsigned)(uintptr_t)context;
    static char value[VALUE_BYTES];
    for (unsigned i = 0; i < THREAD_WRITES; i++) {
        char text[16];
        bool deletes = i % 17 == 16;
        struct tide_write write = {.operation = deletes ? TIDE_DELETE : TIDE_PUT,
                                   .if_version = TIDE_ANY_VERSION,
                                   .id = text,
                                   .id_length = id_text(index * THREAD_IDS + i % THREAD_IDS, text),
                                   .value = value,
                                   .value_length = sizeof value};
        struct tide_written result;
        enum tide_status status = tide_write(articles_of(shared), &write, &result, NULL);
        if (status != TIDE_OK && !(deletes && status == TIDE_NOT_FOUND))
            return context ? context : (void *)1;
    }
    return NULL;
}

/* Scans, and walks: seqs rise without a hole, whatever is compacted meanwhile. */
static void *reader_main(void *context)
{
    bool walks = context != NULL;
    for (unsigned round = 0; !atomic_load(&done); round++) {
        char text[16];
        struct tide_event_filter filter = {.from = walks ? 1 : 1 + round % 300};
        if (walks)
            filter = (struct tide_event_filter){.from = 1,
                                                .collection = "articles",
                                                .collection_length = 8,
                                                .id = text,
                                                .id_length = id_text(round % (THREAD_IDS * WRITERS), text)};
        struct tide_events *events;
        struct tide_event event;
        struct tide_error error;
        uint64_t next = filter.from;
        enum tide_status status = tide_events_open(shared, &filter, &events, &error);
        if (status == TIDE_OK) {
            while ((status = tide_events_next(events, &event, &error)) == TIDE_OK) {
                if (walks ? event.seq < next : event.seq != next)
                    return "seqs are not in a row";
                next = event.last_seq + 1;
            }
            tide_events_close(events);
        }
        if (status != TIDE_NOT_FOUND) {
            fprintf(stderr, "%s\n", error.message);
            return "an iterator failed";
        }
    }
    return NULL;
}

static void *compact_main(void *context)
{
    while (!atomic_load(&done)) {
        struct tide_compact request = {.retain = TIDE_RETAIN_EVENTS_PER_DOCUMENT, .limit = context ? 3 : 1};
        struct tide_error error;
        if (tide_compact(shared, &request, NULL, &error) != TIDE_OK) {
            fprintf(stderr, "%s\n", error.message);
            return "a compaction failed";
        }
    }
    return NULL;
}

static void writers_readers_and_two_compactions_at_once(void **state)
{
    (void)state;
    pthread_t writers[WRITERS], others[4];
    shared = open_with(NULL);
    atomic_store(&done, false);
    for (uintptr_t i = 0; i < WRITERS; i++)
        assert_int_equal(pthread_create(&writers[i], NULL, writer_main, (void *)i), 0);
    for (uintptr_t i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&others[i], NULL, i < 2 ? reader_main : compact_main, (void *)(i & 1)), 0);
    void *failed;
    for (int i = 0; i < WRITERS; i++) {
        pthread_join(writers[i], &failed);
        assert_null(failed);
    }
    atomic_store(&done, true);
    for (int i = 0; i < 4; i++) {
        pthread_join(others[i], &failed);
        if (failed)
            fail_msg("%s", (const char *)failed);
    }
    uint64_t before[THREAD_IDS * WRITERS];
    for (int opened = 0; opened < 2; opened++) {
        tide_read_begin(shared);
        for (unsigned id = 0; id < THREAD_IDS * WRITERS; id++) {
            char text[16];
            struct tide_view view = {0};
            tide_get(articles_of(shared), text, id_text(id, text), &view);
            uint64_t version = view.value ? view.version : 0;
            if (opened == 0)
                before[id] = version;
            else
                assert_int_equal(version, before[id]);
        }
        tide_read_end(shared);
        assert_int_equal(tide_close(shared, NULL), TIDE_OK);
        if (opened == 0)
            shared = open_with(NULL);
    }
    assert_int_equal(verify().damages, 0);
}

static void the_background_compacts_what_the_option_says(void **state)
{
    (void)state;
    struct tide_engine *engine =
        open_with(&(struct tide_options){.retain = TIDE_RETAIN_EVENTS_PER_DOCUMENT, .retain_limit = 2});
    struct tide_stats stats;
    do {
        write_many(engine, IDS / 2, 200);
        events_expire(2);
        tide_flush(engine, TIDE_NO_TIMEOUT, NULL, NULL);
        tide_stats(engine, &stats);
    } while (stats.compacted_events < 1000 && last < EVENTS_MAX - 200);
    while (stats.compacted_events < 1000) { /* the last sealing has woken the thread; it may not have run yet */
        usleep(1000);
        tide_stats(engine, &stats);
    }
    assert_int_equal(stats.compactions_failed, 0);
    assert_true(stats.log_bytes < last * VALUE_BYTES);
    assert_int_equal(tide_close(engine, NULL), TIDE_OK);
    engine = open_with(NULL);
    check_all(&engine);
    assert_int_equal(tide_close(engine, NULL), TIDE_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, compact_log_begin, directory_remove)
        TEST(an_open_iterator_goes_on),
        TEST(an_index_of_an_earlier_time_leads_to_everything),
        TEST(a_deleted_document_does_not_come_back_to_who_reads_meanwhile),
        TEST(who_reads_while_compactions_never_end_is_told_so),
        TEST(writers_readers_and_two_compactions_at_once),
        TEST(the_background_compacts_what_the_option_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
