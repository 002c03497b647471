/* log_events.h - events read back from the log: in order, or one document's history. See the top of log_events.c. */
#ifndef TIDE_LOG_EVENTS_H
#define TIDE_LOG_EVENTS_H

#include "format.h"
#include "frame_index.h"
#include "tidemark.h"

struct log_events;

/* Events from filter->from to filter->to (the last seq to give; it must be written) that fit the filter, in seq order.
 * The filter is copied, the index borrowed. */
enum tide_status log_events_open(const char *directory, struct frame_index *index,
                                 const struct tide_event_filter *filter, struct log_events **events,
                                 struct tide_error *error);

/* The same for a filter with an id whose document exists: newest_seq is the seq of its newest event in the log,
 * first_delete_seq that of its collection's first deletion, 0 without one. */
enum tide_status log_events_open_walk(const char *directory, struct frame_index *index,
                                      const struct tide_event_filter *filter, uint64_t newest_seq,
                                      uint64_t first_delete_seq, struct log_events **events, struct tide_error *error);

/* OK, NOT_FOUND at the end, CORRUPT, IO, MEMORY. The event is valid until the next call. */
enum tide_status log_events_next(struct log_events *events, struct tide_event *event, struct tide_error *error);
/* The record of the event that was told last, NULL for a gap; valid as long as the event. */
const struct record *log_events_record(const struct log_events *events);
void log_events_close(struct log_events *events); /* NULL does nothing */

#endif
