/* compact_log.h - a log of which a spec knows each event, and which of them a compaction may have removed. */
#ifndef TIDE_SPEC_COMPACT_LOG_H
#define TIDE_SPEC_COMPACT_LOG_H

#include <stdbool.h>
#include <stdint.h>

#include "../../engine/tidemark.h"
#include "directory.h"

enum { EVENTS_MAX = 4000, IDS = 40, VALUE_BYTES = 8000 };

/* What was written: of each seq its document, whether it deleted, and whether it may be gone by now. */
struct event {
    unsigned id;
    bool deletes, may_go;
};

extern struct event written[EVENTS_MAX + 1];
extern uint64_t last; /* seq */
extern uint64_t versions[IDS];

/* A setup: a directory, and nothing written. */
int compact_log_begin(void **state);

/* The database in it, with small segments and, unless the options say more, batches of ten. */
struct tide_engine *open_with(const struct tide_options *options);
struct tide_collection *articles_of(struct tide_engine *engine);

unsigned id_text(unsigned id, char text[16]); /* returns its length */

/* A value's bytes say whose it is, and of which event. */
void value_make(unsigned id, uint64_t seq, char *value, size_t length);

void write_id(struct tide_engine *engine, unsigned id, bool deletes);

/* Replaces documents 0 to `ids` - 1 in turn, `count` events in all. */
void write_many(struct tide_engine *engine, unsigned ids, unsigned count);

/* From now on those events may be gone that are not among the newest `limit` of a document that exists; a compaction
 * of that kind follows. */
void events_expire(uint64_t limit);

struct tide_compaction compact(struct tide_engine *engine, enum tide_retain retain, uint64_t limit);

/* Both: the newest `limit` events of each document stay. */
struct tide_compaction compact_to(struct tide_engine *engine, uint64_t limit);

/* The events of the seqs asked for and the gaps between them cover them, each gap is as long as can be, what is told is
 * as it was written, and what must be there is. Returns how many events were told. */
uint64_t check_events(struct tide_engine *engine, uint64_t from, uint64_t to);
void check_documents(struct tide_engine *engine);

struct tide_report verify(void);
void note_finding(void *context, const struct tide_finding *finding); /* takes findings and does nothing */

/* All is as it must be, now and after another opening; returns the events told. */
uint64_t check_all(struct tide_engine **engine);

/* The seqs of a document's history; returns their number. */
unsigned history(struct tide_engine *engine, unsigned id, uint64_t seqs[EVENTS_MAX]);

#endif
