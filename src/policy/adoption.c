#include "policy/adoption.h"

/* How well a candidate fits; the lowest wins. */
enum fit { FIT_SAME, FIT_FAMILY, FIT_DUAL, FIT_HALF, FIT_NONE };

static bool is_wildcard(const struct sockspec *spec)
{
    return spec->kind == SOCKSPEC_DUAL ||
           (spec->kind == SOCKSPEC_IP4 && spec->ip4.s_addr == INADDR_ANY) ||
           (spec->kind == SOCKSPEC_IP6 && IN6_IS_ADDR_UNSPECIFIED(&spec->ip6));
}

static bool is_inet(const struct sockspec *spec)
{
    return spec->kind != SOCKSPEC_UNIX && spec->kind != SOCKSPEC_SYSTEMD;
}

static enum fit fit_of(const struct sockspec *asked, const struct adoption_candidate *candidate)
{
    struct sockspec own = *candidate->spec;

    own.port = candidate->port;
    own.interface[0] = '\0'; /* the caller made a scope_id of it */
    if (sockspec_same_address(asked, &own))
        return FIT_SAME;
    if (candidate->discovered || !is_inet(&own) || own.udp != asked->udp ||
        own.port != asked->port || !is_wildcard(asked))
        return FIT_NONE;
    if (own.kind == SOCKSPEC_DUAL)
        return FIT_DUAL;
    if (asked->kind == SOCKSPEC_DUAL)
        return own.kind == SOCKSPEC_IP6 ? FIT_FAMILY : FIT_HALF;
    return own.kind == asked->kind ? FIT_FAMILY : FIT_NONE;
}

struct adoption adoption_decide(enum adoption_mode mode, const struct sockspec *asked,
                                const struct adoption_candidate *candidates, size_t n)
{
    struct adoption best = {.action = ADOPTION_PASS};
    enum fit best_fit = FIT_NONE;

    if (mode == ADOPTION_OFF || (is_inet(asked) && asked->port == 0))
        return best;
    for (size_t i = 0; i < n; i++) {
        enum fit fit = fit_of(asked, &candidates[i]);

        if (fit < best_fit) {
            best_fit = fit;
            best = (struct adoption){.action = ADOPTION_GIVE, .index = i};
        }
    }
    if (best_fit == FIT_NONE && mode == ADOPTION_AUTO && is_inet(asked) && !asked->udp)
        best.action = ADOPTION_DISCOVER;
    return best;
}
