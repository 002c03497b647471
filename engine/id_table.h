/* id_table.h - a set of ids with two numbers each, for compaction, which sees more ids than it can keep as texts. One
 * thread. */
#ifndef TIDE_ID_TABLE_H
#define TIDE_ID_TABLE_H

#include "format.h"

struct id_table;

struct id_entry {
    uint64_t low, high; /* the hash of collection and id; both 0: an empty place */
    uint32_t total, seen;
};

struct id_table *id_table_create(void);        /* NULL: out of memory */
void id_table_destroy(struct id_table *table); /* NULL does nothing */

/* The entry of the record's document; NULL when there is none. Valid until the next id_table_enter. */
struct id_entry *id_table_find(const struct id_table *table, const struct record *record);

/* The same, made (with zeros) where there is none; NULL: out of memory. */
struct id_entry *id_table_enter(struct id_table *table, const struct record *record);

#endif
