#include "cluster/generation.h"

#include "base/log.h"
#include "mechanism/cpus_probe.h"
#include "policy/adoption.h"

struct generation *generation_ref(struct generation *g)
{
    g->refs++;
    return g;
}

static struct output_losses *losses_ref(const struct generation *previous)
{
    struct output_losses *l = previous ? previous->losses : calloc(1, sizeof(*l));

    if (l)
        l->refs++;
    return l;
}

static void losses_unref(struct output_losses *l)
{
    if (l && --l->refs == 0)
        free(l);
}

void generation_unref(struct generation *g)
{
    if (!g || --g->refs > 0)
        return;
    for (size_t i = 0; i < g->nlisteners; i++)
        listener_unref(g->listeners[i]);
    free(g->listeners);
    losses_unref(g->losses);
    spawn_user_free(&g->user);
    settings_unref(g->settings);
    free(g);
}

int generation_grow(struct generation *g, int nslots, struct why *why)
{
    for (size_t i = 0; i < g->nlisteners; i++) {
        int r = listener_grow(g->listeners[i], nslots, why);

        if (r < 0)
            return why_prefix(why, r, "listen %s", listener_address(g->listeners[i]));
    }
    return 0;
}

void generation_shrink(struct generation *g, int nslots)
{
    for (size_t i = 0; i < g->nlisteners; i++)
        listener_shrink(g->listeners[i], nslots);
}

static int add_listener(struct generation *g, struct listener *take)
{
    struct listener **list = reallocarray(g->listeners, g->nlisteners + 1, sizeof(*list));

    if (!list) {
        listener_unref(take);
        return -ENOMEM;
    }
    g->listeners = list;
    list[g->nlisteners++] = take;
    listener_watch(take, g->watch);
    return 0;
}

/* A listener that exists already for what `spec` asks for, or NULL. Port 0 is the same listener as
 * long as it stands in the settings: the kernel is asked once only. */
static struct listener *find_listener(struct listener *const *list, size_t n,
                                      const struct sockspec *spec)
{
    for (size_t i = 0; i < n; i++) {
        if (spec->kind == SOCKSPEC_SYSTEMD ? streq(listener_name(list[i]), spec->path)
                                           : sockspec_same_address(listener_spec(list[i]), spec))
            return list[i];
    }
    return NULL;
}

/* With the sockets that an earlier master had, if there are any. */
static int open_or_reopen(struct generation *g, const struct sockspec *spec,
                          const struct listener_options *options, struct stored_sockets *stored,
                          int nslots, struct listener **out, struct why *why)
{
    int r = stored_reopen(stored, g->pool->name, false, spec, nslots, options, out, why);

    if (r == 0)
        return listener_open(spec, nslots, options, out, why);
    if (r > 0 && !options->in_use)
        r = listener_grow(*out, nslots, why);
    if (r < 0 && *out)
        listener_unref(*out);
    return r;
}

static int open_listener(struct generation *g, const char *text, const struct generation *previous,
                         struct generation_means *means, int nslots, struct why *why)
{
    const struct inherited_listeners *inherited = &means->inherited;
    const struct listener_options options = {
        .backlog = (int)g->pool->backlog,
        .shared = g->pool->accept == ACCEPT_SHARED,
        .in_use = means->resumes,
    };
    struct listener *l = NULL;
    struct sockspec spec;
    int r = sockspec_parse(text, &spec, why);

    if (r < 0)
        return why_prefix(why, r, "listen '%s'", text);
    if (previous)
        l = find_listener(previous->listeners, previous->nlisteners, &spec);
    if (l && listener_has_sockets(l) && !listener_is_reachable(l))
        l = NULL; /* its workers serve those that are there; the next ones get another */
    if (!l)
        l = find_listener(inherited->items, inherited->n, &spec);
    if (l)
        return add_listener(g, listener_ref(l));
    if (spec.kind == SOCKSPEC_SYSTEMD)
        return why_fail(why, -ENOENT,
                        "listen '%s': the service manager passed no socket of that name", text);
    r = open_or_reopen(g, &spec, &options, &means->stored, nslots, &l, why);
    if (r < 0)
        return why_prefix(why, r, "listen '%s'", text);
    return add_listener(g, l);
}

/* Without `listen`, sockets of the service manager go to the pool of their name, and the first pool
 * gets what no pool is named after. */
static int take_inherited(struct generation *g, const struct inherited_listeners *inherited,
                          bool first_pool)
{
    for (size_t i = 0; i < inherited->n; i++) {
        const char *name = listener_name(inherited->items[i]);
        bool mine = streq(name, g->pool->name);
        int r;

        if (!mine && (!first_pool || settings_pool(g->settings, name)))
            continue;
        r = add_listener(g, listener_ref(inherited->items[i]));
        if (r < 0)
            return r;
    }
    return 0;
}

static int open_listeners(struct generation *g, const struct generation *previous,
                          struct generation_means *means, int nslots, struct why *why)
{
    const struct strv *wanted = &g->pool->listen;

    if (wanted->n == 0)
        return take_inherited(g, &means->inherited, g->pool == g->settings->pools);
    for (size_t i = 0; i < wanted->n; i++) {
        int r = open_listener(g, wanted->items[i], previous, means, nslots, why);

        if (r < 0)
            return r;
    }
    return 0;
}

/* Without it workers still get their sockets by the environment. */
static const struct adopt_filter *get_filter(struct generation_means *means)
{
    int r = means->tried_filter ? 0 : adopt_filter_new(&means->filter);

    means->tried_filter = true;
    if (r < 0)
        log_warn(LOG_NOBODY,
                 "adoption does not work here (%s): workers must take their sockets from the "
                 "environment",
                 strerror(-r));
    return means->filter;
}

static int within(int n, int min, int max)
{
    return n < min ? min : n > max ? max : n;
}

static void count_workers(struct generation *g)
{
    int64_t workers = g->pool->workers, min = g->pool->min_workers, max = g->pool->max_workers;
    int n = workers == SETTING_AUTO ? cpus_probe() : (int)workers;

    g->workers = within(n, min == SETTING_AUTO ? n : (int)min, max == SETTING_AUTO ? n : (int)max);
    g->min_workers = min == SETTING_AUTO ? g->workers : (int)min;
    g->max_workers = max == SETTING_AUTO ? g->workers : (int)max;
    g->bounded = min != SETTING_AUTO || max != SETTING_AUTO;
}

void generation_keep_workers(struct generation *g, int now)
{
    if (g->min_workers < g->max_workers)
        g->workers = within(now, g->min_workers, g->max_workers);
}

int generation_open(struct settings *settings, size_t index, unsigned number,
                    const struct generation *previous, struct generation_means *means, int nslots,
                    struct generation **out, struct why *why)
{
    struct generation *g = calloc(1, sizeof(*g));
    int r;

    if (!g)
        return -ENOMEM;
    g->refs = 1;
    g->number = number;
    g->settings = settings_ref(settings);
    g->pool = &settings->pools[index];
    g->outputs = &means->outputs;
    g->watch = means->watch;
    g->losses = losses_ref(previous);
    g->filter = g->pool->adopt == ADOPTION_OFF ? NULL : get_filter(means);
    count_workers(g);
    if (nslots == 0)
        nslots = g->workers;
    r = g->losses ? 0 : why_fail_errno(why, -ENOMEM, "generation");
    if (r == 0 && !means->resumes)
        r = spawn_user_lookup(g->pool->user, g->pool->group, &g->user, why);
    if (r == 0)
        r = open_listeners(g, previous, means, nslots, why);
    if (r < 0) {
        why_prefix(why, r, "[pool:%s]", g->pool->name);
        generation_unref(g);
        return r;
    }
    *out = g;
    return 0;
}
