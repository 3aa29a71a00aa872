/* The command line: options, settings and COMMAND. Knows the names of all, but no value: those are
 * read by settings_build(). */
#ifndef PREFORKD_POLICY_CMDLINE_H
#define PREFORKD_POLICY_CMDLINE_H

#include "base/strv.h"
#include "base/why.h"

enum cmdline_action {
    CMDLINE_RUN,
    CMDLINE_TEST,
    CMDLINE_DUMP,
    CMDLINE_CHECK_HANDOVER,
    CMDLINE_FEATURES, /* from here on no settings are needed */
    CMDLINE_HELP,
    CMDLINE_VERSION,
};

/* What the user typed, kept for the whole run since every reload needs it again. */
struct cmdline {
    enum cmdline_action action;
    char *file;           /* -c, --config */
    struct strv settings; /* "key=value" in the order given; -v and -q become log-level */
    struct strv command;
    int verbosity; /* how many -v more than -q */
};

/* Reads the arguments without argv[0]. Options end at the first word that is none, or at "--".
 * Reading stops at --help and --version. Option names and what they take are checked here, values
 * by settings_build(). 0, or -EINVAL, -ENOMEM with the reason. The caller frees `out` in either
 * case. */
int cmdline_parse(int argc, char *const *argv, struct cmdline *out, struct why *why);
void cmdline_free(struct cmdline *c);

/* The options that are no settings, for --help and for tests; ends with a row without a name. */
struct cmdline_option {
    const char *name;
    char letter;
    const char *argument; /* NULL: takes none */
    const char *help;
    int (*take)(struct cmdline *c, const char *value);
};
extern const struct cmdline_option cmdline_options[];

/* The short option of a setting, or '\0'. */
char cmdline_letter(const char *key);

#endif
