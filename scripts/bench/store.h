/* store.h - what a contender must be able to do; lines.c measures it. A contender is one file with one `store`; functions
 * that it has not are NULL, and lines that need them leave it out. All fail() when something goes wrong. */
#ifndef TIDE_BENCH_STORE_H
#define TIDE_BENCH_STORE_H

#include "common.h"

struct store {
    const char *name;
    const char *settings; /* as its manual advises; printed with the results */
    /* `durable`: a commit, or put_durable, returns when the disk has it. The directory exists and is empty, or holds
     * what was written before. */
    void (*open)(const char *directory, bool durable, uint64_t documents);
    void (*chain)(void); /* before open: what is written carries a chain of hashes; NULL: not this one's line */
    void (*close)(void);
    void *(*thread_begin)(void);
    void (*thread_end)(void *thread);
    /* begin, up to 1000 puts, commit. */
    void (*begin)(void *thread);
    void (*put)(void *thread, const char *id, const char *article, bool exists);
    /* The same among documents that no line reads; NULL: not this one's line. */
    void (*put_elsewhere)(void *thread, const char *id, const char *article, bool exists);
    void (*commit)(void *thread);
    void (*settle)(void); /* all that was committed is with the operating system; NULL: it is anyway */
    /* Copies the value to `out` and returns its length; 0: absent. */
    size_t (*get)(void *thread, const char *id, char out[static ARTICLE_BYTES]);
    /* The sum of article_sum over the values of `count` ids (at most 16), each copied or only looked at. */
    uint64_t (*get_many)(void *thread, const char (*ids)[ID_BYTES], unsigned count, bool copied);
    uint64_t (*count)(void);
    void (*snapshot)(void);      /* what opening is fast from, made and durable; NULL: not this one's line */
    uint64_t (*log_bytes)(void); /* of what was written; NULL: the directory's files */
    void (*compact)(void);       /* leaves the newest event of each article in the log alone */
    /* Reads the article's history from the log; returns how many events it has. */
    uint64_t (*history)(const char *id);
};

extern const struct store store;

#endif
