#include "../lib/process.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "policy/cpus.h"

static struct spawn_user nobody(void)
{
    return (struct spawn_user){.set = true, .uid = NOBODY, .gid = NOBODY};
}

static void expect_failure(const struct spawn_request *r, enum spawn_stage stage, int err)
{
    struct spawn_error error = {0};
    pid_t pid = 0;
    int status;

    cr_assert_eq(start(r, &pid, &error), 0);
    cr_expect_eq(error.stage, stage, "%s", spawn_stage_name(error.stage));
    cr_expect_eq(error.err, err, "%s", strerror(error.err));
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 127);
}

static char *temp_folder(void)
{
    static char folder[64];

    strcpy(folder, "/tmp/spawn.XXXXXX");
    cr_assert(mkdtemp(folder));
    chmod(folder, 0755);
    return folder;
}

static char *write_program(const char *folder, const char *name, const char *text, mode_t mode)
{
    char *path;
    FILE *f;

    cr_assert_gt(asprintf(&path, "%s/%s", folder, name), 0);
    f = fopen(path, "w");
    cr_assert(f);
    fputs(text, f);
    fclose(f);
    chmod(path, mode);
    return path;
}

/* ---- what the process gets ---- */

/* What the child may use is what was asked for; a CPU that is not there is no reason not to start.
 */
Test(spawn, affinity)
{
    struct spawn_request r = request_for(sleeper);
    cpu_set_t all, set;
    pid_t pid;

    cr_assert_eq(sched_getaffinity(0, sizeof(all), &all), 0);
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (!CPU_ISSET((size_t)cpu, &all))
            continue;
        r.cpu = cpu;
        pid = start_running(&r);
        cr_assert_eq(sched_getaffinity(pid, sizeof(set), &set), 0);
        cr_expect(CPU_COUNT(&set) == 1 && CPU_ISSET((size_t)cpu, &set));
        end(pid);
    }
    r.cpu = CPUS_MAX - 1;
    pid = start_running(&r);
    cr_assert_eq(sched_getaffinity(pid, sizeof(set), &set), 0);
    cr_expect(CPU_EQUAL(&set, &all));
    end(pid);
}

Test(spawn, own_session_and_stdin_from_null)
{
    struct spawn_request r = request_for(sleeper);
    pid_t pid = start_running(&r);
    struct sys_proc proc;

    cr_assert_eq(sys_proc_stat(pid, &proc), 0);
    cr_expect_eq(proc.session, pid);
    cr_expect_eq(proc.pgrp, pid);
    cr_expect_eq(proc.ppid, getpid());
    cr_expect(link_is(pid, "fd/0", "/dev/null"));
    end(pid);
}

Test(spawn, signals_are_default)
{
    struct spawn_request r = request_for(sleeper);
    sigset_t all, after;
    pid_t pid;

    for (int signo = 1; signo < NSIG; signo++)
        signal(signo, SIG_IGN);
    signal(SIGCHLD, SIG_DFL);
    sigfillset(&all);
    sigdelset(&all, SIGUSR2);
    sigprocmask(SIG_SETMASK, &all, NULL);
    pid = start_running(&r);
    cr_expect(proc_has(pid, "status", "SigBlk:\t0000000000000000\n"));
    cr_expect(proc_has(pid, "status", "SigIgn:\t0000000000000000\n"));
    sigprocmask(SIG_SETMASK, NULL, &after);
    cr_expect_eq(sigismember(&after, SIGUSR2), 0, "the mask of the master is put back");
    cr_expect_eq(sigismember(&after, SIGUSR1), 1);
    end(pid);
}

static void terminate_self(void *data, pid_t pid)
{
    (void)data;
    kill(pid, SIGTERM);
}

Test(spawn, signal_between_fork_and_exec_is_not_lost)
{
    struct spawn_request r = request_for(sleeper);
    struct spawn_error error;
    pid_t pid;
    int status;

    r.set_pid = terminate_self;
    cr_assert_eq(start(&r, &pid, &error), 1);
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_expect(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
}

static void write_pid(void *data, pid_t pid)
{
    snprintf(data, 16, "%010d", (int)pid);
}

Test(spawn, set_pid_reaches_the_environment)
{
    char env[64] = "LISTEN_PID=";
    char *envp[] = {env, NULL};
    struct spawn_request r = request_for(sleeper);
    char expected[64];
    pid_t pid;

    r.envp = envp;
    r.set_pid = write_pid;
    r.set_pid_data = env + strlen(env);
    pid = start_running(&r);
    snprintf(expected, sizeof(expected), "LISTEN_PID=%010d\n", (int)pid);
    cr_expect(proc_has(pid, "environ", expected));
    end(pid);
}

Test(spawn, limits_nice_oom_umask_directory)
{
    struct spawn_request r = request_for(sleeper);
    pid_t pid;

    r.limit_nofile = 321;
    r.limit_core = 4096;
    r.nice = 7;
    r.oom_score_adj = 345;
    r.umask = 027;
    r.directory = temp_folder();
    pid = start_running(&r);
    cr_expect(proc_has(pid, "limits", "Max open files            321                  321 "));
    cr_expect(proc_has(pid, "limits", "Max core file size        4096                 4096 "));
    cr_expect_eq(getpriority(PRIO_PROCESS, (id_t)pid), 7);
    cr_expect(proc_has(pid, "oom_score_adj", "345\n"));
    cr_expect(proc_has(pid, "status", "Umask:\t0027\n"));
    cr_expect(link_is(pid, "cwd", r.directory));
    end(pid);
    rmdir(r.directory);
}

static int play_unlimited_core(void *data)
{
    struct spawn_request r = request_for(sleeper);
    struct spawn_error error;
    pid_t pid;
    bool unlimited;

    (void)data;
    setrlimit(RLIMIT_CORE, &(struct rlimit){0, RLIM_INFINITY});
    r.limit_core = INT64_MAX;
    if (start(&r, &pid, &error) != 1)
        return 1;
    unlimited =
        proc_has(pid, "limits", "Max core file size        unlimited            unlimited ");
    end(pid);
    return !unlimited;
}

Test(spawn, unlimited)
{
    expect_play(play_unlimited_core, NULL);
}

/* ---- descriptors ---- */

static int memfd_at(const char *name, int at)
{
    int fd = memfd_create(name, MFD_CLOEXEC);

    if (fd != at) {
        dup3(fd, at, O_CLOEXEC);
        close(fd);
    }
    return at;
}

static bool starts_with_exactly(const struct spawn_request *r, struct expected_fds *expected)
{
    struct spawn_error error;
    bool as_expected;

    if (start(r, &expected->pid, &error) != 1)
        return false;
    as_expected = wait_for(has_exactly, expected);
    end(expected->pid);
    return as_expected;
}

/* Three sources at every choice of places in and around the target range 3..5. What is free there
 * is taken by the error pipe. */
static int play_permutations(void *data)
{
    struct spawn_request r = request_for(sleeper);
    int failed = 0;

    (void)data;
    memfd_at("a", 100);
    memfd_at("b", 101);
    memfd_at("c", 102);
    for (int code = 0; code < 6 * 6 * 6; code++) {
        int at[3] = {3 + code % 6, 3 + code / 6 % 6, 3 + code / 36};
        struct expected_fds expected = {
            .targets = {"/dev/null", NULL, NULL, "/memfd:a (deleted)", "/memfd:b (deleted)",
                        "/memfd:c (deleted)"},
            .n = 6,
        };

        if (at[0] == at[1] || at[1] == at[2] || at[0] == at[2])
            continue;
        close_range(3, 99, 0);
        for (int i = 0; i < 3; i++)
            dup3(100 + i, at[i], O_CLOEXEC);
        r.fds = at;
        r.nfds = 3;
        failed += !starts_with_exactly(&r, &expected);
    }
    return failed;
}

Test(spawn, descriptors_in_every_permutation, .timeout = 60)
{
    expect_play(play_permutations, NULL);
}

static int play_same_twice(void *data)
{
    struct spawn_request r = request_for(sleeper);
    struct expected_fds expected = {
        .targets = {"/dev/null", NULL, NULL, "/memfd:a (deleted)", "/memfd:a (deleted)"},
        .n = 5,
    };

    (void)data;
    close_range(3, ~0U, 0);
    r.fds = (int[]){memfd_at("a", 4), 4};
    r.nfds = 2;
    return !starts_with_exactly(&r, &expected);
}

Test(spawn, one_descriptor_twice)
{
    expect_play(play_same_twice, NULL);
}

static int play_missing_standard(void *data)
{
    struct spawn_request r = request_for(sleeper);
    struct expected_fds expected = {
        .targets = {"/dev/null", "/dev/null", "/dev/null", "/memfd:a (deleted)"},
        .n = 4,
    };
    int missing = *(int *)data;

    close_range(3, ~0U, 0);
    memfd_at("a", 9);
    r.fds = (int[]){9};
    r.nfds = 1;
    for (int fd = 0; fd < 3; fd++)
        if (missing & 1 << fd)
            close(fd);
        else
            expected.targets[fd] = fd == 0 ? "/dev/null" : NULL;
    return !starts_with_exactly(&r, &expected);
}

Test(spawn, missing_standard_streams)
{
    for (int missing = 1; missing < 8; missing++)
        expect_play(play_missing_standard, &missing);
}

/* Every use of close_range(2) fails with `err`, as in an old kernel or a strict sandbox. */
static bool forbid_close_range(int err)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_close_range, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)err),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {ARRAY_SIZE(code), code};

    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

static int play_leaked_descriptors(void *data)
{
    struct spawn_request r = request_for(sleeper);
    struct spawn_user user = nobody();
    struct expected_fds expected = {.n = 3};
    int err = *(int *)data;

    for (int i = 0; i < 500; i++)
        open("/dev/null", O_RDONLY);
    r.limit_nofile = 64; /* many are above it */
    r.oom_score_adj = 500;
    r.user = &user;
    if (geteuid() != 0)
        return FORBIDDEN;
    if (err && (!forbid_close_range(err) || close_range(900, 901, 0) == 0))
        return FORBIDDEN;
    return !starts_with_exactly(&r, &expected);
}

Test(spawn, nothing_leaks)
{
    int errors[] = {0, ENOSYS, EPERM};

    for (size_t i = 0; i < ARRAY_SIZE(errors); i++)
        expect_play(play_leaked_descriptors, &errors[i]);
}

/* ---- the parent-death signal ---- */

static void start_and_tell(int tell_fd)
{
    struct spawn_request r = request_for(sleeper);
    struct spawn_user user = nobody();
    struct spawn_error error;
    pid_t pid;

    r.user = &user;
    if (start(&r, &pid, &error) != 1)
        _exit(1);
    if (write(tell_fd, &pid, sizeof(pid)) < 0)
        _exit(1);
    for (;;)
        pause();
}

static bool is_dead_of_term(const void *data)
{
    pid_t pid = *(const pid_t *)data;
    int status;

    return waitpid(pid, &status, WNOHANG) == pid && WIFSIGNALED(status) &&
           WTERMSIG(status) == SIGTERM;
}

static bool has_not_started(const void *data)
{
    pid_t pid = *(const pid_t *)data;
    int status;

    return waitpid(pid, &status, WNOHANG) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 127;
}

Test(spawn, dies_with_the_master_also_after_a_change_of_user)
{
    int fds[2];
    pid_t master, worker;

    if (geteuid() != 0)
        cr_skip_test("needs root");
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    cr_assert_eq(pipe(fds), 0);
    master = fork();
    if (master == 0)
        start_and_tell(fds[1]);
    close(fds[1]);
    cr_assert_eq(read(fds[0], &worker, sizeof(worker)), sizeof(worker));
    end(master);
    if (!wait_for(is_dead_of_term, &worker)) {
        end(worker);
        cr_assert_fail("the worker lives on");
    }
}

/* Every setsid(2) of this process and its children waits until it is answered through the
 * descriptor that this returns; -1 where the machine does not allow it. */
static int hold_setsid(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_setsid, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {ARRAY_SIZE(code), code};

    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER,
                        &program);
}

/* The master is gone before the child has asked for the signal: nothing will ever send it. */
Test(spawn, does_not_outlive_a_master_that_dies_meanwhile)
{
    struct seccomp_notif held = {0};
    struct seccomp_notif_resp go_on = {.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE};
    pid_t master, worker;
    int listener = hold_setsid();

    if (listener < 0)
        cr_skip_test("no seccomp notification here");
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    master = fork();
    if (master == 0) {
        struct spawn_request r = request_for(sleeper);
        struct spawn_error error;

        start(&r, &worker, &error);
        _exit(1);
    }
    cr_assert_eq(ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &held), 0);
    end(master);
    go_on.id = held.id;
    cr_assert_eq(ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &go_on), 0);
    worker = (pid_t)held.pid;
    if (!wait_for(has_not_started, &worker)) {
        end(worker);
        cr_assert_fail("the worker lives on");
    }
}

/* ---- failures: stage and errno ---- */

Test(spawn, exec_failures)
{
    char *folder = temp_folder();
    struct {
        char *program;
        int err;
    } cases[] = {
        {strdup("/nonexistent/program"), ENOENT},
        {strdup("no-such-program-anywhere"), ENOENT},
        {strdup(""), ENOENT},
        {write_program(folder, "not-executable", "#!/bin/sh\n", 0644), EACCES},
        {strdup(folder), EACCES},
        {write_program(folder, "no-format", "echo no shell here\n", 0755), ENOEXEC},
        {write_program(folder, "no-interpreter", "#!/nonexistent\n", 0755), ENOENT},
        {write_program(folder, "busy", "#!/bin/sh\n", 0755), ETXTBSY},
    };
    char *busy = cases[ARRAY_SIZE(cases) - 1].program;
    UNUSED CLEANUP_CLOSE int writer = open(busy, O_WRONLY | O_CLOEXEC);

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct spawn_request r = request_for((char *[]){cases[i].program, NULL});

        expect_failure(&r, SPAWN_STAGE_EXEC, cases[i].err);
        if (!streq(cases[i].program, folder))
            unlink(cases[i].program);
        free(cases[i].program);
    }
    rmdir(folder);
}

Test(spawn, directory_failure)
{
    struct spawn_request r = request_for(sleeper);

    r.directory = "/nonexistent";
    expect_failure(&r, SPAWN_STAGE_DIRECTORY, ENOENT);
}

Test(spawn, directory_is_entered_with_the_rights_of_the_worker)
{
    struct spawn_request r = request_for(sleeper);
    struct spawn_user user = nobody();

    if (geteuid() != 0)
        cr_skip_test("needs root");
    r.user = &user;
    r.directory = temp_folder();
    chmod(r.directory, 0700);
    expect_failure(&r, SPAWN_STAGE_DIRECTORY, EACCES);
    rmdir(r.directory);
}

Test(spawn, descriptor_failures)
{
    struct spawn_request r = request_for(sleeper);

    r.fds = (int[]){1000};
    r.nfds = 1;
    expect_failure(&r, SPAWN_STAGE_DESCRIPTORS, EBADF);
    r.fds = (int[]){-1};
    expect_failure(&r, SPAWN_STAGE_DESCRIPTORS, EBADF);
}

struct refused {
    struct spawn_request request;
    enum spawn_stage stage;
    int err;
};

/* 0 when the child fails as expected. */
static int check_refused(const struct refused *c)
{
    struct spawn_error error = {0};
    pid_t pid;
    int result = start(&c->request, &pid, &error);

    if (result < 0)
        return c->stage == SPAWN_STAGE_FORK && -result == c->err ? 0 : 3;
    end(pid);
    return result == 0 && error.stage == c->stage && error.err == c->err ? 0 : 4;
}

static int play_as_nobody(void *data)
{
    setrlimit(RLIMIT_NOFILE, &(struct rlimit){256, 256});
    setpriority(PRIO_PROCESS, 0, 5);
    return become_nobody() ? check_refused(data) : FORBIDDEN;
}

Test(spawn, refused_without_privilege)
{
    static struct spawn_user root = {.set = true};
    struct refused cases[] = {
        {.stage = SPAWN_STAGE_LIMITS, .err = EPERM},
        {.stage = SPAWN_STAGE_NICE, .err = EACCES},
        {.stage = SPAWN_STAGE_OOM_SCORE_ADJ, .err = EACCES},
        {.stage = SPAWN_STAGE_GROUP, .err = EPERM},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        cases[i].request = request_for(sleeper);
    cases[0].request.limit_nofile = 257;
    cases[1].request.nice = -5;
    cases[2].request.oom_score_adj = -1000;
    cases[3].request.user = &root;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        expect_play(play_as_nobody, &cases[i]);
}

static int play_without_setuid(void *data)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct caps[2] = {{0}, {0}};

    caps[0].effective = caps[0].permitted = 1U << CAP_SETGID;
    return syscall(SYS_capset, &header, caps) == 0 ? check_refused(data) : FORBIDDEN;
}

Test(spawn, refused_change_of_user)
{
    struct spawn_user user = nobody();
    struct refused c = {request_for(sleeper), SPAWN_STAGE_USER, EPERM};

    c.request.user = &user;
    expect_play(play_without_setuid, &c);
}

static int play_too_many_processes(void *data)
{
    setrlimit(RLIMIT_NPROC, &(struct rlimit){0, 0});
    return become_nobody() ? check_refused(data) : FORBIDDEN;
}

Test(spawn, fork_failure)
{
    struct refused c = {request_for(sleeper), SPAWN_STAGE_FORK, EAGAIN};

    expect_play(play_too_many_processes, &c);
}

Test(spawn, every_stage_has_a_name)
{
    for (int stage = 0; stage < SPAWN_NSTAGES; stage++)
        cr_expect(spawn_stage_name((enum spawn_stage)stage));
    cr_expect_str_eq(spawn_stage_name(SPAWN_STAGE_DIRECTORY), "working directory");
}

/* ---- the answer ---- */

static void wait_for_byte(void *data, pid_t pid)
{
    char byte;

    (void)pid;
    if (read(*(int *)data, &byte, 1) < 0)
        _exit(1);
}

Test(spawn, result_is_not_known_before_exec)
{
    struct spawn_request r = request_for(sleeper);
    struct spawn_outcome outcome;
    int fds[2], fd;
    pid_t pid;

    cr_assert_eq(pipe(fds), 0);
    r.set_pid = wait_for_byte;
    r.set_pid_data = &fds[0];
    cr_assert_eq(spawn_start(&r, &pid, &fd), 0);
    for (int i = 0; i < 20; i++) {
        cr_assert_eq(spawn_result(fd, &outcome), -EAGAIN);
        usleep(1000);
    }
    cr_expect(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    end(pid);
    cr_expect_eq(spawn_result(fd, &outcome), 1, "killed on its way reads as started");
    close(fd);
}

/* ---- the search in PATH ---- */

Test(spawn, path_is_searched_as_the_shell_does)
{
    char *folder = temp_folder();
    CLEANUP_FREE char *first = NULL, *second = NULL, *path = NULL, *plain = NULL, *good = NULL;
    struct spawn_request r = request_for((char *[]){"program", "1000", NULL});
    pid_t pid;

    cr_assert_gt(asprintf(&first, "%s/first", folder), 0);
    cr_assert_gt(asprintf(&second, "%s/second", folder), 0);
    mkdir(first, 0755);
    mkdir(second, 0755);
    plain = write_program(first, "program", "#!/bin/sh\n", 0644);
    cr_assert_gt(asprintf(&path, "PATH=/nonexistent:/etc/passwd:%s:%s", first, second), 0);
    r.envp = (char *[]){"APATH=/", path, NULL};
    expect_failure(&r, SPAWN_STAGE_EXEC, EACCES);

    good = write_program(second, "program", "#!/usr/bin/tail -f\n", 0755);
    r.argv = (char *[]){"program", NULL};
    pid = start_running(&r);
    cr_expect(proc_has(pid, "cmdline", good));
    end(pid);

    r.directory = second; /* an empty element */
    r.envp = (char *[]){"PATH=/nonexistent:", NULL};
    end(start_running(&r));
    r.envp = (char *[]){"PATH=/nonexistent", NULL};
    expect_failure(&r, SPAWN_STAGE_EXEC, ENOENT);
    r.argv = (char *[]){"./program", NULL}; /* relative to the directory of the worker */
    end(start_running(&r));

    unlink(plain);
    unlink(good);
    rmdir(first);
    rmdir(second);
    rmdir(folder);
}

/* ---- users ---- */

Test(spawn, user_is_changed_for_good)
{
    struct spawn_request r = request_for(sleeper);
    struct spawn_user user;
    pid_t pid;

    if (geteuid() != 0)
        cr_skip_test("needs root");
    cr_assert_eq(spawn_user_lookup("nobody", NULL, &user, NULL), 0);
    r.user = &user;
    pid = start_running(&r);
    cr_expect(proc_has(pid, "status", "Uid:\t65534\t65534\t65534\t65534\n"));
    cr_expect(proc_has(pid, "status", "Gid:\t65534\t65534\t65534\t65534\n"));
    cr_expect(proc_has(pid, "status", "Groups:\t65534 \n"));
    end(pid);
    spawn_user_free(&user);
}

static int play_same_user(void *data)
{
    struct spawn_request r = request_for(sleeper);
    struct spawn_user user = nobody();
    struct spawn_error error;
    pid_t pid;

    (void)data;
    if (!become_nobody())
        return FORBIDDEN;
    r.user = &user;
    if (start(&r, &pid, &error) != 1)
        return 1;
    end(pid);
    return 0;
}

Test(spawn, own_user_needs_no_privilege)
{
    expect_play(play_same_user, NULL);
}

/* ---- reaping ---- */

struct reaped {
    int n, codes, still_there;
    pid_t next; /* started by the callback, once */
};

static void count_death(void *data, pid_t pid, int code, int status)
{
    struct reaped *r = data;

    r->n++;
    r->codes += code == CLD_EXITED && status == 7;
    r->still_there += kill(pid, 0) == 0;
    if (!r->next) {
        r->next = fork();
        if (r->next == 0)
            _exit(7);
    }
}

static void wait_until_dead(pid_t pid)
{
    siginfo_t info;

    cr_assert_eq(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
}

Test(spawn, one_call_reaps_all)
{
    struct reaped r = {.next = 0};
    pid_t pids[100];

    for (int i = 0; i < 100; i++) {
        pids[i] = fork();
        if (pids[i] == 0)
            _exit(7);
    }
    for (int i = 0; i < 100; i++)
        wait_until_dead(pids[i]);
    spawn_reap(count_death, &r);
    cr_expect_geq(r.n, 100);
    if (r.n == 100)
        wait_until_dead(r.next);
    spawn_reap(count_death, &r);
    cr_expect_eq(r.n, 101);
    cr_expect_eq(r.codes, 101);
    cr_expect_eq(r.still_there, 101);
    for (int i = 0; i < 100; i++)
        cr_expect(kill(pids[i], 0) < 0 && errno == ESRCH);
    spawn_reap(count_death, &r); /* no child at all */
    cr_expect_eq(r.n, 101);
}

Test(spawn, living_children_are_left_alone)
{
    struct spawn_request request = request_for(sleeper);
    struct reaped r = {.next = 1};
    pid_t pid = start_running(&request);

    spawn_reap(count_death, &r);
    cr_expect_eq(r.n, 0);
    end(pid);
}
