#include "policy/last_lines.h"

#include <criterion/criterion.h>
#include <stdio.h>

#include "base/util.h"

static void expect_line(const struct last_lines *l, unsigned i, const char *text)
{
    size_t len;
    const char *line = last_lines_get(l, i, &len);

    cr_expect_eq(len, strlen(text), "line %u: %zu bytes", i, len);
    cr_expect(strncmp(line, text, len) == 0, "line %u: %.*s", i, (int)len, line);
}

Test(last_lines, the_last_ones_are_kept_in_order)
{
    struct last_lines l = {0};
    char text[16];

    cr_expect_eq(last_lines_count(&l), 0);
    for (unsigned n = 1; n <= 3 * LAST_LINES_MAX + 7; n++) {
        snprintf(text, sizeof(text), "%u", n);
        last_lines_add(&l, text, strlen(text));
        cr_expect_eq(last_lines_count(&l), n < LAST_LINES_MAX ? n : LAST_LINES_MAX);
        expect_line(&l, last_lines_count(&l) - 1, text);
        snprintf(text, sizeof(text), "%u", n - last_lines_count(&l) + 1);
        expect_line(&l, 0, text);
    }
}

Test(last_lines, long_ones_are_cut)
{
    struct last_lines l = {0};
    char text[LAST_LINE_LENGTH + 2], cut[LAST_LINE_LENGTH + 1];

    memset(text, 'x', sizeof(text));
    text[LAST_LINE_LENGTH + 1] = '\0';
    last_lines_add(&l, text, LAST_LINE_LENGTH + 1);
    memset(cut, 'x', sizeof(cut));
    strcpy(cut + LAST_LINE_LENGTH - 3, "...");
    expect_line(&l, 0, cut);

    text[LAST_LINE_LENGTH] = '\0';
    last_lines_add(&l, text, LAST_LINE_LENGTH);
    expect_line(&l, 1, text);
}

Test(last_lines, no_character_is_cut_in_two)
{
    struct last_lines l = {0};
    char text[2 * LAST_LINE_LENGTH], cut[LAST_LINE_LENGTH + 1];

    for (size_t i = 0; i < sizeof(text); i++)
        text[i] = "\xc3\xbc"[i % 2];
    memcpy(cut, text, sizeof(cut));
    strcpy(cut + LAST_LINE_LENGTH - 4, "...");
    last_lines_add(&l, text, sizeof(text));
    expect_line(&l, 0, cut);
}

Test(last_lines, empty_lines_are_lines)
{
    struct last_lines l = {0};

    last_lines_add(&l, "", 0);
    last_lines_add(&l, "a", 1);
    expect_line(&l, 0, "");
    expect_line(&l, 1, "a");
}
