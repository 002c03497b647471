/* directory.c - see directory.h. */
#include "directory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../engine/file.h"

char directory[64];

int directory_make(void **state)
{
    (void)state;
    strcpy(directory, "/tmp/tidemark-spec-XXXXXX");
    return mkdtemp(directory) ? 0 : -1;
}

int directory_remove(void **state)
{
    (void)state;
    char command[96];
    file_calls_use(NULL);
    snprintf(command, sizeof command, "rm -rf '%s'", directory);
    return system(command);
}
