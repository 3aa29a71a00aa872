/* The same choice as that of steer_prog.h by an eBPF program of type SK_REUSEPORT, for masters that
 * may load one (CAP_BPF). It can count, so that connections go round in turn; it names sockets by
 * their slots instead of by a place that moves; and the kernel asks it also where connections
 * should go that wait in a queue which is closed.
 *
 * The program stays the same while slots come and go: whom it may choose is in a table that it
 * shares with the master. Pure: it is built here, and loaded by mechanism/steer_ebpf.h. See
 * bpf(2), bpf-helpers(7), and Documentation/bpf of the kernel. */
#ifndef PREFORKD_POLICY_STEER_PROG_EBPF_H
#define PREFORKD_POLICY_STEER_PROG_EBPF_H

#include <linux/bpf.h>

#include "policy/steer_prog.h"

#define STEER_EBPF_MAX 64 /* instructions */

/* The value of the first map, an array with one element. */
struct steer_table {
    uint64_t turn;                   /* of round-robin; the program counts it up */
    uint32_t n;                      /* 0: the kernel's own hash over all sockets */
    uint16_t slots[STEER_SEATS_MAX]; /* whom a key modulo n stands for */
};

/* Fills `slots` by the rules of steer_prog_build(). Returns how many they are, 0: nobody is live.
 * -E2BIG. */
int steer_table_build(const struct steer_plan *plan, const struct steer_seat *seats, int n,
                      uint16_t slots[STEER_SEATS_MAX]);

/* Builds the program over two maps: the table, and the sockets by their slots (of the type
 * REUSEPORT_SOCKARRAY). Where the socket of a slot is missing, the kernel's hash decides. Returns
 * its length. */
int steer_prog_ebpf_build(const struct steer_plan *plan, int table_fd, int sockets_fd,
                          struct bpf_insn code[STEER_EBPF_MAX]);

#endif
