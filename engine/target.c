/* target.c - see target.h. Whether one directory lies in another is asked of the inodes on the way up from it: names
 * may lead through links and mounts. What doesn't exist yet lies where its nearest ancestor does. */
#include "target.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "error.h"
#include "file.h"
#include "segment.h"

/* The real path of `path` or of its nearest ancestor that exists. NULL with errno set. */
static char *existing_path(const char *path, bool *exists)
{
    char *copy = strdup(path), *real = NULL;
    *exists = true;
    while (copy && !(real = file_real_path(copy)) && errno == ENOENT) {
        *exists = false;
        size_t length = strlen(copy);
        while (length > 1 && copy[length - 1] == '/')
            copy[--length] = 0;
        char *slash = strrchr(copy, '/');
        if (!slash)
            strcpy(copy, *copy ? "." : "/"); /* nothing is left: a path has at least one character */
        else
            slash[slash == copy] = 0;
    }
    int failure = errno;
    free(copy);
    errno = failure;
    return real;
}

/* Whether the real path `path`, or for `below` a directory above it, is the one of `wanted`. -errno on failure. */
static int is_in(const char *path, const struct file_status *wanted, bool itself)
{
    char *copy = strdup(path);
    int result = copy ? 0 : -ENOMEM;
    for (bool first = true; result == 0; first = false) {
        struct file_status found;
        if (!first || itself)
            result = file_stat(copy, &found);
        if (result == 0 && (!first || itself) && found.device == wanted->device && found.inode == wanted->inode)
            result = 1;
        char *slash = strrchr(copy, '/');
        if (!slash || copy[1] == 0)
            break;
        slash[slash == copy] = 0;
    }
    free(copy);
    return result;
}

enum tide_status target_check_apart(const char *source, const char *target, bool around, struct tide_error *error)
{
    struct file_status there, here;
    bool exists, source_exists;
    char *target_real = existing_path(target, &exists);
    char *source_real = target_real ? existing_path(source, &source_exists) : NULL;
    int result = source_real ? file_stat(source_real, &there) : -errno;
    if (result == 0)
        result = file_stat(target_real, &here);
    enum tide_status status = TIDE_OK;
    if (result == 0 && exists && here.device == there.device && here.inode == there.inode)
        status = error_set(error, TIDE_INVALID, "%s and %s are the same directory; choose another one", source, target);
    if (result == 0 && status == TIDE_OK && (result = is_in(target_real, &there, true)) > 0)
        status =
            error_set(error, TIDE_INVALID, "%s lies inside of %s; choose a directory apart from it", target, source);
    if (result == 0 && status == TIDE_OK && exists && around && (result = is_in(source_real, &here, false)) > 0)
        status = error_set(error, TIDE_INVALID, "%s has %s inside; choose a directory apart from it", target, source);
    if (result < 0)
        status = error_system(error, -result, "%s", target);
    free(target_real);
    free(source_real);
    return status;
}

enum tide_status target_lock(const char *directory, bool create, int *fd, struct tide_error *error)
{
    char *path = file_path(directory, LOCK_NAME);
    if (!path)
        return error_set(error, TIDE_MEMORY, "out of memory");
    *fd = file_open(path, create ? O_RDWR | O_CREAT : O_RDONLY, 0644);
    free(path);
    if (*fd == -ENOENT && !create) {
        *fd = -1;
        return TIDE_OK;
    }
    int result = *fd < 0 ? *fd : file_lock(*fd);
    if (result == 0)
        return TIDE_OK;
    if (*fd >= 0)
        file_close(*fd);
    *fd = -1;
    if (result == -EWOULDBLOCK)
        return error_set(error, TIDE_LOCKED,
                         "%s is in use: a process has it open for writing, or a backup to it or a restore from it runs",
                         directory);
    return error_system(error, -result, "%s/%s", directory, LOCK_NAME);
}
