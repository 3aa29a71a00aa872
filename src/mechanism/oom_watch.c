#include "mechanism/oom_watch.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/sys.h"
#include "mechanism/cgroup.h"
#include "policy/oom.h"

static const struct counter {
    struct cgroup_hierarchy hierarchy;
    const char *file;
} counters[] = {
    {{"cgroup2", ""}, "memory.events"},
    {{"cgroup", "memory"}, "memory.oom_control"},
};

static struct {
    char *path; /* NULL: there is no counter */
    struct oom_ledger ledger;
} watch;

static int64_t read_count(const char *path)
{
    CLEANUP_BUF struct buf text = BUF_INIT;

    return path && sys_read_pseudo(path, 4096, &text) == 0 ? oom_count(buf_str(&text)) : -1;
}

static void on_found(void *data, const char *directory, size_t top UNUSED)
{
    const struct counter *counter = data;
    char *path;

    if (watch.path || asprintf(&path, "%s/%s", directory, counter->file) < 0)
        return;
    if (read_count(path) >= 0)
        watch.path = path;
    else
        free(path);
}

void oom_watch_open(const char *root)
{
    oom_watch_close();
    for (size_t i = 0; i < ARRAY_SIZE(counters); i++)
        cgroup_find(root, &counters[i].hierarchy, on_found, (void *)&counters[i]);
    watch.ledger.seen = read_count(watch.path);
}

void oom_watch_close(void)
{
    free(watch.path);
    watch.path = NULL;
    watch.ledger = (struct oom_ledger){0};
}

void oom_watch_note(void)
{
    int64_t count = read_count(watch.path);

    if (count >= 0)
        oom_ledger_note(&watch.ledger, count, clock_ms());
}

int oom_watch_take(void)
{
    if (!watch.path)
        return -ENOENT;
    oom_watch_note();
    return oom_ledger_take(&watch.ledger);
}
