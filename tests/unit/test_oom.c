/* The kernel's counter in both versions of its files, and whose kill it is. */
#include <criterion/criterion.h>

#include "policy/oom.h"

Test(oom, counter_of_both_versions)
{
    cr_expect_eq(oom_count("low 0\nhigh 4\nmax 7\noom 3\noom_kill 2\noom_group_kill 9\n"), 2);
    cr_expect_eq(oom_count("oom_kill_disable 0\nunder_oom 1\noom_kill 12\n"), 12);
    cr_expect_eq(oom_count("oom_kill 5"), 5);
}

Test(oom, what_is_no_counter)
{
    static const char *const texts[] = {
        "",           "\n",          "oom 3\n",      "oom_kill_disable 1\n", "oom_kill \n",
        "oom_kill x", "oom_kill -1", "xoom_kill 3\n"};

    for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
        cr_expect_eq(oom_count(texts[i]), -1, "%zu", i);
}

Test(oom, each_kill_has_one_victim)
{
    struct oom_ledger l = {.seen = 7};

    oom_ledger_note(&l, 7, 100000);
    cr_expect_not(oom_ledger_take(&l));
    oom_ledger_note(&l, 9, 100000);
    cr_expect(oom_ledger_take(&l));
    oom_ledger_note(&l, 9, 100500);
    cr_expect(oom_ledger_take(&l));
    cr_expect_not(oom_ledger_take(&l));
}

Test(oom, an_old_kill_of_a_stranger_is_forgotten)
{
    struct oom_ledger l = {0};

    oom_ledger_note(&l, 1, 100000);
    oom_ledger_note(&l, 1, 100000 + OOM_MEMORY_MS);
    cr_expect_not(oom_ledger_take(&l));
    oom_ledger_note(&l, 1, 200000);
    oom_ledger_note(&l, 2, 300000); /* the first one is not owed any more */
    cr_expect(oom_ledger_take(&l));
    cr_expect_not(oom_ledger_take(&l));
}

Test(oom, a_counter_that_went_back_owes_nothing)
{
    struct oom_ledger l = {.seen = 5};

    oom_ledger_note(&l, 1, 100000);
    cr_expect_not(oom_ledger_take(&l));
    oom_ledger_note(&l, 2, 100000);
    cr_expect(oom_ledger_take(&l));
}
