#include "policy/notify_msg.h"

#include <limits.h>

#include "base/buf.h"

static bool is_word(const char *value, size_t len, const char *word)
{
    return strlen(word) == len && memcmp(value, word, len) == 0;
}

/* A number of 1..max in decimal digits and nothing else; 0 when it is not one. */
static uint64_t read_number(const char *value, size_t len, uint64_t max)
{
    uint64_t number = 0;

    for (size_t i = 0; i < len; i++) {
        if (value[i] < '0' || value[i] > '9' || __builtin_mul_overflow(number, 10, &number) ||
            __builtin_add_overflow(number, (uint64_t)(value[i] - '0'), &number))
            return 0;
    }
    return number <= max ? number : 0;
}

/* How much of escaped text fits into a status without cutting a UTF-8 sequence or a \xHH in two. */
static size_t fit_status(const char *text, size_t len)
{
    const size_t max = sizeof(((struct notify_msg *)0)->status) - 1;

    if (len <= max)
        return len;
    len = utf8_cut(text, max);
    for (size_t back = 1; back < strlen("\\xHH"); back++)
        if (text[len - back] == '\\')
            return len - back;
    return len;
}

static bool take_status(const char *value, size_t len, struct notify_msg *msg)
{
    CLEANUP_BUF struct buf text = BUF_INIT;
    size_t fits;

    buf_escape(&text, value, len);
    if (text.failed)
        return false;
    fits = fit_status(buf_str(&text), text.len);
    memcpy(msg->status, buf_str(&text), fits);
    msg->status[fits] = '\0';
    return true;
}

/* 0 and UINT64_MAX mean "not set" and "infinite" in the protocol: nothing to extend by. */
static bool take_extend(const char *value, size_t len, struct notify_msg *msg)
{
    uint64_t usec = read_number(value, len, UINT64_MAX - 1);

    if (usec)
        msg->extend_usec = usec;
    return usec != 0;
}

static bool take_mainpid(const char *value, size_t len, struct notify_msg *msg)
{
    pid_t pid = (pid_t)read_number(value, len, INT_MAX);

    if (pid)
        msg->main_pid = pid;
    return pid != 0;
}

static const struct {
    const char *key, *value;
    unsigned bit;
} flags[] = {
    {"READY", "1", NOTIFY_READY},       {"STOPPING", "1", NOTIFY_STOPPING},
    {"WATCHDOG", "1", NOTIFY_WATCHDOG}, {"WATCHDOG", "trigger", NOTIFY_WATCHDOG_TRIGGER},
    {"BARRIER", "1", NOTIFY_BARRIER},
};

static const struct {
    const char *key;
    unsigned bit;
    bool (*take)(const char *value, size_t len, struct notify_msg *msg);
} values[] = {
    {"STATUS", NOTIFY_STATUS, take_status},
    {"EXTEND_TIMEOUT_USEC", NOTIFY_EXTEND_TIMEOUT, take_extend},
    {"MAINPID", NOTIFY_MAINPID, take_mainpid},
};

/* Returns whether the line has a key at all, known or not. */
static bool take_line(const char *line, size_t len, struct notify_msg *msg)
{
    const char *equals = memchr(line, '=', len);
    const char *value;
    size_t key_len, value_len;

    if (!equals || equals == line)
        return false;
    key_len = (size_t)(equals - line);
    value = equals + 1;
    value_len = len - key_len - 1;
    for (size_t i = 0; i < ARRAY_SIZE(flags); i++)
        if (is_word(line, key_len, flags[i].key) && is_word(value, value_len, flags[i].value))
            msg->bits |= flags[i].bit;
    for (size_t i = 0; i < ARRAY_SIZE(values); i++)
        if (is_word(line, key_len, values[i].key) && values[i].take(value, value_len, msg))
            msg->bits |= values[i].bit;
    return true;
}

int notify_msg_parse(const char *data, size_t len, struct notify_msg *out)
{
    const char *end = data + len;
    bool any = false;

    *out = (struct notify_msg){0};
    if (len > NOTIFY_MSG_MAX)
        return -EMSGSIZE;
    if (len == 0 || memchr(data, '\0', len))
        return -EINVAL;
    for (const char *line = data; line < end;) {
        const char *newline = memchr(line, '\n', (size_t)(end - line));
        const char *line_end = newline ? newline : end;

        any |= take_line(line, (size_t)(line_end - line), out);
        line = newline ? newline + 1 : end;
    }
    return any ? 0 : -EINVAL;
}
