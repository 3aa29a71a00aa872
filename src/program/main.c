/* The arguments; the only file that may exit. */
#include <stdio.h>

#include "base/sys.h"
#include "interface/config.h"
#include "mechanism/features.h"
#include "mechanism/handover.h"
#include "program/master.h"

enum { EXIT_USAGE = 2 };

static int fail(const struct why *why)
{
    fprintf(stderr, "preforkd: %s\n", why->text);
    return EXIT_USAGE;
}

static int print(void (*text)(struct buf *out))
{
    CLEANUP_BUF struct buf out = BUF_INIT;

    text(&out);
    fputs(buf_str(&out), stdout);
    return fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

static void add_version(struct buf *out)
{
    buf_puts(out, "preforkd " PACKAGE_VERSION "\n");
}

/* Actions that print something and need no settings. */
static void (*const printers[])(struct buf *out) = {
    [CMDLINE_FEATURES] = features_print,
    [CMDLINE_HELP] = settings_help,
    [CMDLINE_VERSION] = add_version,
};

/* The settings that a program before this one had, or those that are there now. */
static int load(const struct cmdline *cmdline, const json_t *saved, struct settings **out,
                struct why *why)
{
    CLEANUP_BUF struct buf text = BUF_INIT;

    if (!saved)
        return config_load(cmdline, out, why);
    handover_text(saved, "config", &text);
    return config_load_text(cmdline, text.len > 0 ? buf_str(&text) : NULL, out, why);
}

static int dump(const struct settings *settings)
{
    CLEANUP_BUF struct buf out = BUF_INIT;

    settings_dump(settings, &out);
    fputs(buf_str(&out), stdout);
    return fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

static int say_good(const struct settings *settings UNUSED)
{
    puts("preforkd: the configuration is good");
    return fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

static int say_nothing(const struct settings *settings UNUSED)
{
    return EXIT_SUCCESS;
}

/* Actions that need settings and start nothing. */
static int (*const checks[])(const struct settings *settings) = {
    [CMDLINE_RUN] = NULL,
    [CMDLINE_TEST] = say_good,
    [CMDLINE_DUMP] = dump,
    [CMDLINE_CHECK_HANDOVER] = say_nothing,
};

static int run(const struct cmdline *cmdline, char *const *argv, const json_t *saved)
{
    struct settings *settings;
    struct why why;
    int status;

    if (load(cmdline, saved, &settings, &why) < 0)
        return fail(&why);
    if (!checks[cmdline->action])
        return master_run(settings, cmdline, argv, saved);
    status = checks[cmdline->action](settings);
    settings_unref(settings);
    return status;
}

/* `state_fd` is what the program before this one left, -1: there was none. */
static int run_with(const struct cmdline *cmdline, char *const *argv, int state_fd)
{
    CLEANUP_CLOSE int fd = state_fd;
    json_t *saved = NULL;
    struct why why = {0};
    int status;

    if (fd < 0 && cmdline->action == CMDLINE_CHECK_HANDOVER)
        why_fail(&why, -EINVAL, "--check-handover is for a running preforkd to use");
    else if (fd >= 0)
        handover_read(fd, &saved, &why);
    if (why.text[0])
        return fail(&why);
    util_close_p(&fd);
    status = run(cmdline, argv, saved);
    json_decref(saved);
    return status;
}

int main(int argc, char **argv)
{
    int state_fd = handover_take_from_environment();
    struct cmdline cmdline = {0};
    struct why why;
    int status;

    sys_sanitize_descriptors();
    if (cmdline_parse(argc - 1, argv + 1, &cmdline, &why) < 0)
        status = fail(&why);
    else if (printers[cmdline.action])
        status = print(printers[cmdline.action]);
    else
        status = run_with(&cmdline, argv, state_fd);
    cmdline_free(&cmdline);
    return status;
}
