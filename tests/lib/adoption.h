/* For unit tests of adoption: a process under the filter ("play") and a master that answers it, in
 * one turn of a loop that ends by itself when the play is over. */
#ifndef PREFORKD_TESTS_ADOPTION_H
#define PREFORKD_TESTS_ADOPTION_H

#include "process.h"
#include "sockets.h"

#include <ev.h>
#include <linux/capability.h>
#include <sys/stat.h>

#include "mechanism/adopt_filter.h"
#include "mechanism/adopter.h"

/* In a play: ends it with the line that failed. */
#define DEMAND(condition)                                                                          \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            dprintf(STDERR_FILENO, "%s:%d: %s (%s)\n", __FILE__, __LINE__, #condition,             \
                    strerror(errno));                                                              \
            return 1;                                                                              \
        }                                                                                          \
    } while (0)

/* What the master does, and what it heard. */
struct adoption_world {
    int slot_fd; /* to give; or a result as of adopter_ops.bind */
    int listen_result;
    void (*on_bind)(struct adoption_world *w); /* may be NULL */
    bool close_at_once;   /* the adopter is closed before anything is answered */
    void (*before)(void); /* in the child, once the filter is there */

    struct adopter *adopter;
    pid_t child;
    int status; /* how it ended */
    int binds, listens, blinds;
    struct adopter_bind last; /* of the binds */
    uint64_t listen_inode;
    int backlog;
    char reason[128];
};

static UNUSED uint64_t inode_of_fd(int fd)
{
    struct stat st;

    return fstat(fd, &st) == 0 ? st.st_ino : 0;
}

static int world_bind(void *data, const struct adopter_bind *b)
{
    struct adoption_world *w = data;

    w->binds++;
    w->last = *b;
    if (w->on_bind)
        w->on_bind(w);
    return w->slot_fd;
}

static int world_listen(void *data, pid_t pid, uint64_t inode, int backlog)
{
    struct adoption_world *w = data;

    (void)pid;
    w->listens++;
    w->listen_inode = inode;
    w->backlog = backlog;
    return w->listen_result;
}

static void world_blind(void *data, const char *reason)
{
    struct adoption_world *w = data;

    w->blinds++;
    snprintf(w->reason, sizeof(w->reason), "%s", reason);
}

static UNUSED const struct adopter_ops world_ops = {world_bind, world_listen, world_blind};

static int play_under_filter(struct adoption_world *w, int channel, int (*play)(void *), void *data)
{
    struct adopt_filter *filter;
    int fd;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    DEMAND(adopt_filter_new(&filter) == 0);
    fd = adopt_filter_install(filter);
    DEMAND(fd >= 0 && sys_send_with_fd(channel, "", 1, fd) == 0);
    close(fd);
    close(channel);
    if (w->before)
        w->before();
    return play(data);
}

static void world_deadline(struct ev_loop *loop, ev_timer *timer, int events)
{
    struct adoption_world *w = timer->data;

    (void)loop;
    (void)events;
    dprintf(STDERR_FILENO, "the play hangs\n");
    kill(w->child, SIGKILL);
}

/* The kernel before 6.11 calls a tree empty only when its dead are buried. */
static void world_bury(struct ev_loop *loop, ev_io *io, int events)
{
    struct adoption_world *w = io->data;

    (void)events;
    waitpid(w->child, &w->status, 0);
    ev_io_stop(loop, io);
}

/* Until the tree is empty; the child is buried then. */
static UNUSED void world_serve(struct adoption_world *w, int notify_fd)
{
    CLEANUP_CLOSE int pidfd = sys_pidfd_open(w->child);
    struct ev_loop *loop = ev_loop_new(0);
    ev_timer deadline;
    ev_io end;

    ev_timer_init(&deadline, world_deadline, DEADLINE_MS / 1000., 0.);
    deadline.data = w;
    ev_timer_start(loop, &deadline);
    ev_unref(loop);
    ev_io_init(&end, world_bury, pidfd, EV_READ);
    end.data = w;
    ev_io_start(loop, &end);
    if (adopter_open(loop, notify_fd, &world_ops, w, &w->adopter) == 0 && w->close_at_once)
        w->adopter = (adopter_close(w->adopter), NULL);
    ev_run(loop, 0);
    adopter_close(w->adopter);
    ev_ref(loop);
    ev_timer_stop(loop, &deadline);
    ev_loop_destroy(loop);
}

/* Plays and returns the exit status, or 256 + the signal. */
static UNUSED int perform(struct adoption_world *w, int (*play)(void *), void *data)
{
    int ends[2], notify_fd;
    char byte;

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
        return -1;
    w->child = fork();
    if (w->child == 0) {
        close(ends[0]);
        _exit(play_under_filter(w, ends[1], play, data));
    }
    close(ends[1]);
    sys_receive_with_fd(ends[0], &byte, 1, &notify_fd);
    close(ends[0]);
    if (notify_fd < 0)
        return -1;
    world_serve(w, notify_fd);
    return WIFEXITED(w->status) ? WEXITSTATUS(w->status) : 256 + WTERMSIG(w->status);
}

#endif
