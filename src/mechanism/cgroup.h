/* Where the files of this process's own control group are, versions 1 and 2: cgroups(7). */
#ifndef PREFORKD_MECHANISM_CGROUP_H
#define PREFORKD_MECHANISM_CGROUP_H

#include "base/util.h"

struct cgroup_hierarchy {
    const char *fstype;     /* in /proc/self/mountinfo: "cgroup" or "cgroup2" */
    const char *controller; /* in /proc/self/cgroup and among the mount's options; "": version 2 */
};

/* Calls `found` for each mount that shows the control group, with the directory of its files; `top`
 * is the length of the mount point in it, with nothing to look at above. `root` stands before every
 * path that is read: "" but in tests. */
void cgroup_find(const char *root, const struct cgroup_hierarchy *h,
                 void (*found)(void *data, const char *directory, size_t top), void *data);

#endif
