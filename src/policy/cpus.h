/* How many workers `auto` means: affinity, and the cgroup's CPU quota of version 2 or 1. Pure:
 * works on the text of the files; cpus_probe.c in the mechanism layer reads them. */
#ifndef PREFORKD_POLICY_CPUS_H
#define PREFORKD_POLICY_CPUS_H

#include "base/util.h"

#define CPUS_MAX 4096

/* The numbers of CPUs, in their order. */
struct cpus {
    int n;
    uint16_t ids[CPUS_MAX];
};

/* Slots are on them in turn; -1: there are none. */
int cpus_of_slot(const struct cpus *cpus, int slot);

/* A quota as thousandths of a CPU, 0: no limit. Malformed text is no limit. */
int64_t cpus_quota_v2(const char *cpu_max); /* "max 100000", "150000 100000" */
int64_t cpus_quota_v1(const char *cfs_quota_us, const char *cfs_period_us);

/* The path of this process in a hierarchy, from /proc/self/cgroup: controller "cpu" for version 1,
 * "" for version 2. Returns false when it is not there or longer than the buffer. */
bool cpus_cgroup_path(const char *proc_self_cgroup, const char *controller, char *out, size_t size);

/* min(affinity, quota rounded up), at least 1. */
int cpus_usable(int affinity, int64_t quota_milli);

#endif
