/* worker.h - a thread of the tester: its script, what it measures, and either a client (HTTP) or calls on the engine.
 */
#ifndef TIDE_LOAD_WORKER_H
#define TIDE_LOAD_WORKER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "address.h"
#include "meter.h"
#include "script.h"

struct client;
struct run;

struct load_options {
    unsigned threads, connections, pipeline;
    uint64_t duration_ns, warmup_ns, timeout_ns;
    uint64_t requests;  /* in all; 0: as many as the duration allows */
    double rate;        /* starts a second in all; 0: a closed loop */
    const char *engine; /* the directory; NULL: HTTP */
};

/* When the requests of an open loop start: request i of thread t at start + (i * threads + t) / rate. */
struct schedule {
    uint64_t start_ns, end_ns; /* nothing starts at end_ns or after it; UINT64_MAX: no end */
    double period_ns, offset_ns;
};

struct worker {
    struct run *run;
    const struct load_options *options;
    unsigned index; /* from 0 */
    pthread_t thread;
    bool started;
    struct script script;
    struct address address;
    struct client *client; /* NULL for the engine */
    struct meter meter;
    uint64_t budget;       /* requests to send; UINT64_MAX: no limit */
    uint64_t sent, unsent; /* unsent: after the end */
    uint64_t late, behind; /* starts over 1 ms late; those of them for which the tester itself is to blame */
    uint64_t finished_ns;
    struct schedule schedule;
    /* Set by any thread, release; read by the worker's, acquire. */
    atomic_bool stop;
};

/* Any thread. The worker ends as soon as its loop sees it. */
void worker_stop(struct worker *worker);

static inline uint64_t schedule_at(const struct schedule *schedule, uint64_t i)
{
    return schedule->start_ns + (uint64_t)(schedule->offset_ns + (double)i * schedule->period_ns);
}

void schedule_begin(struct worker *worker, uint64_t start_ns);

/* At the end: how many measured starts from the next one on lie before `end_ns`. */
uint64_t schedule_unsent(const struct worker *worker, uint64_t end_ns);

/* Counts how late a start that was due is; `free_since`: when the tester could have sent it at the earliest. */
void schedule_note_lateness(struct worker *worker, uint64_t due, uint64_t free_since, uint64_t now);

/* The body of a thread that calls operation(db, i). */
void engine_worker_run(struct worker *worker);

#endif
