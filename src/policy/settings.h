/* The settings of a run: built whole from file, environment and command line, checked, and never
 * changed afterwards. A reload builds a second object and compares. Pure: reads no file. */
#ifndef PREFORKD_POLICY_SETTINGS_H
#define PREFORKD_POLICY_SETTINGS_H

#include "policy/cmdline.h"
#include "policy/settings_types.h"

/* Where a value came from, weakest first. */
enum setting_origin { ORIGIN_DEFAULT, ORIGIN_FILE, ORIGIN_ENVIRONMENT, ORIGIN_COMMAND_LINE };

struct setting_source {
    enum setting_origin origin;
    int line; /* of the file, else 0 */
};

/* What a change of the setting does at reload. */
enum setting_reload { RELOAD_LIVE, RELOAD_WORKER, RELOAD_FIXED };

struct master_settings {
#define MASTER(key, field, TYPE, ...) setting_##TYPE field;
#define POOL(...)
#include "policy/settings.def"
#undef MASTER
#undef POOL
    struct {
#define MASTER(key, field, ...) struct setting_source field;
#define POOL(...)
#include "policy/settings.def"
#undef MASTER
#undef POOL
    } source;
};

struct pool_settings {
    char *name;
    int line; /* of its section in the file, 0 for a pool of the command line */
#define MASTER(...)
#define POOL(key, field, TYPE, ...) setting_##TYPE field;
#include "policy/settings.def"
#undef MASTER
#undef POOL
    struct {
#define MASTER(...)
#define POOL(key, field, ...) struct setting_source field;
#include "policy/settings.def"
#undef MASTER
#undef POOL
    } source;
};

/* Whether its workers are probed. */
static inline bool settings_probes(const struct pool_settings *pool)
{
    return !streq(pool->probe, "off");
}

/* Shared by reference: whoever keeps a pointer into it holds a reference. */
struct settings {
    unsigned refs;
    char *file; /* as it was named; NULL: none */
    char *text; /* of the file, as it was read */
    struct master_settings master;
    struct pool_settings *pools; /* in the order of the file; at least one */
    size_t npools;
};

/* The file to read the settings from: --config, else PREFORKD_CONFIG. NULL: none. */
const char *settings_path(const struct cmdline *cmdline, char *const *envp);

#define SETTINGS_FILE_MAX  (1 << 20) /* bytes; the caller refuses a longer file */
#define SETTINGS_POOLS_MAX 64

/* Builds the settings from the defaults, the text of the file at settings_path() (NULL: no file),
 * the environment (PREFORKD_STOP_TIMEOUT=...) and the command line, and checks them against each
 * other. An environment variable that is empty or names no setting is not looked at: Kubernetes
 * adds PREFORKD_SERVICE_HOST and more for a Service of that name.
 * Values of environment and command line go to [preforkd] or, for pool settings, to the pool of
 * the command line, or to every pool of the file.
 * Returns 0 and one reference in `out`, or -EINVAL, -ENOMEM with the reason in the words of the
 * contract: "web.conf:12: [pool:web] workers: '0' is out of range (1..4096, or auto)". */
int settings_build(const struct cmdline *cmdline, char *const *envp, const char *file_text,
                   size_t file_len, struct settings **out, struct why *why);

struct settings *settings_ref(struct settings *s);
void settings_unref(struct settings *s); /* NULL is allowed */

const struct pool_settings *settings_pool(const struct settings *s, const char *name);

/* Appends the effective settings as a file that --config reads, with their origins as comments. */
void settings_dump(const struct settings *s, struct buf *out);

/* Appends the text of --help. */
void settings_help(struct buf *out);

/* Whether a running master may take `next` in place of `now`. -EPERM and the reason, naming the
 * setting and both values, when one that cannot change at run time did. */
int settings_check_reload(const struct settings *now, const struct settings *next, struct why *why);

/* One row of settings.def. */
struct setting_info {
    const char *key, *default_text, *argument, *help;
    bool pool; /* of [pool:NAME], else of [preforkd] */
    enum setting_reload reload;
    struct setting_rule rule;
    size_t value_offset, source_offset; /* in struct pool_settings or master_settings */
};

/* Every key once, in the order of settings.def. */
const struct setting_info *settings_table(size_t *n);
const struct setting_info *settings_find(const char *key); /* NULL: no such key */

/* A setting's value and where it came from; `pool` is not looked at for one of [preforkd]. */
const void *settings_value(const struct settings *s, const struct pool_settings *pool,
                           const struct setting_info *row);
const struct setting_source *settings_source(const struct settings *s,
                                             const struct pool_settings *pool,
                                             const struct setting_info *row);

/* Puts in front of a reason which setting it is about: "web.conf:12: [pool:web] workers",
 * "environment PREFORKD_WORKERS", "--workers". Returns `err`. */
int settings_blame(const struct settings *s, const struct pool_settings *pool,
                   const struct setting_info *row, struct setting_source source, int err,
                   struct why *why);

#endif
