/* Which worker is too big or too old, and when to look again. */
#include <criterion/criterion.h>

#include "base/util.h"
#include "policy/ageing.h"

#define MB (INT64_C(1) << 20)

static const struct ageing_limits both = {.max_memory = 100 * MB, .max_lifetime_ms = 100000};
static const struct ageing_limits none = {.max_memory = INT64_MIN, .max_lifetime_ms = INT64_MIN};

static int choose(const struct ageing_limits *limits, const struct ageing_sample *s, size_t n,
                  enum restart_reason expected)
{
    enum restart_reason reason = RESTART_EXIT;
    int chosen = ageing_choose(limits, s, n, &reason);

    cr_expect_eq(reason, expected, "%s", restart_reason_name(reason));
    return chosen;
}

Test(ageing, nothing_is_due_without_limits)
{
    const struct ageing_sample s = {.memory = INT64_MAX, .age_ms = INT64_MAX / 2};

    cr_expect_eq(choose(&none, &s, 1, RESTART_NONE), -1);
    cr_expect_eq(ageing_next_look_ms(&none, &s, 1), -1);
    cr_expect_eq(choose(&both, NULL, 0, RESTART_NONE), -1);
    cr_expect_eq(ageing_next_look_ms(&both, NULL, 0), -1);
}

Test(ageing, the_limit_itself_is_allowed)
{
    struct ageing_sample s = {.memory = 100 * MB};

    cr_expect_eq(choose(&both, &s, 1, RESTART_NONE), -1);
    s.memory++;
    cr_expect_eq(choose(&both, &s, 1, RESTART_MEMORY), 0);
}

Test(ageing, the_biggest_before_the_oldest)
{
    const struct ageing_sample s[] = {
        {.memory = 1 * MB, .age_ms = 200000}, {.memory = 101 * MB, .age_ms = 1},
        {.memory = 300 * MB, .age_ms = 2},    {.memory = 1 * MB, .age_ms = 300000},
        {.memory = 200 * MB, .age_ms = 3},
    };

    cr_expect_eq(choose(&both, s, ARRAY_SIZE(s), RESTART_MEMORY), 2);
    cr_expect_eq(choose(&both, s, 2, RESTART_MEMORY), 1);
    cr_expect_eq(choose(&both, s, 1, RESTART_LIFETIME), 0);
    cr_expect_eq(choose(&both, s + 3, 1, RESTART_LIFETIME), 0);
    cr_expect_eq(choose(&(struct ageing_limits){.max_lifetime_ms = 100000}, s, ARRAY_SIZE(s),
                        RESTART_LIFETIME),
                 3);
}

Test(ageing, lifetimes_differ_by_ten_percent)
{
    int64_t low = INT64_MAX, high = 0;

    for (uint32_t random = 0; random < 40000; random++) {
        int64_t ms = ageing_lifetime_ms(100000, random);

        low = ms < low ? ms : low;
        high = ms > high ? ms : high;
    }
    cr_expect_eq(low, 90000);
    cr_expect_eq(high, 110000);
    cr_expect_eq(ageing_lifetime_ms(1, UINT32_MAX), 1);
    cr_expect_leq(ageing_lifetime_ms(31536000000, UINT32_MAX), 34689600000);
}

Test(ageing, the_end_of_a_life_is_met_exactly)
{
    for (uint32_t random = 0; random < 30000; random += 1000) {
        struct ageing_sample s = {.random = random};

        s.age_ms = ageing_lifetime_ms(100000, random) - 1;
        cr_expect_eq(choose(&both, &s, 1, RESTART_NONE), -1);
        cr_expect_eq(ageing_next_look_ms(&both, &s, 1), 1);
        s.age_ms++;
        cr_expect_eq(choose(&both, &s, 1, RESTART_LIFETIME), 0);
    }
}

Test(ageing, looks_are_closer_near_the_limit_and_while_something_waits)
{
    const struct ageing_limits memory = {.max_memory = 100 * MB};
    const struct ageing_limits lifetime = {.max_lifetime_ms = 100000};
    const struct ageing_sample far = {.memory = 80 * MB}, near = {.memory = 81 * MB};
    const struct ageing_sample young = {.age_ms = 1000, .random = 10000}, old = {.age_ms = 200000};

    cr_expect_eq(ageing_next_look_ms(&memory, &far, 1), 5000);
    cr_expect_eq(ageing_next_look_ms(&memory, &near, 1), 1000);
    cr_expect_eq(ageing_next_look_ms(&lifetime, &near, 1), 90000);
    cr_expect_eq(ageing_next_look_ms(&lifetime, &young, 1), 99000);
    cr_expect_eq(ageing_next_look_ms(&lifetime, &old, 1), 1000);
    cr_expect_eq(ageing_next_look_ms(&both, &young, 1), 5000);
}

Test(ageing, a_worker_that_is_too_big_at_once_is_told_from_one_that_grew)
{
    const struct ageing_sample young = {.age_ms = 9999}, grown = {.age_ms = 10000};

    cr_expect(ageing_is_premature(RESTART_MEMORY, &young));
    cr_expect_not(ageing_is_premature(RESTART_MEMORY, &grown));
    cr_expect_not(ageing_is_premature(RESTART_LIFETIME, &young));
}
