/* run.h - a whole run: the main script, the threads, and when they start and end. All calls are the main thread's,
 * except those that say otherwise. */
#ifndef TIDE_LOAD_RUN_H
#define TIDE_LOAD_RUN_H

#include "worker.h"

/* How often the engine's operations failed with a code. */
struct code_count {
    char code[32];
    uint64_t count;
};

enum { CODES_MAX = 16 }; /* the last is for all others */

struct run {
    struct load_options options;
    struct script_target target;
    const char *path;
    char *const *arguments; /* of init(args): the URL or directory, then what stood behind -- */
    size_t argument_count;
    struct script main;
    struct record record;
    struct worker *workers;
    unsigned prepared; /* workers with a state */
    int ended_fd;      /* an eventfd: counts the threads that have ended */
    unsigned ended, started;
    bool has_record, interrupted;
    char *error; /* NULL: the first script's that has one */
    pthread_mutex_t codes_lock;
    struct code_count codes[CODES_MAX]; /* guarded by codes_lock while threads run */
    atomic_uint unsettled;              /* clients whose connections aren't made; the last one down sets start_ns */
    _Atomic uint64_t start_ns;          /* release; pairs with the acquire in run_start_ns; 0: not yet */
};

/* Takes over nothing: path, target and arguments must stay. NULL: out of memory. */
struct run *run_create(const struct load_options *options);
void run_destroy(struct run *run); /* stops what runs */

/* The main script; then addresses, threads' scripts, setup and init. After a failure run_error says why. */
enum script_result run_load(struct run *run);
enum script_result run_prepare(struct run *run);
const char *run_error(const struct run *run);

bool run_start(struct run *run);
/* Waits for the end, at most so long; true: it has ended, and all threads are joined. SIGINT ends the run early. */
bool run_wait(struct run *run, int milliseconds);

/* Any thread. */
void run_stop(struct run *run);
void run_settled(struct run *run);
uint64_t run_start_ns(struct run *run);
void run_note_code(struct run *run, const char *code);

/* After the end: measured time in ns. */
uint64_t run_duration_ns(const struct run *run);

#endif
