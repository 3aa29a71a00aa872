/* Which sockets of a SO_REUSEPORT group get new connections. The kernel numbers the sockets of a
 * group: one that leaves (closed, or no longer listening) has its place taken by the last, and one
 * that joins comes last. The program that chooses among them answers with such a number, so that
 * the order has to be known exactly and is kept here.
 *
 * What is not seen is a worker that shuts its socket down and listens again by itself: that moves
 * numbers until the next change of that socket. */
#ifndef PREFORKD_MECHANISM_STEER_H
#define PREFORKD_MECHANISM_STEER_H

#include "mechanism/steer_ebpf.h"

struct steer_member {
    int fd;
    bool mapped; /* the eBPF program can choose it, as far as we know */
    struct steer_seat seat;
};

struct steer {
    bool udp;
    struct steer_member *members; /* in the kernel's order */
    int n;
    struct steer_plan plan;
    uint32_t seed;
    struct steer_ebpf ebpf;
    enum { STEER_BY_KERNEL, STEER_BY_CLASSIC, STEER_BY_EBPF } by; /* what is attached */
    bool changed; /* the program is no longer what it should be, as far as we know */
    int error;    /* of the last attempt */
};

void steer_init(struct steer *s, bool udp);
void steer_free(struct steer *s);

/* Counts up when the order of any group changes. */
uint64_t steer_changes(void);

/* Notices sockets that left because a worker shut them down. Before anything that makes one join or
 * leave. */
void steer_look(struct steer *s);

/* Sockets are about to join: as long as they are not told to be live, they get nothing. No-op
 * when nobody is live, since then all wait alike. */
void steer_before_join(struct steer *s);

/* A socket was just bound (UDP) or listens: it is in the group, not live. One that was there before
 * stays as it is. In either case the program is attached again with the next steer_apply(): a
 * worker that had the socket may have put another in its place. -ENOMEM. */
int steer_join(struct steer *s, int fd);

/* A socket is about to be closed. */
void steer_leave(struct steer *s, int fd);

/* Whether the socket gets new connections. Takes effect with steer_apply(). */
void steer_set(struct steer *s, int fd, int slot, bool live);

/* Detaches the program of an earlier master, which keeps the sockets from being chosen by one of
 * ours. */
void steer_reset(struct steer *s);

/* How to spread them; then as steer_apply(). */
int steer_choose(struct steer *s, const struct steer_plan *plan);

/* Attaches or detaches the program, if anything changed. Where that fails the kernel spreads new
 * connections over all sockets; -errno is returned when it was not the same before. */
int steer_apply(struct steer *s);

/* Before another program takes the sockets over, who can have them in maps of its own only when
 * they are in no other. Until the next steer_apply() classic BPF does what it can. */
void steer_release(struct steer *s);

/* Attaches or detaches it once more: a worker may have put one of its own in the place. */
void steer_again(struct steer *s);

bool steer_is_anyone_live(const struct steer *s);

/* Whether the kernel hands connections that wait in a socket which is shut down to others of the
 * group: by our eBPF program to live ones, by the sysctl net.ipv4.tcp_migrate_req to any. */
bool steer_migrates(const struct steer *s);

#endif
