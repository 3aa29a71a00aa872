/* Who was late: the other, or we. */
#include <criterion/criterion.h>

#include "policy/deadline.h"

static struct deadline of_a_second(void)
{
    struct deadline d = {.put_off = true};

    deadline_set(&d, 1000, 5000);
    return d;
}

Test(deadline, passes_in_time)
{
    struct deadline d = of_a_second();

    cr_expect_eq(deadline_left_ms(&d, 5000), 1000);
    cr_expect_eq(deadline_left_ms(&d, 5999), 1);
    cr_expect_not(deadline_passed(&d, 5999));
    cr_expect(deadline_passed(&d, 6000));
    cr_expect_eq(deadline_left_ms(&d, 6000), 0);
    cr_expect_eq(deadline_left_ms(&d, 9000), 0);
}

Test(deadline, is_put_off_by_what_was_missed)
{
    struct deadline d = of_a_second();

    cr_expect_not(deadline_passed(&d, 6200));
    cr_expect_eq(deadline_left_ms(&d, 6200), 200);
    cr_expect_not(deadline_passed(&d, 6399));
    cr_expect(deadline_passed(&d, 6400));
}

Test(deadline, is_put_off_once)
{
    struct deadline d = of_a_second();

    cr_expect_not(deadline_passed(&d, 6200));
    cr_expect(deadline_passed(&d, 9000));
    deadline_set(&d, 1000, 9000);
    cr_expect_not(deadline_passed(&d, 10200), "a new one may be put off again");
}

/* A machine that slept for a day. */
Test(deadline, is_put_off_by_its_own_length_at_most)
{
    struct deadline d = of_a_second();

    cr_expect_not(deadline_passed(&d, 86400000));
    cr_expect_eq(deadline_left_ms(&d, 86400000), 1000);
    cr_expect(deadline_passed(&d, 86401000));
}

Test(deadline, without_length_is_never_put_off)
{
    struct deadline d;

    deadline_set(&d, 0, 5000);
    cr_expect(deadline_passed(&d, 5000));
    deadline_set(&d, 0, 5000);
    cr_expect(deadline_passed(&d, 7000));
}
