#include "interface/manager.h"

#include <stdio.h>

#include "base/clock.h"
#include "base/log.h"
#include "mechanism/sd_client.h"

#define RETRY_S     0.2
#define EXTEND_S    5.       /* how often more time is asked for */
#define EXTEND_USEC 30000000 /* how much each time */

/* A start that fails again and again is not given more time: then the service manager shall see it
 * fail. */
static bool is_starting_well(const struct manager *m)
{
    const struct cluster *c = m->status->cluster;

    for (size_t i = 0; i < c->npools; i++)
        if (pool_has_failures(c->pools[i]))
            return false;
    return !m->told_ready;
}

/* What takes its time; a reload and the stop are bounded by their own settings. */
static bool is_busy(const struct manager *m)
{
    return is_starting_well(m) || m->reloading || m->status->phase != PHASE_SERVING;
}

static void on_extend(struct ev_loop *loop UNUSED, ev_timer *timer, int events UNUSED)
{
    struct manager *m = timer->data;

    if (is_busy(m)) /* a start that begins to fail is not told to us */
        sd_client_send("EXTEND_TIMEOUT_USEC=%d", EXTEND_USEC);
    else
        ev_timer_stop(m->loop, &m->extend);
}

/* Asks at once and then every EXTEND_S, as long as something takes its time. */
static void update_extending(struct manager *m)
{
    if (!is_busy(m)) {
        ev_timer_stop(m->loop, &m->extend);
    } else if (!ev_is_active(&m->extend)) {
        sd_client_send("EXTEND_TIMEOUT_USEC=%d", EXTEND_USEC);
        ev_timer_again(m->loop, &m->extend);
    }
}

/* This runs in the loop that supervises: when that hangs, nothing is sent. */
static void on_watchdog(struct ev_loop *loop UNUSED, ev_timer *timer UNUSED, int events UNUSED)
{
    sd_client_send("WATCHDOG=1");
}

static void on_retry(struct ev_loop *loop, ev_timer *timer, int events UNUSED)
{
    struct manager *m = timer->data;

    ev_timer_stop(loop, timer);
    m->last[0] = '\0';
    manager_update(m);
}

/* Sends the state that is due together with the status line. Returns whether it arrived; else it is
 * tried again soon. */
static bool tell(struct manager *m, const char *state)
{
    CLEANUP_BUF struct buf line = BUF_INIT;
    int r;

    status_line(m->status, &line);
    if (!state[0] && streq(m->last, buf_str(&line)))
        return true;
    r = sd_client_send("%sSTATUS=%s", state, buf_str(&line));
    if (r == -EAGAIN) {
        ev_timer_again(m->loop, &m->retry);
        return false;
    }
    snprintf(m->last, sizeof(m->last), "%s", buf_str(&line));
    return true;
}

void manager_update(struct manager *m)
{
    bool serving = m->status->phase == PHASE_SERVING;

    if (!sd_client_enabled())
        return;
    if (!serving && !m->told_stopping)
        m->told_stopping = tell(m, "STOPPING=1\n");
    else if (serving && !m->told_ready && cluster_is_ready(m->status->cluster))
        m->told_ready = tell(m, "READY=1\n");
    else if (serving && m->told_ready && m->reloading && !reload_is_running(m->status->reload))
        m->reloading = !tell(m, "READY=1\n");
    else
        tell(m, "");
    update_extending(m);
}

void manager_reload_begun(struct manager *m)
{
    if (!sd_client_enabled())
        return;
    m->reloading = true;
    sd_client_send("RELOADING=1\nMONOTONIC_USEC=%lld", (long long)clock_us());
    manager_update(m);
}

void manager_reload_ended(struct manager *m)
{
    manager_update(m);
}

void manager_open(struct manager *m, struct ev_loop *loop, const struct status *status)
{
    int64_t watchdog_usec;
    int r = sd_client_init(environ);

    *m = (struct manager){.loop = loop, .status = status};
    ev_timer_init(&m->retry, on_retry, RETRY_S, RETRY_S);
    ev_timer_init(&m->extend, on_extend, EXTEND_S, EXTEND_S);
    ev_init(&m->watchdog, on_watchdog);
    m->retry.data = m->extend.data = m->watchdog.data = m;
    if (r < 0)
        log_warn(LOG_NOBODY, "NOTIFY_SOCKET cannot be used: %s", strerror(-r));
    watchdog_usec = sd_client_watchdog_usec();
    if (sd_client_enabled() && watchdog_usec > 0) {
        ev_timer_set(&m->watchdog, 0., (double)watchdog_usec / 2e6);
        ev_timer_start(loop, &m->watchdog);
    }
}

void manager_close(struct manager *m)
{
    if (!m->loop)
        return;
    ev_timer_stop(m->loop, &m->retry);
    ev_timer_stop(m->loop, &m->extend);
    ev_timer_stop(m->loop, &m->watchdog);
    sd_client_close();
}
