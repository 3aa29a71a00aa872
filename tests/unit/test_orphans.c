/* Orphans: a grandchild whose parent ended comes to us and is found by its environment. */
#include "mechanism/orphans.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

/* Runs sh -c SCRIPT with ENTRY as its only variable besides PATH, and waits for its end. Returns
 * its process id, which was that of its session. */
static pid_t run(const char *script, const char *entry)
{
    char *const argv[] = {"sh", "-c", (char *)script, NULL};
    char *const envp[] = {"PATH=/usr/bin:/bin", (char *)entry, NULL};
    pid_t pid = fork();

    if (pid == 0) {
        setsid();
        execve("/bin/sh", argv, envp);
        _exit(127);
    }
    waitpid(pid, NULL, 0);
    return pid;
}

static void end(pid_t pid)
{
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

static void be_reaper(void)
{
    prctl(PR_SET_CHILD_SUBREAPER, 1);
}

TestSuite(orphans, .init = be_reaper, .timeout = 30);

/* Its program may not have begun yet. */
static pid_t wait_for(pid_t session, const char *entry)
{
    pid_t found = 0;

    for (int i = 0; i < 5000 && found <= 0; i++) {
        found = orphan_find(session, entry);
        usleep(1000);
    }
    return found;
}

Test(orphans, finds_one_that_went_into_the_background)
{
    /* setsid(1) forks when it leads a group already; the shell waits for nobody */
    pid_t session = run("setsid sleep 30 & exit 0", "MARK=one");
    pid_t found = wait_for(session, "MARK=one");

    cr_assert_gt(found, 0);
    cr_expect_eq(orphan_find(session, "MARK=on"), 0, "a part of the value is not the value");
    cr_expect_eq(orphan_find(session, "MARK=two"), 0);
    end(found);
    cr_expect_eq(orphan_find(session, "MARK=one"), 0);
}

Test(orphans, leaves_those_of_the_session_alone)
{
    pid_t session = run("sleep 30 & exit 0", "MARK=three");
    pid_t other = wait_for(0, "MARK=three");

    cr_assert_gt(other, 0, "it came to us");
    cr_expect_eq(orphan_find(session, "MARK=three"), 0);
    end(other);
}
