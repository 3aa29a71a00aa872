#include "mechanism/timer.h"

void timer_arm_ms(struct ev_loop *loop, ev_timer *timer, int64_t ms)
{
    ev_now_update(loop);
    ev_timer_stop(loop, timer);
    ev_timer_set(timer, ms > 0 ? (double)ms / 1000. : 0., 0.);
    ev_timer_start(loop, timer);
}
