/* The arguments: which option takes what, where COMMAND begins. */
#include <criterion/criterion.h>
#include <stdio.h>

#include "policy/cmdline.h"
#include "policy/settings.h"

static int parse(char **args, struct cmdline *out, struct why *why)
{
    int argc = 0;

    while (args[argc])
        argc++;
    return cmdline_parse(argc, args, out, why);
}

#define WORDS(...) ((char *[]){__VA_ARGS__, NULL})

static void expect_list(const struct strv *v, char **expected)
{
    size_t n = 0;

    while (expected[n])
        n++;
    cr_assert_eq(v->n, n, "%zu instead of %zu", v->n, n);
    for (size_t i = 0; i < n; i++)
        cr_expect_str_eq(v->items[i], expected[i]);
}

static void expect_parsed(char **args, char **settings, char **command)
{
    struct cmdline c;
    struct why why = {""};

    cr_assert_eq(parse(args, &c, &why), 0, "%s", why.text);
    cr_expect_eq(c.action, CMDLINE_RUN);
    expect_list(&c.settings, settings);
    expect_list(&c.command, command);
    cmdline_free(&c);
}

static void expect_refused(char **args, const char *reason)
{
    struct cmdline c;
    struct why why = {""};

    cr_expect_eq(parse(args, &c, &why), -EINVAL, "%s", reason);
    cr_expect_str_eq(why.text, reason);
    cmdline_free(&c);
}

static void expect_action(char **args, enum cmdline_action action)
{
    struct cmdline c;
    struct why why = {""};

    cr_expect_eq(parse(args, &c, &why), 0, "%s: %s", args[0], why.text);
    cr_expect_eq(c.action, action, "%s: %d", args[0], c.action);
    cmdline_free(&c);
}

Test(cmdline, command_begins_at_the_first_word_that_is_no_option)
{
    expect_parsed(WORDS(NULL), WORDS(NULL), WORDS(NULL));
    expect_parsed(WORDS("node", "-w", "--workers"), WORDS(NULL), WORDS("node", "-w", "--workers"));
    expect_parsed(WORDS("-w", "4", "node", "--", "x"), WORDS("workers=4"),
                  WORDS("node", "--", "x"));
    expect_parsed(WORDS("--", "-v", "--"), WORDS(NULL), WORDS("-v", "--"));
    expect_parsed(WORDS("--"), WORDS(NULL), WORDS(NULL));
    expect_parsed(WORDS("-", "x"), WORDS(NULL), WORDS("-", "x"));
    expect_parsed(WORDS("", "x"), WORDS(NULL), WORDS("", "x"));
}

Test(cmdline, values_stand_behind_or_beside)
{
    expect_parsed(WORDS("--workers", "4", "--workers=5", "--env=A=b=c", "--user=", "x"),
                  WORDS("workers=4", "workers=5", "env=A=b=c", "user="), WORDS("x"));
    expect_parsed(WORDS("-w4", "-w", "5", "-l8080", "-H", "off", "x"),
                  WORDS("workers=4", "workers=5", "listen=8080", "health=off"), WORDS("x"));
    expect_parsed(WORDS("--log-file", "-", "--nice", "-5", "x"), WORDS("log-file=-", "nice=-5"),
                  WORDS("x"));
}

Test(cmdline, every_setting_is_an_option)
{
    const struct setting_info *rows;
    size_t n;

    rows = settings_table(&n);
    for (size_t i = 0; i < n; i++) {
        char option[64], setting[64];

        snprintf(option, sizeof(option), "--%s", rows[i].key);
        snprintf(setting, sizeof(setting), "%s=value", rows[i].key);
        expect_parsed(WORDS(option, "value"), WORDS(setting), WORDS(NULL));
    }
}

Test(cmdline, no_name_or_letter_is_used_twice)
{
    bool used[256] = {false};
    const struct setting_info *rows;
    size_t n;

    rows = settings_table(&n);
    used['\0'] = true;
    for (const struct cmdline_option *o = cmdline_options; o->name; o++) {
        cr_expect_null(settings_find(o->name), "%s", o->name);
        cr_expect(!o->letter || !used[(unsigned char)o->letter], "-%c", o->letter);
        used[(unsigned char)o->letter] = true;
    }
    for (size_t i = 0; i < n; i++) {
        char letter = cmdline_letter(rows[i].key);

        cr_expect(!letter || !used[(unsigned char)letter], "-%c", letter);
        used[(unsigned char)letter] = true;
    }
    cr_expect_eq(cmdline_letter("listen"), 'l');
    cr_expect_eq(cmdline_letter("backlog"), '\0');
}

Test(cmdline, config)
{
    static char *const forms[][3] = {
        {"-c", "a", NULL}, {"-ca", NULL}, {"--config", "a", NULL}, {"--config=a", NULL}};

    for (size_t i = 0; i < ARRAY_SIZE(forms); i++) {
        struct cmdline c;

        cr_assert_eq(parse((char **)forms[i], &c, NULL), 0);
        cr_expect_str_eq(c.file, "a");
        cmdline_free(&c);
        cr_expect_null(c.file);
    }
    struct cmdline c;

    cr_assert_eq(parse(WORDS("-c", "a", "-c", "b"), &c, NULL), 0);
    cr_expect_str_eq(c.file, "b", "the last one wins");
    cmdline_free(&c);
    expect_refused(WORDS("--config="), "--config: needs a value");
}

Test(cmdline, actions)
{
    expect_action(WORDS("-t", "x"), CMDLINE_TEST);
    expect_action(WORDS("--test", "x"), CMDLINE_TEST);
    expect_action(WORDS("-tv", "x"), CMDLINE_TEST);
    expect_action(WORDS("-vtw4", "x"), CMDLINE_TEST);
    expect_action(WORDS("--dump-config", "x"), CMDLINE_DUMP);
    expect_action(WORDS("--features"), CMDLINE_FEATURES);
    expect_action(WORDS("-h"), CMDLINE_HELP);
    expect_action(WORDS("--help", "--bogus"), CMDLINE_HELP);
    expect_action(WORDS("-V"), CMDLINE_VERSION);
    expect_action(WORDS("--version", "--bogus"), CMDLINE_VERSION);
    expect_action(WORDS("-t", "-h"), CMDLINE_HELP);
    expect_refused(WORDS("--bogus", "--help"), "unknown option '--bogus'; try --help");
}

Test(cmdline, verbosity_becomes_the_log_level)
{
    expect_parsed(WORDS("-v"), WORDS("log-level=debug"), WORDS(NULL));
    expect_parsed(WORDS("-vv"), WORDS("log-level=debug", "log-level=debug"), WORDS(NULL));
    expect_parsed(WORDS("-q"), WORDS("log-level=warn"), WORDS(NULL));
    expect_parsed(WORDS("--quiet", "-qq"),
                  WORDS("log-level=warn", "log-level=error", "log-level=error"), WORDS(NULL));
    expect_parsed(WORDS("-q", "--verbose"), WORDS("log-level=warn", "log-level=info"), WORDS(NULL));
    expect_parsed(WORDS("-q", "--log-level", "info"), WORDS("log-level=warn", "log-level=info"),
                  WORDS(NULL));
}

Test(cmdline, refuses_in_plain_words)
{
    expect_refused(WORDS("--worker", "4"), "unknown option '--worker'; did you mean '--workers'?");
    expect_refused(WORDS("--dumpconfig"),
                   "unknown option '--dumpconfig'; did you mean '--dump-config'?");
    expect_refused(WORDS("--stop_timeout=5"),
                   "unknown option '--stop_timeout'; did you mean '--stop-timeout'?");
    expect_refused(WORDS("--bogus=1"), "unknown option '--bogus'; try --help");
    expect_refused(WORDS("--=1"), "unknown option '--'; try --help");
    expect_refused(WORDS("-tx"), "unknown option '-x'; try --help");
    expect_refused(WORDS("--workers"), "--workers needs a value: N");
    expect_refused(WORDS("-w"), "-w needs a value: N");
    expect_refused(WORDS("-tw"), "-w needs a value: N");
    expect_refused(WORDS("--config"), "--config needs a value: FILE");
    expect_refused(WORDS("--test=yes"), "--test takes no value");
    expect_refused(WORDS("--command", "x", "y"), "--command and COMMAND exclude each other");
}

Test(cmdline, an_option_without_end_is_no_trouble)
{
    struct cmdline c;
    struct why why = {""};
    char *word = malloc(1000001);

    memset(word, '-', 1000000);
    word[1000000] = '\0';
    cr_expect_eq(parse(WORDS(word), &c, &why), -EINVAL);
    cmdline_free(&c);
    word[1] = 'v';
    cr_expect_eq(parse(WORDS(word), &c, &why), -EINVAL);
    cr_expect_str_eq(why.text, "unknown option '--'; try --help");
    cmdline_free(&c);
    free(word);
}
