#include "policy/cpus.h"

#include <ctype.h>
#include <limits.h>

/* Reads a positive decimal number and moves *text behind it; what is not one reads as 0. */
static int64_t take_number(const char **text)
{
    char *end;
    long long value;

    if (!isdigit((unsigned char)**text))
        return 0;
    errno = 0;
    value = strtoll(*text, &end, 10);
    *text = end;
    return errno ? 0 : value;
}

static bool at_end(const char *text)
{
    return *text == '\0' || streq(text, "\n");
}

/* quota/period in thousandths, rounded up, so that no fraction is lost on the way to whole CPUs. */
static int64_t to_milli(int64_t quota, int64_t period)
{
    int64_t scaled;

    if (quota == 0 || period == 0 || __builtin_mul_overflow(quota, 1000, &scaled))
        return 0;
    return scaled / period + (scaled % period != 0);
}

int64_t cpus_quota_v2(const char *cpu_max)
{
    int64_t quota = take_number(&cpu_max), period;

    if (quota == 0 || *cpu_max++ != ' ')
        return 0;
    period = take_number(&cpu_max);
    return at_end(cpu_max) ? to_milli(quota, period) : 0;
}

int64_t cpus_quota_v1(const char *cfs_quota_us, const char *cfs_period_us)
{
    int64_t quota = take_number(&cfs_quota_us); /* no limit is -1, which is no number here */
    int64_t period = take_number(&cfs_period_us);

    return at_end(cfs_quota_us) && at_end(cfs_period_us) ? to_milli(quota, period) : 0;
}

/* Whether `item` stands in the `len` bytes of a comma-separated list. An empty list holds "". */
static bool list_has(const char *list, size_t len, const char *item)
{
    const char *end = list + len;
    size_t want = strlen(item);

    for (;;) {
        const char *comma = memchr(list, ',', (size_t)(end - list));
        size_t have = (size_t)((comma ? comma : end) - list);

        if (have == want && memcmp(list, item, want) == 0)
            return true;
        if (!comma)
            return false;
        list = comma + 1;
    }
}

/* One line "hierarchy:controllers:path" of `len` bytes: the path's beginning, or NULL. */
static const char *line_path(const char *line, size_t len, const char *controller)
{
    const char *end = line + len;
    const char *first = memchr(line, ':', len);
    const char *second = first ? memchr(first + 1, ':', (size_t)(end - first - 1)) : NULL;

    if (!second || !list_has(first + 1, (size_t)(second - first - 1), controller))
        return NULL;
    return second + 1;
}

bool cpus_cgroup_path(const char *proc_self_cgroup, const char *controller, char *out, size_t size)
{
    for (const char *line = proc_self_cgroup; *line;) {
        size_t len = strcspn(line, "\n");
        const char *path = line_path(line, len, controller);

        if (path) {
            size_t path_len = (size_t)(line + len - path);

            if (path_len >= size || *path != '/')
                return false;
            memcpy(out, path, path_len);
            out[path_len] = '\0';
            return true;
        }
        line += len + (line[len] == '\n');
    }
    return false;
}

int cpus_usable(int affinity, int64_t quota_milli)
{
    int64_t quota = quota_milli / 1000 + (quota_milli % 1000 != 0);
    int usable = affinity < 1 ? 1 : affinity;

    return quota_milli > 0 && quota < usable ? (int)quota : usable;
}

int cpus_of_slot(const struct cpus *cpus, int slot)
{
    return cpus->n > 0 ? cpus->ids[slot % cpus->n] : -1;
}
