/* result.h - arguments in, one JSON object out: how the driver speaks with a contender. */
#ifndef TIDE_BENCH_RESULT_H
#define TIDE_BENCH_RESULT_H

#include "../../bindings/load/histogram.h"
#include "common.h"

/* usage: CONTENDER LINE DIRECTORY [name=value ...] */
struct arguments {
    const char *line, *directory;
    uint64_t documents, threads, rate, seconds, queries, batch;
    const char *distribution, *mix; /* uniform or zipf; A to F */
    bool copied, elsewhere;
};

void arguments_read(struct arguments *arguments, int argc, char **argv);

void result_begin(const char *contender, const char *settings);
void result_number(const char *name, double value);
void result_rate(uint64_t operations, uint64_t nanoseconds);
void result_latencies(const struct histogram *histogram); /* of nanoseconds */
void result_list(const char *name, const double *values, unsigned count);
void result_end(void);

#endif
