/* Taking a connection from a socket whose flags are somebody else's. */
#ifndef PREFORKD_BASE_ACCEPT_H
#define PREFORKD_BASE_ACCEPT_H

/* accept(2) from a listening socket that may be a blocking one, without ever waiting longer than a
 * millisecond or two: O_NONBLOCK belongs to the open file description, and workers that share it
 * rely on theirs. Returns a descriptor, non-blocking and close-on-exec. -EAGAIN: nobody waits;
 * -EINVAL: the socket does not listen; or what accept(2) says. Uses SIGALRM and ITIMER_REAL, which
 * the caller must not use otherwise and must have blocked; for one thread only. */
int accept_shared(int listen_fd);

#endif
