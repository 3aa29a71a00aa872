/* preforkctl: talks to a running master. */
#include <stdio.h>

#include "base/sys.h"
#include "ctl/command.h"
#include "ctl/text.h"

static int print_help(void)
{
    CLEANUP_BUF struct buf out = BUF_INIT;

    options_help(&out);
    fputs(buf_str(&out), stdout);
    return fflush(stdout) == 0 ? CTL_DONE : CTL_FAILED;
}

int main(int argc, char **argv)
{
    struct options options;
    struct why why;

    sys_sanitize_descriptors();
    text_init();
    if (options_parse(argc - 1, argv + 1, &options, &why) < 0) {
        fprintf(stderr, "preforkctl: %s\n", why.text);
        return CTL_USAGE;
    }
    if (options.help)
        return print_help();
    if (options.version)
        return puts("preforkctl " PACKAGE_VERSION) < 0 || fflush(stdout) ? CTL_FAILED : CTL_DONE;
    return command_run(&options);
}
