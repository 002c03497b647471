/* error.h - filling a struct tide_error.
 *
 * Every function that can fail takes a struct tide_error that may be NULL and returns the status it puts there, so that
 * a failure is one line: return error_set(error, TIDE_CORRUPT, "%s: ...", name). */
#ifndef TIDE_ERROR_H
#define TIDE_ERROR_H

#include "tidemark.h"

/* Fills `error` (may be NULL) with the status and the formatted message; returns the status. */
enum tide_status error_set(struct tide_error *error, enum tide_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The same for a failed system call: FULL for ENOSPC and EDQUOT, MEMORY for ENOMEM, else IO; the message ends with the
 * system's text for `system_error` (an errno value). */
enum tide_status error_system(struct tide_error *error, int system_error, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
