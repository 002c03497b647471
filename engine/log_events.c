/* log_events.c - reading events back while the engine writes.
 *
 * In order: the index of frames gives a place at or before the first seq; from there frames are read one after another,
 * and segment after segment. A segment may be sealed, and so renamed, between the look-up and the opening: then the
 * other name is tried; an open file stays what it was. It may also be compacted meanwhile, so that a place that was
 * looked up doesn't fit the file that is open: then the frame there isn't the one that was expected, and the file is
 * opened anew, and if that doesn't help (the index may be another process's of an earlier time), read from its
 * beginning.
 *
 * Seqs that repair or compaction removed are told as gaps, each run of them as one, within the seqs asked for.
 *
 * The walk: each event names the seq of the same document's event before it. From the newest the walk goes back to the
 * `created` one, which names none, and the events are then given forward. If its collection had a deletion before that
 * `created`, the id may have had an earlier life, which the map could not know of; the log up to there is then scanned
 * first. The scan ends where the walk's oldest event stands. A walk that comes to an event which compaction has removed
 * ends there: what is left of a document's history is its newest part. */
#include "log_events.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "log_reader.h"

enum { KEPT_BYTES_MAX = 4 << 20 }; /* of the records that a walk keeps, so as not to read them twice */

struct step {
    uint64_t seq;
    size_t kept_at; /* where its record is kept; SIZE_MAX: it isn't */
};

struct log_events {
    char *directory;
    struct frame_index *index;
    struct tide_event_filter filter; /* its texts point into `texts` */
    char texts[TIDE_NAME_BYTES_MAX + TIDE_ID_BYTES_MAX + 2];
    struct log_reader *reader;
    uint64_t segment_first_seq; /* of the reader's segment */
    struct log_frame frame;     /* with records left behind record_offset */
    size_t record_offset;
    const struct record *told; /* of the event told last */
    uint64_t next_seq;         /* of the next event in order */
    uint64_t last_seq;         /* of the scan */
    uint64_t gap_seq;          /* the first of the removed seqs before next_seq that are not told yet; 0: none */
    struct step *walk;         /* the history, ascending from walk_next on */
    size_t walk_count, walk_next;
    uint8_t *kept; /* records of the walk */
    size_t kept_bytes, kept_capacity;
};

static bool filter_keep(struct log_events *events, const struct tide_event_filter *filter)
{
    events->filter = *filter;
    size_t length = filter->collection ? filter->collection_length : 0;
    if (length > TIDE_NAME_BYTES_MAX || (filter->id && filter->id_length > TIDE_ID_BYTES_MAX))
        return false; /* nothing has such a name */
    if (filter->collection) {
        memcpy(events->texts, filter->collection, length);
        events->filter.collection = events->texts;
    }
    if (filter->id) {
        memcpy(events->texts + length, filter->id, filter->id_length);
        events->filter.id = events->texts + length;
    }
    return true;
}

enum tide_status log_events_open(const char *directory, struct frame_index *index,
                                 const struct tide_event_filter *filter, struct log_events **opened,
                                 struct tide_error *error)
{
    struct log_events *events = calloc(1, sizeof *events);
    *opened = NULL;
    if (!events || !(events->directory = strdup(directory))) {
        free(events);
        return error_set(error, TIDE_MEMORY, "out of memory");
    }
    events->index = index;
    events->next_seq = filter->from > 0 ? filter->from : 1;
    events->last_seq = filter_keep(events, filter) ? filter->to : 0;
    *opened = events;
    return TIDE_OK;
}

void log_events_close(struct log_events *events)
{
    if (!events)
        return;
    log_reader_close(events->reader);
    free(events->walk);
    free(events->kept);
    free(events->directory);
    free(events);
}

/* Opens the segment that begins with `first_seq`, under whichever name it has now. */
static enum tide_status segment_open(struct log_events *events, uint64_t first_seq, struct tide_error *error)
{
    enum { TRIES = 100 };
    char sealed_name[SEGMENT_NAME_BYTES];
    segment_sealed_name(sealed_name, first_seq);
    const char *names[] = {sealed_name, SEGMENT_ACTIVE_NAME, SEGMENT_NEXT_NAME};
    log_reader_close(events->reader);
    events->reader = NULL;
    events->frame = (struct log_frame){0}; /* it lay in the reader's buffer */
    for (int i = 0; i < TRIES; i++) {
        for (int j = 0; j < 3; j++) {
            struct log_reader *reader;
            enum tide_status status = log_reader_open(events->directory, names[j], &reader, error);
            if (status == TIDE_NOT_FOUND)
                continue;
            if (status != TIDE_OK)
                return status;
            if (log_reader_header(reader)->first_seq == first_seq) {
                events->reader = reader;
                events->segment_first_seq = first_seq;
                return TIDE_OK;
            }
            log_reader_close(reader);
        }
    }
    return error_set(error, TIDE_CORRUPT, "%s: the segment that begins with seq %" PRIu64 " is missing",
                     events->directory, first_seq);
}

struct hopping {
    struct frame_entry *entries;
    size_t count, capacity;
    uint64_t seq, offset; /* of the last entry, or of the segment's beginning */
    bool memory_out;
};

static bool hop_visit(void *context, const struct frame_header *header, uint64_t offset)
{
    struct hopping *hopping = context;
    if (!frame_holds_events(header) || offset - hopping->offset < FRAME_INDEX_STEP)
        return true;
    if (header->first_seq <= hopping->seq)
        return false; /* damage; a reader will come to it */
    if (hopping->count == hopping->capacity) {
        size_t capacity = hopping->capacity ? hopping->capacity * 2 : 256;
        struct frame_entry *entries = realloc(hopping->entries, capacity * sizeof *entries);
        if (!entries) {
            hopping->memory_out = true;
            return false;
        }
        hopping->entries = entries;
        hopping->capacity = capacity;
    }
    hopping->entries[hopping->count++] = (struct frame_entry){header->first_seq, offset};
    hopping->seq = header->first_seq;
    hopping->offset = offset;
    return true;
}

/* Enters in the index what recovery left out of the reader's segment, because a snapshot covers it. */
static enum tide_status hole_index(struct log_events *events, const struct frame_place *place, struct tide_error *error)
{
    struct hopping hopping = {.seq = place->segment_first_seq - 1, .offset = place->offset};
    enum tide_status status =
        log_reader_hop(events->reader, place->offset, place->hole_end, hop_visit, &hopping, error);
    if (status == TIDE_OK && (hopping.memory_out || frame_index_fill(events->index, place->segment_first_seq,
                                                                     hopping.entries, hopping.count) != TIDE_OK))
        status = error_set(error, TIDE_MEMORY, "out of memory");
    free(hopping.entries);
    return status;
}

/* Reads the frame that the index says to be at `place`. *there: it is, and the reader stands behind it. */
static enum tide_status frame_try(struct log_events *events, const struct frame_place *place, bool *there,
                                  struct tide_error *error)
{
    log_reader_seek(events->reader, place->offset);
    enum log_found found = log_reader_next(events->reader, &events->frame, error);
    *there = found == LOG_FOUND_FRAME && events->frame.header.first_seq == place->first_seq;
    events->record_offset = FRAME_HEADER_BYTES;
    if (!*there)
        events->frame = (struct log_frame){0};
    return found == LOG_FOUND_ERROR ? error->status : TIDE_OK;
}

/* Goes to the frame that the index knows for `seq`, or to the beginning of its segment; what frame_next reads is at or
 * before the one that holds it. */
static enum tide_status place_seek(struct log_events *events, uint64_t seq, struct tide_error *error)
{
    struct frame_place place;
    if (!frame_index_find(events->index, seq, &place))
        return error_set(error, TIDE_NOT_FOUND, "%s: the log does not reach back to seq %" PRIu64, events->directory,
                         seq);
    bool there = false, present = events->reader && events->segment_first_seq == place.segment_first_seq;
    enum tide_status status = present ? TIDE_OK : segment_open(events, place.segment_first_seq, error);
    if (status == TIDE_OK && place.hole_end != 0) {
        status = hole_index(events, &place, error);
        frame_index_find(events->index, seq, &place);
    }
    if (status == TIDE_OK)
        status = frame_try(events, &place, &there, error);
    if (status == TIDE_OK && !there && present)
        status = segment_open(events, place.segment_first_seq, error);
    if (status == TIDE_OK && !there && present)
        status = frame_try(events, &place, &there, error);
    if (status != TIDE_OK || there)
        return status;
    log_reader_seek(events->reader, SEGMENT_HEADER_BYTES);
    events->frame = (struct log_frame){0};
    return TIDE_OK;
}

static bool frame_is_told(const struct log_frame *frame)
{
    return frame->bytes && (frame_holds_events(&frame->header) || frame->header.kind == FRAME_GAP);
}

/* Reads the next frame that holds events or a gap, across segments. `wanted` is the seq that must still come. */
static enum tide_status frame_next(struct log_events *events, uint64_t wanted, struct tide_error *error)
{
    bool sealed = false;
    for (;;) {
        switch (log_reader_next(events->reader, &events->frame, error)) {
        case LOG_FOUND_FRAME:
            sealed = events->frame.header.kind == FRAME_SEALED;
            if (frame_is_told(&events->frame)) {
                events->record_offset = FRAME_HEADER_BYTES;
                return TIDE_OK;
            }
            break;
        case LOG_FOUND_ERROR: return error ? error->status : TIDE_IO;
        case LOG_FOUND_END:
            if (sealed) {
                enum tide_status status = segment_open(events, events->frame.header.first_seq, error);
                if (status != TIDE_OK)
                    return status;
                sealed = false;
                break;
            } /* fall through */
        case LOG_FOUND_BAD:
            return error_set(error, TIDE_CORRUPT,
                             "%s: seq %" PRIu64 " is not where it was written, in the segment "
                             "that begins with seq %" PRIu64,
                             events->directory, wanted, events->segment_first_seq);
        }
    }
}

static void event_fill(struct tide_event *event, const struct record *record)
{
    *event = (struct tide_event){.seq = record->seq,
                                 .last_seq = record->seq,
                                 .time_us = record->time_us,
                                 .previous_seq = record->previous_seq,
                                 .type = record->type,
                                 .collection = record_collection(record),
                                 .collection_length = record->collection_length,
                                 .id = record_id(record),
                                 .id_length = record->id_length,
                                 .value = record->type == TIDE_EVENT_DELETED ? NULL : record_value(record),
                                 .value_length = record->value_length};
}

const struct record *log_events_record(const struct log_events *events)
{
    return events->told;
}

static bool filter_fits(const struct tide_event_filter *filter, const struct record *record)
{
    if (filter->collection && (filter->collection_length != record->collection_length ||
                               memcmp(filter->collection, record_collection(record), record->collection_length) != 0))
        return false;
    return !filter->id ||
           (filter->id_length == record->id_length && memcmp(filter->id, record_id(record), record->id_length) == 0);
}

/* The removed seqs before `seq` and not behind last_seq, as an event. */
static void gap_fill(struct log_events *events, struct tide_event *event, uint64_t seq)
{
    uint64_t last = seq - 1 < events->last_seq ? seq - 1 : events->last_seq;
    *event = (struct tide_event){.seq = events->gap_seq, .last_seq = last, .type = TIDE_EVENT_GAP};
    events->gap_seq = 0;
    events->told = NULL;
}

/* The seqs from next_seq up to `seq` were removed. Who asks for one document doesn't hear of it. */
static void gap_pass(struct log_events *events, uint64_t seq)
{
    if (events->gap_seq == 0 && !events->filter.id)
        events->gap_seq = events->next_seq;
    events->next_seq = seq;
}

/* The next event of the scan, up to last_seq. */
static enum tide_status scan_next(struct log_events *events, struct tide_event *event, struct tide_error *error)
{
    while (events->next_seq <= events->last_seq) {
        if (!events->frame.bytes) {
            enum tide_status status = events->reader ? TIDE_OK : place_seek(events, events->next_seq, error);
            if (status == TIDE_OK && !frame_is_told(&events->frame))
                status = frame_next(events, events->next_seq, error);
            if (status != TIDE_OK)
                return status;
        }
        size_t offset = events->record_offset;
        const struct record *record = log_frame_record(&events->frame, &events->record_offset);
        if (!record) {
            uint64_t behind = frame_next_seq(events->frame.bytes, &events->frame.header);
            if (behind > events->next_seq)
                gap_pass(events, behind);
            events->frame.bytes = NULL;
            continue;
        }
        if (record->seq < events->next_seq)
            continue;
        if (record->seq > events->next_seq)
            gap_pass(events, record->seq);
        if (events->gap_seq != 0) {
            events->record_offset = offset; /* the record comes next */
            gap_fill(events, event, record->seq);
            return TIDE_OK;
        }
        if (record->seq > events->last_seq)
            break;
        events->next_seq = record->seq + 1;
        if (!filter_fits(&events->filter, record))
            continue;
        events->told = record;
        event_fill(event, record);
        return TIDE_OK;
    }
    if (events->gap_seq != 0) {
        gap_fill(events, event, events->next_seq);
        return TIDE_OK;
    }
    events->next_seq = UINT64_MAX;
    return TIDE_NOT_FOUND;
}

static bool frame_has(const struct log_events *events, uint64_t seq)
{
    const struct frame_header *header = &events->frame.header;
    return frame_holds_events(header) && seq >= header->first_seq && seq < frame_next_seq(events->frame.bytes, header);
}

/* Finds one event by its seq; the frame that was read last is looked into first. *found NULL with OK: compaction has
 * removed it. */
static enum tide_status record_find(struct log_events *events, uint64_t seq, const struct record **found,
                                    struct tide_error *error)
{
    const struct frame_header *header = &events->frame.header;
    bool here = events->frame.bytes && frame_has(events, seq);
    enum tide_status status = here ? TIDE_OK : place_seek(events, seq, error);
    here = here || (status == TIDE_OK && frame_is_told(&events->frame) && frame_has(events, seq));
    while (status == TIDE_OK && !here) {
        status = frame_next(events, seq, error);
        here = frame_has(events, seq);
        if (status == TIDE_OK && !here && header->first_seq > seq)
            status = error_set(error, TIDE_CORRUPT, "%s: seq %" PRIu64 " is missing", events->directory, seq);
    }
    size_t offset = FRAME_HEADER_BYTES;
    *found = NULL;
    while (status == TIDE_OK && (*found = log_frame_record(&events->frame, &offset)) && (*found)->seq != seq)
        continue;
    return status;
}

/* Keeps a copy of the record while there is room; where it is, or SIZE_MAX. */
static size_t record_keep(struct log_events *events, const struct record *record)
{
    size_t bytes = record_size(record), at = events->kept_bytes;
    if (at + bytes > KEPT_BYTES_MAX)
        return SIZE_MAX;
    if (at + bytes > events->kept_capacity) {
        size_t grown = (at + bytes) * 2;
        uint8_t *kept = realloc(events->kept, grown);
        if (!kept)
            return SIZE_MAX; /* it can be read again */
        events->kept = kept;
        events->kept_capacity = grown;
    }
    memcpy(events->kept + at, record, bytes);
    events->kept_bytes += bytes;
    return at;
}

static bool walk_push(struct log_events *events, size_t *capacity, const struct record *record)
{
    if (events->walk_count == *capacity) {
        size_t grown = *capacity ? *capacity * 2 : 16;
        struct step *walk = realloc(events->walk, grown * sizeof *walk);
        if (!walk)
            return false;
        events->walk = walk;
        *capacity = grown;
    }
    events->walk[events->walk_count++] = (struct step){record->seq, record_keep(events, record)};
    return true;
}

/* Collects the seqs of the history, newest first, then turns them around. *oldest: the last one reached; 0: what came
 * before the last one is removed. */
static enum tide_status walk_collect(struct log_events *events, uint64_t newest_seq, uint64_t *oldest,
                                     struct tide_error *error)
{
    size_t capacity = 0;
    enum tide_status status = TIDE_OK;
    uint64_t from = events->filter.from;
    for (uint64_t seq = newest_seq; seq != 0 && seq >= from && status == TIDE_OK;) {
        const struct record *record;
        *oldest = seq;
        status = record_find(events, seq, &record, error);
        if (status == TIDE_OK && !record && seq == newest_seq)
            return TIDE_NOT_FOUND; /* replaced since it was looked up: what is newer isn't known here */
        if (status == TIDE_OK && !record) {
            *oldest = 0;
            break;
        }
        if (status == TIDE_OK && seq <= events->filter.to && !walk_push(events, &capacity, record))
            status = error_set(error, TIDE_MEMORY, "out of memory");
        if (status == TIDE_OK)
            seq = record->previous_seq < seq ? record->previous_seq : 0;
    }
    for (size_t i = 0; i < events->walk_count / 2; i++) {
        struct step other = events->walk[i];
        events->walk[i] = events->walk[events->walk_count - 1 - i];
        events->walk[events->walk_count - 1 - i] = other;
    }
    return status;
}

enum tide_status log_events_open_walk(const char *directory, struct frame_index *index,
                                      const struct tide_event_filter *filter, uint64_t newest_seq,
                                      uint64_t first_delete_seq, struct log_events **opened, struct tide_error *error)
{
    struct log_events *events;
    enum tide_status status = log_events_open(directory, index, filter, &events, error);
    if (status != TIDE_OK)
        return status;
    uint64_t oldest = newest_seq;
    struct tide_error local = {0};
    status = walk_collect(events, newest_seq, &oldest, error ? error : &local);
    if (status == TIDE_NOT_FOUND || status == TIDE_CORRUPT) {
        /* The chain leads into a part of the log that is gone, or begins there: a scan gives what is left. */
        log_events_close(events);
        return log_events_open(directory, index, filter, opened, error);
    }
    if (status != TIDE_OK) {
        log_events_close(events);
        return status;
    }
    bool earlier_life = first_delete_seq != 0 && first_delete_seq < oldest;
    uint64_t before = earlier_life ? oldest - 1 : 0;
    events->last_seq = before < filter->to ? before : filter->to;
    log_reader_close(events->reader);
    events->reader = NULL;
    events->frame = (struct log_frame){0};
    *opened = events;
    return TIDE_OK;
}

enum tide_status log_events_next(struct log_events *events, struct tide_event *event, struct tide_error *error)
{
    struct tide_error local = {0};
    struct tide_error *told = error ? error : &local;
    if (events->next_seq <= events->last_seq || events->gap_seq != 0) {
        enum tide_status status = scan_next(events, event, told);
        if (status != TIDE_NOT_FOUND)
            return status;
        events->frame = (struct log_frame){0};
    }
    const struct record *record = NULL;
    while (!record) { /* what compaction has removed since the walk, and isn't kept, is passed over */
        if (events->walk_next == events->walk_count)
            return error_set(told, TIDE_NOT_FOUND, "no more events");
        const struct step *step = &events->walk[events->walk_next];
        enum tide_status status = TIDE_OK;
        if (step->kept_at != SIZE_MAX)
            record = (const struct record *)(const void *)(events->kept + step->kept_at);
        else
            status = record_find(events, step->seq, &record, told);
        if (status != TIDE_OK)
            return status;
        events->walk_next++;
    }
    events->told = record;
    event_fill(event, record);
    return TIDE_OK;
}
