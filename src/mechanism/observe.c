#include "mechanism/observe.h"

#include <poll.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "base/sys.h"
#include "mechanism/proc_tree.h"

enum {
    LOOKS_MAX = 4096, /* descriptors, threads and members of epoll sets in one call */
    KEPT_MAX = 64,    /* sockets and epoll sets of one process */
    POLL_MAX = 1024,
    SELECT_MAX = 65536,
    SMALL_FILE_MAX = 4096,
    EPOLL_FILE_MAX = 1 << 18,
    EPOLL_LINE_MIN = 64,
    WORD_BITS = 8 * sizeof(unsigned long),
};

struct search {
    const uint64_t *inodes;
    size_t ninodes;
    int looks_left;
};

struct process {
    struct search *search;
    pid_t pid;
    int sockets[KEPT_MAX]; /* its descriptors of the sockets that are searched */
    size_t nsockets;
    int epolls[KEPT_MAX];
    size_t nepolls;
};

/* Results of the functions below: 1 found, 0 not found, and the errors of proc_tree.h. */

static bool is_searched(const struct search *s, uint64_t inode)
{
    for (size_t i = 0; i < s->ninodes; i++)
        if (s->inodes[i] == inode)
            return true;
    return false;
}

static bool holds_socket(const struct process *p, long fd)
{
    for (size_t i = 0; i < p->nsockets; i++)
        if (p->sockets[i] == fd)
            return true;
    return false;
}

/* ---- descriptors ---- */

static void keep(int *kept, size_t *n, int fd)
{
    if (*n < KEPT_MAX)
        kept[(*n)++] = fd;
}

static int sort_descriptor(int fd, const char *target, void *data)
{
    struct process *p = data;
    uint64_t inode = proc_tree_socket_inode(target);

    if (streq(target, "anon_inode:[eventpoll]"))
        keep(p->epolls, &p->nepolls, fd);
    else if (inode && is_searched(p->search, inode))
        keep(p->sockets, &p->nsockets, fd);
    return 0;
}

/* "tfd: N events: HEX data: HEX  pos:N ino:HEX sdev:HEX". The number after tfd may mean another
 * file by now, and the set may have been inherited: only the inode tells. See proc_pid_fdinfo(5).
 */
static bool is_member_searched(const struct search *s, const char *line)
{
    unsigned events;
    unsigned long inode;

    return sscanf(line, "tfd: %*d events: %x data: %*x pos:%*d ino:%lx", &events, &inode) == 2 &&
           (events & EPOLLIN) && is_searched(s, inode);
}

static int look_at_epoll(const struct process *p, int fd)
{
    CLEANUP_BUF struct buf text = BUF_INIT;
    char path[64], *next, *line;
    int err;

    snprintf(path, sizeof(path), "/proc/%d/fdinfo/%d", (int)p->pid, fd);
    err = sys_read_pseudo(path, EPOLL_FILE_MAX, &text);
    p->search->looks_left -= (int)(text.len / EPOLL_LINE_MIN);
    if (err < 0)
        return proc_tree_error(err);
    next = text.data;
    while ((line = strsep(&next, "\n")))
        if (is_member_searched(p->search, line))
            return 1;
    return 0;
}

/* ---- threads that are blocked in a system call ---- */

/* Reads at most `size` bytes of the process's memory: how many, or as above. */
static ssize_t read_memory(const struct process *p, unsigned long address, void *out, size_t size)
{
    struct iovec local = {out, size};
    struct iovec remote = {(void *)address, size};
    ssize_t n = process_vm_readv(p->pid, &local, 1, &remote, 1, 0);

    return n < 0 ? proc_tree_error(-errno) : n;
}

static int waits_on_descriptor(const struct process *p, const unsigned long *args)
{
    return holds_socket(p, (int)args[0]);
}

static int waits_in_poll(const struct process *p, const unsigned long *args)
{
    struct pollfd fds[POLL_MAX];
    size_t nfds = args[1] < POLL_MAX ? args[1] : POLL_MAX;
    ssize_t n = read_memory(p, args[0], fds, nfds * sizeof(*fds));

    if (n < 0)
        return (int)n;
    for (size_t i = 0; i < (size_t)n / sizeof(*fds); i++)
        if ((fds[i].events & POLLIN) && holds_socket(p, fds[i].fd))
            return 1;
    return 0;
}

static int waits_in_select(const struct process *p, const unsigned long *args)
{
    unsigned long words[SELECT_MAX / WORD_BITS] = {0};
    size_t nfds = args[0] < SELECT_MAX ? args[0] : SELECT_MAX;
    size_t nwords = (nfds + WORD_BITS - 1) / WORD_BITS;
    ssize_t n = read_memory(p, args[1], words, nwords * sizeof(*words));

    if (n < 0)
        return (int)n;
    for (size_t i = 0; i < p->nsockets; i++) {
        size_t fd = (size_t)p->sockets[i];

        if (fd < nfds && (words[fd / WORD_BITS] >> fd % WORD_BITS) & 1)
            return 1;
    }
    return 0;
}

static const struct {
    long number;
    int (*waits)(const struct process *p, const unsigned long *args);
} calls[] = {
    {SYS_accept, waits_on_descriptor},   {SYS_accept4, waits_on_descriptor},
    {SYS_recvfrom, waits_on_descriptor}, {SYS_recvmsg, waits_on_descriptor},
    {SYS_recvmmsg, waits_on_descriptor}, {SYS_ppoll, waits_in_poll},
    {SYS_pselect6, waits_in_select},
#ifdef SYS_poll /* newer architectures have only the ones above */
    {SYS_poll, waits_in_poll},
#endif
#ifdef SYS_select
    {SYS_select, waits_in_select},
#endif
};

/* "NUMBER 0xARG0 0xARG1 ..." or "running"; see proc_pid_syscall(5). */
static int look_at_thread(int tid, void *data)
{
    const struct process *p = data;
    CLEANUP_BUF struct buf text = BUF_INIT;
    char path[64];
    unsigned long args[2];
    long number;
    int err;

    snprintf(path, sizeof(path), "/proc/%d/task/%d/syscall", (int)p->pid, tid);
    err = sys_read_pseudo(path, SMALL_FILE_MAX, &text);
    if (err < 0)
        return proc_tree_error(err);
    if (sscanf(buf_str(&text), "%ld %lx %lx", &number, &args[0], &args[1]) != 3)
        return 0;
    for (size_t i = 0; i < ARRAY_SIZE(calls); i++)
        if (calls[i].number == number)
            return calls[i].waits(p, args);
    return 0;
}

/* ---- processes ---- */

static int look_at_process(pid_t pid, void *data)
{
    struct search *s = data;
    struct process p = {.search = s, .pid = pid};
    int result = proc_tree_each_descriptor(pid, &s->looks_left, sort_descriptor, &p);

    if (result < 0 || p.nsockets == 0)
        return result;
    for (size_t i = 0; i < p.nepolls && result == 0 && s->looks_left > 0; i++)
        result = look_at_epoll(&p, p.epolls[i]);
    return result ? result : proc_tree_each_thread(pid, &s->looks_left, look_at_thread, &p);
}

int observe_accepting(pid_t pid, const uint64_t *inodes, size_t n)
{
    struct search s = {.inodes = inodes, .ninodes = n, .looks_left = LOOKS_MAX};

    return proc_tree_each_process(pid, &s.looks_left, look_at_process, &s);
}

static int compare_descriptor(int fd UNUSED, const char *target, void *data)
{
    return is_searched(data, proc_tree_socket_inode(target));
}

static int look_at_descriptors(pid_t pid, void *data)
{
    struct search *s = data;

    return proc_tree_each_descriptor(pid, &s->looks_left, compare_descriptor, s);
}

int observe_holding(pid_t pid, uint64_t inode)
{
    struct search s = {.inodes = &inode, .ninodes = 1, .looks_left = LOOKS_MAX};

    return proc_tree_each_process(pid, &s.looks_left, look_at_descriptors, &s);
}
