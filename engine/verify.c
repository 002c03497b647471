/* verify.c - tide_verify: the survey of a log, told. Whether a process has the directory shows in its lock file, which
 * is only opened, never made. A backup's manifest says with which seq it must end. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "error.h"
#include "file.h"
#include "manifest.h"
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

/* Compares the log with the manifest. An interrupted backup is only told where it shows. */
static void manifest_compare(struct survey *survey, const struct manifest *manifest, enum tide_status read)
{
    struct tide_report *report = &survey->report;
    char message[200] = "the manifest is damaged";
    uint64_t last_seq = survey->expected > 0 ? survey->expected - 1 : 0;
    bool ends_early = read == TIDE_OK && last_seq < manifest->last_seq;
    bool is_short = survey->count == 0 || ends_early || report->damages > 0;
    report->backup = true;
    report->backup_seq = manifest->last_seq;
    report->backup_time_us = manifest->time_us;
    report->incomplete = read == TIDE_OK && !manifest->complete && is_short;
    if (report->incomplete)
        snprintf(message, sizeof message, "an interrupted backup; run tidemark backup again");
    else if (ends_early)
        snprintf(message, sizeof message, "the backup ends with seq %" PRIu64 ", its manifest says %" PRIu64, last_seq,
                 manifest->last_seq);
    else if (read == TIDE_OK)
        return;
    const struct tide_finding finding = {.kind = report->incomplete ? "incomplete" : "damage",
                                         .file = MANIFEST_NAME,
                                         .first_seq = ends_early ? last_seq + 1 : 0,
                                         .last_seq = ends_early ? manifest->last_seq : 0,
                                         .message = message};
    report->damages += !report->incomplete;
    report->missing_events += ends_early && !report->incomplete ? manifest->last_seq - last_seq : 0;
    if (survey->finding)
        survey->finding(survey->context, &finding);
}

enum tide_status tide_verify(const char *path, struct tide_report *report, tide_finding_function *finding,
                             tide_progress_function *progress, void *context, struct tide_error *error)
{
    struct tide_error local = {0};
    struct tide_error *told = error ? error : &local;
    enum tide_status status = survey_directory_check(path, report, told);
    if (status != TIDE_OK)
        return status;
    struct manifest manifest;
    enum tide_status read = manifest_read(path, &manifest, told);
    bool is_backup = read == TIDE_OK || read == TIDE_CORRUPT || read == TIDE_INVALID;
    if (!is_backup && read != TIDE_NOT_FOUND)
        return read;
    struct survey survey = {.directory = path,
                            .is_backup = is_backup,
                            .in_use = is_in_use(path),
                            .finding = finding,
                            .progress = progress,
                            .context = context};
    status = survey_run(&survey, told);
    if (status == TIDE_NOT_FOUND && read == TIDE_OK && !manifest.complete)
        status = TIDE_OK; /* there is no log yet */
    if (status == TIDE_OK && is_backup)
        manifest_compare(&survey, &manifest, read);
    manifest_free(&manifest);
    *report = survey.report;
    survey_free(&survey);
    return status;
}
