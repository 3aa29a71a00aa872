#include "program/master.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/sys.h"
#include "cluster/cluster_handover.h"
#include "interface/control.h"
#include "interface/fdstore.h"
#include "interface/health.h"
#include "interface/manager.h"
#include "interface/scale.h"
#include "interface/upgrade.h"
#include "mechanism/activation.h"
#include "mechanism/footprint.h"
#include "mechanism/oom_watch.h"
#include "mechanism/signals.h"

#define KUBERNETES_DRAIN_MS 5000

struct master {
    struct ev_loop *loop;
    char *const *argv;
    const json_t *saved; /* what the program before this one left; NULL: there was none */
    struct settings *settings;
    struct signals *signals;
    struct cluster cluster;
    struct reload reload;
    struct restart restart;
    struct upgrade upgrade;
    struct status status;
    struct manager manager;
    struct fdstore fdstore;
    struct health *health;
    struct control *control;
    ev_timer drain;  /* drain-delay */
    ev_timer settle; /* fires once after a change */
    ev_check turn_begins;
    ev_prepare turn_ends;
    int64_t turn_began_us;
    int exit_status;
    bool had_terminal, ignores_hangup;
    bool wrote_pidfile;
};

/* Changes ----------------------------------------------------------------------------------------
 */

static void stop_gracefully(struct master *m, const char *cause);

static void settle_later(void *data)
{
    struct master *m = data;

    if (ev_is_active(&m->settle))
        return;
    ev_timer_set(&m->settle, 0., 0.);
    ev_timer_start(m->loop, &m->settle);
}

static const struct pool *find_hopeless_pool(const struct cluster *c)
{
    for (size_t i = 0; i < c->npools; i++)
        if (c->pools[i]->gen->pool->on_breaker == ON_BREAKER_EXIT && pool_is_broken(c->pools[i]))
            return c->pools[i];
    return NULL;
}

/* A pool that cannot work may end the master, and so does the end of all work. */
static void stop_if_over(struct master *m)
{
    const struct pool *hopeless = find_hopeless_pool(&m->cluster);
    bool ok;

    if (m->status.phase != PHASE_SERVING || reload_is_running(&m->reload))
        return;
    if (hopeless) {
        log_error(&(struct log_who){.pool = pool_name(hopeless), .slot = -1},
                  "every slot is broken, and on-breaker is exit: giving up");
        stop_gracefully(m, "on-breaker");
        m->exit_status = 1;
    } else if (cluster_is_finished(&m->cluster, &ok)) {
        stop_gracefully(m, "all workers have finished");
        m->exit_status = ok ? m->exit_status : 1;
    }
}

/* Workers that all have finished before were complete as well, but there is nobody to be ready. */
static void settle(struct master *m)
{
    bool was_started = m->cluster.started, ok;

    cluster_settle(&m->cluster);
    if (m->cluster.started && !was_started && !cluster_is_finished(&m->cluster, &ok))
        log_info(LOG_NOBODY, "all workers are ready");
}

static void on_settle(struct ev_loop *loop, ev_timer *timer, int events UNUSED)
{
    struct master *m = timer->data;

    settle(m);
    stop_if_over(m);
    manager_update(&m->manager);
    control_look(m->control);
    if (m->status.phase == PHASE_SERVING)
        fdstore_update(&m->fdstore); /* a stop may be a restart, which finds the sockets again */
    if (m->status.phase == PHASE_STOPPING && cluster_is_down(&m->cluster))
        ev_break(loop, EVBREAK_ALL);
}

/* The stop ---------------------------------------------------------------------------------------
 */

static void stop_workers(struct master *m)
{
    ev_timer_stop(m->loop, &m->drain);
    m->status.phase = PHASE_STOPPING;
    cluster_stop(&m->cluster);
    settle_later(m);
}

static void on_drained(struct ev_loop *loop UNUSED, ev_timer *timer, int events UNUSED)
{
    stop_workers(timer->data);
}

static int64_t drain_delay_ms(const struct master *m)
{
    int64_t ms = m->settings->master.drain_delay_ms;

    if (ms != SETTING_AUTO)
        return ms;
    return getenv("KUBERNETES_SERVICE_HOST") ? KUBERNETES_DRAIN_MS : 0;
}

static void abandon_operations(struct master *m)
{
    reload_abandon(&m->reload);
    restart_abandon(&m->restart);
    control_stopping(m->control);
}

static void stop_gracefully(struct master *m, const char *cause)
{
    int64_t delay_ms = drain_delay_ms(m);

    log_info(LOG_NOBODY, "%s: stopping", cause);
    m->exit_status = (int)m->settings->master.shutdown_exit_status;
    m->status.phase = PHASE_DRAINING;
    abandon_operations(m);
    manager_update(&m->manager);
    if (delay_ms == 0) {
        stop_workers(m);
        return;
    }
    log_info(LOG_NOBODY, "draining for %lld ms", (long long)delay_ms);
    ev_timer_set(&m->drain, (double)delay_ms / 1000., 0.);
    ev_timer_start(m->loop, &m->drain);
}

static void stop_now(struct master *m, const char *cause)
{
    log_warn(LOG_NOBODY, "%s: killing all workers", cause);
    if (m->status.phase == PHASE_SERVING)
        m->exit_status = (int)m->settings->master.shutdown_exit_status;
    abandon_operations(m);
    stop_workers(m);
    cluster_kill(&m->cluster);
}

static void on_cannot_start(void *data, const struct pool *p, int status, const char *reason)
{
    struct master *m = data;

    if (m->status.phase != PHASE_SERVING)
        return;
    log_error(&(struct log_who){.pool = pool_name(p), .slot = -1},
              "the first start is impossible: %s", reason);
    m->exit_status = status;
    m->status.phase = PHASE_DRAINING;
    ev_timer_set(&m->drain, 0., 0.);
    ev_timer_start(m->loop, &m->drain);
}

/* Signals ----------------------------------------------------------------------------------------
 */

static void on_child(struct master *m, const struct signals_event *e UNUSED)
{
    cluster_reap(&m->cluster);
}

/* A closed terminal shows itself by a signal from the kernel, or from the shell that lost it. */
static bool terminal_is_gone(const struct master *m, const struct signals_event *e)
{
    CLEANUP_CLOSE int fd = -1;

    if (e->from_kernel)
        return true;
    if (m->had_terminal)
        fd = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    return m->had_terminal && fd < 0;
}

static void on_stop(struct master *m, const struct signals_event *e)
{
    const char *name = sys_signal_name(e->signo);

    if (m->status.phase == PHASE_SERVING)
        stop_gracefully(m, name);
    else
        stop_now(m, name);
}

/* A restart that is under way comes first. */
static void reload_soon(struct master *m)
{
    if (restart_is_running(&m->restart))
        reload_remember(&m->reload);
    else
        reload_request(&m->reload, m->settings);
}

static void on_upgrade(struct master *m, const struct signals_event *e UNUSED)
{
    struct why why;

    upgrade_request(&m->upgrade, &why);
}

static void on_hangup(struct master *m, const struct signals_event *e)
{
    if (m->status.phase != PHASE_SERVING) {
        log_info(LOG_NOBODY, "HUP: ignored, the master is stopping");
        return;
    }
    if (!terminal_is_gone(m, e))
        reload_soon(m);
    else if (!m->ignores_hangup)
        stop_gracefully(m, "the terminal was closed");
}

static void on_quit(struct master *m, const struct signals_event *e)
{
    stop_now(m, sys_signal_name(e->signo));
}

static void on_reopen(struct master *m UNUSED, const struct signals_event *e UNUSED)
{
    int r = log_reopen();

    if (r < 0)
        log_error(LOG_NOBODY, "log-file: cannot open it again: %s", strerror(-r));
}

static void on_scale(struct master *m, const struct signals_event *e)
{
    struct pool *p = m->cluster.pools[0];
    int n = p->wanted + (e->signo == SIGTTIN ? 1 : -1);
    struct why why;

    if (scale_check(&m->status, p, n, &why) < 0)
        log_warn(LOG_NOBODY, "%s: ignored: %s", sys_signal_name(e->signo), why.text);
    else
        scale_pool(p, n, &why);
}

static const struct {
    int signo;
    void (*handle)(struct master *m, const struct signals_event *e);
} signal_table[] = {
    {SIGCHLD, on_child}, {SIGHUP, on_hangup}, {SIGTERM, on_stop},
    {SIGINT, on_stop},   {SIGQUIT, on_quit},  {SIGUSR1, on_reopen},
    {SIGTTIN, on_scale}, {SIGTTOU, on_scale}, {SIGUSR2, on_upgrade},
};

static void on_signal(void *data, const struct signals_event *e)
{
    struct master *m = data;

    for (size_t i = 0; i < ARRAY_SIZE(signal_table); i++)
        if (signal_table[i].signo == e->signo)
            signal_table[i].handle(m, e);
    cluster_forward_signal(&m->cluster, e->signo);
}

/* Reload -----------------------------------------------------------------------------------------
 */

static int configure_log(const struct settings *s)
{
    return log_configure(&(struct log_config){
        .level = (enum log_level)s->master.log_level,
        .format = (enum log_format)s->master.log_format,
        .file = s->master.log_file,
    });
}

static void on_reload_begun(void *data)
{
    struct master *m = data;

    manager_reload_begun(&m->manager);
}

static void on_reload_ended(void *data, struct settings *settings)
{
    struct master *m = data;

    if (settings) {
        int r = configure_log(settings);

        if (r < 0)
            log_error(LOG_NOBODY, "log-file '%s': %s: the log goes on as before",
                      settings->master.log_file, strerror(-r));
        settings_ref(settings);
        settings_unref(m->settings);
        m->settings = settings;
    }
    manager_reload_ended(&m->manager);
    control_reload_ended(m->control);
    settle_later(m);
    if (reload_take_request(&m->reload))
        reload_request(&m->reload, m->settings);
}

static void on_reload_step(void *data, const struct pool *p, int slot, enum rollout_step step,
                           const char *reason)
{
    struct master *m = data;

    control_reload_step(m->control, p, slot, step, reason);
}

static void on_restart_step(void *data, const struct pool *p, int slot, enum rollout_step step,
                            const char *reason)
{
    struct master *m = data;

    control_restart_step(m->control, p, slot, step, reason);
}

static void on_restart_ended(void *data, bool ok)
{
    struct master *m = data;

    control_restart_ended(m->control, ok);
    if (m->status.phase == PHASE_SERVING && reload_take_request(&m->reload))
        reload_request(&m->reload, m->settings);
}

static void on_outcome(void *data, struct pool *p, int slot, bool ok)
{
    struct master *m = data;

    reload_outcome(&m->reload, p, slot, ok);
    restart_outcome(&m->restart, p, slot, ok);
}

static void on_worker_ready(void *data, struct pool *p, int slot)
{
    struct master *m = data;

    reload_worker_ready(&m->reload, p, slot);
    restart_worker_ready(&m->restart, p, slot);
}

/* Upgrade ----------------------------------------------------------------------------------------
 */

static int refuse_upgrade(void *data, struct why *why)
{
    const struct master *m = data;

    if (status_check_idle(&m->status, why) < 0)
        return -EBUSY;
    for (size_t i = 0; i < m->cluster.npools; i++)
        if (m->cluster.pools[i]->stopping)
            return why_fail(why, -EBUSY, "pool %s is stopping", pool_name(m->cluster.pools[i]));
    return 0;
}

/* The settings are handed over as the file that they were read from, so that the new program does
 * not take over changes that nobody asked it to read. */
static void save(void *data, struct handover *h)
{
    struct master *m = data;
    json_t *cluster = json_object(), *upgrade = json_object(), *reload = json_object();

    cluster_save(&m->cluster, h, cluster);
    upgrade_save(&m->upgrade, upgrade);
    reload_save(&m->reload, reload);
    handover_put_fd(h, h->state, "health_fd", health_fd(m->health));
    control_save(m->control, h, h->state);
    json_object_set_new(h->state, "began_ms", json_integer(m->status.began_ms));
    json_object_set_new(h->state, "began_wall_ms", json_integer(m->status.began_wall_ms));
    if (m->settings->text)
        handover_put_text(h->state, "config", m->settings->text);
    json_object_update_new(h->state, json_pack("{s:b, s:b, s:I, s:o, s:o, s:o}", "had_terminal",
                                               m->had_terminal, "ignores_hangup", m->ignores_hangup,
                                               "nofile", (json_int_t)sys_first_nofile(), "cluster",
                                               cluster, "upgrade", upgrade, "reload", reload));
}

static void on_upgrade_ended(void *data)
{
    struct master *m = data;

    control_upgrade_failed(m->control, m->upgrade.reason);
    settle_later(m);
}

static const struct upgrade_ops upgrade_ops = {
    .refuse = refuse_upgrade, .save = save, .ended = on_upgrade_ended};

static void on_stranger_gone(void *data, pid_t pid, int code, int status)
{
    struct master *m = data;

    upgrade_child_gone(&m->upgrade, pid, code, status);
}

static const struct reload_ops reload_ops = {
    .begun = on_reload_begun, .ended = on_reload_ended, .step = on_reload_step};

static const struct restart_ops restart_ops = {.step = on_restart_step, .ended = on_restart_ended};

static void on_scale_wanted(void *data, struct pool *p, int n)
{
    struct master *m = data;
    struct why why;

    if (scale_check(&m->status, p, n, &why) < 0)
        log_debug(&(struct log_who){.pool = pool_name(p), .slot = -1}, "not now: %s", why.text);
    else
        scale_pool(p, n, &why);
}

static const struct cluster_ops cluster_ops = {
    .changed = settle_later,
    .outcome = on_outcome,
    .scale = on_scale_wanted,
    .ready = on_worker_ready,
    .stranger_gone = on_stranger_gone,
    .cannot_start = on_cannot_start,
};

/* What the control socket asks for ---------------------------------------------------------------
 */

static void on_control_reload(void *data)
{
    reload_soon(data);
}

static int on_control_restart(void *data, struct pool *p, int slot)
{
    struct master *m = data;

    return restart_begin(&m->restart, p, slot);
}

static void on_control_stop(void *data)
{
    stop_gracefully(data, "control");
}

static int on_control_upgrade(void *data, struct why *why)
{
    struct master *m = data;

    return upgrade_request(&m->upgrade, why);
}

static const struct control_ops control_ops = {.reload = on_control_reload,
                                               .restart = on_control_restart,
                                               .stop = on_control_stop,
                                               .upgrade = on_control_upgrade};

/* The loop's turns -------------------------------------------------------------------------------
 */

static void on_turn_begins(struct ev_loop *loop UNUSED, ev_check *w, int events UNUSED)
{
    struct master *m = w->data;

    m->turn_began_us = clock_us();
}

static void on_turn_ends(struct ev_loop *loop UNUSED, ev_prepare *w, int events UNUSED)
{
    struct master *m = w->data;
    int64_t now_us = clock_us();

    if (m->turn_began_us > 0)
        loop_lag_add(&m->status.lag, now_us, now_us - m->turn_began_us);
}

static void watch_turns(struct master *m)
{
    ev_check_init(&m->turn_begins, on_turn_begins);
    ev_prepare_init(&m->turn_ends, on_turn_ends);
    m->turn_begins.data = m->turn_ends.data = m;
    ev_set_priority(&m->turn_begins, EV_MAXPRI);
    ev_set_priority(&m->turn_ends, EV_MINPRI);
    ev_check_start(m->loop, &m->turn_begins);
    ev_prepare_start(m->loop, &m->turn_ends);
}

/* Start and end ----------------------------------------------------------------------------------
 */

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
                 : cluster_open(&m->cluster, m->loop, &cluster_ops, m, m->settings, &inherited,
                                &stored, why);
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
    return cluster_resume(&m->cluster, m->loop, &cluster_ops, m, m->settings,
                          json_object_get(m->saved, "cluster"), why);
}

static void report(const struct master *m)
{
    const struct cluster *c = &m->cluster;

    for (size_t i = 0; i < c->npools; i++) {
        const struct generation *g = c->pools[i]->gen;

        for (size_t k = 0; k < g->nlisteners; k++)
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
    return control_open(m->loop, m->settings->master.control, m->saved, &m->status, &control_ops, m,
                        &m->control, why);
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
    r = signals_open(m->loop, on_signal, m, &m->signals);
    if (r < 0)
        return why_fail_errno(why, r, "signalfd");
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    oom_watch_open("");
    sys_raise_nofile(m->saved ? (rlim_t)handover_number(m->saved, "nofile") : 0);
    reload_init(&m->reload, &m->cluster, cmdline, &reload_ops, m);
    restart_init(&m->restart, m->loop, &restart_ops, m);
    m->status = (struct status){.cluster = &m->cluster,
                                .reload = &m->reload,
                                .restart = &m->restart,
                                .began_ms = clock_ms(),
                                .began_wall_ms = clock_wall_ms()};
    if (m->saved && handover_number(m->saved, "began_ms") > 0) {
        m->status.began_ms = handover_number(m->saved, "began_ms");
        m->status.began_wall_ms = handover_number(m->saved, "began_wall_ms");
    }
    watch_turns(m);
    upgrade_init(&m->upgrade, m->loop, m->argv, &upgrade_ops, m);
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
    settle_later(m);
    footprint_trim();
    ev_run(m->loop, 0);
    log_info(LOG_NOBODY, "stopped");
}

/* Workers that serve are worth more than a log file, as in open_interfaces(). */
static int open_log(const struct master *m, struct why *why)
{
    int r = configure_log(m->settings);

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

    ev_init(&m.drain, on_drained);
    ev_init(&m.settle, on_settle);
    m.drain.data = m.settle.data = &m;
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
