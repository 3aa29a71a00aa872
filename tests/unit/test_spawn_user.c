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
