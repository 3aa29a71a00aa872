/* Which of the master's sockets a program gets in place of the one that it wants to bind. */
#ifndef PREFORKD_POLICY_ADOPTION_H
#define PREFORKD_POLICY_ADOPTION_H

#include "policy/sockspec.h"

enum adoption_mode {
    ADOPTION_AUTO,   /* listed listeners, and any TCP address a worker binds becomes one */
    ADOPTION_LISTED, /* listed listeners only */
    ADOPTION_OFF,
};

enum adoption_action {
    ADOPTION_PASS,     /* the kernel binds the program's own socket */
    ADOPTION_GIVE,     /* a socket of candidates[index] */
    ADOPTION_DISCOVER, /* make a listener for what was asked for, and give a socket of it */
};

struct adoption_candidate {
    const struct sockspec *spec;
    uint16_t port;   /* the real one, where `spec` asks for port 0 */
    bool discovered; /* a program asked for it, not the settings: given for just its address */
};

struct adoption {
    enum adoption_action action;
    size_t index; /* GIVE */
};

/* Decides about a stream or UDP socket that is bound to `asked`, as of sockspec_from_sockaddr().
 * An address that was asked for exactly is never widened: only a listener with the same address
 * will do. A wildcard (0.0.0.0, [::], DUAL) may be narrowed to a listed listener on its port that
 * serves a part of it; the same address is preferred, then the same family, then DUAL, which was
 * listed knowingly. Port 0 passes, UDP and Unix addresses are never discovered. Of equals the first
 * candidate is taken. An interface of a candidate must have been resolved into its scope_id. */
struct adoption adoption_decide(enum adoption_mode mode, const struct sockspec *asked,
                                const struct adoption_candidate *candidates, size_t n);

#endif
