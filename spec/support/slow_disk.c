/* slow_disk.c - preloaded into a process by specs: a disk whose fdatasync takes SLOW_DISK_MS, and as long as there is a
 * file SLOW_DISK_HOLD, and that is full after SLOW_DISK_BYTES written. What it doesn't change goes to the system. */
#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static long setting(const char *name)
{
    const char *text = getenv(name);
    return text ? atol(text) : 0;
}

int fdatasync(int fd)
{
    static _Atomic(int (*)(int)) next;
    if (!next)
        next = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    long ms = setting("SLOW_DISK_MS");
    if (ms > 0)
        nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000}, NULL);
    const char *hold = getenv("SLOW_DISK_HOLD");
    while (hold && access(hold, F_OK) == 0)
        nanosleep(&(struct timespec){0, 1000000}, NULL);
    return next(fd);
}

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t offset)
{
    static _Atomic(ssize_t(*)(int, const void *, size_t, off_t)) next;
    static _Atomic long written;
    if (!next)
        next = (ssize_t(*)(int, const void *, size_t, off_t))dlsym(RTLD_NEXT, "pwrite");
    long max = setting("SLOW_DISK_BYTES");
    if (max > 0 && (written += (long)length) > max) {
        errno = ENOSPC;
        return -1;
    }
    return next(fd, bytes, length, offset);
}
