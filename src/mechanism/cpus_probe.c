#include "mechanism/cpus_probe.h"

#include <limits.h>
#include <sched.h>
#include <stdio.h>

#include "base/sys.h"

enum {
    PROC_FILE_MAX = 4 * 1024 * 1024, /* hosts have thousands of mounts */
    CGROUP_FILE_MAX = 4096,
    AFFINITY_MAX_CPUS = 1 << 16,
};

/* --- Affinity --- */

static void list_cpus(const cpu_set_t *set, size_t size, struct cpus *out)
{
    for (int cpu = 0; cpu < (int)(8 * size) && out->n < CPUS_MAX; cpu++)
        if (CPU_ISSET_S((size_t)cpu, size, set))
            out->ids[out->n++] = (uint16_t)cpu;
}

/* The kernel refuses a set that is smaller than its own, whose size nothing tells beforehand. */
static void read_affinity(struct cpus *out)
{
    out->n = 0;
    for (int ncpus = CPU_SETSIZE; ncpus <= AFFINITY_MAX_CPUS; ncpus *= 2) {
        cpu_set_t *set = CPU_ALLOC(ncpus);
        size_t size = CPU_ALLOC_SIZE(ncpus);
        int r = set ? sched_getaffinity(0, size, set) : -1;
        bool retry = set && r < 0 && errno == EINVAL;

        if (r == 0)
            list_cpus(set, size, out);
        CPU_FREE(set);
        if (!retry)
            return;
    }
}

const struct cpus *cpus_probe_allowed(void)
{
    static struct cpus allowed;

    if (allowed.n == 0)
        read_affinity(&allowed);
    return &allowed;
}

/* --- Quota of one cgroup --- */

/* Appends nothing when the file cannot be read: no such file is no limit. */
static void read_value(const char *directory, const char *name, struct buf *out)
{
    CLEANUP_BUF struct buf path = BUF_INIT;

    buf_printf(&path, "%s/%s", directory, name);
    if (path.failed || sys_read_pseudo(buf_str(&path), CGROUP_FILE_MAX, out) < 0)
        buf_free(out);
}

static int64_t read_quota_v1(const char *directory)
{
    CLEANUP_BUF struct buf quota = BUF_INIT;
    CLEANUP_BUF struct buf period = BUF_INIT;

    read_value(directory, "cpu.cfs_quota_us", &quota);
    read_value(directory, "cpu.cfs_period_us", &period);
    return cpus_quota_v1(buf_str(&quota), buf_str(&period));
}

static int64_t read_quota_v2(const char *directory)
{
    CLEANUP_BUF struct buf max = BUF_INIT;

    read_value(directory, "cpu.max", &max);
    return cpus_quota_v2(buf_str(&max));
}

static const struct hierarchy {
    const char *fstype;     /* in /proc/self/mountinfo */
    const char *controller; /* in /proc/self/cgroup and among the mount's options; "": version 2 */
    int64_t (*read_quota)(const char *directory);
} hierarchies[] = {
    {"cgroup", "cpu", read_quota_v1},
    {"cgroup2", "", read_quota_v2},
};

/* --- Mounts: see /proc/PID/mountinfo in proc(5) --- */

struct mount {
    char *root; /* the directory of the hierarchy that is seen at `point` */
    char *point;
    char *fstype;
    char *options;
};

/* Undoes \040 and the like, in place. */
static void unescape(char *text)
{
    char *to = text;

    while (*text) {
        if (text[0] == '\\' && strspn(text + 1, "01234567") >= 3) {
            *to++ = (char)((text[1] - '0') << 6 | (text[2] - '0') << 3 | (text[3] - '0'));
            text += 4;
        } else {
            *to++ = *text++;
        }
    }
    *to = '\0';
}

static bool parse_mount(char *line, struct mount *m)
{
    char *rest = strstr(line, " - ");

    if (!rest)
        return false;
    *rest = '\0';
    rest += strlen(" - ");
    m->fstype = strsep(&rest, " ");
    strsep(&rest, " ");
    m->options = rest;
    for (int i = 0; i < 3; i++)
        strsep(&line, " ");
    m->root = strsep(&line, " ");
    m->point = strsep(&line, " ");
    if (!m->options || !m->point)
        return false;
    unescape(m->root);
    unescape(m->point);
    return true;
}

static bool has_option(char *options, const char *wanted)
{
    char *option;

    while ((option = strsep(&options, ",")))
        if (streq(option, wanted))
            return true;
    return false;
}

static bool is_mount_of(const struct hierarchy *h, const struct mount *m)
{
    return streq(m->fstype, h->fstype) &&
           (h->controller[0] == '\0' || has_option(m->options, h->controller));
}

/* The path of a cgroup below the mount point, "" for the mount point itself. NULL when the mount
 * does not show it: another container's part, or outside our cgroup namespace ("/.."). */
static const char *path_below(const struct mount *m, const char *cgroup)
{
    const char *rest = streq(m->root, "/") ? cgroup : str_after(cgroup, m->root);

    if (!rest || (*rest != '\0' && *rest != '/') || streq(rest, "/..") || str_after(rest, "/../"))
        return NULL;
    return streq(rest, "/") ? "" : rest;
}

/* --- The least quota --- */

static int64_t stricter(int64_t a, int64_t b)
{
    if (a == 0 || b == 0)
        return a + b;
    return a < b ? a : b;
}

/* Walks from the cgroup up to the mount point, since a quota may stand at any level. */
static int64_t least_of_mount(const struct hierarchy *h, const struct mount *m, const char *root,
                              const char *cgroup)
{
    const char *below = path_below(m, cgroup);
    size_t top = strlen(root) + strlen(m->point);
    CLEANUP_BUF struct buf directory = BUF_INIT;
    int64_t least = 0;

    if (!below)
        return 0;
    buf_printf(&directory, "%s%s%s", root, m->point, below);
    if (directory.failed)
        return 0;
    for (;;) {
        least = stricter(least, h->read_quota(directory.data));
        if (strlen(directory.data) <= top)
            return least;
        *strrchr(directory.data, '/') = '\0';
    }
}

static int read_proc(const char *root, const char *path, struct buf *out)
{
    CLEANUP_BUF struct buf full = BUF_INIT;

    buf_printf(&full, "%s%s", root, path);
    return full.failed ? -ENOMEM : sys_read_pseudo(buf_str(&full), PROC_FILE_MAX, out);
}

static int64_t least_of_line(char *line, const char *root, const char *cgroups)
{
    char cgroup[PATH_MAX];
    int64_t least = 0;
    struct mount m;

    if (!parse_mount(line, &m))
        return 0;
    for (size_t i = 0; i < ARRAY_SIZE(hierarchies); i++)
        if (is_mount_of(&hierarchies[i], &m) &&
            cpus_cgroup_path(cgroups, hierarchies[i].controller, cgroup, sizeof(cgroup)))
            least = stricter(least, least_of_mount(&hierarchies[i], &m, root, cgroup));
    return least;
}

int64_t cpus_probe_quota(const char *root)
{
    CLEANUP_BUF struct buf cgroups = BUF_INIT;
    CLEANUP_BUF struct buf mounts = BUF_INIT;
    int64_t least = 0;
    char *rest, *line;

    if (read_proc(root, "/proc/self/cgroup", &cgroups) < 0 ||
        read_proc(root, "/proc/self/mountinfo", &mounts) < 0)
        return 0;
    rest = mounts.data;
    while ((line = strsep(&rest, "\n")))
        least = stricter(least, least_of_line(line, root, buf_str(&cgroups)));
    return least;
}

int cpus_probe(void)
{
    struct cpus now;

    read_affinity(&now);
    return cpus_usable(now.n, cpus_probe_quota(""));
}
