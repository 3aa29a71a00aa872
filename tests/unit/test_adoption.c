#include "policy/adoption.h"

#include <criterion/criterion.h>

enum { CANDIDATES_MAX = 4 };

static struct sockspec spec_of(const char *text)
{
    struct sockspec spec;
    struct why why;

    cr_assert_eq(sockspec_parse(text, &spec, &why), 0, "%s: %s", text, why.text);
    return spec;
}

/* Decides with candidates that are written as in the configuration. */
static struct adoption decide(enum adoption_mode mode, const char *asked, const char *const *listed)
{
    struct sockspec specs[CANDIDATES_MAX], wanted = spec_of(asked);
    struct adoption_candidate candidates[CANDIDATES_MAX];
    size_t n = 0;

    for (; n < CANDIDATES_MAX && listed[n]; n++) {
        specs[n] = spec_of(listed[n]);
        candidates[n] = (struct adoption_candidate){.spec = &specs[n], .port = specs[n].port};
    }
    return adoption_decide(mode, &wanted, candidates, n);
}

/* ---- the whole table of one request and one listener ---- */

enum { X = ADOPTION_DISCOVER, G = ADOPTION_GIVE, P = ADOPTION_PASS };

/* Columns: what is listed. Rows: what is asked for. Mode auto; in mode listed X becomes P. */
static const char *const listed_addresses[] = {
    "*:80",         "0.0.0.0:80", "[::]:80",          "127.0.0.1:80", "[::1]:80",
    "127.0.0.3:80", "udp:80",     "udp:127.0.0.1:80", "unix:/s",      "*:81",
};
static const struct {
    const char *asked;
    int expected[ARRAY_SIZE(listed_addresses)];
} rows[] = {
    {"*:80", {G, G, G, G, G, G, X, X, X, X}},
    {"0.0.0.0:80", {G, G, X, G, X, G, X, X, X, X}},
    {"[::]:80", {G, X, G, X, G, X, X, X, X, X}},
    {"127.0.0.1:80", {X, X, X, G, X, X, X, X, X, X}},
    {"127.0.0.2:80", {X, X, X, X, X, X, X, X, X, X}},
    {"[::1]:80", {X, X, X, X, G, X, X, X, X, X}},
    {"[::2]:80", {X, X, X, X, X, X, X, X, X, X}},
    {"udp:80", {P, P, P, P, P, P, G, G, P, P}},
    {"udp:0.0.0.0:80", {P, P, P, P, P, P, G, G, P, P}},
    {"udp:127.0.0.1:80", {P, P, P, P, P, P, P, G, P, P}},
    {"udp:127.0.0.2:80", {P, P, P, P, P, P, P, P, P, P}},
    {"unix:/s", {P, P, P, P, P, P, P, P, G, P}},
    {"unix:/t", {P, P, P, P, P, P, P, P, P, P}},
    {"unix:@s", {P, P, P, P, P, P, P, P, P, P}},
    {"*:0", {P, P, P, P, P, P, P, P, P, P}},
    {"127.0.0.1:0", {P, P, P, P, P, P, P, P, P, P}},
    {"[::1]:0", {P, P, P, P, P, P, P, P, P, P}},
    {"*:81", {X, X, X, X, X, X, X, X, X, G}},
};

Test(adoption, every_request_and_listener)
{
    for (size_t r = 0; r < ARRAY_SIZE(rows); r++)
        for (size_t c = 0; c < ARRAY_SIZE(listed_addresses); c++) {
            const char *const listed[CANDIDATES_MAX] = {listed_addresses[c]};
            int expected = rows[r].expected[c];

            cr_expect_eq((int)decide(ADOPTION_AUTO, rows[r].asked, listed).action, expected,
                         "%s asked, %s listed", rows[r].asked, listed[0]);
            cr_expect_eq((int)decide(ADOPTION_LISTED, rows[r].asked, listed).action,
                         expected == X ? P : expected, "%s asked, only %s listed", rows[r].asked,
                         listed[0]);
            cr_expect_eq(decide(ADOPTION_OFF, rows[r].asked, listed).action, ADOPTION_PASS);
        }
}

/* ---- several listeners ---- */

static const struct {
    const char *asked;
    const char *listed[CANDIDATES_MAX];
    size_t index;
} preferences[] = {
    {"0.0.0.0:80", {"127.0.0.1:80", "*:80", "0.0.0.0:80"}, 2},
    {"0.0.0.0:80", {"[::1]:80", "*:80", "127.0.0.1:80"}, 2},
    {"0.0.0.0:80", {"[::1]:80", "*:80"}, 1},
    {"0.0.0.0:80", {"[::1]:80", "10.0.0.1:80"}, 1},
    {"[::]:80", {"127.0.0.1:80", "*:80", "[::1]:80"}, 2},
    {"[::]:80", {"127.0.0.1:80", "*:80"}, 1},
    {"*:80", {"127.0.0.1:80", "[::1]:80", "*:80"}, 2},
    {"*:80", {"127.0.0.1:80", "[::1]:80"}, 1},
    {"*:80", {"*:81", "127.0.0.1:80", "127.0.0.2:80"}, 1},
    {"127.0.0.2:80", {"*:80", "127.0.0.1:80", "127.0.0.2:80"}, 2},
    {"udp:53", {"53", "udp:127.0.0.1:53", "udp:53"}, 2},
    {"unix:@b", {"unix:@a", "unix:/b", "unix:@b"}, 2},
};

Test(adoption, the_best_of_several)
{
    for (size_t i = 0; i < ARRAY_SIZE(preferences); i++) {
        struct adoption a = decide(ADOPTION_LISTED, preferences[i].asked, preferences[i].listed);

        cr_expect_eq(a.action, ADOPTION_GIVE, "%s", preferences[i].asked);
        cr_expect_eq(a.index, preferences[i].index, "%s gets %zu", preferences[i].asked, a.index);
    }
}

/* What a program bound first is no reason to narrow what it binds next. */
Test(adoption, discovered_listeners_are_given_for_their_own_address_only)
{
    struct sockspec found = spec_of("0.0.0.0:80");
    struct adoption_candidate candidate = {.spec = &found, .port = 80, .discovered = true};
    static const struct {
        const char *asked;
        int expected;
    } cases[] = {{"0.0.0.0:80", G}, {"[::]:80", X}, {"*:80", X}, {"127.0.0.1:80", X}};

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct sockspec asked = spec_of(cases[i].asked);

        cr_expect_eq((int)adoption_decide(ADOPTION_AUTO, &asked, &candidate, 1).action,
                     cases[i].expected, "%s", cases[i].asked);
    }
}

Test(adoption, nothing_listed)
{
    const char *const none[] = {NULL};

    cr_expect_eq(decide(ADOPTION_AUTO, "*:80", none).action, ADOPTION_DISCOVER);
    cr_expect_eq(decide(ADOPTION_LISTED, "*:80", none).action, ADOPTION_PASS);
    cr_expect_eq(decide(ADOPTION_AUTO, "udp:80", none).action, ADOPTION_PASS);
    cr_expect_eq(decide(ADOPTION_AUTO, "unix:/s", none).action, ADOPTION_PASS);
    cr_expect_eq(decide(ADOPTION_AUTO, "*:0", none).action, ADOPTION_PASS);
}

/* Port 0 was listed, and the kernel chose: only the real port counts. */
Test(adoption, the_real_port)
{
    struct sockspec listed = spec_of("127.0.0.1:0"), asked = spec_of("127.0.0.1:4711");
    struct adoption_candidate candidate = {.spec = &listed, .port = 4711};

    cr_expect_eq(adoption_decide(ADOPTION_LISTED, &asked, &candidate, 1).action, ADOPTION_GIVE);
    candidate.port = 4712;
    cr_expect_eq(adoption_decide(ADOPTION_LISTED, &asked, &candidate, 1).action, ADOPTION_PASS);
}

/* The same link-local address on another link is another address. */
Test(adoption, scopes)
{
    struct sockspec listed = spec_of("[fe80::1%2]:80"), asked = spec_of("[fe80::1%2]:80");
    struct adoption_candidate candidate = {.spec = &listed, .port = 80};

    cr_expect_eq(adoption_decide(ADOPTION_LISTED, &asked, &candidate, 1).action, ADOPTION_GIVE);
    asked.scope_id = 3;
    cr_expect_eq(adoption_decide(ADOPTION_LISTED, &asked, &candidate, 1).action, ADOPTION_PASS);
    listed = spec_of("[fe80::1%eth0]:80");
    listed.scope_id = 3;
    cr_expect_eq(adoption_decide(ADOPTION_LISTED, &asked, &candidate, 1).action, ADOPTION_GIVE);
}
