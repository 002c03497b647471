/* document.h - documents' texts on their way into and out of the engine, without Lua: what the module's collections and
 * the server's resources share. */
#ifndef TIDE_DOCUMENT_H
#define TIDE_DOCUMENT_H

#include "../engine/tidemark.h"
#include "json.h"

/* Memory of one call, kept for the next; one per Lua state or event loop, used by one thread. */
struct scratch {
    struct json_parser *parser;
    struct json_buffer document, patch, current;
};

/* False when memory is out. */
bool scratch_init(struct scratch *scratch);
void scratch_free(struct scratch *scratch);

/* A document as the engine takes it: its text lies in a buffer from `start` on. */
struct document {
    const char *id; /* NULL: it has none */
    size_t id_length;
    size_t start;
};

/* Room to leave in front of a text for document_add_id: for a UUID, and for any id. */
enum {
    DOCUMENT_UUID_ROOM = sizeof "{\"id\":\"\"" - 1 + 36,
    DOCUMENT_ID_ROOM = sizeof "{\"id\":\"\"" - 1 + 2 * TIDE_ID_BYTES_MAX
};

/* Empties `buffer` and puts the checked text of a document into it, behind `room` bytes. Returns NULL or what is wrong
 * with it, as json_document; document->id points into the parser. `padded`: see json.h. */
const char *document_parse(struct scratch *scratch, const char *text, size_t length, bool padded,
                           struct json_buffer *buffer, size_t room, struct document *document);

/* Whether the fault is about a text that is JSON, but no document (and not about its syntax). */
bool document_fault_is_semantic(const char *fault);

/* Writes {"id":"<id>" in front of the text's members, into the room that was left. The id has no control characters. */
void document_add_id(struct json_buffer *buffer, struct document *document, const char *id, size_t id_length);

/* Empties `buffer` and copies a stored document's text into it, with JSON_PADDING behind. OK, NOT_FOUND or MEMORY. */
enum tide_status document_copy(struct tide_collection *collection, const char *id, size_t id_length,
                               struct json_buffer *buffer, uint64_t *version);

/* RFC 7396: merges scratch->patch into the document write->id as it is now and writes that, again from the start when
 * somebody was faster and wanted->if_version is TIDE_ANY_VERSION. What was written is in scratch->document. Errors:
 * those of tide_write. */
enum tide_status document_update(struct scratch *scratch, struct tide_collection *collection,
                                 const struct tide_write *wanted, struct tide_written *written,
                                 struct tide_error *error);

#endif
