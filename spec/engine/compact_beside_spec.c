/* compact_beside_spec.c - compaction beside snapshots, backups and restores: what these rely on is there. Compaction by
 * itself is in compact_spec.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <unistd.h>

#include "directory.h"
#include "segment.h"
#include "tidemark.h"

static char source[80], target[80], restored[80];

enum { IDS = 20, VALUE_BYTES = 20000 };

static uint64_t versions[IDS]; /* 0: absent */
static uint64_t last;

static int begin(void **state)
{
    if (directory_make(state) != 0)
        return -1;
    snprintf(source, sizeof source, "%s/source", directory);
    snprintf(target, sizeof target, "%s/target", directory);
    snprintf(restored, sizeof restored, "%s/restored", directory);
    memset(versions, 0, sizeof versions);
    last = 0;
    return 0;
}

static struct tide_engine *open_at(const char *path)
{
    struct tide_options options = {.segment_bytes = TIDE_SEGMENT_BYTES_MIN, .batch_size = 10};
    struct tide_engine *engine;
    struct tide_error error;
    if (tide_open(path, &options, &engine, &error) != TIDE_OK)
        fail_msg("%s: %s", path, error.message);
    return engine;
}

static struct tide_collection *articles(struct tide_engine *engine)
{
    return tide_collection(engine, "articles", 8, NULL);
}

static void write_id(struct tide_engine *engine, unsigned id, bool deletes)
{
    static char value[VALUE_BYTES];
    char text[16];
    memset(value, 'a' + (int)(id % 26), sizeof value);
    snprintf(text, sizeof text, "%u", id);
    struct tide_write write = {.operation = deletes ? TIDE_DELETE : TIDE_PUT,
                               .if_version = TIDE_ANY_VERSION,
                               .id = text,
                               .id_length = strlen(text),
                               .value = deletes ? NULL : value,
                               .value_length = deletes ? 0 : sizeof value};
    struct tide_written written;
    struct tide_error error;
    if (tide_write(articles(engine), &write, &written, &error) != TIDE_OK)
        fail_msg("write: %s", error.message);
    last = written.version;
    versions[id] = deletes ? 0 : last;
}

static void write_many(struct tide_engine *engine, unsigned first, unsigned behind, unsigned rounds)
{
    for (unsigned i = 0; i < rounds; i++)
        for (unsigned id = first; id < behind; id++)
            write_id(engine, id, false);
}

static struct tide_compaction compact(struct tide_engine *engine)
{
    const struct tide_compact request = {.retain = TIDE_RETAIN_EVENTS_PER_DOCUMENT, .limit = 1};
    struct tide_compaction result;
    struct tide_error error;
    if (tide_compact(engine, &request, &result, &error) != TIDE_OK)
        fail_msg("compact: %s", error.message);
    return result;
}

static void assert_documents(struct tide_engine *engine, const uint64_t wanted[IDS])
{
    for (unsigned id = 0; id < IDS; id++) {
        char text[16];
        struct tide_view view = {0};
        snprintf(text, sizeof text, "%u", id);
        tide_read_begin(engine);
        tide_get(articles(engine), text, strlen(text), &view);
        tide_read_end(engine);
        assert_int_equal(view.value ? view.version : 0, wanted[id]);
    }
}

/* Each document's history is read, and ends with its version. */
static void assert_histories(struct tide_engine *engine)
{
    for (unsigned id = 0; id < IDS; id++) {
        char text[16];
        snprintf(text, sizeof text, "%u", id);
        struct tide_event_filter filter = {
            .from = 1, .collection = "articles", .collection_length = 8, .id = text, .id_length = strlen(text)};
        struct tide_events *events;
        struct tide_event event;
        struct tide_error error;
        uint64_t newest = 0;
        enum tide_status status = tide_events_open(engine, &filter, &events, &error);
        while (status == TIDE_OK && (status = tide_events_next(events, &event, &error)) == TIDE_OK)
            newest = event.type == TIDE_EVENT_DELETED ? 0 : event.seq;
        if (status != TIDE_NOT_FOUND)
            fail_msg("history of %u: %s", id, error.message);
        tide_events_close(events);
        assert_int_equal(newest, versions[id]);
    }
}

static void snapshot(struct tide_engine *engine)
{
    struct tide_error error;
    if (tide_snapshot(engine, NULL, &error) != TIDE_OK)
        fail_msg("snapshot: %s", error.message);
}

static void back_up(struct tide_engine *engine, tide_progress_function *progress)
{
    struct tide_backup_result result;
    struct tide_error error;
    if (tide_backup(engine, target, &result, progress, engine, &error) != TIDE_OK)
        fail_msg("backup: %s", error.message);
    assert_int_equal(result.seq, last);
}

static void restored_remove(void)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", restored);
    assert_int_equal(system(command), 0);
}

/* `wanted` NULL: whatever it holds. */
static void assert_restores(uint64_t to_seq, const uint64_t wanted[IDS])
{
    struct tide_restore_options options = {.to_seq = to_seq};
    struct tide_restore_result result;
    struct tide_error error;
    struct tide_report report;
    restored_remove();
    if (tide_restore(target, restored, &options, &result, NULL, NULL, &error) != TIDE_OK)
        fail_msg("restore: %s", error.message);
    assert_int_equal(result.seq, to_seq ? to_seq : last);
    assert_int_equal(tide_verify(restored, &report, NULL, NULL, NULL, NULL), TIDE_OK);
    assert_int_equal(report.damages, 0);
    struct tide_engine *engine = open_at(restored);
    if (wanted)
        assert_documents(engine, wanted);
    assert_int_equal(tide_close(engine, NULL), TIDE_OK);
}

/* ---- Snapshots ---- */

static void what_a_snapshot_has_stays_deleted(void **state)
{
    (void)state;
    struct tide_engine *engine = open_at(source);
    write_many(engine, 0, IDS, 1);
    snapshot(engine);
    write_id(engine, 3, true);
    write_many(engine, 4, IDS, 8);
    assert_true(compact(engine).removed > 0);
    assert_int_equal(tide_close(engine, NULL), TIDE_OK);

    engine = open_at(source);
    struct tide_stats stats;
    tide_stats(engine, &stats);
    assert_int_equal(stats.recovered_snapshot_seq, IDS);
    assert_documents(engine, versions);
    assert_histories(engine);

    /* When no snapshot has it any more, the deletion goes too. */
    snapshot(engine);
    write_id(engine, 4, false);
    snapshot(engine);
    write_many(engine, 0, 3, 1);
    write_many(engine, 4, IDS, 8);
    compact(engine);
    struct tide_event_filter filter = {
        .from = 1, .collection = "articles", .collection_length = 8, .id = "3", .id_length = 1};
    struct tide_events *events;
    struct tide_event event;
    assert_int_equal(tide_events_open(engine, &filter, &events, NULL), TIDE_OK);
    while (tide_events_next(events, &event, NULL) == TIDE_OK)
        assert_int_equal(event.type, TIDE_EVENT_GAP);
    tide_events_close(events);
    assert_int_equal(tide_close(engine, NULL), TIDE_OK);
    engine = open_at(source);
    assert_documents(engine, versions);
    assert_int_equal(tide_close(engine, NULL), TIDE_OK);
}

static void segments_that_opening_passed_over_are_compacted_and_read(void **state)
{
    (void)state;
    struct tide_engine *engine = open_at(source);
    write_many(engine, 0, IDS, 20);
    snapshot(engine);
    write_many(engine, 0, 2, 3);
    assert_int_equal(tide_close(engine, NULL), TIDE_OK);
    engine = open_at(source);
    struct tide_stats stats;
    tide_stats(engine, &stats);
    assert_true(stats.recovered_snapshot_seq > 0 && stats.recovered_events < IDS);
    assert_true(compact(engine).removed > 10 * IDS);
    assert_histories(engine);
    assert_documents(engine, versions);
    assert_int_equal(tide_close(engine, NULL), TIDE_OK);
    engine = open_at(source);
    assert_histories(engine);
    assert_int_equal(tide_close(engine, NULL), TIDE_OK);
}

/* One document that is larger than every buffer there is: in a frame, in a compacted segment, in a snapshot, in a
 * backup. */
static void a_document_larger_than_the_buffers_goes_all_ways(void **state)
{
    (void)state;
    enum { LARGE_BYTES = 3 << 20 };
    char *value = malloc(LARGE_BYTES);
    assert_non_null(value);
    for (size_t i = 0; i < LARGE_BYTES; i++)
        value[i] = (char)('a' + i % 23);
    struct tide_engine *engine = open_at(source);
    const struct tide_write write = {.operation = TIDE_PUT,
                                     .if_version = TIDE_ANY_VERSION,
                                     .id = "large",
                                     .id_length = 5,
                                     .value = value,
                                     .value_length = LARGE_BYTES};
    struct tide_written written;
    write_many(engine, 0, 4, 10);
    for (int i = 0; i < 2; i++)
        assert_int_equal(tide_write(articles(engine), &write, &written, NULL), TIDE_OK);
    write_many(engine, 0, 4, 10);
    assert_true(compact(engine).removed > 0);
    snapshot(engine);
    back_up(engine, NULL);
    restored_remove();
    struct tide_restore_result result;
    assert_int_equal(tide_restore(target, restored, NULL, &result, NULL, NULL, NULL), TIDE_OK);
    assert_int_equal(tide_close(engine, NULL), TIDE_OK);
    const char *paths[] = {source, restored}; /* from the snapshot, and from the log */
    for (int i = 0; i < 2; i++) {
        engine = open_at(paths[i]);
        struct tide_view view;
        tide_read_begin(engine);
        assert_int_equal(tide_get(articles(engine), "large", 5, &view), TIDE_OK);
        assert_int_equal(view.version, written.version);
        assert_int_equal(view.value_length, LARGE_BYTES);
        assert_memory_equal(view.value, value, LARGE_BYTES);
        tide_read_end(engine);
        assert_documents(engine, versions);
        assert_histories(engine);
        assert_int_equal(tide_close(engine, NULL), TIDE_OK);
    }
    free(value);
}

/* ---- A chain of hashes ---- */

static void nothing_of_a_chained_log_is_removed(void **state)
{
    (void)state;
    struct tide_options options = {.segment_bytes = TIDE_SEGMENT_BYTES_MIN, .hash_chain = true};
    struct tide_engine *engine;
    struct tide_error error;
    const struct tide_compact request = {.retain = TIDE_RETAIN_EVENTS_PER_DOCUMENT, .limit = 1};
    assert_int_equal(tide_open(source, &options, &engine, &error), TIDE_OK);
    write_many(engine, 0, IDS, 5);
    assert_int_equal(tide_compact(engine, &request, NULL, &error), TIDE_INVALID);
    assert_non_null(strstr(error.message, "hash chain"));
    assert_int_equal(tide_compact(engine, NULL, NULL, &error), TIDE_OK); /* "all" has nothing to remove */
    assert_int_equal(tide_close(engine, NULL), TIDE_OK);

    options = (struct tide_options){.retain = TIDE_RETAIN_DAYS, .retain_limit = 1};
    assert_int_equal(tide_open(source, &options, &engine, &error), TIDE_INVALID);
    assert_non_null(strstr(error.message, "option retain"));
    struct tide_report report;
    assert_int_equal(tide_verify_chain(source, NULL, &report, NULL, NULL, NULL, &error), TIDE_OK);
    assert_int_equal(report.chain_breaks, 0);
    assert_int_equal(report.events, last);
}

static void a_chain_that_begins_behind_a_compaction_holds(void **state)
{
    (void)state;
    struct tide_engine *engine = open_at(source);
    write_many(engine, 0, IDS, 10);
    assert_true(compact(engine).removed > 0);
    uint64_t before = last;
    assert_int_equal(tide_close(engine, NULL), TIDE_OK);
    struct tide_options options = {.segment_bytes = TIDE_SEGMENT_BYTES_MIN, .hash_chain = true};
    struct tide_error error;
    assert_int_equal(tide_open(source, &options, &engine, &error), TIDE_OK);
    write_many(engine, 0, IDS, 5);
    back_up(engine, NULL);
    assert_int_equal(tide_close(engine, NULL), TIDE_OK);
    const char *paths[] = {source, target};
    for (int i = 0; i < 2; i++) {
        struct tide_report report;
        assert_int_equal(tide_verify_chain(paths[i], NULL, &report, NULL, NULL, NULL, &error), TIDE_OK);
        assert_true(report.chained);
        assert_int_equal(report.chain_breaks, 0);
        assert_int_equal(report.chain.first_seq, before + 1);
    }
    assert_restores(0, versions);
    assert_restores(before + 1, NULL);
}

/* ---- A log that was cut behind a compaction ---- */

static enum tide_status open_fault(const char *path, struct tide_error *error)
{
    struct tide_engine *engine;
    struct tide_options options = {.segment_bytes = TIDE_SEGMENT_BYTES_MIN};
    enum tide_status status = tide_open(path, &options, &engine, error);
    if (status == TIDE_OK)
        tide_close(engine, NULL);
    return status;
}

static void an_end_that_a_compaction_relied_on_is_missed(void **state)
{
    (void)state;
    struct tide_error error;
    struct tide_report report;
    char path[128];
    struct tide_engine *engine = open_at(source);
    write_many(engine, 0, 2, 60);
    const struct tide_compact request = {.retain = TIDE_RETAIN_EVENTS_PER_DOCUMENT, .limit = 1, .sealed_alone = true};
    assert_int_equal(tide_compact(engine, &request, NULL, NULL), TIDE_OK); /* the newest events are in the active one */
    assert_int_equal(tide_close(engine, NULL), TIDE_OK);
    snprintf(path, sizeof path, "%s/%s", source, SEGMENT_ACTIVE_NAME);
    assert_int_equal(truncate(path, SEGMENT_HEADER_BYTES), 0);

    assert_int_equal(open_fault(source, &error), TIDE_CORRUPT);
    assert_non_null(strstr(error.message, "but reached seq"));
    assert_int_equal(tide_verify(source, &report, NULL, NULL, NULL, NULL), TIDE_OK);
    assert_int_equal(report.damages, 1);
    uint64_t missing = report.missing_events;
    assert_true(missing > 0);
    assert_int_equal(tide_restore(source, restored, NULL, &(struct tide_restore_result){0}, NULL, NULL, &error),
                     TIDE_CORRUPT);
    assert_int_equal(access(restored, F_OK), -1);

    assert_int_equal(tide_repair(source, &report, NULL, NULL, NULL, NULL), TIDE_OK);
    assert_int_equal(tide_verify(source, &report, NULL, NULL, NULL, NULL), TIDE_OK);
    assert_int_equal(report.damages, 0);
    engine = open_at(source);
    struct tide_watermarks watermarks;
    tide_watermarks(engine, &watermarks);
    assert_int_equal(watermarks.durable, last);
    assert_int_equal(tide_close(engine, NULL), TIDE_OK);
}

/* ---- Backups and restores ---- */

static void a_backup_follows_a_compaction_and_older_states_are_refused(void **state)
{
    (void)state;
    uint64_t early[IDS], behind[IDS];
    struct tide_error error;
    struct tide_engine *engine = open_at(source);
    write_many(engine, 0, IDS, 1);
    write_many(engine, 0, 10, 20); /* segments of which nothing stays, too */
    uint64_t early_seq = last;
    memcpy(early, versions, sizeof early);
    write_id(engine, 0, true);
    write_many(engine, 1, 10, 10);
    back_up(engine, NULL);
    assert_restores(early_seq, early);
    assert_restores(0, versions);

    assert_true(compact(engine).removed > 0);
    write_many(engine, 1, 4, 1);
    uint64_t behind_seq = last;
    memcpy(behind, versions, sizeof behind);
    write_many(engine, 1, 4, 1);
    back_up(engine, NULL);
    assert_restores(0, versions);
    assert_restores(behind_seq, behind);

    struct tide_restore_options options = {.to_seq = early_seq};
    struct tide_restore_result result;
    write_many(engine, 0, 10, 20);
    assert_true(compact(engine).rewritten > 0);
    uint64_t compacted_seq = last;
    write_many(engine, 0, 10, 1);
    back_up(engine, NULL);
    restored_remove();
    options.to_seq = compacted_seq - 1;
    assert_int_equal(tide_restore(target, restored, &options, &result, NULL, NULL, &error), TIDE_INVALID);
    char wanted[80];
    snprintf(wanted, sizeof wanted, "from seq %llu on", (unsigned long long)compacted_seq);
    if (!strstr(error.message, wanted))
        fail_msg("%s: %s", wanted, error.message);
    options.to_seq = 1;
    assert_int_equal(tide_restore(target, restored, &options, &result, NULL, NULL, &error), TIDE_INVALID);
    assert_non_null(strstr(error.message, wanted));
    options = (struct tide_restore_options){.to_time_us = 1};
    assert_int_equal(tide_restore(target, restored, &options, &result, NULL, NULL, &error), TIDE_INVALID);
    assert_int_equal(access(restored, F_OK), -1);
    assert_int_equal(tide_close(engine, NULL), TIDE_OK);
}

static uint64_t time_of(struct tide_engine *engine, uint64_t seq)
{
    struct tide_event_filter filter = {.from = seq, .to = seq};
    struct tide_events *events;
    struct tide_event event;
    assert_int_equal(tide_flush(engine, TIDE_NO_TIMEOUT, NULL, NULL), TIDE_OK);
    assert_int_equal(tide_events_open(engine, &filter, &events, NULL), TIDE_OK);
    assert_int_equal(tide_events_next(events, &event, NULL), TIDE_OK);
    uint64_t time_us = event.time_us;
    tide_events_close(events);
    return time_us;
}

static void a_state_is_not_restored_from_between_events_that_are_gone(void **state)
{
    (void)state;
    struct tide_error error;
    struct tide_restore_result result;
    struct tide_engine *engine = open_at(source);
    write_many(engine, 0, IDS, 3);
    usleep(2000);
    uint64_t early_seq = last, early_us = time_of(engine, last);
    for (unsigned id = 0; id < IDS; id++)
        write_id(engine, id, true);
    assert_int_equal(compact(engine).removed, last);
    usleep(2000);
    write_id(engine, 0, false);
    uint64_t late_us = time_of(engine, last);
    usleep(2000);
    write_id(engine, 1, false);
    back_up(engine, NULL);
    struct tide_restore_options options = {.to_seq = early_seq};
    assert_int_equal(tide_restore(target, restored, &options, &result, NULL, NULL, &error), TIDE_INVALID);
    options.to_seq++;
    assert_int_equal(tide_restore(target, restored, &options, &result, NULL, NULL, &error), TIDE_INVALID);
    options = (struct tide_restore_options){.to_time_us = early_us};
    assert_int_equal(tide_restore(target, restored, &options, &result, NULL, NULL, &error), TIDE_INVALID);
    options.to_time_us = late_us - 1; /* whether the removed events were older nobody knows */
    assert_int_equal(tide_restore(target, restored, &options, &result, NULL, NULL, &error), TIDE_INVALID);
    options.to_time_us = late_us;
    if (tide_restore(target, restored, &options, &result, NULL, NULL, &error) != TIDE_OK)
        fail_msg("restore: %s", error.message);
    assert_int_equal(result.seq, last - 1);
    assert_int_equal(tide_close(engine, NULL), TIDE_OK);
}

static unsigned compactions;

/* While the backup copies: everything becomes old, and goes. */
static void compact_meanwhile(void *context, uint64_t done, uint64_t total)
{
    struct tide_engine *engine = context;
    (void)done;
    (void)total;
    if (compactions++ > 0)
        return;
    write_id(engine, 0, true);
    write_many(engine, 10, IDS, 1);
    compact(engine);
}

static void a_compaction_in_the_middle_of_a_backup_begins_it_anew(void **state)
{
    (void)state;
    compactions = 0;
    struct tide_engine *engine = open_at(source);
    write_many(engine, 0, IDS, 40); /* 16 MB: the progress is called */
    back_up(engine, compact_meanwhile);
    assert_int_equal(compactions, 1);
    assert_restores(0, versions);
    back_up(engine, NULL);
    assert_restores(0, versions);
    assert_int_equal(tide_close(engine, NULL), TIDE_OK);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, directory_remove)
    const struct CMUnitTest tests[] = {
        TEST(what_a_snapshot_has_stays_deleted),
        TEST(segments_that_opening_passed_over_are_compacted_and_read),
        TEST(a_document_larger_than_the_buffers_goes_all_ways),
        TEST(nothing_of_a_chained_log_is_removed),
        TEST(a_chain_that_begins_behind_a_compaction_holds),
        TEST(an_end_that_a_compaction_relied_on_is_missed),
        TEST(a_backup_follows_a_compaction_and_older_states_are_refused),
        TEST(a_state_is_not_restored_from_between_events_that_are_gone),
        TEST(a_compaction_in_the_middle_of_a_backup_begins_it_anew),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
