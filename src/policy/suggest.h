/* "did you mean": the known name that is nearest to a mistyped one. */
#ifndef PREFORKD_POLICY_SUGGEST_H
#define PREFORKD_POLICY_SUGGEST_H

/* Start with {.typed = ...}, offer every known name, then take `best`: NULL when none is near. */
struct suggest {
    const char *typed;
    const char *best;
    unsigned distance;
};

void suggest_offer(struct suggest *s, const char *known);

/* How many characters must be inserted, removed or replaced to make `b` of `a`, regardless of case;
 * any large number when either is longer than a name is. */
unsigned suggest_distance(const char *a, const char *b);

#endif
