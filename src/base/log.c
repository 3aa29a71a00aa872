#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/output.h"

enum { LINE_MAX_BYTES = OUTPUT_ATOMIC_MAX, MESSAGE_MAX = 4000 };

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
    char *file;            /* NULL is stderr */
    struct output *output; /* NULL: not opened yet */
    bool journal;          /* the journal reads it */
    uint64_t dropped;
    uint64_t untold; /* of these, not yet told in the log */
} state = {.level = LOG_LEVEL_INFO};

/* --- Writing --- */

/* systemd.exec(5): JOURNAL_STREAM holds device and inode of the stream that the journal reads. */
static bool journal_reads(const struct output *o)
{
    const char *stream = getenv("JOURNAL_STREAM");
    unsigned long long dev, ino;
    char more;

    return stream && sscanf(stream, "%llu:%llu%c", &dev, &ino, &more) == 2 && dev == o->dev &&
           ino == o->ino;
}

static void count_lost(void)
{
    state.dropped++;
    state.untold++;
}

/* Whether the line is on its way: written, or kept to be written when there is room. */
static bool write_line(const struct buf *line)
{
    return !line->failed && line->len <= LINE_MAX_BYTES &&
           output_write_first(state.output, line->data, line->len) == 0;
}

static void use_output(struct output *o, bool journal)
{
    if (state.output && output_flush(state.output) < 0)
        count_lost();
    output_unref(state.output);
    state.output = o;
    state.journal = journal;
}

static void use_stderr(void)
{
    struct output *o = output_standard(STDERR_FILENO);

    use_output(o, journal_reads(o));
}

/* --- Lines --- */

static void put_time(struct buf *line)
{
    char text[CLOCK_WALL_TEXT];

    buf_puts(line, clock_wall_text(clock_wall_ms(), text));
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
    if (state.format == LOG_FORMAT_AUTO && state.journal) {
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
    render(line, e, utf8_cut(e->message, low));
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
    if (!state.output)
        use_stderr();
    va_start(ap, fmt);
    len = vsnprintf(message, sizeof(message), fmt, ap);
    va_end(ap);
    if (len < 0 || !tell_losses() || !emit(level, who, message, strnlen(message, sizeof(message))))
        count_lost();
    errno = saved_errno;
}

/* --- Settings --- */

static int use_file(const char *path)
{
    char *copy = strdup(path);
    struct output *o;
    int err = copy ? output_file(path, &o) : -ENOMEM;

    if (err < 0) {
        free(copy);
        return err;
    }
    use_output(o, false);
    free(state.file);
    state.file = copy;
    return 0;
}

static void leave_file(void)
{
    use_stderr();
    free(state.file);
    state.file = NULL;
}

int log_configure(const struct log_config *config)
{
    bool wants_file = !streq(config->file, "-");
    int err = 0;

    if (wants_file && !(state.file && streq(config->file, state.file)))
        err = use_file(config->file);
    else if (!wants_file && (state.file || !state.output))
        leave_file();
    if (err < 0)
        return err;
    state.level = config->level;
    state.format = config->format;
    return 0;
}

int log_reopen(void)
{
    struct output *o;
    int err;

    if (!state.file)
        return 0;
    err = output_file(state.file, &o);
    if (err < 0)
        return err;
    /* Still the same file: the rest of a line, if any, belongs behind what is there. */
    if (output_is_same_file(o, state.output))
        output_unref(o);
    else
        use_output(o, false);
    return 0;
}

void log_close(void)
{
    if (state.output)
        output_flush(state.output);
    output_unref(state.output);
    free(state.file);
    memset(&state, 0, sizeof(state));
    state.level = LOG_LEVEL_INFO;
}

bool log_enabled(enum log_level level)
{
    return level <= state.level;
}

uint64_t log_dropped(void)
{
    return state.dropped;
}
