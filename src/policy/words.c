#include "policy/words.h"

#include <ctype.h>

struct splitter {
    const char *at;
    struct buf word;
    struct why *why;
};

static int split_failed(struct splitter *s, const char *reason)
{
    return why_fail(s->why, -EINVAL, "%s", reason);
}

static int split_single(struct splitter *s)
{
    const char *end = strchr(++s->at, '\'');

    if (!end)
        return split_failed(s, "a single quote is not closed");
    buf_append(&s->word, s->at, (size_t)(end - s->at));
    s->at = end + 1;
    return 0;
}

static int split_double(struct splitter *s)
{
    for (s->at++; *s->at != '"'; s->at++) {
        if (s->at[0] == '\\' && s->at[1] && strchr("\"\\$`", s->at[1]))
            s->at++;
        if (*s->at == '\0')
            return split_failed(s, "a double quote is not closed");
        buf_putc(&s->word, *s->at);
    }
    s->at++;
    return 0;
}

/* The escapes of $'...' with a name of one letter, and what they stand for. */
static const char escape_names[] = "ntr\\'";
static const char escape_values[] = "\n\t\r\\'";

/* One escape: `at` is behind the backslash. */
static int split_escape(struct splitter *s)
{
    const char *name = *s->at ? strchr(escape_names, *s->at) : NULL;
    char hex[3] = "";

    if (name) {
        buf_putc(&s->word, escape_values[name - escape_names]);
        s->at++;
        return 0;
    }
    if (s->at[0] != 'x' || !isxdigit((unsigned char)s->at[1]) || !isxdigit((unsigned char)s->at[2]))
        return split_failed(s, "$'...' knows only \\n \\t \\r \\\\ \\' and \\xHH");
    memcpy(hex, s->at + 1, 2);
    if (streq(hex, "00"))
        return split_failed(s, "an argument cannot hold \\x00");
    buf_putc(&s->word, (char)strtol(hex, NULL, 16));
    s->at += 3;
    return 0;
}

static int split_dollar(struct splitter *s)
{
    for (s->at += 2; *s->at != '\'';) {
        int err = 0;

        if (*s->at == '\0')
            return split_failed(s, "a single quote is not closed");
        if (*s->at == '\\') {
            s->at++;
            err = split_escape(s);
        } else {
            buf_putc(&s->word, *s->at++);
        }
        if (err < 0)
            return err;
    }
    s->at++;
    return 0;
}

static int split_backslash(struct splitter *s)
{
    if (*++s->at == '\0')
        return split_failed(s, "a backslash stands at the end");
    buf_putc(&s->word, *s->at++);
    return 0;
}

static int split_piece(struct splitter *s)
{
    switch (*s->at) {
    case '\'': return split_single(s);
    case '"': return split_double(s);
    case '\\': return split_backslash(s);
    case '$':
        if (s->at[1] == '\'')
            return split_dollar(s);
        break;
    default: break;
    }
    buf_putc(&s->word, *s->at++);
    return 0;
}

static bool is_blank(char c)
{
    return isspace((unsigned char)c);
}

int words_split(const char *text, struct strv *out, struct why *why)
{
    struct splitter s = {.at = text, .why = why};
    int err = 0;

    while (err == 0) {
        while (is_blank(*s.at))
            s.at++;
        if (*s.at == '\0')
            break;
        while (err == 0 && *s.at && !is_blank(*s.at))
            err = split_piece(&s);
        if (err == 0)
            err = strv_push_take(out, buf_take(&s.word));
    }
    buf_free(&s.word);
    return err == -ENOMEM ? why_fail(why, err, "out of memory") : err;
}

static bool is_control(char c)
{
    return (unsigned char)c < 0x20 || c == 0x7f;
}

static bool is_plain(char c)
{
    return isalnum((unsigned char)c) || (unsigned char)c >= 0x80 || strchr("%+,-./:=@_{}", c);
}

static void quote_controls(const char *word, struct buf *out)
{
    buf_puts(out, "$'");
    for (; *word; word++) {
        const char *value = strchr(escape_values, *word);

        if (value)
            buf_printf(out, "\\%c", escape_names[value - escape_values]);
        else if (is_control(*word))
            buf_printf(out, "\\x%02x", (unsigned char)*word);
        else
            buf_putc(out, *word);
    }
    buf_putc(out, '\'');
}

static void quote_blanks(const char *word, struct buf *out)
{
    buf_putc(out, '\'');
    for (; *word; word++) {
        if (*word == '\'')
            buf_puts(out, "'\\''");
        else
            buf_putc(out, *word);
    }
    buf_putc(out, '\'');
}

void words_quote(const char *word, struct buf *out)
{
    bool plain = *word != '\0';

    for (const char *c = word; *c; c++) {
        if (is_control(*c)) {
            quote_controls(word, out);
            return;
        }
        plain = plain && is_plain(*c);
    }
    if (plain)
        buf_puts(out, word);
    else
        quote_blanks(word, out);
}

/* The placeholder whose "{name}" begins at `text`, or NULL. */
static const struct words_placeholder *
find_placeholder(const char *text, const struct words_placeholder *list, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const char *rest = str_after(text + 1, list[i].name);

        if (list[i].value && rest && *rest == '}')
            return &list[i];
    }
    return NULL;
}

void words_expand(const char *text, const struct words_placeholder *list, size_t n, struct buf *out)
{
    while (*text) {
        const struct words_placeholder *p = *text == '{' ? find_placeholder(text, list, n) : NULL;

        if (p) {
            buf_puts(out, p->value);
            text += strlen(p->name) + 2;
        } else {
            buf_putc(out, *text++);
        }
    }
}
