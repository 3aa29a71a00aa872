#include "policy/loop_lag.h"

#include <criterion/criterion.h>

enum { SECOND = 1000000 };

Test(loop_lag, the_longest_turn_is_kept_for_one_to_two_minutes)
{
    struct loop_lag lag = {0};

    cr_expect_eq(loop_lag_us(&lag, 5 * SECOND), 0);
    loop_lag_add(&lag, 10 * SECOND, 300);
    loop_lag_add(&lag, 11 * SECOND, 200);
    cr_expect_eq(loop_lag_us(&lag, 12 * SECOND), 300);
    cr_expect_eq(loop_lag_us(&lag, 119 * SECOND), 300);
    cr_expect_eq(loop_lag_us(&lag, 120 * SECOND), 0);
    loop_lag_add(&lag, 70 * SECOND, 100);
    cr_expect_eq(loop_lag_us(&lag, 71 * SECOND), 300);
    cr_expect_eq(loop_lag_us(&lag, 130 * SECOND), 100);
}

Test(loop_lag, after_an_idle_time_the_past_is_forgotten)
{
    struct loop_lag lag = {0};

    loop_lag_add(&lag, 10 * SECOND, 300);
    loop_lag_add(&lag, INT64_C(3600) * SECOND, 7);
    cr_expect_eq(loop_lag_us(&lag, INT64_C(3601) * SECOND), 7);
}
