#include "interface/fdstore.h"

#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/log.h"
#include "mechanism/sd_client.h"

#define RETRY_S   0.2
#define ORDER_MAX 65536 /* inodes in the record */

struct fdstore_item {
    uint64_t inode;
    int fd; /* the listener's */
    bool stored;
    char *name;
};

/* Lists of sockets -------------------------------------------------------------------------------
 */

static int compare_inodes(const void *a, const void *b)
{
    const struct fdstore_item *x = a, *y = b;

    return x->inode < y->inode ? -1 : x->inode > y->inode;
}

static void list_free(struct fdstore_list *list)
{
    for (size_t i = 0; i < list->n; i++)
        free(list->items[i].name);
    free(list->items);
    *list = (struct fdstore_list){0};
}

/* Takes `name`. */
static int list_add(struct fdstore_list *list, uint64_t inode, int fd, bool stored, char *name)
{
    struct fdstore_item *items = reallocarray(list->items, list->n + 1, sizeof(*items));

    if (items)
        list->items = items;
    if (!items || !name) {
        free(name);
        return -ENOMEM;
    }
    items[list->n++] =
        (struct fdstore_item){.inode = inode, .fd = fd, .stored = stored, .name = name};
    return 0;
}

static void list_sort(struct fdstore_list *list)
{
    if (list->n > 1)
        qsort(list->items, list->n, sizeof(*list->items), compare_inodes);
}

/* Whether the list has this socket under this name. */
static const struct fdstore_item *list_find(const struct fdstore_list *list,
                                            const struct fdstore_item *item)
{
    const struct fdstore_item *found =
        list->n ? bsearch(item, list->items, list->n, sizeof(*item), compare_inodes) : NULL;

    return found && streq(found->name, item->name) ? found : NULL;
}

/* What there is ---------------------------------------------------------------------------------
 */

typedef int visit_fn(void *data, const struct pool *p, const struct listener *l, bool discovered);

static int visit_generation(const struct pool *p, const struct generation *g, visit_fn *visit,
                            void *data)
{
    int r = 0;

    for (size_t i = 0; i < g->nlisteners && r == 0; i++)
        if (!listener_is_inherited(g->listeners[i]))
            r = visit(data, p, g->listeners[i], false);
    return r;
}

/* A reload begins with slot 0. */
static int visit_pool(const struct pool *p, visit_fn *visit, void *data)
{
    int r = visit_generation(p, p->gen, visit, data);

    if (r == 0 && p->nslots > 0 && p->slots[0]->wanted != p->gen)
        r = visit_generation(p, p->slots[0]->wanted, visit, data);
    for (size_t i = 0; i < p->discovery.n && r == 0; i++)
        r = visit(data, p, p->discovery.items[i], true);
    return r;
}

static int visit_cluster(const struct cluster *c, visit_fn *visit, void *data)
{
    int r = 0;

    for (size_t i = 0; i < c->npools && r == 0; i++)
        r = visit_pool(c->pools[i], visit, data);
    return r;
}

/* A discovered address does not listen before a worker does. */
static bool is_worth_storing(const struct listener *l, int slot, bool discovered)
{
    return listener_inode(l, slot) != 0 &&
           (!discovered || listener_is_udp(l) || listener_is_listening(l, slot));
}

static int add_socket(struct fdstore_list *list, const struct pool *p, const struct listener *l,
                      int slot, bool discovered)
{
    struct store_name name = {.slot = listener_is_shared(l) ? -1 : slot,
                              .discovered = discovered,
                              .spec = *listener_spec(l)};
    CLEANUP_BUF struct buf text = BUF_INIT;
    int r;

    snprintf(name.pool, sizeof(name.pool), "%s", pool_name(p));
    r = store_name_format(&name, &text);
    if (r == -ENAMETOOLONG)
        return 0;
    return r < 0 ? r
                 : list_add(list, listener_inode(l, slot), listener_fd(l, slot), false,
                            buf_take(&text));
}

static int add_listener(void *data, const struct pool *p, const struct listener *l, bool discovered)
{
    int nsockets = listener_is_shared(l) ? 1 : p->nslots;
    int r = 0;

    for (int i = 0; i < nsockets && r == 0; i++)
        if (is_worth_storing(l, i, discovered))
            r = add_socket(data, p, l, i, discovered);
    return r;
}

/* The record of the order ------------------------------------------------------------------------
 */

static int add_order(void *data, const struct pool *p, const struct listener *l,
                     bool discovered UNUSED)
{
    CLEANUP_FREE uint64_t *inodes = calloc((size_t)p->nslots + 1, sizeof(*inodes));

    if (!inodes)
        return -ENOMEM;
    buf_append(data, inodes, listener_order(l, inodes, (size_t)p->nslots) * sizeof(*inodes));
    return 0;
}

/* In place: whoever is killed in between leaves a record that is right for most groups. */
static void write_order(const struct fdstore *s)
{
    CLEANUP_BUF struct buf order = BUF_INIT;

    if (visit_cluster(s->cluster, add_order, &order) < 0 || order.failed ||
        pwrite(s->order_fd, buf_str(&order), order.len, 0) < 0 ||
        ftruncate(s->order_fd, (off_t)order.len) < 0)
        log_debug(LOG_NOBODY, "cannot note the order of the sockets");
}

static void sort_by_order(int order_fd, struct stored_sockets *sockets)
{
    size_t size = ORDER_MAX * sizeof(uint64_t);
    CLEANUP_FREE uint64_t *order = malloc(size);
    ssize_t len = order ? pread(order_fd, order, size, 0) : 0;

    if (len > 0)
        stored_sort(sockets, order, (size_t)len / sizeof(*order));
}

/* Telling the manager ---------------------------------------------------------------------------
 */

static void send_later(struct fdstore *s)
{
    s->pending = true;
    ev_timer_again(s->loop, &s->retry);
}

/* Returns whether it arrived; else it is tried again soon, when that can help. */
static bool arrived(struct fdstore *s, int r)
{
    if (r == -EAGAIN)
        send_later(s);
    else if (r < 0)
        log_debug(LOG_NOBODY, "descriptor store: %s", strerror(-r));
    return r == 0;
}

/* FDPOLL=0: the manager must not drop a socket that a worker shut down; it will be healed. */
static bool store(struct fdstore *s, int fd, const char *name)
{
    return arrived(s, sd_client_send_fd(fd, "FDSTORE=1\nFDNAME=%s\nFDPOLL=0", name));
}

/* The manager removes every descriptor of the name. */
static bool unstore(struct fdstore *s, const char *name)
{
    if (!arrived(s, sd_client_send("FDSTOREREMOVE=1\nFDNAME=%s", name)))
        return false;
    for (size_t i = 0; i < s->known.n; i++)
        if (streq(s->known.items[i].name, name))
            s->known.items[i].stored = false;
    return true;
}

static bool remove_gone(struct fdstore *s, const struct fdstore_list *now)
{
    for (size_t i = 0; i < s->known.n; i++) {
        const struct fdstore_item *item = &s->known.items[i];

        if (item->stored && !list_find(now, item) && !unstore(s, item->name))
            return false;
    }
    return true;
}

/* An earlier program of this process may have stored another one. */
static bool store_order(struct fdstore *s)
{
    return unstore(s, STORE_NAME_ORDER) && store(s, s->order_fd, STORE_NAME_ORDER);
}

static void tell_full(struct fdstore *s)
{
    if (!s->told_full)
        log_warn(LOG_NOBODY,
                 "the service manager keeps %lld descriptors at most: not all queues survive a "
                 "crash of the master, see FileDescriptorStoreMax= in systemd.service(5)",
                 (long long)sd_client_store_max());
    s->told_full = true;
}

static void add_new(struct fdstore *s, struct fdstore_list *now)
{
    int64_t room = sd_client_store_max() - 1;

    for (size_t i = 0; i < now->n; i++) {
        const struct fdstore_item *known = list_find(&s->known, &now->items[i]);

        now->items[i].stored = known && known->stored;
        room -= now->items[i].stored;
    }
    for (size_t i = 0; i < now->n && !s->pending; i++) {
        struct fdstore_item *item = &now->items[i];

        if (!item->stored && room <= 0) {
            tell_full(s);
            return;
        }
        if (!item->stored)
            room -= item->stored = store(s, item->fd, item->name);
    }
}

static void update_sockets(struct fdstore *s)
{
    struct fdstore_list now = {0};

    if (visit_cluster(s->cluster, add_listener, &now) == 0) {
        list_sort(&now);
        if (remove_gone(s, &now)) {
            struct fdstore_list before = s->known;

            add_new(s, &now);
            s->known = now;
            now = before;
        }
    }
    list_free(&now);
}

void fdstore_update(struct fdstore *s)
{
    if (s->order_fd < 0 || sd_client_store_max() <= 0 ||
        (s->changes == listener_changes() && !s->pending))
        return;
    s->changes = listener_changes();
    s->pending = false;
    write_order(s);
    if (!s->stored_order)
        s->stored_order = store_order(s);
    if (!s->pending)
        update_sockets(s);
}

static void on_retry(struct ev_loop *loop, ev_timer *timer, int events UNUSED)
{
    ev_timer_stop(loop, timer);
    fdstore_update(timer->data);
}

/* Taking back -----------------------------------------------------------------------------------
 */

static int take_socket(struct fdstore *s, const char *text, int fd, const struct store_name *name,
                       struct stored_sockets *out)
{
    struct stat st;
    int r = stored_add(out, name, fd);

    if (r < 0 || fstat(fd, &st) < 0)
        return r;
    return list_add(&s->known, st.st_ino, -1, true, strdup(text));
}

static int take_back(struct fdstore *s, struct activation *activation, struct stored_sockets *out)
{
    int r = 0;

    for (size_t i = 0; i < activation->n && r == 0; i++) {
        const char *text = activation->fds[i].name;
        struct store_name name;

        if (streq(text, STORE_NAME_ORDER) && s->order_fd < 0)
            s->order_fd = util_take_fd(&activation->fds[i].fd);
        else if (store_name_parse(text, &name) == 0)
            r = take_socket(s, text, util_take_fd(&activation->fds[i].fd), &name, out);
    }
    list_sort(&s->known);
    if (s->order_fd >= 0)
        sort_by_order(s->order_fd, out);
    return r;
}

int fdstore_open(struct fdstore *s, struct ev_loop *loop, const struct cluster *cluster,
                 struct activation *activation, struct stored_sockets *out)
{
    int r;

    *s = (struct fdstore){.loop = loop, .cluster = cluster, .order_fd = -1, .changes = UINT64_MAX};
    ev_timer_init(&s->retry, on_retry, RETRY_S, RETRY_S);
    s->retry.data = s;
    r = take_back(s, activation, out);
    s->stored_order = s->order_fd >= 0;
    if (s->order_fd < 0)
        s->order_fd = memfd_create("preforkd-order", MFD_CLOEXEC);
    return r;
}

void fdstore_close(struct fdstore *s)
{
    if (!s->loop)
        return;
    ev_timer_stop(s->loop, &s->retry);
    list_free(&s->known);
    util_close_p(&s->order_fd);
}
