/* thread.c - numbers for threads.
 *
 * A thread takes the lowest free number at its first call and gives it back when it ends (the destructor of a
 * thread-specific key). The numbers in use are bits under a mutex, which is met once in a thread's life. */
#include "thread.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t key;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static uint64_t taken[THREAD_MAX / 64]; /* guarded by the mutex */
static _Atomic int bound;               /* release/acquire: whoever sees it sees a number's first use later */
static _Atomic unsigned fork_count;     /* relaxed: changes in a child that has one thread */
__thread int thread_own_number = -1;

static void number_give_back(void *value)
{
    int number = (int)(intptr_t)value - 1;
    pthread_mutex_lock(&mutex);
    taken[number / 64] &= ~(UINT64_C(1) << (number % 64));
    pthread_mutex_unlock(&mutex);
    thread_own_number = -1;
}

static void forked(void)
{
    atomic_fetch_add_explicit(&fork_count, 1, memory_order_relaxed);
}

static void key_create(void)
{
    if (pthread_key_create(&key, number_give_back) != 0) {
        fputs("tidemark: no thread-specific key is left\n", stderr);
        abort();
    }
}

__attribute__((constructor)) static void fork_watch(void)
{
    pthread_atfork(NULL, NULL, forked);
}

int thread_number_take(void)
{
    pthread_once(&once, key_create);
    pthread_mutex_lock(&mutex);
    int number = 0;
    while (number < THREAD_MAX && taken[number / 64] & UINT64_C(1) << (number % 64))
        number++;
    if (number == THREAD_MAX) {
        fprintf(stderr, "tidemark: more than %d threads use the engine\n", THREAD_MAX);
        abort();
    }
    taken[number / 64] |= UINT64_C(1) << (number % 64);
    if (number >= atomic_load_explicit(&bound, memory_order_relaxed))
        atomic_store_explicit(&bound, number + 1, memory_order_seq_cst);
    pthread_mutex_unlock(&mutex);
    pthread_setspecific(key, (void *)(intptr_t)(number + 1));
    thread_own_number = number;
    return number;
}

int thread_number_bound(void)
{
    return atomic_load_explicit(&bound, memory_order_seq_cst);
}

int thread_start(pthread_t *thread, void *(*run)(void *), void *context)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int failure = pthread_create(thread, NULL, run, context);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return failure;
}

unsigned thread_fork_count(void)
{
    return atomic_load_explicit(&fork_count, memory_order_relaxed);
}
