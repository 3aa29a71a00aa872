/* Looking into a process that waits in bind(2) or listen(2): what it asks for, and what its socket
 * is like. All by way of /proc and of the rights that ptrace(2) would need. */
#ifndef PREFORKD_MECHANISM_ADOPT_TARGET_H
#define PREFORKD_MECHANISM_ADOPT_TARGET_H

#include <sys/types.h>

#include "policy/sockspec.h"

struct adopt_target {
    pid_t tid; /* the thread that called */
    int fd;    /* its descriptor */

    pid_t pid;             /* the process of the thread */
    uint64_t inode;        /* of the socket */
    int flags;             /* O_CLOEXEC of the descriptor, O_NONBLOCK of the socket */
    struct sockspec asked; /* after adopt_target_read_bind() */
    int socket_fd;         /* a duplicate of the socket, where that is allowed; else -1 */
};

/* Both take tid and fd from `t`, fill in the rest and return 0, or:
 * -EAGAIN there is nothing to adopt: the kernel knows best what to do or how to refuse it,
 * -EACCES we may not look (or /proc is hidden from us), -ENOMEM.
 * When our own rights do not suffice, those of the process's user are taken for the moment, which
 * needs CAP_SETUID and CAP_SETGID but not CAP_SYS_PTRACE. The thread may be gone meanwhile and its
 * number belong to another: the answer is worth something only when the call still waits. */
int adopt_target_read_bind(struct adopt_target *t, uint64_t address, uint64_t len);
int adopt_target_read_listen(struct adopt_target *t);

/* Gets the duplicate, where that is allowed and was not done yet. */
void adopt_target_duplicate(struct adopt_target *t);
void adopt_target_release(struct adopt_target *t);

#endif
