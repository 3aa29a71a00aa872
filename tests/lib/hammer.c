/* A load generator for the tests: N clients send GET requests to one loopback address, a new
 * connection for each request unless --keepalive is given, and every way to fail is counted apart.
 *
 *   hammer ADDRESS [--NAME[=NUMBER]]...     ADDRESS: 127.0.0.1:80, [::1]:80, unix:/path
 *
 * An answer must be a whole "200" with the line "pid=N slot=N gen=N". One line of JSON at the end,
 * which comes when the time or the count is over, or after SIGTERM or SIGINT; requests under way
 * are finished first. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define MAX_CLIENTS  4096
#define MAX_SECONDS  3600
#define MAX_PID      4194304
#define MAX_FAILURES 16      /* that are printed one by one */
#define BIN_US       10      /* latencies are counted in bins of this width */
#define BINS         1000000 /* 10 s */

enum outcome { OK, REFUSED, RESET, END, TIMEOUT, BAD, OTHER, OUTCOMES };
static const char *const outcome_name[OUTCOMES] = {"ok",      "refused", "reset", "eof",
                                                   "timeout", "bad",     "other"};

static struct {
    long clients, seconds, count, rate, keepalive, timeout;
} opt = {.clients = 32, .seconds = 10, .timeout = 10000};

static const struct {
    const char *name;
    long *value;
    long max;
} option_table[] = {
    {"clients", &opt.clients, MAX_CLIENTS}, /* at the same time */
    {"seconds", &opt.seconds, MAX_SECONDS}, /* at most */
    {"count", &opt.count, INT32_MAX},       /* requests in all; 0: until the time is over */
    {"rate", &opt.rate, 1000000},      /* requests started in a second; 0: as fast as it goes */
    {"keepalive", &opt.keepalive, 1},  /* reuse connections */
    {"timeout", &opt.timeout, 600000}, /* milliseconds for one request */
};

struct client {
    int fd;
    bool busy, connected, reused;
    int64_t start_us;
    size_t len;
    char answer[4096];
};

static struct {
    int epoll;
    struct sockaddr_storage addr;
    socklen_t addr_len;
    struct client *clients;
    int64_t start_us;
    long started, busy;
    uint64_t outcomes[OUTCOMES], stale;
    uint32_t *bins;
    int64_t max_us;
    uint32_t *pids, *gens;
    struct {
        int64_t at_ms;
        enum outcome outcome;
        int err;
    } failures[MAX_FAILURES];
    int nfailures;
} hammer;

static volatile sig_atomic_t stopping;

static void on_signal(int signo)
{
    (void)signo;
    stopping = 1;
}

static int64_t now_us(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

static void __attribute__((noreturn)) usage(const char *what)
{
    fprintf(stderr, "hammer: %s\n", what);
    exit(2);
}

/* ---- arguments ---- */

static void parse_option(const char *arg)
{
    size_t len = strcspn(arg, "=");

    for (size_t i = 0; i < sizeof(option_table) / sizeof(option_table[0]); i++) {
        const char *name = option_table[i].name;
        long value = arg[len] == '=' ? strtol(arg + len + 1, NULL, 10) : 1;

        if (strncmp(arg, "--", 2) != 0 || strlen(name) != len - 2 ||
            strncmp(arg + 2, name, len - 2) != 0)
            continue;
        if (value < 0 || value > option_table[i].max)
            usage("number out of range");
        *option_table[i].value = value;
        return;
    }
    usage("unknown option");
}

static void parse_unix(const char *path)
{
    struct sockaddr_un *sa = (struct sockaddr_un *)&hammer.addr;

    if (strlen(path) >= sizeof(sa->sun_path))
        usage("path too long");
    sa->sun_family = AF_UNIX;
    memcpy(sa->sun_path, path, strlen(path));
    hammer.addr_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path) + 1);
}

static bool parse_ip(const char *text)
{
    struct sockaddr_in *in = (struct sockaddr_in *)&hammer.addr;
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&hammer.addr;
    const char *colon = strrchr(text, ':');
    char host[64];
    size_t len = colon == NULL ? 0 : (size_t)(colon - text);
    bool six = text[0] == '[' && len > 2 && text[len - 1] == ']';

    if (len == 0 || len >= sizeof(host))
        return false;
    snprintf(host, sizeof(host), "%.*s", (int)(six ? len - 2 : len), text + six);
    hammer.addr.ss_family = six ? AF_INET6 : AF_INET;
    hammer.addr_len = six ? sizeof(*in6) : sizeof(*in);
    in->sin_port = htons((uint16_t)atoi(colon + 1)); /* at the same place in both */
    if (six)
        return inet_pton(AF_INET6, host, &in6->sin6_addr) == 1 &&
               IN6_IS_ADDR_LOOPBACK(&in6->sin6_addr);
    return inet_pton(AF_INET, host, &in->sin_addr) == 1 && ntohl(in->sin_addr.s_addr) >> 24 == 127;
}

static void parse_arguments(char **argv)
{
    if (*++argv == NULL)
        usage("which address?");
    if (strncmp(*argv, "unix:", 5) == 0)
        parse_unix(*argv + 5);
    else if (!parse_ip(*argv))
        usage("no loopback address");
    while (*++argv != NULL)
        parse_option(*argv);
}

/* ---- one request ---- */

static void start_request(struct client *c, int64_t now);

static void client_drop(struct client *c)
{
    close(c->fd);
    c->fd = -1;
    c->connected = c->reused = false;
}

static void note_failure(enum outcome outcome, int err, int64_t now)
{
    if (hammer.nfailures == MAX_FAILURES)
        return;
    hammer.failures[hammer.nfailures].at_ms = (now - hammer.start_us) / 1000;
    hammer.failures[hammer.nfailures].outcome = outcome;
    hammer.failures[hammer.nfailures++].err = err;
}

static void request_over(struct client *c, enum outcome outcome, int err)
{
    int64_t now = now_us(), took = now - c->start_us;

    hammer.outcomes[outcome]++;
    hammer.busy--;
    c->busy = false;
    if (outcome != OK) {
        note_failure(outcome, err, now);
        client_drop(c);
        return;
    }
    hammer.bins[took / BIN_US < BINS ? took / BIN_US : BINS - 1]++;
    if (took > hammer.max_us)
        hammer.max_us = took;
    c->reused = true;
    if (!opt.keepalive)
        client_drop(c);
}

static void request_failed(struct client *c, int err)
{
    enum outcome outcome = err == 0                            ? END
                           : err == ECONNREFUSED               ? REFUSED
                           : err == ECONNRESET || err == EPIPE ? RESET
                                                               : OTHER;

    /* The server closed an idle connection as we used it again: every client tries anew then. */
    if (c->reused && c->len == 0 && (outcome == END || outcome == RESET)) {
        hammer.stale++;
        hammer.busy--;
        client_drop(c);
        start_request(c, c->start_us);
        return;
    }
    request_over(c, outcome, err);
}

static void send_request(struct client *c)
{
    const char *text = opt.keepalive
                           ? "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
                           : "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

    if (send(c->fd, text, strlen(text), MSG_NOSIGNAL) < 0)
        request_failed(c, errno);
}

static void start_request(struct client *c, int64_t now)
{
    struct epoll_event ev = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP, .data.ptr = c};

    c->busy = true;
    c->len = 0;
    c->start_us = now;
    hammer.busy++;
    if (c->fd >= 0) {
        send_request(c);
        return;
    }
    c->fd = socket(hammer.addr.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0 || (connect(c->fd, (struct sockaddr *)&hammer.addr, hammer.addr_len) != 0 &&
                      errno != EINPROGRESS)) {
        request_over(c, errno == ECONNREFUSED ? REFUSED : OTHER, errno);
        return;
    }
    epoll_ctl(hammer.epoll, EPOLL_CTL_ADD, c->fd, &ev);
}

static void client_connected(struct client *c)
{
    struct epoll_event ev = {.events = EPOLLIN | EPOLLRDHUP, .data.ptr = c};
    socklen_t size = sizeof(int);
    int err = 0;

    getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &err, &size);
    if (err != 0) {
        request_failed(c, err);
        return;
    }
    c->connected = true;
    epoll_ctl(hammer.epoll, EPOLL_CTL_MOD, c->fd, &ev);
    send_request(c);
}

/* ---- the answer ---- */

static bool answer_whole(const struct client *c, const char **body)
{
    const char *end = strstr(c->answer, "\r\n\r\n");
    const char *length = strcasestr(c->answer, "\r\nContent-Length:");

    if (end == NULL)
        return false;
    *body = end + 4;
    return length != NULL && length < end &&
           c->len >= (size_t)(*body - c->answer) + strtoul(length + 17, NULL, 10);
}

static enum outcome answer_count(const struct client *c, const char *body)
{
    long pid, slot, gen;

    if (strncmp(c->answer, "HTTP/1.1 200 ", 13) != 0 ||
        sscanf(body, "pid=%ld slot=%ld gen=%ld", &pid, &slot, &gen) != 3 || pid <= 0 ||
        pid >= MAX_PID || gen < 0 || gen >= MAX_PID)
        return BAD;
    hammer.pids[pid]++;
    hammer.gens[gen]++;
    return OK;
}

static void client_readable(struct client *c)
{
    ssize_t n = recv(c->fd, c->answer + c->len, sizeof(c->answer) - 1 - c->len, 0);
    const char *body;

    if (n < 0 && errno == EAGAIN)
        return;
    if (!c->busy) {
        client_drop(c); /* the server closed an idle connection */
        return;
    }
    if (n <= 0) {
        request_failed(c, n < 0 ? errno : 0);
        return;
    }
    c->len += (size_t)n;
    c->answer[c->len] = '\0';
    if (answer_whole(c, &body)) {
        request_over(c, answer_count(c, body), 0);
        return;
    }
    if (c->len == sizeof(c->answer) - 1)
        request_over(c, BAD, 0);
}

static void client_event(struct client *c, unsigned events)
{
    if (c->fd < 0)
        return;
    if (!c->connected)
        client_connected(c);
    else if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
        client_readable(c);
}

/* ---- the run ---- */

/* Not before the first request: a load without one would tell nothing. */
static bool time_over(int64_t now)
{
    return hammer.started > 0 && (stopping || now - hammer.start_us >= opt.seconds * 1000000);
}

static bool may_start(int64_t now)
{
    if (time_over(now))
        return false;
    if (opt.count > 0 && hammer.started >= opt.count)
        return false;
    return opt.rate == 0 || hammer.started < (now - hammer.start_us) * opt.rate / 1000000 + 1;
}

static bool run_over(int64_t now)
{
    return hammer.busy == 0 && (time_over(now) || (opt.count > 0 && hammer.started >= opt.count));
}

static void start_requests(void)
{
    for (long i = 0; i < opt.clients && may_start(now_us()); i++) {
        if (hammer.clients[i].busy)
            continue;
        hammer.started++;
        start_request(&hammer.clients[i], now_us());
    }
}

static void expire(void)
{
    int64_t now = now_us();

    for (long i = 0; i < opt.clients; i++)
        if (hammer.clients[i].busy && now - hammer.clients[i].start_us > opt.timeout * 1000)
            request_over(&hammer.clients[i], TIMEOUT, 0);
}

static void run(void)
{
    struct epoll_event events[256];
    int64_t expired = 0;

    hammer.start_us = now_us();
    while (!run_over(now_us())) {
        int n;

        start_requests();
        n = epoll_wait(hammer.epoll, events, 256, opt.rate > 0 ? 1 : 10);
        for (int i = 0; i < n; i++)
            client_event(events[i].data.ptr, events[i].events);
        if (now_us() - expired > 50000) {
            expire();
            expired = now_us();
        }
    }
}

/* ---- the result ---- */

static int64_t percentile_us(double share)
{
    uint64_t want = (uint64_t)((double)hammer.outcomes[OK] * share), seen = 0;

    for (int64_t i = 0; i < BINS; i++) {
        seen += hammer.bins[i];
        if (seen > want)
            return i * BIN_US;
    }
    return hammer.max_us;
}

static void print_counts(const char *name, const uint32_t *counts)
{
    const char *comma = "";

    printf("\"%s\": {", name);
    for (long i = 0; i < MAX_PID; i++) {
        if (counts[i] == 0)
            continue;
        printf("%s\"%ld\": %u", comma, i, counts[i]);
        comma = ", ";
    }
    printf("}, ");
}

static void print_failures(void)
{
    printf("\"failures\": [");
    for (int i = 0; i < hammer.nfailures; i++)
        printf("%s{\"at_ms\": %lld, \"class\": \"%s\", \"errno\": %d}", i ? ", " : "",
               (long long)hammer.failures[i].at_ms, outcome_name[hammer.failures[i].outcome],
               hammer.failures[i].err);
    printf("]");
}

static void print_result(void)
{
    uint64_t failed = 0;

    printf("{");
    for (int i = 0; i < OUTCOMES; i++) {
        printf("\"%s\": %llu, ", outcome_name[i], (unsigned long long)hammer.outcomes[i]);
        failed += i == OK ? 0 : hammer.outcomes[i];
    }
    printf("\"requests\": %ld, \"failed\": %llu, \"stale\": %llu, ", hammer.started,
           (unsigned long long)failed, (unsigned long long)hammer.stale);
    printf("\"seconds\": %.3f, ", (double)(now_us() - hammer.start_us) / 1e6);
    printf("\"p50_us\": %lld, \"p99_us\": %lld, \"max_us\": %lld, ", (long long)percentile_us(0.5),
           (long long)percentile_us(0.99), (long long)hammer.max_us);
    print_counts("pids", hammer.pids);
    print_counts("gens", hammer.gens);
    print_failures();
    printf("}\n");
}

int main(int argc, char **argv)
{
    struct sigaction sa = {.sa_handler = on_signal};

    (void)argc;
    parse_arguments(argv);
    sigaction(SIGTERM, &sa, NULL);
    sigaction(SIGINT, &sa, NULL);
    hammer.epoll = epoll_create1(EPOLL_CLOEXEC);
    hammer.clients = calloc((size_t)opt.clients, sizeof(*hammer.clients));
    hammer.bins = calloc(BINS, sizeof(*hammer.bins));
    hammer.pids = calloc(MAX_PID, sizeof(*hammer.pids));
    hammer.gens = calloc(MAX_PID, sizeof(*hammer.gens));
    if (hammer.epoll < 0 || !hammer.clients || !hammer.bins || !hammer.pids || !hammer.gens)
        usage("out of memory");
    for (long i = 0; i < opt.clients; i++)
        hammer.clients[i].fd = -1;
    run();
    print_result();
    free(hammer.clients);
    free(hammer.bins);
    free(hammer.pids);
    free(hammer.gens);
    return 0;
}
