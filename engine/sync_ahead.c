/* sync_ahead.c - see sync_ahead.h. Requests that come during a sync are one request for the next. */
#include "sync_ahead.h"

#include <errno.h>
#include <fcntl.h>

#include "file.h"
#include "thread.h"

static void *ahead_run(void *context)
{
    struct sync_ahead *ahead = context;
    for (;;) {
        while (sem_wait(&ahead->wanted) != 0 && errno == EINTR)
            ;
        if (atomic_load_explicit(&ahead->stopping, memory_order_relaxed))
            return NULL;
        int fd = file_open(ahead->path, O_RDONLY, 0);
        if (fd < 0)
            continue;
        file_sync(fd); /* an error is the writer's, whose next sync is told of it */
        file_close(fd);
    }
}

void sync_ahead_init(struct sync_ahead *ahead)
{
    ahead->started = false;
    atomic_init(&ahead->stopping, false);
    sem_init(&ahead->wanted, 0, 0);
}

void sync_ahead_destroy(struct sync_ahead *ahead)
{
    if (ahead->started) {
        atomic_store_explicit(&ahead->stopping, true, memory_order_relaxed);
        sem_post(&ahead->wanted);
        pthread_join(ahead->thread, NULL);
    }
    sem_destroy(&ahead->wanted);
}

void sync_ahead_request(struct sync_ahead *ahead, const char *path)
{
    int asked = 0;
    if (!ahead->started) {
        ahead->path = path;
        ahead->started = thread_start(&ahead->thread, ahead_run, ahead) == 0;
    }
    if (ahead->started && sem_getvalue(&ahead->wanted, &asked) == 0 && asked == 0)
        sem_post(&ahead->wanted);
}
