/* What a worker gets: each variable, where it comes from, and what must not reach it. */
#include <criterion/criterion.h>
#include <limits.h>

#include "base/buf.h"
#include "policy/worker_env.h"

/* --- A worker with everything, to be changed by each test --- */

static char *no_base[] = {NULL};
static struct strv settings_env, command;
static struct worker_env env;
static struct why why;

static const struct worker_env_listener some_listeners[] = {
    {.name = "http", .address = "8080", .port = 8080},
    {.name = "local", .address = "127.0.0.1:8081", .port = 8081},
    {.name = "six", .address = "[::1]:8082", .port = 8082},
    {.name = "dns", .address = "53", .port = 53, .udp = true},
    {.name = "path", .address = "/run/x.sock", .is_unix = true},
};

static struct worker_env_input input(void)
{
    return (struct worker_env_input){
        .base = no_base,
        .env_file_name = "web.env",
        .env = &settings_env,
        .command = &command,
        .pool = "web",
        .slot = 2,
        .workers = 4,
        .generation = 7,
        .starts = 9,
    };
}

static struct worker_env_input input_with_listeners(void)
{
    struct worker_env_input in = input();

    in.listeners = some_listeners;
    in.nlisteners = ARRAY_SIZE(some_listeners);
    return in;
}

static void clean(void)
{
    worker_env_free(&env);
    strv_free(&settings_env);
    strv_free(&command);
}

TestSuite(worker_env, .fini = clean);

static void build(const struct worker_env_input *in)
{
    worker_env_free(&env);
    cr_assert_eq(worker_env_build(in, &env, &why), 0, "%s", why.text);
}

/* NULL: not set. Each name must be there once only. */
static void expect_env(const char *name, const char *expected)
{
    const char *value = strv_env_get(&env.envp, name);
    size_t times = 0;

    for (size_t i = 0; i < env.envp.n; i++) {
        const char *rest = str_after(env.envp.items[i], name);

        times += rest && *rest == '=';
    }
    if (!expected) {
        cr_expect_eq(times, 0, "%s=%s", name, value);
        return;
    }
    cr_expect_eq(times, 1, "%s is there %zu times", name, times);
    cr_expect_str_eq(value ? value : "(unset)", expected, "%s=%s", name, value);
}

/* --- The protocols --- */

Test(worker_env, systemd)
{
    struct worker_env_input in = input_with_listeners();

    build(&in);
    expect_env("LISTEN_FDS", "5");
    expect_env("LISTEN_FDNAMES", "http:local:six:dns:path");
    worker_env_set_pid(&env, 4711);
    expect_env("LISTEN_PID", "4711");
}

Test(worker_env, server_starter_lists_streams_only)
{
    struct worker_env_input in = input_with_listeners();

    build(&in);
    expect_env("SERVER_STARTER_PORT", "8080=3;127.0.0.1:8081=4;[::1]:8082=5;/run/x.sock=7");
    expect_env("SERVER_STARTER_GENERATION", "9");
}

Test(worker_env, einhorn_lists_streams_only)
{
    struct worker_env_input in = input_with_listeners();

    build(&in);
    expect_env("EINHORN_FD_COUNT", "4");
    expect_env("EINHORN_FD_0", "3");
    expect_env("EINHORN_FD_1", "4");
    expect_env("EINHORN_FD_2", "5");
    expect_env("EINHORN_FD_3", "7");
    expect_env("EINHORN_FD_4", NULL);
    expect_env("EINHORN_FD_FAMILY_0", "AF_INET");
    expect_env("EINHORN_FD_FAMILY_1", "AF_INET");
    expect_env("EINHORN_FD_FAMILY_2", "AF_INET6");
    expect_env("EINHORN_FD_FAMILY_3", "AF_UNIX");
    expect_env("EINHORN_CHILD_INDEX", "2");
    expect_env("EINHORN_MASTER_PID", NULL);
    expect_env("EINHORN_SOCK_PATH", NULL);
}

static void expect_no_stream_protocols(void)
{
    expect_env("SERVER_STARTER_PORT", NULL);
    expect_env("SERVER_STARTER_GENERATION", NULL);
    expect_env("EINHORN_FD_COUNT", NULL);
    expect_env("EINHORN_FD_0", NULL);
    expect_env("EINHORN_CHILD_INDEX", NULL);
}

Test(worker_env, without_listeners_there_are_no_protocols)
{
    struct worker_env_input in = input();

    build(&in);
    expect_env("LISTEN_FDS", NULL);
    expect_env("LISTEN_PID", NULL);
    expect_env("LISTEN_FDNAMES", NULL);
    expect_env("PORT", NULL);
    expect_no_stream_protocols();
    cr_expect_null(env.pid_digits[0]);
    cr_expect_null(env.pid_digits[1]);
    worker_env_set_pid(&env, 4711);
}

Test(worker_env, with_udp_only_there_is_systemd_only)
{
    struct worker_env_input in = input();

    in.listeners = &some_listeners[3];
    in.nlisteners = 1;
    build(&in);
    expect_env("LISTEN_FDS", "1");
    expect_env("LISTEN_FDNAMES", "dns");
    expect_env("PORT", "53");
    expect_no_stream_protocols();
}

Test(worker_env, streams_behind_udp_keep_their_descriptors)
{
    struct worker_env_input in = input();
    const struct worker_env_listener two[] = {some_listeners[3], some_listeners[0]};

    in.listeners = two;
    in.nlisteners = 2;
    build(&in);
    expect_env("LISTEN_FDNAMES", "dns:http");
    expect_env("SERVER_STARTER_PORT", "8080=4");
    expect_env("EINHORN_FD_COUNT", "1");
    expect_env("EINHORN_FD_0", "4");
}

Test(worker_env, notify_and_watchdog)
{
    struct worker_env_input in = input();

    build(&in);
    expect_env("NOTIFY_SOCKET", NULL);
    expect_env("WATCHDOG_USEC", NULL);
    expect_env("WATCHDOG_PID", NULL);
    in.notify_socket = "@preforkd/1";
    in.watchdog_usec = 86400000000;
    build(&in);
    expect_env("NOTIFY_SOCKET", "@preforkd/1");
    expect_env("WATCHDOG_USEC", "86400000000");
    worker_env_set_pid(&env, 1);
    expect_env("WATCHDOG_PID", "1");
}

Test(worker_env, own)
{
    struct worker_env_input in = input_with_listeners();

    build(&in);
    expect_env("PREFORK_POOL", "web");
    expect_env("PREFORK_SLOT", "2");
    expect_env("PREFORK_WORKERS", "4");
    expect_env("PREFORK_GENERATION", "7");
    expect_env("NODE_APP_INSTANCE", "2");
    expect_env("PORT", "8080");
}

Test(worker_env, port_is_of_the_first_listener_that_has_one)
{
    struct worker_env_input in = input();
    const struct worker_env_listener two[] = {some_listeners[4], some_listeners[1]};

    in.listeners = two;
    in.nlisteners = 1;
    build(&in);
    expect_env("PORT", NULL);
    in.nlisteners = 2;
    build(&in);
    expect_env("PORT", "8081");
}

/* --- The process id --- */

Test(worker_env, process_ids_of_every_length)
{
    static const struct {
        pid_t pid;
        const char *text;
    } cases[] = {
        {1, "1"},
        {10, "10"},
        {99, "99"},
        {100, "100"},
        {4194304, "4194304"},
        {INT_MAX, "2147483647"},
        {1000000000, "1000000000"},
        {7, "7"},
    };
    struct worker_env_input in = input_with_listeners();

    in.watchdog_usec = 1;
    build(&in);
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        worker_env_set_pid(&env, cases[i].pid);
        expect_env("LISTEN_PID", cases[i].text);
        expect_env("WATCHDOG_PID", cases[i].text);
    }
}

/* --- Precedence --- */

Test(worker_env, the_base_comes_through)
{
    char *base[] = {"PATH=/bin",          "EMPTY=",        "INVOCATION_ID=abc",
                    "JOURNAL_STREAM=8:1", "TWICE=a=b",     "LISTENER=1",
                    "LISTEN=1",           "PREFORKED=1",   "NOTIFY_SOCKET_X=1",
                    "MAINPIDS=1",         "XLISTEN_FDS=1", "NODE_ENV=production",
                    "NODE_OPTIONS=-x",    "lISTEN_FDS=3",  NULL};
    struct worker_env_input in = input();

    in.base = base;
    build(&in);
    for (char **entry = base; *entry; entry++)
        cr_expect(strv_contains(&env.envp, *entry), "%s", *entry);
}

Test(worker_env, what_is_meant_for_the_master_does_not)
{
    char *base[] = {"LISTEN_FDS=3",
                    "LISTEN_PID=1",
                    "LISTEN_FDNAMES=a:b:c",
                    "LISTEN_PIDFDID=7",
                    "NOTIFY_SOCKET=/run/systemd/notify",
                    "WATCHDOG_USEC=1",
                    "WATCHDOG_PID=1",
                    "FDSTORE=5",
                    "MAINPID=1",
                    "SERVER_STARTER_PORT=80=3",
                    "SERVER_STARTER_GENERATION=1",
                    "EINHORN_MASTER_PID=1",
                    "EINHORN_SOCK_PATH=/x",
                    "EINHORN_FD_COUNT=1",
                    "EINHORN_FD_0=3",
                    "PREFORK_SOMETHING=1",
                    "PREFORKD_WORKERS=9",
                    "NODE_UNIQUE_ID=1",
                    "NODE_CHANNEL_FD=3",
                    "NODE_CHANNEL_SERIALIZATION_MODE=json",
                    "LISTEN_FDS=4",
                    NULL};
    struct worker_env_input in = input();

    in.base = base;
    build(&in);
    cr_expect_eq(env.envp.n, 5);
    for (char **entry = base; *entry; entry++)
        cr_expect_not(strv_contains(&env.envp, *entry), "%s", *entry);
}

Test(worker_env, each_layer_covers_the_one_below)
{
    char *base[] = {"A=base", "B=base", "C=base", "D=base", NULL};
    struct worker_env_input in = input();

    in.base = base;
    in.env_file_text = "B=file\nC=file\nE=file\n";
    cr_assert_eq(strv_push(&settings_env, "C=setting"), 0);
    cr_assert_eq(strv_push(&settings_env, "F=setting=with=equals"), 0);
    cr_assert_eq(strv_push(&settings_env, "G="), 0);
    cr_assert_eq(strv_push(&settings_env, "PREFORK_SLOT=99"), 0);
    build(&in);
    expect_env("A", "base");
    expect_env("B", "file");
    expect_env("C", "setting");
    expect_env("D", "base");
    expect_env("E", "file");
    expect_env("F", "setting=with=equals");
    expect_env("G", "");
    expect_env("PREFORK_SLOT", "2");
}

/* Even where preforkd would set nothing, what the user asked for by name is given. */
Test(worker_env, what_the_user_sets_is_not_taken_away)
{
    struct worker_env_input in = input();

    in.env_file_text = "LISTEN_ADDR=0.0.0.0\nNOTIFY_SOCKET=/run/mine\n";
    build(&in);
    expect_env("LISTEN_ADDR", "0.0.0.0");
    expect_env("NOTIFY_SOCKET", "/run/mine");
}

Test(worker_env, port_is_kept_from_wherever_it_comes)
{
    char *base[] = {"PORT=1", NULL};
    struct worker_env_input in = input_with_listeners();

    in.base = base;
    build(&in);
    expect_env("PORT", "1");
    in.env_file_text = "PORT=2";
    build(&in);
    expect_env("PORT", "2");
    cr_assert_eq(strv_push(&settings_env, "PORT="), 0);
    build(&in);
    expect_env("PORT", "");
}

Test(worker_env, user)
{
    char *base[] = {"HOME=/root", "USER=root", "LOGNAME=root", "SHELL=/bin/bash", NULL};
    struct worker_env_input in = input();

    in.base = base;
    build(&in);
    expect_env("HOME", "/root");
    in.home = "/var/www";
    in.user = "www-data";
    in.shell = "/usr/sbin/nologin";
    build(&in);
    expect_env("HOME", "/var/www");
    expect_env("USER", "www-data");
    expect_env("LOGNAME", "www-data");
    expect_env("SHELL", "/usr/sbin/nologin");
    in.env_file_text = "HOME=/srv";
    cr_assert_eq(strv_push(&settings_env, "SHELL=/bin/sh"), 0);
    build(&in);
    expect_env("HOME", "/srv");
    expect_env("SHELL", "/bin/sh");
    expect_env("USER", "www-data");
}

Test(worker_env, a_setting_without_a_value_is_refused)
{
    static const char *const bad[] = {"NAME", "=value", ""};

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct worker_env_input in = input();

        strv_free(&settings_env);
        cr_assert_eq(strv_push(&settings_env, bad[i]), 0);
        cr_expect_eq(worker_env_build(&in, &env, &why), -EINVAL);
        cr_expect_str_eq(why.text, "env is not NAME=VALUE");
        worker_env_free(&env);
    }
}

/* --- The env-file --- */

Test(worker_env, env_file)
{
    struct worker_env_input in = input();

    in.env_file_text = "\xef\xbb\xbf# a comment\n"
                       "; another\n"
                       "  # a third = one\n"
                       "\n"
                       "   \t\n"
                       "PLAIN=a b  c\n"
                       "  INDENTED=x  \t\n"
                       "DOS=line\r\n"
                       "EMPTY=\n"
                       "QUOTED_EMPTY=''\n"
                       "DOUBLE=\"  kept ' blanks  \"\n"
                       "SINGLE='say \"hi\" \\n $HOME'\n"
                       "LATER=it's\n"
                       "EQUALS=a=b==c\n"
                       "HASH=a#b # c\n"
                       "export EXPORTED=1\n"
                       "export\tTABBED=2\n"
                       "export=3\n"
                       "exported=4\n"
                       "_under_9=5\n"
                       "TWICE=1\n"
                       "TWICE=2\n"
                       "UTF8=gr\xc3\xbc\xc3\x9f\n"
                       "LAST=no newline";
    build(&in);
    expect_env("PLAIN", "a b  c");
    expect_env("INDENTED", "x");
    expect_env("DOS", "line");
    expect_env("EMPTY", "");
    expect_env("QUOTED_EMPTY", "");
    expect_env("DOUBLE", "  kept ' blanks  ");
    expect_env("SINGLE", "say \"hi\" \\n $HOME");
    expect_env("LATER", "it's");
    expect_env("EQUALS", "a=b==c");
    expect_env("HASH", "a#b # c");
    expect_env("EXPORTED", "1");
    expect_env("TABBED", "2");
    expect_env("export", "3");
    expect_env("exported", "4");
    expect_env("_under_9", "5");
    expect_env("TWICE", "2");
    expect_env("UTF8", "gr\xc3\xbc\xc3\x9f");
    expect_env("LAST", "no newline");
    cr_expect_eq(env.envp.n, 18 + 5);
}

Test(worker_env, bad_lines_of_the_env_file)
{
    static const char *const cases[][2] = {
        {"A=1\n\n# x\nsecret", "web.env:4: is not NAME=VALUE"},
        {"=secret", "web.env:1: is not NAME=VALUE"},
        {"A B=secret", "web.env:1: is not NAME=VALUE"},
        {"A =secret", "web.env:1: is not NAME=VALUE"},
        {"9A=secret", "web.env:1: is not NAME=VALUE"},
        {"A-B=secret", "web.env:1: is not NAME=VALUE"},
        {"\xc3\xbc=secret", "web.env:1: is not NAME=VALUE"},
        {"export", "web.env:1: is not NAME=VALUE"},
        {"export secret", "web.env:1: is not NAME=VALUE"},
        {"export =secret", "web.env:1: is not NAME=VALUE"},
        {"\nA=\"secret", "web.env:2: a quote is not closed"},
        {"A='secret\nB='", "web.env:1: a quote is not closed"},
        {"A='secret\"", "web.env:1: a quote is not closed"},
        {"A='", "web.env:1: a quote is not closed"},
        {"A='secret' # x", "web.env:1: text follows the closing quote"},
        {"A='secret''", "web.env:1: text follows the closing quote"},
        {"A=1\r\nB\r\n", "web.env:2: is not NAME=VALUE"},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct worker_env_input in = input();

        in.env_file_text = cases[i][0];
        cr_expect_eq(worker_env_build(&in, &env, &why), -EINVAL, "%s", cases[i][0]);
        cr_expect_str_eq(why.text, cases[i][1], "%s: %s", cases[i][0], why.text);
        worker_env_free(&env);
        cr_expect_eq(worker_env_build(&in, &env, NULL), -EINVAL);
        worker_env_free(&env);
    }
}

/* --- The arguments --- */

static void expect_argument(const struct worker_env_input *in, const char *word,
                            const char *expected)
{
    strv_free(&command);
    cr_assert_eq(strv_push(&command, "server"), 0);
    cr_assert_eq(strv_push(&command, word), 0);
    build(in);
    cr_assert_eq(env.argv.n, 2);
    cr_expect_str_eq(env.argv.items[0], "server");
    cr_expect_str_eq(env.argv.items[1], expected);
    cr_expect_null(env.argv.items[2]);
}

Test(worker_env, placeholders)
{
    struct worker_env_input in = input_with_listeners();

    expect_argument(&in, "", "");
    expect_argument(&in, "--fd={fd}", "--fd=3");
    expect_argument(&in, "{port}{slot}", "80802");
    expect_argument(&in, "/var/log/{pool}.{slot}.log", "/var/log/web.2.log");
    expect_argument(&in, "{\"json\": {}} {workers} {FD} {fd", "{\"json\": {}} {workers} {FD} {fd");
}

Test(worker_env, placeholders_without_a_meaning_are_left_alone)
{
    struct worker_env_input in = input();

    expect_argument(&in, "{fd} {port} {slot}", "{fd} {port} 2");
    in.listeners = &some_listeners[4];
    in.nlisteners = 1;
    expect_argument(&in, "{fd} {port} {slot}", "3 {port} 2");
}

Test(worker_env, values_of_placeholders_are_not_expanded_again)
{
    struct worker_env_input in = input_with_listeners();

    in.pool = "{slot}";
    expect_argument(&in, "{pool}", "{slot}");
}

/* The settings are used for every start and must come out unchanged. */
Test(worker_env, the_input_is_not_changed)
{
    struct worker_env_input in = input_with_listeners();

    cr_assert_eq(strv_push(&settings_env, "A=b"), 0);
    for (int i = 0; i < 2; i++) {
        expect_argument(&in, "{fd}", "3");
        expect_env("A", "b");
    }
    cr_expect_str_eq(settings_env.items[0], "A=b");
    cr_expect_str_eq(command.items[1], "{fd}");
}

Test(worker_env, telemetry_tells_workers_apart)
{
    static const struct {
        const char *given, *expected;
    } cases[] = {
        {NULL, "service.instance.id=web.2.u"},
        {"", "service.instance.id=web.2.u"},
        {"a=b", "a=b,service.instance.id=web.2.u"},
        {"a=b,service.instance.id=mine", "a=b,service.instance.id=mine"},
        {"service.instance.id=mine", "service.instance.id=mine"},
        {"a=b , service.instance.id =mine", "a=b , service.instance.id =mine"},
        {"service.instance.idx=1", "service.instance.idx=1,service.instance.id=web.2.u"},
        {"a=service.instance.id=b", "a=service.instance.id=b,service.instance.id=web.2.u"},
        {",,", ",,,service.instance.id=web.2.u"},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct worker_env_input in = input();

        in.unique = "u";
        strv_free(&settings_env);
        if (cases[i].given)
            strv_pushf(&settings_env, "OTEL_RESOURCE_ATTRIBUTES=%s", cases[i].given);
        build(&in);
        expect_env("OTEL_RESOURCE_ATTRIBUTES", cases[i].expected);
    }
}

Test(worker_env, the_journal_reads_what_is_not_captured)
{
    char *base[] = {(char *)"JOURNAL_STREAM=8:1", NULL};
    struct worker_env_input in = input();

    in.base = base;
    build(&in);
    expect_env("JOURNAL_STREAM", "8:1");
    in.captured = true;
    build(&in);
    expect_env("JOURNAL_STREAM", NULL);
}
