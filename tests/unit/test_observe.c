/* Each case is a process that holds a listening socket and does something with it. */
#include "../lib/process.h"
#include "../lib/sockets.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "mechanism/observe.h"

struct target {
    pid_t pid;
    uint64_t inodes[2];
    size_t n;
};

static int open_socket(int type)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);

    cr_assert_eq(bind(fd, (struct sockaddr *)&in, sizeof(in)), 0);
    if (type == SOCK_STREAM)
        cr_assert_eq(listen(fd, 8), 0);
    return fd;
}

static bool is_accepting(const void *data)
{
    const struct target *t = data;

    return observe_accepting(t->pid, t->inodes, t->n) == 1;
}

static bool is_asleep(const void *data)
{
    const struct target *t = data;
    struct sys_proc proc;

    return sys_proc_stat(t->pid, &proc) == 0 && proc.state == 'S';
}

/* ---- what a process may do with its socket; none of these returns ---- */

static void do_accept(int fd)
{
    accept(fd, NULL, NULL);
}

static void do_accept4(int fd)
{
    accept4(dup(fd), NULL, NULL, SOCK_CLOEXEC);
}

static void do_recv(int fd)
{
    char byte;

    recv(fd, &byte, 1, 0);
}

static void do_poll(int fd)
{
    struct pollfd fds[] = {{.fd = 0, .events = POLLPRI}, {.fd = fd, .events = POLLIN}};

    poll(fds, 2, -1);
}

static void do_ppoll(int fd)
{
    struct pollfd fds = {.fd = fd, .events = POLLIN};
    const struct timespec minutes = {600, 0};

    ppoll(&fds, 1, &minutes, NULL);
}

static void do_select(int fd)
{
    fd_set set;

    FD_ZERO(&set);
    fd = fcntl(fd, F_DUPFD, 900); /* not in the first word */
    FD_SET(fd, &set);
#ifdef SYS_select /* what select(3) calls differs */
    syscall(SYS_select, fd + 1, &set, NULL, NULL, NULL);
#else
    select(fd + 1, &set, NULL, NULL, NULL);
#endif
}

static void do_pselect(int fd)
{
    const struct timespec minutes = {600, 0};
    fd_set set;

    FD_ZERO(&set);
    FD_SET(fd, &set);
    pselect(fd + 1, &set, NULL, NULL, &minutes, NULL);
}

static int make_epoll(int fd, uint32_t events)
{
    struct epoll_event event = {.events = events};
    int set = epoll_create1(EPOLL_CLOEXEC);

    epoll_ctl(set, EPOLL_CTL_ADD, fd, &event);
    return set;
}

static void wait_in_epoll(int set)
{
    struct epoll_event event;

    epoll_wait(set, &event, 1, -1);
}

static void do_epoll(int fd)
{
    wait_in_epoll(make_epoll(fd, EPOLLIN | EPOLLEXCLUSIVE));
}

/* The number that was put into the set means another file by now, the socket has a new one. */
static void do_epoll_renumbered(int fd)
{
    int set = make_epoll(fd, EPOLLIN);

    fcntl(fd, F_DUPFD_CLOEXEC, 0);
    dup2(STDERR_FILENO, fd);
    wait_in_epoll(set);
}

static void *accept_in_thread(void *data)
{
    accept(*(int *)data, NULL, NULL);
    return NULL;
}

static void do_thread(int fd)
{
    pthread_t thread;

    pthread_create(&thread, NULL, accept_in_thread, &fd);
    pthread_join(thread, NULL);
}

static void do_grandchild(int fd)
{
    if (fork() > 0) {
        close(fd);
        pause();
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (fork() > 0)
        pause();
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    accept(fd, NULL, NULL);
}

static void do_pause(int fd)
{
    (void)fd;
    pause();
}

static void do_accept_on_another(int fd)
{
    (void)fd;
    accept(open_socket(SOCK_STREAM), NULL, NULL);
}

static void do_poll_another(int fd)
{
    struct pollfd fds[] = {{.fd = open_socket(SOCK_STREAM), .events = POLLIN},
                           {.fd = fd, .events = 0}};

    poll(fds, 2, -1);
}

static void do_select_for_exceptions(int fd)
{
    fd_set none, set;

    FD_ZERO(&none);
    FD_ZERO(&set);
    FD_SET(fd, &set);
    select(fd + 1, &none, NULL, &set, NULL);
}

/* The set holds the socket, but the kernel does not look so far. */
static void do_select_below(int fd)
{
    fd_set set;

    FD_ZERO(&set);
    fd = fcntl(fd, F_DUPFD, 900);
    FD_SET(fd, &set);
    select(fd, &set, NULL, NULL, NULL);
}

static void do_select_nothing(int fd)
{
    (void)fd;
    select(1024, NULL, NULL, NULL, NULL);
}

/* It would be found, were there not so many descriptors to look at before it. */
static void do_accept_beyond_the_bound(int fd)
{
    setrlimit(RLIMIT_NOFILE, &(struct rlimit){8192, 8192});
    for (int i = 0; i < 4096; i++)
        fcntl(STDERR_FILENO, F_DUPFD, 0);
    dup2(fd, 8191);
    close(fd);
    accept(8191, NULL, NULL);
}

static void do_epoll_without_events(int fd)
{
    wait_in_epoll(make_epoll(fd, 0));
}

/* The number is that of the socket, the file in the set is not. */
static void do_epoll_another_under_its_number(int fd)
{
    int own = dup(fd), set;

    dup2(open_socket(SOCK_STREAM), fd);
    set = make_epoll(fd, EPOLLIN);
    dup2(own, fd);
    wait_in_epoll(set);
}

/* The master's descriptor keeps it in the set, but this process can accept no more. */
static void do_epoll_and_close(int fd)
{
    int set = make_epoll(fd, EPOLLIN);

    close(fd);
    wait_in_epoll(set);
}

struct act {
    const char *name;
    void (*run)(int fd);
    int type;
    bool accepts;
};

static const struct act acts[] = {
    {"accept", do_accept, SOCK_STREAM, true},
    {"accept4 on a duplicate", do_accept4, SOCK_STREAM, true},
    {"recv", do_recv, SOCK_DGRAM, true},
    {"poll", do_poll, SOCK_STREAM, true},
    {"ppoll", do_ppoll, SOCK_STREAM, true},
    {"select", do_select, SOCK_STREAM, true},
    {"pselect", do_pselect, SOCK_STREAM, true},
    {"epoll", do_epoll, SOCK_STREAM, true},
    {"epoll, renumbered", do_epoll_renumbered, SOCK_STREAM, true},
    {"a thread", do_thread, SOCK_STREAM, true},
    {"a grandchild", do_grandchild, SOCK_STREAM, true},
    {"nothing", do_pause, SOCK_STREAM, false},
    {"accept on another", do_accept_on_another, SOCK_STREAM, false},
    {"poll on another", do_poll_another, SOCK_STREAM, false},
    {"select for exceptions", do_select_for_exceptions, SOCK_STREAM, false},
    {"select below it", do_select_below, SOCK_STREAM, false},
    {"select on nothing", do_select_nothing, SOCK_STREAM, false},
    {"accept beyond the bound", do_accept_beyond_the_bound, SOCK_STREAM, false},
    {"epoll without events", do_epoll_without_events, SOCK_STREAM, false},
    {"epoll, another's number", do_epoll_another_under_its_number, SOCK_STREAM, false},
    {"epoll and close", do_epoll_and_close, SOCK_STREAM, false},
};

/* The process says that it begins, so that a later sleep is the one of its act. */
static pid_t start_act(const struct act *act, int fd)
{
    int fds[2];
    pid_t pid;
    char byte;

    cr_assert_eq(pipe(fds), 0);
    pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (write(fds[1], "", 1) == 1)
            act->run(fd);
        _exit(1);
    }
    cr_assert_eq(read(fds[0], &byte, 1), 1);
    close(fds[0]);
    close(fds[1]);
    return pid;
}

static void check_act(const struct act *act)
{
    int fd = open_socket(act->type);
    struct target t = {.pid = start_act(act, fd), .inodes = {1, inode_of(fd)}, .n = 2};

    if (act->accepts) {
        cr_expect(wait_for(is_accepting, &t), "%s", act->name);
    } else {
        cr_expect(wait_for(is_asleep, &t), "%s", act->name);
        for (int i = 0; i < 50; i++)
            cr_expect_eq(observe_accepting(t.pid, t.inodes, t.n), 0, "%s", act->name);
        cr_expect(is_asleep(&t), "%s", act->name);
    }
    end(t.pid);
    close(fd);
}

Test(observe, what_counts_as_waiting)
{
    for (size_t i = 0; i < ARRAY_SIZE(acts); i++)
        check_act(&acts[i]);
}

static bool holds(const void *data)
{
    const struct target *t = data;

    return observe_holding(t->pid, t->inodes[1]) == 1;
}

/* Wherever it is among the processes of a worker, and whatever they do. */
Test(observe, who_holds_a_socket)
{
    for (size_t i = 0; i < 3; i++) {
        int fd = open_socket(acts[i].type), other = open_socket(acts[i].type);
        struct target t = {.pid = start_act(&acts[i], fd), .inodes = {1, inode_of(fd)}, .n = 2};

        cr_expect(wait_for(holds, &t), "%s", acts[i].name);
        close(other); /* it was inherited, another one is opened only now */
        other = open_socket(acts[i].type);
        cr_expect_eq(observe_holding(t.pid, inode_of(other)), 0);
        end(t.pid);
        cr_expect_neq(observe_holding(t.pid, inode_of(fd)), 1);
        close(other);
        close(fd);
    }
}

static void *poll_in_thread(void *data)
{
    poll(data, 1, -1);
    return NULL;
}

/* Takes the array of a poll away, under the thread that is blocked in it, when it is told to. */
static void poll_in_bad_memory(int fd, int control_fd)
{
    struct pollfd *fds =
        mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    pthread_t thread;
    char byte;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    *fds = (struct pollfd){.fd = fd, .events = POLLIN};
    pthread_create(&thread, NULL, poll_in_thread, fds);
    if (read(control_fd, &byte, 1) == 1 && munmap(fds, 4096) == 0 && write(control_fd, "", 1) == 1)
        pthread_join(thread, NULL);
    _exit(1);
}

Test(observe, memory_that_cannot_be_read)
{
    int fd = open_socket(SOCK_STREAM), control[2];
    struct target t = {.inodes = {inode_of(fd)}, .n = 1};
    char byte;

    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, control), 0);
    t.pid = fork();
    if (t.pid == 0)
        poll_in_bad_memory(fd, control[1]);
    cr_assert(wait_for(is_accepting, &t));
    cr_assert_eq(write(control[0], "", 1), 1);
    cr_assert_eq(read(control[0], &byte, 1), 1);
    cr_expect_eq(observe_accepting(t.pid, t.inodes, t.n), 0);
    end(t.pid);
    close(fd);
}

Test(observe, the_processes_that_are_gone)
{
    int fd = open_socket(SOCK_STREAM);
    uint64_t inode = inode_of(fd);
    siginfo_t info;
    pid_t pid = fork();

    if (pid == 0)
        _exit(0);
    cr_assert_eq(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
    cr_expect_eq(observe_accepting(pid, &inode, 1), 0, "not yet reaped");
    end(pid);
    cr_expect_eq(observe_accepting(pid, &inode, 1), -ESRCH);
    close(fd);
}

static int play_stranger(void *data)
{
    const struct target *t = data;

    if (!become_nobody())
        return FORBIDDEN;
    return observe_accepting(t->pid, t->inodes, t->n) == -EACCES ? 0 : 1;
}

Test(observe, the_kernel_does_not_let_us_look)
{
    int fd = open_socket(SOCK_STREAM);
    struct target t = {.pid = start_act(&acts[0], fd), .inodes = {inode_of(fd)}, .n = 1};

    cr_assert(wait_for(is_accepting, &t));
    expect_play(play_stranger, &t);
    end(t.pid);
    close(fd);
}

/* ---- real servers ---- */

/* Whether a server that gets the socket as descriptor 3 is seen. */
static void check_server(char **argv)
{
    struct spawn_request r = request_for(argv);
    int fd = open_socket(SOCK_STREAM);
    struct target t = {.inodes = {inode_of(fd)}, .n = 1};
    struct spawn_error error;

    r.fds = &fd;
    r.nfds = 1;
    if (start(&r, &t.pid, &error) != 1) {
        waitpid(t.pid, NULL, 0);
        cr_skip_test("%s is not installed", argv[0]);
    }
    cr_expect(wait_for(is_accepting, &t), "%s %s", argv[0], argv[2]);
    kill(-t.pid, SIGKILL);
    end(t.pid);
    close(fd);
}

#define PYTHON_SOCKET "import socket; s = socket.socket(fileno=3)\n"
#define PYTHON_SERVER                                                                              \
    PYTHON_SOCKET "import socketserver\n"                                                          \
                  "v = socketserver.TCPServer(None, None, False); v.socket = s\n"                  \
                  "v.serve_forever()\n"

Test(observe, python_socketserver)
{
    check_server((char *[]){"python3", "-c", PYTHON_SERVER, NULL});
}

Test(observe, python_accept)
{
    check_server((char *[]){"python3", "-c", PYTHON_SOCKET "s.accept()", NULL});
}

Test(observe, python_asyncio)
{
    check_server((char *[]){"python3", "-c",
                            PYTHON_SOCKET "import asyncio\n"
                                          "async def main():\n"
                                          "    v = await asyncio.start_server(print, sock=s)\n"
                                          "    await v.serve_forever()\n"
                                          "asyncio.run(main())\n",
                            NULL});
}

Test(observe, a_wrapper_around_the_server)
{
    check_server((char *[]){"sh", "-c", "python3 -c '" PYTHON_SERVER "'; exit 1", NULL});
}

Test(observe, node)
{
    check_server((char *[]){"node", "-e", "require('net').createServer().listen({fd: 3})", NULL});
}
