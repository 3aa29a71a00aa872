#include "policy/line_split.h"

static void put_line(const char *line, size_t len, line_split_fn put, void *data)
{
    if (len > 0 && line[len - 1] == '\r')
        len--;
    put(data, line, len, false);
}

/* Gives away what is too long for one line; returns how much. Something is always left, since a
 * piece is followed by another. */
static size_t put_pieces(const char *line, size_t len, line_split_fn put, void *data)
{
    size_t done = 0;

    while (len - done > LINE_SPLIT_MAX) {
        size_t n = utf8_cut(line + done, LINE_SPLIT_MAX);

        put(data, line + done, n, true);
        done += n;
    }
    return done;
}

/* A whole line in one run of memory. */
static void put_whole(const char *line, size_t len, line_split_fn put, void *data)
{
    size_t done = put_pieces(line, len, put, data);

    put_line(line + done, len - done, put, data);
}

/* Keeps the begin of a line that goes on. Without memory it goes out in pieces. */
static void hold(struct line_split *s, const char *text, size_t len, line_split_fn put, void *data)
{
    size_t done;

    buf_append(&s->begin, text, len);
    if (s->begin.failed) {
        put(data, buf_str(&s->begin), s->begin.len, true);
        put(data, text, len, true);
        buf_free(&s->begin);
        return;
    }
    done = put_pieces(s->begin.data, s->begin.len, put, data);
    s->begin.len -= done;
    if (done > 0)
        memmove(s->begin.data, s->begin.data + done, s->begin.len);
}

/* The newline that ends what is held. */
static void complete(struct line_split *s, line_split_fn put, void *data)
{
    put_line(buf_str(&s->begin), s->begin.len, put, data);
    buf_free(&s->begin);
}

void line_split_feed(struct line_split *s, const char *text, size_t len, line_split_fn put,
                     void *data)
{
    const char *end = text + len, *newline;

    for (; (newline = memchr(text, '\n', (size_t)(end - text))); text = newline + 1) {
        size_t n = (size_t)(newline - text);

        if (s->begin.len == 0) {
            put_whole(text, n, put, data);
            continue;
        }
        hold(s, text, n, put, data);
        complete(s, put, data);
    }
    if (text < end)
        hold(s, text, (size_t)(end - text), put, data);
}

void line_split_end(struct line_split *s, line_split_fn put, void *data)
{
    if (s->begin.len > 0)
        complete(s, put, data);
    buf_free(&s->begin);
}
