/* What happens while the master supervises: changes, signals, orders, and what they lead to. */
#include "program/master.h"

#include <fcntl.h>
#include <signal.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/sys.h"
#include "cluster/cluster_handover.h"
#include "interface/scale.h"
#include "program/master_parts.h"

#define KUBERNETES_DRAIN_MS 5000

/* Changes ----------------------------------------------------------------------------------------
 */

static void stop_gracefully(struct master *m, const char *cause);

void master_settle_later(void *data)
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
    master_settle_later(m);
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

void master_on_signal(void *data, const struct signals_event *e)
{
    struct master *m = data;

    for (size_t i = 0; i < ARRAY_SIZE(signal_table); i++)
        if (signal_table[i].signo == e->signo)
            signal_table[i].handle(m, e);
    cluster_forward_signal(&m->cluster, e->signo);
}

/* Reload -----------------------------------------------------------------------------------------
 */

int master_configure_log(const struct settings *s)
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
        int r = master_configure_log(settings);

        if (r < 0)
            log_error(LOG_NOBODY, "log-file '%s': %s: the log goes on as before",
                      settings->master.log_file, strerror(-r));
        settings_ref(settings);
        settings_unref(m->settings);
        m->settings = settings;
    }
    manager_reload_ended(&m->manager);
    control_reload_ended(m->control);
    master_settle_later(m);
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
    master_settle_later(m);
}

const struct upgrade_ops master_upgrade_ops = {
    .refuse = refuse_upgrade, .save = save, .ended = on_upgrade_ended};

static void on_stranger_gone(void *data, pid_t pid, int code, int status)
{
    struct master *m = data;

    upgrade_child_gone(&m->upgrade, pid, code, status);
}

const struct reload_ops master_reload_ops = {
    .begun = on_reload_begun, .ended = on_reload_ended, .step = on_reload_step};

const struct restart_ops master_restart_ops = {.step = on_restart_step, .ended = on_restart_ended};

static void on_scale_wanted(void *data, struct pool *p, int n)
{
    struct master *m = data;
    struct why why;

    if (scale_check(&m->status, p, n, &why) < 0)
        log_debug(&(struct log_who){.pool = pool_name(p), .slot = -1}, "not now: %s", why.text);
    else
        scale_pool(p, n, &why);
}

const struct cluster_ops master_cluster_ops = {
    .changed = master_settle_later,
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

const struct control_ops master_control_ops = {.reload = on_control_reload,
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

void master_watch_turns(struct master *m)
{
    ev_check_init(&m->turn_begins, on_turn_begins);
    ev_prepare_init(&m->turn_ends, on_turn_ends);
    m->turn_begins.data = m->turn_ends.data = m;
    ev_set_priority(&m->turn_begins, EV_MAXPRI);
    ev_set_priority(&m->turn_ends, EV_MINPRI);
    ev_check_start(m->loop, &m->turn_begins);
    ev_prepare_start(m->loop, &m->turn_ends);
}

/* The timers -------------------------------------------------------------------------------------
 */

void master_init_timers(struct master *m)
{
    ev_init(&m->drain, on_drained);
    ev_init(&m->settle, on_settle);
    m->drain.data = m->settle.data = m;
}
