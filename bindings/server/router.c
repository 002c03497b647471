/* router.c - the tree is walked segment by segment, with a step back where a literal leads nowhere. */
#include "router.h"

#include <stdlib.h>
#include <string.h>

#include "../http/request.h"

struct node {
    char *segment; /* literal, decoded; NULL for the others */
    struct node *next, *literals, *parameter;
    struct route *routes, *wildcard; /* of the path that ends here; of one that goes on with *name */
};

struct router {
    struct node root;
};

struct router *router_create(void)
{
    return calloc(1, sizeof(struct router));
}

void route_free(struct route *route)
{
    free(route->pattern);
    free(route->name_text);
    free(route);
}

static void routes_free(struct route *route)
{
    while (route) {
        struct route *next = route->next;
        route_free(route);
        route = next;
    }
}

static void node_clear(struct node *node)
{
    routes_free(node->routes);
    routes_free(node->wildcard);
    while (node->literals) {
        struct node *next = node->literals->next;
        node_clear(node->literals);
        free(node->literals);
        node->literals = next;
    }
    if (node->parameter)
        node_clear(node->parameter);
    free(node->parameter);
    free(node->segment);
}

void router_destroy(struct router *router)
{
    if (router)
        node_clear(&router->root);
    free(router);
}

static struct node *literal_find(const struct node *node, const char *segment, size_t length)
{
    for (struct node *child = node->literals; child; child = child->next)
        if (strncmp(child->segment, segment, length) == 0 && child->segment[length] == 0)
            return child;
    return NULL;
}

static struct node *literal_add(struct node *node, const char *segment, size_t length)
{
    struct node *child = literal_find(node, segment, length);
    if (child)
        return child;
    child = calloc(1, sizeof *child);
    if (!child)
        return NULL;
    child->segment = strndup(segment, length);
    if (!child->segment) {
        free(child);
        return NULL;
    }
    child->next = node->literals;
    node->literals = child;
    return child;
}

/* Walks the pattern, making nodes; *list is where its routes hang. NULL, or what is wrong. */
static const char *pattern_walk(struct router *router, struct route *route, struct route ***list)
{
    struct node *node = &router->root;
    char *p = route->name_text;
    if (*p != '/')
        return "a path begins with a slash";
    while (p) {
        char *segment = p + 1;
        p = strchr(segment, '/');
        size_t length = p ? (size_t)(p - segment) : strlen(segment);
        bool wildcard = *segment == '*';
        if (wildcard || *segment == ':') {
            if (length < 2)
                return "a parameter needs a name";
            if (route->name_count == ROUTER_CAPTURES_MAX)
                return "too many parameters";
            if (wildcard && p)
                return "*name must be the last segment";
            route->names[route->name_count++] = segment + 1;
        }
        if (wildcard) {
            *list = &node->wildcard;
            return NULL;
        }
        if (*segment != ':')
            node = literal_add(node, segment, length);
        else if (node->parameter || (node->parameter = calloc(1, sizeof *node)))
            node = node->parameter;
        else
            node = NULL;
        if (!node)
            return "not enough memory";
    }
    *list = &node->routes;
    return NULL;
}

const char *router_add(struct router *router, const char *pattern, struct route *route)
{
    route->name_count = 0;
    route->pattern = strdup(pattern);
    route->name_text = strdup(pattern);
    if (!route->pattern || !route->name_text)
        return "not enough memory";
    struct route **list;
    const char *fault = pattern_walk(router, route, &list);
    if (fault)
        return fault;
    for (const struct route *other = *list; other; other = other->next)
        if (other->method == route->method || other->method < 0 || route->method < 0)
            return "this route is there already";
    route->next = *list;
    *list = route;
    for (char *p = route->name_text; *p; p++) /* the names now end where their segments do */
        if (*p == '/')
            *p = 0;
    return NULL;
}

static bool node_match(const struct node *node, const char *p, const char *end, struct router_match *match)
{
    bool ends_in_slash = p && p + 1 == end && node->routes && node->routes->kind == ROUTE_DOCUMENT;
    if (!p || ends_in_slash) {
        match->routes = node->routes;
        return node->routes != NULL;
    }
    const char *segment = p + 1;
    p = memchr(segment, '/', (size_t)(end - segment));
    size_t length = (size_t)((p ? p : end) - segment);
    if (node->literals && length <= ROUTER_SEGMENT_BYTES_MAX) {
        char decoded[ROUTER_SEGMENT_BYTES_MAX];
        size_t decoded_length = length;
        const char *text = segment;
        if (memchr(segment, '%', length)) {
            text = decoded;
            if (!http_percent_decode(segment, length, false, decoded, &decoded_length))
                return false;
        }
        const struct node *child = memchr(text, 0, decoded_length) ? NULL : literal_find(node, text, decoded_length);
        if (child && node_match(child, p, end, match))
            return true;
    }
    if (match->count == ROUTER_CAPTURES_MAX)
        return false;
    size_t place = match->count++;
    match->captured[place].text = segment;
    match->captured[place].length = length;
    if (node->parameter && length > 0 && node_match(node->parameter, p, end, match))
        return true;
    match->count = place + 1;
    match->captured[place].length = (size_t)(end - segment);
    match->routes = node->wildcard;
    if (!node->wildcard)
        match->count = place;
    return node->wildcard != NULL;
}

bool router_match(const struct router *router, const char *path, size_t length, struct router_match *match)
{
    match->count = 0;
    match->routes = NULL;
    return node_match(&router->root, path, path + length, match);
}
