#include "mechanism/adopt_target.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>

#include "base/sys.h"

enum { STATUS_MAX = 1 << 16, FDINFO_MAX = 1 << 16, PATH_ROOM = 64 };

/* ---- rights ---- */

struct status {
    pid_t pid;
    uid_t uid[3]; /* real, effective, saved */
    gid_t gid[3];
};

/* proc_pid_status(5). The name of the program cannot forge a line: its newlines are escaped. */
static bool read_status(pid_t tid, struct status *out)
{
    CLEANUP_BUF struct buf text = BUF_INIT;
    const char *pid, *uid, *gid;
    char path[PATH_ROOM];

    snprintf(path, sizeof(path), "/proc/%d/status", (int)tid);
    if (sys_read_pseudo(path, STATUS_MAX, &text) < 0)
        return false;
    pid = strstr(buf_str(&text), "\nTgid:");
    uid = strstr(buf_str(&text), "\nUid:");
    gid = strstr(buf_str(&text), "\nGid:");
    return pid && sscanf(pid, " Tgid: %d", &out->pid) == 1 && uid &&
           sscanf(uid, " Uid: %u %u %u", &out->uid[0], &out->uid[1], &out->uid[2]) == 3 && gid &&
           sscanf(gid, " Gid: %u %u %u", &out->gid[0], &out->gid[1], &out->gid[2]) == 3;
}

struct rights {
    int dumpable;
    int parent_death_signal;
};

/* The kernel compares these ids for accesses by way of /proc, see "Ptrace access mode checking" in
 * ptrace(2). Unlike the other ids they let nobody send us signals or look into us. */
static bool take_rights_of(pid_t tid, struct rights *before)
{
    struct status s;

    if (!read_status(tid, &s) || s.uid[0] == geteuid() || s.uid[0] != s.uid[1] ||
        s.uid[0] != s.uid[2] || s.gid[0] != s.gid[1] || s.gid[0] != s.gid[2])
        return false;
    before->dumpable = prctl(PR_GET_DUMPABLE);
    prctl(PR_GET_PDEATHSIG, &before->parent_death_signal);
    setfsgid(s.gid[0]);
    setfsuid(s.uid[0]);
    return true;
}

/* A change of ids clears what `before` holds. */
static void give_rights_back(const struct rights *before)
{
    setfsuid(geteuid());
    setfsgid(getegid());
    if (before->dumpable == 1)
        prctl(PR_SET_DUMPABLE, 1);
    prctl(PR_SET_PDEATHSIG, before->parent_death_signal);
}

/* ---- the socket ---- */

/* What can be adopted. A kernel before 5.16 calls every Unix socket "UNIX" and has them passed. */
static const struct protocol {
    const char *name; /* of the kernel, for the extended attribute */
    sa_family_t family;
    bool udp;
} protocols[] = {
    {"TCP", AF_INET, false},         {"TCPv6", AF_INET6, false}, {"MPTCP", AF_INET, false},
    {"MPTCPv6", AF_INET6, false},    {"UDP", AF_INET, true},     {"UDPv6", AF_INET6, true},
    {"UNIX-STREAM", AF_UNIX, false},
};

/* Looks at what `pin` stands for without touching it: a file could make us wait. */
static int read_inode(int pin, uint64_t *inode)
{
    char path[PATH_ROOM], target[PATH_ROOM];
    unsigned long number;
    ssize_t n;

    snprintf(path, sizeof(path), "/proc/self/fd/%d", pin);
    n = readlink(path, target, sizeof(target) - 1);
    if (n < 0)
        return -errno;
    target[n] = '\0';
    if (sscanf(target, "socket:[%lu]", &number) != 1)
        return -ENOTSOCK;
    *inode = number;
    return 0;
}

static const struct protocol *read_protocol(int pin)
{
    char path[PATH_ROOM], name[32];
    ssize_t n;

    snprintf(path, sizeof(path), "/proc/self/fd/%d", pin);
    n = getxattr(path, "system.sockprotoname", name, sizeof(name) - 1);
    if (n < 0)
        return NULL;
    name[n] = '\0';
    for (size_t i = 0; i < ARRAY_SIZE(protocols); i++)
        if (streq(name, protocols[i].name))
            return &protocols[i];
    return NULL;
}

static int read_flags(const struct adopt_target *t)
{
    CLEANUP_BUF struct buf text = BUF_INIT;
    const char *line;
    char path[PATH_ROOM];
    unsigned flags;
    int err;

    snprintf(path, sizeof(path), "/proc/%d/fdinfo/%d", (int)t->tid, t->fd);
    err = sys_read_pseudo(path, FDINFO_MAX, &text);
    if (err < 0)
        return err;
    line = strstr(buf_str(&text), "flags:");
    return line && sscanf(line, "flags: %o", &flags) == 1 ? (int)flags : -EBADMSG;
}

/* The descriptor is pinned, so that all answers are about the same socket. */
static int read_socket(struct adopt_target *t, const struct protocol **protocol)
{
    CLEANUP_CLOSE int pin = -1;
    char path[PATH_ROOM];
    int err;

    snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)t->tid, t->fd);
    pin = open(path, O_PATH | O_CLOEXEC);
    err = pin < 0 ? -errno : read_inode(pin, &t->inode);
    if (err < 0)
        return err;
    *protocol = read_protocol(pin);
    t->flags = read_flags(t);
    return t->flags < 0 ? t->flags : 0;
}

/* ---- what is asked for ---- */

/* Not process_vm_readv(2), which the rights of take_rights_of() do not reach. A page that the
 * program feeds by hand (userfaultfd(2)) gives EIO here instead of making us wait. */
static int read_memory(pid_t tid, uint64_t address, void *out, size_t size)
{
    CLEANUP_CLOSE int fd = -1;
    char path[PATH_ROOM];
    ssize_t n;

    snprintf(path, sizeof(path), "/proc/%d/mem", (int)tid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    n = pread(fd, out, size, (off_t)address);
    if (n < 0)
        return -errno;
    return (size_t)n == size ? 0 : -EFAULT;
}

struct query {
    uint64_t address, len; /* len 0: a listen(2) */
};

static bool is_for_kernel_to_choose(const struct sockspec *asked)
{
    return asked->kind == SOCKSPEC_UNIX ? !asked->path[0] : asked->port == 0;
}

static int read_asked(struct adopt_target *t, const struct query *q, sa_family_t *family)
{
    struct sockaddr_storage address = {0};
    int err;

    if (q->len > sizeof(address))
        return -EINVAL;
    err = read_memory(t->tid, q->address, &address, q->len);
    if (err < 0)
        return err;
    *family = address.ss_family;
    err = sockspec_from_sockaddr(&address, (socklen_t)q->len, false, &t->asked);
    return err == 0 && is_for_kernel_to_choose(&t->asked) ? -EADDRNOTAVAIL : err;
}

static int read_target(struct adopt_target *t, const struct query *q)
{
    const struct protocol *protocol = NULL;
    struct status status = {0};
    sa_family_t family = AF_UNSPEC;
    int err = q->len > 0 ? read_asked(t, q, &family) : 0;

    if (err == 0 && !read_status(t->tid, &status))
        err = -ESRCH;
    if (err == 0)
        err = read_socket(t, &protocol);
    t->pid = status.pid;
    if (err < 0 || q->len == 0)
        return err;
    if (!protocol || protocol->family != family)
        return -EPROTONOSUPPORT;
    t->asked.udp = protocol->udp;
    return 0;
}

static bool is_refused(int err)
{
    return err == -EACCES || err == -EPERM;
}

/* A process that we see nothing of is hidden or gone: the caller finds out which. */
static bool is_hidden(pid_t tid)
{
    struct status s;

    return !read_status(tid, &s);
}

static int look_into(struct adopt_target *t, const struct query *q)
{
    struct rights before;
    int err = read_target(t, q);

    if (is_refused(err) && take_rights_of(t->tid, &before)) {
        err = read_target(t, q);
        give_rights_back(&before);
    }
    if (is_refused(err) || (err < 0 && is_hidden(t->tid)))
        return -EACCES;
    return err < 0 && err != -ENOMEM ? -EAGAIN : err;
}

/* Whether [::] means IPv4 too is known to the socket only; where it cannot be asked, the kernel's
 * default is taken. */
static void ask_for_v6only(struct adopt_target *t)
{
    int on = 0;
    socklen_t len = sizeof(on);

    if (t->asked.kind != SOCKSPEC_DUAL)
        return;
    adopt_target_duplicate(t);
    if (getsockopt(t->socket_fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, &len) == 0 && on)
        t->asked.kind = SOCKSPEC_IP6;
}

static void reset(struct adopt_target *t)
{
    *t = (struct adopt_target){.tid = t->tid, .fd = t->fd, .socket_fd = -1};
}

int adopt_target_read_bind(struct adopt_target *t, uint64_t address, uint64_t len)
{
    int err;

    reset(t);
    if (len == 0)
        return -EAGAIN;
    err = look_into(t, &(struct query){address, len});
    if (err == 0)
        ask_for_v6only(t);
    return err;
}

int adopt_target_read_listen(struct adopt_target *t)
{
    reset(t);
    return look_into(t, &(struct query){0});
}

static int duplicate(const struct adopt_target *t)
{
    CLEANUP_CLOSE int pidfd = sys_pidfd_open(t->pid);
    int fd = pidfd < 0 ? pidfd : (int)syscall(SYS_pidfd_getfd, pidfd, t->fd, 0U);

    return fd;
}

/* A thread may have descriptors of its own, or close this one meanwhile. */
static bool is_same(int fd, uint64_t inode)
{
    struct stat st;

    return fstat(fd, &st) == 0 && S_ISSOCK(st.st_mode) && st.st_ino == inode;
}

void adopt_target_duplicate(struct adopt_target *t)
{
    if (t->socket_fd >= 0)
        return;
    t->socket_fd = duplicate(t);
    if (t->socket_fd >= 0 && !is_same(t->socket_fd, t->inode))
        adopt_target_release(t);
}

/* A socket that lingers would keep the master in close(2), should it be the last one to close. One
 * that listens does not, and it may be the slot's own. */
void adopt_target_release(struct adopt_target *t)
{
    const struct linger off = {0};
    int listens = 0;
    socklen_t len = sizeof(listens);

    if (t->socket_fd < 0)
        return;
    getsockopt(t->socket_fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &len);
    if (!listens)
        setsockopt(t->socket_fd, SOL_SOCKET, SO_LINGER, &off, sizeof(off));
    util_close_p(&t->socket_fd);
}
