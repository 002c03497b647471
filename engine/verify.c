/* verify.c - tide_verify, tide_verify_chain: the survey of a log, told. Whether a process has the directory shows in
 * its lock file, which is only opened, never made. */
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

static enum tide_status verify(const char *path, struct chain_check *check, struct tide_report *report,
                               tide_finding_function *finding, tide_progress_function *progress, void *context,
                               struct tide_error *error)
{
    struct tide_error local = {0};
    struct tide_error *told = error ? error : &local;
    enum tide_status status = survey_directory_check(path, report, told);
    if (status != TIDE_OK)
        return status;
    struct survey survey = {.directory = path,
                            .in_use = is_in_use(path),
                            .finding = finding,
                            .progress = progress,
                            .context = context,
                            .chain_check = check};
    status = survey_run(&survey, told);
    *report = survey.report;
    survey_free(&survey);
    return status;
}

enum tide_status tide_verify(const char *path, struct tide_report *report, tide_finding_function *finding,
                             tide_progress_function *progress, void *context, struct tide_error *error)
{
    return verify(path, NULL, report, finding, progress, context, error);
}

enum tide_status tide_verify_chain(const char *path, const uint8_t *head, struct tide_report *report,
                                   tide_finding_function *finding, tide_progress_function *progress, void *context,
                                   struct tide_error *error)
{
    struct chain_check check = {.hasher = chain_hasher_create(), .wanted = head};
    if (!check.hasher)
        return error_set(error, TIDE_MEMORY, "out of memory for SHA-256");
    enum tide_status status = verify(path, &check, report, finding, progress, context, error);
    chain_hasher_destroy(check.hasher);
    report->chain_breaks = check.breaks;
    report->chain_vouched = check.vouched;
    report->chain_vouched_seq = check.vouched_seq;
    return status;
}
