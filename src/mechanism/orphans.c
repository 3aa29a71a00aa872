#include "mechanism/orphans.h"

#include <errno.h>
#include <stdio.h>

#include "base/sys.h"

enum { LOOKS_MAX = 3, CHILDREN_MAX = 1024, CHILDREN_FILE_MAX = 1 << 18, ENVIRONMENT_MAX = 1 << 18 };

static bool has_entry(pid_t pid, const char *entry)
{
    CLEANUP_BUF struct buf environment = BUF_INIT;
    size_t len = strlen(entry) + 1;
    char path[64];

    snprintf(path, sizeof(path), "/proc/%d/environ", (int)pid);
    if (sys_read_pseudo(path, ENVIRONMENT_MAX, &environment) < 0)
        return false;
    for (size_t at = 0; at + len <= environment.len; at += strlen(environment.data + at) + 1)
        if (memcmp(environment.data + at, entry, len) == 0)
            return true;
    return false;
}

/* One look at our children. A process that ends loses its memory first, and with it its
 * environment; it leaves us its children when it becomes a zombie. So the state is read last.
 * -EAGAIN: one is between these two. *ended: one was a zombie already, and its children may be
 * missing in our list.
 */
static pid_t look(pid_t session, const char *entry, bool *ended)
{
    CLEANUP_BUF struct buf children = BUF_INIT;
    char path[64], *next, *word;
    pid_t r = 0;

    *ended = false;
    snprintf(path, sizeof(path), "/proc/self/task/%d/children", (int)getpid());
    if (sys_read_pseudo(path, CHILDREN_FILE_MAX, &children) < 0)
        return 0;
    next = children.data;
    for (int i = 0; i < CHILDREN_MAX && (word = strsep(&next, " ")) && *word; i++) {
        pid_t pid = atoi(word);
        bool found = has_entry(pid, entry);
        struct sys_proc proc;

        if (sys_proc_stat(pid, &proc) < 0 || proc.state == 'Z')
            *ended = true;
        else if (proc.ending)
            r = -EAGAIN;
        else if (found && proc.session != session)
            return pid;
    }
    return r;
}

pid_t orphan_find(pid_t session, const char *entry)
{
    bool ended = true;
    pid_t r = 0;

    for (int i = 0; i < LOOKS_MAX && ended && r == 0; i++)
        r = look(session, entry, &ended);
    return r;
}
