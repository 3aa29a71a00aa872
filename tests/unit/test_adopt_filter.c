#include "../lib/adoption.h"

#include <fcntl.h>
#include <sys/resource.h>

#include "base/log.h"

static struct adopt_filter *new_filter(void)
{
    struct adopt_filter *filter;

    cr_assert_eq(adopt_filter_new(&filter), 0);
    return filter;
}

/* As start() of process.h, with all that is told. The descriptor is the caller's. */
static int start_with(const struct spawn_request *r, pid_t *pid, struct spawn_outcome *all)
{
    CLEANUP_CLOSE int fd = -1;
    int result = spawn_start(r, pid, &fd);

    *all = (struct spawn_outcome){.notify_fd = -1};
    for (int ms = 0; result >= 0 && ms < DEADLINE_MS; ms++) {
        struct spawn_outcome part;

        result = spawn_result(fd, &part);
        if (part.notify_fd >= 0)
            all->notify_fd = part.notify_fd;
        if (part.filter_err)
            all->filter_err = part.filter_err;
        all->error = part.error;
        if (result != -EAGAIN)
            break;
        result = 0;
        usleep(1000);
    }
    return result;
}

/* The channel closes a moment before what lies above it. */
static bool is_alone(const void *data)
{
    pid_t pid = *(const pid_t *)data;

    for (int fd = 3; fd < 100; fd++) {
        char name[32];

        snprintf(name, sizeof(name), "fd/%d", fd);
        if (!link_is(pid, name, NULL))
            return false;
    }
    return true;
}

/* ---- a program with the filter ---- */

struct rights_case {
    bool as_nobody;
    const char *no_new_privs;
};

static int play_install(void *data)
{
    const struct rights_case *c = data;
    struct spawn_request r = request_for(sleeper);
    struct adopt_filter *filter = new_filter();
    struct spawn_outcome outcome;
    pid_t pid;

    if (geteuid() != 0 || (c->as_nobody && !become_nobody()))
        return FORBIDDEN;
    r.filter = filter;
    DEMAND(start_with(&r, &pid, &outcome) == 1);
    DEMAND(outcome.filter_err == 0 && outcome.notify_fd >= 0);
    DEMAND(fcntl(outcome.notify_fd, F_GETFD) == FD_CLOEXEC);
    DEMAND(proc_has(pid, "status", "Seccomp_filters:\t1\n"));
    DEMAND(proc_has(pid, "status", c->no_new_privs));
    DEMAND(wait_for(is_alone, &pid));
    end(pid);
    adopt_filter_free(filter);
    return 0;
}

Test(adopt_filter, leaves_setuid_programs_alone_where_it_can)
{
    struct rights_case c = {false, "NoNewPrivs:\t0\n"};

    expect_play(play_install, &c);
}

Test(adopt_filter, works_without_privileges)
{
    struct rights_case c = {true, "NoNewPrivs:\t1\n"};

    expect_play(play_install, &c);
}

/* Installed with the rights of the master, before the change of user. */
Test(adopt_filter, comes_before_the_change_of_user)
{
    struct spawn_request r = request_for(sleeper);
    struct spawn_user user = {.set = true, .uid = NOBODY, .gid = NOBODY};
    struct adopt_filter *filter = new_filter();
    struct spawn_outcome outcome;
    pid_t pid;

    if (geteuid() != 0)
        cr_skip_test("needs root");
    r.filter = filter;
    r.user = &user;
    cr_assert_eq(start_with(&r, &pid, &outcome), 1);
    cr_expect_geq(outcome.notify_fd, 0);
    cr_expect(proc_has(pid, "status", "Uid:\t65534"));
    cr_expect(proc_has(pid, "status", "NoNewPrivs:\t0\n"));
    end(pid);
    close(outcome.notify_fd);
    adopt_filter_free(filter);
}

/* ---- what goes wrong ---- */

/* From now on seccomp(2) fails with `err` when its flags have one of `flags`; 0: always. */
static bool forbid_seccomp(int err, unsigned flags)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_seccomp, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1])),
        BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, flags ? flags : ~0U, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)err),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {ARRAY_SIZE(code), code};

    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

struct refusal {
    int err;
    unsigned flags;
    int told; /* filter_err */
};

static int play_refusal(void *data)
{
    const struct refusal *c = data;
    struct spawn_request r = request_for(sleeper);
    struct adopt_filter *filter = new_filter();
    struct spawn_outcome outcome;
    pid_t pid;

    r.filter = filter;
    DEMAND(forbid_seccomp(c->err, c->flags));
    DEMAND(start_with(&r, &pid, &outcome) == 1);
    DEMAND(outcome.filter_err == c->told && (outcome.notify_fd >= 0) == (c->told == 0));
    end(pid);
    adopt_filter_free(filter);
    return 0;
}

Test(adopt_filter, a_refused_filter_does_not_stop_the_program)
{
    struct refusal cases[] = {
        {EPERM, 0, EPERM},
        {ENOSYS, 0, ENOSYS},
        {EACCES, 0, EACCES},
        {EINVAL, SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, 0}, /* a kernel before 5.19 */
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        expect_play(play_refusal, &cases[i]);
}

/* One supervisor in a tree is all that the kernel allows. */
static int play_nested(void *data)
{
    struct spawn_request r = request_for(sleeper);
    struct adopt_filter *filter = new_filter();
    struct spawn_outcome outcome;
    pid_t pid;

    (void)data;
    r.filter = filter;
    DEMAND(adopt_filter_install(filter) >= 0);
    DEMAND(start_with(&r, &pid, &outcome) == 1);
    DEMAND(outcome.filter_err == EBUSY && outcome.notify_fd < 0);
    end(pid);
    adopt_filter_free(filter);
    return 0;
}

Test(adopt_filter, second_supervisor)
{
    expect_play(play_nested, NULL);
}

/* Both are told: the filter that is there and the program that is not. */
Test(adopt_filter, the_start_fails_after_the_filter)
{
    struct spawn_request r = request_for((char *[]){"/nonexistent", NULL});
    struct adopt_filter *filter = new_filter();
    struct spawn_outcome outcome;
    pid_t pid;

    r.filter = filter;
    cr_assert_eq(start_with(&r, &pid, &outcome), 0);
    cr_expect_eq(outcome.error.stage, SPAWN_STAGE_EXEC);
    cr_expect_eq(outcome.error.err, ENOENT);
    cr_expect_geq(outcome.notify_fd, 0);
    waitpid(pid, NULL, 0);
    close(outcome.notify_fd);
    adopt_filter_free(filter);
}

static int play_no_descriptor_left(void *data)
{
    struct spawn_request r = request_for(sleeper);
    struct adopt_filter *filter = new_filter();
    struct spawn_outcome outcome;
    int fd, result;
    pid_t pid;

    (void)data;
    r.filter = filter;
    DEMAND(spawn_start(&r, &pid, &fd) == 0);
    setrlimit(RLIMIT_NOFILE, &(struct rlimit){3, 3});
    for (int ms = 0; ms < DEADLINE_MS; ms++) {
        result = spawn_result(fd, &outcome);
        if (result != -EAGAIN || outcome.filter_err)
            break;
        usleep(1000);
    }
    DEMAND(outcome.filter_err == EMFILE && outcome.notify_fd < 0);
    end(pid);
    adopt_filter_free(filter);
    return 0;
}

Test(adopt_filter, the_master_has_no_descriptor_left)
{
    expect_play(play_no_descriptor_left, NULL);
}

Test(adopt_filter, a_thousand_starts_leak_nothing, .timeout = 100)
{
    struct spawn_request r = request_for((char *[]){"true", NULL});
    struct adopt_filter *filter = new_filter();
    int before = count_descriptors();

    r.filter = filter;
    for (int i = 0; i < 1000; i++) {
        struct spawn_outcome outcome;
        pid_t pid;

        cr_assert_eq(start_with(&r, &pid, &outcome), 1);
        cr_assert_geq(outcome.notify_fd, 0);
        close(outcome.notify_fd);
        waitpid(pid, NULL, 0);
    }
    log_close(); /* opened where starts were slow, which the log tells */
    cr_expect_eq(count_descriptors(), before);
    adopt_filter_free(filter);
}

#ifdef __x86_64__
/* getpid(2) by the gate of i386. */
static int play_other_architecture(void *data)
{
    struct adopt_filter *filter = data;
    int pid;

    if (filter)
        DEMAND(adopt_filter_install(filter) >= 0);
    __asm__ volatile("int $0x80" : "=a"(pid) : "a"(20) : "memory");
    return pid != getpid();
}

Test(adopt_filter, lets_other_architectures_pass)
{
    struct adopt_filter *filter = new_filter();
    pid_t pid = fork();
    int status;

    if (pid == 0)
        _exit(play_other_architecture(NULL));
    waitpid(pid, &status, 0);
    if (status != 0)
        cr_skip_test("this kernel does not run programs of i386");
    expect_play(play_other_architecture, filter);
    adopt_filter_free(filter);
}
#endif

/* ---- the filter and the adopter together, with a real program ---- */

Test(adopt_filter, a_program_gets_the_socket)
{
    struct sockspec spec = spec_for("127.0.0.1:0", 0);
    struct adoption_world w = {.slot_fd = plain_listener(&spec, true)};
    CLEANUP_FREE char *port = NULL;
    struct adopt_filter *filter = new_filter();
    struct spawn_outcome outcome;
    struct spawn_request r;

    cr_assert_gt(asprintf(&port, "%d", port_of(w.slot_fd)), 0);
    r = request_for((char *[]){"python3", "-c",
                               "import socket,sys\n"
                               "s = socket.socket()\n"
                               "s.bind(('127.0.0.1', int(sys.argv[1])))\n"
                               "s.listen(5)\n"
                               "socket.create_connection(('127.0.0.1', int(sys.argv[1])))\n"
                               "s.accept()\n",
                               port, NULL});
    r.filter = filter;
    cr_assert_eq(start_with(&r, &w.child, &outcome), 1);
    world_serve(&w, outcome.notify_fd);
    cr_expect_eq(w.status, 0);
    cr_expect_eq(w.binds, 1);
    cr_expect_eq(w.listens, 1);
    adopt_filter_free(filter);
}
