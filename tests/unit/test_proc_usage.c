#include "mechanism/proc_usage.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>

Test(proc_usage, tells_what_this_process_uses)
{
    const size_t size = 32 * 1024 * 1024;
    struct proc_usage before, after;
    struct rusage own;
    void *memory; /* from mmap: a compiler may leave out what malloc gives and nobody reads */

    prctl(PR_SET_NAME, ") R 1 (x"); /* a name that looks like what follows it */
    cr_assert_eq(proc_usage(getpid(), &before), 0);
    memory =
        mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    cr_assert_neq(memory, MAP_FAILED);
    do
        getrusage(RUSAGE_SELF, &own);
    while (own.ru_utime.tv_sec == 0 && own.ru_utime.tv_usec < 100000);
    cr_assert_eq(proc_usage(getpid(), &after), 0);
    cr_expect_geq(after.resident_bytes, before.resident_bytes + size / 2);
    cr_expect_geq(after.virtual_bytes, after.resident_bytes);
    cr_expect_geq(after.cpu_s, 0.05);
    cr_expect_lt(after.cpu_s, 60);
    munmap(memory, size);
}

Test(proc_usage, a_process_that_is_gone)
{
    struct proc_usage usage;
    pid_t pid = fork();

    if (pid == 0)
        _exit(0);
    cr_assert_eq(waitpid(pid, NULL, 0), pid);
    cr_expect_eq(proc_usage(pid, &usage), -ESRCH);
}

Test(proc_usage, descriptors)
{
    int before = proc_usage_descriptors(), fd = open("/dev/null", O_RDONLY);

    cr_expect_geq(before, 3);
    cr_expect_eq(proc_usage_descriptors(), before + 1);
    close(fd);
}
