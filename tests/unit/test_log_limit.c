/* How many lines pass, and what is counted of the rest. */
#include <criterion/criterion.h>

#include "policy/log_limit.h"

Test(log_limit, passes_so_many_and_counts_the_rest)
{
    struct log_limit l = {0};
    unsigned passed = 0;

    for (int i = 0; i < LOG_LIMIT_LINES + 37; i++)
        passed += log_limit_pass(&l, 1000 + i);
    cr_expect_eq(passed, LOG_LIMIT_LINES);
    cr_expect_eq(l.held, 37u);
    cr_expect_eq(log_limit_left_ms(&l, 1000 + 1000), LOG_LIMIT_WINDOW_MS - 1000);
}

Test(log_limit, a_window_ends_by_itself_where_nothing_was_held_back)
{
    struct log_limit l = {0};

    for (int i = 0; i < 100 * LOG_LIMIT_LINES; i++)
        cr_assert(log_limit_pass(&l, (int64_t)i * (LOG_LIMIT_WINDOW_MS / LOG_LIMIT_LINES + 1)));
    l.failures = 3;
    cr_expect(log_limit_pass(&l, INT64_MAX / 2));
    cr_expect_eq(l.failures, 0u);
}

/* Else its owner would lose the number. */
Test(log_limit, what_was_held_back_waits_for_its_owner)
{
    struct log_limit l = {0};

    for (int i = 0; i <= LOG_LIMIT_LINES; i++)
        log_limit_pass(&l, 1000);
    cr_expect_not(log_limit_pass(&l, 1000 + 10 * LOG_LIMIT_WINDOW_MS));
    cr_expect_eq(l.held, 2u);
    cr_expect_eq(log_limit_left_ms(&l, 1000 + 10 * LOG_LIMIT_WINDOW_MS), 1);
}

Test(log_limit, ten_minutes_of_a_flood_are_bounded)
{
    struct log_limit l = {0};
    unsigned lines = 0;

    for (int64_t now = 0; now < 600000; now += 10) {
        lines += log_limit_pass(&l, now);
        if (l.held > 0 && now - l.began_ms >= LOG_LIMIT_WINDOW_MS) { /* the owner's timer */
            lines++;
            l = (struct log_limit){0};
        }
    }
    cr_expect_leq(lines, 10u * (LOG_LIMIT_LINES + 1));
}
