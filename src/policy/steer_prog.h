/* The program that chooses a socket of a SO_REUSEPORT group for each new connection or datagram, in
 * classic BPF, which needs no privilege (SO_ATTACH_REUSEPORT_CBPF in socket(7), and
 * Documentation/networking/filter.rst of the kernel). Its result is an index into the group, in the
 * order that the kernel keeps. Pure: it is built here and attached by mechanism/steer.h. */
#ifndef PREFORKD_POLICY_STEER_PROG_H
#define PREFORKD_POLICY_STEER_PROG_H

#include <linux/bpf_common.h>
#include <linux/filter.h>

#include "policy/cpus.h"
#include "policy/settings_types.h"

#define STEER_SEATS_MAX 4096 /* sockets of a group */

/* One socket of the group. */
struct steer_seat {
    int slot; /* whose it is; less than STEER_SEATS_MAX, -1: not known yet, and not live */
    bool live;
};

/* How new connections are spread. */
struct steer_plan {
    enum balance_mode balance;
    bool probes;             /* connections from the addresses below go to their slot */
    const struct cpus *cpus; /* that slots are on in turn; NULL: slot i is for CPU i */
};

static inline bool steer_plan_equal(const struct steer_plan *a, const struct steer_plan *b)
{
    return a->balance == b->balance && a->probes == b->probes && a->cpus == b->cpus;
}

/* Where the master connects from to reach one slot, live or not: 127.77.0.0/16, whose rest is the
 * slot; and as the loopback has only one address in IPv6, ::1 with a flow label that ends with the
 * slot and a traffic class for local use. Both are said by the first word of the header. The kernel
 * drops packets with these senders that come from another machine. */
#define STEER_PROBE_IP4        0x7f4d0000u
#define STEER_PROBE_IP6_WORD   0x6ac4d000u /* version 6, DSCP 43, label 0x4d000 + slot */
#define STEER_PROBE_IP6_MASK   0xffcfffffu /* without the bits of congestion notification */
#define STEER_PROBE_IP6_LABEL  0x000fffffu
#define STEER_PROBE_IP6_TCLASS 0xac

/* Builds the program for the sockets in the kernel's order. New connections go to live ones only:
 *   hash    by the sender's address and port, mixed with `seed`, so that nobody outside can aim at
 *           a slot;
 *   random  by chance, and so is round-robin here: this kind of program cannot count;
 *   cpu     to the slot on the CPU that received the packet, where the plan has CPUs, else to the
 *           one with its number (modulo the number of slots); and from a slot that is not live
 *           evenly to the others.
 * Returns its length; 0 when the kernel's own choice is right as it is: nobody is live (then
 * connections wait in all queues), there is nothing to choose from, or everybody is live and the
 * balance is hash, and there are no probes. -E2BIG when it does not fit: it takes two instructions
 * for each socket that is not where the arithmetic looks for it, four for each row of neighbours,
 * which allows for about two thousand of the former. */
int steer_prog_build(const struct steer_plan *plan, const struct steer_seat *seats, int n,
                     uint32_t seed, struct sock_filter code[BPF_MAXINSNS]);

/* What steer_prog_ebpf.h builds on too. How many seats are live; -E2BIG: there are too many. */
int steer_count_live(const struct steer_seat *seats, int n);

/* The slot of each CPU, as of balance = cpu. Returns for how many CPUs; 0: nobody is live. */
int steer_slots_by_cpu(const struct cpus *cpus, const struct steer_seat *seats, int n,
                       uint16_t slots[STEER_SEATS_MAX]);

#endif
