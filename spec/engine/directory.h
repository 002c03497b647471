/* directory.h - a directory of its own for each test. */
#ifndef TIDE_SPEC_DIRECTORY_H
#define TIDE_SPEC_DIRECTORY_H

extern char directory[64]; /* where it is */

/* For cmocka_unit_test_setup_teardown. Removing takes the operating system's own calls on files again. */
int directory_make(void **state);
int directory_remove(void **state);

#endif
