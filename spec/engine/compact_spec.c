/* compact_spec.c - compaction: what each retention leaves, that the log goes on amounting to the map, how what is gone
 * is told, and that readers, writers and failures beside it find everything as it must be. */
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
#include <time.h>
#include <unistd.h>

#include "../../engine/file.h"
#include "../../engine/format.h"
#include "../../engine/segment.h"
#include "../../engine/tidemark.h"

enum { EVENTS_MAX = 4000, IDS = 40, VALUE_BYTES = 8000 };

/* What was written: of each seq its document, whether it deleted, and whether it may be gone by now. */
struct event {
    unsigned id;
    bool deletes, may_go;
};

static char directory[64];
static struct event written[EVENTS_MAX + 1];
static uint64_t last; /* seq */
static uint64_t versions[IDS];

static int directory_make(void **state)
{
    (void)state;
    strcpy(directory, "/tmp/tidemark-compact-XXXXXX");
    memset(written, 0, sizeof written);
    memset(versions, 0, sizeof versions);
    last = 0;
    return mkdtemp(directory) ? 0 : -1;
}

static void remove_visit(void *context, const char *name)
{
    (void)context;
    char *path = file_path(directory, name);
    unlink(path);
    free(path);
}

static int directory_remove(void **state)
{
    (void)state;
    file_calls_use(NULL);
    file_list(directory, remove_visit, NULL);
    return rmdir(directory);
}

static struct tide_engine *open_with(const struct tide_options *options)
{
    struct tide_options small = options ? *options : (struct tide_options){0};
    small.segment_bytes = TIDE_SEGMENT_BYTES_MIN;
    if (small.batch_size == 0)
        small.batch_size = 10;
    struct tide_engine *engine;
    struct tide_error error;
    if (tide_open(directory, &small, &engine, &error) != TIDE_OK)
        fail_msg("open: %s", error.message);
    return engine;
}

static struct tide_collection *articles_of(struct tide_engine *engine)
{
    return tide_collection(engine, "articles", 8, NULL);
}

static unsigned id_text(unsigned id, char text[16])
{
    return (unsigned)snprintf(text, 16, "document-%u", id);
}

/* A value's bytes say whose it is, and of which event. */
static void value_make(unsigned id, uint64_t seq, char *value, size_t length)
{
    int used = snprintf(value, length, "%u %llu ", id, (unsigned long long)seq);
    memset(value + used, 'a' + (int)(seq % 26), length - (size_t)used);
}

static void write_id(struct tide_engine *engine, unsigned id, bool deletes)
{
    static char value[VALUE_BYTES];
    char text[16];
    value_make(id, last + 1, value, sizeof value);
    struct tide_write write = {.operation = deletes ? TIDE_DELETE : TIDE_PUT,
                               .if_version = TIDE_ANY_VERSION,
                               .id = text,
                               .id_length = id_text(id, text),
                               .value = value,
                               .value_length = sizeof value};
    struct tide_written result;
    struct tide_error error;
    if (tide_write(articles_of(engine), &write, &result, &error) != TIDE_OK)
        fail_msg("write: %s", error.message);
    assert_int_equal(result.version, ++last);
    written[last] = (struct event){.id = id, .deletes = deletes};
    versions[id] = deletes ? 0 : last;
}

/* Replaces documents 0 to `ids` - 1 in turn, `count` events in all. */
static void write_many(struct tide_engine *engine, unsigned ids, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        write_id(engine, i % ids, false);
}

/* From now on those events may be gone that are not among the newest `limit` of a document that exists; a compaction
 * of that kind follows. */
static void events_expire(uint64_t limit)
{
    uint64_t newer[IDS] = {0};
    for (uint64_t seq = last; seq > 0; seq--)
        if (versions[written[seq].id] == 0 || newer[written[seq].id]++ >= limit)
            written[seq].may_go = true;
}

static struct tide_compaction compact(struct tide_engine *engine, enum tide_retain retain, uint64_t limit)
{
    struct tide_compact request = {.retain = retain, .limit = limit};
    struct tide_compaction result;
    struct tide_error error = {.message = ""};
    if (tide_compact(engine, &request, &result, &error) != TIDE_OK)
        fail_msg("compact: %s", error.message);
    struct tide_stats stats;
    tide_stats(engine, &stats);
    assert_int_equal(stats.log_bytes, result.bytes_after);
    assert_true(result.bytes_after <= result.bytes_before);
    return result;
}

static struct tide_compaction compact_to(struct tide_engine *engine, uint64_t limit)
{
    events_expire(limit);
    return compact(engine, TIDE_RETAIN_EVENTS_PER_DOCUMENT, limit);
}

static void assert_event(const struct tide_event *event)
{
    char text[16], value[VALUE_BYTES];
    const struct event *wanted = &written[event->seq];
    unsigned length = id_text(wanted->id, text);
    assert_int_equal(event->id_length, length);
    assert_memory_equal(event->id, text, length);
    assert_int_equal(event->type == TIDE_EVENT_DELETED, wanted->deletes);
    if (wanted->deletes)
        return;
    value_make(wanted->id, event->seq, value, sizeof value);
    assert_int_equal(event->value_length, sizeof value);
    assert_memory_equal(event->value, value, sizeof value);
}

/* The events of the seqs asked for and the gaps between them cover them, each gap is as long as can be, what is told is
 * as it was written, and what must be there is. Returns how many events were told. */
static uint64_t check_events(struct tide_engine *engine, uint64_t from, uint64_t to)
{
    struct tide_event_filter filter = {.from = from, .to = to};
    struct tide_events *events;
    struct tide_event event;
    struct tide_error error;
    uint64_t next = from, told = 0;
    bool gap_before = false;
    enum tide_status status;
    assert_int_equal(tide_events_open(engine, &filter, &events, &error), TIDE_OK);
    while ((status = tide_events_next(events, &event, &error)) == TIDE_OK) {
        assert_int_equal(event.seq, next);
        assert_true(event.last_seq >= event.seq && event.last_seq <= to);
        next = event.last_seq + 1;
        if (event.type == TIDE_EVENT_GAP) {
            assert_false(gap_before);
            for (uint64_t seq = event.seq; seq <= event.last_seq; seq++) {
                assert_true(written[seq].may_go);
                assert_true(versions[written[seq].id] != seq);
            }
        } else {
            told++;
            assert_event(&event);
        }
        gap_before = event.type == TIDE_EVENT_GAP;
    }
    if (status != TIDE_NOT_FOUND)
        fail_msg("events: %s", error.message);
    assert_int_equal(next, to + 1);
    tide_events_close(events);
    return told;
}

static void check_documents(struct tide_engine *engine)
{
    uint64_t count = 0;
    tide_read_begin(engine);
    for (unsigned id = 0; id < IDS; id++) {
        char text[16], value[VALUE_BYTES];
        struct tide_view view;
        enum tide_status status = tide_get(articles_of(engine), text, id_text(id, text), &view);
        count += versions[id] != 0;
        assert_int_equal(status, versions[id] ? TIDE_OK : TIDE_NOT_FOUND);
        if (!versions[id])
            continue;
        assert_int_equal(view.version, versions[id]);
        value_make(id, versions[id], value, sizeof value);
        assert_int_equal(view.value_length, sizeof value);
        assert_memory_equal(view.value, value, sizeof value);
    }
    tide_read_end(engine);
    assert_int_equal(tide_count(articles_of(engine)), count);
}

static void note_finding(void *context, const struct tide_finding *finding)
{
    (void)context;
    (void)finding;
}

static struct tide_report verify(void)
{
    struct tide_report report;
    struct tide_error error;
    assert_int_equal(tide_verify(directory, &report, note_finding, NULL, NULL, &error), TIDE_OK);
    return report;
}

/* All is as it must be, now and after another opening; returns the events told. */
static uint64_t check_all(struct tide_engine **engine)
{
    for (int i = 0;; i++) {
        assert_int_equal(tide_flush(*engine, TIDE_NO_TIMEOUT, NULL, NULL), TIDE_OK);
        check_documents(*engine);
        uint64_t told = check_events(*engine, 1, last);
        if (i == 1)
            return told;
        struct tide_stats before, after;
        tide_stats(*engine, &before);
        assert_int_equal(tide_close(*engine, NULL), TIDE_OK);
        struct tide_report report = verify();
        assert_int_equal(report.damages, 0);
        assert_false(report.torn);
        assert_int_equal(report.events, told);
        assert_int_equal(report.events + report.compacted_events, last);
        *engine = open_with(NULL);
        tide_stats(*engine, &after);
        assert_in_range(after.log_bytes, before.log_bytes, before.log_bytes + FRAME_HEADER_BYTES); /* the end mark */
        assert_int_equal(after.segments, before.segments);
    }
}

/* The seqs of a document's history, 0 behind the last. */
static unsigned history(struct tide_engine *engine, unsigned id, uint64_t seqs[EVENTS_MAX])
{
    char text[16];
    struct tide_event_filter filter = {
        .from = 1, .collection = "articles", .collection_length = 8, .id = text, .id_length = id_text(id, text)};
    struct tide_events *events;
    struct tide_event event;
    struct tide_error error;
    unsigned count = 0;
    enum tide_status status = tide_events_open(engine, &filter, &events, &error);
    while (status == TIDE_OK && (status = tide_events_next(events, &event, &error)) == TIDE_OK) {
        assert_int_equal(written[event.seq].id, id);
        assert_event(&event);
        assert_true(count == 0 || event.seq > seqs[count - 1]);
        seqs[count++] = event.seq;
    }
    if (status != TIDE_NOT_FOUND)
        fail_msg("history: %s", error.message);
    tide_events_close(events);
    return count;
}

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
#define TEST(name) cmocka_unit_test_setup_teardown(name, directory_make, directory_remove)
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
        TEST(an_open_iterator_goes_on),
        TEST(an_index_of_an_earlier_time_leads_to_everything),
        TEST(a_deleted_document_does_not_come_back_to_who_reads_meanwhile),
        TEST(who_reads_while_compactions_never_end_is_told_so),
        TEST(writers_readers_and_two_compactions_at_once),
        TEST(the_background_compacts_what_the_option_says),
        TEST(a_compaction_that_fails_leaves_everything_as_it_was),
        TEST(what_an_interrupted_compaction_left_is_removed),
        TEST(damage_is_not_passed_over),
        TEST(a_damaged_compacted_segment_is_refused_and_repaired),
        TEST(a_close_ends_a_compaction),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
