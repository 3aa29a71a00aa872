#include "base/clock.h"

#include <criterion/criterion.h>
#include <time.h>

static int64_t now_us;

static int64_t test_source(void)
{
    return now_us;
}

Test(clock, is_the_monotonic_one)
{
    struct timespec before, after;
    int64_t us;

    clock_gettime(CLOCK_MONOTONIC, &before);
    us = clock_us();
    clock_gettime(CLOCK_MONOTONIC, &after);
    cr_expect_geq(us, before.tv_sec * 1000000LL + before.tv_nsec / 1000);
    cr_expect_leq(us, after.tv_sec * 1000000LL + after.tv_nsec / 1000);
    cr_expect_leq(us / 1000, clock_ms());
}

Test(clock, wall_time_is_the_real_one)
{
    time_t before = time(NULL);
    int64_t ms = clock_wall_ms();

    /* time(2) may be behind by a tick. */
    cr_expect_geq(ms, before * 1000LL);
    cr_expect_leq(ms, (time(NULL) + 2) * 1000LL);
}

Test(clock, wall_time_as_text)
{
    char text[CLOCK_WALL_TEXT];

    cr_expect_str_eq(clock_wall_text(0, text), "1970-01-01T00:00:00.000Z");
    cr_expect_str_eq(clock_wall_text(951782400007, text), "2000-02-29T00:00:00.007Z");
    cr_expect_str_eq(clock_wall_text(4102444799999, text), "2099-12-31T23:59:59.999Z");
}

Test(clock, takes_another_source_and_gives_it_back)
{
    int64_t wall;

    clock_set_source(test_source);
    now_us = 1234567;
    wall = clock_wall_ms();
    cr_expect_eq(clock_us(), 1234567);
    cr_expect_eq(clock_ms(), 1234);
    cr_expect_gt(wall, 1000000000000, "the wall clock is not replaced");
    clock_set_source(NULL);
    cr_expect_neq(clock_us(), 1234567);
}
