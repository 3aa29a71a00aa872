#include "mechanism/activation.h"

#include <fcntl.h>
#include <sys/resource.h>

#include "../lib/process.h"

/* One call with descriptors 3..3+open-1 open; PID stands for the process's own number. */
struct activation_case {
    int open;
    const char *pid, *fds, *names; /* NULL: not set */
    int result;
    const char *expected; /* names with a | after each */
};

static bool is_open(int fd)
{
    return fcntl(fd, F_GETFD) >= 0;
}

static void open_from_three(int n)
{
    close_range(3, ~0U, 0);
    for (int i = 0; i < n; i++)
        if (open("/dev/null", O_RDONLY) != 3 + i)
            _exit(10);
}

static int collect(const struct activation_case *c, struct activation *out)
{
    char pid[32], fds[64], names[1024], *envp[5] = {"OTHER=1"};
    int n = 1;

    snprintf(pid, sizeof(pid), "LISTEN_PID=%s", c->pid ? c->pid : "");
    if (c->pid && streq(c->pid, "PID"))
        snprintf(pid, sizeof(pid), "LISTEN_PID=%d", (int)getpid());
    snprintf(fds, sizeof(fds), "LISTEN_FDS=%s", c->fds ? c->fds : "");
    snprintf(names, sizeof(names), "LISTEN_FDNAMES=%s", c->names ? c->names : "");
    if (c->pid)
        envp[n++] = pid;
    if (c->fds)
        envp[n++] = fds;
    if (c->names)
        envp[n++] = names;
    return activation_collect(envp, out);
}

/* The exit status tells which line failed. */
static int check(void *data)
{
    const struct activation_case *c = data;
    CLEANUP_BUF struct buf names = BUF_INIT;
    struct activation a;

    open_from_three(c->open);
    if (collect(c, &a) != c->result)
        return 11;
    if (a.n != (c->result > 0 ? (size_t)c->result : 0))
        return 12;
    for (size_t i = 0; i < a.n; i++) {
        if (a.fds[i].fd != 3 + (int)i || fcntl(a.fds[i].fd, F_GETFD) != FD_CLOEXEC)
            return 13;
        buf_printf(&names, "%s|", a.fds[i].name);
    }
    if (c->expected && !streq(buf_str(&names), c->expected))
        return 14;
    if (a.n > 0)
        a.fds[0].fd = -1; /* taken */
    activation_free(&a);
    if (c->result > 0 && (!is_open(3) || is_open(4)))
        return 15;
    if (c->result == 0 && c->open > 0 && !is_open(3))
        return 16;
    return 0;
}

static const struct activation_case cases[] = {
    {2, "PID", "2", "web:admin", 2, "web|admin|"},
    {2, "PID", "2", NULL, 2, "||"},
    {1, "PID", "1", "a name with blanks.socket", 1, "a name with blanks.socket|"},
    {1, "PID", "1", "", 1, "|"},
    {3, "PID", "3", "a::c", 3, "a||c|"},
    {2, "PID", "2", ":", 2, "||"},
    /* not for us */
    {2, "1", "2", "web:admin", 0, NULL},
    {2, NULL, "2", NULL, 0, NULL},
    {2, "PID", NULL, "web", 0, NULL},
    {2, NULL, NULL, NULL, 0, NULL},
    {2, "PID", "0", NULL, 0, NULL},
    {2, "1", "rubbish", NULL, 0, NULL},
    /* malformed */
    {2, "", "2", NULL, -EINVAL, NULL},
    {2, "12x", "2", NULL, -EINVAL, NULL},
    {2, "-1", "2", NULL, -EINVAL, NULL},
    {2, "99999999999999999999", "2", NULL, -EINVAL, NULL},
    {2, "PID", "", NULL, -EINVAL, NULL},
    {2, "PID", "-2", NULL, -EINVAL, NULL},
    {2, "PID", "+2", NULL, -EINVAL, NULL},
    {2, "PID", " 2", NULL, -EINVAL, NULL},
    {2, "PID", "2.0", NULL, -EINVAL, NULL},
    {2, "PID", "3", NULL, -EINVAL, NULL},
    {2, "PID", "2147483644", NULL, -EINVAL, NULL},
    {2, "PID", "2147483645", NULL, -EINVAL, NULL},
    {2, "PID", "18446744073709551617", NULL, -EINVAL, NULL},
    /* names that do not match */
    {2, "PID", "2", "web", -EINVAL, NULL},
    {2, "PID", "2", "web:admin:more", -EINVAL, NULL},
    {2, "PID", "2", "web:admin:", -EINVAL, NULL},
    {2, "PID", "2", "", -EINVAL, NULL},
};

Test(activation, follows_sd_listen_fds)
{
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct activation_case c = cases[i];

        cr_log_info("case %zu: LISTEN_FDS=%s LISTEN_FDNAMES=%s", i, c.fds, c.names);
        expect_play(check, &c);
    }
}

static int check_length(void *data)
{
    const size_t *len = data;
    char names[512] = "";
    struct activation_case c = {.open = 1, .pid = "PID", .fds = "1", .names = names};
    struct activation a;
    int r;

    memset(names, 'x', *len);
    open_from_three(1);
    r = collect(&c, &a);
    if (*len > ACTIVATION_NAME_MAX)
        return r == -EINVAL ? 0 : 11;
    if (r != 1 || strlen(a.fds[0].name) != *len)
        return 12;
    activation_free(&a);
    return 0;
}

Test(activation, takes_names_of_up_to_255_bytes)
{
    size_t lengths[] = {63, 64, 255, 256, 400};

    for (size_t i = 0; i < ARRAY_SIZE(lengths); i++)
        expect_play(check_length, &lengths[i]);
}

/* Nothing is allocated for a number that cannot be true. */
static int check_huge(void *data UNUSED)
{
    const struct rlimit small = {.rlim_cur = 64 << 20, .rlim_max = 64 << 20};
    struct activation_case c = {.open = 1, .pid = "PID", .fds = "2147483644"};
    struct activation a;

    open_from_three(1);
    setrlimit(RLIMIT_DATA, &small);
    return collect(&c, &a) == -EINVAL ? 0 : 11;
}

Test(activation, believes_no_huge_number)
{
    expect_play(check_huge, NULL);
}
