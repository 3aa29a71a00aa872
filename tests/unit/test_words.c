/* Splitting, quoting and filling in of commands. */
#include <criterion/criterion.h>

#include "policy/words.h"

static void expect_words(const char *text, char *const *words)
{
    CLEANUP_STRV struct strv v = {0};
    struct why why = {""};
    size_t n = 0;

    cr_expect_eq(words_split(text, &v, &why), 0, "%s: %s", text, why.text);
    while (words[n])
        n++;
    cr_assert_eq(v.n, n, "%s: %zu words", text, v.n);
    for (size_t i = 0; i < n; i++)
        cr_expect_str_eq(v.items[i], words[i]);
}
#define EXPECT_WORDS(text, ...) expect_words(text, (char *[]){__VA_ARGS__, NULL})

Test(words, splits_at_blanks)
{
    EXPECT_WORDS("", NULL);
    EXPECT_WORDS(" \t\n", NULL);
    EXPECT_WORDS("node server.js", "node", "server.js");
    EXPECT_WORDS("  a \t b\nc  ", "a", "b", "c");
}

Test(words, quotes_as_a_shell_does)
{
    EXPECT_WORDS("'a b' \"c d\"", "a b", "c d");
    EXPECT_WORDS("a'b c'd", "ab cd");
    EXPECT_WORDS("'' \"\"", "", "");
    EXPECT_WORDS("'\\n\"'", "\\n\"");
    EXPECT_WORDS("\"\\\" \\\\ \\$ \\` \\n '\"", "\" \\ $ ` \\n '");
    EXPECT_WORDS("a\\ b \\'c \\\\", "a b", "'c", "\\");
    EXPECT_WORDS("$'a\\nb\\t\\r\\\\\\'\\x41' x$'y'z", "a\nb\t\r\\'A", "xyz");
}

Test(words, expands_nothing)
{
    EXPECT_WORDS("$HOME ~ * `id` $(id) a|b >c #d {fd}", "$HOME", "~", "*", "`id`", "$(id)", "a|b",
                 ">c", "#d", "{fd}");
}

Test(words, says_what_is_wrong)
{
    static const char *const bad[][2] = {
        {"'a", "a single quote is not closed"},
        {"a 'b'c'", "a single quote is not closed"},
        {"\"a", "a double quote is not closed"},
        {"\"a\\\"", "a double quote is not closed"},
        {"\"a\\", "a double quote is not closed"},
        {"a\\", "a backslash stands at the end"},
        {"$'a", "a single quote is not closed"},
        {"$'a\\'", "a single quote is not closed"},
        {"$'\\q'", "$'...' knows only \\n \\t \\r \\\\ \\' and \\xHH"},
        {"$'\\x4'", "$'...' knows only \\n \\t \\r \\\\ \\' and \\xHH"},
        {"$'\\", "$'...' knows only \\n \\t \\r \\\\ \\' and \\xHH"},
        {"$'\\x00'", "an argument cannot hold \\x00"},
    };

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        CLEANUP_STRV struct strv v = {0};
        struct why why = {""};

        cr_expect_eq(words_split(bad[i][0], &v, &why), -EINVAL, "%s", bad[i][0]);
        cr_expect_str_eq(why.text, bad[i][1]);
    }
}

Test(words, quotes_only_where_needed)
{
    static const char *const words[][2] = {
        {"server.js", "server.js"},
        {"--port={port}", "--port={port}"},
        {"", "''"},
        {"a b", "'a b'"},
        {"it's", "'it'\\''s'"},
        {"$HOME", "'$HOME'"},
        {"a\nb", "$'a\\nb'"},
        {"\x1b'\\", "$'\\x1b\\'\\\\'"},
        {"caf\xc3\xa9", "caf\xc3\xa9"},
    };

    for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
        CLEANUP_BUF struct buf out = BUF_INIT;

        words_quote(words[i][0], &out);
        cr_expect_str_eq(buf_str(&out), words[i][1]);
    }
}

Test(words, gives_back_every_word_that_it_quoted)
{
    srand(1);
    for (int round = 0; round < 20000; round++) {
        CLEANUP_BUF struct buf quoted = BUF_INIT;
        CLEANUP_STRV struct strv v = {0};
        char word[12];
        size_t len = (size_t)rand() % sizeof(word);

        for (size_t i = 0; i < len; i++)
            word[i] = (char)(rand() % 3 ? "'\"\\$ \n{}a`"[rand() % 10] : 1 + rand() % 255);
        word[len] = '\0';
        words_quote(word, &quoted);
        for (const char *c = buf_str(&quoted); *c; c++)
            cr_assert((unsigned char)*c >= 0x20 && *c != 0x7f);
        cr_assert_eq(words_split(buf_str(&quoted), &v, NULL), 0);
        cr_assert_eq(v.n, 1);
        cr_assert_str_eq(v.items[0], word);
    }
}

Test(words, appends_to_the_list)
{
    CLEANUP_STRV struct strv v = {0};

    cr_assert_eq(words_split("a", &v, NULL), 0);
    cr_assert_eq(words_split("b", &v, NULL), 0);
    cr_expect_eq(v.n, 2);
}

Test(words, fills_in_known_placeholders_only)
{
    static const struct words_placeholder list[] = {
        {"port", "8080"}, {"fd", "3"}, {"slot", NULL}, {"pool", "{fd}"}};
    CLEANUP_BUF struct buf out = BUF_INIT;

    words_expand("{port}:{fd}{fd} {slot} {x} {port {{fd}} {pool} {portx} {} {", list,
                 ARRAY_SIZE(list), &out);
    cr_expect_str_eq(buf_str(&out), "8080:33 {slot} {x} {port {3} {fd} {portx} {} {");
}
