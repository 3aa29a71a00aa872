#include "mechanism/sockdiag.h"

#include <arpa/inet.h>

#include "../lib/sockets.h"

#define MAPPED "[::ffff:127.0.0.1]:0"

/* Who is found by `ours` when one socket is bound to `theirs`. The rival column is also checked
 * against the kernel: who gets a connection to each address? */
static const struct {
    const char *ours, *theirs;
    bool overlaps, rival;
} pairs[] = {
    {"127.0.0.1:0", "127.0.0.1:0", true, true},
    {"127.0.0.1:0", "127.0.0.2:0", false, false},
    {"127.0.0.1:0", "0.0.0.0:0", true, false},
    {"127.0.0.1:0", "*:0", true, false},
    {"127.0.0.1:0", "[::]:0", false, false},
    {"127.0.0.1:0", MAPPED, true, false},
    {"127.0.0.1:0", "udp:127.0.0.1:0", false, false},
    {"0.0.0.0:0", "0.0.0.0:0", true, true},
    {"0.0.0.0:0", "127.0.0.1:0", true, false},
    {"0.0.0.0:0", "*:0", true, false},
    {"0.0.0.0:0", "[::]:0", false, false},
    {"[::1]:0", "[::1]:0", true, true},
    {"[::1]:0", "[::]:0", true, false},
    {"[::1]:0", "*:0", true, false},
    {"[::1]:0", "127.0.0.1:0", false, false},
    {"[::]:0", "[::]:0", true, true},
    {"[::]:0", "*:0", true, true},
    {"[::]:0", "[::1]:0", true, false},
    {"[::]:0", "0.0.0.0:0", false, false},
    {"[::]:0", MAPPED, false, false},
    {"*:0", "*:0", true, true},
    {"*:0", "0.0.0.0:0", true, true},
    {"*:0", "[::]:0", true, true},
    {"*:0", "127.0.0.1:0", true, false},
    {"*:0", "[::1]:0", true, false},
    {"udp:127.0.0.1:0", "udp:127.0.0.1:0", true, true},
    {"udp:127.0.0.1:0", "udp:0.0.0.0:0", true, false},
    {"udp:127.0.0.1:0", "127.0.0.1:0", false, false},
    {"udp:*:0", "udp:0.0.0.0:0", true, true},
    {"udp:0.0.0.0:0", "udp:*:0", true, false},
};

/* A program may also bind an AF_INET6 socket to an IPv4 address, which our settings do not know. */
static struct sockspec their_spec(const char *text)
{
    struct sockspec spec;

    if (!streq(text, MAPPED))
        return spec_for(text, 0);
    spec = spec_for("[::1]:0", 0);
    cr_assert_eq(inet_pton(AF_INET6, "::ffff:127.0.0.1", &spec.ip6), 1);
    return spec;
}

/* A port that nobody on this machine has at any address: else a stranger would be found too. */
static uint16_t free_port(bool udp)
{
    struct sockspec everywhere = spec_for(udp ? "udp:*:0" : "*:0", 0);
    CLEANUP_CLOSE int fd = plain_listener(&everywhere, false);

    cr_assert_geq(fd, 0, "%s", strerror(-fd));
    return port_of(fd);
}

/* Their socket, at such a port of our protocol. */
static int listen_alone(struct sockspec *theirs, struct sockspec *ours)
{
    int fd = -EADDRINUSE;

    for (int i = 0; i < 20 && fd == -EADDRINUSE; i++) {
        theirs->port = ours->port = free_port(ours->udp);
        fd = plain_listener(theirs, true);
    }
    cr_assert_geq(fd, 0, "%s", strerror(-fd));
    return fd;
}

Test(sockdiag, tells_overlap_from_rivalry)
{
    for (size_t i = 0; i < ARRAY_SIZE(pairs); i++) {
        struct sockspec theirs = their_spec(pairs[i].theirs), ours = spec_for(pairs[i].ours, 0);
        CLEANUP_CLOSE int fd = listen_alone(&theirs, &ours);
        uint64_t inode = 0;

        cr_assert_eq(sockdiag_listeners(&ours, SOCKDIAG_OVERLAPS, &inode, 1), pairs[i].overlaps,
                     "%s over %s", pairs[i].ours, pairs[i].theirs);
        cr_assert_eq(inode, pairs[i].overlaps ? inode_of(fd) : 0);
        cr_assert_eq(sockdiag_listeners(&ours, SOCKDIAG_RIVALS, &inode, 1), pairs[i].rival,
                     "%s against %s", pairs[i].ours, pairs[i].theirs);
    }
}

static bool is_wildcard(const struct sockspec *spec)
{
    return spec->kind == SOCKSPEC_DUAL ||
           (spec->kind == SOCKSPEC_IP4 && spec->ip4.s_addr == INADDR_ANY) ||
           (spec->kind == SOCKSPEC_IP6 && IN6_IS_ADDR_UNSPECIFIED(&spec->ip6));
}

static void connect_once(const struct sockspec *to, uint16_t port)
{
    int fd = connect_to(to, port);

    cr_assert_geq(fd, 0, "%s", strerror(-fd));
    close(fd);
}

/* Connections to what `ours` asks for. A specific address of theirs inside our wildcard is theirs,
 * so that others are used then. */
static void connect_everywhere(const struct sockspec *ours, const char *theirs)
{
    struct sockspec to4 = spec_for(streq(theirs, "127.0.0.1:0") ? "127.0.0.9:0" : "127.0.0.1:0", 0);
    struct sockspec to6 = spec_for("[::1]:0", 0);
    bool wildcard = is_wildcard(ours);

    for (int i = 0; i < 40; i++) {
        if (!wildcard)
            connect_once(ours, 0);
        if (wildcard && ours->kind != SOCKSPEC_IP6)
            connect_once(&to4, ours->port);
        if (wildcard && ours->kind != SOCKSPEC_IP4 && !streq(theirs, "[::1]:0"))
            connect_once(&to6, ours->port);
    }
}

/* One port for both. */
static void listen_at_both(struct sockspec *first, struct sockspec *second, int fds[2])
{
    fds[1] = -EADDRINUSE;
    for (int i = 0; i < 20 && fds[1] == -EADDRINUSE; i++) {
        util_close_p(&fds[0]);
        fds[0] = nonblocking(listen_alone(first, second));
        fds[1] = plain_listener(second, true);
    }
    nonblocking(fds[1]);
}

/* How many connections of ours the other socket gets. */
static int connections_lost(const char *ours_text, const char *theirs_text, bool ours_first)
{
    struct sockspec ours = spec_for(ours_text, 0), theirs = their_spec(theirs_text);
    int fds[2] = {-1, -1}, lost;

    listen_at_both(ours_first ? &ours : &theirs, ours_first ? &theirs : &ours, fds);
    connect_everywhere(&ours, theirs_text);
    lost = accept_all(fds[ours_first]);
    close(fds[0]);
    close(fds[1]);
    return lost;
}

Test(sockdiag, kernel_agrees_on_who_is_a_rival)
{
    for (size_t i = 0; i < ARRAY_SIZE(pairs); i++) {
        int lost;

        if (str_after(pairs[i].ours, "udp:") || str_after(pairs[i].theirs, "udp:"))
            continue;
        lost = connections_lost(pairs[i].ours, pairs[i].theirs, true) +
               connections_lost(pairs[i].ours, pairs[i].theirs, false);
        cr_expect_eq(lost > 0, pairs[i].rival, "%s lost %d to %s", pairs[i].ours, lost,
                     pairs[i].theirs);
    }
}

Test(sockdiag, counts_all_and_stores_what_fits)
{
    struct sockspec spec = spec_for("127.0.0.1:0", 0);
    uint64_t inodes[3] = {0, 0, 77};
    int fds[5];

    for (int i = 0; i < 5; i++) {
        fds[i] = plain_listener(&spec, true);
        spec.port = port_of(fds[0]);
    }
    cr_assert_eq(sockdiag_listeners(&spec, SOCKDIAG_RIVALS, inodes, 2), 5);
    cr_assert_neq(inodes[0], inodes[1]);
    cr_assert_eq(inodes[2], 77);
    for (int i = 0; i < 5; i++)
        close(fds[i]);
    cr_assert_eq(sockdiag_listeners(&spec, SOCKDIAG_RIVALS, inodes, 2), 0);
}

/* More than fits into one datagram of the answer. */
Test(sockdiag, reads_a_long_answer)
{
    enum { MANY = 600 };
    struct sockspec spec = spec_for("127.0.0.1:0", 0);
    static uint64_t inodes[MANY];
    int before = count_descriptors();
    int fds[MANY];

    for (int i = 0; i < MANY; i++) {
        fds[i] = plain_listener(&spec, true);
        cr_assert_geq(fds[i], 0);
        spec.port = port_of(fds[0]);
    }
    cr_assert_eq(sockdiag_listeners(&spec, SOCKDIAG_OVERLAPS, inodes, MANY), MANY);
    for (int i = 0; i < MANY; i++) {
        cr_assert_neq(inodes[i], 0);
        close(fds[i]);
    }
    cr_assert_eq(count_descriptors(), before);
}

Test(sockdiag, connections_do_not_count)
{
    struct sockspec spec = spec_for("127.0.0.1:0", 0);
    CLEANUP_CLOSE int listener = plain_listener(&spec, false);
    CLEANUP_CLOSE int client = -1, server = -1;
    uint64_t inode;

    spec.port = port_of(listener);
    client = connect_to(&spec, 0);
    server = accept(listener, NULL, NULL);
    cr_assert_eq(sockdiag_listeners(&spec, SOCKDIAG_OVERLAPS, &inode, 1), 1);
    cr_assert_eq(inode, inode_of(listener));
}

Test(sockdiag, says_when_it_may_not_ask)
{
    struct sockspec spec = spec_for("127.0.0.1:0", 1);
    uint64_t inode;

    forbid_family(AF_NETLINK);
    cr_assert_eq(sockdiag_listeners(&spec, SOCKDIAG_RIVALS, &inode, 1), -EAFNOSUPPORT);
}

static void expect_owners(const uint64_t *inodes, int n, const char *expected)
{
    CLEANUP_BUF struct buf text = BUF_INIT;

    sockdiag_describe_owners(inodes, n, &text);
    cr_assert_str_eq(buf_str(&text), expected);
}

Test(sockdiag, names_the_owners)
{
    struct foreigner f = foreigner_start(spec_for("127.0.0.1:0", 0), 2, true);
    struct sockspec spec = spec_for("127.0.0.1:0", f.port);
    uint64_t inodes[4];
    char expected[64];

    cr_assert_eq(sockdiag_listeners(&spec, SOCKDIAG_RIVALS, inodes, 4), 2);
    snprintf(expected, sizeof(expected), "pid %d (foreigner)", (int)f.pid);
    expect_owners(inodes, 2, expected);
    foreigner_end(f);
    expect_owners(inodes, 2, "unknown processes");
    expect_owners(inodes, 0, "unknown processes");
}

/* Eight processes hold one socket: five are named, the others counted. */
Test(sockdiag, counts_many_owners)
{
    struct sockspec spec = spec_for("127.0.0.1:0", 0);
    CLEANUP_CLOSE int fd = plain_listener(&spec, false);
    CLEANUP_BUF struct buf text = BUF_INIT;
    uint64_t inode = inode_of(fd);
    pid_t pids[7];

    prctl(PR_SET_NAME, "evil\n\x1b[31m");
    for (size_t i = 0; i < ARRAY_SIZE(pids); i++) {
        pids[i] = fork();
        if (pids[i] == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            for (;;)
                pause();
        }
    }
    sockdiag_describe_owners(&inode, 1, &text);
    for (size_t i = 0; i < ARRAY_SIZE(pids); i++) {
        kill(pids[i], SIGKILL);
        waitpid(pids[i], NULL, 0);
    }
    cr_assert_not_null(strstr(buf_str(&text), " and 3 more"), "%s", buf_str(&text));
    cr_assert_null(strchr(buf_str(&text), '\x1b'));
    cr_assert_null(strchr(buf_str(&text), '\n'));
}
