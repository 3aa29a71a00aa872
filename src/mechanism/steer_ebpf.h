/* Steering by an eBPF program, where the master may load one: its maps and its life. Which sockets
 * are in the group is the business of steer.h. */
#ifndef PREFORKD_MECHANISM_STEER_EBPF_H
#define PREFORKD_MECHANISM_STEER_EBPF_H

#include "policy/steer_prog_ebpf.h"

struct steer_ebpf {
    int error;                 /* why it cannot be had, in which case it is not tried again */
    struct steer_table *table; /* in memory that the program sees */
    int table_fd, sockets_fd;
    int prog_fd; /* to be attached with SO_ATTACH_REUSEPORT_EBPF; the group then keeps it */
    struct steer_plan plan; /* what it does */
};

void steer_ebpf_init(struct steer_ebpf *e);
void steer_ebpf_free(struct steer_ebpf *e);

/* Makes or keeps the program for this plan. -EPERM: CAP_BPF is missing; -EINVAL, -ENOSYS: the
 * kernel is too old. The first failure is remembered. */
int steer_ebpf_prepare(struct steer_ebpf *e, const struct steer_plan *plan);

/* The socket of a slot, which must be in the group. The kernel forgets it when it is shut down or
 * closed. No-op when it is there already. -EBUSY: it is in a map of
 * another master. */
int steer_ebpf_add(struct steer_ebpf *e, int slot, int fd);

void steer_ebpf_remove(struct steer_ebpf *e, int slot);

/* From now on these may be chosen, as steer_table_build() has put them; 0: the kernel's hash goes
 * over all sockets of the group. Takes effect at once, and cannot fail. */
void steer_ebpf_choose(struct steer_ebpf *e, const uint16_t *slots, int n);

#endif
