/* request_text.h - looks into the text that a script's request() returns. */
#ifndef TIDE_LOAD_REQUEST_TEXT_H
#define TIDE_LOAD_REQUEST_TEXT_H

#include <stdbool.h>
#include <stddef.h>

/* Called for each request in the text: whether its method is HEAD (the answer has no body). */
typedef bool request_function(void *context, bool head);

/* Goes through the first `limit` requests of the text; *length becomes their bytes. Returns how many they are, 0 when
 * the text isn't whole requests (*fault says why) or `each` returned false. */
size_t request_text_scan(const char *text, size_t *length, size_t limit, request_function *each, void *context,
                         const char **fault);

static inline bool request_text_is_head(const char *text, size_t length)
{
    return length > 5 && text[0] == 'H' && text[1] == 'E' && text[2] == 'A' && text[3] == 'D' && text[4] == ' ';
}

#endif
