/* table.h - what is the same for hash tables that know no disk: entries, and calls that do nothing. */
#ifndef TIDE_BENCH_TABLE_H
#define TIDE_BENCH_TABLE_H

#include <stdlib.h>
#include <string.h>

#include "store.h"

struct entry {
    char id[ID_BYTES], article[ARTICLE_BYTES];
};

static inline void entry_fill(struct entry *entry, const char *id, const char *article)
{
    memcpy(entry->id, id, ID_BYTES);
    memcpy(entry->article, article, ARTICLE_BYTES);
}

static inline void table_nothing(void *thread)
{
    (void)thread;
}

#endif
