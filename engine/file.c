/* file.c - system calls on files: the operating system's own table of calls, and above it the functions that the engine
 * uses, which hide short counts and interruptions. See file.h. */
#include "file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- The operating system ---- */

static int system_open(void *context, const char *path, int flags, unsigned mode)
{
    (void)context;
    return open(path, flags, mode);
}

static int system_close(void *context, int fd)
{
    (void)context;
    return close(fd);
}

static ssize_t system_pread(void *context, int fd, void *buffer, size_t bytes, uint64_t offset)
{
    (void)context;
    return pread(fd, buffer, bytes, (off_t)offset);
}

static ssize_t system_pwrite(void *context, int fd, const void *buffer, size_t bytes, uint64_t offset)
{
    (void)context;
    return pwrite(fd, buffer, bytes, (off_t)offset);
}

static int system_fdatasync(void *context, int fd)
{
    (void)context;
    return fdatasync(fd);
}

static int system_fsync(void *context, int fd)
{
    (void)context;
    return fsync(fd);
}

static int system_ftruncate(void *context, int fd, uint64_t bytes)
{
    (void)context;
    return ftruncate(fd, (off_t)bytes);
}

static int system_fallocate(void *context, int fd, uint64_t offset, uint64_t bytes)
{
    (void)context;
    return fallocate(fd, 0, (off_t)offset, (off_t)bytes);
}

static int system_write_back(void *context, int fd, uint64_t offset, uint64_t bytes)
{
    (void)context;
    return sync_file_range(fd, (off_t)offset, (off_t)bytes, SYNC_FILE_RANGE_WRITE);
}

static int system_rename(void *context, const char *from, const char *to)
{
    (void)context;
    return rename(from, to);
}

static int system_unlink(void *context, const char *path)
{
    (void)context;
    return unlink(path);
}

static int system_mkdir(void *context, const char *path, unsigned mode)
{
    (void)context;
    return mkdir(path, mode);
}

static int system_rmdir(void *context, const char *path)
{
    (void)context;
    return rmdir(path);
}

static void status_fill(const struct stat *from, struct file_status *status)
{
    *status = (struct file_status){.device = from->st_dev,
                                   .inode = from->st_ino,
                                   .bytes = (uint64_t)from->st_size,
                                   .is_directory = S_ISDIR(from->st_mode)};
}

static int system_stat(void *context, const char *path, struct file_status *status)
{
    (void)context;
    struct stat found;
    if (stat(path, &found) != 0)
        return -1;
    status_fill(&found, status);
    return 0;
}

static int system_fstat(void *context, int fd, struct file_status *status)
{
    (void)context;
    struct stat found;
    if (fstat(fd, &found) != 0)
        return -1;
    status_fill(&found, status);
    return 0;
}

static char *system_real_path(void *context, const char *path)
{
    (void)context;
    return realpath(path, NULL);
}

static int system_flock(void *context, int fd, int operation)
{
    (void)context;
    return flock(fd, operation);
}

static int system_list(void *context, const char *path, void (*visit)(void *visitor, const char *name), void *visitor)
{
    (void)context;
    /* opendir would do the same, but ThreadSanitizer doesn't see it make a descriptor, and takes the number for a
     * socket's of libuv that had it before. */
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *directory = fd < 0 ? NULL : fdopendir(fd);
    if (!directory) {
        int failure = errno;
        if (fd >= 0)
            close(fd);
        errno = failure;
        return -1;
    }
    for (;;) {
        errno = 0;
        struct dirent *entry = readdir(directory);
        if (!entry)
            break;
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            visit(visitor, entry->d_name);
    }
    int failure = errno;
    closedir(directory);
    errno = failure;
    return failure == 0 ? 0 : -1;
}

static const struct file_calls system_calls = {
    .open = system_open,
    .close = system_close,
    .pread = system_pread,
    .pwrite = system_pwrite,
    .fdatasync = system_fdatasync,
    .fsync = system_fsync,
    .ftruncate = system_ftruncate,
    .fallocate = system_fallocate,
    .write_back = system_write_back,
    .rename = system_rename,
    .unlink = system_unlink,
    .mkdir = system_mkdir,
    .rmdir = system_rmdir,
    .stat = system_stat,
    .fstat = system_fstat,
    .real_path = system_real_path,
    .flock = system_flock,
    .list = system_list,
};

static const struct file_calls *calls = &system_calls;

void file_calls_use(const struct file_calls *other)
{
    calls = other ? other : &system_calls;
}

const struct file_calls *file_calls_system(void)
{
    return &system_calls;
}

/* ---- What the engine uses ---- */

/* A call's result as 0 or more, or -errno; repeated while a signal interrupts it. */
#define REPEATED(call)                                                                                                 \
    __extension__({                                                                                                    \
        int repeated_;                                                                                                 \
        do                                                                                                             \
            repeated_ = (call);                                                                                        \
        while (repeated_ < 0 && errno == EINTR);                                                                       \
        repeated_ < 0 ? -errno : repeated_;                                                                            \
    })

int file_open(const char *path, int flags, unsigned mode)
{
    return REPEATED(calls->open(calls->context, path, flags | O_CLOEXEC, mode));
}

int file_close(int fd)
{
    return calls->close(calls->context, fd) < 0 && errno != EINTR ? -errno : 0; /* on Linux closed in any case */
}

int64_t file_read(int fd, void *buffer, size_t bytes, uint64_t offset)
{
    size_t done = 0;
    while (done < bytes) {
        ssize_t got = calls->pread(calls->context, fd, (char *)buffer + done, bytes - done, offset + done);
        if (got < 0 && errno != EINTR && errno != EAGAIN)
            return -errno;
        if (got == 0)
            break;
        if (got > 0)
            done += (size_t)got;
    }
    return (int64_t)done;
}

int file_write(int fd, const void *buffer, size_t bytes, uint64_t offset)
{
    size_t done = 0;
    while (done < bytes) {
        ssize_t put = calls->pwrite(calls->context, fd, (const char *)buffer + done, bytes - done, offset + done);
        if (put < 0 && errno != EINTR && errno != EAGAIN)
            return -errno;
        if (put == 0)
            return -EIO; /* it would go on for ever */
        if (put > 0)
            done += (size_t)put;
    }
    return 0;
}

int file_sync(int fd)
{
    return calls->fdatasync(calls->context, fd) < 0 ? -errno : 0;
}

int file_sync_directory(const char *path)
{
    int fd = file_open(path, O_RDONLY | O_DIRECTORY, 0);
    if (fd < 0)
        return fd;
    int result = calls->fsync(calls->context, fd) < 0 ? -errno : 0;
    file_close(fd);
    return result;
}

int file_truncate(int fd, uint64_t bytes)
{
    return REPEATED(calls->ftruncate(calls->context, fd, bytes));
}

int file_preallocate(int fd, uint64_t offset, uint64_t bytes)
{
    int result = REPEATED(calls->fallocate(calls->context, fd, offset, bytes));
    return result == -EOPNOTSUPP || result == -ENOSYS ? 0 : result;
}

void file_write_back(int fd, uint64_t offset, uint64_t bytes)
{
    if (calls->write_back)
        calls->write_back(calls->context, fd, offset, bytes);
}

int file_rename(const char *from, const char *to)
{
    return REPEATED(calls->rename(calls->context, from, to));
}

int file_unlink(const char *path)
{
    return REPEATED(calls->unlink(calls->context, path));
}

int file_remove_directory(const char *path)
{
    return REPEATED(calls->rmdir(calls->context, path));
}

int file_stat(const char *path, struct file_status *status)
{
    return REPEATED(calls->stat(calls->context, path, status));
}

int file_stat_fd(int fd, struct file_status *status)
{
    return REPEATED(calls->fstat(calls->context, fd, status));
}

int file_lock(int fd)
{
    return REPEATED(calls->flock(calls->context, fd, LOCK_EX | LOCK_NB));
}

int file_list(const char *path, void (*visit)(void *visitor, const char *name), void *visitor)
{
    return REPEATED(calls->list(calls->context, path, visit, visitor));
}

char *file_path(const char *directory, const char *name)
{
    size_t bytes = strlen(directory) + strlen(name) + 2;
    char *path = malloc(bytes);
    if (path) {
        strcpy(path, directory);
        strcat(path, "/");
        strcat(path, name);
    }
    return path;
}

/* Makes one directory whose parent is there, and makes its name durable. */
static int directory_make(char *path)
{
    int result = REPEATED(calls->mkdir(calls->context, path, 0777));
    if (result == -EEXIST)
        return 0;
    if (result < 0)
        return result;
    char *slash = strrchr(path, '/');
    if (!slash)
        return file_sync_directory(".");
    if (slash == path)
        return file_sync_directory("/");
    *slash = 0;
    result = file_sync_directory(path);
    *slash = '/';
    return result;
}

int file_sync_ancestors(const char *path)
{
    char *parent = strdup(path);
    int result = parent ? 0 : -ENOMEM;
    for (char *slash; result == 0 && (slash = strrchr(parent, '/'));) {
        slash[slash == parent] = 0; /* of the root the slash stays */
        result = file_sync_directory(parent);
        if (result == -EACCES || result == -EPERM)
            result = 0; /* nothing of ours lies there */
        if (slash == parent)
            break;
    }
    free(parent);
    return result;
}

char *file_real_path(const char *path)
{
    return calls->real_path(calls->context, path);
}

int file_make_directories(const char *path)
{
    char *copy = strdup(path);
    if (!copy)
        return -ENOMEM;
    size_t length = strlen(copy);
    while (length > 1 && copy[length - 1] == '/')
        copy[--length] = 0;
    int result = 0;
    for (char *p = copy + 1; result == 0 && (p = strchr(p, '/')); p++) {
        *p = 0;
        result = directory_make(copy);
        *p = '/';
    }
    if (result == 0)
        result = directory_make(copy);
    free(copy);
    return result;
}
