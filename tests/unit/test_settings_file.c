/* The configuration file: what is read, and what is refused in which words. */
#include "settings_fixture.h"

#define POOL "[pool:web]\ncommand = x\n"

static void expect_value(const char *text, const char *key, const char *value)
{
    struct settings *s = WELL(.text = text);
    CLEANUP_FREE char *printed = setting_text(s, key);

    cr_expect_str_eq(printed, value);
    settings_unref(s);
}

Test(settings_file, shapes_of_a_line)
{
    expect_value(POOL "workers=3", "workers", "3");
    expect_value(POOL "workers = 3\n", "workers", "3");
    expect_value(POOL "  \tworkers\t =\t 3 \t\n", "workers", "3");
    expect_value(POOL "workers: 3\n", "workers", "3");
    expect_value("\n\n  [pool:web]  \n  command = x\n  workers = 3\n", "workers", "3");
}

Test(settings_file, ends_of_lines_and_byte_order_marks)
{
    expect_value("\xef\xbb\xbf[pool:web]\r\ncommand = x\r\nworkers = 3\r\n", "workers", "3");
    expect_value("\xef\xbb\xbf# c\n[pool:web]\ncommand = x\nworkers = 3\r", "workers", "3");
    BADLY("web.conf:3: [pool:web] workers: '0' is out of range (1..4096, or auto)",
          .text = "[pool:web]\r\n\r\nworkers = 0\r\n");
}

Test(settings_file, comments_are_whole_lines)
{
    expect_value(POOL "# workers = 4 \\\n  ; workers = 5\nworkers = 3\n#", "workers", "3");
    expect_value(POOL "env = A=1 ; 2 # 3\n", "env", "A=1 ; 2 # 3");
    expect_value("[pool:web]\ncommand = sh -c 'a ; b'\n", "command", "sh -c 'a ; b'");
    BADLY("web.conf:3: [pool:web] workers: '3 ; three' is not a whole number (1..4096, or auto)",
          .text = POOL "workers = 3 ; three\n");
}

Test(settings_file, a_backslash_joins_lines)
{
    expect_value("[pool:web]\ncommand = node \\\n    server.js \\\r\n    --port=1\nworkers = 3\n",
                 "command", "node server.js --port=1");
    expect_value("[pool:web]\ncommand = node \\\n#  --inspect \\\n\t; x\n    server.js\n",
                 "command", "node server.js");
    expect_value("[pool:web]\ncommand = \\\nx\n", "command", "x");
    expect_value("[pool:web]\ncommand = x \\\n\nworkers = 3\n", "workers", "3");
    expect_value("[pool:web]\ncommand = x \\", "command", "x");
    expect_value("[pool:web]\n\\\ncommand = x\n\\\n", "command", "x");
    expect_value(POOL "env = A=b\\ \nworkers = 3\n", "env", "A=b\\");
    BADLY("web.conf:6: [pool:web] workers: '0' is out of range (1..4096, or auto)",
          .text = "[pool:web]\ncommand = x \\\n\ty \\\n\tz\n\nworkers = 0\n");
    BADLY("web.conf:3: [pool:web] workers: '0 1' is not a whole number (1..4096, or auto)",
          .text = POOL "workers = \\\n0\\\n1\n");
}

Test(settings_file, errors_name_the_line)
{
    static const char *const bad[][2] = {
        {"workers = 0\n[pool:web]", "web.conf:1: 'workers' stands before any section; begin with "
                                    "[preforkd] or [pool:NAME]"},
        {"bogus = 0\n", "web.conf:1: 'bogus' stands before any section; begin with [preforkd] or "
                        "[pool:NAME]"},
        {"[pool:web]\n\nrubbish\n",
         "web.conf:3: 'rubbish' is neither [section], key = value nor a comment"},
        {"[pool:web]\n= 3\n", "web.conf:2: '= 3' is neither [section], key = value nor a comment"},
        {"[pool:web]\nlisten unix:/x\n", "web.conf:2: 'listen unix' is not the name of a setting"},
        {"[pool:web]\nworkers ;x = 1\n", "web.conf:2: 'workers ;x' is not the name of a setting"},
        {"[pool:web]\nabcdefghijklmnopqrstuvwxyz1234567 = 1\n",
         "web.conf:2: 'abcdefghijklmnopqrstuvwxyz1234567' is not the name of a setting"},
        {"[pool:web]\nworker = 3\n",
         "web.conf:2: [pool:web] unknown setting 'worker'; did you mean 'workers'?"},
        {"[preforkd]\nloglevel = info\n",
         "web.conf:2: [preforkd] unknown setting 'loglevel'; did you mean 'log-level'?"},
        {"[pool:web]\nStop_Timeout = 3\n",
         "web.conf:2: [pool:web] unknown setting 'Stop_Timeout'; did you mean 'stop-timeout'?"},
        {"[pool:web]\nthreads = 3\n", "web.conf:2: [pool:web] unknown setting 'threads'"},
        {"[pool:web]\nhealth = off\n", "web.conf:2: [pool:web] health: belongs in [preforkd]"},
        {"[preforkd]\nworkers = 3\n",
         "web.conf:2: [preforkd] workers: belongs in a [pool:NAME] section"},
        {POOL "\nworkers = 3\n\nworkers = 3\n",
         "web.conf:6: [pool:web] workers: is set on line 4 already"},
        {"[preforkd]\nlog-level = info\nlog-level = info\n",
         "web.conf:3: [preforkd] log-level: is set on line 2 already"},
        {POOL "listen = 8080\nlisten = *:8080\n",
         "web.conf:4: [pool:web] listen: '*:8080' is listed twice"},
    };

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        BADLY(bad[i][1], .text = bad[i][0]);
}

Test(settings_file, sections)
{
    static const char *const bad[][2] = {
        {"[master]\n", "web.conf:1: '[master]' is no known section; those are [preforkd], "
                       "[pool:NAME]"},
        {"[]\n", "web.conf:1: '[]' is no known section; those are [preforkd], [pool:NAME]"},
        {"[pool]\n", "web.conf:1: '[pool]' is no known section; those are [preforkd], [pool:NAME]"},
        {"[ pool:a]\n",
         "web.conf:1: '[ pool:a]' is no known section; those are [preforkd], [pool:NAME]"},
        {"[preforkd\n", "web.conf:1: '[preforkd' lacks its closing ]"},
        {"[pool:a ;]\n",
         "web.conf:1: '[pool:a ;]': a pool's name has 1 to 32 letters, digits, '-' or '_'"},
        {"[pool:]\n", "web.conf:1: '[pool:]': a pool's name has 1 to 32 letters, digits, '-' or "
                      "'_'"},
        {"[pool:a.b]\n", "web.conf:1: '[pool:a.b]': a pool's name has 1 to 32 letters, digits, '-' "
                         "or '_'"},
        {"[pool:123456789012345678901234567890123]\n",
         "web.conf:1: '[pool:123456789012345678901234567890123]': a pool's name has 1 to 32 "
         "letters, digits, '-' or '_'"},
        {"[pool:a] # web\n", "web.conf:1: '[pool:a] # web' goes on behind its ]"},
        {"[pool:a]]\n", "web.conf:1: '[pool:a]]' goes on behind its ]"},
        {"[preforkd]\n[pool:a]\ncommand = x\n[preforkd]\n",
         "web.conf:4: [preforkd] began on line 1 already"},
        {"[pool:a]\ncommand = x\n[pool:b]\n[pool:a]\n",
         "web.conf:4: [pool:a] began on line 1 already"},
        {"[preforkd]\n", "web.conf: there is no [pool:NAME] section"},
        {"", "web.conf: there is no [pool:NAME] section"},
        {"# nothing", "web.conf: there is no [pool:NAME] section"},
        {"[pool:a]\ncommand = x\n[pool:b]\n", "web.conf:3: [pool:b] has no command"},
    };

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        BADLY(bad[i][1], .text = bad[i][0]);
    expect_value("[pool:12345678901234567890123456789_-2]\ncommand = x\nworkers = 3", "workers",
                 "3");
}

Test(settings_file, at_most_64_pools)
{
    CLEANUP_BUF struct buf text = BUF_INIT;
    struct settings *s;

    for (int i = 0; i < SETTINGS_POOLS_MAX; i++)
        buf_printf(&text, "[pool:p%d]\ncommand = x\nworkers = %d\n", i, i + 1);
    s = WELL(.text = buf_str(&text));
    cr_expect_eq(s->npools, SETTINGS_POOLS_MAX);
    cr_expect_eq(settings_pool(s, "p63")->workers, 64);
    settings_unref(s);
    buf_puts(&text, "[pool:more]\n");
    BADLY("web.conf:193: there are more than 64 pools", .text = buf_str(&text));
}

/* --- Hostile files --- */

Test(settings_file, nul_bytes)
{
    static const char text[] = POOL "workers = 3\0 4\n";
    static const char utf16[] = "\xff\xfe[\0p\0";

    BADLY("web.conf:3: the line holds a NUL byte", .text = text, .len = sizeof(text) - 1);
    BADLY("web.conf:1: the line holds a NUL byte", .text = utf16, .len = sizeof(utf16) - 1);
}

Test(settings_file, long_lines)
{
    CLEANUP_BUF struct buf text = BUF_INIT;
    struct settings *s;

    buf_puts(&text, POOL "env = A=");
    for (int i = 0; i < 60000; i++)
        buf_putc(&text, i % 2 ? ';' : ' ');
    buf_puts(&text, "\nworkers = 3\n");
    s = WELL(.text = buf_str(&text));
    cr_expect_eq(strlen(s->pools[0].env.items[0]), 60002);
    cr_expect_eq(s->pools[0].workers, 3);
    settings_unref(s);
    buf_puts(&text, "env = A=");
    for (int i = 0; i < 1000000; i++)
        buf_putc(&text, 'x');
    BADLY("web.conf:5: the line is longer than 65536 bytes", .text = buf_str(&text));
}

Test(settings_file, lines_joined_without_end)
{
    CLEANUP_BUF struct buf text = BUF_INIT;

    buf_puts(&text, POOL "env = A=\\\n");
    for (int i = 0; i < 300000; i++)
        buf_puts(&text, "x\\\n");
    BADLY("web.conf:3: the line is longer than 65536 bytes", .text = buf_str(&text));
}

Test(settings_file, lists_without_end)
{
    CLEANUP_BUF struct buf env = BUF_INIT, listen = BUF_INIT;

    buf_puts(&env, POOL);
    buf_puts(&listen, POOL);
    for (int i = 0; i < 100000; i++) {
        buf_puts(&env, "env = A=\n");
        buf_puts(&listen, "listen=0\n");
    }
    BADLY("web.conf:1027: [pool:web] env: 'A=' is one too many (at most 1024)",
          .text = buf_str(&env));
    BADLY("web.conf:67: [pool:web] listen: '0' is one too many (at most 64)",
          .text = buf_str(&listen));
}

Test(settings_file, a_message_is_fit_for_a_terminal)
{
    BADLY("web.conf:2: '\\x1b[2J\\xff' is neither [section], key = value nor a comment",
          .text = "[pool:web]\n\x1b[2J\xff\n");
}

/* What is built must be whole, what is not must have a reason; the sanitizers see the rest. */
static void survive(const char *text, size_t len)
{
    struct settings *s = NULL;
    struct why why = {""};
    int err = BUILD(&s, &why, .text = text, .len = len);

    if (err == 0) {
        CLEANUP_BUF struct buf dump = BUF_INIT;
        struct settings *again;

        settings_dump(s, &dump);
        again = WELL(.text = buf_str(&dump));
        expect_same_settings(s, again);
        settings_unref(again);
    } else {
        cr_assert_null(s);
        cr_assert(*why.text, "error %d without a reason", err);
    }
    settings_unref(s);
}

Test(settings_file, random_bytes)
{
    srand(1);
    for (int round = 0; round < 20000; round++) {
        char text[200];
        size_t len = 1 + (size_t)rand() % sizeof(text);

        for (size_t i = 0; i < len; i++)
            text[i] = (char)(rand() % 2 ? rand() : "[]=:;#\\\n\r \tp"[rand() % 12]);
        survive(text, len);
    }
}

Test(settings_file, random_damage_to_a_good_file)
{
    static const char good[] = "[preforkd]\nhealth = off\n[pool:web]\ncommand = a 'b c' \\\n  d\n"
                               "listen = 80\nenv = A=1\nworkers = 3\nmin-ready = 2\n"
                               "[pool:b]\ncommand = x\nstop-timeout = 1.5h\n";

    srand(2);
    for (int round = 0; round < 20000; round++) {
        char text[sizeof(good)];
        int hits = 1 + rand() % 3;

        memcpy(text, good, sizeof(good));
        for (int i = 0; i < hits; i++)
            text[(size_t)rand() % (sizeof(text) - 1)] =
                (char)(rand() % 4 ? good[(size_t)rand() % (sizeof(good) - 1)] : rand());
        survive(text, sizeof(text) - 1 - (size_t)rand() % 8);
    }
}
