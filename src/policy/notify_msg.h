/* A datagram of the sd_notify protocol from a worker, parsed. Pure. See sd_notify(3). */
#ifndef PREFORKD_POLICY_NOTIFY_MSG_H
#define PREFORKD_POLICY_NOTIFY_MSG_H

#include <sys/types.h>

#include "base/util.h"

#define NOTIFY_MSG_MAX 4096 /* longer datagrams are refused whole */

enum notify_bits {
    NOTIFY_READY = 1 << 0,
    NOTIFY_STOPPING = 1 << 1,
    NOTIFY_WATCHDOG = 1 << 2,         /* WATCHDOG=1 */
    NOTIFY_WATCHDOG_TRIGGER = 1 << 3, /* WATCHDOG=trigger */
    NOTIFY_STATUS = 1 << 4,
    NOTIFY_EXTEND_TIMEOUT = 1 << 5,
    NOTIFY_MAINPID = 1 << 6,
    NOTIFY_BARRIER = 1 << 7,
};

struct notify_msg {
    unsigned bits;
    char status[256]; /* control characters and invalid UTF-8 escaped; cut when longer */
    uint64_t extend_usec;
    pid_t main_pid;
};

/* Reads KEY=VALUE lines. Unknown keys and malformed values are ignored.
 * -EMSGSIZE when longer than NOTIFY_MSG_MAX, -EINVAL when it holds a NUL byte or no key at all. */
int notify_msg_parse(const char *data, size_t len, struct notify_msg *out);

#endif
