/* json_fuzz.c - documents: what is taken in is taken in again as it is, and nothing is read beyond its end.
 * A zero byte separates a document from a patch: what merging makes of two valid ones is valid, and merging it again
 * changes nothing more. */
#include <stdlib.h>
#include <string.h>

#include "../../bindings/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct json_parser *parser;

static void check(int holds)
{
    if (!holds)
        abort();
}

/* Takes a text in, into `out`; false: refused. */
static bool take(const char *text, size_t length, struct json_buffer *out)
{
    const char *id;
    size_t id_length;
    out->length = 0;
    const char *fault = json_document(parser, text, length, false, out, &id, &id_length);
    if (fault)
        return false;
    check(!id || json_utf8_valid(id, id_length));
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct json_buffer first, second, again, merged;
    if (!parser)
        parser = json_parser_create();
    const uint8_t *zero = size ? memchr(data, 0, size) : NULL;
    size_t length = zero ? (size_t)(zero - data) : size;
    char *copy = malloc(length + 1); /* of exactly its size, so that a read behind it is seen */
    memcpy(copy, data, length);
    bool taken = take(copy, length, &first);
    free(copy);
    if (!taken)
        return 0;
    check(take(first.bytes, first.length, &again));
    check(first.length == again.length && memcmp(first.bytes, again.bytes, first.length) == 0);
    if (!zero || !take((const char *)zero + 1, size - length - 1, &second))
        return 0;
    merged.length = 0;
    check(json_merge_patch(first.bytes, first.length, second.bytes, second.length, &merged) == NULL);
    bool deep = merged.length > 2 * JSON_DEPTH_MAX; /* may nest deeper than either */
    check(take(merged.bytes, merged.length, &again) || deep);
    first.length = 0;
    check(json_merge_patch(merged.bytes, merged.length, second.bytes, second.length, &first) == NULL);
    check(first.length == merged.length);
    return 0;
}
