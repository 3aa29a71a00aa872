/* The environment and arguments of a worker, built before the fork. Pure. */
#ifndef PREFORKD_POLICY_WORKER_ENV_H
#define PREFORKD_POLICY_WORKER_ENV_H

#include "base/strv.h"
#include "base/why.h"

struct worker_env_listener {
    const char *name; /* LISTEN_FDNAMES */
    /* As Server::Starter writes it: "8080", "127.0.0.1:8080", "/run/x.sock". */
    const char *address;
    uint16_t port; /* 0: none */
    bool is_unix, udp;
};

struct worker_env_input {
    char *const *base;         /* the master's environment */
    const char *env_file_text; /* NULL: none */
    const char *env_file_name; /* for the reason of a failure */
    const struct strv *env;    /* NAME=VALUE settings */
    const struct strv *command;
    const char *home, *user, *shell; /* NULL unless `user` is set */
    const struct worker_env_listener *listeners;
    size_t nlisteners;
    const char *pool;
    int slot, workers;
    unsigned generation;
    unsigned starts;           /* SERVER_STARTER_GENERATION: counts every start in the slot */
    const char *notify_socket; /* NULL: none */
    int64_t watchdog_usec;     /* 0: none */
    const char *unique;        /* makes the worker's service.instance.id unlike any other */
    bool captured;             /* its stdout and stderr are not those of the master */
};

struct worker_env {
    struct strv argv, envp;
    /* Places of 10 digits inside envp, for the child to write its own process id into
     * (LISTEN_PID, WATCHDOG_PID); NULL when there is none. */
    char *pid_digits[2];
};

#define WORKER_ENV_FIRST_FD 3

/* Precedence: the master's environment without what is meant for the master alone, env-file, `env`,
 * then what preforkd itself sets (PORT only when nothing above sets it).
 * 0, -ENOMEM, or -EINVAL with the reason (a bad line of the env-file). The caller frees `out` in
 * either case. */
int worker_env_build(const struct worker_env_input *in, struct worker_env *out, struct why *why);
void worker_env_free(struct worker_env *e);

/* Writes `pid` in decimal into each place of pid_digits, left-aligned and ended by a NUL.
 * Async-signal-safe. */
void worker_env_set_pid(struct worker_env *e, pid_t pid);

#endif
