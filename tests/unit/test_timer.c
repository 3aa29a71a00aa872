#include "mechanism/timer.h"

#include <criterion/criterion.h>
#include <unistd.h>

#include "base/clock.h"

static int64_t fired_ms;

static void on_timer(struct ev_loop *loop UNUSED, ev_timer *timer UNUSED, int events UNUSED)
{
    fired_ms = clock_ms();
}

/* Runs the loop until the timer has fired: how long that was after `began_ms`. */
static int64_t run(struct ev_loop *loop, int64_t began_ms)
{
    fired_ms = 0;
    ev_run(loop, 0);
    return fired_ms - began_ms;
}

Test(timer, fires_no_earlier_though_the_loop_looked_at_the_clock_long_ago)
{
    struct ev_loop *loop = ev_loop_new(EVFLAG_AUTO);
    int64_t began_ms;
    ev_timer timer;

    ev_init(&timer, on_timer);
    usleep(50000);
    began_ms = clock_ms();
    timer_arm_ms(loop, &timer, 40);
    cr_expect_geq(run(loop, began_ms), 39);
    ev_loop_destroy(loop);
}

Test(timer, one_that_runs_begins_anew)
{
    struct ev_loop *loop = ev_loop_new(EVFLAG_AUTO);
    int64_t began_ms = clock_ms();
    ev_timer timer;

    ev_init(&timer, on_timer);
    timer_arm_ms(loop, &timer, 1);
    timer_arm_ms(loop, &timer, 40);
    cr_expect_geq(run(loop, began_ms), 39);
    ev_loop_destroy(loop);
}

Test(timer, what_is_past_fires_in_the_next_turn)
{
    struct ev_loop *loop = ev_loop_new(EVFLAG_AUTO);
    ev_timer timer;

    ev_init(&timer, on_timer);
    timer_arm_ms(loop, &timer, INT64_MIN);
    cr_expect(ev_is_active(&timer));
    fired_ms = 0;
    ev_run(loop, EVRUN_ONCE);
    cr_expect_gt(fired_ms, 0);
    cr_expect_not(ev_is_active(&timer));
    ev_loop_destroy(loop);
}
