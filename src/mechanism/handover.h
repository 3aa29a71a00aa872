/* Replacing the program of a running process by another build of it: exec(2) in place keeps the
 * process id, the children and the descriptors. What else has to go on is written down as JSON in a
 * memfd, whose number goes into the environment; descriptors keep their numbers. See execve(2),
 * memfd_create(2). */
#ifndef PREFORKD_MECHANISM_HANDOVER_H
#define PREFORKD_MECHANISM_HANDOVER_H

#include <jansson.h>

#include "base/buf.h"
#include "base/why.h"

/* Counts up when an older program could not make sense of the state any more. A newer one
 * understands all versions from HANDOVER_OLDEST on: keys that it misses have a default. */
#ifndef HANDOVER_VERSION
#define HANDOVER_VERSION 1
#endif
#define HANDOVER_OLDEST      1
#define HANDOVER_ENVIRONMENT "PREFORKD_HANDOVER" /* number of the memfd */

/* What is handed over: the root of the state, and the descriptors that stand in it. */
struct handover {
    json_t *state;
    int *fds;
    size_t nfds;
    bool failed; /* out of memory */
};

/* Begins with the version; handover_free() in either case. */
int handover_init(struct handover *h);
void handover_free(struct handover *h);

/* A descriptor that has to stay open; -1 is left out. And its number, or -1. Taking one makes it
 * close-on-exec again; -1 too when it is not open. */
void handover_put_fd(struct handover *h, json_t *object, const char *key, int fd);
int handover_take_fd(const json_t *object, const char *key);

/* Text of any bytes, which JSON could not hold as they are. The second appends it; the third cuts
 * it at `size`. */
void handover_put_bytes(json_t *object, const char *key, const char *data, size_t len);
void handover_put_text(json_t *object, const char *key, const char *text);
void handover_text(const json_t *object, const char *key, struct buf *out);
void handover_copy_text(const json_t *object, const char *key, char *out, size_t size);

/* What json_pack(3) put there; 0 or "" when it is missing. */
int64_t handover_number(const json_t *object, const char *key);
bool handover_flag(const json_t *object, const char *key);
const char *handover_word(const json_t *object, const char *key);

/* What was put there by its name: the number below `n` of which `name_of` gives that name. 0 when
 * it is missing, -EINVAL with the reason when no number has that name. */
int handover_named(const json_t *object, const char *key, const char *(*name_of)(unsigned number),
                   unsigned n, struct why *why);

/* The state in a new memfd, close-on-exec, to be closed by the caller; or -errno. */
int handover_write(const struct handover *h);

/* The state in `fd`, one reference. -EINVAL when it is none, -ENOTSUP when its version is not
 * understood, with the reason. */
int handover_read(int fd, json_t **out, struct why *why);

/* Executes `path` with the descriptors and the state left open. Returns only on failure: -errno,
 * and everything is as before. */
int handover_exec(const struct handover *h, const char *path, char *const *argv, char *const *envp);

/* The descriptor that the program before this one left in the environment, which it is taken out
 * of; -1: there is none. */
int handover_take_from_environment(void);

/* Where this program was started from, to be found there again when it was replaced: absolute, to
 * be freed; NULL when it cannot be told. */
char *handover_program(const char *argv0);

#endif
