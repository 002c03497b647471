/* router.h - which route a path leads to. A tree by segments: literal ones win over :name, these over a last *name. */
#ifndef TIDE_ROUTER_H
#define TIDE_ROUTER_H

#include <stdbool.h>
#include <stddef.h>

enum { ROUTER_CAPTURES_MAX = 16, ROUTER_SEGMENT_BYTES_MAX = 1024 };

enum route_kind { ROUTE_HANDLER, ROUTE_RESOURCE, ROUTE_DOCUMENT };

/* What one method of a path leads to, or for resources all methods. Owned by the router once added. */
struct route {
    struct route *next; /* another method of the same path */
    enum route_kind kind;
    int method;  /* llhttp's number; -1: all */
    int handler; /* reference in the registry of Lua */
    struct tide_collection *collection;
    char *pattern;                    /* as given, the label in metrics */
    unsigned label;                   /* its number there */
    char *names[ROUTER_CAPTURES_MAX]; /* of the captured segments, in order; they point into name_text */
    char *name_text;
    size_t name_count;
};

struct router;

struct router_match {
    struct route *routes; /* of all methods */
    size_t count;
    struct {
        const char *text; /* as sent, in the path */
        size_t length;
    } captured[ROUTER_CAPTURES_MAX];
};

struct router *router_create(void);
void router_destroy(struct router *router);

/* Adds a route (method, kind, handler or collection are set; the rest is filled in) under `pattern`. NULL, or a static
 * text that says what is wrong with it; then the route is still the caller's. */
const char *router_add(struct router *router, const char *pattern, struct route *route);

/* Looks a path up, as sent, from its first slash. */
bool router_match(const struct router *router, const char *path, size_t length, struct router_match *match);

void route_free(struct route *route);

#endif
