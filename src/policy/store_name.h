/* What a socket is called in the service manager's descriptor store, so that a later master knows
 * what it was: FDNAME of sd_notify(3), at most 255 printable characters without ':'. */
#ifndef PREFORKD_POLICY_STORE_NAME_H
#define PREFORKD_POLICY_STORE_NAME_H

#include "policy/sockspec.h"

#define STORE_NAME_ORDER "preforkd.order" /* the record of the sockets' order */

struct store_name {
    char pool[64];
    int slot;             /* -1: all slots share the socket */
    bool discovered;      /* a worker bound the address, nobody listed it */
    struct sockspec spec; /* the address as it was asked for, without options */
};

/* Appends "preforkd.socket/listed/web/3/127.0.0.1%3A8080". -ENAMETOOLONG, -ENOMEM. */
int store_name_format(const struct store_name *name, struct buf *out);

/* -EINVAL: not one of ours, such as the FileDescriptorName= of a socket unit. */
int store_name_parse(const char *text, struct store_name *out);

#endif
