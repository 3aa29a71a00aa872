/* Affinity and cgroup files: of this machine, and of others as trees of files. */
#include <criterion/criterion.h>
#include <sched.h>
#include <stdio.h>
#include <sys/stat.h>

#include "../lib/tree.h"
#include "base/buf.h"
#include "mechanism/cpus_probe.h"
#include "policy/cpus.h"

/* --- A tree that stands for another machine --- */

static char root[] = "/tmp/cpus_probe.XXXXXX";

static void plant(void)
{
    cr_assert(mkdtemp(root));
}

static void fell(void)
{
    tree_remove(root);
}

TestSuite(cpus_probe_tree, .init = plant, .fini = fell);

static void make_folders(char *path)
{
    for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        mkdir(path, 0700);
        *slash = '/';
    }
}

static void put(const char *path, const char *text)
{
    CLEANUP_BUF struct buf full = BUF_INIT;
    FILE *file;

    buf_printf(&full, "%s%s", root, path);
    make_folders(full.data);
    file = fopen(full.data, "w");
    cr_assert(file, "%s", full.data);
    fputs(text, file);
    cr_assert_eq(fclose(file), 0);
}

static void put_v1(const char *folder, const char *quota, const char *period)
{
    CLEANUP_BUF struct buf quota_path = BUF_INIT;
    CLEANUP_BUF struct buf period_path = BUF_INIT;

    buf_printf(&quota_path, "%s/cpu.cfs_quota_us", folder);
    buf_printf(&period_path, "%s/cpu.cfs_period_us", folder);
    put(quota_path.data, quota);
    put(period_path.data, period);
}

#define EXPECT_QUOTA(milli) cr_expect_eq(cpus_probe_quota(root), (milli))

/* --- This machine --- */

Test(cpus_probe, is_at_least_one_and_at_most_the_affinity)
{
    cpu_set_t set;
    int n = cpus_probe();

    cr_assert_eq(sched_getaffinity(0, sizeof(set), &set), 0);
    cr_expect_geq(n, 1);
    cr_expect_leq(n, CPU_COUNT(&set));
    cr_expect_eq(n, cpus_usable(CPU_COUNT(&set), cpus_probe_quota("")));
}

Test(cpus_probe, follows_the_affinity)
{
    cpu_set_t set, one;
    int cpu = 0;

    cr_assert_eq(sched_getaffinity(0, sizeof(set), &set), 0);
    while (!CPU_ISSET(cpu, &set))
        cpu++;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    cr_assert_eq(sched_setaffinity(0, sizeof(one), &one), 0);
    cr_expect_eq(cpus_probe(), 1);
}

/* --- Other machines --- */

Test(cpus_probe_tree, nothing_there_is_no_limit)
{
    EXPECT_QUOTA(0);
    put("/proc/self/cgroup", "0::/\n");
    EXPECT_QUOTA(0);
    put("/proc/self/mountinfo", "");
    EXPECT_QUOTA(0);
}

static void unified_machine(const char *cgroup)
{
    put("/proc/self/cgroup", cgroup);
    put("/proc/self/mountinfo",
        "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"
        "30 22 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n");
}

Test(cpus_probe_tree, version_2_own_quota)
{
    unified_machine("0::/system.slice/web.service\n");
    put("/sys/fs/cgroup/system.slice/web.service/cpu.max", "150000 100000\n");
    EXPECT_QUOTA(1500);
    put("/sys/fs/cgroup/system.slice/web.service/cpu.max", "max 100000\n");
    EXPECT_QUOTA(0);
}

Test(cpus_probe_tree, version_2_quota_of_an_ancestor)
{
    unified_machine("0::/a.slice/b.slice/web.service\n");
    put("/sys/fs/cgroup/a.slice/b.slice/web.service/cpu.max", "400000 100000\n");
    put("/sys/fs/cgroup/a.slice/cpu.max", "250000 100000\n");
    EXPECT_QUOTA(2500);
    put("/sys/fs/cgroup/a.slice/b.slice/cpu.max", "max 100000\n");
    EXPECT_QUOTA(2500);
    put("/sys/fs/cgroup/a.slice/b.slice/web.service/cpu.max", "100000 100000\n");
    EXPECT_QUOTA(1000);
    put("/sys/fs/cgroup/a.slice/cpu.max", "rubbish");
    EXPECT_QUOTA(1000);
}

/* Inside a cgroup namespace the container's own quota stands at the mount point. */
Test(cpus_probe_tree, version_2_namespace)
{
    unified_machine("0::/\n");
    put("/sys/fs/cgroup/cpu.max", "200000 100000\n");
    EXPECT_QUOTA(2000);
    put("/sys/fs/cgroup.max/cpu.max", "1000 100000\n");
    put("/sys/fs/cpu.max", "1000 100000\n");
    EXPECT_QUOTA(2000);
}

Test(cpus_probe_tree, outside_of_the_namespace_nothing_is_seen)
{
    unified_machine("0::/../other\n");
    put("/sys/fs/cgroup/cpu.max", "100000 100000\n");
    put("/sys/fs/other/cpu.max", "100000 100000\n");
    EXPECT_QUOTA(0);
    put("/proc/self/cgroup", "0::/..\n");
    EXPECT_QUOTA(0);
    put("/proc/self/cgroup", "0::/..name\n");
    EXPECT_QUOTA(1000);
}

static const char legacy_mounts[] =
    "31 23 0:28 / /sys/fs/cgroup ro,nosuid - tmpfs tmpfs rw,mode=755\n"
    "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:15 - cgroup cgroup rw,cpu,cpuacct\n"
    "33 31 0:30 / /sys/fs/cgroup/cpuset rw,relatime - cgroup cgroup rw,cpuset\n";

Test(cpus_probe_tree, version_1)
{
    put("/proc/self/cgroup", "4:cpu,cpuacct:/user/x\n3:cpuset:/other\n1:name=systemd:/\n");
    put("/proc/self/mountinfo", legacy_mounts);
    put_v1("/sys/fs/cgroup/cpu,cpuacct", "-1\n", "100000\n");
    put_v1("/sys/fs/cgroup/cpu,cpuacct/user", "-1\n", "100000\n");
    put_v1("/sys/fs/cgroup/cpu,cpuacct/user/x", "-1\n", "100000\n");
    put_v1("/sys/fs/cgroup/cpuset/other", "1000\n", "100000\n");
    EXPECT_QUOTA(0);
    put_v1("/sys/fs/cgroup/cpu,cpuacct/user", "350000\n", "100000\n");
    EXPECT_QUOTA(3500);
    put_v1("/sys/fs/cgroup/cpu,cpuacct/user/x", "50000\n", "100000\n");
    EXPECT_QUOTA(500);
}

/* Without a cgroup namespace a container sees only its own part, at the mount point. */
Test(cpus_probe_tree, version_1_container)
{
    put("/proc/self/cgroup", "4:cpu:/docker/cafe\n");
    put("/proc/self/mountinfo",
        "40 31 0:29 /docker/beef /elsewhere ro - cgroup cgroup rw,cpu\n"
        "41 31 0:29 /docker/caf /prefix ro - cgroup cgroup rw,cpu\n"
        "42 31 0:29 /docker/cafe /sys/fs/cgroup/cpu ro - cgroup cgroup rw,cpu\n");
    put_v1("/elsewhere", "1000\n", "100000\n");
    put_v1("/prefix", "1000\n", "100000\n");
    put_v1("/sys/fs/cgroup/cpu", "120000\n", "100000\n");
    EXPECT_QUOTA(1200);
    put("/proc/self/cgroup", "4:cpu:/docker/cafe/inner\n");
    EXPECT_QUOTA(1200);
    put_v1("/sys/fs/cgroup/cpu/inner", "110000\n", "100000\n");
    EXPECT_QUOTA(1100);
}

/* The controller is in version 1, version 2 is mounted beside it: as on this kind of machine
 *   1:cpu:/   0::/
 * and, with the controller in version 2, the other way round. The stricter one counts. */
Test(cpus_probe_tree, hybrid)
{
    put("/proc/self/cgroup", "9:name=systemd:/\n2:cpuacct:/\n1:cpu:/job\n0::/unit\n");
    put("/proc/self/mountinfo",
        "32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu\n"
        "33 31 0:30 / /sys/fs/cgroup/cpuacct rw,relatime - cgroup cgroup rw,cpuacct\n"
        "40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd\n"
        "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n");
    EXPECT_QUOTA(0);
    put_v1("/sys/fs/cgroup/cpuacct/job", "1000\n", "100000\n");
    EXPECT_QUOTA(0);
    put_v1("/sys/fs/cgroup/cpu/job", "300000\n", "100000\n");
    EXPECT_QUOTA(3000);
    put("/sys/fs/cgroup/unified/unit/cpu.max", "200000 100000\n");
    EXPECT_QUOTA(2000);
    put_v1("/sys/fs/cgroup/cpu/job", "100000\n", "100000\n");
    EXPECT_QUOTA(1000);
}

Test(cpus_probe_tree, other_file_systems_are_no_hierarchy)
{
    put("/proc/self/cgroup", "1:cpu:/x\n0::/x\n");
    put("/proc/self/mountinfo", "30 22 0:26 / /data rw - tmpfs tmpfs rw,cpu\n");
    put("/data/x/cpu.max", "100000 100000\n");
    put_v1("/data/x", "100000\n", "100000\n");
    EXPECT_QUOTA(0);
}

Test(cpus_probe_tree, odd_mount_points)
{
    put("/proc/self/cgroup", "0::/x\n");
    put("/proc/self/mountinfo", "30 22 0:26 / /mnt/a\\040b\\134c rw - cgroup2 none rw\n");
    put("/mnt/a b\\c/x/cpu.max", "700000 100000\n");
    EXPECT_QUOTA(7000);
}

Test(cpus_probe_tree, malformed_mounts_are_passed_over)
{
    put("/proc/self/cgroup", "0::/x\n");
    put("/proc/self/mountinfo", " - \n"
                                "\n"
                                "1 2 3\n"
                                "1 2 3 - cgroup2\n"
                                "1 2 3 - cgroup2 cgroup2 rw\n"
                                "1 2 3 / - cgroup2 cgroup2 rw\n"
                                "1 2 3 / /bad rw cgroup2 cgroup2 rw\n"
                                "1 2 3 / /bad rw - cgroup2 cgroup2\n"
                                "1 2 3 / /esc\\04 rw - cgroup2 cgroup2 rw\n"
                                "1 2 3 / /good rw - cgroup2 cgroup2 rw");
    put("/bad/x/cpu.max", "100000 100000\n");
    put("/good/x/cpu.max", "800000 100000\n");
    EXPECT_QUOTA(8000);
}
