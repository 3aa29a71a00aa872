/* The layout of tables. */
#include <criterion/criterion.h>

#include "ctl/table.h"
#include "ctl/text.h"

TestSuite(table, .init = text_init);

static const struct table_column columns[] = {
    {"NAME", false, 0}, {"PID", true, 1}, {"QUEUE", true, 2}, {"NOTE", false, 0}};

static void fill(struct table *t)
{
    static const char *const cells[] = {
        "web", "4300", "0", "idle since the day before", "gr\xc3\xbc\xc3\x9f", "12", "17", ""};

    *t = (struct table){.columns = columns, .ncolumns = ARRAY_SIZE(columns)};
    for (size_t i = 0; i < ARRAY_SIZE(cells); i++)
        table_add(t, i == 1 ? STYLE_GREEN : STYLE_PLAIN, cells[i]);
}

static void expect_table(size_t width, bool colour, const char *text)
{
    const struct look look = {.width = width, .colour = colour};
    CLEANUP_BUF struct buf out = BUF_INIT;
    struct table t;

    fill(&t);
    table_print(&t, &look, &out);
    table_free(&t);
    cr_expect_not(out.failed);
    cr_expect_str_eq(buf_str(&out), text, "width %zu:\n%s", width, buf_str(&out));
}

Test(table, columns_are_as_wide_as_their_content)
{
    expect_table(0, false,
                 "NAME   PID  QUEUE  NOTE\n"
                 "web   4300      0  idle since the day before\n"
                 "gr\xc3\xbc\xc3\x9f    12     17\n");
}

Test(table, the_last_column_is_cut)
{
    expect_table(44, false,
                 "NAME   PID  QUEUE  NOTE\n"
                 "web   4300      0  idle since the day before\n"
                 "gr\xc3\xbc\xc3\x9f    12     17\n");
    expect_table(31, false,
                 "NAME   PID  QUEUE  NOTE\n"
                 "web   4300      0  idle sinc...\n"
                 "gr\xc3\xbc\xc3\x9f    12     17\n");
}

Test(table, columns_are_left_out_where_it_is_narrow)
{
    expect_table(30, false,
                 "NAME   PID  NOTE\n"
                 "web   4300  idle since the ...\n"
                 "gr\xc3\xbc\xc3\x9f    12\n");
    expect_table(18, false, "NAME  NOTE\nweb   idle sinc...\ngr\xc3\xbc\xc3\x9f\n");
    expect_table(3, false, "NAME\nweb\ngr\xc3\xbc\xc3\x9f\n");
}

Test(table, colours_only_what_has_a_style)
{
    expect_table(18, true,
                 "\033[1mNAME\033[0m  \033[1mNOTE\033[0m\nweb   idle sinc...\n"
                 "gr\xc3\xbc\xc3\x9f\n");
    expect_table(30, true,
                 "\033[1mNAME\033[0m   \033[1mPID\033[0m  \033[1mNOTE\033[0m\n"
                 "web   \033[32m4300\033[0m  idle since the ...\n"
                 "gr\xc3\xbc\xc3\x9f    12\n");
}

Test(table, cells_are_cleaned_and_bounded)
{
    const struct look look = {0};
    CLEANUP_BUF struct buf out = BUF_INIT;
    struct table t = {.columns = columns, .ncolumns = ARRAY_SIZE(columns)};

    table_add(&t, NULL, "a\nb\033c");
    table_add(&t, NULL, "1234567890123456789012345678901234567890");
    table_add(&t, NULL, "");
    table_add(&t, NULL, "x");
    table_print(&t, &look, &out);
    table_free(&t);
    cr_expect_str_eq(buf_str(&out),
                     "NAME                                      PID  QUEUE  NOTE\n"
                     "a\\x0ab\\x1bc  12345678901234567890123456789...         x\n",
                     "%s", buf_str(&out));
}

Test(table, may_be_empty)
{
    const struct look look = {.width = 80};
    CLEANUP_BUF struct buf out = BUF_INIT;
    struct table t = {.columns = columns, .ncolumns = ARRAY_SIZE(columns)};

    table_print(&t, &look, &out);
    cr_expect_str_eq(buf_str(&out), "NAME  PID  QUEUE  NOTE\n");
}
