#include "cluster/launch.h"

#include "base/sys.h"
#include "mechanism/cpus_probe.h"
#include "policy/worker_env.h"

#define ENV_FILE_MAX (1024 * 1024)

/* The address as Server::Starter writes it: without our prefixes. */
static const char *starter_address(const struct listener *l)
{
    static const char *const prefixes[] = {"udp:", "unix:", "*:"};
    const char *address = listener_address(l);

    for (size_t i = 0; i < ARRAY_SIZE(prefixes); i++) {
        const char *rest = str_after(address, prefixes[i]);

        if (rest)
            address = rest;
    }
    return address;
}

static void describe_listeners(const struct generation *g, struct worker_env_listener *out)
{
    for (size_t i = 0; i < g->nlisteners; i++) {
        const struct listener *l = g->listeners[i];

        out[i] = (struct worker_env_listener){.name = listener_name(l),
                                              .address = starter_address(l),
                                              .port = listener_port(l),
                                              .is_unix = listener_is_unix(l),
                                              .udp = listener_is_udp(l)};
    }
}

/* Builds arguments and environment; `env` is to be freed by the caller in either case. */
static int build_env(const struct worker_start *start, const char *notify_socket,
                     struct worker_env *env, struct why *why)
{
    const struct generation *g = start->gen;
    const struct pool_settings *pool = g->pool;
    CLEANUP_FREE struct worker_env_listener *listeners =
        calloc(g->nlisteners + 1, sizeof(*listeners));
    CLEANUP_BUF struct buf env_file = BUF_INIT;
    char uuid[SYS_UUID_TEXT];

    if (!listeners)
        return why_fail_errno(why, -ENOMEM, "environment");
    describe_listeners(g, listeners);
    if (pool->env_file) {
        int r = sys_read_file(pool->env_file, ENV_FILE_MAX, &env_file);

        if (r < 0)
            return why_fail_errno(why, r, "env-file '%s'", pool->env_file);
        if (memchr(buf_str(&env_file), '\0', env_file.len))
            return why_fail(why, -EINVAL, "env-file '%s': holds a NUL byte", pool->env_file);
    }
    return worker_env_build(
        &(struct worker_env_input){
            .base = environ,
            .env_file_text = pool->env_file ? buf_str(&env_file) : NULL,
            .env_file_name = pool->env_file,
            .env = &pool->env,
            .command = &pool->command,
            .home = g->user.home,
            .user = g->user.name,
            .shell = g->user.shell,
            .listeners = listeners,
            .nlisteners = g->nlisteners,
            .pool = pool->name,
            .slot = start->slot,
            .workers = start->workers,
            .generation = g->number,
            .starts = start->starts,
            .notify_socket = notify_socket,
            .watchdog_usec = pool->watchdog_ms * 1000,
            .unique = sys_random_uuid(uuid),
            .captured = pool->output != OUTPUT_INHERIT,
        },
        env, why);
}

static void patch_pid(void *data, pid_t pid)
{
    worker_env_set_pid(data, pid);
}

static int64_t choose_cpu(const struct pool_settings *pool, int slot)
{
    int cpu = pool->cpu_affinity == AFFINITY_AUTO ? cpus_of_slot(cpus_probe_allowed(), slot) : -1;

    return cpu < 0 ? SPAWN_INHERIT : cpu;
}

static int spawn(const struct worker_start *start, struct worker_env *env, const int *outputs,
                 pid_t *pid, int *result_fd, struct why *why)
{
    const struct generation *g = start->gen;
    const struct pool_settings *pool = g->pool;
    CLEANUP_FREE int *fds = calloc(g->nlisteners + 1, sizeof(*fds));
    int r;

    if (!fds)
        return why_fail_errno(why, -ENOMEM, "descriptors");
    for (size_t i = 0; i < g->nlisteners; i++)
        fds[i] = listener_fd(g->listeners[i], start->slot);
    r = spawn_start(
        &(struct spawn_request){
            .argv = env->argv.items,
            .envp = env->envp.items,
            .set_pid = patch_pid,
            .set_pid_data = env,
            .directory = pool->directory,
            .fds = fds,
            .nfds = g->nlisteners,
            .outputs = outputs,
            .user = &g->user,
            .filter = g->filter,
            .umask = pool->umask,
            .cpu = choose_cpu(pool, start->slot),
            .nice = pool->nice,
            .oom_score_adj = pool->oom_score_adj,
            .limit_nofile = pool->limit_nofile,
            .limit_core = pool->limit_core,
        },
        pid, result_fd);
    return r < 0 ? why_fail_errno(why, r, "fork") : 0;
}

int launch(const struct worker_start *start, const char *notify_socket, const int *outputs,
           pid_t *pid, int *result_fd, struct why *why)
{
    struct worker_env env = {0};
    int r = build_env(start, notify_socket, &env, why);

    if (r == 0)
        r = spawn(start, &env, outputs, pid, result_fd, why);
    worker_env_free(&env);
    return r;
}
