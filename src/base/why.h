/* The reason of a failure in words for the user, beside the -errno that the function returns.
 * The layer that decides what to do logs it, once. */
#ifndef PREFORKD_BASE_WHY_H
#define PREFORKD_BASE_WHY_H

#include "base/util.h"

struct why {
    char text[512];
};

/* Writes the reason and returns `err` (a negative errno), so that a failing function can
 * `return why_fail(why, -EINVAL, "...")`. `why` may be NULL. Text that is too long is cut. */
int why_fail(struct why *why, int err, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* The same, with ": " and strerror(-err) at the end. */
int why_fail_errno(struct why *why, int err, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* Puts "text: " in front of the reason that is there, and returns `err`. */
int why_prefix(struct why *why, int err, const char *fmt, ...) PRINTF_LIKE(3, 4);

#endif
