/* Whose memory the child runs in. */
#include "../lib/process.h"

#include <sys/resource.h>

#include "base/clock.h"

static void note_pid(void *data, pid_t pid)
{
    *(pid_t *)data = pid;
}

static bool runs_in_our_memory(struct spawn_request r)
{
    pid_t noted = 0, pid;

    r.set_pid = note_pid;
    r.set_pid_data = &noted;
    pid = start_running(&r);
    end(pid);
    return noted == pid;
}

/* The second try is for a machine that had no time for us at the first. */
Test(spawn_memory, child_runs_in_the_memory_of_the_master)
{
    struct spawn_request r = request_for(sleeper);

    cr_expect(runs_in_our_memory(r) || runs_in_our_memory(r));
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

/* With /dev/zero and /dev/full as descriptors 3 and 4. */
static void expect_slow_start(struct spawn_request r, struct gate *gate)
{
    struct expected_fds expected = {.n = 5, .targets = {[3] = "/dev/zero", "/dev/full"}};
    int fds[] = {open("/dev/zero", O_RDWR), open("/dev/full", O_RDWR)}, fd;
    struct spawn_outcome outcome;

    r.set_pid = wait_at_gate;
    r.set_pid_data = gate;
    r.fds = fds;
    r.nfds = ARRAY_SIZE(fds);
    cr_assert_eq(spawn_start(&r, &expected.pid, &fd), 0);
    cr_expect_eq(spawn_result(fd, &outcome), -EAGAIN);
    cr_assert_eq(write(gate->fds[1], "", 1), 1);
    cr_expect(wait_for(has_arguments, &expected.pid));
    cr_expect(wait_for(has_exactly, &expected));
    end(expected.pid);
    close(fd);
    close(fds[0]);
    close(fds[1]);
}

Test(spawn_memory, slow_programs_do_not_hold_the_master)
{
    struct spawn_request r = request_for(sleeper);
    struct gate gate = {.passed_by = 0};

    cr_assert_eq(pipe(gate.fds), 0);
    for (int i = 1; i <= 5; i++) {
        expect_slow_start(r, &gate);
        cr_expect_eq(gate.passed_by, i < 3 ? i : 3, "%d: %d", i, gate.passed_by);
    }
    cr_expect(waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD, "those cut off were reaped");
}

Test(spawn_memory, a_prompt_program_between_slow_ones_is_trusted)
{
    struct spawn_request r = request_for(sleeper);
    struct gate gate = {.passed_by = 0};

    cr_assert_eq(pipe(gate.fds), 0);
    for (int i = 1; i <= 2; i++) {
        expect_slow_start(r, &gate);
        expect_slow_start(r, &gate);
        cr_expect_eq(gate.passed_by, 2 * i, "%d: %d", i, gate.passed_by);
        if (!runs_in_our_memory(r))
            cr_skip_test("this machine has no time for us");
    }
}

static int64_t hasty_clock_us(void)
{
    static int64_t now_us;

    return now_us += 1000000;
}

/* As if the machine had let the master wait, and not the child. */
Test(spawn_memory, late_master_keeps_what_was_started)
{
    struct spawn_request r = request_for(sleeper);

    clock_set_source(hasty_clock_us);
    for (int i = 0; i < 5; i++)
        cr_expect(runs_in_our_memory(r), "start %d", i);
}
