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
        char old[sizeof(why->text)];
        va_list ap;
        int len;

        memcpy(old, why->text, sizeof(old));
        va_start(ap, fmt);
        len = vsnprintf(why->text, sizeof(why->text), fmt, ap);
        va_end(ap);
        if (len >= 0 && (size_t)len < sizeof(why->text))
            snprintf(why->text + len, sizeof(why->text) - (size_t)len, ": %s", old);
    }
    return err;
}
