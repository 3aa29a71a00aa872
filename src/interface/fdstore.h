/* The slots' sockets in the service manager's descriptor store: when the master is killed, what
 * waits in their queues waits on, and the next master takes them back. Pulls from the cluster.
 * FDSTORE of sd_notify(3).
 *
 * Beside them is the record of their order in each SO_REUSEPORT group, a memfd with the inodes of
 * all sockets: the kernel keeps that order but does not tell it, and steering needs it. */
#ifndef PREFORKD_INTERFACE_FDSTORE_H
#define PREFORKD_INTERFACE_FDSTORE_H

#include <ev.h>

#include "cluster/cluster.h"
#include "mechanism/activation.h"

struct fdstore_list {
    struct fdstore_item *items; /* sorted by inode */
    size_t n;
};

struct fdstore {
    struct ev_loop *loop;
    const struct cluster *cluster;
    struct fdstore_list known; /* sockets, and which of them the manager has */
    int order_fd;              /* the record */
    bool stored_order;
    bool told_full;
    bool pending;     /* the manager's socket was full */
    uint64_t changes; /* of listeners, when they were last looked at */
    ev_timer retry;
};

/* Takes from `activation` what an earlier master had stored; its sockets are put into `out`, in the
 * kernel's order. -ENOMEM. */
int fdstore_open(struct fdstore *s, struct ev_loop *loop, const struct cluster *cluster,
                 struct activation *activation, struct stored_sockets *out);
void fdstore_close(struct fdstore *s);

/* Sockets may have come or gone: tells the manager. Does nothing where it has no store. */
void fdstore_update(struct fdstore *s);

#endif
