#include "mechanism/unix_socket.h"

#include <sys/socket.h>

#include "base/log.h"
#include "base/sys.h"
#include "mechanism/spawn.h"

static bool is_abstract(const struct sockspec *spec)
{
    return spec->path[0] == '@';
}

/* Connects and hangs up at once. 0 and -EAGAIN (the queue is full) and -EPROTOTYPE (of another
 * type) mean that it lives, -ECONNREFUSED that nobody listens. `pid` gets who listens, 0 when
 * unknown. */
static int probe(const struct sockspec *spec, pid_t *pid)
{
    struct ucred peer = {0};
    socklen_t len = sizeof(peer);
    struct sockaddr_storage address;
    socklen_t address_len = sockspec_sockaddr(spec, 0, &address);
    CLEANUP_CLOSE int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    *pid = 0;
    if (fd < 0)
        return -errno;
    if (connect(fd, (const struct sockaddr *)&address, address_len) < 0)
        return -errno;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0)
        *pid = peer.pid;
    return 0;
}

static int fail_in_use(pid_t pid, struct why *why)
{
    CLEANUP_BUF struct buf name = BUF_INIT;
    struct sys_proc proc;

    if (pid <= 0 || sys_proc_stat(pid, &proc) < 0)
        return why_fail(why, -EADDRINUSE, "another process listens there");
    buf_escape(&name, proc.comm, strlen(proc.comm));
    return why_fail(why, -EADDRINUSE, "pid %d (%s) listens there", (int)pid, buf_str(&name));
}

/* Makes room at the path when nobody needs what is there. */
static int clear_path(const struct sockspec *spec, struct why *why)
{
    struct stat st;
    pid_t pid;
    int r;

    if (lstat(spec->path, &st) < 0)
        return errno == ENOENT ? 0 : why_fail_errno(why, -errno, "cannot look at the path");
    if (!S_ISSOCK(st.st_mode))
        return why_fail(why, -EEXIST, "the path exists and is not a socket; it was left alone");
    r = probe(spec, &pid);
    if (r == 0 || r == -EAGAIN || r == -EPROTOTYPE)
        return fail_in_use(pid, why);
    if (r != -ECONNREFUSED && r != -ENOENT)
        return why_fail_errno(why, r, "cannot tell whether the socket there is in use");
    if (unlink(spec->path) < 0 && errno != ENOENT)
        return why_fail_errno(why, -errno, "cannot remove the stale socket");
    log_info(LOG_NOBODY, "replaced the stale socket %s", spec->path);
    return 0;
}

/* At the final path at once and not by way of a temporary name and rename(2): getsockname(2) would
 * tell the temporary name for ever, and servers log that name and unlink it when they stop. The
 * umask gives the file its mode from birth, and nobody can connect before listen(2). */
static int bind_with_mode(int fd, const struct sockspec *spec)
{
    struct sockaddr_storage address;
    socklen_t len = sockspec_sockaddr(spec, 0, &address);
    mode_t old = umask(0777 & ~spec->mode);
    int r = bind(fd, (const struct sockaddr *)&address, len) < 0 ? -errno : 0;

    umask(old);
    return r;
}

static int own_file(const struct sockspec *spec, const struct spawn_user *owner,
                    struct unix_socket_file *out, struct why *why)
{
    struct stat st;
    int r;

    if (lstat(spec->path, &st) < 0)
        return why_fail_errno(why, -errno, "cannot look at the new socket");
    *out = (struct unix_socket_file){.device = st.st_dev, .inode = st.st_ino};
    if (!owner->set || lchown(spec->path, owner->uid, owner->gid) == 0)
        return 0;
    r = -errno;
    unix_socket_remove(spec, out);
    return why_fail_errno(why, r, "cannot change the owner of the socket");
}

static int bind_path(int fd, const struct sockspec *spec, const struct spawn_user *owner,
                     struct unix_socket_file *out, struct why *why)
{
    int r = clear_path(spec, why);

    if (r < 0)
        return r;
    r = bind_with_mode(fd, spec);
    if (r < 0)
        return why_fail_errno(why, r, "cannot bind");
    return own_file(spec, owner, out, why);
}

static int bind_abstract(int fd, const struct sockspec *spec, struct why *why)
{
    int r = bind_with_mode(fd, spec);
    pid_t pid;

    if (r == 0)
        return 0;
    if (r != -EADDRINUSE)
        return why_fail_errno(why, r, "cannot bind");
    probe(spec, &pid);
    return fail_in_use(pid, why);
}

int unix_socket_bind(int fd, const struct sockspec *spec, struct unix_socket_file *out,
                     struct why *why)
{
    struct spawn_user owner;
    int r;

    *out = (struct unix_socket_file){0};
    if (is_abstract(spec))
        return bind_abstract(fd, spec, why);
    r = spawn_user_lookup(spec->user[0] ? spec->user : NULL, spec->group[0] ? spec->group : NULL,
                          &owner, why);
    if (r < 0)
        return r;
    r = bind_path(fd, spec, &owner, out, why);
    spawn_user_free(&owner);
    return r;
}

bool unix_socket_has_file(const struct sockspec *spec, const struct unix_socket_file *file)
{
    struct stat st;

    return file->inode && lstat(spec->path, &st) == 0 && st.st_dev == file->device &&
           st.st_ino == file->inode;
}

void unix_socket_remove(const struct sockspec *spec, struct unix_socket_file *file)
{
    if (unix_socket_has_file(spec, file))
        unlink(spec->path);
    *file = (struct unix_socket_file){0};
}
