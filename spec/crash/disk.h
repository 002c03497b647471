/* disk.h - a simulated disk behind engine/file.h: in memory, deterministic from a seed, and as treacherous as a real
 * one may be. It knows of each file what is synced and what is not, and of each directory which names are.
 *
 * What a crash does (disk_crash): of what was not synced, any subset of pages stays, each page whole or in part by
 * sectors; a file that grew has its old length, its new one or one between, with zeros or garbage where nothing was
 * kept; of the creations, renames and removals that no fsync of their directory covered, any subset stays, a rename
 * whole or not at all. Calls that come after a crash fail with EIO until disk_restart.
 *
 * A failed fdatasync drops its pages, as Linux does: they read as written and never reach the disk, however often it is
 * called again.
 *
 * All calls are serialised by one mutex; one disk a process. */
#ifndef TIDE_CRASH_DISK_H
#define TIDE_CRASH_DISK_H

#include <stdbool.h>
#include <stdint.h>

#include "../../engine/file.h"

/* What happens at call number `at` (counted from 1, all calls together; 0: nothing ever), or by chance. */
enum fault_kind {
    FAULT_CRASH, /* the machine stops before the call */
    FAULT_ERROR, /* the call fails with `error`; a write has done half of its work */
};

struct fault {
    enum fault_kind kind;
    uint64_t at;
    unsigned chance; /* of 10,000: from `at` on each call, by itself, may be the one; 0: `at` is */
    bool for_good;   /* later calls, too (of those that can fail so) */
    int error;
};

/* Beside the fault: how often, of 1000, a call is interrupted (EINTR; reads and writes also with EAGAIN), does less
 * than it was asked to, or takes some milliseconds. None of these is a failure. */
struct nuisance {
    unsigned interrupted, cut_short, slow;
};

/* Makes the file_ functions use an empty disk. */
void disk_create(uint64_t seed);
void disk_destroy(void); /* the operating system's disk again; fails the program when descriptors are open */

void disk_fault(const struct fault *fault);
void disk_nuisance(const struct nuisance *nuisance);

/* Stepping the engine's own threads: the `nth` call from now on of any other thread than the caller's waits within
 * itself, before it does anything, until disk_release (0: none waits any more). Meanwhile others may use the disk. */
void disk_hold(uint64_t nth);
bool disk_held(void); /* whether one waits */
void disk_release(void);

/* How many bytes all files together may have, in whole pages; 0: as many as they like. What would need more fails with
 * ENOSPC, a preallocation perhaps after it has taken what there was. May change at any time. */
void disk_capacity(uint64_t bytes);

uint64_t disk_calls(void); /* since disk_create */
bool disk_struck(void);    /* the fault has come */

/* The machine stops now; and, once nobody uses the disk any more, starts again with what is left. No fault is planned
 * then. */
void disk_crash(void);
void disk_restart(void);

unsigned disk_descriptors(void); /* open now */

/* Flips one bit of a file where it rests. False: there is no such file, or it is too short. */
bool disk_flip(const char *path, uint64_t offset, unsigned bit);

/* Calls `visit` for each file's path. */
void disk_files(void (*visit)(void *context, const char *path, uint64_t bytes), void *context);

#endif
