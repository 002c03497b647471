/* crashtest.h - what the modes of crashtest share: lives of a database on the simulated disk, beside the model. */
#ifndef TIDE_CRASH_CRASHTEST_H
#define TIDE_CRASH_CRASHTEST_H

#include "disk.h"
#include "model.h"

extern struct model model;
extern char what[200]; /* is being done, for a failure's message */
extern const char directory[];
extern bool hash_chain;  /* of all lives */
extern bool may_be_full; /* the disk: then writes are refused */
extern bool flipped;     /* a bit at rest, in this run: then a snapshot may be bad */
extern uint64_t snapshots_taken, snapshots_begun_with;

enum { END_MARK_BYTES = 48 }; /* of a log that isn't chained */

void die(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
double now(void); /* seconds */

void lives_begin(void); /* once, before the first: what there is now is not left over */

/* A life of the database: from its opening to its closing, or to the machine's stop. */
struct life {
    uint64_t random;
    unsigned operations;
    unsigned snapshot_after; /* so many operations a snapshot is taken, and again after as many; 0: none */
    bool large;              /* documents that fill segments */
    bool accept_only;        /* nothing waits for durability */
    unsigned compact_every;  /* operations; 0: never */
    uint64_t compact_limit;  /* of the compaction that runs */
    bool healthy;            /* no fault is planned */
    bool ended;              /* the engine has failed in the middle of a compaction */
    unsigned refused;        /* writes for which the disk was too small */
    struct tide_engine *engine;
    struct tide_collection *collection;
};

bool life_begin(struct life *life); /* false: it does not open, as it should not */
bool operate(struct life *life);    /* one operation; false: the engine has failed, as it should */
void snapshot_take(struct life *life);
bool life_operate(struct life *life); /* all of them */
bool life_end(struct life *life);     /* closes it; true: as it should without a fault */
bool life_run(struct life *life);     /* a whole life; whether it ended as it should without a fault */

/* A life without faults: all that must be there is there, writing goes on, and closing leaves nothing lying about. */
void life_healthy(uint64_t seed, bool large, unsigned operations);

bool fault_explains(enum tide_status status);
void check_left_over(void); /* no descriptor, no thread */

/* For verify: nothing but a torn tail is found. */
void chain_finding(void *context, const struct tide_finding *finding);

/* Writers and readers of the same documents, `writes` by each writer, on a disk of `capacity` bytes (0: large enough).
 * Returns how many writes were refused because it was full. */
enum { THREADS_WRITERS = 3 };
unsigned threads_run(unsigned writes, uint64_t capacity);

/* The modes, in files of their own. */
void sweep_all(unsigned operations, unsigned every, const char *only); /* sweep.c; only: the fault of that name */
void flips_all(unsigned every);                                        /* flips.c */
void threads_all(unsigned operations);                                 /* threads.c */
void random_for(double seconds);                                       /* runs.c */
void random_from(uint64_t first, uint64_t runs);
void steps_all(unsigned operations); /* steps.c */
void repairs_all(unsigned every);    /* repairs.c */
void backup_all(unsigned every);     /* backup.c: at every `every`-th call of backups and restores */
void full_all(unsigned every);       /* full.c: every `every`-th size */
void marks_all(unsigned every);      /* marks.c: at every `every`-th place */

#endif
