/* The value types of settings.def: what they hold in C, and how each is read, printed, compared and
 * freed, as one row a type. */
#ifndef PREFORKD_POLICY_SETTINGS_TYPES_H
#define PREFORKD_POLICY_SETTINGS_TYPES_H

#include <limits.h>

#include "base/buf.h"
#include "base/strv.h"
#include "base/why.h"

struct sockspec;

/* "N" or "N%". */
struct count {
    int value;
    bool percent;
};

/* How many of `total` it asks for: percentages are rounded up; at least 1, at most `total`
 * (0 when total is 0). */
int count_of(struct count c, int total);

/* "inherit", "auto" or "off" in the types that know them. No range includes these values. */
#define SETTING_INHERIT INT64_MIN
#define SETTING_AUTO    INT64_MIN
#define SETTING_OFF     INT64_MIN

enum accept_mode { ACCEPT_PER_WORKER, ACCEPT_SHARED };
enum on_breaker { ON_BREAKER_HOLD, ON_BREAKER_EXIT };
enum affinity_mode { AFFINITY_OFF, AFFINITY_AUTO };
enum fallback_mode { FALLBACK_OFF, FALLBACK_503 };
enum balance_mode { BALANCE_HASH, BALANCE_RANDOM, BALANCE_ROUND_ROBIN, BALANCE_CPU };
enum overflow_mode { OVERFLOW_WAIT, OVERFLOW_DROP };
enum ready_mode { READY_AUTO, READY_NOTIFY, READY_LISTEN, READY_DELAY, READY_PROBE };

/* C type of each value type */
typedef char *setting_STRING;          /* NULL: unset */
typedef char *setting_ACCOUNT;         /* a user's or group's name or number; NULL: unset */
typedef char *setting_HEALTH;          /* "auto", "off", or an address for sockspec_parse() */
typedef char *setting_PROBE;           /* "off", "tcp", or the path of a request */
typedef char *setting_CONTROL;         /* "auto", "off", or an absolute path */
typedef struct strv setting_WORDS;     /* split like a shell does; one occurrence only */
typedef struct strv setting_LIST;      /* one item an occurrence: NAME=VALUE */
typedef struct strv setting_LISTEN;    /* one item an occurrence: checked by sockspec_parse() */
typedef int64_t setting_DURATION;      /* milliseconds */
typedef int64_t setting_DURATION_AUTO; /* milliseconds or SETTING_AUTO */
typedef int64_t setting_DURATION_OFF;  /* milliseconds or SETTING_OFF */
typedef int64_t setting_SIZE_OFF;      /* bytes or SETTING_OFF */
typedef int64_t setting_INT;
typedef int64_t setting_INT_AUTO;     /* or SETTING_AUTO */
typedef int64_t setting_INT_INHERIT;  /* or SETTING_INHERIT */
typedef int64_t setting_SIZE_INHERIT; /* with K, M, G, T; "unlimited" is INT64_MAX */
typedef int64_t setting_OCTAL;        /* or SETTING_INHERIT */
typedef struct count setting_COUNT;
typedef int64_t setting_SIGNAL;     /* signal number */
typedef uint64_t setting_SIGNALS;   /* bit (1 << signal number) */
typedef int64_t setting_LOG_FORMAT; /* enum log_format */
typedef int64_t setting_LOG_LEVEL;  /* enum log_level */
typedef int64_t setting_ACCEPT;     /* enum accept_mode */
typedef int64_t setting_ADOPT;      /* enum adoption_mode */
typedef int64_t setting_AFFINITY;   /* enum affinity_mode */
typedef int64_t setting_BALANCE;    /* enum balance_mode */
typedef int64_t setting_FALLBACK;   /* enum fallback_mode */
typedef int64_t setting_READY;      /* enum ready_mode */
typedef int64_t setting_OUTPUT;     /* enum output_mode */
typedef int64_t setting_OVERFLOW;   /* enum overflow_mode */
typedef int64_t setting_RESTART;    /* enum restart_policy */
typedef int64_t setting_ON_BREAKER; /* enum on_breaker */

enum setting_type_id {
    SETTING_STRING,
    SETTING_ACCOUNT,
    SETTING_HEALTH,
    SETTING_PROBE,
    SETTING_CONTROL,
    SETTING_WORDS,
    SETTING_LIST,
    SETTING_LISTEN,
    SETTING_DURATION,
    SETTING_DURATION_AUTO,
    SETTING_DURATION_OFF,
    SETTING_SIZE_OFF,
    SETTING_INT,
    SETTING_INT_AUTO,
    SETTING_INT_INHERIT,
    SETTING_SIZE_INHERIT,
    SETTING_OCTAL,
    SETTING_COUNT,
    SETTING_SIGNAL,
    SETTING_SIGNALS,
    SETTING_LOG_FORMAT,
    SETTING_LOG_LEVEL,
    SETTING_ACCEPT,
    SETTING_ADOPT,
    SETTING_AFFINITY,
    SETTING_BALANCE,
    SETTING_FALLBACK,
    SETTING_READY,
    SETTING_OUTPUT,
    SETTING_OVERFLOW,
    SETTING_RESTART,
    SETTING_ON_BREAKER,
    SETTING_NTYPES
};

/* What one setting accepts. The range is that of the value, or max the number of items in a list.
 */
struct setting_rule {
    const struct setting_type *type;
    int64_t min, max; /* 0, 0: no range */
};

struct setting_type {
    const char *name;
    size_t size;
    bool repeatable; /* each occurrence appends to a list */

    /* Reads `text` into `value`, which is unset, or the list so far. 0, -ENOMEM, or -EINVAL with
     * the reason: "'0' is out of range (1..4096, or auto)". */
    int (*parse)(const struct setting_rule *rule, const char *text, void *value, struct why *why);
    /* Appends the value as parse() reads it; a list one item a line; nothing when unset. */
    void (*print)(const struct setting_type *type, const void *value, struct buf *out);
    bool (*equal)(const void *a, const void *b);
    void (*free)(void *value); /* unsets it; NULL where there is nothing to free */

    /* Of the numbers */
    const char *form; /* "a whole number", for messages */
    const char *word; /* "auto", "inherit" or "off": accepted in place of a number */
    int (*scan)(const char *text, int64_t *out);
    void (*show)(int64_t value, struct buf *out);

    /* Of the enumerations: the word of each value, NULL at the end */
    const char *const *choices;
};

extern const struct setting_type setting_types[SETTING_NTYPES];

/* Writes 'text' and right behind it the rest of the reason (" is out of range"). A long text is
 * cut, what is no printable character is escaped. Returns -EINVAL. */
int setting_fail(struct why *why, const char *text, const char *rest, ...) PRINTF_LIKE(3, 4);

/* Whether two `listen` addresses cannot both be bound. Each port 0 is another port. */
bool setting_listen_clash(const struct sockspec *a, const struct sockspec *b);

/* Reads "500ms", "30s", "5m", "1h", "1d" or a bare number of seconds (fractions allowed: "0.5",
 * "1.5h") into milliseconds, rounded up. -EINVAL with the reason. */
int duration_parse(const char *text, int64_t *out_ms, struct why *why);

#endif
