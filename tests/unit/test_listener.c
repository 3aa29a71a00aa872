#include "mechanism/listener.h"

#include <net/if.h>
#include <sys/resource.h>

#include "../lib/listeners.h"
#include "../lib/process.h"

TestSuite(listener, .init = listener_setup, .fini = listener_teardown);

/* ---- opening ---- */

Test(listener, gives_every_slot_a_socket_on_one_port)
{
    static const char *const texts[] = {"127.0.0.1:0", "[::1]:0", "*:0", "udp:127.0.0.1:0"};

    for (size_t k = 0; k < ARRAY_SIZE(texts); k++) {
        struct listener *l = open_text(texts[k], 8, &per_worker);

        cr_assert_gt(listener_port(l), 0);
        cr_assert_eq(listener_spec(l)->port, 0);
        for (int i = 0; i < 8; i++) {
            int fd = listener_fd(l, i);
            struct stat st;

            cr_assert_eq(port_of(fd), listener_port(l));
            cr_assert_eq(fcntl(fd, F_GETFD), FD_CLOEXEC);
            cr_assert_eq(fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
            cr_assert_eq(number(fd, SOL_SOCKET, SO_REUSEPORT), 1);
            cr_assert_eq(number(fd, SOL_SOCKET, SO_REUSEADDR), !listener_is_udp(l));
            cr_assert_eq(fstat(fd, &st), 0);
            cr_assert_eq(listener_inode(l, i), st.st_ino);
            cr_assert(i == 0 || listener_inode(l, i) != listener_inode(l, i - 1));
            cr_assert(listener_is_udp(l) || backlog_of(fd) == BACKLOG);
        }
        cr_assert_eq(listener_fd(l, 8), -1);
        cr_assert_eq(listener_fd(l, -1), -1);
        cr_assert_eq(listener_inode(l, 8), 0);
        listener_unref(l);
    }
}

Test(listener, describes_itself)
{
    struct sockspec spec = spec_for("127.0.0.1:0,name=web", 0);
    struct listener *l = open_spec(spec, 1, &per_worker);
    char address[64];

    snprintf(address, sizeof(address), "127.0.0.1:%d", listener_port(l));
    cr_assert_str_eq(listener_address(l), address);
    cr_assert_str_eq(listener_name(l), "web");
    cr_assert_not(listener_is_shared(l));
    cr_assert_not(listener_is_udp(l));
    cr_assert_not(listener_is_unix(l));
    cr_assert(sockspec_same_address(listener_spec(l), &spec));
    listener_unref(l);
}

static void expect_spread(const char *text, const char *to_text)
{
    struct listener *l = open_text(text, SLOTS, &per_worker);
    struct sockspec to = spec_for(to_text, 0);
    int clients[CLIENTS], sum = 0;

    for (int i = 0; i < CLIENTS; i++) {
        clients[i] = connect_to(&to, listener_port(l));
        cr_assert_geq(clients[i], 0);
    }
    for (int i = 0; i < SLOTS; i++) {
        int n = accept_all(nonblocking(listener_fd(l, i)));

        cr_assert_gt(n, 0, "slot %d of %s got nothing", i, text);
        sum += n;
    }
    cr_assert_eq(sum, CLIENTS);
    for (int i = 0; i < CLIENTS; i++)
        close(clients[i]);
    listener_unref(l);
}

Test(listener, spreads_connections_over_the_slots)
{
    expect_spread("127.0.0.1:0", "127.0.0.1:0");
    expect_spread("[::1]:0", "[::1]:0");
    expect_spread("*:0", "127.0.0.1:0");
    expect_spread("*:0", "[::1]:0");
}

Test(listener, spreads_datagrams_over_the_slots)
{
    struct listener *l = open_text("udp:127.0.0.1:0", SLOTS, &per_worker);
    struct sockspec to = spec_for("udp:127.0.0.1:0", 0);
    int sum = 0;

    for (int i = 0; i < CLIENTS; i++) {
        CLEANUP_CLOSE int client = connect_to(&to, listener_port(l));

        cr_assert_eq(send(client, "x", 1, 0), 1);
    }
    for (int i = 0; i < SLOTS; i++) {
        char byte;
        int n = 0;

        while (recv(listener_fd(l, i), &byte, 1, MSG_DONTWAIT) == 1)
            n++;
        cr_assert_gt(n, 0);
        sum += n;
    }
    cr_assert_eq(sum, CLIENTS);
    listener_unref(l);
}

Test(listener, keeps_the_families_apart)
{
    struct listener *dual = open_text("*:0", 2, &per_worker);
    struct listener *six = open_text("[::]:0", 2, &per_worker);
    struct listener *four = open_text("0.0.0.0:0", 2, &per_worker);

    cr_assert(serves(dual, "127.0.0.1:0") && serves(dual, "[::1]:0"));
    cr_assert(!serves(six, "127.0.0.1:0") && serves(six, "[::1]:0"));
    cr_assert(serves(four, "127.0.0.1:0") && !serves(four, "[::1]:0"));
    listener_unref(dual);
    listener_unref(six);
    listener_unref(four);
}

Test(listener, dual_falls_back_to_ip4)
{
    struct listener *l;
    char address[64];

    forbid_family(AF_INET6);
    l = open_text("*:0", 2, &per_worker);
    cr_assert(serves(l, "127.0.0.1:0"));
    cr_assert_eq(listener_spec(l)->kind, SOCKSPEC_DUAL); /* what a reload compares with */
    snprintf(address, sizeof(address), "0.0.0.0:%d", listener_port(l));
    cr_assert_str_eq(listener_address(l), address);
    cr_assert_eq(listener_grow(l, 3, &why), 0, "%s", why.text);
    cr_assert_eq(port_of(listener_fd(l, 2)), listener_port(l));
    listener_unref(l);
    expect_refused(spec_for("[::1]:0", 0), &per_worker, -EAFNOSUPPORT, "cannot make a socket");
}

Test(listener, a_shared_one_has_one_socket_that_nobody_joins)
{
    static const char *const texts[] = {"127.0.0.1:0", "*:0", "udp:127.0.0.1:0"};

    for (size_t k = 0; k < ARRAY_SIZE(texts); k++) {
        struct listener *l = open_text(texts[k], SLOTS, &shared);
        struct sockspec again = spec_for(texts[k], listener_port(l));

        cr_assert(listener_is_shared(l));
        cr_assert_eq(listener_fd(l, 0), listener_fd(l, SLOTS - 1));
        cr_assert_eq(number(listener_fd(l, 0), SOL_SOCKET, SO_REUSEPORT), 0);
        cr_assert_eq(plain_listener(&again, true), -EADDRINUSE);
        cr_assert(listener_is_udp(l) ? receives(l, texts[k]) : serves(l, "127.0.0.1:0"));
        listener_unref(l);
    }
}

Test(listener, warns_of_a_capped_backlog_once)
{
    const struct listener_options huge = {.backlog = 1 << 30};
    CLEANUP_BUF struct buf path = BUF_INIT, text = BUF_INIT;
    struct log_config config = {.level = LOG_LEVEL_INFO};
    struct listener *l;
    const char *first;

    buf_printf(&path, "%s/log", folder);
    config.file = buf_str(&path);
    cr_assert_eq(log_configure(&config), 0);
    listener_unref(open_text("udp:127.0.0.1:0", 1, &huge));
    listener_unref(open_text("127.0.0.1:0", 1, &per_worker));
    l = open_text("127.0.0.1:0", SLOTS, &huge);
    cr_assert_eq(listener_restore(l, 0), 0);
    log_close();
    cr_assert_eq(sys_read_file(config.file, 4096, &text), 0);
    first = strstr(buf_str(&text), "somaxconn");
    cr_assert_not_null(first);
    cr_assert_null(strstr(first + 1, "somaxconn"));
    cr_assert_not_null(strstr(buf_str(&text), listener_address(l)));
    listener_unref(l);
    unlink(config.file);
}

/* ---- addresses that cannot be had ---- */

Test(listener, names_who_has_the_address)
{
    static const char *const texts[][2] = {
        {"127.0.0.1:0", "127.0.0.1:0"}, {"0.0.0.0:0", "127.0.0.1:0"},
        {"*:0", "127.0.0.1:0"},         {"127.0.0.1:0", "*:0"},
        {"[::1]:0", "[::1]:0"},         {"udp:127.0.0.1:0", "udp:127.0.0.1:0"},
    };

    for (size_t k = 0; k < ARRAY_SIZE(texts); k++) {
        struct foreigner f = foreigner_start(spec_for(texts[k][0], 0), 1, false);
        char reason[96];

        snprintf(reason, sizeof(reason), "already in use by pid %d (foreigner)", (int)f.pid);
        expect_refused(spec_for(texts[k][1], f.port), &per_worker, -EADDRINUSE, reason);
        expect_refused(spec_for(texts[k][1], f.port), &shared, -EADDRINUSE, reason);
        foreigner_end(f);
        listener_unref(open_spec(spec_for(texts[k][1], f.port), 2, &per_worker));
    }
}

/* The workers of a dead master: the kernel would let us into their group. */
Test(listener, finds_orphans_that_would_share)
{
    static const char *const texts[][2] = {
        {"127.0.0.1:0", "127.0.0.1:0"},
        {"[::1]:0", "[::1]:0"},
        {"*:0", "*:0"},
        {"0.0.0.0:0", "*:0"},
        {"udp:127.0.0.1:0", "udp:127.0.0.1:0"},
    };

    for (size_t k = 0; k < ARRAY_SIZE(texts); k++) {
        struct foreigner f = foreigner_start(spec_for(texts[k][0], 0), 4, true);
        char reason[160];

        snprintf(reason, sizeof(reason),
                 "is shared by 4 sockets of other processes that would take part of the "
                 "connections: pid %d (foreigner); end them first",
                 (int)f.pid);
        expect_refused(spec_for(texts[k][1], f.port), &per_worker, -EADDRINUSE, reason);
        foreigner_end(f);
        listener_unref(open_spec(spec_for(texts[k][1], f.port), 2, &per_worker));
    }
}

Test(listener, tolerates_neighbours_that_do_not_share)
{
    static const char *const texts[][2] = {
        {"*:0", "127.0.0.1:0"}, {"0.0.0.0:0", "127.0.0.1:0"},   {"127.0.0.1:0", "0.0.0.0:0"},
        {"*:0", "0.0.0.0:0"},   {"127.0.0.1:0", "127.0.0.2:0"},
    };

    for (size_t k = 0; k < ARRAY_SIZE(texts); k++) {
        struct foreigner f = foreigner_start(spec_for(texts[k][0], 0), 1, true);

        listener_unref(open_spec(spec_for(texts[k][1], f.port), 2, &per_worker));
        foreigner_end(f);
    }
}

/* Under RestrictAddressFamilies= without AF_NETLINK nobody can tell, and the start goes on. */
Test(listener, goes_on_when_it_may_not_ask)
{
    struct foreigner f = foreigner_start(spec_for("127.0.0.1:0", 0), 1, true);
    struct foreigner alone = foreigner_start(spec_for("127.0.0.1:0", 0), 1, false);

    forbid_family(AF_NETLINK);
    listener_unref(open_spec(spec_for("127.0.0.1:0", f.port), 2, &per_worker));
    expect_refused(spec_for("127.0.0.1:0", alone.port), &per_worker, -EADDRINUSE,
                   "the address is already in use");
    foreigner_end(f);
    foreigner_end(alone);
}

/* A reload may go from one to the other: both are open for a moment. The same address twice is a
 * second pool that asks for it. */
Test(listener, own_sockets_are_rivals_on_the_same_address_only)
{
    struct listener *four = open_text("0.0.0.0:0", 2, &per_worker);
    struct listener *dual = open_spec(spec_for("*:0", listener_port(four)), 2, &per_worker);
    char reason[32];

    snprintf(reason, sizeof(reason), "pid %d", (int)getpid());
    expect_refused(spec_for("0.0.0.0:0", listener_port(four)), &per_worker, -EADDRINUSE, reason);
    expect_refused(spec_for("*:0", listener_port(four)), &per_worker, -EADDRINUSE, reason);
    listener_unref(four);
    cr_assert(serves(dual, "127.0.0.1:0"));
    listener_unref(dual);
}

static int open_low_port(void *data UNUSED)
{
    struct sockspec spec = spec_for("127.0.0.1:1", 0);
    struct listener *l;

    if (!become_nobody())
        return FORBIDDEN;
    if (listener_open(&spec, 1, &per_worker, &l, &why) != -EACCES)
        return 11;
    return strstr(why.text, "CAP_NET_BIND_SERVICE") ? 0 : 12;
}

Test(listener, tells_what_low_ports_need)
{
    expect_play(open_low_port, NULL);
}

Test(listener, tells_that_an_address_is_not_here)
{
    expect_refused(spec_for("192.0.2.1:0", 0), &per_worker, -EADDRNOTAVAIL, "of this machine");
    expect_refused(spec_for("[2001:db8::1]:0", 0), &shared, -EADDRNOTAVAIL, "of this machine");
}

Test(listener, does_not_open_what_is_inherited)
{
    expect_refused(spec_for("systemd:web", 0), &per_worker, -EINVAL, "inherited");
}

/* ---- Unix sockets ---- */

Test(listener, a_unix_socket_is_shared_and_removed_with_the_last_reference)
{
    struct sockspec spec = unix_spec();
    struct listener *l = open_spec(spec, SLOTS, &per_worker);
    struct listener *second = listener_ref(l);

    cr_assert(listener_is_shared(l) && listener_is_unix(l));
    cr_assert_eq(listener_port(l), 0);
    cr_assert_eq(listener_fd(l, 0), listener_fd(l, SLOTS - 1));
    listener_unref(l);
    cr_assert(serves(second, NULL));
    cr_assert_eq(access(spec.path, F_OK), 0);
    listener_unref(second);
    cr_assert_neq(access(spec.path, F_OK), 0);
}

Test(listener, says_why_a_unix_socket_cannot_be_had)
{
    struct sockspec spec = unix_spec();
    struct listener *l = open_spec(spec, 1, &per_worker);

    expect_refused(spec, &per_worker, -EADDRINUSE, "listens there");
    listener_unref(l);
    close(open(spec.path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    expect_refused(spec, &per_worker, -EEXIST, "not a socket");
    cr_assert_eq(unlink(spec.path), 0);
}

/* ---- growing and shrinking ---- */

Test(listener, grows_and_shrinks)
{
    struct listener *l = open_text("127.0.0.1:0", 2, &per_worker);
    uint64_t first = listener_inode(l, 0);
    int before = count_descriptors();

    cr_assert_eq(listener_grow(l, 5, &why), 0, "%s", why.text);
    cr_assert_eq(count_descriptors(), before + 3);
    cr_assert_eq(listener_inode(l, 0), first);
    for (int i = 0; i < 5; i++)
        cr_assert(accepts(listener_fd(l, i)) && port_of(listener_fd(l, i)) == listener_port(l));
    cr_assert_eq(listener_grow(l, 3, &why), 0); /* it is there already */
    cr_assert_geq(listener_fd(l, 4), 0);
    listener_shrink(l, 1);
    cr_assert_eq(count_descriptors(), before - 1);
    cr_assert_eq(listener_inode(l, 0), first);
    cr_assert_eq(listener_fd(l, 1), -1);
    cr_assert(serves(l, NULL));
    listener_unref(l);
}

Test(listener, keeps_what_it_has_when_it_cannot_grow)
{
    struct listener *l = open_text("127.0.0.1:0", 2, &per_worker);
    int before = count_descriptors();
    int highest = dup(0);
    struct rlimit limit;

    close(highest);
    cr_assert_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = (rlim_t)highest + 3;
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
    cr_assert_eq(listener_grow(l, 100, &why), -EMFILE);
    cr_assert_not_null(strstr(why.text, "cannot make a socket"), "%s", why.text);
    cr_assert_eq(count_descriptors(), before);
    cr_assert_eq(listener_fd(l, 2), -1);
    cr_assert(accepts(listener_fd(l, 1)));
    listener_unref(l);
}

/* For TCP the kernel remembers that the port is shared, for UDP it asks each socket. */
Test(listener, grows_past_a_worker_that_left_the_group)
{
    static const char *const texts[] = {"127.0.0.1:0", "udp:127.0.0.1:0"};

    for (size_t k = 0; k < ARRAY_SIZE(texts); k++) {
        struct listener *l = open_text(texts[k], 2, &per_worker);

        set_number(listener_fd(l, 1), SOL_SOCKET, SO_REUSEPORT, 0);
        cr_assert_eq(listener_grow(l, 3, &why), 0, "%s", why.text);
        listener_unref(l);
    }
}

/* ---- sockets that are inherited ---- */

Test(listener, takes_what_it_inherits)
{
    static const struct {
        const char *text, *address;
        enum sockspec_kind kind;
        bool udp;
    } cases[] = {
        {"127.0.0.1:0", "127.0.0.1:", SOCKSPEC_IP4, false},
        {"[::1]:0", "[::1]:", SOCKSPEC_IP6, false},
        {"[::]:0", "[::]:", SOCKSPEC_IP6, false},
        {"*:0", "*:", SOCKSPEC_DUAL, false},
        {"udp:127.0.0.1:0", "udp:127.0.0.1:", SOCKSPEC_IP4, true},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct sockspec spec = spec_for(cases[i].text, 0);
        int fd = nonblocking(plain_listener(&spec, false));
        CLEANUP_FREE char *address = NULL;
        struct listener *l;

        cr_assert_eq(fcntl(fd, F_SETFD, 0), 0);
        l = take_listener(fd);
        cr_assert_geq(asprintf(&address, "%s%d", cases[i].address, port_of(fd)), 0);
        cr_assert_str_eq(listener_address(l), address);
        cr_assert_eq(listener_spec(l)->kind, cases[i].kind);
        cr_assert_eq(listener_spec(l)->port, port_of(fd));
        cr_assert_eq(listener_is_udp(l), cases[i].udp);
        cr_assert_str_eq(listener_name(l), "web.socket");
        cr_assert_eq(listener_fd(l, 0), fd);
        cr_assert_eq(listener_fd(l, 7), fd);
        cr_assert_eq(fcntl(fd, F_GETFD), FD_CLOEXEC);
        cr_assert(fcntl(fd, F_GETFL) & O_NONBLOCK);
        listener_unref(l);
        cr_assert_eq(fcntl(fd, F_GETFD), -1);
    }
}

Test(listener, leaves_the_file_of_an_inherited_unix_socket)
{
    struct sockspec spec = unix_spec();
    struct listener *l = take_listener(plain_listener(&spec, false));

    cr_assert_str_eq(listener_spec(l)->path, spec.path);
    cr_assert(serves(l, NULL));
    listener_unref(l);
    cr_assert_eq(unlink(spec.path), 0);
}

static void expect_not_taken(int fd, int err, const char *reason)
{
    struct listener *l = NULL;

    cr_assert_eq(listener_take(fd, "x", &per_worker, &l, &why), err, "%s", why.text);
    cr_assert_not_null(strstr(why.text, reason), "%s", why.text);
    cr_assert_null(l);
    cr_assert_eq(fcntl(fd, F_GETFD), -1, "it is still open");
}

Test(listener, refuses_what_is_no_listening_socket)
{
    struct sockspec spec = spec_for("127.0.0.1:0", 0);
    CLEANUP_CLOSE int server = plain_listener(&spec, false);

    spec.port = port_of(server);
    expect_not_taken(connect_to(&spec, 0), -EINVAL, "does not listen");
    expect_not_taken(socket_for(&spec), -EINVAL, "does not listen");
    expect_not_taken(open("/dev/null", O_RDONLY | O_CLOEXEC), -ENOTSOCK, "descriptor");
    expect_not_taken(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0), -EINVAL, "neither");
    expect_not_taken(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0), -EINVAL, "neither");
    expect_not_taken(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, 0), -EAFNOSUPPORT, "descriptor");
    expect_not_taken(12345, -EBADF, "descriptor");
}

/* ---- descriptors ---- */

Test(listener, leaks_no_descriptor)
{
    static const char *const texts[] = {"127.0.0.1:0", "*:0", "udp:127.0.0.1:0"};
    int before = count_descriptors();

    for (size_t k = 0; k < 2 * ARRAY_SIZE(texts); k++) {
        struct listener *l = open_text(texts[k / 2], SLOTS, k % 2 ? &shared : &per_worker);

        if (k % 2)
            cr_assert_eq(count_descriptors(), before + 1);
        else /* steering may need three more */
            cr_assert_leq(abs(2 * (count_descriptors() - before - SLOTS) - 3), 3);
        cr_assert_eq(listener_grow(l, 2 * SLOTS, &why), 0);
        for (int i = 0; i < SLOTS; i++)
            cr_assert_eq(listener_restore(l, i), 0);
        listener_unref(l);
        cr_assert_eq(count_descriptors(), before);
    }
    listener_unref(NULL);
}

Test(listener, a_named_interface)
{
    struct listener_options options = {.backlog = 16};
    struct listener *l = NULL;
    struct sockspec spec;

    cr_assert_eq(sockspec_parse("[::1%lo]:0", &spec, &why), 0);
    cr_assert_eq(listener_open(&spec, 2, &options, &l, &why), 0, "%s", why.text);
    cr_expect_eq(listener_bound(l)->scope_id, if_nametoindex("lo"));
    listener_unref(l);

    cr_assert_eq(sockspec_parse("[::1%nosuch0]:0", &spec, &why), 0);
    cr_assert_eq(listener_open(&spec, 2, &options, &l, &why), -ENODEV);
    cr_expect_str_eq(why.text, "there is no network interface 'nosuch0'");
}

/* Sockets on demand: bound for the slots that ask, listening for those that listen. */
Test(listener, sockets_on_demand)
{
    struct listener_options options = {.backlog = 16};
    struct listener *l = NULL, *chooser = NULL;
    struct sockspec spec;

    cr_assert_eq(sockspec_parse("127.0.0.1:0", &spec, &why), 0);
    cr_assert_eq(listener_open(&spec, 1, &options, &chooser, &why), 0, "%s", why.text);
    spec.port = listener_port(chooser);
    listener_unref(chooser);

    cr_assert_eq(listener_open_empty(&spec, 0, &options, &l, &why), 0);
    cr_expect_eq(listener_fd(l, 0), -1);
    cr_expect_not(listener_is_listening(l, 0));
    cr_assert_eq(listener_bind_slot(l, 2, &why), 0, "%s", why.text);
    cr_expect_eq(listener_fd(l, 0), -1, "slot 0 did not ask");
    cr_expect_geq(listener_fd(l, 2), 0);
    cr_expect_not(listener_is_listening(l, 2));
    cr_assert_eq(listener_listen_slot(l, 2), 0);
    cr_expect(listener_is_listening(l, 2));
    cr_assert_eq(listener_bind_slot(l, 0, &why), 0, "%s", why.text);
    cr_assert_eq(listener_listen_slot(l, 0), 0, "both are of one group");
    cr_expect_eq(listener_restore(l, 2), 0);
    listener_close_slot(l, 2);
    cr_expect_eq(listener_fd(l, 2), -1);
    cr_expect(listener_is_listening(l, 0));
    cr_expect_eq(listener_listen_slot(l, 1), -ENOENT);
    listener_unref(l);
}
