#include "mechanism/cpus_probe.h"

#include <sched.h>

#include "base/sys.h"
#include "mechanism/cgroup.h"

enum {
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

static const struct quota_source {
    struct cgroup_hierarchy hierarchy;
    int64_t (*read)(const char *directory);
} sources[] = {
    {{"cgroup", "cpu"}, read_quota_v1},
    {{"cgroup2", ""}, read_quota_v2},
};

/* --- The least quota --- */

static int64_t stricter(int64_t a, int64_t b)
{
    if (a == 0 || b == 0)
        return a + b;
    return a < b ? a : b;
}

struct search {
    int64_t (*read)(const char *directory);
    int64_t least;
};

/* Walks from the cgroup up to the mount point, since a quota may stand at any level. */
static void note_least(void *data, const char *directory, size_t top)
{
    struct search *search = data;
    CLEANUP_FREE char *path = strdup(directory);

    while (path) {
        search->least = stricter(search->least, search->read(path));
        if (strlen(path) <= top)
            return;
        *strrchr(path, '/') = '\0';
    }
}

int64_t cpus_probe_quota(const char *root)
{
    struct search search = {0};

    for (size_t i = 0; i < ARRAY_SIZE(sources); i++) {
        search.read = sources[i].read;
        cgroup_find(root, &sources[i].hierarchy, note_least, &search);
    }
    return search.least;
}

int cpus_probe(void)
{
    struct cpus now;

    read_affinity(&now);
    return cpus_usable(now.n, cpus_probe_quota(""));
}
