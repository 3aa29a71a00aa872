/* The circuit breaker of a slot. Closed: failures are counted. So many within the window open it:
 * no start for the cooldown. Then one trial start is let through, half-open: its failure opens the
 * breaker again, a stable run closes it. Pure: times are given, in monotonic milliseconds. */
#ifndef PREFORKD_POLICY_BREAKER_H
#define PREFORKD_POLICY_BREAKER_H

#include "base/util.h"

#define BREAKER_FAILURES_MAX 100 /* what `breaker-failures` takes */

enum breaker_state { BREAKER_CLOSED, BREAKER_OPEN, BREAKER_HALF_OPEN, BREAKER_NSTATES };

/* All zero is closed and without a past. */
struct breaker {
    enum breaker_state state;
    unsigned count;                          /* failures noted so far */
    int64_t failed_ms[BREAKER_FAILURES_MAX]; /* the last of them, as a ring */
};

/* A failure: opens the breaker when it is half-open, or the `failures`th one in less than
 * `window_ms`. 0 failures: never. */
void breaker_fail(struct breaker *b, int64_t failures, int64_t window_ms, int64_t now_ms);

void breaker_try(struct breaker *b);   /* one start is let through an open breaker */
void breaker_prove(struct breaker *b); /* a stable run, or an order from above: closes it */

const char *breaker_state_name(enum breaker_state state);

#endif
