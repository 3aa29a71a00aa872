#include "cluster/stored.h"

#include <sys/stat.h>

#include "base/log.h"
#include "policy/adoption.h"

int stored_add(struct stored_sockets *s, const struct store_name *name, int fd)
{
    struct stored_socket *items = reallocarray(s->items, s->n + 1, sizeof(*items));

    if (!items) {
        close(fd);
        return -ENOMEM;
    }
    s->items = items;
    items[s->n++] = (struct stored_socket){.name = *name, .fd = fd};
    return 0;
}

/* The one with the inode among those from `start` on, or the number of all. */
static size_t find_inode(const struct stored_sockets *s, size_t start, uint64_t inode)
{
    struct stat st;

    for (; start < s->n; start++)
        if (fstat(s->items[start].fd, &st) == 0 && st.st_ino == inode)
            break;
    return start;
}

void stored_sort(struct stored_sockets *s, const uint64_t *order, size_t n)
{
    size_t sorted = 0;

    for (size_t i = 0; i < n; i++) {
        size_t at = find_inode(s, sorted, order[i]);
        struct stored_socket item;

        if (at == s->n)
            continue;
        item = s->items[at];
        memmove(s->items + sorted + 1, s->items + sorted, (at - sorted) * sizeof(item));
        s->items[sorted++] = item;
    }
}

static bool is_listed(const struct pool_settings *pool, const struct sockspec *spec)
{
    for (size_t i = 0; i < pool->listen.n; i++) {
        struct sockspec listed;

        if (sockspec_parse(pool->listen.items[i], &listed, NULL) == 0 &&
            sockspec_same_address(&listed, spec))
            return true;
    }
    return false;
}

static bool is_wanted(const struct settings *settings, const struct store_name *name)
{
    const struct pool_settings *pool = settings_pool(settings, name->pool);

    if (!pool)
        return false;
    if (name->discovered)
        return pool->adopt == ADOPTION_AUTO && !is_listed(pool, &name->spec);
    return (pool->accept == ACCEPT_SHARED || name->spec.kind == SOCKSPEC_UNIX) ==
               (name->slot < 0) &&
           is_listed(pool, &name->spec);
}

static void end_socket(struct stored_socket *item)
{
    if (item->fd >= 0)
        listener_end_socket(item->fd);
    item->fd = -1;
}

void stored_prune(struct stored_sockets *s, const struct settings *settings)
{
    for (size_t i = 0; i < s->n; i++)
        if (!is_wanted(settings, &s->items[i].name))
            end_socket(&s->items[i]);
}

static bool belongs(const struct stored_socket *item, const char *pool, bool discovered)
{
    return item->fd >= 0 && streq(item->name.pool, pool) && item->name.discovered == discovered;
}

static size_t take(struct stored_sockets *s, const char *pool, bool discovered,
                   const struct sockspec *spec, struct listener_socket *out)
{
    size_t n = 0;

    for (size_t i = 0; i < s->n; i++) {
        struct stored_socket *item = &s->items[i];

        if (!belongs(item, pool, discovered) || !sockspec_same_address(&item->name.spec, spec))
            continue;
        out[n++] = (struct listener_socket){
            .slot = item->name.slot < 0 ? 0 : item->name.slot,
            .fd = util_take_fd(&item->fd),
        };
    }
    return n;
}

static void report(const struct listener *l, const char *pool, size_t n, int nslots)
{
    int waiting = 0;

    for (int i = 0; i < (listener_is_shared(l) ? 1 : nslots); i++) {
        int queued = listener_queue(l, i);

        waiting += queued > 0 ? queued : 0;
    }
    log_info(&(struct log_who){.pool = pool, .slot = -1},
             "%s: %zu socket%s taken over, %d waiting connection%s", listener_address(l), n,
             n == 1 ? "" : "s", waiting, waiting == 1 ? "" : "s");
}

static int reopen(struct stored_sockets *s, const char *pool, bool discovered,
                  const struct sockspec *spec, int nslots, const struct listener_options *options,
                  struct listener **out, struct why *why)
{
    CLEANUP_FREE struct listener_socket *sockets = calloc(s->n + 1, sizeof(*sockets));
    size_t n;
    int r;

    if (!sockets)
        return why_fail_errno(why, -ENOMEM, "listener");
    n = take(s, pool, discovered, spec, sockets);
    if (n == 0)
        return 0;
    r = listener_reopen(spec, nslots, options, sockets, n, out, why);
    if (r < 0)
        return r == -ENOENT ? 0 : r;
    report(*out, pool, n, nslots);
    return 1;
}

static int count_missing(const struct listener *l, bool discovered, int nslots)
{
    int n = 0;

    if (discovered) /* only slots whose worker bound it have one */
        return listener_has_sockets(l) ? 0 : nslots;
    for (int i = 0; i < nslots; i++)
        n += listener_fd(l, i) < 0;
    return n;
}

/* `r` is what came of reopening. No socket is made here: the workers that serve would not have it,
 * and what came in by it would wait in vain. */
static int make_do(int r, const char *pool, bool discovered, const struct sockspec *spec,
                   int nslots, const struct listener_options *options, struct listener **out,
                   struct why *why)
{
    const char *cause = r < 0 ? why->text : r == 0 ? "there is none that fits" : "it is shut down";
    const struct log_who who = {.pool = pool, .slot = -1};
    int missing;

    if (r <= 0 && listener_open_empty(spec, nslots, options, out, NULL) < 0)
        return why_fail_errno(why, -ENOMEM, "listener");
    if (r > 0 && !listener_is_reachable(*out))
        log_error(&who, "%s: its file is gone: clients do not find it before a reload",
                  listener_address(*out));
    missing = count_missing(*out, discovered, nslots);
    if (missing > 0)
        log_error(&who,
                  "%s: %d of %d slots lost their socket in the upgrade (%s): their workers go on, "
                  "the next ones get another once the address is free",
                  listener_address(*out), missing, nslots, cause);
    return 1;
}

int stored_reopen(struct stored_sockets *s, const char *pool, bool discovered,
                  const struct sockspec *spec, int nslots, const struct listener_options *options,
                  struct listener **out, struct why *why)
{
    int r = reopen(s, pool, discovered, spec, nslots, options, out, why);

    return options->in_use ? make_do(r, pool, discovered, spec, nslots, options, out, why) : r;
}

const struct sockspec *stored_discovered(const struct stored_sockets *s, const char *pool)
{
    for (size_t i = 0; i < s->n; i++)
        if (belongs(&s->items[i], pool, true))
            return &s->items[i].name.spec;
    return NULL;
}

void stored_free(struct stored_sockets *s)
{
    for (size_t i = 0; i < s->n; i++)
        end_socket(&s->items[i]);
    free(s->items);
    *s = (struct stored_sockets){0};
}
