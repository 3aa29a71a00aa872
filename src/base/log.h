/* The master's own log: one event a line, text or JSON, to stderr or a file.
 *
 * Text:     2026-11-21T04:05:06.789Z info  web.3[1234]: message
 * Journal:  <6>web.3[1234]: message
 * JSON:     {"time":"2026-11-21T04:05:06.789Z","level":"info","pool":"web","slot":3,"pid":1234,
 *            "message":"message"}
 * What is not known of pool, slot and pid is left out. Times are UTC.
 *
 * A write never waits (base/output.h). A line for which there is no room is dropped and counted;
 * the next line that fits tells how many were lost. */
#ifndef PREFORKD_BASE_LOG_H
#define PREFORKD_BASE_LOG_H

#include <sys/types.h>

#include "base/util.h"

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

enum log_format {
    LOG_FORMAT_AUTO, /* text; with <N> priority prefixes when the journal reads stderr */
    LOG_FORMAT_TEXT,
    LOG_FORMAT_JSON,
};

struct log_config {
    enum log_level level;
    enum log_format format;
    const char *file; /* "-" is stderr; copied */
};

/* Which pool, slot and process a line is about. Unset: pool NULL, slot -1, pid 0. */
struct log_who {
    const char *pool;
    int slot;
    pid_t pid;
};

#define LOG_NOBODY (&(const struct log_who){.slot = -1})

/* Opens the target and takes the settings over. Until the first call lines go to stderr as text at
 * level info. On failure (-errno from open(2)) the log goes on as it was. */
int log_configure(const struct log_config *config);

/* Opens log-file again after it was renamed away. On failure the old file stays in use. Nothing to
 * do for stderr. */
int log_reopen(void);

/* Back to the state before the first log_configure(). */
void log_close(void);

bool log_enabled(enum log_level level);

/* Writes one line of at most 4096 bytes. Control characters in the message are escaped; more than
 * 4000 bytes, or what does not fit once it is escaped, are cut and end in "...". Keeps errno. */
void log_write(enum log_level level, const struct log_who *who, const char *fmt, ...)
    PRINTF_LIKE(3, 4);

#define log_error(...) log_write(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warn(...)  log_write(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_info(...)  log_write(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...) log_write(LOG_LEVEL_DEBUG, __VA_ARGS__)

/* Lines lost since the start because the reader was too slow or the disk full. */
uint64_t log_dropped(void);

#endif
