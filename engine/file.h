/* file.h - every system call on files that the engine makes, in two layers.
 *
 * struct file_calls is the lower one: raw calls with the kernel's own habits (short counts, EINTR, errno). Its only
 * production implementation is POSIX; a test installs another one with file_calls_use() to fail the n-th call, tear a
 * write or lose what was not synced. The file_ functions are the upper layer and all that the engine uses: they finish
 * short reads and writes, repeat what a signal interrupted (but for fdatasync, which is never repeated), and return 0
 * or a negative errno value.
 *
 * Paths are absolute or relative to the working directory at the time of the call; the engine makes them absolute when
 * it opens. Thread-safe; file_calls_use() only while no engine is open. */
#ifndef TIDE_FILE_H
#define TIDE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* What stat tells that the engine wants to know. */
struct file_status {
    uint64_t device, inode, bytes;
    bool is_directory;
};

/* All return -1 with errno set when they fail, as the system calls of their names do. `context` is file_calls.context.
 */
struct file_calls {
    void *context;
    int (*open)(void *context, const char *path, int flags, unsigned mode);
    int (*close)(void *context, int fd);
    ssize_t (*pread)(void *context, int fd, void *buffer, size_t bytes, uint64_t offset);
    ssize_t (*pwrite)(void *context, int fd, const void *buffer, size_t bytes, uint64_t offset);
    int (*fdatasync)(void *context, int fd);
    int (*fsync)(void *context, int fd); /* of directories */
    int (*ftruncate)(void *context, int fd, uint64_t bytes);
    int (*fallocate)(void *context, int fd, uint64_t offset, uint64_t bytes); /* extends the file, reads as zeros */
    /* Begins to write what is dirty, and waits for nothing; NULL: that is left to the system. */
    int (*write_back)(void *context, int fd, uint64_t offset, uint64_t bytes);
    int (*rename)(void *context, const char *from, const char *to);
    int (*unlink)(void *context, const char *path);
    int (*mkdir)(void *context, const char *path, unsigned mode);
    int (*rmdir)(void *context, const char *path);
    int (*stat)(void *context, const char *path, struct file_status *status);
    int (*fstat)(void *context, int fd, struct file_status *status);
    char *(*real_path)(void *context, const char *path); /* absolute, without links; from malloc */
    int (*flock)(void *context, int fd, int operation);  /* LOCK_EX | LOCK_NB, LOCK_UN as flock(2) */
    /* Calls `visit` for each name in the directory but "." and ".."; it must not change the directory. */
    int (*list)(void *context, const char *path, void (*visit)(void *visitor, const char *name), void *visitor);
};

/* Makes all file_ functions use `calls` (which must stay alive), or the operating system again with NULL. */
void file_calls_use(const struct file_calls *calls);

/* The operating system's own calls, for implementations that add to them. */
const struct file_calls *file_calls_system(void);

/* Opens with O_CLOEXEC; returns the descriptor or -errno. */
int file_open(const char *path, int flags, unsigned mode);
int file_close(int fd);

/* Reads until `bytes` are there or the file ends; returns the count or -errno. */
int64_t file_read(int fd, void *buffer, size_t bytes, uint64_t offset);

/* Writes all of it: 0 or -errno; how much of it is on the disk after an error is unknown. */
int file_write(int fd, const void *buffer, size_t bytes, uint64_t offset);

/* Never repeated: after an error the kernel may have dropped the pages, so the caller must give the file up. */
int file_sync(int fd);

/* Makes the names in a directory durable: opens it, fsync, closes. */
int file_sync_directory(const char *path);

int file_truncate(int fd, uint64_t bytes);

/* Reserves disk space so that [0, bytes) can be written without growing the file; 0 also where the file system cannot
 * (EOPNOTSUPP), -errno otherwise. */
int file_preallocate(int fd, uint64_t offset, uint64_t bytes);

/* Has the system begin to write [offset, offset + bytes) to the disk, so that a later file_sync has less to do. Makes
 * nothing durable, and takes no error from file_sync: what goes wrong shows there. */
void file_write_back(int fd, uint64_t offset, uint64_t bytes);
int file_rename(const char *from, const char *to); /* a directory also over an empty one */
int file_unlink(const char *path);

/* Creates the directory and its parents, syncing each parent in which it created something. */
int file_make_directories(const char *path);
int file_remove_directory(const char *path); /* an empty one */

/* Makes the names of all directories above an absolute path durable, as far as they may be read. */
int file_sync_ancestors(const char *path);
int file_stat(const char *path, struct file_status *status);
int file_stat_fd(int fd, struct file_status *status);

/* The absolute path without links as a new string, or NULL with errno set. The caller frees it. */
char *file_real_path(const char *path);

/* Takes an exclusive lock without waiting: 0, -EWOULDBLOCK when another has it, or -errno. Ends with the descriptor. */
int file_lock(int fd);
int file_list(const char *path, void (*visit)(void *visitor, const char *name), void *visitor);

/* `directory`/`name` as a new string, or NULL when memory is out. The caller frees it. */
char *file_path(const char *directory, const char *name);

#endif
