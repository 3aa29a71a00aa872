#include "ctl/top.h"

#include <signal.h>

#include "base/clock.h"
#include "ctl/client.h"
#include "ctl/field.h"
#include "ctl/terminal.h"
#include "ctl/text.h"
#include "ctl/view.h"

enum { REFRESH_MS = 1000, ANSWER_MS = 5000, FDS = 2 };

struct top {
    struct client client;
    struct why away; /* why there is no answer; empty when there was one */
    json_t *status, *before;
    int64_t status_ms, before_ms;
    int64_t asked_ms;
    bool asking, stale; /* stale: the screen shows what is no more */
    size_t scroll;      /* lines above the screen */
    int signal_fd;
    int end; /* < 0: go on; else what top_run() returns */
};

/* --- The screen --- */

static void add_status(struct top *t, const struct look *look, struct buf *out)
{
    const struct view view = {
        .status = t->status,
        .before = t->before,
        .between_s = (double)(t->status_ms - t->before_ms) / 1000,
        .now_s = (double)clock_wall_ms() / 1000,
        .look = *look,
    };

    if (*t->away.text) {
        look_begin(look, STYLE_RED, out);
        text_clean(out, t->away.text);
        look_end(look, STYLE_RED, out);
        buf_putc(out, '\n');
    }
    if (t->status)
        view_print(&view, out);
}

/* As many lines as there are on the screen, from `scroll` on; the last page stays full. */
static void add_lines(struct top *t, const char *text, size_t height, struct buf *out)
{
    size_t lines = 0;

    for (const char *c = text; *c; c++)
        lines += *c == '\n';
    if (t->scroll + height > lines)
        t->scroll = lines > height ? lines - height : 0;
    for (size_t i = 0; *text && i < t->scroll + height; i++) {
        size_t len = strcspn(text, "\n");

        if (i >= t->scroll) {
            buf_puts(out, i > t->scroll ? "\r\n" : "");
            buf_append(out, text, len);
            buf_puts(out, "\033[K");
        }
        text += len + (text[len] == '\n');
    }
}

static void draw(struct top *t)
{
    CLEANUP_BUF struct buf text = BUF_INIT, screen = BUF_INIT;
    struct look look = terminal_look();

    add_status(t, &look, &text);
    buf_puts(&screen, "\033[H");
    add_lines(t, buf_str(&text), terminal_height(), &screen);
    buf_puts(&screen, "\033[J");
    for (size_t done = 0; done < screen.len;) {
        ssize_t n = write(STDOUT_FILENO, screen.data + done, screen.len - done);

        if (n < 0 && errno != EINTR) {
            t->end = SIGHUP;
            break;
        }
        done += n > 0 ? (size_t)n : 0;
    }
    t->stale = false;
}

/* --- The master --- */

static void take_answer(struct top *t, enum client_outcome outcome)
{
    t->asking = false;
    t->stale = true;
    if (outcome != CLIENT_DONE)
        return;
    if (t->client.status != 200) {
        why_fail(&t->away, -EPROTO, "%s", field_text(t->client.answer.last, "error"));
        return;
    }
    json_decref(t->before);
    t->before = t->status;
    t->before_ms = t->status_ms;
    t->status = json_incref(t->client.answer.last);
    t->status_ms = clock_ms();
    t->away.text[0] = '\0';
}

static void ask(struct top *t, int64_t now)
{
    t->asked_ms = now;
    t->asking = client_start(&t->client, false, "/v1/status") == 0;
}

/* What is due; returns how long nothing will be. */
static int tick(struct top *t)
{
    int64_t now = clock_ms(), due = t->asked_ms + (t->asking ? ANSWER_MS : REFRESH_MS);

    if (now >= due && t->asking) {
        why_fail(&t->away, -ETIMEDOUT, "the master at %s does not answer", t->client.socket);
        t->stale = true;
    }
    if (now >= due) {
        ask(t, now);
        due = now + (t->asking ? ANSWER_MS : REFRESH_MS);
    }
    if (t->stale)
        draw(t);
    return (int)(due - now);
}

/* --- The user --- */

static const struct {
    const char *keys;
    int lines, pages;
} scrolls[] = {
    {"j", 1, 0},  {"\033[B", 1, 0},  {"\033OB", 1, 0},  {" ", 0, 1},  {"\033[6~", 0, 1},
    {"k", -1, 0}, {"\033[A", -1, 0}, {"\033OA", -1, 0}, {"b", 0, -1}, {"\033[5~", 0, -1},
};

static void scroll(struct top *t, int lines)
{
    size_t up = lines < 0 ? (size_t)-lines : 0;

    t->scroll = up > t->scroll ? 0 : t->scroll - up + (lines > 0 ? (size_t)lines : 0);
    t->stale = true;
}

/* Takes one key and returns its length; what is not known is one byte long. */
static size_t take_key(struct top *t, const char *keys)
{
    for (size_t i = 0; i < ARRAY_SIZE(scrolls); i++)
        if (str_after(keys, scrolls[i].keys)) {
            scroll(t, scrolls[i].lines + scrolls[i].pages * (int)terminal_height());
            return strlen(scrolls[i].keys);
        }
    if (*keys == 'q' || *keys == 'Q')
        t->end = 0;
    return 1;
}

static void read_keys(struct top *t)
{
    char keys[64];
    ssize_t n = read(STDIN_FILENO, keys, sizeof(keys) - 1);

    if (n < 0 && errno != EINTR && errno != EAGAIN)
        t->end = SIGHUP;
    if (n <= 0)
        return;
    keys[n] = '\0';
    for (const char *k = keys; *k;)
        k += take_key(t, k);
}

static void read_signals(struct top *t)
{
    int signo;

    while ((signo = terminal_signal(t->signal_fd)) > 0) {
        if (signo == SIGTSTP)
            terminal_suspend();
        if (signo == SIGTSTP || signo == SIGCONT || signo == SIGWINCH)
            t->stale = true;
        else
            t->end = signo;
    }
}

static void loop(struct top *t)
{
    bool keys = isatty(STDIN_FILENO);

    ask(t, clock_ms());
    while (t->end < 0) {
        struct curl_waitfd fds[FDS] = {{.fd = t->signal_fd, .events = CURL_WAIT_POLLIN},
                                       {.fd = STDIN_FILENO, .events = CURL_WAIT_POLLIN}};
        enum client_outcome outcome = client_step(&t->client, tick(t), fds, keys ? 2 : 1);

        if (outcome != CLIENT_BUSY)
            take_answer(t, outcome);
        read_signals(t);
        if (keys)
            read_keys(t);
    }
}

int top_run(const char *socket, struct why *why)
{
    struct top t = {.end = -1};
    int err;

    err = client_init(&t.client, socket, &t.away);
    if (err < 0) {
        *why = t.away;
        return err;
    }
    t.signal_fd = terminal_open();
    if (t.signal_fd >= 0) {
        loop(&t);
        terminal_close(t.signal_fd);
    }
    json_decref(t.before);
    json_decref(t.status);
    client_free(&t.client);
    return t.signal_fd < 0 ? why_fail_errno(why, t.signal_fd, "signals") : t.end;
}
