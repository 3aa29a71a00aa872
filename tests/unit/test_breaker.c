/* The circuit breaker: what opens it, what closes it, and what a crash loop comes to with it. */
#include <criterion/criterion.h>

#include "policy/breaker.h"
#include "policy/restart.h"
#include "policy/slot_fsm.h"

enum { FAILURES = 5, WINDOW_MS = 60000, COOLDOWN_MS = 30000 };

static void fail_at(struct breaker *b, int64_t now_ms)
{
    breaker_fail(b, FAILURES, WINDOW_MS, now_ms);
}

Test(breaker, opens_with_the_last_failure_and_not_before)
{
    struct breaker b = {0};

    for (int i = 1; i < FAILURES; i++) {
        fail_at(&b, i);
        cr_expect_eq(b.state, BREAKER_CLOSED, "failure %d", i);
    }
    fail_at(&b, FAILURES);
    cr_expect_eq(b.state, BREAKER_OPEN);
}

Test(breaker, the_window_slides)
{
    struct breaker b = {0}, at_edge = {0};

    /* one failure every 15 s: no more than four in any minute */
    for (int64_t now = 0; now < 100 * WINDOW_MS; now += WINDOW_MS / 4) {
        fail_at(&b, now);
        cr_assert_eq(b.state, BREAKER_CLOSED, "at %lld", (long long)now);
    }
    for (int i = 0; i < FAILURES - 1; i++)
        fail_at(&at_edge, 0);
    fail_at(&at_edge, WINDOW_MS);
    cr_expect_eq(at_edge.state, BREAKER_CLOSED);
    fail_at(&at_edge, WINDOW_MS);
    for (int i = 0; i < FAILURES - 2; i++)
        fail_at(&at_edge, 2 * WINDOW_MS - 1);
    cr_expect_eq(at_edge.state, BREAKER_OPEN);
}

Test(breaker, every_limit_is_exact)
{
    for (int limit = 1; limit <= BREAKER_FAILURES_MAX; limit++) {
        struct breaker b = {0};

        for (int64_t old = 0; old < 3 * limit; old++) /* too old to count, but they fill the ring */
            breaker_fail(&b, BREAKER_FAILURES_MAX, 1, old * 10);
        for (int i = 1; i <= limit; i++) {
            cr_assert(limit == 1 || b.state == BREAKER_CLOSED, "%d of %d", i, limit);
            breaker_fail(&b, limit, WINDOW_MS, 10 * WINDOW_MS);
        }
        cr_assert_eq(b.state, BREAKER_OPEN, "%d", limit);
    }
}

Test(breaker, never_opens_without_a_limit)
{
    struct breaker b = {0};

    for (int i = 0; i < 1000; i++)
        breaker_fail(&b, 0, WINDOW_MS, 0);
    cr_expect_eq(b.state, BREAKER_CLOSED);
    cr_expect_eq(b.count, 0);
}

Test(breaker, one_failure_of_the_trial_opens_it_again)
{
    struct breaker b = {.state = BREAKER_OPEN};

    breaker_try(&b);
    cr_expect_eq(b.state, BREAKER_HALF_OPEN);
    fail_at(&b, 10 * WINDOW_MS);
    cr_expect_eq(b.state, BREAKER_OPEN);
}

Test(breaker, a_stable_trial_closes_it_and_clears_the_past)
{
    struct breaker b = {0};

    for (int i = 0; i < FAILURES; i++)
        fail_at(&b, 0);
    breaker_try(&b);
    breaker_prove(&b);
    cr_expect_eq(b.state, BREAKER_CLOSED);
    for (int i = 1; i < FAILURES; i++)
        fail_at(&b, 1);
    cr_expect_eq(b.state, BREAKER_CLOSED);
}

/* A worker that is stable for five seconds each time crashes too often all the same. */
Test(breaker, stable_runs_do_not_make_up_for_crashes)
{
    struct breaker b = {0};
    int crashes = 0;

    for (int64_t now = 0; b.state == BREAKER_CLOSED; now += 5000) {
        breaker_prove(&b);
        fail_at(&b, now);
        crashes++;
    }
    cr_expect_eq(crashes, FAILURES);
}

Test(breaker, trying_and_proving_change_nothing_where_they_do_not_belong)
{
    struct breaker b = {0};

    breaker_try(&b);
    cr_expect_eq(b.state, BREAKER_CLOSED);
    b.state = BREAKER_HALF_OPEN;
    breaker_try(&b);
    cr_expect_eq(b.state, BREAKER_HALF_OPEN);
}

Test(breaker, survives_the_overflow_of_its_counter)
{
    struct breaker b = {0};

    for (int64_t i = 0; i < 100000; i++) {
        breaker_fail(&b, BREAKER_FAILURES_MAX, BREAKER_FAILURES_MAX, i * 2);
        cr_assert_eq(b.state, BREAKER_CLOSED);
    }
    for (int64_t i = 0; i < BREAKER_FAILURES_MAX; i++)
        breaker_fail(&b, BREAKER_FAILURES_MAX, BREAKER_FAILURES_MAX, 300000 + i);
    cr_expect_eq(b.state, BREAKER_OPEN);
}

Test(breaker, states_have_names)
{
    cr_expect_str_eq(breaker_state_name(BREAKER_CLOSED), "closed");
    cr_expect_str_eq(breaker_state_name(BREAKER_OPEN), "open");
    cr_expect_str_eq(breaker_state_name(BREAKER_HALF_OPEN), "half-open");
}

/* Ten minutes of a slot in simulated time, by the policies that slot.c asks: the table, the
 * breaker, the wait between starts. Its worker ends `life_ms` after each start. */
struct loop {
    struct breaker breaker;
    enum slot_state state;
    unsigned failures, starts, opened, tried;
    int64_t now_ms, timer_ms, crash_ms, life_ms, ready_ms;
};

static void take(struct loop *l, enum slot_event event)
{
    struct slot_cell c;

    if (event == EVENT_GONE) {
        breaker_fail(&l->breaker, FAILURES, WINDOW_MS, l->now_ms);
        l->crash_ms = INT64_MAX;
        if (l->breaker.state == BREAKER_OPEN)
            event = EVENT_TRIP;
    }
    c = slot_fsm_step(l->state, event);
    cr_assert(c.valid, "%s on %s", slot_fsm_state_name(l->state), slot_fsm_event_name(event));
    l->state = c.next;
    if (c.actions & ACT_DISARM)
        l->timer_ms = INT64_MAX;
    if (c.actions & ACT_COUNT_FAILURE)
        l->failures++;
    if (c.actions & ACT_RESET_FAILURES) {
        l->failures = 0;
        breaker_prove(&l->breaker);
    }
    if (c.actions & ACT_TRY) {
        breaker_try(&l->breaker);
        l->tried++;
    }
    if (c.actions & ACT_ARM_PROVE)
        l->timer_ms = l->now_ms + 1000;
    if (c.actions & ACT_ARM_BACKOFF) /* without jitter */
        l->timer_ms = l->now_ms + restart_delay_ms(l->failures, 100, 30000, 0) * 10 / 9;
    if (c.actions & ACT_ARM_COOLDOWN) {
        l->timer_ms = l->now_ms + COOLDOWN_MS;
        l->opened++;
    }
    if (c.actions & ACT_SPAWN) {
        l->starts++;
        l->crash_ms = l->now_ms + l->life_ms;
        l->ready_ms = l->now_ms + 100;
    }
}

static struct loop run(int64_t life_ms, int64_t until_ms)
{
    struct loop l = {
        .crash_ms = INT64_MAX, .timer_ms = INT64_MAX, .ready_ms = INT64_MAX, .life_ms = life_ms};

    take(&l, EVENT_START);
    for (; l.now_ms < until_ms; l.now_ms++)
        if (l.now_ms >= l.crash_ms) {
            take(&l, EVENT_GONE);
        } else if (l.state == SLOT_STARTING && l.now_ms >= l.ready_ms) {
            take(&l, EVENT_READY);
        } else if (l.now_ms >= l.timer_ms) {
            l.timer_ms = INT64_MAX;
            take(&l, EVENT_TIMEOUT);
        }
    return l;
}

/* Five starts within 100 + 200 + 400 + 800 ms, and from then on one in each cooldown. */
Test(breaker, ten_minutes_of_a_worker_that_always_crashes)
{
    struct loop l = run(10, 600000);

    cr_expect_eq(l.starts, 5 + (600000 - 1550) / (COOLDOWN_MS + 10), "%u starts", l.starts);
    cr_expect_eq(l.tried, l.starts - 5);
    cr_expect_eq(l.opened, l.tried + 1);
}

/* Stable each time: five runs of 5 s, then a cooldown in which nothing runs; again and again. */
Test(breaker, ten_minutes_of_a_worker_that_crashes_every_five_seconds)
{
    struct loop l = run(5000, 600000);

    cr_expect_geq(l.starts, 50u);
    cr_expect_leq(l.starts, 60u, "%u starts", l.starts);
    cr_expect_geq(l.opened, 10u);
    cr_expect_leq(l.opened, 11u, "%u", l.opened);
}
