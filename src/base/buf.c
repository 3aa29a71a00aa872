#include "base/buf.h"

#include <stdio.h>

void buf_free(struct buf *b)
{
    free(b->data);
    *b = BUF_INIT;
}

static bool buf_reserve(struct buf *b, size_t more)
{
    size_t need, cap;
    char *data;

    if (b->failed)
        return false;
    if (__builtin_add_overflow(b->len, more, &need) || need >= SIZE_MAX / 2) {
        b->failed = true;
        return false;
    }
    need++;
    if (need <= b->cap)
        return true;
    for (cap = b->cap ? b->cap : 64; cap < need;)
        cap *= 2;
    data = realloc(b->data, cap);
    if (!data) {
        b->failed = true;
        return false;
    }
    b->data = data;
    b->cap = cap;
    return true;
}

void buf_append(struct buf *b, const void *data, size_t len)
{
    if (len == 0 || !buf_reserve(b, len))
        return;
    memcpy(b->data + b->len, data, len);
    b->len += len;
    b->data[b->len] = '\0';
}

void buf_puts(struct buf *b, const char *s)
{
    buf_append(b, s, strlen(s));
}

void buf_putc(struct buf *b, char c)
{
    buf_append(b, &c, 1);
}

void buf_vprintf(struct buf *b, const char *fmt, va_list ap)
{
    va_list again;
    int len;

    va_copy(again, ap);
    len = vsnprintf(NULL, 0, fmt, ap);
    if (len > 0 && buf_reserve(b, (size_t)len)) {
        vsnprintf(b->data + b->len, (size_t)len + 1, fmt, again);
        b->len += (size_t)len;
    } else if (len < 0) {
        b->failed = true;
    }
    va_end(again);
}

void buf_printf(struct buf *b, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    buf_vprintf(b, fmt, ap);
    va_end(ap);
}

/* The length of the valid UTF-8 sequence at `s`, or 0 (RFC 3629: no overlong forms, no surrogates,
 * nothing above U+10FFFF). */
static size_t utf8_length(const unsigned char *s, size_t left)
{
    static const struct {
        unsigned char first_low, first_high, second_low, second_high, length;
    } forms[] = {
        {0x00, 0x7f, 0, 0, 1},       {0xc2, 0xdf, 0x80, 0xbf, 2}, {0xe0, 0xe0, 0xa0, 0xbf, 3},
        {0xe1, 0xec, 0x80, 0xbf, 3}, {0xed, 0xed, 0x80, 0x9f, 3}, {0xee, 0xef, 0x80, 0xbf, 3},
        {0xf0, 0xf0, 0x90, 0xbf, 4}, {0xf1, 0xf3, 0x80, 0xbf, 4}, {0xf4, 0xf4, 0x80, 0x8f, 4},
    };

    for (size_t i = 0; i < ARRAY_SIZE(forms); i++) {
        if (s[0] < forms[i].first_low || s[0] > forms[i].first_high)
            continue;
        if (forms[i].length > left)
            return 0;
        for (size_t k = 1; k < forms[i].length; k++) {
            unsigned char low = k == 1 ? forms[i].second_low : 0x80;
            unsigned char high = k == 1 ? forms[i].second_high : 0xbf;

            if (s[k] < low || s[k] > high)
                return 0;
        }
        return forms[i].length;
    }
    return 0;
}

static bool utf8_continues(char c)
{
    return ((unsigned char)c & 0xc0) == 0x80;
}

size_t utf8_cut(const char *text, size_t max)
{
    size_t n = max;

    while (n > 0 && max - n < 3 && utf8_continues(text[n]))
        n--;
    return utf8_continues(text[n]) ? max : n;
}

/* Whether a valid sequence is a control character: C0, DEL, or C1 (U+0080 to U+009F), which some
 * terminals obey as well. */
static bool utf8_is_control(const unsigned char *s, size_t len)
{
    if (len == 1)
        return s[0] < 0x20 || s[0] == 0x7f;
    return len == 2 && s[0] == 0xc2 && s[1] < 0xa0;
}

/* Appends the ASCII text at `s` that stands for itself in every form; returns its length. */
static size_t put_plain(struct buf *b, const unsigned char *s, size_t left)
{
    size_t n = 0;

    while (n < left && s[n] >= 0x20 && s[n] < 0x7f && s[n] != '\\' && s[n] != '"')
        n++;
    buf_append(b, s, n);
    return n;
}

void buf_escape(struct buf *b, const char *text, size_t len)
{
    const unsigned char *s = (const unsigned char *)text;

    for (size_t i = put_plain(b, s, len); i < len; i += put_plain(b, s + i, len - i)) {
        size_t n = utf8_length(s + i, len - i);

        if (n > 0 && !utf8_is_control(s + i, n) && s[i] != '\\') {
            buf_append(b, s + i, n);
            i += n;
            continue;
        }
        for (n = n ? n : 1; n > 0; n--, i++)
            buf_printf(b, "\\x%02x", s[i]);
    }
}

void buf_json_string(struct buf *b, const char *text, size_t len)
{
    const unsigned char *s = (const unsigned char *)text;

    buf_putc(b, '"');
    for (size_t i = put_plain(b, s, len); i < len; i += put_plain(b, s + i, len - i)) {
        size_t n = utf8_length(s + i, len - i);

        if (n == 0) {
            buf_puts(b, "\\ufffd");
            i++;
        } else if (utf8_is_control(s + i, n)) {
            buf_printf(b, "\\u%04x", n == 1 ? s[i] : s[i + 1]);
            i += n;
        } else {
            if (s[i] == '"' || s[i] == '\\')
                buf_putc(b, '\\');
            buf_append(b, s + i, n);
            i += n;
        }
    }
    buf_putc(b, '"');
}

const char *buf_str(const struct buf *b)
{
    return b->data ? b->data : "";
}

char *buf_take(struct buf *b)
{
    char *data = b->failed ? NULL : b->data ? b->data : strdup("");

    if (b->failed)
        free(b->data);
    *b = BUF_INIT;
    return data;
}
