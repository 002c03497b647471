/* compact_spec.c - compaction: what each retention leaves, that the log goes on amounting to the map, and how what is
 * gone is told. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <time.h>

#include "../../engine/file.h"
#include "../../engine/format.h"
#include "../../engine/segment.h"
#include "compact_log.h"

static void the_latest_event_of_each_document_stays(void **state)
{
    (void)state;
    struct tide_engine *engine = open_with(NULL);
    write_many(engine, IDS, 1000);
    struct tide_compaction result = compact_to(engine, 1);
    assert_int_equal(result.segments, 8);
    assert_int_equal(result.removed, 1000 - IDS);
    assert_true(result.bytes_after < result.bytes_before / 10);
    assert_int_equal(check_all(&engine), IDS);
    struct tide_stats stats;
    tide_stats(engine, &stats);
    assert_int_equal(stats.compactions, 0);

    /* A second time there is nothing to do, and no new segment comes of it. */
    result = compact_to(engine, 1);
    assert_int_equal(result.rewritten, 0);
    assert_int_equal(result.removed, 0);
    assert_int_equal(result.bytes_after, result.bytes_before);
    tide_stats(engine, &stats);
    assert_int_equal(stats.compactions, 1);
    assert_int_equal(check_all(&engine), IDS);

    /* And it goes on. */
    write_many(engine, IDS, 500);
    compact_to(engine, 1);
    assert_int_equal(check_all(&engine), IDS);
    assert_int_equal(tide_close(engine, NULL), TIDE_OK);
}

static void all_is_retained_unless_said_otherwise(void **state)
{
    (void)state;
    struct tide_engine *engine = open_with(NULL);
    struct tide_compaction result;
    write_many(engine, 4, 400);
    assert_int_equal(tide_compact(engine, NULL, &result, NULL), TIDE_OK);
    assert_int_equal(result.removed + result.rewritten, 0);
    assert_int_equal(check_all(&engine), 400);
    assert_int_equal(tide_close(engine, NULL), TIDE_OK);
}

static void the_last_events_of_each_document_stay(void **state)
{
    (void)state;
    struct tide_engine *engine = open_with(NULL);
    write_many(engine, 10, 500);
    write_many(engine, 20, 500); /* 10 to 19 have half as many */
    compact_to(engine, 7);
    assert_int_equal(check_all(&engine), 20 * 7);
    uint64_t seqs[EVENTS_MAX];
    for (unsigned id = 0; id < 20; id++) {
        assert_int_equal(history(engine, id, seqs), 7);
        assert_int_equal(seqs[6], versions[id]);
    }
    compact_to(engine, 3);
    assert_int_equal(check_all(&engine), 20 * 3);
    assert_int_equal(tide_close(engine, NULL), TIDE_OK);
}

static void a_deleted_document_leaves_nothing_and_does_not_come_back(void **state)
{
    (void)state;
    struct tide_engine *engine = open_with(NULL);
    write_many(engine, IDS, 400);
    for (unsigned id = 0; id < IDS; id += 2)
        write_id(engine, id, true);
    write_many(engine, 1, 300); /* the first one is created again */
    compact_to(engine, 1);
    assert_int_equal(check_all(&engine), IDS / 2 + 1);
    assert_int_equal(tide_close(engine, NULL), TIDE_OK);
}

/* Of the first segment less than a tenth goes, so it stays as it is, and with it events of documents that are gone: the
 * deletions behind must stay as well. */
static void a_deletion_stays_as_long_as_something_is_left_before_it(void **state)
{
    (void)state;
    struct tide_engine *engine = open_with(NULL);
    for (unsigned id = 0; id < 5; id++)
        write_id(engine, id, false);
    for (unsigned i = 0; i < 9 * 15; i++) /* documents of which all events stay: more than one segment */
        write_id(engine, 5 + i % 35, false);
    for (unsigned id = 0; id < 5; id++)
        write_id(engine, id, true);
    write_many(engine, 1, 4);
    write_id(engine, 1, false);
    uint64_t deletion_of_2 = 5 + 9 * 15 + 3;
    for (unsigned i = 0; i < 260; i++)
        write_id(engine, 39, false);
    /* With four events each, all of 5 to 38 stay; 0 and 1 were created again, 0 has four events of that life. */
    struct tide_compaction result = compact_to(engine, 4);
    assert_int_equal(result.segments - result.rewritten, 1);
    uint64_t told = check_all(&engine);
    assert_true(told > 5 + 9 * 15);
    uint64_t seqs[EVENTS_MAX];
    assert_int_equal(history(engine, 2, seqs), 2); /* a document that isn't there: a scan */
    assert_int_equal(seqs[0], 3);
    assert_int_equal(seqs[1], deletion_of_2);
    /* The deletion of 0 was removed, for it was created again; its earlier life is in the first segment, and is told,
     * now that the deletion can't be seen any more. */
    assert_int_equal(history(engine, 0, seqs), 5);
    assert_int_equal(seqs[0], 1);
    assert_int_equal(seqs[4], versions[0]);

    /* With the latest alone the first segment goes too, and so do the deletions. */
    compact_to(engine, 1);
    check_all(&engine);
    assert_int_equal(history(engine, 2, seqs), 0);
    assert_int_equal(history(engine, 0, seqs), 1);
    assert_int_equal(tide_close(engine, NULL), TIDE_OK);
}

/* One frame of 4 MB is one place in the index; what stays of it are several, of which the index keeps one. */
static void what_was_one_large_frame_is_found_in_smaller_ones(void **state)
{
    (void)state;
    struct tide_engine *engine = open_with(&(struct tide_options){.batch_size = 1000, .flush_interval_ms = 60000});
    write_many(engine, IDS, 15 * IDS);
    struct tide_compaction result = compact_to(engine, 11);
    assert_in_range(result.removed, 3 * IDS, 4 * IDS); /* there may be a last segment of which too little goes */
    assert_int_equal(check_events(engine, 1, last), last - result.removed);
    for (uint64_t from = 1; from < last; from += 50)
        check_events(engine, from, last);
    uint64_t seqs[EVENTS_MAX];
    for (unsigned id = 0; id < IDS; id++)
        assert_in_range(history(engine, id, seqs), 11, 15);
    assert_int_equal(check_all(&engine), last - result.removed);
    assert_int_equal(tide_close(engine, NULL), TIDE_OK);
}

static void gaps_are_told_within_the_seqs_asked_for(void **state)
{
    (void)state;
    struct tide_engine *engine = open_with(NULL);
    write_many(engine, 10, 100);
    write_many(engine, 3, 700);
    compact_to(engine, 1);
    assert_int_equal(check_events(engine, 1, last), 10);
    for (uint64_t from = 1; from <= last; from += 7)
        for (uint64_t to = from; to <= last; to += 61)
            check_events(engine, from, to);
    assert_int_equal(check_events(engine, 50, 50), 0); /* one of those that are gone */
    assert_int_equal(check_events(engine, last, last), 1);
    assert_int_equal(tide_close(engine, NULL), TIDE_OK);
}

static void the_oldest_segments_are_compacted_until_the_log_is_small_enough(void **state)
{
    (void)state;
    struct tide_engine *engine = open_with(NULL);
    write_many(engine, IDS, 1000); /* some 8 MB */
    events_expire(1);
    uint64_t limit = 4 << 20;
    struct tide_compaction result = compact(engine, TIDE_RETAIN_LOG_BYTES, limit);
    assert_in_range(result.bytes_after, limit - (1 << 20), limit);
    uint64_t told = check_all(&engine);
    assert_true(told > 400 && told < 550);
    check_events(engine, last - 400, last); /* the newest segments are as they were */
    for (uint64_t seq = last - 400; seq <= last; seq++)
        written[seq].may_go = false;
    check_all(&engine);
    result = compact(engine, TIDE_RETAIN_LOG_BYTES, limit);
    assert_int_equal(result.segments, 0);
    assert_int_equal(tide_close(engine, NULL), TIDE_OK);
}

/* Makes a log of two sealed segments whose events have times of their own: document `seq % 4`, an event every hour, the
 * newest now; every fifth is a deletion of document 4, created by the one before. */
static void log_make(uint64_t events)
{
    uint64_t now_us = (uint64_t)time(NULL) * 1000000, seq = 1;
    struct segment_header header = {.database_id = "of a test alone"};
    for (int segment = 0; segment < 3; segment++) {
        char name[SEGMENT_NAME_BYTES] = SEGMENT_ACTIVE_NAME;
        static uint8_t frame[FRAME_HEADER_BYTES + RECORD_HEADER_BYTES + 32 + VALUE_BYTES];
        uint64_t until = events * (uint64_t)(segment + 1) / 3, offset = SEGMENT_HEADER_BYTES;
        header.first_seq = seq;
        if (segment < 2)
            segment_sealed_name(name, seq);
        assert_int_equal(segment_create(directory, name, &header, NULL), TIDE_OK);
        char *path = file_path(directory, name);
        int fd = file_open(path, 2 /* O_RDWR */, 0);
        free(path);
        for (; seq <= until; seq++) {
            char text[16], value[VALUE_BYTES];
            unsigned id = seq % 5 > 2 ? 4 : (unsigned)(seq % 4), length = id_text(id, text);
            bool deletes = seq % 5 == 4;
            struct record *record = (struct record *)(void *)(frame + FRAME_HEADER_BYTES);
            *record = (struct record){.value_length = deletes ? 0 : VALUE_BYTES,
                                      .type = deletes        ? TIDE_EVENT_DELETED
                                              : versions[id] ? TIDE_EVENT_UPDATED
                                                             : TIDE_EVENT_CREATED,
                                      .collection_length = 8,
                                      .id_length = (uint8_t)length,
                                      .seq = seq,
                                      .time_us = now_us - (events - seq) * 3600 * 1000000,
                                      .previous_seq = versions[id]};
            memset(record->bytes, 0, 32 + VALUE_BYTES);
            memcpy(record->bytes, "articles", 8);
            memcpy(record->bytes + 8, text, length);
            value_make(id, seq, value, sizeof value);
            memcpy(record->bytes + 8 + length, value, record->value_length);
            struct frame_header frame_header = {.bytes = (uint32_t)(FRAME_HEADER_BYTES + record_size(record)),
                                                .events = 1,
                                                .first_seq = seq,
                                                .durable = seq - 1};
            frame_encode(frame, &frame_header, header.database_id);
            assert_int_equal(file_write(fd, frame, frame_header.bytes, offset), 0);
            offset += frame_header.bytes;
            written[seq] = (struct event){.id = id, .deletes = deletes};
            versions[id] = deletes ? 0 : seq;
            last = seq;
        }
        struct frame_header seal = {
            .bytes = FRAME_HEADER_BYTES, .first_seq = seq, .durable = seq - 1, .kind = FRAME_SEALED};
        frame_encode(frame, &seal, header.database_id);
        assert_int_equal(file_write(fd, frame, segment < 2 ? seal.bytes : 0, offset), 0);
        file_close(fd);
    }
}

static void young_events_stay(void **state)
{
    (void)state;
    enum { HOURS = 24 * 30 };
    log_make(HOURS);
    struct tide_engine *engine = open_with(NULL);
    assert_int_equal(check_events(engine, 1, last), HOURS);
    /* Older than 15 days, to the hour: the test takes less than that. */
    for (uint64_t seq = 1; seq <= HOURS - 15 * 24; seq++)
        written[seq].may_go = true;
    struct tide_compaction result = compact(engine, TIDE_RETAIN_DAYS, 15);
    assert_int_equal(result.segments, 2); /* the last one is young altogether */
    assert_in_range(check_all(&engine), 15 * 24, 15 * 24 + 5);
    result = compact(engine, TIDE_RETAIN_DAYS, 15);
    assert_int_equal(result.removed, 0);
    result = compact(engine, TIDE_RETAIN_DAYS, 100);
    assert_int_equal(result.segments, 2); /* of the first nothing is left, the second one is young from its beginning */
    assert_int_equal(result.removed, 0);
    assert_int_equal(tide_close(engine, NULL), TIDE_OK);
}

static void limits_are_checked_and_reading_alone_is_refused(void **state)
{
    (void)state;
    static const struct tide_compact wrong[] = {{.retain = TIDE_RETAIN_EVENTS_PER_DOCUMENT, .limit = 0},
                                                {.retain = TIDE_RETAIN_DAYS, .limit = 0},
                                                {.retain = TIDE_RETAIN_DAYS, .limit = TIDE_RETAIN_DAYS_MAX + 1},
                                                {.retain = TIDE_RETAIN_LOG_BYTES, .limit = 1000},
                                                {.retain = TIDE_RETAIN_ALL, .limit = 1}};
    struct tide_error error;
    struct tide_engine *engine = open_with(NULL), *second;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        assert_int_equal(tide_compact(engine, &wrong[i], NULL, &error), TIDE_INVALID);
        assert_non_null(strstr(error.message, "option retain"));
        struct tide_options options = {.retain = wrong[i].retain, .retain_limit = wrong[i].limit};
        assert_int_equal(tide_options_check(&options, &error), TIDE_INVALID);
    }
    struct tide_options days = {.retain = TIDE_RETAIN_DAYS, .retain_limit = 3};
    assert_int_equal(tide_open(directory, &days, &second, &error), TIDE_INVALID);
    assert_non_null(strstr(error.message, "option retain"));
    assert_int_equal(tide_close(engine, NULL), TIDE_OK);

    struct tide_engine *other;
    engine = open_with(&days);
    days.retain_limit = 4;
    assert_int_equal(tide_open(directory, &days, &second, &error), TIDE_INVALID);
    assert_int_equal(tide_open(directory, NULL, &other, &error), TIDE_OK);
    assert_int_equal(tide_close(other, NULL), TIDE_OK);
    assert_int_equal(tide_close(engine, NULL), TIDE_OK);

    engine = open_with(&(struct tide_options){.read_only = true});
    const struct tide_compact latest = {.retain = TIDE_RETAIN_EVENTS_PER_DOCUMENT, .limit = 1};
    assert_int_equal(tide_compact(engine, &latest, NULL, &error), TIDE_READ_ONLY);
    assert_int_equal(tide_close(engine, NULL), TIDE_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, compact_log_begin, directory_remove)
        TEST(the_latest_event_of_each_document_stays),
        TEST(all_is_retained_unless_said_otherwise),
        TEST(the_last_events_of_each_document_stay),
        TEST(a_deleted_document_leaves_nothing_and_does_not_come_back),
        TEST(a_deletion_stays_as_long_as_something_is_left_before_it),
        TEST(what_was_one_large_frame_is_found_in_smaller_ones),
        TEST(gaps_are_told_within_the_seqs_asked_for),
        TEST(the_oldest_segments_are_compacted_until_the_log_is_small_enough),
        TEST(young_events_stay),
        TEST(limits_are_checked_and_reading_alone_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
