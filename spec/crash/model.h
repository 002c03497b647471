/* model.h - what a database must be: the events that were accepted, in order, and which of them were acknowledged
 * durable. After each crash the database is compared with it: everything acknowledged is there; what is there is a
 * gapless beginning of what was accepted, but for gaps where compaction had leave to remove events; versions, times,
 * histories, counts and documents are what these events amount to. */
#ifndef TIDE_CRASH_MODEL_H
#define TIDE_CRASH_MODEL_H

#include <stdbool.h>
#include <stdint.h>

#include "../../engine/tidemark.h"

enum { MODEL_IDS = 12, MODEL_EVENTS_MAX = 20000 };

struct model_event {
    uint8_t type, id;
    bool may_go;     /* a compaction was allowed to remove it */
    uint32_t length; /* of the value */
    uint64_t seed;   /* from which its bytes come */
    uint64_t previous;
};

struct model {
    struct model_event events[MODEL_EVENTS_MAX + 1]; /* by seq */
    uint64_t accepted, acknowledged;                 /* seqs */
    uint64_t versions[MODEL_IDS];                    /* of each document, as of `accepted`; 0: absent */
    uint64_t newest[MODEL_IDS];                      /* of each document's newest event, its deletion included */
};

void model_reset(struct model *model);

/* Enters an event; its seq is the next one. */
void model_accept(struct model *model, uint8_t type, unsigned id, uint64_t seed, uint32_t length);

/* A compaction comes that leaves at least the newest `limit` events of each document that exists: it may remove the
 * others. */
void model_expire(struct model *model, uint64_t limit);

/* Forgets what is behind `seq`: a crash has taken it. */
void model_cut(struct model *model, uint64_t seq);

/* The id's text: its length. The value's bytes. */
unsigned model_id(unsigned id, char text[static 16]);
void model_value(uint64_t seed, uint32_t length, char *bytes);

/* One of the things that model_compare finds wrong; the documents were right then. */
extern const char model_log_unreadable[];

/* Compares the open engine with the model, which is first cut to what is there. NULL, or what is wrong (static). */
const char *model_compare(struct model *model, struct tide_engine *engine, struct tide_collection *collection);

#endif
