#include "ctl/answer.h"

enum {
    LINE_MAX_BYTES = 64 * 1024,
    VALUE_MAX_BYTES = 32 * 1024 * 1024, /* some hundred bytes for each of 64 pools of 4096 slots */
};

static int parse(struct answer *a, const char *text, size_t len)
{
    json_t *value = json_loadb(text, len, 0, NULL);

    if (!json_is_object(value)) {
        json_decref(value);
        return -EPROTO;
    }
    if (a->take)
        a->take(a->user, text, len, value);
    if (a->lines && !json_object_get(value, "result")) {
        json_decref(value);
        return 0;
    }
    a->last = value;
    return 1;
}

/* The line's text ends where `len` bytes of `data` do. */
static int finish_line(struct answer *a, const char *data, size_t len)
{
    int outcome;

    buf_append(&a->text, data, len);
    if (a->text.failed)
        return -ENOMEM;
    outcome = strspn(buf_str(&a->text), " \t\r\n") < a->text.len
                  ? parse(a, buf_str(&a->text), a->text.len)
                  : 0;
    buf_free(&a->text);
    return outcome;
}

static int add_lines(struct answer *a, const char *data, size_t len)
{
    const char *end = data + len, *newline;
    int outcome = 0;

    while (outcome == 0 && (newline = memchr(data, '\n', (size_t)(end - data)))) {
        if (a->text.len + (size_t)(newline - data) > LINE_MAX_BYTES)
            return -EMSGSIZE;
        outcome = finish_line(a, data, (size_t)(newline - data));
        data = newline + 1;
    }
    if (outcome == 0)
        buf_append(&a->text, data, (size_t)(end - data));
    return outcome;
}

int answer_add(struct answer *a, const char *data, size_t len)
{
    int outcome = 0;

    if (a->last)
        return 1;
    if (a->lines)
        outcome = add_lines(a, data, len);
    else
        buf_append(&a->text, data, len);
    if (outcome == 0 && a->text.len > (a->lines ? LINE_MAX_BYTES : VALUE_MAX_BYTES))
        return -EMSGSIZE;
    return outcome == 0 && a->text.failed ? -ENOMEM : outcome;
}

int answer_end(struct answer *a)
{
    int outcome = a->last ? 1 : finish_line(a, NULL, 0);

    return outcome == 0 ? -ENODATA : outcome < 0 ? outcome : 0;
}

void answer_free(struct answer *a)
{
    buf_free(&a->text);
    json_decref(a->last);
    a->last = NULL;
}
