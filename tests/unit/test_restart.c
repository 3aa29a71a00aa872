/* The wait before the next start: its formula, its bounds, and no overflow anywhere. What the end
 * of a worker leads to. */
#include <criterion/criterion.h>
#include <errno.h>
#include <limits.h>
#include <signal.h>

#include "base/util.h"
#include "policy/restart.h"

enum { BACKOFF = 100, BACKOFF_MAX = 30000 };

/* Random bits that give the middle: no jitter. */
static uint32_t middle(int64_t delay_ms)
{
    return (uint32_t)(delay_ms / 10);
}

Test(restart, doubles_up_to_the_maximum)
{
    static const int64_t expected[] = {100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 30000};

    for (unsigned i = 0; i < ARRAY_SIZE(expected); i++)
        cr_expect_eq(restart_delay_ms(i + 1, BACKOFF, BACKOFF_MAX, middle(expected[i])),
                     expected[i], "%u failures", i + 1);
}

Test(restart, jitter_reaches_ten_percent_and_no_further)
{
    int64_t low = INT64_MAX, high = 0;

    for (uint32_t random = 0; random < 10000; random++) {
        int64_t ms = restart_delay_ms(3, BACKOFF, BACKOFF_MAX, random);

        low = ms < low ? ms : low;
        high = ms > high ? ms : high;
    }
    cr_expect_eq(low, 360);
    cr_expect_eq(high, 440);
}

Test(restart, every_value_of_the_jitter_is_equally_likely)
{
    int seen[81] = {0};

    for (uint32_t random = 0; random < 81 * 10; random++)
        seen[restart_delay_ms(3, BACKOFF, BACKOFF_MAX, random) - 360]++;
    for (size_t i = 0; i < ARRAY_SIZE(seen); i++)
        cr_expect_eq(seen[i], 10, "%zu", 360 + i);
}

Test(restart, bounds_hold_for_every_combination)
{
    static const unsigned failures[] = {0, 1, 2, 3, 31, 32, 33, 62, 63, 64, 65, INT_MAX, UINT_MAX};
    static const int64_t times[] = {
        INT64_MIN, -1,  0,        1,         2,          9,         10,
        11,        999, 86400000, INT32_MAX, UINT32_MAX, 1LL << 40, INT64_MAX - 1,
        INT64_MAX};
    static const uint32_t randoms[] = {0, 1, 2, 20, 0x7fffffff, 0x80000000, 0xfffffffe, 0xffffffff};

    for (size_t f = 0; f < ARRAY_SIZE(failures); f++)
        for (size_t b = 0; b < ARRAY_SIZE(times); b++)
            for (size_t m = 0; m < ARRAY_SIZE(times); m++)
                for (size_t r = 0; r < ARRAY_SIZE(randoms); r++) {
                    int64_t max = times[m] < 1 ? 1 : times[m];
                    int64_t ms = restart_delay_ms(failures[f], times[b], times[m], randoms[r]);

                    cr_assert_geq(ms, 1);
                    cr_assert(ms - max <= max / 10, "%lld of %lld", (long long)ms, (long long)max);
                }
}

Test(restart, never_becomes_shorter_with_more_failures)
{
    for (unsigned failures = 1; failures < 200; failures++)
        for (int64_t backoff = 1; backoff < 5000; backoff += 7) {
            int64_t now = restart_delay_ms(failures, backoff, BACKOFF_MAX, 0);

            cr_assert_leq(now, restart_delay_ms(failures + 1, backoff, BACKOFF_MAX, 0));
        }
}

Test(restart, backoff_above_the_maximum_is_cut_at_once)
{
    cr_expect_eq(restart_delay_ms(1, 90000, 1000, middle(1000)), 1000);
    cr_expect_eq(restart_delay_ms(UINT_MAX, 1, 1, UINT32_MAX), 1);
}

Test(restart, every_reason_has_a_name_of_its_own)
{
    for (int i = 0; i < RESTART_NREASONS; i++)
        for (int j = 0; j < i; j++)
            cr_expect_str_neq(restart_reason_name((enum restart_reason)i),
                              restart_reason_name((enum restart_reason)j));
}

Test(restart, ends_are_clean_as_in_systemd)
{
    static const int clean[] = {SIGHUP, SIGINT, SIGTERM, SIGPIPE};
    static const int crashes[] = {SIGSEGV, SIGABRT, SIGBUS, SIGILL, SIGFPE, SIGKILL, SIGSYS};

    cr_expect_eq(restart_end_of(true, 0), END_CLEAN);
    for (int status = 1; status < 256; status++)
        cr_expect_eq(restart_end_of(true, status), END_FAILED, "%d", status);
    for (size_t i = 0; i < ARRAY_SIZE(clean); i++)
        cr_expect_eq(restart_end_of(false, clean[i]), END_CLEAN, "%d", clean[i]);
    for (size_t i = 0; i < ARRAY_SIZE(crashes); i++)
        cr_expect_eq(restart_end_of(false, crashes[i]), END_FAILED, "%d", crashes[i]);
}

Test(restart, limits_of_the_system_pass)
{
    static const int limits[] = {EAGAIN, ENOMEM, EMFILE, ENFILE, ETXTBSY, EINTR};
    static const int faults[] = {ENOENT, EACCES, ENOEXEC, E2BIG, ELIBBAD, EPERM, 0};

    for (size_t i = 0; i < ARRAY_SIZE(limits); i++)
        cr_expect(restart_is_limit(limits[i]), "%d", limits[i]);
    for (size_t i = 0; i < ARRAY_SIZE(faults); i++)
        cr_expect_not(restart_is_limit(faults[i]), "%d", faults[i]);
}

/* Each combination: a letter for each policy (always, on-failure, never), what follows a loss
 * before and after readiness: c counts, o is over. */
Test(restart, verdicts)
{
    static const struct {
        enum restart_end end;
        const char *starting[3], *ready[3];
    } rows[] = {
        {END_CLEAN, {"c", "co", "co"}, {"", "o", "o"}},
        {END_FAILED, {"c", "c", "co"}, {"c", "c", "co"}},
        {END_KILLED, {"c", "c", "co"}, {"", "", "o"}},
        {END_LIMIT, {"", "", ""}, {"", "", ""}},
    };

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        for (int policy = RESTART_ALWAYS; policy <= RESTART_NEVER; policy++)
            for (int ready = 0; ready < 2; ready++) {
                struct restart_verdict v =
                    restart_judge((enum restart_policy)policy, rows[i].end, ready);
                const char *want = ready ? rows[i].ready[policy] : rows[i].starting[policy];

                cr_expect_eq(v.counts, strchr(want, 'c') != NULL, "%zu %d %d", i, policy, ready);
                cr_expect_eq(v.over, strchr(want, 'o') != NULL, "%zu %d %d", i, policy, ready);
            }
}
