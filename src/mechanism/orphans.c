#include "mechanism/orphans.h"

#include <stdio.h>

#include "base/sys.h"

enum { CHILDREN_MAX = 1024, CHILDREN_FILE_MAX = 1 << 18, ENVIRONMENT_MAX = 1 << 18 };

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

pid_t orphan_find(pid_t session, const char *entry)
{
    CLEANUP_BUF struct buf children = BUF_INIT;
    char path[64], *next, *word;

    snprintf(path, sizeof(path), "/proc/self/task/%d/children", (int)getpid());
    if (sys_read_pseudo(path, CHILDREN_FILE_MAX, &children) < 0)
        return 0;
    next = children.data;
    for (int i = 0; i < CHILDREN_MAX && (word = strsep(&next, " ")) && *word; i++) {
        pid_t pid = atoi(word);
        struct sys_proc proc;

        if (sys_proc_stat(pid, &proc) == 0 && proc.state != 'Z' && proc.session != session &&
            has_entry(pid, entry))
            return pid;
    }
    return 0;
}
