/* Taking connections from a socket that blocks, without ever being blocked. */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "base/accept.h"
#include "base/clock.h"
#include "base/util.h"

static int listen_fd;
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

static int client(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    cr_assert_eq(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
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

static void accept_for_ever(void)
{
    for (;;)
        close(accept(listen_fd, NULL, NULL));
}

/* Other processes take what poll(2) saw, again and again: accept(2) finds nothing and would wait
 * for ever. The last connection is followed by none that could wake it up. */
Test(accept, is_not_blocked_by_those_who_are_faster)
{
    pid_t thieves[4];
    int64_t longest_us = 0;

    for (size_t i = 0; i < ARRAY_SIZE(thieves); i++)
        if ((thieves[i] = fork()) == 0)
            accept_for_ever();
    for (int i = 0; i < 2000; i++) {
        int ours = client();
        int64_t began_us = clock_us();
        int fd = accept_shared(listen_fd);
        int64_t took_us = clock_us() - began_us;

        cr_expect(fd >= 0 || fd == -EAGAIN, "%d", fd);
        longest_us = took_us > longest_us ? took_us : longest_us;
        if (fd >= 0)
            close(fd);
        close(ours);
    }
    cr_expect_lt(longest_us, INT64_C(10000000));
    for (size_t i = 0; i < ARRAY_SIZE(thieves); i++) {
        kill(thieves[i], SIGKILL);
        waitpid(thieves[i], NULL, 0);
    }
}
