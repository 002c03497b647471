/* target.h - where a backup or a restored database may go, and who else is there. */
#ifndef TIDE_TARGET_H
#define TIDE_TARGET_H

#include <stdbool.h>

#include "tidemark.h"

/* Refuses (INVALID) a target that is the directory `source`, lies inside of it or, with `around`, has it inside: by
 * device and inode, however the paths are spelled. The target need not exist. */
enum tide_status target_check_apart(const char *source, const char *target, bool around, struct tide_error *error);

/* Takes the directory's lock: LOCKED when a process writes it, or a backup to it or a restore from it runs. `create`:
 * makes the lock file; otherwise a directory without one has nobody, and *fd is -1. */
enum tide_status target_lock(const char *directory, bool create, int *fd, struct tide_error *error);

#endif
