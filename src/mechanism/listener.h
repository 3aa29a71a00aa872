/* A shared address: one SO_REUSEPORT socket for each slot, made and kept by the master, so that the
 * queue of a slot outlives its worker. Knows slots only as numbers. */
#ifndef PREFORKD_MECHANISM_LISTENER_H
#define PREFORKD_MECHANISM_LISTENER_H

#include "policy/sockspec.h"
#include "policy/steer_prog.h"

struct listener;
struct socket_watch;

struct listener_options {
    int backlog;
    bool shared; /* one socket for all slots (Unix sockets always) */
    bool in_use; /* of sockets that are taken over: workers go on with them, so they are kept though
                    their file or interface is gone, and what cannot be kept is only closed */
};

/* Makes and binds the sockets of slots 0..nslots-1 and listens on them. Port 0: the kernel chooses
 * one for all. DUAL falls back to 0.0.0.0 where IPv6 is off. A stale Unix socket is replaced (a
 * note goes to the log), a live one and a file that is no socket are not touched.
 * One reference in `out`. -EADDRINUSE (who has it, in the reason; also when sockets of others would
 * take part of the connections), -EACCES, -EADDRNOTAVAIL, -EEXIST, -ENOENT (user, group), ... */
int listener_open(const struct sockspec *spec, int nslots, const struct listener_options *options,
                  struct listener **out, struct why *why);

/* Takes over a socket inherited for one address; it is shared by all slots and keeps its flags.
 * `fd` is owned by the listener from then on, also on failure. -ENOTSOCK, -EINVAL (not a listening
 * socket; one in use listens again). */
int listener_take(int fd, const char *name, const struct listener_options *options,
                  struct listener **out, struct why *why);

/* A socket of a listener that an earlier master had: of which slot (0 when all share it). */
struct listener_socket {
    int slot;
    int fd;
};

/* Makes a listener of the sockets that an earlier master had for `spec`, with their queues. They
 * are given in the order in which the kernel has them in their SO_REUSEPORT group, which steering
 * relies on. Owns every descriptor from then on, also on failure; what does not fit `spec` or
 * belongs to a slot from `nslots` on is shut down and closed. Slots that none was given for have
 * none: listener_grow() makes them. -ENOENT: none of them fits. */
int listener_reopen(const struct sockspec *spec, int nslots, const struct listener_options *options,
                    const struct listener_socket *sockets, size_t n, struct listener **out,
                    struct why *why);

/* Ends a socket for every process that has it, and closes it. */
void listener_end_socket(int fd);

struct listener *listener_ref(struct listener *l);
void listener_unref(struct listener *l); /* the last one closes; a Unix socket's file is removed */

/* Makes the sockets of further slots, or closes those from nslots on. listener_grow keeps what was
 * there when it fails. For shared ones only the number is noted. */
int listener_grow(struct listener *l, int nslots, struct why *why);
void listener_shrink(struct listener *l, int nslots);

/* A listener whose sockets come one by one, when a worker asks for its own, or by
 * listener_restore() in one of the first `nslots` slots: nothing is bound yet. For SYSTEMD none
 * ever comes. One reference in `out`; -ENOMEM. */
int listener_open_empty(const struct sockspec *spec, int nslots,
                        const struct listener_options *options, struct listener **out,
                        struct why *why);

/* Makes and binds the socket of one slot, if there is none yet; it does not listen before
 * listener_listen_slot(). Errors as of listener_open(). */
int listener_bind_slot(struct listener *l, int slot, struct why *why);
int listener_listen_slot(struct listener *l, int slot);
void listener_close_slot(struct listener *l, int slot);
bool listener_is_listening(const struct listener *l, int slot);
bool listener_has_sockets(const struct listener *l);

/* Puts the configured backlog back, which a worker's own listen(2) may have changed. */
int listener_restore_backlog(struct listener *l, int slot);

/* A new backlog for every socket that listens. */
void listener_set_backlog(struct listener *l, int backlog);

/* Before a start in a slot that no other worker uses: puts flags, socket options and backlog back
 * to what they were at creation, and revives a socket that was shut down; one that is missing is
 * made. On a socket that several
 * slots share, flags and options are left alone: workers of other slots may rely on them.
 * 0; 1 when the socket could not be revived and was made anew under the same descriptor, so that
 * its inode changed and a watcher of the descriptor has to be set up again; -errno (what could be
 * put back was). In either case the order of the sockets in the SO_REUSEPORT group may have
 * changed. */
int listener_restore(struct listener *l, int slot);

/* Steering. A slot is live when new connections may go to it; at first none is, and then they go to
 * all. listener_steer() makes what was set since the last time true: with a program on the group of
 * sockets when there is a choice to make, else the kernel's own hash does. Cheap when nothing
 * changed. Where the kernel takes no program its hash goes over all slots, live or not: -errno when
 * that was not so before. No-ops for one socket that all slots share. */
void listener_set_live(struct listener *l, int slot, bool live);
int listener_steer(struct listener *l, const struct steer_plan *plan);

/* Before another program of this process takes the sockets over: as of steer_release(). */
void listener_release(struct listener *l);

/* Moves the connections that wait in a slot's socket to sockets of live slots (to any of the others
 * where it is done by the sysctl net.ipv4.tcp_migrate_req). The slot is not live after that; its
 * socket listens on, but a worker that sleeps in accept(2) gets EINVAL. How many were moved; 0 when
 * there is no other live slot; -EOPNOTSUPP when the kernel cannot (needs CAP_BPF or the sysctl), or
 * it is no TCP socket of this slot alone; -errno when the socket had to be left shut down. */
int listener_rescue(struct listener *l, int slot);

/* How many connections wait to be accepted in the slot's socket. UDP: 1 when a datagram waits.
 * -EOPNOTSUPP: Unix; -EINVAL: no such slot. */
int listener_queue(const struct listener *l, int slot);

/* The same of all its sockets together, as far as it is known. */
int listener_queued(const struct listener *l);

/* Whether the kernel has taken what listener_steer() wanted. */
bool listener_is_steered(const struct listener *l);

/* Has the sockets watched, those to come too; the owner that `watch` tells is the listener, the
 * number is that of the slot, 0 for a socket that all share. Unix sockets are not watched. */
void listener_watch(struct listener *l, struct socket_watch *watch);

/* Has it told once when connections wait in the slot's socket. */
void listener_arm(struct listener *l, int slot);

/* One look at the queue of a slot's socket, compared with the last; added to what `sum` holds. */
struct listener_sample {
    int waiting; /* connections; of datagrams only whether there are any */
    bool taken;  /* fewer than at the last look */
    bool grown;  /* more than at the last look */
};
void listener_sample(struct listener *l, int slot, struct listener_sample *sum);

/* The watch told that the slot's socket was shut down. listener_heal() has it listen again, if that
 * is so and has not been done yet; to get connections it has to be live again and steered. 1: it
 * was healed; 0: there was nothing to do; -EOPNOTSUPP: UDP, which has to wait for the next start;
 * -errno. */
void listener_note_shut(struct listener *l, int slot);
int listener_heal(struct listener *l, int slot);

/* Undoes what workers may have put on sockets that serve: steering programs of their own, and
 * filters that drop connections. Returns how many filters there were. */
int listener_undo(struct listener *l);

/* Counts up when a socket of any listener comes, goes, begins to listen or changes its place in its
 * group. */
uint64_t listener_changes(void);

/* The inodes of the sockets in a group in the kernel's order, at most `max`; returns how many. */
size_t listener_order(const struct listener *l, uint64_t *inodes, size_t max);

int listener_fd(const struct listener *l, int slot); /* owned by the listener; -1: no such slot */
uint64_t listener_inode(const struct listener *l, int slot);     /* 0: no such slot, or not bound */
const struct sockspec *listener_spec(const struct listener *l);  /* as it was asked for */
const struct sockspec *listener_bound(const struct listener *l); /* real port and interface */
const char *listener_name(const struct listener *l);             /* for LISTEN_FDNAMES */
const char *listener_address(const struct listener *l);          /* with the real port */
uint16_t listener_port(const struct listener *l);                /* 0: Unix */
bool listener_is_inherited(const struct listener *l);            /* by listener_take() */
bool listener_is_shared(const struct listener *l);
bool listener_is_udp(const struct listener *l);
bool listener_is_unix(const struct listener *l);
bool listener_is_reachable(const struct listener *l); /* not when a Unix socket's file is gone */

#endif
