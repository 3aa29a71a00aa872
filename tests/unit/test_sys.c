#include "base/sys.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

static char dir[] = "/tmp/sys.XXXXXX";

static void set_up(void)
{
    cr_assert(mkdtemp(dir));
}

/* The number of entries in the folder; removes them when asked to. */
static int entries(bool and_remove)
{
    DIR *d = opendir(dir);
    int n = 0;

    for (struct dirent *e; (e = readdir(d));) {
        if (streq(e->d_name, ".") || streq(e->d_name, ".."))
            continue;
        n++;
        if (and_remove)
            unlinkat(dirfd(d), e->d_name, e->d_type == DT_DIR ? AT_REMOVEDIR : 0);
    }
    closedir(d);
    return n;
}

static void tear_down(void)
{
    entries(true);
    rmdir(dir);
}

TestSuite(sys, .init = set_up, .fini = tear_down, .timeout = 30);

/* A path in the folder; four can be in use at a time. */
static const char *in_dir(const char *name)
{
    static char paths[4][128];
    static unsigned next;
    char *path = paths[next++ % 4];

    snprintf(path, sizeof(paths[0]), "%s/%s", dir, name);
    return path;
}

static const char *file_of(size_t len)
{
    const char *path = in_dir("file");
    FILE *f = fopen(path, "w");

    while (len-- > 0)
        fputc(len % 7 ? 'x' : '\0', f);
    cr_assert_eq(fclose(f), 0);
    return path;
}

static int read_len(const char *path, size_t max, size_t *len)
{
    CLEANUP_BUF struct buf out = BUF_INIT;
    int err = sys_read_file(path, max, &out);

    *len = out.len;
    return err;
}

/* --- Files --- */

Test(sys, reads_files_up_to_the_limit)
{
    static const size_t lens[] = {0, 1, 4095, 4096, 4097, 100000};
    size_t got;

    for (size_t i = 0; i < ARRAY_SIZE(lens); i++) {
        const char *path = file_of(lens[i]);

        cr_expect_eq(read_len(path, lens[i], &got), 0);
        cr_expect_eq(got, lens[i]);
        cr_expect_eq(read_len(path, SIZE_MAX, &got), 0);
        cr_expect_eq(got, lens[i]);
        if (lens[i] == 0)
            continue;
        cr_expect_eq(read_len(path, lens[i] - 1, &got), -EFBIG);
        cr_expect_eq(got, 0, "its size was known");
    }
}

Test(sys, appends_what_it_reads)
{
    CLEANUP_BUF struct buf out = BUF_INIT;

    buf_puts(&out, "before ");
    cr_expect_eq(sys_write_file_atomic(in_dir("f"), "after", 0600), 0);
    cr_expect_eq(sys_read_file(in_dir("f"), 5, &out), 0);
    cr_expect_str_eq(buf_str(&out), "before after");
}

Test(sys, reads_nothing_but_regular_files)
{
    size_t len;

    cr_assert_eq(mkfifo(in_dir("fifo"), 0600), 0);
    cr_expect_eq(read_len(in_dir("fifo"), 100, &len), -EINVAL);
    cr_expect_eq(read_len("/dev/zero", 100, &len), -EINVAL);
    cr_expect_eq(read_len(dir, 100, &len), -EISDIR);
    cr_expect_eq(read_len(in_dir("none"), 100, &len), -ENOENT);
    cr_expect_eq(read_len("", 100, &len), -ENOENT);
}

Test(sys, reads_pseudo_files_up_to_the_limit)
{
    CLEANUP_BUF struct buf out = BUF_INIT;

    cr_expect_eq(sys_read_pseudo("/proc/self/status", 65536, &out), 0);
    cr_expect_not_null(strstr(buf_str(&out), "\nPid:\t"));
    cr_expect_eq(sys_read_pseudo("/proc/self/status", 10, &out), -EFBIG);
    cr_expect_eq(sys_read_file("/proc/self/status", 10, &out), -EFBIG,
                 "whose size is said to be 0");
    cr_expect_eq(sys_read_pseudo("/proc/self/none", 10, &out), -ENOENT);
    cr_expect_eq(sys_read_pseudo("/dev/zero", 100000, &out), -EFBIG);
}

Test(sys, writes_a_new_file_over_the_old_one)
{
    CLEANUP_BUF struct buf text = BUF_INIT;
    const char *path = in_dir("f");
    struct stat before, after;

    umask(077);
    cr_assert_eq(sys_write_file_atomic(path, "a longer text", 0644), 0);
    cr_assert_eq(stat(path, &before), 0);
    cr_expect_eq(before.st_mode & 07777, 0644);
    cr_assert_eq(sys_write_file_atomic(path, "short", 0600), 0);
    cr_assert_eq(stat(path, &after), 0);
    cr_expect_eq(after.st_mode & 07777, 0600);
    cr_expect_neq(before.st_ino, after.st_ino);
    cr_assert_eq(sys_read_file(path, 100, &text), 0);
    cr_expect_str_eq(buf_str(&text), "short");
    cr_expect_eq(entries(false), 1);
}

Test(sys, a_file_that_cannot_be_written_leaves_nothing)
{
    struct rlimit limit = {.rlim_cur = 3, .rlim_max = RLIM_INFINITY};

    cr_assert_eq(mkdir(in_dir("folder"), 0700), 0);
    cr_expect_eq(sys_write_file_atomic(in_dir("folder"), "x", 0600), -EISDIR);
    cr_expect_eq(sys_write_file_atomic(in_dir("none/f"), "x", 0600), -ENOENT);
    signal(SIGXFSZ, SIG_IGN);
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    cr_expect_eq(sys_write_file_atomic(in_dir("f"), "too long", 0600), -EFBIG);
    cr_expect_eq(entries(false), 1);
}

/* --- Descriptors --- */

Test(sys, sets_and_clears_flags)
{
    int fds[2];

    cr_assert_eq(pipe(fds), 0);
    cr_expect_eq(sys_set_cloexec(fds[0], true), 0);
    cr_expect_eq(fcntl(fds[0], F_GETFD), FD_CLOEXEC);
    cr_expect_eq(sys_set_cloexec(fds[0], false), 0);
    cr_expect_eq(fcntl(fds[0], F_GETFD), 0);
    cr_expect_eq(sys_set_nonblock(fds[1], true), 0);
    cr_expect_eq(fcntl(fds[1], F_GETFL), O_WRONLY | O_NONBLOCK);
    cr_expect_eq(sys_set_nonblock(fds[1], false), 0);
    cr_expect_eq(fcntl(fds[1], F_GETFL), O_WRONLY);
    cr_expect_eq(sys_set_cloexec(-1, true), -EBADF);
    cr_expect_eq(sys_set_nonblock(-1, false), -EBADF);
}

Test(sys, sanitizes_descriptors)
{
    struct stat st, null;
    int extra = dup(0);

    cr_assert_geq(extra, 3);
    cr_assert_eq(stat("/dev/null", &null), 0);
    close(0);
    sys_sanitize_descriptors();
    cr_assert_eq(fstat(0, &st), 0);
    cr_expect_eq(st.st_rdev, null.st_rdev);
    cr_expect_eq(fcntl(0, F_GETFD), 0);
    cr_expect_eq(fcntl(2, F_GETFD), 0);
    cr_expect_eq(fcntl(extra, F_GETFD), FD_CLOEXEC);
}

Test(sys, raises_and_restores_the_limit_of_files)
{
    struct rlimit old, now;

    cr_assert_eq(getrlimit(RLIMIT_NOFILE, &old), 0);
    old.rlim_cur = 100;
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &old), 0);
    sys_raise_nofile(0);
    cr_expect_eq(sys_first_nofile(), 100);
    cr_assert_eq(getrlimit(RLIMIT_NOFILE, &now), 0);
    cr_expect_eq(now.rlim_cur, old.rlim_max);
    sys_raise_nofile(100); /* as another program in this process */
    sys_restore_nofile();
    cr_assert_eq(getrlimit(RLIMIT_NOFILE, &now), 0);
    cr_expect_eq(now.rlim_cur, 100);
    cr_expect_eq(now.rlim_max, old.rlim_max);
}

/* --- Signals --- */

Test(sys, knows_signals_by_name)
{
    const struct {
        const char *name;
        int signo;
    } names[] = {
        {"TERM", SIGTERM},     {"SIGTERM", SIGTERM},
        {"sigterm", SIGTERM},  {"15", SIGTERM},
        {"HUP", SIGHUP},       {"KILL", SIGKILL},
        {"USR1", SIGUSR1},     {"WINCH", SIGWINCH},
        {"SYS", SIGSYS},       {"CLD", SIGCHLD},
        {"IOT", SIGABRT},      {"SIGIO", SIGIO},
        {"RTMIN", SIGRTMIN},   {"SIGRTMIN+3", SIGRTMIN + 3},
        {"RTMAX", SIGRTMAX},   {"RTMAX-30", SIGRTMAX - 30},
        {"64", SIGRTMAX},      {"", -EINVAL},
        {"SIG", -EINVAL},      {"SIGSIGTERM", -EINVAL},
        {"TERMX", -EINVAL},    {"TER", -EINVAL},
        {" TERM", -EINVAL},    {"0", -EINVAL},
        {"-1", -EINVAL},       {"+15", -EINVAL},
        {"15x", -EINVAL},      {"32", -EINVAL},         /* the C library's own */
        {"65", -EINVAL},       {"4294967311", -EINVAL}, /* 15 in 32 bits */
        {"RTMIN-1", -EINVAL},  {"RTMIN+", -EINVAL},
        {"RTMIN+31", -EINVAL}, {"RTMAX+1", -EINVAL},
        {"RTMAX-31", -EINVAL},
    };

    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        cr_expect_eq(sys_signal_number(names[i].name), names[i].signo, "%s", names[i].name);
}

Test(sys, every_signal_has_a_name_that_leads_back)
{
    for (int signo = 1; signo <= SIGRTMAX; signo++)
        if (!streq(sys_signal_name(signo), "?"))
            cr_expect_eq(sys_signal_number(sys_signal_name(signo)), signo);
    cr_expect_str_eq(sys_signal_name(SIGTERM), "TERM");
    cr_expect_str_eq(sys_signal_name(SIGRTMIN), "RTMIN");
    cr_expect_str_eq(sys_signal_name(SIGRTMIN + 2), "RTMIN+2");
    cr_expect_str_eq(sys_signal_name(0), "?");
    cr_expect_str_eq(sys_signal_name(-1), "?");
    cr_expect_str_eq(sys_signal_name(32), "?");
    cr_expect_str_eq(sys_signal_name(65), "?");
}

/* --- Processes --- */

/* A child that has done `work` and waits to be killed. */
static pid_t child(void (*work)(void))
{
    int fds[2];
    pid_t pid;
    char c;

    cr_assert_eq(pipe(fds), 0);
    pid = fork();
    cr_assert_geq(pid, 0);
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        close(fds[0]);
        if (work)
            work();
        while (write(fds[1], "", 1) != 1)
            ;
        for (;;)
            pause();
    }
    close(fds[1]);
    cr_assert_eq(read(fds[0], &c, 1), 1);
    close(fds[0]);
    return pid;
}

static void end(pid_t pid)
{
    cr_assert_eq(kill(pid, SIGKILL), 0);
    cr_assert_eq(waitpid(pid, NULL, 0), pid);
}

static void take_evil_name(void)
{
    prctl(PR_SET_NAME, ") R 1\n1 (x) ");
    setpgid(0, 0);
}

Test(sys, reads_the_stat_of_a_process_with_an_evil_name)
{
    pid_t pid = child(take_evil_name);
    struct sys_proc proc;

    cr_assert_eq(sys_proc_stat(pid, &proc), 0);
    cr_expect_str_eq(proc.comm, ") R 1\n1 (x) ");
    cr_expect_eq(proc.ppid, getpid());
    cr_expect_eq(proc.pgrp, pid);
    cr_expect_eq(proc.session, getsid(0));
    cr_expect(proc.state == 'S' || proc.state == 'R', "%c", proc.state);
    cr_expect_not(proc.ending || proc.exiting);
    cr_assert_eq(kill(pid, SIGKILL), 0);
    cr_assert_eq(waitid(P_PID, (id_t)pid, &(siginfo_t){0}, WEXITED | WNOWAIT), 0);
    cr_assert_eq(sys_proc_stat(pid, &proc), 0);
    cr_expect_eq(proc.state, 'Z');
    cr_expect(proc.ending && proc.exiting);
    cr_assert_eq(waitpid(pid, NULL, 0), pid);
    cr_expect_eq(sys_proc_stat(pid, &proc), -ESRCH);
}

Test(sys, no_process_has_no_stat)
{
    struct sys_proc proc;

    cr_expect_eq(sys_proc_stat(0, &proc), -ESRCH);
    cr_expect_eq(sys_proc_stat(-1, &proc), -ESRCH);
}

static pid_t *grandchild;

static void have_a_child(void)
{
    *grandchild = child(NULL);
}

Test(sys, follows_descent)
{
    int fd = open(in_dir("pid"), O_RDWR | O_CREAT, 0600);
    struct sys_proc proc;
    pid_t first, second;

    cr_assert_eq(ftruncate(fd, sizeof(pid_t)), 0);
    grandchild = mmap(NULL, sizeof(pid_t), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    cr_assert_neq(grandchild, MAP_FAILED);
    first = child(have_a_child);
    second = child(NULL);
    cr_assert_eq(sys_proc_stat(*grandchild, &proc), 0);
    cr_expect_eq(proc.ppid, first);
    cr_expect(sys_is_descendant(getpid(), getpid()));
    cr_expect(sys_is_descendant(first, getpid()));
    cr_expect(sys_is_descendant(*grandchild, getpid()));
    cr_expect(sys_is_descendant(*grandchild, first));
    cr_expect_not(sys_is_descendant(*grandchild, second));
    cr_expect_not(sys_is_descendant(first, second));
    cr_expect_not(sys_is_descendant(getpid(), first));
    cr_expect_not(sys_is_descendant(getpid(), 0), "the kernel's parent is nobody");
    cr_expect_not(sys_is_descendant(0, 0));
    cr_expect_not(sys_is_descendant(-1, -1));
    end(second);
    cr_expect_not(sys_is_descendant(second, getpid()));
    kill(*grandchild, SIGKILL);
    end(first);
}

Test(sys, a_pidfd_tells_the_end)
{
    pid_t pid = child(NULL);
    int fd = sys_pidfd_open(pid);
    struct pollfd pfd = {.fd = fd, .events = POLLIN};

    cr_assert_geq(fd, 0);
    cr_expect_eq(fcntl(fd, F_GETFD), FD_CLOEXEC);
    cr_expect_eq(poll(&pfd, 1, 0), 0);
    end(pid);
    cr_expect_eq(poll(&pfd, 1, 10000), 1);
    close(fd);
    cr_expect_eq(sys_pidfd_open(pid), -ESRCH);
}

Test(sys, kills_children_and_theirs)
{
    grandchild = &(pid_t){0};
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    for (int i = 0; i < 3; i++)
        child(have_a_child);
    sys_kill_children();
    cr_expect_eq(waitpid(-1, NULL, WNOHANG), -1);
    cr_expect_eq(errno, ECHILD);
}

/* ---- descriptors over a socket ---- */

Test(sys, a_message_with_and_without_a_descriptor)
{
    char text[8];
    int ends[2], fd;

    cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, ends), 0);
    cr_expect_eq(sys_receive_with_fd(ends[0], text, sizeof(text), &fd), -EAGAIN);
    cr_assert_eq(sys_send_with_fd(ends[1], "a", 2, ends[1]), 0);
    cr_assert_eq(sys_send_with_fd(ends[1], "b", 2, -1), 0);
    cr_assert_eq(sys_receive_with_fd(ends[0], text, sizeof(text), &fd), 2);
    cr_expect_str_eq(text, "a");
    cr_assert_geq(fd, 0);
    cr_expect_eq(fcntl(fd, F_GETFD), FD_CLOEXEC);
    cr_expect_neq(fd, ends[1]);
    close(fd);
    cr_assert_eq(sys_receive_with_fd(ends[0], text, sizeof(text), &fd), 2);
    cr_expect_str_eq(text, "b");
    cr_expect_eq(fd, -1);
    close(ends[1]);
    cr_expect_eq(sys_receive_with_fd(ends[0], text, sizeof(text), &fd), 0);
    cr_expect_eq(sys_send_with_fd(ends[0], "c", 2, -1), -EPIPE);
    close(ends[0]);
}

/* init has every right, a process of an ordinary user has not. */
Test(sys, tells_who_may_bind_any_port)
{
    pid_t pid;
    int status;

    if (geteuid() != 0)
        cr_skip("needs root");
    cr_expect(sys_may_bind_privileged(getpid()));
    pid = fork();
    if (pid == 0)
        _exit(setresuid(65534, 65534, 65534) == 0 && !sys_may_bind_privileged(getpid()) ? 0 : 1);
    waitpid(pid, &status, 0);
    cr_expect_eq(status, 0);
    cr_expect_not(sys_may_bind_privileged(-1));
}

Test(sys, uuids_are_random_and_of_version_4)
{
    char a[SYS_UUID_TEXT], b[SYS_UUID_TEXT];

    cr_expect_eq(strlen(sys_random_uuid(a)), 36);
    cr_expect_neq(strcmp(a, sys_random_uuid(b)), 0);
    for (size_t i = 0; i < 36; i++)
        cr_expect(i == 8 || i == 13 || i == 18 || i == 23
                      ? a[i] == '-'
                      : strchr("0123456789abcdef", a[i]) != NULL,
                  "%s", a);
    cr_expect_eq(a[14], '4');
    cr_expect(strchr("89ab", a[19]));
}
