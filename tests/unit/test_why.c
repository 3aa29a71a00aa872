#include "base/why.h"

#include <criterion/criterion.h>

Test(why, gives_the_error_back)
{
    struct why why;

    cr_expect_eq(why_fail(&why, -EINVAL, "bad %s %d", "thing", 3), -EINVAL);
    cr_expect_str_eq(why.text, "bad thing 3");
    cr_expect_eq(why_fail_errno(&why, -ENOENT, "%s", "/some/path"), -ENOENT);
    cr_expect_str_eq(why.text, "/some/path: No such file or directory");
}

Test(why, prefixes_stack)
{
    struct why why;

    why_fail(&why, -EINVAL, "inner");
    cr_expect_eq(why_prefix(&why, -EINVAL, "middle %d", 2), -EINVAL);
    cr_expect_eq(why_prefix(&why, -EIO, "outer"), -EIO);
    cr_expect_str_eq(why.text, "outer: middle 2: inner");
}

Test(why, may_be_absent)
{
    cr_expect_eq(why_fail(NULL, -EINVAL, "x"), -EINVAL);
    cr_expect_eq(why_fail_errno(NULL, -EIO, "x"), -EIO);
    cr_expect_eq(why_prefix(NULL, -EPERM, "x"), -EPERM);
}

Test(why, too_long_is_cut)
{
    /* On the heap and of the exact size: a byte too many is for the address sanitizer. */
    CLEANUP_FREE struct why *why = malloc(sizeof(*why));
    char text[2000];

    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    why_fail(why, -EINVAL, "%s", text);
    cr_expect_eq(strlen(why->text), sizeof(why->text) - 1);
    why_prefix(why, -EINVAL, "short");
    cr_expect_eq(strlen(why->text), sizeof(why->text) - 1);
    cr_expect_eq(strncmp(why->text, "short: xxx", 10), 0);
    why_prefix(why, -EINVAL, "%s", text);
    cr_expect_eq(strlen(why->text), sizeof(why->text) - 1);
    why_fail_errno(why, -EINVAL, "%.*s", (int)sizeof(why->text) - 3, text);
    cr_expect_str_eq(why->text + sizeof(why->text) - 3, ": ");
    why_fail_errno(why, -EINVAL, "%s", text);
    cr_expect_eq(why->text[sizeof(why->text) - 2], 'x');
}
