#include "base/why.h"

#include <stdarg.h>
#include <stdio.h>

int why_fail(struct why *why, int err, const char *fmt, ...)
{
    if (why) {
        va_list ap;

        va_start(ap, fmt);
        vsnprintf(why->text, sizeof(why->text), fmt, ap);
        va_end(ap);
    }
    return err;
}

int why_fail_errno(struct why *why, int err, const char *fmt, ...)
{
    if (why) {
        va_list ap;
        int len;

        va_start(ap, fmt);
        len = vsnprintf(why->text, sizeof(why->text), fmt, ap);
        va_end(ap);
        if (len >= 0 && (size_t)len < sizeof(why->text))
            snprintf(why->text + len, sizeof(why->text) - (size_t)len, ": %s", strerror(-err));
    }
    return err;
}

int why_prefix(struct why *why, int err, const char *fmt, ...)
{
    if (why) {
        struct why old = *why;
        va_list ap;
        size_t len;

        va_start(ap, fmt);
        vsnprintf(why->text, sizeof(why->text), fmt, ap);
        va_end(ap);
        len = strlen(why->text);
        snprintf(why->text + len, sizeof(why->text) - len, ": %.*s", (int)(sizeof(why->text) - len),
                 old.text);
    }
    return err;
}
