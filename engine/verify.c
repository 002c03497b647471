/* verify.c - tide_verify, tide_verify_chain: the survey of a log, told, and a look at every byte of its snapshots.
 * Whether a process has the directory shows in its lock file, which is only opened, never made. A backup's manifest
 * says with which seq it must end. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "error.h"
#include "file.h"
#include "snapshot_file.h"
#include "manifest.h"
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

static enum tide_status verify(const char *path, struct chain_check *check, struct tide_report *report,
                               tide_finding_function *finding, tide_progress_function *progress, void *context,
                               struct tide_error *error)
{
    struct tide_error local = {0};
    struct tide_error *told = error ? error : &local;
    enum tide_status status = survey_directory_check(path, report, told);
    bool in_use;
    if (status == TIDE_OK)
        status = in_use_find(path, &in_use, told);
    if (status != TIDE_OK)
        return status;
    struct manifest manifest;
    enum tide_status read = manifest_read(path, &manifest, told);
    bool is_backup = read == TIDE_OK || read == TIDE_CORRUPT || read == TIDE_INVALID;
    if (!is_backup && read != TIDE_NOT_FOUND)
        return read;
    struct survey survey = {.directory = path,
                            .is_backup = is_backup,
                            .in_use = in_use,
                            .finding = finding,
                            .progress = progress,
                            .context = context,
                            .chain_check = check};
    status = survey_run(&survey, told);
    if (status == TIDE_NOT_FOUND && read == TIDE_OK && !manifest.complete)
        status = TIDE_OK; /* there is no log yet */
    if (status == TIDE_OK && is_backup)
        manifest_compare(&survey, &manifest, read);
    manifest_free(&manifest);
    *report = survey.report;
    report->last_seq = survey.expected - 1; /* a gap at the end counts */
    struct telling telling = {.report = report, .finding = finding, .context = context};
    if (status == TIDE_OK)
        status = snapshots_tell(path, survey.database_id, true, snapshot_visit, &telling, told);
    report->last_seq = survey.report.last_seq;
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
