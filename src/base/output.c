#include "base/output.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>

enum { TERMINAL_PIECE_MAX = 100 };

static struct output standard[] = {{.fd = -1}, {.fd = -1}};

static ssize_t write_socket(int fd, const void *data, size_t len)
{
    return send(fd, data, len, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* What a terminal takes in one go when it tells that there is room: a little text, or the newline
 * that ends a line, which becomes two characters and waits when only the text before it fits. */
static size_t terminal_piece(const char *data, size_t left)
{
    const char *newline = memchr(data, '\n', left);
    size_t text = newline ? (size_t)(newline - data) : left;

    if (text == 0)
        return 1;
    return text < TERMINAL_PIECE_MAX ? text : TERMINAL_PIECE_MAX;
}

/* Terminals do not know RWF_NOWAIT. */
static ssize_t write_polled(int fd, const char *data, size_t len)
{
    struct pollfd pfd = {.fd = fd, .events = POLLOUT};
    size_t done = 0;

    while (done < len && poll(&pfd, 1, 0) == 1) {
        ssize_t n = write(fd, data + done, terminal_piece(data + done, len - done));

        if (n <= 0)
            return done > 0 ? (ssize_t)done : n;
        done += (size_t)n;
    }
    if (done > 0)
        return (ssize_t)done;
    errno = EAGAIN;
    return -1;
}

/* For a description that others share and whose flags are not ours to change. */
static ssize_t write_shared(int fd, const void *data, size_t len)
{
    struct iovec iov = {.iov_base = (void *)data, .iov_len = len};
    ssize_t n = pwritev2(fd, &iov, 1, -1, RWF_NOWAIT);

    if (n < 0 && (errno == EOPNOTSUPP || errno == ENOSYS))
        return write_polled(fd, data, len);
    return n;
}

/* A regular file is shared as it is, not opened again: where it was not opened for appending, the
 * workers write at the shared offset and would write over what we appended beyond it. */
static void open_standard(struct output *o, int fd, const struct stat *st)
{
    enum { flags = O_WRONLY | O_APPEND | O_NONBLOCK | O_NOCTTY | O_CLOEXEC };
    char path[sizeof("/proc/self/fd/2")] = "/proc/self/fd/";

    o->dev = st->st_dev;
    o->ino = st->st_ino;
    path[sizeof(path) - 2] = (char)('0' + fd);
    if (!S_ISSOCK(st->st_mode) && !S_ISREG(st->st_mode))
        o->fd = open(path, flags);
    if (o->fd >= 0)
        return;
    o->fd = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    if (S_ISSOCK(st->st_mode))
        o->write = write_socket;
    else if (!S_ISREG(st->st_mode))
        o->write = write_shared;
}

struct output *output_standard(int fd)
{
    struct output *o = &standard[fd == STDERR_FILENO], *other = &standard[fd != STDERR_FILENO];
    bool is_open;
    struct stat st;

    if (o->refs++ > 0)
        return o;
    *o = (struct output){.refs = 1, .fd = -1, .write = write};
    is_open = fstat(fd, &st) == 0;
    if (is_open && other->refs > 0 && st.st_dev == other->dev && st.st_ino == other->ino) {
        o->refs = 0;
        other->refs++;
        return other;
    }
    if (is_open)
        open_standard(o, fd, &st);
    return o;
}

/* A symbolic link is followed: administrators lead logs elsewhere with it. */
int output_file(const char *path, struct output **out)
{
    enum { flags = O_WRONLY | O_APPEND | O_CREAT | O_NONBLOCK | O_NOCTTY | O_CLOEXEC };
    CLEANUP_CLOSE int fd = open(path, flags, 0640);
    struct output *o;
    struct stat st;

    if (fd < 0 || fstat(fd, &st) < 0)
        return -errno;
    o = malloc(sizeof(*o));
    if (!o)
        return -ENOMEM;
    *o = (struct output){.refs = 1, .write = write, .dev = st.st_dev, .ino = st.st_ino};
    o->fd = util_take_fd(&fd);
    *out = o;
    return 0;
}

void output_unref(struct output *o)
{
    bool is_standard = o == &standard[0] || o == &standard[1];

    if (!o || --o->refs > 0)
        return;
    util_close_p(&o->fd);
    buf_free(&o->rest);
    if (!is_standard)
        free(o);
}

bool output_is_same_file(const struct output *a, const struct output *b)
{
    return a->dev == b->dev && a->ino == b->ino;
}

/* How much went out, or -errno. */
static ssize_t write_some(const struct output *o, const void *data, size_t len)
{
    ssize_t n = TEMP_FAILURE_RETRY(o->write(o->fd, data, len));

    if (n > 0)
        return n;
    return n < 0 ? -errno : -EIO;
}

int output_flush(struct output *o)
{
    ssize_t n;

    if (o->rest.len == 0)
        return 0;
    n = write_some(o, o->rest.data, o->rest.len);
    if (n < 0)
        return (int)n;
    o->rest.len -= (size_t)n;
    memmove(o->rest.data, o->rest.data + n, o->rest.len);
    if (o->rest.len > 0)
        return -EAGAIN;
    buf_free(&o->rest);
    return 0;
}

int output_write(struct output *o, const void *data, size_t len)
{
    int err = output_flush(o);
    ssize_t n = err < 0 ? err : write_some(o, data, len);

    if (n < 0)
        return (int)n;
    buf_append(&o->rest, (const char *)data + n, len - (size_t)n);
    if (o->rest.failed)
        buf_free(&o->rest); /* without memory the line is torn */
    return 0;
}

int output_write_first(struct output *o, const void *data, size_t len)
{
    int err = output_write(o, data, len);

    if (err != -EAGAIN || o->watchers == 0 || o->rest.len + len > OUTPUT_WAITING_MAX)
        return err;
    buf_append(&o->rest, data, len);
    if (!o->rest.failed)
        return 0;
    o->rest.failed = false; /* what is there is whole still */
    return -ENOMEM;
}
