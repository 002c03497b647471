/* verify.c - tide_verify: the survey of a log, told. Whether a process has the directory shows in its lock file, which
 * is only opened, never made. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#include "error.h"
#include "file.h"
#include "survey.h"

static bool is_in_use(const char *directory)
{
    char *path = file_path(directory, LOCK_NAME);
    int fd = path ? file_open(path, O_RDONLY, 0) : -ENOMEM;
    free(path);
    if (fd < 0)
        return false;
    bool taken = file_lock(fd) == -EWOULDBLOCK;
    file_close(fd);
    return taken;
}

enum tide_status tide_verify(const char *path, struct tide_report *report, tide_finding_function *finding,
                             tide_progress_function *progress, void *context, struct tide_error *error)
{
    struct tide_error local = {0};
    struct tide_error *told = error ? error : &local;
    struct file_status found;
    *report = (struct tide_report){0};
    int result = file_stat(path, &found);
    if (result == -ENOENT)
        return error_set(told, TIDE_NOT_FOUND, "%s: there is no such directory", path);
    if (result < 0 || !found.is_directory)
        return error_system(told, result < 0 ? -result : ENOTDIR, "%s", path);
    struct survey survey = {
        .directory = path, .in_use = is_in_use(path), .finding = finding, .progress = progress, .context = context};
    enum tide_status status = survey_run(&survey, told);
    *report = survey.report;
    survey_free(&survey);
    return status;
}
