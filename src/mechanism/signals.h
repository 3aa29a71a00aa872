/* The master's signals through one descriptor, so that none does anything inside a handler and none
 * but the kernel's own (SEGV, KILL, ...) can end the master. See signalfd(2). */
#ifndef PREFORKD_MECHANISM_SIGNALS_H
#define PREFORKD_MECHANISM_SIGNALS_H

#include <ev.h>

#include "base/util.h"

struct signals;

struct signals_event {
    int signo;
    int sender;       /* process id, 0: the kernel */
    bool from_kernel; /* SI_KERNEL: such as the hang-up of the controlling terminal */
};

/* Blocks every signal that can be (but TSTP and CONT, so that a shell's job control works), gives
 * those that are handled a no-op handler, since systemd checks SigCgt for SIGHUP before it calls a
 * service ready, and delivers them to `handler`. */
int signals_open(struct ev_loop *loop, void (*handler)(void *data, const struct signals_event *e),
                 void *data, struct signals **out);
void signals_close(struct signals *s);

#endif
