#include "policy/histogram.h"

#include <criterion/criterion.h>

Test(histogram, a_bound_is_inclusive_and_buckets_add_up)
{
    struct histogram h = {0};

    histogram_add(&h, 0);
    histogram_add(&h, 10);
    histogram_add(&h, 11);
    histogram_add(&h, 60000);
    histogram_add(&h, 60001);
    histogram_add(&h, 100000000);
    cr_expect_eq(histogram_up_to(&h, 0), 2);
    cr_expect_eq(histogram_up_to(&h, 1), 3);
    cr_expect_eq(histogram_up_to(&h, HISTOGRAM_BUCKETS - 2), 3);
    cr_expect_eq(histogram_up_to(&h, HISTOGRAM_BUCKETS - 1), 4);
    cr_expect_eq(histogram_up_to(&h, HISTOGRAM_BUCKETS), 6);
    cr_expect_eq(h.sum_ms, 10 + 11 + 60000 + 60001 + 100000000);
}

Test(histogram, bounds_grow)
{
    for (int i = 1; i < HISTOGRAM_BUCKETS; i++)
        cr_expect_gt(histogram_bounds_ms[i], histogram_bounds_ms[i - 1]);
}
