/* The configuration file, with inih as its parser.
 *
 * How inih is built differs between distributions: length of a line, comments behind a value,
 * values of several lines, whether the handler hears of line numbers and of sections. So our own
 * reader stands between the text and inih. It hands inih what no build reads differently:
 * "[section]", "key=" and, to announce a section even when it is empty, a nameless "=". The value
 * is taken from the reader's own line: of any length, with any character, and with the right line
 * number. */
#include "policy/settings_edit.h"

#include <ctype.h>
#include <ini.h>
#include <stdio.h>

#include "policy/suggest.h"

#define LINE_MAX_BYTES 65536 /* of a line with those that a backslash joins to it */
#define NAME_MAX_BYTES 32    /* of a setting or a pool */

#define NAME_CHARS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-"

struct reader {
    struct settings *settings;
    const char *at, *end; /* what was not read yet */
    int line;             /* the last that was read */
    int first_line;       /* of the lines that are joined to the current one */
    struct buf text;      /* the current line */
    const char *value;    /* in it */

    char for_inih[NAME_MAX_BYTES + 16]; /* what stands for the current line, up to two lines */
    const char *to_give;                /* what inih has not read of it yet */

    char section[NAME_MAX_BYTES + 8]; /* "preforkd", "pool:web"; "" before the first */
    struct pool_settings *pool;       /* NULL in [preforkd] */
    int master_line;                  /* of [preforkd], 0: not seen */

    int err;
    struct why *why;
};

/* Ends the reading. The reason is there already and gets its place in front. Returns false. */
static bool refuse(struct reader *r, int err)
{
    r->err = why_prefix(r->why, err, "%s:%d", r->settings->file, r->first_line);
    return false;
}

/* --- Lines --- */

/* Takes one line off the text: without its end and the blanks in front. */
static const char *take_line(struct reader *r, size_t *len)
{
    const char *line = r->at;
    const char *newline = memchr(line, '\n', (size_t)(r->end - line));
    const char *end = newline ? newline : r->end;

    r->at = newline ? newline + 1 : r->end;
    r->line++;
    if (end > line && end[-1] == '\r')
        end--;
    while (line < end && isspace((unsigned char)*line))
        line++;
    *len = (size_t)(end - line);
    return line;
}

static bool is_comment(const char *line)
{
    return *line == ';' || *line == '#';
}

/* Adds a line to those that a backslash has joined so far; the backslash becomes a blank. A comment
 * is one line always, so that a backslash in it does not swallow a setting; among joined lines it
 * is left out. */
static bool join_line(struct reader *r, const char *line, size_t len)
{
    bool first = r->text.len == 0, joined;

    if (!first && len > 0 && is_comment(line))
        return true;
    joined = len > 0 && line[len - 1] == '\\' && !is_comment(line);
    buf_append(&r->text, line, joined ? len - 1 : len);
    if (joined)
        buf_putc(&r->text, ' ');
    return joined;
}

static bool read_line(struct reader *r)
{
    bool joined = r->at < r->end;

    buf_free(&r->text);
    r->first_line = r->line + 1;
    if (!joined)
        return false;
    while (joined && r->at < r->end) {
        size_t len;
        const char *line = take_line(r, &len);

        if (memchr(line, '\0', len))
            return refuse(r, why_fail(r->why, -EINVAL, "the line holds a NUL byte"));
        if (r->text.len + len > LINE_MAX_BYTES)
            return refuse(
                r, why_fail(r->why, -EINVAL, "the line is longer than %d bytes", LINE_MAX_BYTES));
        joined = join_line(r, line, len);
    }
    if (r->text.failed)
        return refuse(r, why_fail(r->why, -ENOMEM, "out of memory"));
    return true;
}

/* --- Sections --- */

static bool is_name(const char *text, size_t len)
{
    return len >= 1 && len <= NAME_MAX_BYTES && strspn(text, NAME_CHARS) >= len;
}

static bool read_section(struct reader *r, const char *text)
{
    size_t len = strcspn(text, "]");
    const char *name = str_after(text, "[pool:");

    if (text[len] != ']')
        return refuse(r, setting_fail(r->why, text, " lacks its closing ]"));
    if (text[len + 1 + strspn(text + len + 1, " \t")])
        return refuse(r, setting_fail(r->why, text, " goes on behind its ]"));
    if (name && !is_name(name, (size_t)(text + len - name)))
        return refuse(r, setting_fail(r->why, text,
                                      ": a pool's name has 1 to %d letters, digits, '-' or '_'",
                                      NAME_MAX_BYTES));
    if (!name && !str_after(text, "[preforkd]"))
        return refuse(r, setting_fail(r->why, text,
                                      " is no known section; those are [preforkd], [pool:NAME]"));
    snprintf(r->for_inih, sizeof(r->for_inih), "%.*s]\n=\n", (int)len, text);
    return true;
}

static bool already(struct reader *r, int line)
{
    return refuse(r, why_fail(r->why, -EINVAL, "[%s] began on line %d already", r->section, line));
}

static bool open_pool(struct reader *r, const char *name)
{
    struct settings *s = r->settings;
    const struct pool_settings *same = settings_pool(s, name);
    int err;

    if (same)
        return already(r, same->line);
    err = settings_add_pool(s, name, r->first_line, r->why);
    r->pool = s->npools ? &s->pools[s->npools - 1] : NULL;
    return err == 0 || refuse(r, err);
}

static bool open_section(struct reader *r, const char *section)
{
    const char *name = str_after(section, "pool:");

    snprintf(r->section, sizeof(r->section), "%s", section);
    if (name)
        return open_pool(r, name);
    if (r->master_line)
        return already(r, r->master_line);
    r->master_line = r->first_line;
    r->pool = NULL;
    return true;
}

/* --- Settings --- */

static bool read_key(struct reader *r, const char *text)
{
    size_t separator = strcspn(text, "=:");
    size_t len = separator;

    while (len > 0 && isspace((unsigned char)text[len - 1]))
        len--;
    if (len == 0 || !text[separator])
        return refuse(
            r, setting_fail(r->why, text, " is neither [section], key = value nor a comment"));
    if (!is_name(text, len)) {
        CLEANUP_FREE char *key = strndup(text, len);

        return refuse(r, setting_fail(r->why, key ? key : "", " is not the name of a setting"));
    }
    snprintf(r->for_inih, sizeof(r->for_inih), "%.*s=\n", (int)len, text);
    r->value = text + separator + 1;
    return true;
}

static bool unknown_key(struct reader *r, const char *key)
{
    struct suggest near = {.typed = key};
    const struct setting_info *rows;
    size_t n;

    rows = settings_table(&n);
    for (size_t i = 0; i < n; i++)
        suggest_offer(&near, rows[i].key);
    if (near.best)
        return refuse(r, why_fail(r->why, -EINVAL, "[%s] unknown setting '%s'; did you mean '%s'?",
                                  r->section, key, near.best));
    return refuse(r, why_fail(r->why, -EINVAL, "[%s] unknown setting '%s'", r->section, key));
}

static bool set_key(struct reader *r, const char *key)
{
    const struct setting_source here = {.origin = ORIGIN_FILE, .line = r->first_line};
    const struct setting_info *row = settings_find(key);
    const struct setting_source *old;
    int err = 0;

    if (!*r->section)
        return refuse(r, setting_fail(r->why, key,
                                      " stands before any section; begin with [preforkd] or "
                                      "[pool:NAME]"));
    if (!row)
        return unknown_key(r, key);
    if (row->pool != (r->pool != NULL))
        return refuse(r, why_fail(r->why, -EINVAL, "[%s] %s: belongs in %s", r->section, key,
                                  row->pool ? "a [pool:NAME] section" : "[preforkd]"));
    old = settings_source(r->settings, r->pool, row);
    if (old->origin == ORIGIN_FILE && !row->rule.type->repeatable) {
        err = why_fail(r->why, -EINVAL, "is set on line %d already", old->line);
        r->err = settings_blame(r->settings, r->pool, row, here, err, r->why);
    } else {
        r->err = settings_set(r->settings, r->pool, row, r->value, here, r->why);
    }
    return r->err == 0;
}

/* --- Between the reader and inih --- */

/* Reads on to a line that means something. */
static bool next_line(struct reader *r)
{
    while (r->err == 0 && read_line(r)) {
        const char *text = buf_str(&r->text);

        text += strspn(text, " \t");
        if (*text == '\0' || is_comment(text))
            continue;
        r->to_give = r->for_inih;
        return *text == '[' ? read_section(r, text) : read_key(r, text);
    }
    return false;
}

/* Stands in for fgets(3). */
static char *give_line(char *room, int size, void *stream)
{
    struct reader *r = stream;
    size_t len;

    if (r->err < 0 || (!*r->to_give && !next_line(r)))
        return NULL;
    len = strcspn(r->to_give, "\n") + 1;
    if (len > (size_t)size - 1)
        len = (size_t)size - 1;
    memcpy(room, r->to_give, len);
    room[len] = '\0';
    r->to_give += len;
    return room;
}

/* A build of inih may also announce sections by itself, without a name. */
static int take_key(void *user, const char *section, const char *name,
                    UNUSED const char *empty_value)
{
    struct reader *r = user;

    if (!name)
        return 1;
    return *name ? set_key(r, name) : open_section(r, section);
}

int settings_read_file(struct settings *s, const char *text, size_t len, struct why *why)
{
    const char *start = len >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0 ? text + 3 : text;
    struct reader r = {.settings = s, .at = start, .end = text + len, .to_give = "", .why = why};
    int parsed = ini_parse_stream(give_line, &r, take_key, &r);

    buf_free(&r.text);
    if (r.err < 0)
        return r.err;
    if (parsed != 0)
        return why_fail(why, parsed == -2 ? -ENOMEM : -EINVAL, "%s: the parser gave up", s->file);
    if (s->npools == 0)
        return why_fail(why, -EINVAL, "%s: there is no [pool:NAME] section", s->file);
    return 0;
}
