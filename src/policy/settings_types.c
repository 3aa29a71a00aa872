#include "policy/settings_types.h"

#include <assert.h>
#include <ctype.h>

#include "base/log.h"
#include "base/sys.h"
#include "policy/adoption.h"
#include "policy/output_line.h"
#include "policy/restart.h"
#include "policy/sockspec.h"
#include "policy/words.h"

#define SHOWN_MAX 64 /* bytes of a value that a message repeats */

int setting_fail(struct why *why, const char *text, const char *rest, ...)
{
    CLEANUP_BUF struct buf shown = BUF_INIT;
    size_t len = strlen(text);
    va_list ap;

    buf_putc(&shown, '\'');
    buf_escape(&shown, text, len < SHOWN_MAX ? len : SHOWN_MAX);
    buf_puts(&shown, len < SHOWN_MAX ? "'" : "...'");
    va_start(ap, rest);
    buf_vprintf(&shown, rest, ap);
    va_end(ap);
    return why_fail(why, -EINVAL, "%s", buf_str(&shown));
}

static int out_of_memory(struct why *why)
{
    return why_fail(why, -ENOMEM, "out of memory");
}

int count_of(struct count c, int total)
{
    int64_t n = c.percent ? ((int64_t)total * c.value + 99) / 100 : c.value;

    if (n < 1)
        n = 1;
    return (int)(n < total ? n : total);
}

/* --- Numbers: how each is read and shown --- */

/* Reads digits at *text and moves it behind them. -EINVAL: there is none, -ERANGE: too many. */
static int take_digits(const char **text, int64_t *out)
{
    int err = isdigit((unsigned char)**text) ? 0 : -EINVAL;

    for (*out = 0; isdigit((unsigned char)**text); ++*text)
        if (__builtin_mul_overflow(*out, 10, out) ||
            __builtin_add_overflow(*out, **text - '0', out))
            err = -ERANGE;
    return err;
}

static int scan_int(const char *text, int64_t *out)
{
    bool negative = *text == '-';
    int err;

    text += negative;
    err = take_digits(&text, out);
    if (*text)
        return -EINVAL;
    if (err == 0 && negative)
        *out = -*out;
    return err;
}

static void show_int(int64_t value, struct buf *out)
{
    buf_printf(out, "%lld", (long long)value);
}

struct unit {
    const char *name;
    int64_t worth;
};

/* A value is shown in the first unit that divides it. So kibibytes are only read: 65536 open files
 * are easier to recognize than 64K of them. */
static const struct unit time_units[] = {
    {"d", 86400000}, {"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1}, {"", 1000}, {NULL, 0},
};
static const struct unit size_units[] = {
    {"T", INT64_C(1) << 40}, {"G", 1 << 30}, {"M", 1 << 20}, {"", 1}, {"K", 1 << 10}, {NULL, 0},
};

static const struct unit *find_unit(const struct unit *units, const char *name)
{
    for (; units->name; units++)
        if (streq(units->name, name))
            return units;
    return NULL;
}

static void show_units(int64_t value, const struct unit *unit, struct buf *out)
{
    if (value == 0) {
        buf_putc(out, '0');
        return;
    }
    while (value % unit->worth)
        unit++;
    buf_printf(out, "%lld%s", (long long)(value / unit->worth), unit->name);
}

/* At most six digits behind the point. `scale`: 1000 after three of them. */
static int take_fraction(const char **text, int64_t *out, int64_t *scale)
{
    const char *start = *text;
    int err = take_digits(text, out);

    *scale = 1;
    if (*text - start > 6)
        return -EINVAL;
    while (start++ < *text)
        *scale *= 10;
    return err;
}

/* Rounded up, so that only zero is zero: for many settings that is "off". */
static int scan_duration(const char *text, int64_t *out)
{
    int64_t whole, fraction = 0, scale = 1;
    int err = take_digits(&text, &whole);
    const struct unit *unit;

    if (err == -EINVAL)
        return err;
    if (*text == '.') {
        text++;
        if (take_fraction(&text, &fraction, &scale) < 0)
            return -EINVAL;
    }
    unit = find_unit(time_units, text);
    if (!unit)
        return -EINVAL;
    if (err < 0 || __builtin_mul_overflow(whole, unit->worth, &whole) ||
        __builtin_add_overflow(whole, (fraction * unit->worth + scale - 1) / scale, out))
        return -ERANGE;
    return 0;
}

static void show_duration(int64_t value, struct buf *out)
{
    show_units(value, time_units, out);
}

static int scan_size(const char *text, int64_t *out)
{
    const struct unit *unit;
    int err;

    if (streq(text, "unlimited")) {
        *out = INT64_MAX;
        return 0;
    }
    err = take_digits(&text, out);
    unit = find_unit(size_units, text);
    if (err == -EINVAL || !unit)
        return -EINVAL;
    if (err < 0 || __builtin_mul_overflow(*out, unit->worth, out))
        return -ERANGE;
    return 0;
}

static void show_size(int64_t value, struct buf *out)
{
    if (value == INT64_MAX)
        buf_puts(out, "unlimited");
    else
        show_units(value, size_units, out);
}

static int scan_octal(const char *text, int64_t *out)
{
    size_t len = strspn(text, "01234567");

    if (len == 0 || text[len])
        return -EINVAL;
    *out = strtoll(text, NULL, 8);
    return 0;
}

static void show_octal(int64_t value, struct buf *out)
{
    buf_printf(out, "%04llo", (unsigned long long)value);
}

static int scan_signal(const char *text, int64_t *out)
{
    *out = sys_signal_number(text);
    return *out > 0 ? 0 : -EINVAL;
}

static void show_signal(int64_t value, struct buf *out)
{
    buf_puts(out, sys_signal_name((int)value));
}

#define TIME_FORM "a time such as 500ms, 30s, 5m, 1h"

int duration_parse(const char *text, int64_t *out_ms, struct why *why)
{
    if (scan_duration(text, out_ms) < 0)
        return setting_fail(why, text, " is not " TIME_FORM);
    return 0;
}

/* --- Numbers: what all have in common --- */

static_assert(SETTING_AUTO == SETTING_INHERIT, "one value stands for the word of a number");

static void number_show_range(const struct setting_rule *rule, struct buf *out)
{
    const struct setting_type *type = rule->type;

    if (rule->min == rule->max)
        return;
    buf_puts(out, " (");
    type->show(rule->min, out);
    buf_puts(out, "..");
    type->show(rule->max, out);
    if (type->word)
        buf_printf(out, ", or %s", type->word);
    buf_putc(out, ')');
}

static int number_fail(const struct setting_rule *rule, const char *text, int err, struct why *why)
{
    CLEANUP_BUF struct buf range = BUF_INIT;

    number_show_range(rule, &range);
    if (err == -EINVAL)
        return setting_fail(why, text, " is not %s%s", rule->type->form, buf_str(&range));
    return setting_fail(why, text, " is out of range%s", buf_str(&range));
}

static int number_parse(const struct setting_rule *rule, const char *text, void *value,
                        struct why *why)
{
    int64_t n = SETTING_AUTO;
    int err = 0;

    if (!rule->type->word || !streq(text, rule->type->word)) {
        err = rule->type->scan(text, &n);
        if (err == 0 && rule->min != rule->max && (n < rule->min || n > rule->max))
            err = -ERANGE;
    }
    if (err < 0)
        return number_fail(rule, text, err, why);
    memcpy(value, &n, sizeof(n));
    return 0;
}

static void number_print(const struct setting_type *type, const void *value, struct buf *out)
{
    int64_t n = *(const int64_t *)value;

    if (type->word && n == SETTING_AUTO)
        buf_puts(out, type->word);
    else
        type->show(n, out);
}

static bool number_equal(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(int64_t)) == 0;
}

/* --- "N" or "N%" --- */

static int count_parse(const struct setting_rule *rule, const char *text, void *value,
                       struct why *why)
{
    const char *at = text;
    int64_t n;
    int err = take_digits(&at, &n);
    bool percent = *at == '%';
    int64_t max = percent ? 100 : rule->max;

    const char *wrong = NULL;

    if (err == -EINVAL || at[percent])
        wrong = "not a number or a percentage";
    else if (err < 0 || n < rule->min || n > max)
        wrong = "out of range";
    if (wrong)
        return setting_fail(why, text, " is %s (%lld..%lld, or 1%%..100%%)", wrong,
                            (long long)rule->min, (long long)rule->max);
    *(struct count *)value = (struct count){.value = (int)n, .percent = percent};
    return 0;
}

static void count_print(UNUSED const struct setting_type *type, const void *value, struct buf *out)
{
    const struct count *c = value;

    buf_printf(out, "%d%s", c->value, c->percent ? "%" : "");
}

static bool count_equal(const void *a, const void *b)
{
    const struct count *x = a, *y = b;

    return x->value == y->value && x->percent == y->percent;
}

/* --- Enumerations --- */

static int choice_parse(const struct setting_rule *rule, const char *text, void *value,
                        struct why *why)
{
    CLEANUP_BUF struct buf accepted = BUF_INIT;
    const char *const *choices = rule->type->choices;

    for (int64_t i = 0; choices[i]; i++) {
        if (streq(choices[i], text)) {
            memcpy(value, &i, sizeof(i));
            return 0;
        }
        buf_printf(&accepted, "%s%s", i ? ", " : "", choices[i]);
    }
    return setting_fail(why, text, " is none of %s", buf_str(&accepted));
}

static void choice_print(const struct setting_type *type, const void *value, struct buf *out)
{
    buf_puts(out, type->choices[*(const int64_t *)value]);
}

static const char *const log_format_words[] = {
    [LOG_FORMAT_AUTO] = "auto", [LOG_FORMAT_TEXT] = "text", [LOG_FORMAT_JSON] = "json", NULL};
static const char *const log_level_words[] = {[LOG_LEVEL_ERROR] = "error",
                                              [LOG_LEVEL_WARN] = "warn",
                                              [LOG_LEVEL_INFO] = "info",
                                              [LOG_LEVEL_DEBUG] = "debug",
                                              NULL};
static const char *const accept_words[] = {
    [ACCEPT_PER_WORKER] = "per-worker", [ACCEPT_SHARED] = "shared", NULL};
static const char *const affinity_words[] = {
    [AFFINITY_OFF] = "off", [AFFINITY_AUTO] = "auto", NULL};
static const char *const balance_words[] = {[BALANCE_HASH] = "hash",
                                            [BALANCE_RANDOM] = "random",
                                            [BALANCE_ROUND_ROBIN] = "round-robin",
                                            [BALANCE_CPU] = "cpu",
                                            NULL};
static const char *const adopt_words[] = {
    [ADOPTION_AUTO] = "auto", [ADOPTION_LISTED] = "listed", [ADOPTION_OFF] = "off", NULL};
static const char *const fallback_words[] = {[FALLBACK_OFF] = "off", [FALLBACK_503] = "503", NULL};
static const char *const output_words[] = {
    [OUTPUT_INHERIT] = "inherit", [OUTPUT_TAG] = "tag", [OUTPUT_JSON] = "json", NULL};
static const char *const overflow_words[] = {
    [OVERFLOW_WAIT] = "wait", [OVERFLOW_DROP] = "drop", NULL};
static const char *const restart_words[] = {[RESTART_ALWAYS] = "always",
                                            [RESTART_ON_FAILURE] = "on-failure",
                                            [RESTART_NEVER] = "never",
                                            NULL};
static const char *const on_breaker_words[] = {
    [ON_BREAKER_HOLD] = "hold", [ON_BREAKER_EXIT] = "exit", NULL};
static const char *const ready_words[] = {
    [READY_AUTO] = "auto",   [READY_NOTIFY] = "notify", [READY_LISTEN] = "listen",
    [READY_DELAY] = "delay", [READY_PROBE] = "probe",   NULL};

/* --- Sets of signals --- */

static const char *const forwardable[] = {"USR1", "USR2", "WINCH"};

static int signals_add(const char *name, uint64_t *set, struct why *why)
{
    int signo = sys_signal_number(name);

    for (size_t i = 0; i < ARRAY_SIZE(forwardable); i++)
        if (sys_signal_number(forwardable[i]) == signo) {
            *set |= UINT64_C(1) << signo;
            return 0;
        }
    return setting_fail(why, name, " cannot be forwarded (USR1, USR2, WINCH)");
}

static int signals_parse(UNUSED const struct setting_rule *rule, const char *text, void *value,
                         struct why *why)
{
    CLEANUP_FREE char *copy = strdup(text);
    char *rest = copy, *name;
    uint64_t set = 0;

    if (!copy)
        return out_of_memory(why);
    while ((name = strsep(&rest, ", \t\n"))) {
        int err = *name ? signals_add(name, &set, why) : 0;

        if (err < 0)
            return err;
    }
    memcpy(value, &set, sizeof(set));
    return 0;
}

static void signals_print(UNUSED const struct setting_type *type, const void *value,
                          struct buf *out)
{
    const char *separator = "";

    for (size_t i = 0; i < ARRAY_SIZE(forwardable); i++)
        if (*(const uint64_t *)value & UINT64_C(1) << sys_signal_number(forwardable[i])) {
            buf_printf(out, "%s%s", separator, forwardable[i]);
            separator = ",";
        }
}

/* --- Texts --- */

static int refuse_controls(const char *text, struct why *why)
{
    for (const char *c = text; *c; c++)
        if (((unsigned char)*c < 0x20 && *c != '\t') || *c == 0x7f)
            return setting_fail(why, text, " holds a control character");
    return 0;
}

static int string_parse(UNUSED const struct setting_rule *rule, const char *text, void *value,
                        struct why *why)
{
    char **string = value;

    if (refuse_controls(text, why) < 0)
        return -EINVAL;
    *string = strdup(text);
    return *string ? 0 : out_of_memory(why);
}

/* Only what no directory of users can hold is refused: whether the account exists is looked up when
 * it is needed. */
static int account_parse(const struct setting_rule *rule, const char *text, void *value,
                         struct why *why)
{
    if (*text == '-' || strpbrk(text, ":/, \t"))
        return setting_fail(why, text, " cannot be the name or number of an account");
    return string_parse(rule, text, value, why);
}

static int health_parse(const struct setting_rule *rule, const char *text, void *value,
                        struct why *why)
{
    struct sockspec spec;
    struct why reason;

    if (!streq(text, "auto") && !streq(text, "off")) {
        if (sockspec_parse(text, &spec, &reason) < 0)
            return setting_fail(why, text, ": %s", reason.text);
        if (spec.udp || spec.kind == SOCKSPEC_SYSTEMD)
            return setting_fail(why, text, " is no TCP or unix address, nor auto or off");
    }
    return string_parse(rule, text, value, why);
}

#define PROBE_PATH_MAX 1024

/* The path goes into the line of a request as it is. */
static int probe_parse(const struct setting_rule *rule, const char *text, void *value,
                       struct why *why)
{
    const char *p = text;

    while (*p > ' ' && *p < 127)
        p++;
    if (!streq(text, "off") && !streq(text, "tcp") && (*text != '/' || *p))
        return setting_fail(why, text, " is neither off, nor tcp, nor a path such as /healthz");
    if (p - text > PROBE_PATH_MAX)
        return setting_fail(why, text, " is longer than %d bytes", PROBE_PATH_MAX);
    return string_parse(rule, text, value, why);
}

static int control_parse(const struct setting_rule *rule, const char *text, void *value,
                         struct why *why)
{
    const size_t max = sizeof(((struct sockspec *)0)->path) - 1;

    if (!streq(text, "auto") && !streq(text, "off") && (*text != '/' || strlen(text) > max))
        return setting_fail(why, text, " is no absolute path of at most %zu bytes, nor auto or off",
                            max);
    return string_parse(rule, text, value, why);
}

static void string_print(UNUSED const struct setting_type *type, const void *value, struct buf *out)
{
    const char *string = *(char *const *)value;

    buf_puts(out, string ? string : "");
}

static bool string_equal(const void *a, const void *b)
{
    const char *x = *(char *const *)a, *y = *(char *const *)b;

    return x && y ? streq(x, y) : x == y;
}

static void string_free(void *value)
{
    char **string = value;

    free(*string);
    *string = NULL;
}

/* --- Lists --- */

static int words_parse(UNUSED const struct setting_rule *rule, const char *text, void *value,
                       struct why *why)
{
    struct why reason;
    int err = words_split(text, value, &reason);

    if (err == -EINVAL)
        return setting_fail(why, text, ": %s", reason.text);
    return err < 0 ? out_of_memory(why) : 0;
}

static void words_print(UNUSED const struct setting_type *type, const void *value, struct buf *out)
{
    const struct strv *words = value;

    for (size_t i = 0; i < words->n; i++) {
        buf_puts(out, i ? " " : "");
        words_quote(words->items[i], out);
    }
}

static int list_append(const struct setting_rule *rule, const char *text, struct strv *list,
                       struct why *why)
{
    if (refuse_controls(text, why) < 0)
        return -EINVAL;
    if ((int64_t)list->n >= rule->max)
        return setting_fail(why, text, " is one too many (at most %lld)", (long long)rule->max);
    return strv_push(list, text) < 0 ? out_of_memory(why) : 0;
}

static int env_parse(const struct setting_rule *rule, const char *text, void *value,
                     struct why *why)
{
    size_t len = 0;

    while (isalnum((unsigned char)text[len]) || text[len] == '_')
        len++;
    if (len == 0 || isdigit((unsigned char)*text) || text[len] != '=')
        return setting_fail(why, text, " is not NAME=VALUE");
    return list_append(rule, text, value, why);
}

bool setting_listen_clash(const struct sockspec *a, const struct sockspec *b)
{
    bool any_port = a->port == 0 && a->kind != SOCKSPEC_UNIX && a->kind != SOCKSPEC_SYSTEMD;

    return !any_port && sockspec_same_address(a, b);
}

static int listen_parse(const struct setting_rule *rule, const char *text, void *value,
                        struct why *why)
{
    const struct strv *list = value;
    struct sockspec spec, other;
    struct why reason;

    if (sockspec_parse(text, &spec, &reason) < 0)
        return setting_fail(why, text, ": %s", reason.text);
    for (size_t i = 0; i < list->n; i++)
        if (sockspec_parse(list->items[i], &other, NULL) == 0 &&
            setting_listen_clash(&spec, &other))
            return setting_fail(why, text, " is listed twice");
    return list_append(rule, text, value, why);
}

static void list_print(UNUSED const struct setting_type *type, const void *value, struct buf *out)
{
    const struct strv *list = value;

    for (size_t i = 0; i < list->n; i++)
        buf_printf(out, "%s%s", i ? "\n" : "", list->items[i]);
}

static bool list_equal(const void *a, const void *b)
{
    return strv_equal(a, b);
}

static void list_free(void *value)
{
    strv_free(value);
}

/* --- The table --- */

#define TYPE(id) .name = #id, .size = sizeof(setting_##id)
#define NUMBER(id, form_, word_, kind)                                                             \
    [SETTING_##id] = {                                                                             \
        TYPE(id),        .parse = number_parse, .print = number_print, .equal = number_equal,      \
        .form = (form_), .word = (word_),       .scan = scan_##kind,   .show = show_##kind}
#define CHOICE(id, words)                                                                          \
    [SETTING_##id] = {TYPE(id), .parse = choice_parse, .print = choice_print,                      \
                      .equal = number_equal, .choices = (words)}
#define TEXT(id, parse_)                                                                           \
    [SETTING_##id] = {TYPE(id), .parse = (parse_), .print = string_print, .equal = string_equal,   \
                      .free = string_free}
#define LIST(id, parse_, print_, repeatable_)                                                      \
    [SETTING_##id] = {TYPE(id),          .repeatable = (repeatable_), .parse = (parse_),           \
                      .print = (print_), .equal = list_equal,         .free = list_free}
#define PLAIN(id, parse_, print_, equal_)                                                          \
    [SETTING_##id] = {TYPE(id), .parse = (parse_), .print = (print_), .equal = (equal_)}

#define SIZE_FORM "a size such as 4096, 512M, 1G or unlimited"

const struct setting_type setting_types[SETTING_NTYPES] = {
    TEXT(STRING, string_parse),
    TEXT(ACCOUNT, account_parse),
    TEXT(HEALTH, health_parse),
    TEXT(PROBE, probe_parse),
    TEXT(CONTROL, control_parse),
    LIST(WORDS, words_parse, words_print, false),
    LIST(LIST, env_parse, list_print, true),
    LIST(LISTEN, listen_parse, list_print, true),
    NUMBER(DURATION, TIME_FORM, NULL, duration),
    NUMBER(DURATION_AUTO, TIME_FORM, "auto", duration),
    NUMBER(DURATION_OFF, TIME_FORM, "off", duration),
    NUMBER(SIZE_OFF, "a size such as 512M or 1G", "off", size),
    NUMBER(INT, "a whole number", NULL, int),
    NUMBER(INT_AUTO, "a whole number", "auto", int),
    NUMBER(INT_INHERIT, "a whole number", "inherit", int),
    NUMBER(SIZE_INHERIT, SIZE_FORM, "inherit", size),
    NUMBER(OCTAL, "an octal number", "inherit", octal),
    PLAIN(COUNT, count_parse, count_print, count_equal),
    NUMBER(SIGNAL, "the name or number of a signal", NULL, signal),
    PLAIN(SIGNALS, signals_parse, signals_print, number_equal),
    CHOICE(LOG_FORMAT, log_format_words),
    CHOICE(LOG_LEVEL, log_level_words),
    CHOICE(ACCEPT, accept_words),
    CHOICE(ADOPT, adopt_words),
    CHOICE(AFFINITY, affinity_words),
    CHOICE(BALANCE, balance_words),
    CHOICE(FALLBACK, fallback_words),
    CHOICE(READY, ready_words),
    CHOICE(OUTPUT, output_words),
    CHOICE(OVERFLOW, overflow_words),
    CHOICE(RESTART, restart_words),
    CHOICE(ON_BREAKER, on_breaker_words),
};
