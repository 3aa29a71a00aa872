/* Reads the counter of this process's control group, in trees of files that stand for machines. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <sys/stat.h>

#include "../lib/tree.h"
#include "base/buf.h"
#include "mechanism/oom_watch.h"

static char root[] = "/tmp/oom_watch.XXXXXX";

static void plant(void)
{
    cr_assert(mkdtemp(root));
}

static void fell(void)
{
    oom_watch_close();
    tree_remove(root);
}

TestSuite(oom_watch, .init = plant, .fini = fell);

static void put(const char *path, const char *text)
{
    CLEANUP_BUF struct buf full = BUF_INIT;
    FILE *file;

    buf_printf(&full, "%s%s", root, path);
    for (char *slash = strchr(full.data + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        mkdir(full.data, 0700);
        *slash = '/';
    }
    file = fopen(full.data, "w");
    cr_assert(file, "%s", full.data);
    fputs(text, file);
    cr_assert_eq(fclose(file), 0);
}

Test(oom_watch, version_2)
{
    put("/proc/self/cgroup", "0::/web.service\n");
    put("/proc/self/mountinfo", "1 1 0:1 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
    put("/sys/fs/cgroup/web.service/memory.events", "oom 1\noom_kill 3\n");
    oom_watch_open(root);
    cr_expect_eq(oom_watch_take(), 0);
    put("/sys/fs/cgroup/web.service/memory.events", "oom 1\noom_kill 4\n");
    cr_expect_eq(oom_watch_take(), 1);
    cr_expect_eq(oom_watch_take(), 0);
}

/* As on a machine that has both: version 2 without the memory controller. */
Test(oom_watch, version_1)
{
    put("/proc/self/cgroup", "4:memory:/web\n0::/\n");
    put("/proc/self/mountinfo", "1 1 0:1 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
                                "2 1 0:2 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n");
    put("/sys/fs/cgroup/memory/web/memory.oom_control", "oom_kill_disable 0\noom_kill 0\n");
    oom_watch_open(root);
    put("/sys/fs/cgroup/memory/web/memory.oom_control", "oom_kill_disable 0\noom_kill 1\n");
    oom_watch_note();
    cr_expect_eq(oom_watch_take(), 1);
    cr_expect_eq(oom_watch_take(), 0);
}

Test(oom_watch, no_counter)
{
    oom_watch_open(root);
    oom_watch_note();
    cr_expect_eq(oom_watch_take(), -ENOENT);
}

Test(oom_watch, a_counter_that_goes_away)
{
    put("/proc/self/cgroup", "0::/\n");
    put("/proc/self/mountinfo", "1 1 0:1 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
    put("/sys/fs/cgroup/memory.events", "oom_kill 3\n");
    oom_watch_open(root);
    put("/sys/fs/cgroup/memory.events", "");
    cr_expect_eq(oom_watch_take(), 0);
}
