/* model.c - see model.h. */
#include "model.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "random.h"

const char model_log_unreadable[] = "the log cannot be read to its end";

void model_reset(struct model *model)
{
    model->accepted = model->acknowledged = 0;
    memset(model->versions, 0, sizeof model->versions);
    memset(model->newest, 0, sizeof model->newest);
}

static void model_apply(struct model *model, uint64_t seq)
{
    struct model_event *event = &model->events[seq];
    event->previous = model->newest[event->id];
    model->newest[event->id] = seq;
    model->versions[event->id] = event->type == TIDE_EVENT_DELETED ? 0 : seq;
}

void model_accept(struct model *model, uint8_t type, unsigned id, uint64_t seed, uint32_t length)
{
    if (model->accepted == MODEL_EVENTS_MAX)
        abort();
    model->events[++model->accepted] =
        (struct model_event){.type = type, .id = (uint8_t)id, .seed = seed, .length = length};
    model_apply(model, model->accepted);
}

void model_expire(struct model *model, uint64_t limit)
{
    uint64_t newer[MODEL_IDS] = {0};
    for (uint64_t seq = model->accepted; seq > 0; seq--) {
        struct model_event *event = &model->events[seq];
        if (model->versions[event->id] == 0 || newer[event->id]++ >= limit)
            event->may_go = true;
    }
}

void model_cut(struct model *model, uint64_t seq)
{
    memset(model->versions, 0, sizeof model->versions);
    memset(model->newest, 0, sizeof model->newest);
    model->accepted = seq;
    for (uint64_t i = 1; i <= seq; i++)
        model_apply(model, i);
}

unsigned model_id(unsigned id, char text[static 16])
{
    return (unsigned)snprintf(text, 16, "document-%u", id);
}

void model_value(uint64_t seed, uint32_t length, char *bytes)
{
    for (uint32_t i = 0; i < length; i += 8) {
        uint64_t word = random_next(&seed);
        memcpy(bytes + i, &word, length - i < 8 ? length - i : 8);
    }
}

static bool value_is(uint64_t seed, uint32_t length, const char *value, size_t value_length)
{
    if (!value || value_length != length)
        return false;
    char *wanted = malloc(length + 8);
    if (!wanted)
        abort();
    model_value(seed, length, wanted);
    bool same = memcmp(wanted, value, length) == 0;
    free(wanted);
    return same;
}

static const char *compare_documents(const struct model *model, struct tide_engine *engine,
                                     struct tide_collection *collection)
{
    const char *wrong = NULL;
    uint64_t count = 0;
    tide_read_begin(engine);
    for (unsigned i = 0; i < MODEL_IDS && !wrong; i++) {
        char id[16];
        struct tide_view view;
        unsigned length = model_id(i, id);
        bool found = tide_get(collection, id, length, &view) == TIDE_OK;
        const struct model_event *event = &model->events[model->versions[i]];
        count += model->versions[i] != 0;
        if (found != (model->versions[i] != 0))
            wrong = found ? "a deleted document is there" : "a document is missing";
        else if (found && view.version != model->versions[i])
            wrong = "a document has another version";
        else if (found && !value_is(event->seed, event->length, view.value, view.value_length))
            wrong = "a document has another value";
    }
    tide_read_end(engine);
    if (!wrong && tide_count(collection) != count)
        wrong = "the count is wrong";
    return wrong;
}

static const char *compare_event(const struct model *model, const struct tide_event *event, uint64_t seq,
                                 uint64_t *time_us)
{
    const struct model_event *wanted = &model->events[seq];
    char id[16];
    unsigned length = model_id(wanted->id, id);
    if (event->seq != seq)
        return "the log has a gap, or an event twice";
    if (event->type != wanted->type || event->id_length != length || memcmp(event->id, id, length) != 0)
        return "the log has another event";
    if (wanted->type != TIDE_EVENT_DELETED &&
        !value_is(wanted->seed, wanted->length, event->value, event->value_length))
        return "an event has another value";
    /* Of a document that was deleted before, the map knows nothing any more. */
    if (event->previous_seq != wanted->previous && !(wanted->type == TIDE_EVENT_CREATED && event->previous_seq == 0))
        return "an event names another one as the document's event before";
    if (event->time_us < *time_us)
        return "times decrease along seq";
    *time_us = event->time_us;
    return NULL;
}

/* Compaction may have removed these events, none of them a document's newest. */
static const char *compare_gap(const struct model *model, const struct tide_event *event, uint64_t seq)
{
    if (event->seq != seq || event->last_seq < seq || event->last_seq > model->accepted)
        return "a gap is told where none can be";
    for (uint64_t i = seq; i <= event->last_seq; i++) {
        if (!model->events[i].may_go)
            return "an event is gone that compaction had to leave";
        if (model->versions[model->events[i].id] == i)
            return "the newest event of a document is gone";
    }
    return NULL;
}

/* One document's history: its own events in their order, up to the newest if it exists. */
static const char *compare_history(const struct model *model, struct tide_engine *engine, unsigned id)
{
    char text[16];
    struct tide_events *events;
    struct tide_event event;
    struct tide_error error;
    struct tide_event_filter filter = {
        .from = 1, .collection = "articles", .collection_length = 8, .id = text, .id_length = model_id(id, text)};
    uint64_t last = 0, time_us = 0;
    const char *wrong = NULL;
    if (tide_events_open(engine, &filter, &events, &error) != TIDE_OK)
        return "a history cannot be read";
    enum tide_status status = TIDE_OK;
    while (!wrong && (status = tide_events_next(events, &event, &error)) == TIDE_OK) {
        if (event.seq <= last || event.seq > model->accepted || model->events[event.seq].id != id)
            wrong = "a history has another document's event, or one twice";
        else
            wrong = compare_event(model, &event, event.seq, &time_us);
        last = event.seq;
    }
    tide_events_close(events);
    if (!wrong && status != TIDE_NOT_FOUND)
        wrong = "a history cannot be read to its end";
    if (!wrong && model->versions[id] != 0 && last != model->versions[id])
        wrong = "a history ends before the newest event";
    return wrong;
}

static const char *compare_log(const struct model *model, struct tide_engine *engine)
{
    struct tide_events *events;
    struct tide_event event;
    struct tide_error error;
    struct tide_event_filter filter = {.from = 1};
    uint64_t seq = 0, time_us = 0;
    const char *wrong = NULL;
    if (tide_events_open(engine, &filter, &events, &error) != TIDE_OK)
        return "the log cannot be read";
    enum tide_status status = TIDE_OK;
    while (!wrong && (status = tide_events_next(events, &event, &error)) == TIDE_OK) {
        if (++seq > model->accepted)
            wrong = "the log has more than was accepted";
        else if (event.type == TIDE_EVENT_GAP)
            wrong = compare_gap(model, &event, seq);
        else
            wrong = compare_event(model, &event, seq, &time_us);
        seq = event.last_seq;
    }
    tide_events_close(events);
    if (!wrong && status != TIDE_NOT_FOUND)
        wrong = model_log_unreadable;
    if (!wrong && seq != model->accepted)
        wrong = "the log ends early";
    return wrong;
}

const char *model_compare(struct model *model, struct tide_engine *engine, struct tide_collection *collection)
{
    struct tide_watermarks watermarks;
    tide_watermarks(engine, &watermarks);
    if (watermarks.accepted < model->acknowledged)
        return "what was acknowledged durable is gone";
    if (watermarks.accepted > model->accepted)
        return "there is more than was accepted";
    if (watermarks.durable != watermarks.accepted)
        return "what opening found is not durable";
    model_cut(model, watermarks.accepted);
    model->acknowledged = watermarks.accepted;
    const char *wrong = compare_documents(model, engine, collection);
    if (!wrong)
        wrong = compare_log(model, engine);
    return wrong ? wrong : compare_history(model, engine, (unsigned)(model->accepted % MODEL_IDS));
}
