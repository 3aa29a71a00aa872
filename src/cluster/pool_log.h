/* Lines about workers that end and start without having been asked to. A few are written, the rest
 * become one line for each window of time, so that a crash loop cannot flood the log. At level
 * debug all are written. */
#ifndef PREFORKD_CLUSTER_POOL_LOG_H
#define PREFORKD_CLUSTER_POOL_LOG_H

#include <ev.h>

#include "base/log.h"
#include "policy/log_limit.h"

struct pool;

struct pool_log {
    struct pool *pool;
    struct log_limit limit;
    ev_timer timer; /* runs while lines are held back, to the end of the window */
    char last[256]; /* failure */
};

void pool_log_init(struct pool_log *l, struct pool *p);
void pool_log_end(struct pool_log *l); /* what was held back is told */

/* As log_write(). The second is about a worker that failed. `l` NULL: without a limit. */
void pool_log_line(struct pool_log *l, enum log_level level, const struct log_who *who,
                   const char *fmt, ...) PRINTF_LIKE(4, 5);
void pool_log_failure(struct pool_log *l, enum log_level level, const struct log_who *who,
                      const char *fmt, ...) PRINTF_LIKE(4, 5);

#endif
