/* When a slot starts its next worker after a failed start. Pure. */
#ifndef PREFORKD_POLICY_RESTART_H
#define PREFORKD_POLICY_RESTART_H

#include <stdint.h>

/* The wait before the next start after `failures` failed starts in a row (>= 1):
 * backoff x 2^(failures-1), at most backoff_max, then +-10 % jitter. `random` is any 32 random
 * bits. Milliseconds, at least 1. */
int64_t restart_delay_ms(unsigned failures, int64_t backoff_ms, int64_t backoff_max_ms,
                         uint32_t random);

#endif
