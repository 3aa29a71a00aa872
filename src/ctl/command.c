#include "ctl/command.h"

#include <poll.h>
#include <stdio.h>

#include "base/clock.h"
#include "ctl/client.h"
#include "ctl/field.h"
#include "ctl/progress.h"
#include "ctl/socket_path.h"
#include "ctl/terminal.h"
#include "ctl/text.h"
#include "ctl/top.h"
#include "ctl/units.h"
#include "ctl/view.h"

enum { WATCH_MS = 1000 };

struct command {
    const struct options *options;
    const char *path; /* of the request */
    struct client client;
    struct progress progress;
    struct why why;
    json_t *before; /* the last status of --watch */
    int64_t asked_ms, before_ms;
    bool unwritten; /* output was lost */
};

/* --- Output --- */

/* A failure is told in the end, by command_run(). */
static void put(struct command *c, const struct buf *text)
{
    fputs(buf_str(text), stdout);
    if (fflush(stdout) != 0 || text->failed)
        c->unwritten = true;
}

static void clear_progress(struct command *c)
{
    CLEANUP_BUF struct buf out = BUF_INIT;

    progress_clear(&c->progress, &out);
    put(c, &out);
}

/* What the reason says may come from anybody. */
static int fail(struct command *c, enum ctl_exit status, const char *reason)
{
    CLEANUP_BUF struct buf text = BUF_INIT;

    clear_progress(c);
    text_clean(&text, reason);
    fprintf(stderr, "preforkctl: %s: %s\n", options_command_name(c->options->command),
            buf_str(&text));
    return status;
}

static void print_json(void *user, const char *text, size_t len, UNUSED json_t *value)
{
    CLEANUP_BUF struct buf out = BUF_INIT;

    text_clean_json(&out, text, len);
    if (len == 0 || text[len - 1] != '\n')
        buf_putc(&out, '\n');
    put(user, &out);
}

static void print_event(void *user, UNUSED const char *text, UNUSED size_t len, json_t *value)
{
    CLEANUP_BUF struct buf out = BUF_INIT;
    struct command *c = user;

    if (json_object_get(value, "event"))
        progress_event(&c->progress, value, &out);
    put(c, &out);
}

static void print_status(struct command *c)
{
    CLEANUP_BUF struct buf out = BUF_INIT;
    const struct view view = {
        .status = c->client.answer.last,
        .before = c->before,
        .between_s = (double)(c->asked_ms - c->before_ms) / 1000,
        .now_s = (double)clock_wall_ms() / 1000,
        .look = terminal_look(),
    };

    view_print(&view, &out);
    if (c->options->watch)
        buf_putc(&out, '\n');
    put(c, &out);
}

/* --- Asking --- */

/* The master's own words about a request that it refused. */
static int refused(struct command *c)
{
    const char *error = field_text(c->client.answer.last, "error");
    char status[64];

    snprintf(status, sizeof(status), "the master answers with HTTP status %ld", c->client.status);
    return fail(c, CTL_FAILED, *error ? error : status);
}

/* CTL_DONE when there is an answer of success. */
static int ask(struct command *c)
{
    bool post = c->options->command != CTL_STATUS;
    enum client_outcome outcome;

    c->asked_ms = clock_ms();
    outcome = client_ask(&c->client, post, c->path);
    if (outcome != CLIENT_DONE)
        return fail(c, outcome == CLIENT_BROKEN ? CTL_FAILED : CTL_UNREACHABLE, c->why.text);
    return c->client.status / 100 == 2 ? CTL_DONE : refused(c);
}

static int watch(struct command *c)
{
    int status;

    for (;;) {
        status = ask(c);
        if (status == CTL_DONE && !c->options->json)
            print_status(c);
        if (status != CTL_DONE || c->unwritten)
            return status;
        json_decref(c->before);
        c->before = json_incref(c->client.answer.last);
        c->before_ms = c->asked_ms;
        poll(NULL, 0, WATCH_MS);
    }
}

static int run_status(struct command *c)
{
    int status;

    if (c->options->watch)
        return watch(c);
    status = ask(c);
    if (status == CTL_DONE && !c->options->json)
        print_status(c);
    return status;
}

/* --- Operations --- */

static void report_done(struct command *c, const char *result)
{
    CLEANUP_BUF struct buf out = BUF_INIT;

    progress_clear(&c->progress, &out);
    buf_printf(&out, "%s: ", options_command_name(c->options->command));
    if (streq(result, "ok")) {
        buf_puts(&out, "done after ");
        units_cpu_time(&out, (double)(clock_ms() - c->asked_ms) / 1000);
    } else {
        text_clean(&out, result);
    }
    buf_putc(&out, '\n');
    put(c, &out);
}

static int report(struct command *c)
{
    const char *result = field_text(c->client.answer.last, "result");
    const char *reason = field_text(c->client.answer.last, "reason");

    if (!streq(result, "ok") && !streq(result, "started"))
        return fail(c, CTL_FAILED, *reason ? reason : "the master tells no success and no reason");
    if (!c->options->json)
        report_done(c, result);
    return CTL_DONE;
}

static int run_operation(struct command *c)
{
    int status;

    c->progress.look = terminal_look();
    c->progress.bar = terminal_is_one();
    status = ask(c);
    return status == CTL_DONE ? report(c) : status;
}

static int run_top(struct command *c)
{
    int end;

    if (!terminal_is_one())
        return fail(c, CTL_USAGE, "needs a terminal; try: preforkctl status --watch");
    end = top_run(c->client.socket, &c->why);
    if (end < 0)
        return fail(c, CTL_FAILED, c->why.text);
    return end > 0 ? CTL_SIGNAL + end : CTL_DONE;
}

/* --- All of it --- */

static int run(struct command *c)
{
    const struct options *o = c->options;
    bool full_screen = o->command == CTL_STATUS && o->watch && !o->json && terminal_is_one();

    c->client.answer.take = o->json ? print_json : print_event;
    c->client.answer.user = c;
    if (o->command == CTL_TOP || full_screen)
        return run_top(c);
    return o->command == CTL_STATUS ? run_status(c) : run_operation(c);
}

static int find_socket(const struct options *o, struct buf *out, struct why *why)
{
    const struct socket_hints hints = {
        .asked = o->socket,
        .control = getenv("PREFORKD_CONTROL"),
        .runtime_dir = getenv("XDG_RUNTIME_DIR"),
        .root = geteuid() == 0,
    };

    if (socket_path(&hints, out) == 0)
        return 0;
    return why_fail(
        why, -ENOENT,
        "where is the master? say --socket, or set PREFORKD_CONTROL or XDG_RUNTIME_DIR");
}

int command_run(const struct options *o)
{
    CLEANUP_BUF struct buf socket = BUF_INIT, path = BUF_INIT;
    struct command c = {.options = o};
    int status;

    if (options_path(o, &path, &c.why) < 0)
        return fail(&c, CTL_USAGE, c.why.text);
    if (find_socket(o, &socket, &c.why) < 0)
        return fail(&c, CTL_UNREACHABLE, c.why.text);
    c.path = buf_str(&path);
    if (client_init(&c.client, buf_str(&socket), &c.why) < 0)
        return fail(&c, CTL_FAILED, c.why.text);
    status = run(&c);
    if (status == CTL_DONE && c.unwritten)
        status = fail(&c, CTL_FAILED, "the output cannot be written");
    json_decref(c.before);
    client_free(&c.client);
    return status;
}
