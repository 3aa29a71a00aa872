#include "interface/upgrade.h"

#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/strv.h"
#include "base/sys.h"
#include "mechanism/spawn.h"

#define CHECK_TIMEOUT_S 10.
#define STATE_FD        3 /* where spawn_start() puts the first descriptor */

static void forget_checker(struct upgrade *u)
{
    ev_timer_stop(u->loop, &u->timeout);
    util_close_p(&u->result_fd);
    util_close_p(&u->answer_fd);
    u->checker = 0;
}

static void fail(struct upgrade *u, const char *reason)
{
    forget_checker(u);
    u->result = UPGRADE_FAILED;
    u->total[0]++;
    u->at_wall_ms = clock_wall_ms();
    snprintf(u->reason, sizeof(u->reason), "%s", reason);
    log_error(LOG_NOBODY, "upgrade failed: %s; this program runs on", u->reason);
    u->ops->ended(u->data);
}

static int save(const struct upgrade *u, struct handover *h)
{
    int r = handover_init(h);

    if (r == 0)
        u->ops->save(u->data, h);
    return r;
}

/* The question ----------------------------------------------------------------------------------
 */

/* The arguments of this program, with the one that asks in front. */
static int build_arguments(const struct upgrade *u, struct strv *out)
{
    int r = strv_push(out, u->program);

    if (r == 0)
        r = strv_push(out, "--check-handover");
    for (char *const *arg = u->argv + 1; u->argv[0] && *arg && r == 0; arg++)
        r = strv_push(out, *arg);
    return r;
}

static int build_environment(struct strv *out)
{
    char number[16];
    int r = 0;

    for (char *const *entry = environ; *entry && r == 0; entry++)
        r = strv_push(out, *entry);
    snprintf(number, sizeof(number), "%d", STATE_FD);
    return r < 0 ? r : strv_env_set(out, HANDOVER_ENVIRONMENT, number);
}

static int spawn(struct upgrade *u, int state_fd)
{
    CLEANUP_STRV struct strv argv = {0}, envp = {0};
    const int outputs[] = {u->answer_fd, u->answer_fd};
    int r = build_arguments(u, &argv);

    if (r == 0)
        r = build_environment(&envp);
    if (r < 0)
        return r;
    return spawn_start(
        &(struct spawn_request){
            .argv = argv.items,
            .envp = envp.items,
            .fds = &state_fd,
            .nfds = 1,
            .outputs = outputs,
            .user = &(struct spawn_user){0},
            .umask = SPAWN_INHERIT,
            .nice = SPAWN_INHERIT,
            .oom_score_adj = SPAWN_INHERIT,
            .limit_nofile = SPAWN_INHERIT,
            .limit_core = SPAWN_INHERIT,
            .cpu = SPAWN_INHERIT,
        },
        &u->checker, &u->result_fd);
}

static int ask(struct upgrade *u, struct why *why)
{
    CLEANUP(handover_free) struct handover h = {0};
    CLEANUP_CLOSE int state_fd = -1;
    int r = save(u, &h);

    if (r == 0)
        r = state_fd = handover_write(&h);
    if (r < 0)
        return why_fail_errno(why, r, "state of the handover");
    u->answer_fd = memfd_create("preforkd-answer", MFD_CLOEXEC);
    r = u->answer_fd < 0 ? -errno : spawn(u, state_fd);
    return r < 0 ? why_fail_errno(why, r, "cannot start '%s'", u->program) : 0;
}

static void on_timeout(struct ev_loop *loop UNUSED, ev_timer *timer, int events UNUSED)
{
    struct upgrade *u = timer->data;
    pid_t checker = u->checker;

    fail(u, "the new program does not answer");
    kill(checker, SIGKILL); /* it is not reaped yet: its number is its own */
}

int upgrade_request(struct upgrade *u, struct why *why)
{
    int r = upgrade_is_running(u) ? why_fail(why, -EBUSY, "an upgrade is running already")
                                  : u->ops->refuse(u->data, why);

    if (r == 0 && !u->program)
        r = why_fail(why, -ENOENT, "it is not known where this program was started from");
    if (r < 0) {
        log_warn(LOG_NOBODY, "no upgrade: %s", why->text);
        return r;
    }
    log_info(LOG_NOBODY, "upgrade to %s begins", u->program);
    u->result = UPGRADE_RUNNING;
    r = ask(u, why);
    if (r < 0)
        fail(u, why->text);
    else
        ev_timer_again(u->loop, &u->timeout);
    return r;
}

/* The answer ------------------------------------------------------------------------------------
 */

static void execute(struct upgrade *u)
{
    CLEANUP(handover_free) struct handover h = {0};
    struct why why = {0};
    int r = u->ops->refuse(u->data, &why);

    if (r == 0) {
        r = save(u, &h);
        if (r == 0)
            r = handover_exec(&h, u->program, u->argv, environ);
        why_fail_errno(&why, r, "cannot execute '%s'", u->program);
    }
    fail(u, why.text);
}

/* The first line of what it wrote. */
static void read_answer(const struct upgrade *u, struct buf *out)
{
    char text[sizeof(u->reason)];
    ssize_t n = pread(u->answer_fd, text, sizeof(text) - 1, 0);

    text[n > 0 ? n : 0] = '\0';
    buf_escape(out, text, strcspn(text, "\n"));
}

static void refused(struct upgrade *u, int code, int status)
{
    CLEANUP_BUF struct buf reason = BUF_INIT;
    struct spawn_outcome outcome;

    if (spawn_result(u->result_fd, &outcome) == 0)
        buf_printf(&reason, "cannot run '%s': %s: %s", u->program,
                   spawn_stage_name(outcome.error.stage), strerror(outcome.error.err));
    else
        read_answer(u, &reason);
    if (reason.len == 0)
        buf_printf(&reason, "the new program %s %d",
                   code == CLD_EXITED ? "exited with status" : "was killed by signal", status);
    fail(u, buf_str(&reason));
}

bool upgrade_child_gone(struct upgrade *u, pid_t pid, int code, int status)
{
    if (u->checker == 0 || pid != u->checker)
        return false;
    if (code == CLD_EXITED && status == 0) {
        forget_checker(u);
        execute(u);
    } else {
        refused(u, code, status);
    }
    return true;
}

/* -----------------------------------------------------------------------------------------------
 */

void upgrade_init(struct upgrade *u, struct ev_loop *loop, char *const *argv,
                  const struct upgrade_ops *ops, void *data)
{
    *u = (struct upgrade){.loop = loop,
                          .ops = ops,
                          .data = data,
                          .program = argv[0] ? handover_program(argv[0]) : NULL,
                          .argv = argv,
                          .result_fd = -1,
                          .answer_fd = -1};
    ev_timer_init(&u->timeout, on_timeout, 0., CHECK_TIMEOUT_S);
    u->timeout.data = u;
}

void upgrade_free(struct upgrade *u)
{
    forget_checker(u);
    free(u->program);
    u->program = NULL;
}

void upgrade_save(const struct upgrade *u, json_t *out)
{
    json_object_update_new(out, json_pack("{s:I, s:I}", "failed", (json_int_t)u->total[0], "ok",
                                          (json_int_t)u->total[1]));
}

void upgrade_resume(struct upgrade *u, const json_t *saved)
{
    u->total[0] = (uint64_t)handover_number(saved, "failed");
    u->total[1] = (uint64_t)handover_number(saved, "ok") + 1;
    u->result = UPGRADE_OK;
    u->at_wall_ms = clock_wall_ms();
}

bool upgrade_is_running(const struct upgrade *u)
{
    return u->result == UPGRADE_RUNNING;
}

const char *upgrade_result_name(enum upgrade_result result)
{
    static const char *const names[] = {"none", "running", "ok", "failed"};

    return names[result];
}
