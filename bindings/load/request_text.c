/* request_text.c - counts the requests in a text. The common one, a single request without a body, is known by its only
 * empty line standing at its end; every other goes through the parser. */
#include "request_text.h"

#include <llhttp.h>
#include <string.h>

struct scan {
    size_t count, limit;
    request_function *each;
    void *context;
    bool refused;
};

static int on_complete(llhttp_t *parser)
{
    struct scan *scan = parser->data;
    if (!scan->each(scan->context, parser->method == HTTP_HEAD)) {
        scan->refused = true;
        return HPE_USER;
    }
    return ++scan->count == scan->limit ? HPE_PAUSED : 0;
}

size_t request_text_scan(const char *text, size_t *length, size_t limit, request_function *each, void *context,
                         const char **fault)
{
    const char *blank = memmem(text, *length, "\r\n\r\n", 4);
    if (blank && blank + 4 == text + *length)
        return each(context, request_text_is_head(text, *length)) ? 1 : 0;
    struct scan scan = {.limit = limit, .each = each, .context = context};
    llhttp_settings_t settings;
    llhttp_settings_init(&settings);
    settings.on_message_complete = on_complete;
    llhttp_t parser;
    llhttp_init(&parser, HTTP_REQUEST, &settings);
    llhttp_set_lenient_keep_alive(&parser, 1);
    parser.data = &scan;
    llhttp_errno_t result = llhttp_execute(&parser, text, *length);
    if (result == HPE_OK)
        result = llhttp_finish(&parser);
    if (result == HPE_PAUSED || result == HPE_PAUSED_UPGRADE) {
        *length = (size_t)(llhttp_get_error_pos(&parser) - text);
        return scan.count;
    }
    if (result != HPE_OK || scan.count == 0) {
        *fault = scan.refused ? "not enough memory" : "it isn't whole HTTP requests";
        return 0;
    }
    return scan.count;
}
