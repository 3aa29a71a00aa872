/* The settings for people: --dump-config and --help. */
#include <stdio.h>

#include "policy/settings_edit.h"

/* --- --dump-config --- */

/* One item of a list a line. A file's line must not end in a backslash, which would join the next
 * one to it: a blank hides it and is not part of the value. */
static void dump_value(const char *key, const char *text, struct buf *out)
{
    while (text) {
        size_t len = strcspn(text, "\n");

        buf_printf(out, "%s =%s%.*s%s\n", key, len ? " " : "", (int)len, text,
                   len && text[len - 1] == '\\' ? " " : "");
        text = text[len] ? text + len + 1 : NULL;
    }
}

static void dump_source(const struct settings *s, const struct setting_info *row,
                        struct setting_source source, struct buf *out)
{
    CLEANUP_BUF struct buf text = BUF_INIT;

    settings_print_source(s, row, source, &text);
    buf_puts(out, "# ");
    buf_escape(out, buf_str(&text), text.len);
    buf_putc(out, '\n');
}

/* What somebody has set, each with its origin; or the rest under one heading. */
static void dump_settings(const struct settings *s, const struct pool_settings *pool, bool defaults,
                          struct buf *out)
{
    const struct setting_info *rows;
    bool headed = false;
    size_t n;

    rows = settings_table(&n);
    for (size_t i = 0; i < n; i++) {
        CLEANUP_BUF struct buf text = BUF_INIT;
        const struct setting_type *type = rows[i].rule.type;
        struct setting_source source;

        if (rows[i].pool != (pool != NULL))
            continue;
        source = *settings_source(s, pool, &rows[i]);
        if ((source.origin == ORIGIN_DEFAULT) != defaults)
            continue;
        if (!defaults || !headed)
            dump_source(s, &rows[i], source, out);
        headed = true;
        type->print(type, settings_value(s, pool, &rows[i]), &text);
        dump_value(rows[i].key, buf_str(&text), out);
    }
}

void settings_dump(const struct settings *s, struct buf *out)
{
    buf_puts(out, "[preforkd]\n");
    dump_settings(s, NULL, false, out);
    dump_settings(s, NULL, true, out);
    for (size_t i = 0; i < s->npools; i++) {
        buf_printf(out, "\n[pool:%s]\n", s->pools[i].name);
        dump_settings(s, &s->pools[i], false, out);
        dump_settings(s, &s->pools[i], true, out);
    }
}

/* --- --help --- */

#define HELP_INDENT 28
#define HELP_WIDTH  80

/* Appends a word from column HELP_INDENT on, breaking the line before HELP_WIDTH. */
static void help_word(const char *word, size_t len, size_t *column, struct buf *out)
{
    if (*column == 0) {
        *column = HELP_INDENT;
    } else if (*column + 1 + len >= HELP_WIDTH) {
        buf_printf(out, "\n%*s", HELP_INDENT, "");
        *column = HELP_INDENT;
    } else {
        buf_putc(out, ' ');
        ++*column;
    }
    buf_append(out, word, len);
    *column += len;
}

static void help_text(const char *text, const char *default_text, struct buf *out)
{
    CLEANUP_BUF struct buf last = BUF_INIT;
    size_t column = 0;

    while (*text) {
        size_t len = strcspn(text, " ");

        help_word(text, len, &column, out);
        text += len + strspn(text + len, " ");
    }
    if (default_text) {
        buf_printf(&last, "(default: %s)", default_text);
        help_word(buf_str(&last), last.len, &column, out);
    }
    buf_putc(out, '\n');
}

static void help_head(char letter, const char *name, const char *argument, struct buf *out)
{
    char letters[] = {'-', letter, ',', '\0'};
    size_t before = out->len, width;

    buf_printf(out, "  %3s --%s%s%s", letter ? letters : "", name, argument ? " " : "",
               argument ? argument : "");
    width = out->len - before;
    if (width + 2 > HELP_INDENT)
        buf_printf(out, "\n%*s", HELP_INDENT, "");
    else
        buf_printf(out, "%*s", (int)(HELP_INDENT - width), "");
}

static void help_settings(bool pool, struct buf *out)
{
    const struct setting_info *rows;
    size_t n;

    rows = settings_table(&n);
    for (size_t i = 0; i < n; i++) {
        if (rows[i].pool != pool)
            continue;
        help_head(cmdline_letter(rows[i].key), rows[i].key, rows[i].argument, out);
        help_text(rows[i].help, rows[i].default_text, out);
    }
}

static const char help_begin[] =
    "Usage: preforkd [OPTION]... [--] COMMAND [ARG]...\n"
    "       preforkd [OPTION]... --config FILE\n"
    "\n"
    "Runs COMMAND once per CPU. All workers share the listening addresses; a worker\n"
    "that ends is replaced, and a reload replaces them all without losing a\n"
    "connection.\n"
    "\n"
    "Options:\n";

static const char help_end[] =
    "\n"
    "A TIME is 500ms, 30s, 5m, 1h or 1d; a bare number is seconds. A SIZE may end in\n"
    "K, M, G or T. Every setting is also a key of the file and an environment\n"
    "variable: --stop-timeout 5s, stop-timeout = 5s, PREFORKD_STOP_TIMEOUT=5s. The\n"
    "command line is stronger than the environment, which is stronger than the file.\n"
    "PREFORKD_CONFIG stands for --config.\n"
    "\n"
    "Signals to the master:\n"
    "  HUP         read the settings again and replace all workers, slot by slot\n"
    "  TERM, INT   stop gracefully; a second one kills the workers at once\n"
    "  QUIT        stop at once\n"
    "  USR1        open the log file again\n"
    "  USR2        replace the master's own program in place; workers go on\n"
    "  TTIN, TTOU  one worker more or fewer in the first pool\n"
    "\n"
    "Exit status:\n"
    "  0    orderly stop (see --shutdown-exit-status)\n"
    "  1    failure at run time: cannot bind, cannot start\n"
    "  2    bad usage or bad settings\n"
    "  126  COMMAND was found but cannot be executed\n"
    "  127  COMMAND was not found\n"
    "\n"
    "See preforkd(8) and preforkd.conf(5).\n";

void settings_help(struct buf *out)
{
    buf_puts(out, help_begin);
    for (const struct cmdline_option *o = cmdline_options; o->name; o++) {
        help_head(o->letter, o->name, o->argument, out);
        help_text(o->help, NULL, out);
    }
    buf_puts(out, "\nSettings of the master, in a file under [preforkd]:\n");
    help_settings(false, out);
    buf_puts(out,
             "\nSettings of a pool, in a file under [pool:NAME]; given here, for all pools:\n");
    help_settings(true, out);
    buf_puts(out, help_end);
}
