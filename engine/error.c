/* error.c - statuses and their texts, and filling in a struct tide_error. */
#include "error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const char *const status_codes[] = {
#define X(name, code, text) code,
    TIDE_STATUS_MAP(X)
#undef X
};

static const char *const status_texts[] = {
#define X(name, code, text) text,
    TIDE_STATUS_MAP(X)
#undef X
};

const char *tide_status_code(enum tide_status status)
{
    return status_codes[status];
}

const char *tide_status_text(enum tide_status status)
{
    return status_texts[status];
}

const char *tide_event_type_name(uint8_t type)
{
    static const char *const names[] = {"gap", "created", "updated", "deleted"};
    return type < sizeof names / sizeof names[0] ? names[type] : "user";
}

enum tide_status error_set(struct tide_error *error, enum tide_status status, const char *format, ...)
{
    if (error) {
        va_list arguments;
        va_start(arguments, format);
        error->status = status;
        vsnprintf(error->message, sizeof error->message, format, arguments);
        va_end(arguments);
    }
    return status;
}

enum tide_status error_system(struct tide_error *error, int system_error, const char *format, ...)
{
    enum tide_status status = system_error == ENOSPC || system_error == EDQUOT ? TIDE_FULL
                              : system_error == ENOMEM                         ? TIDE_MEMORY
                                                                               : TIDE_IO;
    if (error) {
        va_list arguments;
        va_start(arguments, format);
        error->status = status;
        vsnprintf(error->message, sizeof error->message, format, arguments);
        va_end(arguments);
        size_t length = strlen(error->message);
        char text[128] = "";
        const char *reason = strerror_r(system_error, text, sizeof text);
        snprintf(error->message + length, sizeof error->message - length, ": %s", reason);
    }
    return status;
}
