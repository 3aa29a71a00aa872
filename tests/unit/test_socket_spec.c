#include "mechanism/socket_spec.h"

#include <fcntl.h>

#include "../lib/sockets.h"

/* The text of what a socket is bound to, without its port where the kernel chose that. */
static void expect_bound(int fd, const char *expected)
{
    CLEANUP_BUF struct buf text = BUF_INIT;
    struct sockspec spec;

    cr_assert_geq(fd, 0, "%s", expected);
    cr_assert_eq(socket_spec(fd, &spec), 0, "%s", expected);
    if (spec.port)
        cr_expect_eq(spec.port, port_of(fd));
    spec.port = 0;
    sockspec_format(&spec, 0, &text);
    cr_expect_str_eq(buf_str(&text), expected);
    close(fd);
}

static int bound_to(const char *text)
{
    struct sockspec spec = spec_for(text, 0);

    return plain_listener(&spec, false);
}

Test(socket_spec, says_what_was_asked_for)
{
    static const char *const texts[] = {"*:0",        "0.0.0.0:0",       "127.0.0.1:0",
                                        "[::]:0",     "[::1]:0",         "udp:*:0",
                                        "udp:[::]:0", "udp:127.0.0.1:0", "unix:@a-name"};

    for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
        expect_bound(bound_to(texts[i]), texts[i]);
}

Test(socket_spec, knows_the_port)
{
    CLEANUP_CLOSE int fd = bound_to("[::1]:0");
    struct sockspec spec;

    cr_assert_eq(socket_spec(fd, &spec), 0);
    cr_expect_neq(spec.port, 0);
    cr_expect_eq(spec.port, port_of(fd));
}

Test(socket_spec, a_mapped_address_is_an_ip4_one)
{
    struct sockspec spec = spec_for("[::1]:0", 0);

    memcpy(&spec.ip6, "\0\0\0\0\0\0\0\0\0\0\xff\xff\x7f\0\0\1", sizeof(spec.ip6));
    expect_bound(plain_listener(&spec, false), "127.0.0.1:0");
}

/* As long as a path can be: the kernel then gives it back without a NUL at its end. */
Test(socket_spec, unix_paths)
{
    char folder[] = "/tmp/socket-spec-XXXXXX", longest[120] = "unix:";
    struct sockspec spec;
    int fd;

    cr_assert_not_null(mkdtemp(folder));
    memset(longest + 5, 'x', sizeof(spec.path) - 1);
    memcpy(longest + 5, folder, strlen(folder));
    longest[5 + strlen(folder)] = '/';
    fd = bound_to(longest);
    expect_bound(fd, longest);
    unlink(longest + 5);
    rmdir(folder);
}

Test(socket_spec, sockets_that_are_not_bound)
{
    expect_bound(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "0.0.0.0:0");
    expect_bound(socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0), "*:0");
    expect_bound(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), "unix:");
}

Test(socket_spec, refuses_what_it_has_no_words_for)
{
    CLEANUP_CLOSE int file = open("/dev/null", O_RDONLY | O_CLOEXEC);
    CLEANUP_CLOSE int netlink = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, 0);
    struct sockspec spec;

    cr_expect_eq(socket_spec(file, &spec), -ENOTSOCK);
    cr_expect_eq(socket_spec(netlink, &spec), -EAFNOSUPPORT);
    cr_expect_eq(socket_spec(-1, &spec), -EBADF);
}

Test(socket_spec, numbers_of_options)
{
    CLEANUP_CLOSE int fd = bound_to("127.0.0.1:0");
    CLEANUP_CLOSE int file = open("/dev/null", O_RDONLY | O_CLOEXEC);

    cr_expect_eq(socket_number(fd, SOL_SOCKET, SO_TYPE), SOCK_STREAM);
    cr_expect_eq(socket_number(fd, SOL_SOCKET, SO_ACCEPTCONN), 1);
    cr_expect_eq(socket_number(fd, IPPROTO_IPV6, IPV6_V6ONLY), -EOPNOTSUPP);
    cr_expect_eq(socket_number(file, SOL_SOCKET, SO_TYPE), -ENOTSOCK);
}
