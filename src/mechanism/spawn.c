#include "mechanism/spawn.h"

#include <dirent.h>
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/sys.h"
#include "policy/cpus.h"

#define DEFAULT_PATH "/usr/local/bin:/usr/bin:/bin"

enum { FIRST_FD = 3, NOUTPUTS = 2, EXIT_NOT_STARTED = 127, LOAD_LIMIT_MS = 100, LATE_MAX = 3 };

/* What the child needs, made before the fork. */
struct child {
    const struct spawn_request *request;
    struct strv candidates; /* file names to give to execve(2), in this order */
    int *fds;               /* room for a copy of request->fds, since the child moves them */
    int outputs[NOUTPUTS];  /* the same of request->outputs */
    char oom_score_adj[16];
    pid_t master;
    int result_fd, error_fd; /* the ends of the channel for the master and for the child */
    bool borrows;            /* it runs in the memory of the master: see lend_memory() */
    volatile bool limited;   /* set there by the child, when its timer runs */
};

/* What the child tells: that it failed, or how the filter went. */
struct report {
    struct spawn_error error;
    bool failed;
};

/* ---- in the child: each step returns 0 or -errno ---- */

static int enter_session(struct child *c)
{
    (void)c;
    return setsid() < 0 ? -errno : 0;
}

static int move_up(int *fd, int lowest)
{
    int moved;

    if (*fd >= lowest)
        return 0;
    moved = fcntl(*fd, F_DUPFD_CLOEXEC, lowest);
    if (moved < 0)
        return -errno;
    *fd = moved;
    return 0;
}

/* stdin reads nothing; stdout and stderr exist in any case. */
static int open_standard_streams(const int *outputs)
{
    int null = open("/dev/null", O_RDWR);

    if (null < 0 || dup2(null, STDIN_FILENO) < 0)
        return -errno;
    for (int i = 0; i < NOUTPUTS; i++) {
        int fd = STDOUT_FILENO + i;

        if (outputs ? dup2(outputs[i], fd) < 0 : fcntl(fd, F_SETFD, 0) < 0 && dup2(null, fd) < 0)
            return -errno;
    }
    return 0;
}

/* For kernels before 5.11 and sandboxes that do not know close_range(2). */
static int mark_from_proc(int lowest)
{
    CLEANUP_CLOSE int dir = open("/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    _Alignas(struct dirent64) char buf[4096];
    ssize_t n;

    if (dir < 0)
        return -errno;
    while ((n = getdents64(dir, buf, sizeof(buf))) > 0)
        for (const char *p = buf; p < buf + n; p += ((const struct dirent64 *)p)->d_reclen) {
            int fd = atoi(((const struct dirent64 *)p)->d_name);

            if (fd >= lowest && fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
                return -errno;
        }
    return n < 0 ? -errno : 0;
}

/* Marks instead of closing: the channel is among them and is needed up to exec. */
static int close_others_at_exec(int lowest)
{
    if (close_range((unsigned)lowest, ~0U, CLOSE_RANGE_CLOEXEC) == 0)
        return 0;
    return mark_from_proc(lowest);
}

static int place_descriptors(struct child *c)
{
    int nfds = (int)c->request->nfds;
    int old_error_fd = c->error_fd;
    int err = move_up(&c->error_fd, FIRST_FD + nfds);

    close(c->result_fd); /* it must not pass for a standard stream that is missing */
    if (c->error_fd != old_error_fd)
        close(old_error_fd);
    for (int i = 0; err == 0 && i < nfds; i++)
        err = move_up(&c->fds[i], FIRST_FD + nfds);
    for (int i = 0; err == 0 && c->request->outputs && i < NOUTPUTS; i++)
        err = move_up(&c->outputs[i], FIRST_FD + nfds);
    if (err == 0)
        err = open_standard_streams(c->request->outputs ? c->outputs : NULL);
    for (int i = 0; err == 0 && i < nfds; i++)
        if (dup2(c->fds[i], FIRST_FD + i) < 0)
            err = -errno;
    return err < 0 ? err : close_others_at_exec(FIRST_FD + nfds);
}

static int set_nice(struct child *c)
{
    if (c->request->nice == SPAWN_INHERIT)
        return 0;
    return setpriority(PRIO_PROCESS, 0, (int)c->request->nice) < 0 ? -errno : 0;
}

/* -EINVAL: the CPU went offline, or a cgroup has taken it away. Then any other has to do. */
static int set_affinity(struct child *c)
{
    cpu_set_t set[CPUS_MAX / CPU_SETSIZE];

    if (c->request->cpu == SPAWN_INHERIT)
        return 0;
    CPU_ZERO_S(sizeof(set), set);
    CPU_SET_S((size_t)c->request->cpu, sizeof(set), set);
    return sched_setaffinity(0, sizeof(set), set) < 0 && errno != EINVAL ? -errno : 0;
}

static int set_oom_score_adj(struct child *c)
{
    CLEANUP_CLOSE int fd = -1;

    if (!*c->oom_score_adj)
        return 0;
    fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, c->oom_score_adj, strlen(c->oom_score_adj)) < 0)
        return -errno;
    return 0;
}

static int set_limit(int resource, int64_t value)
{
    rlim_t limit = value == INT64_MAX ? RLIM_INFINITY : (rlim_t)value;

    if (value == SPAWN_INHERIT)
        return 0;
    return setrlimit(resource, &(struct rlimit){limit, limit}) < 0 ? -errno : 0;
}

static int set_limits(struct child *c)
{
    int err;

    sys_restore_nofile();
    err = set_limit(RLIMIT_NOFILE, c->request->limit_nofile);
    return err < 0 ? err : set_limit(RLIMIT_CORE, c->request->limit_core);
}

/* Without the filter the program can do its work. With a filter nobody answers it could not: there
 * the start ends. */
static int install_filter(struct child *c)
{
    struct report report = {.error = {.stage = SPAWN_STAGE_FILTER}};
    CLEANUP_CLOSE int fd = -1;

    if (!c->request->filter)
        return 0;
    fd = adopt_filter_install(c->request->filter);
    if (fd < 0)
        report.error.err = -fd;
    return sys_send_with_fd(c->error_fd, &report, sizeof(report), fd);
}

/* Then there is nothing to change, for which the kernel would want a privilege. */
static bool is_user_already(const struct spawn_user *u)
{
    uid_t uid[3];
    gid_t gid[3];

    if (getresuid(&uid[0], &uid[1], &uid[2]) < 0 || getresgid(&gid[0], &gid[1], &gid[2]) < 0)
        return false;
    for (int i = 0; i < 3; i++)
        if (uid[i] != u->uid || gid[i] != u->gid)
            return false;
    return true;
}

static int set_group(struct child *c)
{
    const struct spawn_user *u = c->request->user;

    if (!u || !u->set)
        return 0;
    if (setgroups(u->ngroups, u->groups) < 0 && !(errno == EPERM && is_user_already(u)))
        return -errno;
    return setresgid(u->gid, u->gid, u->gid) < 0 ? -errno : 0;
}

static int set_user(struct child *c)
{
    const struct spawn_user *u = c->request->user;

    if (!u || !u->set)
        return 0;
    return setresuid(u->uid, u->uid, u->uid) < 0 ? -errno : 0;
}

/* After the change of user, which clears the signal; see PR_SET_PDEATHSIG(2const). A master that
 * was already gone then will not send any. */
static int tie_to_master(struct child *c)
{
    if (prctl(PR_SET_PDEATHSIG, SIGTERM) < 0)
        return -errno;
    return getppid() == c->master ? 0 : -ESRCH;
}

static int enter_directory(struct child *c)
{
    if (!c->request->directory)
        return 0;
    return chdir(c->request->directory) < 0 ? -errno : 0;
}

/* The mask comes last: what was sent since the fork then meets the default disposition. */
static void reset_signals(void)
{
    static const unsigned long standard[8]; /* the kernel's struct sigaction, all of it zero */
    sigset_t none;

    for (int signo = 1; signo < _NSIG; signo++)
        syscall(SYS_rt_sigaction, signo, standard, NULL, (size_t)_NSIG / 8);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

static int run_program(struct child *c)
{
    const struct spawn_request *r = c->request;
    int err = -ENOENT;

    if (r->set_pid)
        r->set_pid(r->set_pid_data, getpid());
    if (r->umask != SPAWN_INHERIT)
        umask((mode_t)r->umask);
    reset_signals();
    for (size_t i = 0; i < c->candidates.n; i++) {
        execve(c->candidates.items[i], r->argv, r->envp);
        if (errno == EACCES)
            err = -EACCES;
        else if (errno != ENOENT && errno != ENOTDIR)
            return -errno;
    }
    return err;
}

static const struct {
    const char *name;
    int (*run)(struct child *c);
} stages[SPAWN_NSTAGES] = {
    [SPAWN_STAGE_FORK] = {"fork", NULL},
    [SPAWN_STAGE_SESSION] = {"session", enter_session},
    [SPAWN_STAGE_DESCRIPTORS] = {"descriptors", place_descriptors},
    [SPAWN_STAGE_NICE] = {"nice value", set_nice},
    [SPAWN_STAGE_AFFINITY] = {"CPU affinity", set_affinity},
    [SPAWN_STAGE_OOM_SCORE_ADJ] = {"OOM score adjustment", set_oom_score_adj},
    [SPAWN_STAGE_LIMITS] = {"limits", set_limits},
    [SPAWN_STAGE_FILTER] = {"filter", install_filter},
    [SPAWN_STAGE_GROUP] = {"group", set_group},
    [SPAWN_STAGE_USER] = {"user", set_user},
    [SPAWN_STAGE_PDEATHSIG] = {"parent-death signal", tie_to_master},
    [SPAWN_STAGE_DIRECTORY] = {"working directory", enter_directory},
    [SPAWN_STAGE_EXEC] = {"exec", run_program},
};

const char *spawn_stage_name(enum spawn_stage stage)
{
    return stages[stage].name;
}

/* No longer than this may the master wait for a child that runs in its memory. The timer ends with
 * execve(2); the signal can be neither blocked nor caught, and ends also a wait for a file system
 * that does not answer. */
static int limit_loading(void)
{
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGKILL};
    struct itimerspec limit = {.it_value.tv_nsec = LOAD_LIMIT_MS * 1000000L};
    timer_t timer;

    if (timer_create(CLOCK_MONOTONIC, &event, &timer) < 0)
        return -errno;
    return timer_settime(timer, 0, &limit, NULL) < 0 ? -errno : 0;
}

/* The child changes a copy: `prepared` may be the master's own. */
static _Noreturn void run_child(struct child *prepared)
{
    struct child c = *prepared;
    struct report report = {.error = {.stage = SPAWN_STAGE_FORK}, .failed = true};
    struct spawn_error *error = &report.error;

    if (c.borrows && limit_loading() < 0)
        _exit(EXIT_NOT_STARTED);
    prepared->limited = true;
    if (c.request->nfds > 0)
        memcpy(c.fds, c.request->fds, c.request->nfds * sizeof(*c.fds));
    while (error->err == 0)
        error->err = -stages[++error->stage].run(&c);
    /* There is room; without a reader nobody wants to know. */
    sys_send_with_fd(c.error_fd, &report, sizeof(report), -1);
    _exit(EXIT_NOT_STARTED);
}

/* ---- in the master ---- */

static const char *search_path(char *const *envp)
{
    for (; *envp; envp++) {
        const char *path = str_after(*envp, "PATH=");

        if (path)
            return path;
    }
    return DEFAULT_PATH;
}

/* An empty element of PATH is the working directory. */
static int list_candidates(const char *name, const char *path, struct strv *out)
{
    int err;

    if (!*name || strchr(name, '/'))
        return strv_push(out, name);
    do {
        size_t len = strcspn(path, ":");

        err = strv_pushf(out, "%.*s%s%s", (int)len, path, len > 0 ? "/" : "", name);
        path += len;
    } while (err == 0 && *path++);
    return err;
}

static int prepare_child(struct child *c, const struct spawn_request *r)
{
    *c = (struct child){.request = r, .master = getpid(), .result_fd = -1, .error_fd = -1};
    c->fds = calloc(r->nfds + 1, sizeof(*c->fds));
    if (!c->fds)
        return -ENOMEM;
    if (r->outputs)
        memcpy(c->outputs, r->outputs, sizeof(c->outputs));
    if (r->oom_score_adj != SPAWN_INHERIT)
        snprintf(c->oom_score_adj, sizeof(c->oom_score_adj), "%d", (int)r->oom_score_adj);
    return list_candidates(r->argv[0], search_path(r->envp), &c->candidates);
}

static int open_channel(struct child *c)
{
    int fds[2];

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) < 0)
        return -errno;
    c->result_fd = fds[0];
    c->error_fd = fds[1];
    return 0;
}

static void close_channel(struct child *c)
{
    util_close_p(&c->result_fd);
    util_close_p(&c->error_fd);
}

static void release_child(struct child *c)
{
    close_channel(c);
    strv_free(&c->candidates);
    free(c->fds);
}

/* All signals are blocked around the fork, so that no handler of the master runs in the child. */
static pid_t fork_child(struct child *c)
{
    sigset_t all, before;
    pid_t pid;
    int err;

    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &before);
    pid = c->borrows ? vfork() : fork();
    err = errno;
    if (pid == 0)
        run_child(c);
    sigprocmask(SIG_SETMASK, &before, NULL);
    return pid < 0 ? -err : pid;
}

/* A child that changes its user gets memory of its own: that of the master would lie open to the
 * other processes of that user. */
static bool may_borrow(const struct spawn_request *r)
{
    return !r->user || !r->user->set || is_user_already(r->user);
}

static void end_child(pid_t pid)
{
    siginfo_t info;

    kill(pid, SIGKILL);
    while (waitid(P_PID, (id_t)pid, &info, WEXITED) < 0 && errno == EINTR)
        ;
}

/* Cut off by its timer. One that has loaded its program may be late as well, when it was the master
 * for whom the machine had no time. */
static bool was_cut_off(pid_t pid, int64_t began_ms)
{
    struct sys_proc proc;

    if (clock_ms() - began_ms < LOAD_LIMIT_MS)
        return false;
    return sys_proc_stat(pid, &proc) < 0 || proc.exiting;
}

/* vfork(2): the child runs in the memory of the master, which waits until it has loaded its
 * program. That spares to copy the master's page tables, to copy each page that it then writes to,
 * and to throw the copy away: together more than all the rest of a start. A program that is slow to
 * load (a network file system, a disk at its limit) must not hold the master: its child is cut off
 * and gets memory of its own, by fork(2). After LATE_MAX of them in a row all do; fewer may be a
 * moment in which the machine had no time for us. -ETIME: this one needs memory of its own. */
static pid_t lend_memory(struct child *c)
{
    static int late_in_a_row;
    int64_t began_ms = clock_ms();
    pid_t pid;

    c->borrows = late_in_a_row < LATE_MAX && may_borrow(c->request);
    if (!c->borrows)
        return -ETIME;
    pid = fork_child(c);
    c->borrows = false;
    if (pid < 0)
        return pid;
    if (c->limited && !was_cut_off(pid, began_ms)) {
        late_in_a_row = 0;
        return pid;
    }
    late_in_a_row = c->limited ? late_in_a_row + 1 : LATE_MAX;
    if (late_in_a_row == LATE_MAX)
        log_info(LOG_NOBODY, "workers are started by fork(2) from now on, since %s",
                 c->limited ? "programs are slow to load" : "there is no timer for vfork(2)");
    end_child(pid);
    return -ETIME;
}

static int start_child(struct child *c)
{
    pid_t pid;
    int err = open_channel(c);

    if (err < 0)
        return err;
    pid = lend_memory(c);
    if (pid != -ETIME)
        return pid;
    close_channel(c);
    err = open_channel(c);
    return err < 0 ? err : fork_child(c);
}

int spawn_start(const struct spawn_request *request, pid_t *pid, int *result_fd)
{
    CLEANUP(release_child) struct child c;
    int err = prepare_child(&c, request);
    pid_t forked;

    if (err < 0)
        return err;
    forked = start_child(&c);
    if (forked < 0)
        return forked;
    *pid = forked;
    *result_fd = util_take_fd(&c.result_fd);
    return 0;
}

static void note_filter(struct spawn_outcome *out, int err, int fd)
{
    out->notify_fd = fd;
    out->filter_err = fd < 0 && err == 0 ? EMFILE : err;
}

int spawn_result(int result_fd, struct spawn_outcome *out)
{
    *out = (struct spawn_outcome){.notify_fd = -1};
    for (;;) {
        struct report report;
        int fd;
        ssize_t n = sys_receive_with_fd(result_fd, &report, sizeof(report), &fd);

        if (n < 0)
            return (int)n;
        if (n != sizeof(report))
            return 1;
        if (report.failed) {
            out->error = report.error;
            return 0;
        }
        note_filter(out, report.error.err, fd);
    }
}

static bool next_dead(siginfo_t *info)
{
    info->si_pid = 0;
    return waitid(P_ALL, 0, info, WEXITED | WNOHANG | WNOWAIT) == 0 && info->si_pid != 0;
}

void spawn_reap(void (*gone)(void *data, pid_t pid, int code, int status), void *data)
{
    siginfo_t info, ignored;

    while (next_dead(&info)) {
        gone(data, info.si_pid, info.si_code, info.si_status);
        waitid(P_PID, (id_t)info.si_pid, &ignored, WEXITED | WNOHANG);
    }
}
