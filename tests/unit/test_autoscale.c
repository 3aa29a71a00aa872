/* How many workers the queues ask for, over simulated time. */
#include <criterion/criterion.h>

#include "policy/autoscale.h"

enum { STEP_MS = 100, QUEUES = 4 };

static struct autoscale a;
static int64_t now_ms = 1000000;

static void setup(void)
{
    autoscale_init(&a);
}

TestSuite(autoscale, .init = setup);

/* The steps that it asks for while `standing` queues are not empty for `ms`. */
static int sample_for(int standing, int64_t ms)
{
    int steps = 0;

    for (int64_t end = now_ms + ms; now_ms < end; now_ms += STEP_MS)
        steps += autoscale_sample(&a, QUEUES, standing, now_ms);
    return steps;
}

static int window(void)
{
    now_ms += a.window_ms;
    return autoscale_window(&a, now_ms);
}

Test(autoscale, grows_when_half_of_the_queues_stand)
{
    cr_expect_eq(sample_for(QUEUES / 2, AUTOSCALE_GROW_MS), 0);
    cr_expect_eq(sample_for(QUEUES / 2, STEP_MS), 1);
}

Test(autoscale, grows_one_at_a_time)
{
    cr_expect_eq(sample_for(QUEUES, 5 * AUTOSCALE_GROW_MS + STEP_MS), 5);
}

Test(autoscale, does_not_grow_for_fewer)
{
    cr_expect_eq(sample_for(QUEUES / 2 - 1, 100 * AUTOSCALE_GROW_MS), 0);
}

Test(autoscale, does_not_grow_without_queues)
{
    for (int i = 0; i < 1000; i++, now_ms += STEP_MS)
        cr_assert_eq(autoscale_sample(&a, 0, 0, now_ms), 0);
}

Test(autoscale, one_queue_that_all_share_is_enough)
{
    int steps = 0;

    for (int64_t t = 0; t <= AUTOSCALE_GROW_MS; t += STEP_MS, now_ms += STEP_MS)
        steps += autoscale_sample(&a, 1, 1, now_ms);
    cr_expect_eq(steps, 1);
}

/* As often empty as not: they are served. */
Test(autoscale, does_not_grow_for_queues_that_come_and_go)
{
    for (int i = 0; i < 1000; i++) {
        cr_assert_eq(sample_for(QUEUES, STEP_MS), 0);
        cr_assert_eq(sample_for(0, STEP_MS), 0);
    }
}

/* Nothing is looked at while the queues are empty. */
Test(autoscale, times_that_were_not_looked_at_do_not_add_up)
{
    for (int i = 0; i < 100; i++) {
        cr_assert_eq(sample_for(QUEUES, STEP_MS), 0);
        now_ms += 60000;
    }
}

Test(autoscale, shrinks_after_an_idle_window)
{
    cr_expect_eq(window(), -1);
    cr_expect_eq(window(), -1);
}

Test(autoscale, does_not_shrink_while_queues_stand)
{
    sample_for(1, AUTOSCALE_WINDOW_MS / 10);
    cr_expect_eq(window(), 0);
    cr_expect_eq(window(), -1, "each window counts for itself");
}

Test(autoscale, shrinks_when_hardly_anything_waits)
{
    sample_for(1, AUTOSCALE_WINDOW_MS / 100);
    cr_expect_eq(window(), -1);
}

/* The rest of the window that is under way is busy by what made the pool grow. */
Test(autoscale, a_worker_that_is_missed_makes_the_window_longer)
{
    for (int i = 0; i < 10; i++) {
        int64_t before_ms = a.window_ms;

        while (window() == 0)
            ;
        cr_assert_eq(sample_for(QUEUES, AUTOSCALE_GROW_MS + STEP_MS), 1);
        cr_expect(a.window_ms == 2 * before_ms || a.window_ms == AUTOSCALE_WINDOW_MAX_MS);
    }
    cr_expect_eq(a.window_ms, AUTOSCALE_WINDOW_MAX_MS);
}

Test(autoscale, a_worker_that_is_not_missed_makes_it_short_again)
{
    window();
    sample_for(QUEUES, AUTOSCALE_GROW_MS + STEP_MS);
    cr_expect_eq(a.window_ms, 2 * AUTOSCALE_WINDOW_MS);
    cr_expect_eq(window(), -1);
    cr_expect_eq(window(), -1);
    cr_expect_eq(a.window_ms, AUTOSCALE_WINDOW_MS);
}

Test(autoscale, a_growth_long_after_leaves_the_window_as_it_is)
{
    window();
    now_ms += 3 * AUTOSCALE_WINDOW_MS;
    cr_expect_eq(sample_for(QUEUES, AUTOSCALE_GROW_MS + STEP_MS), 1);
    cr_expect_eq(a.window_ms, AUTOSCALE_WINDOW_MS);
}
