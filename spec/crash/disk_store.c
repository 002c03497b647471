/* disk_store.c - what lies on the simulated disk, and what a crash leaves of it. Paths are names in one flat table,
 * with their parents' paths; an inode is what they lead to. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "disk_parts.h"
#include "random.h"

struct disk disk = {.mutex = PTHREAD_MUTEX_INITIALIZER, .released = PTHREAD_COND_INITIALIZER};

void disk_give_up(const char *what)
{
    fprintf(stderr, "simulated disk: %s\n", what);
    abort();
}

void *disk_check(void *memory)
{
    if (!memory)
        disk_give_up("out of memory");
    return memory;
}

/* ---- Inodes ---- */

struct inode *inode_new(bool is_directory)
{
    struct inode *inode = disk_check(calloc(1, sizeof *inode));
    inode->is_directory = is_directory;
    inode->number = ++disk.inodes;
    inode->locked_by = -1;
    return inode;
}

struct inode *inode_take(struct inode *inode)
{
    inode->users++;
    return inode;
}

void inode_give(struct inode *inode)
{
    if (--inode->users > 0)
        return;
    free(inode->bytes);
    free(inode->durable);
    free(inode->dirty);
    free(inode);
}

/* The array in a larger one, of which the rest is zero, and no memory before it is touched. */
static void *array_grow(void *array, size_t used, size_t bytes)
{
    void *larger = disk_check(calloc(1, bytes));
    if (used > 0)
        memcpy(larger, array, used);
    free(array);
    return larger;
}

/* Room for so many bytes. */
static void inode_reserve(struct inode *inode, size_t size)
{
    if (size <= inode->capacity)
        return;
    size_t capacity = inode->capacity ? inode->capacity : PAGE;
    while (capacity < size)
        capacity *= 2;
    inode->bytes = array_grow(inode->bytes, inode->touched, capacity);
    inode->durable = array_grow(inode->durable, inode->touched, capacity);
    inode->dirty =
        array_grow(inode->dirty, inode->capacity / PAGE * sizeof *inode->dirty, capacity / PAGE * sizeof *inode->dirty);
    inode->capacity = capacity;
}

void inode_touch(struct inode *inode, size_t end)
{
    inode_reserve(inode, end);
    if (end > inode->touched)
        inode->touched = (end + PAGE - 1) / PAGE * PAGE;
}

void inode_resize(struct inode *inode, size_t size)
{
    inode_reserve(inode, size);
    if (size < inode->size) {
        if (size < inode->touched)
            memset(inode->bytes + size, 0, inode->touched - size);
        for (size_t page = size / PAGE; page * PAGE < inode->size; page++)
            inode->dirty[page] = true;
    }
    inode->size = size;
}

void inode_sync(struct inode *inode, bool fails)
{
    for (size_t page = 0; page < inode->capacity / PAGE; page++) {
        if (inode->dirty[page] && !fails && page * PAGE < inode->touched)
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
        if (choice == 2 && page * PAGE >= inode->durable_size) { /* a block that was never written holds anything */
            inode_touch(inode, (page + 1) * PAGE);
            for (size_t i = 0; i < PAGE; i++)
                kept[i] = (uint8_t)random_next(&disk.random);
        }
        inode->dirty[page] = false;
    }
    inode->durable_size = inode->size = size;
    if (size < inode->touched)
        memset(inode->durable + size, 0, inode->touched - size);
    if (inode->touched > 0)
        memcpy(inode->bytes, inode->durable, inode->touched);
}

/* ---- Names ---- */

struct name *name_find(struct names *names, const char *path)
{
    for (unsigned i = 0; i < names->count; i++)
        if (strcmp(names->list[i].path, path) == 0)
            return &names->list[i];
    return NULL;
}

void name_remove(struct names *names, struct name *name)
{
    free(name->path);
    inode_give(name->inode);
    *name = names->list[--names->count];
}

void name_set(struct names *names, const char *path, struct inode *inode)
{
    inode_take(inode);
    struct name *name = name_find(names, path);
    if (name)
        name_remove(names, name);
    if (names->count == NAMES_MAX)
        disk_give_up("too many names");
    names->list[names->count++] = (struct name){disk_check(strdup(path)), inode};
}

bool in_directory(const char *path, const char *directory)
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

bool parent_exists(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash == path || parent_of(path) != NULL;
}

void change_add(int kind, const char *path, const char *target, struct inode *inode)
{
    if (disk.change_count == CHANGES_MAX)
        disk_give_up("too many changes without an fsync of their directory");
    disk.changes[disk.change_count++] = (struct change){.kind = kind,
                                                        .path = disk_check(strdup(path)),
                                                        .target = target ? disk_check(strdup(target)) : NULL,
                                                        .inode = inode_take(inode)};
}

void names_move(struct names *names, const char *from, const char *to)
{
    size_t length = strlen(from);
    for (unsigned i = 0; i < names->count; i++) {
        char *old = names->list[i].path, moved[4096];
        if (strncmp(old, from, length) != 0 || old[length] != '/')
            continue;
        snprintf(moved, sizeof moved, "%s%s", to, old + length);
        names->list[i].path = disk_check(strdup(moved));
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

void change_free(struct change *change)
{
    free(change->path);
    free(change->target);
    inode_give(change->inode);
}

void changes_settle(const char *directory)
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

void names_clear(struct names *names)
{
    while (names->count > 0)
        name_remove(names, &names->list[names->count - 1]);
}

const char *path_of(const struct inode *inode)
{
    for (unsigned i = 0; i < disk.now.count; i++)
        if (disk.now.list[i].inode == inode)
            return disk.now.list[i].path;
    return "";
}

bool directory_is_used(const char *path)
{
    for (unsigned i = 0; i < disk.now.count; i++)
        if (in_directory(disk.now.list[i].path, path))
            return true;
    return false;
}

/* ---- Crashing ---- */

void disk_crash_now(void)
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
    disk_crash_now();
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

size_t size_allowed(const struct inode *inode, size_t size)
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
