/* Why a slot starts another worker, and when it does so after a failed start. Pure. */
#ifndef PREFORKD_POLICY_RESTART_H
#define PREFORKD_POLICY_RESTART_H

#include <stdbool.h>
#include <stdint.h>

/* The wait before the next start after `failures` failed starts in a row (>= 1):
 * backoff x 2^(failures-1), at most backoff_max, then +-10 % jitter. `random` is any 32 random
 * bits. Milliseconds, at least 1. */
int64_t restart_delay_ms(unsigned failures, int64_t backoff_ms, int64_t backoff_max_ms,
                         uint32_t random);

/* What a worker ended of or is replaced for, in the words of log, status and metrics. */
enum restart_reason {
    RESTART_NONE, /* the first start, or not known yet */
    RESTART_EXIT, /* it ended by itself, with any exit status */
    RESTART_SIGNAL,
    RESTART_HANG, /* it no longer accepted connections */
    RESTART_WATCHDOG,
    RESTART_START_TIMEOUT,
    RESTART_MEMORY,   /* over max-memory */
    RESTART_LIFETIME, /* over max-lifetime */
    RESTART_RELOAD,
    RESTART_MANUAL,
    RESTART_NREASONS
};

const char *restart_reason_name(enum restart_reason reason);
enum restart_reason restart_reason_named(const char *name); /* NULL, unknown: NONE */

#endif
