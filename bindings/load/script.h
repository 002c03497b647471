/* script.h - a load script in a Lua state of its own: the main one, for setup and done, and one for each thread, which
 * that thread alone uses while it runs. A call that fails leaves the traceback in `error`. */
#ifndef TIDE_LOAD_SCRIPT_H
#define TIDE_LOAD_SCRIPT_H

#include <lua.h>
#include <stdbool.h>
#include <stddef.h>

#include "histogram.h"

struct worker;

struct script_target {
    const char *scheme, *host, *port, *path; /* port: NULL where the URL has none */
};

struct script {
    lua_State *L;
    char *error;           /* NULL: none so far */
    const void *formatted; /* the text that wrk.format gave last; it is kept from being collected */
    size_t requests;       /* what request() returned so far, for its messages */
};

enum script_result { SCRIPT_OK, SCRIPT_NOT_LUA, SCRIPT_FAILED };

/* A new state with the libraries, the module, `wrk`, and the script's own file run in it. SCRIPT_NOT_LUA: a syntax
 * error. Must be closed in any case. */
enum script_result script_open(struct script *script, const char *path, const struct script_target *target);
void script_close(struct script *script);

/* Keeps `message` as the error, if it is the first. */
void script_fail(struct script *script, const char *format, ...) __attribute__((format(printf, 2, 3)));

bool script_has(struct script *script, const char *hook); /* whether the global is a function */

/* The hooks; false: failed. Those that aren't there do nothing. */
bool script_setup(struct script *main, struct worker *worker);
bool script_init(struct script *script, struct worker *worker, char *const arguments[], size_t count);
bool script_done(struct script *main, void (*push_summary)(lua_State *, void *), void *context,
                 const struct histogram *latency, const struct histogram *requests);

/* The text of wrk.format(), or what request() returns; it is valid until script_drop. NULL: failed. */
const char *script_format(struct script *script, size_t *length);
const char *script_request(struct script *script, size_t *length);
void script_drop(struct script *script);
void script_keep(struct script *script); /* drops it, but keeps it from being collected until the next script_keep */

bool script_delay(struct script *script, double *milliseconds);

/* `headers`: `count` names and values in turn, each with a zero behind it. */
bool script_response(struct script *script, unsigned status, const char *headers, unsigned count, const char *body,
                     size_t body_length);

/* --engine: opens the directory and keeps the database; calls operation(db, i). *code: NULL when it went well, else the
 * code of nil, message, code, valid until the next call. */
bool script_open_database(struct script *script, const char *directory);
bool script_operation(struct script *script, lua_Integer i, const char **code);

#endif
