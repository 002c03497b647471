/* thread.h - a small number for each thread that uses the engine, the start of its own, and what fork leaves behind.
 *
 * Numbers are given out at a thread's first call and used again after it has ended, so that per-thread state (epoch
 * records, block caches) lives in arrays instead of being registered and flushed. */
#ifndef TIDE_THREAD_H
#define TIDE_THREAD_H

#include <pthread.h>

enum { THREAD_MAX = 4096 }; /* threads that use the engine at the same time; more than that abort with a message */

/* Negative until the thread has a number. */
extern __thread int thread_own_number;
int thread_number_take(void);

/* The calling thread's number, 0 to THREAD_MAX - 1. Does not change while the thread lives. */
static inline int thread_number(void)
{
    int number = thread_own_number;
    return __builtin_expect(number >= 0, 1) ? number : thread_number_take();
}

/* One more than the highest number given out so far. */
int thread_number_bound(void);

/* Starts a thread of the engine's own, which takes no signals: those are the program's own threads'. 0, or the error's
 * number: there is none to be had. */
int thread_start(pthread_t *thread, void *(*run)(void *), void *context);

/* How many forks lie between this process and the one that loaded the engine. */
unsigned thread_fork_count(void);

#endif
