/* compact_log.c - see compact_log.h. */
#include "compact_log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../engine/format.h"

struct event written[EVENTS_MAX + 1];
uint64_t last;
uint64_t versions[IDS];

int compact_log_begin(void **state)
{
    memset(written, 0, sizeof written);
    memset(versions, 0, sizeof versions);
    last = 0;
    return directory_make(state);
}

struct tide_engine *open_with(const struct tide_options *options)
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

struct tide_collection *articles_of(struct tide_engine *engine)
{
    return tide_collection(engine, "articles", 8, NULL);
}

unsigned id_text(unsigned id, char text[16])
{
    return (unsigned)snprintf(text, 16, "document-%u", id);
}

void value_make(unsigned id, uint64_t seq, char *value, size_t length)
{
    int used = snprintf(value, length, "%u %llu ", id, (unsigned long long)seq);
    memset(value + used, 'a' + (int)(seq % 26), length - (size_t)used);
}

void write_id(struct tide_engine *engine, unsigned id, bool deletes)
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

void write_many(struct tide_engine *engine, unsigned ids, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        write_id(engine, i % ids, false);
}

void events_expire(uint64_t limit)
{
    uint64_t newer[IDS] = {0};
    for (uint64_t seq = last; seq > 0; seq--)
        if (versions[written[seq].id] == 0 || newer[written[seq].id]++ >= limit)
            written[seq].may_go = true;
}

struct tide_compaction compact(struct tide_engine *engine, enum tide_retain retain, uint64_t limit)
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

struct tide_compaction compact_to(struct tide_engine *engine, uint64_t limit)
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

uint64_t check_events(struct tide_engine *engine, uint64_t from, uint64_t to)
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

void check_documents(struct tide_engine *engine)
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

void note_finding(void *context, const struct tide_finding *finding)
{
    (void)context;
    (void)finding;
}

struct tide_report verify(void)
{
    struct tide_report report;
    struct tide_error error;
    assert_int_equal(tide_verify(directory, &report, note_finding, NULL, NULL, &error), TIDE_OK);
    return report;
}

uint64_t check_all(struct tide_engine **engine)
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

unsigned history(struct tide_engine *engine, unsigned id, uint64_t seqs[EVENTS_MAX])
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
