#include <criterion/criterion.h>

#include "mechanism/spawn.h"

Test(spawn_user, lookup)
{
    struct spawn_user u;
    struct why why;

    cr_assert_eq(spawn_user_lookup(NULL, NULL, &u, &why), 0);
    cr_expect_not(u.set);

    cr_assert_eq(spawn_user_lookup("root", NULL, &u, &why), 0);
    cr_expect(u.set && u.uid == 0 && u.gid == 0 && u.ngroups >= 1);
    cr_expect_str_eq(u.name, "root");
    cr_expect_str_eq(u.home, "/root");
    spawn_user_free(&u);

    cr_assert_eq(spawn_user_lookup("0", "daemon", &u, &why), 0);
    cr_expect(u.uid == 0 && u.gid == 1);
    cr_expect_str_eq(u.name, "root");
    spawn_user_free(&u);

    cr_assert_eq(spawn_user_lookup("54321", "12345", &u, &why), 0);
    cr_expect(u.uid == 54321 && u.gid == 12345 && u.ngroups == 1 && u.groups[0] == 12345);
    cr_expect_null(u.name);
    spawn_user_free(&u);

    cr_assert_eq(spawn_user_lookup(NULL, "daemon", &u, &why), 0);
    cr_expect(u.set && u.uid == geteuid() && u.gid == 1 && u.ngroups == 1 && !u.name);
    spawn_user_free(&u);
}

Test(spawn_user, failures)
{
    const char *cases[][3] = {
        {"no-such-user", NULL, "no-such-user"},
        {"root", "no-such-group", "no-such-group"},
        {"54321", NULL, "54321"},
        {"4294967295", NULL, "4294967295"}, /* (uid_t)-1 */
        {"99999999999999999999", "0", "99999999999999999999"},
        {"root", "4294967295", "4294967295"},
        {"", NULL, "''"},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct spawn_user u;
        struct why why = {""};

        cr_expect_eq(spawn_user_lookup(cases[i][0], cases[i][1], &u, &why), -ENOENT, "%zu", i);
        cr_expect(strstr(why.text, cases[i][2]), "%s", why.text);
        cr_expect_not(u.set);
    }
}

/* ---- handing it over ---- */

static struct spawn_user hand_over(const struct spawn_user *u)
{
    json_t *saved = spawn_user_save(u);
    struct spawn_user out;

    cr_assert_eq(spawn_user_resume(saved, &out), 0);
    json_decref(saved);
    return out;
}

Test(spawn_user, is_handed_over)
{
    struct spawn_user u, next;

    cr_assert_eq(spawn_user_lookup("root", "daemon", &u, NULL), 0);
    next = hand_over(&u);
    cr_expect(next.set);
    cr_expect_eq(next.uid, u.uid);
    cr_expect_eq(next.gid, u.gid);
    cr_assert_eq(next.ngroups, u.ngroups);
    cr_expect_arr_eq(next.groups, u.groups, u.ngroups * sizeof(*u.groups));
    cr_expect_str_eq(next.name, u.name);
    cr_expect_str_eq(next.home, u.home);
    cr_expect_str_eq(next.shell, u.shell);
    spawn_user_free(&next);
    spawn_user_free(&u);
}

Test(spawn_user, without_an_entry_or_not_set_is_handed_over)
{
    struct spawn_user u, next;

    cr_assert_eq(spawn_user_lookup("54321", "12345", &u, NULL), 0);
    next = hand_over(&u);
    cr_expect_eq(next.uid, 54321);
    cr_expect_null(next.name);
    spawn_user_free(&next);
    spawn_user_free(&u);
    next = hand_over(&(struct spawn_user){0});
    cr_expect_not(next.set);
}

/* What cannot be told must not become the master's own user. */
Test(spawn_user, state_without_sense)
{
    static const char *const states[] = {
        "{}",
        "{\"set\": true}",
        "{\"set\": true, \"uid\": 1}",
        "{\"set\": true, \"uid\": \"1\", \"gid\": 1}",
        "{\"set\": true, \"uid\": -1, \"gid\": 1}",
        "{\"set\": true, \"uid\": 4294967295, \"gid\": 1}",
        "{\"set\": true, \"uid\": 1, \"gid\": 4294967295}",
        "{\"set\": true, \"uid\": 1, \"gid\": 1, \"groups\": [1, -1]}",
    };
    struct spawn_user u;

    for (size_t i = 0; i < ARRAY_SIZE(states); i++) {
        json_t *saved = json_loads(states[i], 0, NULL);

        cr_assert_not_null(saved);
        cr_expect_eq(spawn_user_resume(saved, &u), -EINVAL, "%s", states[i]);
        cr_expect_not(u.set);
        json_decref(saved);
    }
    cr_expect_eq(spawn_user_resume(NULL, &u), -EINVAL);
}
