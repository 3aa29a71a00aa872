/* The longest turn of an event loop in the last one to two minutes: how long something that
 * happened may have waited for the loop. Pure, and without a timer of its own: it is fed by turns
 * that happen anyway, and an idle loop has nothing to be late for. */
#ifndef PREFORKD_POLICY_LOOP_LAG_H
#define PREFORKD_POLICY_LOOP_LAG_H

#include <stdint.h>

struct loop_lag {
    int64_t minute;            /* the one that `now_us` is of */
    int64_t now_us, before_us; /* longest turn of that minute and of the one before */
};

/* A turn that lasted `took_us` ended at `at_us`, monotonic. */
void loop_lag_add(struct loop_lag *lag, int64_t at_us, int64_t took_us);

int64_t loop_lag_us(const struct loop_lag *lag, int64_t at_us);

#endif
