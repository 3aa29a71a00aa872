/* Text on its way to a terminal. */
#include <criterion/criterion.h>

#include "ctl/text.h"

TestSuite(text, .init = text_init);

static void expect_clean(const char *text, const char *clean)
{
    CLEANUP_BUF struct buf out = BUF_INIT;

    text_clean(&out, text);
    cr_expect_str_eq(buf_str(&out), clean);
}

Test(text, keeps_what_people_write)
{
    expect_clean("", "");
    expect_clean("a b\\n ~", "a b\\n ~");
    expect_clean("gr\xc3\xbc\xc3\x9f \xe6\xbc\xa2", "gr\xc3\xbc\xc3\x9f \xe6\xbc\xa2");
    expect_clean("e\xcc\x81", "e\xcc\x81");
}

Test(text, lets_no_control_through)
{
    expect_clean("a\x1b[31m\n\t\r\x7f", "a\\x1b[31m\\x0a\\x09\\x0d\\x7f");
    expect_clean("\xc2\x9b"
                 "31m",
                 "\\xc2\\x9b31m");
    expect_clean("\xff\xc3", "\\xff\\xc3");
    expect_clean("\xe2\x80\xae"
                 "abc",
                 "\\xe2\\x80\\xae"
                 "abc");
    expect_clean("\xed\xa0\x80", "\\xed\\xa0\\x80");
}

Test(text, every_byte_is_clean)
{
    for (int c = 1; c < 256; c++) {
        const char text[] = {(char)c, '\0'};
        CLEANUP_BUF struct buf out = BUF_INIT;

        text_clean(&out, text);
        cr_assert_gt(out.len, 0);
        for (size_t i = 0; i < out.len; i++)
            cr_expect(out.data[i] >= 0x20 && out.data[i] < 0x7f, "byte %d", c);
    }
}

Test(text, json_stays_json)
{
    static const char json[] = "{\"a\":\"\x7f\xc2\x9b\xc2\xa0\xc3\xa9\"}\n";
    CLEANUP_BUF struct buf out = BUF_INIT;

    text_clean_json(&out, json, strlen(json));
    cr_expect_str_eq(buf_str(&out), "{\"a\":\"\\u007f\\u009b\xc2\xa0\xc3\xa9\"}\n");
}

Test(text, measures_columns)
{
    cr_expect_eq(text_width(""), 0);
    cr_expect_eq(text_width("abc"), 3);
    cr_expect_eq(text_width("\xc3\xbc"), 1);
    cr_expect_eq(text_width("e\xcc\x81"), 1);
    cr_expect_eq(text_width("\xe6\xbc\xa2"), 2);
}

Test(text, cuts)
{
    static const struct {
        const char *text;
        size_t width;
        const char *cut;
        size_t used;
    } cases[] = {
        {"abcdef", 6, "abcdef", 6},
        {"abcdef", 5, "ab...", 5},
        {"abcdef", 3, "...", 3},
        {"abcdef", 2, "..", 2},
        {"abcdef", 0, "", 0},
        {"", 0, "", 0},
        {"\xe6\xbc\xa2\xe6\xbc\xa2\xe6\xbc\xa2", 6, "\xe6\xbc\xa2\xe6\xbc\xa2\xe6\xbc\xa2", 6},
        {"\xe6\xbc\xa2\xe6\xbc\xa2\xe6\xbc\xa2", 5, "\xe6\xbc\xa2...", 5},
        {"\xe6\xbc\xa2\xe6\xbc\xa2\xe6\xbc\xa2", 4, "...", 3}, /* never half a character */
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        CLEANUP_BUF struct buf out = BUF_INIT;

        cr_expect_eq(text_cut(&out, cases[i].text, cases[i].width), cases[i].used, "case %zu", i);
        cr_expect_str_eq(buf_str(&out), cases[i].cut, "case %zu: %s", i, buf_str(&out));
    }
}
