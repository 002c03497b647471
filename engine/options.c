/* options.c - the options of tide_open: one table with each option's name, place, default and range, from which follow
 * the defaults, the checks, and what a second open of the same directory may say. */
#include <inttypes.h>
#include <stddef.h>

#include "engine.h"
#include "error.h"

struct option {
    const char *name;
    size_t offset;
    uint64_t default_value, min, max;
};

#define OPTION(name, default_value, min, max)                                                                          \
    {                                                                                                                  \
#name, offsetof(struct tide_options, name), default_value, min, max                                            \
    }

static const struct option options_table[] = {
    OPTION(batch_size, 1000, 1, TIDE_COUNT_MAX),
    OPTION(flush_interval_ms, 100, 1, TIDE_MILLISECONDS_MAX),
    OPTION(batch_bytes_max, UINT64_C(4) << 20, TIDE_BATCH_BYTES_MIN, TIDE_BATCH_BYTES_MAX),
    OPTION(pending_bytes_max, UINT64_C(256) << 20, TIDE_PENDING_BYTES_MIN, TIDE_PENDING_BYTES_MAX),
    OPTION(sync_interval_ms, 1000, 1, TIDE_MILLISECONDS_MAX),
    OPTION(timeout_ms, TIDE_NO_TIMEOUT, 1, TIDE_NO_TIMEOUT),
    OPTION(segment_bytes, UINT64_C(256) << 20, TIDE_SEGMENT_BYTES_MIN, TIDE_SEGMENT_BYTES_MAX),
    OPTION(document_bytes_max, UINT64_C(16) << 20, TIDE_DOCUMENT_BYTES_MIN, TIDE_DOCUMENT_BYTES_MAX),
    OPTION(snapshot_log_bytes, UINT64_C(1) << 30, TIDE_SNAPSHOT_LOG_BYTES_MIN, TIDE_NO_SNAPSHOTS),
};

enum { OPTION_COUNT = sizeof options_table / sizeof options_table[0] };

static uint64_t *option_place(struct tide_options *options, const struct option *option)
{
    return (uint64_t *)((char *)options + option->offset);
}

static uint64_t option_value(const struct tide_options *options, const struct option *option)
{
    return *(const uint64_t *)((const char *)options + option->offset);
}

enum tide_status options_complete(struct tide_options *options, struct tide_error *error)
{
    for (int i = 0; i < OPTION_COUNT; i++) {
        const struct option *option = &options_table[i];
        uint64_t *value = option_place(options, option);
        if (*value == 0)
            *value = option->default_value;
        if (*value < option->min || *value > option->max)
            return error_set(error, TIDE_INVALID, "option %s: %" PRIu64 " is not between %" PRIu64 " and %" PRIu64,
                             option->name, *value, option->min, option->max);
    }
    if (options->sync == TIDE_SYNC_DEFAULT)
        options->sync = TIDE_SYNC_BATCH;
    if (options->durability == TIDE_DURABILITY_DEFAULT)
        options->durability = TIDE_ACCEPTED;
    if (options->retain == TIDE_RETAIN_DEFAULT)
        options->retain = TIDE_RETAIN_ALL;
    return options_retain_check(options->retain, options->retain_limit, error);
}

enum tide_status options_retain_check(enum tide_retain retain, uint64_t limit, struct tide_error *error)
{
    static const struct {
        const char *name;
        uint64_t min, max;
    } limits[] = {[TIDE_RETAIN_ALL] = {"all", 0, 0},
                  [TIDE_RETAIN_EVENTS_PER_DOCUMENT] = {"events_per_document", 1, TIDE_RETAIN_EVENTS_MAX},
                  [TIDE_RETAIN_DAYS] = {"days", 1, TIDE_RETAIN_DAYS_MAX},
                  [TIDE_RETAIN_LOG_BYTES] = {"log_bytes", TIDE_RETAIN_LOG_BYTES_MIN, TIDE_RETAIN_LOG_BYTES_MAX}};
    if (limit < limits[retain].min || limit > limits[retain].max)
        return error_set(error, TIDE_INVALID, "option retain, %s: %" PRIu64 " is not between %" PRIu64 " and %" PRIu64,
                         limits[retain].name, limit, limits[retain].min, limits[retain].max);
    return TIDE_OK;
}

enum tide_status tide_options_check(const struct tide_options *options, struct tide_error *error)
{
    struct tide_options copy = *options;
    return options_complete(&copy, error);
}

static enum tide_status contradiction(const char *path, const char *name, struct tide_error *error)
{
    return error_set(error, TIDE_INVALID, "%s is open in this process with another value of option %s", path, name);
}

enum tide_status options_compatible(const struct tide_options *wanted, const struct tide_options *in_force,
                                    const char *path, struct tide_error *error)
{
    for (int i = 0; i < OPTION_COUNT; i++) {
        uint64_t value = option_value(wanted, &options_table[i]);
        if (value != 0 && value != option_value(in_force, &options_table[i]))
            return contradiction(path, options_table[i].name, error);
    }
    if (wanted->sync != TIDE_SYNC_DEFAULT && wanted->sync != in_force->sync)
        return contradiction(path, "sync", error);
    if (wanted->durability != TIDE_DURABILITY_DEFAULT && wanted->durability != in_force->durability)
        return contradiction(path, "durability", error);
    if (wanted->retain != TIDE_RETAIN_DEFAULT &&
        (wanted->retain != in_force->retain || wanted->retain_limit != in_force->retain_limit))
        return contradiction(path, "retain", error);
    if ((wanted->read_only && !in_force->read_only) || (wanted->read_write && in_force->read_only))
        return contradiction(path, "read_only", error);
    if ((wanted->hash_chain && !in_force->hash_chain) || (wanted->no_hash_chain && in_force->hash_chain))
        return contradiction(path, "hash_chain", error);
    return TIDE_OK;
}
