/* Where the control socket is. */
#include <criterion/criterion.h>

#include "ctl/socket_path.h"

static void expect_path(struct socket_hints hints, const char *path)
{
    CLEANUP_BUF struct buf out = BUF_INIT;

    cr_expect_eq(socket_path(&hints, &out), 0);
    cr_expect_str_eq(buf_str(&out), path);
}

Test(socket_path, the_first_that_is_set_wins)
{
    expect_path((struct socket_hints){"/a", "/b", "/c", true}, "/a");
    expect_path((struct socket_hints){NULL, "/b", "/c", true}, "/b");
    expect_path((struct socket_hints){"", "", "/c", true}, "/run/preforkd/control.sock");
    expect_path((struct socket_hints){NULL, NULL, "/c", false}, "/c/preforkd/control.sock");
}

Test(socket_path, nothing_is_guessed)
{
    CLEANUP_BUF struct buf out = BUF_INIT;
    struct socket_hints nothing = {0}, empty = {.runtime_dir = "run"};

    cr_expect_eq(socket_path(&nothing, &out), -ENOENT);
    cr_expect_eq(socket_path(&empty, &out), -ENOENT);
    cr_expect_eq(out.len, 0);
}
