/* document.h - documents of which a spec cares for the size alone. */
#ifndef TIDE_SPEC_DOCUMENT_H
#define TIDE_SPEC_DOCUMENT_H

#include <stddef.h>
#include <stdint.h>

#include "../../engine/tidemark.h"

/* Creates document `number`, of `bytes` bytes (at most a mebibyte), in collection c; returns its seq. */
uint64_t document_create(struct tide_engine *engine, int number, size_t bytes);

#endif
