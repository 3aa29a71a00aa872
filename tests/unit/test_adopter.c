#include "../lib/adoption.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sys/fsuid.h>
#include <sys/mman.h>

#include "base/clock.h"

/* ---- plays ---- */

struct act {
    const char *address;
    uint16_t port;
    int type; /* for socket(2) */
};

static int slot_socket(const char *address, uint16_t *port)
{
    struct sockspec spec = spec_for(address, 0);
    int fd = plain_listener(&spec, true);

    cr_assert_geq(fd, 0, "%s", strerror(-fd));
    *port = port_of(fd);
    return fd;
}

static int bind_to(int fd, const char *address, uint16_t port)
{
    struct sockspec spec;
    struct sockaddr_storage a;
    socklen_t len;

    sockspec_parse(address, &spec, NULL);
    len = sockspec_sockaddr(&spec, port, &a);
    return bind(fd, (struct sockaddr *)&a, len);
}

static uint16_t local_port(int fd)
{
    struct sockaddr_storage a = {0};
    socklen_t len = sizeof(a);

    getsockname(fd, (struct sockaddr *)&a, &len);
    return ntohs(((struct sockaddr_in *)&a)->sin_port);
}

static int get_option(int fd, int level, int name)
{
    int value = -1;
    socklen_t len = sizeof(value);

    getsockopt(fd, level, name, &value, &len);
    return value;
}

static void set_option(int fd, int level, int name, int value)
{
    setsockopt(fd, level, name, &value, sizeof(value));
}

/* A server and its client in one. */
static int serve_once(int fd, uint16_t port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
    int client = socket(AF_INET, SOCK_STREAM, 0), accepted;

    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    DEMAND(listen(fd, 5) == 0);
    DEMAND(connect(client, (struct sockaddr *)&a, sizeof(a)) == 0);
    accepted = accept(fd, NULL, NULL);
    DEMAND(accepted >= 0);
    close(accepted);
    close(client);
    return 0;
}

static int play_server(void *data)
{
    const struct act *act = data;
    int fd = socket(AF_INET, act->type, 0);

    DEMAND(bind_to(fd, act->address, act->port) == 0);
    DEMAND(local_port(fd) == act->port);
    return serve_once(fd, act->port);
}

static struct adoption_world world_with(uint16_t *port)
{
    return (struct adoption_world){.slot_fd = slot_socket("127.0.0.1:0", port)};
}

Test(adopter, bind_gets_the_socket_and_listen_is_swallowed)
{
    struct act act = {"127.0.0.1:1", 0, SOCK_STREAM};
    struct adoption_world w = world_with(&act.port);

    cr_assert_eq(perform(&w, play_server, &act), 0);
    cr_expect_eq(w.binds, 1);
    cr_expect_eq(w.last.asked.kind, SOCKSPEC_IP4);
    cr_expect_eq(w.last.asked.port, act.port);
    cr_expect_eq(w.last.asked.ip4.s_addr, htonl(INADDR_LOOPBACK));
    cr_expect_not(w.last.asked.udp);
    cr_expect_eq(w.last.pid, w.child);
    cr_expect_eq(w.listens, 1);
    cr_expect_eq(w.backlog, 5);
    cr_expect_eq(w.listen_inode, inode_of_fd(w.slot_fd));
    cr_expect_eq(w.blinds, 0, "%s", w.reason);
}

static int play_refused(void *data)
{
    const struct act *act = data;
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    DEMAND(bind_to(fd, act->address, act->port) < 0 && errno == EADDRNOTAVAIL);
    DEMAND(listen(fd, 5) < 0 && errno == EOPNOTSUPP);
    return 0;
}

Test(adopter, refuses_with_the_errno_it_is_told)
{
    struct act act = {"127.0.0.1:1", 0, SOCK_STREAM};
    struct adoption_world w = {.slot_fd = -EADDRNOTAVAIL, .listen_result = -EOPNOTSUPP};

    cr_expect_eq(perform(&w, play_refused, &act), 0);
    cr_expect_eq(w.binds, 1);
    cr_expect_eq(w.listens, 1);
}

static int play_own(void *data)
{
    const struct act *act = data;
    int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    uint64_t inode = inode_of_fd(fd);

    setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on));
    DEMAND(bind_to(fd, act->address, act->port) == 0);
    DEMAND(inode_of_fd(fd) == inode && local_port(fd) == act->port);
    DEMAND(listen(fd, 5) == 0 && get_option(fd, SOL_SOCKET, SO_ACCEPTCONN) == 1);
    return 0;
}

Test(adopter, lets_the_kernel_do_it)
{
    struct act act = {"127.0.0.1:1", 0, SOCK_STREAM};
    struct adoption_world w = world_with(&act.port);

    w.slot_fd = w.listen_result = -EAGAIN;
    cr_expect_eq(perform(&w, play_own, &act), 0);
    cr_expect_eq(w.binds, 1);
    cr_expect_eq(w.listens, 1);
}

/* ---- what is kept of the program's socket ---- */

static int play_flags(void *data)
{
    const struct act *act = data;
    int fd = socket(AF_INET, act->type, 0);

    DEMAND(bind_to(fd, act->address, act->port) == 0);
    DEMAND((fcntl(fd, F_GETFD) == FD_CLOEXEC) == ((act->type & SOCK_CLOEXEC) != 0));
    DEMAND(!(fcntl(fd, F_GETFL) & O_NONBLOCK) == !(act->type & SOCK_NONBLOCK));
    return 0;
}

Test(adopter, keeps_flags)
{
    static const int flags[] = {0, SOCK_CLOEXEC, SOCK_NONBLOCK, SOCK_CLOEXEC | SOCK_NONBLOCK};
    struct act act = {"127.0.0.1:1", 0, 0};
    struct adoption_world w = world_with(&act.port);

    for (size_t i = 0; i < 2 * ARRAY_SIZE(flags); i++) {
        fcntl(w.slot_fd, F_SETFL, i % 2 ? O_NONBLOCK : 0);
        act.type = SOCK_STREAM | flags[i / 2];
        cr_expect_eq(perform(&w, play_flags, &act), 0, "flags %x", flags[i / 2]);
        cr_expect(fcntl(w.slot_fd, F_GETFD) & FD_CLOEXEC, "the master's own stays closed at exec");
    }
}

static const struct {
    int level, name, value;
} carried[] = {
    {IPPROTO_TCP, TCP_NODELAY, 1},   {IPPROTO_TCP, TCP_DEFER_ACCEPT, 3},
    {IPPROTO_TCP, TCP_FASTOPEN, 7},  {SOL_SOCKET, SO_KEEPALIVE, 1},
    {IPPROTO_TCP, TCP_KEEPIDLE, 33}, {IPPROTO_TCP, TCP_KEEPINTVL, 4},
    {IPPROTO_TCP, TCP_KEEPCNT, 5},   {SOL_SOCKET, SO_RCVBUF, 30000},
    {SOL_SOCKET, SO_SNDBUF, 40000},
};

static int play_options(void *data)
{
    const struct act *act = data;
    int fd = socket(AF_INET, SOCK_STREAM, 0), before[ARRAY_SIZE(carried)];

    set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    for (size_t i = 0; i < ARRAY_SIZE(carried); i++) {
        set_option(fd, carried[i].level, carried[i].name, carried[i].value);
        before[i] = get_option(fd, carried[i].level, carried[i].name);
    }
    DEMAND(bind_to(fd, act->address, act->port) == 0);
    for (size_t i = 0; i < ARRAY_SIZE(carried); i++)
        DEMAND(get_option(fd, carried[i].level, carried[i].name) == before[i]);
    DEMAND(get_option(fd, SOL_SOCKET, SO_REUSEPORT) == 1);
    return 0;
}

Test(adopter, carries_options_over)
{
    struct act act = {"127.0.0.1:1", 0, 0};
    struct adoption_world w = world_with(&act.port);

    cr_expect_eq(perform(&w, play_options, &act), 0);
    cr_expect_eq(get_option(w.slot_fd, IPPROTO_TCP, TCP_NODELAY), 1);
    cr_expect_eq(get_option(w.slot_fd, SOL_SOCKET, SO_RCVBUF), 60000);
}

Test(adopter, default_buffer_sizes_are_left_to_the_kernel)
{
    struct act act = {"127.0.0.1:1", 0, SOCK_STREAM};
    struct adoption_world w = world_with(&act.port);

    set_option(w.slot_fd, SOL_SOCKET, SO_RCVBUF, 50000);
    cr_expect_eq(perform(&w, play_server, &act), 0);
    cr_expect_eq(get_option(w.slot_fd, SOL_SOCKET, SO_RCVBUF), 100000);
}

/* A call that comes again, as one does that a signal interrupted on an old kernel. */
static int play_again(void *data)
{
    const struct act *act = data;
    const struct linger linger = {1, 7};
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
    for (int i = 0; i < 3; i++)
        DEMAND(bind_to(fd, act->address, act->port) == 0);
    return serve_once(fd, act->port);
}

Test(adopter, binding_again_changes_nothing)
{
    struct linger linger = {0};
    socklen_t len = sizeof(linger);
    struct act act = {"127.0.0.1:1", 0, 0};
    struct adoption_world w = world_with(&act.port);

    cr_expect_eq(perform(&w, play_again, &act), 0);
    cr_expect_eq(w.binds, 3);
    getsockopt(w.slot_fd, SOL_SOCKET, SO_LINGER, &linger, &len);
    cr_expect(linger.l_onoff && linger.l_linger == 7);
}

/* ---- what is asked for ---- */

struct wish {
    const char *address;
    int family, type, v6only;
    const char *seen_as;
};

static int play_wish(void *data)
{
    const struct wish *wish = data;
    int fd = socket(wish->family, wish->type, 0);
    struct sockaddr_in6 mapped = {.sin6_family = AF_INET6, .sin6_port = htons(4711)};

    if (wish->family == AF_INET6)
        set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, wish->v6only);
    inet_pton(AF_INET6, "::ffff:127.0.0.9", &mapped.sin6_addr);
    if (streq(wish->address, "mapped"))
        DEMAND(bind(fd, (struct sockaddr *)&mapped, sizeof(mapped)) < 0 && errno == ERANGE);
    else
        DEMAND(bind_to(fd, wish->address, 0) < 0 && errno == ERANGE);
    return 0;
}

Test(adopter, tells_what_is_asked_for)
{
    static const struct wish wishes[] = {
        {"127.0.0.2:4711", AF_INET, SOCK_STREAM, 0, "127.0.0.2:4711"},
        {"0.0.0.0:4711", AF_INET, SOCK_STREAM, 0, "0.0.0.0:4711"},
        {"[::]:4711", AF_INET6, SOCK_STREAM, 0, "*:4711"},
        {"[::]:4711", AF_INET6, SOCK_STREAM, 1, "[::]:4711"},
        {"[::1]:4711", AF_INET6, SOCK_STREAM, 0, "[::1]:4711"},
        {"mapped", AF_INET6, SOCK_STREAM, 0, "127.0.0.9:4711"},
        {"127.0.0.2:4711", AF_INET, SOCK_DGRAM, 0, "udp:127.0.0.2:4711"},
        {"[::]:4711", AF_INET6, SOCK_DGRAM, 1, "udp:[::]:4711"},
        {"unix:/tmp/x", AF_UNIX, SOCK_STREAM, 0, "unix:/tmp/x"},
        {"unix:@x", AF_UNIX, SOCK_STREAM, 0, "unix:@x"},
    };

    for (size_t i = 0; i < ARRAY_SIZE(wishes); i++) {
        struct adoption_world w = {.slot_fd = -ERANGE};
        CLEANUP_BUF struct buf seen = BUF_INIT;
        struct wish wish = wishes[i];

        cr_expect_eq(perform(&w, play_wish, &wish), 0, "%s", wish.address);
        cr_assert_eq(w.binds, 1, "%s", wish.address);
        sockspec_format(&w.last.asked, 0, &seen);
        cr_expect_str_eq(buf_str(&seen), wish.seen_as);
    }
}

/* ---- what is none of our business ---- */

static int netlink(void)
{
    struct sockaddr_nl a = {.nl_family = AF_NETLINK};
    int fd = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);

    return bind(fd, (struct sockaddr *)&a, sizeof(a)) == 0 ? 0 : errno;
}

static int bind_raw(int fd, const void *address, socklen_t len)
{
    return syscall(SYS_bind, fd, address, len) == 0 ? 0 : errno;
}

/* Every call answers as it does without a filter. */
static int play_unrelated(void *data)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(4711)};
    sa_family_t autobind = AF_UNIX;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    char *edge = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    (void)data;
    munmap(edge + 4096, 4096);
    memcpy(edge + 4096 - 8, &a, 8);
    DEMAND(bind_raw(fd, edge + 4096 - 8, sizeof(a)) == EFAULT);
    DEMAND(netlink() == 0);
    DEMAND(bind_raw(socket(AF_UNIX, SOCK_STREAM, 0), &autobind, sizeof(autobind)) == 0);
    DEMAND(bind_to(socket(AF_INET, SOCK_STREAM, 0), "127.0.0.1:0", 0) == 0);
    DEMAND(bind_to(socket(AF_INET6, SOCK_DGRAM, 0), "udp:[::1]:0", 0) == 0);
    DEMAND(bind_raw(fd, NULL, sizeof(a)) == EFAULT);
    DEMAND(bind_raw(fd, (void *)-16L, sizeof(a)) == EFAULT);
    DEMAND(bind_raw(fd, &a, 0) == EINVAL);
    DEMAND(bind_raw(fd, &a, 8) == EINVAL);
    DEMAND(bind_raw(fd, &a, 129) == EINVAL);
    DEMAND(bind_raw(fd, &a, (socklen_t)-1) == EINVAL);
    DEMAND(bind_raw(-1, &a, sizeof(a)) == EBADF);
    DEMAND(bind_raw(1000, &a, sizeof(a)) == EBADF);
    DEMAND(bind_raw(open("/dev/null", O_RDONLY), &a, sizeof(a)) == ENOTSOCK);
    DEMAND(bind_raw(socket(AF_INET6, SOCK_STREAM, 0), &a, sizeof(a)) == EINVAL);
    DEMAND(listen(-1, 5) < 0 && errno == EBADF);
    DEMAND(listen(open("/dev/null", O_RDONLY), 5) < 0 && errno == ENOTSOCK);
    return 0;
}

Test(adopter, leaves_alone_what_is_no_server)
{
    struct adoption_world w = {.slot_fd = -ERANGE, .listen_result = -ERANGE};

    cr_expect_eq(perform(&w, play_unrelated, NULL), 0);
    cr_expect_eq(w.listens, 0);
    cr_expect_eq(w.binds, 0);
    cr_expect_eq(w.blinds, 0, "%s", w.reason);
}

/* ---- who calls ---- */

static void *thread_server(void *data)
{
    return (void *)(intptr_t)play_server(data);
}

static int play_threads(void *data)
{
    pthread_t threads[40];
    void *result;
    int failed = 0;

    for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
        DEMAND(pthread_create(&threads[i], NULL, thread_server, data) == 0);
    for (size_t i = 0; i < ARRAY_SIZE(threads); i++) {
        pthread_join(threads[i], &result);
        failed += result != NULL;
    }
    return failed;
}

Test(adopter, threads)
{
    struct act act = {"127.0.0.1:1", 0, SOCK_STREAM};
    struct adoption_world w = world_with(&act.port);

    cr_expect_eq(perform(&w, play_threads, &act), 0);
    cr_expect_eq(w.binds, 40);
    cr_expect_eq(w.last.pid, w.child);
}

static int play_descendants(void *data)
{
    for (int i = 0; i < 3; i++) {
        pid_t pid = fork();
        int status;

        if (pid > 0) {
            DEMAND(waitpid(pid, &status, 0) == pid && status == 0);
            return 0;
        }
    }
    _exit(play_server(data));
}

Test(adopter, grandchildren)
{
    struct act act = {"127.0.0.1:1", 0, SOCK_STREAM};
    struct adoption_world w = world_with(&act.port);

    cr_expect_eq(perform(&w, play_descendants, &act), 0);
    cr_expect_eq(w.binds, 1);
    cr_expect_neq(w.last.pid, w.child);
}

/* The parent is gone when its child binds: perform() ends only after that. */
static int play_daemon(void *data)
{
    int ends[2];
    char byte = 'x';

    DEMAND(pipe(ends) == 0);
    if (fork() > 0)
        _exit(0);
    setsid();
    if (fork() > 0)
        _exit(0);
    while (getppid() != 1 && byte-- > 0)
        usleep(1000);
    _exit(play_server(data));
}

Test(adopter, daemons)
{
    struct act act = {"127.0.0.1:1", 0, SOCK_STREAM};
    struct adoption_world w = world_with(&act.port);

    cr_expect_eq(perform(&w, play_daemon, &act), 0);
    cr_expect_eq(w.binds, 1);
    cr_expect_eq(w.listens, 1);
}

/* ---- ends ---- */

static void kill_it(struct adoption_world *w)
{
    kill(w->child, SIGKILL);
    usleep(20000);
}

Test(adopter, killed_while_it_waits)
{
    struct act act = {"127.0.0.1:1", 0, SOCK_STREAM};
    struct adoption_world w = world_with(&act.port);

    w.on_bind = kill_it;
    for (int i = 0; i < 20; i++)
        cr_expect_eq(perform(&w, play_server, &act), 256 + SIGKILL);
    cr_expect_eq(w.blinds, 0, "%s", w.reason);
}

static int play_without_master(void *data)
{
    const struct act *act = data;
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    DEMAND(bind_to(fd, act->address, act->port) < 0 && errno == ENOSYS);
    return 0;
}

Test(adopter, closed_before_the_answer)
{
    struct act act = {"127.0.0.1:1", 4711, SOCK_STREAM};
    struct adoption_world w = {.slot_fd = -ERANGE, .close_at_once = true};

    for (int i = 0; i < 20; i++)
        cr_expect_eq(perform(&w, play_without_master, &act), 0);
    cr_expect_eq(w.binds, 0);
}

static void close_it(struct adoption_world *w)
{
    adopter_close(w->adopter);
    w->adopter = NULL;
}

static int play_last_answer(void *data)
{
    const struct act *act = data;
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    DEMAND(bind_to(fd, act->address, act->port) == 0);
    DEMAND(listen(fd, 5) < 0 && errno == ENOSYS);
    return 0;
}

Test(adopter, closed_by_the_callback)
{
    struct act act = {"127.0.0.1:1", 0, SOCK_STREAM};
    struct adoption_world w = world_with(&act.port);

    w.on_bind = close_it;
    cr_expect_eq(perform(&w, play_last_answer, &act), 0);
    cr_expect_eq(w.binds, 1);
}

Test(adopter, a_thousand_leak_nothing, .timeout = 100)
{
    struct act act = {"127.0.0.1:1", 0, SOCK_STREAM};
    struct adoption_world w = world_with(&act.port);
    int before = count_descriptors();

    for (int i = 0; i < 1000; i++)
        cr_assert_eq(perform(&w, play_server, &act), 0);
    cr_expect_eq(w.binds, 1000);
    cr_expect_eq(count_descriptors(), before);
}

static void ignore(int signo)
{
    (void)signo;
}

static void be_slow(struct adoption_world *w)
{
    (void)w;
    usleep(200000);
}

/* As the Go runtime sends to itself. */
static int play_in_storm(void *data)
{
    struct sigaction action = {.sa_handler = ignore, .sa_flags = SA_RESTART};
    pid_t self = getpid(), storm;
    int result;

    sigaction(SIGURG, &action, NULL);
    storm = fork();
    if (storm == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (;;) {
            kill(self, SIGURG);
            usleep(200);
        }
    }
    result = play_server(data);
    end(storm);
    return result;
}

Test(adopter, signals_do_not_interrupt)
{
    struct act act = {"127.0.0.1:1", 0, SOCK_STREAM};
    struct adoption_world w = world_with(&act.port);

    w.on_bind = be_slow;
    cr_expect_eq(perform(&w, play_in_storm, &act), 0);
    cr_expect_lt(w.binds, 3, "%d", w.binds);
}

/* The last to close a socket that lingers with something left to send would wait for its peer: the
 * program is killed while the master holds a duplicate, which it makes before it asks for [::]. */
static int play_linger(void *data)
{
    const struct act *act = data;
    const struct linger linger = {1, 100};
    struct sockaddr_in6 a = {.sin6_family = AF_INET6, .sin6_port = htons(act->port)};
    static char plenty[1 << 20];
    int fd = socket(AF_INET6, SOCK_STREAM, 0);

    inet_pton(AF_INET6, "::ffff:127.0.0.1", &a.sin6_addr);
    DEMAND(connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0);
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
    fcntl(fd, F_SETFL, O_NONBLOCK);
    while (send(fd, plenty, sizeof(plenty), 0) > 0)
        ;
    return bind_to(fd, "[::]:1", 0);
}

Test(adopter, a_socket_that_lingers_does_not_keep_the_master)
{
    struct act act = {"127.0.0.1:1", 0, SOCK_STREAM};
    struct adoption_world w = world_with(&act.port);
    int64_t begin = clock_ms();

    w.on_bind = kill_it;
    cr_expect_eq(perform(&w, play_linger, &act), 256 + SIGKILL);
    cr_expect_eq(w.binds, 1);
    cr_expect_lt(clock_ms() - begin, 20000);
}

/* ---- rights: each in a process of its own, which plays the master ---- */

static void child_becomes_nobody(void)
{
    become_nobody();
    prctl(PR_SET_DUMPABLE, 1); /* as after exec */
}

static void child_is_secret(void)
{
    prctl(PR_SET_DUMPABLE, 0);
}

struct rights_case {
    bool as_nobody; /* the master */
    int without[2]; /* capabilities; 0: none */
    void (*child_before)(void);
    bool adopted;
};

/* What cannot be looked into is told once. */
static int play_twice(void *data)
{
    const struct act *act = data;
    int fd = socket(AF_INET, act->type, 0);

    for (int i = 0; i < 2; i++)
        DEMAND(bind_to(fd, act->address, act->port) < 0 && errno == EADDRINUSE);
    return 0;
}

static int master_plays(void *data)
{
    const struct rights_case *c = data;
    struct act act = {"127.0.0.1:1", 0, SOCK_STREAM | SOCK_NONBLOCK};
    struct adoption_world w = {.before = c->child_before};
    int signo = 0;

    if (geteuid() != 0 || (c->as_nobody && !become_nobody()))
        return FORBIDDEN;
    for (size_t i = 0; i < ARRAY_SIZE(c->without) && c->without[i]; i++)
        DEMAND(drop_capability((unsigned)c->without[i]));
    prctl(PR_SET_DUMPABLE, 1);
    prctl(PR_SET_PDEATHSIG, SIGUSR1);
    w.slot_fd = slot_socket("127.0.0.1:0", &act.port);
    fcntl(w.slot_fd, F_SETFL, 0);
    DEMAND(perform(&w, c->adopted ? play_flags : play_twice, &act) == 0);
    DEMAND(w.binds == c->adopted && w.blinds == !c->adopted);
    DEMAND(!c->adopted || fcntl(w.slot_fd, F_GETFL) & O_NONBLOCK);
    prctl(PR_GET_PDEATHSIG, &signo);
    DEMAND(signo == SIGUSR1 && prctl(PR_GET_DUMPABLE) == 1);
    DEMAND((uid_t)setfsuid((uid_t)-1) == geteuid() && (gid_t)setfsgid((gid_t)-1) == getegid());
    return 0;
}

static void expect_rights(struct rights_case c)
{
    expect_play(master_plays, &c);
}

Test(adopter, rights_of_an_ordinary_user)
{
    expect_rights((struct rights_case){.as_nobody = true, .adopted = true});
}

Test(adopter, secret_process_of_an_ordinary_user)
{
    expect_rights((struct rights_case){.as_nobody = true, .child_before = child_is_secret});
}

Test(adopter, secret_process_of_root)
{
    expect_rights((struct rights_case){.child_before = child_is_secret, .adopted = true});
}

Test(adopter, other_user)
{
    expect_rights((struct rights_case){.child_before = child_becomes_nobody, .adopted = true});
}

Test(adopter, other_user_without_ptrace)
{
    expect_rights((struct rights_case){
        .without = {CAP_SYS_PTRACE}, .child_before = child_becomes_nobody, .adopted = true});
}

Test(adopter, other_user_without_ptrace_and_setuid)
{
    expect_rights((struct rights_case){.without = {CAP_SYS_PTRACE, CAP_SETUID},
                                       .child_before = child_becomes_nobody});
}
