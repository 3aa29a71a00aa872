/* Timers of libev, armed by the time that it is and not by that of the loop's last look. */
#ifndef PREFORKD_MECHANISM_TIMER_H
#define PREFORKD_MECHANISM_TIMER_H

#include <ev.h>

#include "base/util.h"

/* Fires once, in `ms` milliseconds (0 and less: in the next turn) and no earlier; one that runs
 * begins anew. Inside a callback ev_timer_start(3) alone counts from when the turn began, which on
 * a busy machine is too early by all that the turn took. */
void timer_arm_ms(struct ev_loop *loop, ev_timer *timer, int64_t ms);

#endif
