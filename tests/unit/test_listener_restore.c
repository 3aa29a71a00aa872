/* What a worker leaves behind on its socket, and listener_restore(). */
#include "mechanism/listener.h"

#include "../lib/listeners.h"
#include "../lib/process.h"

TestSuite(listener_restore, .init = listener_setup, .fini = listener_teardown);

/* The promise that all this is for. The worker is a process with a duplicate. */
Test(listener_restore, queue_outlives_the_worker)
{
    enum { QUEUED = 10, SERVED = 3 };
    struct listener *l = open_text("127.0.0.1:0", 1, &per_worker);
    int clients[QUEUED];
    pid_t worker;

    for (int i = 0; i < QUEUED; i++)
        cr_assert_geq(clients[i] = connect_to(listener_spec(l), listener_port(l)), 0);
    worker = fork();
    if (worker == 0) {
        for (int i = 0; i < SERVED; i++)
            accept(listener_fd(l, 0), NULL, NULL);
        kill(getpid(), SIGKILL);
    }
    cr_assert_eq(waitpid(worker, NULL, 0), worker);
    cr_assert_eq(listener_restore(l, 0), 0);
    cr_assert_eq(accept_all(nonblocking(listener_fd(l, 0))), QUEUED - SERVED);
    for (int i = 0; i < QUEUED; i++)
        close(clients[i]);
    listener_unref(l);
}

/* SIGIO would end this process. */
Test(listener_restore, restores_flags_and_owner)
{
    struct listener *l = open_text("127.0.0.1:0", 1, &per_worker);
    int flags = fcntl(listener_fd(l, 0), F_GETFL);
    CLEANUP_CLOSE int workers = dup(listener_fd(l, 0));

    cr_assert_eq(fcntl(workers, F_SETOWN, getpid()), 0);
    cr_assert_eq(fcntl(workers, F_SETSIG, SIGUSR1), 0);
    cr_assert_eq(fcntl(workers, F_SETFL, O_NONBLOCK | O_ASYNC | O_APPEND), 0);
    cr_assert_eq(listener_restore(l, 0), 0);
    cr_assert_eq(fcntl(listener_fd(l, 0), F_GETFL), flags);
    cr_assert_eq(fcntl(listener_fd(l, 0), F_GETOWN), 0);
    cr_assert_eq(fcntl(listener_fd(l, 0), F_GETSIG), 0);
    cr_assert(serves(l, NULL));
    listener_unref(l);
}

/* Other workers poll the socket: blocking now, accept(2) would stop them. */
Test(listener_restore, leaves_flags_alone_that_other_slots_rely_on)
{
    struct listener *l = open_text("127.0.0.1:0", 2, &shared);
    int fd = listener_fd(l, 0), one = 1;

    nonblocking(fd);
    set_number(fd, IPPROTO_TCP, TCP_NODELAY, one);
    cr_assert_eq(listen(fd, 5), 0);
    cr_assert_eq(fcntl(fd, F_SETFL, O_NONBLOCK | O_ASYNC), 0);
    cr_assert_eq(listener_restore(l, 1), 0);
    cr_assert(fcntl(fd, F_GETFL) & O_NONBLOCK);
    cr_assert_eq(fcntl(fd, F_GETFL) & O_ASYNC, 0);
    cr_assert_eq(number(fd, IPPROTO_TCP, TCP_NODELAY), 1);
    cr_assert_eq(backlog_of(fd), BACKLOG);
    listener_shrink(l, 1);
    cr_assert_eq(listener_restore(l, 0), 0);
    cr_assert_eq(fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
    cr_assert_eq(number(fd, IPPROTO_TCP, TCP_NODELAY), 0);
    cr_assert_eq(listener_grow(l, 2, &why), 0);
    nonblocking(fd);
    cr_assert_eq(listener_restore(l, 0), 0);
    cr_assert(fcntl(fd, F_GETFL) & O_NONBLOCK);
    listener_unref(l);
}

/* One option for all: the table has its own test. */
Test(listener_restore, restores_options_and_backlog)
{
    struct listener *l = open_text("127.0.0.1:0", 2, &per_worker);
    int fd = listener_fd(l, 1);

    set_number(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, 9);
    set_number(fd, SOL_SOCKET, SO_REUSEPORT, 0);
    cr_assert_eq(listen(fd, 5), 0);
    cr_assert_eq(listener_restore(l, 1), 0);
    cr_assert_eq(number(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT), 0);
    cr_assert_eq(number(fd, SOL_SOCKET, SO_REUSEPORT), 1);
    cr_assert_eq(backlog_of(fd), BACKLOG);
    listener_unref(l);
}

static void attach_drop_all(int fd)
{
    struct sock_filter drop = BPF_STMT(BPF_RET | BPF_K, 0);
    struct sock_fprog program = {.len = 1, .filter = &drop};

    if (setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)) < 0)
        cr_skip_test("this machine has no filters for us: %s", strerror(errno));
}

Test(listener_restore, detaches_a_filter)
{
    struct listener *l = open_text("127.0.0.1:0", 1, &per_worker);
    uint64_t inode = listener_inode(l, 0);

    attach_drop_all(listener_fd(l, 0));
    cr_assert_eq(listener_restore(l, 0), 0);
    cr_assert_eq(listener_inode(l, 0), inode);
    cr_assert(serves(l, NULL));
    listener_unref(l);
}

static void expect_made_anew(struct listener *l, int slot)
{
    uint64_t inode = listener_inode(l, slot);
    int fd = listener_fd(l, slot), before = count_descriptors();
    struct stat st;

    cr_assert_eq(listener_restore(l, slot), 1);
    cr_assert_eq(listener_fd(l, slot), fd);
    cr_assert_eq(fcntl(fd, F_GETFD), FD_CLOEXEC);
    cr_assert_eq(fstat(fd, &st), 0);
    cr_assert_eq(listener_inode(l, slot), st.st_ino);
    cr_assert_neq(listener_inode(l, slot), inode);
    cr_assert_eq(count_descriptors(), before);
    cr_assert_eq(listener_restore(l, slot), 0);
}

/* SO_LOCK_FILTER can never be undone. */
Test(listener_restore, makes_a_socket_with_a_locked_filter_anew)
{
    const struct listener_options *options[] = {&per_worker, &shared};

    for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
        struct listener *l = open_text("127.0.0.1:0", 3, options[i]);

        attach_drop_all(listener_fd(l, 1));
        set_number(listener_fd(l, 1), SOL_SOCKET, SO_LOCK_FILTER, 1);
        expect_made_anew(l, 1);
        cr_assert_eq(port_of(listener_fd(l, 1)), listener_port(l));
        cr_assert_eq(backlog_of(listener_fd(l, 1)), BACKLOG);
        listener_shrink(l, 2);
        if (i == 0)
            cr_assert_eq(shutdown(listener_fd(l, 0), SHUT_RD), 0); /* leave it to the new one */
        cr_assert(serves(l, NULL));
        listener_unref(l);
    }
}

/* Only CAP_NET_RAW may take a socket off a device, which anyone may bind it to. */
Test(listener_restore, makes_a_socket_anew_that_was_bound_to_a_device)
{
    struct listener *l;

    listener_teardown(); /* while it may */
    if (geteuid() == 0)
        cr_assert(become_nobody());
    l = open_text("127.0.0.1:0", 2, &per_worker);
    set_number(listener_fd(l, 1), SOL_SOCKET, SO_BINDTOIFINDEX, 1);
    expect_made_anew(l, 1);
    cr_assert_eq(number(listener_fd(l, 1), SOL_SOCKET, SO_BINDTOIFINDEX), 0);
    cr_assert_eq(port_of(listener_fd(l, 1)), listener_port(l));
    listener_unref(l);
}

static void shut_down_reading(int fd)
{
    cr_assert_eq(shutdown(fd, SHUT_RD), 0);
}

static void shut_down_all(int fd)
{
    cr_assert_eq(shutdown(fd, SHUT_RDWR), 0);
}

static void disconnect(int fd)
{
    const struct sockaddr nobody = {.sa_family = AF_UNSPEC};

    cr_assert_eq(connect(fd, &nobody, sizeof(nobody)), 0);
}

/* Without SO_REUSEPORT, listen(2) is refused beside the other slots. */
static void leave_and_shut_down(int fd)
{
    set_number(fd, SOL_SOCKET, SO_REUSEPORT, 0);
    shut_down_all(fd);
}

static void (*const killings[])(int fd) = {shut_down_reading, shut_down_all, disconnect,
                                           leave_and_shut_down};

/* Slot 0 is the one that would lose a port that bind(2) chose. */
Test(listener_restore, revives_a_socket_that_was_shut_down)
{
    const struct listener_options *options[] = {&per_worker, &shared};
    static const char *const texts[] = {"127.0.0.1:0", "[::1]:0", "*:0"};

    for (size_t n = 0; n < ARRAY_SIZE(killings) * 2 * ARRAY_SIZE(texts); n++) {
        struct listener *l = open_text(texts[n / 2 % ARRAY_SIZE(texts)], 2, options[n % 2]);
        CLEANUP_CLOSE int workers = dup(listener_fd(l, 0));
        uint64_t inode = listener_inode(l, 0);

        killings[n / 2 / ARRAY_SIZE(texts)](workers);
        cr_assert_not(accepts(listener_fd(l, 0)));
        cr_assert_eq(listener_restore(l, 0), 0, "%zu", n);
        cr_assert(accepts(workers));
        cr_assert_eq(listener_inode(l, 0), inode);
        cr_assert_eq(port_of(workers), listener_port(l));
        cr_assert_eq(backlog_of(workers), BACKLOG);
        cr_assert_eq(number(workers, SOL_SOCKET, SO_REUSEPORT), n % 2 == 0);
        listener_unref(l);
    }
}

/* It can be used for a connection of the worker's own afterwards. */
Test(listener_restore, makes_a_socket_anew_that_became_a_client)
{
    struct listener *l = open_text("127.0.0.1:0", 2, &per_worker);
    struct sockspec other = spec_for("127.0.0.1:0", 0);
    CLEANUP_CLOSE int server = plain_listener(&other, false);
    struct sockaddr_storage a;
    socklen_t len = sockspec_sockaddr(&other, port_of(server), &a);

    shut_down_all(listener_fd(l, 0));
    cr_assert_eq(connect(listener_fd(l, 0), (struct sockaddr *)&a, len), 0);
    expect_made_anew(l, 0);
    cr_assert_eq(port_of(listener_fd(l, 0)), listener_port(l));
    cr_assert(accepts(listener_fd(l, 0)));
    listener_unref(l);
}

/* The kernel has no way back for these. */
Test(listener_restore, makes_a_unix_socket_anew_that_was_shut_down)
{
    struct sockspec spec = unix_spec();
    struct listener *l = open_spec(spec, 2, &per_worker);

    shut_down_all(listener_fd(l, 0));
    cr_assert_not(serves(l, NULL));
    expect_made_anew(l, 0);
    cr_assert(serves(l, NULL));
    listener_unref(l);
    cr_assert_neq(access(spec.path, F_OK), 0);
}

/* An abstract name is free when the last worker has let go of it, not before. */
Test(listener_restore, retries_until_an_abstract_name_is_free)
{
    struct sockspec spec = unix_spec();
    struct listener *l;
    int workers;

    snprintf(spec.path, sizeof(spec.path), "@listener-%d", (int)getpid());
    l = open_spec(spec, 2, &per_worker);
    workers = dup(listener_fd(l, 0));
    shut_down_all(workers);
    cr_assert_eq(listener_restore(l, 0), -EADDRINUSE);
    cr_assert_eq(listener_restore(l, 0), -EADDRINUSE);
    close(workers);
    cr_assert_eq(listener_restore(l, 0), 1);
    cr_assert(serves(l, NULL));
    listener_unref(l);
}

/* The same for a port: in between, listen(2) must not choose another one. */
Test(listener_restore, retries_until_a_port_is_free)
{
    struct listener *l = open_text("127.0.0.1:0", 2, &shared);
    int workers = dup(listener_fd(l, 0));

    set_number(workers, SOL_SOCKET, SO_LOCK_FILTER, 1);
    cr_assert_eq(listener_restore(l, 0), -EADDRINUSE);
    cr_assert_eq(listener_restore(l, 0), -EADDRINUSE);
    cr_assert_not(accepts(listener_fd(l, 0)));
    close(workers);
    cr_assert_eq(listener_restore(l, 0), 1);
    cr_assert_eq(port_of(listener_fd(l, 0)), listener_port(l));
    cr_assert(serves(l, NULL));
    listener_unref(l);
}

Test(listener_restore, revives_a_udp_socket)
{
    const struct listener_options *options[] = {&per_worker, &shared};

    for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
        struct listener *l = open_text("udp:*:0", 1, options[i]);
        struct sockspec peer = spec_for("udp:[::1]:0", 9);
        struct sockaddr_storage a;
        socklen_t len = sockspec_sockaddr(&peer, 0, &a);

        cr_assert_eq(connect(listener_fd(l, 0), (struct sockaddr *)&a, len), 0);
        /* connect(2) takes a socket out of its group, and there is no way back */
        cr_assert_eq(listener_restore(l, 0), !listener_is_shared(l));
        cr_assert_eq(port_of(listener_fd(l, 0)), listener_port(l));
        cr_assert(receives(l, "udp:127.0.0.1:0"));
        cr_assert(receives(l, "udp:[::1]:0"));
        shutdown(listener_fd(l, 0), SHUT_RDWR);
        expect_made_anew(l, 0);
        cr_assert(receives(l, "udp:127.0.0.1:0"));
        listener_unref(l);
    }
}

Test(listener_restore, restores_no_slot_that_is_not_there)
{
    struct listener *l = open_text("127.0.0.1:0", 2, &per_worker);

    cr_assert_eq(listener_restore(l, 2), -EINVAL);
    cr_assert_eq(listener_restore(l, -1), -EINVAL);
    listener_unref(l);
}

/* What an upgrade could not take over is made for one slot after the other. */
Test(listener_restore, makes_what_is_missing)
{
    const struct sockspec specs[] = {spec_for("127.0.0.1:0", 0), spec_for("udp:127.0.0.1:0", 0),
                                     unix_spec()};

    for (size_t i = 0; i < ARRAY_SIZE(specs); i++) {
        struct listener *l = NULL;

        cr_assert_eq(listener_open_empty(&specs[i], 2, &per_worker, &l, &why), 0);
        cr_assert_eq(listener_restore(l, 1), 0, "%zu", i);
        cr_expect_geq(listener_fd(l, 1), 0);
        cr_expect_eq(listener_fd(l, 0) >= 0, listener_is_shared(l));
        cr_assert_eq(listener_restore(l, 0), 0, "%zu", i);
        cr_expect(listener_is_unix(l) || port_of(listener_fd(l, 0)) == port_of(listener_fd(l, 1)));
        listener_unref(l);
    }
}

Test(listener_restore, cannot_make_a_socket_of_the_service_manager)
{
    struct sockspec spec = {.kind = SOCKSPEC_SYSTEMD, .path = "web", .name = "web"};
    struct listener *l = NULL;

    cr_assert_eq(listener_open_empty(&spec, 1, &per_worker, &l, &why), 0);
    cr_expect_str_eq(listener_address(l), "systemd:web");
    cr_expect(listener_is_inherited(l));
    cr_expect_eq(listener_restore(l, 0), -EINVAL);
    cr_expect_eq(listener_grow(l, 1, &why), -EINVAL);
    listener_unref(l);
}

/* ---- sockets that are inherited ---- */

/* Back to what the service manager gave us, here O_NONBLOCK. */
Test(listener_restore, restores_an_inherited_socket)
{
    struct sockspec spec = spec_for("127.0.0.1:0", 0);
    struct listener *l = take_listener(nonblocking(plain_listener(&spec, false)));
    int fd = listener_fd(l, 0);

    cr_assert_eq(listener_grow(l, 1, &why), 0);
    cr_assert_eq(ioctl(fd, FIONBIO, &(int){0}), 0);
    set_number(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    cr_assert_eq(listener_restore(l, 0), 0);
    cr_assert(fcntl(fd, F_GETFL) & O_NONBLOCK);
    cr_assert_eq(number(fd, IPPROTO_TCP, TCP_NODELAY), 0);
    cr_assert_eq(backlog_of(fd), BACKLOG);
    listener_unref(l);
}

/* Its port was chosen by bind(2), and the kernel has taken it back. */
Test(listener_restore, revives_an_inherited_socket_on_its_port)
{
    static const char *const texts[] = {"127.0.0.1:0", "[::1]:0", "*:0"};

    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
        struct sockspec spec = spec_for(texts[i], 0);
        struct listener *l = take_listener(plain_listener(&spec, false));

        shut_down_all(listener_fd(l, 0));
        cr_assert_eq(listener_restore(l, 0), 0);
        cr_assert_eq(port_of(listener_fd(l, 0)), listener_port(l));
        cr_assert(accepts(listener_fd(l, 0)));
        listener_unref(l);
    }
}

/* That is for who made it. */
Test(listener_restore, does_not_make_an_inherited_socket_anew)
{
    struct sockspec spec = unix_spec();
    struct listener *l = take_listener(plain_listener(&spec, false));
    uint64_t inode = listener_inode(l, 0);

    shut_down_all(listener_fd(l, 0));
    cr_assert_eq(listener_restore(l, 0), -EPIPE);
    cr_assert_eq(listener_inode(l, 0), inode);
    listener_unref(l);
    cr_assert_eq(unlink(spec.path), 0);
}
