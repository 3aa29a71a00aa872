#include "mechanism/features.h"

#include <grp.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "base/sys.h"
#include "mechanism/adopt_filter.h"
#include "mechanism/adopter.h"
#include "mechanism/cpus_probe.h"
#include "mechanism/sockdiag.h"
#include "mechanism/steer_ebpf.h"

enum { NOBODY = 65534 };

#define TRIAL_MAX_S 1. /* for one child */

/* Each returns 0, with a remark in `why` or none, or -errno with the reason. */

static int fail(struct why *why, int err)
{
    return why_fail(why, err, "%s", strerror(-err));
}

static int last_error(struct why *why)
{
    return fail(why, -errno);
}

static int get_number(int fd, int name)
{
    int number = -1;
    socklen_t len = sizeof(number);

    return getsockopt(fd, SOL_SOCKET, name, &number, &len) < 0 ? -errno : number;
}

/* ---- seccomp ---- */

/* Flags are checked before the program, which is none: EFAULT says that they are known. */
static int try_seccomp(unsigned long flags, struct why *why)
{
    syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, NULL);
    return errno == EFAULT ? 0 : last_error(why);
}

static int probe_notification(struct why *why)
{
    return try_seccomp(SECCOMP_FILTER_FLAG_NEW_LISTENER, why);
}

static int probe_killable(struct why *why)
{
    return try_seccomp(SECCOMP_FILTER_FLAG_NEW_LISTENER | SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV,
                       why);
}

/* ---- adoption: a child that binds its socket and should get another one ---- */

struct trial {
    bool as_nobody;
    struct adopt_filter *filter;
    int ends[2]; /* a channel: the master's, the child's */
    int gift;    /* the socket to give */
    struct why *why;
};

/* PR_SET_DUMPABLE stands for the exec of a program that everybody may read. */
static int become_nobody(void)
{
    if (setgroups(0, NULL) < 0 || setgid(NOBODY) < 0 || setuid(NOBODY) < 0)
        return -errno;
    return prctl(PR_SET_DUMPABLE, 1) < 0 ? -errno : 0;
}

/* In the child: 0 when it got the gift, which listens, in place of its own socket. */
static int play(const struct trial *t)
{
    const struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(1)};
    int notify_fd = adopt_filter_install(t->filter);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    int err = notify_fd < 0 ? notify_fd : sys_send_with_fd(t->ends[1], "", 1, notify_fd);

    close(notify_fd);
    if (err == 0 && t->as_nobody)
        err = become_nobody();
    if (err == 0 && bind(fd, (const struct sockaddr *)&a, sizeof(a)) < 0)
        err = -errno;
    return err == 0 && get_number(fd, SO_ACCEPTCONN) != 1 ? -ENOTSOCK : err;
}

static int give(void *data, const struct adopter_bind *b UNUSED)
{
    return ((const struct trial *)data)->gift;
}

static int swallow(void *data UNUSED, pid_t pid UNUSED, uint64_t inode UNUSED, int backlog UNUSED)
{
    return 0;
}

static void note(void *data, const char *reason)
{
    why_fail(((const struct trial *)data)->why, 0, "%s", reason);
}

static const struct adopter_ops trial_ops = {give, swallow, note};

static void on_end(struct ev_loop *loop, ev_io *io UNUSED, int events UNUSED)
{
    ev_break(loop, EVBREAK_ALL);
}

static void on_timeout(struct ev_loop *loop, ev_timer *timer UNUSED, int events UNUSED)
{
    ev_break(loop, EVBREAK_ALL);
}

/* Until the child ends or its time is over. */
static void answer_child(struct trial *t, struct ev_loop *loop, int pidfd, int notify_fd)
{
    struct adopter *adopter = NULL;
    ev_timer timeout;
    ev_io end;

    if (notify_fd >= 0 && adopter_open(loop, notify_fd, &trial_ops, t, &adopter) < 0)
        return;
    ev_io_init(&end, on_end, pidfd, EV_READ);
    ev_io_start(loop, &end);
    ev_timer_init(&timeout, on_timeout, TRIAL_MAX_S, 0.);
    ev_timer_start(loop, &timeout);
    ev_run(loop, 0);
    ev_io_stop(loop, &end);
    ev_timer_stop(loop, &timeout);
    adopter_close(adopter);
}

static int serve_child(struct trial *t, pid_t pid)
{
    CLEANUP_CLOSE int pidfd = sys_pidfd_open(pid);
    struct ev_loop *loop = ev_loop_new(EVFLAG_AUTO);
    int notify_fd;
    char byte;

    if (pidfd < 0 || !loop)
        return pidfd < 0 ? pidfd : -ENOMEM;
    sys_receive_with_fd(t->ends[0], &byte, sizeof(byte), &notify_fd);
    answer_child(t, loop, pidfd, notify_fd);
    ev_loop_destroy(loop);
    return 0;
}

/* Its exit status is a positive errno. */
static int reap(pid_t pid, struct why *why)
{
    int status;

    if (TEMP_FAILURE_RETRY(waitpid(pid, &status, 0)) < 0)
        return last_error(why);
    if (!WIFEXITED(status))
        return fail(why, -ETIMEDOUT);
    if (WEXITSTATUS(status) == 0 || why->text[0])
        return -WEXITSTATUS(status);
    return fail(why, -WEXITSTATUS(status));
}

static int run_child(struct trial *t)
{
    pid_t pid = fork();
    int err;

    if (pid < 0)
        return last_error(t->why);
    if (pid == 0)
        _exit(-play(t));
    util_close_p(&t->ends[1]);
    err = serve_child(t, pid);
    if (err < 0)
        fail(t->why, err);
    kill(pid, SIGKILL); /* does nothing to a child that has ended */
    return reap(pid, t->why);
}

static void trial_close(struct trial *t)
{
    util_close_p(&t->ends[0]);
    util_close_p(&t->ends[1]);
    util_close_p(&t->gift);
    adopt_filter_free(t->filter);
}

static int try_adoption(bool as_nobody, struct why *why)
{
    CLEANUP(trial_close)
    struct trial t = {.as_nobody = as_nobody, .ends = {-1, -1}, .why = why, .gift = -1};
    int err = adopt_filter_new(&t.filter);

    if (err < 0)
        return fail(why, err);
    t.gift = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (t.gift < 0 || listen(t.gift, 1) < 0 ||
        socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, t.ends) < 0)
        return last_error(why);
    return run_child(&t);
}

static int probe_adoption(struct why *why)
{
    return try_adoption(false, why);
}

static int probe_adoption_other(struct why *why)
{
    if (geteuid() != 0)
        return why_fail(why, -EPERM, "only root starts workers of other users");
    return try_adoption(true, why);
}

/* In the child. */
static int keep_privileges(const struct adopt_filter *filter)
{
    int fd = adopt_filter_install(filter);

    if (fd < 0)
        return fd;
    return prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) ? -EACCES : 0;
}

static int probe_privileges(struct why *why)
{
    struct adopt_filter *filter;
    int err = adopt_filter_new(&filter);
    pid_t pid;

    if (err < 0)
        return fail(why, err);
    pid = fork();
    if (pid == 0)
        _exit(-keep_privileges(filter));
    err = pid < 0 ? last_error(why) : reap(pid, why);
    adopt_filter_free(filter);
    return err;
}

static int probe_duplicate(struct why *why)
{
    CLEANUP_CLOSE int pidfd = sys_pidfd_open(getpid());
    CLEANUP_CLOSE int fd = pidfd < 0 ? pidfd : (int)syscall(SYS_pidfd_getfd, pidfd, pidfd, 0U);

    return fd < 0 ? last_error(why) : 0;
}

/* ---- sockets ---- */

/* A socket of a new SO_REUSEPORT group, or of one that is there. */
static int join_group(in_port_t *port)
{
    CLEANUP_CLOSE int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = *port};
    socklen_t len = sizeof(a);
    int on = 1;

    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) < 0 ||
        bind(fd, (const struct sockaddr *)&a, sizeof(a)) < 0 || listen(fd, 1) < 0 ||
        getsockname(fd, (struct sockaddr *)&a, &len) < 0)
        return -errno;
    *port = a.sin_port;
    return util_take_fd(&fd);
}

static int probe_reuseport(struct why *why)
{
    in_port_t port = 0;
    CLEANUP_CLOSE int first = join_group(&port);
    CLEANUP_CLOSE int second = first < 0 ? first : join_group(&port);

    return second < 0 ? fail(why, second) : 0;
}

static int probe_steering(struct why *why)
{
    struct sock_filter code[] = {BPF_STMT(BPF_RET | BPF_K, 0)};
    struct sock_fprog program = {.len = ARRAY_SIZE(code), .filter = code};
    in_port_t port = 0;
    CLEANUP_CLOSE int fd = join_group(&port);

    if (fd < 0)
        return fail(why, fd);
    return setsockopt(fd, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &program, sizeof(program)) < 0
               ? last_error(why)
               : 0;
}

static int probe_ebpf(struct why *why)
{
    struct steer_ebpf ebpf;
    in_port_t port = 0;
    CLEANUP_CLOSE int fd = join_group(&port);
    int r = fd;

    steer_ebpf_init(&ebpf);
    if (r >= 0)
        r = steer_ebpf_prepare(&ebpf, &(struct steer_plan){.balance = BALANCE_ROUND_ROBIN});
    if (r == 0)
        r = steer_ebpf_add(&ebpf, 0, fd);
    if (r == 0 && setsockopt(fd, SOL_SOCKET, SO_ATTACH_REUSEPORT_EBPF, &ebpf.prog_fd,
                             sizeof(ebpf.prog_fd)) < 0)
        r = -errno;
    steer_ebpf_free(&ebpf);
    return r < 0 ? fail(why, r) : 0;
}

static int probe_sock_diag(struct why *why)
{
    const struct sockspec spec = {.kind = SOCKSPEC_DUAL, .port = 1};
    uint64_t inode;
    int found = sockdiag_listeners(&spec, SOCKDIAG_OVERLAPS, &inode, 1);

    return found < 0 ? fail(why, found) : 0;
}

static int probe_ip6(struct why *why)
{
    CLEANUP_CLOSE int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const struct sockaddr_in6 a = {.sin6_family = AF_INET6};

    return fd < 0 || bind(fd, (const struct sockaddr *)&a, sizeof(a)) < 0 ? last_error(why) : 0;
}

static int probe_migration(struct why *why)
{
    CLEANUP_BUF struct buf text = BUF_INIT;
    int err = sys_read_pseudo("/proc/sys/net/ipv4/tcp_migrate_req", 64, &text);

    if (err < 0)
        return fail(why, err);
    return atoi(buf_str(&text)) > 0 ? 0 : why_fail(why, -ENOTSUP, "net.ipv4.tcp_migrate_req is 0");
}

/* ---- the rest ---- */

static int probe_pidfd(struct why *why)
{
    CLEANUP_CLOSE int fd = sys_pidfd_open(getpid());

    return fd < 0 ? fail(why, fd) : 0;
}

static int probe_quota(struct why *why)
{
    int64_t quota = cpus_probe_quota("");

    if (access("/sys/fs/cgroup/cgroup.controllers", R_OK) < 0 &&
        access("/sys/fs/cgroup/cpu", R_OK) < 0)
        return last_error(why);
    return quota == 0 ? why_fail(why, 0, "no limit")
                      : why_fail(why, 0, "%.2f CPUs", (double)quota / 1000.);
}

static const struct {
    const char *name, *needed_for;
    int (*probe)(struct why *why);
} features[] = {
    {"SO_REUSEPORT", "a socket of its own for every worker", probe_reuseport},
    {"reuseport BPF", "balance, keeping hung workers out", probe_steering},
    {"reuseport eBPF", "balance = round-robin; nothing lost when a queue is closed", probe_ebpf},
    {"tcp_migrate_req", "without eBPF: nothing lost when a queue is closed", probe_migration},
    {"IPv6", "listen on [::] and on every address", probe_ip6},
    {"sock_diag", "telling who uses an address", probe_sock_diag},
    {"pidfd", "MAINPID of a worker", probe_pidfd},
    {"CPU quota", "workers = auto in a container", probe_quota},
    {"seccomp notification", "adoption", probe_notification},
    {"killable notification", "adoption of programs that use many signals", probe_killable},
    {"adoption", "sharing the port of unmodified programs", probe_adoption},
    {"adoption, other user", "the same, with user = in the configuration", probe_adoption_other},
    {"pidfd_getfd", "adoption: keeping a program's socket options", probe_duplicate},
    {"privileged filter", "adoption: setuid programs below a worker", probe_privileges},
};

static void print_feature(size_t i, struct buf *out)
{
    struct why why = {""};
    bool works = features[i].probe(&why) == 0;

    buf_printf(out, "%-22s %-4s %s", features[i].name, works ? "yes" : "no",
               features[i].needed_for);
    if (why.text[0])
        buf_printf(out, " (%s)", why.text);
    buf_putc(out, '\n');
}

void features_print(struct buf *out)
{
    buf_printf(out, "%-22s %-4s %s\n", "FEATURE", "", "NEEDED FOR");
    for (size_t i = 0; i < ARRAY_SIZE(features); i++)
        print_feature(i, out);
}
