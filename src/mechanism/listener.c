#include "mechanism/listener.h"

#include <fcntl.h>
#include <limits.h>
#include <net/if.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "base/log.h"
#include "base/sys.h"
#include "mechanism/listener_parts.h"
#include "mechanism/socket_spec.h"

/* All that are open, to tell our own sockets from those of others. */
static struct listener *all_listeners;

/* Of which sockets there are and which of them listen. */
static uint64_t changes;

void listener_changed(void)
{
    changes++;
}

bool listener_is_elsewhere(uint64_t inode, const struct sockspec *bound)
{
    for (const struct listener *l = all_listeners; l; l = l->next)
        for (int i = 0; i < l->nsockets; i++)
            if (l->sockets[i].inode == inode)
                return !sockspec_same_address(&l->bound, bound);
    return false;
}

uint64_t listener_inode_of(int fd)
{
    struct stat st;

    return fstat(fd, &st) == 0 ? st.st_ino : 0;
}

struct slot_socket *listener_socket(const struct listener *l, int slot)
{
    int i = l->shared ? 0 : slot;

    return slot >= 0 && i < l->nsockets && l->sockets[i].fd >= 0 ? &l->sockets[i] : NULL;
}

/* ---- sockets in their places ---- */

int listener_start(struct listener *l, int fd)
{
    int r = l->bound.udp || listen(fd, l->backlog) == 0 ? 0 : -errno;

    return r < 0 || l->shared ? r : steer_join(&l->steer, fd);
}

void listener_leave_group(struct listener *l, int fd)
{
    listener_unwatch_socket(l, fd);
    steer_leave(&l->steer, fd);
    if (!l->shared)
        shutdown(fd, SHUT_RDWR);
}

/* Makes places up to `slot`, empty ones. */
static int reserve_place(struct listener *l, int slot)
{
    struct slot_socket *sockets;

    if (slot < l->nsockets)
        return 0;
    sockets = reallocarray(l->sockets, (size_t)slot + 1, sizeof(*sockets));
    if (!sockets)
        return -ENOMEM;
    l->sockets = sockets;
    while (l->nsockets <= slot)
        sockets[l->nsockets++] = (struct slot_socket){.fd = -1};
    return 0;
}

int listener_put_socket(struct listener *l, int slot, int *take_fd)
{
    int r = reserve_place(l, slot);

    if (r < 0)
        return r;
    l->sockets[slot] = (struct slot_socket){.fd = *take_fd, .inode = listener_inode_of(*take_fd)};
    util_take_fd(take_fd);
    if (l->bound.udp || listener_is_listening(l, slot))
        listener_watch_socket(l, &l->sockets[slot]);
    listener_changed();
    return 0;
}

/* Listens on a bound socket and puts it in its place. */
static int finish_socket(struct listener *l, int slot, int *take_fd, struct why *why)
{
    int r = listener_start(l, *take_fd);

    if (r == 0)
        r = listener_put_socket(l, slot, take_fd);
    if (r < 0)
        steer_leave(&l->steer, *take_fd);
    return r < 0 ? why_fail_errno(why, r, "cannot listen") : 0;
}

/* ---- what it is ---- */

static void warn_capped_backlog(const struct listener *l)
{
    int cap = sys_sysctl("/proc/sys/net/core/somaxconn", INT_MAX);

    if (!l->bound.udp && l->backlog > cap)
        log_warn(LOG_NOBODY, "listen %s: net.core.somaxconn caps the backlog of %d at %d",
                 l->address, l->backlog, cap);
}

int listener_describe_address(struct listener *l)
{
    CLEANUP_BUF struct buf address = BUF_INIT;

    sockspec_format(&l->bound, 0, &address);
    free(l->address);
    l->address = buf_take(&address);
    if (!l->address || !l->name)
        return -ENOMEM;
    warn_capped_backlog(l);
    return 0;
}

void listener_note_options(struct listener *l, int fd)
{
    l->flags = fcntl(fd, F_GETFL);
    sockopts_save(fd, &l->options);
}

/* Notes what the first socket is like, now that it is complete. */
static int describe(struct listener *l, int fd)
{
    listener_note_options(l, fd);
    return listener_describe_address(l);
}

/* ---- the socket of a slot ---- */

static int open_first(struct listener *l, int place, struct why *why)
{
    CLEANUP_CLOSE int chooser = -1;
    CLEANUP_CLOSE int fd = -1;
    int r = 0;

    if (l->bound.kind != SOCKSPEC_UNIX && l->bound.port == 0)
        r = listener_choose_port(l, &chooser, why);
    if (r < 0)
        return r;
    fd = listener_new_socket(l);
    if (fd < 0)
        return why_fail_errno(why, fd, "cannot make a socket");
    r = listener_bind_first(l, fd, chooser, why);
    return r < 0 ? r : finish_socket(l, place, &fd, why);
}

static bool lacks_ip6(int err)
{
    return err == -EAFNOSUPPORT || err == -EADDRNOTAVAIL;
}

/* The name of an interface becomes its number of today. */
static int resolve_interface(struct listener *l, struct why *why)
{
    if (!l->bound.interface[0])
        return 0;
    l->bound.scope_id = if_nametoindex(l->bound.interface);
    if (l->bound.scope_id == 0)
        return why_fail(why, -ENODEV, "there is no network interface '%s'", l->bound.interface);
    l->bound.interface[0] = '\0';
    return 0;
}

/* The first of all its sockets, in the place of whatever slot; with it the address is known. */
static int open_any_first(struct listener *l, int place, struct why *why)
{
    const struct sockspec before = l->bound;
    int r = resolve_interface(l, why);

    if (r == 0)
        r = open_first(l, place, why);
    if (l->bound.kind == SOCKSPEC_DUAL && lacks_ip6(r)) {
        l->bound.kind = SOCKSPEC_IP4;
        l->bound.ip4.s_addr = INADDR_ANY;
        r = open_first(l, place, why);
    }
    if (r < 0)
        l->bound = before;
    else if (describe(l, l->sockets[place].fd) < 0)
        r = why_fail_errno(why, -ENOMEM, "listener");
    return r;
}

/* The kernel lets only sockets of one user id into a group, so that this has to run as the user
 * that opened the listener. */
static int open_further(struct listener *l, int slot, struct why *why)
{
    CLEANUP_CLOSE int fd = listener_new_socket(l);
    int r;

    if (fd < 0)
        return why_fail_errno(why, fd, "cannot make a socket");
    r = listener_bind_socket(l, fd, true, why);
    return r < 0 ? r : finish_socket(l, slot, &fd, why);
}

int listener_open_slot(struct listener *l, int slot, struct why *why)
{
    if (l->spec.kind == SOCKSPEC_SYSTEMD)
        return why_fail(why, -EINVAL, "sockets of the service manager are inherited, not opened");
    return listener_has_sockets(l) ? open_further(l, slot, why)
                                   : open_any_first(l, l->shared ? 0 : slot, why);
}

/* ---- a listener's life ---- */

void listener_free(struct listener *l)
{
    for (struct listener **p = &all_listeners; *p; p = &(*p)->next)
        if (*p == l) {
            *p = l->next;
            break;
        }
    if (!l->inherited)
        unix_socket_remove(&l->bound, &l->file);
    for (int i = 0; i < l->nsockets; i++) {
        listener_unwatch_socket(l, l->sockets[i].fd);
        util_close_p(&l->sockets[i].fd);
    }
    listener_changed();
    steer_free(&l->steer);
    free(l->sockets);
    free(l->name);
    free(l->address);
    free(l);
}

struct listener *listener_new(const struct sockspec *spec, const char *name,
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
    steer_init(&l->steer, spec->udp);
    l->next = all_listeners;
    all_listeners = l;
    return l;
}

int listener_open(const struct sockspec *spec, int nslots, const struct listener_options *options,
                  struct listener **out, struct why *why)
{
    struct listener *l = listener_new(spec, spec->name, options);
    int r;

    if (!l)
        return why_fail_errno(why, -ENOMEM, "listener");
    r = listener_grow(l, nslots, why);
    if (r < 0) {
        listener_free(l);
        return r;
    }
    *out = l;
    return 0;
}

/* A worker may have shut the one in use down just now. */
static bool is_ready(int fd, const struct listener_options *options)
{
    if (options->in_use)
        listen(fd, options->backlog);
    return socket_number(fd, SOL_SOCKET, SO_ACCEPTCONN) == 1;
}

static int check_inherited(int fd, const struct listener_options *options, struct sockspec *spec,
                           struct why *why)
{
    int r = socket_spec(fd, spec);
    int type = socket_number(fd, SOL_SOCKET, SO_TYPE);

    if (r < 0)
        return why_fail_errno(why, r, "descriptor %d", fd);
    if (spec->udp ? spec->kind == SOCKSPEC_UNIX : type != SOCK_STREAM)
        return why_fail(why, -EINVAL, "descriptor %d is neither a stream nor a UDP socket", fd);
    if (!spec->udp && !is_ready(fd, options))
        return why_fail(why, -EINVAL, "descriptor %d does not listen (Accept=yes cannot be used)",
                        fd);
    return 0;
}

static int take(int *take_fd, const char *name, const struct listener_options *options,
                struct listener **out, struct why *why)
{
    struct sockspec spec;
    struct listener *l;
    int r = check_inherited(*take_fd, options, &spec, why);

    if (r < 0)
        return r;
    l = listener_new(&spec, name, options);
    if (!l)
        return why_fail_errno(why, -ENOMEM, "listener");
    l->shared = true;
    l->inherited = true;
    r = sys_set_cloexec(*take_fd, true);
    if (r == 0)
        r = listener_put_socket(l, 0, take_fd);
    if (r == 0)
        r = describe(l, l->sockets[0].fd);
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
    while (l->nsockets > nsockets) {
        int fd = l->sockets[--l->nsockets].fd;

        listener_leave_group(l, fd);
        close(fd);
        listener_changed();
    }
}

static bool has_empty_place(const struct listener *l, int nslots)
{
    for (int i = 0; i < nslots; i++)
        if (!listener_socket(l, i))
            return true;
    return false;
}

int listener_grow(struct listener *l, int nslots, struct why *why)
{
    int before = l->nsockets;
    int r = 0;

    /* A worker that took SO_REUSEPORT off its socket would keep new ones out of the group. */
    for (int i = 0; i < before && !l->shared; i++)
        socket_set_number(l->sockets[i].fd, SOL_SOCKET, SO_REUSEPORT, 1);
    if (!listener_has_sockets(l))
        r = listener_open_slot(l, 0, why);
    if (has_empty_place(l, nslots))
        steer_before_join(&l->steer);
    for (int i = 0; r == 0 && i < nslots; i++)
        if (!listener_socket(l, i))
            r = listener_open_slot(l, i, why);
    if (r < 0)
        close_from(l, before);
    else if (nslots > l->nslots)
        l->nslots = nslots;
    return r;
}

void listener_shrink(struct listener *l, int nslots)
{
    steer_look(&l->steer);
    if (!l->shared)
        close_from(l, nslots);
    steer_apply(&l->steer);
    if (nslots < l->nslots)
        l->nslots = nslots;
}

/* ---- sockets on demand ---- */

int listener_open_empty(const struct sockspec *spec, int nslots,
                        const struct listener_options *options, struct listener **out,
                        struct why *why)
{
    struct listener *l = listener_new(spec, spec->name, options);

    if (!l || listener_describe_address(l) < 0) {
        if (l)
            listener_free(l);
        return why_fail_errno(why, -ENOMEM, "listener");
    }
    l->inherited = spec->kind == SOCKSPEC_SYSTEMD;
    l->nslots = nslots;
    *out = l;
    return 0;
}

bool listener_has_sockets(const struct listener *l)
{
    for (int i = 0; i < l->nsockets; i++)
        if (l->sockets[i].fd >= 0)
            return true;
    return false;
}

/* Bound to the address in order to connect from it: then it cannot be shared. */
static bool is_connected(int fd)
{
    struct sockaddr_storage peer;
    socklen_t len = sizeof(peer);

    return getpeername(fd, (struct sockaddr *)&peer, &len) == 0;
}

int listener_bind_slot(struct listener *l, int slot, struct why *why)
{
    const struct slot_socket *s = listener_socket(l, slot);
    CLEANUP_CLOSE int fd = -1;
    int r;

    if (s && !l->bound.udp && is_connected(s->fd))
        listener_close_slot(l, slot);
    else if (s)
        return 0;
    fd = listener_new_socket(l);
    if (fd < 0)
        return why_fail_errno(why, fd, "cannot make a socket");
    r = listener_has_sockets(l) ? listener_bind_socket(l, fd, true, why)
                                : listener_bind_first(l, fd, -1, why);
    if (r < 0)
        return r;
    if (!listener_has_sockets(l))
        listener_note_options(l, fd);
    if (listener_put_socket(l, l->shared ? 0 : slot, &fd) < 0)
        return why_fail_errno(why, -ENOMEM, "listener");
    if (l->nslots < l->nsockets)
        l->nslots = l->nsockets;
    return 0;
}

int listener_listen_slot(struct listener *l, int slot)
{
    struct slot_socket *s = listener_socket(l, slot);
    int r;

    if (!s)
        return -ENOENT;
    if (!l->shared && !listener_is_listening(l, slot)) {
        steer_before_join(&l->steer);
        listener_changed();
    }
    r = listener_start(l, s->fd);
    if (r == 0)
        listener_watch_socket(l, s);
    return r;
}

void listener_close_slot(struct listener *l, int slot)
{
    struct slot_socket *s = listener_socket(l, slot);

    if (!s || l->shared)
        return;
    steer_look(&l->steer);
    listener_leave_group(l, s->fd);
    util_close_p(&s->fd);
    s->inode = 0;
    listener_changed();
    steer_apply(&l->steer);
}

bool listener_is_listening(const struct listener *l, int slot)
{
    const struct slot_socket *s = listener_socket(l, slot);

    return s && socket_number(s->fd, SOL_SOCKET, SO_ACCEPTCONN) == 1;
}

int listener_restore_backlog(struct listener *l, int slot)
{
    return listener_is_listening(l, slot) ? listener_listen_slot(l, slot) : 0;
}

void listener_set_backlog(struct listener *l, int backlog)
{
    if (l->backlog == backlog)
        return;
    l->backlog = backlog;
    warn_capped_backlog(l);
    for (int i = 0; i < (l->shared ? 1 : l->nsockets); i++)
        listener_restore_backlog(l, i);
}

/* ---- steering ---- */

void listener_set_live(struct listener *l, int slot, bool live)
{
    const struct slot_socket *s = listener_socket(l, slot);

    if (s && !l->shared)
        steer_set(&l->steer, s->fd, slot, live);
}

int listener_steer(struct listener *l, const struct steer_plan *plan)
{
    return steer_choose(&l->steer, plan);
}

void listener_release(struct listener *l)
{
    steer_release(&l->steer);
}

int listener_queue(const struct listener *l, int slot)
{
    const struct slot_socket *s = listener_socket(l, slot);
    struct pollfd p = {.fd = s ? s->fd : -1, .events = POLLIN};
    struct tcp_info info;
    socklen_t len = sizeof(info);

    if (!s || listener_is_unix(l))
        return s ? -EOPNOTSUPP : -EINVAL;
    if (l->bound.udp)
        return poll(&p, 1, 0) < 0 ? -errno : p.revents & POLLIN ? 1 : 0;
    return getsockopt(s->fd, IPPROTO_TCP, TCP_INFO, &info, &len) < 0 ? -errno
                                                                     : (int)info.tcpi_unacked;
}

/* ---- looking ---- */

uint64_t listener_changes(void)
{
    return changes + steer_changes();
}

size_t listener_order(const struct listener *l, uint64_t *inodes, size_t max)
{
    size_t n = 0;

    for (int i = 0; i < l->steer.n && n < max; i++)
        inodes[n++] = listener_inode_of(l->steer.members[i].fd);
    return n;
}

int listener_fd(const struct listener *l, int slot)
{
    const struct slot_socket *s = listener_socket(l, slot);

    return s ? s->fd : -1;
}

uint64_t listener_inode(const struct listener *l, int slot)
{
    const struct slot_socket *s = listener_socket(l, slot);

    return s ? s->inode : 0;
}

const struct sockspec *listener_spec(const struct listener *l)
{
    return &l->spec;
}

const struct sockspec *listener_bound(const struct listener *l)
{
    return &l->bound;
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

bool listener_is_inherited(const struct listener *l)
{
    return l->inherited;
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
