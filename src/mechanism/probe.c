#include "mechanism/probe.h"

#include <linux/in6.h>
#include <stdio.h>
#include <sys/socket.h>

#include "base/buf.h"
#include "base/clock.h"
#include "mechanism/sockdiag.h"
#include "mechanism/socket_spec.h"
#include "mechanism/timer.h"
#include "policy/deadline.h"
#include "policy/steer_prog.h"

#define FIRST_LOOK_MS 1 /* at who accepted; each wait is twice the last */
#define LAST_LOOK_MS  50
#define REST_MAX      (1 << 20) /* bytes of an answer that are read after its first line */

enum { STATUS_LINE = sizeof("HTTP/1.1 200") - 1 };

struct probe {
    struct ev_loop *loop;
    const struct probe_ops *ops;
    void *data;
    ev_io io;
    ev_timer timer;
    struct probe_request request;
    struct buf text;   /* of the request */
    size_t sent, held; /* up to where it may be sent by now */
    char line[STATUS_LINE + 1];
    size_t len, rest;
    struct deadline deadline;
    int64_t wait_ms;
    bool http;
    bool connected;
    bool looking; /* for who accepts */
    bool elsewhere;
    bool told;
};

/* Addresses ----------------------------------------------------------------------------------- */

/* Wildcards become the loopback address; a socket for both families is asked by IPv4. */
bool probe_target(const struct sockspec *bound, struct sockspec *to)
{
    *to = (struct sockspec){.kind = bound->kind, .port = bound->port, .ip4 = bound->ip4};
    to->ip6 = bound->ip6;
    if (bound->udp || bound->port == 0 || bound->kind > SOCKSPEC_IP6)
        return false;
    if (bound->kind == SOCKSPEC_DUAL) {
        to->kind = SOCKSPEC_IP4;
        to->ip4.s_addr = INADDR_ANY;
    }
    if (to->kind == SOCKSPEC_IP4 && to->ip4.s_addr == INADDR_ANY)
        to->ip4.s_addr = htonl(INADDR_LOOPBACK);
    if (to->kind == SOCKSPEC_IP6 && IN6_IS_ADDR_UNSPECIFIED(&to->ip6))
        to->ip6 = in6addr_loopback;
    return to->kind == SOCKSPEC_IP4 || !IN6_IS_ADDR_LINKLOCAL(&to->ip6);
}

/* IP_BIND_ADDRESS_NO_PORT leaves the port to connect(2), which then may use one that other
 * connections have too. */
static int bind_source(int fd, const struct sockspec *from)
{
    struct sockaddr_storage a;
    socklen_t len = sockspec_sockaddr(from, 0, &a);

    socket_set_number(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1);
    return bind(fd, (struct sockaddr *)&a, len) < 0 ? -errno : 0;
}

static int prepare4(int fd, int slot, struct sockaddr_storage *to UNUSED)
{
    const struct sockspec from = {.kind = SOCKSPEC_IP4,
                                  .ip4.s_addr = htonl(STEER_PROBE_IP4 + (uint32_t)slot)};

    return bind_source(fd, &from);
}

/* The label is taken from the kernel's manager, since it refuses others once anybody in this
 * network namespace has one for himself; that it is not given is no reason not to try. */
static int prepare6(int fd, int slot, struct sockaddr_storage *to)
{
    const struct sockspec from = {.kind = SOCKSPEC_IP6, .ip6 = in6addr_loopback};
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)to;
    uint32_t label = (STEER_PROBE_IP6_WORD & STEER_PROBE_IP6_LABEL) + (uint32_t)slot;
    struct in6_flowlabel_req lease = {.flr_dst = in6->sin6_addr,
                                      .flr_label = htonl(label),
                                      .flr_action = IPV6_FL_A_GET,
                                      .flr_share = IPV6_FL_S_ANY,
                                      .flr_flags = IPV6_FL_F_CREATE};
    int r = socket_set_number(fd, IPPROTO_IPV6, IPV6_TCLASS, STEER_PROBE_IP6_TCLASS);

    in6->sin6_flowinfo = htonl(label);
    setsockopt(fd, IPPROTO_IPV6, IPV6_FLOWLABEL_MGR, &lease, sizeof(lease));
    if (r == 0)
        r = socket_set_number(fd, IPPROTO_IPV6, IPV6_FLOWINFO_SEND, 1);
    return r < 0 ? r : bind_source(fd, &from);
}

int probe_connect(const struct sockspec *to, int slot)
{
    struct sockaddr_storage a;
    socklen_t len = sockspec_sockaddr(to, 0, &a);
    CLEANUP_CLOSE int fd = socket(a.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int r;

    if (fd < 0)
        return -errno;
    r = a.ss_family == AF_INET ? prepare4(fd, slot, &a) : prepare6(fd, slot, &a);
    if (r == 0 && connect(fd, (struct sockaddr *)&a, len) < 0 && errno != EINPROGRESS)
        r = -errno;
    return r < 0 ? r : util_take_fd(&fd);
}

/* The end ------------------------------------------------------------------------------------- */

static void stop(struct probe *p)
{
    ev_timer_stop(p->loop, &p->timer);
    ev_io_stop(p->loop, &p->io);
    util_close_p(&p->io.fd);
}

static void set_events(struct probe *p)
{
    ev_io_stop(p->loop, &p->io);
    ev_io_set(&p->io, p->io.fd, p->sent < p->held ? EV_READ | EV_WRITE : EV_READ);
    ev_io_start(p->loop, &p->io);
}

/* The callback may free it. */
static void tell(struct probe *p, enum probe_result result, const char *what)
{
    p->told = true;
    p->looking = false;
    p->held = p->sent;
    if (p->io.fd >= 0)
        set_events(p);
    p->ops->done(p->data, p->elsewhere ? PROBE_ELSEWHERE : result, what);
}

static void fail(struct probe *p, const char *what)
{
    stop(p);
    tell(p, PROBE_FAILED, what);
}

/* Until the next look, or the end. */
static void arm(struct probe *p)
{
    int64_t ms = deadline_left_ms(&p->deadline, clock_ms());

    if (p->looking && p->wait_ms < ms)
        ms = p->wait_ms;
    timer_arm_ms(p->loop, &p->timer, ms);
}

/* Who accepted -------------------------------------------------------------------------------- */

/* `inode` 0: that cannot be told. */
static void attribute(struct probe *p, uint64_t inode)
{
    p->looking = false;
    p->elsewhere = inode && p->ops->is_meant && !p->ops->is_meant(p->data, inode);
    p->held = p->text.len; /* nothing is held back any more */
    set_events(p);
}

static void go_on(struct probe *p)
{
    arm(p);
    if (p->http)
        return;
    shutdown(p->io.fd, SHUT_WR);
    tell(p, PROBE_PASSED, "accepted");
}

/* The socket of a connection that waits to be accepted belongs to nobody and has no inode. Where
 * the kernel does not answer, being connected has to do. */
static bool is_accepted(struct probe *p, uint64_t *inode)
{
    int r = sockdiag_peer_inode(p->io.fd, inode);

    return *inode || (r < 0 && r != -ENOENT);
}

static void look(struct probe *p)
{
    uint64_t inode;

    if (is_accepted(p, &inode)) {
        attribute(p, inode);
        go_on(p);
        return;
    }
    arm(p);
    p->wait_ms = p->wait_ms * 2 < LAST_LOOK_MS ? p->wait_ms * 2 : LAST_LOOK_MS;
}

/* Something came, so it was accepted; by whom nobody can tell when the socket is closed already. */
static void look_at_last(struct probe *p)
{
    uint64_t inode;
    bool known = is_accepted(p, &inode);

    attribute(p, inode);
    p->elsewhere = p->elsewhere || (!known && p->ops->is_meant);
}

/* Question and answer ------------------------------------------------------------------------- */

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static void judge(struct probe *p)
{
    const char *version = str_after(p->line, "HTTP/1."), *code = p->line + STATUS_LINE - 3;
    char what[32];

    if (!version || version[1] != ' ' || !is_digit(code[0]) || !is_digit(code[1]) ||
        !is_digit(code[2])) {
        tell(p, PROBE_FAILED, "its answer is not HTTP/1");
        return;
    }
    snprintf(what, sizeof(what), "answered %s", code);
    tell(p, code[0] == '2' || code[0] == '3' ? PROBE_PASSED : PROBE_FAILED, what);
}

/* The rest of an answer: read so that the worker is not disturbed by a reset. */
static void read_rest(struct probe *p)
{
    char unused[16384];
    ssize_t n = recv(p->io.fd, unused, sizeof(unused), 0);

    if (n < 0 && errno == EAGAIN)
        return;
    p->rest += n > 0 ? (size_t)n : 0;
    if (n <= 0 || p->rest > REST_MAX)
        stop(p);
}

static void read_answer(struct probe *p)
{
    ssize_t n = recv(p->io.fd, p->line + p->len, STATUS_LINE - p->len, 0);

    if (n < 0 && errno != EAGAIN)
        fail(p, strerror(errno));
    if (n < 0)
        return;
    if (p->looking)
        look_at_last(p);
    p->len += (size_t)n;
    if (!p->http)
        go_on(p);
    else if (n == 0)
        fail(p, "closed the connection without an answer");
    else if (p->len == STATUS_LINE)
        judge(p);
}

/* 0, or -errno with the end told. */
static int send_question(struct probe *p)
{
    ssize_t n = send(p->io.fd, p->text.data + p->sent, p->held - p->sent, MSG_NOSIGNAL);

    if (n < 0 && errno != EAGAIN) {
        n = -errno;
        fail(p, strerror(errno));
        return (int)n;
    }
    p->sent += n > 0 ? (size_t)n : 0;
    set_events(p);
    return 0;
}

/* The first line of a question goes ahead: there are servers that accept only with
 * TCP_DEFER_ACCEPT, and without the rest nobody answers before it is known who it is. */
static void begin(struct probe *p)
{
    const char *first_line = p->http ? strchr(p->text.data, '\n') : NULL;

    p->connected = true;
    p->looking = p->http ? p->ops->is_meant != NULL : !p->request.connect_is_enough;
    p->held = first_line && p->looking ? (size_t)(first_line + 1 - p->text.data) : p->text.len;
    set_events(p);
    if (p->looking)
        look(p);
    else if (!p->http)
        go_on(p);
}

static void on_connect(struct probe *p)
{
    int err = 0;
    socklen_t len = sizeof(err);

    if (getsockopt(p->io.fd, SOL_SOCKET, SO_ERROR, &err, &len) < 0)
        err = errno;
    if (err)
        fail(p, strerror(err));
    else
        begin(p);
}

static void on_io(struct ev_loop *loop UNUSED, ev_io *io, int events)
{
    struct probe *p = io->data;

    if (!p->connected)
        on_connect(p);
    else if (p->told)
        read_rest(p);
    else if (!(events & EV_WRITE) || send_question(p) == 0)
        if (events & EV_READ)
            read_answer(p);
}

static void on_timer(struct ev_loop *loop UNUSED, ev_timer *timer, int events UNUSED)
{
    struct probe *p = timer->data;

    if (!deadline_passed(&p->deadline, clock_ms()))
        p->looking ? look(p) : arm(p);
    else if (p->told)
        stop(p);
    else if (!p->connected)
        fail(p, "no connection in time");
    else
        fail(p, p->looking ? "not accepted in time" : "no answer in time");
}

/* ---------------------------------------------------------------------------------------------- */

static void write_question(struct probe *p, const char *path)
{
    CLEANUP_BUF struct buf host = BUF_INIT;

    sockspec_format(&p->request.to, 0, &host);
    buf_printf(&p->text,
               "GET %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: preforkd\r\nAccept: */*\r\n"
               "Connection: close\r\n\r\n",
               path, buf_str(&host));
}

static struct probe *probe_new(struct ev_loop *loop, const struct probe_request *request,
                               const struct probe_ops *ops, void *data)
{
    struct probe *p = calloc(1, sizeof(*p));

    if (!p)
        return NULL;
    p->loop = loop;
    p->ops = ops;
    p->data = data;
    p->request = *request;
    p->http = request->path;
    deadline_set(&p->deadline, request->timeout_ms, clock_ms());
    p->wait_ms = FIRST_LOOK_MS;
    ev_io_init(&p->io, on_io, -1, EV_WRITE);
    ev_init(&p->timer, on_timer);
    p->io.data = p->timer.data = p;
    if (p->http)
        write_question(p, request->path);
    return p;
}

int probe_start(struct ev_loop *loop, const struct probe_request *request,
                const struct probe_ops *ops, void *data, struct probe **out)
{
    struct probe *p = probe_new(loop, request, ops, data);
    int fd = !p || p->text.failed ? -ENOMEM : probe_connect(&request->to, request->slot);

    if (fd < 0) {
        probe_free(p);
        return fd;
    }
    ev_io_set(&p->io, fd, EV_WRITE);
    ev_io_start(loop, &p->io);
    arm(p);
    *out = p;
    return 0;
}

void probe_free(struct probe *p)
{
    if (!p)
        return;
    stop(p);
    buf_free(&p->text);
    free(p);
}
