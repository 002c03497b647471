/* sync_ahead.h - a thread that syncs the log beside the writer, so that little is left when the writer has to.
 *
 * Telling the system to begin with the writing (log_write_back) takes the bytes as far as the disk's cache, which many
 * a disk keeps unwritten until a sync empties it; then that sync takes time for all of them, and everybody waits for
 * it. Nothing is durable by this thread: what it makes of a sync is told to nobody. It opens the file for itself, so
 * an error that it is told of is told to the writer's own descriptor as well (Linux keeps it for each opened file). */
#ifndef TIDE_SYNC_AHEAD_H
#define TIDE_SYNC_AHEAD_H

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>

struct sync_ahead {
    pthread_t thread;
    bool started;
    const char *path;
    sem_t wanted;
    atomic_bool stopping; /* relaxed: the semaphore orders it */
};

void sync_ahead_init(struct sync_ahead *ahead);

/* Waits for a sync that is under way. */
void sync_ahead_destroy(struct sync_ahead *ahead);

/* Asks for a sync of the file at `path`, which stays the same and outlives `ahead`; waits for nothing. The first call
 * starts the thread; where none can be started it does nothing. For one thread. */
void sync_ahead_request(struct sync_ahead *ahead, const char *path);

#endif
