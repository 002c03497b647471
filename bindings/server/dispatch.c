/* dispatch.c - which answer a request gets: target, token, limits, route; then Lua where a script has something to say,
 * or straight to the C that answers. */
#include <string.h>
#include <strings.h>

#include "server.h"

/* Splits the target into path and query. NULL, or what is wrong. Takes the absolute form too, as RFC 9112 asks. */
static const char *target_split(struct exchange *exchange)
{
    const struct http_request *request = &exchange->request;
    const char *target = http_text(request, request->target);
    const char *end = target + request->target.length, *path = target;
    if (*target != '/' && *target != '*') {
        const char *scheme = memmem(target, request->target.length, "://", 3);
        if (!scheme)
            return "a malformed target";
        path = memchr(scheme + 3, '/', (size_t)(end - scheme - 3));
        if (!path)
            return "a target without a path";
    }
    const char *query = memchr(path, '?', (size_t)(end - path));
    uint32_t start = (uint32_t)(path - request->base);
    exchange->path = (struct http_span){start, (uint32_t)((query ? query : end) - path)};
    if (query)
        exchange->query = (struct http_span){(uint32_t)(query + 1 - request->base), (uint32_t)(end - query - 1)};
    for (const char *p = memchr(path, '%', exchange->path.length); p;
         p = memchr(p + 1, '%', (size_t)(path + exchange->path.length - p - 1))) {
        char byte[1];
        size_t length;
        if (path + exchange->path.length - p < 3 || !http_percent_decode(p, 3, false, byte, &length))
            return "a malformed percent-encoding";
    }
    return NULL;
}

/* Whether the request carries the token. The time taken depends on neither's bytes. */
static bool token_fits(const struct exchange *exchange, const char *token)
{
    size_t length = 0, wanted = strlen(token);
    const char *value = http_known_value(&exchange->request, HTTP_AUTHORIZATION, &length);
    if (!value || (exchange->request.repeated & 1U << HTTP_AUTHORIZATION) || length < 7 ||
        strncasecmp(value, "Bearer ", 7) != 0)
        return false;
    value += 7;
    length -= 7;
    volatile unsigned char difference = length != wanted;
    for (size_t i = 0; i < wanted; i++)
        difference |= (unsigned char)(token[i] ^ (length ? value[i % length] : 0));
    return difference == 0;
}

/* ---- Routes ---- */

static void allow_add(struct exchange *exchange, const char *method)
{
    size_t length = strlen(exchange->allow);
    if (strstr(exchange->allow, method) == NULL || strcmp(method, "PUT") == 0)
        snprintf(exchange->allow + length, sizeof exchange->allow - length, "%s%s", length ? ", " : "", method);
}

static void allow_fill(struct exchange *exchange, const struct route *routes)
{
    for (const struct route *route = routes; route; route = route->next) {
        if (route->kind == ROUTE_RESOURCE) {
            snprintf(exchange->allow, sizeof exchange->allow, "GET, HEAD, POST");
        } else if (route->kind == ROUTE_DOCUMENT) {
            snprintf(exchange->allow, sizeof exchange->allow, "GET, HEAD, PUT, PATCH, DELETE");
        } else {
            allow_add(exchange, llhttp_method_name((llhttp_method_t)route->method));
            if (route->method == HTTP_GET)
                allow_add(exchange, "HEAD");
        }
    }
    allow_add(exchange, "OPTIONS");
}

static const struct route *route_of(const struct route *routes, int method)
{
    for (const struct route *route = routes; route; route = route->next)
        if (route->method == method)
            return route;
    for (const struct route *route = routes; route; route = route->next) {
        bool read = method == HTTP_GET || method == HTTP_HEAD;
        if (route->kind == ROUTE_HANDLER && method == HTTP_HEAD && route->method == HTTP_GET)
            return route;
        if (route->kind == ROUTE_RESOURCE && (read || method == HTTP_POST))
            return route;
        if (route->kind == ROUTE_DOCUMENT &&
            (read || method == HTTP_PUT || method == HTTP_PATCH || method == HTTP_DELETE))
            return route;
    }
    return NULL;
}

static void final_error(struct exchange *exchange, int status)
{
    exchange->final = FINAL_ERROR;
    exchange->final_status = status;
}

/* Sets what answers the request. */
static void final_find(struct exchange *exchange)
{
    const char *path = http_text(&exchange->request, exchange->path);
    int method = exchange->request.method;
    struct application *application = exchange->application;
    if (*path == '*') {
        snprintf(exchange->allow, sizeof exchange->allow, "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
        if (method == HTTP_OPTIONS)
            exchange->final = FINAL_OPTIONS;
        else
            final_error(exchange, 400);
        return;
    }
    int builtin = builtin_find(path, exchange->path.length);
    bool found = application && router_match(application->router, path, exchange->path.length, &exchange->match);
    /* Ours are literal, and so win over :name and *name: a script that takes all paths stays under observation. */
    if (found && (builtin == 0 || exchange->match.count == 0)) {
        exchange->route = route_of(exchange->match.routes, method);
        exchange->label = exchange->match.routes->label;
        if (exchange->route) {
            exchange->final = FINAL_ROUTE;
            exchange->label = exchange->route->label;
            return;
        }
        allow_fill(exchange, exchange->match.routes);
    } else {
        exchange->match.count = 0;
        if (builtin == 0) {
            final_error(exchange, 404);
            return;
        }
        exchange->label = (unsigned)builtin;
        if (method == HTTP_GET || method == HTTP_HEAD) {
            exchange->final = FINAL_BUILTIN;
            exchange->final_status = builtin;
            return;
        }
        snprintf(exchange->allow, sizeof exchange->allow, "GET, HEAD, OPTIONS");
    }
    if (method == HTTP_OPTIONS)
        exchange->final = FINAL_OPTIONS;
    else
        final_error(exchange, 405);
}

/* ---- Answers that need no Lua ---- */

static void answer_options(struct exchange *exchange)
{
    char headers[120];
    int length = snprintf(headers, sizeof headers, "Allow: %s\r\n", exchange->allow);
    struct answer answer = {.status = 204, .headers = headers, .headers_length = (size_t)length};
    exchange_answer(exchange, &answer);
}

bool final_run(struct exchange *exchange)
{
    char headers[120] = "";
    switch (exchange->final) {
    case FINAL_ROUTE: return resource_run(exchange);
    case FINAL_BUILTIN: builtin_run(exchange, exchange->final_status); return true;
    case FINAL_OPTIONS: answer_options(exchange); return true;
    default:
        if (exchange->allow[0])
            snprintf(headers, sizeof headers, "Allow: %s\r\n", exchange->allow);
        exchange_problem(exchange, exchange->final_status, NULL, NULL, headers);
        return true;
    }
}

bool final_again(struct exchange *exchange)
{
    return resource_again(exchange);
}

static bool is_read(const struct exchange *exchange)
{
    int method = exchange->request.method;
    return method == HTTP_GET || method == HTTP_HEAD || method == HTTP_OPTIONS;
}

void dispatch(struct exchange *exchange)
{
    struct worker *worker = exchange->worker;
    struct server *server = worker->server;
    const char *fault = target_split(exchange);
    if (fault) {
        exchange_problem(exchange, 400, NULL, fault, NULL);
        return;
    }
    struct application *application = worker->application;
    exchange->application = application;
    if (application)
        application->references++;
    final_find(exchange);
    bool health =
        exchange->path.length == 7 && memcmp(http_text(&exchange->request, exchange->path), "/health", 7) == 0;
    if (server->options.token && !health && !token_fits(exchange, server->options.token)) {
        exchange_problem(exchange, 401, NULL, NULL, "WWW-Authenticate: Bearer\r\n");
        return;
    }
    if (!application && exchange->final != FINAL_BUILTIN) {
        exchange_problem(exchange, 503, "recovering", "the database is being opened", "Retry-After: 1\r\n");
        return;
    }
    bool handler = exchange->final == FINAL_ROUTE && exchange->route->kind == ROUTE_HANDLER;
    if (exchange->final == FINAL_ROUTE && (handler || !is_read(exchange)) &&
        atomic_load_explicit(&server->waiting, memory_order_relaxed) >= server->options.waiting_max) {
        exchange_problem(exchange, 503, "busy", "too many requests wait already", "Retry-After: 1\r\n");
        return;
    }
    if (application && (handler || application->middleware_count > 0))
        handler_run(exchange);
    else
        final_run(exchange);
}
