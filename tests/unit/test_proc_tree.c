#include "mechanism/proc_tree.h"

#include <pthread.h>
#include <sys/prctl.h>

#include "../lib/process.h"

static int looks_left = 1000; /* each test is a process of its own */

/* What a visitor has seen, and what it answers. */
struct visits {
    int n;
    int stop_at; /* 0: never */
    int answer;
    pid_t pids[100];
};

static int visit(int number, void *data)
{
    struct visits *v = data;

    v->pids[v->n++] = number;
    return v->n == v->stop_at ? v->answer : 0;
}

/* The target is what the link says, cut off after 63 bytes. */
static int visit_descriptor(int fd, const char *target, void *data)
{
    char path[64], expected[64];
    ssize_t n;

    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    n = readlink(path, expected, sizeof(expected) - 1);
    cr_assert_gt(n, 0);
    expected[n] = '\0';
    cr_expect_str_eq(target, expected);
    return visit(fd, data);
}

/* A chain of processes, each the parent of the next. The last one writes a byte. */
static pid_t start_chain(int length)
{
    int ends[2];
    pid_t pid;
    char byte;

    cr_assert_eq(pipe(ends), 0);
    pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        while (--length > 0 && fork() == 0)
            prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (length > 0 || write(ends[1], "", 1) == 1)
            for (;;)
                pause();
        _exit(1);
    }
    close(ends[1]);
    cr_assert_eq(read(ends[0], &byte, 1), 1);
    close(ends[0]);
    return pid;
}

Test(proc_tree, visits_a_process_and_its_descendants)
{
    struct visits v = {0};
    pid_t pid = start_chain(4);

    cr_expect_eq(proc_tree_each_process(pid, &looks_left, visit, &v), 0);
    cr_expect_eq(v.n, 4);
    cr_expect_eq(v.pids[0], pid);
    for (int i = 1; i < v.n; i++) {
        struct sys_proc proc = {0};

        cr_expect_eq(sys_proc_stat(v.pids[i], &proc), 0);
        cr_expect_eq(proc.ppid, v.pids[i - 1]);
    }
    end(pid);
}

Test(proc_tree, visits_no_more_than_64)
{
    struct visits v = {0};
    pid_t pid = start_chain(70);

    cr_expect_eq(proc_tree_each_process(pid, &looks_left, visit, &v), 0);
    cr_expect_eq(v.n, 64);
    end(pid);
}

/* What a visitor answers to the second of three processes. */
static const struct {
    int answer, visited, result;
} answers[] = {
    {1, 2, 1},
    {-ESRCH, 3, 0},
    {-EACCES, 3, -EACCES},
    {-ENOMEM, 2, -ENOMEM},
};

Test(proc_tree, heeds_the_visitor)
{
    pid_t pid = start_chain(3);

    for (size_t i = 0; i < ARRAY_SIZE(answers); i++) {
        struct visits v = {.stop_at = 2, .answer = answers[i].answer};

        cr_expect_eq(proc_tree_each_process(pid, &looks_left, visit, &v), answers[i].result, "%zu",
                     i);
        cr_expect_eq(v.n, answers[i].visited, "%zu", i);
    }
    end(pid);
}

Test(proc_tree, a_process_that_is_gone)
{
    struct visits v = {0};
    pid_t pid = start_chain(1);

    end(pid);
    cr_expect_eq(proc_tree_each_process(pid, &looks_left, visit, &v), -ESRCH);
    cr_expect_eq(proc_tree_each_thread(pid, &looks_left, visit, &v), -ESRCH);
    cr_expect_eq(proc_tree_each_descriptor(pid, &looks_left, visit_descriptor, &v), -ESRCH);
    cr_expect_eq(v.n, 0);
}

static void *hold(void *data)
{
    return pthread_barrier_wait(data) ? NULL : data;
}

Test(proc_tree, visits_threads)
{
    struct visits before = {0}, v = {0};
    pthread_barrier_t barrier;
    pthread_t threads[3];

    proc_tree_each_thread(getpid(), &looks_left, visit, &before);
    pthread_barrier_init(&barrier, NULL, 4);
    for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
        pthread_create(&threads[i], NULL, hold, &barrier);
    cr_expect_eq(proc_tree_each_thread(getpid(), &looks_left, visit, &v), 0);
    cr_expect_eq(v.n, before.n + 3);
    pthread_barrier_wait(&barrier);
    for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
        pthread_join(threads[i], NULL);
}

Test(proc_tree, visits_descriptors)
{
    struct visits all = {0}, until = {.stop_at = 3, .answer = 7};

    for (int i = 0; i < 10; i++)
        cr_assert_geq(dup(0), 0);
    cr_expect_eq(proc_tree_each_descriptor(getpid(), &looks_left, visit_descriptor, &all), 0);
    cr_expect_geq(all.n, 10);
    cr_expect_eq(proc_tree_each_descriptor(getpid(), &looks_left, visit_descriptor, &until), 7);
    cr_expect_eq(until.n, 3);
}

/* One budget for all calls; "." and ".." cost too. */
Test(proc_tree, looks_no_longer_than_it_may)
{
    struct visits v = {0};
    pid_t pid = start_chain(3);

    looks_left = 5;
    cr_expect_eq(proc_tree_each_descriptor(getpid(), &looks_left, visit_descriptor, &v), 0);
    cr_expect_leq(v.n, 5);
    cr_expect_geq(v.n, 3);
    cr_expect_eq(looks_left, 0);
    v.n = 0;
    cr_expect_eq(proc_tree_each_thread(getpid(), &looks_left, visit, &v), 0);
    cr_expect_eq(v.n, 0);
    looks_left = 3; /* "." and ".." and the only thread of the first process */
    cr_expect_eq(proc_tree_each_process(pid, &looks_left, visit, &v), 0);
    cr_expect_eq(v.n, 2, "the third one is not known");
    end(pid);
}

Test(proc_tree, inodes_of_sockets)
{
    cr_expect_eq(proc_tree_socket_inode("socket:[4294967297]"), 4294967297);
    cr_expect_eq(proc_tree_socket_inode("socket:[12"), 0);
    cr_expect_eq(proc_tree_socket_inode("socket:[12x"), 0);
    cr_expect_eq(proc_tree_socket_inode("socket:[]"), 0);
    cr_expect_eq(proc_tree_socket_inode("pipe:[12]"), 0);
    cr_expect_eq(proc_tree_socket_inode("/tmp/socket:[12]"), 0);
}

Test(proc_tree, what_counts_as_an_error)
{
    cr_expect_eq(proc_tree_error(-EACCES), -EACCES);
    cr_expect_eq(proc_tree_error(-EPERM), -EACCES);
    cr_expect_eq(proc_tree_error(-ENOENT), 0);
    cr_expect_eq(proc_tree_error(-ENOMEM), 0);
}
