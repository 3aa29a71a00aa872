/* Taking connections from a socket that blocks, without ever being blocked. */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "base/accept.h"
#include "base/clock.h"
#include "base/util.h"

static int listen_fd;
static bool thief;

/* Stands for that of the C library. */
int poll(struct pollfd *fds, nfds_t n, int timeout_ms)
{
    int ready = (int)syscall(SYS_poll, fds, n, timeout_ms);

    if (thief && ready > 0) {
        thief = false;
        close(accept(fds[0].fd, NULL, NULL));
    }
    return ready;
}
static struct sockaddr_in address = {.sin_family = AF_INET};

static void open_listener(void)
{
    socklen_t len = sizeof(address);
    sigset_t alarm;

    sigemptyset(&alarm);
    sigaddset(&alarm, SIGALRM);
    sigprocmask(SIG_BLOCK, &alarm, NULL);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert_eq(bind(listen_fd, (struct sockaddr *)&address, sizeof(address)), 0);
    cr_assert_eq(listen(listen_fd, 1024), 0);
    cr_assert_eq(getsockname(listen_fd, (struct sockaddr *)&address, &len), 0);
}

/* One that waits to be accepted: on a busy machine connect(2) may return before that. */
static int client(void)
{
    struct pollfd p = {.fd = listen_fd, .events = POLLIN};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    cr_assert_eq(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    cr_assert_eq(poll(&p, 1, 10000), 1);
    return fd;
}

TestSuite(accept, .init = open_listener, .timeout = 60);

Test(accept, nobody_waits)
{
    cr_expect_eq(accept_shared(listen_fd), -EAGAIN);
}

Test(accept, takes_a_connection_and_leaves_the_socket_as_it_was)
{
    int ours = client(), fd = accept_shared(listen_fd);

    cr_assert_geq(fd, 0);
    cr_expect(fcntl(fd, F_GETFL) & O_NONBLOCK);
    cr_expect(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    cr_expect_not(fcntl(listen_fd, F_GETFL) & O_NONBLOCK);
    cr_expect_eq(accept_shared(listen_fd), -EAGAIN);
    close(ours);
    close(fd);
}

Test(accept, a_socket_that_does_not_listen)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    cr_expect_eq(accept_shared(fd), -EINVAL);
    close(fd);
}

Test(accept, signals_are_as_before)
{
    int ours = client(), fd = accept_shared(listen_fd);
    struct sigaction handler;
    sigset_t mask;

    sigaction(SIGALRM, NULL, &handler);
    cr_expect_eq(handler.sa_handler, SIG_DFL);
    sigprocmask(SIG_SETMASK, NULL, &mask);
    cr_expect(sigismember(&mask, SIGALRM));
    sigpending(&mask);
    cr_expect_not(sigismember(&mask, SIGALRM));
    close(ours);
    close(fd);
}

/* Another process takes what poll(2) saw, and nobody comes who could wake accept(2) up. */
Test(accept, is_not_blocked_by_one_who_is_faster)
{
    int64_t began_us = clock_us();

    for (int i = 0; i < 100; i++) {
        int ours = client();

        thief = true;
        cr_expect_eq(accept_shared(listen_fd), -EAGAIN);
        cr_expect_not(thief, "it was not asked whether someone waits");
        close(ours);
    }
    cr_expect_lt(clock_us() - began_us, INT64_C(30000000));
}
