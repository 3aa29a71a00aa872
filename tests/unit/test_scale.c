#include "interface/scale.h"

#include "status_fixture.h"

Test(scale, numbers_absolute_and_relative)
{
    static const struct {
        const char *text;
        int result, n;
    } cases[] = {
        {"4", 0, 4},
        {"+1", 0, 6},
        {"-2", 0, 3},
        {"-9", 0, -4},
        {"4096", 0, 4096},
        {"+0", 0, 5},
        {"", -EINVAL, 0},
        {"x", -EINVAL, 0},
        {"4x", -EINVAL, 0},
        {" 4", -EINVAL, 0},
        {"+", -EINVAL, 0},
        {"--1", -EINVAL, 0},
        {"4\n", -EINVAL, 0},
        {"4097", -ERANGE, 0},
        {"-4097", -ERANGE, 0},
        {"99999999999999999999", -ERANGE, 0},
        {"-9223372036854775808", -ERANGE, 0},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct why why = {0};
        int n = 0;

        cr_expect_eq(scale_parse(cases[i].text, 5, &n, &why), cases[i].result, "%s", cases[i].text);
        if (cases[i].result == 0)
            cr_expect_eq(n, cases[i].n, "%s: %d", cases[i].text, n);
        else
            cr_expect(why.text[0]);
    }
}

Test(scale, not_while_something_else_is_under_way)
{
    struct status_fixture f;
    struct why why;

    status_fixture_make(&f);
    cr_expect_eq(scale_check(&f.status, &f.pool, 1, &why), 0);
    cr_expect_eq(scale_check(&f.status, &f.pool, 4096, &why), 0);
    cr_expect_eq(scale_check(&f.status, &f.pool, 0, &why), -ERANGE);
    cr_expect_eq(scale_check(&f.status, &f.pool, 4097, &why), -ERANGE);
    f.restart.pool = &f.pool;
    cr_expect_eq(scale_check(&f.status, &f.pool, 1, &why), -EBUSY);
    cr_expect_str_eq(why.text, "a restart is running");
    f.reload.result = RELOAD_RUNNING;
    cr_expect_eq(scale_check(&f.status, &f.pool, 1, &why), -EBUSY);
    cr_expect_str_eq(why.text, "a reload is running");
    f.status.phase = PHASE_DRAINING;
    cr_expect_eq(scale_check(&f.status, &f.pool, 1, &why), -EBUSY);
    cr_expect_str_eq(why.text, "the master is stopping");
}
