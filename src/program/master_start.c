/* How the master starts, how it takes over from another program in its process, and how it ends. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/sys.h"
#include "cluster/cluster_handover.h"
#include "mechanism/activation.h"
#include "mechanism/footprint.h"
#include "mechanism/oom_watch.h"
#include "program/master_parts.h"

/* Sockets of the service manager become listeners. */
static int take_inherited(const struct settings *s, struct activation *activation,
                          struct inherited_listeners *out, struct why *why)
{
    const struct listener_options options = {.backlog = (int)s->pools[0].backlog, .shared = true};
    int r = 0;

    out->items = calloc(activation->n + 1, sizeof(*out->items));
    if (!out->items)
        return -ENOMEM;
    for (size_t i = 0; i < activation->n && r == 0; i++) {
        if (activation->fds[i].fd < 0)
            continue;
        r = listener_take(util_take_fd(&activation->fds[i].fd), activation->fds[i].name, &options,
                          &out->items[out->n], why);
        if (r < 0)
            why_prefix(why, r, "inherited socket '%s'", activation->fds[i].name);
        else
            out->n++;
    }
    return r;
}

static int open_cluster(struct master *m, struct why *why)
{
    struct inherited_listeners inherited = {0};
    struct stored_sockets stored = {0};
    struct activation activation = {0};
    int r = activation_collect(environ, &activation);

    if (r < 0)
        return why_fail_errno(why, r, "LISTEN_FDS");
    r = fdstore_open(&m->fdstore, m->loop, &m->cluster, &activation, &stored);
    if (r == 0)
        r = take_inherited(m->settings, &activation, &inherited, why);
    activation_free(&activation);
    return r < 0 ? r
                 : cluster_open(&m->cluster, m->loop, &master_cluster_ops, m, m->settings,
                                &inherited, &stored, why);
}

/* From where the program before this one left off. */
static int resume(struct master *m, struct why *why)
{
    struct activation none = {0};
    struct stored_sockets nothing = {0};
    int r = fdstore_open(&m->fdstore, m->loop, &m->cluster, &none, &nothing);

    if (r < 0)
        return why_fail_errno(why, r, "descriptor store");
    m->had_terminal = handover_flag(m->saved, "had_terminal");
    m->ignores_hangup = handover_flag(m->saved, "ignores_hangup");
    upgrade_resume(&m->upgrade, json_object_get(m->saved, "upgrade"));
    reload_resume(&m->reload, json_object_get(m->saved, "reload"));
    return cluster_resume(&m->cluster, m->loop, &master_cluster_ops, m, m->settings,
                          json_object_get(m->saved, "cluster"), why);
}

static void report(const struct master *m)
{
    const struct cluster *c = &m->cluster;

    for (size_t i = 0; i < c->npools; i++) {
        const struct generation *g = c->pools[i]->gen;

        for (size_t k = 0; k < g->nlisteners; k++)
            if (listener_has_sockets(g->listeners[k]))
                log_info(&(struct log_who){.pool = pool_name(c->pools[i]), .slot = -1},
                         "listening on %s", listener_address(g->listeners[k]));
    }
    if (control_path(m->control))
        log_info(LOG_NOBODY, "control on %s", control_path(m->control));
    if (m->health)
        log_info(LOG_NOBODY, "health on %s", health_address(m->health));
}

static int write_pidfile(struct master *m, struct why *why)
{
    const char *path = m->settings->master.pidfile;
    char text[24];
    int r;

    if (!path)
        return 0;
    snprintf(text, sizeof(text), "%d\n", (int)getpid());
    r = sys_write_file_atomic(path, text, 0644);
    m->wrote_pidfile = r == 0 || m->saved; /* the program before this one wrote it */
    return r < 0 ? why_fail_errno(why, r, "pidfile '%s'", path) : 0;
}

static int open_health(struct master *m, struct why *why)
{
    int fd = m->saved ? handover_take_fd(m->saved, "health_fd") : -1;

    return health_open(m->loop, m->settings->master.health, fd, &m->status, &m->health, why);
}

static int open_control(struct master *m, struct why *why)
{
    return control_open(m->loop, m->settings->master.control, m->saved, &m->status,
                        &master_control_ops, m, &m->control, why);
}

/* At the start a failure is final. After an upgrade there are workers that serve, which are worth
 * more than what is missing. */
static int open_interfaces(struct master *m, struct why *why)
{
    static int (*const openers[])(struct master * m, struct why * why) = {open_health, open_control,
                                                                          write_pidfile};

    for (size_t i = 0; i < ARRAY_SIZE(openers); i++) {
        int r = openers[i](m, why);

        if (r < 0 && !m->saved)
            return r;
        if (r < 0)
            log_error(LOG_NOBODY, "%s: going on without it", why->text);
    }
    return 0;
}

static void look_around(struct master *m)
{
    CLEANUP_CLOSE int tty = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    struct sigaction hup;

    m->had_terminal = tty >= 0;
    m->ignores_hangup =
        sigaction(SIGHUP, NULL, &hup) == 0 && hup.sa_handler == SIG_IGN; /* nohup(1) */
}

/* Everything that can fail for good, before the first worker is started. */
static int open_all(struct master *m, const struct cmdline *cmdline, struct why *why)
{
    int r;

    look_around(m);
    r = signals_open(m->loop, master_on_signal, m, &m->signals);
    if (r < 0)
        return why_fail_errno(why, r, "signalfd");
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    oom_watch_open("");
    sys_raise_nofile(m->saved ? (rlim_t)handover_number(m->saved, "nofile") : 0);
    reload_init(&m->reload, &m->cluster, cmdline, &master_reload_ops, m);
    restart_init(&m->restart, m->loop, &master_restart_ops, m);
    m->status = (struct status){.cluster = &m->cluster,
                                .reload = &m->reload,
                                .restart = &m->restart,
                                .began_ms = clock_ms(),
                                .began_wall_ms = clock_wall_ms()};
    if (m->saved && handover_number(m->saved, "began_ms") > 0) {
        m->status.began_ms = handover_number(m->saved, "began_ms");
        m->status.began_wall_ms = handover_number(m->saved, "began_wall_ms");
    }
    master_watch_turns(m);
    upgrade_init(&m->upgrade, m->loop, m->argv, &master_upgrade_ops, m);
    r = m->saved ? resume(m, why) : open_cluster(m, why);
    return r < 0 ? r : open_interfaces(m, why);
}

static void close_all(struct master *m)
{
    if (m->wrote_pidfile)
        unlink(m->settings->master.pidfile);
    fdstore_close(&m->fdstore);
    manager_close(&m->manager);
    control_close(m->control);
    health_close(m->health);
    restart_free(&m->restart);
    reload_free(&m->reload);
    upgrade_free(&m->upgrade);
    cluster_free(&m->cluster);
    oom_watch_close();
    sys_kill_children();
    signals_close(m->signals);
    settings_unref(m->settings);
    ev_loop_destroy(m->loop);
    log_close();
}

static void supervise(struct master *m)
{
    log_info(LOG_NOBODY, "preforkd %s %s", PACKAGE_VERSION, m->saved ? "took over" : "started");
    report(m);
    manager_open(&m->manager, m->loop, &m->status);
    fdstore_update(&m->fdstore);
    cluster_reap(&m->cluster); /* children of an earlier program in this process */
    if (!m->saved)
        cluster_start(&m->cluster);
    master_settle_later(m);
    footprint_trim();
    ev_run(m->loop, 0);
    log_info(LOG_NOBODY, "stopped");
}

/* Workers that serve are worth more than a log file, as in open_interfaces(). */
static int open_log(const struct master *m, struct why *why)
{
    int r = master_configure_log(m->settings);

    if (r == 0)
        return 0;
    why_fail_errno(why, r, "log-file '%s'", m->settings->master.log_file);
    if (!m->saved)
        return r;
    log_error(LOG_NOBODY, "%s: the log goes to stderr", why->text);
    return 0;
}

int master_run(struct settings *settings, const struct cmdline *cmdline, char *const *argv,
               const json_t *saved)
{
    struct master m = {.settings = settings,
                       .argv = argv,
                       .saved = saved,
                       .loop = ev_loop_new(EVFLAG_AUTO | EVFLAG_NOENV)};
    struct why why = {0};
    int status = 1;
    int r;

    master_init_timers(&m);
    r = open_log(&m, &why);
    if (r == 0)
        r = open_all(&m, cmdline, &why);
    if (r < 0) {
        log_error(LOG_NOBODY, "%s", why.text);
    } else {
        supervise(&m);
        status = m.exit_status;
    }
    close_all(&m);
    return status;
}
