/* The socket options that one worker may leave behind for the next: they belong to the socket, not
 * to a descriptor. See socket(7), tcp(7), ip(7), ipv6(7), udp(7). */
#ifndef PREFORKD_MECHANISM_SOCKOPTS_H
#define PREFORKD_MECHANISM_SOCKOPTS_H

#include "base/util.h"

#define SOCKOPTS_MAX       48
#define SOCKOPTS_VALUE_MAX 16

struct sockopts {
    struct {
        unsigned char value[SOCKOPTS_VALUE_MAX];
        unsigned char len; /* 0: this kernel or this kind of socket does not have the option */
    } options[SOCKOPTS_MAX];
};

void sockopts_save(int fd, struct sockopts *out);

/* Puts back what differs from `saved`. Goes on after a failure; 0 or the first -errno. */
int sockopts_restore(int fd, const struct sockopts *saved);

/* Takes what a program chose for its own socket over to another one that it gets in its place: what
 * its connections inherit and what accept(2) heeds, but nothing about the address or the group.
 * What the other one does not have or may not have is left out. */
void sockopts_carry(int from_fd, int to_fd);

#endif
