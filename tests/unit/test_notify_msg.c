/* Datagrams of the sd_notify protocol, as workers send them and as nobody should. */
#include <criterion/criterion.h>
#include <limits.h>

#include "base/buf.h"
#include "policy/notify_msg.h"

static int parse(const char *text, struct notify_msg *out)
{
    return notify_msg_parse(text, strlen(text), out);
}

Test(notify_msg, flags)
{
    static const struct {
        const char *text;
        unsigned bits;
    } cases[] = {
        {"READY=1", NOTIFY_READY},
        {"READY=1\n", NOTIFY_READY},
        {"STOPPING=1", NOTIFY_STOPPING},
        {"WATCHDOG=1", NOTIFY_WATCHDOG},
        {"WATCHDOG=trigger", NOTIFY_WATCHDOG_TRIGGER},
        {"WATCHDOG=1\nWATCHDOG=trigger", NOTIFY_WATCHDOG | NOTIFY_WATCHDOG_TRIGGER},
        {"BARRIER=1", NOTIFY_BARRIER},
        {"\n\nREADY=1\n\nSTOPPING=1\n", NOTIFY_READY | NOTIFY_STOPPING},
        {"no key\nREADY=1\n=1\n", NOTIFY_READY},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct notify_msg msg;

        cr_expect_eq(parse(cases[i].text, &msg), 0, "%s", cases[i].text);
        cr_expect_eq(msg.bits, cases[i].bits, "%s", cases[i].text);
    }
}

Test(notify_msg, unknown_keys_and_malformed_values_mean_nothing)
{
    static const char *const texts[] = {
        "READY=0",      "READY=",           "READY=11",
        "READY=1 ",     "READY= 1",         "READY=1\r",
        "READY=yes",    "ready=1",          " READY=1",
        "READY =1",     "XREADY=1",         "READYX=1",
        "READ=1",       "READY==1",         "STOPPING=0",
        "WATCHDOG=2",   "WATCHDOG=Trigger", "WATCHDOG=triggers",
        "WATCHDOG=",    "BARRIER=0",        "RELOADING=1",
        "FDSTORE=1",    "FDNAME=x",         "ERRNO=2",
        "X_ANYTHING=x", "MONOTONIC_USEC=1", "WATCHDOG_USEC=1",
        "A=B=C",
    };

    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
        struct notify_msg msg;

        cr_expect_eq(parse(texts[i], &msg), 0, "%s", texts[i]);
        cr_expect_eq(msg.bits, 0, "%s", texts[i]);
    }
}

Test(notify_msg, everything_at_once)
{
    struct notify_msg msg;

    cr_assert_eq(parse("READY=1\nSTATUS=fine = good\nMAINPID=4711\nX=y\n"
                       "EXTEND_TIMEOUT_USEC=5000000\nWATCHDOG=1",
                       &msg),
                 0);
    cr_expect_eq(msg.bits, NOTIFY_READY | NOTIFY_STATUS | NOTIFY_MAINPID | NOTIFY_EXTEND_TIMEOUT |
                               NOTIFY_WATCHDOG);
    cr_expect_str_eq(msg.status, "fine = good");
    cr_expect_eq(msg.main_pid, 4711);
    cr_expect_eq(msg.extend_usec, 5000000);
}

Test(notify_msg, the_last_of_several_values_counts)
{
    struct notify_msg msg;

    cr_assert_eq(parse("STATUS=a long one\nSTATUS=b\nMAINPID=1\nMAINPID=2\nMAINPID=x\n", &msg), 0);
    cr_expect_str_eq(msg.status, "b");
    cr_expect_eq(msg.main_pid, 2);
}

Test(notify_msg, nothing_is_left_of_the_message_before)
{
    struct notify_msg msg;

    cr_assert_eq(parse("STATUS=x\nMAINPID=5\nEXTEND_TIMEOUT_USEC=5", &msg), 0);
    cr_assert_eq(parse("READY=1", &msg), 0);
    cr_expect_eq(msg.bits, NOTIFY_READY);
    cr_expect_str_empty(msg.status);
    cr_expect_eq(msg.main_pid, 0);
    cr_expect_eq(msg.extend_usec, 0);
    cr_assert_eq(parse("STATUS=x\nMAINPID=5", &msg), 0);
    cr_assert_eq(parse("", &msg), -EINVAL);
    cr_expect_eq(msg.bits, 0);
    cr_expect_str_empty(msg.status);
}

Test(notify_msg, main_pid)
{
    static const struct {
        const char *text;
        pid_t pid; /* 0: refused */
    } cases[] = {
        {"MAINPID=1", 1},
        {"MAINPID=00042", 42},
        {"MAINPID=2147483647", INT_MAX},
        {"MAINPID=2147483648", 0},
        {"MAINPID=4294967297", 0},
        {"MAINPID=18446744073709551617", 0},
        {"MAINPID=99999999999999999999999999", 0},
        {"MAINPID=0", 0},
        {"MAINPID=-1", 0},
        {"MAINPID=+1", 0},
        {"MAINPID= 1", 0},
        {"MAINPID=1 ", 0},
        {"MAINPID=0x10", 0},
        {"MAINPID=1.0", 0},
        {"MAINPID=", 0},
        {"MAINPID=/", 0},
        {"MAINPID=:", 0},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct notify_msg msg;

        cr_expect_eq(parse(cases[i].text, &msg), 0);
        cr_expect_eq(msg.main_pid, cases[i].pid, "%s", cases[i].text);
        cr_expect_eq(msg.bits, cases[i].pid ? NOTIFY_MAINPID : 0, "%s", cases[i].text);
    }
}

Test(notify_msg, extend_timeout)
{
    static const struct {
        const char *text;
        uint64_t usec; /* 0: refused */
    } cases[] = {
        {"EXTEND_TIMEOUT_USEC=1", 1},
        {"EXTEND_TIMEOUT_USEC=18446744073709551614", UINT64_MAX - 1},
        {"EXTEND_TIMEOUT_USEC=18446744073709551615", 0},
        {"EXTEND_TIMEOUT_USEC=18446744073709551616", 0},
        {"EXTEND_TIMEOUT_USEC=184467440737095516150", 0},
        {"EXTEND_TIMEOUT_USEC=0", 0},
        {"EXTEND_TIMEOUT_USEC=-5", 0},
        {"EXTEND_TIMEOUT_USEC=5s", 0},
        {"EXTEND_TIMEOUT_USEC=", 0},
        {"EXTEND_TIMEOUT_USEC=infinity", 0},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct notify_msg msg;

        cr_expect_eq(parse(cases[i].text, &msg), 0);
        cr_expect_eq(msg.extend_usec, cases[i].usec, "%s", cases[i].text);
        cr_expect_eq(msg.bits, cases[i].usec ? NOTIFY_EXTEND_TIMEOUT : 0, "%s", cases[i].text);
    }
}

Test(notify_msg, status_is_made_harmless)
{
    static const char *const cases[][2] = {
        {"STATUS=", ""},
        {"STATUS=gr\xc3\xbc\xc3\x9f \xf0\x9f\x98\x80", "gr\xc3\xbc\xc3\x9f \xf0\x9f\x98\x80"},
        {"STATUS=a\x1b[31mred\r\t\x7f", "a\\x1b[31mred\\x0d\\x09\\x7f"},
        {"STATUS=\xff\xfe\xc3", "\\xff\\xfe\\xc3"},
        {"STATUS=\xc0\xaf \xed\xa0\x80", "\\xc0\\xaf \\xed\\xa0\\x80"},
        {"STATUS=\xc2\x9b", "\\xc2\\x9b"},
        {"STATUS=back\\slash", "back\\x5cslash"},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct notify_msg msg;

        cr_expect_eq(parse(cases[i][0], &msg), 0);
        cr_expect_eq(msg.bits, NOTIFY_STATUS);
        cr_expect_str_eq(msg.status, cases[i][1]);
    }
}

/* The status of `before` times 'x' and then `tail`, which does or does not fit. */
static void status_of(size_t before, const char *tail, struct notify_msg *msg)
{
    CLEANUP_BUF struct buf text = BUF_INIT;

    buf_puts(&text, "STATUS=");
    for (size_t i = 0; i < before; i++)
        buf_putc(&text, 'x');
    buf_puts(&text, tail);
    cr_assert_eq(notify_msg_parse(text.data, text.len, msg), 0);
}

Test(notify_msg, a_status_too_long_is_cut_between_characters)
{
    static const struct {
        const char *tail;
        size_t before, length;
    } cases[] = {
        {"", 255, 255},
        {"", 256, 255},
        {"", 4000, 255},
        {"\xc3\xbc", 253, 255}, /* the last one that fits */
        {"\xc3\xbc", 254, 254}, /* cut in the middle */
        {"\xc3\xbc", 255, 255},
        {"\xf0\x9f\x98\x80", 251, 255},
        {"\xf0\x9f\x98\x80", 252, 252},
        {"\xf0\x9f\x98\x80", 253, 253},
        {"\xf0\x9f\x98\x80", 254, 254},
        {"\x01", 251, 255}, /* \x01 takes four */
        {"\x01", 252, 252},
        {"\x01", 253, 253},
        {"\x01", 254, 254},
        {"\x01\x01", 251, 255},
        {"\x01\x01", 248, 252},
        {"\x01\xc3\xbc", 250, 254},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct notify_msg msg;

        status_of(cases[i].before, cases[i].tail, &msg);
        cr_expect_eq(strlen(msg.status), cases[i].length, "%zu: %zu", i, strlen(msg.status));
    }
}

Test(notify_msg, refuses_whole_datagrams)
{
    static const char *const no_key[] = {"", "\n", "\n\n\n", "READY", "=1", "=\n=", "no\nkey\n"};
    char big[NOTIFY_MSG_MAX + 1];
    struct notify_msg msg;

    for (size_t i = 0; i < ARRAY_SIZE(no_key); i++)
        cr_expect_eq(parse(no_key[i], &msg), -EINVAL, "%zu", i);
    cr_expect_eq(notify_msg_parse("READY=1\0", 8, &msg), -EINVAL);
    cr_expect_eq(notify_msg_parse("\0READY=1", 8, &msg), -EINVAL);
    cr_expect_eq(notify_msg_parse("STATUS=a\0b\nREADY=1", 18, &msg), -EINVAL);
    cr_expect_eq(msg.bits, 0);
    memset(big, 'x', sizeof(big));
    memcpy(big, "READY=1\n", 8);
    cr_expect_eq(notify_msg_parse(big, sizeof(big), &msg), -EMSGSIZE);
    cr_expect_eq(msg.bits, 0);
    cr_expect_eq(notify_msg_parse(big, sizeof(big) - 1, &msg), 0);
    cr_expect_eq(msg.bits, NOTIFY_READY);
}

/* The datagram has no end marker: not one byte behind it may be read. */
Test(notify_msg, reads_nothing_behind_the_datagram)
{
    static const char text[] = "READY=1\nMAINPID=123";
    struct notify_msg msg;

    for (size_t len = 1; len < sizeof(text); len++) {
        char *exact = malloc(len); /* the sanitizer watches its end */

        cr_assert(exact);
        memcpy(exact, text, len);
        cr_expect_eq(notify_msg_parse(exact, len, &msg), len < 6 ? -EINVAL : 0, "%zu", len);
        cr_expect_eq(!!(msg.bits & NOTIFY_READY), len >= 7, "%zu", len);
        free(exact);
    }
    cr_expect_eq(msg.main_pid, 123);
    cr_expect_eq(notify_msg_parse("MAINPID=123", 9, &msg), 0);
    cr_expect_eq(msg.main_pid, 1);
}

/* --- Random datagrams --- */

static uint32_t next_random(uint32_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    return *state;
}

static void random_datagram(uint32_t *random, struct buf *out)
{
    static const char *const pieces[] = {
        "READY=1",  "STATUS=", "STOPPING=1", "WATCHDOG=", "\nWATCHDOG=1\n",
        "12\n",     "trigger", "MAINPID=",   "BARRIER=1", "EXTEND_TIMEOUT_USEC=",
        "\n",       "\n",      "=",          "-1",        "99999999999",
        "\xc3\xbc", "\\",      "\x1b",
    };

    for (uint32_t n = next_random(random) % 40; n > 0; n--) {
        uint32_t kind = next_random(random) % 22;

        if (kind < ARRAY_SIZE(pieces))
            buf_puts(out, pieces[kind]);
        else
            for (uint32_t k = next_random(random) % 120; k > 0; k--)
                buf_putc(out, (char)(next_random(random) % 64 ? next_random(random) : 1));
    }
}

static void check_message(const struct notify_msg *msg)
{
    size_t len = strnlen(msg->status, sizeof(msg->status));
    CLEANUP_BUF struct buf again = BUF_INIT;

    cr_assert_lt(len, sizeof(msg->status));
    for (size_t i = 0; i < len; i++)
        cr_assert((unsigned char)msg->status[i] >= 0x20 && msg->status[i] != 0x7f);
    /* Nothing but the backslashes of its own escapes is left to escape. */
    buf_escape(&again, msg->status, len);
    for (const char *c = buf_str(&again); (c = strchr(c, '\\')); c++)
        cr_assert_eq(strncmp(c, "\\x5cx", 5), 0, "%s", msg->status);
    cr_assert_eq(!!(msg->bits & NOTIFY_MAINPID), msg->main_pid > 0);
    cr_assert_geq(msg->main_pid, 0);
    cr_assert_eq(!!(msg->bits & NOTIFY_EXTEND_TIMEOUT), msg->extend_usec > 0);
    cr_assert_eq(msg->bits & ~0xffU, 0);
}

Test(notify_msg, random_datagrams_do_no_harm)
{
    uint32_t random = 20240229;
    unsigned seen = 0;
    int refused = 0;

    for (int i = 0; i < 20000; i++) {
        CLEANUP_BUF struct buf text = BUF_INIT;
        struct notify_msg msg;

        random_datagram(&random, &text);
        if (notify_msg_parse(buf_str(&text), text.len, &msg) < 0) {
            cr_assert_eq(msg.bits, 0);
            refused++;
        }
        check_message(&msg);
        seen |= msg.bits;
    }
    cr_expect_eq(seen, 0xffU, "the generator reaches every key: %#x", seen);
    cr_expect_gt(refused, 100);
}
