/* What the files that build a struct settings share. Once built it never changes: nobody else
 * includes this. */
#ifndef PREFORKD_POLICY_SETTINGS_EDIT_H
#define PREFORKD_POLICY_SETTINGS_EDIT_H

#include "policy/settings.h"

/* Adds a pool with the defaults; `line` of its section. -EINVAL when there are too many. */
int settings_add_pool(struct settings *s, const char *name, int line, struct why *why);

/* Reads `text` into a setting, replacing what came from a weaker origin; blanks around it do not
 * count. An empty text unsets what has no default. -EINVAL, -ENOMEM with the reason and its place.
 */
int settings_set(struct settings *s, struct pool_settings *pool, const struct setting_info *row,
                 const char *text, struct setting_source source, struct why *why);

/* Appends a source as it stands in a message and in a dump: "web.conf:12",
 * "environment PREFORKD_WORKERS", "command line", "default". */
void settings_print_source(const struct settings *s, const struct setting_info *row,
                           struct setting_source source, struct buf *out);

/* Reads a file into the settings. Stops at the first error. settings_file.c */
int settings_read_file(struct settings *s, const char *text, size_t len, struct why *why);

/* Checks the settings against each other. settings_check.c */
int settings_check(const struct settings *s, struct why *why);

#endif
