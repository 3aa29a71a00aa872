/* When a worker counts as hung, over simulated time: no clock, no socket. */
#include <criterion/criterion.h>

#include "policy/hang.h"

enum { STEP_MS = 100, TIMEOUT_MS = 10000 };

static struct hang h;
static int64_t now_ms = 1000000;

static const struct hang_sample empty = {0};
static const struct hang_sample stands = {.waiting = true};
static const struct hang_sample masked = {.waiting = true, .certain = true};
static const struct hang_sample moves = {.waiting = true, .taken = true};

/* Looks at the same sample until `ms` have passed since the first look; the last verdict. */
static enum hang_verdict look_for(const struct hang_sample *s, int64_t ms)
{
    enum hang_verdict verdict = hang_look(&h, s, TIMEOUT_MS, now_ms);

    for (int64_t end = now_ms + ms; now_ms < end;) {
        now_ms += STEP_MS;
        verdict = hang_look(&h, s, TIMEOUT_MS, now_ms);
    }
    return verdict;
}

Test(hang, an_empty_queue_is_never_suspect)
{
    cr_expect_eq(look_for(&empty, 10 * TIMEOUT_MS), HANG_NONE);
}

Test(hang, a_queue_that_moves_is_never_suspect)
{
    cr_expect_eq(look_for(&moves, 10 * TIMEOUT_MS), HANG_NONE);
}

Test(hang, is_suspect_after_a_second)
{
    cr_expect_eq(look_for(&stands, HANG_SUSPECT_MS - STEP_MS), HANG_NONE);
    now_ms += STEP_MS;
    cr_expect_eq(hang_look(&h, &stands, TIMEOUT_MS, now_ms), HANG_SUSPECT);
}

/* One may be taken and one added between two looks: the length proves nothing. */
Test(hang, without_certainty_stays_suspect_for_ever)
{
    cr_expect_eq(look_for(&stands, 100 * TIMEOUT_MS), HANG_SUSPECT);
}

Test(hang, is_hung_when_it_is_certain)
{
    cr_expect_eq(look_for(&stands, HANG_SUSPECT_MS), HANG_SUSPECT);
    cr_expect_eq(look_for(&masked, HANG_PROOF_MS - STEP_MS), HANG_SUSPECT);
    cr_expect_eq(look_for(&masked, STEP_MS), HANG_HUNG);
}

Test(hang, is_killed_at_the_timeout)
{
    look_for(&stands, HANG_SUSPECT_MS);
    cr_expect_eq(look_for(&masked, TIMEOUT_MS - HANG_SUSPECT_MS - STEP_MS), HANG_HUNG);
    cr_expect_eq(look_for(&masked, STEP_MS), HANG_KILL);
}

Test(hang, a_timeout_of_0_never_kills)
{
    for (int i = 0; i < 10000; i++, now_ms += STEP_MS)
        cr_expect_neq(hang_look(&h, &masked, 0, now_ms), HANG_KILL);
    cr_expect_eq(hang_look(&h, &masked, 0, now_ms), HANG_HUNG);
}

/* It may have to wait for a mask; then certainty comes late, but the time counts. */
Test(hang, certainty_that_comes_late_kills_after_the_proof)
{
    cr_expect_eq(look_for(&stands, 5 * TIMEOUT_MS), HANG_SUSPECT);
    cr_expect_eq(look_for(&masked, HANG_PROOF_MS - STEP_MS), HANG_SUSPECT);
    cr_expect_eq(look_for(&masked, STEP_MS), HANG_KILL);
}

Test(hang, certainty_that_is_lost_begins_anew)
{
    look_for(&stands, 5 * TIMEOUT_MS);
    look_for(&masked, HANG_PROOF_MS - STEP_MS);
    cr_expect_eq(look_for(&stands, 0), HANG_SUSPECT);
    cr_expect_eq(look_for(&masked, HANG_PROOF_MS - STEP_MS), HANG_SUSPECT);
    cr_expect_eq(look_for(&masked, STEP_MS), HANG_KILL);
}

Test(hang, one_that_is_taken_begins_anew)
{
    const struct hang_sample *progress[] = {&moves, &empty};

    for (int i = 0; i < 2; i++) {
        look_for(&stands, HANG_SUSPECT_MS);
        look_for(&masked, TIMEOUT_MS - HANG_SUSPECT_MS - STEP_MS);
        cr_expect_eq(look_for(progress[i], 0), HANG_NONE);
        cr_expect_eq(look_for(&masked, HANG_SUSPECT_MS - STEP_MS), HANG_NONE);
        cr_expect_eq(look_for(&masked, TIMEOUT_MS - HANG_SUSPECT_MS), HANG_HUNG);
        cr_expect_eq(look_for(&masked, STEP_MS), HANG_KILL);
    }
}

/* Whatever the pattern of suspicion and masks: who takes one in each timeout is never killed. */
Test(hang, a_slow_worker_is_never_killed)
{
    for (int every = STEP_MS; every < TIMEOUT_MS; every += STEP_MS) {
        bool mask = false;

        for (int64_t t = 0; t < 20 * TIMEOUT_MS; t += STEP_MS, now_ms += STEP_MS) {
            struct hang_sample s = {.waiting = true, .certain = mask, .taken = t % every == 0};
            enum hang_verdict verdict;

            /* what comes in hides what was taken, unless it is masked */
            s.taken = s.taken && mask;
            verdict = hang_look(&h, &s, TIMEOUT_MS, now_ms);
            cr_assert_neq(verdict, HANG_KILL, "takes one every %d ms", every);
            mask = verdict != HANG_NONE;
        }
        h = (struct hang){0};
    }
}

Test(hang, a_time_not_watched_does_not_count)
{
    look_for(&stands, HANG_SUSPECT_MS);
    look_for(&masked, TIMEOUT_MS / 2);
    now_ms += 100 * TIMEOUT_MS;
    hang_forgive(&h, 100 * TIMEOUT_MS, TIMEOUT_MS, now_ms);
    cr_expect_eq(look_for(&masked, HANG_PROOF_MS), HANG_HUNG);
    cr_expect_eq(look_for(&masked, TIMEOUT_MS / 2 - HANG_SUSPECT_MS - HANG_PROOF_MS - STEP_MS),
                 HANG_HUNG);
    cr_expect_eq(look_for(&masked, STEP_MS), HANG_KILL);
}

Test(hang, a_kill_keeps_off_after_a_time_not_watched)
{
    look_for(&stands, HANG_SUSPECT_MS);
    look_for(&masked, TIMEOUT_MS - HANG_SUSPECT_MS - STEP_MS);
    now_ms += 500;
    hang_forgive(&h, 500, TIMEOUT_MS, now_ms);
    cr_expect_neq(look_for(&masked, HANG_GRACE_MS - STEP_MS), HANG_KILL);
    cr_expect_eq(look_for(&masked, STEP_MS), HANG_KILL);
}

/* A machine that is always late: the time it was looked at adds up only. */
Test(hang, a_starved_machine_kills_nobody_early)
{
    int64_t began_ms = now_ms;

    for (int i = 0; i < 1000; i++) {
        now_ms += 5000;
        hang_forgive(&h, 4900, TIMEOUT_MS, now_ms);
        cr_assert_neq(hang_look(&h, &masked, TIMEOUT_MS, now_ms), HANG_KILL, "after %lld ms",
                      (long long)(now_ms - began_ms));
    }
}

Test(hang, forgiving_an_idle_one_changes_nothing)
{
    hang_forgive(&h, 5000, TIMEOUT_MS, now_ms);
    cr_expect_eq(look_for(&empty, 0), HANG_NONE);
    cr_expect_eq(look_for(&stands, HANG_SUSPECT_MS - STEP_MS), HANG_NONE);
}

Test(hang, never_masks_more_than_half)
{
    for (int serving = 0; serving < 100; serving++) {
        int n = 0;

        while (hang_may_mask(serving, n))
            n++;
        cr_expect_eq(n, serving / 2, "%d of %d", n, serving);
    }
}
