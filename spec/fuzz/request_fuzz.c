/* request_fuzz.c - request parsing: the first byte says in which steps the rest comes. Whatever comes, all spans lie
 * within the message; and the requests found are the same whether the bytes come at once or in steps. */
#include <stdlib.h>
#include <string.h>

#include "../../bindings/http/request.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { FOUND_MAX = 64, FIELDS = 16 };

struct found {
    int count, refusal;
    uint64_t digests[FOUND_MAX];
};

static const struct http_limits limits = {
    .head_bytes_max = 1024, .target_bytes_max = 256, .body_bytes_max = 4096, .fields_max = FIELDS};

static uint64_t digest(uint64_t hash, const void *bytes, size_t length)
{
    const uint8_t *p = bytes;
    for (size_t i = 0; i < length; i++)
        hash = (hash ^ p[i]) * UINT64_C(1099511628211);
    return hash * 31 + length;
}

static void check(int holds)
{
    if (!holds)
        abort();
}

static uint64_t request_digest(const struct http_request *request, size_t available)
{
    uint64_t hash = request->method + 256 * request->minor;
    check(request->target.start + request->target.length <= available);
    check(request->body_start + request->body_length <= available);
    hash = digest(hash, http_text(request, request->target), request->target.length);
    for (unsigned i = 0; i < request->count; i++) {
        const struct http_header *header = &request->headers[i];
        check(header->name.start + header->name.length <= available);
        check(header->value.start + header->value.length <= available);
        hash = digest(hash, http_text(request, header->name), header->name.length);
        hash = digest(hash, http_text(request, header->value), header->value.length);
    }
    return digest(hash, request->base + request->body_start, request->body_length);
}

/* Parses as a connection does: what is incomplete is kept, and moved. */
static void run(const uint8_t *data, size_t size, size_t step, struct found *found)
{
    struct http_parser parser;
    struct http_request *request = malloc(sizeof *request + FIELDS * sizeof(struct http_header));
    size_t kept = 0;
    http_parser_init(&parser, &limits);
    http_request_init(request);
    *found = (struct found){0};
    char *pending = NULL;
    for (size_t at = 0; at < size && !found->refusal; at += step) {
        size_t more = size - at < step ? size - at : step;
        char *buffer = malloc(kept + more);
        if (kept > 0)
            memcpy(buffer, pending, kept);
        memcpy(buffer + kept, data + at, more);
        free(pending);
        size_t start = 0, fed = kept, length = kept + more, used;
        while (fed < length) {
            request->base = buffer + start;
            enum http_result result = http_parse(&parser, request, buffer + fed, length - fed, &used);
            check(used <= length - fed);
            fed += used;
            if (result == HTTP_REFUSED) {
                check(request->refusal >= 400 && request->refusal_text != NULL);
                found->refusal = request->refusal;
                break;
            }
            if (result == HTTP_MORE)
                break;
            if (found->count < FOUND_MAX)
                found->digests[found->count++] = request_digest(request, length - start);
            bool keep_alive = request->keep_alive;
            http_request_init(request);
            start = fed;
            if (!keep_alive) {
                found->refusal = -1;
                break;
            }
        }
        kept = http_kept_bytes(request, fed - start);
        check(start + kept <= length);
        pending = malloc(kept + 1);
        if (kept > 0)
            memcpy(pending, buffer + start, kept);
        free(buffer);
    }
    free(pending);
    free(request);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct found whole, steps;
    if (size < 2)
        return 0;
    run(data + 1, size - 1, size, &whole);
    run(data + 1, size - 1, 1 + data[0] % 32, &steps);
    check(whole.count == steps.count);
    check(memcmp(whole.digests, steps.digests, sizeof whole.digests[0] * (size_t)whole.count) == 0);
    check((whole.refusal == 0) == (steps.refusal == 0) || whole.refusal > 0 || steps.refusal > 0);
    return 0;
}
