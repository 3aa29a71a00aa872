#include "mechanism/proc_usage.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>

#include "base/sys.h"

enum { STAT_MAX = 4096 };

int proc_usage(pid_t pid, struct proc_usage *out)
{
    CLEANUP_BUF struct buf text = BUF_INIT;
    uint64_t user, system, size;
    int64_t pages;
    const char *fields;
    char path[32];
    int r;

    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    r = sys_read_pseudo(path, STAT_MAX, &text);
    if (r < 0)
        return r == -ENOENT ? -ESRCH : r;
    fields = strrchr(buf_str(&text), ')'); /* the name before it may hold anything */
    if (!fields || sscanf(fields,
                          ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %" SCNu64 " %" SCNu64
                          " %*d %*d %*d %*d %*d %*d %*u %" SCNu64 " %" SCNd64,
                          &user, &system, &size, &pages) != 4)
        return -EBADMSG;
    *out = (struct proc_usage){
        .cpu_s = (double)(user + system) / (double)sysconf(_SC_CLK_TCK),
        .resident_bytes = (uint64_t)(pages > 0 ? pages : 0) * (uint64_t)sysconf(_SC_PAGESIZE),
        .virtual_bytes = size,
    };
    return 0;
}

int proc_usage_descriptors(void)
{
    DIR *dir = opendir("/proc/self/fd");
    int n = 0;

    if (!dir)
        return -errno;
    for (const struct dirent *e; (e = readdir(dir));)
        n += e->d_name[0] != '.';
    closedir(dir);
    return n - 1; /* the folder itself */
}
