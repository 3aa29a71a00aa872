#include "base/sys.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <linux/close_range.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <strings.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

enum { DESCENT_MAX = 64, STAT_MAX = 4096, EXITING = 0x4 };

/* O_NONBLOCK so that opening a FIFO returns, O_NOCTTY so that no terminal becomes ours. */
static int open_for_reading(const char *path)
{
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);

    return fd < 0 ? -errno : fd;
}

static int read_to_end(int fd, size_t max, struct buf *out)
{
    char chunk[4096];

    for (size_t total = 0;;) {
        ssize_t n = TEMP_FAILURE_RETRY(read(fd, chunk, sizeof(chunk)));

        if (n < 0)
            return -errno;
        if (n == 0)
            return out->failed ? -ENOMEM : 0;
        if ((size_t)n > max - total)
            return -EFBIG;
        buf_append(out, chunk, (size_t)n);
        total += (size_t)n;
    }
}

int sys_read_file(const char *path, size_t max, struct buf *out)
{
    CLEANUP_CLOSE int fd = open_for_reading(path);
    struct stat st;

    if (fd < 0)
        return fd;
    if (fstat(fd, &st) < 0)
        return -errno;
    if (S_ISDIR(st.st_mode))
        return -EISDIR;
    if (!S_ISREG(st.st_mode))
        return -EINVAL;
    if ((uintmax_t)st.st_size > max)
        return -EFBIG;
    return read_to_end(fd, max, out);
}

int sys_read_pseudo(const char *path, size_t max, struct buf *out)
{
    CLEANUP_CLOSE int fd = open_for_reading(path);

    return fd < 0 ? fd : read_to_end(fd, max, out);
}

static int write_all(int fd, const char *text, size_t len)
{
    while (len > 0) {
        ssize_t n = TEMP_FAILURE_RETRY(write(fd, text, len));

        if (n < 0)
            return -errno;
        text += n;
        len -= (size_t)n;
    }
    return 0;
}

int sys_sysctl(const char *path, int fallback)
{
    CLEANUP_BUF struct buf text = BUF_INIT;

    return sys_read_pseudo(path, 64, &text) < 0 ? fallback : atoi(buf_str(&text));
}

int sys_write_file_atomic(const char *path, const char *text, mode_t mode)
{
    CLEANUP_FREE char *temporary = NULL;
    CLEANUP_CLOSE int fd = -1;
    int err;

    if (asprintf(&temporary, "%s.XXXXXX", path) < 0) {
        temporary = NULL;
        return -ENOMEM;
    }
    fd = mkostemp(temporary, O_CLOEXEC);
    if (fd < 0)
        return -errno;
    err = write_all(fd, text, strlen(text));
    if (err == 0 && (fchmod(fd, mode) < 0 || rename(temporary, path) < 0))
        err = -errno;
    if (err < 0)
        unlink(temporary);
    return err;
}

static int change_flag(int fd, int get, int set, int flag, bool on)
{
    int old = fcntl(fd, get);
    int new = on ? old | flag : old & ~flag;

    if (old < 0 || (new != old &&fcntl(fd, set, new) < 0))
        return -errno;
    return 0;
}

int sys_set_cloexec(int fd, bool on)
{
    return change_flag(fd, F_GETFD, F_SETFD, FD_CLOEXEC, on);
}

int sys_set_nonblock(int fd, bool on)
{
    return change_flag(fd, F_GETFL, F_SETFL, O_NONBLOCK, on);
}

/* A decimal number from 0 to NSIG, or -1. */
static int parse_small(const char *s)
{
    int n = 0;

    if (!*s)
        return -1;
    for (; *s; s++) {
        if (*s < '0' || *s > '9')
            return -1;
        n = n * 10 + (*s - '0');
        if (n > NSIG)
            return -1;
    }
    return n;
}

/* glibc keeps the numbers between the last standard signal and SIGRTMIN for itself. */
static bool signal_exists(int signo)
{
    return sigabbrev_np(signo) || (signo >= SIGRTMIN && signo <= SIGRTMAX);
}

/* "RTMIN", "RTMIN+3", "RTMAX", "RTMAX-3"; 0 when `name` is none of these. */
static int realtime_number(const char *name)
{
    bool from_min = strncasecmp(name, "RTMIN", 5) == 0;
    int base = from_min ? SIGRTMIN : SIGRTMAX;
    int offset;

    if (!from_min && strncasecmp(name, "RTMAX", 5) != 0)
        return 0;
    if (!name[5])
        return base;
    offset = name[5] == (from_min ? '+' : '-') ? parse_small(name + 6) : -1;
    if (offset < 0 || offset > SIGRTMAX - SIGRTMIN)
        return 0;
    return from_min ? base + offset : base - offset;
}

/* What sigabbrev_np(3) calls otherwise. */
static const struct {
    const char *name;
    int signo;
} aliases[] = {{"IOT", SIGIOT}, {"CLD", SIGCLD}, {"IO", SIGIO}};

int sys_signal_number(const char *name)
{
    int signo = parse_small(name);

    if (signo >= 0)
        return signal_exists(signo) ? signo : -EINVAL;
    if (strncasecmp(name, "SIG", 3) == 0)
        name += 3;
    for (signo = 1; signo < SIGRTMIN; signo++) {
        const char *known = sigabbrev_np(signo);

        if (known && strcasecmp(name, known) == 0)
            return signo;
    }
    for (size_t i = 0; i < ARRAY_SIZE(aliases); i++)
        if (strcasecmp(name, aliases[i].name) == 0)
            return aliases[i].signo;
    signo = realtime_number(name);
    return signo ? signo : -EINVAL;
}

const char *sys_signal_name(int signo)
{
    static char realtime[16];
    const char *name = sigabbrev_np(signo);

    if (name)
        return name;
    if (!signal_exists(signo))
        return "?";
    snprintf(realtime, sizeof(realtime), signo == SIGRTMIN ? "RTMIN" : "RTMIN+%d",
             signo - SIGRTMIN);
    return realtime;
}

/* proc_pid_stat(5). The name may hold spaces, newlines and parentheses: it ends at the last one. */
static int parse_stat(const char *text, struct sys_proc *out)
{
    const char *open = strchr(text, '(');
    const char *end = strrchr(text, ')');
    unsigned long flags, vsize;

    if (!open || !end || end < open)
        return -EBADMSG;
    snprintf(out->comm, sizeof(out->comm), "%.*s", (int)(end - open - 1), open + 1);
    if (sscanf(end + 1,
               " %c %d %d %d %*s %*s %lu %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %lu",
               &out->state, &out->ppid, &out->pgrp, &out->session, &flags, &vsize) != 6)
        return -EBADMSG;
    out->ending = vsize == 0;
    out->exiting = flags & EXITING;
    return 0;
}

int sys_proc_stat(pid_t pid, struct sys_proc *out)
{
    CLEANUP_BUF struct buf text = BUF_INIT;
    char path[32];
    int err;

    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    err = sys_read_pseudo(path, STAT_MAX, &text);
    if (err == -ENOENT)
        return -ESRCH;
    return err < 0 ? err : parse_stat(buf_str(&text), out);
}

bool sys_is_descendant(pid_t pid, pid_t ancestor)
{
    for (int step = 0; step < DESCENT_MAX && pid > 0; step++) {
        struct sys_proc proc;

        if (pid == ancestor)
            return true;
        if (sys_proc_stat(pid, &proc) < 0)
            return false;
        pid = proc.ppid;
    }
    return false;
}

bool sys_has_capability(pid_t pid, int capability)
{
    CLEANUP_BUF struct buf status = BUF_INIT;
    unsigned long long effective;
    const char *line;
    char path[64];

    snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
    if (sys_read_pseudo(path, 1 << 16, &status) < 0)
        return false;
    line = strstr(buf_str(&status), "\nCapEff:");
    return line && sscanf(line, "\nCapEff: %llx", &effective) == 1 &&
           (effective & (1ULL << capability));
}

bool sys_may_bind_privileged(pid_t pid)
{
    return sys_has_capability(pid, CAP_NET_BIND_SERVICE);
}

int sys_first_unprivileged_port(void)
{
    return sys_sysctl("/proc/sys/net/ipv4/ip_unprivileged_port_start", 1024);
}

int sys_bpf(int command, union bpf_attr *attr, unsigned size)
{
    long r = syscall(SYS_bpf, command, attr, size);

    return r < 0 ? -errno : (int)r;
}

int sys_pidfd_open(pid_t pid)
{
    int fd = (int)syscall(SYS_pidfd_open, pid, 0);

    return fd < 0 ? -errno : fd;
}

int sys_pidfd_kill(int pidfd, int signo)
{
    return syscall(SYS_pidfd_send_signal, pidfd, signo, NULL, 0) < 0 ? -errno : 0;
}

union one_fd {
    struct cmsghdr header;
    char room[CMSG_SPACE(sizeof(int))];
};

int sys_send_with_fd(int socket, const void *data, size_t len, int fd)
{
    struct iovec part = {(void *)data, len};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    union one_fd control = {.header = {.cmsg_level = SOL_SOCKET,
                                       .cmsg_type = SCM_RIGHTS,
                                       .cmsg_len = CMSG_LEN(sizeof(fd))}};

    if (fd >= 0) {
        memcpy(CMSG_DATA(&control.header), &fd, sizeof(fd));
        message.msg_control = &control;
        message.msg_controllen = sizeof(control);
    }
    return sendmsg(socket, &message, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

ssize_t sys_receive_with_fd(int socket, void *data, size_t size, int *fd)
{
    struct iovec part = {data, size};
    union one_fd control;
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof(control)};
    ssize_t n = TEMP_FAILURE_RETRY(recvmsg(socket, &message, MSG_CMSG_CLOEXEC));
    const struct cmsghdr *header = n < 0 ? NULL : CMSG_FIRSTHDR(&message);

    *fd = -1;
    if (header && header->cmsg_type == SCM_RIGHTS && header->cmsg_len == CMSG_LEN(sizeof(*fd)))
        memcpy(fd, CMSG_DATA(header), sizeof(*fd));
    return n < 0 ? -errno : n;
}

void sys_sanitize_descriptors(void)
{
    for (int fd = 0; fd <= 2; fd++)
        if (fcntl(fd, F_GETFD) < 0)
            open("/dev/null", O_RDWR); /* the lowest number that is free is `fd` */
    syscall(SYS_close_range, 3U, ~0U, CLOSE_RANGE_CLOEXEC);
}

/* Where randomness cannot be had, which is in a sandbox only, what random(3) gives has to do. */
char *sys_random_uuid(char out[static SYS_UUID_TEXT])
{
    unsigned char b[16];

    if (getrandom(b, sizeof(b), GRND_NONBLOCK) != sizeof(b))
        for (size_t i = 0; i < sizeof(b); i++)
            b[i] = (unsigned char)random();
    b[6] = (unsigned char)((b[6] & 0x0f) | 0x40);
    b[8] = (unsigned char)((b[8] & 0x3f) | 0x80);
    snprintf(out, SYS_UUID_TEXT,
             "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0], b[1],
             b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13], b[14],
             b[15]);
    return out;
}

static struct rlimit first_nofile;
static bool raised_nofile;

void sys_raise_nofile(rlim_t first)
{
    struct rlimit raised;

    if (getrlimit(RLIMIT_NOFILE, &first_nofile) < 0)
        return;
    if (first != 0)
        first_nofile.rlim_cur = first;
    raised = first_nofile;
    raised.rlim_cur = raised.rlim_max;
    raised_nofile = setrlimit(RLIMIT_NOFILE, &raised) == 0;
}

rlim_t sys_first_nofile(void)
{
    return first_nofile.rlim_cur;
}

void sys_restore_nofile(void)
{
    if (raised_nofile)
        setrlimit(RLIMIT_NOFILE, &first_nofile);
}

/* Returns how many children there were to kill. */
static int kill_children_once(void)
{
    CLEANUP_BUF struct buf children = BUF_INIT;
    char path[64];
    int n = 0;

    while (waitpid(-1, NULL, WNOHANG) > 0)
        ;
    snprintf(path, sizeof(path), "/proc/self/task/%d/children", (int)getpid());
    if (sys_read_pseudo(path, 1024 * 1024, &children) < 0)
        return 0;
    for (char *rest = children.data, *end; rest; rest = end, n++) {
        long pid = strtol(rest, &end, 10);

        if (end == rest)
            break;
        kill((pid_t)pid, SIGKILL);
    }
    return n;
}

void sys_kill_children(void)
{
    for (int i = 0; i < 50 && kill_children_once() > 0; i++)
        poll(NULL, 0, 10);
}
