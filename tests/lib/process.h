/* For unit tests: processes that are started and looked at from outside, by way of /proc, where
 * nothing of their own can disturb the picture. Whatever needs another user, other descriptors or
 * its own death happens in a forked "play" that tells by its exit status. */
#ifndef PREFORKD_TESTS_PROCESS_H
#define PREFORKD_TESTS_PROCESS_H

#include <criterion/criterion.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "base/buf.h"
#include "base/sys.h"
#include "mechanism/spawn.h"

enum { NOBODY = 65534, DEADLINE_MS = 10000, FORBIDDEN = 2 };

static UNUSED char *sleeper[] = {"sleep", "1000", NULL};
static UNUSED char *no_env[] = {NULL};

static UNUSED struct spawn_request request_for(char **argv)
{
    return (struct spawn_request){
        .argv = argv,
        .envp = no_env,
        .umask = SPAWN_INHERIT,
        .nice = SPAWN_INHERIT,
        .oom_score_adj = SPAWN_INHERIT,
        .limit_nofile = SPAWN_INHERIT,
        .limit_core = SPAWN_INHERIT,
        .cpu = SPAWN_INHERIT,
    };
}

/* Asks `condition` until it holds. */
static UNUSED bool wait_for(bool (*condition)(const void *data), const void *data)
{
    for (int ms = 0; ms < DEADLINE_MS; ms++) {
        if (condition(data))
            return true;
        usleep(1000);
    }
    return false;
}

/* Starts and waits for the answer: that of spawn_result(), or of spawn_start() when that failed. */
static UNUSED int start(const struct spawn_request *r, pid_t *pid, struct spawn_error *error)
{
    CLEANUP_CLOSE int fd = -1;
    struct spawn_outcome outcome = {0};
    int result = spawn_start(r, pid, &fd);

    if (result < 0)
        return result;
    for (int ms = 0; ms < DEADLINE_MS; ms++) {
        result = spawn_result(fd, &outcome);
        if (result != -EAGAIN)
            break;
        usleep(1000);
    }
    *error = outcome.error;
    return result;
}

/* The descriptor closes a moment before the new arguments and environment can be read. */
static UNUSED bool has_arguments(const void *pid)
{
    char path[64], byte;
    CLEANUP_CLOSE int fd = -1;

    snprintf(path, sizeof(path), "/proc/%d/cmdline", (int)*(const pid_t *)pid);
    fd = open(path, O_RDONLY);
    return fd >= 0 && read(fd, &byte, 1) == 1;
}

static UNUSED void end(pid_t pid)
{
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

static UNUSED pid_t start_running(const struct spawn_request *r)
{
    struct spawn_error error = {0};
    pid_t pid = 0;
    int result = start(r, &pid, &error);

    cr_assert_eq(result, 1, "%d: %s: %s", result, spawn_stage_name(error.stage),
                 strerror(error.err));
    wait_for(has_arguments, &pid);
    return pid;
}

/* The text of /proc/PID/`name`, NUL bytes shown as newlines. */
static UNUSED char *proc_text(pid_t pid, const char *name)
{
    struct buf text = BUF_INIT;
    char path[64];

    snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
    sys_read_pseudo(path, 1 << 20, &text);
    for (size_t i = 0; i < text.len; i++)
        if (!text.data[i])
            text.data[i] = '\n';
    buf_putc(&text, '\n');
    return buf_take(&text);
}

static UNUSED bool proc_has(pid_t pid, const char *name, const char *what)
{
    CLEANUP_FREE char *text = proc_text(pid, name);

    return strstr(text, what) != NULL;
}

static UNUSED bool link_is(pid_t pid, const char *name, const char *expected)
{
    char path[64], target[256];
    ssize_t n;

    snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
    n = readlink(path, target, sizeof(target) - 1);
    if (n < 0)
        return !expected;
    target[n] = '\0';
    return expected && streq(target, expected);
}

/* The descriptors of a process from 0 on; anything from `n` to 1023 must not be there. */
struct expected_fds {
    pid_t pid;
    const char *targets[8]; /* NULL: whatever it is */
    int n;
};

static UNUSED bool has_exactly(const void *data)
{
    const struct expected_fds *e = data;

    for (int fd = 0; fd < 1024; fd++) {
        char name[32];

        snprintf(name, sizeof(name), "fd/%d", fd);
        if (fd >= e->n ? !link_is(e->pid, name, NULL)
                       : e->targets[fd] && !link_is(e->pid, name, e->targets[fd]))
            return false;
    }
    return true;
}

/* Runs `play` in a process of its own; its result is the exit status. Privileges that the machine
 * does not give us are FORBIDDEN. */
static UNUSED void expect_play(int (*play)(void *data), void *data)
{
    pid_t pid = fork();
    int status;

    if (pid == 0)
        _exit(play(data));
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_assert(WIFEXITED(status), "ended by signal %d", WTERMSIG(status));
    if (WEXITSTATUS(status) == FORBIDDEN)
        cr_skip_test("needs root");
    cr_assert_eq(WEXITSTATUS(status), 0, "%d", WEXITSTATUS(status));
}

static UNUSED bool become_nobody(void)
{
    return setgroups(0, NULL) == 0 && setresgid(NOBODY, NOBODY, NOBODY) == 0 &&
           setresuid(NOBODY, NOBODY, NOBODY) == 0;
}

static UNUSED bool drop_capability(unsigned capability)
{
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct data[2];

    prctl(PR_CAPBSET_DROP, capability, 0, 0, 0);
    if (syscall(SYS_capget, &header, data) < 0)
        return false;
    data[CAP_TO_INDEX(capability)].effective &= ~CAP_TO_MASK(capability);
    data[CAP_TO_INDEX(capability)].permitted &= ~CAP_TO_MASK(capability);
    return syscall(SYS_capset, &header, data) == 0;
}

#endif
