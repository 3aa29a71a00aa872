/* Reads what policy/cpus.h decides on: affinity mask and cgroup files. */
#ifndef PREFORKD_MECHANISM_CPUS_PROBE_H
#define PREFORKD_MECHANISM_CPUS_PROBE_H

#include "policy/cpus.h"

/* The number of workers that `auto` means here and now; at least 1. */
int cpus_probe(void);

/* The CPUs that this process was allowed at the first call. */
const struct cpus *cpus_probe_allowed(void);

/* The least CPU quota of the cgroups of this process and of all above them, versions 1 and 2, in
 * thousandths of a CPU; 0: none. `root` stands before every path that is read: "" but in tests. */
int64_t cpus_probe_quota(const char *root);

#endif
