/* Starting a process: everything is prepared before the fork, the child only makes system calls,
 * and a failure on the way to exec comes back as stage and errno. Knows no slot. */
#ifndef PREFORKD_MECHANISM_SPAWN_H
#define PREFORKD_MECHANISM_SPAWN_H

#include <jansson.h>
#include <sys/types.h>

#include "base/strv.h"
#include "base/why.h"
#include "mechanism/adopt_filter.h"

#define SPAWN_INHERIT INT64_MIN

struct spawn_user {
    bool set;
    uid_t uid;
    gid_t gid;
    gid_t *groups; /* owned; supplementary groups, as initgroups(3) would set them */
    size_t ngroups;
    char *name, *home, *shell; /* owned */
};

/* Looks up user (name or number) and group (name or number, NULL: the user's own); both NULL: not
 * set. -ENOENT with the reason. */
int spawn_user_lookup(const char *user, const char *group, struct spawn_user *out, struct why *why);
void spawn_user_free(struct spawn_user *u);

/* The user as an object for another program in this process, which takes it as it was looked up:
 * a state without one, or without sense, is -EINVAL; -ENOMEM. */
json_t *spawn_user_save(const struct spawn_user *u);
int spawn_user_resume(const json_t *saved, struct spawn_user *out);

struct spawn_request {
    char *const *argv;
    char *const *envp;
    /* Called in the child, which may run in the memory of the master, to patch envp. May be NULL.
     */
    void (*set_pid)(void *data, pid_t pid);
    void *set_pid_data;
    const char *directory; /* NULL: stay */
    const int *fds;        /* placed at 3, 4, ...; every other descriptor above 2 is closed */
    size_t nfds;
    const int *outputs; /* two: placed at 1 and 2; NULL: stdout and stderr of the master */
    const struct spawn_user *user;
    const struct adopt_filter *filter; /* NULL: none */
    int64_t cpu;                       /* the only one it may use, or SPAWN_INHERIT */
    int64_t umask, nice, oom_score_adj, limit_nofile, limit_core; /* or SPAWN_INHERIT;
                                                                     INT64_MAX: unlimited */
};

/* In the order in which the child goes through them: descriptors while it still has the rights and
 * the limit of the master, limits and the filter while it still has the rights. */
enum spawn_stage {
    SPAWN_STAGE_FORK,
    SPAWN_STAGE_SESSION,
    SPAWN_STAGE_DESCRIPTORS,
    SPAWN_STAGE_NICE,
    SPAWN_STAGE_AFFINITY,
    SPAWN_STAGE_OOM_SCORE_ADJ,
    SPAWN_STAGE_LIMITS,
    SPAWN_STAGE_FILTER,
    SPAWN_STAGE_GROUP,
    SPAWN_STAGE_USER,
    SPAWN_STAGE_PDEATHSIG,
    SPAWN_STAGE_DIRECTORY,
    SPAWN_STAGE_EXEC,
    SPAWN_NSTAGES
};

struct spawn_error {
    enum spawn_stage stage;
    int err; /* positive errno */
};

/* What became known of a start. */
struct spawn_outcome {
    struct spawn_error error; /* err 0: none so far */
    int notify_fd;            /* of the filter, close-on-exec, owned by the caller; -1: none */
    int filter_err;           /* positive errno: the program runs without the filter */
};

/* "exec", "working directory", ... for messages. */
const char *spawn_stage_name(enum spawn_stage stage);

/* Starts it. The child gets: a session and process group of its own, stdin from /dev/null, default
 * signal dispositions and mask, parent-death signal TERM (set after the change of user, which
 * clears it, and checked against a parent that is already gone). The program is searched in the
 * PATH of envp; a file without a format that the kernel knows is not given to a shell. The caller
 * waits until the program is loaded, but no longer than a tenth of a second. On success
 * 0, `pid`, and in `result_fd` a non-blocking descriptor for spawn_result(), owned by the caller.
 * -errno of pipe(2) or fork(2) with nothing started. */
int spawn_start(const struct spawn_request *request, pid_t *pid, int *result_fd);

/* Asked when result_fd becomes readable, or after the child died: 1 the program runs, 0 it failed
 * and `out->error` tells where, -EAGAIN not known yet. A child killed on its way reads as 1.
 * `out` is what this call has heard, whatever it returns: how the filter went is known before the
 * rest. A filter that is installed but whose descriptor got lost on the way (the master has no
 * descriptor left) makes filter_err EMFILE; the program cannot bind then. */
int spawn_result(int result_fd, struct spawn_outcome *out);

/* Calls `gone` for every child that ended, while its process id is still its own (so that its
 * group can be killed without hitting a stranger), and then reaps it. One SIGCHLD may stand for
 * many deaths. `code` and
 * `status` are si_code and si_status of waitid(2). */
void spawn_reap(void (*gone)(void *data, pid_t pid, int code, int status), void *data);

#endif
