#include "cluster/pool_log.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/clock.h"
#include "cluster/pool.h"
#include "mechanism/timer.h"

enum { LINE_SIZE = 1024 };

static void end_window(struct pool_log *l)
{
    struct log_who who = {.pool = pool_name(l->pool), .slot = -1};

    ev_timer_stop(l->pool->starts_due->loop, &l->timer);
    if (l->limit.held > 0)
        log_warn(&who, "workers failed %u times in the last %d s, last: %s; %u log lines left out",
                 l->limit.failures, LOG_LIMIT_WINDOW_MS / 1000, l->last, l->limit.held);
    l->limit = (struct log_limit){0};
}

static void on_timer(struct ev_loop *loop UNUSED, ev_timer *timer, int events UNUSED)
{
    end_window(timer->data);
}

static void hold_back(struct pool_log *l, int64_t now_ms)
{
    if (!ev_is_active(&l->timer))
        timer_arm_ms(l->pool->starts_due->loop, &l->timer, log_limit_left_ms(&l->limit, now_ms));
}

/* Leaves the words of the line in `text`. */
static PRINTF_LIKE(5, 0) void write_line(struct pool_log *l, enum log_level level,
                                         const struct log_who *who, char text[static LINE_SIZE],
                                         const char *fmt, va_list ap)
{
    int64_t now_ms = clock_ms();

    vsnprintf(text, LINE_SIZE, fmt, ap);
    if (!l || log_enabled(LOG_LEVEL_DEBUG) || log_limit_pass(&l->limit, now_ms))
        log_write(level, who, "%s", text);
    else
        hold_back(l, now_ms);
}

void pool_log_line(struct pool_log *l, enum log_level level, const struct log_who *who,
                   const char *fmt, ...)
{
    char text[LINE_SIZE];
    va_list ap;

    va_start(ap, fmt);
    write_line(l, level, who, text, fmt, ap);
    va_end(ap);
}

void pool_log_failure(struct pool_log *l, enum log_level level, const struct log_who *who,
                      const char *fmt, ...)
{
    char text[LINE_SIZE];
    va_list ap;

    va_start(ap, fmt);
    write_line(l, level, who, text, fmt, ap);
    va_end(ap);
    if (!l)
        return;
    l->limit.failures++;
    snprintf(l->last, sizeof(l->last), "slot %d: %.200s", who->slot, text);
}

void pool_log_init(struct pool_log *l, struct pool *p)
{
    *l = (struct pool_log){.pool = p};
    ev_init(&l->timer, on_timer);
    l->timer.data = l;
}

void pool_log_end(struct pool_log *l)
{
    end_window(l);
}
