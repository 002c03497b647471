/* disk_parts.h - what the simulated disk consists of, for disk.c and disk_store.c alone. */
#ifndef TIDE_CRASH_DISK_PARTS_H
#define TIDE_CRASH_DISK_PARTS_H

#include <pthread.h>
#include <stddef.h>

#include "disk.h"

enum { PAGE = 4096, SECTOR = 512, NAMES_MAX = 256, DESCRIPTORS_MAX = 256, CHANGES_MAX = 4096, FIRST_DESCRIPTOR = 1000 };

struct inode {
    bool is_directory;
    unsigned users; /* names, durable names, changes and descriptors that lead here */
    uint64_t number;
    uint8_t *bytes, *durable;
    size_t size, durable_size, capacity;
    size_t touched; /* behind it both arrays are zeros that cost no memory: a preallocated segment's end */
    bool *dirty;    /* a page each; up to capacity */
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

/* All of it is guarded by its mutex, which every function below wants locked. */
extern struct disk {
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
} disk;

/* ---- disk_store.c ---- */

/* Ends the program: the simulation is at its end, or was used wrongly. */
void disk_give_up(const char *what);
void *disk_check(void *memory); /* gives up when there is none */

struct inode *inode_new(bool is_directory); /* without users */
struct inode *inode_take(struct inode *inode);
void inode_give(struct inode *inode);              /* gone with its last user */
void inode_touch(struct inode *inode, size_t end); /* before bytes up to there are changed: room and memory for them */
void inode_resize(struct inode *inode, size_t size);
void inode_sync(struct inode *inode, bool fails);

/* How large the inode may become, at most `size`. What is open without a name counts, too. */
size_t size_allowed(const struct inode *inode, size_t size);

struct name *name_find(struct names *names, const char *path);
void name_remove(struct names *names, struct name *name);
void name_set(struct names *names, const char *path, struct inode *inode); /* in place of what had the name before */
void names_move(struct names *names, const char *from, const char *to);    /* what lies below a directory, with it */
void names_clear(struct names *names);
const char *path_of(const struct inode *inode);
bool in_directory(const char *path, const char *directory);
bool parent_exists(const char *path);
bool directory_is_used(const char *path); /* there are names in it */

void change_add(int kind, const char *path, const char *target, struct inode *inode);
void change_free(struct change *change);
void changes_settle(const char *directory); /* all of a directory; with NULL: any subset of all, in order */

/* The machine stops: what is not durable is kept or lost. */
void disk_crash_now(void);

#endif
