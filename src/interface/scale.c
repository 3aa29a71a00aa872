#include "interface/scale.h"

#include "base/log.h"

enum { WORKERS_MAX = 4096 };

static int fail_range(struct why *why)
{
    return why_fail(why, -ERANGE, "workers stay within 1..%d", WORKERS_MAX);
}

int scale_parse(const char *text, int now, int *n, struct why *why)
{
    bool relative = *text == '+' || *text == '-';
    size_t digits = strspn(text + relative, "0123456789");
    long value = strtol(text, NULL, 10);

    if (digits == 0 || text[relative + digits])
        return why_fail(why, -EINVAL, "workers is a number, +number or -number");
    if (value < -WORKERS_MAX || value > WORKERS_MAX)
        return fail_range(why);
    *n = (int)value + (relative ? now : 0);
    return 0;
}

int scale_check(const struct status *s, const struct pool *p, int n, struct why *why)
{
    const struct generation *g = p->gen;
    int r = status_check_idle(s, why);

    if (r < 0)
        return r;
    if (n < 1 || n > WORKERS_MAX)
        return fail_range(why);
    if (g->bounded && (n < g->min_workers || n > g->max_workers))
        return why_fail(why, -ERANGE, "workers stay within %d..%d (min-workers, max-workers)",
                        g->min_workers, g->max_workers);
    return 0;
}

int scale_pool(struct pool *p, int n, struct why *why)
{
    const struct log_who who = {.pool = pool_name(p), .slot = -1};
    int r = pool_set_workers(p, n, why);

    if (r == 0)
        log_info(&who, "workers: now %d", n);
    else
        log_error(&who, "workers: %s", why->text);
    return r;
}
