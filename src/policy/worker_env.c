#include "policy/worker_env.h"

#include <ctype.h>
#include <stdio.h>

#include "policy/words.h"

/* Room for the largest pid_t. */
#define PID_PLACE "0000000000"

/* --- The layers below what preforkd sets itself --- */

/* Meant for the master alone: the protocols of its own service manager or of a Node.js parent, and
 * what a worker would take for its own. INVOCATION_ID stays true for workers. */
static bool is_for_master(const char *entry)
{
    static const char *const prefixes[] = {
        "LISTEN_",  "WATCHDOG_",     "SERVER_STARTER_", "EINHORN_",
        "PREFORK_", "PREFORKD_",     "NOTIFY_SOCKET=",  "FDSTORE=",
        "MAINPID=", "NODE_CHANNEL_", "NODE_UNIQUE_ID=",
    };

    for (size_t i = 0; i < ARRAY_SIZE(prefixes); i++)
        if (str_after(entry, prefixes[i]))
            return true;
    return false;
}

static int add_base(struct strv *envp, char *const *base)
{
    for (; *base; base++)
        if (!is_for_master(*base) && strv_push(envp, *base) < 0)
            return -ENOMEM;
    return 0;
}

/* JOURNAL_STREAM stays true only for workers that write where the master does. */
static int add_masters(struct strv *envp, const struct worker_env_input *in)
{
    int err = add_base(envp, in->base);

    if (in->captured)
        strv_env_unset(envp, "JOURNAL_STREAM");
    return err;
}

static int add_user(struct strv *envp, const struct worker_env_input *in)
{
    const struct {
        const char *name, *value;
    } variables[] = {
        {"HOME", in->home}, {"USER", in->user}, {"LOGNAME", in->user}, {"SHELL", in->shell}};

    for (size_t i = 0; i < ARRAY_SIZE(variables); i++)
        if (variables[i].value && strv_env_set(envp, variables[i].name, variables[i].value) < 0)
            return -ENOMEM;
    return 0;
}

/* Sets "NAME=value"; cuts `assignment` in two on the way. -EINVAL when it is none. */
static int set_assignment(struct strv *envp, char *assignment)
{
    char *equals = strchr(assignment, '=');

    if (!equals || equals == assignment)
        return -EINVAL;
    *equals = '\0';
    return strv_env_set(envp, assignment, equals + 1);
}

static int add_settings(struct strv *envp, const struct strv *env, struct why *why)
{
    for (size_t i = 0; i < env->n; i++) {
        CLEANUP_FREE char *assignment = strdup(env->items[i]);
        int err = assignment ? set_assignment(envp, assignment) : -ENOMEM;

        if (err == -EINVAL)
            return why_fail(why, err, "env is not NAME=VALUE");
        if (err < 0)
            return err;
    }
    return 0;
}

/* --- The env-file --- */

static char *trim(char *line)
{
    char *end = line + strlen(line);

    while (isspace((unsigned char)*line))
        line++;
    while (end > line && isspace((unsigned char)end[-1]))
        end--;
    *end = '\0';
    return line;
}

static bool is_name(const char *text, size_t len)
{
    if (len == 0 || isdigit((unsigned char)*text))
        return false;
    for (size_t i = 0; i < len; i++)
        if (!isalnum((unsigned char)text[i]) && text[i] != '_')
            return false;
    return true;
}

/* Takes one pair of quotes away from around a value, in place. What stands inside is kept as it
 * is. Returns the reason when the first quote has no partner at the very end. */
static const char *unquote(char *value)
{
    char quote = *value;
    char *close;

    if (quote != '\'' && quote != '"')
        return NULL;
    close = strchr(value + 1, quote);
    if (!close)
        return "a quote is not closed";
    if (close[1] != '\0')
        return "text follows the closing quote";
    *close = '\0';
    memmove(value, value + 1, (size_t)(close - value));
    return NULL;
}

/* One line without its newline. 0, -ENOMEM, or -EINVAL with what is wrong. The reason repeats
 * nothing: such files hold secrets. */
static int add_line(struct strv *envp, char *line, const char **wrong)
{
    char *assignment = trim(line), *equals;
    const char *exported = str_after(assignment, "export");

    if (*assignment == '\0' || *assignment == '#' || *assignment == ';')
        return 0;
    if (exported && isblank((unsigned char)*exported))
        assignment = trim(assignment + strlen("export"));
    equals = strchr(assignment, '=');
    *wrong = "is not NAME=VALUE";
    if (!equals || !is_name(assignment, (size_t)(equals - assignment)))
        return -EINVAL;
    *wrong = unquote(equals + 1);
    return *wrong ? -EINVAL : set_assignment(envp, assignment);
}

static int add_file(struct strv *envp, const char *text, const char *name, struct why *why)
{
    const char *after_mark = str_after(text, "\xef\xbb\xbf"); /* an editor's byte order mark */
    CLEANUP_FREE char *copy = strdup(after_mark ? after_mark : text);
    char *rest = copy, *line;

    if (!copy)
        return -ENOMEM;
    for (unsigned number = 1; (line = strsep(&rest, "\n")); number++) {
        const char *wrong = NULL;
        int err = add_line(envp, line, &wrong);

        if (err == -EINVAL)
            return why_fail(why, err, "%s:%u: %s", name, number, wrong);
        if (err < 0)
            return err;
    }
    return 0;
}

/* --- What preforkd sets itself --- */

static int set_number(struct strv *envp, const char *name, long long value)
{
    char text[24];

    snprintf(text, sizeof(text), "%lld", value);
    return strv_env_set(envp, name, text);
}

/* Sets `name` to a place for the child's own process id and gives the place back. */
static int set_pid_place(struct strv *envp, const char *name, char **place)
{
    if (strv_env_set(envp, name, PID_PLACE) < 0)
        return -ENOMEM;
    *place = (char *)strv_env_get(envp, name);
    return 0;
}

static int set_taken(struct strv *envp, const char *name, struct buf *text)
{
    CLEANUP_FREE char *value = buf_take(text);

    return value ? strv_env_set(envp, name, value) : -ENOMEM;
}

/* systemd: see sd_listen_fds(3). Without listeners nothing is set, as there. */
static int set_systemd(struct worker_env *e, const struct worker_env_input *in)
{
    struct buf names = BUF_INIT;

    if (in->nlisteners == 0)
        return 0;
    for (size_t i = 0; i < in->nlisteners; i++)
        buf_printf(&names, "%s%s", i ? ":" : "", in->listeners[i].name);
    if (set_taken(&e->envp, "LISTEN_FDNAMES", &names) < 0 ||
        set_number(&e->envp, "LISTEN_FDS", (long long)in->nlisteners) < 0)
        return -ENOMEM;
    return set_pid_place(&e->envp, "LISTEN_PID", &e->pid_digits[0]);
}

/* Server::Starter knows stream sockets only, and its clients accept(2) on all that they are given:
 * UDP is left out. Without any stream socket nothing is set, since an empty list is an error to
 * them. */
static int set_server_starter(struct strv *envp, const struct worker_env_input *in)
{
    struct buf ports = BUF_INIT;

    for (size_t i = 0; i < in->nlisteners; i++)
        if (!in->listeners[i].udp)
            buf_printf(&ports, "%s%s=%zu", ports.len ? ";" : "", in->listeners[i].address,
                       i + WORKER_ENV_FIRST_FD);
    if (ports.len == 0 && !ports.failed)
        return 0;
    if (set_taken(envp, "SERVER_STARTER_PORT", &ports) < 0)
        return -ENOMEM;
    return set_number(envp, "SERVER_STARTER_GENERATION", in->starts);
}

/* For a dual-stack listener what clients assume anyway: it falls back to IPv4 where IPv6 is off. */
static const char *einhorn_family(const struct worker_env_listener *l)
{
    if (l->is_unix)
        return "AF_UNIX";
    return l->address[0] == '[' ? "AF_INET6" : "AF_INET";
}

static int set_einhorn_fd(struct strv *envp, const struct worker_env_listener *l, unsigned index,
                          size_t fd)
{
    char name[40];

    snprintf(name, sizeof(name), "EINHORN_FD_FAMILY_%u", index);
    if (strv_env_set(envp, name, einhorn_family(l)) < 0)
        return -ENOMEM;
    snprintf(name, sizeof(name), "EINHORN_FD_%u", index);
    return set_number(envp, name, (long long)fd);
}

/* Stream sockets only, as above. EINHORN_MASTER_PID is left out on purpose: it makes clients
 * acknowledge on the socket of EINHORN_SOCK_PATH and end when there is none. */
static int set_einhorn(struct strv *envp, const struct worker_env_input *in)
{
    unsigned count = 0;

    for (size_t i = 0; i < in->nlisteners; i++)
        if (!in->listeners[i].udp &&
            set_einhorn_fd(envp, &in->listeners[i], count++, i + WORKER_ENV_FIRST_FD) < 0)
            return -ENOMEM;
    if (count == 0)
        return 0;
    if (set_number(envp, "EINHORN_FD_COUNT", count) < 0)
        return -ENOMEM;
    return set_number(envp, "EINHORN_CHILD_INDEX", in->slot);
}

/* See sd_notify(3) and sd_watchdog_enabled(3). */
static int set_notify(struct worker_env *e, const struct worker_env_input *in)
{
    if (in->notify_socket && strv_env_set(&e->envp, "NOTIFY_SOCKET", in->notify_socket) < 0)
        return -ENOMEM;
    if (in->watchdog_usec <= 0)
        return 0;
    if (set_number(&e->envp, "WATCHDOG_USEC", in->watchdog_usec) < 0)
        return -ENOMEM;
    return set_pid_place(&e->envp, "WATCHDOG_PID", &e->pid_digits[1]);
}

/* The port of the first listener that has one, or 0. */
static uint16_t first_port(const struct worker_env_input *in)
{
    for (size_t i = 0; i < in->nlisteners; i++)
        if (in->listeners[i].port)
            return in->listeners[i].port;
    return 0;
}

static int set_own(struct strv *envp, const struct worker_env_input *in)
{
    const struct {
        const char *name;
        long long value;
    } numbers[] = {
        {"PREFORK_SLOT", in->slot},
        {"PREFORK_WORKERS", in->workers},
        {"PREFORK_GENERATION", in->generation},
        {"NODE_APP_INSTANCE", in->slot},
    };

    for (size_t i = 0; i < ARRAY_SIZE(numbers); i++)
        if (set_number(envp, numbers[i].name, numbers[i].value) < 0)
            return -ENOMEM;
    if (first_port(in) && !strv_env_get(envp, "PORT") &&
        set_number(envp, "PORT", first_port(in)) < 0)
        return -ENOMEM;
    return strv_env_set(envp, "PREFORK_POOL", in->pool);
}

/* Whether the comma-separated attributes have one of this name. */
static bool has_attribute(const char *list, const char *name)
{
    for (const char *at = list; *at; at += *at == ',') {
        const char *rest;

        at += strspn(at, " \t");
        rest = str_after(at, name);
        if (rest && rest[strspn(rest, " \t")] == '=')
            return true;
        at += strcspn(at, ",");
    }
    return false;
}

/* The instance among the workers of all services of that name, by the semantic conventions of
 * OpenTelemetry. A pool's name needs no escaping. */
static int set_telemetry(struct strv *envp, const struct worker_env_input *in)
{
    static const char variable[] = "OTEL_RESOURCE_ATTRIBUTES", name[] = "service.instance.id";
    const char *given = strv_env_get(envp, variable);
    struct buf list = BUF_INIT;

    if (!in->unique || (given && has_attribute(given, name)))
        return 0;
    if (given && *given)
        buf_printf(&list, "%s,", given);
    buf_printf(&list, "%s=%s.%d.%s", name, in->pool, in->slot, in->unique);
    return set_taken(envp, variable, &list);
}

static int set_all(struct worker_env *e, const struct worker_env_input *in)
{
    int err = set_systemd(e, in);

    if (err == 0)
        err = set_server_starter(&e->envp, in);
    if (err == 0)
        err = set_einhorn(&e->envp, in);
    if (err == 0)
        err = set_notify(e, in);
    if (err == 0)
        err = set_telemetry(&e->envp, in);
    return err < 0 ? err : set_own(&e->envp, in);
}

/* --- The whole --- */

static int build_argv(struct strv *argv, const struct worker_env_input *in)
{
    char fd[16], port[16], slot[16];
    const struct words_placeholder list[] = {
        {"fd", in->nlisteners ? fd : NULL},
        {"port", first_port(in) ? port : NULL},
        {"slot", slot},
        {"pool", in->pool},
    };

    snprintf(fd, sizeof(fd), "%d", WORKER_ENV_FIRST_FD);
    snprintf(port, sizeof(port), "%u", (unsigned)first_port(in));
    snprintf(slot, sizeof(slot), "%d", in->slot);
    for (size_t i = 0; i < in->command->n; i++) {
        struct buf word = BUF_INIT;

        words_expand(in->command->items[i], list, ARRAY_SIZE(list), &word);
        if (strv_push_take(argv, buf_take(&word)) < 0)
            return -ENOMEM;
    }
    return 0;
}

static int build(const struct worker_env_input *in, struct worker_env *out, struct why *why)
{
    int err = add_masters(&out->envp, in);

    if (err == 0)
        err = add_user(&out->envp, in);
    if (err == 0 && in->env_file_text)
        err = add_file(&out->envp, in->env_file_text, in->env_file_name, why);
    if (err == 0)
        err = add_settings(&out->envp, in->env, why);
    if (err == 0)
        err = set_all(out, in);
    return err < 0 ? err : build_argv(&out->argv, in);
}

int worker_env_build(const struct worker_env_input *in, struct worker_env *out, struct why *why)
{
    int err;

    *out = (struct worker_env){0};
    err = build(in, out, why);
    return err == -ENOMEM ? why_fail_errno(why, err, "environment") : err;
}

void worker_env_free(struct worker_env *e)
{
    strv_free(&e->argv);
    strv_free(&e->envp);
    *e = (struct worker_env){0};
}

/* Left-aligned and ended where the digits end: readers refuse leading zeros and blanks. */
static void write_decimal(char *place, pid_t pid)
{
    char digits[sizeof(PID_PLACE)];
    size_t n = 0;

    do
        digits[n++] = (char)('0' + pid % 10);
    while ((pid /= 10) > 0);
    while (n > 0)
        *place++ = digits[--n];
    *place = '\0';
}

void worker_env_set_pid(struct worker_env *e, pid_t pid)
{
    for (size_t i = 0; i < ARRAY_SIZE(e->pid_digits); i++)
        if (e->pid_digits[i])
            write_decimal(e->pid_digits[i], pid);
}
