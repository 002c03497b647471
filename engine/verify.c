/* verify.c - tide_verify: the survey of a log, told, and a look at every byte of its snapshots. Whether a process has
 * the directory shows in its lock file, which is only opened, never made. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#include "error.h"
#include "file.h"
#include "snapshot_file.h"
#include "survey.h"

/* An error is told, not taken for "no": what a writer has not finished would be called a torn tail. */
static enum tide_status in_use_find(const char *directory, bool *in_use, struct tide_error *error)
{
    *in_use = false;
    char *path = file_path(directory, LOCK_NAME);
    int fd = path ? file_open(path, O_RDONLY, 0) : -ENOMEM;
    free(path);
    if (fd == -ENOENT || fd == -EACCES)
        return TIDE_OK; /* no process has it, or none that we may know of */
    int result = fd < 0 ? fd : file_lock(fd);
    if (fd >= 0)
        file_close(fd);
    *in_use = result == -EWOULDBLOCK;
    return result < 0 && !*in_use ? error_system(error, -result, "%s/%s", directory, LOCK_NAME) : TIDE_OK;
}

struct telling {
    struct tide_report *report;
    tide_finding_function *finding;
    void *context;
};

static void snapshot_visit(void *context, const struct tide_snapshot_file *file)
{
    struct telling *telling = context;
    struct tide_finding finding = {
        .kind = "snapshot", .file = file->name, .bytes = file->bytes, .first_seq = file->seq, .message = file->fault};
    if (!file->fault && file->seq > telling->report->last_seq && !telling->report->in_use)
        finding.message = "newer than the log, from which events were taken";
    telling->report->snapshots++;
    telling->report->snapshots_bad += finding.message != NULL;
    if (finding.message && telling->finding)
        telling->finding(telling->context, &finding);
}

enum tide_status tide_verify(const char *path, struct tide_report *report, tide_finding_function *finding,
                             tide_progress_function *progress, void *context, struct tide_error *error)
{
    struct tide_error local = {0};
    struct tide_error *told = error ? error : &local;
    enum tide_status status = survey_directory_check(path, report, told);
    bool in_use;
    if (status == TIDE_OK)
        status = in_use_find(path, &in_use, told);
    if (status != TIDE_OK)
        return status;
    struct survey survey = {
        .directory = path, .in_use = in_use, .finding = finding, .progress = progress, .context = context};
    status = survey_run(&survey, told);
    *report = survey.report;
    report->last_seq = survey.expected - 1; /* a gap at the end counts */
    struct telling telling = {.report = report, .finding = finding, .context = context};
    if (status == TIDE_OK)
        status = snapshots_tell(path, survey.database_id, true, snapshot_visit, &telling, told);
    report->last_seq = survey.report.last_seq;
    survey_free(&survey);
    return status;
}
