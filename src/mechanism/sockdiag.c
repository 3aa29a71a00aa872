#include "mechanism/sockdiag.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <stdio.h>
#include <sys/socket.h>

#include "base/sys.h"
#include "mechanism/proc_tree.h"

/* States of the kernel; a bound UDP socket is closed. */
#define STATE_ESTABLISHED 1
#define STATE_CLOSE       7
#define STATE_CLOSE_WAIT  8
#define STATE_LISTEN      10

#define REPLIES_MAX   4096  /* datagrams of one answer, each with many sockets */
#define LINKS_MAX     65536 /* descriptors looked at in all processes together */
#define DESCRIBED_MAX 5

struct owner_search {
    const uint64_t *inodes;
    int n;
};

struct question {
    bool udp;
    uint32_t states; /* 1 << STATE_ each */
    uint16_t port;
    void (*visit)(const struct sockdiag_socket *s, void *data);
    void *data;
};

struct query {
    const struct sockspec *spec;
    enum sockdiag_match match;
    uint64_t *inodes;
    int max;
    int found;
};

static bool is_any6(const struct in6_addr *ip6)
{
    return IN6_IS_ADDR_UNSPECIFIED(ip6);
}

static bool is_dual(const struct sockdiag_socket *p)
{
    return p->family == AF_INET6 && !p->v6only && is_any6(&p->ip6);
}

/* The IPv4 address that a socket takes connections for: its own, that of "::ffff:1.2.3.4", or any
 * for a dual [::]. */
static bool peer_ip4(const struct sockdiag_socket *p, struct in_addr *out)
{
    *out = p->ip4;
    if (p->family == AF_INET)
        return true;
    out->s_addr = INADDR_ANY;
    if (is_dual(p))
        return true;
    if (!IN6_IS_ADDR_V4MAPPED(&p->ip6))
        return false;
    memcpy(out, &p->ip6.s6_addr[12], sizeof(*out));
    return true;
}

static bool overlaps4(const struct in_addr *ours, const struct sockdiag_socket *p)
{
    struct in_addr theirs;

    return peer_ip4(p, &theirs) && (ours->s_addr == theirs.s_addr || ours->s_addr == INADDR_ANY ||
                                    theirs.s_addr == INADDR_ANY);
}

static bool overlaps6(const struct in6_addr *ours, const struct sockdiag_socket *p)
{
    return p->family == AF_INET6 && !IN6_IS_ADDR_V4MAPPED(&p->ip6) &&
           (IN6_ARE_ADDR_EQUAL(ours, &p->ip6) || is_any6(ours) || is_any6(&p->ip6));
}

static bool overlaps(const struct sockspec *spec, const struct sockdiag_socket *p)
{
    switch (spec->kind) {
    case SOCKSPEC_DUAL: return true;
    case SOCKSPEC_IP4: return overlaps4(&spec->ip4, p);
    case SOCKSPEC_IP6: return overlaps6(&spec->ip6, p);
    default: return false;
    }
}

/* The kernel gives a connection to the listeners that match it best: a specific address before a
 * wildcard, for IPv4 an AF_INET socket before an AF_INET6 one. Only among equals it shares, by hash
 * or by which socket was first. So these take connections away from us:
 *   - the same address in the same family;
 *   - for a dual [::]: every wildcard; 0.0.0.0 even takes all of IPv4;
 *   - for [::] without IPv4: every [::], dual or not.
 * And these do not, although the addresses overlap:
 *   - a wildcard while ours is specific: ours wins;
 *   - a dual [::] while ours is 0.0.0.0: ours wins;
 *   - "::ffff:127.0.0.1" while ours is 127.0.0.1: ours wins;
 *   - a specific address while ours is a wildcard: the usual way to have one service on one address
 *     and another on all the rest. It gets what is addressed to it, and no part of the rest. */
static bool is_rival(const struct sockspec *spec, const struct sockdiag_socket *p)
{
    switch (spec->kind) {
    case SOCKSPEC_DUAL:
        return p->family == AF_INET ? p->ip4.s_addr == INADDR_ANY : is_any6(&p->ip6);
    case SOCKSPEC_IP4: return p->family == AF_INET && p->ip4.s_addr == spec->ip4.s_addr;
    case SOCKSPEC_IP6: return p->family == AF_INET6 && IN6_ARE_ADDR_EQUAL(&p->ip6, &spec->ip6);
    default: return false;
    }
}

/* The same link-local address on another interface is another address. */
static bool other_link(const struct sockspec *spec, const struct sockdiag_socket *p)
{
    return spec->scope_id && p->interface && spec->scope_id != p->interface;
}

static void query_add(const struct sockdiag_socket *p, void *data)
{
    struct query *q = data;
    bool matches = q->match == SOCKDIAG_RIVALS ? is_rival(q->spec, p) : overlaps(q->spec, p);

    if (p->port != q->spec->port || other_link(q->spec, p) || !matches)
        return;
    if (q->found < q->max)
        q->inodes[q->found] = p->inode;
    q->found++;
}

/* The attribute INET_DIAG_SKV6ONLY; without it a socket counts as dual, which is the wider. */
static bool parse_v6only(const struct nlattr *a, size_t left)
{
    while (left > sizeof(*a) && a->nla_len >= sizeof(*a) && a->nla_len <= left) {
        size_t step = NLA_ALIGN(a->nla_len);

        if (a->nla_type == INET_DIAG_SKV6ONLY)
            return *(const unsigned char *)(a + 1) != 0;
        if (step >= left)
            break;
        left -= step;
        a = (const struct nlattr *)((const char *)a + step);
    }
    return false;
}

static void parse_socket(const struct nlmsghdr *h, const struct question *q)
{
    const struct inet_diag_msg *m = NLMSG_DATA(h);
    struct sockdiag_socket p;

    if (h->nlmsg_len < NLMSG_LENGTH(sizeof(*m)))
        return;
    p = (struct sockdiag_socket){
        .family = m->idiag_family,
        .state = m->idiag_state,
        .v6only =
            parse_v6only((const struct nlattr *)(m + 1), h->nlmsg_len - NLMSG_LENGTH(sizeof(*m))),
        .port = ntohs(m->id.idiag_sport),
        .interface = m->id.idiag_if,
        .inode = m->idiag_inode,
        .cookie = (uint64_t)m->id.idiag_cookie[1] << 32 | m->id.idiag_cookie[0],
    };
    memcpy(&p.ip4, m->id.idiag_src, sizeof(p.ip4));
    memcpy(&p.ip6, m->id.idiag_src, sizeof(p.ip6));
    q->visit(&p, q->data);
}

/* 1: the end of the answer, 0: there is more to come. */
static int parse_reply(const char *data, size_t len, uint32_t seq, const struct question *q)
{
    const struct nlmsghdr *h = (const struct nlmsghdr *)data;

    for (; NLMSG_OK(h, len); h = NLMSG_NEXT(h, len)) {
        if (h->nlmsg_seq != seq)
            continue;
        if (h->nlmsg_type == NLMSG_DONE)
            return 1;
        if (h->nlmsg_type == NLMSG_ERROR) {
            const struct nlmsgerr *e = NLMSG_DATA(h);

            return h->nlmsg_len >= NLMSG_LENGTH(sizeof(*e)) && e->error < 0 ? e->error : -EPROTO;
        }
        if (h->nlmsg_type == SOCK_DIAG_BY_FAMILY)
            parse_socket(h, q);
    }
    return 0;
}

static int receive_reply(int fd, uint32_t seq, const struct question *q)
{
    char data[32768] __attribute__((aligned(__alignof__(struct nlmsghdr))));
    struct sockaddr_nl from = {0};
    struct iovec iov = {.iov_base = data, .iov_len = sizeof(data)};
    struct msghdr msg = {
        .msg_name = &from, .msg_namelen = sizeof(from), .msg_iov = &iov, .msg_iovlen = 1};
    ssize_t len = recvmsg(fd, &msg, MSG_DONTWAIT);

    if (len < 0)
        return errno == EINTR ? 0 : -errno;
    if (len == 0 || (msg.msg_flags & MSG_TRUNC))
        return -EPROTO;
    if (from.nl_pid != 0) /* not the kernel */
        return 0;
    return parse_reply(data, (size_t)len, seq, q);
}

static int send_request(int fd, const struct inet_diag_req_v2 *request, int flags, uint32_t seq)
{
    struct {
        struct nlmsghdr header;
        struct inet_diag_req_v2 request;
    } message = {
        .header = {.nlmsg_len = sizeof(message),
                   .nlmsg_type = SOCK_DIAG_BY_FAMILY,
                   .nlmsg_flags = (__u16)(NLM_F_REQUEST | flags),
                   .nlmsg_seq = seq},
        .request = *request,
    };
    const struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};

    return sendto(fd, &message, sizeof(message), MSG_DONTWAIT, (const struct sockaddr *)&kernel,
                  sizeof(kernel)) < 0
               ? -errno
               : 0;
}

static int send_question(int fd, int family, const struct question *q, uint32_t seq)
{
    const struct inet_diag_req_v2 request = {
        .sdiag_family = (__u8)family,
        .sdiag_protocol = q->udp ? IPPROTO_UDP : IPPROTO_TCP,
        .idiag_states = q->states,
        .id.idiag_sport = htons(q->port),
    };

    return send_request(fd, &request, NLM_F_DUMP, seq);
}

static int ask(int fd, int family, uint32_t seq, const struct question *q)
{
    int r = send_question(fd, family, q, seq);

    for (int i = 0; r == 0 && i < REPLIES_MAX; i++)
        r = receive_reply(fd, seq, q);
    return r < 0 ? r : r == 0 ? -EMSGSIZE : 0;
}

int sockdiag_each(bool udp, uint16_t port,
                  void (*visit)(const struct sockdiag_socket *s, void *data), void *data)
{
    static const int families[] = {AF_INET, AF_INET6};
    const struct question q = {.udp = udp,
                               .states = 1u << (udp ? STATE_CLOSE : STATE_LISTEN),
                               .port = port,
                               .visit = visit,
                               .data = data};
    CLEANUP_CLOSE int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);

    if (fd < 0)
        return -errno;
    for (size_t i = 0; i < ARRAY_SIZE(families); i++) {
        int r = ask(fd, families[i], (uint32_t)i + 1, &q);

        if (r < 0)
            return r;
    }
    return 0;
}

int sockdiag_connections(int family, uint16_t port,
                         void (*visit)(const struct sockdiag_socket *s, void *data), void *data)
{
    const struct question q = {.states = 1u << STATE_ESTABLISHED | 1u << STATE_CLOSE_WAIT,
                               .port = port,
                               .visit = visit,
                               .data = data};
    CLEANUP_CLOSE int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);

    return fd < 0 ? -errno : ask(fd, family, 1, &q);
}

int sockdiag_listeners(const struct sockspec *spec, enum sockdiag_match match, uint64_t *inodes,
                       int max)
{
    struct query q = {.spec = spec, .match = match, .inodes = inodes, .max = max};
    int r = sockdiag_each(spec->udp, spec->port, query_add, &q);

    return r < 0 ? r : q.found;
}

/* ---- the other end of a connection ---- */

static int put_end(const struct sockaddr_storage *a, __be16 *port, __be32 ip[4])
{
    const struct sockaddr_in *in = (const struct sockaddr_in *)a;
    const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)a;

    *port = a->ss_family == AF_INET ? in->sin_port : in6->sin6_port;
    if (a->ss_family == AF_INET)
        memcpy(ip, &in->sin_addr, sizeof(in->sin_addr));
    else
        memcpy(ip, &in6->sin6_addr, sizeof(in6->sin6_addr));
    return a->ss_family;
}

/* From the other end's point of view: its source is our peer. */
static int put_ends(int fd, struct inet_diag_req_v2 *request)
{
    struct sockaddr_storage own = {0}, peer = {0};
    socklen_t own_len = sizeof(own), peer_len = sizeof(peer);

    if (getsockname(fd, (struct sockaddr *)&own, &own_len) < 0 ||
        getpeername(fd, (struct sockaddr *)&peer, &peer_len) < 0)
        return -errno;
    put_end(&peer, &request->id.idiag_sport, request->id.idiag_src);
    request->sdiag_family = (__u8)put_end(&own, &request->id.idiag_dport, request->id.idiag_dst);
    return 0;
}

/* When there is no such connection, the kernel finds who would take a new one. */
static void note_peer(const struct sockdiag_socket *s, void *data)
{
    struct sockdiag_socket *peer = data;

    *peer = *s;
}

int sockdiag_peer_inode(int fd, uint64_t *inode)
{
    struct sockdiag_socket peer = {.state = STATE_LISTEN};
    const struct question q = {.visit = note_peer, .data = &peer};
    struct inet_diag_req_v2 request = {
        .sdiag_protocol = IPPROTO_TCP,
        .idiag_states = ~0u,
        .id.idiag_cookie = {INET_DIAG_NOCOOKIE, INET_DIAG_NOCOOKIE},
    };
    CLEANUP_CLOSE int netlink = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
    int r = netlink < 0 ? -errno : put_ends(fd, &request);

    if (r == 0)
        r = send_request(netlink, &request, 0, 1);
    if (r == 0)
        r = receive_reply(netlink, 1, &q);
    if (r == 0 && peer.state == STATE_LISTEN)
        r = -ENOENT;
    *inode = r == 0 ? peer.inode : 0;
    return r;
}

/* ---- words ---- */

/* The words of the settings for what a socket is bound to. */
static struct sockspec spec_of(const struct sockdiag_socket *p)
{
    struct sockspec spec = {.kind = SOCKSPEC_IP6, .port = p->port, .ip6 = p->ip6};

    if (is_dual(p))
        spec.kind = SOCKSPEC_DUAL;
    else if (peer_ip4(p, &spec.ip4))
        spec.kind = SOCKSPEC_IP4;
    else if (IN6_IS_ADDR_LINKLOCAL(&p->ip6))
        spec.scope_id = p->interface;
    return spec;
}

void sockdiag_format(const struct sockdiag_socket *s, struct buf *out)
{
    struct sockspec spec = spec_of(s);

    sockspec_format(&spec, 0, out);
}

static int holds(int fd UNUSED, const char *target, void *data)
{
    const struct owner_search *s = data;
    uint64_t inode = proc_tree_socket_inode(target);

    for (int i = 0; inode && i < s->n; i++)
        if (s->inodes[i] == inode)
            return 1;
    return 0;
}

static void describe_process(pid_t pid, int place, struct buf *out)
{
    struct sys_proc proc;

    if (place >= DESCRIBED_MAX)
        return;
    buf_printf(out, "%spid %d", place > 0 ? ", " : "", (int)pid);
    if (sys_proc_stat(pid, &proc) < 0)
        return;
    buf_puts(out, " (");
    buf_escape(out, proc.comm, strlen(proc.comm));
    buf_putc(out, ')');
}

void sockdiag_describe_owners(const uint64_t *inodes, int n, struct buf *out)
{
    struct owner_search s = {.inodes = inodes, .n = n};
    DIR *dir = n > 0 ? opendir("/proc") : NULL;
    const struct dirent *e;
    int links_left = LINKS_MAX, found = 0;

    while (dir && links_left > 0 && (e = readdir(dir))) {
        pid_t pid = isdigit((unsigned char)e->d_name[0]) ? atoi(e->d_name) : 0;

        if (pid > 0 && proc_tree_each_descriptor(pid, &links_left, holds, &s) == 1)
            describe_process(pid, found++, out);
    }
    if (dir)
        closedir(dir);
    if (found == 0)
        buf_puts(out, "unknown processes");
    if (found > DESCRIBED_MAX)
        buf_printf(out, " and %d more", found - DESCRIBED_MAX);
}
