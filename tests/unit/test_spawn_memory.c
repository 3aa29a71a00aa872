/* Whose memory the child runs in. */
#include "../lib/process.h"

#include <sys/resource.h>

static void note_pid(void *data, pid_t pid)
{
    *(pid_t *)data = pid;
}

Test(spawn_memory, child_runs_in_the_memory_of_the_master)
{
    struct spawn_request r = request_for(sleeper);
    pid_t noted = 0, pid;

    r.set_pid = note_pid;
    r.set_pid_data = &noted;
    pid = start_running(&r);
    cr_expect_eq(noted, pid);
    end(pid);
}

Test(spawn_memory, child_of_another_user_has_memory_of_its_own)
{
    struct spawn_request r = request_for(sleeper);
    struct spawn_user user = {.set = true, .uid = NOBODY, .gid = NOBODY};
    pid_t noted = 0;

    if (geteuid() != 0)
        cr_skip_test("needs root");
    r.set_pid = note_pid;
    r.set_pid_data = &noted;
    r.user = &user;
    end(start_running(&r));
    cr_expect_eq(noted, 0);
}

/* A timer takes a place among the signals that a user may have waiting. */
Test(spawn_memory, child_that_cannot_limit_itself_has_memory_of_its_own)
{
    struct spawn_request r = request_for(sleeper);
    pid_t noted = 0;

    r.set_pid = note_pid;
    r.set_pid_data = &noted;
    cr_assert_eq(setrlimit(RLIMIT_SIGPENDING, &(struct rlimit){0, 0}), 0);
    for (int i = 0; i < 2; i++) {
        pid_t pid = start_running(&r);

        cr_expect(has_arguments(&pid), "start %d", i);
        end(pid);
    }
    cr_expect_eq(noted, 0);
    cr_expect(waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD, "the one given up was reaped");
}

struct gate {
    int fds[2];
    int passed_by; /* how many came in the memory of the master */
};

/* As if the file system of the program did not answer for a while. */
static void wait_at_gate(void *data, pid_t pid)
{
    struct gate *gate = data;
    char byte;

    (void)pid;
    gate->passed_by++;
    if (read(gate->fds[0], &byte, 1) != 1)
        _exit(1);
}

Test(spawn_memory, slow_program_does_not_hold_the_master)
{
    struct spawn_request r = request_for(sleeper);
    struct expected_fds expected = {.n = 5, .targets = {[3] = "/dev/zero", "/dev/full"}};
    int fds[] = {open("/dev/zero", O_RDWR), open("/dev/full", O_RDWR)}, fd;
    struct gate gate = {.passed_by = 0};
    struct spawn_outcome outcome;

    cr_assert_eq(pipe(gate.fds), 0);
    r.set_pid = wait_at_gate;
    r.set_pid_data = &gate;
    r.fds = fds;
    r.nfds = ARRAY_SIZE(fds);
    for (int i = 0; i < 2; i++) {
        cr_assert_eq(spawn_start(&r, &expected.pid, &fd), 0);
        cr_expect_eq(gate.passed_by, 1, "%d", gate.passed_by);
        cr_expect_eq(spawn_result(fd, &outcome), -EAGAIN);
        cr_assert_eq(write(gate.fds[1], "", 1), 1);
        cr_expect(wait_for(has_arguments, &expected.pid));
        cr_expect(wait_for(has_exactly, &expected));
        end(expected.pid);
        close(fd);
    }
    cr_expect(waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD, "the one cut off was reaped");
}
