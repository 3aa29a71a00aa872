/* Sockets of an earlier master become a listener again. */
#include <net/if.h>
#include <sys/socket.h>

#include "mechanism/listener_parts.h"
#include "mechanism/socket_spec.h"

void listener_end_socket(int fd)
{
    shutdown(fd, SHUT_RDWR);
    close(fd);
}

/* What `spec` may have become when it was bound: the kernel chose a port, there was no IPv6. The
 * interface may be gone from under a socket in use. */
static bool is_bound_form(const struct sockspec *spec, const struct sockspec *found, bool in_use)
{
    struct sockspec form = *spec;

    if (form.port == 0)
        form.port = found->port;
    if (form.kind == SOCKSPEC_DUAL && found->kind == SOCKSPEC_IP4) {
        form.kind = SOCKSPEC_IP4;
        form.ip4.s_addr = INADDR_ANY;
    }
    if (form.interface[0])
        form.scope_id = in_use ? found->scope_id : if_nametoindex(form.interface);
    form.interface[0] = '\0';
    return sockspec_same_address(&form, found);
}

/* Clients come by way of the file. */
static bool has_file(const struct sockspec *spec, struct unix_socket_file *out)
{
    struct stat st;

    if (spec->path[0] == '@')
        return true;
    if (lstat(spec->path, &st) < 0 || !S_ISSOCK(st.st_mode))
        return false;
    *out = (struct unix_socket_file){.device = st.st_dev, .inode = st.st_ino};
    return true;
}

/* Whether the socket can be the first one of `l`; then the listener's address is known. */
static bool fits_first(struct listener *l, const struct sockspec *found, bool in_use)
{
    if (!is_bound_form(&l->spec, found, in_use))
        return false;
    if (found->kind == SOCKSPEC_UNIX && !has_file(found, &l->file) && !in_use)
        return false;
    l->bound.kind = found->kind;
    l->bound.port = found->port;
    l->bound.ip4 = found->ip4;
    l->bound.scope_id = found->scope_id;
    l->bound.interface[0] = '\0';
    return true;
}

static int put_given(struct listener *l, int nslots, const struct listener_socket *given,
                     bool in_use)
{
    CLEANUP_CLOSE int fd = given->fd;
    struct sockspec found;
    int slot = l->shared ? 0 : given->slot;
    int r = socket_spec(fd, &found);
    bool fits = r == 0 && slot < nslots && !listener_socket(l, slot) &&
                (l->nsockets == 0 ? fits_first(l, &found, in_use)
                                  : sockspec_same_address(&l->bound, &found));

    if (fits)
        return listener_put_socket(l, slot, &fd);
    if (!in_use)
        listener_end_socket(util_take_fd(&fd));
    return 0;
}

/* Those that listen are in the group already and keep their places. */
static int join(struct listener *l, const struct listener_socket *given, size_t n)
{
    int r = 0;

    for (size_t i = 0; i < n && r == 0; i++) {
        const struct slot_socket *s = listener_socket(l, given[i].slot);

        if (s && s->fd == given[i].fd && (l->bound.udp || listener_is_listening(l, given[i].slot)))
            r = listener_start(l, s->fd);
    }
    return r;
}

/* Those that a worker shut down come last. One that cannot be revived is given up: nothing waits in
 * it, and it must not keep the others from going on. */
static void revive(struct listener *l)
{
    for (int i = 0; i < l->nsockets && !l->bound.udp; i++) {
        struct slot_socket *s = listener_socket(l, i);

        if (!s || listener_is_listening(l, i) || listener_start(l, s->fd) == 0)
            continue;
        listener_end_socket(util_take_fd(&s->fd));
        s->inode = 0;
    }
}

/* What sockets are like before a worker has had them. */
static int note_options(struct listener *l)
{
    CLEANUP_CLOSE int fd = listener_new_socket(l);
    int r = fd < 0 ? fd : listener_prepare_socket(l, fd);

    if (r == 0)
        listener_note_options(l, fd);
    return r;
}

static int fill(struct listener *l, int nslots, const struct listener_socket *sockets, size_t n,
                bool in_use)
{
    int r = 0;

    for (size_t i = 0; i < n; i++) {
        int put = put_given(l, nslots, &sockets[i], in_use);

        r = r < 0 ? r : put;
    }
    if (r == 0)
        r = note_options(l);
    if (r == 0)
        r = join(l, sockets, n);
    if (r == 0)
        revive(l);
    if (r == 0 && !listener_has_sockets(l))
        r = -ENOENT;
    steer_reset(&l->steer);
    return r < 0 ? r : listener_describe_address(l);
}

int listener_reopen(const struct sockspec *spec, int nslots, const struct listener_options *options,
                    const struct listener_socket *sockets, size_t n, struct listener **out,
                    struct why *why)
{
    struct listener *l = listener_new(spec, spec->name, options);
    int r;

    if (!l) {
        for (size_t i = 0; i < n; i++)
            listener_end_socket(sockets[i].fd);
        return why_fail_errno(why, -ENOMEM, "listener");
    }
    r = fill(l, nslots, sockets, n, options->in_use);
    if (r < 0) {
        listener_free(l);
        return why_fail_errno(why, r, "sockets taken over");
    }
    l->nslots = nslots;
    *out = l;
    return 0;
}

/* The file of an inherited one is the service manager's affair. */
bool listener_is_reachable(const struct listener *l)
{
    return !listener_is_unix(l) || l->inherited || l->bound.path[0] == '@' ||
           unix_socket_has_file(&l->bound, &l->file);
}
