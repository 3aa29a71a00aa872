#include "mechanism/observe.h"

#include <dirent.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "base/sys.h"

enum {
    PROCESSES_MAX = 64,
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
    pid_t pids[PROCESSES_MAX]; /* grows while it is walked */
    size_t npids;
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

/* Results of the functions below: 1 found, 0 not found, -EACCES, -ESRCH. A file that cannot be read
 * for another reason (its process or thread ended, we are out of memory) shows nothing now. */
static int proc_error(int err)
{
    return err == -EACCES || err == -EPERM ? -EACCES : 0;
}

/* hidepid= and a /proc that is not mounted show nothing of a process that exists. */
static int missing_error(pid_t pid)
{
    return kill(pid, 0) < 0 && errno == ESRCH ? -ESRCH : -EACCES;
}

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

/* Calls `visit` for the numbers that name the entries of /proc/PID/`dir` until it returns something
 * else than 0. */
static int each_entry(struct process *p, const char *dir,
                      int (*visit)(struct process *p, int number))
{
    char path[64];
    struct dirent *entry;
    DIR *d;
    int result = 0;

    snprintf(path, sizeof(path), "/proc/%d/%s", (int)p->pid, dir);
    d = opendir(path);
    if (!d)
        return errno == ENOENT || errno == ESRCH ? missing_error(p->pid) : proc_error(-errno);
    while (result == 0 && p->search->looks_left-- > 0 && (entry = readdir(d)))
        if (entry->d_name[0] != '.')
            result = visit(p, atoi(entry->d_name));
    closedir(d);
    return result;
}

/* ---- descriptors ---- */

static void keep(int *kept, size_t *n, int fd)
{
    if (*n < KEPT_MAX)
        kept[(*n)++] = fd;
}

static int sort_descriptor(struct process *p, int fd)
{
    char path[64], target[64];
    unsigned long inode;
    ssize_t len;

    snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)p->pid, fd);
    len = readlink(path, target, sizeof(target) - 1);
    if (len < 0)
        return proc_error(-errno);
    target[len] = '\0';
    if (streq(target, "anon_inode:[eventpoll]"))
        keep(p->epolls, &p->nepolls, fd);
    else if (sscanf(target, "socket:[%lu]", &inode) == 1 && is_searched(p->search, inode))
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
        return proc_error(err);
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

    return n < 0 ? proc_error(-errno) : n;
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
static int look_at_thread(struct process *p, int tid)
{
    CLEANUP_BUF struct buf text = BUF_INIT;
    char path[64];
    unsigned long args[2];
    long number;
    int err;

    snprintf(path, sizeof(path), "/proc/%d/task/%d/syscall", (int)p->pid, tid);
    err = sys_read_pseudo(path, SMALL_FILE_MAX, &text);
    if (err < 0)
        return proc_error(err);
    if (sscanf(buf_str(&text), "%ld %lx %lx", &number, &args[0], &args[1]) != 3)
        return 0;
    for (size_t i = 0; i < ARRAY_SIZE(calls); i++)
        if (calls[i].number == number)
            return calls[i].waits(p, args);
    return 0;
}

/* ---- processes ---- */

/* A kernel without this file shows no children; of a long list the beginning is enough. See
 * proc_tid_children(5). */
static int add_children(struct process *p, int tid)
{
    CLEANUP_BUF struct buf text = BUF_INIT;
    struct search *s = p->search;
    char path[64], *next, *word;

    snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)p->pid, tid);
    sys_read_pseudo(path, SMALL_FILE_MAX, &text);
    next = text.data;
    while ((word = strsep(&next, " ")) && *word && s->npids < PROCESSES_MAX)
        s->pids[s->npids++] = atoi(word);
    return 0;
}

static int look_at_process(struct search *s, pid_t pid)
{
    struct process p = {.search = s, .pid = pid};
    int result = each_entry(&p, "task", add_children);

    if (result == 0)
        result = each_entry(&p, "fd", sort_descriptor);
    if (result < 0 || p.nsockets == 0)
        return result;
    for (size_t i = 0; i < p.nepolls && result == 0 && s->looks_left > 0; i++)
        result = look_at_epoll(&p, p.epolls[i]);
    return result ? result : each_entry(&p, "task", look_at_thread);
}

int observe_accepting(pid_t pid, const uint64_t *inodes, size_t n)
{
    struct search s = {
        .inodes = inodes, .ninodes = n, .pids = {pid}, .npids = 1, .looks_left = LOOKS_MAX};
    int worst = 0;

    for (size_t i = 0; i < s.npids; i++) {
        int result = look_at_process(&s, s.pids[i]);

        if (result == 1 || (result == -ESRCH && i == 0))
            return result;
        if (result == -EACCES)
            worst = -EACCES;
    }
    return worst;
}
