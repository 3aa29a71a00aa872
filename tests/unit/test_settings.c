/* Every setting of the table: its default, its range, the order of precedence, what a reload may
 * change. */
#include "settings_fixture.h"

/* Three values of each setting that are not its default, as they are printed; and what it refuses,
 * with the reason. */
static const struct sample {
    const char *key, *good[3], *bad, *reason;
} samples[] = {
    {"health",
     {"off", "*:9", "unix:/run/h"},
     "udp:1",
     "'udp:1' is no TCP or unix address, nor auto or off"},
    {"control",
     {"off", "/run/c", "/a b"},
     "run/c",
     "'run/c' is no absolute path of at most 107 bytes, nor auto or off"},
    {"pidfile", {"/run/a", "b c", "./c"}, "a\tb\x1b", "'a\\x09b\\x1b' holds a control character"},
    {"drain-delay", {"1s", "0", "1500ms"}, "2h", "'2h' is out of range (0..1h, or auto)"},
    {"log-format", {"text", "json", "text"}, "xml", "'xml' is none of auto, text, json"},
    {"log-level", {"debug", "warn", "error"}, "loud", "'loud' is none of error, warn, info, debug"},
    {"log-file", {"/var/log/a", "/b", "/c"}, "\x01", "'\\x01' holds a control character"},
    {"shutdown-exit-status", {"1", "2", "255"}, "256", "'256' is out of range (0..255)"},
    {"command",
     {"node server.js", "sh -c 'exec it'", "a"},
     "'a",
     "''a': a single quote is not closed"},
    {"directory", {"/srv", "/srv/my files", "."}, "\x7f", "'\\x7f' holds a control character"},
    {"env", {"A=1", "A=2", "B=x y ; z"}, "A", "'A' is not NAME=VALUE"},
    {"env-file", {"/a", "/b", "/c"}, "\x02", "'\\x02' holds a control character"},
    {"user", {"www-data", "33", "a.b"}, "a b", "'a b' cannot be the name or number of an account"},
    {"group", {"www-data", "33", "a.b"}, ":", "':' cannot be the name or number of an account"},
    {"umask",
     {"0022", "0077", "0000"},
     "778",
     "'778' is not an octal number (0000..0777, or inherit)"},
    {"nice", {"-20", "0", "19"}, "20", "'20' is out of range (-20..19, or inherit)"},
    {"oom-score-adj",
     {"-1000", "0", "1000"},
     "1001",
     "'1001' is out of range (-1000..1000, or inherit)"},
    {"limit-nofile",
     {"1024", "65536", "1M"},
     "unlimited",
     "'unlimited' is out of range (16..1073741816, or inherit)"},
    {"limit-core",
     {"0", "512M", "unlimited"},
     "much",
     "'much' is not a size such as 4096, 512M, 1G or unlimited (0..unlimited, or inherit)"},
    {"workers", {"2", "3", "4096"}, "0", "'0' is out of range (1..4096, or auto)"},
    {"min-workers", {"2", "2", "3"}, "0", "'0' is out of range (1..4096, or auto)"},
    {"max-workers", {"4", "8", "4096"}, "4097", "'4097' is out of range (1..4096, or auto)"},
    {"listen",
     {"8080", "127.0.0.1:0", "unix:/run/x.sock"},
     "70000",
     "'70000': port 70000 is out of range (0..65535)"},
    {"backlog", {"1", "128", "1048576"}, "0", "'0' is out of range (1..1048576)"},
    {"accept", {"shared", "shared", "shared"}, "one", "'one' is none of per-worker, shared"},
    {"balance",
     {"random", "round-robin", "cpu"},
     "wide",
     "'wide' is none of hash, random, round-robin, cpu"},
    {"cpu-affinity", {"auto", "auto", "auto"}, "0", "'0' is none of off, auto"},
    {"adopt", {"listed", "off", "auto"}, "on", "'on' is none of auto, listed, off"},
    {"ready",
     {"notify", "delay", "listen"},
     "now",
     "'now' is none of auto, notify, listen, delay, probe"},
    {"ready-delay",
     {"0", "2s", "1500ms"},
     "soon",
     "'soon' is not a time such as 500ms, 30s, 5m, 1h (0..1h)"},
    {"start-timeout", {"2s", "90s", "1d"}, "0", "'0' is out of range (1ms..1d)"},
    {"min-uptime", {"0", "2s", "1d"}, "2d", "'2d' is out of range (0..1d)"},
    {"stop-signal",
     {"QUIT", "INT", "USR1"},
     "STOPP",
     "'STOPP' is not the name or number of a signal"},
    {"stop-timeout", {"0", "5s", "1d"}, "25h", "'25h' is out of range (0..1d)"},
    {"backoff", {"1ms", "1s", "30s"}, "0", "'0' is out of range (1ms..1h)"},
    {"backoff-max", {"1s", "1h", "1d"}, "0", "'0' is out of range (1ms..1d)"},
    {"restart",
     {"on-failure", "never", "always"},
     "maybe",
     "'maybe' is none of always, on-failure, never"},
    {"breaker-failures", {"0", "1", "100"}, "101", "'101' is out of range (0..100)"},
    {"breaker-window", {"1s", "1ms", "1d"}, "0", "'0' is out of range (1ms..1d)"},
    {"breaker-cooldown", {"1s", "1ms", "1d"}, "0", "'0' is out of range (1ms..1d)"},
    {"on-breaker", {"exit", "hold", "exit"}, "stop", "'stop' is none of hold, exit"},
    {"fallback", {"503", "off", "503"}, "404", "'404' is none of off, 503"},
    {"min-ready", {"2", "1%", "100%"}, "0%", "'0%' is out of range (1..4096, or 1%..100%)"},
    {"hang-timeout", {"0", "5s", "1d"}, "2d", "'2d' is out of range (0..1d)"},
    {"watchdog", {"1ms", "30s", "1d"}, "2d", "'2d' is out of range (0..1d)"},
    {"max-memory", {"1M", "off", "2G"}, "4K", "'4K' is out of range (1M..1024T, or off)"},
    {"max-lifetime", {"1s", "off", "1h"}, "0", "'0' is out of range (1s..365d, or off)"},
    {"reload-batch", {"2", "25%", "4096"}, "4097", "'4097' is out of range (1..4096, or 1%..100%)"},
    {"probe",
     {"/healthz?x=1", "tcp", "/"},
     "healthz",
     "'healthz' is neither off, nor tcp, nor a path such as /healthz"},
    {"probe-interval", {"10ms", "1s", "1d"}, "9ms", "'9ms' is out of range (10ms..1d)"},
    {"probe-timeout", {"1ms", "2s", "1h"}, "0", "'0' is out of range (1ms..1h)"},
    {"probe-failures", {"1", "2", "1000"}, "0", "'0' is out of range (1..1000)"},
    {"output", {"tag", "json", "inherit"}, "text", "'text' is none of inherit, tag, json"},
    {"output-overflow", {"drop", "drop", "wait"}, "block", "'block' is none of wait, drop"},
    {"forward-signals",
     {"USR1", "USR1,USR2,WINCH", "WINCH"},
     "HUP",
     "'HUP' cannot be forwarded (USR1, USR2, WINCH)"},
};

static const struct sample *find_sample(const char *key)
{
    for (size_t i = 0; i < ARRAY_SIZE(samples); i++)
        if (streq(samples[i].key, key))
            return &samples[i];
    return NULL;
}

/* "stop-timeout" -> "PREFORKD_STOP_TIMEOUT=value", to be freed. A list's value is quoted. */
static char *env_entry(const char *key, const char *value)
{
    bool list = settings_find(key)->rule.type->repeatable;
    struct buf entry = BUF_INIT;

    buf_puts(&entry, "PREFORKD_");
    for (; *key; key++)
        buf_putc(&entry, *key == '-' ? '_' : (char)(*key & ~0x20));
    buf_printf(&entry, list ? "='%s'" : "=%s", value);
    return buf_take(&entry);
}

static char *option_with(const char *key, const char *value)
{
    struct buf option = BUF_INIT;

    buf_printf(&option, "--%s=%s", key, value);
    return buf_take(&option);
}

static void expect_setting(const struct settings *s, const char *key, const char *text,
                           enum setting_origin origin, int line)
{
    const struct setting_info *row = settings_find(key);
    const struct setting_source *source = settings_source(s, &s->pools[0], row);
    CLEANUP_FREE char *printed = setting_text(s, key);

    cr_expect_str_eq(printed, text, "%s: '%s' instead of '%s'", key, printed, text);
    cr_expect_eq(source->origin, origin, "%s", key);
    cr_expect_eq(source->line, line, "%s: line %d", key, source->line);
}

Test(settings, the_table_is_complete)
{
    const struct setting_info *rows;
    size_t n;

    rows = settings_table(&n);
    cr_expect_eq(n, ARRAY_SIZE(samples), "a sample for each setting");
    for (size_t i = 0; i < n; i++) {
        cr_expect_not_null(find_sample(rows[i].key), "%s", rows[i].key);
        cr_expect_eq(settings_find(rows[i].key), &rows[i], "%s is there twice", rows[i].key);
        cr_expect(*rows[i].help && *rows[i].argument, "%s", rows[i].key);
        cr_expect_eq(rows[i].key[strspn(rows[i].key, "abcdefghijklmnopqrstuvwxyz-")], '\0');
        cr_expect(!rows[i].rule.type->repeatable || rows[i].rule.max > 0, "%s has no limit",
                  rows[i].key);
    }
}

/* A Service named preforkd makes the kubelet add these to the environment of every pod. */
Test(settings, no_setting_is_named_like_a_variable_of_kubernetes)
{
    static const char *const ends[] = {"-port", "-service-host", "-service-port"};
    const struct setting_info *rows;
    size_t n;

    rows = settings_table(&n);
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < ARRAY_SIZE(ends); k++) {
            char key[64];

            snprintf(key, sizeof(key), "-%s", rows[i].key);
            cr_expect_null(strstr(key, ends[k]), "%s", rows[i].key);
        }
}

Test(settings, foreign_variables_do_no_harm)
{
    char *envp[] = {"PREFORKD_SERVICE_HOST=10.0.0.1",
                    "PREFORKD_SERVICE_PORT=8900",
                    "PREFORKD_PORT=tcp://10.0.0.1:8900",
                    "PREFORKD_PORT_8900_TCP_ADDR=10.0.0.1",
                    "PREFORKD_=",
                    "PREFORKD_WORKERS_=0",
                    "XPREFORKD_WORKERS=0",
                    "PREFORKD_WORKERS",
                    "PREFORKD_BACKLOG=",
                    NULL};
    struct settings *s = WELL(.envp = envp, .args = WORDS("x"));
    struct settings *plain = WELL(.args = WORDS("x"));

    expect_same_settings(s, plain);
    settings_unref(s);
    settings_unref(plain);
}

Test(settings, every_default_is_what_the_table_says)
{
    struct settings *s = WELL(.text = "[pool:web]\ncommand = x\n");
    const struct setting_info *rows;
    size_t n;

    rows = settings_table(&n);
    for (size_t i = 0; i < n; i++) {
        const struct setting_type *type = rows[i].rule.type;
        union setting_value value = {0};

        if (streq(rows[i].key, "command"))
            continue;
        if (rows[i].default_text)
            cr_assert_eq(type->parse(&rows[i].rule, rows[i].default_text, &value, NULL), 0);
        cr_expect(type->equal(settings_value(s, &s->pools[0], &rows[i]), &value), "%s",
                  rows[i].key);
        cr_expect_eq(settings_source(s, &s->pools[0], &rows[i])->origin, ORIGIN_DEFAULT);
        if (type->free)
            type->free(&value);
    }
    settings_unref(s);
}

Test(settings, the_structure_holds_what_the_file_says)
{
    struct settings *s = WELL(.text = "[preforkd]\nlog-file = /l\n[pool:web]\ncommand = a b\n"
                                      "workers = 7\nmin-ready = 50%\nlisten = 80\nlisten = 81\n"
                                      "umask = 27\nforward-signals = USR1\n[pool:b]\ncommand = c");
    const struct pool_settings *web = settings_pool(s, "web");

    cr_assert_eq(s->npools, 2);
    cr_expect_str_eq(s->file, "web.conf");
    cr_expect_str_eq(s->master.log_file, "/l");
    cr_expect_eq(s->master.source.log_file.line, 2);
    cr_expect_eq(web, &s->pools[0]);
    cr_expect_eq(web->line, 3);
    cr_expect_eq(web->command.n, 2);
    cr_expect_eq(web->workers, 7);
    cr_expect(web->min_ready.percent && web->min_ready.value == 50);
    cr_expect_str_eq(web->listen.items[1], "81");
    cr_expect_eq(web->umask, 027);
    cr_expect_eq(web->stop_signal, 15);
    cr_expect_eq(web->forward_signals, UINT64_C(1) << 10);
    cr_expect_eq(s->pools[1].workers, SETTING_AUTO);
    cr_expect_null(s->pools[1].user);
    cr_expect_null(settings_pool(s, "none"));
    settings_unref(s);
}

/* Each setting through all four origins, each stronger than the one before. */
Test(settings, the_stronger_origin_wins)
{
    for (size_t i = 0; i < ARRAY_SIZE(samples); i++) {
        const struct sample *sample = &samples[i];
        CLEANUP_FREE char *text = file_with(sample->key, sample->good[0]);
        CLEANUP_FREE char *entry = env_entry(sample->key, sample->good[1]);
        CLEANUP_FREE char *option = option_with(sample->key, sample->good[2]);
        char *envp[] = {"A=b", entry, NULL};
        struct settings *s;

        s = WELL(.text = text);
        expect_setting(s, sample->key, sample->good[0], ORIGIN_FILE, 2);
        settings_unref(s);
        s = WELL(.text = text, .envp = envp);
        expect_setting(s, sample->key, sample->good[1], ORIGIN_ENVIRONMENT, 0);
        settings_unref(s);
        s = WELL(.text = text, .envp = envp, .args = WORDS(option));
        expect_setting(s, sample->key, sample->good[2], ORIGIN_COMMAND_LINE, 0);
        settings_unref(s);
        s = WELL(.text = text, .args = WORDS(option));
        expect_setting(s, sample->key, sample->good[2], ORIGIN_COMMAND_LINE, 0);
        settings_unref(s);
    }
}

Test(settings, every_bad_value_is_refused_with_its_place)
{
    for (size_t i = 0; i < ARRAY_SIZE(samples); i++) {
        const struct sample *sample = &samples[i];
        CLEANUP_FREE char *text = file_with(sample->key, sample->bad);
        CLEANUP_FREE char *entry = env_entry(sample->key, sample->bad);
        CLEANUP_FREE char *option = option_with(sample->key, sample->bad);
        char *envp[] = {entry, NULL};
        char reason[512];

        snprintf(reason, sizeof(reason), "web.conf:2: [%s] %s: %s",
                 settings_find(sample->key)->pool ? "pool:web" : "preforkd", sample->key,
                 sample->reason);
        BADLY(reason, .text = text);
        snprintf(reason, sizeof(reason), "environment %.*s: %s", (int)strcspn(entry, "="), entry,
                 sample->reason);
        BADLY(reason, .text = "[pool:web]\n", .envp = envp);
        snprintf(reason, sizeof(reason), "--%s: %s", sample->key, sample->reason);
        BADLY(reason, .args = WORDS(option));
    }
}

static void expect_range_end(const struct setting_info *row, int64_t value, bool inside)
{
    CLEANUP_BUF struct buf text = BUF_INIT;
    struct why why = {""};
    int64_t read = 0;
    int err;

    row->rule.type->show(value, &text);
    err = row->rule.type->parse(&row->rule, buf_str(&text), &read, &why);
    cr_expect_eq(err, inside ? 0 : -EINVAL, "%s %s: %s", row->key, buf_str(&text), why.text);
    cr_expect(!inside || read == value, "%s %s", row->key, buf_str(&text));
}

Test(settings, every_range_is_exact)
{
    const struct setting_info *rows;
    size_t n;

    rows = settings_table(&n);
    for (size_t i = 0; i < n; i++) {
        const struct setting_rule *rule = &rows[i].rule;

        if (!rule->type->show || rule->min == rule->max)
            continue;
        expect_range_end(&rows[i], rule->min, true);
        expect_range_end(&rows[i], rule->max, true);
        if (rule->min != 0 || rule->type == &setting_types[SETTING_INT])
            expect_range_end(&rows[i], rule->min - 1, false);
        if (rule->max != INT64_MAX)
            expect_range_end(&rows[i], rule->max + 1, false);
    }
}

Test(settings, a_stronger_list_replaces_a_weaker_one)
{
    const char *text = "[pool:web]\ncommand = x\nlisten = 1\nlisten = 2\nenv = A=1\n";
    char *envp[] = {"PREFORKD_LISTEN= 3 4\n5 ", "PREFORKD_ENV=A='x y' B=\"\"", NULL};
    struct settings *s = WELL(.text = text);

    expect_setting(s, "listen", "1\n2", ORIGIN_FILE, 3);
    settings_unref(s);
    s = WELL(.text = text, .envp = envp);
    expect_setting(s, "listen", "3\n4\n5", ORIGIN_ENVIRONMENT, 0);
    expect_setting(s, "env", "A=x y\nB=", ORIGIN_ENVIRONMENT, 0);
    settings_unref(s);
    s = WELL(.text = text, .envp = envp, .args = WORDS("-l6", "--listen", "7"));
    expect_setting(s, "listen", "6\n7", ORIGIN_COMMAND_LINE, 0);
    settings_unref(s);
    s = WELL(.text = text, .args = WORDS("--listen="));
    expect_setting(s, "listen", "", ORIGIN_COMMAND_LINE, 0);
    settings_unref(s);
    BADLY("environment PREFORKD_ENV: a single quote is not closed", .text = text,
          .envp = ((char *[]){"PREFORKD_ENV='", NULL}));
}

Test(settings, an_empty_value_unsets_what_may_be_unset)
{
    struct settings *s = WELL(.text = "[preforkd]\npidfile = /p\n[pool:web]\ncommand = x\nuser =\n"
                                      "env = A=1\nenv =\nenv = B=2\nforward-signals = USR1\n",
                              .args = WORDS("--pidfile=", "--forward-signals", " "));

    expect_setting(s, "pidfile", "", ORIGIN_COMMAND_LINE, 0);
    expect_setting(s, "user", "", ORIGIN_FILE, 5);
    expect_setting(s, "env", "B=2", ORIGIN_FILE, 6);
    expect_setting(s, "forward-signals", "", ORIGIN_COMMAND_LINE, 0);
    settings_unref(s);
    BADLY("web.conf:3: [pool:web] workers: needs a value",
          .text = "[pool:web]\ncommand = x\nworkers =\n");
    BADLY("--log-file: needs a value", .args = WORDS("--log-file=", "x"));
    BADLY("web.conf:1: [pool:web] has no command", .text = "[pool:web]\ncommand =\n");
}

Test(settings, the_last_of_an_option_wins)
{
    struct settings *s = WELL(.args = WORDS("-w3", "--workers=4", "-v", "--log-level=warn", "x"));

    expect_setting(s, "workers", "4", ORIGIN_COMMAND_LINE, 0);
    expect_setting(s, "log-level", "warn", ORIGIN_COMMAND_LINE, 0);
    settings_unref(s);
    BADLY("--workers: '0' is out of range (1..4096, or auto)",
          .args = WORDS("-w0", "--workers=4", "x"));
}

Test(settings, blanks_around_a_value_do_not_count)
{
    struct settings *s = WELL(.args = WORDS("--workers", " 4\n", "--env", "\tA= b ", "x"));

    expect_setting(s, "workers", "4", ORIGIN_COMMAND_LINE, 0);
    expect_setting(s, "env", "A= b", ORIGIN_COMMAND_LINE, 0);
    settings_unref(s);
}

Test(settings, pool_settings_from_outside_go_to_every_pool)
{
    struct settings *s =
        WELL(.text = "[pool:a]\ncommand = x\nworkers = 1\n[pool:b]\ncommand = y\n",
             .envp = ((char *[]){"PREFORKD_BACKLOG=7", NULL}), .args = WORDS("-w5"));

    for (size_t i = 0; i < 2; i++) {
        cr_expect_eq(s->pools[i].workers, 5);
        cr_expect_eq(s->pools[i].backlog, 7);
    }
    settings_unref(s);
}

Test(settings, the_command_line_makes_the_pool_main)
{
    struct settings *s = WELL(.args = WORDS("--", "a b", "", "c\nd"));

    cr_assert_eq(s->npools, 1);
    cr_expect_null(s->file);
    cr_expect_str_eq(s->pools[0].name, "main");
    cr_expect_eq(s->pools[0].line, 0);
    cr_expect_eq(s->pools[0].source.command.origin, ORIGIN_COMMAND_LINE);
    expect_setting(s, "command", "'a b' '' $'c\\nd'", ORIGIN_COMMAND_LINE, 0);
    settings_unref(s);
    s = WELL(.envp = ((char *[]){"PREFORKD_COMMAND=a 'b c'", NULL}));
    expect_setting(s, "command", "a 'b c'", ORIGIN_ENVIRONMENT, 0);
    settings_unref(s);
    s = WELL(.envp = ((char *[]){"PREFORKD_COMMAND=a", NULL}), .args = WORDS("b"));
    expect_setting(s, "command", "b", ORIGIN_COMMAND_LINE, 0);
    settings_unref(s);
}

Test(settings, the_two_forms_exclude_each_other)
{
    BADLY("no COMMAND and no --config; try --help", .text = NULL);
    BADLY("no COMMAND and no --config; try --help", .args = WORDS("-w4", "--"));
    BADLY("COMMAND and --config exclude each other; try --help", .text = "[pool:a]\ncommand = b",
          .args = WORDS("x"));
    BADLY("COMMAND and environment PREFORKD_CONFIG exclude each other; try --help",
          .envp = ((char *[]){"PREFORKD_CONFIG=/x", NULL}), .args = WORDS("x"));
}

Test(settings, the_file_to_read)
{
    char *envp[] = {"PREFORKD_CONFIG=/env", NULL};
    char *empty[] = {"PREFORKD_CONFIG=", NULL};
    struct cmdline none = {0}, given = {.file = "/given"};
    struct settings *s = NULL;

    cr_expect_null(settings_path(&none, NULL));
    cr_expect_null(settings_path(&none, empty));
    cr_expect_str_eq(settings_path(&none, envp), "/env");
    cr_expect_str_eq(settings_path(&given, envp), "/given");
    cr_assert_eq(settings_build(&none, envp, "[pool:a]\ncommand = b", 20, &s, NULL), 0);
    cr_expect_str_eq(s->file, "/env");
    settings_unref(s);
}

Test(settings, references)
{
    struct settings *s = WELL(.args = WORDS("x"));

    cr_expect_eq(settings_ref(s), s);
    settings_unref(s);
    cr_expect_str_eq(s->pools[0].name, "main");
    settings_unref(s);
    settings_unref(NULL);
}

/* --- Reload --- */

Test(settings_reload, every_setting_is_refused_only_if_it_is_fixed)
{
    for (size_t i = 0; i < ARRAY_SIZE(samples); i++) {
        const struct setting_info *row = settings_find(samples[i].key);
        CLEANUP_FREE char *text = file_with(row->key, samples[i].good[0]);
        struct settings *before = WELL(.text = "[pool:web]\ncommand = x\n");
        struct settings *after = WELL(.text = text);
        struct why why = {""};
        bool fixed = row->reload == RELOAD_FIXED;

        cr_expect_eq(settings_check_reload(before, after, &why), fixed ? -EPERM : 0, "%s: %s",
                     row->key, why.text);
        cr_expect(!fixed || strstr(why.text, row->key), "%s", row->key);
        cr_expect_eq(settings_check_reload(after, after, &why), 0, "%s: %s", row->key, why.text);
        settings_unref(before);
        settings_unref(after);
    }
}

static void expect_reload(const char *before, const char *after, const char *reason)
{
    struct settings *a = WELL(.text = before), *b = WELL(.text = after);
    struct why why = {""};

    cr_expect_eq(settings_check_reload(a, b, &why), *reason ? -EPERM : 0, "%s", why.text);
    cr_expect_str_eq(why.text, reason);
    settings_unref(a);
    settings_unref(b);
}

Test(settings_reload, names_the_setting_and_both_values)
{
    expect_reload("[preforkd]\nhealth = off\n[pool:a]\ncommand = x",
                  "[preforkd]\n\nhealth = *:80\n[pool:a]\ncommand = x",
                  "web.conf:3: [preforkd] health: cannot change from 'off' to '*:80' without a "
                  "restart");
    expect_reload("[preforkd]\npidfile = /p\n[pool:a]\ncommand = x", "[pool:a]\ncommand = x",
                  "[preforkd] pidfile: cannot change from '/p' to '' without a restart");
    expect_reload("[pool:a]\ncommand = x\n[pool:b]\ncommand = x",
                  "[pool:b]\ncommand = x\naccept = shared\n[pool:a]\ncommand = x",
                  "web.conf:3: [pool:b] accept: cannot change from 'per-worker' to 'shared' "
                  "without a restart");
}

Test(settings_reload, pools_come_and_go)
{
    expect_reload("[pool:a]\ncommand = x\naccept = shared",
                  "[pool:b]\ncommand = x\n[pool:c]\ncommand = x\naccept = shared", "");
}
