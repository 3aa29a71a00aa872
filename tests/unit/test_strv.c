#include "base/strv.h"

#include <criterion/criterion.h>

/* The items with "|" between them. */
static const char *joined(const struct strv *v)
{
    static char text[256];

    text[0] = '\0';
    for (size_t i = 0; i < v->n; i++) {
        cr_assert_not_null(v->items[i]);
        strcat(strcat(text, i ? "|" : ""), v->items[i]);
    }
    cr_assert(v->n == 0 || v->items[v->n] == NULL);
    return text;
}

static struct strv list(const char *const *items)
{
    struct strv v = {0};

    for (; *items; items++)
        cr_assert_eq(strv_push(&v, *items), 0);
    return v;
}

#define LIST(...) list((const char *const[]){__VA_ARGS__, NULL})

Test(strv, pushes_copies)
{
    CLEANUP_STRV struct strv v = {0};
    char text[] = "one";

    cr_expect_eq(strv_push(&v, text), 0);
    text[0] = 'X';
    cr_expect_eq(strv_pushf(&v, "%s-%d", "two", 2), 0);
    cr_expect_eq(strv_push_take(&v, strdup("three")), 0);
    cr_expect_str_eq(joined(&v), "one|two-2|three");
    cr_expect_eq(strv_push(&v, v.items[0]), 0, "an item of its own");
    cr_expect_str_eq(joined(&v), "one|two-2|three|one");
}

Test(strv, taking_nothing_is_no_memory)
{
    CLEANUP_STRV struct strv v = LIST("a");

    cr_expect_eq(strv_push_take(&v, NULL), -ENOMEM);
    cr_expect_str_eq(joined(&v), "a");
}

Test(strv, free_empties)
{
    struct strv v = LIST("a", "b");

    strv_free(&v);
    cr_expect_eq(v.n, 0);
    cr_expect_null(v.items);
    strv_free(&v);
}

Test(strv, copies_are_independent)
{
    CLEANUP_STRV struct strv a = LIST("a", "b");
    CLEANUP_STRV struct strv b = {0};
    CLEANUP_STRV struct strv empty = {0};

    cr_expect_eq(strv_copy(&b, &a), 0);
    cr_expect(strv_equal(&a, &b));
    cr_expect_neq(a.items[0], b.items[0]);
    cr_expect_eq(strv_push(&b, "c"), 0);
    cr_expect_not(strv_equal(&a, &b));
    strv_free(&b);
    cr_expect_eq(strv_copy(&b, &empty), 0);
    cr_expect_eq(b.n, 0);
}

Test(strv, compares_in_order)
{
    CLEANUP_STRV struct strv ab = LIST("a", "b");
    CLEANUP_STRV struct strv ba = LIST("b", "a");
    CLEANUP_STRV struct strv empty = {0};

    cr_expect_not(strv_equal(&ab, &ba));
    cr_expect_not(strv_equal(&ab, &empty));
    cr_expect(strv_equal(&empty, &empty));
    cr_expect(strv_contains(&ab, "b"));
    cr_expect_not(strv_contains(&ab, "ab"));
    cr_expect_not(strv_contains(&empty, ""));
}

Test(strv, env_names_are_whole)
{
    CLEANUP_STRV struct strv v = LIST("PATHX=1", "PATH=2", "PAT=3", "EMPTY=", "bare");

    cr_expect_str_eq(strv_env_get(&v, "PATH"), "2");
    cr_expect_str_eq(strv_env_get(&v, "EMPTY"), "");
    cr_expect_null(strv_env_get(&v, "bare"));
    cr_expect_null(strv_env_get(&v, "P"));
    cr_expect_eq(strv_env_set(&v, "PATH", "a=b"), 0);
    cr_expect_eq(strv_env_set(&v, "NEW", ""), 0);
    cr_expect_str_eq(joined(&v), "PATHX=1|PATH=a=b|PAT=3|EMPTY=|bare|NEW=");
    cr_expect_str_eq(strv_env_get(&v, "PATH"), "a=b");
}

Test(strv, env_set_leaves_one_of_a_name)
{
    CLEANUP_STRV struct strv v = LIST("A=1", "B=1", "A=2", "A=3");

    cr_expect_eq(strv_env_set(&v, "A", "4"), 0);
    cr_expect_str_eq(joined(&v), "A=4|B=1");
}

Test(strv, env_unset_removes_every_one)
{
    CLEANUP_STRV struct strv v = LIST("A=1", "A=2", "AB=3", "A=4", "A");

    strv_env_unset(&v, "A");
    cr_expect_str_eq(joined(&v), "AB=3|A");
    strv_env_unset(&v, "none");
    cr_expect_str_eq(joined(&v), "AB=3|A");
}

Test(strv, env_unset_by_prefix)
{
    CLEANUP_STRV struct strv v = LIST("LISTEN_FDS=1", "LISTEN_PID=2", "LISTENER=3", "X_LISTEN_=4");

    strv_env_unset_prefix(&v, "LISTEN_");
    cr_expect_str_eq(joined(&v), "LISTENER=3|X_LISTEN_=4");
    strv_env_unset_prefix(&v, "");
    cr_expect_eq(v.n, 0);
    cr_expect_null(v.items[0]);
}
