/* The arguments; the only file that may exit. */
#include <stdio.h>

#include "base/sys.h"
#include "interface/config.h"
#include "mechanism/features.h"
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

static int run(const struct cmdline *cmdline)
{
    struct settings *settings;
    struct why why;

    if (config_load(cmdline, &settings, &why) < 0)
        return fail(&why);
    if (cmdline->action == CMDLINE_RUN)
        return master_run(settings, cmdline);
    if (cmdline->action == CMDLINE_DUMP) {
        CLEANUP_BUF struct buf out = BUF_INIT;

        settings_dump(settings, &out);
        fputs(buf_str(&out), stdout);
    } else {
        puts("preforkd: the configuration is good");
    }
    settings_unref(settings);
    return fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

int main(int argc, char **argv)
{
    struct cmdline cmdline = {0};
    struct why why;
    int status;

    sys_sanitize_descriptors();
    if (cmdline_parse(argc - 1, argv + 1, &cmdline, &why) < 0)
        status = fail(&why);
    else if (printers[cmdline.action])
        status = print(printers[cmdline.action]);
    else
        status = run(&cmdline);
    cmdline_free(&cmdline);
    return status;
}
