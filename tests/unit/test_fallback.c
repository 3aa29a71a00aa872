/* Answering instead of others: requests, half requests, clients that are slow, silent or many, and
 * sockets that come and go. Server and clients are one process. */
#include "mechanism/fallback.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "base/buf.h"
#include "base/clock.h"

enum { PATIENCE_MS = 20000, CONNECTIONS_MAX = 256, ANY_PORT = 0 };

static struct ev_loop *loop;
static struct fallback *fallback;
static unsigned retry_s = 7;

static unsigned retry_after(void *data)
{
    cr_assert_eq(data, &retry_s);
    return retry_s;
}

static void open_fallback(void)
{
    sigset_t alarm;

    sigemptyset(&alarm);
    sigaddset(&alarm, SIGALRM);
    sigprocmask(SIG_BLOCK, &alarm, NULL);
    loop = ev_loop_new(EVFLAG_AUTO);
    fallback = fallback_new(loop, retry_after, &retry_s);
    cr_assert(fallback);
}

static void close_fallback(void)
{
    fallback_free(fallback);
    ev_loop_destroy(loop);
}

TestSuite(fallback, .init = open_fallback, .fini = close_fallback, .timeout = 120);

static struct sockaddr_in loopback(in_port_t port)
{
    return (struct sockaddr_in){
        .sin_family = AF_INET, .sin_port = port, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

/* A blocking socket, as workers have it. */
static struct fallback_socket listener(in_port_t port)
{
    struct sockaddr_in in = loopback(port);
    struct stat st;
    int on = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on));
    cr_assert_eq(bind(fd, (struct sockaddr *)&in, sizeof(in)), 0);
    cr_assert_eq(listen(fd, 4096), 0);
    fstat(fd, &st);
    return (struct fallback_socket){fd, st.st_ino};
}

static in_port_t port_of(const struct fallback_socket *s)
{
    struct sockaddr_in in;
    socklen_t len = sizeof(in);

    cr_assert_eq(getsockname(s->fd, (struct sockaddr *)&in, &len), 0);
    return in.sin_port;
}

static int client(const struct fallback_socket *s)
{
    struct sockaddr_in in = loopback(port_of(s));
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    cr_assert_geq(fd, 0);
    cr_assert_eq(connect(fd, (struct sockaddr *)&in, sizeof(in)), 0);
    cr_assert_eq(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    return fd;
}

static void say(int fd, const char *text)
{
    cr_assert_eq(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

static void step(void)
{
    ev_run(loop, EVRUN_NOWAIT);
    poll(NULL, 0, 1);
}

static void on_time(struct ev_loop *l UNUSED, ev_timer *timer UNUSED, int events UNUSED)
{
}

/* How often something wakes the loop up in 300 ms; a number in the thousands is spinning. */
static unsigned rounds_of_the_loop(void)
{
    unsigned before = ev_iteration(loop);
    ev_timer timer;

    ev_timer_init(&timer, on_time, 0.3, 0.);
    ev_timer_start(loop, &timer);
    while (ev_is_active(&timer))
        ev_run(loop, EVRUN_ONCE);
    return ev_iteration(loop) - before;
}

/* Runs the loop until the other end closes; what it sent. */
static const char *hear(int fd)
{
    static struct buf heard;
    int64_t until_ms = clock_ms() + PATIENCE_MS;
    char chunk[4096];
    ssize_t n = -1;

    buf_free(&heard);
    while (n != 0) {
        cr_assert_lt(clock_ms(), until_ms);
        n = recv(fd, chunk, sizeof(chunk), 0);
        cr_assert(n >= 0 || errno == EAGAIN, "%s", strerror(errno));
        if (n > 0)
            buf_append(&heard, chunk, (size_t)n);
        if (n < 0)
            step();
    }
    return buf_str(&heard);
}

static void wait_for_connections(unsigned n)
{
    int64_t until_ms = clock_ms() + PATIENCE_MS;

    while (fallback_connections(fallback) != n) {
        cr_assert_lt(clock_ms(), until_ms, "%u connections", fallback_connections(fallback));
        step();
    }
}

static const char answer[] = "HTTP/1.1 503 Service Unavailable\r\n"
                             "Retry-After: 7\r\n"
                             "Content-Type: text/plain\r\n"
                             "Content-Length: 20\r\n"
                             "Cache-Control: no-store\r\n"
                             "Connection: close\r\n"
                             "\r\n"
                             "Service Unavailable\n";

static void expect_answer(int fd, const char *request)
{
    if (request)
        say(fd, request);
    cr_expect_str_eq(hear(fd), answer);
    close(fd);
}

Test(fallback, answers_what_waited_and_what_comes)
{
    struct fallback_socket s = listener(ANY_PORT);
    int waited = client(&s);

    say(waited, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    cr_assert_eq(fallback_listen(fallback, &s, 1), 0);
    expect_answer(waited, NULL);
    retry_s = 7;
    expect_answer(client(&s), "POST /x HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello");
    cr_expect_eq(fallback_answered(fallback), 2);
    wait_for_connections(0);
    close(s.fd);
}

Test(fallback, a_head_request_gets_no_body)
{
    struct fallback_socket s = listener(ANY_PORT);
    int fd = client(&s);
    const char *heard;

    cr_assert_eq(fallback_listen(fallback, &s, 1), 0);
    say(fd, "HEAD / HTTP/1.1\r\n\r\n");
    heard = hear(fd);
    cr_expect(strstr(heard, "Content-Length: 20\r\n"));
    cr_expect_str_eq(strstr(heard, "\r\n\r\n"), "\r\n\r\n");
    close(fd);
    close(s.fd);
}

Test(fallback, half_requests_garbage_and_silence_are_answered)
{
    struct fallback_socket s = listener(ANY_PORT);

    cr_assert_eq(fallback_listen(fallback, &s, 1), 0);
    expect_answer(client(&s), "GET");
    expect_answer(client(&s), "\x16\x03\x01\x02");
    expect_answer(client(&s), NULL);
    close(s.fd);
}

Test(fallback, a_client_that_leaves_without_a_word_is_not_answered)
{
    struct fallback_socket s = listener(ANY_PORT);
    int fd = client(&s);

    cr_assert_eq(fallback_listen(fallback, &s, 1), 0);
    wait_for_connections(1);
    close(fd);
    wait_for_connections(0);
    cr_expect_eq(fallback_answered(fallback), 0);
    close(s.fd);
}

/* With what is sent after the answer unread, the end would be a reset, which may overtake it. */
Test(fallback, a_long_request_is_read_to_its_end)
{
    struct fallback_socket s = listener(ANY_PORT);
    char chunk[8192] = "PUT / HTTP/1.1\r\nContent-Length: 1048576\r\n\r\n";
    size_t left = 1 << 20;
    int fd = client(&s);

    cr_assert_eq(fallback_listen(fallback, &s, 1), 0);
    while (left > 0) {
        size_t len = left < sizeof(chunk) ? left : sizeof(chunk);
        ssize_t n = send(fd, chunk, len, MSG_NOSIGNAL);

        cr_assert(n > 0 || errno == EAGAIN, "%s", strerror(errno));
        left -= n > 0 ? (size_t)n : 0;
        ev_run(loop, EVRUN_NOWAIT);
    }
    cr_expect_str_eq(hear(fd), answer);
    close(fd);
    close(s.fd);
}

Test(fallback, clients_that_never_close_are_put_out)
{
    struct fallback_socket s = listener(ANY_PORT);
    int fd = client(&s);

    cr_assert_eq(fallback_listen(fallback, &s, 1), 0);
    say(fd, "GET / HTTP/1.1\r\n\r\n");
    wait_for_connections(1);
    wait_for_connections(0);
    cr_expect_eq(fallback_answered(fallback), 1);
    close(fd);
    close(s.fd);
}

/* More silent clients than places: the oldest are answered before their time, none waits. */
Test(fallback, more_clients_than_places)
{
    enum { CLIENTS = 2 * CONNECTIONS_MAX + 10 };
    struct fallback_socket s = listener(ANY_PORT);
    int fds[CLIENTS];

    for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
        fds[i] = client(&s);
    cr_assert_eq(fallback_listen(fallback, &s, 1), 0);
    for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
        step();
        cr_expect_leq(fallback_connections(fallback), CONNECTIONS_MAX);
    }
    for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
        expect_answer(fds[i], NULL);
    cr_expect_eq(fallback_answered(fallback), CLIENTS);
    close(s.fd);
}

Test(fallback, stepping_back_leaves_the_queue_and_ends_what_was_taken)
{
    struct fallback_socket s = listener(ANY_PORT);
    int taken = client(&s), later, fd;

    cr_assert_eq(fallback_listen(fallback, &s, 1), 0);
    wait_for_connections(1);
    cr_assert_eq(fallback_listen(fallback, NULL, 0), 0);
    later = client(&s);
    say(later, "GET / HTTP/1.1\r\n\r\n");
    expect_answer(taken, "GET / HTTP/1.1\r\n\r\n");
    fd = accept(s.fd, NULL, NULL);
    cr_expect_geq(fd, 0);
    cr_expect_eq(fallback_answered(fallback), 1);
    close(fd);
    close(later);
    close(s.fd);
}

/* Under the same descriptor there is another socket one day, and what was closed comes no more. */
Test(fallback, follows_sockets_that_come_and_go)
{
    struct fallback_socket s[3] = {listener(ANY_PORT), listener(ANY_PORT), listener(ANY_PORT)};
    struct fallback_socket other = listener(ANY_PORT);

    cr_assert_eq(fallback_listen(fallback, s, 3), 0);
    for (size_t i = 0; i < 3; i++)
        expect_answer(client(&s[i]), "GET / HTTP/1.0\r\n\r\n");
    cr_assert_geq(dup2(other.fd, s[1].fd), 0);
    s[1].inode = other.inode;
    cr_assert_eq(fallback_listen(fallback, s, 3), 0);
    cr_assert_eq(fallback_listen(fallback, s, 2), 0);
    expect_answer(client(&s[0]), "GET / HTTP/1.0\r\n\r\n");
    expect_answer(client(&other), "GET / HTTP/1.0\r\n\r\n");
    for (size_t i = 0; i < 3; i++)
        close(s[i].fd);
    close(other.fd);
}

Test(fallback, a_socket_that_does_not_listen_costs_nothing_and_may_come_back)
{
    struct fallback_socket s = listener(ANY_PORT);

    cr_assert_eq(shutdown(s.fd, SHUT_RD), 0);
    cr_assert_eq(fallback_listen(fallback, &s, 1), 0);
    cr_expect_lt(rounds_of_the_loop(), 20);
    cr_assert_eq(listen(s.fd, 16), 0);
    cr_assert_eq(fallback_listen(fallback, &s, 1), 0);
    expect_answer(client(&s), "GET / HTTP/1.0\r\n\r\n");
    close(s.fd);
}

Test(fallback, an_address_is_free_once_its_socket_is_forgotten)
{
    struct fallback_socket s = listener(ANY_PORT);
    struct sockaddr_in in = loopback(port_of(&s));
    int again = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    cr_assert_eq(fallback_listen(fallback, &s, 1), 0);
    close(s.fd);
    cr_expect_eq(bind(again, (struct sockaddr *)&in, sizeof(in)), -1);
    fallback_forget(fallback, s.inode);
    cr_expect_eq(bind(again, (struct sockaddr *)&in, sizeof(in)), 0);
    close(again);
}

/* Our end of a client's connection. */
static int other_end(int client_fd)
{
    struct sockaddr_in own, peer;
    socklen_t len = sizeof(own);

    cr_assert_eq(getsockname(client_fd, (struct sockaddr *)&own, &len), 0);
    for (int fd = 0; fd < 1024; fd++) {
        len = sizeof(peer);
        if (getpeername(fd, (struct sockaddr *)&peer, &len) == 0 && len == sizeof(peer) &&
            peer.sin_port == own.sin_port)
            return fd;
    }
    return -1;
}

/* A worker's option would let close(2) wait for the client. */
Test(fallback, lingering_is_not_inherited)
{
    struct linger linger = {.l_onoff = 1, .l_linger = 60};
    struct fallback_socket s = listener(ANY_PORT);
    socklen_t len = sizeof(linger);
    int fd;

    setsockopt(s.fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
    fd = client(&s);
    cr_assert_eq(fallback_listen(fallback, &s, 1), 0);
    wait_for_connections(1);
    cr_assert_eq(getsockopt(other_end(fd), SOL_SOCKET, SO_LINGER, &linger, &len), 0);
    cr_expect_eq(linger.l_onoff, 0);
    close(fd);
    close(s.fd);
}

Test(fallback, unix_sockets)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    socklen_t len = sizeof(sa_family_t);
    struct fallback_socket s = {.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), .inode = 1};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    cr_assert_eq(bind(s.fd, (struct sockaddr *)&un, len), 0); /* the kernel chooses a name */
    cr_assert_eq(listen(s.fd, 16), 0);
    len = sizeof(un);
    getsockname(s.fd, (struct sockaddr *)&un, &len);
    cr_assert_eq(connect(fd, (struct sockaddr *)&un, len), 0);
    cr_assert_eq(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    cr_assert_eq(fallback_listen(fallback, &s, 1), 0);
    expect_answer(fd, "GET / HTTP/1.1\r\n\r\n");
    close(s.fd);
}

/* Without free descriptors the loop must not spin, and goes on when there are some. */
Test(fallback, descriptors_run_out)
{
    struct fallback_socket s = listener(ANY_PORT);
    int fd = client(&s);
    struct rlimit before, none;

    cr_assert_eq(fallback_listen(fallback, &s, 1), 0);
    getrlimit(RLIMIT_NOFILE, &before);
    none = before;
    none.rlim_cur = 3;
    setrlimit(RLIMIT_NOFILE, &none);
    cr_expect_lt(rounds_of_the_loop(), 20);
    setrlimit(RLIMIT_NOFILE, &before);
    expect_answer(fd, "GET / HTTP/1.0\r\n\r\n");
    close(s.fd);
}
