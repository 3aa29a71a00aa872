#include "mechanism/signals.h"

#include <signal.h>
#include <sys/signalfd.h>

struct signals {
    struct ev_loop *loop;
    ev_io io;
    void (*handler)(void *data, const struct signals_event *e);
    void *data;
};

/* Left alone: faults of the program itself, and what a shell's job control needs. */
static const int left_alone[] = {SIGSEGV, SIGBUS,  SIGFPE,  SIGILL,  SIGSYS, SIGTRAP,
                                 SIGABRT, SIGTSTP, SIGCONT, SIGKILL, SIGSTOP};

static void on_readable(struct ev_loop *loop UNUSED, ev_io *io, int events UNUSED)
{
    struct signals *s = io->data;
    struct signalfd_siginfo info[16];
    ssize_t n = read(io->fd, info, sizeof(info));

    for (ssize_t i = 0; i < n / (ssize_t)sizeof(*info); i++)
        s->handler(s->data, &(struct signals_event){
                                .signo = (int)info[i].ssi_signo,
                                .sender = (int)info[i].ssi_pid,
                                .from_kernel = info[i].ssi_code == SI_KERNEL,
                            });
}

static void no_op(int signo UNUSED)
{
}

/* Whatever the parent ignored is handled again; SIGPIPE stays ignored for the log. */
static void set_dispositions(const sigset_t *mask)
{
    for (int signo = 1; signo < NSIG; signo++)
        if (sigismember(mask, signo) == 1)
            sigaction(signo, &(struct sigaction){.sa_handler = no_op, .sa_flags = SA_RESTART},
                      NULL);
    sigaction(SIGPIPE, &(struct sigaction){.sa_handler = SIG_IGN}, NULL);
}

int signals_open(struct ev_loop *loop, void (*handler)(void *data, const struct signals_event *e),
                 void *data, struct signals **out)
{
    struct signals *s = calloc(1, sizeof(*s));
    sigset_t mask;
    int fd;

    if (!s)
        return -ENOMEM;
    sigfillset(&mask);
    for (size_t i = 0; i < ARRAY_SIZE(left_alone); i++)
        sigdelset(&mask, left_alone[i]);
    fd = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
    if (fd < 0) {
        int err = errno;

        free(s);
        return -err;
    }
    sigprocmask(SIG_SETMASK, &mask, NULL);
    set_dispositions(&mask);
    *s = (struct signals){.loop = loop, .handler = handler, .data = data};
    ev_io_init(&s->io, on_readable, fd, EV_READ);
    ev_set_priority(&s->io, EV_MAXPRI); /* a death is known before anything else is decided */
    s->io.data = s;
    ev_io_start(loop, &s->io);
    *out = s;
    return 0;
}

void signals_close(struct signals *s)
{
    if (!s)
        return;
    ev_io_stop(s->loop, &s->io);
    close(s->io.fd);
    free(s);
}
