/* Small helpers that every file may use. No policy, no system calls beyond free(3) and close(2). */
#ifndef PREFORKD_BASE_UTIL_H
#define PREFORKD_BASE_UTIL_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ARRAY_SIZE(a)                   (sizeof(a) / sizeof((a)[0]))
#define CONTAINER_OF(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))
#define PRINTF_LIKE(f, a)               __attribute__((format(printf, f, a)))
#define UNUSED                          __attribute__((unused))

/* Variables that free or close what they hold when they go out of scope. */
#define CLEANUP(f)    __attribute__((cleanup(f)))
#define CLEANUP_FREE  CLEANUP(util_free_p)
#define CLEANUP_CLOSE CLEANUP(util_close_p)

static inline void util_free_p(void *p)
{
    free(*(void **)p);
}

/* Closes *fd when it is open and sets it to -1; errno is kept. */
static inline void util_close_p(int *fd)
{
    if (*fd >= 0) {
        int saved = errno;

        close(*fd);
        errno = saved;
    }
    *fd = -1;
}

/* Hands the value of *fd to the caller, who owns it from then on; *fd becomes -1. */
static inline int util_take_fd(int *fd)
{
    int taken = *fd;

    *fd = -1;
    return taken;
}

static inline bool streq(const char *a, const char *b)
{
    return strcmp(a, b) == 0;
}

/* Whether `s` begins with `prefix`; returns what follows it, or NULL. */
static inline const char *str_after(const char *s, const char *prefix)
{
    size_t len = strlen(prefix);

    return strncmp(s, prefix, len) == 0 ? s + len : NULL;
}

#endif
