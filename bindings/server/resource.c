/* resource.c - app:resource: a collection as REST, in C. A read writes the block's own bytes into the output; a write
 * checks its text once, stores it, and answers with it. A write that must wait is parked: without room it is made again
 * from the request when there is some, a durable one holds its answer until it may be given. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "server.h"

enum { HEADERS_BYTES = 2048, VERSIONS_MAX = 16, LIMIT_DEFAULT = 100, LIMIT_MAX = 1000 };

static void problem(struct exchange *exchange, const struct tide_error *error)
{
    const char *retry = NULL;
    int status = 503;
    switch (error->status) {
    case TIDE_EXISTS: status = 409; break;
    case TIDE_NOT_FOUND: status = 404; break;
    case TIDE_CONFLICT: status = 412; break;
    case TIDE_INVALID: status = 422; break;
    case TIDE_TIMEOUT: status = 504; break;
    case TIDE_FULL: status = 507; break;
    case TIDE_READ_ONLY: status = 403; break;
    case TIDE_BUSY: retry = "Retry-After: 1\r\n"; break;
    default: break;
    }
    /* What failed on the disk is for the operator's eyes: the message has the directory's name in it. */
    bool tell = status != 503 && status != 507 && status != 403 && status != 504;
    exchange_problem(exchange, status, tide_status_code(error->status), tell ? error->message : NULL, retry);
}

static void problem_status(struct exchange *exchange, enum tide_status status)
{
    struct tide_error error = {.status = status};
    snprintf(error.message, sizeof error.message, "%s", tide_status_text(status));
    problem(exchange, &error);
}

/* ---- Conditions ---- */

struct condition {
    bool present, any;
    size_t count;
    uint64_t versions[VERSIONS_MAX];
};

/* Adds the tags of one field line. */
static void tags_read(const char *p, const char *end, bool weak_too, struct condition *condition)
{
    while (p < end && condition->count < VERSIONS_MAX) {
        while (p < end && (*p == ' ' || *p == '\t' || *p == ','))
            p++;
        bool weak = end - p > 2 && p[0] == 'W' && p[1] == '/';
        p += weak ? 2 : 0;
        if (p >= end || *p != '"')
            return;
        uint64_t version = 0;
        const char *digit = ++p;
        for (; p < end && *p >= '0' && *p <= '9' && p - digit < 19; p++)
            version = version * 10 + (uint64_t)(*p - '0');
        bool number = p > digit && p < end && *p == '"' && (*digit != '0' || p - digit == 1);
        while (p < end && *p != '"')
            p++;
        p++;
        if (number && (!weak || weak_too))
            condition->versions[condition->count++] = version;
    }
}

/* Reads If-Match or If-None-Match. Tags that are no version of ours match nothing; weak ones only in If-None-Match. */
static void condition_read(const struct exchange *exchange, enum http_known field, struct condition *condition)
{
    const struct http_header *header;
    *condition = (struct condition){.present = false};
    for (unsigned i = 0; (header = http_known_next(&exchange->request, field, &i));) {
        const char *value = http_text(&exchange->request, header->value);
        condition->present = true;
        if (header->value.length == 1 && *value == '*')
            condition->any = true;
        else
            tags_read(value, value + header->value.length, field == HTTP_IF_NONE_MATCH, condition);
    }
}

static bool condition_fits(const struct condition *condition, uint64_t version)
{
    if (condition->any)
        return version != 0;
    for (size_t i = 0; i < condition->count; i++)
        if (condition->versions[i] == version)
            return true;
    return false;
}

static uint64_t version_now(struct tide_collection *collection, const char *id, size_t id_length)
{
    struct tide_view view;
    struct tide_engine *engine = tide_collection_engine(collection);
    tide_read_begin(engine);
    enum tide_status status = tide_get(collection, id, id_length, &view);
    tide_read_end(engine);
    return status == TIDE_OK ? view.version : 0;
}

/* ---- What the request says ---- */

/* Whether one of the Prefer fields has this preference with this value, bare or in quotes. */
static bool prefers(const struct exchange *exchange, const char *name, const char *value)
{
    size_t name_length = strlen(name), value_length = strlen(value);
    const struct http_header *header;
    for (unsigned i = 0; (header = http_known_next(&exchange->request, HTTP_PREFER, &i));) {
        const char *p = http_text(&exchange->request, header->value), *end = p + header->value.length;
        while (p < end) {
            const char *stop = p;
            for (bool quoted = false; stop < end && (quoted || (*stop != ',' && *stop != ';')); stop++)
                quoted ^= *stop == '"';
            while (p < stop && (*p == ' ' || *p == '\t'))
                p++;
            const char *equals = stop > p ? memchr(p, '=', (size_t)(stop - p)) : NULL, *last = stop;
            while (last > p && (last[-1] == ' ' || last[-1] == '\t'))
                last--;
            if (equals && (size_t)(equals - p) == name_length && strncasecmp(p, name, name_length) == 0) {
                bool quoted = last - equals > 2 && equals[1] == '"' && last[-1] == '"';
                const char *first = equals + 1 + quoted;
                if ((size_t)(last - quoted - first) == value_length && strncasecmp(first, value, value_length) == 0)
                    return true;
            }
            p = stop + 1;
        }
    }
    return false;
}

static bool type_fits(const struct exchange *exchange, bool patch)
{
    size_t length;
    const char *type = http_known_value(&exchange->request, HTTP_CONTENT_TYPE, &length);
    if (!type)
        return true;
    const char *end = memchr(type, ';', length);
    size_t named = end ? (size_t)(end - type) : length;
    while (named > 0 && (type[named - 1] == ' ' || type[named - 1] == '\t'))
        named--;
    if (named == 16 && strncasecmp(type, "application/json", 16) == 0)
        return true;
    return patch && named == 28 && strncasecmp(type, "application/merge-patch+json", 28) == 0;
}

/* The document's id out of the path, decoded. False: too long to be one. */
static bool id_take(const struct exchange *exchange, char id[TIDE_ID_BYTES_MAX], size_t *length)
{
    size_t sent = exchange->match.captured[exchange->match.count - 1].length;
    const char *text = exchange->match.captured[exchange->match.count - 1].text;
    char decoded[3 * TIDE_ID_BYTES_MAX];
    if (sent > sizeof decoded || !http_percent_decode(text, sent, false, decoded, length) ||
        *length > TIDE_ID_BYTES_MAX)
        return false;
    memcpy(id, decoded, *length);
    return true;
}

/* The resource's own path, without a slash at its end. */
static size_t resource_path(const struct route *route, char path[static HEADERS_BYTES / 2])
{
    size_t length = strlen(route->pattern);
    if (route->kind == ROUTE_DOCUMENT)
        length -= sizeof "/:id" - 1;
    else if (length > 0 && route->pattern[length - 1] == '/')
        length--;
    length = length < HEADERS_BYTES / 2 ? length : HEADERS_BYTES / 2 - 1;
    memcpy(path, route->pattern, length);
    return length;
}

/* ---- Reading ---- */

static bool get_run(struct exchange *exchange)
{
    char id[TIDE_ID_BYTES_MAX], headers[64];
    size_t id_length;
    struct tide_collection *collection = exchange->route->collection;
    struct tide_engine *engine = tide_collection_engine(collection);
    struct condition none_match;
    condition_read(exchange, HTTP_IF_NONE_MATCH, &none_match);
    struct tide_view view;
    enum tide_status status = TIDE_NOT_FOUND;
    if (id_take(exchange, id, &id_length)) {
        tide_read_begin(engine);
        status = tide_get(collection, id, id_length, &view);
        if (status == TIDE_OK) {
            memcpy(headers, "ETag: \"", 7);
            size_t length = 7 + json_write_integer(headers + 7, (int64_t)view.version);
            memcpy(headers + length, "\"\r\n", 3);
            bool same = none_match.present && condition_fits(&none_match, view.version);
            struct answer answer = {.status = same ? 304 : 200,
                                    .type = "application/json",
                                    .headers = headers,
                                    .headers_length = length + 3,
                                    .body = view.value,
                                    .body_length = same ? 0 : view.value_length};
            exchange_write(exchange, &answer);
        }
        tide_read_end(engine);
    }
    if (status == TIDE_OK)
        exchange_end(exchange);
    else
        problem_status(exchange, TIDE_NOT_FOUND);
    return true;
}

/* Finds a parameter of the query, decoded into `out`; -1: absent, -2: malformed or too long, else its length. */
static int query_value(const struct exchange *exchange, const char *name, char *out, size_t size)
{
    const char *p = http_text(&exchange->request, exchange->query), *end = p + exchange->query.length;
    int found = -1;
    while (p < end) {
        const char *stop = memchr(p, '&', (size_t)(end - p));
        stop = stop ? stop : end;
        const char *equals = memchr(p, '=', (size_t)(stop - p));
        if (equals && (size_t)(equals - p) == strlen(name) && memcmp(p, name, strlen(name)) == 0) {
            size_t length = 0;
            size_t sent = (size_t)(stop - equals - 1);
            found = sent < size && http_percent_decode(equals + 1, sent, true, out, &length) ? (int)length : -2;
            if (found >= 0)
                out[found] = 0;
        }
        p = stop + 1;
    }
    return found;
}

/* Appends documents, separated by commas, until there are `limit` or no more. False: out of memory. */
static bool items_append(struct json_buffer *out, struct tide_collection *collection, struct tide_cursor *cursor,
                         size_t limit)
{
    enum { AT_ONCE = 64 };
    struct tide_engine *engine = tide_collection_engine(collection);
    struct tide_view views[AT_ONCE];
    size_t total = 0;
    bool written = true;
    while (written && total < limit && !cursor->done) {
        tide_read_begin(engine);
        size_t count = tide_scan(collection, cursor, views, limit - total < AT_ONCE ? limit - total : AT_ONCE);
        for (size_t i = 0; i < count && written; i++, total++)
            written = (total == 0 || json_buffer_append(out, ",", 1)) &&
                      json_buffer_append(out, views[i].value, views[i].value_length);
        tide_read_end(engine);
    }
    return written;
}

static bool list_run(struct exchange *exchange)
{
    char text[64], path[HEADERS_BYTES / 2], headers[HEADERS_BYTES] = "", next[64] = "null";
    uint32_t tag = exchange->worker->server->cursor_tag;
    struct tide_cursor cursor = {0};
    long limit = LIMIT_DEFAULT;
    int length = query_value(exchange, "limit", text, sizeof text);
    if (length != -1) {
        char *end = text;
        limit = length > 0 && length < 8 ? strtol(text, &end, 10) : 0;
        if (limit < 1 || limit > LIMIT_MAX || *end || text[0] == '+' || text[0] == ' ') {
            exchange_problem(exchange, 400, NULL, "limit is a number from 1 to 1000", NULL);
            return true;
        }
    }
    length = query_value(exchange, "after", text, sizeof text);
    if (length != -1) {
        uint32_t seen;
        int used = 0;
        if (length < 1 ||
            sscanf(text, "%8" SCNx32 "-%8" SCNx32 "-%16" SCNx64 "%n", &seen, &cursor.shard, &cursor.hash, &used) != 3 ||
            used != length || seen != tag) {
            exchange_problem(exchange, 400, NULL, "after is not a cursor of this server; begin again without it", NULL);
            return true;
        }
    }
    struct json_buffer *body = &exchange->worker->scratch.document;
    json_buffer_reset(body);
    bool written = json_buffer_append(body, "{\"items\":[", 10) &&
                   items_append(body, exchange->route->collection, &cursor, (size_t)limit);
    int headers_length = 0;
    if (!cursor.done) {
        snprintf(next, sizeof next, "\"%08" PRIx32 "-%" PRIx32 "-%" PRIx64 "\"", tag, cursor.shard, cursor.hash);
        size_t path_length = resource_path(exchange->route, path);
        headers_length = snprintf(headers, sizeof headers, "Link: <%.*s?limit=%ld&after=%.*s>; rel=\"next\"\r\n",
                                  (int)path_length, path, limit, (int)strlen(next) - 2, next + 1);
    }
    written = written && json_buffer_append(body, "],\"next\":", 9) && json_buffer_append(body, next, strlen(next)) &&
              json_buffer_append(body, "}", 1);
    if (!written) {
        problem_status(exchange, TIDE_MEMORY);
        return true;
    }
    struct answer answer = {.status = 200,
                            .type = "application/json",
                            .headers = headers,
                            .headers_length = (size_t)headers_length,
                            .body = body->bytes,
                            .body_length = body->length};
    exchange_answer(exchange, &answer);
    return true;
}

/* ---- Writing ---- */

/* One attempt of a write, and what its answer needs. */
struct attempt {
    struct tide_write write;
    struct tide_written written;
    struct tide_error error;
    char id[TIDE_ID_BYTES_MAX];
    char uuid[37];
    const char *body; /* NULL: none is sent */
    size_t body_length;
    int created_status, status;
    bool location;
};

static bool document_fault(struct exchange *exchange, const char *fault)
{
    if (fault == json_out_of_memory)
        problem_status(exchange, TIDE_MEMORY);
    else if (document_fault_is_semantic(fault))
        exchange_problem(exchange, 422, NULL, fault, NULL);
    else
        exchange_problem(exchange, 400, "invalid", fault, NULL);
    return true;
}

/* The headers of a successful write. */
static size_t headers_write(struct exchange *exchange, const struct attempt *attempt, bool location, char *headers)
{
    size_t length = 0;
    if (location) {
        memcpy(headers, "Location: ", 10);
        length = 10 + resource_path(exchange->route, headers + 10);
        headers[length++] = '/';
        length += http_percent_encode(attempt->write.id, attempt->write.id_length, headers + length);
        memcpy(headers + length, "\r\n", 2);
        length += 2;
    }
    if (attempt->write.operation != TIDE_DELETE) {
        memcpy(headers + length, "ETag: \"", 7);
        length += 7;
        length += json_write_integer(headers + length, (int64_t)attempt->written.version);
        memcpy(headers + length, "\"\r\n", 3);
        length += 3;
    }
    if (exchange->wants_durable || exchange->wants_minimal) {
        const char *text = !exchange->wants_minimal   ? "Preference-Applied: durability=durable\r\n"
                           : !exchange->wants_durable ? "Preference-Applied: return=minimal\r\n"
                                                      : "Preference-Applied: durability=durable, return=minimal\r\n";
        memcpy(headers + length, text, strlen(text));
        length += strlen(text);
    }
    return length;
}

/* After the engine was asked: answers, or parks. `conflict_absent`: what NOT_FOUND means under If-Match. */
static bool write_end(struct exchange *exchange, struct attempt *attempt, enum tide_status status)
{
    const struct tide_options *options = tide_options_in_force(exchange->worker->server->engine);
    if (status == TIDE_BUSY) {
        if (exchange->resource_deadline_us == 0)
            exchange->resource_deadline_us = park_deadline_us(options->timeout_ms);
        if (park_now_us() < exchange->resource_deadline_us && exchange_detach(exchange)) {
            park(exchange, 0, exchange->resource_deadline_us);
            return false;
        }
    }
    if (status != TIDE_OK) {
        if (status == TIDE_INVALID && attempt->write.value_length > options->document_bytes_max)
            exchange_problem(exchange, 413, NULL, "the document is too large", NULL);
        else
            problem(exchange, &attempt->error);
        return true;
    }
    char headers[HEADERS_BYTES];
    bool created = attempt->written.created && attempt->write.operation != TIDE_DELETE;
    struct answer answer = {.status = created ? 201 : 200, .headers = headers};
    answer.headers_length = headers_write(exchange, attempt, created, headers);
    if (!exchange->wants_minimal && attempt->body) {
        answer.type = "application/json";
        answer.body = attempt->body;
        answer.body_length = attempt->body_length;
    } else if (!created) {
        answer.status = 204;
    }
    bool durable = exchange->wants_durable || options->durability == TIDE_DURABLE;
    if (!durable) {
        exchange_answer(exchange, &answer);
        return true;
    }
    exchange->version = attempt->written.version;
    if (!exchange_hold(exchange, &answer) || !exchange_detach(exchange)) {
        problem_status(exchange, TIDE_MEMORY);
        return true;
    }
    exchange->resource_waits = true;
    park(exchange, attempt->written.version, park_deadline_us(options->timeout_ms));
    return false;
}

static bool post_run(struct exchange *exchange, struct attempt *attempt)
{
    struct scratch *scratch = &exchange->worker->scratch;
    struct tide_write *write = &attempt->write;
    struct document document;
    const struct http_request *request = &exchange->request;
    const char *fault = document_parse(scratch, request->base + request->body_start, request->body_length, true,
                                       &scratch->document, DOCUMENT_UUID_ROOM, &document);
    if (fault)
        return document_fault(exchange, fault);
    if (!document.id) {
        tide_uuid(attempt->uuid);
        document_add_id(&scratch->document, &document, attempt->uuid, 36);
    }
    write->operation = TIDE_CREATE;
    write->id = document.id;
    write->id_length = document.id_length;
    write->value = attempt->body = scratch->document.bytes + document.start;
    write->value_length = attempt->body_length = scratch->document.length - document.start;
    return write_end(exchange, attempt,
                     tide_write(exchange->route->collection, write, &attempt->written, &attempt->error));
}

/* Turns If-Match into if_version. False: answered, since it doesn't fit. */
static bool match_apply(struct exchange *exchange, struct attempt *attempt, const struct condition *match)
{
    struct tide_write *write = &attempt->write;
    bool put = exchange->request.method == HTTP_PUT;
    if (!match->present)
        return true;
    uint64_t version = version_now(exchange->route->collection, write->id, write->id_length);
    if (version == 0 && !put) {
        problem_status(exchange, TIDE_NOT_FOUND);
        return false;
    }
    if (!condition_fits(match, version)) {
        problem_status(exchange, TIDE_CONFLICT);
        return false;
    }
    if (!match->any)
        write->if_version = version;
    if (put)
        write->operation = TIDE_REPLACE;
    return true;
}

static bool put_run(struct exchange *exchange, struct attempt *attempt, const struct condition *match)
{
    struct scratch *scratch = &exchange->worker->scratch;
    struct tide_write *write = &attempt->write;
    struct document document;
    struct condition none_match;
    const struct http_request *request = &exchange->request;
    condition_read(exchange, HTTP_IF_NONE_MATCH, &none_match);
    const char *fault = document_parse(scratch, request->base + request->body_start, request->body_length, true,
                                       &scratch->document, DOCUMENT_ID_ROOM, &document);
    if (fault)
        return document_fault(exchange, fault);
    if (document.id &&
        (document.id_length != write->id_length || memcmp(document.id, write->id, write->id_length) != 0)) {
        exchange_problem(exchange, 422, NULL, "the document's id is not the path's", NULL);
        return true;
    }
    write->operation = TIDE_PUT;
    if (!match_apply(exchange, attempt, match))
        return true;
    if (none_match.present && !none_match.any &&
        condition_fits(&none_match, version_now(exchange->route->collection, write->id, write->id_length))) {
        problem_status(exchange, TIDE_CONFLICT);
        return true;
    }
    if (none_match.any)
        write->operation = TIDE_CREATE;
    if (!document.id) {
        for (size_t i = 0; i < write->id_length; i++)
            if ((unsigned char)write->id[i] < 0x20 || write->id[i] == 0x7f) {
                exchange_problem(exchange, 422, NULL, "an id has no control characters", NULL);
                return true;
            }
        document_add_id(&scratch->document, &document, write->id, write->id_length);
    }
    write->value = attempt->body = scratch->document.bytes + document.start;
    write->value_length = attempt->body_length = scratch->document.length - document.start;
    enum tide_status status = tide_write(exchange->route->collection, write, &attempt->written, &attempt->error);
    bool unmet = (status == TIDE_EXISTS && none_match.any) || (status == TIDE_NOT_FOUND && match->present);
    if (unmet) {
        problem_status(exchange, TIDE_CONFLICT);
        return true;
    }
    return write_end(exchange, attempt, status);
}

static bool patch_run(struct exchange *exchange, struct attempt *attempt, const struct condition *match)
{
    struct scratch *scratch = &exchange->worker->scratch;
    struct tide_write *write = &attempt->write;
    struct document patch;
    const struct http_request *request = &exchange->request;
    const char *fault = document_parse(scratch, request->base + request->body_start, request->body_length, true,
                                       &scratch->patch, 0, &patch);
    if (fault)
        return document_fault(exchange, fault);
    if (patch.id && (patch.id_length != write->id_length || memcmp(patch.id, write->id, write->id_length) != 0)) {
        exchange_problem(exchange, 422, NULL, "the patch changes the id", NULL);
        return true;
    }
    write->operation = TIDE_REPLACE;
    if (!match_apply(exchange, attempt, match))
        return true;
    enum tide_status status =
        document_update(scratch, exchange->route->collection, write, &attempt->written, &attempt->error);
    attempt->body = scratch->document.bytes;
    attempt->body_length = scratch->document.length;
    write->value_length = scratch->document.length;
    return write_end(exchange, attempt, status);
}

static bool delete_run(struct exchange *exchange, struct attempt *attempt, const struct condition *match)
{
    attempt->write.operation = TIDE_DELETE;
    if (!match_apply(exchange, attempt, match))
        return true;
    return write_end(exchange, attempt,
                     tide_write(exchange->route->collection, &attempt->write, &attempt->written, &attempt->error));
}

static bool write_run(struct exchange *exchange)
{
    int method = exchange->request.method;
    struct attempt attempt;
    attempt.write = (struct tide_write){
        .durability = TIDE_ACCEPTED, .timeout_ms = TIDE_NO_WAIT, .if_version = TIDE_ANY_VERSION, .id = attempt.id};
    attempt.written = (struct tide_written){0};
    attempt.body = NULL;
    attempt.error.message[0] = 0;
    if (exchange->request.known[HTTP_PREFER]) {
        exchange->wants_durable = prefers(exchange, "durability", "durable");
        exchange->wants_minimal = prefers(exchange, "return", "minimal");
    }
    if (method != HTTP_DELETE && !type_fits(exchange, method == HTTP_PATCH)) {
        const char *accept =
            method == HTTP_PATCH ? "Accept-Patch: application/merge-patch+json, application/json\r\n" : NULL;
        exchange_problem(exchange, 415, NULL, "the body is to be application/json", accept);
        return true;
    }
    if (method == HTTP_POST)
        return post_run(exchange, &attempt);
    struct condition match;
    condition_read(exchange, HTTP_IF_MATCH, &match);
    if (!id_take(exchange, attempt.id, &attempt.write.id_length)) {
        if (method == HTTP_PUT)
            exchange_problem(exchange, 422, NULL, "an id is at most 255 bytes long", NULL);
        else
            problem_status(exchange, TIDE_NOT_FOUND);
        return true;
    }
    if (method == HTTP_PUT)
        return put_run(exchange, &attempt, &match);
    if (method == HTTP_PATCH)
        return patch_run(exchange, &attempt, &match);
    return delete_run(exchange, &attempt, &match);
}

/* ---- From outside ---- */

bool resource_run(struct exchange *exchange)
{
    int method = exchange->request.method;
    bool read = method == HTTP_GET || method == HTTP_HEAD;
    if (read && exchange->route->kind == ROUTE_RESOURCE)
        return list_run(exchange);
    if (read)
        return get_run(exchange);
    return write_run(exchange);
}

bool resource_again(struct exchange *exchange)
{
    if (!exchange->resource_waits)
        return write_run(exchange);
    struct tide_error error;
    exchange->resource_waits = false;
    if (exchange_outcome(exchange, &error) != TIDE_OK) {
        problem(exchange, &error);
        return true;
    }
    exchange->version = 0;
    if (!exchange->in_lua) /* else the middleware finds it there */
        exchange_answer_held(exchange);
    return true;
}
