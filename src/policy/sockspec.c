#include "policy/sockspec.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <net/if.h>
#include <stdio.h>

enum { MODE_DEFAULT = 0660, MODE_MAX = 0777, PORT_MAX = 65535 };

_Static_assert(sizeof(((struct sockspec *)0)->interface) == IF_NAMESIZE, "room for any interface");

static bool has_control(const char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text < 0x20 || *text == 0x7f)
            return true;
    return false;
}

/* Copies the first `len` bytes of `from`; false when they do not fit. */
static bool copy_part(char *to, size_t size, const char *from, size_t len)
{
    if (len >= size)
        return false;
    memcpy(to, from, len);
    to[len] = '\0';
    return true;
}

/* Decimal digits and nothing else; false also when above `max`. */
static bool read_decimal(const char *text, uint64_t max, uint64_t *out)
{
    *out = 0;
    if (*text == '\0')
        return false;
    for (; *text; text++) {
        if (!isdigit((unsigned char)*text))
            return false;
        *out = *out * 10 + (uint64_t)(*text - '0');
        if (*out > max)
            return false;
    }
    return true;
}

/* --- Options --- */

static bool is_path(const struct sockspec *spec)
{
    return spec->kind == SOCKSPEC_UNIX && spec->path[0] != '@';
}

/* What LISTEN_FDNAMES can carry: see sd_listen_fds(3). */
static int read_name(char *out, size_t size, const char *value, struct why *why)
{
    if (*value == '\0' || strchr(value, ':') || has_control(value))
        return why_fail(why, -EINVAL,
                        "a socket's name must not be empty nor hold ':' or control characters");
    if (!copy_part(out, size, value, strlen(value)))
        return why_fail(why, -EINVAL, "a socket's name has at most %zu bytes", size - 1);
    return 0;
}

static int option_name(struct sockspec *spec, const char *value, struct why *why)
{
    return read_name(spec->name, sizeof(spec->name), value, why);
}

static int option_mode(struct sockspec *spec, const char *value, struct why *why)
{
    unsigned mode = 0;
    size_t len = strspn(value, "01234567");

    if (len == 0 || len > 4 || value[len] != '\0')
        return why_fail(why, -EINVAL, "mode is not an octal number such as 0660");
    for (; *value; value++)
        mode = mode * 8 + (unsigned)(*value - '0');
    if (mode > MODE_MAX)
        return why_fail(why, -EINVAL, "mode %04o is out of range (0..0777)", mode);
    spec->mode = mode;
    return 0;
}

static int read_account(char *out, size_t size, const char *option, const char *value,
                        struct why *why)
{
    if (*value == '\0' || has_control(value) || !copy_part(out, size, value, strlen(value)))
        return why_fail(why, -EINVAL, "%s is no account's name (1..%zu bytes)", option, size - 1);
    return 0;
}

static int option_user(struct sockspec *spec, const char *value, struct why *why)
{
    return read_account(spec->user, sizeof(spec->user), "user", value, why);
}

static int option_group(struct sockspec *spec, const char *value, struct why *why)
{
    return read_account(spec->group, sizeof(spec->group), "group", value, why);
}

static const struct {
    const char *prefix;
    bool path_only;
    int (*read)(struct sockspec *spec, const char *value, struct why *why);
} options[] = {
    {"name=", false, option_name},
    {"mode=", true, option_mode},
    {"user=", true, option_user},
    {"group=", true, option_group},
};

/* `seen` has the bits of the options that were there before. */
static int read_option(struct sockspec *spec, const char *text, unsigned *seen, struct why *why)
{
    for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
        const char *value = str_after(text, options[i].prefix);
        int name_len = (int)strlen(options[i].prefix) - 1;

        if (!value)
            continue;
        if (*seen & 1U << i)
            return why_fail(why, -EINVAL, "%.*s is given twice", name_len, text);
        if (options[i].path_only && !is_path(spec))
            return why_fail(why, -EINVAL, "%.*s is for a Unix socket with a path only", name_len,
                            text);
        *seen |= 1U << i;
        return options[i].read(spec, value, why);
    }
    return why_fail(why, -EINVAL, "after the comma stands no name=, mode=, user= or group=");
}

/* Reads what follows the first comma. */
static int read_options(struct sockspec *spec, const char *text, struct why *why)
{
    unsigned seen = 0;
    int err = 0;

    if (spec->kind == SOCKSPEC_SYSTEMD)
        return why_fail(why, -EINVAL, "an inherited socket takes no options");
    while (text && err == 0) {
        const char *comma = strchrnul(text, ',');
        char option[128];

        if (!copy_part(option, sizeof(option), text, (size_t)(comma - text)))
            return why_fail(why, -EINVAL, "an option is too long");
        err = read_option(spec, option, &seen, why);
        text = *comma ? comma + 1 : NULL;
    }
    return err;
}

/* --- Addresses --- */

static int read_port(struct sockspec *spec, const char *text, struct why *why)
{
    uint64_t port;

    if (*text == '\0')
        return why_fail(why, -EINVAL, "the port is missing");
    if (text[strspn(text, "0123456789")] != '\0')
        return why_fail(why, -EINVAL, "the port is not a number");
    if (!read_decimal(text, PORT_MAX, &port))
        return why_fail(why, -EINVAL, "port %.20s is out of range (0..65535)", text);
    spec->port = (uint16_t)port;
    return 0;
}

/* "%2" or "%eth0" inside the brackets. An interface's name follows dev_valid_name() of the kernel.
 */
static int read_scope(struct sockspec *spec, const char *scope, struct why *why)
{
    uint64_t number;

    if (read_decimal(scope, UINT32_MAX, &number) && number > 0) {
        spec->scope_id = (uint32_t)number;
        return 0;
    }
    if (*scope == '\0' || isdigit((unsigned char)*scope) || strpbrk(scope, "/: \t\v\f\r\n") ||
        has_control(scope) || streq(scope, ".") || streq(scope, "..") ||
        !copy_part(spec->interface, sizeof(spec->interface), scope, strlen(scope)))
        return why_fail(why, -EINVAL, "after '%%' stands no interface's name or number");
    return 0;
}

static int read_ip6(struct sockspec *spec, const char *text, struct why *why)
{
    const char *close = strchr(text, ']');
    char host[INET6_ADDRSTRLEN + IF_NAMESIZE], *scope;

    if (!close)
        return why_fail(why, -EINVAL, "']' is missing after the IPv6 address");
    if (close[1] != ':')
        return why_fail(why, -EINVAL, "the port is missing, as in [::1]:8080");
    spec->kind = SOCKSPEC_IP6;
    if (!copy_part(host, sizeof(host), text + 1, (size_t)(close - text - 1)))
        return why_fail(why, -EINVAL, "the IPv6 address is too long");
    scope = strchr(host, '%');
    if (scope)
        *scope++ = '\0';
    if (inet_pton(AF_INET6, host, &spec->ip6) != 1)
        return why_fail(why, -EINVAL, "between the brackets stands no IPv6 address");
    if (IN6_IS_ADDR_V4MAPPED(&spec->ip6))
        return why_fail(why, -EINVAL, "write an IPv4 address without brackets and ::ffff:");
    if (scope && read_scope(spec, scope, why) < 0)
        return -EINVAL;
    return read_port(spec, close + 2, why);
}

static bool looks_like_name(const char *host)
{
    bool letter = false;

    for (; *host; host++) {
        if (!isalnum((unsigned char)*host) && !strchr(".-_", *host))
            return false;
        letter = letter || isalpha((unsigned char)*host);
    }
    return letter;
}

/* Says what is wrong with an address that is none, and what to write instead. */
static int refuse_host(const char *host, struct why *why)
{
    size_t len = strlen(host);

    if (len == 0)
        return why_fail(why, -EINVAL, "the address before the port is empty; write * for all");
    if (strchr(host, '/'))
        return why_fail(why, -EINVAL, "a Unix socket is written unix:/path");
    if (strspn(host, "0123456789.") == len)
        return why_fail(why, -EINVAL, "'%s' is not an IPv4 address", host);
    if (!looks_like_name(host))
        return why_fail(why, -EINVAL, "that is no address, such as 127.0.0.1:8080");
    return why_fail(why, -EINVAL, "'%s' is a name; write an address such as 127.0.0.1:8080", host);
}

static int read_host_port(struct sockspec *spec, const char *text, const char *colon,
                          struct why *why)
{
    char host[64];

    if (!copy_part(host, sizeof(host), text, (size_t)(colon - text)))
        return why_fail(why, -EINVAL, "the address is too long");
    if (streq(host, "*"))
        spec->kind = SOCKSPEC_DUAL;
    else if (inet_pton(AF_INET, host, &spec->ip4) == 1)
        spec->kind = SOCKSPEC_IP4;
    else
        return refuse_host(host, why);
    if (*colon == '\0')
        return why_fail(why, -EINVAL, "the port is missing, as in %s:8080", host);
    return read_port(spec, colon + 1, why);
}

static bool looks_like_ip6(const char *text)
{
    size_t len = strspn(text, "0123456789abcdefABCDEF:");
    const char *colon = memchr(text, ':', len);

    return colon && memchr(colon + 1, ':', (size_t)(text + len - colon - 1));
}

static int read_inet(struct sockspec *spec, const char *text, struct why *why)
{
    const char *colon = strchrnul(text, ':');

    if (*text == '[')
        return read_ip6(spec, text, why);
    if (isdigit((unsigned char)*text) && text[strspn(text, "0123456789")] == '\0') {
        spec->kind = SOCKSPEC_DUAL;
        return read_port(spec, text, why);
    }
    if (looks_like_ip6(text))
        return why_fail(why, -EINVAL, "an IPv6 address needs brackets, as in [::1]:8080");
    return read_host_port(spec, text, colon, why);
}

static int read_udp(struct sockspec *spec, const char *text, struct why *why)
{
    spec->udp = true;
    return read_inet(spec, text, why);
}

static int read_unix(struct sockspec *spec, const char *text, struct why *why)
{
    spec->kind = SOCKSPEC_UNIX;
    if (*text != '/' && *text != '@')
        return why_fail(why, -EINVAL, "a Unix socket's path begins with / (or @: abstract)");
    if (text[1] == '\0' || has_control(text))
        return why_fail(why, -EINVAL, "that is no path of a Unix socket");
    if (!copy_part(spec->path, sizeof(spec->path), text, strlen(text)))
        return why_fail(why, -EINVAL, "a Unix socket's path has at most %zu bytes",
                        sizeof(spec->path) - 1);
    return 0;
}

static int read_systemd(struct sockspec *spec, const char *text, struct why *why)
{
    spec->kind = SOCKSPEC_SYSTEMD;
    return read_name(spec->path, sizeof(spec->name), text, why);
}

static const struct {
    const char *prefix;
    int (*read)(struct sockspec *spec, const char *text, struct why *why);
} forms[] = {
    {"unix:", read_unix},
    {"systemd:", read_systemd},
    {"udp:", read_udp},
    {"", read_inet},
};

static int read_address(struct sockspec *spec, const char *text, struct why *why)
{
    for (size_t i = 0;; i++) {
        const char *rest = str_after(text, forms[i].prefix);

        if (rest)
            return forms[i].read(spec, rest, why);
    }
}

int sockspec_parse(const char *text, struct sockspec *out, struct why *why)
{
    const char *comma = strchrnul(text, ',');
    char address[256];
    int err;

    *out = (struct sockspec){.mode = MODE_DEFAULT};
    if (*text == '\0')
        return why_fail(why, -EINVAL, "the address is empty");
    if (!copy_part(address, sizeof(address), text, (size_t)(comma - text)))
        return why_fail(why, -EINVAL, "the address is too long");
    err = read_address(out, address, why);
    return err == 0 && *comma ? read_options(out, comma + 1, why) : err;
}

/* --- Writing and comparing --- */

static void format_ip6(const struct sockspec *spec, struct buf *out)
{
    char host[INET6_ADDRSTRLEN];

    inet_ntop(AF_INET6, &spec->ip6, host, sizeof(host));
    buf_printf(out, "[%s", host);
    if (spec->interface[0])
        buf_printf(out, "%%%s", spec->interface);
    else if (spec->scope_id)
        buf_printf(out, "%%%u", (unsigned)spec->scope_id);
    buf_putc(out, ']');
}

void sockspec_format(const struct sockspec *spec, uint16_t port, struct buf *out)
{
    char host[INET_ADDRSTRLEN];

    if (spec->udp)
        buf_puts(out, "udp:");
    switch (spec->kind) {
    case SOCKSPEC_UNIX: buf_printf(out, "unix:%s", spec->path); return;
    case SOCKSPEC_SYSTEMD: buf_printf(out, "systemd:%s", spec->path); return;
    case SOCKSPEC_DUAL: buf_putc(out, '*'); break;
    case SOCKSPEC_IP4: buf_puts(out, inet_ntop(AF_INET, &spec->ip4, host, sizeof(host))); break;
    case SOCKSPEC_IP6: format_ip6(spec, out); break;
    }
    buf_printf(out, ":%u", (unsigned)(port ? port : spec->port));
}

/* A named interface and a number are different, even when they mean the same at the moment. */
static bool same_scope(const struct sockspec *a, const struct sockspec *b)
{
    return streq(a->interface, b->interface) && (a->interface[0] || a->scope_id == b->scope_id);
}

bool sockspec_same_address(const struct sockspec *a, const struct sockspec *b)
{
    if (a->kind != b->kind || a->udp != b->udp || a->port != b->port)
        return false;
    switch (a->kind) {
    case SOCKSPEC_DUAL: break;
    case SOCKSPEC_IP4: return a->ip4.s_addr == b->ip4.s_addr;
    case SOCKSPEC_IP6: return IN6_ARE_ADDR_EQUAL(&a->ip6, &b->ip6) && same_scope(a, b);
    case SOCKSPEC_UNIX:
    case SOCKSPEC_SYSTEMD: return streq(a->path, b->path);
    }
    return true;
}

static socklen_t sockaddr_ip4(const struct sockspec *spec, uint16_t port,
                              struct sockaddr_storage *out)
{
    struct sockaddr_in *in = (struct sockaddr_in *)out;

    in->sin_family = AF_INET;
    in->sin_port = htons(port);
    in->sin_addr = spec->ip4;
    return sizeof(*in);
}

/* For DUAL `ip6` is all zeros, which is [::]. */
static socklen_t sockaddr_ip6(const struct sockspec *spec, uint16_t port,
                              struct sockaddr_storage *out)
{
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)out;

    in6->sin6_family = AF_INET6;
    in6->sin6_port = htons(port);
    in6->sin6_addr = spec->ip6;
    in6->sin6_scope_id = spec->scope_id;
    return sizeof(*in6);
}

/* An abstract name has a NUL in place of '@' and, unlike a path, none at its end: unix(7). */
static socklen_t sockaddr_unix(const struct sockspec *spec, struct sockaddr_storage *out)
{
    struct sockaddr_un *un = (struct sockaddr_un *)out;
    size_t len = strlen(spec->path);
    bool abstract = spec->path[0] == '@';

    un->sun_family = AF_UNIX;
    memcpy(un->sun_path, spec->path, len + 1);
    if (abstract)
        un->sun_path[0] = '\0';
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len + !abstract);
}

socklen_t sockspec_sockaddr(const struct sockspec *spec, uint16_t port,
                            struct sockaddr_storage *out)
{
    uint16_t effective = port ? port : spec->port;

    memset(out, 0, sizeof(*out));
    switch (spec->kind) {
    case SOCKSPEC_DUAL:
    case SOCKSPEC_IP6: return sockaddr_ip6(spec, effective, out);
    case SOCKSPEC_IP4: return sockaddr_ip4(spec, effective, out);
    case SOCKSPEC_UNIX: return sockaddr_unix(spec, out);
    case SOCKSPEC_SYSTEMD: break;
    }
    return 0;
}

static int from_ip4(const struct sockaddr_in *in, socklen_t len, struct sockspec *out)
{
    if (len < sizeof(*in))
        return -EINVAL;
    out->kind = SOCKSPEC_IP4;
    out->ip4 = in->sin_addr;
    out->port = ntohs(in->sin_port);
    return 0;
}

/* The kernel takes addresses without the scope too: RFC 2133 had none. */
static int from_ip6(const struct sockaddr_in6 *in6, socklen_t len, bool v6only,
                    struct sockspec *out)
{
    if (len < offsetof(struct sockaddr_in6, sin6_scope_id))
        return -EINVAL;
    out->kind = SOCKSPEC_IP6;
    out->ip6 = in6->sin6_addr;
    out->scope_id = len < sizeof(*in6) ? 0 : in6->sin6_scope_id;
    out->port = ntohs(in6->sin6_port);
    if (IN6_IS_ADDR_V4MAPPED(&out->ip6)) {
        out->kind = SOCKSPEC_IP4;
        memcpy(&out->ip4, &out->ip6.s6_addr[12], sizeof(out->ip4));
    } else if (IN6_IS_ADDR_UNSPECIFIED(&out->ip6) && !v6only) {
        out->kind = SOCKSPEC_DUAL;
    }
    return 0;
}

/* A path ends at a NUL or at the end, an abstract name may hold NULs: unix(7). */
static int from_unix(const struct sockaddr_un *un, socklen_t len, struct sockspec *out)
{
    size_t size = len - offsetof(struct sockaddr_un, sun_path);
    bool abstract = size > 0 && !un->sun_path[0];
    size_t n = abstract ? size : strnlen(un->sun_path, size);

    if (n >= sizeof(out->path) || (n > 0 && un->sun_path[0] == '@') ||
        (abstract && memchr(un->sun_path + 1, '\0', n - 1)))
        return -EINVAL;
    out->kind = SOCKSPEC_UNIX;
    memcpy(out->path, un->sun_path, n);
    out->path[n] = '\0';
    if (abstract)
        out->path[0] = '@';
    return 0;
}

int sockspec_from_sockaddr(const struct sockaddr_storage *address, socklen_t len, bool v6only,
                           struct sockspec *out)
{
    if (len < sizeof(address->ss_family) || len > sizeof(*address))
        return -EINVAL;
    switch (address->ss_family) {
    case AF_INET: return from_ip4((const struct sockaddr_in *)address, len, out);
    case AF_INET6: return from_ip6((const struct sockaddr_in6 *)address, len, v6only, out);
    case AF_UNIX: return from_unix((const struct sockaddr_un *)address, len, out);
    default: return -EAFNOSUPPORT;
    }
}
