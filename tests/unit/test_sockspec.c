/* Addresses: what is read, what is refused and why, and that what is written reads back. */
#include <arpa/inet.h>
#include <criterion/criterion.h>

#include "policy/sockspec.h"

static struct sockspec parse(const char *text)
{
    struct why why = {""};
    struct sockspec spec;

    cr_assert_eq(sockspec_parse(text, &spec, &why), 0, "%s: %s", text, why.text);
    return spec;
}

static void expect_format(const struct sockspec *spec, uint16_t port, const char *expected)
{
    CLEANUP_BUF struct buf text = BUF_INIT;

    sockspec_format(spec, port, &text);
    cr_expect_str_eq(buf_str(&text), expected);
}

Test(sockspec, forms)
{
    static const struct {
        const char *text, *written;
        enum sockspec_kind kind;
        bool udp;
        uint16_t port;
    } cases[] = {
        {"8080", "*:8080", SOCKSPEC_DUAL, false, 8080},
        {"0", "*:0", SOCKSPEC_DUAL, false, 0},
        {"65535", "*:65535", SOCKSPEC_DUAL, false, 65535},
        {"00080", "*:80", SOCKSPEC_DUAL, false, 80},
        {"*:0", "*:0", SOCKSPEC_DUAL, false, 0},
        {"*:8080", "*:8080", SOCKSPEC_DUAL, false, 8080},
        {"127.0.0.1:8080", "127.0.0.1:8080", SOCKSPEC_IP4, false, 8080},
        {"0.0.0.0:80", "0.0.0.0:80", SOCKSPEC_IP4, false, 80},
        {"255.255.255.255:1", "255.255.255.255:1", SOCKSPEC_IP4, false, 1},
        {"[::1]:8080", "[::1]:8080", SOCKSPEC_IP6, false, 8080},
        {"[::]:80", "[::]:80", SOCKSPEC_IP6, false, 80},
        {"[0:0:0:0:0:0:0:1]:80", "[::1]:80", SOCKSPEC_IP6, false, 80},
        {"[2001:DB8::A]:80", "[2001:db8::a]:80", SOCKSPEC_IP6, false, 80},
        {"[::1%lo]:80", "[::1%lo]:80", SOCKSPEC_IP6, false, 80},
        {"[fe80::1%2]:80", "[fe80::1%2]:80", SOCKSPEC_IP6, false, 80},
        {"[fe80::1%4294967295]:80", "[fe80::1%4294967295]:80", SOCKSPEC_IP6, false, 80},
        {"[fe80::1%eth0.100]:80", "[fe80::1%eth0.100]:80", SOCKSPEC_IP6, false, 80},
        {"[fe80::1%fifteen_letters]:80", "[fe80::1%fifteen_letters]:80", SOCKSPEC_IP6, false, 80},
        {"[1111:2222:3333:4444:5555:6666:7777:8888%fifteen_letters]:80",
         "[1111:2222:3333:4444:5555:6666:7777:8888%fifteen_letters]:80", SOCKSPEC_IP6, false, 80},
        {"udp:53", "udp:*:53", SOCKSPEC_DUAL, true, 53},
        {"udp:*:53", "udp:*:53", SOCKSPEC_DUAL, true, 53},
        {"udp:127.0.0.1:53", "udp:127.0.0.1:53", SOCKSPEC_IP4, true, 53},
        {"udp:[::1]:53", "udp:[::1]:53", SOCKSPEC_IP6, true, 53},
        {"unix:/run/x.sock", "unix:/run/x.sock", SOCKSPEC_UNIX, false, 0},
        {"unix:/run/a b:c", "unix:/run/a b:c", SOCKSPEC_UNIX, false, 0},
        {"unix:@abstract", "unix:@abstract", SOCKSPEC_UNIX, false, 0},
        {"systemd:web", "systemd:web", SOCKSPEC_SYSTEMD, false, 0},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct sockspec spec = parse(cases[i].text);

        cr_expect_eq(spec.kind, cases[i].kind, "%s", cases[i].text);
        cr_expect_eq(spec.udp, cases[i].udp, "%s", cases[i].text);
        cr_expect_eq(spec.port, cases[i].port, "%s", cases[i].text);
        cr_expect_eq(spec.mode, 0660);
        cr_expect(spec.name[0] == '\0' && spec.user[0] == '\0' && spec.group[0] == '\0');
        expect_format(&spec, 0, cases[i].written);
    }
}

Test(sockspec, scopes)
{
    struct sockspec number = parse("[fe80::1%7]:80"), name = parse("[fe80::1%eth0]:80");

    cr_expect_eq(number.scope_id, 7);
    cr_expect_str_empty(number.interface);
    cr_expect_eq(name.scope_id, 0);
    cr_expect_str_eq(name.interface, "eth0");
}

Test(sockspec, the_kernels_port_takes_the_place_of_its_own)
{
    struct sockspec dual = parse("*:0"), ip4 = parse("127.0.0.1:0"), unix_path = parse("unix:/x");

    expect_format(&dual, 4711, "*:4711");
    expect_format(&ip4, 4711, "127.0.0.1:4711");
    expect_format(&unix_path, 4711, "unix:/x");
}

Test(sockspec, options)
{
    struct sockspec spec = parse("unix:/run/x,mode=0600,user=www-data,group=10,name=web");

    cr_expect_str_eq(spec.path, "/run/x");
    cr_expect_eq(spec.mode, 0600);
    cr_expect_str_eq(spec.user, "www-data");
    cr_expect_str_eq(spec.group, "10");
    cr_expect_str_eq(spec.name, "web");
    cr_expect_eq(parse("unix:/run/x,mode=777").mode, 0777);
    cr_expect_eq(parse("unix:/run/x,mode=0").mode, 0);
    cr_expect_str_eq(parse("8080,name=a b=c").name, "a b=c");
    cr_expect_str_eq(parse("[::1]:80,name=six").name, "six");
    cr_expect_str_eq(parse("udp:53,name=dns").name, "dns");
    cr_expect_str_eq(parse("unix:@x,name=abstract").name, "abstract");
}

#define LONG16 "0123456789abcdef"
#define LONG63 LONG16 LONG16 LONG16 "0123456789abcde"
#define LONG64 LONG16 LONG16 LONG16 LONG16

Test(sockspec, lengths_at_their_limits)
{
    struct sockspec spec = parse("8080,name=" LONG63);

    cr_expect_str_eq(spec.name, LONG63);
    cr_expect_eq(strlen(parse("systemd:" LONG63).path), 63);
    /* sun_path has 108 bytes, the last one for the NUL */
    cr_expect_eq(strlen(parse("unix:/" LONG64 LONG16 LONG16 "0123456789").path), 107);
    cr_expect_eq(strlen(parse("unix:@" LONG64 LONG16 LONG16 "0123456789").path), 107);
    cr_expect_eq(strlen(parse("unix:/x,user=" LONG16 "0123456789abcde").user), 31);
}

#define NO_NAME       "a socket's name must not be empty nor hold ':' or control characters"
#define NO_ADDRESS    "that is no address, such as 127.0.0.1:8080"
#define NO_OPTION     "after the comma stands no name=, mode=, user= or group="
#define NO_SCOPE      "after '%' stands no interface's name or number"
#define BRACKETS      "an IPv6 address needs brackets, as in [::1]:8080"
#define NO_IP6        "between the brackets stands no IPv6 address"
#define IS_NAME(host) "'" host "' is a name; write an address such as 127.0.0.1:8080"

static void expect_reasons(const char *const (*cases)[2], size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct why why = {""};
        struct sockspec spec;

        cr_expect_eq(sockspec_parse(cases[i][0], &spec, &why), -EINVAL, "%s", cases[i][0]);
        cr_expect_str_eq(why.text, cases[i][1], "%s: %s", cases[i][0], why.text);
        cr_expect_eq(sockspec_parse(cases[i][0], &spec, NULL), -EINVAL);
    }
}

Test(sockspec, says_what_is_wrong_with_the_host_and_port)
{
    static const char *const cases[][2] = {
        {"", "the address is empty"},
        {",name=x", "the address before the port is empty; write * for all"},
        {":8080", "the address before the port is empty; write * for all"},
        {"65536", "port 65536 is out of range (0..65535)"},
        {"70000", "port 70000 is out of range (0..65535)"},
        {"127.0.0.1:18446744073709551617", "port 18446744073709551617 is out of range (0..65535)"},
        {"184467440737095516161844674407370955161618446744073709551616",
         "port 18446744073709551616 is out of range (0..65535)"},
        {"127.0.0.1", "the port is missing, as in 127.0.0.1:8080"},
        {"*", "the port is missing, as in *:8080"},
        {"*:", "the port is missing"},
        {"127.0.0.1:", "the port is missing"},
        {"127.0.0.1:http", "the port is not a number"},
        {"127.0.0.1:-1", "the port is not a number"},
        {"127.0.0.1:+1", "the port is not a number"},
        {"127.0.0.1: 80", "the port is not a number"},
        {"127.0.0.1:80 ", "the port is not a number"},
        {"127.0.0.1:80:90", "the port is not a number"},
        {"127.0.0.1:0x50", "the port is not a number"},
        {"127.0.0.1:80\n", "the port is not a number"},
        {"127.1:80", "'127.1' is not an IPv4 address"},
        {"127.0.0.256:80", "'127.0.0.256' is not an IPv4 address"},
        {"127.0.0.1.1:80", "'127.0.0.1.1' is not an IPv4 address"},
        {"1:80", "'1' is not an IPv4 address"},
        {"localhost", IS_NAME("localhost")},
        {"localhost:8080", IS_NAME("localhost")},
        {"www.example.org:80", IS_NAME("www.example.org")},
        {"auto", IS_NAME("auto")},
        {"off", IS_NAME("off")},
        {"tcp:8080", IS_NAME("tcp")},
        {"udp:unix:/x", IS_NAME("unix")},
        {"udp:udp:53", IS_NAME("udp")},
        {"UNIX:/x", IS_NAME("UNIX")},
        {" 8080", NO_ADDRESS},
        {"8080 ", NO_ADDRESS},
        {"-1", NO_ADDRESS},
        {"**:80", NO_ADDRESS},
        {"local\x1bhost:80", NO_ADDRESS},
        {"k\xc3\xb6ln:80", NO_ADDRESS},
        {LONG64 ":80", "the address is too long"},
        {LONG64 LONG64 LONG64 LONG64, "the address is too long"},
        {"/run/x.sock", "a Unix socket is written unix:/path"},
    };

    expect_reasons(cases, ARRAY_SIZE(cases));
}

Test(sockspec, says_what_is_wrong_with_ipv6)
{
    static const char *const cases[][2] = {
        {"::1", BRACKETS},
        {"::1:8080", BRACKETS},
        {"fe80::1%eth0:80", BRACKETS},
        {"::", BRACKETS},
        {"udp:::1:53", BRACKETS},
        {"[::1", "']' is missing after the IPv6 address"},
        {"[::1]", "the port is missing, as in [::1]:8080"},
        {"[::1]8080", "the port is missing, as in [::1]:8080"},
        {"[::1]:", "the port is missing"},
        {"[::1]:x", "the port is not a number"},
        {"[::1]:65536", "port 65536 is out of range (0..65535)"},
        {"[]:80", NO_IP6},
        {"[127.0.0.1]:80", NO_IP6},
        {"[:::1]:80", NO_IP6},
        {"[::1/64]:80", NO_IP6},
        {"[*]:80", NO_IP6},
        {"[::ffff:127.0.0.1]:80", "write an IPv4 address without brackets and ::ffff:"},
        {"[" LONG64 "]:80", "the IPv6 address is too long"},
        {"[fe80::1%]:80", NO_SCOPE},
        {"[fe80::1%0]:80", NO_SCOPE},
        {"[fe80::1%4294967296]:80", NO_SCOPE},
        {"[fe80::1%2x]:80", NO_SCOPE},
        {"[fe80::1%..]:80", NO_SCOPE},
        {"[fe80::1%.]:80", NO_SCOPE},
        {"[fe80::1%a/b]:80", NO_SCOPE},
        {"[fe80::1%a b]:80", NO_SCOPE},
        {"[fe80::1%a\x7f]:80", NO_SCOPE},
        {"[fe80::1%sixteen_letters_]:80", NO_SCOPE},
    };

    expect_reasons(cases, ARRAY_SIZE(cases));
}

Test(sockspec, says_what_is_wrong_with_paths_and_names)
{
    static const char *const cases[][2] = {
        {"unix:", "a Unix socket's path begins with / (or @: abstract)"},
        {"unix:run/x.sock", "a Unix socket's path begins with / (or @: abstract)"},
        {"unix:,mode=0600", "a Unix socket's path begins with / (or @: abstract)"},
        {"unix:/", "that is no path of a Unix socket"},
        {"unix:@", "that is no path of a Unix socket"},
        {"unix:/a\nb", "that is no path of a Unix socket"},
        {"unix:/" LONG64 LONG16 LONG16 "0123456789a", "a Unix socket's path has at most 107 bytes"},
        {"systemd:", NO_NAME},
        {"systemd:a:b", NO_NAME},
        {"systemd:a\tb", NO_NAME},
        {"systemd:" LONG64, "a socket's name has at most 63 bytes"},
        {"systemd:web,name=x", "an inherited socket takes no options"},
    };

    expect_reasons(cases, ARRAY_SIZE(cases));
}

Test(sockspec, says_what_is_wrong_with_options)
{
    static const char *const cases[][2] = {
        {"8080,", NO_OPTION},
        {"8080,name=x,", NO_OPTION},
        {"8080,,name=x", NO_OPTION},
        {"8080,name", NO_OPTION},
        {"8080,Name=x", NO_OPTION},
        {"8080, name=x", NO_OPTION},
        {"8080,backlog=5", NO_OPTION},
        {"8080,name=", NO_NAME},
        {"8080,name=a:b", NO_NAME},
        {"8080,name=a\nb", NO_NAME},
        {"8080,name=" LONG64, "a socket's name has at most 63 bytes"},
        {"8080,name=" LONG64 LONG64, "an option is too long"},
        {"8080,name=a,name=a", "name is given twice"},
        {"unix:/x,mode=600,user=a,mode=600", "mode is given twice"},
        {"8080,mode=0600", "mode is for a Unix socket with a path only"},
        {"8080,user=www", "user is for a Unix socket with a path only"},
        {"unix:@x,group=www", "group is for a Unix socket with a path only"},
        {"unix:/x,mode=", "mode is not an octal number such as 0660"},
        {"unix:/x,mode=0680", "mode is not an octal number such as 0660"},
        {"unix:/x,mode=u+rw", "mode is not an octal number such as 0660"},
        {"unix:/x,mode=-1", "mode is not an octal number such as 0660"},
        {"unix:/x,mode=00660", "mode is not an octal number such as 0660"},
        {"unix:/x,mode=1777", "mode 1777 is out of range (0..0777)"},
        {"unix:/x,user=", "user is no account's name (1..31 bytes)"},
        {"unix:/x,group=", "group is no account's name (1..31 bytes)"},
        {"unix:/x,user=a\x01", "user is no account's name (1..31 bytes)"},
        {"unix:/x,group=" LONG16 LONG16, "group is no account's name (1..31 bytes)"},
    };

    expect_reasons(cases, ARRAY_SIZE(cases));
}

Test(sockspec, same_address)
{
    /* Each group is one address, different from all the others. */
    static const char *const groups[][3] = {
        {"8080", "*:8080", "*:8080,name=x"},
        {"*:8081", NULL, NULL},
        {"udp:8080", "udp:*:8080", NULL},
        {"0.0.0.0:8080", "0.0.0.0:8080,name=y", NULL},
        {"127.0.0.1:8080", NULL, NULL},
        {"udp:127.0.0.1:8080", NULL, NULL},
        {"[::]:8080", "[0::0]:8080", NULL},
        {"[::1]:8080", NULL, NULL},
        {"[::1]:8081", NULL, NULL},
        {"[fe80::1%1]:8080", "[fe80::1%01]:8080", NULL},
        {"[fe80::1%2]:8080", NULL, NULL},
        {"[fe80::1%lo]:8080", "[fe80:0::1%lo]:8080", NULL},
        {"[fe80::1%eth0]:8080", NULL, NULL},
        {"[fe80::1]:8080", NULL, NULL},
        {"unix:/x", "unix:/x,mode=0600,user=a,group=b,name=c", NULL},
        {"unix:/y", NULL, NULL},
        {"unix:@x", NULL, NULL},
        {"systemd:x", NULL, NULL},
        {"systemd:y", NULL, NULL},
    };
    const size_t n = ARRAY_SIZE(groups) * 3;

    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < n; k++) {
            const char *a = groups[i / 3][i % 3], *b = groups[k / 3][k % 3];

            if (a && b) {
                struct sockspec x = parse(a), y = parse(b);

                cr_expect_eq(sockspec_same_address(&x, &y), i / 3 == k / 3, "%s and %s", a, b);
            }
        }
}

/* A name that has been looked up stays the same address as one that has not. */
Test(sockspec, a_named_interface_is_compared_by_its_name)
{
    struct sockspec bound = parse("[fe80::1%eth0]:80"), asked = bound;

    bound.scope_id = 3;
    cr_expect(sockspec_same_address(&bound, &asked));
}

Test(sockspec, socket_addresses)
{
    struct sockaddr_storage ss;
    struct sockaddr_in *in = (struct sockaddr_in *)&ss;
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&ss;
    struct sockspec spec = parse("127.0.0.1:80");

    cr_expect_eq(sockspec_sockaddr(&spec, 0, &ss), sizeof(*in));
    cr_expect_eq(in->sin_family, AF_INET);
    cr_expect_eq(in->sin_port, htons(80));
    cr_expect_eq(in->sin_addr.s_addr, htonl(INADDR_LOOPBACK));
    sockspec_sockaddr(&spec, 4711, &ss);
    cr_expect_eq(in->sin_port, htons(4711));

    memset(&ss, 0xff, sizeof(ss));
    spec = parse("8080");
    cr_expect_eq(sockspec_sockaddr(&spec, 0, &ss), sizeof(*in6));
    cr_expect_eq(in6->sin6_flowinfo, 0);
    cr_expect_eq(in6->sin6_family, AF_INET6);
    cr_expect_eq(in6->sin6_port, htons(8080));
    cr_expect(IN6_IS_ADDR_UNSPECIFIED(&in6->sin6_addr));

    spec = parse("[fe80::1%7]:80");
    cr_expect_eq(sockspec_sockaddr(&spec, 81, &ss), sizeof(*in6));
    cr_expect_eq(in6->sin6_port, htons(81));
    cr_expect_eq(in6->sin6_scope_id, 7);
    cr_expect(IN6_ARE_ADDR_EQUAL(&in6->sin6_addr, &spec.ip6));

    spec = parse("systemd:web");
    cr_expect_eq(sockspec_sockaddr(&spec, 0, &ss), 0);
}

Test(sockspec, unix_socket_addresses)
{
    struct sockaddr_storage ss;
    struct sockaddr_un *un = (struct sockaddr_un *)&ss;
    const size_t head = offsetof(struct sockaddr_un, sun_path);
    struct sockspec spec = parse("unix:/a");

    cr_expect_eq(sockspec_sockaddr(&spec, 0, &ss), head + 3);
    cr_expect_eq(un->sun_family, AF_UNIX);
    cr_expect_arr_eq(un->sun_path, "/a", 3);

    spec = parse("unix:@a");
    cr_expect_eq(sockspec_sockaddr(&spec, 0, &ss), head + 2);
    cr_expect_arr_eq(un->sun_path, "\0a", 2);

    spec = parse("unix:/" LONG64 LONG16 LONG16 "0123456789");
    cr_expect_eq(sockspec_sockaddr(&spec, 0, &ss), sizeof(*un));
    cr_expect_eq(un->sun_path[107], '\0');
}

/* --- Generated --- */

static uint32_t next_random(uint32_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    return *state;
}

/* Some text of 1..max printable bytes without what ends or begins a part. */
static void random_text(uint32_t *random, char *out, size_t max)
{
    size_t len = 1 + next_random(random) % max;

    for (size_t i = 0; i < len; i++) {
        char c = (char)(0x21 + next_random(random) % 0x5e);

        out[i] = strchr(",:%]/@", c) || (i == 0 && strchr("0123456789.", c)) ? 'x' : c;
    }
    out[len] = '\0';
}

static void random_inet(uint32_t *random, struct sockspec *spec)
{
    spec->port = (uint16_t)next_random(random);
    spec->udp = next_random(random) & 8;
    if (spec->kind == SOCKSPEC_IP4)
        spec->ip4.s_addr = next_random(random);
    if (spec->kind != SOCKSPEC_IP6)
        return;
    for (int i = 0; i < 16; i++)
        if (next_random(random) & 8)
            spec->ip6.s6_addr[i] = (uint8_t)next_random(random);
    spec->ip6.s6_addr[0] |= 0x20; /* not an IPv4-mapped one */
    if (next_random(random) & 8)
        spec->scope_id = next_random(random);
    else if (next_random(random) & 8)
        random_text(random, spec->interface, sizeof(spec->interface) - 1);
}

static struct sockspec random_spec(uint32_t *random)
{
    struct sockspec spec = {.kind = next_random(random) % (SOCKSPEC_SYSTEMD + 1), .mode = 0660};

    if (spec.kind == SOCKSPEC_UNIX) {
        random_text(random, spec.path + 1, sizeof(spec.path) - 2);
        spec.path[0] = next_random(random) & 8 ? '/' : '@';
    } else if (spec.kind == SOCKSPEC_SYSTEMD) {
        random_text(random, spec.path, sizeof(spec.name) - 1);
    } else {
        random_inet(random, &spec);
    }
    return spec;
}

Test(sockspec, what_is_written_reads_back)
{
    uint32_t random = 20240229;

    for (int i = 0; i < 20000; i++) {
        struct sockspec spec = random_spec(&random), back;
        CLEANUP_BUF struct buf text = BUF_INIT;
        struct why why = {""};

        sockspec_format(&spec, 0, &text);
        cr_assert_eq(sockspec_parse(buf_str(&text), &back, &why), 0, "%s: %s", buf_str(&text),
                     why.text);
        cr_assert(sockspec_same_address(&spec, &back), "%s", buf_str(&text));
        cr_assert_eq(spec.port, back.port);
        cr_assert_eq(spec.udp, back.udp);
        cr_assert_eq(spec.scope_id, back.scope_id);
        cr_assert_str_eq(spec.path, back.path);
        cr_assert_str_eq(spec.interface, back.interface);
    }
}

Test(sockspec, random_text_does_no_harm)
{
    static const char *const pieces[] = {
        "unix:", "udp:",   "systemd:", "[",    "]",         "::",   ":",       "%",
        "*",     ",",      "/",        "@",    "127.0.0.1", "80",   "name=",   "mode=",
        "user=", "group=", "\x01",     "\xff", LONG64,      "eth0", "fe80::1",
    };
    uint32_t random = 4711;
    int good = 0;

    for (int i = 0; i < 50000; i++) {
        CLEANUP_BUF struct buf text = BUF_INIT;
        struct why why = {""};
        struct sockspec spec;

        for (uint32_t n = next_random(&random) % 8; n > 0; n--)
            buf_puts(&text, pieces[next_random(&random) % ARRAY_SIZE(pieces)]);
        if (sockspec_parse(buf_str(&text), &spec, &why) == 0)
            good++;
        else
            cr_assert_str_not_empty(why.text);
        for (const char *c = why.text; *c; c++)
            cr_assert((unsigned char)*c >= 0x20 && (unsigned char)*c < 0x7f);
    }
    cr_expect_gt(good, 100);
}
