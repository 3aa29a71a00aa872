/* The number of a pool's workers, as somebody asks for it while the master runs. */
#ifndef PREFORKD_INTERFACE_SCALE_H
#define PREFORKD_INTERFACE_SCALE_H

#include "interface/status.h"

/* What follows "workers=": "4", "+1" or "-1". 0 and the number that is meant; -EINVAL
 * or -ERANGE with the reason. */
int scale_parse(const char *text, int now, int *n, struct why *why);

/* Whether it may be `n` now: 0, -EBUSY during a reload, restart or stop, -ERANGE; with the reason.
 */
int scale_check(const struct status *s, const struct pool *p, int n, struct why *why);

/* Makes it so until the next reload, and tells the log. What new slots' sockets say, with the
 * reason. */
int scale_pool(struct pool *p, int n, struct why *why);

#endif
