/* What a process uses, by /proc/PID/stat: one read that waits for nothing, whatever the process
 * does. See proc(5). */
#ifndef PREFORKD_MECHANISM_PROC_USAGE_H
#define PREFORKD_MECHANISM_PROC_USAGE_H

#include <sys/types.h>

#include "base/util.h"

struct proc_usage {
    double cpu_s; /* user and system time of all its threads */
    uint64_t resident_bytes;
    uint64_t virtual_bytes;
};

/* 0; -ESRCH when it is gone, or what open(2) says. */
int proc_usage(pid_t pid, struct proc_usage *out);

/* How many descriptors this process has open; -errno. */
int proc_usage_descriptors(void);

#endif
