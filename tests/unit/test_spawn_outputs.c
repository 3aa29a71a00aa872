#include <fcntl.h>

#include "../lib/process.h"

Test(spawn_outputs, outputs_take_the_place_of_stdout_and_stderr)
{
    struct spawn_request r = request_for(sleeper);
    struct expected_fds expected = {.targets = {"/dev/null"}, .n = 3};
    char targets[2][64];
    int outputs[2], fds[2];

    for (int i = 0; i < 2; i++) {
        char path[64];

        cr_assert_eq(pipe2(fds, O_CLOEXEC), 0);
        outputs[i] = fds[1];
        snprintf(path, sizeof(path), "/proc/self/fd/%d", fds[1]);
        cr_assert_gt(readlink(path, memset(targets[i], 0, 64), 63), 0);
        expected.targets[1 + i] = targets[i];
    }
    r.outputs = outputs;
    expected.pid = start_running(&r);
    cr_expect(wait_for(has_exactly, &expected));
    cr_expect(fcntl(outputs[0], F_GETFD) & FD_CLOEXEC, "that of the master stays as it is");
    end(expected.pid);
}

/* In a process without standard streams pipes get their numbers. */
static int start_with_low_outputs(void *data)
{
    struct spawn_request r = request_for(sleeper);
    struct expected_fds expected = {.targets = {"/dev/null"}, .n = 4};
    char target[64] = "";
    struct spawn_error error;
    int fds[2];
    bool good;

    (void)data;
    for (int fd = 0; fd < 3; fd++)
        close(fd);
    if (pipe2(fds, O_CLOEXEC) < 0 || fds[0] != 0 || fds[1] != 1 ||
        readlink("/proc/self/fd/1", target, sizeof(target) - 1) < 0)
        return 3;
    expected.targets[1] = expected.targets[2] = expected.targets[3] = target;
    r.outputs = (const int[]){1, 1};
    r.fds = (const int[]){1};
    r.nfds = 1;
    if (start(&r, &expected.pid, &error) != 1)
        return 4;
    good = wait_for(has_exactly, &expected);
    end(expected.pid);
    return good ? 0 : 5;
}

Test(spawn_outputs, outputs_may_have_the_numbers_of_what_they_replace)
{
    expect_play(start_with_low_outputs, NULL);
}
