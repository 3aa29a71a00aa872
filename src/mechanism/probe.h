/* Asks one worker whether it serves, through the address that it shares with others: a connection
 * from the address that the steering program takes for the worker's slot (policy/steer_prog.h).
 * Knows slots only as numbers. */
#ifndef PREFORKD_MECHANISM_PROBE_H
#define PREFORKD_MECHANISM_PROBE_H

#include <ev.h>

#include "policy/sockspec.h"

enum probe_result {
    PROBE_PASSED,
    PROBE_FAILED,
    PROBE_ELSEWHERE, /* somebody else took the connection: it says nothing of the worker */
};

struct probe_ops {
    /* Once, from the loop. `what` says what happened: "answered 503". */
    void (*done)(void *data, enum probe_result result, const char *what);
    /* Whether the worker has taken the connection, whose end there is the socket `inode`. NULL: it
     * is certain. */
    bool (*is_meant)(void *data, uint64_t inode);
};

struct probe_request {
    struct sockspec to; /* as of probe_target() */
    int slot;
    const char *path; /* of a GET that must be answered with 2xx or 3xx; NULL: it is enough that
                         the connection is accepted, as the kernel can tell (sock_diag(7)) */
    bool connect_is_enough; /* without a path: it cannot be told */
    int64_t timeout_ms;     /* for everything together */
};

struct probe;

/* Where to connect to for a socket bound to `bound`. false: it cannot be probed, since it is no TCP
 * socket or has a link-local address. */
bool probe_target(const struct sockspec *bound, struct sockspec *to);

/* Begins to connect to `to` as the slot's probe: a descriptor, non-blocking, or -errno. */
int probe_connect(const struct sockspec *to, int slot);

/* Begins a probe; `done` is never called from inside. -ENOMEM, or what socket(2) and connect(2)
 * say. After `done` it goes on reading the rest of the answer, so that the worker is not disturbed
 * by a reset, but not beyond its timeout. */
int probe_start(struct ev_loop *loop, const struct probe_request *request,
                const struct probe_ops *ops, void *data, struct probe **out);

/* At any time, also in `done`. NULL is allowed. */
void probe_free(struct probe *p);

#endif
