/* embedded.h - the Lua sources in bindings/commands, as scripts/embed.lua puts them into the command. */
#ifndef TIDE_EMBEDDED_H
#define TIDE_EMBEDDED_H

#include <stddef.h>

struct embedded_chunk {
    const char *name; /* "run"; NULL ends the list */
    const char *source;
    size_t length;
};

extern const struct embedded_chunk embedded_chunks[];

#endif
