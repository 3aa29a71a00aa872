/* Each case is a process, forked from the test, that listens by itself or does not. */
#include "mechanism/own_sockets.h"

#include <fcntl.h>

#include "../lib/process.h"
#include "../lib/sockets.h"

static const char loopback[] = "127.0.0.1:0";

static int listen_on(const char *text, uint16_t port)
{
    struct sockspec spec = spec_for(text, port);
    int fd = plain_listener(&spec, true);

    cr_assert_geq(fd, 0, "%s: %s", text, strerror(-fd));
    return fd;
}

/* Runs `act`, which returns the port of what it made, in another process, and learns that port. */
static struct foreigner start_act(uint16_t (*act)(int given), int given)
{
    struct foreigner f;
    int ends[2];

    cr_assert_eq(pipe2(ends, O_CLOEXEC), 0);
    f.pid = fork();
    if (f.pid == 0) {
        uint16_t port;

        prctl(PR_SET_PDEATHSIG, SIGKILL);
        port = act(given);
        if (write(ends[1], &port, sizeof(port)) == sizeof(port))
            for (;;)
                pause();
        _exit(1);
    }
    close(ends[1]);
    cr_assert_eq(read(ends[0], &f.port, sizeof(f.port)), sizeof(f.port));
    close(ends[0]);
    return f;
}

static void expect_found(pid_t pid, uint64_t given, int n, const char *expected)
{
    CLEANUP_BUF struct buf text = BUF_INIT;

    cr_expect_eq(own_sockets_describe(pid, &given, 1, &text), n, "not %d", n);
    cr_expect_str_eq(buf_str(&text), expected);
}

/* ---- what a worker does ---- */

static uint16_t join_the_group(int given)
{
    return port_of(listen_on(loopback, port_of(given)));
}

static uint16_t hold_only(int given)
{
    return port_of(given);
}

static uint16_t join_twice_removed(int given)
{
    struct foreigner f = start_act(join_the_group, given);

    return f.port;
}

static uint16_t join_in_grandchild(int given)
{
    struct foreigner f = start_act(join_twice_removed, given);

    return f.port;
}

static uint16_t share_among_descendants(int given)
{
    int fd = listen_on(loopback, port_of(given));

    fcntl(fd, F_DUPFD, 0);
    start_act(hold_only, fd);
    return port_of(fd);
}

static uint16_t listen_on_eight(int given)
{
    for (int i = 0; i < 8; i++)
        listen_on(loopback, port_of(given));
    return port_of(given);
}

/* A socket that is only bound, both ends of a connection, UDP and a Unix socket. */
static uint16_t listen_on_nothing(int given)
{
    struct sockspec to = spec_for(loopback, port_of(given));
    struct sockspec nowhere = spec_for("unix:@own-sockets-test", 0);
    struct sockspec bound = spec_for(loopback, 0);
    struct sockaddr_storage a;
    socklen_t len = sockspec_sockaddr(&bound, 0, &a);

    bind(socket_for(&bound), (struct sockaddr *)&a, len);
    connect_to(&to, 0);
    accept(given, NULL, NULL);
    listen_on("udp:127.0.0.1:0", 0);
    plain_listener(&nowhere, false);
    return port_of(given);
}

/* ---- what is found ---- */

static void expect_act(uint16_t (*act)(int given), int n)
{
    CLEANUP_CLOSE int given = listen_on(loopback, 0);
    struct foreigner f = start_act(act, given);
    char expected[64] = "";

    if (n > 0)
        snprintf(expected, sizeof(expected), "127.0.0.1:%d", port_of(given));
    expect_found(f.pid, inode_of(given), n, expected);
    foreigner_end(f);
}

Test(own_sockets, a_worker_that_joins_the_group)
{
    expect_act(join_the_group, 1);
}

Test(own_sockets, its_grandchild)
{
    expect_act(join_in_grandchild, 1);
}

Test(own_sockets, a_given_socket_is_none)
{
    expect_act(hold_only, 0);
}

Test(own_sockets, what_does_not_listen_is_none)
{
    expect_act(listen_on_nothing, 0);
}

Test(own_sockets, each_counts_once)
{
    expect_act(share_among_descendants, 1);
}

/* The same process, and the socket is not among the given ones. */
Test(own_sockets, only_the_given_ones_are_left_out)
{
    CLEANUP_CLOSE int given = listen_on(loopback, 0);
    struct foreigner f = start_act(hold_only, given);
    char expected[64];

    snprintf(expected, sizeof(expected), "127.0.0.1:%d", f.port);
    expect_found(f.pid, inode_of(given) + 1000000, 1, expected);
    expect_found(f.pid, 0, 1, expected);
    foreigner_end(f);
}

/* Another process of this machine listens, and is no descendant. */
Test(own_sockets, strangers_do_not_count)
{
    CLEANUP_CLOSE int given = listen_on(loopback, 0);
    struct foreigner worker = start_act(hold_only, given);
    struct foreigner stranger = start_act(join_the_group, given);

    expect_found(worker.pid, inode_of(given), 0, "");
    foreigner_end(stranger);
    foreigner_end(worker);
}

Test(own_sockets, five_are_named)
{
    CLEANUP_CLOSE int given = listen_on(loopback, 0);
    CLEANUP_BUF struct buf expected = BUF_INIT;
    struct foreigner f = start_act(listen_on_eight, given);

    for (int i = 0; i < 5; i++)
        buf_printf(&expected, "%s127.0.0.1:%d", i ? ", " : "", f.port);
    buf_puts(&expected, " and 3 more");
    expect_found(f.pid, inode_of(given), 8, buf_str(&expected));
    foreigner_end(f);
}

/* As listeners of this process, the only one that has them. */
Test(own_sockets, writes_addresses_as_the_settings_do)
{
    static const char *const texts[] = {"*:", "0.0.0.0:", "127.0.0.9:", "[::]:", "[::1]:"};

    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
        char text[32], expected[32];
        int fd;

        snprintf(text, sizeof(text), "%s0", texts[i]);
        fd = listen_on(text, 0);
        snprintf(expected, sizeof(expected), "%s%d", texts[i], port_of(fd));
        expect_found(getpid(), 0, 1, expected);
        close(fd);
    }
}

Test(own_sockets, a_mapped_address_is_an_ip4_one)
{
    struct sockspec spec = spec_for("[::1]:0", 0);
    char expected[32];
    int fd;

    memcpy(&spec.ip6, "\0\0\0\0\0\0\0\0\0\0\xff\xff\x7f\0\0\1", sizeof(spec.ip6));
    fd = plain_listener(&spec, false);
    snprintf(expected, sizeof(expected), "127.0.0.1:%d", port_of(fd));
    expect_found(getpid(), 0, 1, expected);
    close(fd);
}

/* More sockets on the machine than there is room for at first. */
Test(own_sockets, among_many)
{
    CLEANUP_CLOSE int given = listen_on(loopback, 0);
    struct foreigner f = start_act(join_the_group, given);
    char expected[64];

    snprintf(expected, sizeof(expected), "127.0.0.1:%d", f.port);
    for (int i = 0; i < 300; i++)
        listen_on(loopback, f.port);
    expect_found(f.pid, inode_of(given), 1, expected);
    foreigner_end(f);
}

/* ---- what cannot be seen ---- */

Test(own_sockets, a_process_that_is_gone)
{
    CLEANUP_CLOSE int given = listen_on(loopback, 0);
    struct foreigner f = start_act(join_the_group, given);

    foreigner_end(f);
    expect_found(f.pid, inode_of(given), -ESRCH, "");
}

Test(own_sockets, a_kernel_that_does_not_answer)
{
    forbid_family(AF_NETLINK);
    expect_found(getpid(), 0, -EAFNOSUPPORT, "");
}

static int play_stranger(void *data)
{
    CLEANUP_BUF struct buf text = BUF_INIT;

    if (!become_nobody())
        return FORBIDDEN;
    return own_sockets_describe(*(pid_t *)data, NULL, 0, &text) == -EACCES ? 0 : 1;
}

Test(own_sockets, a_kernel_that_does_not_let_us_look)
{
    CLEANUP_CLOSE int given = listen_on(loopback, 0);
    struct foreigner f = start_act(join_the_group, given);

    expect_play(play_stranger, &f.pid);
    foreigner_end(f);
}
