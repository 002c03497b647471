/* maintenance.c - one thread, started by the first request, that runs jobs one after another.
 *
 * A job is a function in a table. Each has three counters: requests are numbered, a run begins for all requests there
 * are and is over for them when it ends; so whoever asks while a run is in progress gets the next one, and however many
 * ask, one run serves them. All of it is guarded by the engine's mutex. A job takes that mutex for moments alone and
 * asks engine_lives between its steps whether the engine still wants it. */
#include "maintenance.h"

#include <stdlib.h>

#include "compact.h"
#include "engine.h"
#include "error.h"
#include "snapshot.h"
#include "thread.h"

struct job {
    uint64_t requested, finished;
    struct tide_error result; /* of the last run */
};

struct maintenance {
    pthread_t thread;
    bool started, stop;
    pthread_cond_t work, done;
    struct job jobs[MAINTENANCE_JOBS];
};

static enum tide_status (*const functions[MAINTENANCE_JOBS])(struct tide_engine *engine, struct tide_error *error) = {
    [MAINTENANCE_SNAPSHOT] = snapshot_make,
    [MAINTENANCE_COMPACTION] = retention_compact,
};

struct maintenance *maintenance_create(void)
{
    struct maintenance *maintenance = calloc(1, sizeof *maintenance);
    if (!maintenance)
        return NULL;
    pthread_cond_init(&maintenance->work, NULL);
    pthread_cond_init(&maintenance->done, NULL);
    return maintenance;
}

void maintenance_destroy(struct maintenance *maintenance)
{
    if (!maintenance)
        return;
    pthread_cond_destroy(&maintenance->work);
    pthread_cond_destroy(&maintenance->done);
    free(maintenance);
}

/* The job that is wanted; MAINTENANCE_JOBS: none. With the mutex. */
static unsigned job_next(const struct maintenance *maintenance)
{
    unsigned job = 0;
    while (job < MAINTENANCE_JOBS && maintenance->jobs[job].finished == maintenance->jobs[job].requested)
        job++;
    return job;
}

static void *maintenance_run(void *context)
{
    struct tide_engine *engine = context;
    struct maintenance *maintenance = engine->maintenance;
    pthread_mutex_lock(&engine->mutex);
    for (;;) {
        unsigned next = job_next(maintenance);
        if (next == MAINTENANCE_JOBS) {
            if (maintenance->stop)
                break;
            pthread_cond_wait(&maintenance->work, &engine->mutex);
            continue;
        }
        struct job *job = &maintenance->jobs[next];
        uint64_t ticket = job->requested;
        struct tide_error result = {.status = TIDE_OK};
        pthread_mutex_unlock(&engine->mutex);
        if (engine_lives(engine, &result) == TIDE_OK)
            functions[next](engine, &result);
        pthread_mutex_lock(&engine->mutex);
        job->result = result;
        job->finished = ticket;
        pthread_cond_broadcast(&maintenance->done);
    }
    pthread_mutex_unlock(&engine->mutex);
    return NULL;
}

/* With the mutex; returns the request's number, 0: there is no thread for it. */
static uint64_t job_request(struct tide_engine *engine, enum maintenance_job job)
{
    struct maintenance *maintenance = engine->maintenance;
    if (!maintenance->stop && !maintenance->started)
        maintenance->started = thread_start(&maintenance->thread, maintenance_run, engine) == 0;
    if (maintenance->stop || !maintenance->started)
        return 0;
    pthread_cond_signal(&maintenance->work);
    return ++maintenance->jobs[job].requested;
}

bool maintenance_request(struct tide_engine *engine, enum maintenance_job job)
{
    pthread_mutex_lock(&engine->mutex);
    bool requested = !atomic_load(&engine->closing) && job_request(engine, job) != 0;
    pthread_mutex_unlock(&engine->mutex);
    return requested;
}

enum tide_status maintenance_wait(struct tide_engine *engine, enum maintenance_job job, struct tide_error *error)
{
    struct maintenance *maintenance = engine->maintenance;
    enum tide_status status = waiter_enter(engine, error);
    if (status != TIDE_OK)
        return status;
    uint64_t number = job_request(engine, job);
    while (maintenance->jobs[job].finished < number)
        pthread_cond_wait(&maintenance->done, &engine->mutex);
    const struct tide_error *result = &maintenance->jobs[job].result;
    if (number == 0)
        status = error_set(error, TIDE_MEMORY, "%s: the system gives no thread for it", engine->directory);
    else if ((status = result->status) != TIDE_OK && error)
        *error = *result;
    pthread_mutex_unlock(&engine->mutex);
    waiter_leave(engine);
    return status;
}

void maintenance_stop(struct tide_engine *engine)
{
    struct maintenance *maintenance = engine->maintenance;
    pthread_mutex_lock(&engine->mutex);
    maintenance->stop = true;
    bool started = maintenance->started;
    pthread_cond_signal(&maintenance->work);
    pthread_mutex_unlock(&engine->mutex);
    if (started)
        pthread_join(maintenance->thread, NULL);
}
