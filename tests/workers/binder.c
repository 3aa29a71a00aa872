/* A server that knows nothing of any supervisor: it binds the addresses that it is told, in one of
 * the many ways in which servers do that, and answers "pid=PID slot=SLOT gen=GENERATION".
 *
 *   binder [--NAME[=NUMBER]]... [udp:|bind:]HOST:PORT...     see option_table
 *
 * udp: a datagram socket, which echoes; bind: never listens. It exits with 77 when the machine
 * cannot do what an option asks for. Paths: /sockets shows what it has, /cost how many of the
 * cheapest system calls it can make in a second. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MAX_ADDRESSES  8
#define MAX_CHILDREN   16
#define CANNOT         77
#define REQUEST_S      5   /* a client that sends nothing holds the others up no longer */
#define COST_MS        200 /* of measuring */
#define OPTION_RCVBUF  65536
#define OPTION_DEFER_S 3
#define I386_BIND      361
#define I386_LISTEN    363

static struct {
    long children, threads, each, reuseport, daemonize, setuid, filter, foreign, options;
    long notify, bind_delay, listen_delay, exit;
} opt = {.exit = -1};

static const struct {
    const char *name;
    long *value;
} option_table[] = {
    {"children", &opt.children},   /* this many processes serve, and their parent does not */
    {"threads", &opt.threads},     /* this many threads serve */
    {"each", &opt.each},           /* each of them binds for itself */
    {"reuseport", &opt.reuseport}, /* SO_REUSEPORT before bind */
    {"daemonize", &opt.daemonize}, /* two forks and a session of its own */
    {"setuid", &opt.setuid},       /* becomes this user before bind */
    {"filter", &opt.filter},       /* installs a seccomp filter of its own that allows everything */
    {"foreign", &opt.foreign},     /* binds and listens by i386 system calls */
    {"options", &opt.options},     /* sets socket options before bind */
    {"notify", &opt.notify},       /* sends READY=1 once it listens */
    {"bind-delay", &opt.bind_delay},     /* milliseconds before bind */
    {"listen-delay", &opt.listen_delay}, /* milliseconds between bind and listen */
    {"exit", &opt.exit},                 /* exits with this status once it listens */
};

struct address {
    struct sockaddr_storage sa;
    socklen_t len;
    bool dgram, silent;
};

static struct address addresses[MAX_ADDRESSES];
static int naddresses;
static int signals = -1; /* readable, for good, once TERM has come */

struct sockets {
    int n;
    int fds[MAX_ADDRESSES];
};

static void __attribute__((noreturn)) die(const char *what)
{
    fprintf(stderr, "binder: %s: %s\n", what, strerror(errno));
    exit(70);
}

static int64_t now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
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

/* ---- arguments ---- */

static void __attribute__((noreturn)) usage(const char *arg)
{
    fprintf(stderr, "binder: %s?\n", arg);
    exit(64);
}

static void parse_option(const char *arg)
{
    size_t len = strcspn(arg, "=");

    for (size_t i = 0; i < sizeof(option_table) / sizeof(option_table[0]); i++) {
        const char *name = option_table[i].name;

        if (strlen(name) != len - 2 || strncmp(arg + 2, name, len - 2) != 0)
            continue;
        *option_table[i].value = arg[len] == '=' ? strtol(arg + len + 1, NULL, 10) : 1;
        return;
    }
    usage(arg);
}

static bool take_prefix(char **text, const char *prefix)
{
    size_t len = strlen(prefix);

    if (strncmp(*text, prefix, len) != 0)
        return false;
    *text += len;
    return true;
}

static void parse_address(char *text)
{
    const struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE};
    struct address *a = &addresses[naddresses++];
    struct addrinfo *found;
    char *colon;

    if (naddresses == MAX_ADDRESSES)
        usage(text);
    a->dgram = take_prefix(&text, "udp:");
    a->silent = take_prefix(&text, "bind:");
    colon = strrchr(text, ':');
    if (colon == NULL)
        usage(text);
    *colon = '\0';
    if (text[0] == '[') {
        text++;
        colon[-1] = '\0';
    }
    if (getaddrinfo(text, colon + 1, &hints, &found) != 0)
        usage(text);
    memcpy(&a->sa, found->ai_addr, found->ai_addrlen);
    a->len = found->ai_addrlen;
    freeaddrinfo(found);
}

static void parse_arguments(char **argv)
{
    while (*++argv != NULL)
        if (strncmp(*argv, "--", 2) == 0)
            parse_option(*argv);
        else
            parse_address(*argv);
    if (opt.children > MAX_CHILDREN || opt.threads > MAX_CHILDREN)
        usage("too many");
}

/* ---- sockets ---- */

#ifdef __x86_64__
static long call_i386(long number, long a, long b, long c)
{
    long result;

    __asm__ volatile("int $0x80"
                     : "=a"(result)
                     : "a"(number), "b"(a), "c"(b), "d"(c)
                     : "memory", "r8", "r9", "r10", "r11");
    return result;
}
#else
static long call_i386(long number, long a, long b, long c)
{
    (void)number, (void)a, (void)b, (void)c;
    return -ENOSYS;
}
#endif

static int foreign_call(long number, long a, long b, long c)
{
    long result = call_i386(number, a, b, c);

    if (result >= 0)
        return 0;
    if (result == -ENOSYS)
        exit(CANNOT);
    errno = (int)-result;
    return -1;
}

/* The address must lie where an i386 program can point to. */
static int foreign_bind(int fd, const struct address *a)
{
    int flags = MAP_PRIVATE | MAP_ANONYMOUS;
    void *low;
    int r;

#ifdef MAP_32BIT
    flags |= MAP_32BIT;
#endif
    low = mmap(NULL, sizeof(a->sa), PROT_READ | PROT_WRITE, flags, -1, 0);
    if (low == MAP_FAILED)
        exit(CANNOT);
    memcpy(low, &a->sa, a->len);
    r = foreign_call(I386_BIND, fd, (long)low, (long)a->len);
    munmap(low, sizeof(a->sa));
    return r;
}

static void set(int fd, int level, int name, int value)
{
    if (setsockopt(fd, level, name, &value, sizeof(value)) != 0)
        die("setsockopt");
}

static int get(int fd, int level, int name)
{
    int value = -1;
    socklen_t size = sizeof(value);

    getsockopt(fd, level, name, &value, &size);
    return value;
}

static void set_options(int fd)
{
    set(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    set(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, OPTION_DEFER_S);
    set(fd, SOL_SOCKET, SO_RCVBUF, OPTION_RCVBUF);
}

static int open_socket(const struct address *a)
{
    int type = (a->dgram ? SOCK_DGRAM : SOCK_STREAM) | SOCK_NONBLOCK | SOCK_CLOEXEC;
    int fd = socket(a->sa.ss_family, type, 0);
    int r;

    if (fd < 0)
        die("socket");
    set(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    if (opt.reuseport || a->dgram)
        set(fd, SOL_SOCKET, SO_REUSEPORT, 1);
    if (opt.options && !a->dgram)
        set_options(fd);
    r = opt.foreign ? foreign_bind(fd, a) : bind(fd, (const struct sockaddr *)&a->sa, a->len);
    if (r != 0)
        die("bind");
    if (a->dgram || a->silent)
        return fd;
    sleep_ms(opt.listen_delay);
    r = opt.foreign ? foreign_call(I386_LISTEN, fd, 5, 0) : listen(fd, 5);
    if (r != 0)
        die("listen");
    return fd;
}

static void notify(const char *text)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    if (path == NULL || strlen(path) >= sizeof(sa.sun_path))
        return;
    memcpy(sa.sun_path, path, strlen(path));
    if (path[0] == '@')
        sa.sun_path[0] = '\0';
    sendto(fd, text, strlen(text), 0, (struct sockaddr *)&sa,
           (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path)));
    close(fd);
}

static void open_all(struct sockets *s)
{
    sleep_ms(opt.bind_delay);
    for (s->n = 0; s->n < naddresses; s->n++)
        s->fds[s->n] = open_socket(&addresses[s->n]);
    if (opt.notify)
        notify("READY=1");
    if (opt.exit >= 0)
        exit((int)opt.exit);
}

/* ---- answers ---- */

static int show_who(char *out, size_t size)
{
    return snprintf(out, size, "pid=%d slot=%ld gen=%ld\n", getpid(), env_number("PREFORK_SLOT", 0),
                    env_number("PREFORK_GENERATION", 0));
}

static int show_socket(char *out, size_t size, int fd)
{
    struct sockaddr_storage sa;
    socklen_t len = sizeof(sa);
    char host[64] = "", port[16] = "";
    struct stat st;

    if (getsockname(fd, (struct sockaddr *)&sa, &len) != 0 || fstat(fd, &st) != 0)
        die("getsockname");
    getnameinfo((struct sockaddr *)&sa, len, host, sizeof(host), port, sizeof(port),
                NI_NUMERICHOST | NI_NUMERICSERV);
    return snprintf(out, size,
                    "type=%d host=%s port=%s inode=%ju listening=%d nonblock=%d nodelay=%d "
                    "defer=%d rcvbuf=%d\n",
                    get(fd, SOL_SOCKET, SO_TYPE), host, port, (uintmax_t)st.st_ino,
                    get(fd, SOL_SOCKET, SO_ACCEPTCONN), (fcntl(fd, F_GETFL) & O_NONBLOCK) != 0,
                    get(fd, IPPROTO_TCP, TCP_NODELAY), get(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT),
                    get(fd, SOL_SOCKET, SO_RCVBUF));
}

static int show_cost(char *out, size_t size)
{
    int64_t begin = now_ns(), end = begin + COST_MS * INT64_C(1000000), now;
    int64_t calls = 0;

    do {
        for (int i = 0; i < 1000; i++)
            syscall(SYS_getppid);
        calls += 1000;
        now = now_ns();
    } while (now < end);
    return snprintf(out, size, "%jd\n", (intmax_t)(calls * 1000000000 / (now - begin)));
}

static void respond(int fd, const struct sockets *s, const char *request)
{
    char body[2048], whole[4096];
    int len = 0;

    if (strncmp(request, "GET /sockets ", 13) == 0)
        for (int i = 0; i < s->n; i++)
            len += show_socket(body + len, sizeof(body) - (size_t)len, s->fds[i]);
    else if (strncmp(request, "GET /cost ", 10) == 0)
        len = show_cost(body, sizeof(body));
    else
        len = show_who(body, sizeof(body));
    len =
        snprintf(whole, sizeof(whole),
                 "HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", len, body);
    send(fd, whole, (size_t)len, MSG_NOSIGNAL);
}

static void serve_client(int fd, const struct sockets *s)
{
    const struct timeval limit = {.tv_sec = REQUEST_S};
    char request[4096];
    size_t len = 0;

    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    while (len < sizeof(request) - 1) {
        ssize_t n = recv(fd, request + len, sizeof(request) - 1 - len, 0);

        if (n <= 0)
            break;
        len += (size_t)n;
        request[len] = '\0';
        if (strstr(request, "\r\n\r\n") == NULL)
            continue;
        respond(fd, s, request);
        break;
    }
    close(fd);
}

static void echo(int fd)
{
    struct sockaddr_storage from;
    socklen_t size = sizeof(from);
    char data[2048];
    ssize_t n = recvfrom(fd, data, sizeof(data), 0, (struct sockaddr *)&from, &size);

    if (n >= 0)
        sendto(fd, data, (size_t)n, 0, (struct sockaddr *)&from, size);
}

static void readable(int fd, bool dgram, const struct sockets *s)
{
    int client;

    if (dgram) {
        echo(fd);
        return;
    }
    client = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
    if (client >= 0)
        serve_client(client, s);
    else if (errno != EAGAIN && errno != ECONNABORTED)
        die("accept");
}

/* Until TERM comes; what was accepted has been answered by then. */
static void serve(const struct sockets *s)
{
    struct pollfd p[MAX_ADDRESSES + 1];

    for (;;) {
        for (int i = 0; i < s->n; i++)
            p[i] = (struct pollfd){addresses[i].silent ? -1 : s->fds[i], POLLIN, 0};
        p[s->n] = (struct pollfd){signals, POLLIN, 0};
        if (poll(p, (nfds_t)s->n + 1, -1) < 0 && errno != EINTR)
            die("poll");
        if (p[s->n].revents)
            return;
        for (int i = 0; i < s->n; i++)
            if (p[i].revents)
                readable(s->fds[i], addresses[i].dgram, s);
    }
}

/* ---- processes and threads ---- */

static void *serve_thread(void *data)
{
    struct sockets own, *shared = data;

    if (opt.each)
        open_all(&own);
    serve(opt.each ? &own : shared);
    return NULL;
}

static void serve_in_threads(struct sockets *shared)
{
    pthread_t threads[MAX_CHILDREN];

    for (long i = 0; i < opt.threads; i++)
        if (pthread_create(&threads[i], NULL, serve_thread, shared) != 0)
            die("pthread_create");
    for (long i = 0; i < opt.threads; i++)
        pthread_join(threads[i], NULL);
}

static void serve_in_children(struct sockets *shared)
{
    pid_t pids[MAX_CHILDREN];
    int n;

    for (n = 0; n < opt.children; n++) {
        pids[n] = fork();
        if (pids[n] < 0)
            die("fork");
        if (pids[n] == 0) {
            serve_thread(shared);
            _exit(0);
        }
    }
    serve(&(struct sockets){.n = 0});
    while (n > 0)
        kill(pids[--n], SIGTERM);
    while (wait(NULL) > 0)
        ;
}

/* As daemon(7) says. */
static void daemonize(void)
{
    if (fork() > 0)
        _exit(0);
    setsid();
    if (fork() > 0)
        _exit(0);
}

/* As sandboxed servers do; it asks for nothing that ours would not allow. */
static void install_filter(void)
{
    struct sock_filter allow = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    const struct sock_fprog program = {.len = 1, .filter = &allow};

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
        die("seccomp");
}

static void drop_privileges(void)
{
    uid_t id = (uid_t)opt.setuid;

    if (setresgid(id, id, id) != 0 || setresuid(id, id, id) != 0)
        die("setresuid");
}

static void watch_signals(void)
{
    sigset_t mask;

    sigemptyset(&mask);
    sigaddset(&mask, SIGTERM);
    sigprocmask(SIG_BLOCK, &mask, NULL);
    signals = signalfd(-1, &mask, SFD_CLOEXEC);
    if (signals < 0)
        die("signalfd");
}

int main(int argc, char **argv)
{
    struct sockets s = {.n = 0};

    (void)argc;
    parse_arguments(argv);
    if (opt.daemonize)
        daemonize();
    if (opt.setuid)
        drop_privileges();
    if (opt.filter)
        install_filter();
    watch_signals();
    if (!opt.each)
        open_all(&s);
    if (opt.children)
        serve_in_children(&s);
    else if (opt.threads)
        serve_in_threads(&s);
    else
        serve(&s);
    return 0;
}
