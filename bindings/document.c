/* document.c - taking in, completing, reading and merging documents' texts. */
#include "document.h"

#include <stdio.h>
#include <string.h>

bool scratch_init(struct scratch *scratch)
{
    *scratch = (struct scratch){.parser = json_parser_create()};
    return scratch->parser != NULL;
}

void scratch_free(struct scratch *scratch)
{
    if (scratch->parser)
        json_parser_destroy(scratch->parser);
    json_buffer_free(&scratch->document);
    json_buffer_free(&scratch->patch);
    json_buffer_free(&scratch->current);
    *scratch = (struct scratch){0};
}

const char *document_parse(struct scratch *scratch, const char *text, size_t length, bool padded,
                           struct json_buffer *buffer, size_t room, struct document *document)
{
    json_buffer_reset(buffer);
    *document = (struct document){.start = room};
    if (!json_buffer_reserve(buffer, room + length + 2 * JSON_PADDING))
        return json_out_of_memory;
    buffer->length = room;
    return json_document(scratch->parser, text, length, padded, buffer, &document->id, &document->id_length);
}

bool document_fault_is_semantic(const char *fault)
{
    return strcmp(fault, json_not_an_object) == 0 || strcmp(fault, json_id_not_a_string) == 0 ||
           strcmp(fault, json_too_deep) == 0;
}

void document_add_id(struct json_buffer *buffer, struct document *document, const char *id, size_t id_length)
{
    char prefix[DOCUMENT_ID_ROOM];
    size_t length = 7;
    memcpy(prefix, "{\"id\":\"", 7);
    size_t plain = json_plain_length(id, id_length);
    memcpy(prefix + length, id, plain);
    length += plain;
    for (size_t i = plain; i < id_length; i++) {
        if (id[i] == '"' || id[i] == '\\')
            prefix[length++] = '\\';
        prefix[length++] = id[i];
    }
    prefix[length++] = '"';
    char *text = buffer->bytes + document->start; /* its brace becomes the comma, or the end */
    if (text[1] == '}') {
        text[0] = '}';
        buffer->length = document->start + 1;
    } else {
        text[0] = ',';
    }
    memcpy(text - length, prefix, length);
    document->start -= length;
    document->id = id;
    document->id_length = id_length;
}

enum tide_status document_copy(struct tide_collection *collection, const char *id, size_t id_length,
                               struct json_buffer *buffer, uint64_t *version)
{
    struct tide_engine *engine = tide_collection_engine(collection);
    struct tide_view view;
    json_buffer_reset(buffer);
    tide_read_begin(engine);
    enum tide_status status = tide_get(collection, id, id_length, &view);
    *version = view.version;
    if (status == TIDE_OK &&
        (!json_buffer_append(buffer, view.value, view.value_length) || !json_buffer_reserve(buffer, JSON_PADDING)))
        status = TIDE_MEMORY;
    tide_read_end(engine);
    return status;
}

/* Reads the document as it is now, merges the patch into it, and sets what is to be written. */
static enum tide_status update_prepare(struct scratch *scratch, struct tide_collection *collection,
                                       struct tide_write *write, struct tide_error *error)
{
    uint64_t wanted = write->if_version, version;
    const char *name = tide_collection_name(collection);
    enum tide_status status = document_copy(collection, write->id, write->id_length, &scratch->current, &version);
    json_buffer_reset(&scratch->document);
    error->message[0] = 0;
    if (status == TIDE_NOT_FOUND) {
        snprintf(error->message, sizeof error->message, "%s/%.*s: there is no such document", name,
                 (int)write->id_length, write->id);
    } else if (status == TIDE_OK && wanted != TIDE_ANY_VERSION && wanted != version) {
        status = TIDE_CONFLICT;
        snprintf(error->message, sizeof error->message, "%s/%.*s: version is %llu, not %llu", name,
                 (int)write->id_length, write->id, (unsigned long long)version, (unsigned long long)wanted);
    } else if (status == TIDE_OK && json_merge_patch(scratch->current.bytes, scratch->current.length,
                                                     scratch->patch.bytes, scratch->patch.length, &scratch->document)) {
        status = TIDE_MEMORY;
    }
    error->status = status;
    write->if_version = version;
    write->value = scratch->document.bytes;
    write->value_length = scratch->document.length;
    return status;
}

enum tide_status document_update(struct scratch *scratch, struct tide_collection *collection,
                                 const struct tide_write *wanted, struct tide_written *written,
                                 struct tide_error *error)
{
    for (;;) {
        struct tide_write write = *wanted;
        *written = (struct tide_written){0};
        enum tide_status status = update_prepare(scratch, collection, &write, error);
        if (status == TIDE_OK)
            status = tide_write(collection, &write, written, error);
        if (status != TIDE_CONFLICT || wanted->if_version != TIDE_ANY_VERSION)
            return status;
    }
}
