/* --dump-config is a file that gives the same settings again; --help fits a terminal. */
#include "settings_fixture.h"

/* Dumps, reads the dump as a file, and compares. */
static void expect_round_trip(struct settings *s)
{
    CLEANUP_BUF struct buf first = BUF_INIT, second = BUF_INIT;
    struct settings *again;

    settings_dump(s, &first);
    again = WELL(.text = buf_str(&first));
    expect_same_settings(s, again);
    settings_dump(again, &second);
    settings_unref(again);
    again = WELL(.text = buf_str(&second));
    expect_same_settings(s, again);
    settings_unref(again);
    settings_unref(s);
}

Test(settings_print, a_dump_reads_back)
{
    expect_round_trip(WELL(.args = WORDS("x")));
    expect_round_trip(WELL(.args = WORDS("sh", "-c", "a\n\tb; 'c' \"d\" \\", "", " ", "#x", "\x1b",
                                         "\xff", "a=b", "[x]", "\\")));
    expect_round_trip(WELL(.args = WORDS("--env", "A=b\\", "--env=B= # ; '\" ", "--env", "C=", "-l",
                                         "80", "-l", "unix:/x\\", "--directory", "/a b\\",
                                         "--pidfile", "[x]", "--log-file", "=", "x")));
    expect_round_trip(
        WELL(.args =
                 WORDS("--umask", "7", "--nice=-5", "--limit-core", "unlimited",
                       "--limit-nofile=1K", "--stop-signal", "RTMIN+3", "--stop-timeout", "1.5h",
                       "--min-ready=30%", "--forward-signals", "USR1 WINCH", "--accept=shared",
                       "--ready", "notify", "--drain-delay", "0.25", "--log-format=json", "x")));
}

/* Both ends of each range, and the word in place of a number. */
Test(settings_print, a_dump_reads_back_at_every_limit)
{
    const struct setting_info *rows;
    size_t n;

    rows = settings_table(&n);
    for (size_t i = 0; i < n; i++) {
        const struct setting_rule *rule = &rows[i].rule;

        for (int end = 0; end < 2 && rule->type->show && rule->min != rule->max; end++) {
            CLEANUP_BUF struct buf option = BUF_INIT;

            buf_printf(&option, "--%s=", rows[i].key);
            rule->type->show(end ? rule->max : rule->min, &option);
            expect_round_trip(WELL(.args = WORDS((char *)buf_str(&option),
                                                 end ? "--backoff-max=1d" : "--backoff=1ms", "x")));
        }
    }
}

Test(settings_print, several_pools)
{
    expect_round_trip(WELL(.text = "[preforkd]\nhealth = off\n[pool:b]\ncommand = x\nworkers = 3\n"
                                   "listen = 1\nlisten = 2\n[pool:a]\ncommand = 'y z'\n"));
}

Test(settings_print, a_dump_tells_origins)
{
    struct settings *s =
        WELL(.text = "[preforkd]\nlog-level = debug\n\n[pool:web]\ncommand = a 'b c'\n"
                     "listen = 80\nlisten = 81\nuser = www\n",
             .envp = ((char *[]){"PREFORKD_STOP_TIMEOUT=5", NULL}), .args = WORDS("-w4"));
    CLEANUP_BUF struct buf dump = BUF_INIT;
    const char *text;

    settings_dump(s, &dump);
    text = buf_str(&dump);
    cr_expect_eq(strncmp(text,
                         "[preforkd]\n# web.conf:2\nlog-level = debug\n# default\n"
                         "health = auto\ncontrol = auto\npidfile =\n",
                         85),
                 0, "%s", text);
    cr_expect_not_null(strstr(text, "\n\n[pool:web]\n# web.conf:5\ncommand = a 'b c'\n"
                                    "# web.conf:8\nuser = www\n# command line\nworkers = 4\n"
                                    "# web.conf:6\nlisten = 80\nlisten = 81\n"
                                    "# environment PREFORKD_STOP_TIMEOUT\nstop-timeout = 5s\n"
                                    "# default\ndirectory =\nenv =\n"),
                       "%s", text);
    settings_unref(s);
}

Test(settings_print, a_dump_holds_every_setting_once)
{
    struct settings *s = WELL(.args = WORDS("-w4", "x"));
    CLEANUP_BUF struct buf dump = BUF_INIT;
    const struct setting_info *rows;
    size_t n;

    settings_dump(s, &dump);
    rows = settings_table(&n);
    for (size_t i = 0; i < n; i++) {
        char line[64];
        const char *found;

        snprintf(line, sizeof(line), "\n%s =", rows[i].key);
        found = strstr(buf_str(&dump), line);
        cr_assert_not_null(found, "%s", rows[i].key);
        cr_expect_null(strstr(found + 1, line), "%s", rows[i].key);
    }
    settings_unref(s);
}

Test(settings_print, help_names_every_option)
{
    CLEANUP_BUF struct buf help = BUF_INIT;
    const struct setting_info *rows;
    char option[64];
    size_t n;

    settings_help(&help);
    rows = settings_table(&n);
    for (size_t i = 0; i < n; i++) {
        snprintf(option, sizeof(option), " --%s %s", rows[i].key, rows[i].argument);
        cr_expect_not_null(strstr(buf_str(&help), option), "%s", option);
    }
    for (const struct cmdline_option *o = cmdline_options; o->name; o++) {
        snprintf(option, sizeof(option), " --%s", o->name);
        cr_expect_not_null(strstr(buf_str(&help), option), "%s", option);
    }
    cr_expect_not_null(strstr(buf_str(&help), "  -w, --workers N           number of workers;"));
    cr_expect_not_null(strstr(buf_str(&help), "(default: 60s)\n"));
}

Test(settings_print, help_fits_80_columns)
{
    CLEANUP_BUF struct buf help = BUF_INIT;

    settings_help(&help);
    for (const char *line = buf_str(&help); *line;) {
        size_t len = strcspn(line, "\n");

        cr_expect_lt(len, 80, "%.*s", (int)len, line);
        cr_expect(len == 0 || line[len - 1] != ' ', "%.*s", (int)len, line);
        line += len + 1;
    }
}
