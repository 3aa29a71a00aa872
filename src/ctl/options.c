#include "ctl/options.h"

#include <ctype.h>

#include "policy/suggest.h"

/* --- The tables --- */

struct command_row {
    const char *name;
    const char *args; /* as in --help */
    size_t nargs;
    const char *path;
    int (*add_query)(const struct options *o, struct buf *out, struct why *why);
    const char *help;
};

static int query_reload(const struct options *o, struct buf *out, struct why *why);
static int query_scale(const struct options *o, struct buf *out, struct why *why);
static int query_restart(const struct options *o, struct buf *out, struct why *why);

static const struct command_row commands[] = {
    [CTL_STATUS] = {"status", "[--json] [--watch]", 0, "/v1/status", NULL,
                    "show pools, slots and the last reload"},
    [CTL_RELOAD] = {"reload", "[--no-wait]", 0, "/v1/reload", query_reload,
                    "read the settings again and replace all workers"},
    [CTL_SCALE] = {"scale", "POOL N|+N|-N", 2, "/v1/scale", query_scale,
                   "set, raise or lower the number of workers"},
    [CTL_RESTART] = {"restart", "POOL[.SLOT]", 1, "/v1/restart", query_restart,
                     "replace the workers of a pool, or one of them"},
    [CTL_UPGRADE] = {"upgrade", "", 0, "/v1/upgrade", NULL,
                     "replace the master's own program; workers go on"},
    [CTL_STOP] = {"stop", "", 0, "/v1/stop", NULL, "stop gracefully"},
    [CTL_TOP] = {"top", "", 0, "/v1/status", NULL, "keep the status on the screen; q ends it"},
};

struct option_row {
    const char *name;
    char letter;
    enum ctl_command only; /* the command that it is for */
    const char *argument;
    size_t offset; /* in struct options: of a bool, with an argument of a string */
    const char *help;
};

#define FLAG(field) NULL, offsetof(struct options, field)

static const struct option_row rows[] = {
    {"socket", 's', CTL_NONE, "PATH", offsetof(struct options, socket),
     "the master's control socket"},
    {"json", '\0', CTL_NONE, FLAG(json), "print what the master answers: JSON, or lines of it"},
    {"watch", '\0', CTL_STATUS, FLAG(watch), "status: again each second"},
    {"no-wait", '\0', CTL_RELOAD, FLAG(no_wait), "reload: do not wait for its end"},
    {"help", 'h', CTL_NONE, FLAG(help), "print this help and exit"},
    {"version", 'V', CTL_NONE, FLAG(version), "print the version and exit"},
};

const char *options_command_name(enum ctl_command command)
{
    return commands[command].name;
}

void options_help(struct buf *out)
{
    buf_puts(out, "Usage: preforkctl [OPTION]... COMMAND\n\n"
                  "Talks to a running preforkd.\n\nCommands:\n");
    for (size_t i = CTL_STATUS; i < ARRAY_SIZE(commands); i++) {
        size_t start = out->len;

        buf_printf(out, "  %s %s", commands[i].name, commands[i].args);
        buf_printf(out, "%*s%s\n", (int)(28 + start - out->len), "", commands[i].help);
    }
    buf_puts(out, "\nOptions:\n");
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        size_t start = out->len;

        if (rows[i].letter)
            buf_printf(out, "  -%c, ", rows[i].letter);
        else
            buf_puts(out, "      ");
        buf_printf(out, "--%s %s", rows[i].name, rows[i].argument ? rows[i].argument : "");
        buf_printf(out, "%*s%s\n", (int)(28 + start - out->len), "", rows[i].help);
    }
    buf_puts(out,
             "\nThe socket is that of --socket, else of the environment's PREFORKD_CONTROL, "
             "else\n/run/preforkd/control.sock for root and "
             "$XDG_RUNTIME_DIR/preforkd/control.sock for others.\n"
             "\nExit status: 0 done, 1 failed, 2 wrong usage, 3 the master cannot be reached.\n");
}

/* --- Reading --- */

struct parser {
    char *const *at, *const *end;
    struct options *out;
    struct why *why;
};

static const struct option_row *find_option(const char *name, size_t len, char letter)
{
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        if (letter && rows[i].letter == letter)
            return &rows[i];
        if (!letter && strlen(rows[i].name) == len && memcmp(rows[i].name, name, len) == 0)
            return &rows[i];
    }
    return NULL;
}

static int unknown_option(struct parser *p, const char *word)
{
    const char *name = str_after(word, "--");
    struct suggest near = {.typed = name};

    for (size_t i = 0; name && i < ARRAY_SIZE(rows); i++)
        suggest_offer(&near, rows[i].name);
    if (near.best)
        return why_fail(p->why, -EINVAL, "unknown option '%s'; did you mean '--%s'?", word,
                        near.best);
    return why_fail(p->why, -EINVAL, "unknown option '%s'; try --help", word);
}

/* `attached` is the value behind "=" or a letter; NULL: the next word is it. */
static int use_option(struct parser *p, const struct option_row *row, const char *attached)
{
    char *field = (char *)p->out + row->offset;

    if (!row->argument) {
        *(bool *)(void *)field = true;
        return 0;
    }
    if (!attached && p->at == p->end)
        return why_fail(p->why, -EINVAL, "--%s needs a value: %s", row->name, row->argument);
    if (!attached)
        attached = *p->at++;
    if (!*attached)
        return why_fail(p->why, -EINVAL, "--%s: the value is empty", row->name);
    *(const char **)(void *)field = attached;
    return 0;
}

static int parse_long(struct parser *p, const char *word)
{
    size_t len = strcspn(word + 2, "=");
    const char *attached = word[2 + len] ? word + 3 + len : NULL;
    const struct option_row *row = find_option(word + 2, len, '\0');

    if (!row)
        return unknown_option(p, word);
    if (attached && !row->argument)
        return why_fail(p->why, -EINVAL, "--%s takes no value", row->name);
    return use_option(p, row, attached);
}

static int parse_short(struct parser *p, const char *word)
{
    int err = 0;

    for (const char *c = word + 1; *c && err == 0; c++) {
        const struct option_row *row = find_option(NULL, 0, *c);

        if (!row)
            return unknown_option(p, word);
        if (row->argument)
            return use_option(p, row, c[1] ? c + 1 : NULL);
        err = use_option(p, row, NULL);
    }
    return err;
}

static int take_command(struct parser *p, const char *word)
{
    struct suggest near = {.typed = word};

    for (size_t i = CTL_STATUS; i < ARRAY_SIZE(commands); i++) {
        if (streq(commands[i].name, word)) {
            p->out->command = (enum ctl_command)i;
            return 0;
        }
        suggest_offer(&near, commands[i].name);
    }
    if (near.best)
        return why_fail(p->why, -EINVAL, "unknown command '%s'; did you mean '%s'?", word,
                        near.best);
    return why_fail(p->why, -EINVAL, "unknown command '%s'; try --help", word);
}

static int take_word(struct parser *p, const char *word)
{
    struct options *o = p->out;

    if (!o->command)
        return take_command(p, word);
    if (o->nargs == commands[o->command].nargs)
        return why_fail(p->why, -EINVAL, "%s: '%s' is one argument too many",
                        commands[o->command].name, word);
    o->args[o->nargs++] = word;
    return 0;
}

static int parse_word(struct parser *p, bool *options_end)
{
    const char *word = *p->at++;

    if (*options_end || word[0] != '-' || !word[1] || isdigit((unsigned char)word[1]))
        return take_word(p, word);
    if (streq(word, "--")) {
        *options_end = true;
        return 0;
    }
    return word[1] == '-' ? parse_long(p, word) : parse_short(p, word);
}

/* What can be said once everything was read. */
static int check(const struct options *o, struct why *why)
{
    if (!o->command)
        return why_fail(why, -EINVAL, "a command is missing; try --help");
    if (o->nargs < commands[o->command].nargs)
        return why_fail(why, -EINVAL, "usage: preforkctl %s %s", commands[o->command].name,
                        commands[o->command].args);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        if (rows[i].only && rows[i].only != o->command &&
            *(const bool *)(const void *)((const char *)o + rows[i].offset))
            return why_fail(why, -EINVAL, "--%s is for %s only", rows[i].name,
                            commands[rows[i].only].name);
    if (o->command == CTL_TOP && o->json)
        return why_fail(why, -EINVAL, "top has no JSON; try: preforkctl status --json --watch");
    return 0;
}

int options_parse(int argc, char *const *argv, struct options *out, struct why *why)
{
    struct parser p = {.at = argv, .end = argv + argc, .out = out, .why = why};
    bool options_end = false;
    int err = 0;

    *out = (struct options){0};
    while (err == 0 && p.at < p.end && !out->help && !out->version)
        err = parse_word(&p, &options_end);
    if (err < 0 || out->help || out->version)
        return err;
    return check(out, why);
}

/* --- Asking --- */

static void add_encoded(struct buf *out, const char *text)
{
    for (; *text; text++) {
        if (isalnum((unsigned char)*text) || strchr("-._~", *text))
            buf_putc(out, *text);
        else
            buf_printf(out, "%%%02X", (unsigned char)*text);
    }
}

static bool is_number(const char *text)
{
    size_t len = strspn(text, "0123456789");

    return len > 0 && len <= 9 && text[len] == '\0';
}

static int query_reload(const struct options *o, struct buf *out, UNUSED struct why *why)
{
    if (o->no_wait)
        buf_puts(out, "?wait=0");
    return 0;
}

static int query_scale(const struct options *o, struct buf *out, struct why *why)
{
    const char *number = o->args[1];

    if (!is_number(*number == '+' || *number == '-' ? number + 1 : number))
        return why_fail(why, -EINVAL, "'%s' is no number of workers: N, +N or -N", number);
    buf_puts(out, "?pool=");
    add_encoded(out, o->args[0]);
    buf_puts(out, "&workers=");
    add_encoded(out, number);
    return 0;
}

/* A pool's name holds no dot, so what stands behind one must be the slot. */
static int query_restart(const struct options *o, struct buf *out, struct why *why)
{
    const char *dot = strchr(o->args[0], '.');
    CLEANUP_FREE char *pool = strndup(o->args[0], strcspn(o->args[0], "."));

    if (!pool)
        return why_fail(why, -ENOMEM, "out of memory");
    if (!*pool || (dot && !is_number(dot + 1)))
        return why_fail(why, -EINVAL, "'%s' is neither POOL nor POOL.SLOT", o->args[0]);
    buf_puts(out, "?pool=");
    add_encoded(out, pool);
    if (dot)
        buf_printf(out, "&slot=%s", dot + 1);
    return 0;
}

int options_path(const struct options *o, struct buf *out, struct why *why)
{
    const struct command_row *row = &commands[o->command];

    buf_puts(out, row->path);
    return row->add_query ? row->add_query(o, out, why) : 0;
}
