/* crashtest.h - what the parts of crashtest share: the model, a life of the database, failing with a reason. */
#ifndef TIDE_CRASH_CRASHTEST_H
#define TIDE_CRASH_CRASHTEST_H

#include <stdbool.h>
#include <stdint.h>

#include "model.h"

extern struct model model;
extern char what[200]; /* is being done, for a failure's message */

void die(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
double now(void);

/* That no descriptor and no thread is left over. */
void check_left_over(void);

/* A life of the database /data/blog: from its opening to its closing, or to the machine's stop. */
struct life {
    uint64_t random;
    unsigned operations;
    bool large; /* documents that fill segments */
    struct tide_engine *engine;
    struct tide_collection *collection;
};

/* Whether a fault is a reason to fail so. */
bool fault_explains(enum tide_status status);

/* Opens it and compares it with the model; false: the fault has come. */
bool life_begin(struct life *life);

/* The life's operations; false: the engine has failed, as it should. */
bool life_operate(struct life *life);

/* Closes it; true: as it should without a fault. */
bool life_end(struct life *life);

/* backup.c: backups and restores with a fault at every `every`-th call on files. */
void backup_all(unsigned every);

#endif
