#include "base/buf.h"

#include <criterion/criterion.h>
#include <stdio.h>

Test(buf, is_empty_at_first)
{
    CLEANUP_BUF struct buf b = BUF_INIT;

    cr_expect_str_eq(buf_str(&b), "");
    buf_puts(&b, "");
    buf_append(&b, NULL, 0);
    buf_printf(&b, "%s", "");
    cr_expect_eq(b.len, 0);
    cr_expect_not(b.failed);
}

Test(buf, appends_and_stays_terminated)
{
    CLEANUP_BUF struct buf b = BUF_INIT;

    buf_puts(&b, "one");
    buf_putc(&b, ' ');
    buf_append(&b, "two three", 3);
    buf_printf(&b, " %d%s", 3, "!");
    cr_expect_str_eq(buf_str(&b), "one two 3!");
    cr_expect_eq(b.len, strlen("one two 3!"));
}

Test(buf, grows_by_any_step)
{
    for (size_t step = 1; step < 200; step += 7) {
        CLEANUP_BUF struct buf b = BUF_INIT;
        char chunk[200];

        memset(chunk, 'x', sizeof(chunk));
        for (size_t i = 1; i <= 100; i++) {
            buf_append(&b, chunk, step);
            cr_assert_eq(b.len, i * step);
            cr_assert_lt(b.len, b.cap);
            cr_assert_eq(strlen(buf_str(&b)), b.len);
        }
    }
}

Test(buf, keeps_nul_bytes)
{
    CLEANUP_BUF struct buf b = BUF_INIT;

    buf_append(&b, "a\0b", 3);
    cr_expect_eq(b.len, 3);
    cr_expect_arr_eq(b.data, "a\0b", 4);
}

Test(buf, prints_more_than_it_has_room_for)
{
    CLEANUP_BUF struct buf b = BUF_INIT;

    buf_puts(&b, "x");
    buf_printf(&b, "%1000d", 7);
    cr_expect_eq(b.len, 1001);
    cr_expect_eq(b.data[1000], '7');
}

Test(buf, a_failure_lasts_until_it_is_taken)
{
    struct buf b = BUF_INIT;

    buf_puts(&b, "kept");
    buf_append(&b, "x", SIZE_MAX - 2);
    cr_expect(b.failed);
    buf_puts(&b, "more");
    buf_printf(&b, "more");
    cr_expect_str_eq(buf_str(&b), "kept");
    cr_expect_null(buf_take(&b));
    cr_expect_not(b.failed);
    cr_expect_null(b.data);
}

Test(buf, take_hands_over_and_empties)
{
    struct buf b = BUF_INIT;
    char *text;

    buf_puts(&b, "text");
    text = buf_take(&b);
    cr_expect_str_eq(text, "text");
    free(text);
    cr_expect_eq(b.len, 0);
    text = buf_take(&b);
    cr_expect_str_eq(text, "", "empty is not a failure");
    free(text);
}

/* `text` of `len` bytes (0: a string), its escaped form and the inside of its JSON string. */
static const struct {
    const char *text;
    size_t len;
    const char *escaped;
    const char *json;
} texts[] = {
    {"plain text, 'quotes'", 0, "plain text, 'quotes'", "plain text, 'quotes'"},
    {"\"", 0, "\"", "\\\""},
    {"\\", 0, "\\x5c", "\\\\"},
    {"a\nb\tc\r", 0, "a\\x0ab\\x09c\\x0d", "a\\u000ab\\u0009c\\u000d"},
    {"\0", 1, "\\x00", "\\u0000"},
    {"\x1b[31m", 0, "\\x1b[31m", "\\u001b[31m"},
    {"\x7f", 0, "\\x7f", "\\u007f"},
    {"gr\xc3\xbc\xc3\x9f", 0, "gr\xc3\xbc\xc3\x9f", "gr\xc3\xbc\xc3\x9f"},
    {"\xe2\x82\xac \xf0\x9f\x98\x80", 0, "\xe2\x82\xac \xf0\x9f\x98\x80",
     "\xe2\x82\xac \xf0\x9f\x98\x80"},
    {"\xc2\x9b", 0, "\\xc2\\x9b", "\\u009b"}, /* a control character of C1 */
    {"\xc2\xa0", 0, "\xc2\xa0", "\xc2\xa0"},  /* the first after them */
    {"\x80", 0, "\\x80", "\\ufffd"},          /* a continuation byte alone */
    {"\xc3", 0, "\\xc3", "\\ufffd"},          /* an end too early */
    {"\xc3\xbc", 1, "\\xc3", "\\ufffd"},
    {"\xe2\x82", 0, "\\xe2\\x82", "\\ufffd\\ufffd"},
    {"\xc3(", 0, "\\xc3(", "\\ufffd("}, /* followed by something else */
    {"\xe2\x82(", 0, "\\xe2\\x82(", "\\ufffd\\ufffd("},
    {"\xc0\xaf", 0, "\\xc0\\xaf", "\\ufffd\\ufffd"}, /* overlong */
    {"\xc1\xbf", 0, "\\xc1\\xbf", "\\ufffd\\ufffd"},
    {"\xe0\x9f\xbf", 0, "\\xe0\\x9f\\xbf", "\\ufffd\\ufffd\\ufffd"},
    {"\xe0\xa0\x80", 0, "\xe0\xa0\x80", "\xe0\xa0\x80"},
    {"\xed\x9f\xbf", 0, "\xed\x9f\xbf", "\xed\x9f\xbf"},
    {"\xed\xa0\x80", 0, "\\xed\\xa0\\x80", "\\ufffd\\ufffd\\ufffd"}, /* a surrogate */
    {"\xf0\x8f\xbf\xbf", 0, "\\xf0\\x8f\\xbf\\xbf", "\\ufffd\\ufffd\\ufffd\\ufffd"},
    {"\xf4\x8f\xbf\xbf", 0, "\xf4\x8f\xbf\xbf", "\xf4\x8f\xbf\xbf"}, /* U+10FFFF */
    {"\xf4\x90\x80\x80", 0, "\\xf4\\x90\\x80\\x80", "\\ufffd\\ufffd\\ufffd\\ufffd"},
    {"\xf5\x80\x80\x80", 0, "\\xf5\\x80\\x80\\x80", "\\ufffd\\ufffd\\ufffd\\ufffd"},
    {"\xff\xfe", 0, "\\xff\\xfe", "\\ufffd\\ufffd"},
};

Test(buf, escapes_what_is_not_text)
{
    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
        CLEANUP_BUF struct buf escaped = BUF_INIT;
        CLEANUP_BUF struct buf json = BUF_INIT;
        CLEANUP_BUF struct buf wanted = BUF_INIT;
        size_t len = texts[i].len ? texts[i].len : strlen(texts[i].text);

        buf_escape(&escaped, texts[i].text, len);
        cr_expect_str_eq(buf_str(&escaped), texts[i].escaped, "case %zu: %s", i, buf_str(&escaped));
        buf_json_string(&json, texts[i].text, len);
        buf_printf(&wanted, "\"%s\"", texts[i].json);
        cr_expect_str_eq(buf_str(&json), buf_str(&wanted), "case %zu: %s", i, buf_str(&json));
    }
}

/* Text of the exact size, so that the address sanitizer sees a read beyond its end. */
Test(buf, reads_nothing_beyond_the_text)
{
    for (int c = 0x80; c < 0x100; c++) {
        CLEANUP_BUF struct buf b = BUF_INIT;
        CLEANUP_FREE char *text = malloc(1);

        *text = (char)c;
        buf_escape(&b, text, 1);
        buf_json_string(&b, text, 1);
        cr_expect_eq(b.len, strlen("\\x80\"\\ufffd\""), "byte %02x: %s", c, buf_str(&b));
    }
}

Test(buf, utf8_is_cut_between_characters)
{
    static const struct {
        const char *text;
        size_t max, cut;
    } cases[] = {
        {"abc", 2, 2},
        {"a\xc3\xbc", 2, 1},
        {"a\xc3\xbc!", 3, 3},
        {"\xe2\x82\xac", 1, 0},
        {"\xe2\x82\xac", 2, 0},
        {"\xf0\x9f\x98\x80!", 3, 0},
        {"\xf0\x9f\x98\x80!", 4, 4},
        {"x\x80\x80\x80\x80\x80", 5, 5}, /* no character */
        {"\x80\x80", 1, 1},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        cr_expect_eq(utf8_cut(cases[i].text, cases[i].max), cases[i].cut, "%zu", i);
}
