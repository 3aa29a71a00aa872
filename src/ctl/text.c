#include "ctl/text.h"

#include <limits.h>
#include <locale.h>
#include <wchar.h>

void text_init(void)
{
    setlocale(LC_CTYPE, "C.UTF-8");
}

/* One character: its length in bytes, and its columns or -1 when a terminal must not get it. */
struct glyph {
    size_t len;
    int width;
};

/* Embeddings, overrides, isolates and marks of the bidirectional algorithm, which let a line read
 * other than it is. */
static bool turns_direction(wchar_t c)
{
    return c == 0x061c || c == 0x200e || c == 0x200f || (c >= 0x202a && c <= 0x202e) ||
           (c >= 0x2066 && c <= 0x2069);
}

static struct glyph glyph_at(const char *text)
{
    mbstate_t state = {0};
    wchar_t c;
    size_t left = strnlen(text, MB_LEN_MAX), len = mbrtowc(&c, text, left, &state);

    if (len == 0 || len > left)
        return (struct glyph){1, -1};
    return (struct glyph){len, turns_direction(c) ? -1 : wcwidth(c)};
}

void text_clean(struct buf *out, const char *text)
{
    while (*text) {
        struct glyph g = glyph_at(text);

        if (g.width >= 0)
            buf_append(out, text, g.len);
        for (size_t i = 0; g.width < 0 && i < g.len; i++)
            buf_printf(out, "\\x%02x", (unsigned char)text[i]);
        text += g.len;
    }
}

/* The code of a control character that JSON may hold as it is (DEL, C1), or 0. */
static unsigned json_control(const unsigned char *s, size_t left, size_t *len)
{
    *len = 1;
    if (s[0] == 0x7f)
        return s[0];
    if (left < 2 || s[0] != 0xc2 || s[1] >= 0xa0)
        return 0;
    *len = 2;
    return s[1];
}

void text_clean_json(struct buf *out, const char *json, size_t len)
{
    const unsigned char *s = (const unsigned char *)json;
    size_t n;

    for (size_t i = 0; i < len; i += n) {
        unsigned control = json_control(s + i, len - i, &n);

        if (control)
            buf_printf(out, "\\u%04x", control);
        else
            buf_putc(out, json[i]);
    }
}

size_t text_width(const char *text)
{
    size_t width = 0;

    while (*text) {
        struct glyph g = glyph_at(text);

        width += g.width > 0 ? (size_t)g.width : 0;
        text += g.len;
    }
    return width;
}

/* The part of the text that `width` columns hold: its bytes; its columns go to `*used`. */
static size_t fitting(const char *text, size_t width, size_t *used)
{
    const char *at = text;

    *used = 0;
    while (*at) {
        struct glyph g = glyph_at(at);
        size_t columns = g.width > 0 ? (size_t)g.width : 0;

        if (*used + columns > width)
            break;
        *used += columns;
        at += g.len;
    }
    return (size_t)(at - text);
}

size_t text_cut(struct buf *out, const char *text, size_t width)
{
    static const char dots[] = "...";
    size_t mark = width < strlen(dots) ? width : strlen(dots);
    size_t used, len = fitting(text, width, &used);

    if (text[len] == '\0') {
        buf_append(out, text, len);
        return used;
    }
    len = fitting(text, width - mark, &used);
    buf_append(out, text, len);
    buf_append(out, dots, mark);
    return used + mark;
}
