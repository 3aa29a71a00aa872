#include "policy/line_split.h"

#include <criterion/criterion.h>

/* What came out: lines end in a newline, pieces in a bar. */
static struct buf lines;

static void put(void *data, const char *line, size_t len, bool more)
{
    cr_expect_eq(data, &lines);
    cr_expect_leq(len, LINE_SPLIT_MAX);
    buf_append(&lines, line, len);
    buf_putc(&lines, more ? '|' : '\n');
}

static void feed(struct line_split *s, const char *text, size_t len)
{
    line_split_feed(s, text, len, put, &lines);
}

/* Feeds the text in steps of `step` bytes, and ends. */
static const char *split(const char *text, size_t len, size_t step)
{
    struct line_split s = {0};

    buf_free(&lines);
    for (size_t i = 0; i < len; i += step)
        feed(&s, text + i, len - i < step ? len - i : step);
    line_split_end(&s, put, &lines);
    cr_expect_null(s.begin.data);
    return buf_str(&lines);
}

static void tear_down(void)
{
    buf_free(&lines);
}

TestSuite(line_split, .fini = tear_down);

Test(line_split, lines_in_whatever_pieces_they_come)
{
    static const struct {
        const char *text, *lines;
    } cases[] = {
        {"", ""},
        {"one\n", "one\n"},
        {"one\ntwo\n", "one\ntwo\n"},
        {"\n\n", "\n\n"},
        {"one\r\ntwo\r\n", "one\ntwo\n"},
        {"a\rb\n", "a\rb\n"},
        {"without an end", "without an end\n"},
        {"one\ntwo", "one\ntwo\n"},
        {"one\n\r", "one\n\n"},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        for (size_t step = 1; step <= strlen(cases[i].text) + 1; step++)
            cr_expect_str_eq(split(cases[i].text, strlen(cases[i].text), step), cases[i].lines,
                             "%zu by %zu", i, step);
}

Test(line_split, nul_bytes_are_text)
{
    split("a\0b\n\0\n", 6, 4);
    cr_expect_eq(lines.len, 6);
    cr_expect_arr_eq(lines.data, "a\0b\n\0\n", 6);
}

Test(line_split, nothing_comes_before_its_line_has_ended)
{
    struct line_split s = {0};

    feed(&s, "one", 3);
    cr_expect_eq(lines.len, 0);
    feed(&s, " and\ntw", 7);
    cr_expect_str_eq(buf_str(&lines), "one and\n");
    feed(&s, "o\n", 2);
    cr_expect_str_eq(buf_str(&lines), "one and\ntwo\n");
    cr_expect_null(s.begin.data, "nothing is held between lines");
    line_split_end(&s, put, &lines);
    cr_expect_str_eq(buf_str(&lines), "one and\ntwo\n");
}

/* The lengths of the pieces, and that together they are the text. */
static void expect_pieces(const char *text, size_t len, size_t step, size_t pieces)
{
    CLEANUP_BUF struct buf joined = BUF_INIT;
    size_t n = 0;

    split(text, len, step);
    for (size_t i = 0; i < lines.len; i++) {
        if (lines.data[i] == '|' || lines.data[i] == '\n')
            n++;
        else
            buf_putc(&joined, lines.data[i]);
    }
    cr_expect_eq(n, pieces, "%zu pieces by %zu", n, step);
    cr_expect_eq(lines.data[lines.len - 1], '\n');
    cr_expect_eq(joined.len, len);
    cr_expect_arr_eq(joined.data, text, len);
}

Test(line_split, a_line_without_end_comes_in_pieces)
{
    static const size_t steps[] = {1000, 16384, LINE_SPLIT_MAX, LINE_SPLIT_MAX + 1, 1 << 20};
    static char text[(1 << 20) + 1];

    memset(text, 'x', sizeof(text));
    for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
        expect_pieces(text, LINE_SPLIT_MAX, steps[i], 1);
        expect_pieces(text, LINE_SPLIT_MAX + 1, steps[i], 2);
        expect_pieces(text, 1 << 20, steps[i], 32);
        expect_pieces(text, (1 << 20) + 1, steps[i], 33);
    }
}

Test(line_split, what_is_held_stays_bounded)
{
    struct line_split s = {0};
    static char text[4096];

    memset(text, 'x', sizeof(text));
    for (int i = 0; i < 1000; i++) {
        feed(&s, text, sizeof(text));
        cr_assert_leq(s.begin.cap, 4 * LINE_SPLIT_MAX);
    }
    line_split_end(&s, put, &lines);
}

Test(line_split, no_character_is_cut_in_two)
{
    static const char *const characters[] = {"\xc3\xbc", "\xe2\x82\xac", "\xf0\x9f\x98\x80"};
    static char text[LINE_SPLIT_MAX + 16];

    for (size_t i = 0; i < ARRAY_SIZE(characters); i++)
        for (size_t shift = 0; shift < 4; shift++) {
            size_t at = LINE_SPLIT_MAX - shift, len = strlen(characters[i]);

            memset(text, 'x', sizeof(text));
            memcpy(text + at, characters[i], len);
            split(text, sizeof(text), sizeof(text));
            /* in front of the piece's end or behind it, as a whole */
            cr_expect(strstr(buf_str(&lines), characters[i]), "%zu at %zu", i, at);
        }
    memset(text, 0x80, sizeof(text)); /* no character at all */
    expect_pieces(text, sizeof(text), 1000, 2);
}
