#include "mechanism/listener.h"

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "base/log.h"
#include "base/sys.h"
#include "mechanism/sockdiag.h"
#include "mechanism/sockopts.h"
#include "mechanism/unix_socket.h"

#define RIVALS_MAX 256 /* sockets of others that are counted and whose owners are looked up */

struct slot_socket {
    int fd;
    uint64_t inode;
};

struct listener {
    unsigned refs;
    struct sockspec spec;  /* as asked for */
    struct sockspec bound; /* what it became: the real port, 0.0.0.0 where IPv6 is off */
    char *name;
    char *address;
    int backlog;
    int flags; /* of the open file description at creation */
    bool shared;
    bool inherited;
    struct sockopts options; /* at creation */
    struct unix_socket_file file;
    struct slot_socket *sockets; /* one when shared */
    int nsockets;
    int nslots;
    struct listener *next;
};

/* All that are open, to tell our own sockets from those of others. */
static struct listener *all_listeners;

/* ---- small helpers ---- */

static int set_int(int fd, int level, int option, int value)
{
    return setsockopt(fd, level, option, &value, sizeof(value)) < 0 ? -errno : 0;
}

static int get_int(int fd, int level, int option)
{
    int value = -1;
    socklen_t len = sizeof(value);

    return getsockopt(fd, level, option, &value, &len) < 0 ? -errno : value;
}

/* A number below /proc/sys, `fallback` where that is hidden. */
static int sysctl_number(const char *path, int fallback)
{
    CLEANUP_BUF struct buf text = BUF_INIT;

    return sys_read_pseudo(path, 64, &text) < 0 ? fallback : atoi(buf_str(&text));
}

static uint64_t inode_of(int fd)
{
    struct stat st;

    return fstat(fd, &st) == 0 ? st.st_ino : 0;
}

/* What an open socket is bound to. -ENOTSOCK, -EAFNOSUPPORT, or what the kernel says. */
static int spec_of_fd(int fd, struct sockspec *out)
{
    struct sockaddr_storage address = {0};
    socklen_t len = sizeof(address);

    *out = (struct sockspec){.udp = get_int(fd, SOL_SOCKET, SO_TYPE) == SOCK_DGRAM};
    if (getsockname(fd, (struct sockaddr *)&address, &len) < 0)
        return -errno;
    return sockspec_from_sockaddr(&address, len, get_int(fd, IPPROTO_IPV6, IPV6_V6ONLY) != 0, out);
}

static struct slot_socket *socket_of(const struct listener *l, int slot)
{
    int i = l->shared ? 0 : slot;

    return slot >= 0 && i < l->nsockets ? &l->sockets[i] : NULL;
}

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
    int first = sysctl_number("/proc/sys/net/ipv4/ip_unprivileged_port_start", 1024);

    if (err == -EADDRINUSE)
        return fail_in_use(bound, why);
    if (err == -EADDRNOTAVAIL)
        return why_fail(why, err, "no network interface of this machine has the address");
    if (err == -EACCES && bound->port < first)
        return why_fail(why, err, "ports below %d need root or CAP_NET_BIND_SERVICE", first);
    return why_fail_errno(why, err, "cannot bind");
}

/* ---- sockets of others on the same address ---- */

/* Whether the socket is our own and is bound to something else than `bound`: after a reload that
 * goes from 0.0.0.0:80 to *:80 both are open for a moment, and nothing is lost by that. An own one
 * on just this address is another pool that asked for it too. */
static bool is_own_other_address(uint64_t inode, const struct sockspec *bound)
{
    for (const struct listener *l = all_listeners; l; l = l->next)
        for (int i = 0; i < l->nsockets; i++)
            if (l->sockets[i].inode == inode)
                return !sockspec_same_address(&l->bound, bound);
    return false;
}

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
        if (!is_own_other_address(inodes[i], bound))
            inodes[n++] = inodes[i];
    return n;
}

/* ---- making sockets ---- */

static int new_socket(const struct listener *l)
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
static int bind_inet(const struct sockspec *bound, int fd, bool reuseport)
{
    struct sockaddr_storage address;
    socklen_t len = sockspec_sockaddr(bound, 0, &address);
    int r = 0;

    if (bound->kind != SOCKSPEC_IP4)
        r = set_int(fd, IPPROTO_IPV6, IPV6_V6ONLY, bound->kind == SOCKSPEC_IP6);
    if (r == 0 && !bound->udp)
        r = set_int(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    if (r == 0 && reuseport)
        r = set_int(fd, SOL_SOCKET, SO_REUSEPORT, 1);
    if (r == 0 && bind(fd, (const struct sockaddr *)&address, len) < 0)
        r = -errno;
    return r;
}

static int bind_socket(struct listener *l, int fd, bool reuseport, struct why *why)
{
    int r;

    if (l->bound.kind == SOCKSPEC_UNIX)
        return unix_socket_bind(fd, &l->bound, &l->file, why);
    r = bind_inet(&l->bound, fd, reuseport);
    return r < 0 ? fail_bind(&l->bound, r, why) : 0;
}

static int start_listening(const struct listener *l, int fd)
{
    return l->bound.udp || listen(fd, l->backlog) == 0 ? 0 : -errno;
}

static int add_socket(struct listener *l, int *take_fd)
{
    struct slot_socket *sockets =
        reallocarray(l->sockets, (size_t)l->nsockets + 1, sizeof(*sockets));

    if (!sockets)
        return -ENOMEM;
    l->sockets = sockets;
    sockets[l->nsockets].inode = inode_of(*take_fd);
    sockets[l->nsockets++].fd = util_take_fd(take_fd);
    return 0;
}

/* Listens on a bound socket and adds it. */
static int finish_socket(struct listener *l, int *take_fd, struct why *why)
{
    int r = start_listening(l, *take_fd);

    if (r == 0)
        r = add_socket(l, take_fd);
    return r < 0 ? why_fail_errno(why, r, "cannot listen") : 0;
}

/* Port 0: a socket that only chooses the port, closed when the first slot's socket is bound to it.
 * That one is thus bound to a number, and the kernel keeps the port for it when a worker shuts it
 * down; a port that bind(2) chose itself is given up then. SO_REUSEPORT comes after bind(2):
 * before it, a UDP socket may be given the port of a stranger's group. */
static int choose_port(struct listener *l, int *chooser, struct why *why)
{
    struct sockspec chosen;
    int r;

    *chooser = new_socket(l);
    if (*chooser < 0)
        return why_fail_errno(why, *chooser, "cannot make a socket");
    r = bind_inet(&l->bound, *chooser, false);
    if (r < 0)
        return fail_bind(&l->bound, r, why);
    r = set_int(*chooser, SOL_SOCKET, SO_REUSEPORT, 1);
    if (r == 0)
        r = spec_of_fd(*chooser, &chosen);
    if (r < 0)
        return why_fail_errno(why, r, "cannot choose a port");
    l->bound.port = chosen.port;
    return 0;
}

/* bind(2) comes before the complaint about rivals, so that EADDRINUSE is told as such. */
static int bind_first(struct listener *l, int fd, int chooser, struct why *why)
{
    uint64_t rivals[RIVALS_MAX];
    bool known_port = l->bound.kind != SOCKSPEC_UNIX && chooser < 0;
    int n = known_port ? find_rivals(&l->bound, rivals) : 0;
    int r = bind_socket(l, fd, !l->shared || chooser >= 0, why);

    if (r == 0 && n > 0)
        r = fail_shared(&l->bound, rivals, n, why);
    if (r == 0 && l->shared && chooser >= 0)
        r = set_int(fd, SOL_SOCKET, SO_REUSEPORT, 0);
    return r;
}

static int open_first(struct listener *l, struct why *why)
{
    CLEANUP_CLOSE int chooser = -1;
    CLEANUP_CLOSE int fd = -1;
    int r = 0;

    if (l->bound.kind != SOCKSPEC_UNIX && l->bound.port == 0)
        r = choose_port(l, &chooser, why);
    if (r < 0)
        return r;
    fd = new_socket(l);
    if (fd < 0)
        return why_fail_errno(why, fd, "cannot make a socket");
    r = bind_first(l, fd, chooser, why);
    return r < 0 ? r : finish_socket(l, &fd, why);
}

/* The kernel lets only sockets of one user id into a group, so that this has to run as the user
 * that opened the listener. */
static int open_further(struct listener *l, struct why *why)
{
    CLEANUP_CLOSE int fd = new_socket(l);
    int r;

    if (fd < 0)
        return why_fail_errno(why, fd, "cannot make a socket");
    r = bind_socket(l, fd, true, why);
    return r < 0 ? r : finish_socket(l, &fd, why);
}

/* ---- a listener's life ---- */

static void listener_free(struct listener *l)
{
    for (struct listener **p = &all_listeners; *p; p = &(*p)->next)
        if (*p == l) {
            *p = l->next;
            break;
        }
    if (!l->inherited)
        unix_socket_remove(&l->bound, &l->file);
    for (int i = 0; i < l->nsockets; i++)
        close(l->sockets[i].fd);
    free(l->sockets);
    free(l->name);
    free(l->address);
    free(l);
}

static struct listener *listener_new(const struct sockspec *spec, const char *name,
                                     const struct listener_options *options)
{
    struct listener *l = calloc(1, sizeof(*l));

    if (!l)
        return NULL;
    l->refs = 1;
    l->spec = *spec;
    l->bound = *spec;
    l->name = strdup(name);
    l->backlog = options->backlog;
    l->shared = options->shared || spec->kind == SOCKSPEC_UNIX;
    l->next = all_listeners;
    all_listeners = l;
    return l;
}

static void warn_capped_backlog(const struct listener *l)
{
    int cap = sysctl_number("/proc/sys/net/core/somaxconn", INT_MAX);

    if (!l->bound.udp && l->backlog > cap)
        log_warn(LOG_NOBODY, "listen %s: net.core.somaxconn caps the backlog of %d at %d",
                 l->address, l->backlog, cap);
}

/* Notes what the first socket is like, now that it is complete. */
static int describe(struct listener *l)
{
    CLEANUP_BUF struct buf address = BUF_INIT;

    sockspec_format(&l->bound, 0, &address);
    l->address = buf_take(&address);
    if (!l->address || !l->name)
        return -ENOMEM;
    l->flags = fcntl(l->sockets[0].fd, F_GETFL);
    sockopts_save(l->sockets[0].fd, &l->options);
    warn_capped_backlog(l);
    return 0;
}

static bool lacks_ip6(int err)
{
    return err == -EAFNOSUPPORT || err == -EADDRNOTAVAIL;
}

static int open_sockets(struct listener *l, int nslots, struct why *why)
{
    int r = open_first(l, why);

    if (l->bound.kind == SOCKSPEC_DUAL && lacks_ip6(r)) {
        l->bound.kind = SOCKSPEC_IP4;
        l->bound.ip4.s_addr = INADDR_ANY;
        r = open_first(l, why);
    }
    if (r < 0)
        return r;
    r = describe(l);
    return r < 0 ? why_fail_errno(why, r, "listener") : listener_grow(l, nslots, why);
}

int listener_open(const struct sockspec *spec, int nslots, const struct listener_options *options,
                  struct listener **out, struct why *why)
{
    struct listener *l;
    int r;

    if (spec->kind == SOCKSPEC_SYSTEMD)
        return why_fail(why, -EINVAL, "sockets of the service manager are inherited, not opened");
    l = listener_new(spec, spec->name, options);
    if (!l)
        return why_fail_errno(why, -ENOMEM, "listener");
    r = open_sockets(l, nslots, why);
    if (r < 0) {
        listener_free(l);
        return r;
    }
    *out = l;
    return 0;
}

static int check_inherited(int fd, struct sockspec *spec, struct why *why)
{
    int r = spec_of_fd(fd, spec);
    int type = get_int(fd, SOL_SOCKET, SO_TYPE);

    if (r < 0)
        return why_fail_errno(why, r, "descriptor %d", fd);
    if (spec->udp ? spec->kind == SOCKSPEC_UNIX : type != SOCK_STREAM)
        return why_fail(why, -EINVAL, "descriptor %d is neither a stream nor a UDP socket", fd);
    if (!spec->udp && get_int(fd, SOL_SOCKET, SO_ACCEPTCONN) != 1)
        return why_fail(why, -EINVAL, "descriptor %d does not listen (Accept=yes cannot be used)",
                        fd);
    return 0;
}

static int take(int *take_fd, const char *name, const struct listener_options *options,
                struct listener **out, struct why *why)
{
    struct sockspec spec;
    struct listener *l;
    int r = check_inherited(*take_fd, &spec, why);

    if (r < 0)
        return r;
    l = listener_new(&spec, name, options);
    if (!l)
        return why_fail_errno(why, -ENOMEM, "listener");
    l->shared = true;
    l->inherited = true;
    r = sys_set_cloexec(*take_fd, true);
    if (r == 0)
        r = add_socket(l, take_fd);
    if (r == 0)
        r = describe(l);
    if (r < 0) {
        listener_free(l);
        return why_fail_errno(why, r, "inherited socket");
    }
    *out = l;
    return 0;
}

int listener_take(int fd, const char *name, const struct listener_options *options,
                  struct listener **out, struct why *why)
{
    CLEANUP_CLOSE int owned_fd = fd;

    return take(&owned_fd, name, options, out, why);
}

struct listener *listener_ref(struct listener *l)
{
    l->refs++;
    return l;
}

void listener_unref(struct listener *l)
{
    if (l && --l->refs == 0)
        listener_free(l);
}

static void close_from(struct listener *l, int nsockets)
{
    while (l->nsockets > nsockets)
        close(l->sockets[--l->nsockets].fd);
}

int listener_grow(struct listener *l, int nslots, struct why *why)
{
    int before = l->nsockets;
    int r = 0;

    /* A worker that took SO_REUSEPORT off its socket would keep new ones out of the group. */
    for (int i = 0; i < before && !l->shared; i++)
        set_int(l->sockets[i].fd, SOL_SOCKET, SO_REUSEPORT, 1);
    while (r == 0 && !l->shared && l->nsockets < nslots)
        r = open_further(l, why);
    if (r < 0)
        close_from(l, before);
    else if (nslots > l->nslots)
        l->nslots = nslots;
    return r;
}

void listener_shrink(struct listener *l, int nslots)
{
    if (!l->shared)
        close_from(l, nslots);
    if (nslots < l->nslots)
        l->nslots = nslots;
}

/* ---- undoing what a worker did ---- */

/* Whether no worker of another slot uses the socket of a slot that has none itself. */
static bool is_used_by_one_slot(const struct listener *l)
{
    return !l->shared || l->nslots == 1;
}

/* O_ASYNC would send SIGIO to whom the worker chose, the master for one. */
static int restore_flags(const struct listener *l, int fd)
{
    int flags = is_used_by_one_slot(l) ? l->flags : fcntl(fd, F_GETFL);

    if (fcntl(fd, F_SETFL, flags & ~O_ASYNC) < 0 || fcntl(fd, F_SETOWN, 0) < 0 ||
        fcntl(fd, F_SETSIG, 0) < 0)
        return -errno;
    return 0;
}

/* A filter drops what it likes. -EPERM: it was locked in for ever. */
static int detach_filter(int fd)
{
    int unused = 0;

    return setsockopt(fd, SOL_SOCKET, SO_DETACH_FILTER, &unused, sizeof(unused)) < 0 &&
                   errno != ENOENT
               ? -errno
               : 0;
}

/* After connect(2) a UDP socket takes datagrams of that one peer only. */
static int disconnect_udp(int fd)
{
    const struct sockaddr nobody = {.sa_family = AF_UNSPEC};
    struct sockaddr_storage peer;
    socklen_t len = sizeof(peer);

    if (getpeername(fd, (struct sockaddr *)&peer, &len) < 0)
        return 0;
    return connect(fd, &nobody, sizeof(nobody)) < 0 ? -errno : 0;
}

/* A TCP socket that was shut down has left LISTEN, and listen(2) brings it back. Unix and UDP
 * sockets stay shut down. */
static bool is_shut_down(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLRDHUP};

    return poll(&p, 1, 0) > 0 && (p.revents & (POLLRDHUP | POLLHUP));
}

/* A port that bind(2) chose itself is given up with shutdown(2), and listen(2) would choose
 * another. -EINVAL is the answer of a socket that has its port. */
static int rebind(const struct listener *l, int fd)
{
    struct sockaddr_storage address;
    socklen_t len = sockspec_sockaddr(&l->bound, 0, &address);

    if (l->bound.kind == SOCKSPEC_UNIX || bind(fd, (const struct sockaddr *)&address, len) == 0)
        return 0;
    return errno == EINVAL ? 0 : -errno;
}

/* 0: the socket accepts again. */
static int revive(const struct listener *l, const struct slot_socket *s)
{
    int r = s->inode ? detach_filter(s->fd) : -ENOTCONN;

    if (r == 0 && l->bound.udp)
        r = disconnect_udp(s->fd);
    if (r == 0)
        r = rebind(l, s->fd);
    if (r == 0)
        r = start_listening(l, s->fd);
    return r == 0 && is_shut_down(s->fd) ? -EPIPE : r;
}

/* The last resort: a new socket under the same descriptor. The old one is closed first, since a
 * name that is not in a group can be bound once only. Inode 0 marks a socket that could not be
 * bound; the next start tries again. */
static int replace(struct listener *l, struct slot_socket *s)
{
    CLEANUP_CLOSE int fd = new_socket(l);
    int r;

    if (fd < 0)
        return fd;
    s->inode = 0;
    if (dup3(fd, s->fd, O_CLOEXEC) < 0)
        return -errno;
    r = bind_socket(l, s->fd, !l->shared, NULL);
    if (r == 0)
        r = start_listening(l, s->fd);
    if (r == 0)
        s->inode = inode_of(s->fd);
    return r;
}

int listener_restore(struct listener *l, int slot)
{
    struct slot_socket *s = socket_of(l, slot);
    int restored, revived;

    if (!s)
        return -EINVAL;
    /* Options come first: without SO_REUSEPORT, listen(2) is refused in a group. -EPERM: anyone may
     * bind a socket to a device, but undoing it needs CAP_NET_RAW. */
    restored = restore_flags(l, s->fd);
    if (restored == 0 && is_used_by_one_slot(l))
        restored = sockopts_restore(s->fd, &l->options);
    revived = restored == -EPERM ? restored : revive(l, s);
    if (revived == 0 || l->inherited)
        return revived < 0 ? revived : restored;
    revived = replace(l, s);
    return revived < 0 ? revived : 1;
}

/* ---- looking ---- */

int listener_fd(const struct listener *l, int slot)
{
    const struct slot_socket *s = socket_of(l, slot);

    return s ? s->fd : -1;
}

uint64_t listener_inode(const struct listener *l, int slot)
{
    const struct slot_socket *s = socket_of(l, slot);

    return s ? s->inode : 0;
}

const struct sockspec *listener_spec(const struct listener *l)
{
    return &l->spec;
}

const char *listener_name(const struct listener *l)
{
    return l->name;
}

const char *listener_address(const struct listener *l)
{
    return l->address;
}

uint16_t listener_port(const struct listener *l)
{
    return l->bound.port;
}

bool listener_is_shared(const struct listener *l)
{
    return l->shared;
}

bool listener_is_udp(const struct listener *l)
{
    return l->bound.udp;
}

bool listener_is_unix(const struct listener *l)
{
    return l->bound.kind == SOCKSPEC_UNIX;
}
