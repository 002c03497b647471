/* disk.c - see disk.h. Paths are names in one flat table, with their parents' paths; an inode is what they lead to. */
#include "disk.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>

#include "random.h"

enum { PAGE = 4096, SECTOR = 512, NAMES_MAX = 256, DESCRIPTORS_MAX = 256, CHANGES_MAX = 4096, FIRST_DESCRIPTOR = 1000 };

struct inode {
    bool is_directory;
    unsigned users; /* names, durable names, changes and descriptors that lead here */
    uint64_t number;
    uint8_t *bytes, *durable;
    size_t size, durable_size, capacity;
    bool *dirty; /* a page each; up to capacity */
    int locked_by;
};

struct name {
    char *path;
    struct inode *inode;
};

struct names {
    struct name list[NAMES_MAX];
    unsigned count;
};

/* A change of a directory that is not durable yet. */
struct change {
    enum { CREATED, RENAMED, REMOVED } kind;
    char *path, *target;
    struct inode *inode;
};

static struct {
    pthread_mutex_t mutex;
    uint64_t random, calls, inodes, capacity;
    struct names now, durable;
    struct change changes[CHANGES_MAX];
    unsigned change_count;
    struct inode *descriptors[DESCRIPTORS_MAX];
    struct fault fault;
    struct nuisance nuisance;
    bool crashed, struck, fault_begun;
    pthread_t holder; /* who called disk_hold */
    pthread_cond_t released;
    uint64_t hold_in; /* calls of others until the one that waits, itself included; 0: none */
    bool held;
} disk = {.mutex = PTHREAD_MUTEX_INITIALIZER, .released = PTHREAD_COND_INITIALIZER};

static void give_up(const char *what)
{
    fprintf(stderr, "simulated disk: %s\n", what);
    abort();
}

static void *check(void *memory)
{
    if (!memory)
        give_up("out of memory");
    return memory;
}

/* ---- Inodes ---- */

static struct inode *inode_new(bool is_directory)
{
    struct inode *inode = check(calloc(1, sizeof *inode));
    inode->is_directory = is_directory;
    inode->number = ++disk.inodes;
    inode->locked_by = -1;
    return inode;
}

static struct inode *inode_take(struct inode *inode)
{
    inode->users++;
    return inode;
}

static void inode_give(struct inode *inode)
{
    if (--inode->users > 0)
        return;
    free(inode->bytes);
    free(inode->durable);
    free(inode->dirty);
    free(inode);
}

static void inode_reserve(struct inode *inode, size_t size)
{
    if (size <= inode->capacity)
        return;
    size_t capacity = inode->capacity ? inode->capacity : PAGE;
    while (capacity < size)
        capacity *= 2;
    inode->bytes = check(realloc(inode->bytes, capacity));
    inode->durable = check(realloc(inode->durable, capacity));
    inode->dirty = check(realloc(inode->dirty, capacity / PAGE * sizeof *inode->dirty));
    memset(inode->bytes + inode->capacity, 0, capacity - inode->capacity);
    memset(inode->durable + inode->capacity, 0, capacity - inode->capacity);
    memset(inode->dirty + inode->capacity / PAGE, 0, (capacity - inode->capacity) / PAGE * sizeof *inode->dirty);
    inode->capacity = capacity;
}

static void inode_resize(struct inode *inode, size_t size)
{
    inode_reserve(inode, size);
    if (size < inode->size) {
        memset(inode->bytes + size, 0, inode->size - size);
        for (size_t page = size / PAGE; page * PAGE < inode->size; page++)
            inode->dirty[page] = true;
    }
    inode->size = size;
}

static void inode_sync(struct inode *inode, bool fails)
{
    for (size_t page = 0; page < inode->capacity / PAGE; page++) {
        if (inode->dirty[page] && !fails)
            memcpy(inode->durable + page * PAGE, inode->bytes + page * PAGE, PAGE);
        inode->dirty[page] = false; /* after a failure: forgotten */
    }
    if (!fails)
        inode->durable_size = inode->size;
}

/* What of the unsynced is left after a crash. */
static void inode_crash(struct inode *inode)
{
    size_t low = inode->durable_size < inode->size ? inode->durable_size : inode->size;
    size_t high = inode->durable_size < inode->size ? inode->size : inode->durable_size;
    size_t size = inode->durable_size;
    if (high > low) {
        unsigned choice = (unsigned)random_below(&disk.random, 3);
        size = choice == 0   ? inode->durable_size
               : choice == 1 ? inode->size
                             : low + random_below(&disk.random, high - low + 1);
    }
    for (size_t page = 0; page < inode->capacity / PAGE; page++) {
        uint8_t *kept = inode->durable + page * PAGE, *written = inode->bytes + page * PAGE;
        if (!inode->dirty[page])
            continue;
        unsigned choice = (unsigned)random_below(&disk.random, 4);
        if (choice == 0)
            memcpy(kept, written, PAGE);
        for (int sector = 0; choice == 1 && sector < PAGE / SECTOR; sector++)
            if (random_below(&disk.random, 2))
                memcpy(kept + sector * SECTOR, written + sector * SECTOR, SECTOR);
        if (choice == 2 && page * PAGE >= inode->durable_size) /* a block that was never written holds anything */
            for (size_t i = 0; i < PAGE; i++)
                kept[i] = (uint8_t)random_next(&disk.random);
        inode->dirty[page] = false;
    }
    inode->durable_size = inode->size = size;
    if (inode->capacity == 0) /* nothing was ever written: there are no arrays */
        return;
    memset(inode->durable + size, 0, inode->capacity - size);
    memcpy(inode->bytes, inode->durable, inode->capacity);
}

/* ---- Names ---- */

static struct name *name_find(struct names *names, const char *path)
{
    for (unsigned i = 0; i < names->count; i++)
        if (strcmp(names->list[i].path, path) == 0)
            return &names->list[i];
    return NULL;
}

static void name_remove(struct names *names, struct name *name)
{
    free(name->path);
    inode_give(name->inode);
    *name = names->list[--names->count];
}

/* In place of what had the name before. */
static void name_set(struct names *names, const char *path, struct inode *inode)
{
    inode_take(inode);
    struct name *name = name_find(names, path);
    if (name)
        name_remove(names, name);
    if (names->count == NAMES_MAX)
        give_up("too many names");
    names->list[names->count++] = (struct name){check(strdup(path)), inode};
}

static bool in_directory(const char *path, const char *directory)
{
    size_t length = strlen(directory);
    return strncmp(path, directory, length) == 0 && path[length] == '/' && !strchr(path + length + 1, '/');
}

static struct inode *parent_of(const char *path)
{
    char parent[4096];
    snprintf(parent, sizeof parent, "%s", path);
    char *slash = strrchr(parent, '/');
    if (!slash || slash == parent)
        return NULL; /* the root: there without a name */
    *slash = 0;
    struct name *name = name_find(&disk.now, parent);
    return name ? name->inode : NULL;
}

static bool parent_exists(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash == path || parent_of(path) != NULL;
}

static void change_add(int kind, const char *path, const char *target, struct inode *inode)
{
    if (disk.change_count == CHANGES_MAX)
        give_up("too many changes without an fsync of their directory");
    disk.changes[disk.change_count++] = (struct change){.kind = kind,
                                                        .path = check(strdup(path)),
                                                        .target = target ? check(strdup(target)) : NULL,
                                                        .inode = inode_take(inode)};
}

/* What lies below a directory moves with it. */
static void names_move(struct names *names, const char *from, const char *to)
{
    size_t length = strlen(from);
    for (unsigned i = 0; i < names->count; i++) {
        char *old = names->list[i].path, moved[4096];
        if (strncmp(old, from, length) != 0 || old[length] != '/')
            continue;
        snprintf(moved, sizeof moved, "%s%s", to, old + length);
        names->list[i].path = check(strdup(moved));
        free(old);
    }
}

/* Makes a change durable, where what it changes is. */
static void change_apply(const struct change *change)
{
    struct name *name = name_find(&disk.durable, change->path);
    if (change->kind == RENAMED && change->inode->is_directory)
        names_move(&disk.durable, change->path, change->target);
    if (change->kind == CREATED) {
        name_set(&disk.durable, change->path, change->inode);
    } else if (name && name->inode == change->inode) {
        if (change->kind == RENAMED)
            name_set(&disk.durable, change->target, change->inode);
        name_remove(&disk.durable, name_find(&disk.durable, change->path));
    } else if (change->kind == RENAMED) {
        name_set(&disk.durable, change->target, change->inode); /* its creation was lost, the rename has the inode */
    }
}

static void change_free(struct change *change)
{
    free(change->path);
    free(change->target);
    inode_give(change->inode);
}

/* All changes of a directory; with NULL: any subset of all, in order. */
static void changes_settle(const char *directory)
{
    unsigned kept = 0;
    for (unsigned i = 0; i < disk.change_count; i++) {
        struct change *change = &disk.changes[i];
        if (directory && !in_directory(change->path, directory)) {
            disk.changes[kept++] = *change;
            continue;
        }
        if (directory || random_below(&disk.random, 2))
            change_apply(change);
        change_free(change);
    }
    disk.change_count = kept;
}

static void names_clear(struct names *names)
{
    while (names->count > 0)
        name_remove(names, &names->list[names->count - 1]);
}

/* ---- Crashing ---- */

static void crash(void)
{
    if (disk.crashed)
        return;
    disk.crashed = disk.struck = true;
    changes_settle(NULL);
    /* Inodes that only the changes knew are gone; those with a durable name keep what they can. */
    for (unsigned i = 0; i < disk.durable.count; i++)
        if (!disk.durable.list[i].inode->is_directory)
            inode_crash(disk.durable.list[i].inode);
}

void disk_crash(void)
{
    pthread_mutex_lock(&disk.mutex);
    crash();
    pthread_mutex_unlock(&disk.mutex);
}

/* A name whose directory was lost is lost with it. */
static void orphans_remove(void)
{
    for (bool found = true; found;) {
        found = false;
        for (unsigned i = 0; i < disk.now.count && !found; i++) {
            if (!parent_exists(disk.now.list[i].path)) {
                name_remove(&disk.durable, name_find(&disk.durable, disk.now.list[i].path));
                name_remove(&disk.now, &disk.now.list[i]);
                found = true;
            }
        }
    }
}

void disk_restart(void)
{
    pthread_mutex_lock(&disk.mutex);
    if (disk.crashed) { /* else what no fsync covered is still there, for the next process too */
        names_clear(&disk.now);
        for (unsigned i = 0; i < disk.durable.count; i++)
            name_set(&disk.now, disk.durable.list[i].path, disk.durable.list[i].inode);
        orphans_remove();
    }
    disk.crashed = disk.struck = disk.fault_begun = false;
    disk.fault = (struct fault){0};
    pthread_mutex_unlock(&disk.mutex);
}

/* ---- Capacity ---- */

static uint64_t in_pages(uint64_t bytes)
{
    return (bytes + PAGE - 1) / PAGE * PAGE;
}

/* How large the inode may become, at most `size`. What is open without a name counts, too. */
static size_t size_allowed(const struct inode *inode, size_t size)
{
    if (disk.capacity == 0 || size <= inode->size)
        return size;
    uint64_t used = 0;
    for (unsigned i = 0; i < disk.now.count; i++)
        used += in_pages(disk.now.list[i].inode->size);
    for (unsigned i = 0; i < DESCRIPTORS_MAX; i++) {
        bool counted = !disk.descriptors[i];
        for (unsigned k = 0; k < disk.now.count && !counted; k++)
            counted = disk.now.list[k].inode == disk.descriptors[i];
        for (unsigned k = 0; k < i && !counted; k++)
            counted = disk.descriptors[k] == disk.descriptors[i];
        if (!counted)
            used += in_pages(disk.descriptors[i]->size);
    }
    uint64_t others = used - in_pages(inode->size), left = disk.capacity > others ? disk.capacity - others : 0;
    left -= left % PAGE;
    return in_pages(size) <= left ? size : left > inode->size ? (size_t)left : inode->size;
}

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
        crash();
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
        give_up("a descriptor that is not open was used");
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
    inode_reserve(inode, offset + bytes);
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

static const char *path_of(const struct inode *inode)
{
    for (unsigned i = 0; i < disk.now.count; i++)
        if (disk.now.list[i].inode == inode)
            return disk.now.list[i].path;
    return "";
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

/* Whether there are names in the directory. */
static bool directory_is_used(const char *path)
{
    for (unsigned i = 0; i < disk.now.count; i++)
        if (in_directory(disk.now.list[i].path, path))
            return true;
    return false;
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
            found[count++] = check(strdup(strrchr(disk.now.list[i].path, '/') + 1));
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
        give_up("descriptors are left open");
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
