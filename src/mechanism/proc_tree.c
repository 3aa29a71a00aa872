#include "mechanism/proc_tree.h"

#include <dirent.h>
#include <signal.h>
#include <stdio.h>

#include "base/sys.h"

enum {
    PROCESSES_MAX = 64,
    CHILDREN_FILE_MAX = 4096,
};

struct tree {
    pid_t pids[PROCESSES_MAX]; /* grows while it is walked */
    size_t npids;
    pid_t parent; /* whose children are added at the moment */
};

struct descriptors {
    pid_t pid;
    int (*visit)(int fd, const char *target, void *data);
    void *data;
};

int proc_tree_error(int err)
{
    return err == -EACCES || err == -EPERM ? -EACCES : 0;
}

/* hidepid= and a /proc that is not mounted show nothing of a process that exists. */
static int missing_error(pid_t pid)
{
    return kill(pid, 0) < 0 && errno == ESRCH ? -ESRCH : -EACCES;
}

/* The numbers that name the entries of /proc/PID/`dir`. */
static int each_entry(pid_t pid, const char *dir, int *looks_left,
                      int (*visit)(int number, void *data), void *data)
{
    char path[64];
    struct dirent *entry;
    DIR *d;
    int result = 0;

    snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, dir);
    d = opendir(path);
    if (!d)
        return errno == ENOENT || errno == ESRCH ? missing_error(pid) : proc_tree_error(-errno);
    while (result == 0 && *looks_left > 0 && (entry = readdir(d))) {
        --*looks_left;
        if (entry->d_name[0] != '.')
            result = visit(atoi(entry->d_name), data);
    }
    closedir(d);
    return result;
}

int proc_tree_each_thread(pid_t pid, int *looks_left, int (*visit)(int tid, void *data), void *data)
{
    return each_entry(pid, "task", looks_left, visit, data);
}

static int read_link(int fd, void *data)
{
    const struct descriptors *d = data;
    char path[64], target[64];
    ssize_t len;

    snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)d->pid, fd);
    len = readlink(path, target, sizeof(target) - 1);
    if (len < 0)
        return proc_tree_error(-errno);
    target[len] = '\0';
    return d->visit(fd, target, d->data);
}

int proc_tree_each_descriptor(pid_t pid, int *looks_left,
                              int (*visit)(int fd, const char *target, void *data), void *data)
{
    struct descriptors d = {.pid = pid, .visit = visit, .data = data};

    return each_entry(pid, "fd", looks_left, read_link, &d);
}

uint64_t proc_tree_socket_inode(const char *target)
{
    unsigned long long inode;
    char end;

    return sscanf(target, "socket:[%llu%c", &inode, &end) == 2 && end == ']' ? inode : 0;
}

/* A kernel without this file shows no children; of a long list the beginning is enough. See
 * proc_tid_children(5). */
static int add_children(int tid, void *data)
{
    CLEANUP_BUF struct buf text = BUF_INIT;
    struct tree *t = data;
    char path[64], *next, *word;

    snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)t->parent, tid);
    sys_read_pseudo(path, CHILDREN_FILE_MAX, &text);
    next = text.data;
    while ((word = strsep(&next, " ")) && *word && t->npids < PROCESSES_MAX)
        t->pids[t->npids++] = atoi(word);
    return 0;
}

int proc_tree_each_process(pid_t pid, int *looks_left, int (*visit)(pid_t pid, void *data),
                           void *data)
{
    struct tree t = {.pids = {pid}, .npids = 1};
    int worst = 0;

    for (size_t i = 0; i < t.npids; i++) {
        int result;

        t.parent = t.pids[i];
        result = proc_tree_each_thread(t.parent, looks_left, add_children, &t);
        if (result == 0)
            result = visit(t.parent, data);
        if (result == -EACCES)
            worst = result;
        else if (result != 0 && (result != -ESRCH || i == 0))
            return result;
    }
    return worst;
}
