/* Where whole lines go: a standard stream, which others share, or a file.
 *
 * A write never waits and never changes the flags of a shared description: pipes and terminals are
 * written through an open file description of our own (re-opened by way of /proc/self/fd), sockets
 * with MSG_DONTWAIT, and where re-opening is refused with RWF_NOWAIT or after poll(2). Of a line
 * that went out in part the rest is kept, and goes before anything else: whoever writes through the
 * same output cannot tear it. The program must ignore SIGPIPE. */
#ifndef PREFORKD_BASE_OUTPUT_H
#define PREFORKD_BASE_OUTPUT_H

#include <sys/types.h>

#include "base/buf.h"

/* A pipe takes so much as a whole or not at all, whoever else writes to it: pipe(7). */
#define OUTPUT_ATOMIC_MAX 4096

#define OUTPUT_WAITING_MAX 65536 /* bytes that may wait */

/* write(2) in all but name: never waits, -1 and errno otherwise. */
typedef ssize_t (*output_write_fn)(int fd, const void *data, size_t len);

struct output {
    unsigned refs;
    int fd; /* to wait on for room; -1: everything is lost */
    output_write_fn write;
    dev_t dev;
    ino_t ino;
    struct buf rest;   /* of a line that went out in part, and lines that wait */
    unsigned watchers; /* who will call output_flush() when there is room */
};

/* A reference of the output of STDOUT_FILENO or STDERR_FILENO: the same for all who ask, and one
 * for both when both are the same file. Never fails: behind a stream that is closed, or cannot be
 * duplicated, every line is lost. */
struct output *output_standard(int fd);

/* Appends to a file, which is created with mode 0640. -errno from open(2). */
int output_file(const char *path, struct output **out);

void output_unref(struct output *o); /* NULL is allowed */

bool output_is_same_file(const struct output *a, const struct output *b);

/* Writes whole lines. 0: they are on their way. -EAGAIN: there is no room now; or another -errno of
 * write(2). Nothing was taken then. */
int output_write(struct output *o, const void *data, size_t len);

/* The same for a line that may wait for room, where somebody watches for it. Lines that wait go
 * before those of output_write(), which may use up all the room there is. */
int output_write_first(struct output *o, const void *data, size_t len);

/* The rest of a line only. 0: there is none left. */
int output_flush(struct output *o);

#endif
