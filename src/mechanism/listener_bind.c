/* From the address asked for to a bound socket. */
#include <netinet/in.h>
#include <sys/socket.h>

#include "base/log.h"
#include "base/sys.h"
#include "mechanism/listener_parts.h"
#include "mechanism/sockdiag.h"
#include "mechanism/socket_spec.h"

#define RIVALS_MAX 256 /* sockets of others that are counted and whose owners are looked up */

/* ---- why an address cannot be had ---- */

static int fail_in_use(const struct sockspec *bound, struct why *why)
{
    CLEANUP_BUF struct buf owners = BUF_INIT;
    uint64_t inodes[RIVALS_MAX];
    int n = why ? sockdiag_listeners(bound, SOCKDIAG_OVERLAPS, inodes, RIVALS_MAX) : 0;

    if (n <= 0)
        return why_fail(why, -EADDRINUSE, "the address is already in use");
    sockdiag_describe_owners(inodes, n < RIVALS_MAX ? n : RIVALS_MAX, &owners);
    return why_fail(why, -EADDRINUSE, "the address is already in use by %s", buf_str(&owners));
}

static int fail_shared(const struct sockspec *bound, const uint64_t *inodes, int n, struct why *why)
{
    CLEANUP_BUF struct buf address = BUF_INIT;
    CLEANUP_BUF struct buf owners = BUF_INIT;

    sockspec_format(bound, 0, &address);
    sockdiag_describe_owners(inodes, n < RIVALS_MAX ? n : RIVALS_MAX, &owners);
    return why_fail(why, -EADDRINUSE,
                    "%s is shared by %d socket%s of other processes that would take part of the "
                    "connections: %s; end them first",
                    buf_str(&address), n, n == 1 ? "" : "s", buf_str(&owners));
}

static int fail_bind(const struct sockspec *bound, int err, struct why *why)
{
    int first = sys_first_unprivileged_port();

    if (err == -EADDRINUSE)
        return fail_in_use(bound, why);
    if (err == -EADDRNOTAVAIL)
        return why_fail(why, err, "no network interface of this machine has the address");
    if (err == -EACCES && bound->port < first)
        return why_fail(why, err, "ports below %d need root or CAP_NET_BIND_SERVICE", first);
    return why_fail_errno(why, err, "cannot bind");
}

/* ---- sockets of others on the same address ---- */

/* Sockets that would take connections away from us, or 0 when nobody may ask. What is left of a
 * dead master (its workers hold sockets of our SO_REUSEPORT group) would take them for ever. */
static int find_rivals(const struct sockspec *bound, uint64_t *inodes)
{
    int found = sockdiag_listeners(bound, SOCKDIAG_RIVALS, inodes, RIVALS_MAX);
    int n = 0;

    if (found < 0)
        log_debug(LOG_NOBODY, "cannot ask who else listens on port %d: %s", bound->port,
                  strerror(-found));
    for (int i = 0; i < found && i < RIVALS_MAX; i++)
        if (!listener_is_elsewhere(inodes[i], bound))
            inodes[n++] = inodes[i];
    return n;
}

/* ---- making sockets ---- */

int listener_new_socket(const struct listener *l)
{
    static const int domains[] = {
        [SOCKSPEC_DUAL] = AF_INET6,
        [SOCKSPEC_IP4] = AF_INET,
        [SOCKSPEC_IP6] = AF_INET6,
        [SOCKSPEC_UNIX] = AF_UNIX,
    };
    int type = l->bound.udp ? SOCK_DGRAM : SOCK_STREAM;
    int fd = socket(domains[l->bound.kind], type | SOCK_CLOEXEC, 0);

    return fd < 0 ? -errno : fd;
}

/* SO_REUSEADDR is for connections in TIME_WAIT. UDP has none; there it would let any other user's
 * socket take the datagrams. */
static int prepare_inet(const struct sockspec *bound, int fd, bool reuseport)
{
    int r = 0;

    if (bound->kind != SOCKSPEC_IP4)
        r = socket_set_number(fd, IPPROTO_IPV6, IPV6_V6ONLY, bound->kind == SOCKSPEC_IP6);
    if (r == 0 && !bound->udp)
        r = socket_set_number(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    if (r == 0 && reuseport)
        r = socket_set_number(fd, SOL_SOCKET, SO_REUSEPORT, 1);
    return r;
}

int listener_prepare_socket(const struct listener *l, int fd)
{
    return l->bound.kind == SOCKSPEC_UNIX ? 0 : prepare_inet(&l->bound, fd, !l->shared);
}

static int bind_inet(const struct sockspec *bound, int fd, bool reuseport)
{
    struct sockaddr_storage address;
    socklen_t len = sockspec_sockaddr(bound, 0, &address);
    int r = prepare_inet(bound, fd, reuseport);

    return r == 0 && bind(fd, (const struct sockaddr *)&address, len) < 0 ? -errno : r;
}

int listener_bind_socket(struct listener *l, int fd, bool reuseport, struct why *why)
{
    int r;

    if (l->bound.kind == SOCKSPEC_UNIX)
        return unix_socket_bind(fd, &l->bound, &l->file, why);
    r = bind_inet(&l->bound, fd, reuseport);
    return r < 0 ? fail_bind(&l->bound, r, why) : 0;
}

/* Port 0: a socket that only chooses the port, closed when the first slot's socket is bound to it.
 * That one is thus bound to a number, and the kernel keeps the port for it when a worker shuts it
 * down; a port that bind(2) chose itself is given up then. SO_REUSEPORT comes after bind(2):
 * before it, a UDP socket may be given the port of a stranger's group. */
int listener_choose_port(struct listener *l, int *chooser, struct why *why)
{
    struct sockspec chosen;
    int r;

    *chooser = listener_new_socket(l);
    if (*chooser < 0)
        return why_fail_errno(why, *chooser, "cannot make a socket");
    r = bind_inet(&l->bound, *chooser, false);
    if (r < 0)
        return fail_bind(&l->bound, r, why);
    r = socket_set_number(*chooser, SOL_SOCKET, SO_REUSEPORT, 1);
    if (r == 0)
        r = socket_spec(*chooser, &chosen);
    if (r < 0)
        return why_fail_errno(why, r, "cannot choose a port");
    l->bound.port = chosen.port;
    return 0;
}

/* bind(2) comes before the complaint about rivals, so that EADDRINUSE is told as such. */
int listener_bind_first(struct listener *l, int fd, int chooser, struct why *why)
{
    uint64_t rivals[RIVALS_MAX];
    bool known_port = l->bound.kind != SOCKSPEC_UNIX && chooser < 0;
    int n = known_port ? find_rivals(&l->bound, rivals) : 0;
    int r = listener_bind_socket(l, fd, !l->shared || chooser >= 0, why);

    if (r == 0 && n > 0)
        r = fail_shared(&l->bound, rivals, n, why);
    if (r == 0 && l->shared && chooser >= 0)
        r = socket_set_number(fd, SOL_SOCKET, SO_REUSEPORT, 0);
    return r;
}
