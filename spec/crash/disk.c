/* disk.c - see disk.h: the calls on files, with the faults that come to them, and what a test says to the disk. What
 * lies on it is in disk_store.c. */
#include "disk.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>

#include "disk_parts.h"
#include "random.h"

/* ---- Calls ---- */

/* Quiet ones fail only because of a crash; those that are made once are never interrupted. */
enum call_kind { CALL_QUIET, CALL_READS, CALL_WRITES, CALL_ONCE };

/* Takes its time, and waits where it is held. With the mutex locked, which others may have meanwhile. */
static void call_delay(void)
{
    if (disk.hold_in > 0 && !pthread_equal(disk.holder, pthread_self()) && --disk.hold_in == 0) {
        disk.held = true;
        while (disk.held)
            pthread_cond_wait(&disk.released, &disk.mutex);
    }
    if (disk.nuisance.slow > 0 && random_below(&disk.random, 1000) < disk.nuisance.slow) {
        struct timespec pause = {0, (long)(1 + random_below(&disk.random, 3)) * 1000000};
        pthread_mutex_unlock(&disk.mutex);
        nanosleep(&pause, NULL);
        pthread_mutex_lock(&disk.mutex);
    }
}

/* Whether the fault comes to this call. */
static bool fault_now(void)
{
    if (disk.fault.chance == 0)
        return disk.fault.at != 0 && disk.calls == disk.fault.at;
    return disk.calls >= disk.fault.at && random_below(&disk.random, 10000) < disk.fault.chance;
}

/* Counts a call. With the mutex locked. Returns whether it goes on; otherwise errno is set. *half: it does half of its
 * work before it fails. */
static bool call_begin(enum call_kind kind, bool *half)
{
    pthread_mutex_lock(&disk.mutex);
    call_delay();
    disk.calls++;
    *half = false;
    bool now = fault_now();
    disk.fault_begun |= now;
    if (now && disk.fault.kind == FAULT_CRASH)
        disk_crash_now();
    if (disk.crashed) {
        errno = EIO;
        return false;
    }
    bool later = disk.fault_begun && disk.fault.for_good;
    if ((now || later) && disk.fault.kind == FAULT_ERROR && kind != CALL_QUIET &&
        (disk.fault.error != ENOSPC || kind == CALL_WRITES)) {
        disk.struck = true;
        *half = kind == CALL_WRITES;
        errno = disk.fault.error;
        return false;
    }
    if ((kind == CALL_READS || kind == CALL_WRITES) && random_below(&disk.random, 1000) < disk.nuisance.interrupted) {
        errno = EINTR;
        return false;
    }
    return true;
}

static int call_end(int result)
{
    int failure = errno;
    pthread_mutex_unlock(&disk.mutex);
    errno = failure;
    return result;
}

static int fail_with(int failure)
{
    errno = failure;
    return -1;
}

static struct inode *inode_of(int fd)
{
    int i = fd - FIRST_DESCRIPTOR;
    if (i < 0 || i >= DESCRIPTORS_MAX || !disk.descriptors[i])
        disk_give_up("a descriptor that is not open was used");
    return disk.descriptors[i];
}

static int open_inode(const char *path, int flags)
{
    struct name *name = name_find(&disk.now, path);
    bool root = strcmp(path, "/") == 0;
    if (!name && !root) {
        if (!(flags & O_CREAT))
            return fail_with(ENOENT);
        if (!parent_exists(path))
            return fail_with(ENOENT);
        struct inode *inode = inode_new(false);
        name_set(&disk.now, path, inode);
        change_add(CREATED, path, NULL, inode);
        name = name_find(&disk.now, path);
    } else if ((flags & O_CREAT) && (flags & O_EXCL)) {
        return fail_with(EEXIST);
    }
    struct inode *inode = root ? inode_new(true) : name->inode;
    if (flags & O_TRUNC)
        inode_resize(inode, 0);
    for (int i = 0; i < DESCRIPTORS_MAX; i++) {
        if (!disk.descriptors[i]) {
            disk.descriptors[i] = inode_take(inode);
            return FIRST_DESCRIPTOR + i;
        }
    }
    return fail_with(EMFILE);
}

static int disk_open(void *context, const char *path, int flags, unsigned mode)
{
    (void)context;
    (void)mode;
    bool half;
    return call_end(call_begin(CALL_WRITES, &half) ? open_inode(path, flags) : -1);
}

static int disk_close(void *context, int fd)
{
    (void)context;
    bool half;
    call_begin(CALL_QUIET, &half); /* a descriptor is gone whatever close says */
    struct inode *inode = inode_of(fd);
    if (inode->locked_by == fd)
        inode->locked_by = -1;
    disk.descriptors[fd - FIRST_DESCRIPTOR] = NULL;
    inode_give(inode);
    return call_end(0);
}

/* How much of `bytes` this call does, or -1 when it has to be made again. */
static ssize_t nuisance_choose(size_t bytes)
{
    if (random_below(&disk.random, 1000) < disk.nuisance.interrupted)
        return fail_with(EAGAIN);
    if (bytes > 1 && random_below(&disk.random, 1000) < disk.nuisance.cut_short)
        return (ssize_t)(1 + random_below(&disk.random, bytes - 1));
    return (ssize_t)bytes;
}

static ssize_t disk_pread(void *context, int fd, void *buffer, size_t bytes, uint64_t offset)
{
    (void)context;
    bool half;
    if (!call_begin(CALL_READS, &half))
        return call_end(-1);
    struct inode *inode = inode_of(fd);
    size_t there = offset < inode->size ? inode->size - offset : 0;
    ssize_t done = nuisance_choose(bytes < there ? bytes : there);
    if (done > 0)
        memcpy(buffer, inode->bytes + offset, (size_t)done);
    call_end(0);
    return done;
}

static void write_bytes(struct inode *inode, const void *buffer, size_t bytes, uint64_t offset)
{
    if (bytes == 0)
        return;
    inode_touch(inode, offset + bytes);
    memcpy(inode->bytes + offset, buffer, bytes);
    for (size_t page = offset / PAGE; page <= (offset + bytes - 1) / PAGE; page++)
        inode->dirty[page] = true;
    if (offset + bytes > inode->size)
        inode->size = offset + bytes;
}

static ssize_t disk_pwrite(void *context, int fd, const void *buffer, size_t bytes, uint64_t offset)
{
    (void)context;
    bool half;
    bool goes_on = call_begin(CALL_WRITES, &half);
    if (!goes_on) {
        int failure = errno;
        if (half)
            write_bytes(inode_of(fd), buffer, bytes / 2, offset);
        errno = failure;
        return call_end(-1);
    }
    ssize_t done = nuisance_choose(bytes);
    if (done > 0 && size_allowed(inode_of(fd), offset + (size_t)done) < offset + (size_t)done)
        return call_end(fail_with(ENOSPC));
    if (done > 0)
        write_bytes(inode_of(fd), buffer, (size_t)done, offset);
    call_end(0);
    return done;
}

static int disk_fdatasync(void *context, int fd)
{
    (void)context;
    bool half;
    if (!call_begin(CALL_ONCE, &half)) {
        int failure = errno;
        if (!disk.crashed)
            inode_sync(inode_of(fd), true);
        errno = failure;
        return call_end(-1);
    }
    inode_sync(inode_of(fd), false);
    return call_end(0);
}

static int disk_fsync(void *context, int fd)
{
    (void)context;
    bool half;
    if (!call_begin(CALL_ONCE, &half)) {
        int failure = errno;
        if (!disk.crashed && !inode_of(fd)->is_directory)
            inode_sync(inode_of(fd), true);
        errno = failure;
        return call_end(-1);
    }
    struct inode *inode = inode_of(fd);
    if (inode->is_directory)
        changes_settle(path_of(inode));
    else
        inode_sync(inode, false);
    return call_end(0);
}

static int disk_ftruncate(void *context, int fd, uint64_t bytes)
{
    (void)context;
    bool half;
    if (!call_begin(CALL_WRITES, &half))
        return call_end(-1);
    inode_resize(inode_of(fd), bytes);
    return call_end(0);
}

static int disk_fallocate(void *context, int fd, uint64_t offset, uint64_t bytes)
{
    (void)context;
    bool half;
    if (!call_begin(CALL_WRITES, &half))
        return call_end(-1);
    struct inode *inode = inode_of(fd);
    size_t allowed = size_allowed(inode, offset + bytes);
    if (allowed < offset + bytes && random_below(&disk.random, 2))
        return call_end(fail_with(ENOSPC));
    if (allowed > inode->size)
        inode_resize(inode, allowed);
    return call_end(allowed < offset + bytes ? fail_with(ENOSPC) : 0);
}

static int disk_rename(void *context, const char *from, const char *to)
{
    (void)context;
    bool half;
    if (!call_begin(CALL_WRITES, &half))
        return call_end(-1);
    struct name *name = name_find(&disk.now, from);
    if (!name)
        return call_end(fail_with(ENOENT));
    struct inode *inode = inode_take(name->inode);
    if (inode->is_directory && directory_is_used(to)) {
        inode_give(inode);
        return call_end(fail_with(ENOTEMPTY));
    }
    change_add(RENAMED, from, to, inode);
    if (inode->is_directory)
        names_move(&disk.now, from, to);
    name_remove(&disk.now, name_find(&disk.now, from));
    name_set(&disk.now, to, inode);
    inode_give(inode);
    return call_end(0);
}

static int disk_unlink(void *context, const char *path)
{
    (void)context;
    bool half;
    if (!call_begin(CALL_WRITES, &half))
        return call_end(-1);
    struct name *name = name_find(&disk.now, path);
    if (!name)
        return call_end(fail_with(ENOENT));
    change_add(REMOVED, path, NULL, name->inode);
    name_remove(&disk.now, name);
    return call_end(0);
}

static int disk_mkdir(void *context, const char *path, unsigned mode)
{
    (void)context;
    (void)mode;
    bool half;
    if (!call_begin(CALL_WRITES, &half))
        return call_end(-1);
    if (strcmp(path, "/") == 0 || name_find(&disk.now, path))
        return call_end(fail_with(EEXIST));
    if (!parent_exists(path))
        return call_end(fail_with(ENOENT));
    struct inode *inode = inode_new(true);
    name_set(&disk.now, path, inode);
    change_add(CREATED, path, NULL, inode);
    return call_end(0);
}

static int disk_rmdir(void *context, const char *path)
{
    (void)context;
    bool half;
    if (!call_begin(CALL_WRITES, &half))
        return call_end(-1);
    struct name *name = name_find(&disk.now, path);
    if (!name)
        return call_end(fail_with(ENOENT));
    if (directory_is_used(path))
        return call_end(fail_with(ENOTEMPTY));
    change_add(REMOVED, path, NULL, name->inode);
    name_remove(&disk.now, name);
    return call_end(0);
}

static void status_fill(const struct inode *inode, struct file_status *status)
{
    *status = (struct file_status){
        .device = 1, .inode = inode->number, .bytes = inode->size, .is_directory = inode->is_directory};
}

static int disk_stat(void *context, const char *path, struct file_status *status)
{
    (void)context;
    bool half;
    if (!call_begin(CALL_READS, &half))
        return call_end(-1);
    struct name *name = name_find(&disk.now, path);
    if (!name && strcmp(path, "/") != 0)
        return call_end(fail_with(ENOENT));
    if (name)
        status_fill(name->inode, status);
    else
        *status = (struct file_status){.device = 1, .is_directory = true};
    return call_end(0);
}

static int disk_fstat(void *context, int fd, struct file_status *status)
{
    (void)context;
    bool half;
    if (!call_begin(CALL_READS, &half))
        return call_end(-1);
    status_fill(inode_of(fd), status);
    return call_end(0);
}

/* No links here, and all paths are absolute. */
static char *disk_real_path(void *context, const char *path)
{
    (void)context;
    bool half;
    bool goes_on = call_begin(CALL_ONCE, &half);
    if (goes_on && strcmp(path, "/") != 0 && !name_find(&disk.now, path)) {
        errno = ENOENT;
        goes_on = false;
    }
    char *copy = goes_on ? strdup(path) : NULL;
    call_end(0);
    return copy;
}

static int disk_flock(void *context, int fd, int operation)
{
    (void)context;
    bool half;
    if (!call_begin(CALL_READS, &half))
        return call_end(-1);
    struct inode *inode = inode_of(fd);
    if (operation & LOCK_UN) {
        if (inode->locked_by == fd)
            inode->locked_by = -1;
        return call_end(0);
    }
    if (inode->locked_by >= 0 && inode->locked_by != fd)
        return call_end(fail_with(EWOULDBLOCK));
    inode->locked_by = fd;
    return call_end(0);
}

static int disk_list(void *context, const char *path, void (*visit)(void *visitor, const char *name), void *visitor)
{
    (void)context;
    bool half;
    char *found[NAMES_MAX];
    unsigned count = 0;
    if (!call_begin(CALL_READS, &half))
        return call_end(-1);
    if (strcmp(path, "/") != 0 && !name_find(&disk.now, path))
        return call_end(fail_with(ENOENT));
    for (unsigned i = 0; i < disk.now.count; i++)
        if (in_directory(disk.now.list[i].path, path))
            found[count++] = disk_check(strdup(strrchr(disk.now.list[i].path, '/') + 1));
    call_end(0);
    for (unsigned i = 0; i < count; i++) {
        visit(visitor, found[i]);
        free(found[i]);
    }
    return 0;
}

static const struct file_calls calls = {.open = disk_open,
                                        .close = disk_close,
                                        .pread = disk_pread,
                                        .pwrite = disk_pwrite,
                                        .fdatasync = disk_fdatasync,
                                        .fsync = disk_fsync,
                                        .ftruncate = disk_ftruncate,
                                        .fallocate = disk_fallocate,
                                        .rename = disk_rename,
                                        .unlink = disk_unlink,
                                        .mkdir = disk_mkdir,
                                        .rmdir = disk_rmdir,
                                        .stat = disk_stat,
                                        .fstat = disk_fstat,
                                        .real_path = disk_real_path,
                                        .flock = disk_flock,
                                        .list = disk_list};

/* ---- From outside ---- */

void disk_create(uint64_t seed)
{
    disk.random = seed;
    disk.calls = disk.inodes = disk.capacity = 0;
    disk.fault = (struct fault){0};
    disk.nuisance = (struct nuisance){0};
    disk.crashed = disk.struck = disk.fault_begun = disk.held = false;
    disk.hold_in = 0;
    file_calls_use(&calls);
}

void disk_destroy(void)
{
    if (disk_descriptors() != 0)
        disk_give_up("descriptors are left open");
    for (unsigned i = 0; i < disk.change_count; i++)
        change_free(&disk.changes[i]);
    disk.change_count = 0;
    names_clear(&disk.now);
    names_clear(&disk.durable);
    file_calls_use(NULL);
}

void disk_fault(const struct fault *fault)
{
    pthread_mutex_lock(&disk.mutex);
    disk.fault = *fault;
    disk.struck = disk.fault_begun = false;
    pthread_mutex_unlock(&disk.mutex);
}

void disk_nuisance(const struct nuisance *nuisance)
{
    pthread_mutex_lock(&disk.mutex);
    disk.nuisance = *nuisance;
    pthread_mutex_unlock(&disk.mutex);
}

void disk_hold(uint64_t nth)
{
    pthread_mutex_lock(&disk.mutex);
    disk.holder = pthread_self();
    disk.hold_in = nth;
    pthread_mutex_unlock(&disk.mutex);
}

bool disk_held(void)
{
    pthread_mutex_lock(&disk.mutex);
    bool held = disk.held;
    pthread_mutex_unlock(&disk.mutex);
    return held;
}

void disk_release(void)
{
    pthread_mutex_lock(&disk.mutex);
    disk.held = false;
    pthread_cond_broadcast(&disk.released);
    pthread_mutex_unlock(&disk.mutex);
}

void disk_capacity(uint64_t bytes)
{
    pthread_mutex_lock(&disk.mutex);
    disk.capacity = bytes;
    pthread_mutex_unlock(&disk.mutex);
}

uint64_t disk_calls(void)
{
    pthread_mutex_lock(&disk.mutex);
    uint64_t count = disk.calls;
    pthread_mutex_unlock(&disk.mutex);
    return count;
}

bool disk_struck(void)
{
    pthread_mutex_lock(&disk.mutex);
    bool struck = disk.struck;
    pthread_mutex_unlock(&disk.mutex);
    return struck;
}

unsigned disk_descriptors(void)
{
    unsigned count = 0;
    pthread_mutex_lock(&disk.mutex);
    for (int i = 0; i < DESCRIPTORS_MAX; i++)
        count += disk.descriptors[i] != NULL;
    pthread_mutex_unlock(&disk.mutex);
    return count;
}

bool disk_flip(const char *path, uint64_t offset, unsigned bit)
{
    pthread_mutex_lock(&disk.mutex);
    struct name *name = name_find(&disk.now, path);
    bool there = name && offset < name->inode->size;
    if (there) {
        inode_touch(name->inode, offset + 1);
        name->inode->bytes[offset] ^= (uint8_t)(1u << bit % 8);
        name->inode->durable[offset] = name->inode->bytes[offset];
    }
    pthread_mutex_unlock(&disk.mutex);
    return there;
}

void disk_files(void (*visit)(void *context, const char *path, uint64_t bytes), void *context)
{
    for (unsigned i = 0; i < disk.now.count; i++)
        if (!disk.now.list[i].inode->is_directory)
            visit(context, disk.now.list[i].path, disk.now.list[i].inode->size);
}
