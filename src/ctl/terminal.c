#include "ctl/terminal.h"

#include <signal.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <termios.h>

#define SCREEN_BEGIN "\033[?1049h\033[?25l\033[?7l"
#define SCREEN_END   "\033[?7h\033[?25h\033[?1049l"

/* Signals that end us or mean something to a full screen. */
static const int handled[] = {SIGHUP,  SIGINT,  SIGQUIT, SIGTERM, SIGPIPE, SIGALRM,
                              SIGUSR1, SIGUSR2, SIGTSTP, SIGCONT, SIGWINCH};
static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};

static struct termios saved;
static bool has_saved, is_open;
static sigset_t saved_mask;

bool terminal_is_one(void)
{
    return isatty(STDOUT_FILENO);
}

static struct winsize size_now(void)
{
    struct winsize size = {0};

    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) < 0)
        size = (struct winsize){0};
    return size;
}

struct look terminal_look(void)
{
    const char *no_color = getenv("NO_COLOR"), *term = getenv("TERM");

    if (!terminal_is_one())
        return (struct look){0};
    return (struct look){
        .width = size_now().ws_col,
        .colour = !(no_color && *no_color) && !(term && streq(term, "dumb")),
    };
}

size_t terminal_height(void)
{
    struct winsize size = size_now();

    return size.ws_row > 0 ? size.ws_row : 24;
}

/* Async-signal-safe, as is all it calls. */
static void say(const char *text)
{
    if (write(STDOUT_FILENO, text, strlen(text)) < 0)
        return; /* there is no terminal any more */
}

static void enter(void)
{
    struct termios raw = saved;

    raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
    raw.c_iflag &= ~(tcflag_t)IXON;
    raw.c_cc[VMIN] = 0;
    raw.c_cc[VTIME] = 0;
    if (has_saved)
        tcsetattr(STDIN_FILENO, TCSANOW, &raw);
    say(SCREEN_BEGIN);
    is_open = true;
}

static void leave(void)
{
    if (!is_open)
        return;
    is_open = false;
    say(SCREEN_END);
    if (has_saved)
        tcsetattr(STDIN_FILENO, TCSANOW, &saved);
}

/* The handler is gone when it runs (SA_RESETHAND), so that raising the signal ends us by it. */
static void on_fault(int signo)
{
    leave();
    raise(signo);
}

static void watch_faults(void)
{
    struct sigaction action = {.sa_handler = on_fault, .sa_flags = (int)SA_RESETHAND};

    for (size_t i = 0; i < ARRAY_SIZE(faults); i++)
        sigaction(faults[i], &action, NULL);
}

int terminal_open(void)
{
    sigset_t mask;
    int fd;

    sigemptyset(&mask);
    for (size_t i = 0; i < ARRAY_SIZE(handled); i++)
        sigaddset(&mask, handled[i]);
    fd = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
    if (fd < 0)
        return -errno;
    sigprocmask(SIG_BLOCK, &mask, &saved_mask);
    has_saved = tcgetattr(STDIN_FILENO, &saved) == 0;
    watch_faults();
    enter();
    return fd;
}

int terminal_signal(int signal_fd)
{
    struct signalfd_siginfo info;

    return read(signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info) ? (int)info.ssi_signo : 0;
}

void terminal_suspend(void)
{
    leave();
    raise(SIGSTOP);
    enter();
}

void terminal_close(int signal_fd)
{
    leave();
    close(signal_fd);
    sigprocmask(SIG_SETMASK, &saved_mask, NULL);
}
