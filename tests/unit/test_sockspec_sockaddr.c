#include "policy/sockspec.h"

#include <criterion/criterion.h>

/* There and back again. */
Test(sockspec_sockaddr, round_trip)
{
    static const char *const texts[] = {
        "*:80",           "0.0.0.0:80", "127.0.0.1:65535", "[::]:80",       "[::1]:1",
        "[fe80::1%7]:80", "udp:*:53",   "udp:[::1]:53",    "unix:/run/x.s", "unix:@x",
    };

    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
        struct sockspec spec, back = {0};
        struct sockaddr_storage address;
        socklen_t len;

        cr_assert_eq(sockspec_parse(texts[i], &spec, NULL), 0, "%s", texts[i]);
        len = sockspec_sockaddr(&spec, 0, &address);
        back.udp = spec.udp;
        cr_expect_eq(sockspec_from_sockaddr(&address, len, spec.kind == SOCKSPEC_IP6, &back), 0);
        cr_expect(sockspec_same_address(&spec, &back), "%s", texts[i]);
    }
}

Test(sockspec_sockaddr, mapped_addresses_are_ip4)
{
    struct sockaddr_storage address = {0};
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&address;
    struct sockspec spec;

    in6->sin6_family = AF_INET6;
    in6->sin6_port = htons(80);
    memcpy(&in6->sin6_addr, "\0\0\0\0\0\0\0\0\0\0\xff\xff\x7f\0\0\1", 16);
    cr_assert_eq(sockspec_from_sockaddr(&address, sizeof(*in6), false, &spec), 0);
    cr_expect_eq(spec.kind, SOCKSPEC_IP4);
    cr_expect_eq(spec.ip4.s_addr, htonl(INADDR_LOOPBACK));
    cr_expect_eq(spec.port, 80);
    memset(&in6->sin6_addr.s6_addr[12], 0, 4);
    cr_assert_eq(sockspec_from_sockaddr(&address, sizeof(*in6), true, &spec), 0);
    cr_expect_eq(spec.kind, SOCKSPEC_IP4);
    cr_expect_eq(spec.ip4.s_addr, htonl(INADDR_ANY));
}

/* Every length of every family, from nothing to more than there is. */
Test(sockspec_sockaddr, lengths)
{
    static const struct {
        sa_family_t family;
        socklen_t shortest, longest;
    } cases[] = {
        {AF_INET, 16, sizeof(struct sockaddr_storage)},
        {AF_INET6, 24, sizeof(struct sockaddr_storage)},
        {AF_NETLINK, 1000, 0},
        {AF_UNSPEC, 1000, 0},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        for (socklen_t len = 0; len < sizeof(struct sockaddr_storage) + 8; len++) {
            struct sockaddr_storage address = {.ss_family = cases[i].family};
            struct sockspec spec;
            bool fine = len >= cases[i].shortest && len <= cases[i].longest;

            cr_expect_eq(sockspec_from_sockaddr(&address, len, false, &spec) == 0, fine,
                         "family %d, %u bytes", cases[i].family, (unsigned)len);
        }
}

static int from_unix(const char *name, size_t n, struct sockspec *out)
{
    struct sockaddr_storage address = {.ss_family = AF_UNIX};

    memcpy(((struct sockaddr_un *)&address)->sun_path, name, n);
    return sockspec_from_sockaddr(&address, (socklen_t)(sizeof(sa_family_t) + n), false, out);
}

Test(sockspec_sockaddr, unix_names)
{
    char longest[sizeof(((struct sockaddr_un *)0)->sun_path)];
    struct sockspec spec;

    memset(longest, '/', sizeof(longest));
    cr_expect_eq(from_unix("/run/x\0garbage", 14, &spec), 0, "a path ends at the NUL");
    cr_expect_str_eq(spec.path, "/run/x");
    cr_expect_eq(from_unix("/run/x", 6, &spec), 0, "or without one");
    cr_expect_str_eq(spec.path, "/run/x");
    cr_expect_eq(from_unix("", 0, &spec), 0, "unnamed");
    cr_expect_str_eq(spec.path, "");
    cr_expect_eq(from_unix("\0x", 2, &spec), 0);
    cr_expect_str_eq(spec.path, "@x");
    cr_expect_eq(from_unix("\0x\0", 3, &spec), -EINVAL, "another name than @x");
    cr_expect_eq(from_unix("@x", 3, &spec), -EINVAL, "a path that looks abstract");
    cr_expect_eq(from_unix(longest, sizeof(longest) - 1, &spec), 0);
    cr_expect_eq(from_unix(longest, sizeof(longest), &spec), -EINVAL, "no room for the NUL");
}
