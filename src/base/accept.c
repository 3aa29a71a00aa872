#include "base/accept.h"

#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "base/util.h"

static const struct timeval TICK = {.tv_usec = 1000};

static void no_op(int signo UNUSED)
{
}

/* It fires again and again: a signal that comes just before accept(2) interrupts nothing. */
static int accept_until_tick(int listen_fd)
{
    const struct sigaction interrupt = {.sa_handler = no_op}; /* not SA_RESTART */
    const struct itimerval ticking = {.it_interval = TICK, .it_value = TICK}, off = {0};
    struct sigaction handler_before;
    sigset_t alarm, mask_before;
    int fd, err;

    sigemptyset(&alarm);
    sigaddset(&alarm, SIGALRM);
    sigaction(SIGALRM, &interrupt, &handler_before);
    setitimer(ITIMER_REAL, &ticking, NULL);
    sigprocmask(SIG_UNBLOCK, &alarm, &mask_before);
    fd = accept4(listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    err = errno;
    setitimer(ITIMER_REAL, &off, NULL);
    sigprocmask(SIG_SETMASK, &mask_before, NULL);
    sigaction(SIGALRM, &handler_before, NULL);
    return fd < 0 ? -err : fd;
}

int accept_shared(int listen_fd)
{
    struct pollfd p = {.fd = listen_fd, .events = POLLIN};
    int fd;

    if (poll(&p, 1, 0) <= 0)
        return -EAGAIN;
    fd = accept_until_tick(listen_fd); /* another process may have been faster */
    return fd == -EINTR ? -EAGAIN : fd;
}
