/* A fuzz target: called with any bytes, it must return. What must hold beside that is checked with
 * fuzz_check(), which ends the process. See https://llvm.org/docs/LibFuzzer.html */
#ifndef PREFORKD_TESTS_FUZZ_H
#define PREFORKD_TESTS_FUZZ_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define fuzz_check(condition)                                                                      \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #condition);              \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

/* The input as a string; NULL when it holds a NUL byte, as no text of ours may. To be freed. */
static inline char *fuzz_text(const uint8_t *data, size_t size)
{
    return memchr(data, '\0', size) ? NULL : strndup((const char *)data, size);
}

#endif
