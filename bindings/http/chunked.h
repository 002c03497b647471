/* chunked.h - the chunked transfer coding (RFC 9112, section 7.1), strictly: every line ends in CR LF, sizes are bare
 * hexadecimal digits, trailers are well-formed fields. llhttp 8.1 refuses a second extension, takes bare line feeds
 * among trailers, and never says how long those are. Trailers are checked and dropped. */
#ifndef TIDE_HTTP_CHUNKED_H
#define TIDE_HTTP_CHUNKED_H

#include <stddef.h>
#include <stdint.h>

struct chunked {
    uint8_t state, digits;
    unsigned trailers;
    uint64_t size;                  /* of the chunk, then what is left of it */
    size_t overhead, trailer_bytes; /* bytes that are no data; of them those of trailers */
};

struct chunked_limits {
    size_t body_bytes_max, trailer_bytes_max;
    unsigned trailers_max;
};

enum chunked_result {
    CHUNKED_MORE,
    CHUNKED_COMPLETE,
    CHUNKED_MALFORMED,
    CHUNKED_BODY_TOO_LARGE,
    CHUNKED_TRAILERS_TOO_LARGE
};

void chunked_init(struct chunked *chunked);

/* Takes `length` coded bytes; *used: how many belong to the body. Data goes to `body`, where *body_length bytes are
 * already; it may lie before the coded bytes in the same buffer, since data never grows. */
enum chunked_result chunked_decode(struct chunked *chunked, const struct chunked_limits *limits, const char *bytes,
                                   size_t length, size_t *used, char *body, size_t *body_length);

#endif
