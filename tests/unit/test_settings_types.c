/* Each value type: what it reads, what it refuses in which words, and that it reads what it prints.
 */
#include <signal.h>

#include "base/log.h"
#include "policy/sockspec.h"
#include "settings_fixture.h"

static struct setting_rule rule_of(enum setting_type_id id, int64_t min, int64_t max)
{
    return (struct setting_rule){&setting_types[id], min, max};
}

/* Reads `text` into a number and checks that it is printed as `shown`. */
static void expect_number(struct setting_rule rule, const char *text, int64_t expected,
                          const char *shown)
{
    CLEANUP_BUF struct buf out = BUF_INIT;
    struct why why = {""};
    int64_t value = -12345;

    cr_expect_eq(rule.type->parse(&rule, text, &value, &why), 0, "%s: %s", text, why.text);
    cr_expect_eq(value, expected, "%s: %lld", text, (long long)value);
    rule.type->print(rule.type, &value, &out);
    cr_expect_str_eq(buf_str(&out), shown);
}

static void expect_refused(struct setting_rule rule, const char *text, const char *reason)
{
    union setting_value value = {0};
    struct why why = {""};

    cr_expect_eq(rule.type->parse(&rule, text, &value, &why), -EINVAL, "%s", text);
    cr_expect_str_eq(why.text, reason);
    if (rule.type->free)
        rule.type->free(&value);
}

Test(settings_types, every_type_is_complete)
{
    for (size_t i = 0; i < SETTING_NTYPES; i++) {
        const struct setting_type *type = &setting_types[i];

        cr_assert_not_null(type->name, "row %zu", i);
        cr_expect(type->parse && type->print && type->equal && type->size > 0, "%s", type->name);
        cr_expect(!type->repeatable || type->free, "%s", type->name);
    }
}

Test(settings_types, whole_numbers)
{
    struct setting_rule r = rule_of(SETTING_INT, -20, 19);

    expect_number(r, "0", 0, "0");
    expect_number(r, "-20", -20, "-20");
    expect_number(r, "0019", 19, "19");
    expect_refused(r, "20", "'20' is out of range (-20..19)");
    expect_refused(r, "-21", "'-21' is out of range (-20..19)");
    expect_refused(r, "99999999999999999999", "'99999999999999999999' is out of range (-20..19)");
    expect_refused(r, "-9223372036854775808", "'-9223372036854775808' is out of range (-20..19)");
    expect_refused(r, "x", "'x' is not a whole number (-20..19)");
    expect_refused(r, "", "'' is not a whole number (-20..19)");
    expect_refused(r, "-", "'-' is not a whole number (-20..19)");
    expect_refused(r, "+1", "'+1' is not a whole number (-20..19)");
    expect_refused(r, "1x", "'1x' is not a whole number (-20..19)");
    expect_refused(r, "1.5", "'1.5' is not a whole number (-20..19)");
    expect_refused(r, "auto", "'auto' is not a whole number (-20..19)");
}

Test(settings_types, numbers_with_a_word)
{
    struct setting_rule a = rule_of(SETTING_INT_AUTO, 1, 4096);
    struct setting_rule i = rule_of(SETTING_INT_INHERIT, -20, 19);

    expect_number(a, "auto", SETTING_AUTO, "auto");
    expect_number(a, "4096", 4096, "4096");
    expect_refused(a, "0", "'0' is out of range (1..4096, or auto)");
    expect_refused(a, "inherit", "'inherit' is not a whole number (1..4096, or auto)");
    expect_number(i, "inherit", SETTING_INHERIT, "inherit");
    expect_refused(i, "auto", "'auto' is not a whole number (-20..19, or inherit)");
}

Test(settings_types, times)
{
    struct setting_rule r = rule_of(SETTING_DURATION, 0, 86400000);
    struct setting_rule a = rule_of(SETTING_DURATION_AUTO, 1, 3600000);

    expect_number(r, "0", 0, "0");
    expect_number(r, "0ms", 0, "0");
    expect_number(r, "5", 5000, "5s");
    expect_number(r, "500ms", 500, "500ms");
    expect_number(r, "30s", 30000, "30s");
    expect_number(r, "5m", 300000, "5m");
    expect_number(r, "90s", 90000, "90s");
    expect_number(r, "1h", 3600000, "1h");
    expect_number(r, "1d", 86400000, "1d");
    expect_number(r, "0.5", 500, "500ms");
    expect_number(r, "1.5h", 5400000, "90m");
    expect_number(r, "0.1s", 100, "100ms");
    expect_number(r, "0.000001", 1, "1ms");
    expect_number(r, "0.999999d", 86399914, "86399914ms");
    expect_number(a, "auto", SETTING_AUTO, "auto");
    expect_refused(r, "86400001ms", "'86400001ms' is out of range (0..1d)");
    expect_refused(r, "99999999999999999d", "'99999999999999999d' is out of range (0..1d)");
    expect_refused(r, "99999999999999999999", "'99999999999999999999' is out of range (0..1d)");
    expect_refused(a, "0", "'0' is out of range (1ms..1h, or auto)");
}

Test(settings_types, what_is_no_time)
{
    static const char *const bad[] = {"",   "x",         "-1",    "1x",    "1 s",  "s",
                                      ".5", "1.",        "1.s",   "1S",    "1min", "5sec",
                                      "ms", "0.0000001", "1.2.3", "1h30m", "inf",  "0x10"};

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct why why = {""};
        char reason[100];
        int64_t ms;

        snprintf(reason, sizeof(reason), "'%s' is not a time such as 500ms, 30s, 5m, 1h", bad[i]);
        cr_expect_eq(duration_parse(bad[i], &ms, &why), -EINVAL, "%s", bad[i]);
        cr_expect_str_eq(why.text, reason);
    }
}

Test(settings_types, sizes)
{
    struct setting_rule r = rule_of(SETTING_SIZE_INHERIT, 0, INT64_MAX);
    struct setting_rule f = rule_of(SETTING_SIZE_INHERIT, 16, 1073741816);

    expect_number(r, "inherit", SETTING_INHERIT, "inherit");
    expect_number(r, "unlimited", INT64_MAX, "unlimited");
    expect_number(r, "0", 0, "0");
    expect_number(r, "65536", 65536, "65536");
    expect_number(r, "64K", 65536, "65536");
    expect_number(r, "512M", 512 << 20, "512M");
    expect_number(r, "1024M", 1 << 30, "1G");
    expect_number(r, "3T", INT64_C(3) << 40, "3T");
    expect_refused(r, "9999999T", "'9999999T' is out of range (0..unlimited, or inherit)");
    expect_refused(r, "99999999999999999999",
                   "'99999999999999999999' is out of range (0..unlimited, or inherit)");
    expect_refused(r, "1X",
                   "'1X' is not a size such as 4096, 512M, 1G or unlimited "
                   "(0..unlimited, or inherit)");
    expect_refused(r, "-1",
                   "'-1' is not a size such as 4096, 512M, 1G or unlimited "
                   "(0..unlimited, or inherit)");
    expect_refused(f, "unlimited", "'unlimited' is out of range (16..1073741816, or inherit)");
    expect_refused(f, "15", "'15' is out of range (16..1073741816, or inherit)");
}

Test(settings_types, octal_numbers)
{
    struct setting_rule r = rule_of(SETTING_OCTAL, 0, 0777);

    expect_number(r, "22", 022, "0022");
    expect_number(r, "0027", 027, "0027");
    expect_number(r, "0", 0, "0000");
    expect_number(r, "inherit", SETTING_INHERIT, "inherit");
    expect_refused(r, "1000", "'1000' is out of range (0000..0777, or inherit)");
    expect_refused(r, "77777777777777777777777777",
                   "'77777777777777777777777777' is out of range (0000..0777, or inherit)");
    expect_refused(r, "8", "'8' is not an octal number (0000..0777, or inherit)");
    expect_refused(r, "-1", "'-1' is not an octal number (0000..0777, or inherit)");
    expect_refused(r, "", "'' is not an octal number (0000..0777, or inherit)");
}

Test(settings_types, signals)
{
    struct setting_rule one = rule_of(SETTING_SIGNAL, 0, 0);
    struct setting_rule set = rule_of(SETTING_SIGNALS, 0, 0);

    expect_number(one, "TERM", SIGTERM, "TERM");
    expect_number(one, "SIGQUIT", SIGQUIT, "QUIT");
    expect_number(one, "15", SIGTERM, "TERM");
    expect_refused(one, "FOO", "'FOO' is not the name or number of a signal");
    expect_refused(one, "0", "'0' is not the name or number of a signal");
    expect_refused(one, "-1", "'-1' is not the name or number of a signal");
    expect_number(set, "", 0, "");
    expect_number(set, "USR1", 1 << SIGUSR1, "USR1");
    expect_number(set, "WINCH, SIGUSR1", 1 << SIGWINCH | 1 << SIGUSR1, "USR1,WINCH");
    expect_number(set, "USR2 USR1,USR2", 1 << SIGUSR2 | 1 << SIGUSR1, "USR1,USR2");
    expect_refused(set, "USR1,HUP", "'HUP' cannot be forwarded (USR1, USR2, WINCH)");
    expect_refused(set, "USR1;USR2", "'USR1;USR2' cannot be forwarded (USR1, USR2, WINCH)");
}

Test(settings_types, enumerations)
{
    expect_number(rule_of(SETTING_LOG_FORMAT, 0, 0), "auto", LOG_FORMAT_AUTO, "auto");
    expect_number(rule_of(SETTING_LOG_FORMAT, 0, 0), "json", LOG_FORMAT_JSON, "json");
    expect_number(rule_of(SETTING_LOG_LEVEL, 0, 0), "error", LOG_LEVEL_ERROR, "error");
    expect_number(rule_of(SETTING_LOG_LEVEL, 0, 0), "debug", LOG_LEVEL_DEBUG, "debug");
    expect_number(rule_of(SETTING_ACCEPT, 0, 0), "shared", ACCEPT_SHARED, "shared");
    expect_number(rule_of(SETTING_READY, 0, 0), "delay", READY_DELAY, "delay");
    expect_refused(rule_of(SETTING_LOG_LEVEL, 0, 0), "loud",
                   "'loud' is none of error, warn, info, debug");
    expect_refused(rule_of(SETTING_READY, 0, 0), "",
                   "'' is none of auto, notify, listen, delay, probe");
    expect_refused(rule_of(SETTING_READY, 0, 0), "AUTO",
                   "'AUTO' is none of auto, notify, listen, delay, probe");
}

static void expect_count(const char *text, int value, bool percent)
{
    struct setting_rule r = rule_of(SETTING_COUNT, 1, 4096);
    CLEANUP_BUF struct buf out = BUF_INIT;
    struct count c = {0};

    cr_expect_eq(r.type->parse(&r, text, &c, NULL), 0, "%s", text);
    cr_expect(c.value == value && c.percent == percent, "%s", text);
    r.type->print(r.type, &c, &out);
    cr_expect_str_eq(buf_str(&out), text);
}

Test(settings_types, counts)
{
    struct setting_rule r = rule_of(SETTING_COUNT, 1, 4096);

    expect_count("1", 1, false);
    expect_count("4096", 4096, false);
    expect_count("1%", 1, true);
    expect_count("100%", 100, true);
    expect_refused(r, "0", "'0' is out of range (1..4096, or 1%..100%)");
    expect_refused(r, "4097", "'4097' is out of range (1..4096, or 1%..100%)");
    expect_refused(r, "0%", "'0%' is out of range (1..4096, or 1%..100%)");
    expect_refused(r, "101%", "'101%' is out of range (1..4096, or 1%..100%)");
    expect_refused(r, "99999999999999999999%",
                   "'99999999999999999999%' is out of range (1..4096, or 1%..100%)");
    expect_refused(r, "%", "'%' is not a number or a percentage (1..4096, or 1%..100%)");
    expect_refused(r, "5%%", "'5%%' is not a number or a percentage (1..4096, or 1%..100%)");
    expect_refused(r, "half", "'half' is not a number or a percentage (1..4096, or 1%..100%)");
}

Test(settings_types, counts_of_a_total)
{
    cr_expect_eq(count_of((struct count){1, false}, 4), 1);
    cr_expect_eq(count_of((struct count){9, false}, 4), 4);
    cr_expect_eq(count_of((struct count){0, false}, 4), 1);
    cr_expect_eq(count_of((struct count){1, false}, 0), 0);
    cr_expect_eq(count_of((struct count){50, true}, 0), 0);
    cr_expect_eq(count_of((struct count){50, true}, 3), 2);
    cr_expect_eq(count_of((struct count){1, true}, 3), 1);
    cr_expect_eq(count_of((struct count){100, true}, 3), 3);
    cr_expect_eq(count_of((struct count){100, true}, INT_MAX), INT_MAX);
}

Test(settings_types, texts)
{
    struct setting_rule s = rule_of(SETTING_STRING, 0, 0);
    struct setting_rule a = rule_of(SETTING_ACCOUNT, 0, 0);
    char *value = NULL;

    cr_expect_eq(s.type->parse(&s, "/a b\t\xff", &value, NULL), 0);
    cr_expect_str_eq(value, "/a b\t\xff");
    s.type->free(&value);
    cr_expect_null(value);
    expect_refused(s, "a\x1b[2Jb", "'a\\x1b[2Jb' holds a control character");
    expect_refused(s, "a\nb", "'a\\x0ab' holds a control character");
    expect_refused(a, "www data", "'www data' cannot be the name or number of an account");
    expect_refused(a, "a:b", "'a:b' cannot be the name or number of an account");
    expect_refused(a, "-x", "'-x' cannot be the name or number of an account");
    cr_expect_eq(a.type->parse(&a, "www-data", &value, NULL), 0);
    a.type->free(&value);
}

Test(settings_types, a_long_text_is_cut_in_a_message)
{
    char text[301], reason[200];

    memset(text, 'x', 300);
    text[300] = '\0';
    snprintf(reason, sizeof(reason), "'%.64s...' is none of auto, notify, listen, delay, probe",
             text);
    expect_refused(rule_of(SETTING_READY, 0, 0), text, reason);
}

Test(settings_types, health)
{
    struct setting_rule r = rule_of(SETTING_HEALTH, 0, 0);
    static const char *const good[] = {"auto", "off", "8900", "*:0", "[::1]:1", "unix:/run/h"};

    for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
        char *value = NULL;

        cr_expect_eq(r.type->parse(&r, good[i], &value, NULL), 0, "%s", good[i]);
        cr_expect_str_eq(value, good[i]);
        r.type->free(&value);
    }
    expect_refused(r, "udp:53", "'udp:53' is no TCP or unix address, nor auto or off");
    expect_refused(r, "systemd:web", "'systemd:web' is no TCP or unix address, nor auto or off");
    expect_refused(r, "127.0.0.1:70000",
                   "'127.0.0.1:70000': port 70000 is out of range (0..65535)");
}

Test(settings_types, control)
{
    struct setting_rule r = rule_of(SETTING_CONTROL, 0, 0);
    static const char *const good[] = {"auto", "off", "/run/c"};
    char path[110];

    for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
        char *value = NULL;

        cr_expect_eq(r.type->parse(&r, good[i], &value, NULL), 0, "%s", good[i]);
        cr_expect_str_eq(value, good[i]);
        r.type->free(&value);
    }
    expect_refused(r, "c", "'c' is no absolute path of at most 107 bytes, nor auto or off");
    expect_refused(r, "@c", "'@c' is no absolute path of at most 107 bytes, nor auto or off");
    memset(path, '/', 108);
    path[108] = '\0';
    cr_expect_eq(r.type->parse(&r, path, &(char *){NULL}, NULL), -EINVAL);
}

Test(settings_types, probe)
{
    struct setting_rule r = rule_of(SETTING_PROBE, 0, 0);
    static const char *const good[] = {"off", "tcp", "/", "/healthz?full=1&x=%20~"};
    static const char *const bad[] = {"",       "http", "healthz",         "/a b",
                                      "/a\xc3", "/a\t", "/a\r\nEvil: yes", "tcp "};
    char path[1026] = "/";

    for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
        char *value = NULL;

        cr_expect_eq(r.type->parse(&r, good[i], &value, NULL), 0, "%s", good[i]);
        cr_expect_str_eq(value, good[i]);
        r.type->free(&value);
    }
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct why why = {""};
        char *value = NULL;

        cr_expect_eq(r.type->parse(&r, bad[i], &value, &why), -EINVAL, "%s", bad[i]);
        cr_expect(strstr(why.text, " is neither off, nor tcp, nor a path such as /healthz"));
        cr_expect_null(value);
    }
    memset(path + 1, 'x', 1024);
    cr_expect_eq(r.type->parse(&r, path, &(char *){NULL}, &(struct why){""}), -EINVAL);
}

Test(settings_types, lists)
{
    struct setting_rule env = rule_of(SETTING_LIST, 0, 2);
    struct setting_rule words = rule_of(SETTING_WORDS, 0, 0);
    CLEANUP_BUF struct buf out = BUF_INIT;
    CLEANUP_STRV struct strv list = {0};
    struct why why = {""};

    cr_expect_eq(env.type->parse(&env, "A=1 ; 2", &list, NULL), 0);
    cr_expect_eq(env.type->parse(&env, "_b2=", &list, NULL), 0);
    env.type->print(env.type, &list, &out);
    cr_expect_str_eq(buf_str(&out), "A=1 ; 2\n_b2=");
    cr_expect_eq(env.type->parse(&env, "C=", &list, &why), -EINVAL);
    cr_expect_str_eq(why.text, "'C=' is one too many (at most 2)");
    expect_refused(env, "A", "'A' is not NAME=VALUE");
    expect_refused(env, "=x", "'=x' is not NAME=VALUE");
    expect_refused(env, "1A=x", "'1A=x' is not NAME=VALUE");
    expect_refused(env, "A-B=x", "'A-B=x' is not NAME=VALUE");
    expect_refused(env, "\"A=b\"", "'\"A=b\"' is not NAME=VALUE");
    expect_refused(env, "A=\x7f", "'A=\\x7f' holds a control character");
    expect_refused(words, "sh -c 'x", "'sh -c 'x': a single quote is not closed");
}

Test(settings_types, listen)
{
    struct setting_rule r = rule_of(SETTING_LISTEN, 0, 64);
    CLEANUP_STRV struct strv list = {0};
    struct why why = {""};

    cr_expect_eq(r.type->parse(&r, "8080", &list, NULL), 0);
    cr_expect_eq(r.type->parse(&r, "udp:8080", &list, NULL), 0);
    cr_expect_eq(r.type->parse(&r, "unix:/run/x", &list, NULL), 0);
    cr_expect_eq(r.type->parse(&r, "*:0", &list, NULL), 0);
    cr_expect_eq(r.type->parse(&r, "0", &list, NULL), 0, "each port 0 is another port");
    cr_expect_eq(r.type->parse(&r, "*:8080", &list, &why), -EINVAL);
    cr_expect_str_eq(why.text, "'*:8080' is listed twice");
    cr_expect_eq(r.type->parse(&r, "unix:/run/x", &list, &why), -EINVAL);
    cr_expect_str_eq(why.text, "'unix:/run/x' is listed twice");
    cr_expect_eq(list.n, 5);
    expect_refused(r, "70000", "'70000': port 70000 is out of range (0..65535)");
}

Test(settings_types, compares)
{
    const struct setting_type *string = &setting_types[SETTING_STRING];
    const struct setting_type *count = &setting_types[SETTING_COUNT];
    const struct setting_type *number = &setting_types[SETTING_INT];
    char *a = "x", b[] = "x", *c = b, *none = NULL;

    cr_expect(string->equal(&a, &c));
    cr_expect(string->equal(&none, &none));
    cr_expect(!string->equal(&a, &none));
    cr_expect(!string->equal(&none, &a));
    cr_expect(!count->equal(&(struct count){1, true}, &(struct count){1, false}));
    cr_expect(!count->equal(&(struct count){1, true}, &(struct count){2, true}));
    cr_expect(count->equal(&(struct count){1, true}, &(struct count){1, true}));
    cr_expect(!number->equal(&(int64_t){1}, &(int64_t){2}));
}
