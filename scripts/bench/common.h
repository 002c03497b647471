/* common.h - what all contenders of the bench share: articles, the order of their ids, clocks, results. */
#ifndef TIDE_BENCH_COMMON_H
#define TIDE_BENCH_COMMON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { ID_BYTES = 36, ARTICLE_BYTES = 256 };

/* The i-th article's id: a text like a UUIDv7, in an order that is random. */
void article_id(uint64_t i, char id[static ID_BYTES]);
/* The i-th article: JSON of ARTICLE_BYTES bytes that holds the id; `revision` makes it another one. */
void article_make(uint64_t i, uint64_t revision, char article[static ARTICLE_BYTES]);
/* The number that article_sum finds in a value: readers add them up, so that every byte counted was read. */
uint64_t article_sum(const char *article, size_t length);

/* A generator of numbers, one a thread. */
struct random {
    uint64_t state;
};
uint64_t random_next(struct random *random);
uint64_t random_below(struct random *random, uint64_t bound);

/* Zipf's distribution over 0..items-1 (theta 0.99), after Gray et al., "Quickly generating billion-record synthetic
 * databases" (SIGMOD 1994), as YCSB uses it. Ranks are scattered over the items. */
struct zipf {
    uint64_t items;
    double zeta, alpha, eta, half;
};
void zipf_init(struct zipf *zipf, uint64_t items);
uint64_t zipf_next(const struct zipf *zipf, struct random *random);

uint64_t now_ns(void);
uint64_t resident_bytes(void);
uint64_t directory_bytes(const char *path); /* allocated to the files in it */

/* Says what was wrong, and ends the program with 1. */
void fail(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

#endif
