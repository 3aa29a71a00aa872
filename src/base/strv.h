/* A growing list of owned strings, NULL-terminated as execve(2) wants it. */
#ifndef PREFORKD_BASE_STRV_H
#define PREFORKD_BASE_STRV_H

#include "base/util.h"

struct strv {
    char **items; /* NULL while nothing was pushed; else items[n] is NULL */
    size_t n;
};

#define CLEANUP_STRV CLEANUP(strv_free)

void strv_free(struct strv *v);

/* Each returns 0 or -ENOMEM and leaves the list unchanged then. */
int strv_push(struct strv *v, const char *s);
int strv_push_take(struct strv *v, char *s); /* takes `s` even on failure; NULL is -ENOMEM */
int strv_pushf(struct strv *v, const char *fmt, ...) PRINTF_LIKE(2, 3);
int strv_copy(struct strv *dst, const struct strv *src);

bool strv_equal(const struct strv *a, const struct strv *b);
bool strv_contains(const struct strv *v, const char *s);

/* Environment lists ("NAME=value"). Set replaces or appends; unset removes; get finds the value or
 * NULL. unset_prefix removes every NAME that begins with `prefix`. */
int strv_env_set(struct strv *v, const char *name, const char *value);
void strv_env_unset(struct strv *v, const char *name);
void strv_env_unset_prefix(struct strv *v, const char *prefix);
const char *strv_env_get(const struct strv *v, const char *name);

#endif
