#include "mechanism/accept_census.h"

#include "base/clock.h"
#include "mechanism/sockdiag.h"

#define WAITING_MAX (1u << 20)

/* One look: `was` is what waited at the last one. */
struct look {
    const struct accept_census *was;
    uint64_t *waiting;
    size_t n, room;
    int err;
    bool accepted;
};

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

static bool waited(const struct accept_census *c, uint64_t cookie)
{
    return c->n > 0 && bsearch(&cookie, c->waiting, c->n, sizeof(cookie), compare);
}

static int make_room(struct look *k)
{
    size_t room = k->room ? 2 * k->room : 256;
    uint64_t *waiting;

    if (k->n < k->room)
        return 0;
    waiting = room > WAITING_MAX ? NULL : reallocarray(k->waiting, room, sizeof(*waiting));
    if (!waiting)
        return -ENOMEM;
    k->waiting = waiting;
    k->room = room;
    return 0;
}

static void visit(const struct sockdiag_socket *s, void *data)
{
    struct look *k = data;

    if (s->inode) {
        k->accepted = k->accepted || waited(k->was, s->cookie);
        return;
    }
    if (k->err == 0)
        k->err = make_room(k);
    if (k->err == 0)
        k->waiting[k->n++] = s->cookie;
}

static int count_queued(struct listener *const *listeners, size_t n)
{
    int sum = 0;

    for (size_t i = 0; i < n; i++)
        sum += listener_queued(listeners[i]);
    return sum;
}

static int list(struct look *k, struct listener *const *listeners, size_t n)
{
    for (size_t i = 0; i < n && k->err == 0; i++) {
        const struct sockspec *bound = listener_bound(listeners[i]);

        k->err = bound->udp || bound->kind == SOCKSPEC_UNIX
                     ? -EOPNOTSUPP
                     : sockdiag_connections(bound->kind == SOCKSPEC_IP4 ? AF_INET : AF_INET6,
                                            bound->port, visit, k);
    }
    return k->err;
}

/* For those that accept nothing this is never true: what was counted as new is in the queues now,
 * and was not yet in them when they were counted before. */
static bool replaced(const struct accept_census *was, const struct look *k, int queued_now)
{
    size_t newcomers = 0;

    for (size_t i = 0; i < k->n; i++)
        newcomers += !waited(was, k->waiting[i]);
    return queued_now < was->queued || newcomers > (size_t)(queued_now - was->queued);
}

int accept_census_take(struct accept_census *c, struct listener *const *listeners, size_t n)
{
    int64_t began_us = clock_us();
    struct look k = {.was = c};
    int queued = count_queued(listeners, n);
    int r = list(&k, listeners, n);

    if (r < 0) {
        free(k.waiting);
        accept_census_end(c);
        return r;
    }
    if (!c->begun)
        r = -EAGAIN;
    else
        r = k.accepted || replaced(c, &k, count_queued(listeners, n));
    if (k.n > 0)
        qsort(k.waiting, k.n, sizeof(*k.waiting), compare);
    free(c->waiting);
    *c = (struct accept_census){.begun = true,
                                .queued = queued,
                                .waiting = k.waiting,
                                .n = k.n,
                                .took_us = clock_us() - began_us};
    return r;
}

void accept_census_end(struct accept_census *c)
{
    free(c->waiting);
    *c = (struct accept_census){0};
}
