#include "policy/suggest.h"

#include <ctype.h>

#include "base/util.h"

#define NAME_LIMIT 64
#define NEAR       2

static unsigned min3(unsigned a, unsigned b, unsigned c)
{
    if (b < a)
        a = b;
    return c < a ? c : a;
}

/* Levenshtein's distance, one row of the matrix at a time. */
unsigned suggest_distance(const char *a, const char *b)
{
    size_t alen = strlen(a), blen = strlen(b);
    unsigned row[NAME_LIMIT + 1];

    if (alen > NAME_LIMIT || blen > NAME_LIMIT)
        return NAME_LIMIT + 1;
    for (unsigned j = 0; j <= blen; j++)
        row[j] = j;
    for (unsigned i = 1; i <= alen; i++) {
        unsigned diagonal = row[0];

        row[0] = i;
        for (size_t j = 1; j <= blen; j++) {
            bool same = tolower((unsigned char)a[i - 1]) == tolower((unsigned char)b[j - 1]);
            unsigned cost = min3(row[j] + 1, row[j - 1] + 1, diagonal + !same);

            diagonal = row[j];
            row[j] = cost;
        }
    }
    return row[blen];
}

void suggest_offer(struct suggest *s, const char *known)
{
    unsigned distance = suggest_distance(s->typed, known);

    if (distance > NEAR || 2 * distance > strlen(s->typed) || (s->best && distance >= s->distance))
        return;
    s->best = known;
    s->distance = distance;
}
