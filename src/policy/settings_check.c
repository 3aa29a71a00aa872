/* What one setting alone cannot tell: settings that contradict each other. */
#include "policy/settings_edit.h"

#include "policy/adoption.h"
#include "policy/sockspec.h"

/* The one of two settings to blame: what the user set last, a default never. */
static const struct setting_info *culprit(const struct settings *s,
                                          const struct pool_settings *pool,
                                          const struct setting_info *row,
                                          const struct setting_info *other)
{
    const struct setting_source *a = settings_source(s, pool, row);
    const struct setting_source *b = settings_source(s, pool, other);

    if (a->origin == b->origin)
        return a->line < b->line ? other : row;
    return a->origin < b->origin ? other : row;
}

static void print_setting(const struct settings *s, const struct pool_settings *pool,
                          const struct setting_info *row, struct buf *out)
{
    buf_printf(out, "%s '", row->key);
    row->rule.type->print(row->rule.type, settings_value(s, pool, row), out);
    buf_putc(out, '\'');
}

/* `relation`: what the first setting must be to the second, "at most". */
static int refuse_pair(const struct settings *s, const struct pool_settings *pool,
                       const char *first, const char *relation, const char *second, struct why *why)
{
    const struct setting_info *row = settings_find(first), *other = settings_find(second);
    const struct setting_info *blamed = culprit(s, pool, row, other);
    CLEANUP_BUF struct buf a = BUF_INIT, b = BUF_INIT;
    int err;

    print_setting(s, pool, row, &a);
    print_setting(s, pool, other, &b);
    err = why_fail(why, -EINVAL, "%s must be %s %s", buf_str(&a), relation, buf_str(&b));
    return settings_blame(s, pool, blamed, *settings_source(s, pool, blamed), err, why);
}

static int check_command(const struct settings *s, const struct pool_settings *pool,
                         struct why *why)
{
    if (pool->command.n > 0)
        return 0;
    if (!s->file)
        return why_fail(why, -EINVAL, "no COMMAND and no --config; try --help");
    return why_fail(why, -EINVAL, "%s:%d: [pool:%s] has no command", s->file, pool->line,
                    pool->name);
}

/* One is known and more than the other, which is known too. */
static bool exceeds(int64_t a, int64_t b)
{
    return a != SETTING_AUTO && b != SETTING_AUTO && a > b;
}

static int check_workers(const struct settings *s, const struct pool_settings *pool,
                         struct why *why)
{
    int64_t min_ready = pool->min_ready.percent ? SETTING_AUTO : pool->min_ready.value;

    if (exceeds(min_ready, pool->workers))
        return refuse_pair(s, pool, "min-ready", "at most", "workers", why);
    if (exceeds(pool->min_workers, pool->workers))
        return refuse_pair(s, pool, "min-workers", "at most", "workers", why);
    if (exceeds(pool->workers, pool->max_workers))
        return refuse_pair(s, pool, "workers", "at most", "max-workers", why);
    if (exceeds(pool->min_workers, pool->max_workers))
        return refuse_pair(s, pool, "min-workers", "at most", "max-workers", why);
    if (exceeds(min_ready, pool->min_workers))
        return refuse_pair(s, pool, "min-ready", "at most", "min-workers", why);
    return 0;
}

static bool has_only_udp(const struct pool_settings *pool)
{
    struct sockspec spec;

    for (size_t i = 0; i < pool->listen.n; i++)
        if (sockspec_parse(pool->listen.items[i], &spec, NULL) < 0 || !spec.udp)
            return false;
    return pool->listen.n > 0;
}

static int check_fallback(const struct settings *s, const struct pool_settings *pool,
                          struct why *why)
{
    const struct setting_info *row = settings_find("fallback");
    int err;

    if (pool->fallback == FALLBACK_OFF || !has_only_udp(pool))
        return 0;
    err =
        setting_fail(why, "503", " is for HTTP over TCP or a Unix socket, and listen has only udp");
    return settings_blame(s, pool, row, *settings_source(s, pool, row), err, why);
}

static bool has_tcp(const struct pool_settings *pool)
{
    struct sockspec spec;

    for (size_t i = 0; i < pool->listen.n; i++)
        if (sockspec_parse(pool->listen.items[i], &spec, NULL) == 0 && !spec.udp &&
            spec.kind <= SOCKSPEC_IP6)
            return true;
    return pool->adopt == ADOPTION_AUTO; /* the workers may bind one */
}

static int check_probe(const struct settings *s, const struct pool_settings *pool, struct why *why)
{
    const struct setting_info *row = settings_find("probe");
    int err;

    if (!settings_probes(pool))
        return pool->ready != READY_PROBE
                   ? 0
                   : refuse_pair(s, pool, "ready", "something else with", "probe", why);
    if (pool->accept == ACCEPT_SHARED)
        return refuse_pair(s, pool, "accept", "per-worker with", "probe", why);
    if (has_tcp(pool))
        return 0;
    err = why_fail(why, -EINVAL, "there is no TCP address in listen to probe");
    return settings_blame(s, pool, row, *settings_source(s, pool, row), err, why);
}

static int check_pool(const struct settings *s, const struct pool_settings *pool, struct why *why)
{
    int err = check_command(s, pool, why);

    if (err < 0)
        return err;
    if (pool->backoff_ms > pool->backoff_max_ms)
        return refuse_pair(s, pool, "backoff", "at most", "backoff-max", why);
    err = check_workers(s, pool, why);
    if (err < 0)
        return err;
    if (pool->ready == READY_DELAY && pool->ready_delay_ms >= pool->start_timeout_ms)
        return refuse_pair(s, pool, "ready-delay", "less than", "start-timeout", why);
    err = check_fallback(s, pool, why);
    return err < 0 ? err : check_probe(s, pool, why);
}

/* --- Addresses --- */

struct address {
    const struct pool_settings *pool; /* NULL: health */
    const char *text;
    struct sockspec spec;
};

static int refuse_clash(const struct settings *s, const struct address *earlier,
                        const struct address *later, struct why *why)
{
    const struct setting_info *row = settings_find("listen");
    int err;

    if (earlier->pool)
        err =
            setting_fail(why, later->text, " is an address of [pool:%s] too", earlier->pool->name);
    else
        err = setting_fail(why, later->text, " is the address of health too");
    return settings_blame(s, later->pool, row, *settings_source(s, later->pool, row), err, why);
}

static void collect(struct address *all, size_t *n, const struct pool_settings *pool,
                    const char *text)
{
    all[*n] = (struct address){.pool = pool, .text = text};
    if (sockspec_parse(text, &all[*n].spec, NULL) == 0)
        ++*n;
}

/* The settings' own parsers have refused what is no address; "auto" and "off" are skipped here. */
static size_t collect_all(const struct settings *s, struct address *all)
{
    size_t n = 0;

    collect(all, &n, NULL, s->master.health);
    for (size_t i = 0; i < s->npools; i++)
        for (size_t k = 0; k < s->pools[i].listen.n; k++)
            collect(all, &n, &s->pools[i], s->pools[i].listen.items[k]);
    return n;
}

static int check_addresses(const struct settings *s, struct why *why)
{
    CLEANUP_FREE struct address *all = NULL;
    size_t n = 1;

    for (size_t i = 0; i < s->npools; i++)
        n += s->pools[i].listen.n;
    all = calloc(n, sizeof(*all));
    if (!all)
        return why_fail(why, -ENOMEM, "out of memory");
    n = collect_all(s, all);
    for (size_t later = 1; later < n; later++)
        for (size_t i = 0; i < later; i++)
            if (setting_listen_clash(&all[i].spec, &all[later].spec))
                return refuse_clash(s, &all[i], &all[later], why);
    return 0;
}

int settings_check(const struct settings *s, struct why *why)
{
    int err = 0;

    for (size_t i = 0; i < s->npools && err == 0; i++)
        err = check_pool(s, &s->pools[i], why);
    return err < 0 ? err : check_addresses(s, why);
}
