#include "base/log.h"

#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>

#include "base/buf.h"
#include "base/clock.h"

/* A write of at most PIPE_BUF bytes to a pipe is whole or EAGAIN, see pipe(7). */
enum { LINE_MAX_BYTES = 4096, MESSAGE_MAX = 4000, TERMINAL_PIECE_MAX = 100 };

/* write(2) in all but name: never waits, -1 and errno otherwise. */
typedef ssize_t (*write_fn)(int fd, const void *data, size_t len);

struct target {
    int fd;
    write_fn write;
    dev_t dev;
    ino_t ino;
    bool journal; /* the journal reads it */
};

static const struct {
    const char *name;
    const char *padded;
    int priority; /* of syslog(3), for the journal */
} levels[] = {
    [LOG_LEVEL_ERROR] = {"error", "error", 3},
    [LOG_LEVEL_WARN] = {"warn", "warn ", 4},
    [LOG_LEVEL_INFO] = {"info", "info ", 6},
    [LOG_LEVEL_DEBUG] = {"debug", "debug", 7},
};

static struct {
    enum log_level level;
    enum log_format format;
    char *file; /* NULL is stderr */
    bool open;
    struct target target;
    uint64_t dropped;
    uint64_t untold;           /* of these, not yet told in the log */
    char rest[LINE_MAX_BYTES]; /* of a line that went out in part */
    size_t rest_len;
} state = {.level = LOG_LEVEL_INFO, .target = {.fd = -1}};

/* --- Targets --- */

static ssize_t write_socket(int fd, const void *data, size_t len)
{
    return send(fd, data, len, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* What a terminal takes in one go when it tells that there is room: a little text, or the newline
 * that ends a line, which becomes two characters and waits when only the text before it fits. */
static size_t terminal_piece(size_t left)
{
    if (left == 1)
        return 1;
    return left - 1 < TERMINAL_PIECE_MAX ? left - 1 : TERMINAL_PIECE_MAX;
}

/* Terminals do not know RWF_NOWAIT. */
static ssize_t write_polled(int fd, const char *data, size_t len)
{
    struct pollfd pfd = {.fd = fd, .events = POLLOUT};
    size_t done = 0;

    while (done < len && poll(&pfd, 1, 0) == 1) {
        ssize_t n = write(fd, data + done, terminal_piece(len - done));

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

/* systemd.exec(5): JOURNAL_STREAM holds device and inode of the stream that the journal reads. */
static bool journal_reads(const struct stat *st)
{
    const char *stream = getenv("JOURNAL_STREAM");
    unsigned long long dev, ino;
    char more;

    return stream && sscanf(stream, "%llu:%llu%c", &dev, &ino, &more) == 2 && dev == st->st_dev &&
           ino == st->st_ino;
}

/* A closed stderr gives a target that loses every line, which is not worth failing for.
 * A regular file is shared as it is, not opened again: where it was not opened for appending, the
 * workers write at the shared offset and would write over what we appended beyond it. */
static struct target target_stderr(void)
{
    enum { flags = O_WRONLY | O_APPEND | O_NONBLOCK | O_NOCTTY | O_CLOEXEC };
    struct target t = {.fd = -1, .write = write};
    struct stat st;

    if (fstat(STDERR_FILENO, &st) < 0)
        return t;
    if (!S_ISSOCK(st.st_mode) && !S_ISREG(st.st_mode))
        t.fd = open("/proc/self/fd/2", flags);
    if (t.fd < 0) {
        t.fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
        if (S_ISSOCK(st.st_mode))
            t.write = write_socket;
        else if (!S_ISREG(st.st_mode))
            t.write = write_shared;
    }
    t.dev = st.st_dev;
    t.ino = st.st_ino;
    t.journal = journal_reads(&st);
    return t;
}

/* A symbolic link is followed: administrators lead logs elsewhere with it. */
static int target_file(const char *path, struct target *t)
{
    enum { flags = O_WRONLY | O_APPEND | O_CREAT | O_NONBLOCK | O_NOCTTY | O_CLOEXEC };
    struct stat st;

    *t = (struct target){.fd = open(path, flags, 0640), .write = write};
    if (t->fd < 0)
        return -errno;
    if (fstat(t->fd, &st) < 0) {
        int err = -errno;

        util_close_p(&t->fd);
        return err;
    }
    t->dev = st.st_dev;
    t->ino = st.st_ino;
    return 0;
}

/* --- Writing --- */

static void count_lost(void)
{
    state.dropped++;
    state.untold++;
}

static bool flush_rest(void)
{
    ssize_t n;

    if (state.rest_len == 0)
        return true;
    n = TEMP_FAILURE_RETRY(state.target.write(state.target.fd, state.rest, state.rest_len));
    if (n <= 0)
        return false;
    state.rest_len -= (size_t)n;
    memmove(state.rest, state.rest + n, state.rest_len);
    return state.rest_len == 0;
}

/* Whether the line is on its way: written, or its begin is and the rest is kept, so that the next
 * line cannot follow on the same line. */
static bool write_line(const struct buf *line)
{
    ssize_t n;

    if (line->failed || line->len > LINE_MAX_BYTES || !flush_rest())
        return false;
    n = TEMP_FAILURE_RETRY(state.target.write(state.target.fd, line->data, line->len));
    if (n <= 0)
        return false;
    state.rest_len = line->len - (size_t)n;
    memcpy(state.rest, line->data + n, state.rest_len);
    return true;
}

static void use_target(struct target t)
{
    if (!flush_rest()) {
        state.rest_len = 0;
        count_lost();
    }
    util_close_p(&state.target.fd);
    state.target = t;
    state.open = true;
}

/* --- Lines --- */

static void put_time(struct buf *line)
{
    int64_t now_ms = clock_wall_ms();
    time_t seconds = (time_t)(now_ms / 1000);
    char text[sizeof("2026-11-21T04:05:06")];
    struct tm tm;

    strftime(text, sizeof(text), "%FT%T", gmtime_r(&seconds, &tm));
    buf_printf(line, "%s.%03dZ", text, (int)(now_ms % 1000));
}

static void put_who(struct buf *line, const struct log_who *who)
{
    if (who->pool)
        buf_escape(line, who->pool, strlen(who->pool));
    if (who->slot >= 0)
        buf_printf(line, ".%d", who->slot);
    if (who->pid > 0)
        buf_printf(line, "[%d]", (int)who->pid);
    if (who->pool || who->slot >= 0 || who->pid > 0)
        buf_puts(line, ": ");
}

struct event {
    enum log_level level;
    const struct log_who *who;
    const char *message;
    const char *end; /* "..." when the message was cut */
};

static void render_text(struct buf *line, const struct event *e, size_t len)
{
    if (state.format == LOG_FORMAT_AUTO && state.target.journal) {
        buf_printf(line, "<%d>", levels[e->level].priority);
    } else {
        put_time(line);
        buf_printf(line, " %s ", levels[e->level].padded);
    }
    put_who(line, e->who);
    buf_escape(line, e->message, len);
    buf_puts(line, e->end);
}

static void render_json(struct buf *line, const struct event *e, size_t len)
{
    char message[MESSAGE_MAX + sizeof("...")];

    buf_puts(line, "{\"time\":\"");
    put_time(line);
    buf_printf(line, "\",\"level\":\"%s\"", levels[e->level].name);
    if (e->who->pool) {
        buf_puts(line, ",\"pool\":");
        buf_json_string(line, e->who->pool, strlen(e->who->pool));
    }
    if (e->who->slot >= 0)
        buf_printf(line, ",\"slot\":%d", e->who->slot);
    if (e->who->pid > 0)
        buf_printf(line, ",\"pid\":%d", (int)e->who->pid);
    buf_puts(line, ",\"message\":");
    snprintf(message, sizeof(message), "%.*s%s", (int)len, e->message, e->end);
    buf_json_string(line, message, strlen(message));
    buf_putc(line, '}');
}

/* Whether the line with the first `len` bytes of the message fits. */
static bool render(struct buf *line, const struct event *e, size_t len)
{
    line->len = 0;
    (state.format == LOG_FORMAT_JSON ? render_json : render_text)(line, e, len);
    buf_putc(line, '\n');
    return line->len <= LINE_MAX_BYTES;
}

/* The longest part of the message that fits once escaped, without half a UTF-8 character. */
static void render_cut(struct buf *line, struct event *e, size_t len)
{
    size_t low = 0;

    e->end = "...";
    while (low < len) {
        size_t middle = len - (len - low) / 2;

        if (render(line, e, middle))
            low = middle;
        else
            len = middle - 1;
    }
    while (low > 0 && (e->message[low] & 0xc0) == 0x80)
        low--;
    render(line, e, low);
}

static bool emit(enum log_level level, const struct log_who *who, const char *message, size_t len)
{
    CLEANUP_BUF struct buf line = BUF_INIT;
    struct event e = {.level = level, .who = who, .message = message, .end = ""};
    size_t kept = len < MESSAGE_MAX ? len : MESSAGE_MAX;

    if (kept < len || !render(&line, &e, kept))
        render_cut(&line, &e, kept);
    return write_line(&line);
}

static bool tell_losses(void)
{
    char message[64];
    int len;

    if (state.untold == 0)
        return true;
    len = snprintf(message, sizeof(message), "%llu log lines were lost",
                   (unsigned long long)state.untold);
    if (!emit(LOG_LEVEL_WARN, LOG_NOBODY, message, (size_t)len))
        return false;
    state.untold = 0;
    return true;
}

void log_write(enum log_level level, const struct log_who *who, const char *fmt, ...)
{
    char message[MESSAGE_MAX + 2]; /* one byte more than is kept shows that it is too long */
    int saved_errno = errno;
    va_list ap;
    int len;

    if (!log_enabled(level))
        return;
    if (!state.open)
        use_target(target_stderr());
    va_start(ap, fmt);
    len = vsnprintf(message, sizeof(message), fmt, ap);
    va_end(ap);
    if (len < 0 || !tell_losses() || !emit(level, who, message, strnlen(message, sizeof(message))))
        count_lost();
    errno = saved_errno;
}

/* --- Settings --- */

int log_configure(const struct log_config *config)
{
    const char *path = streq(config->file, "-") ? NULL : config->file;
    bool same = path && state.file ? streq(path, state.file) : path == state.file;

    if (!same || !state.open) {
        struct target t;
        char *copy = path ? strdup(path) : NULL;
        int err = path && !copy ? -ENOMEM : 0;

        if (err == 0 && path)
            err = target_file(path, &t);
        else if (err == 0)
            t = target_stderr();
        if (err < 0) {
            free(copy);
            return err;
        }
        use_target(t);
        free(state.file);
        state.file = copy;
    }
    state.level = config->level;
    state.format = config->format;
    return 0;
}

int log_reopen(void)
{
    struct target t;
    int err;

    if (!state.file)
        return 0;
    err = target_file(state.file, &t);
    if (err < 0)
        return err;
    /* Still the same file: the rest of a line, if any, belongs behind what is there. */
    if (t.dev == state.target.dev && t.ino == state.target.ino)
        util_close_p(&t.fd);
    else
        use_target(t);
    return 0;
}

void log_close(void)
{
    flush_rest();
    util_close_p(&state.target.fd);
    free(state.file);
    memset(&state, 0, sizeof(state));
    state.level = LOG_LEVEL_INFO;
    state.target.fd = -1;
}

bool log_enabled(enum log_level level)
{
    return level <= state.level;
}

uint64_t log_dropped(void)
{
    return state.dropped;
}
