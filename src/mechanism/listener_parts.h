/* What the files of a listener share; nobody else includes this. */
#ifndef PREFORKD_MECHANISM_LISTENER_PARTS_H
#define PREFORKD_MECHANISM_LISTENER_PARTS_H

#include "mechanism/listener.h"
#include "mechanism/socket_watch.h"
#include "mechanism/sockopts.h"
#include "mechanism/steer.h"
#include "mechanism/unix_socket.h"

struct slot_socket {
    int fd;
    uint64_t inode;
    int level; /* of its queue at the last sample: connections, or bytes of datagrams */
    bool shut; /* a worker shut it down, and it was not healed yet */
};

struct listener {
    unsigned refs;
    struct sockspec spec;  /* as asked for */
    struct sockspec bound; /* what it became: the real port, 0.0.0.0 where IPv6 is off */
    char *name;
    char *address;
    int backlog;
    int flags; /* of the open file description at creation */
    bool shared;
    bool inherited;
    struct sockopts options; /* at creation */
    struct unix_socket_file file;
    struct slot_socket *sockets; /* one when shared */
    int nsockets;
    int nslots;
    struct steer steer;
    struct socket_watch *watch; /* NULL: nobody wants to know */
    struct listener *next;
};

/* The socket that a slot uses; NULL: it has none. */
struct slot_socket *listener_socket(const struct listener *l, int slot);

uint64_t listener_inode_of(int fd);

/* A listener without sockets, and its end. NULL: out of memory. */
struct listener *listener_new(const struct sockspec *spec, const char *name,
                              const struct listener_options *options);
void listener_free(struct listener *l);

/* Makes and binds the socket of a slot that has none, and listens on it; steer_before_join() comes
 * before further ones. -errno. */
int listener_open_slot(struct listener *l, int slot, struct why *why);

/* To be told of every socket that comes, goes, or begins to listen. */
void listener_changed(void);

/* Puts a socket in the place of a slot (0 when all share it). -ENOMEM: it stays the caller's. */
int listener_put_socket(struct listener *l, int slot, int *take_fd);

/* Notes what a socket is like that no worker had yet, and the listener's address in words. */
void listener_note_options(struct listener *l, int fd);
int listener_describe_address(struct listener *l);

/* The steps to a socket that listens. Each returns 0 (the first one the descriptor) or -errno. */
int listener_new_socket(const struct listener *l);
int listener_prepare_socket(const struct listener *l, int fd); /* its options */
int listener_bind_socket(struct listener *l, int fd, bool reuseport, struct why *why);
int listener_start(struct listener *l, int fd);

/* Port 0 becomes a number: `chooser` is then a bound socket of the caller, which keeps the number
 * until the first slot's socket has it. */
int listener_choose_port(struct listener *l, int *chooser, struct why *why);

/* listener_bind_socket() for the first one, which others may stand in the way of. `chooser`: see
 * above; -1: the port was a number from the beginning. */
int listener_bind_first(struct listener *l, int fd, int chooser, struct why *why);

/* Whether the socket is our own and is bound to something else than `bound`: after a reload that
 * goes from 0.0.0.0:80 to *:80 both are open for a moment, and nothing is lost by that. An own one
 * on just this address is another pool that asked for it too. */
bool listener_is_elsewhere(uint64_t inode, const struct sockspec *bound);

/* Watches a socket that listens, if somebody wants to know; and no more, before it is closed. */
void listener_watch_socket(struct listener *l, struct slot_socket *s);
void listener_unwatch_socket(struct listener *l, int fd);

/* Ends a socket also where a child that is about to start another worker, or a process that cannot
 * be killed, still holds it: it would go on taking connections. */
void listener_leave_group(struct listener *l, int fd);

#endif
