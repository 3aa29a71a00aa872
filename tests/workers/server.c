/* A worker for the end-to-end tests: an HTTP/1.1 server on sockets that it is given, which answers
 * "pid=PID slot=SLOT gen=GENERATION" and misbehaves in every way that its options ask for.
 *
 *   server [--NAME[=NUMBER]]...     see option_table
 *
 * Paths: /env and /fd show the environment and the descriptors that it was started with, /hang
 * stops it for good, /exit ends it, /shutdown, /disconnect, /steer and /filter damage its sockets,
 * everything else gets the line above. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../lib/ledger.h"

#define MAX_LISTENERS 16
#define MAX_FDS       4096
#define DRAIN_MS      5000 /* how long a connection that has sent nothing holds up the end */

extern char **environ;

static struct {
    /* where the sockets come from */
    long fd, starter, einhorn, bind;
    /* how it behaves */
    long notify, start_delay, crash_start, crash_after, never_ready, ignore_term, exit_code;
    long request_delay, error, serial, leak, only_slot, grandchild, garbage, pings, mainpid, status;
    long shutdown_at_term;
} opt = {.fd = -1, .only_slot = -1};

static const struct {
    const char *name;
    long *value;
    bool fault; /* switched off in the slots that --only-slot does not name */
} option_table[] = {
    {"fd", &opt.fd, false},                      /* this descriptor; default: LISTEN_FDS */
    {"starter", &opt.starter, false},            /* SERVER_STARTER_PORT */
    {"einhorn", &opt.einhorn, false},            /* EINHORN_FD_COUNT, EINHORN_FD_n */
    {"bind", &opt.bind, false},                  /* its own, on this loopback port */
    {"notify", &opt.notify, false},              /* send READY=1 */
    {"start-delay", &opt.start_delay, true},     /* milliseconds before anything else */
    {"crash-start", &opt.crash_start, true},     /* exit with this status before being ready */
    {"crash-after", &opt.crash_after, true},     /* exit this many milliseconds after being ready */
    {"never-ready", &opt.never_ready, true},     /* neither accept nor READY=1 */
    {"ignore-term", &opt.ignore_term, true},     /* TERM does nothing */
    {"exit-code", &opt.exit_code, false},        /* of a graceful end, /exit and --crash-after */
    {"request-delay", &opt.request_delay, true}, /* milliseconds, blocking, before each answer */
    {"error", &opt.error, true},                 /* answer everything with this status */
    {"leak", &opt.leak, true},                   /* KiB lost at each request */
    {"serial", &opt.serial, false},              /* accept the next when the last is answered */
    {"only-slot", &opt.only_slot, false},        /* misbehave in this slot only */
    {"grandchild", &opt.grandchild, true},       /* leave a child that ignores TERM */
    {"garbage", &opt.garbage, true},             /* fill NOTIFY_SOCKET with nonsense */
    {"pings", &opt.pings, false},                /* send WATCHDOG=1 this often, -1: always */
    {"mainpid", &opt.mainpid, false},            /* serve in a child, announced by MAINPID */
    {"status", &opt.status, false},              /* send a STATUS with control characters */
    {"shutdown-at-term", &opt.shutdown_at_term, true}, /* shut the sockets down when told to stop */
};

struct connection {
    int fd; /* -1: free */
    bool answered;
    size_t len;
    char request[4096];
};

static struct {
    int epoll, signals;
    int listeners[MAX_LISTENERS];
    int nlisteners, nconnections;
    bool draining, accepting;
    int64_t drain_end, crash_at, ping_at;
    int64_t ping_every;
    struct ledger *ledger;
    char start_fds[1024];
    struct connection *by_fd[MAX_FDS];
} server;

static void die(const char *what)
{
    fprintf(stderr, "server: %s: %s\n", what, strerror(errno));
    exit(70);
}

static int64_t now_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static void sleep_ms(long ms)
{
    struct timespec left = {ms / 1000, ms % 1000 * 1000000};

    while (nanosleep(&left, &left) != 0 && errno == EINTR)
        ;
}

static long env_number(const char *name, long otherwise)
{
    const char *text = getenv(name);

    return text != NULL ? strtol(text, NULL, 10) : otherwise;
}

/* ---- options ---- */

static void parse_option(const char *arg)
{
    size_t len = strcspn(arg, "=");

    for (size_t i = 0; i < sizeof(option_table) / sizeof(option_table[0]); i++) {
        const char *name = option_table[i].name;

        if (strncmp(arg, "--", 2) != 0 || strlen(name) != len - 2 ||
            strncmp(arg + 2, name, len - 2) != 0)
            continue;
        *option_table[i].value = arg[len] == '=' ? strtol(arg + len + 1, NULL, 10) : 1;
        return;
    }
    fprintf(stderr, "server: unknown option %s\n", arg);
    exit(64);
}

static void parse_options(char **argv)
{
    while (*++argv != NULL)
        parse_option(*argv);
    if (opt.only_slot < 0 || opt.only_slot == env_number("PREFORK_SLOT", -1))
        return;
    for (size_t i = 0; i < sizeof(option_table) / sizeof(option_table[0]); i++)
        if (option_table[i].fault)
            *option_table[i].value = 0;
}

/* ---- notify ---- */

static void notify(int flags, const char *data, size_t len)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    socklen_t size;
    int fd;

    if (path == NULL || strlen(path) >= sizeof(sa.sun_path))
        return;
    memcpy(sa.sun_path, path, strlen(path));
    size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path));
    if (path[0] == '@')
        sa.sun_path[0] = '\0';
    fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        die("socket");
    sendto(fd, data, len, flags, (struct sockaddr *)&sa, size);
    close(fd);
}

static void notify_text(const char *text)
{
    notify(0, text, strlen(text));
}

/* As much nonsense as the socket takes: random bytes, long lines, other people's process ids. */
static void notify_garbage(void)
{
    static const char *const lines[] = {
        "MAINPID=1\n",
        "READY=2\nREADY=\n=1\n",
        "WATCHDOG_USEC=99999999999999999999\n",
        "EXTEND_TIMEOUT_USEC=-1",
        "\n\n\n",
        "STATUS=\033[31mred\033[0m\001\n",
    };
    char noise[8192];

    srand(1);
    for (int i = 0; i < 300; i++) {
        size_t len = 1 + (size_t)rand() % sizeof(noise);

        for (size_t k = 0; k < len; k++)
            noise[k] = (char)rand();
        notify(MSG_DONTWAIT, noise, len);
        const char *line = lines[(size_t)rand() % (sizeof(lines) / sizeof(lines[0]))];
        notify(MSG_DONTWAIT, line, strlen(line));
    }
}

/* ---- sockets ---- */

static void add_listener(int fd)
{
    int flags = fcntl(fd, F_GETFL);

    if (flags < 0)
        die("inherited socket");
    if (server.nlisteners == MAX_LISTENERS)
        exit(64);
    fcntl(fd, F_SETFL, flags | O_NONBLOCK);
    server.listeners[server.nlisteners++] = fd;
}

static void listeners_from_starter(void)
{
    for (const char *p = getenv("SERVER_STARTER_PORT"); p != NULL && *p != '\0';) {
        const char *equals = strchr(p, '=');
        char *end;

        if (equals == NULL)
            die("SERVER_STARTER_PORT");
        add_listener((int)strtol(equals + 1, &end, 10));
        p = *end == ';' ? end + 1 : end;
    }
}

static void listeners_from_einhorn(void)
{
    long n = env_number("EINHORN_FD_COUNT", 0);

    for (long i = 0; i < n; i++) {
        char name[32];

        snprintf(name, sizeof(name), "EINHORN_FD_%ld", i);
        add_listener((int)env_number(name, -1));
    }
}

static void listeners_from_systemd(void)
{
    long n = env_number("LISTEN_FDS", 0);

    if (env_number("LISTEN_PID", -1) != getpid() && !opt.mainpid)
        return;
    for (long i = 0; i < n; i++)
        add_listener((int)(3 + i));
}

/* As a server that shares its port with its like. */
static void listener_of_own(void)
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_port = htons((uint16_t)opt.bind)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;

    sa.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on));
    if (bind(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0 || listen(fd, SOMAXCONN) < 0)
        die("bind");
    add_listener(fd);
}

static void collect_listeners(void)
{
    if (opt.bind > 0)
        listener_of_own();
    else if (opt.fd >= 0)
        add_listener((int)opt.fd);
    else if (opt.starter)
        listeners_from_starter();
    else if (opt.einhorn)
        listeners_from_einhorn();
    else
        listeners_from_systemd();
}

static void watch(int fd, bool on)
{
    struct epoll_event ev = {.events = EPOLLIN, .data.fd = fd};

    epoll_ctl(server.epoll, on ? EPOLL_CTL_ADD : EPOLL_CTL_DEL, fd, &ev);
}

static void accept_on_off(bool on)
{
    if (on == server.accepting)
        return;
    server.accepting = on;
    for (int i = 0; i < server.nlisteners; i++)
        watch(server.listeners[i], on);
}

/* ---- answers ---- */

struct text {
    size_t len;
    char data[65536];
};

static void __attribute__((format(printf, 2, 3))) text_add(struct text *t, const char *fmt, ...)
{
    va_list ap;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(t->data + t->len, sizeof(t->data) - t->len, fmt, ap);
    va_end(ap);
    if (n > 0)
        t->len += (size_t)n < sizeof(t->data) - t->len ? (size_t)n : sizeof(t->data) - 1 - t->len;
}

static void answer_who(struct text *t)
{
    text_add(t, "pid=%d slot=%ld gen=%ld\n", getpid(), env_number("PREFORK_SLOT", -1),
             env_number("PREFORK_GENERATION", -1));
}

static void answer_env(struct text *t)
{
    for (char **e = environ; *e != NULL; e++)
        text_add(t, "%s\n", *e);
}

static void answer_fd(struct text *t)
{
    text_add(t, "%s\n", server.start_fds);
}

static void __attribute__((noreturn)) answer_hang(struct text *t)
{
    (void)t;
    for (;;)
        pause();
}

static void __attribute__((noreturn)) answer_exit(struct text *t)
{
    (void)t;
    _exit((int)opt.exit_code);
}

static void shut_down(void)
{
    for (int i = 0; i < server.nlisteners; i++)
        shutdown(server.listeners[i], SHUT_RDWR);
}

static void answer_shutdown(struct text *t)
{
    shut_down();
    answer_who(t);
}

static void answer_disconnect(struct text *t)
{
    const struct sockaddr nobody = {.sa_family = AF_UNSPEC};

    for (int i = 0; i < server.nlisteners; i++)
        if (connect(server.listeners[i], &nobody, sizeof(nobody)) != 0)
            die("connect");
    answer_who(t);
}

/* All new connections to the first socket, whoever's that is; or none at all to the own one. */
static void attach_program(int option)
{
    struct sock_filter zero = {BPF_RET | BPF_K, 0, 0, 0};
    struct sock_fprog program = {1, &zero};

    for (int i = 0; i < server.nlisteners; i++)
        if (setsockopt(server.listeners[i], SOL_SOCKET, option, &program, sizeof(program)) != 0)
            die("setsockopt");
}

static void answer_steer(struct text *t)
{
    attach_program(SO_ATTACH_REUSEPORT_CBPF);
    answer_who(t);
}

static void answer_filter(struct text *t)
{
    attach_program(SO_ATTACH_FILTER);
    answer_who(t);
}

static const struct {
    const char *path;
    void (*answer)(struct text *t);
} endpoints[] = {
    {"GET /env ", answer_env},
    {"GET /fd ", answer_fd},
    {"GET /hang ", answer_hang},
    {"GET /exit ", answer_exit},
    {"GET /shutdown ", answer_shutdown},
    {"GET /disconnect ", answer_disconnect},
    {"GET /steer ", answer_steer},
    {"GET /filter ", answer_filter},
    {"", answer_who},
};

static void send_all(int fd, const char *data, size_t len)
{
    while (len > 0) {
        ssize_t n = send(fd, data, len, MSG_NOSIGNAL);

        if (n < 0 && errno == EAGAIN)
            poll(&(struct pollfd){fd, POLLOUT, 0}, 1, 1000);
        else if (n < 0)
            return;
        else {
            data += n;
            len -= (size_t)n;
        }
    }
}

/* Kept in a list, or the compiler would see that nobody needs it. */
static void leak(void)
{
    static void **lost;
    size_t size = (size_t)opt.leak * 1024;
    void **more = size ? malloc(size) : NULL;

    if (!more)
        return;
    memset(more, 1, size);
    *more = lost;
    lost = more;
}

static void respond(struct connection *c, bool keep)
{
    static struct text body, whole;
    size_t i = 0;

    sleep_ms(opt.request_delay);
    leak();
    body.len = whole.len = 0;
    while (strncmp(c->request, endpoints[i].path, strlen(endpoints[i].path)) != 0)
        i++;
    endpoints[i].answer(&body);
    text_add(&whole, "HTTP/1.1 %ld -\r\nContent-Type: text/plain\r\nContent-Length: %zu\r\n%s\r\n",
             opt.error ? opt.error : 200, body.len, keep ? "" : "Connection: close\r\n");
    text_add(&whole, "%.*s", (int)body.len, body.data);
    send_all(c->fd, whole.data, whole.len);
    ledger_count(&server.ledger->answered);
}

/* ---- connections ---- */

static void connection_close(struct connection *c)
{
    server.by_fd[c->fd] = NULL;
    server.nconnections--;
    close(c->fd);
    free(c);
    if (opt.serial && !server.draining)
        accept_on_off(true);
}

/* The answer, once the request is complete. */
static void connection_answer(struct connection *c)
{
    bool keep;

    if (strstr(c->request, "\r\n\r\n") == NULL)
        return;
    keep = strstr(c->request, "Connection: close") == NULL && !server.draining;
    respond(c, keep);
    c->answered = true;
    c->len = 0;
    c->request[0] = '\0';
    if (!keep)
        connection_close(c);
}

static void connection_readable(struct connection *c)
{
    ssize_t n = recv(c->fd, c->request + c->len, sizeof(c->request) - 1 - c->len, 0);

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        connection_close(c);
        return;
    }
    c->len += (size_t)n;
    c->request[c->len] = '\0';
    connection_answer(c);
}

static void connection_open(int fd)
{
    struct connection *c = fd < MAX_FDS ? calloc(1, sizeof(*c)) : NULL;

    if (c == NULL) {
        close(fd);
        return;
    }
    c->fd = fd;
    server.by_fd[fd] = c;
    server.nconnections++;
    watch(fd, true);
    if (opt.serial)
        accept_on_off(false);
    connection_readable(c);
}

static void echo_datagram(int fd)
{
    struct sockaddr_storage from;
    socklen_t size = sizeof(from);
    static struct text t;
    char in[2048];
    ssize_t n = recvfrom(fd, in, sizeof(in), 0, (struct sockaddr *)&from, &size);

    if (n < 0)
        return;
    t.len = 0;
    answer_who(&t);
    text_add(&t, "%.*s", (int)n, in);
    sendto(fd, t.data, t.len, 0, (struct sockaddr *)&from, size);
}

static void listener_readable(int fd)
{
    socklen_t size = sizeof(int);
    int type = 0, accepted;

    getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size);
    if (type == SOCK_DGRAM) {
        echo_datagram(fd);
        return;
    }
    accepted = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (accepted >= 0) {
        ledger_count(&server.ledger->accepted);
        connection_open(accepted);
    } else if (errno != EAGAIN && errno != ECONNABORTED && errno != EINVAL) /* it was shut down */
        die("accept");
}

/* ---- the loop ---- */

/* Stops accepting; what was accepted and has not been answered yet is finished. */
static void drain(void)
{
    accept_on_off(false);
    if (opt.shutdown_at_term)
        shut_down();
    server.draining = true;
    server.drain_end = now_ms() + DRAIN_MS;
    for (int i = 0; i < server.nlisteners; i++)
        close(server.listeners[i]);
    server.nlisteners = 0;
    for (int fd = 0; fd < MAX_FDS; fd++) {
        if (server.by_fd[fd] != NULL)
            connection_readable(server.by_fd[fd]); /* a request that came just before */
        if (server.by_fd[fd] != NULL && server.by_fd[fd]->answered && server.by_fd[fd]->len == 0)
            connection_close(server.by_fd[fd]);
    }
}

static void signal_readable(void)
{
    struct signalfd_siginfo si;

    if (read(server.signals, &si, sizeof(si)) != sizeof(si))
        return;
    if (si.ssi_signo != SIGTERM)
        fprintf(stderr, "server: got signal %u\n", si.ssi_signo);
    else if (!opt.ignore_term && !server.draining)
        drain();
}

static int earliest(int timeout, int64_t when)
{
    int64_t left = when - now_ms();

    if (when == 0)
        return timeout;
    if (left < 0)
        left = 0;
    return timeout < 0 || left < timeout ? (int)left : timeout;
}

static int run_timers(void)
{
    int timeout = -1;

    if (server.crash_at != 0 && now_ms() >= server.crash_at)
        _exit((int)opt.exit_code);
    if (server.ping_at != 0 && now_ms() >= server.ping_at) {
        notify_text("WATCHDOG=1");
        server.ping_at = opt.pings < 0 || --opt.pings > 0 ? now_ms() + server.ping_every : 0;
    }
    if (server.draining && (server.nconnections == 0 || now_ms() >= server.drain_end))
        exit((int)opt.exit_code);
    timeout = earliest(timeout, server.crash_at);
    timeout = earliest(timeout, server.ping_at);
    return earliest(timeout, server.drain_end);
}

static void dispatch(int fd)
{
    if (fd == server.signals) {
        signal_readable();
        return;
    }
    if (fd < MAX_FDS && server.by_fd[fd] != NULL) {
        connection_readable(server.by_fd[fd]);
        return;
    }
    for (int i = 0; i < server.nlisteners; i++)
        if (server.listeners[i] == fd)
            listener_readable(fd);
}

static void __attribute__((noreturn)) serve(void)
{
    struct epoll_event events[64];

    for (;;) {
        int n = epoll_wait(server.epoll, events, opt.serial ? 1 : 64, run_timers());

        for (int i = 0; i < n; i++)
            dispatch(events[i].data.fd);
    }
}

/* ---- the start ---- */

static void remember_start_fds(void)
{
    DIR *dir = opendir("/proc/self/fd");
    struct dirent *entry;
    size_t len = 0;

    if (dir == NULL)
        die("/proc/self/fd");
    while ((entry = readdir(dir)) != NULL)
        if (entry->d_name[0] != '.' && atoi(entry->d_name) != dirfd(dir))
            len += (size_t)snprintf(server.start_fds + len, sizeof(server.start_fds) - len, "%s ",
                                    entry->d_name);
    closedir(dir);
}

/* A child that keeps running, and keeps the sockets, whatever TERM says. */
static void leave_grandchild(void)
{
    if (fork() != 0)
        return;
    signal(SIGTERM, SIG_IGN);
    for (;;)
        pause();
}

/* The caller becomes a wrapper that takes no notice of TERM and ends when its child has ended. */
static void serve_in_child(void)
{
    char text[64];
    int status;
    pid_t pid = fork();

    if (pid == 0)
        return;
    signal(SIGTERM, SIG_IGN);
    snprintf(text, sizeof(text), "MAINPID=%d", pid);
    notify_text(text);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    exit(WIFEXITED(status) ? WEXITSTATUS(status) : 71);
}

static void catch_signals(void)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGUSR1);
    sigaddset(&set, SIGUSR2);
    sigaddset(&set, SIGWINCH);
    sigprocmask(SIG_BLOCK, &set, NULL);
    server.signals = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    watch(server.signals, true);
}

static void become_ready(void)
{
    accept_on_off(true);
    if (opt.garbage)
        notify_garbage();
    if (opt.status)
        notify_text("STATUS=busy \033[31mred\033[0m\007 end");
    if (opt.notify)
        notify_text("READY=1");
    if (opt.crash_after > 0)
        server.crash_at = now_ms() + opt.crash_after;
    server.ping_every = env_number("WATCHDOG_USEC", 0) / 2000;
    if (server.ping_every > 0 && opt.pings != 0)
        server.ping_at = now_ms() + 1;
}

int main(int argc, char **argv)
{
    (void)argc;
    remember_start_fds();
    server.ledger = ledger_open();
    ledger_count(&server.ledger->started);
    parse_options(argv);
    sleep_ms(opt.start_delay);
    if (opt.crash_start > 0)
        exit((int)opt.crash_start);
    if (opt.mainpid)
        serve_in_child();
    if (opt.grandchild)
        leave_grandchild();
    server.epoll = epoll_create1(EPOLL_CLOEXEC);
    if (server.epoll < 0)
        die("epoll_create1");
    catch_signals();
    collect_listeners();
    if (!opt.never_ready)
        become_ready();
    serve();
}
