#include <criterion/criterion.h>

#include "base/util.h"
#include "policy/suggest.h"

Test(suggest, counts_edits)
{
    cr_expect_eq(suggest_distance("", ""), 0);
    cr_expect_eq(suggest_distance("", "abc"), 3);
    cr_expect_eq(suggest_distance("abc", ""), 3);
    cr_expect_eq(suggest_distance("worker", "workers"), 1);
    cr_expect_eq(suggest_distance("Workers", "workers"), 0);
    cr_expect_eq(suggest_distance("kitten", "sitting"), 3);
    cr_expect_eq(suggest_distance("stop_timeout", "stop-timeout"), 1);
    cr_expect_eq(suggest_distance("ab", "ba"), 2);
}

Test(suggest, gives_up_on_what_is_no_name)
{
    char *long_name = malloc(100000);

    memset(long_name, 'a', 99999);
    long_name[99999] = '\0';
    cr_expect_gt(suggest_distance(long_name, "workers"), 2);
    cr_expect_gt(suggest_distance("workers", long_name), 2);
    free(long_name);
}

static const char *best_of(const char *typed)
{
    struct suggest s = {.typed = typed};

    suggest_offer(&s, "backlog");
    suggest_offer(&s, "workers");
    suggest_offer(&s, "worker");
    suggest_offer(&s, "env");
    return s.best;
}

Test(suggest, takes_the_nearest)
{
    cr_expect_str_eq(best_of("workerz"), "workers");
    cr_expect_str_eq(best_of("worke"), "worker");
    cr_expect_str_eq(best_of("baklog"), "backlog");
    cr_expect_null(best_of("something"));
    cr_expect_str_eq(best_of("en"), "env");
    cr_expect_null(best_of("elf"));
    cr_expect_null(best_of("wo"));
    cr_expect_null(best_of(""));
}
