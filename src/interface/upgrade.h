/* Replacing the master's own program in place: the new program is asked first whether it could go
 * on from this state, then it is executed in this process. Whatever fails on the way, the old
 * program runs on. */
#ifndef PREFORKD_INTERFACE_UPGRADE_H
#define PREFORKD_INTERFACE_UPGRADE_H

#include <ev.h>

#include "mechanism/handover.h"

enum upgrade_result { UPGRADE_NONE, UPGRADE_RUNNING, UPGRADE_OK, UPGRADE_FAILED };

struct upgrade_ops {
    /* whether this is no time for it: -EBUSY with the reason */
    int (*refuse)(void *data, struct why *why);
    void (*save)(void *data, struct handover *h);
    void (*ended)(void *data); /* only when it failed */
};

struct upgrade {
    struct ev_loop *loop;
    const struct upgrade_ops *ops;
    void *data;
    char *program; /* NULL: not known */
    char *const *argv;

    enum upgrade_result result;
    char reason[512];   /* of a failure */
    int64_t at_wall_ms; /* when the last one ended */
    uint64_t total[2];  /* failed, ok */

    /* private: the program that is asked */
    pid_t checker;
    int result_fd;
    int answer_fd; /* what it writes */
    ev_timer timeout;
};

/* `argv` are the arguments that this program was started with. */
void upgrade_init(struct upgrade *u, struct ev_loop *loop, char *const *argv,
                  const struct upgrade_ops *ops, void *data);
void upgrade_free(struct upgrade *u);

/* Begins one. -EBUSY with the reason when it is refused, or -errno; the reason is in the log. */
int upgrade_request(struct upgrade *u, struct why *why);

/* A child of the master ended; whether it was the one that was asked. */
bool upgrade_child_gone(struct upgrade *u, pid_t pid, int code, int status);

/* The numbers of what was, for the program that comes, and there: this one succeeded. */
void upgrade_save(const struct upgrade *u, json_t *out);
void upgrade_resume(struct upgrade *u, const json_t *saved);

bool upgrade_is_running(const struct upgrade *u);
const char *upgrade_result_name(enum upgrade_result result);

#endif
