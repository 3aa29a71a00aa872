/* How many CPUs the text of cgroup files leaves. */
#include <criterion/criterion.h>
#include <limits.h>

#include "policy/cpus.h"

Test(cpus, version_2_quota)
{
    static const struct {
        const char *text;
        int64_t milli;
    } cases[] = {
        {"max 100000\n", 0},
        {"max", 0},
        {"100000 100000\n", 1000},
        {"150000 100000\n", 1500},
        {"150000 100000", 1500},
        {"50000 100000\n", 500},
        {"1000 1000000\n", 1},
        {"1 1000000\n", 1},        /* no quota that exists rounds to "no limit" */
        {"100001 100000\n", 1001}, /* nor does any fraction get lost */
        {"6400000 100000\n", 64000},
        {"17592186044415 1000\n", 17592186044415},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        cr_expect_eq(cpus_quota_v2(cases[i].text), cases[i].milli, "'%s'", cases[i].text);
}

Test(cpus, malformed_version_2_is_no_limit)
{
    static const char *const bad[] = {
        "",
        "\n",
        " ",
        "100000",
        "100000\n",
        "100000 ",
        "100000 0",
        "0 100000",
        "-1 100000",
        "100000 -1",
        "+1 100000",
        " 1 100000",
        "1  100000",
        "1\t100000",
        "x 100000",
        "1 x",
        "1 100000x",
        "1 100000 1",
        "1 100000\n\n",
        "0x10 100000",
        "1.5 100000",
        "1e5 100000",
        "max max",
        "Max 100000",
        "1 max",
        "9223372036854775807 1000",
        "9223372036854775808 1000",
        "99999999999999999999999 1",
        "1 99999999999999999999999",
        "\xff\xfe",
        "1,5 100000",
    };

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        cr_expect_eq(cpus_quota_v2(bad[i]), 0, "'%s'", bad[i]);
}

Test(cpus, version_1_quota)
{
    cr_expect_eq(cpus_quota_v1("-1\n", "100000\n"), 0);
    cr_expect_eq(cpus_quota_v1("150000\n", "100000\n"), 1500);
    cr_expect_eq(cpus_quota_v1("150000", "100000"), 1500);
    cr_expect_eq(cpus_quota_v1("33333\n", "100000\n"), 334);
    cr_expect_eq(cpus_quota_v1("800000\n", "100000\n"), 8000);
}

Test(cpus, malformed_version_1_is_no_limit)
{
    static const char *const bad[] = {
        "", "\n", "0", "-1", "-100000", "x", "1 1", " 1", "1x", "1\n\n", "99999999999999999999",
    };

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        cr_expect_eq(cpus_quota_v1(bad[i], "100000\n"), 0, "'%s'", bad[i]);
        cr_expect_eq(cpus_quota_v1("100000\n", bad[i]), 0, "'%s'", bad[i]);
    }
}

static const char legacy[] = "12:cpuset:/c\n"
                             "11:cpuacct,cpu:/both\n"
                             "1:name=systemd:/s\n";
static const char hybrid[] = "9:name=systemd:/\n"
                             "4:memory:/process_api/9d32\n"
                             "3:cpuset:/\n"
                             "2:cpuacct:/\n"
                             "1:cpu:/docker/cafe\n"
                             "0::/unified\n";
static const char unified[] = "0::/user.slice/a:b c.scope\n";

Test(cpus, finds_the_path_of_a_controller)
{
    static const struct {
        const char *text, *controller, *path; /* NULL: not there */
    } cases[] = {
        {legacy, "cpu", "/both"},
        {legacy, "cpuacct", "/both"},
        {legacy, "cpuset", "/c"},
        {legacy, "", NULL},
        {legacy, "systemd", NULL},
        {hybrid, "cpu", "/docker/cafe"},
        {hybrid, "", "/unified"},
        {unified, "", "/user.slice/a:b c.scope"},
        {unified, "cpu", NULL},
        {"0::/", "", "/"},
        {"0::/no-newline", "", "/no-newline"},
        {"\n\n0::/x\n", "", "/x"},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        char path[64] = "untouched";
        bool found = cpus_cgroup_path(cases[i].text, cases[i].controller, path, sizeof(path));

        cr_expect_eq(found, cases[i].path != NULL, "%zu", i);
        if (cases[i].path)
            cr_expect_str_eq(path, cases[i].path);
    }
}

Test(cpus, refuses_paths_that_are_none)
{
    static const char *const bad[] = {
        "",      "\n",   "::",    "0:",    "0",         "0::",     "0::x",
        "0::\n", ":::/", "0:cpu", "0:x:/", "0:cpu\n:/", "garbage", ":\n:/",
    };

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        char path[64];

        cr_expect_not(cpus_cgroup_path(bad[i], "", path, sizeof(path)), "%zu '%s'", i, bad[i]);
    }
}

Test(cpus, a_path_that_does_not_fit_is_not_found)
{
    char path[6];

    cr_expect(cpus_cgroup_path("0::/1234\n", "", path, sizeof(path)));
    cr_expect_str_eq(path, "/1234");
    cr_expect_not(cpus_cgroup_path("0::/12345\n", "", path, sizeof(path)));
    cr_expect_not(cpus_cgroup_path("0::/\n", "", path, 0));
}

Test(cpus, slots_in_turn)
{
    static const struct cpus none, three = {3, {1, 4, 4000}};

    cr_expect_eq(cpus_of_slot(&none, 0), -1);
    cr_expect_eq(cpus_of_slot(&three, 0), 1);
    cr_expect_eq(cpus_of_slot(&three, 2), 4000);
    cr_expect_eq(cpus_of_slot(&three, 4), 4);
}

Test(cpus, usable_is_the_lesser_rounded_up)
{
    static const struct {
        int affinity;
        int64_t quota_milli;
        int usable;
    } cases[] = {
        {8, 0, 8},    {8, 1500, 2}, {8, 1001, 2},      {8, 1000, 1}, {8, 1, 1},
        {8, 8000, 8}, {8, 7001, 8}, {8, 64000, 8},     {1, 1500, 1}, {0, 0, 1},
        {-1, 0, 1},   {0, 5000, 1}, {8, INT64_MAX, 8}, {8, -1, 8},   {INT_MAX, 0, INT_MAX},
        {4, 2000, 2}, {4, 2001, 3}, {4, 1999, 2},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        cr_expect_eq(cpus_usable(cases[i].affinity, cases[i].quota_milli), cases[i].usable, "%zu",
                     i);
}
